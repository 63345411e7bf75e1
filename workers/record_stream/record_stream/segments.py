"""What HLS and DASH have in common: media cut into segments, listed by a document that grows while the stream runs."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from record_stream.web import Answer, Refused, TooLarge, Unreachable, Web
from switchyard.urls import MAX_URL_LENGTH, UrlNotAllowed

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 2**20
"""The most a segment may have: it is held in memory, so that one that breaks off is fetched again or left out whole."""
MOST = 100_000
"""Segments that one document may list: more than a day of one-second segments."""
LIVE_SEGMENTS = 3
"""How far from the end of a live playlist to begin: RFC 8216, section 6.3.3."""
ATTEMPTS = 3
"""For one segment."""
_PAUSE = 0.5


class BadPlaylist(Exception):
    """A playlist or manifest can't be used. The text says why, and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to fetch: all that is at `url`, or those from `first` to `last`."""

    url: str
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """How a segment is encrypted: AES-128-CBC, the key at `url`."""

    url: str
    iv: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of media. `number` grows; `init` is what has to come before it, where that isn't there yet."""

    number: int
    part: Part
    init: Part | None = None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Playlist:
    """The segments there are now. `refresh` is when to look again, in seconds; a stream that has `ended` is whole."""

    segments: tuple[Segment, ...]
    ended: bool
    refresh: float
    from_start: bool = False


def window(url: str, first: int, last: int) -> Part:
    """The bytes from `first` to `last` of what is at `url`. ValueError where there can't be any."""
    if not 0 <= first <= last:
        raise ValueError("a range without bytes")
    return Part(url, first, last)


def address(base: str, reference: str) -> str:
    """Where `reference` leads from `base`, which is itself an address of ours.

    Raises:
        BadPlaylist: longer than any that is asked for. A document of a few megabytes could name gigabytes of them.
    """
    if len(reference) <= MAX_URL_LENGTH:
        joined = urljoin(base, reference)
        if len(joined) <= MAX_URL_LENGTH:
            return joined
    raise BadPlaylist(f"it names an address of more than {MAX_URL_LENGTH} characters")


def follow(load: Callable[[], Playlist], stop: threading.Event) -> Iterator[Segment]:
    """Each segment once, for as long as the stream goes on.

    Raises:
        UrlNotAllowed: the playlist's address is not.
        Refused, Unreachable, TooLarge, BadPlaylist: it can't be had, at first.
    """
    last: int | None = None
    playlist = load()
    while True:
        found = playlist.segments
        if last is not None and found and found[-1].number < last - len(found):
            last = None  # the encoder was started anew, and counts from the beginning
        if last is None and not (playlist.ended or playlist.from_start):
            found = found[-LIVE_SEGMENTS:]
        for segment in found:
            if last is None or segment.number > last:
                yield segment
                last = segment.number
        if playlist.ended or stop.wait(playlist.refresh):
            return
        try:
            playlist = load()
        except Refused:
            return  # taken down: that is how many live streams end
        except (Unreachable, TooLarge, BadPlaylist) as error:
            log.warning("the playlist could not be read again: %s", error)  # whoever records knows when it is too long


def bodies(web: Web, headers: Mapping[str, str], segments: Iterator[Segment], stop: threading.Event) -> Iterator[bytes]:
    """What the segments hold, decrypted, with what initialises them before them. One that can't be had is left out.

    Raises:
        UrlNotAllowed: a segment's address is not.
    """
    init: Part | None = None
    keys: dict[str, bytes] = {}
    for segment in segments:
        try:
            if segment.init is not None and segment.init != init:
                yield fetch(web, segment.init, headers, stop)
                init = segment.init
            body = fetch(web, segment.part, headers, stop)
            if segment.key is not None:
                if segment.key.url not in keys:
                    keys = {segment.key.url: fetch(web, Part(segment.key.url), headers, stop)}
                body = _decrypted(body, keys[segment.key.url], segment.key.iv)
        except UrlNotAllowed:
            raise
        except (Refused, Unreachable, TooLarge, ValueError) as error:  # ValueError: not what the key is for
            log.warning("a segment was left out: %s", error)
        else:
            yield body


