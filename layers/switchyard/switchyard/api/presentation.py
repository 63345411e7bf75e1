"""Shows jobs: one as it stands, with what was found and links to its files; many as a list; the API's own document.

A row may be another program's, and what a worker wrote is a stranger's as well: only what is as expected is shown.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.api import http
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.api.signing import presigned_url
from switchyard.names import stable_hash
from switchyard.observability import logger
from switchyard.protocol.jobs import TERMINAL, Status
from switchyard.tables.records import BadToken, Filters, Record, Records
from switchyard.torrents.messages import KIND

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DETECTIONS = "detections.json"
"""The result's file with all that was found in the images, where that is too much for the job's record."""

_MAX_DETECTIONS = 4 * 1024 * 1024
_MAX_ANSWER = 5 * 1024 * 1024
"""Lambda answers with 6 MB at the most, the body being text inside of JSON: what is not ASCII grows threefold."""
_MAX_LINKS = 100
_PAGE = 25
_MAX_PAGE = 100

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_USER_ID = re.compile(r"[ -~]{1,256}")
_KIND = re.compile(r"(?s:.{1,128})")
_LIMIT = re.compile(r"[1-9][0-9]?|100")
_GONE = frozenset({"NoSuchKey", "NoSuchBucket", "AccessDenied"})  # denied: it isn't there, and we may not list


def job_id_of(request: Request) -> str:
    """The job that a request's path names. What can't be a job's id is not found, like one that isn't there."""
    job_id = request.path.get("jobId", "")
    if not _JOB_ID.fullmatch(job_id):
        raise not_found()
    return job_id


def is_visible(request: Request, owner: str | None) -> bool:
    """Whether who asks may know of a job: a user only of their own; who isn't a user (API key, IAM) of all."""
    return request.user_id is None or request.user_id == owner


def not_found() -> Problem:
    """The same for a job that isn't there and for one of somebody else."""
    return Problem(404, "NOT_FOUND", "There is no such job.")


