"""HLS (RFC 8216) by Streamlink, with what it lacks.

Separate audio (Streamlink leaves that to an ffmpeg program), exact bandwidths, `EXT-X-MAP` that outlives a
discontinuity, playlists that are to be read from their beginning (EVENT), encoders that count anew, and errors.
"""

import re
import threading
from functools import partial
from typing import Any, Final, override
from urllib.parse import urljoin

from requests import Response
from streamlink.exceptions import StreamError
from streamlink.session import Streamlink
from streamlink.stream.hls.hls import HLSStream, HLSStreamReader, HLSStreamWorker, HLSStreamWriter
from streamlink.stream.hls.m3u8 import M3U8, M3U8Parser, parse_tag
from streamlink.stream.hls.segment import HLSPlaylist, HLSSegment, Key
from streamlink.utils.crypto import AES, unpad

from record_stream.egress import PAGE_BYTES, Encrypted, Unusable, refused, status_of
from record_stream.segments import MOST, Reader, Worker, Writer
from record_stream.takes import Takes

MARK: Final = b"#EXTM3U"
_REFUSALS = 3
"""Refused reloads in a row after which a playlist counts as removed."""
_INIT, _MEDIA = (True,), (False,)
"""What `write` learns of a body."""
# The lookbehind and the possessive `++` prevent backtracking: a long line without `=` would take days.
_ATTRIBUTE = re.compile(r'(?<![A-Z0-9-])([A-Z0-9-]++)\s*=\s*("[^"]*"|[^,]*)')

type Playlist = M3U8[HLSSegment, HLSPlaylist]


class Parser(M3U8Parser[Playlist, HLSSegment, HLSPlaylist]):  # type: ignore[misc]
    """Streamlink's parser, within bounds."""

    @override
    def parse(self, data: str | Response) -> Playlist:
        body = data.encode() if isinstance(data, str) else data.content
        if len(body) > PAGE_BYTES or body.count(b"\n") > 8 * MOST:
            raise Unusable("the HLS playlist is too large")
        text = body.decode("utf-8-sig", errors="replace")
        if "\n#EXT-X-DEFINE" in text:
            raise Unusable("the HLS playlist uses variables (EXT-X-DEFINE)", "UNSUPPORTED_STREAM")
        try:
            found = super().parse(text.strip())
        except (TypeError, OverflowError, ArithmeticError) as error:
            raise Unusable("the HLS playlist is damaged") from error
        if len(found.segments) > MOST:
            raise Unusable("the HLS playlist lists too many segments")
        return found

    @override
    def uri(self, uri: str) -> str:
        return urljoin(self.m3u8.uri or "", uri)  # the egress decides about schemes

    @classmethod
    @override
    def parse_attributes(cls, value: str) -> dict[str, str]:
        return {name: given.strip().strip('"') for name, given in _ATTRIBUTE.findall(value)}

    @parse_tag("EXT-X-DISCONTINUITY")  # type: ignore[untyped-decorator]
    def parse_tag_ext_x_discontinuity(self, _value: str) -> None:
        """A discontinuity. The initialization stays (section 4.3.2.5)."""
        self._discontinuity = True

    @override
    def get_playlist(self, uri: str, **data: Any) -> HLSPlaylist:
        given = (self._streaminf or {}).get("BANDWIDTH", "0")
        made = super().get_playlist(uri, **data)
        exact = float(given) if re.fullmatch(r"[0-9]{1,15}(\.[0-9]*)?", given) else 0
        made.stream_info.bandwidth = exact  # Streamlink rounds to two digits
        return made


def parse(body: bytes, url: str) -> Playlist:
    """Parse the playlist from `url`.

    Raises:
        Unusable: it is invalid or too large.
    """
    try:
        return Parser(url).parse(body.decode(errors="replace"))
    except Unusable:
        raise
    except ValueError as error:
        raise Unusable("the HLS playlist is damaged") from error


def best(playlist: Playlist) -> tuple[str, str | None]:
    """The URLs of the best variant of a multivariant playlist and of its separate audio, if any."""
    variants = [each for each in playlist.playlists if not each.is_iframe]
    if not variants:
        raise Unusable("the HLS playlist has no variant with media", "UNSUPPORTED_STREAM")
    found = max(variants, key=lambda each: (each.stream_info.resolution is not None, each.stream_info.bandwidth))
    sounds = [each for each in found.media if each.type == "AUDIO"]
    sound = next((each for each in sounds if each.default), next(iter(sounds), None))
    return found.uri, sound.uri if sound else None


