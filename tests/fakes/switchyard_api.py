"""A stand-in for a deployment's upload routes and S3, with a network that fails as told.

It checks what S3 would check: signed headers, part checksums, `If-None-Match`, expiry, the parts named at the end.
"""

import base64
import hashlib
import json
import re
import socket
import struct
import threading
import time
import uuid
from collections import Counter, deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any, Final, Literal
from urllib.parse import parse_qs, urlsplit

from local.serving import served

KEY: Final = "the-key"

type Fault = Literal["cut", "lost", "503", "slow", "expired", "damaged", "400"]
"""What befalls a request. `lost` is as `cut`, but after the request took effect; `damaged` bytes arrive as others."""


@dataclass
class Upload:
    """An upload in parts."""

    key: str
    size: int
    part_size: int
    job_id: str
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class Deployment:
    """What the stand-in holds.

    Attributes:
        faults: By the kind of request (`PUT`, or `POST /uploads/multipart/parts`): what befalls the next ones.
        asked: How often each kind of request came.
        largest: The most requests that were under way at once.
    """

    part_size: int = 2**16
    page: int = 1000
    pause: float = 0
    url: str = ""
    objects: dict[str, bytes] = field(default_factory=dict)
    uploads: dict[str, Upload] = field(default_factory=dict)
    jobs: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: dict[str, deque[Fault]] = field(default_factory=dict)
    asked: Counter[str] = field(default_factory=Counter)
    presigned: dict[str, str] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)

    def store(self, key: str, content: bytes, job_id: str) -> None:
        self.objects[key] = content
        self.jobs[job_id] = {
            "jobId": job_id,
            "kind": "video-analysis",
            "status": "COMPLETED",
            "createdAt": "2026-11-22T19:40:02.000Z",
            "updatedAt": "2026-11-22T19:40:02.000Z",
        }


@contextmanager
def deployment(**settings: Any) -> Iterator[Deployment]:  # noqa: ANN401 - the dataclass's
    """Serves a deployment while the block runs."""
    found = Deployment(**settings)
    with served(_handler(found)) as address:
        found.url = f"{address}/v1"
        yield found


class _Error(Exception):
    def __init__(self, status: int, code: str) -> None:
        super().__init__(code)
        self.status, self.code = status, code


