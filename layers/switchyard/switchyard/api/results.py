"""What callers see of a job's result, by kind: fields, detections and links to files.

Workers process untrusted input, so their results are untrusted too: fields of unexpected shape are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from switchyard import clients
from switchyard.api.signing import presigned_url
from switchyard.keys import PIECES, RESULTS, RUN_PIECES, is_upload, owner_of, result_folders
from switchyard.messages.kinds import IMAGES, STEAM_IMPORT, TORRENT
from switchyard.observability import logger
from switchyard.protocol.jobs import TERMINAL
from switchyard.tables.items import JOB_ID, KIND, REQUEST, RESULT, SOURCE, STATUS, USER_ID, PlainItem

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


_DETECTIONS = "detections.json"
"""The file with all detections, written if they don't fit into the job's item."""
_MAX_DETECTIONS = 4 * 1024 * 1024
_MAX_ANSWER = 5 * 1024 * 1024
"""Bytes. Lambda limits a response to 6 MB. The body is a JSON string in it, where escaping a non-ASCII character takes
up to three times its UTF-8 bytes."""
_MAX_LINKS = 100
_MAX_PIECES = 1000
"""Links of that many pieces take two megabytes."""
_LAST_PIECE = re.compile(r"((?:[1-9][0-9]{0,3}-)?)([0-9]{5,6})(\.[a-z0-9]{1,5})")
_INTERNAL = frozenset({"runId", "detections", "changesKey", "about", "chapters"})
"""Fields of a result that `result` leaves out: only workers need `runId`, the others have fields of their own."""
_MAX_ABOUT = 5000
_MAX_TITLE = 200
_MAX_CHAPTERS = 100
_MAX_SOURCES = 100
_MAY_BE_GONE = "AccessDenied"
"""S3's code for a missing key, if the caller may not list the bucket."""


@dataclass(slots=True, eq=False)
class Results:
    """The results in one bucket. `s3` returns the client that reads and signs, made only when needed."""

    s3: Callable[[], S3Client]
    bucket: str
    torrent_prefix: str
    link_lifetime: timedelta
    upload_prefix: str = "uploads/"

    def files(self, record: PlainItem) -> dict[str, str]:
        """The result's files that get a link, at most 100, or pieces of a recording, at most 1,000: name to key."""
        return {**_files(record), **_pieces(record)} or _torrent(record, self.torrent_prefix) or _changes(record)

    def sources(self, record: PlainItem) -> dict[str, str]:
        """The uploads that the job is about and that get a link, at most 100: URL as submitted, to key.

        Never the upload of another user than the job's, whoever wrote the record. No user sees a job without one.
        """
        owner = record.get(USER_ID.name)

        def may_be_read(key: str) -> bool:
            if not isinstance(owner, str):
                return key.startswith(self.upload_prefix) and _is_plain(key)
            return is_upload(self.upload_prefix, key) and owner_of(self.upload_prefix, key) in (None, owner)

        return {url: key for url, key in _sources(record, self.bucket) if may_be_read(key)}

    def shown(self, record: PlainItem, files: Mapping[str, str], sources: Mapping[str, str]) -> dict[str, Any]:
        """The fields of a job's representation that come from its result and its uploads; None for those it lacks."""
        result = _result(record)
        return {
            "imageCount": _image_count(record, result),
            "detections": self._detections(result, files),
            "summary": _about(result),
            "chapters": _chapters(result),
            "result": {name: value for name, value in result.items() if name not in _INTERNAL} or None,
            "links": {name: self._link(key) for name, key in files.items()} or None,
            "sources": {url: self._link(key) for url, key in sources.items()} or None,
        }

    def _detections(self, result: PlainItem, files: Mapping[str, str]) -> list[Any] | None:
        """The detections, from the record or from S3; None if there are none or they exceed a response."""
        found = result.get("detections")
        if found is None and _DETECTIONS in files:
            found = self._read(files[_DETECTIONS]).get("images")
        return found if isinstance(found, list) else None

    def _read(self, key: str) -> dict[str, Any]:
        """A JSON file of a result; empty if it is missing or too large. The response links to it anyway."""
        try:
            answer = self.s3().get_object(Bucket=self.bucket, Key=key)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if not (clients.is_object_gone(error) or code == _MAY_BE_GONE):
                raise
            logger.warning("result file missing", key=key, error_type=code)
            return {}
        with closing(answer["Body"]) as body:  # its own context manager returns the raw stream, which checks no length
            data = body.read() if answer["ContentLength"] <= _MAX_DETECTIONS else b""
        text = data.decode(errors="replace")
        return (parsed(text) or {}) if len(json.dumps(text)) <= _MAX_ANSWER else {}

    def _link(self, key: str) -> str:
        return presigned_url(self.s3(), "GET", self.bucket, key, self.link_lifetime)