@dataclass(slots=True, eq=False)
class Presentation:
    """Answers the questions about jobs. `s3` gives the client that reads and signs, made when it is first needed."""

    records: Records
    s3: Callable[[], S3Client]
    bucket: str
    torrent_prefix: str
    link_lifetime: timedelta

    def job(self, request: Request) -> Response:
        """`GET /jobs/{jobId}`."""
        record = self.records.read(job_id_of(request))
        if record is None or not is_visible(request, record.get("userId")):
            raise not_found()
        files = _files(record) or _torrent(record, self.torrent_prefix)
        tag = self._tag(record, has_links=bool(files))
        if request.has(tag):
            return Response(304, None, {"ETag": tag})
        return Response(200, self._view(record, files), {"ETag": tag})

    def jobs(self, request: Request) -> Response:
        """`GET /jobs`."""
        limit = _query(request, "limit", _LIMIT) or _PAGE
        try:
            page = self.records.page(_filters(request), int(limit), request.query.get("nextToken"))
        except BadToken:
            raise invalid("nextToken is not that of a page of this list") from None
        return Response(200, {"jobs": page.jobs} | ({"nextToken": page.next_token} if page.next_token else {}))

    def _tag(self, record: Record, *, has_links: bool) -> str:
        """Changes with the job, and in time before links that were given with it run out."""
        state = json.dumps(record, sort_keys=True)
        # Twice in a link's life: who has this representation has links that are good for another half of it.
        period = int(clock.now().timestamp() // (self.link_lifetime.total_seconds() / 2)) if has_links else 0
        return f'W/"{stable_hash(state, str(period))}"'

    def _view(self, record: Record, files: Mapping[str, str]) -> dict[str, Any]:
        result, status = _result(record), _text(record.get("status"))
        view = {
            "jobId": record["jobId"],
            "kind": _text(record.get("kind")),
            "status": status,
            "imageCount": _image_count(record, result),
            "detections": self._detections(result, files),
            "progress": _object(record.get("progress")),
            "error": _error(record),
            "result": {name: value for name, value in result.items() if name not in _INTERNAL} or None,
            "links": {name: self._link(key) for name, key in files.items()} or None,
            "metadata": _parsed(record.get("metadata")),
            "userId": _text(record.get("userId")),
            "createdAt": _text(record.get("createdAt")),
            "updatedAt": _text(record.get("updatedAt")),
            "startedAt": _text(record.get("startedAt")),
            "endedAt": _text(record.get("endedAt")),
            "cancelRequested": ("cancelRequestedAt" in record and status not in TERMINAL) or None,
        }
        return {name: value for name, value in view.items() if value is not None}

    def _detections(self, result: Record, files: Mapping[str, str]) -> list[Any] | None:
        """What was found in the images: from the record, or from S3; None where it is too much for an answer."""
        found = result.get("detections")
        if found is None and DETECTIONS in files:
            found = self._read(files[DETECTIONS]).get("images")
        return found if isinstance(found, list) else None

    def _read(self, key: str) -> dict[str, Any]:
        """A JSON file of a result; empty where there is none that can be shown: its link is in the answer."""
        try:
            answer = self.s3().get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            if error.response["Error"]["Code"] not in _GONE:
                raise
            logger.warning("a file of a result is missing", key=key, error_type=error.response["Error"]["Code"])
            return {}
        with closing(answer["Body"]) as body:  # its own context manager gives the stream that counts nothing
            data = body.read() if answer["ContentLength"] <= _MAX_DETECTIONS else b""
        text = data.decode(errors="replace")
        return (_parsed(text) or {}) if len(json.dumps(text)) <= _MAX_ANSWER else {}

    def _link(self, key: str) -> str:
        return presigned_url(self.s3(), "GET", self.bucket, key, self.link_lifetime)


def document(request: Request) -> Response:
    """`GET /openapi.json`."""
    tag = _document_tag()
    return Response(304, None, {"ETag": tag}) if request.has(tag) else Response(200, http.document(), {"ETag": tag})


@cache
def _document_tag() -> str:
    return f'W/"{stable_hash(json.dumps(http.document()))}"'


# ---- a job ----------------------------------------------------------------------------------------------------------

_INTERNAL = frozenset({"runId", "detections"})
"""Of a result: what only workers need, and what is shown beside it."""


def _result(record: Record) -> Record:
    return _object(record.get("result")) or {}


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _files(record: Record) -> dict[str, str]:
    """The result's files: name to key, the first hundred. Whatever a worker writes, only its job's folder is read."""
    result = _result(record)
    prefix, names = result.get("prefix"), result.get("files")
    if not isinstance(prefix, str) or not isinstance(names, list) or prefix.split("/")[-2:] != [record["jobId"], ""]:
        return {}
    keys = {name: prefix + name for name in names if isinstance(name, str)}
    inside = {name: key for name, key in keys.items() if _is_plain(key)}
    return dict(list(inside.items())[:_MAX_LINKS])


def _torrent(record: Record, prefix: str) -> dict[str, str]:
    """The file that a torrent's job made: its name, and its key. No other key counts, whoever wrote it there."""
    key = _result(record).get("torrentKey") if record.get("kind") == KIND else None
    if not isinstance(key, str) or not key.startswith(prefix) or not key.endswith(".torrent") or not _is_plain(key):
        return {}
    return {key.rpartition("/")[2]: key}


def _is_plain(key: str) -> bool:
    """Whether a client will ask for this very key, and not resolve what looks like a step up before."""
    return {"", ".", ".."}.isdisjoint(key.split("/"))


def _image_count(record: Record, result: Record) -> int | None:
    match result.get("imageCount"):
        case int(counted) if counted > 0 and counted is not True:
            return counted
    match _parsed(record.get("request")) if record.get("kind") == "image-processing" else None:
        case {"input": {"imageUrls": [_, *_] as urls}}:
            return len(urls)
    return None


def _error(record: Record) -> dict[str, str] | None:
    match record.get("error"):
        case {"code": str(code), "message": str(message)}:
            return {"code": code, "message": message}
    return None


def _parsed(text: object) -> dict[str, Any] | None:
    """A JSON object; None for anything else."""
    try:
        return _object(json.loads(text)) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None


# ---- a list ---------------------------------------------------------------------------------------------------------


def _filters(request: Request) -> Filters:
    """What to list. A user's list is of their own jobs, whether they say so or not."""
    status = request.query.get("status")
    if status is not None and status not in Status:
        raise invalid(f"status must be one of {', '.join(Status)}")
    user_id = _query(request, "userId", _USER_ID)
    if request.user_id is not None and user_id not in (None, request.user_id):
        raise Problem(403, "FORBIDDEN", "Only your own jobs can be listed.")
    filters = Filters(user_id=request.user_id or user_id, kind=_query(request, "kind", _KIND), status=status)
    if filters == Filters():
        raise invalid("at least one of status, userId and kind is needed")
    return filters


def _query(request: Request, name: str, pattern: re.Pattern[str]) -> str | None:
    value = request.query.get(name)
    if value is not None and not pattern.fullmatch(value):
        raise invalid(f"{name} is not as it should be")
    return value
