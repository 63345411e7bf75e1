"""A strict stand-in for S3 over HTTP, with the operations that torrents need, as the S3 API reference documents them.

Unlike moto and the emulator it has part checksums. It refuses everything it doesn't implement with 501, down to single
headers, so that no unsupported request passes unnoticed. An object's bytes may come from a function of offsets, so that
an object of 5 TB needs no storage. tests/unit/torrents/test_object_store.py compares it with moto. It does not verify
signatures.
"""

import base64
import hashlib
import re
import socket
import struct
import threading
import uuid
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit
from xml.sax.saxutils import escape

MAX_PART = 5 * 2**30
MAX_PARTS = 10_000
_PAGE = 1000
_BLOCK = 2**20
_LEAST_RANGED = 5 * 10**6
"""The minimum size of a source to copy a range from: "greater than 5 MB"."""

type Content = Callable[[int, int], bytes]
"""Returns the bytes from one offset up to another."""
type Digest = Callable[[int, int], bytes]
"""Returns their SHA-1, for objects too large to hash in a test."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of an object or upload, with its SHA-1 if it was uploaded with one."""

    number: int
    size: int
    sha1: bytes | None


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of an object. `etag` has no quotes; `parts` is None if it was put in one piece."""

    size: int
    content: Content
    digest: Digest
    etag: str
    version_id: str | None
    modified: datetime
    parts: Sequence[Part] | None
    headers: Mapping[str, str]

    @property
    def composite(self) -> str | None:
        """Returns the SHA-1 of the parts' SHA-1s, if all have one."""
        digests = [part.sha1 for part in self.parts or ()]
        return _base64(_sha1(b"".join(each for each in digests if each))) if digests and all(digests) else None


