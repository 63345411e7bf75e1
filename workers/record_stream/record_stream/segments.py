"""Common parts of HLS and DASH: segments of media, listed in a document that grows while the stream runs."""

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urljoin

from record_stream.web import Answer, Refused, TooLarge, Unreachable, Web
from switchyard.urls import MAX_URL_LENGTH, UrlNotAllowed

log = logging.getLogger(__name__)

SEGMENT_BYTES = 64 * 2**20
"""Maximum size of a segment. It is held in memory, so one that breaks off is fetched again or left out whole."""
MOST = 100_000
"""Maximum segments in one document: more than a day of one-second segments."""
LIVE_SEGMENTS = 3
"""Segments before the end of a live playlist to begin with (RFC 8216, section 6.3.3)."""
ATTEMPTS = 3
"""Attempts per segment."""
_PAUSE = 0.5


class BadPlaylist(Exception):
    """A playlist or manifest can't be used. The text says why, and quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes to fetch: the whole of `url`, or the bytes from `first` to `last`."""

    url: str
    first: int | None = None
    last: int | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """A segment's encryption: AES-128-CBC with the key at `url`."""

    url: str
    iv: bytes


@dataclass(frozen=True, slots=True)
class Segment:
    """A piece of media. `number` increases; `init` must be written before it, unless it was already."""

    number: int
    part: Part
    init: Part | None = None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Playlist:
    """The segments available now. Reload after `refresh` seconds, unless the stream has `ended`."""

    segments: tuple[Segment, ...]
    ended: bool
    refresh: float
    from_start: bool = False


def window(url: str, first: int, last: int) -> Part:
    """The bytes from `first` to `last` of `url`. ValueError if the range is invalid."""
    if not 0 <= first <= last:
        raise ValueError("a range without bytes")
    return Part(url, first, last)


def address(base: str, reference: str) -> str:
    """Resolve `reference` against `base`, which was made here too.

    Raises:
        BadPlaylist: the URL is too long. A document of a few megabytes could expand to gigabytes of URLs.
    """
    if len(reference) <= MAX_URL_LENGTH:
        joined = urljoin(base, reference)
        if len(joined) <= MAX_URL_LENGTH:
            return joined
    raise BadPlaylist(f"it has a URL of more than {MAX_URL_LENGTH} characters")


def follow(load: Callable[[], Playlist], stop: threading.Event) -> Iterator[Segment]:
    """Yield each segment once, until the stream ends.

    Raises:
        UrlNotAllowed: the playlist's URL isn't allowed.
        Refused, Unreachable, TooLarge, BadPlaylist: the first load failed.
    """
    last: int | None = None
    playlist = load()
    while True:
        found = playlist.segments
        if last is not None and found and found[-1].number < last - len(found):
            last = None  # the encoder was restarted, and counts from the beginning
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
            return  # the playlist was removed: many live streams end this way
        except (Unreachable, TooLarge, BadPlaylist) as error:
            log.warning("can't reload the playlist: %s", error)  # the recording's stall limit applies


def bodies(web: Web, headers: Mapping[str, str], segments: Iterator[Segment], stop: threading.Event) -> Iterator[bytes]:
    """Yield the segments' bytes, decrypted, each after its `init`. A segment that can't be fetched is left out.

    Raises:
        UrlNotAllowed: a segment's URL isn't allowed.
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
        except (Refused, Unreachable, TooLarge, ValueError) as error:  # ValueError: the key doesn't fit
            log.warning("a segment was left out: %s", error)
        else:
            yield body


def _decrypted(body: bytes, key: bytes, iv: bytes) -> bytes:
    from Cryptodome.Cipher import AES  # noqa: PLC0415 - few streams are encrypted
    from Cryptodome.Util.Padding import unpad  # noqa: PLC0415

    plain: bytes = unpad(AES.new(key, AES.MODE_CBC, iv).decrypt(body), AES.block_size)
    return plain


def fetch(web: Web, part: Part, headers: Mapping[str, str], stop: threading.Event) -> bytes:
    """Fetch all of `part`.

    Raises:
        UrlNotAllowed, Refused, TooLarge: see `Web.open`.
        Unreachable: every one of `ATTEMPTS` failed.
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
    if answer.status == 200:  # the server doesn't support ranges
        return body[part.first : None if part.last is None else part.last + 1]
    return body


class SegmentFile:
    """Concatenated segments, as a file for FFmpeg to read.

    FFmpeg sometimes takes an error in `read` for the end of the file. So `read` returns the end, and keeps the error.
    """

    name = ""  # FFmpeg also guesses formats from names

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
        except Exception as error:  # noqa: BLE001 - the reader of the file raises it
            self.failure = error
            return b""
        data, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return data


class WebFile:
    """One file on the web, for FFmpeg to read and, if the server supports ranges, to seek in."""

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
        """See `io.IOBase.seek`."""
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
        """Up to `size` bytes: at least one, except at the end. Keeps errors, like `SegmentFile`."""
        if self._size is not None and self._position >= self._size:
            return b""
        for attempt in range(ATTEMPTS):
            self._stop.wait(_PAUSE * 2**attempt if attempt else 0)
            try:
                data = self._opened().read(size)
            except Exception as error:  # noqa: BLE001 - see SegmentFile
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
                raise Unreachable("the server no longer supports ranges")
        return self._answer

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
