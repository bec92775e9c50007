"""Takes a lock with configurable-redlock, says what came of it, and holds it until it is told to release it.

`holder.py class=sync name=job timeout=-1 nodes=redis://…,redis://… [stats_name=jobs]`, with `class=async` for the other
class. Says the same as the Rust program of this name: `acquired`, `skipped`, `raised ObjectLockTimeout`, `released`.
"""

import asyncio
import sys

import fleet


def until_told():
    sys.stdin.readline()


def hold(lock):
    held = False
    with lock as taken:
        taken()
        held = True
        print("acquired")
        until_told()
    return held


async def hold_async(lock):
    held = False
    async with lock as taken:
        await taken()
        held = True
        print("acquired")
        await asyncio.to_thread(until_told)
    return held


def main():
    options = fleet.options()
    timeout = float(options["timeout"])
    # A silent lock that is not acquired leaves its `with` block where it is called.
    lock = fleet.lock(options, timeout=timeout, silence_object_lock_timeout=timeout == -1)
    try:
        held = hold(lock) if options["class"] == "sync" else asyncio.run(hold_async(lock))
        print("released" if held else "skipped")
    except fleet.ObjectLockTimeout:
        print("raised ObjectLockTimeout")


main()
