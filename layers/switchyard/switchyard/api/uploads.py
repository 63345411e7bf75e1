"""Presigned uploads from the client straight to S3, in one request or in parts. S3 alone keeps their state.

The caller's id is in the key (`switchyard.keys`), so that a user reaches no upload of another. No upload replaces an
object: presigned PUTs and completions have `If-None-Match: *`. Limits: "Amazon S3 multipart upload limits" and
"Conditional writes" in the S3 user guide.
"""

from __future__ import annotations

import re
import unicodedata
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.api.access import is_visible
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.api.signing import presigned_url
from switchyard.keys import MAX_NAME, is_upload, owner_of, upload_key
from switchyard.messages.videos import video_id_of
from switchyard.names import legal_name

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_s3.type_defs import CompletedPartTypeDef, PartTypeDef

    from switchyard.clients import MultipartUpload

MAX_PUT = 5 * 2**30
"""Bytes of one PUT or POST."""
MAX_PARTS = 10_000
MIN_PART = 16 * 2**20
"""Bytes of a part. S3 allows 5 MiB, but part sizes that are powers of two can serve as a torrent's piece length."""

_MAX_COMPLETE_BODY = 2 * 2**20
"""Bytes: enough for 10,000 parts with ETag and checksum."""

EXTENSIONS: Mapping[str, Sequence[str]] = {
    "video/mp4": (".mp4",),
    "video/quicktime": (".mov",),
    "video/x-msvideo": (".avi",),
    "video/x-matroska": (".mkv",),
    "video/webm": (".webm",),
    "image/jpeg": (".jpg", ".jpeg"),
    "image/png": (".png",),
    "image/webp": (".webp",),
}
"""The types that may be uploaded, each with its file name extensions. A name with none of them gets the first.

The bucket's notifications filter by those of videos.
"""

_TYPES = {end: content_type for content_type, ends in EXTENSIONS.items() for end in ends}
_FIRST = {"If-None-Match": "*"}
_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DOTS = re.compile(r"\.{2,}")
_FOLDERS = re.compile(r"[/\\]")
_UPLOAD_ID = re.compile(r"[!-~]{1,1024}")
_MARKER = re.compile(r"[1-9][0-9]{0,4}")


def safe_name(filename: str, content_type: str) -> str:
    """A file name reduced to `[A-Za-z0-9._-]`, with an extension that fits the type.

    Extensions become lower case (`.Mp4` to `.mp4`), because S3's notifications filter by case-sensitive suffix.
    """
    base = _FOLDERS.split(filename)[-1]
    ascii_only = unicodedata.normalize("NFKD", base).encode("ascii", "ignore").decode()
    stem = _DOTS.sub(".", _UNSAFE.sub("-", ascii_only))
    end = EXTENSIONS[content_type][0]
    for each in EXTENSIONS[content_type]:
        if stem.lower().endswith(each):
            stem, end = stem[: -len(each)], each
    return (stem.strip("._-")[: MAX_NAME - len(end)].rstrip("._-") or "file") + end


def part_size(size: int) -> int:
    """Bytes of a part: the least power of two, from 16 MiB, for which 10,000 parts suffice."""
    least = MIN_PART
    while size > least * MAX_PARTS:
        least *= 2
    return least