@dataclass(slots=True)
class Upload:
    """A multipart upload in progress."""

    bucket: str
    key: str
    algorithm: str | None
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a call.

    Attributes:
        kind: `cut` (the connection ends), `last` (the same, announced by `Connection: close`), `reset` or `stall`, each
            after `at` bytes of the body; `lost` (the call takes effect, and the connection ends without an answer);
            `refuse` with `status` and `code`; `unhashed` (UploadPartCopy is answered without a checksum); `whole`
            (GetObject ignores the range); `short` (GetObject returns only `at` bytes); `then` (`call` is called before
            the answer).
    """

    kind: Literal["cut", "last", "reset", "stall", "lost", "refuse", "unhashed", "whole", "short", "then"]
    at: int = 0
    status: int = HTTPStatus.SERVICE_UNAVAILABLE
    code: str = "SlowDown"
    call: Callable[[], object] = lambda: None

    def prepare(self) -> None:
        """Acts before the call is answered."""
        if self.kind == "refuse":
            raise Refusal(self.status, self.code, "set by the test")
        if self.kind == "then":
            self.call()


@dataclass
class ObjectStore:
    """The buckets, and records of their requests.

    Attributes:
        calls: the number of calls by operation.
        ranges: the `Range` of each GetObject, in order of arrival.
        sending: the number of bodies being sent now.
    """

    url: str = ""
    calls: Counter[str] = field(default_factory=Counter)
    ranges: list[str | None] = field(default_factory=list)
    uploads: dict[str, Upload] = field(default_factory=dict)
    sending: int = 0
    lock: threading.RLock = field(default_factory=threading.RLock)
    over: threading.Event = field(default_factory=threading.Event)
    _buckets: dict[str, bool] = field(default_factory=dict)
    _versions: dict[tuple[str, str], list[Stored]] = field(default_factory=dict)
    _faults: list[tuple[str, int, Fault]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._sent = threading.Condition(self.lock)

    def create_bucket(self, name: str, *, versioned: bool = False) -> None:
        """Creates an empty bucket."""
        self._buckets[name] = versioned

    def put(
        self, bucket: str, key: str, data: bytes, *, parts: Sequence[int] | None = None, sha1: bool = False
    ) -> Stored:
        """Puts an object, optionally in parts of these sizes and with SHA-1 checksums of the parts."""
        etag = hashlib.md5(data, usedforsecurity=False).hexdigest()

        def content(start: int, stop: int) -> bytes:
            return data[start:stop]

        return self.make(bucket, key, len(data), content, etag=etag, parts=parts, sha1=sha1)

    def make(
        self,
        bucket: str,
        key: str,
        size: int,
        content: Content,
        *,
        digest: Digest | None = None,
        etag: str | None = None,
        parts: Sequence[int] | None = None,
        sha1: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> Stored:
        """Puts an object whose bytes are generated on request, and its hashes by `digest` if given."""
        digest = digest or _hashing(content)
        listed: list[Part] = []
        start = 0
        for number, length in enumerate(parts or (), 1):
            listed.append(Part(number, length, digest(start, start + length) if sha1 else None))
            start += length
        if parts is not None:
            assert start == size, f"parts of {start} bytes make no object of {size}"
            etag = f"{etag or uuid.uuid4().hex}-{len(parts)}"
        with self.lock:
            version_id = uuid.uuid4().hex if self._buckets[bucket] else None
            now = datetime.now(UTC).replace(microsecond=0)
            stored = Stored(
                size,
                content,
                digest,
                etag or uuid.uuid4().hex,
                version_id,
                now,
                None if parts is None else listed,
                headers or {},
            )
            older = self._versions.get((bucket, key), []) if version_id else []
            self._versions[bucket, key] = [*older, stored]
        return stored

    def delete(self, bucket: str, key: str) -> None:
        """Deletes an object with all its versions."""
        with self.lock:
            del self._versions[bucket, key]

    def read(self, bucket: str, key: str) -> bytes:
        """Returns an object's current bytes."""
        stored = self.find(bucket, key)
        return stored.content(0, stored.size)

    def fail(self, operation: str, fault: Fault, *, after: int = 0, times: int = 1) -> None:
        """Adds a fault to `times` calls of an operation, after the next `after` calls."""
        first = self.calls[operation] + after + 1
        self._faults += [(operation, number, fault) for number in range(first, first + times)]

    def wait_for_silence(self, seconds: float = 30) -> None:
        """Waits until no body is being sent. Raises TimeoutError if a client neither reads nor disconnects."""
        with self.lock:
            if not self._sent.wait_for(lambda: self.sending == 0, seconds):
                raise TimeoutError(f"{self.sending} bodies are still being sent")

    # ---- for the handler

    def fault(self, operation: str) -> Fault | None:
        """Counts a call and returns its fault, if any."""
        with self.lock:
            self.calls[operation] += 1
            for each in self._faults:
                if each[:2] == (operation, self.calls[operation]):
                    self._faults.remove(each)
                    return each[2]
        return None

    @contextmanager
    def while_sending(self) -> Iterator[None]:
        """Counts a body as being sent while the block runs."""
        with self.lock:
            self.sending += 1
        try:
            yield
        finally:
            with self.lock:
                self.sending -= 1
                self._sent.notify_all()

    def check_bucket(self, bucket: str) -> None:
        """Raises Refusal if the bucket does not exist."""
        if bucket not in self._buckets:
            raise Refusal(404, "NoSuchBucket", "The specified bucket does not exist")

    def find(self, bucket: str, key: str, version_id: str | None = None) -> Stored:
        """Returns a version of an object, by default the current one."""
        self.check_bucket(bucket)
        versions = self._versions.get((bucket, key), [])
        if version_id is None:
            if not versions:
                raise Refusal(404, "NoSuchKey", "The specified key does not exist.")
            return versions[-1]
        for each in versions:
            if version_id == (each.version_id or "null"):
                return each
        raise Refusal(404, "NoSuchVersion", "The specified version does not exist.")

    def upload(self, bucket: str, key: str, upload_id: str) -> Upload:
        """Returns an upload in progress."""
        found = self.uploads.get(upload_id)
        if found is None or (found.bucket, found.key) != (bucket, key):
            raise Refusal(404, "NoSuchUpload", "The specified multipart upload does not exist.")
        return found