def _handler(world: Deployment) -> type[BaseHTTPRequestHandler]:  # noqa: C901 - a route after the other
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle(self) -> None:
            with suppress(ConnectionError):  # a client that was killed
                super().handle()

        def log_message(self, *_: object) -> None:
            pass

        def do_PUT(self) -> None:
            fault = self._fault("PUT")
            length = int(self.headers["Content-Length"])
            if fault == "cut":
                self.rfile.read(length // 2)
                self._cut()
                return
            content = self.rfile.read(length)
            if fault == "damaged":
                content = bytes(length)
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            time.sleep(world.pause)
            with world.lock:
                try:
                    headers = self._put(path, query, content, fault)
                except _Error as error:
                    self._reply(error.status, f"<Error><Code>{error.code}</Code></Error>".encode())
                    return
            if fault == "lost":
                self._cut()
            else:
                self._reply(200, b"", headers)

        def _put(
            self, path: str, query: Mapping[str, list[str]], content: bytes, fault: Fault | None
        ) -> dict[str, str]:
            if fault == "503":
                raise _Error(503, "SlowDown")
            if fault == "400":
                raise _Error(400, "InvalidRequest")
            if fault == "expired":
                raise _Error(403, "AccessDenied")
            if "x-api-key" in self.headers:
                raise _Error(400, "CredentialsSentToStorage")
            if "partNumber" in query:
                upload, number = world.uploads.get(query["uploadId"][0]), int(query["partNumber"][0])
                if upload is None:
                    raise _Error(404, "NoSuchUpload")
                if self.headers["x-amz-checksum-sha1"] != _sha1(content):
                    raise _Error(400, "BadDigest")
                upload.parts[number] = content
                return {"ETag": _etag(content)}
            key = path.removeprefix("/bucket/")
            if self.headers["If-None-Match"] != "*" or self.headers["Content-Type"] != query["type"][0]:
                raise _Error(403, "SignatureDoesNotMatch")
            if key in world.objects:
                raise _Error(412, "PreconditionFailed")
            world.store(key, content, world.presigned[key])
            return {"ETag": _etag(content)}

        def do_GET(self) -> None:
            self._api("GET")

        def do_DELETE(self) -> None:
            self._api("DELETE")

        def do_POST(self) -> None:
            self._api("POST")

        def _api(self, method: str) -> None:
            path, query = urlsplit(self.path).path.removeprefix("/v1"), parse_qs(urlsplit(self.path).query)
            body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)) or b"{}")
            fault = self._fault(f"{method} {re.sub('/jobs/[^/]+', '/jobs/', path)}")
            if fault == "cut":
                self._cut()
                return
            with world.lock:
                try:
                    self._admit(fault)
                    answer = self._answer(method, path, query, body)
                except _Error as error:
                    told = {"error": error.code, "message": "No.", "details": [], "requestId": "r"}
                    self._reply(error.status, json.dumps(told).encode(), {"Retry-After": "0"})
                    return
            if fault == "lost":
                self._cut()
            else:
                self._reply(200 if answer is not None else 204, b"" if answer is None else json.dumps(answer).encode())

        def _admit(self, fault: Fault | None) -> None:
            if fault == "503":
                raise _Error(503, "UNAVAILABLE")
            if self.headers["x-api-key"] != KEY:
                raise _Error(403, "")  # API Gateway names no code

        def _answer(self, method: str, path: str, query: Mapping[str, list[str]], body: dict[str, Any]) -> Any:  # noqa: ANN401, C901, PLR0911, PLR0912
            root = world.url.removesuffix("/v1")
            named = {
                "bucket": "bucket",
                "key": f"uploads/{uuid.uuid4()}-{body.get('filename')}",
                "jobId": str(uuid.uuid4()),
            }
            match method, path:
                case "POST", "/uploads/presign":
                    world.presigned[named["key"]] = named["jobId"]
                    headers = {"Content-Type": body["contentType"], "If-None-Match": "*"}
                    url = f"{root}/bucket/{named['key']}?type={body['contentType']}"
                    return {**named, "url": url, "method": "PUT", "headers": headers, "expiresIn": 900}
                case "POST", "/uploads/multipart":
                    upload_id = str(uuid.uuid4())
                    world.uploads[upload_id] = Upload(named["key"], body["size"], world.part_size, named["jobId"])
                    count = -(-body["size"] // world.part_size)
                    return {**named, "uploadId": upload_id, "partSize": world.part_size, "partCount": count}
                case "POST", "/process":
                    missing = [
                        url for url in body["imageUrls"] if url.removeprefix("s3://bucket/") not in world.objects
                    ]
                    if missing:
                        raise _Error(400, "URL_NOT_ALLOWED")
                    world.store("job", json.dumps(body["imageUrls"]).encode(), named["jobId"])
                    return {"jobId": named["jobId"], "status": "PENDING", "imageCount": len(body["imageUrls"])}
            if path.startswith("/jobs/"):
                if job := world.jobs.get(path.removeprefix("/jobs/")):
                    return job
                raise _Error(404, "NOT_FOUND")
            upload_id = body.get("uploadId") or query["uploadId"][0]
            upload = world.uploads.get(upload_id)
            if upload is None:
                raise _Error(404, "UPLOAD_NOT_FOUND")
            match method, path:
                case "POST", "/uploads/multipart/parts":
                    return {
                        "parts": [self._signed(root, upload, upload_id, part) for part in body["parts"]],
                        "expiresIn": 900,
                    }
                case "GET", "/uploads/multipart":
                    return self._listed(upload, int(query.get("nextToken", ["0"])[0]))
                case "DELETE", "/uploads/multipart":
                    del world.uploads[upload_id]
                    return None
                case "POST", "/uploads/multipart/complete":
                    numbers = [part["partNumber"] for part in body["parts"]]
                    if numbers != list(range(1, -(-upload.size // upload.part_size) + 1)):
                        raise _Error(400, "INVALID_PART_ORDER")
                    if any(_etag(upload.parts[part["partNumber"]]) != part["etag"] for part in body["parts"]):
                        raise _Error(400, "INVALID_PART")
                    world.store(upload.key, b"".join(upload.parts[number] for number in numbers), upload.job_id)
                    del world.uploads[upload_id]
                    return {"key": upload.key, "bucket": "bucket", "size": body["size"], "etag": '"e"'}
            raise _Error(404, "NOT_FOUND")

        def _signed(self, root: str, upload: Upload, upload_id: str, part: dict[str, Any]) -> dict[str, Any]:
            number = part["partNumber"]
            url = f"{root}/bucket/{upload.key}?partNumber={number}&uploadId={upload_id}"
            return {"partNumber": number, "url": url, "headers": {"x-amz-checksum-sha1": part["checksumSha1"]}}

        def _listed(self, upload: Upload, start: int) -> dict[str, Any]:
            numbers = sorted(upload.parts)
            shown = [
                {
                    "partNumber": n,
                    "size": len(upload.parts[n]),
                    "etag": _etag(upload.parts[n]),
                    "checksumSha1": _sha1(upload.parts[n]),
                }
                for n in numbers[start : start + world.page]
            ]
            more = {"nextToken": str(start + world.page)} if len(numbers) > start + world.page else {}
            return {"parts": shown, **more}

        def _fault(self, kind: str) -> Fault | None:
            with world.lock:
                world.asked[kind] += 1
                planned = world.faults.get(kind)
                fault = planned.popleft() if planned else None
            if fault == "slow":
                time.sleep(0.3)
            return fault

        def _reply(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _cut(self) -> None:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()

    return Handler


def _sha1(content: bytes) -> str:
    return base64.b64encode(hashlib.sha1(content, usedforsecurity=False).digest()).decode()


def _etag(content: bytes) -> str:
    return f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
