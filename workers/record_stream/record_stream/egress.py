"""HTTP to untrusted servers. Every connection goes to an address that was checked first.

Nothing else in this worker opens a connection: Streamlink and yt-dlp get a session from here, and FFmpeg gets bytes
(except for RTMP, for which it gets an address from here). So `switchyard.urls` decides about every URL that a page, a
playlist, a manifest or a redirect names.
"""

import itertools
import threading
from collections.abc import Iterator, Sequence
from socket import AddressFamily, socket
from typing import Any, override

import requests
import urllib3
from requests.adapters import HTTPAdapter
from requests.exceptions import HTTPError
from streamlink.session.http import HTTPSession
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool

from switchyard.urls import Network, UrlNotAllowed, http_host, open_public_socket, resolve_public

SECONDS = 15.0
"""Seconds that a server may send nothing."""
REDIRECTS = 5
PAGE_BYTES = 4 * 2**20
"""Maximum size of a page, a playlist or a manifest."""
BODY_BYTES = 64 * 2**20
"""Maximum size of any other body that is held in memory, such as a segment."""
TEMPORARY = frozenset({408, 425, 429})
"""Statuses below 500 that a server may take back."""
_PAUSE = 0.3


class TooLarge(Exception):
    """The response exceeds the limit."""


class Unusable(ValueError):
    """A playlist or manifest can't be used. The text says why, and quotes nothing of it.

    Args:
        message: for people.
        code: the job's error code.
    """

    def __init__(self, message: str, code: str = "NOT_A_STREAM") -> None:
        super().__init__(message)
        self.code = code


class Encrypted(Unusable):
    """The stream is encrypted in a way that needs a licence."""

    def __init__(self) -> None:
        super().__init__("the stream is protected (DRM): record a source without protection", "STREAM_ENCRYPTED")


_KNOWN = (TooLarge, Unusable, requests.RequestException, urllib3.exceptions.HTTPError, EOFError)


class Body:
    """A response's body, as requests reads it, up to a limit.

    Args:
        raw: urllib3's response.
        limit: bytes, after decompression.
    """

    def __init__(self, raw: Any, limit: int) -> None:  # noqa: ANN401
        self._raw = raw
        self._limit = limit

    def stream(self, size: int, *, decode_content: bool) -> Iterator[bytes]:
        """Yield the body. TooLarge: it exceeds the limit."""
        left = self._limit
        for chunk in self._raw.stream(max(size, 65_536), decode_content=decode_content):
            left -= len(chunk)
            if left < 0:
                raise TooLarge
            yield chunk

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._raw, name)


class _Adapter(HTTPAdapter):
    """Checks each request's URL, and connects to the address that was checked."""

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed
        super().__init__()

    @override
    def init_poolmanager(self, *arguments: Any, **options: Any) -> None:
        super().init_poolmanager(*arguments, **options)
        allowed = self._allowed

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket:
                seconds = self.timeout if isinstance(self.timeout, int | float) else SECONDS
                return open_public_socket(self._dns_host, self.port, allowed, seconds)

        class Tls(Plain, HTTPSConnection):
            pass

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class TlsPool(HTTPSConnectionPool):
            ConnectionCls = Tls

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": TlsPool}

    @override
    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:
        http_host(request.url or "")
        response = super().send(request, *arguments, **options)
        response.raw = Body(response.raw, BODY_BYTES)
        return response


