"""Serves one local object by HTTP as S3 answers GetObject and HeadObject, whole or in ranges.

`python -m bench.ranges FILE` prints its port and serves until it is ended. The kernel sends the bytes (sendfile), to
use as little of a benchmark's CPU as possible. Signatures are not checked.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import formatdate
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from bench.environment import ROOT

BUCKET: Final = "switchyard-media"
KEY: Final = "recordings/7c9e6679/film.bin"
ETAG: Final = "9bb58f26192e4ba00f01e2e7b136bbd8-64"


@contextmanager
def serving(file: Path) -> Iterator[str]:
    """Yields the address of a server whose object is `file`, in its own process while the block runs."""
    command = [sys.executable, "-m", "bench.ranges", os.fspath(file)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None  # noqa: S101 - a pipe
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    file: int
    size: int

    def do_HEAD(self) -> None:
        self._answer(0, self.size)

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "bytes=0-"))
        if wanted is None:
            raise ValueError(f"nobody here asks for {self.headers['Range']}")
        start, stop = int(wanted[1]), int(wanted[2] or self.size - 1) + 1
        if not self._answer(start, stop):
            return
        while start < stop:
            start += os.sendfile(self.connection.fileno(), self.file, start, stop - start)

    def _answer(self, start: int, stop: int) -> bool:
        """Sends the answer's headers. Returns whether the body follows."""
        found = self.path == f"/{BUCKET}/{KEY}" and self.headers.get("If-Match", ETAG).strip('"') == ETAG
        if not found:
            self.send_response(HTTPStatus.PRECONDITION_FAILED)
            self.send_header("Content-Length", "0")
        else:
            self.send_response(HTTPStatus.PARTIAL_CONTENT if "Range" in self.headers else HTTPStatus.OK)
            self.send_header("Content-Length", str(stop - start))
            self.send_header("Content-Range", f"bytes {start}-{stop - 1}/{self.size}")
            self.send_header("ETag", f'"{ETAG}"')
            self.send_header("Last-Modified", formatdate(0, usegmt=True))
        self.end_headers()
        return found

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _main(name: str) -> None:
    with Path(name).open("rb") as file, ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as server:
        _Handler.file, _Handler.size = file.fileno(), os.fstat(file.fileno()).st_size
        server.daemon_threads = True
        print(server.server_port, flush=True)
        server.serve_forever()


if __name__ == "__main__":
    _main(*sys.argv[1:])
