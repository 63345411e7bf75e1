"""RTMP, which only FFmpeg speaks. FFmpeg gets a checked address, and may use no other protocol."""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from record_stream.egress import Session
from switchyard.urls import UrlNotAllowed

SCHEME = "rtmp://"
_PORT = 1935


@dataclass(frozen=True, slots=True)
class RtmpStream:
    """FFmpeg's input: a URL with an IP address as host, and options for the server."""

    url: str
    options: Mapping[str, str]


def opened(session: Session, url: str) -> RtmpStream:
    """Open the stream at `url`. The server can't redirect FFmpeg: it doesn't support redirects of RTMP.

    Raises:
        UrlNotAllowed: its host doesn't exist, or its address isn't allowed.
        OSError: its host can't be resolved at the moment.
    """
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or _PORT
    except ValueError:
        raise UrlNotAllowed("the URL's port is not a number from 1 to 65535") from None
    if "@" in parts.netloc:
        raise UrlNotAllowed("the URL must not hold a user name or password")
    address = session.address(host, port)
    app, _, name = parts.path.strip("/").partition("/")
    name += f"?{parts.query}" if parts.query else ""
    told = {"rtmp_app": app, "rtmp_playpath": name, "rtmp_tcurl": f"{SCHEME}{parts.netloc}/{app}"}
    return RtmpStream(f"{SCHEME}{address}:{port}/{app}", told)
