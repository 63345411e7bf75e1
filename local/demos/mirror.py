"""Serves a bucket's objects to anybody, with ranges, as a CDN would: the web seed of the demo's torrents.

with mirror(stack.client("s3"), bucket, "recordings/") as base:
...  # {base}/recordings/my%20file.mp4 is the object of that key
"""

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.exceptions import ClientError

from local.serving import served

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_CHUNK = 256 * 1024
_RANGE = re.compile(r"bytes=(\d+-\d*|-\d+)")
_PASSED_ON = ("content-type", "content-length", "content-range", "etag", "last-modified", "accept-ranges")


class _Handler(BaseHTTPRequestHandler):
    """Answers GET by asking S3 for the same bytes of the same version."""

    protocol_version = "HTTP/1.1"  # clients request several ranges on one connection
    s3: ClassVar["S3Client"]
    bucket: ClassVar[str]
    prefix: ClassVar[str]

    def do_GET(self) -> None:
        wanted = self._wanted()
        if not wanted["Key"].startswith(self.prefix):
            self._answer(HTTPStatus.FORBIDDEN, {"content-length": "0"})
            return
        try:
            found = self.s3.get_object(**wanted)
        except ClientError as error:
            self._answer(HTTPStatus(error.response["ResponseMetadata"]["HTTPStatusCode"]), {"content-length": "0"})
            return
        with closing(found["Body"]) as body:
            meta = found["ResponseMetadata"]
            self._answer(HTTPStatus(meta["HTTPStatusCode"]), meta["HTTPHeaders"])
            while data := body.read(_CHUNK):
                self.wfile.write(data)

    def _wanted(self) -> dict[str, Any]:
        parts = urlsplit(self.path)
        wanted = {"Bucket": self.bucket, "Key": unquote(parts.path.removeprefix("/"))}
        if version := parse_qs(parts.query).get("versionId"):
            wanted["VersionId"] = version[0]
        if _RANGE.fullmatch(asked := self.headers.get("Range", "")):
            wanted["Range"] = asked
        return wanted

    def _answer(self, status: HTTPStatus, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name in _PASSED_ON:
            if name in headers:
                self.send_header(name, headers[name])
        self.end_headers()

    def handle(self) -> None:
        with suppress(ConnectionError):  # the client closed the connection early
            super().handle()

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def mirror(s3: "S3Client", bucket: str, prefix: str) -> Iterator[str]:
    """Serve the bucket's objects under a prefix on 127.0.0.1 during the block; the base URL."""
    with served(type("Handler", (_Handler,), {"s3": s3, "bucket": bucket, "prefix": prefix})) as address:
        yield address
