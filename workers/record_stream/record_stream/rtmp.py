"""RTMP, which FFmpeg alone speaks: it is sent to an address that was looked at, and let by that protocol alone."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from record_stream.web import Web
from switchyard.urls import UrlNotAllowed

SCHEME = "rtmp://"
_PORT = 1935


@dataclass(frozen=True, slots=True)
class RtmpStream:
    """What FFmpeg is given: an address with no name left in it, and what the server is to be told."""

    url: str
    options: Mapping[str, str]


def opened(web: Web, url: str) -> RtmpStream:
    """The stream at `url`. Its server can't send FFmpeg elsewhere: it knows no redirects of RTMP.

    Raises:
        UrlNotAllowed: its address isn't.
        OSError: it can't be resolved.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or _PORT
    except ValueError:
        raise UrlNotAllowed("the URL's port is not a number from 1 to 65535") from None
    if "@" in parts.netloc:
        raise UrlNotAllowed("the URL must not hold a user name or password")
    address = web.address(host, port)
    app, _, name = parts.path.strip("/").partition("/")
    name += f"?{parts.query}" if parts.query else ""
    told = {"rtmp_app": app, "rtmp_playpath": name, "rtmp_tcurl": f"{SCHEME}{parts.netloc}/{app}"}
    return RtmpStream(f"{SCHEME}{address}:{port}/{app}", told)
