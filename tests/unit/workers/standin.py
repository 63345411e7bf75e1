"""An AWS endpoint on 127.0.0.1 for a worker's process. It serves uploads from files and forwards the rest to moto.

It serves the files itself so that they can be larger than memory, cut off, refused and changed midway.
"""

import hashlib
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

from moto.server import ThreadedMotoServer

_HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "server", "date", "host"}


@dataclass
class Fault:
    """A fault of a GET of an upload: an HTTP status instead of the body, or only this many bytes of it."""

    status: int = 0
    bytes_sent: int | None = None


@dataclass
class StandIn:
    """The endpoint's address, its files, and the requests it got."""

    url: str = ""
    uploads: dict[str, Path] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    ranges: list[str] = field(default_factory=list)
    before_get: Callable[[], None] = lambda: None

    def reset(self) -> None:
        """Forgets everything but the address."""
        self.uploads.clear()
        self.faults.clear()
        self.ranges.clear()
        self.before_get = lambda: None


@contextmanager
def empty_moto() -> Iterator[str]:
    """Runs an empty moto server and yields its address."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    try:
        # moto's state belongs to the process, not to the server: another module may have left some.
        with closing(HTTPConnection(host, port)) as connection:
            connection.request("POST", "/moto-api/reset")
            connection.getresponse().read()
        yield f"http://{host}:{port}"
    finally:
        moto.stop()


@contextmanager
def listening() -> Iterator[StandIn]:
    """Runs both servers on free ports while the block runs."""
    stand_in = StandIn()
    with empty_moto() as url:

        class Handler(_Handler):
            state = stand_in
            moto_url = url

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        stand_in.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield stand_in
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: StandIn
    moto_url: str
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._upload() if self._path() in self.state.uploads else self._forward()

    def do_GET(self) -> None:
        self._upload() if self._path() in self.state.uploads else self._forward()

    def do_PUT(self) -> None:
        self._forward()

    def do_POST(self) -> None:
        self._forward()

    def do_DELETE(self) -> None:
        self._forward()

    def log_message(self, *_arguments: object) -> None:
        """Logs nothing: the tests check `ranges`."""

    def _path(self) -> str:
        return unquote(urlsplit(self.path).path)

    def _upload(self) -> None:
        fault = Fault()
        if self.command == "GET":
            self.state.before_get()
            self.state.ranges.append(self.headers.get("Range", "all"))
            fault = self.state.faults.pop(0) if self.state.faults else fault
        path = self.state.uploads[self._path()]
        size = path.stat().st_size
        etag = f'"{hashlib.md5(f"{path} {size}".encode(), usedforsecurity=False).hexdigest()}"'
        if self.headers.get("If-Match", etag) != etag:
            fault = Fault(status=412)
        if fault.status:
            self._answer(fault.status, {}, b"<Error><Code>Fault</Code><Message>as asked</Message></Error>")
            return
        if self.command == "HEAD":
            self._answer(200, {"ETag": etag, "Content-Length": str(size)}, b"")
            return
        if wanted := self.headers["Range"]:
            first, last = (int(end) for end in wanted.removeprefix("bytes=").split("-"))
            status, headers = 206, {"ETag": etag, "Content-Range": f"bytes {first}-{last}/{size}"}
        else:
            first, last, status, headers = 0, size - 1, 200, {"ETag": etag}
        with path.open("rb") as file:
            file.seek(first)
            body = file.read(last - first + 1)
        self.close_connection = fault.bytes_sent is not None
        self._answer(status, headers | {"Content-Length": str(len(body))}, body[: fault.bytes_sent])

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        headers.setdefault("Content-Type", "application/octet-stream")  # otherwise urllib would declare it a form
        request = urllib.request.Request(self.moto_url + self.path, body or None, headers, method=self.command)  # noqa: S310
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - moto's own address
                self._answer(answer.status, dict(answer.headers), answer.read())
        except urllib.error.HTTPError as error:
            with error:
                self._answer(error.code, dict(error.headers), error.read())

    def _answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if name == "Content-Length" or name.lower() not in _HOP_BY_HOP:
                self.send_header(name, value)
        if "Content-Length" not in headers:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