def begin(client: Streamlink, url: str, stop: threading.Event) -> Takes:
    """Begin to fetch the media playlist at `url`."""
    return _Reader(stop, _Stream(client, url)).begin()


class _Writer(Writer, HLSStreamWriter):  # type: ignore[misc]
    def __init__(self, *arguments: object, **options: object) -> None:
        super().__init__(*arguments, **options)
        self._mapped: object = None  # the initialization that was queued last
        self._initialized = True  # whether it could be had
        self._begins = True

    @override
    def put(self, segment: HLSSegment | None) -> None:
        if segment is not None and segment.map is not None:
            init = segment.map.uri, segment.map.byterange
            if segment.discontinuity or init != self._mapped:
                self._mapped = init
                self.queue(segment, partial(self.fetch_map, segment), *_INIT)
        self.queue(segment, segment and partial(self.fetch, segment), *_MEDIA)

    @override
    def fetch(self, segment: HLSSegment) -> Response | None:
        self._begins = self._begins or segment.discontinuity
        wanted = partial(self.create_request_params, segment.num, segment, is_map=False)
        return self.had(segment, lambda: self._fetch(segment.uri, **wanted()))

    @override
    def fetch_map(self, segment: HLSSegment) -> Response | None:
        wanted = partial(self.create_request_params, segment.num, segment.map, is_map=True)
        found = self.had(segment, lambda: self._fetch(segment.map.uri, **wanted()), counts=False)
        self._initialized = found is not None
        self._mapped = self._mapped if found else None  # the next segment tries again
        return found

    @override
    def write(self, segment: HLSSegment, result: Response, is_map: bool = False, *_data: Any) -> None:
        if not is_map and segment.map is not None and not self._initialized:
            self.takes.missing.add(1, segment.duration)
            return
        body, key = result.content, segment.map.key if is_map and segment.map else segment.key
        try:
            if key is not None and key.method != "NONE":
                body = unpad(self.create_decryptor(key, segment.num).decrypt(body), AES.block_size, style="pkcs7")
        except (StreamError, ValueError) as error:  # ValueError: the key doesn't fit
            self.lose(segment, error, counts=not is_map)
            self._initialized = self._initialized and not is_map
            return
        begins = is_map or (self._begins and segment.map is None)
        if self.stream.parse_packed_audio and not is_map:
            if begins:
                self.stream.packed_audio_timestamp = None
            body = b"".join(self._parse_packed_audio_timestamp(iter([body])))
        self._begins = False
        seconds = 0.0 if is_map else segment.duration
        self.takes.put(body, seconds, begins=begins, start=self.stream.packed_audio_timestamp or 0.0)


class _Worker(Worker, HLSStreamWorker):  # type: ignore[misc]
    sequence: int
    _refusals = 0

    @override
    def reload(self) -> None:
        try:
            super().reload()
        except StreamError as error:
            takes = self.reader.takes
            if self.sequence < 0:
                takes.failure = error
            self._refusals = self._refusals + 1 if refused(status_of(error)) else 0
            if self._refusals >= _REFUSALS:
                takes.removed = True
                self.close()
            raise
        self._refusals = 0

    @override
    def process_segments(self, playlist: Playlist) -> None:
        found = playlist.segments
        if any(each.key and _is_protected(each.key) for each in found):
            raise Encrypted
        if playlist.playlist_type == "EVENT":
            self.hls_live_restart = True
        if found[-1].num < self.sequence - len(found):  # the encoder was restarted, and counts from the beginning
            first = found[-min(len(found), self.live_edge)]
            first.discontinuity, self.sequence = True, first.num
        super().process_segments(playlist)

    @override
    def check_sequence_gap(self, segment: HLSSegment) -> None:
        if (missed := segment.num - self.sequence) > 0:  # the window moved on
            self.reader.takes.missing.add(missed, missed * segment.duration)


class _Reader(Reader, HLSStreamReader):  # type: ignore[misc]
    __worker__ = _Worker
    __writer__ = _Writer


class _Stream(HLSStream):  # type: ignore[misc]
    __parser__ = Parser


def _is_protected(key: Key) -> bool:
    return key.method not in {"NONE", "AES-128"} or (key.key_format or "identity") != "identity"
