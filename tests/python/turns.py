"""Takes the same lock a number of times, with a pause in between, and says when it was held.

`turns.py class=sync name=job turns=5 pause_ms=100 hold_ms=10 nodes=redis://…` prints a line `held BEGIN END` for each
turn, in nanoseconds of the machine's monotonic clock, which all processes share.
"""

import asyncio
import time

import fleet


def take_turns(options, turns, pause, hold):
    for _ in range(turns):
        with fleet.lock(options, timeout=0):
            begin = time.monotonic_ns()
            time.sleep(hold)
            end = time.monotonic_ns()
        print("held", begin, end)
        time.sleep(pause)


async def take_turns_async(options, turns, pause, hold):
    for _ in range(turns):
        async with fleet.lock(options, timeout=0):
            begin = time.monotonic_ns()
            await asyncio.sleep(hold)
            end = time.monotonic_ns()
        print("held", begin, end)
        await asyncio.sleep(pause)


def main():
    options = fleet.options()
    turns = int(options["turns"])
    pause, hold = (float(options[name]) / 1000 for name in ("pause_ms", "hold_ms"))
    if options["class"] == "sync":
        take_turns(options, turns, pause, hold)
    else:
        asyncio.run(take_turns_async(options, turns, pause, hold))


main()