class Refusal(Exception):
    """An error answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@contextmanager
def serving() -> Iterator[ObjectStore]:
    """Runs a store on a free port while the block runs."""
    store = ObjectStore()
    server = _Server(store)
    store.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield store
    finally:
        store.over.set()
        server.shutdown()
        thread.join()
        server.server_close()


# ---- requests -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Request:
    method: str
    bucket: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    content: tuple[Stored, int, int] | None = None
    """A range of an object, sent in place of `body`."""


_SIGNED = frozenset({"x-amz-date", "x-amz-content-sha256", "x-amz-security-token"})
"""Headers allowed in every call."""


@dataclass(frozen=True, slots=True)
class _Operation:
    """One operation: its allowed parameters and headers, and its handler."""

    name: str
    answer: Callable[[ObjectStore, _Request], _Answer]
    query: frozenset[str] = frozenset()
    headers: frozenset[str] = frozenset()

    def check(self, request: _Request) -> None:
        """Refuses parameters and headers that this stand-in would ignore."""
        known = self.headers | _SIGNED
        heeded = [name for name in request.headers if name.startswith(("x-amz-", "if-", "range", "transfer-"))]
        strange = [name for name in heeded if name not in known and not _is_metadata(self.name, name)]
        strange += [name for name in request.query if name not in self.query | {"x-id"}]
        if strange:
            raise Refusal(501, "NotImplemented", f"{self.name} with {', '.join(strange)}")


def _is_metadata(operation: str, header: str) -> bool:
    return operation == "PutObject" and header.startswith("x-amz-meta-")


def _operation(request: _Request) -> _Operation:
    """Returns a request's operation, by one word of its query."""
    words = [word for word in ("attributes", "uploads", "uploadId") if word in request.query]
    place = "object" if request.key else "bucket"
    copied = " copied" if "x-amz-copy-source" in request.headers else ""
    asked = " ".join([request.method, place, *words]) + copied
    if asked not in _OPERATIONS:
        raise Refusal(501, "NotImplemented", asked)
    return _OPERATIONS[asked]


# ---- reading --------------------------------------------------------------------------------------------------------

_RANGE = re.compile(r"bytes=(?:(?P<first>[0-9]+)-(?P<last>[0-9]*)|-(?P<suffix>[0-9]+))")


def _get_object(store: ObjectStore, request: _Request) -> _Answer:
    asked = request.headers.get("range")
    store.ranges.append(asked)
    stored = _wanted(store, request)
    headers = _object_headers(stored)
    if asked is None:
        return _Answer(200, headers | _checksum_headers(stored, request), content=(stored, 0, stored.size))
    start, stop = _range(asked, stored.size)
    headers["Content-Range"] = f"bytes {start}-{stop - 1}/{stored.size}"
    return _Answer(206, headers, content=(stored, start, stop))


def _head_object(store: ObjectStore, request: _Request) -> _Answer:
    stored = _wanted(store, request)
    size = {"Content-Length": str(stored.size)}
    return _Answer(200, _object_headers(stored) | _checksum_headers(stored, request) | size)


def _wanted(store: ObjectStore, request: _Request) -> Stored:
    stored = store.find(request.bucket, request.key, request.query.get("versionId"))
    _check_match(request.headers.get("if-match"), stored)
    return stored


def _check_match(etag: str | None, stored: Stored) -> None:
    if etag is not None and etag.strip('"') != stored.etag:
        raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


def _range(asked: str, size: int) -> tuple[int, int]:
    found = _RANGE.fullmatch(asked)
    if found is None:
        raise Refusal(501, "NotImplemented", f"Range: {asked}")  # S3 would send the whole object, which no caller wants
    if found["suffix"]:
        start, stop = max(0, size - int(found["suffix"])), size
    else:
        start, stop = int(found["first"]), min(size, int(found["last"] or size) + 1)
    if start >= stop:
        raise Refusal(416, "InvalidRange", "The requested range is not satisfiable")
    return start, stop


def _object_headers(stored: Stored) -> dict[str, str]:
    return {
        "ETag": f'"{stored.etag}"',
        "Last-Modified": format_datetime(stored.modified, usegmt=True),
        "Accept-Ranges": "bytes",
        "Content-Type": "binary/octet-stream",
        **stored.headers,
        **_version_header(stored),
    }


def _version_header(stored: Stored) -> dict[str, str]:
    return {"x-amz-version-id": stored.version_id} if stored.version_id else {}


def _checksum_headers(stored: Stored, request: _Request) -> dict[str, str]:
    if stored.composite is None or stored.parts is None or request.headers.get("x-amz-checksum-mode") != "ENABLED":
        return {}
    return {"x-amz-checksum-sha1": f"{stored.composite}-{len(stored.parts)}", "x-amz-checksum-type": "COMPOSITE"}


_ATTRIBUTES = frozenset({"ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"})


