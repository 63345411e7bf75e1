"""Makes an object's .torrent file and magnet link from the hashes of its pieces. Pure.

BEP 3 (version 1) and BEP 52 (hybrid, for clients of both versions), with trackers in tiers (BEP 12), web seeds
(BEP 19) and the private flag (BEP 27); BEP 9 for the magnet link.
"""

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from posixpath import splitext
from urllib.parse import quote

from switchyard.torrents.format.bencode import Bencodable, encode
from switchyard.torrents.format.layout import LEAF, SHA1_SIZE, Format, Layout, ObjectVersion
from switchyard.torrents.format.trees import NOTHING, root

_CREATED_BY = "Switchyard"
_FEW_PIECES = 2048
# libtorrent replaces these in a name; replacing them here shows every client the same name. Controls and backslash:
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\\\\]")
# And invisible characters, some of which reverse the text, so that "gpj.exe" looks like "exe.jpg".
_INVISIBLE = re.compile("[\u061c\u200b-\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_MAX_NAME = 240
"""Bytes of a name. File systems allow 255, and clients append a suffix to incomplete files."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How a torrent's content is found, and its other metadata.

    Attributes:
        trackers: tiers of announce URLs (BEP 12), tried in order; trackers of one tier are equal.
        web_seed_base_urls: where HTTP serves the bucket; an object's URL is such a URL, "/" and its key.
        private: peers come from the trackers alone (BEP 27). It is part of the infohash, as is `source`.
        source: a tracker's name for itself, which gives the same content a different infohash on each tracker.
        comment: free text.
    """

    trackers: Sequence[Sequence[str]] = ()
    web_seed_base_urls: Sequence[str] = ()
    private: bool = False
    source: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Torrent:
    """A .torrent file's content, its infohashes in hex (`infohash_v2` only in a hybrid) and its magnet link."""

    data: bytes
    infohash: str
    infohash_v2: str | None
    magnet: str


def piece_length_for(size: int, maximum: int, minimum: int = 2**20) -> int:
    """The piece length for `size` bytes: `minimum`, doubled until there are at most 2,048 pieces, up to `maximum`."""
    length = minimum
    while length < maximum and size > length * _FEW_PIECES:
        length *= 2
    return length


def name_of(key: str) -> str:
    """The name of the downloaded file: the last segment of `key`, without characters that a client can't write.

    A name that is too long is shortened before its suffix.
    """
    name = _UNSAFE.sub("_", _INVISIBLE.sub("", key.rpartition("/")[2]))
    if name in ("", ".", ".."):
        return "_" + name
    stem, suffix = splitext(name)
    room = _MAX_NAME - len(suffix.encode())
    if room <= 0:  # a dot near the beginning
        stem, suffix, room = name, "", _MAX_NAME
    return stem.encode()[:room].decode(errors="ignore") + suffix


def web_seed_urls(bases: Sequence[str], key: str, version_id: str | None) -> list[str]:
    """The object's full URL for each base URL (BEP 19).

    The URLs are complete and encoded, because clients differ in how they extend a folder's URL and what they encode.
    """
    query = f"?versionId={quote(version_id, safe='')}" if version_id else ""
    return [f"{base}/{quote(key, safe='/~')}{query}" for base in bases]


def make(thing: ObjectVersion, layout: Layout, digests: bytes, sharing: Sharing) -> Torrent:
    """Makes the torrent of an object. The same arguments always give the same bytes.

    Args:
        thing: the object.
        layout: how it is divided into pieces.
        digests: the pieces' digest records in order, each of `layout.format.digest_size` bytes: SHA-1, and in a hybrid
            the root of the piece's hash tree. If the object is longer than a piece, each tree is padded to the leaves
            of a whole piece; otherwise to the next power of two, as BEP 52 requires for such files.
        sharing: trackers, web seeds and other metadata.

    Raises:
        ValueError: digests or layout don't fit the object.
    """
    record = layout.format.digest_size
    if layout.size != thing.size or not digests or len(digests) != layout.pieces * record:
        raise ValueError(f"{len(digests)} bytes of digests for {layout.pieces} pieces of {thing.size} bytes")
    records = [digests[at : at + record] for at in range(0, len(digests), record)]
    name, seeds = name_of(thing.key), web_seed_urls(sharing.web_seed_base_urls, thing.key, thing.version_id)
    info: dict[str, Bencodable] = {
        "length": thing.size,
        "name": name,
        "piece length": layout.piece_length,
        "pieces": b"".join(each[:SHA1_SIZE] for each in records),
    }
    if sharing.private:
        info["private"] = 1
    if sharing.source:
        info["source"] = sharing.source
    metainfo: dict[str, Bencodable] = {"created by": _CREATED_BY, "creation date": int(thing.modified.timestamp())}
    if layout.format is Format.HYBRID:
        roots = [each[SHA1_SIZE:] for each in records]
        top = _root(roots, layout.piece_length)
        info["meta version"] = 2
        info["file tree"] = {name: {"": {"length": thing.size, "pieces root": top}}}
        metainfo["piece layers"] = {top: b"".join(roots)} if len(roots) > 1 else {}
    metainfo |= _announcing(sharing.trackers) | {"info": info}
    if seeds:
        metainfo["url-list"] = seeds
    if sharing.comment:
        metainfo["comment"] = sharing.comment
    encoded = encode(info)
    infohash = hashlib.sha1(encoded, usedforsecurity=False).hexdigest()
    infohash_v2 = hashlib.sha256(encoded).hexdigest() if layout.format is Format.HYBRID else None
    magnet = _magnet(infohash, infohash_v2, name, [each for tier in sharing.trackers for each in tier], seeds)
    return Torrent(encode(metainfo), infohash, infohash_v2, magnet)


def _root(roots: Sequence[bytes], piece_length: int) -> bytes:
    """The root of a file's hash tree, whose layer of pieces is padded with the roots of empty pieces."""
    filler = root([NOTHING], (piece_length // LEAF).bit_length() - 1)
    return root(roots, (len(roots) - 1).bit_length(), filler)


def _announcing(trackers: Sequence[Sequence[str]]) -> dict[str, Bencodable]:
    """The first tracker, for clients that support only one, and the tiers if there are more."""
    if not trackers:
        return {}
    first: dict[str, Bencodable] = {"announce": trackers[0][0]}
    return first if sum(map(len, trackers)) == 1 else first | {"announce-list": trackers}


def _magnet(
    infohash: str, infohash_v2: str | None, name: str, trackers: Sequence[str], web_seeds: Sequence[str]
) -> str:
    """The magnet link (BEP 9). 1220 is the multihash prefix of SHA-256 with 32 bytes."""
    fields = [f"xt=urn:btih:{infohash}"]
    if infohash_v2:
        fields.append(f"xt=urn:btmh:1220{infohash_v2}")
    fields.append(f"dn={quote(name, safe='')}")
    fields += [f"tr={quote(each, safe='')}" for each in trackers]
    fields += [f"ws={quote(each, safe='')}" for each in web_seeds]
    return f"magnet:?{'&'.join(fields)}"
