"""What the programs beside this one share: their arguments, and a lock of either class."""

import functools
import sys

import redis
import redis.asyncio
from configurable_redlock import ConfigurableAIOREDLock, ConfigurableREDLock, ObjectLockTimeout

__all__ = ["ObjectLockTimeout", "lock", "options"]

# A process that was started by a test is read line by line.
sys.stdout.reconfigure(line_buffering=True)


def options():
    return dict(argument.split("=", 1) for argument in sys.argv[1:])


@functools.cache
def clients(kind, nodes):
    client = redis.Redis if kind == "sync" else redis.asyncio.Redis
    return frozenset(client.from_url(node) for node in nodes.split(","))


def lock(options, **arguments):
    """A lock as a user of the library would write it, on the nodes that the arguments name."""
    kind = ConfigurableREDLock if options["class"] == "sync" else ConfigurableAIOREDLock
    return kind(
        name=options["name"],
        stats_name=options.get("stats_name"),
        redis_client=clients(options["class"], options["nodes"]),
        auto_release_time=10,
        **arguments,
    )
