"""One HTTP host of a provider: requests with a deadline and a bounded response, no redirects, no secrets in errors.

The standard library's `http.client`, on purpose: it follows no redirect, reads no proxy settings, logs nothing, and
X-Ray is not told to record it. urllib3 logs each URL, and its exceptions hold it; Steam's URLs contain the key.
"""

from __future__ import annotations

import ssl
import time
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from switchyard.errors import SwitchyardError

if TYPE_CHECKING:
    from collections.abc import Mapping

_LOCAL = frozenset({"127.0.0.1", "localhost"})
_CHUNK = 1 << 16
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
"""For the response's first byte, and for the whole of its body."""
MAX_BODY = 16 << 20
"""A library of 5,000 games is about 1.5 MB."""


class NoAnswer(SwitchyardError):
    """The request got no complete response. The text names no URL."""

    code = "NO_ANSWER"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response, whatever its status. `retry_after` is the header as sent."""

    status: int
    body: bytes
    retry_after: str | None = None


class Site:
    """A provider's API under one base URL: https, or http on this machine for the stand-in.

    Raises:
        ValueError: the URL is anything else.
    """

    def __init__(self, base_url: str, *, seconds: float = ANSWER_SECONDS) -> None:
        parts = urlsplit(base_url)
        local = parts.scheme == "http" and parts.hostname in _LOCAL
        if not (local or parts.scheme == "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("a provider's address must be an https URL without a query")
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._seconds = seconds
        self._context = None if local else ssl.create_default_context()

    def get(self, path: str, query: Mapping[str, str]) -> Answer:
        """Sends a GET request.

        Raises:
            NoAnswer: there was no complete response in time, or it was too long.
        """
        return self._ask("GET", f"{path}?{urlencode(query)}", None, {})

    def post(self, path: str, body: str, headers: Mapping[str, str]) -> Answer:
        """Sends a POST request with a text as its body.

        Raises:
            NoAnswer: as `get`.
        """
        return self._ask("POST", path, body.encode(), headers)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        connection = self._connection()
        try:
            connection.connect()
            connection.sock.settimeout(self._seconds)
            deadline = time.monotonic() + self._seconds
            connection.request(method, self._path + path, body, {"Accept": "application/json", **headers})
            response = connection.getresponse()
            return Answer(response.status, _read(response, deadline), response.headers.get("Retry-After"))
        except (OSError, HTTPException, ValueError) as error:
            failure = NoAnswer(f"no complete response: {type(error).__name__}")
        finally:
            connection.close()
        raise failure  # here, so that it has no context: some of the library's texts quote the request line

    def _connection(self) -> HTTPConnection:
        if self._context is None:
            return HTTPConnection(self._host, self._port, timeout=CONNECT_SECONDS)
        return HTTPSConnection(self._host, self._port, timeout=CONNECT_SECONDS, context=self._context)


def _read(response: HTTPResponse, deadline: float) -> bytes:
    """Reads the whole body.

    Raises:
        NoAnswer: it is longer than `MAX_BODY`, or isn't complete at `deadline`.
        OSError, HTTPException: the connection broke.
    """
    body = bytearray()
    while chunk := response.read1(_CHUNK):
        body += chunk
        if len(body) > MAX_BODY:
            raise NoAnswer(f"the response is longer than {MAX_BODY} bytes")
        if time.monotonic() > deadline:
            raise NoAnswer("the response took too long")
    if response.length:  # `read1` ends quietly where `read` would raise IncompleteRead
        raise NoAnswer("the connection broke during the response")
    return bytes(body)
