"""A stream in takes: stretches of media that one demuxer can read, because what it learned at their start stays true.

Streamlink fetches the segments of HLS and DASH and would join them into one body, in which a new initialization or
another encoder's stream is lost on the reader. Its writers put segments here instead, and say where a take begins.
"""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass

_WAIT = 0.5


@dataclass(slots=True)
class Missing:
    """What a source should have given and didn't.

    Attributes:
        segments: how many.
        seconds: how long they are.
        listed: seconds of all other segments.
        reason: why the last one is missing.
        periods: periods of a DASH manifest that are left out, because they are advertisements.
    """

    segments: int = 0
    seconds: float = 0.0
    listed: float = 0.0
    reason: Exception | None = None
    periods: int = 0

    def add(self, segments: int, seconds: float, reason: Exception | None = None) -> None:
        """Count missing segments."""
        self.segments += segments
        self.seconds += seconds
        self.reason = reason or self.reason


@dataclass(frozen=True, slots=True)
class _Segment:
    body: bytes
    begins: bool
    start: float


class Takes:
    """Hands segments from Streamlink's threads to the reader. At most one waits.

    Args:
        stop: ends everything.
    """

    def __init__(self, stop: threading.Event) -> None:
        self.failure: Exception | None = None
        self.removed = False
        """Whether the server has removed the playlist: many live streams end this way."""
        self.missing = Missing()
        self._stop = stop
        self._segments: queue.Queue[_Segment | None] = queue.Queue(1)
        self._next: _Segment | None = None  # a take begins with it
        self._over = False

    # ---- Streamlink's side

    def put(self, body: bytes, seconds: float = 0.0, *, begins: bool = False, start: float = 0.0) -> None:
        """Add a segment.

        Args:
            body: its bytes.
            seconds: its duration.
            begins: whether a take begins with it.
            start: what to add to the take's time stamps, in seconds.
        """
        self.missing.listed += seconds
        self._put(_Segment(body, begins, start))

    def end(self, failure: Exception | None = None) -> None:
        """No segment follows. The first failure counts."""
        self.failure = self.failure or failure
        self._put(None)

    def _put(self, item: _Segment | None) -> None:
        while not self._stop.is_set():
            try:
                self._segments.put(item, timeout=_WAIT)
            except queue.Full:
                continue
            return

    # ---- the reader's side

    def __iter__(self) -> Iterator["SegmentTake"]:
        """Yield each take. What the reader left of the one before is dropped."""
        while True:
            while self.segment():
                pass
            if self._next is None:
                return
            first, self._next = self._next, None
            yield SegmentTake(self, first.body, first.start)

    def segment(self) -> bytes:
        """The take's next segment; nothing at its end."""
        while not self._over and self._next is None:
            try:
                item = self._segments.get(timeout=_WAIT)
            except queue.Empty:
                self._over = self._stop.is_set()
                continue
            if item is None:
                self._over = True
            elif item.begins:
                self._next = item
            elif item.body:
                return item.body
        return b""


class SegmentTake:
    """A file for FFmpeg to read: a take's segments, one after the other.

    Attributes:
        name: empty. FFmpeg also guesses formats from names.
        start: what to add to its time stamps, in seconds.
    """

    name = ""

    def __init__(self, takes: Takes, first: bytes, start: float) -> None:
        self.start = start
        self._takes = takes
        self._rest = memoryview(first)

    def read(self, size: int) -> bytes:
        """Up to `size` bytes: at least one, except at the end."""
        if not self._rest:
            self._rest = memoryview(self._takes.segment())
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data
