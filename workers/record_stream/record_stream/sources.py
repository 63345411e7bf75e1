"""From a URL to the streams that FFmpeg reads: one, or separate video and audio."""

import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from requests import RequestException, Response
from requests.exceptions import HTTPError, InvalidSchema, InvalidURL, MissingSchema
from streamlink.exceptions import StreamlinkError
from streamlink.session import Streamlink
from urllib3.exceptions import HTTPError as TransferError

from record_stream import dash, hls, rtmp
from record_stream.egress import PAGE_BYTES, Session, TooLarge, Unusable, WebFile, cause, refused
from record_stream.segments import streamlink
from record_stream.takes import Missing, SegmentTake
from switchyard.urls import UrlNotAllowed
from switchyard_worker import PermanentFailure, TryAgain, WorkerError

type Take = SegmentTake | WebFile | rtmp.RtmpStream


class Takes(Protocol):
    """What a source gives.

    Attributes:
        removed: whether its server has removed it, as many live streams end.
        missing: what it should have given and didn't.
    """

    removed: bool
    missing: Missing

    @property
    def failure(self) -> Exception | None:
        """Why it ended early, if it did."""

    def __iter__(self) -> Iterator[Take]:
        """Yield each take."""


type Source = Callable[[], Takes]
"""Opens a stream."""

_PEEK = 2048


class _Only:
    """A single take."""

    removed = False

    def __init__(self, take: WebFile | rtmp.RtmpStream) -> None:
        self.missing = Missing()
        self._take = take

    @property
    def failure(self) -> Exception | None:
        """Why the file ended early, if it did."""
        return self._take.failure if isinstance(self._take, WebFile) else None

    def __iter__(self) -> Iterator[Take]:
        yield self._take


def sources(session: Session, url: str, stop: threading.Event) -> list[Source]:
    """Find what to record at `url`: a stream, or a page with one. `stop` ends it.

    Raises:
        PermanentFailure, TryAgain: there is nothing to record, or it can't be reached.
    """
    client = streamlink(session)
    try:
        found = _direct(client, url, stop)
        if found is None:
            from record_stream import pages  # noqa: PLC0415 - yt-dlp takes a second to import, and few addresses need it

            found = []
            for each in pages.find(session, url):
                session.headers.update(each.headers)
                found += _direct(client, each.url, stop) or ()
    except (StreamlinkError, RequestException, TransferError, UrlNotAllowed, Unusable, TooLarge, OSError) as error:
        raise explained(error) from error
    if not found:
        raise PermanentFailure("NOT_A_STREAM", "there is no stream on that page that can be recorded")
    return found


def explained(error: Exception) -> WorkerError:
    """The job's error for an error on the way to a stream. It quotes only our own texts, which contain no URLs."""
    found = cause(error)
    if isinstance(found, WorkerError):
        return found
    code, message = _told(found)
    return TryAgain(code, message) if code == "STREAM_UNREACHABLE" else PermanentFailure(code, message)


def _told(error: BaseException) -> tuple[str, str]:
    match error:
        case UrlNotAllowed():
            told = "URL_NOT_ALLOWED", str(error)
        case InvalidSchema() | InvalidURL() | MissingSchema():
            told = "URL_NOT_ALLOWED", "the URL can't be read"
        case Unusable(code=code):
            told = code, str(error)
        case TooLarge():
            told = "NOT_A_STREAM", "the URL returns more than a page, a playlist or a segment may have"
        case HTTPError(response=Response(status_code=(404 | 410) as status)):
            told = (
                "STREAM_NOT_FOUND",
                f"the stream's server answered HTTP {status}: check the URL, or the stream is over",
            )
        case HTTPError(response=Response(status_code=status)) if refused(status):
            told = "STREAM_REFUSED", f"the stream's server answered HTTP {status}: it may want a login or a fresh link"
        case RequestException() | TransferError() | EOFError() | OSError():
            told = (
                "STREAM_UNREACHABLE",
                "the stream's server does not answer, or answers with an error: try again later",
            )
        case _:
            told = "NOT_A_STREAM", "what the URL returns is not a stream: send the URL of a stream, a file or a page"
    return told


def _direct(client: Streamlink, url: str, stop: threading.Event) -> list[Source] | None:
    """The sources of a stream; None if `url` is a page."""
    session: Session = client.http
    if url.startswith(rtmp.SCHEME):
        return [lambda: _Only(rtmp.opened(session, url))]
    answer = session.get(url, stream=True)
    with answer:
        kind = answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        head = answer.raw.read(_PEEK, decode_content=True)
        start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
        if start.startswith(hls.MARK):
            return _hls(client, _whole(head, answer), url, answer.url, stop)
        if kind == "application/dash+xml" or (start.startswith(b"<") and b"<MPD" in start):
            return _dash(client, _whole(head, answer), answer.url, stop)
        if kind in {"text/html", "application/xhtml+xml"} or start[:14].lower().startswith(
            (b"<!doctype html", b"<html")
        ):
            return None
    return [lambda: _Only(WebFile(session, url, stop))]


def _whole(head: bytes, answer: Response) -> bytes:
    body: bytes = head + answer.raw.read(PAGE_BYTES, decode_content=True)
    if len(body) > PAGE_BYTES:
        raise TooLarge
    return body


def _hls(client: Streamlink, body: bytes, url: str, base: str, stop: threading.Event) -> list[Source]:
    found = hls.parse(body, base)
    where = hls.best(found) if found.is_master else (url, None)
    return [partial(hls.begin, client, each, stop) for each in where if each]


def _dash(client: Streamlink, body: bytes, url: str, stop: threading.Event) -> list[Source]:
    manifest = dash.Manifest(client, url, body)

    def source(kind: dash.Kind) -> Source:
        if (single := manifest.single(kind)) is not None:
            return lambda: _Only(WebFile(client.http, single, stop))
        return lambda: manifest.begin(kind, stop)

    return [source(kind) for kind in manifest.kinds]