def parsed(text: object) -> dict[str, Any] | None:
    """Parses a JSON object; None for anything else."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _result(record: PlainItem) -> PlainItem:
    result = record.get(RESULT.name)
    return result if isinstance(result, dict) else {}


def _folders(record: PlainItem) -> list[str]:
    owner = record.get(USER_ID.name)
    return result_folders(record[JOB_ID.name], owner if isinstance(owner, str) else None)


def _files(record: PlainItem) -> dict[str, str]:
    """The files that a worker saved in its job's folder. Its result only says in which of `result_folders`."""
    result = _result(record)
    prefix, names = result.get("prefix"), result.get("files")
    if prefix not in _folders(record) or not isinstance(names, list):
        return {}
    keys = {name: prefix + name for name in names if isinstance(name, str)}
    inside = {name: key for name, key in keys.items() if _is_plain(key)}
    # Pictures last: a video may have hundreds, which must not leave its summary without a link.
    return dict(sorted(inside.items(), key=lambda each: each[0].endswith(".jpg"))[:_MAX_LINKS])


def _pieces(record: PlainItem) -> dict[str, str]:
    """The pieces of a recording that was killed, in order. Its result says where they lie, and the last one's name."""
    result, folders = _result(record), _folders(record)
    prefix, last = result.get("pieces"), result.get("lastPiece")
    if not (isinstance(prefix, str) and isinstance(last, str) and record.get(STATUS.name) in [*TERMINAL]):
        return {}
    name, found = RUN_PIECES.search(prefix), _LAST_PIECE.fullmatch(last)
    if name is None or found is None or prefix.removeprefix(PIECES).removesuffix(name[0]) not in folders:
        return {}
    names = (f"{found[1]}{number:05}{found[3]}" for number in range(1, min(int(found[2]), _MAX_PIECES) + 1))
    return {f"{name[0]}{each}": f"{prefix}{each}" for each in names}


def _sources(record: PlainItem, bucket: str) -> list[tuple[str, str]]:
    """The objects that the job is about, if they lie in the bucket: their URLs and keys."""
    match record.get(SOURCE.name):
        case {"bucket": str(name), "key": str(key)} if key and name == bucket:  # requests without an object have no key
            return [(f"s3://{bucket}/{key}", key)]
    match parsed(record.get(REQUEST.name)) if record.get(KIND.name) == IMAGES.name else None:
        case {"input": {"imageUrls": [*urls]}}:
            named = [url for url in urls[:_MAX_SOURCES] if isinstance(url, str)]
            return [(url, found) for url in named if (found := _located(url, bucket)) is not None]
    return []


def _located(url: str, bucket: str) -> str | None:
    from switchyard.urls import UrlNotAllowed, s3_location  # noqa: PLC0415 - only for jobs with images

    try:
        return s3_location(url, bucket)
    except UrlNotAllowed:
        return None


def _about(result: PlainItem) -> str | None:
    """What a video is about, in a few sentences."""
    about = result.get("about")
    return about[:_MAX_ABOUT] if isinstance(about, str) and about else None


def _chapters(result: PlainItem) -> list[dict[str, Any]] | None:
    """The chapters of a video, with times in seconds."""
    chapters = result.get("chapters")
    found = [each for each in chapters if isinstance(each, dict)] if isinstance(chapters, list) else []
    shown = [{name: each.get(name) for name in ("start", "end", "title")} for each in found[:_MAX_CHAPTERS]]
    return [each for each in shown if _is_chapter(each)] or None


def _is_chapter(found: dict[str, Any]) -> bool:
    times = [found["start"], found["end"]]
    if not all(type(time) in (int, float) for time in times) or not isinstance(found["title"], str):
        return False
    return 0 <= times[0] < times[1] and len(found["title"]) <= _MAX_TITLE


def _torrent(record: PlainItem, prefix: str) -> dict[str, str]:
    """The .torrent file of a torrent's job. A key that can't be one is ignored, whoever wrote the result."""
    key = _result(record).get("torrentKey") if record.get(KIND.name) == TORRENT.name else None
    if not isinstance(key, str) or not key.startswith(prefix) or not key.endswith(".torrent") or not _is_plain(key):
        return {}
    return {key.rpartition("/")[2]: key}


def _changes(record: PlainItem) -> dict[str, str]:
    """The list of what an import has changed, which lies in its job's folder."""
    key = _result(record).get("changesKey") if record.get(KIND.name) == STEAM_IMPORT.name else None
    folder = f"{RESULTS}{record[JOB_ID.name]}/"
    if not isinstance(key, str) or not key.startswith(folder) or not _is_plain(key):
        return {}
    return {key.removeprefix(folder): key}


def _is_plain(key: str) -> bool:
    """Whether HTTP clients request this key unchanged: it has no `.`, `..` or empty segment for them to resolve."""
    return {"", ".", ".."}.isdisjoint(key.split("/"))


def _image_count(record: PlainItem, result: PlainItem) -> int | None:
    match result.get("imageCount"):
        case int(counted) if counted > 0 and counted is not True:
            return counted
    match parsed(record.get(REQUEST.name)) if record.get(KIND.name) == IMAGES.name else None:
        case {"input": {"imageUrls": [_, *_] as urls}}:
            return len(urls)
    return None
