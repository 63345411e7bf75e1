"""What the tests of `record_stream` share: an account, servers on 127.0.0.1, and a player."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, override

from local.serving import served
from switchyard.keys import CLAIM
from tests.unit.workers import attempts
from tests.unit.workers.attempts import Outcome
from tests.unit.workers.standin import empty_moto

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import MultipartUploadTypeDef

ROOT = Path(__file__).resolve().parents[3]
PYTHON = ROOT / ".venvs" / "record_stream" / "bin" / "python"
TASK = "arn:aws:ecs:us-east-1:123456789012:task/cluster/0123456789abcdef"
PREFIX = "recordings/job-1/"
PIECES = f"pieces/{PREFIX}"


class Account(attempts.Account):
    """An account whose worker runs as an ECS task."""

    patience = 60

    def __init__(self, endpoint: str, metadata: str) -> None:
        super().__init__(
            endpoint,
            "record_stream",
            AWS_REGION="us-east-1",
            ECS_CONTAINER_METADATA_URI_V4=metadata,
            ALLOWED_NETWORKS="127.0.0.1/32",
            SAVE_SECONDS="1",
        )

    def ask(self, **given: object) -> None:
        """Creates a job with this input."""
        for key in self.keys(""):
            self.s3.delete_object(Bucket="media", Key=key)
        for upload in self.uploads():
            self.s3.abort_multipart_upload(Bucket="media", Key=upload["Key"], UploadId=upload["UploadId"])
        self.record(job_id="job-1", kind="stream-recording", input=given)

    def run(self, url: str, filename: str | None = None, **changed: str) -> Outcome:
        """Creates a job and runs an attempt."""
        self.ask(url=url, **({"filename": filename} if filename is not None else {}))
        return self.finish(self.start(**changed))

    def recorded_bytes(self) -> int:
        """Returns the record's number of bytes. S3 is not listed: moto corrupts an object that is being read."""
        return int(self.item().get("result", {}).get("bytes", 0))

    def keys(self, prefix: str = PREFIX) -> list[str]:
        """Returns the keys in S3, without the prefix. Below it, the claim is left out."""
        found = self.s3.list_objects_v2(Bucket="media", Prefix=prefix).get("Contents", [])
        names = [entry["Key"].removeprefix(prefix) for entry in found]
        return [name for name in names if name != CLAIM]

    def uploads(self) -> "list[MultipartUploadTypeDef]":
        """Returns the multipart uploads that are neither completed nor aborted."""
        return self.s3.list_multipart_uploads(Bucket="media").get("Uploads", [])

    def body(self, *names: str, prefix: str = PREFIX) -> bytes:
        """Returns the objects' bytes, concatenated."""
        return b"".join(self.s3.get_object(Bucket="media", Key=prefix + name)["Body"].read() for name in names)


class _Metadata(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"TaskARN": TASK}).encode())

    @override
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def an_account() -> Iterator[Account]:
    """An account that runs attempts as ECS does."""
    with (
        empty_moto() as endpoint,
        served(_Metadata) as metadata,
        Account(endpoint, f"{metadata}/v4/abc").forking() as account,
    ):
        yield account


class _Files(SimpleHTTPRequestHandler):
    """Serves files, whole or from a byte to the end: enough of ranges to seek."""

    @override
    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        first = int((self.headers["Range"] or "bytes=0-").removeprefix("bytes=").partition("-")[0])
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        self.send_response(206 if "Range" in self.headers else 200)
        self.send_header("Content-Type", self.guess_type(path))
        self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - first))
        self.end_headers()
        with suppress(ConnectionError):  # the worker has seen enough
            self.wfile.write(body[first:])

    @override
    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@contextmanager
def files(folder: Path) -> Iterator[str]:
    with served(partial(_Files, directory=str(folder))) as address:  # type: ignore[arg-type]
        yield address


@contextmanager
def answering(answer: Callable[[BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Runs a server that gives every GET this answer."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer(self)

        @override
        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with served(Handler) as address:
        yield address


def sending(body: bytes, kind: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", kind)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def decoded(body: bytes, tmp_path: Path) -> dict[str, Any]:
    """Returns the frames that FFmpeg decodes."""
    path = tmp_path / "recording"
    path.write_bytes(body)
    done = subprocess.run(
        [PYTHON, Path(__file__).with_name("decode.py"), path], capture_output=True, text=True, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def until(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < end, "it didn't happen within 30 s"
        time.sleep(0.05)
