"""A service with OpenAI's API on this machine that answers what it is told to, and notes what it was asked."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from local.serving import served

type Told = tuple[int, dict[str, str], bytes] | str | float | None
"""Status, headers and body; a text that the model writes; seconds to wait before that; None: close the connection."""


@dataclass
class Service:
    """The service's address, what it answers next (the last of them again and again), and what it was asked."""

    answers: list[Told]
    asked: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    def next(self) -> Told:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def completion(text: str) -> bytes:
    """A chat completion, as in OpenAI's reference."""
    message = {"role": "assistant", "content": text, "refusal": None}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return json.dumps({"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice]}).encode()


@contextmanager
def serving(*answers: Told, path: str = "/v1/chat/completions") -> Iterator[Service]:
    """Runs a service while the block runs, which is asked at this path."""
    service = Service(list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            assert self.path == path
            service.asked.append(json.loads(body))
            service.keys.append(self.headers.get("Authorization"))
            told = service.next()
            if isinstance(told, float):
                time.sleep(told)
                told = "too late"
            if told is None:
                self.close_connection = True
                return
            status, headers, content = (200, {}, completion(told)) if isinstance(told, str) else told
            try:
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)
            except OSError:
                pass  # whoever asked is gone

        def log_message(self, *_arguments: object) -> None:
            """Logs nothing: `asked` tells."""

    with served(Handler) as url:
        service.url = f"{url}/v1"
        yield service
