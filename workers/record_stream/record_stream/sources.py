"""From a URL to the files that FFmpeg reads: one, or separate video and audio."""

import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from record_stream import dash, hls, rtmp
from record_stream.segments import BadPlaylist, Playlist, SegmentFile, WebFile, bodies, follow
from record_stream.web import Refused, TooLarge, Unreachable, Web
from switchyard.urls import UrlNotAllowed
from switchyard_worker import PermanentFailure, TryAgain, WorkerError

type Source = Callable[[threading.Event], SegmentFile | WebFile | rtmp.RtmpStream]
"""Opens a stream. The event stops it."""

_PEEK = 2048


def sources(web: Web, url: str) -> list[Source]:
    """Find what to record at `url`: a stream, or a page with one.

    Raises:
        PermanentFailure, TryAgain: there is nothing to record, or it can't be reached.
    """
    try:
        found = _direct(web, url, {})
        if found is None:
            from record_stream import pages  # noqa: PLC0415 - yt-dlp takes a second to import, and few addresses need it

            found = [source for each in pages.find(web, url) for source in _direct(web, each.url, each.headers) or ()]
    except (UrlNotAllowed, Refused, Unreachable, TooLarge, BadPlaylist) as error:
        raise explained(error) from error
    if not found:
        raise PermanentFailure("NOT_A_STREAM", "there is no stream on that page that can be recorded")
    return found


def explained(error: Exception) -> WorkerError:
    """The job's error for an error on the way to a stream. It quotes only our own texts, which contain no URLs."""
    match error:
        case WorkerError():
            return error
        case UrlNotAllowed():
            return PermanentFailure("URL_NOT_ALLOWED", str(error))
        case Refused(status=status):
            code = "STREAM_NOT_FOUND" if status in {404, 410} else "STREAM_REFUSED"
            return PermanentFailure(code, f"the stream's server answered HTTP {status}")
        case Unreachable() | OSError():
            return TryAgain("STREAM_UNREACHABLE", "the stream's server does not answer, or answers with an error")
        case BadPlaylist():
            return PermanentFailure("NOT_A_STREAM", str(error))
        case _:
            return PermanentFailure("NOT_A_STREAM", "what the URL returns is not a stream")


def _direct(web: Web, url: str, headers: Mapping[str, str]) -> list[Source] | None:
    """The sources of a stream; None if `url` is a page."""
    if url.startswith(rtmp.SCHEME):
        return [lambda _stop: rtmp.opened(web, url)]
    with web.open(url, headers) as answer:
        kind = answer.headers.get_content_type()
        head = answer.read(_PEEK)
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(hls.MARK):
            return _hls(web, url, headers)
        if kind == "application/dash+xml" or (start.startswith(b"<") and b"<MPD" in start):
            return _dash(web, url, headers)
        if kind in {"text/html", "application/xhtml+xml"} or start[:14].lower().startswith(
            (b"<!doctype html", b"<html")
        ):
            return None
    return [lambda stop: WebFile(web, url, headers, stop)]


def _hls(web: Web, url: str, headers: Mapping[str, str]) -> list[Source]:
    def read(where: str) -> hls.Master | Playlist:
        answer = web.open(where, headers)
        return hls.parse(answer.read_all().decode(errors="replace"), answer.url)

    def source(where: str) -> Source:
        def load() -> Playlist:
            found = read(where)
            if isinstance(found, hls.Master):
                raise BadPlaylist("a variant of the stream has variants of its own")
            return found

        return lambda stop: SegmentFile(bodies(web, headers, follow(load, stop), stop))

    found = read(url)
    if isinstance(found, Playlist):
        return [source(url)]
    return [source(where) for where in (found.best, found.audio) if where]


def _dash(web: Web, url: str, headers: Mapping[str, str]) -> list[Source]:
    def read() -> Mapping[dash.Kind, Playlist]:
        answer = web.open(url, headers)
        return dash.parse(answer.read_all(), answer.url, datetime.now(UTC))

    def source(kind: dash.Kind, playlist: Playlist) -> Source:
        def load() -> Playlist:
            found = read()
            if kind not in found:
                raise BadPlaylist("the DASH manifest has changed")
            return found[kind]

        match playlist.segments:
            case [only] if playlist.ended and only.init is None and only.part.first is None:
                return lambda stop: WebFile(web, only.part.url, headers, stop)  # a single file, which may be large
        return lambda stop: SegmentFile(bodies(web, headers, follow(load, stop), stop))

    return [source(kind, playlist) for kind, playlist in read().items()]
