"""The ways to hashes, as tests go them: with all that can come between."""

from collections.abc import Callable

from switchyard.torrents.format.layout import Extent, Layout
from switchyard.torrents.hashing import Copy, Stream, describe

KEY = "recordings/my file+ü #1 100%.bin"


class Stop(Exception):
    """What a test stops the work with."""


def stop(_: int) -> None:
    """Ends the work at its first progress."""
    raise Stop


def never() -> bool:
    """There is always time."""
    return False


def ignore(_: int) -> None:
    """Nobody wants to know."""


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
    """Has the object at `KEY` hashed; `then` happens after it was described."""
    thing = describe(way.client, bucket, KEY).thing
    then()
    return way.digests(thing, layout, extent or layout.whole, out_of_time=out_of_time, progress=progress)