class Session(HTTPSession):
    """The session of Streamlink, yt-dlp and plain files. Cookies live as long as it does.

    Args:
        allowed: private networks that may be reached.
        stop: ends retries.
    """

    def __init__(self, allowed: Sequence[Network], stop: threading.Event) -> None:
        super().__init__()
        self.trust_env = False  # no proxies, no .netrc
        self.max_redirects = REDIRECTS
        self.timeout = SECONDS
        self._allowed = allowed
        self._stop = stop
        self.adapters.clear()
        self.mount("", _Adapter(allowed))  # whatever the scheme is

    @override
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        return requests.Session.get_redirect_target(self, resp)  # the adapter decides, not the scheme

    @override
    def request(self, method: str, url: str, *, retries: int = 0, **options: Any) -> Any:  # type: ignore[override]
        """As Streamlink's, but forbidden URLs aren't retried, a stop ends retries, and ranges hold.

        Raises:
            PluginError, or the given `exception`: any failure. `cause` finds the reason.
        """
        for attempt in itertools.count():
            try:
                response = super().request(method, url, **options)
            except Exception as error:
                hopeless = attempt == retries or isinstance(cause(error), UrlNotAllowed | TooLarge)
                if hopeless or self._stop.wait(_PAUSE * 2**attempt):
                    raise
            else:
                if not options.get("stream"):
                    _cut(response, (options.get("headers") or {}).get("Range", ""))
                return response
        return None

    def address(self, host: str, port: int) -> str:
        """An allowed address of the host, in a URL's notation.

        Raises:
            UrlNotAllowed: the host doesn't exist, or has an address that isn't allowed.
            OSError: the host can't be resolved at the moment.
        """
        family, (address, *_) = resolve_public(host, port, self._allowed)[0]
        return f"[{address}]" if family is AddressFamily.AF_INET6 else str(address)


def _cut(response: requests.Response, wanted: str) -> None:
    """Cut the wanted range out of a whole body: the server doesn't support ranges."""
    if wanted and response.status_code == 200:
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        response._content = response.content[int(first) : int(last) + 1 if last else None]  # noqa: SLF001


def cause(error: BaseException) -> BaseException:
    """The reason for a library's error: a forbidden URL if any, else the outermost error that `explained` knows."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None and inner not in chain:
        chain.append(inner)
    forbidden = next((each for each in chain if isinstance(each, UrlNotAllowed)), None)
    return forbidden or next((each for each in chain if isinstance(each, _KNOWN)), error)


def status_of(error: BaseException) -> int:
    """The HTTP status that caused an error; 0 if none did."""
    found = cause(error)
    return found.response.status_code if isinstance(found, HTTPError) and found.response is not None else 0


def refused(status: int) -> bool:
    """Whether a server with this status has rejected the request. A retry can't help."""
    return 400 <= status < 500 and status not in TEMPORARY


class WebFile:
    """One file on the web, for FFmpeg to read and, if the server supports ranges, to seek in.

    FFmpeg sometimes takes an error in `read` for the end of the file. So `read` returns the end, and keeps the error.
    """

    name = ""  # FFmpeg also guesses formats from names
    ATTEMPTS = 3

    def __init__(self, session: Session, url: str, stop: threading.Event) -> None:
        self.failure: Exception | None = None
        self._session = session
        self._url = url
        self._stop = stop
        self._position = 0
        self._answer: Any = None
        answer = self._opened()
        size = answer.headers.get("Content-Range", "").rpartition("/")[2]
        self._size = int(size) if answer.status_code == 206 and size.isdecimal() else None

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
        """Up to `size` bytes: at least one, except at the end or after an error, which `failure` keeps."""
        if self._size is not None and self._position >= self._size:
            return b""
        for attempt in range(self.ATTEMPTS):
            self._stop.wait(_PAUSE * 2**attempt if attempt else 0)
            try:
                data: bytes = self._opened().raw.read(size, decode_content=True)
                if not data and self._size is not None:
                    raise EOFError  # noqa: TRY301 - handled like any other broken connection
            except Exception as error:  # noqa: BLE001 - see above
                self._close()
                self.failure = error
                if refused(status_of(error)) or isinstance(cause(error), UrlNotAllowed) or not self.seekable():
                    return b""
            else:
                self.failure = None
                self._position += len(data)
                return data
        return b""

    def _opened(self) -> Any:  # noqa: ANN401
        if self._answer is None:
            headers = {"Range": f"bytes={self._position}-", "Accept-Encoding": "identity"}
            self._answer = self._session.get(self._url, headers=headers, stream=True)
            if self._position and self._answer.status_code != 206:
                raise EOFError("the server no longer supports ranges")
        return self._answer

    def _close(self) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None
