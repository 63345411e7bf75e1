"""A receiver of webhooks as customers write it: an HTTP server that verifies by the package `standardwebhooks`."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from standardwebhooks import Webhook, WebhookVerificationError

from local.serving import served

DRIP: Final = 0.05
"""Seconds between two bytes of a receiver that drips."""


@dataclass
class Receiver:
    """What a receiver answers, and what it got.

    Attributes:
        moods: What it does with each request in turn: a status, or a word; then it answers 204.
        secret: Verifies every request. None: accepts all.
        verified: The events that it verified.
        answered: What it did with each request that it didn't refuse.
        refused: How many requests it could not verify.
        requests: All requests: path and headers.
    """

    url: str = ""
    moods: list[int | str] = field(default_factory=list)
    secret: str | None = None
    retry_after: str | None = None
    verified: list[Any] = field(default_factory=list)
    answered: list[int | str] = field(default_factory=list)
    refused: int = 0
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def ids(self) -> list[str]:
        """The ids of all requests."""
        return [headers["webhook-id"] for _, headers in self.requests]


class _Server(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Says nothing: connections are broken on purpose."""


class _Handler(BaseHTTPRequestHandler):
    """Answers as its receiver says."""

    receiver: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.receiver.requests.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
        if self.receiver.secret is not None:
            try:
                self.receiver.verified.append(Webhook(self.receiver.secret).verify(body, dict(self.headers)))
            except WebhookVerificationError:
                self.receiver.refused += 1
                self._answer(401)
                return
        mood = self.receiver.moods.pop(0) if self.receiver.moods else 204
        self.receiver.answered.append(mood)
        match mood:
            case int(status):
                self._answer(status)
            case "killed":
                self.close_connection = True
                self.connection.close()
            case "drips":
                self._drip(b"HTTP/1.1 200 OK\r\nX-Long: " + b"a" * 10_000)
            case "endless":
                self.send_response(200)
                self.end_headers()
                with contextlib.suppress(OSError):
                    while True:
                        self.wfile.write(b"a" * 65_536)
            case str(location):
                self.send_response(307)
                self.send_header("Location", location)
                self.end_headers()

    def _answer(self, status: int) -> None:
        self.send_response(status)
        if self.receiver.retry_after:
            self.send_header("Retry-After", self.receiver.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _drip(self, content: bytes) -> None:
        with contextlib.suppress(OSError):
            for byte in content:
                self.wfile.write(bytes([byte]))
                self.wfile.flush()
                time.sleep(DRIP)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Runs a receiver on this machine while the block runs."""
    receiver = Receiver()
    with served(type("Handler", (_Handler,), {"receiver": receiver}), _Server) as address:
        receiver.url = f"{address}/hook?token=1"
        yield receiver
