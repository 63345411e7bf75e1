"""HTTP to servers that strangers name. Every connection is made to an address that was looked at first.

Nothing else in this worker opens a connection: yt-dlp is given a handler that comes here, FFmpeg is given bytes (but
for RTMP, where it is given an address from here). So whatever a page, a playlist or a redirect names, it is
`switchyard.urls` that has the say.
"""

import http.client
import ssl
import string
from collections.abc import Mapping, Sequence
from socket import AddressFamily
from typing import Self
from urllib.parse import quote, urljoin, urlsplit

from switchyard.urls import Network, UrlNotAllowed, check_public, open_public_socket, resolve_public

SECONDS = 15.0
"""How long a server may keep silent."""
REDIRECTS = 5
PAGE_BYTES = 4 * 2**20
"""The most a page, a playlist or a manifest may have."""

_REDIRECTED = frozenset({301, 302, 303, 307, 308})
_OURS = frozenset({"host", "connection", "content-length", "transfer-encoding", "accept-encoding", "te", "upgrade"})
_TLS = ssl.create_default_context()


class WebError(Exception):
    """A server did not send what it was asked for."""


class Refused(WebError):
    """It said no: asking again won't help."""

    def __init__(self, status: int) -> None:
        super().__init__(f"HTTP {status}")
        self.status = status


class Unreachable(WebError):
    """It did not answer, broke off, or has troubles of its own: it may be better in a moment."""


class TooLarge(WebError):
    """It sends more than is accepted."""


class Answer:
    """A response whose body is read bit by bit."""

    def __init__(self, connection: http.client.HTTPConnection, response: http.client.HTTPResponse, url: str) -> None:
        self._connection = connection
        self._response = response
        self.url = url
        self.status = response.status
        self.headers = response.headers

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, none only at the end.

        Raises:
            Unreachable: the connection broke, or nothing came for `SECONDS`.
        """
        try:
            data = self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(type(error).__name__) from error
        if not data and size and self._response.length:  # http.client takes a body that is cut short for its end
            raise Unreachable("cut short")
        return data

    def read_all(self, limit: int = PAGE_BYTES) -> bytes:
        """The whole body.

        Raises:
            TooLarge: it has more than `limit` bytes.
            Unreachable: as `read`.
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
        """End the connection."""
        self._response.close()
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()


class Web:
    """Makes requests.

    Args:
        allowed: networks that may be reached though they aren't public.
    """

    def __init__(self, allowed: Sequence[Network]) -> None:
        self._allowed = allowed

    def open(self, url: str, headers: Mapping[str, str] | None = None) -> Answer:
        """A successful answer to GET.

        Raises:
            UrlNotAllowed: of the address, or of one it redirects to.
            Refused: 4xx.
            Unreachable: anything else that may go wrong.
        """
        answer = self.request("GET", url, headers or {})
        if answer.status in {200, 206}:
            return answer
        answer.close()
        if 400 <= answer.status < 500 and answer.status not in {408, 425, 429}:
            raise Refused(answer.status)
        raise Unreachable(f"HTTP {answer.status}")

    def request(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> Answer:
        """Whatever answers in the end, after at most `REDIRECTS` redirects.

        Raises:
            UrlNotAllowed, Unreachable: as `open`.
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
        """An address of the host that may be connected to, as a URL has it.

        Raises:
            UrlNotAllowed: it has none, or one that isn't allowed.
            OSError: it can't be resolved.
        """
        family, (address, *_) = resolve_public(host, port, self._allowed)[0]
        return f"[{address}]" if family is AddressFamily.AF_INET6 else str(address)

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        check_public(url, self._allowed)
        parts = urlsplit(url)
        kind = _Tls if parts.scheme == "https" else _Plain
        connection = kind((parts.hostname or "").encode("idna").decode(), parts.port, self._allowed)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {name: value for name, value in headers.items() if name.lower() not in _OURS}
        sent |= {"Accept-Encoding": "identity", "Connection": "close"}
        try:
            connection.request(method, quote(target, safe=string.punctuation), body, sent)
            return Answer(connection, connection.getresponse(), url)
        except UrlNotAllowed:  # the name resolves to something else by now
            connection.close()
            raise
        except (OSError, http.client.HTTPException, ValueError) as error:
            connection.close()
            raise Unreachable(type(error).__name__) from error


class _Plain(http.client.HTTPConnection):
    def __init__(self, host: str, port: int | None, allowed: Sequence[Network]) -> None:
        super().__init__(host, port or self.default_port, timeout=SECONDS)
        self._allowed = allowed

    def connect(self) -> None:
        self.sock = open_public_socket(self.host, self.port, self._allowed, SECONDS)


class _Tls(_Plain):
    default_port = http.client.HTTPS_PORT

    def connect(self) -> None:
        super().connect()
        self.sock = _TLS.wrap_socket(self.sock, server_hostname=self.host)
