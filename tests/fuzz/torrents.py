"""Checks of torrent code: bencoding, metainfo, S3's part checksums, and the torrents that a worker seeds."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from io import BytesIO
from typing import Any, Final, cast
from urllib.parse import unquote, urlsplit

from seed_torrent import source as seeding
from switchyard.errors import ObjectChanged
from switchyard.torrents.format.bencode import BencodeError, decode, encode
from switchyard.torrents.format.layout import LEAF, Format, Layout, ObjectVersion
from switchyard.torrents.format.metainfo import Sharing, make, name_of
from switchyard.torrents.hashing.checksums import Description, part_digests
from switchyard_worker import PermanentFailure
from tests.fuzz.harness import text

_MODIFIED: Final = datetime(2026, 11, 22, 12, tzinfo=UTC)
_UNSAFE: Final = re.compile("[\x00-\x1f\x7f-\x9f/\\\\\u202a-\u202e]")


def bencode(data: bytes) -> None:
    """`decode`: an accepted value encodes to the same bytes; everything else is refused."""
    try:
        value = decode(data)
    except BencodeError:
        return
    assert encode(value) == data


def metainfo(data: bytes) -> None:
    """`make`, for a key and a version on two lines: valid bencoding, a safe name, and web seeds for the key."""
    key, _, version = data.decode(errors="ignore").partition("\n")
    key, version = key.replace("\0", ""), version or "v1"
    if not 1 <= len(key.encode()) <= 1024:
        return
    name = name_of(key)
    assert name not in ("", ".", "..")
    assert len(name.encode()) <= 240
    assert not _UNSAFE.search(name)
    assert name_of(name) == name
    thing = ObjectVersion("media", key, 3 * LEAF, "etag", version, _MODIFIED)
    seeds = ("https://cdn.example.com/media", "http://mirror.example.com:8080/a")
    sharing = Sharing([["https://tracker.example.com/announce"]], seeds, comment=version)
    for form in Format:
        made = make(thing, Layout(thing.size, LEAF, form), b"\1" * 3 * form.digest_size, sharing)
        read = cast("dict[bytes, Any]", decode(made.data))
        assert read[b"info"][b"name"].decode() == name
        assert hashlib.sha1(encode(read[b"info"]), usedforsecurity=False).hexdigest() == made.infohash
        assert made.magnet.isascii()
        for base, url in zip(seeds, read[b"url-list"], strict=True):
            parts = urlsplit(url.decode("ascii"))
            assert unquote(parts.path) == f"{urlsplit(base).path}/{key}"
            assert unquote(parts.query.removeprefix("versionId=")) == version


@dataclass(frozen=True, slots=True)
class _Attributes:
    """An S3 with GetObjectAttributes for the pages after the first."""

    pages: list[dict[str, Any]]

    def get_object_attributes(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        return {"ETag": '"etag"', "ObjectParts": self.pages[min(call["PartNumberMarker"], len(self.pages)) - 1]}


def checksums(data: bytes) -> None:
    """`part_digests`: for any answer of S3, all pieces' digests, consistent with the object's own, or None."""
    told = _told(data)
    if told is None:
        return
    size, parts, count, composite = told
    pages = [parts[at : at + 3] for at in range(0, len(parts), 3)] or [[]]
    told_pages: list[Any] = [
        {
            "Parts": page,
            "TotalPartsCount": count,
            "IsTruncated": number < len(pages),
            "NextPartNumberMarker": number + 1,
        }
        for number, page in enumerate(pages, 1)
    ]
    thing = ObjectVersion("media", "recordings/a", size, "etag", None, _MODIFIED)
    try:
        found = part_digests(cast("Any", _Attributes(told_pages)), Description(thing, composite, told_pages[0]), 2**26)
    except ObjectChanged:
        return
    if found is None:
        return
    length, digests = found
    assert length.bit_count() == 1
    assert LEAF <= length <= 2**26
    assert len(digests) == 20 * -(-size // length)
    assert base64.b64encode(hashlib.sha1(digests, usedforsecurity=False).digest()).decode() == composite
    assert all(len(base64.b64decode(part["ChecksumSHA1"])) == 20 for part in parts)


def _told(data: bytes) -> tuple[int, list[dict[str, Any]], int, str | None] | None:
    """Parses JSON as botocore would: every field has its type or is absent. A missing composite is computed."""
    try:
        given = json.loads(text(data))
        size, parts = given["size"], given["parts"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not isinstance(size, int) or not 0 <= size < 2**53 or not isinstance(parts, list):
        return None
    types: dict[str, type] = {"Size": int, "ChecksumSHA1": str}
    parts = [
        {"Size": 0} | {name: value for name, value in part.items() if isinstance(value, types.get(name, bytes))}
        for part in parts
        if isinstance(part, dict)
    ]
    count, composite = given.get("count"), given.get("composite")
    if not isinstance(composite, str):
        digests = b"".join(_decoded(part.get("ChecksumSHA1", "")) for part in parts)
        composite = base64.b64encode(hashlib.sha1(digests, usedforsecurity=False).digest()).decode()
    return size, parts, count if isinstance(count, int) else len(parts), composite


def _decoded(written: str) -> bytes:
    try:
        return base64.b64decode(written, validate=True)
    except ValueError:
        return b""


@dataclass(frozen=True, slots=True)
class _Bucket:
    """An S3 with one object."""

    data: bytes

    def get_object(self, **_call: object) -> dict[str, Any]:
        return {
            "Body": BytesIO(self.data),
            "ContentLength": len(self.data),
            "Metadata": {"source-version": "v1"},
        }


def seeded_torrent(data: bytes) -> None:
    """seed_torrent's parser of a `.torrent`: one made by Switchyard, of one object, or a PermanentFailure."""
    try:
        read = seeding.torrent(cast("Any", _Bucket(data)), "media", "torrents/a.torrent")
    except PermanentFailure:
        return
    assert read.size >= 0
    assert re.fullmatch("[0-9a-f]{40}", read.infohash)
    assert read.info.num_files() == 1
    assert read.parameters.created_by == seeding.CREATOR


def seeding_input(data: bytes) -> None:
    """seed_torrent's parser of its job's input: keys under the prefix, or a PermanentFailure."""
    try:
        given = json.loads(text(data))
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict):
        return
    try:
        torrent_key, key = seeding.keys(given, "torrents/")
    except PermanentFailure:
        return
    assert key
    assert torrent_key == f"torrents/{key}.torrent"
