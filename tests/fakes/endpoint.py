"""A local AWS endpoint, for tests of the requests that the SDK really sends, and how often."""

import json
import socket
import struct
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Literal

from local.serving import served


@dataclass(frozen=True)
class Reply:
    """An HTTP answer; `body` is sent as JSON. With `cut` the connection closes in the middle of it."""

    status: int = 200
    body: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


type Answer = Reply | Literal["never", "reset"]


@dataclass
class Endpoint:
    """Gives its answers in order, and repeats the last one. Keeps the requests."""

    answers: deque[Answer] = field(default_factory=deque)
    asked: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""
    over: threading.Event = field(default_factory=threading.Event)

    def next(self) -> Answer:
        return self.answers.popleft() if len(self.answers) > 1 else self.answers[0]


@contextmanager
def serving(*answers: Answer) -> Iterator[Endpoint]:
    """Runs an endpoint on a free port while the block runs."""
    endpoint = Endpoint(deque(answers))
    with served(_handler(endpoint)) as endpoint.url:
        try:
            yield endpoint
        finally:
            endpoint.over.set()


def _handler(endpoint: Endpoint) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            endpoint.asked.append((self.path, json.loads(body)))
            match endpoint.next():
                case Reply() as reply:
                    self._send(reply)
                case "never":
                    endpoint.over.wait()
                case "reset":
                    # Closing with a linger time of zero sends RST instead of FIN.
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.connection.close()

        def _send(self, reply: Reply) -> None:
            body = json.dumps(reply.body).encode()
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if reply.cut else body)

        def log_message(self, *_: object) -> None:
            """Keeps quiet."""

    return Handler
