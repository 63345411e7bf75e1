"""Makes and reads the keys of uploads and recordings. Pure.

An owner's objects lie under the owner's segment, so an object's key alone says whose it is:

    uploads/<owner>/YYYY/MM/DD/<uuid4>-<name>   without an owner: uploads/YYYY/MM/DD/<uuid4>-<name>
    recordings/<owner>/<jobId>/<name>           without an owner: recordings/<jobId>/<name>
    pieces/recordings/<owner>/<jobId>/…         a recording's pieces while it is recorded

An owner is a user's id. Four digits are never an owner, because an upload without an owner begins with the year.
"""

import re
from datetime import date

RESULTS = "results/"
RECORDINGS = "recordings/"
"""Where workers put what they make, and the only prefixes besides that of torrents for which `get_job` signs links."""
PIECES = "pieces/"
"""Comes before a recording's folder in its pieces' keys: they are not announced, and their old versions go in a day."""
MAX_NAME = 120
"""Characters of an upload's file name, which follows the UUID."""
CLAIM = ".claim"
"""The name of the object that says which job a recording's prefix belongs to (workers/CONTRACT.md)."""

_OWNER = r"(?![0-9]{4}(?:/|\Z))[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}"
_JOB_ID = r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}"
_UUID4 = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_UPLOAD = re.compile(
    rf"(?:(?P<owner>{_OWNER})/)?[0-9]{{4}}/[0-9]{{2}}/[0-9]{{2}}/{_UUID4}-[A-Za-z0-9._-]{{1,{MAX_NAME}}}"
)
_PIECES = r"pieces-[0-9]+/"
"""The folder of the pieces that record_stream stores while it records. Earlier versions had it beside the recording."""
RUN_PIECES = re.compile(rf"{_PIECES}\Z")
"""The end of a prefix of pieces: whose run's they are."""
_OWNED = re.compile(rf"(?P<owner>{_OWNER})/(?!{_PIECES}){_JOB_ID}/(?s:.+)")
_PART = re.compile(rf"[^/]+/(?:{_JOB_ID}/)?(?:{_PIECES}|{re.escape(CLAIM)}\Z)")


def is_owner(text: str) -> bool:
    """Whether a user's id can be a segment of a key. The ids of Cognito users can."""
    return re.fullmatch(_OWNER, text) is not None


def upload_key(prefix: str, owner: str | None, day: date, unique: str, name: str) -> str:
    """The key of a new upload. `unique` is a UUID of version 4, `name` a file name of safe characters.

    Raises:
        ValueError: `owner`, `unique` or `name` can't be part of a key.
    """
    key = f"{prefix}{f'{owner}/' if owner is not None else ''}{day:%Y/%m/%d}/{unique}-{name}"
    if not is_upload(prefix, key) or owner_of(prefix, key) != owner:
        raise ValueError("not the key of an upload")
    return key


def is_upload(prefix: str, key: str) -> bool:
    """Whether `upload_key` can have made this key."""
    return key.startswith(prefix) and _UPLOAD.fullmatch(key, len(prefix)) is not None


def owner_of(prefix: str, key: str) -> str | None:
    """The owner of an upload. None for an upload without an owner, and for every other object."""
    found = _UPLOAD.fullmatch(key, len(prefix)) if key.startswith(prefix) else None
    return found["owner"] if found else None


def result_folders(job_id: str, owner: str | None) -> list[str]:
    """The folders in which a job's results may lie. Earlier versions wrote recordings without their owner's segment.

    Two owners may have a job of the same id, one after the other: another owner's recordings are in another folder.
    """
    owned = [f"{RECORDINGS}{owner}/{job_id}/"] if owner is not None and is_owner(owner) else []
    return [f"{RESULTS}{job_id}/", f"{RECORDINGS}{job_id}/", *owned]


def recording_owner(prefix: str, key: str) -> str | None:
    """The owner of a recording's file, or of an upload under the same prefix. None if the key names no owner."""
    found = _OWNED.fullmatch(key, len(prefix)) if key.startswith(prefix) else None
    return found["owner"] if found else None


def is_part_of_recording(prefix: str, key: str) -> bool:
    """Whether this is a piece of a recording, or its claim: an object that is no result."""
    return key.startswith(PIECES) or (key.startswith(prefix) and _PART.match(key, len(prefix)) is not None)
