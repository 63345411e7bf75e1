"""One HTTP host: requests with a deadline and a bounded response, no redirects, no secrets in errors.

The standard library's `http.client`, on purpose: it follows no redirect, reads no proxy settings, logs nothing, and
X-Ray is not told to record it. urllib3 logs each URL, and its exceptions hold it; Steam's URLs contain the key.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from switchyard.errors import SwitchyardError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_LOCAL = frozenset({"127.0.0.1", "localhost"})
CONNECT_SECONDS = 5.0
ANSWER_SECONDS = 20.0
"""From the request to the response's last byte."""
MAX_BODY = 16 << 20
"""Bytes. A library of 5,000 games is about 1.5 MB."""
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS})


class NoAnswer(SwitchyardError):
    """The request got no complete response. The text names no URL."""

    code = "NO_ANSWER"


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete response, whatever its status. `retry_after` is the header as sent; see the function."""

    status: int
    body: bytes
    retry_after: str | None = None


def retry_after(header: str | None, now: datetime) -> float | None:
    """Reads a Retry-After header: seconds, or a date (RFC 9110, section 10.2.3). None for anything else."""
    given = (header or "").strip()
    if given.isascii() and given.isdigit() and len(given) < 10:
        return float(given)
    try:
        then = parsedate_to_datetime(given)
        return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def is_passing(answer: Answer) -> bool:
    """Whether the same request may get another response later: it was throttled, too slow or in conflict, or failed."""
    return answer.status in _PASSING or answer.status >= HTTPStatus.INTERNAL_SERVER_ERROR


@dataclass(frozen=True, slots=True)
class Patience:
    """How often to send a request, and how long to wait in between, in seconds.

    Waits double from `first` on, less up to half by chance, or are as long as the service asks; `longest` at most.
    """

    attempts: int
    first: float = 0.5
    longest: float = 30.0

    def send(self, request: Callable[[], Answer], *, again: Callable[[Answer], bool] = is_passing) -> Answer | None:
        """Sends a request until there is a response that no other attempt can better.

        Returns:
            The last attempt's response; None if it had none.
        """
        answer = None
        for attempt in range(self.attempts):
            if attempt:
                time.sleep(self._wait(answer, attempt))
            try:
                answer = request()
            except NoAnswer:
                answer = None
            if answer is not None and not again(answer):
                break
        return answer

    def _wait(self, answer: Answer | None, attempt: int) -> float:
        asked = retry_after(answer.retry_after, datetime.now(UTC)) if answer else None
        wait = self.first * 2 ** (attempt - 1) * random.uniform(0.5, 1) if asked is None else asked  # noqa: S311
        return min(self.longest, wait)


class Site:
    """A provider's API under one base URL: https, or http on this machine. Several threads may use it.

    Args:
        base_url: without a query.
        seconds: how long a response may take, from the request to its last byte.
        most_bytes: how long a response may be.

    Raises:
        ValueError: the URL is anything else.
    """

    def __init__(self, base_url: str, *, seconds: float = ANSWER_SECONDS, most_bytes: int = MAX_BODY) -> None:
        parts = urlsplit(base_url)
        local = parts.scheme == "http" and parts.hostname in _LOCAL
        if not (local or parts.scheme == "https") or not parts.hostname or parts.username or parts.query:
            raise ValueError("a provider's address must be an https URL without a query")
        self._host, self._port = parts.hostname, parts.port
        self._path = parts.path.rstrip("/")
        self._seconds = seconds
        self._most_bytes = most_bytes
        self._context = None if local else ssl.create_default_context()

    def get(self, path: str, query: Mapping[str, str]) -> Answer:
        """Sends a GET request.

        Raises:
            NoAnswer: there was no complete response in time, or it was too long.
        """
        return self._ask("GET", f"{path}?{urlencode(query)}", None, {})

    def post(self, path: str, body: str | bytes, headers: Mapping[str, str], *, seconds: float | None = None) -> Answer:
        """Sends a POST request.

        Args:
            path: below the base URL.
            body: a text is sent as UTF-8.
            headers: of the request.
            seconds: how long this response may take, instead of the site's.

        Raises:
            NoAnswer: as `get`.
        """
        return self._ask("POST", path, body.encode() if isinstance(body, str) else body, headers, seconds)

    def _ask(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], seconds: float | None = None
    ) -> Answer:
        asked = Asked(
            method, self._host, self._port, self._path + path, body, {"Accept": "application/json", **headers}
        )
        return exchange(
            asked,
            dial=socket.create_connection,
            context=self._context,
            seconds=seconds or self._seconds,
            most_bytes=self._most_bytes,
        )


@dataclass(frozen=True, slots=True)
class Asked:
    """A request. `port` is None for the usual one; `target` is path and query."""

    method: str
    host: str
    port: int | None
    target: str
    body: bytes | None
    headers: Mapping[str, str]


def exchange(
    asked: Asked,
    *,
    dial: Callable[[tuple[str, int], float], socket.socket],
    context: ssl.SSLContext | None,
    seconds: float,
    most_bytes: int | None,
) -> Answer:
    """Sends a request and reads the response, over a connection of its own.

    Args:
        asked: the request.
        dial: connects, within the seconds that it is given.
        context: for TLS; None for plain HTTP.
        seconds: how long it may take from the connection to the response's last byte, whatever the other side does.
        most_bytes: how long a body may be. None: no body is read.

    Raises:
        NoAnswer: there was no complete response in time, or it was too long.
    """
    if context:
        connection: HTTPConnection = HTTPSConnection(asked.host, asked.port, context=context)
    else:
        connection = HTTPConnection(asked.host, asked.port)
    try:
        with _ending(dial((asked.host, connection.port), CONNECT_SECONDS), seconds) as raw:
            connection.sock = context.wrap_socket(raw, server_hostname=asked.host) if context else raw
            connection.request(asked.method, asked.target, asked.body, dict(asked.headers))
            response = connection.getresponse()
            body = b"" if most_bytes is None else _read(response, most_bytes)
            return Answer(response.status, body, response.headers.get("Retry-After"))
    except (OSError, HTTPException, ValueError) as error:
        failure = NoAnswer(f"no complete response: {type(error).__name__}")
    finally:
        connection.close()
    raise failure  # here, so that it has no context: some of the library's texts quote the request line


@contextmanager
def _ending(connected: socket.socket, seconds: float) -> Iterator[socket.socket]:
    """Ends a connection `seconds` from now, although a timeout of a socket begins anew with each byte that comes.

    Raises:
        NoAnswer: it was ended.
    """
    ended = threading.Event()
    twin = connected.dup()  # TLS takes the connection's own descriptor away

    def end() -> None:
        ended.set()
        with suppress(OSError):  # it is closed
            twin.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        connected.settimeout(seconds)
        yield connected
    except (OSError, HTTPException, ValueError, NoAnswer):
        if ended.is_set():
            raise NoAnswer("the response took too long") from None
        raise
    finally:
        timer.cancel()
        twin.close()
        connected.close()


def _read(response: HTTPResponse, most_bytes: int) -> bytes:
    """Reads the whole body.

    Raises:
        NoAnswer: it is longer than `most_bytes`, or not complete.
        OSError, HTTPException: the connection broke.
    """
    body = response.read(most_bytes + 1)
    if len(body) > most_bytes:
        raise NoAnswer(f"the response is longer than {most_bytes} bytes")
    if response.length:  # `read` with a size ends quietly where it would raise IncompleteRead without one
        raise NoAnswer("the connection broke during the response")
    return body