def _decrypted(body: bytes, key: bytes, iv: bytes) -> bytes:
    from Cryptodome.Cipher import AES  # noqa: PLC0415 - few streams are encrypted
    from Cryptodome.Util.Padding import unpad  # noqa: PLC0415

    plain: bytes = unpad(AES.new(key, AES.MODE_CBC, iv).decrypt(body), AES.block_size)
    return plain


def fetch(web: Web, part: Part, headers: Mapping[str, str], stop: threading.Event) -> bytes:
    """All of `part`.

    Raises:
        UrlNotAllowed, Refused, TooLarge: as `Web.open`.
        Unreachable: also after `ATTEMPTS`.
    """
    attempt = 1
    while True:
        try:
            return _fetched(web, part, headers)
        except Unreachable:
            if attempt == ATTEMPTS or stop.wait(_PAUSE * 2**attempt):
                raise
            attempt += 1


def _fetched(web: Web, part: Part, headers: Mapping[str, str]) -> bytes:
    if part.first is None:
        return web.open(part.url, headers).read_all(SEGMENT_BYTES)
    last = "" if part.last is None else part.last
    answer = web.open(part.url, {**headers, "Range": f"bytes={part.first}-{last}"})
    body = answer.read_all(SEGMENT_BYTES)
    if answer.status == 200:  # the server doesn't know ranges
        return body[part.first : None if part.last is None else part.last + 1]
    return body


class SegmentFile:
    """Segments one behind the other, as a file for FFmpeg to read.

    FFmpeg takes an error in a read for the end of the file, sometimes: so it is given an end, and the error is kept.
    """

    name = ""  # FFmpeg guesses formats from names too: it is told nothing

    def __init__(self, source: Iterator[bytes]) -> None:
        self.failure: Exception | None = None
        self._source = source
        self._rest = memoryview(b"")

    def read(self, size: int) -> bytes:
        """Up to `size` bytes: at least one, except at the end."""
        try:
            while not self._rest:
                self._rest = memoryview(next(self._source))
        except StopIteration:
            return b""
        except Exception as error:  # noqa: BLE001 - whatever it is, whoever opened the file raises it
            self.failure = error
            return b""
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data


class WebFile:
    """One file on the web, as a file for FFmpeg to read and, where the server knows ranges, to seek in."""

    name = ""

    def __init__(self, web: Web, url: str, headers: Mapping[str, str], stop: threading.Event) -> None:
        self.failure: Exception | None = None
        self._web = web
        self._url = url
        self._headers = headers
        self._stop = stop
        self._position = 0
        self._answer: Answer | None = None
        answer = self._opened()
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
        self._size = int(size) if answer.status == 206 and size.isdecimal() else None

    def seekable(self) -> bool:
        """Whether `seek` works."""
        return self._size is not None

    def seek(self, offset: int, whence: int = 0) -> int:
        """As `io.IOBase.seek`."""
        base = {0: 0, 1: self._position, 2: self._size or 0}[whence]
        position = max(0, base + offset)
        if position != self._position:
            self._close()
            self._position = position
        return position

    def tell(self) -> int:
        """The current position, in bytes."""
        return self._position

    def read(self, size: int) -> bytes:
        """Up to `size` bytes: at least one, except at the end. Errors are kept, as in `SegmentFile`."""
        if self._size is not None and self._position >= self._size:
            return b""
        for attempt in range(ATTEMPTS):
            self._stop.wait(_PAUSE * 2**attempt if attempt else 0)
            try:
                data = self._opened().read(size)
            except Exception as error:  # noqa: BLE001 - as in SegmentFile
                self._close()
                self.failure = error
                if not isinstance(error, Unreachable) or not self.seekable():
                    return b""
            else:
                self.failure = None
                self._position += len(data)
                return data
        return b""

    def _opened(self) -> Answer:
        if self._answer is None:
            self._answer = self._web.open(self._url, {**self._headers, "Range": f"bytes={self._position}-"})
            if self._position and self._answer.status != 206:
                raise Unreachable("the server has forgotten ranges")
        return self._answer

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
