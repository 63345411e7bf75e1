"""Finds the stream of a web page with yt-dlp, used as a library with everything else switched off.

It downloads nothing, reads no configuration, and has no plugins, cookies, cache or programs to run. All its requests go
through `Web`. The URL is a function's argument, never part of a command line.
"""

import logging
import os
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

from record_stream.web import TooLarge, Unreachable, Web
from switchyard.urls import UrlNotAllowed
from switchyard_worker import PermanentFailure, TryAgain

log = logging.getLogger(__name__)
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
    """Sends yt-dlp's requests through a `Web`."""

    _SUPPORTED_URL_SCHEMES = ("http", "https")
    _SUPPORTED_PROXY_SCHEMES = None
    _SUPPORTED_FEATURES = (Features.NO_PROXY, Features.ALL_PROXY)
    web: Web
    refused: UrlNotAllowed | None = None

    def _check_extensions(self, extensions: dict[str, Any]) -> None:
        extensions.clear()  # ignore its wishes about cookies, timeouts and impersonation

    def _send(self, request: Any) -> Any:  # noqa: ANN401
        body = request.data if isinstance(request.data, bytes | None) else b"".join(request.data)
        try:
            answer = self.web.request(request.method, request.url, dict(self._get_headers(request)), body)
            content = BytesIO(answer.read_all())
        except UrlNotAllowed as error:
            type(self).refused = error
            raise TransportError(cause=error) from error
        except (Unreachable, TooLarge) as error:
            raise TransportError(cause=error) from error
        response = Response(content, answer.url, dict(answer.headers.items()), answer.status)
        if answer.status >= 400:
            raise HTTPError(response)
        return response


def find(web: Web, url: str) -> list[Found]:
    """Find the streams of the page at `url`: one, or separate video and audio.

    Raises:
        PermanentFailure: there is none, or it has not begun.
        TryAgain: the page's servers don't answer.
    """

    class Handler(_Handler):  # yt-dlp makes the instances, so the class holds their `web`; its name must end in RH
        pass

    Handler.__name__, Handler.web = "SwitchyardRH", web

    class Finder(YoutubeDL):  # type: ignore[misc]
        def build_request_director(self, _handlers: object, preferences: object = None) -> Any:  # noqa: ANN401
            return super().build_request_director([Handler], preferences)

    try:
        with Finder({**OPTIONS, "logger": _Quiet()}, auto_init=False) as finder:
            finder.add_default_info_extractors()
            info = finder.extract_info(url, download=False)
    except Exception as error:
        # yt-dlp's extractors raise anything for a page that has changed since they were written.
        raise _explained(error, Handler.refused) from error
    if info and info.get("_type") == "playlist":
        info = next(iter(info.get("entries") or ()), None)
    if not info:
        raise PermanentFailure("NOT_A_STREAM", "there is no stream on that page")
    if info.get("live_status") == "is_upcoming":
        raise PermanentFailure("LIVE_OFFLINE", "the stream has not begun yet")
    return [_found(each) for each in info.get("requested_formats") or [info]]


def _found(told: Mapping[str, Any]) -> Found:
    url = told.get("manifest_url" if told.get("protocol") == "http_dash_segments" else "url")
    if not isinstance(url, str):  # a list's entry may be just a title
        raise PermanentFailure("NOT_A_STREAM", "there is no stream on that page")
    return Found(url, told.get("http_headers") or {})


def _explained(error: Exception, refused: UrlNotAllowed | None) -> PermanentFailure | TryAgain:
    """The job's error for yt-dlp's error, without its text: that is for a terminal and contains URLs."""
    cause = error.exc_info[1] if isinstance(error, DownloadError) and error.exc_info else error
    log.info("yt-dlp found nothing", extra={"fields": {"cause": type(cause).__name__}})
    if refused is not None:
        return PermanentFailure("URL_NOT_ALLOWED", str(refused))
    if isinstance(cause, UserNotLive):
        return PermanentFailure("LIVE_OFFLINE", "nobody is live on that page")
    if isinstance(cause, UnsupportedError) or (isinstance(cause, ExtractorError) and cause.expected):
        return PermanentFailure("NOT_A_STREAM", "there is no stream on that page that can be recorded")
    inner = getattr(cause, "cause", None)
    if isinstance(inner, HTTPError) and inner.status < 500:
        return PermanentFailure("STREAM_REFUSED", f"the page's server rejected the request (HTTP {inner.status})")
    if isinstance(inner, HTTPError | TransportError):
        return TryAgain("STREAM_UNREACHABLE", "the page's server does not answer, or answers with an error")
    return PermanentFailure("NOT_A_STREAM", "no stream found: the page can't be parsed")