@dataclass(slots=True, eq=False)
class Uploads:
    """The upload routes' handlers.

    `max_bytes` is the largest file that this deployment accepts. `id_pattern` finds a video's id in its key.
    """

    client: S3Client
    bucket: str
    prefix: str
    lifetime: timedelta
    max_bytes: int
    id_pattern: re.Pattern[str]

    def presign(self, request: Request) -> Response:
        """POST /uploads/presign."""
        body = request.json("PresignRequest")
        size = _whole(body.get("size"))
        if size is not None and size > MAX_PUT:
            raise Problem(413, _TOO_LARGE, "Files over 5 GiB must be uploaded in parts: POST /uploads/multipart.")
        self._check(size)
        if size is None and body["method"] == "PUT" and self.max_bytes < MAX_PUT:
            # Without a size in its signature, S3 takes up to 5 GiB.
            raise invalid("the body must have a size, unless its method is POST")
        content_type = _content_type(body)
        file = self._new(body, request.user_id)
        answer = {"bucket": self.bucket, "method": body["method"], "expiresIn": self._seconds, **file}
        if body["method"] == "POST":
            return Response(200, answer | self._form(file["key"], content_type, size))
        # The URL works for one version of the object. S3 refuses a repeated PUT with 412.
        length = {} if size is None else {"Content-Length": str(size)}
        headers = {"Content-Type": content_type, **length, **_FIRST}
        return Response(200, answer | {"url": self._url(file["key"], headers), "headers": headers})

    def create(self, request: Request) -> Response:
        """POST /uploads/multipart."""
        body = request.json("MultipartRequest")
        size = int(body["size"])
        self._check(size)
        file = self._new(body, request.user_id)
        checksum: dict[str, Any] = {}
        if "checksum" in body:  # COMPOSITE, because S3 then keeps the parts' checksums with the object
            checksum = {"ChecksumAlgorithm": body["checksum"], "ChecksumType": "COMPOSITE"}
        created = self.client.create_multipart_upload(
            Bucket=self.bucket, Key=file["key"], ContentType=_content_type(body), **checksum
        )
        length = part_size(size)
        cut = {"partSize": length, "partCount": -(-size // length)}
        return Response(201, {"uploadId": created["UploadId"], "bucket": self.bucket, **cut, **file})

    def sign_parts(self, request: Request) -> Response:
        """POST /uploads/multipart/parts."""
        body = request.json("MultipartPartsRequest")
        upload = self._own(request, body["key"], body["uploadId"])
        return Response(
            200, {"parts": [self._part(upload, part) for part in body["parts"]], "expiresIn": self._seconds}
        )

    def parts(self, request: Request) -> Response:
        """GET /uploads/multipart."""
        upload = self._named(request)
        marker = request.query.get("nextToken")
        if marker is not None and not _MARKER.fullmatch(marker):
            raise invalid("nextToken must come from the previous page")
        with _explained():
            page = self.client.list_parts(**upload, PartNumberMarker=int(marker or 0))
        answer: dict[str, Any] = {"parts": [_shown(part) for part in page.get("Parts", ())]}
        if page["IsTruncated"]:
            answer["nextToken"] = str(page["NextPartNumberMarker"])
        return Response(200, answer)

    def complete(self, request: Request) -> Response:
        """POST /uploads/multipart/complete."""
        body = request.json("MultipartCompleteRequest", limit=_MAX_COMPLETE_BODY)
        upload = self._own(request, body["key"], body["uploadId"])
        size, named = int(body["size"]), body["parts"]
        self._check(size)  # S3 checks it against the parts
        if [part["partNumber"] for part in named] != list(range(1, len(named) + 1)):
            raise Problem(400, *_WRONG_ORDER)
        held = self._held(upload)
        if held is not None:
            _verify(size, len(named), held)
        # Of an upload that has ended, S3 only repeats its answer.
        first: dict[str, Any] = {} if held is None else {"IfNoneMatch": "*"}
        with _explained():
            done = self.client.complete_multipart_upload(
                **upload,
                MultipartUpload={"Parts": [_completed(part, held or {}) for part in named]},
                MpuObjectSize=size,
                **first,
            )
        more = {"versionId": done.get("VersionId"), "checksumSha1": done.get("ChecksumSHA1")}
        answer = {"key": body["key"], "bucket": self.bucket, "size": size, "etag": done["ETag"]}
        return Response(200, answer | {name: value for name, value in more.items() if value})

    def abort(self, request: Request) -> Response:
        """DELETE /uploads/multipart."""
        upload = self._named(request)
        with _explained():
            self.client.abort_multipart_upload(**upload)
        return Response(204)

    # ---- keys

    def _new(self, body: Mapping[str, Any], owner: str | None) -> dict[str, str]:
        """A unique key for a file of this owner, and for a video the id of its job."""
        content_type = _content_type(body)
        own = str(uuid.uuid4())
        name = safe_name(_filename(body), content_type)
        key = upload_key(self.prefix, owner, clock.now(), own, name)
        if not content_type.startswith("video/"):
            return {"key": key}
        return {"key": key, "jobId": legal_name(video_id_of(self.id_pattern, self.bucket, key))}

    def _own(self, request: Request, key: str, upload_id: str) -> MultipartUpload:
        """The named upload. Keys that this API can't have made answer 404, and so do other owners' keys for a user."""
        if not is_upload(self.prefix, key) or not is_visible(request, owner_of(self.prefix, key)):
            raise Problem(*_NOT_FOUND)
        return {"Bucket": self.bucket, "Key": key, "UploadId": upload_id}

    def _named(self, request: Request) -> MultipartUpload:
        query = request.query
        problems = [f"the query must have {name}" for name in ("key", "uploadId") if not query.get(name)]
        if problems:
            raise invalid(*problems)
        if not _UPLOAD_ID.fullmatch(query["uploadId"]):
            raise Problem(*_NOT_FOUND)
        return self._own(request, query["key"], query["uploadId"])

    # ---- sizes

    def _check(self, size: int | None) -> None:
        if size is not None and size > self.max_bytes:
            raise Problem(413, _TOO_LARGE, f"A file must not exceed {self.max_bytes} bytes.")

    def _held(self, upload: MultipartUpload) -> dict[int, PartTypeDef] | None:
        """The parts that S3 has, or None for an upload that has ended.

        For some time, S3 answers a repeated CompleteMultipartUpload as it did the first. So a client that lost the
        first response can retry, and S3 decides whether the upload was completed or is gone.
        """
        try:
            pages = self.client.get_paginator("list_parts").paginate(**upload)
            return {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}
        except self.client.exceptions.NoSuchUpload:
            return None

    # ---- signatures

    @property
    def _seconds(self) -> int:
        return int(self.lifetime.total_seconds())

    def _url(self, key: str, headers: Mapping[str, str], query: Mapping[str, str] | None = None) -> str:
        return presigned_url(self.client, "PUT", self.bucket, key, self.lifetime, query=query, headers=headers)

    def _form(self, key: str, content_type: str, size: int | None) -> dict[str, Any]:
        least, most = (1, min(MAX_PUT, self.max_bytes)) if size is None else (size, size)
        form = self.client.generate_presigned_post(
            self.bucket,
            key,
            Fields={"Content-Type": content_type},
            Conditions=[{"Content-Type": content_type}, ["content-length-range", least, most]],
            ExpiresIn=self._seconds,
        )
        return {"url": form["url"], "fields": form["fields"], "headers": {}}

    def _part(self, upload: MultipartUpload, part: Mapping[str, Any]) -> dict[str, Any]:
        number = int(part["partNumber"])
        headers: dict[str, str] = {}
        if "size" in part:
            headers["Content-Length"] = str(int(part["size"]))
        if "checksumSha1" in part:
            headers["x-amz-checksum-sha1"] = part["checksumSha1"]
        query = {"partNumber": str(number), "uploadId": upload["UploadId"]}
        return {"partNumber": number, "url": self._url(upload["Key"], headers, query), "headers": headers}


def _content_type(body: Mapping[str, Any]) -> str:
    """The file's type: the one named, else that of its name.

    Raises:
        Problem: 400 if the name's end says no type, or the type is not of the `kind` in the body.
    """
    named = body.get("contentType", body.get("content_type"))
    content_type = named or _TYPES.get("".join(_filename(body).lower().rpartition(".")[1:]))
    if content_type is None:
        raise invalid(f"the body must have a contentType, unless its filename ends in one of {', '.join(_TYPES)}")
    if body.get("kind") not in (None, content_type.partition("/")[0]):
        raise invalid("the body must have a contentType of its kind")
    return str(content_type)


def _filename(body: Mapping[str, Any]) -> str:
    return str(body.get("filename", body.get("file_name")))


def _whole(size: float | None) -> int | None:
    """The size as an int: JSON Schema counts 5.0 as an integer too."""
    return None if size is None else int(size)


def _shown(part: PartTypeDef) -> dict[str, Any]:
    shown: dict[str, Any] = {"partNumber": part["PartNumber"], "size": part["Size"], "etag": part["ETag"]}
    if checksum := part.get("ChecksumSHA1"):
        shown["checksumSha1"] = checksum
    return shown


def _completed(part: Mapping[str, Any], held: Mapping[int, PartTypeDef]) -> CompletedPartTypeDef:
    number = int(part["partNumber"])
    completed: CompletedPartTypeDef = {"PartNumber": number, "ETag": '"{}"'.format(part["etag"].strip('"'))}
    # S3 requires the checksum if the upload was created with one. If the caller names none, S3's own is used.
    checksum = part.get("checksumSha1") or held.get(number, {}).get("ChecksumSHA1")
    if checksum:
        completed["ChecksumSHA1"] = checksum
    return completed


def _verify(size: int, count: int, held: Mapping[int, PartTypeDef]) -> None:
    missing = [number for number in range(1, count + 1) if number not in held]
    if missing:
        details = [f"part {number} has not arrived" for number in missing[:10]]
        raise Problem(409, "PARTS_MISSING", f"{len(missing)} of {count} parts have not arrived.", details)
    sizes = [held[number]["Size"] for number in range(1, count + 1)]
    if any(each != sizes[0] for each in sizes[:-1]) or sizes[-1] > sizes[0]:
        raise Problem(409, "PART_SIZES_DIFFER", "All parts but the last must have the same size, and the last no more.")
    if sum(sizes) != size:
        raise Problem(409, "SIZE_MISMATCH", f"The uploaded parts add up to {sum(sizes)} bytes, not {size}.")


# ---- S3's errors ----------------------------------------------------------------------------------------------------

_TOO_LARGE = "UPLOAD_TOO_LARGE"
_WRONG_ORDER = ("INVALID_PART_ORDER", "Parts must be listed in order: 1, 2, 3 and so on.")
_NOT_FOUND = (404, "UPLOAD_NOT_FOUND", "There is no such upload: it was completed, aborted or never created.")
_INVALID_PART = (400, "INVALID_PART", "A part is missing in S3, or has another ETag or checksum.")
_REFUSALS: Mapping[str, tuple[int, str, str]] = {
    "NoSuchUpload": _NOT_FOUND,
    "InvalidPart": _INVALID_PART,
    "BadDigest": _INVALID_PART,
    "InvalidRequest": _INVALID_PART,  # a checksum is missing or of another algorithm
    "InvalidPartOrder": (400, *_WRONG_ORDER),
    "PreconditionFailed": (409, "UPLOAD_EXISTS", "An object with this key exists already: the upload was completed."),
    "EntityTooSmall": (400, "PART_TOO_SMALL", "Every part but the last must have at least 5 MiB."),
}
"""S3's errors that are the caller's to fix, as status, code and message. All others become a 503."""


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        refusal = _REFUSALS.get(error.response["Error"]["Code"])
        if refusal is None:
            raise
        raise Problem(*refusal) from None