def _get_object_attributes(store: ObjectStore, request: _Request) -> _Answer:
    asked = {name.strip() for name in request.headers.get("x-amz-object-attributes", "").split(",")}
    if not asked <= _ATTRIBUTES:
        raise Refusal(400, "InvalidArgument", "Invalid attribute name specified.")
    stored = store.find(request.bucket, request.key, request.query.get("versionId"))
    body: dict[str, Any] = {}
    if "ETag" in asked:
        body["ETag"] = stored.etag
    if "Checksum" in asked and stored.composite:
        body["Checksum"] = {"ChecksumSHA1": stored.composite, "ChecksumType": "COMPOSITE"}
    if "ObjectParts" in asked and stored.parts is not None:
        body["ObjectParts"] = _object_parts(stored, stored.parts, request)
    if "StorageClass" in asked:
        body["StorageClass"] = "STANDARD"
    if "ObjectSize" in asked:
        body["ObjectSize"] = stored.size
    modified = {"Last-Modified": format_datetime(stored.modified, usegmt=True)}
    return _Answer(200, modified | _version_header(stored), _xml("GetObjectAttributesResponse", body))


def _object_parts(stored: Stored, parts: Sequence[Part], request: _Request) -> dict[str, Any]:
    """Lists the parts. Without checksums of the parts, S3 returns only their count."""
    if stored.composite is None:
        return {"PartsCount": len(parts)}
    most = min(int(request.headers.get("x-amz-max-parts", _PAGE)), _PAGE)
    marker = int(request.headers.get("x-amz-part-number-marker", 0))
    behind = [part for part in parts if part.number > marker]
    page = behind[:most]
    return {
        "IsTruncated": len(page) < len(behind),
        "MaxParts": most,
        "NextPartNumberMarker": page[-1].number if page else 0,
        "PartNumberMarker": marker,
        "Part": [
            {"PartNumber": part.number, "Size": part.size, "ChecksumSHA1": _base64(part.sha1 or b"")} for part in page
        ],
        "PartsCount": len(parts),
    }


# ---- writing --------------------------------------------------------------------------------------------------------


def _put_object(store: ObjectStore, request: _Request) -> _Answer:
    headers = request.headers
    crc = headers.get("x-amz-checksum-crc32")
    if crc is not None and crc != _base64(zlib.crc32(request.body).to_bytes(4)):
        raise Refusal(400, "BadDigest", "The CRC32 you specified did not match the calculated checksum.")
    if headers.get("if-none-match", "*") != "*":
        raise Refusal(501, "NotImplemented", "If-None-Match with anything but *")
    with store.lock:
        store.check_bucket(request.bucket)
        if "if-match" in headers:
            _check_match(headers["if-match"], store.find(request.bucket, request.key))
        elif "if-none-match" in headers:
            _check_absent(store, request)
        kept = {name: value for name, value in headers.items() if _is_metadata("PutObject", name)}
        kept |= {"Content-Type": headers.get("content-type", "binary/octet-stream")}
        etag = hashlib.md5(request.body, usedforsecurity=False).hexdigest()
        body = request.body
        stored = store.make(
            request.bucket, request.key, len(body), lambda start, stop: body[start:stop], etag=etag, headers=kept
        )
    return _Answer(200, {"ETag": f'"{stored.etag}"', **_version_header(stored)})


