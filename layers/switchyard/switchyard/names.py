"""Names AWS accepts, made out of names people send.

Rules: Batch job names are up to 128 of `[A-Za-z0-9_-]` and start with a letter or digit; tag values up to 256 letters,
digits, spaces and `+-=._:/@`, but not `aws:` in front (AWS Batch API reference, SubmitJob and "Tag restrictions").
A name that has to be changed gets a short hash of the original, so that two different names never become one.
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
"""The longest key of an S3 object, as UTF-8 (S3 user guide, "Naming Amazon S3 objects")."""


def stable_hash(*parts: str, length: int = 32) -> str:
    """A stable hash of some strings, in hex digits. The parts are kept apart, so ("ab", "c") is not ("a", "bc")."""
    digest = hashlib.sha256()
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(4) + encoded)
    return digest.hexdigest()[:length]


def legal_name(name: str, prefix: str = "") -> str:
    """`prefix` + `name` as a job id or Batch job name: unchanged where that is legal, else cleaned, cut and hashed."""
    wanted = prefix + name
    if len(wanted) <= NAME_LIMIT and _LEGAL_NAME.fullmatch(wanted):
        return wanted
    cleaned = _ILLEGAL_IN_NAME.sub("-", wanted).strip("-_")
    kept = cleaned[: NAME_LIMIT - _HASH_LENGTH - 1].rstrip("-_")
    suffix = stable_hash(name, length=_HASH_LENGTH)
    return f"{kept}-{suffix}" if kept else suffix


def legal_tag(value: str) -> str:
    """`value` as a tag value: unchanged where that is legal, else other characters become `_` and the end a hash."""
    cleaned = _ILLEGAL_IN_TAG.sub("_", value)
    if cleaned == value and len(value) <= TAG_LIMIT:
        return value
    return f"{cleaned[: TAG_LIMIT - _HASH_LENGTH - 1]}_{stable_hash(value, length=_HASH_LENGTH)}"
