"""Runs the ways to hash an object, with interruptions."""

from collections.abc import Callable

from switchyard.torrents.format.layout import Extent, Layout
from switchyard.torrents.hashing import Copy, Stream, describe

KEY = "recordings/my file+ü #1 100%.bin"


class Stop(Exception):
    """Stops the work in a test."""


def stop(_: int) -> None:
    """Stops the work at its first progress."""
    raise Stop


def never() -> bool:
    """Never stops the work: there is always time."""
    return False


def ignore(_: int) -> None:
    """Ignores progress."""


def digests(
    way: Copy | Stream,
    layout: Layout,
    extent: Extent | None = None,
    *,
    bucket: str = "media",
    out_of_time: Callable[[], bool] = never,
    progress: Callable[[int], None] = ignore,
    then: Callable[[], object] = lambda: None,
) -> bytes:
    """Hashes the object at `KEY`. `then` is called after the object was described."""
    thing = describe(way.client, bucket, KEY).thing
    then()
    return way.digests(thing, layout, extent or layout.whole, out_of_time=out_of_time, progress=progress)