def _check_absent(store: ObjectStore, request: _Request) -> None:
    try:
        store.find(request.bucket, request.key)
    except Refusal:
        return
    raise Refusal(412, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold")


_ALGORITHMS = frozenset({"CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"})


def _create_multipart_upload(store: ObjectStore, request: _Request) -> _Answer:
    store.check_bucket(request.bucket)
    algorithm = request.headers.get("x-amz-checksum-algorithm")
    if algorithm is not None and algorithm not in _ALGORITHMS:
        raise Refusal(400, "InvalidRequest", "Checksum algorithm provided is unsupported.")
    upload_id = uuid.uuid4().hex
    with store.lock:
        store.uploads[upload_id] = Upload(request.bucket, request.key, algorithm)
    named = {"Bucket": request.bucket, "Key": request.key, "UploadId": upload_id}
    headers = {"x-amz-checksum-algorithm": algorithm} if algorithm else {}
    return _Answer(200, headers, _xml("InitiateMultipartUploadResult", named))


def _upload_part_copy(store: ObjectStore, request: _Request) -> _Answer:
    upload = store.upload(request.bucket, request.key, request.query["uploadId"])
    number = int(request.query.get("partNumber", 0))
    if not 1 <= number <= MAX_PARTS:
        raise Refusal(400, "InvalidArgument", f"Part number must be an integer between 1 and {MAX_PARTS}, inclusive")
    path, _, query = request.headers["x-amz-copy-source"].partition("?versionId=")
    bucket, _, key = unquote(path).removeprefix("/").partition("/")
    source = store.find(bucket, key, query or None)
    _check_match(request.headers.get("x-amz-copy-source-if-match"), source)
    start, stop = _copied_range(request.headers.get("x-amz-copy-source-range"), source.size)
    sha1 = source.digest(start, stop) if upload.algorithm == "SHA1" else None
    with store.lock:
        upload.parts[number] = Part(number, stop - start, sha1)
    result = {"LastModified": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.000Z}", "ETag": f'"{uuid.uuid4().hex}"'}
    if sha1:
        result["ChecksumSHA1"] = _base64(sha1)
    from_version = {"x-amz-copy-source-version-id": source.version_id} if source.version_id else {}
    return _Answer(200, from_version, _xml("CopyPartResult", result))


def _copied_range(asked: str | None, size: int) -> tuple[int, int]:
    if asked is None:
        start, stop = 0, size
    else:
        if size <= _LEAST_RANGED:
            raise Refusal(
                400, "InvalidRequest", "The specified copy source is not supported as a byte-range copy source"
            )
        found = re.fullmatch(r"bytes=([0-9]+)-([0-9]+)", asked)
        if found is None:
            raise Refusal(400, "InvalidArgument", "The x-amz-copy-source-range value must be of the form bytes=f-l")
        start, stop = int(found[1]), int(found[2]) + 1
        if not start < stop <= size:
            raise Refusal(400, "InvalidArgument", f"Range specified is not valid for source object of size: {size}")
    if stop - start > MAX_PART:
        raise Refusal(400, "InvalidRequest", "The specified copy source is larger than the maximum allowable size")
    return start, stop


def _abort_multipart_upload(store: ObjectStore, request: _Request) -> _Answer:
    upload_id = request.query["uploadId"]
    with store.lock:
        store.upload(request.bucket, request.key, upload_id)
        del store.uploads[upload_id]
    return _Answer(204)


def _list_multipart_uploads(store: ObjectStore, request: _Request) -> _Answer:
    store.check_bucket(request.bucket)
    prefix = request.query.get("prefix", "")
    uploads = [
        {"Key": each.key, "UploadId": upload_id}
        for upload_id, each in store.uploads.items()
        if each.bucket == request.bucket and each.key.startswith(prefix)
    ]
    body = {"Bucket": request.bucket, "Prefix": prefix, "MaxUploads": 1000, "IsTruncated": False, "Upload": uploads}
    return _Answer(200, {}, _xml("ListMultipartUploadsResult", body))


_PINNED = frozenset({"versionId"})
_CHECKSUM = frozenset({"x-amz-sdk-checksum-algorithm", "x-amz-checksum-crc32"})
"""Headers that the SDK itself adds to writes."""
_OPERATIONS: Mapping[str, _Operation] = {
    "GET object": _Operation(
        "GetObject", _get_object, _PINNED, frozenset({"range", "if-match", "x-amz-checksum-mode"})
    ),
    "HEAD object": _Operation("HeadObject", _head_object, _PINNED, frozenset({"if-match", "x-amz-checksum-mode"})),
    "GET object attributes": _Operation(
        "GetObjectAttributes",
        _get_object_attributes,
        _PINNED | {"attributes"},
        frozenset({"x-amz-object-attributes", "x-amz-max-parts", "x-amz-part-number-marker"}),
    ),
    "PUT object": _Operation("PutObject", _put_object, headers=_CHECKSUM | {"if-match", "if-none-match"}),
    "POST object uploads": _Operation(
        "CreateMultipartUpload",
        _create_multipart_upload,
        frozenset({"uploads"}),
        frozenset({"x-amz-checksum-algorithm"}),
    ),
    "PUT object uploadId copied": _Operation(
        "UploadPartCopy",
        _upload_part_copy,
        frozenset({"partNumber", "uploadId"}),
        frozenset({"x-amz-copy-source", "x-amz-copy-source-range", "x-amz-copy-source-if-match"}),
    ),
    "DELETE object uploadId": _Operation("AbortMultipartUpload", _abort_multipart_upload, frozenset({"uploadId"})),
    "GET bucket uploads": _Operation(
        "ListMultipartUploads", _list_multipart_uploads, frozenset({"uploads", "prefix", "encoding-type"})
    ),
}


# ---- HTTP -----------------------------------------------------------------------------------------------------------


class _Server(ThreadingHTTPServer):
    """A server with one thread per connection."""

    daemon_threads = True

    def __init__(self, store: ObjectStore) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.store = store


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def handle(self) -> None:
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True  # the client disconnected

    def finish(self) -> None:
        with suppress(OSError, ValueError):  # the client disconnected, or a fault closed the connection
            super().finish()

    def answer(self) -> None:
        fault: Fault | None = None
        try:
            request = self._request()
            operation = _operation(request)
            operation.check(request)
            fault = self.server.store.fault(operation.name)
            if fault:
                fault.prepare()
            answer = operation.answer(self.server.store, request)
        except Refusal as refusal:
            error = {"Code": refusal.code, "Message": str(refusal)}
            answer = _Answer(refusal.status, {}, _xml("Error", error))
        if fault and fault.kind == "lost":
            self.close_connection = True
            return
        self._send(_falsified(answer, fault) if fault else answer, fault)

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = answer  # noqa: N815 - the names that http.server looks for

    def _request(self) -> _Request:
        target = urlsplit(self.path)
        bucket, _, key = unquote(target.path).removeprefix("/").partition("/")
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        query = dict(parse_qsl(target.query, keep_blank_values=True))
        return _Request(self.command, bucket, key, query, headers, body)

    def _send(self, answer: _Answer, fault: Fault | None) -> None:
        stored, start, stop = answer.content or (None, 0, len(answer.body))
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.status != HTTPStatus.NO_CONTENT and "Content-Length" not in answer.headers:
            self.send_header("Content-Length", str(stop - start))
        if fault and fault.kind == "last":
            self.send_header("Connection", "close")
        self.end_headers()
        if self.command == "HEAD":
            return
        breaks = fault.kind if fault and fault.kind in {"cut", "last", "reset", "stall"} else None
        stop = min(stop, start + fault.at) if fault and breaks else stop
        with self.server.store.while_sending():
            for at in range(start, stop, _BLOCK):
                until = min(stop, at + _BLOCK)
                self.wfile.write(stored.content(at, until) if stored else answer.body[at:until])
            if breaks:
                self._break(breaks)

    def _break(self, kind: str) -> None:
        self.close_connection = True
        if kind == "stall":
            self.server.store.over.wait()
        if kind == "reset":
            # Closing with a linger time of zero sends RST instead of FIN.
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def log_message(self, *_: object) -> None:
        """Keeps quiet."""


def _falsified(answer: _Answer, fault: Fault) -> _Answer:
    """Returns an answer that S3 would never give."""
    match fault.kind, answer.content:
        case "unhashed", _:
            return _Answer(200, answer.headers, re.sub(rb"<ChecksumSHA1>.*</ChecksumSHA1>", b"", answer.body))
        case "whole", (stored, _, _):
            return _Answer(200, _object_headers(stored), content=(stored, 0, stored.size))
        case "short", (stored, start, _):
            ranged = {"Content-Range": f"bytes {start}-{start + fault.at - 1}/{stored.size}"}
            return _Answer(206, answer.headers | ranged, content=(stored, start, start + fault.at))
    return answer


# ---- formats --------------------------------------------------------------------------------------------------------


def _xml(root: str, content: Mapping[str, Any]) -> bytes:
    namespace = ' xmlns="http://s3.amazonaws.com/doc/2006-03-01/"' if root != "Error" else ""
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root}{namespace}>{_elements(content)}</{root}>'.encode()


def _elements(content: Mapping[str, Any]) -> str:
    return "".join(
        f"<{name}>{_text(each)}</{name}>"
        for name, value in content.items()
        for each in (value if isinstance(value, list) else [value])
    )


def _text(value: object) -> str:
    if isinstance(value, dict):
        return _elements(value)
    return escape(str(value).lower() if isinstance(value, bool) else str(value))


def _hashing(content: Content) -> Digest:
    def digest(start: int, stop: int) -> bytes:
        hashed = hashlib.sha1(usedforsecurity=False)
        for at in range(start, stop, _BLOCK):
            hashed.update(content(at, min(stop, at + _BLOCK)))
        return hashed.digest()

    return digest


def _sha1(data: bytes) -> bytes:
    return hashlib.sha1(data, usedforsecurity=False).digest()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
