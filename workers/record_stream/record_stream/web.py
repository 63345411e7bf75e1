"""HTTP to untrusted servers. Every connection goes to an address that was checked first.

Nothing else in this worker opens a connection. yt-dlp gets a handler that calls this module, and FFmpeg gets bytes
(except for RTMP, for which it gets an address from here). So `switchyard.urls` decides about every URL that a page, a
playlist or a redirect names.
"""

import http.client
import ssl
import string
from collections.abc import Mapping, Sequence
from socket import AddressFamily
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

from switchyard.urls import Network, UrlNotAllowed, http_host, open_public_socket, resolve_public

SECONDS = 15.0
"""Seconds that a server may send nothing."""
REDIRECTS = 5
PAGE_BYTES = 4 * 2**20
"""Maximum size of a page, a playlist or a manifest."""

_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te", "upgrade"})
_TLS = ssl.create_default_context()


class WebError(Exception):
    """A request to a server failed."""


class Refused(WebError):
    """The server rejected the request. A retry can't help."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class Unreachable(WebError):
    """The server did not answer, broke off, or reported an error of its own. A retry may help."""


class TooLarge(WebError):
    """The response exceeds the limit."""


class Answer:
    """A response whose body is read in pieces."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, url: str) -> None:
        self._connection = connection
        self._response = response
        self.url = url
        self.status = response.status
        self.headers = response.headers

    def read(self, size: int) -> bytes:
        """Up to `size` bytes; none only at the end.

        Raises:
            Unreachable: the connection broke, or nothing came for `SECONDS`.
        """
        try:
            data = self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(type(error).__name__) from error
        if not data and size and self._response.length:  # http.client takes a truncated body for a complete one
            raise Unreachable("truncated response")
        return data

    def read_all(self, limit: int = PAGE_BYTES) -> bytes:
        """The whole body.

        Raises:
            TooLarge: the body has more than `limit` bytes.
            Unreachable: see `read`.
        """
        with self:
            pieces, size = [], 0
            while data := self.read(64 * 1024):
                pieces.append(data)
                size += len(data)
                if size > limit:
                    raise TooLarge
            return b"".join(pieces)

    def close(self) -> None:
        """Close the connection."""
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Web:
    """Makes requests.

    Args:
        allowed: private networks that may be reached.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """Send a GET request, and return its successful response.

        Raises:
            UrlNotAllowed: the URL, or one it redirects to, isn't allowed.
            Refused: 4xx.
            Unreachable: any other failure.
        """
        answer = self.request("GET", url, headers or {})
        if answer.status in {200, 206}:
            return answer
        answer.close()
        if 400 <= answer.status < 500 and answer.status not in {408, 425, 429}:
            raise Refused(answer.status)
        raise Unreachable(f"HTTP {answer.status}")

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Send a request, follow at most `REDIRECTS` redirects, and return the response, whatever its status.

        Raises:
            UrlNotAllowed, Unreachable: see `open`.
        """
        for _ in range(REDIRECTS + 1):
            answer = self._once(method, url, headers, body)
            target = answer.headers.get("Location")
            if answer.status not in _REDIRECTED or not target:
                return answer
            answer.close()
            try:
                url = urljoin(url, target)
            except ValueError:
                raise UrlNotAllowed("the URL can't be read") from None
            if answer.status not in {307, 308}:
                method, body = "GET", None
        raise Unreachable("too many redirects")

    def address(self, host: str, port: int) -> str:
        """An allowed address of the host, in a URL's notation.

        Raises:
            UrlNotAllowed: the host doesn't exist, or has an address that isn't allowed.
            OSError: the host can't be resolved at the moment.
        """
        family, (address, *_) = resolve_public(host, port, self._allowed)[0]
        return f"[{address}]" if family is AddressFamily.AF_INET6 else str(address)

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        host, port = http_host(url)
        parts = urlsplit(url)
        kind = _Tls if parts.scheme == "https" else _Plain
        connection = kind(host, port, self._allowed)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        sent |= {"Accept-Encoding": "identity", "Connection": "close"}
        try:
            connection.request(method, quote(target, safe=string.punctuation), body, sent)
            return Answer(connection, connection.getresponse(), url)
        except UrlNotAllowed:
            connection.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise Unreachable(type(error).__name__) from error


class _Plain(http.client.HTTPConnection):
    def __init__(self, host: str, port: int, allowed: Sequence[Network]) -> None:
        super().__init__(host, port, timeout=SECONDS)
        self._allowed = allowed

    def connect(self) -> None:
        self.sock = open_public_socket(self.host, self.port, self._allowed, SECONDS)


class _Tls(_Plain):
    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = _TLS.wrap_socket(self.sock, server_hostname=self.host)
