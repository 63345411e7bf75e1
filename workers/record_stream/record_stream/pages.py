"""Finds the stream of a web page with yt-dlp, used as a library with everything else switched off.

It downloads nothing, reads no configuration, and has no plugins, cookies, cache or programs to run. All its requests go
through our session. The URL is a function's argument, never part of a command line.
"""

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

os.environ["YTDLP_NO_PLUGINS"] = "1"  # before yt-dlp is imported: it looks for plugins then

from yt_dlp import YoutubeDL
from yt_dlp.globals import plugin_dirs
from yt_dlp.networking import RequestHandler, Response
from yt_dlp.networking.common import Features
from yt_dlp.networking.exceptions import HTTPError, TransportError
from yt_dlp.utils import DownloadError, ExtractorError, UnsupportedError, UserNotLive

from record_stream.egress import PAGE_BYTES, Session, TooLarge, cause
from switchyard.urls import UrlNotAllowed
from switchyard_worker import PermanentFailure, TryAgain

log = logging.getLogger(__name__)
_SMUGGLED = "#__youtubedl_smuggle"
"""The fragment by which yt-dlp's extractors pass each other orders, such as headers. Nobody else may give any."""
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te", "upgrade"})
_DRM = re.compile(r"\bDRM\b")
plugin_dirs.value = []

OPTIONS: Final[Mapping[str, Any]] = {
    "format": "b/bv*+ba/ba",  # video and audio together; else the best of each
    "noplaylist": True,
    "playlist_items": "1",
    "skip_download": True,
    "cachedir": False,
    "cookiefile": None,
    "cookiesfrombrowser": None,
    "usenetrc": False,
    "js_runtimes": {},
    "remote_components": [],
    "enable_file_urls": False,
    "allow_unplayable_formats": False,
    "check_formats": False,
    "extractor_retries": 1,
    "socket_timeout": 15,
    "quiet": True,
    "no_warnings": True,
    "noprogress": True,
    "color": "never",
}


@dataclass(frozen=True, slots=True)
class Found:
    """A stream of a page: its URL, and the headers to request it with."""

    url: str
    headers: Mapping[str, str]


class _Quiet:
    """A logger that drops everything: yt-dlp's texts contain URLs."""

    def debug(self, _text: str) -> None:
        """Log nothing."""

    info = warning = error = debug


class _Handler(RequestHandler):  # type: ignore[misc] # yt-dlp ships no types
    """Sends yt-dlp's requests through a session."""

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    _SUPPORTED_PROXY_SCHEMES = None
    _SUPPORTED_FEATURES = (Features.NO_PROXY, Features.ALL_PROXY)
    session: Session
    refused: UrlNotAllowed | None = None

    def _check_extensions(self, extensions: dict[str, Any]) -> None:
        extensions.clear()  # ignore its wishes about cookies, timeouts and impersonation

    def _send(self, request: Any) -> Any:  # noqa: ANN401
        body = request.data if isinstance(request.data, bytes | None) else b"".join(request.data)
        headers = _allowed(self._get_headers(request))
        try:
            answer = self.session.request(
                request.method, request.url, data=body, headers=headers, stream=True, raise_for_status=False
            )
            with answer:
                content = answer.raw.read(PAGE_BYTES + 1, decode_content=True)
        except Exception as error:
            if isinstance(reason := cause(error), UrlNotAllowed):
                type(self).refused = reason
            raise TransportError(cause=error) from error
        if len(content) > PAGE_BYTES:
            raise TransportError(cause=TooLarge())
        # It is decoded already.
        told = {name: value for name, value in answer.headers.items() if name.lower() != "content-encoding"}
        response = Response(BytesIO(content), _plain(answer.url), told, answer.status_code)
        if answer.status_code >= 400:
            raise HTTPError(response)
        return response


def find(session: Session, url: str) -> list[Found]:
    """Find the streams of the page at `url`: one, or separate video and audio.

    Raises:
        PermanentFailure: there is none, or it has not begun.
        TryAgain: the page's servers don't answer.
    """

    class Handler(_Handler):  # yt-dlp makes the instances, so the class holds their session; its name must end in RH
        pass

    Handler.__name__, Handler.session = "SwitchyardRH", session

    class Finder(YoutubeDL):  # type: ignore[misc]
        def build_request_director(self, _handlers: object, preferences: object = None) -> Any:  # noqa: ANN401
            return super().build_request_director([Handler], preferences)

    try:
        with Finder({**OPTIONS, "logger": _Quiet()}, auto_init=False) as finder:
            finder.add_default_info_extractors()
            info = finder.extract_info(_plain(url), download=False)
    except Exception as error:
        # yt-dlp's extractors raise anything for a page that has changed since they were written.
        raise _explained(error, Handler.refused) from error
    if info and info.get("_type") == "playlist":
        info = next(iter(info.get("entries") or ()), None)
    if not info:
        raise PermanentFailure("NOT_A_STREAM", "there is no stream on that page")
    if info.get("live_status") == "is_upcoming":
        raise PermanentFailure("LIVE_OFFLINE", "the stream has not begun yet")
    found = [_found(each) for each in info.get("requested_formats") or [info]]
    return list({each.url: each for each in found}.values())  # a DASH manifest has both video and audio


def _plain(url: str) -> str:
    return url.partition(_SMUGGLED)[0]


def _found(told: Mapping[str, Any]) -> Found:
    url = told.get("manifest_url" if told.get("protocol") == "http_dash_segments" else "url")
    if not isinstance(url, str):  # a list's entry may be just a title
        raise PermanentFailure("NOT_A_STREAM", "there is no stream on that page")
    return Found(url, _allowed(told.get("http_headers") or {}))


def _allowed(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _OURS}


def _explained(error: Exception, refused: UrlNotAllowed | None) -> PermanentFailure | TryAgain:
    """The job's error for yt-dlp's error, without its text: that is for a terminal and contains URLs."""
    reason = error.exc_info[1] if isinstance(error, DownloadError) and error.exc_info else error
    log.info("yt-dlp found nothing", extra={"fields": {"cause": type(reason).__name__}})
    if refused is not None:
        return PermanentFailure("URL_NOT_ALLOWED", str(refused))
    expected = isinstance(reason, UnsupportedError) or (isinstance(reason, ExtractorError) and reason.expected)
    inner = getattr(reason, "cause", None)
    told = "NOT_A_STREAM", "no stream found: the page can't be parsed"
    if isinstance(reason, UserNotLive):
        told = "LIVE_OFFLINE", "nobody is live on that page"
    elif isinstance(reason, ExtractorError) and _DRM.search(str(reason)):
        told = "STREAM_ENCRYPTED", "the page's stream is protected (DRM) and can't be recorded"
    elif expected:
        told = "NOT_A_STREAM", "there is no stream on that page that can be recorded"
    elif isinstance(inner, HTTPError) and inner.status < 500:
        told = "STREAM_REFUSED", f"the page's server rejected the request (HTTP {inner.status}): it may want a login"
    elif isinstance(inner, HTTPError | TransportError):
        return TryAgain("STREAM_UNREACHABLE", "the page's server does not answer, or answers with an error")
    return PermanentFailure(*told)
