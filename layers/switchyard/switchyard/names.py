"""Turns names that callers send into names that AWS accepts.

Batch job names have up to 128 characters of `[A-Za-z0-9_-]` and start with a letter or digit. Tag values have up to 256
letters, digits, spaces and `+-=._:/@` and must not start with `aws:` (AWS Batch API reference, SubmitJob and "Tag
restrictions"). A changed name ends in a short hash of the original, so that different names stay different.
"""

import hashlib
import re

_ILLEGAL_IN_NAME = re.compile(r"[^A-Za-z0-9_-]+")
_ILLEGAL_IN_TAG = re.compile(r"[^A-Za-z0-9 +\-=._:/@]|^(?i:aws:)")
_LEGAL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_HASH_LENGTH = 10

NAME_LIMIT = 128
TAG_LIMIT = 256
MAX_KEY_BYTES = 1024
"""The maximum length of an S3 object key, in UTF-8 bytes (S3 user guide, "Naming Amazon S3 objects")."""


def stable_hash(*parts: str, length: int = 32) -> str:
    """Hashes strings to `length` hex digits. ("ab", "c") and ("a", "bc") differ, since each part is length-prefixed."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(4) + encoded)
    return digest.hexdigest()[:length]


def legal_name(name: str, prefix: str = "") -> str:
    """Turns `prefix` + `name` into a job id or Batch job name: unchanged if legal, else cleaned, cut and hashed."""
    wanted = prefix + name
    if len(wanted) <= NAME_LIMIT and _LEGAL_NAME.fullmatch(wanted):
        return wanted
    cleaned = _ILLEGAL_IN_NAME.sub("-", wanted).strip("-_")
    kept = cleaned[: NAME_LIMIT - _HASH_LENGTH - 1].rstrip("-_")
    suffix = stable_hash(name, length=_HASH_LENGTH)
    return f"{kept}-{suffix}" if kept else suffix


def owned_name(owner: str, name: str) -> str:
    """Turns the name that a user gave a job into its id. No other user's name becomes this id."""
    suffix = stable_hash(owner, name)
    return f"{legal_name(name)[: NAME_LIMIT - len(suffix) - 1]}-{suffix}"


def legal_tag(value: str) -> str:
    """Turns `value` into a tag value: unchanged if legal, else cleaned, cut and hashed."""
    cleaned = _ILLEGAL_IN_TAG.sub("_", value)
    if cleaned == value and len(value) <= TAG_LIMIT:
        return value
    return f"{cleaned[: TAG_LIMIT - _HASH_LENGTH - 1]}_{stable_hash(value, length=_HASH_LENGTH)}"
