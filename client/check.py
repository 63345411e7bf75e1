"""Checks an installed client on any system, against a stand-in in this process: an upload in parts, job and results.

The repository's own tests need Linux. This needs the client alone: `python client/check.py`.
"""

import base64
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

PART = 5 * 2**20
SIZE = 4 * PART + 7
PARTS: dict[int, bytes] = {}


class Handler(BaseHTTPRequestHandler):
    """The routes of one upload, and S3."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path.endswith("/parts"):
            [part] = body["parts"]
            url = f"{address}/s3?number={part['partNumber']}"
            signed = {"url": url, "headers": {"x-amz-checksum-sha1": part["checksumSha1"]}}
            self._reply({"parts": [part | signed], "expiresIn": 900})
        elif self.path.endswith("/complete"):
            self._reply({"key": "k", "bucket": "b", "size": SIZE, "etag": "e"})
        else:
            count = -(-SIZE // PART)
            self._reply(
                {"uploadId": "u", "key": "k", "bucket": "b", "partSize": PART, "partCount": count, "jobId": "j"}
            )

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        digest = base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()
        PARTS[int(parse_qs(urlsplit(self.path).query)["number"][0])] = content
        self._reply({}, 200 if digest == self.headers["x-amz-checksum-sha1"] else 400)

    def do_GET(self) -> None:
        links = {"frames/1.txt": f"{address}/result"}
        times = {"createdAt": "2026-11-22T19:40:02.000Z", "updatedAt": "2026-11-22T19:40:02.000Z"}
        job = {"jobId": "j", "kind": "video-analysis", "status": "COMPLETED", "links": links, **times}
        self._reply({"said": "done"} if self.path == "/result" else job)

    def _reply(self, body: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
address = f"http://127.0.0.1:{server.server_port}"

if __name__ == "__main__":
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        film = folder / "my film.mp4"
        film.write_bytes(os.urandom(SIZE))
        home = dict.fromkeys(("XDG_STATE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA", "APPDATA"), name)
        command = [sys.executable, "-m", "switchyard_client", "--url", f"{address}/v1", "--json", "upload", str(film)]
        subprocess.run(
            [*command, "--results", str(folder / "out")],
            env={**os.environ, **home, "SWITCHYARD_API_KEY": "key"},
            check=True,
            timeout=60,
        )
        assert b"".join(PARTS[number] for number in sorted(PARTS)) == film.read_bytes()
        assert json.loads((folder / "out" / "j" / "frames" / "1.txt").read_text()) == {"said": "done"}
    print("the client works here")
