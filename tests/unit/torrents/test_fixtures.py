"""The torrents of WebTorrent's own tests are parsed, re-encoded, and remade from their content."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import libtorrent
import pytest

from local import fixtures
from switchyard.torrents.format.bencode import decode, encode
from switchyard.torrents.format.layout import Format, Layout, ObjectVersion
from switchyard.torrents.format.metainfo import Sharing, Torrent, make
from tests.unit.torrents.reference import digests

WITH_CONTENT = {
    "alice": "alice.txt",
    "leaves": "Leaves of Grass by Walt Whitman.epub",
    "leaves-metadata": "Leaves of Grass by Walt Whitman.epub",
}
WITHOUT_CONTENT = ["sintel"]
"""5.5 GB that are not in the package; the pieces' hashes are taken from the torrent itself."""
NOT_OURS_TO_MAKE = {
    "bunny": "info has keys of µTorrent's own: file-duration, file-media, profiles",
    "corrupt": "info has no name",
    "folder": "several files, and ours are of one object",
    "lots-of-numbers": "as folder",
    "numbers": "as folder",
}
EVERY = sorted([*WITH_CONTENT, *WITHOUT_CONTENT, *NOT_OURS_TO_MAKE])


@pytest.fixture(scope="module")
def folder() -> Path:
    return fixtures.webtorrent()


def metainfo(path: Path) -> dict[bytes, Any]:
    return cast("dict[bytes, Any]", decode(path.read_bytes()))


def infohash(path: Path) -> str:
    """Returns the info hash as libtorrent computes it."""
    return str(libtorrent.load_torrent_buffer(path.read_bytes()).info_hashes.v1)


def remade(info: dict[bytes, Any], pieces: bytes) -> Torrent:
    """Makes our torrent of an object with that name and size, with the parameters in the original's info."""
    layout = Layout(info[b"length"], info[b"piece length"], Format.V1)
    key = f"a/{info[b'name'].decode()}"
    thing = ObjectVersion("media", key, layout.size, "etag", None, datetime(2026, 11, 22, tzinfo=UTC))
    sharing = Sharing(private=b"private" in info, source=info.get(b"source", b"").decode())
    return make(thing, layout, pieces, sharing)


def test_every_torrent_of_the_package_is_looked_at(folder: Path) -> None:
    assert sorted(path.stem for path in folder.glob("*.torrent")) == EVERY


@pytest.mark.parametrize("name", EVERY)
def test_a_torrent_is_written_again_byte_for_byte(folder: Path, name: str) -> None:
    data = (folder / f"{name}.torrent").read_bytes()
    assert encode(decode(data)) == data


@pytest.mark.parametrize("name", WITH_CONTENT)
def test_the_content_makes_the_same_infohash(folder: Path, name: str) -> None:
    path = folder / f"{name}.torrent"
    content, info = (folder / WITH_CONTENT[name]).read_bytes(), metainfo(path)[b"info"]
    pieces = digests(content, Layout(len(content), info[b"piece length"], Format.V1))
    assert remade(info, pieces).infohash == infohash(path)


@pytest.mark.parametrize("name", WITHOUT_CONTENT)
def test_the_hashes_of_the_content_make_the_same_infohash(folder: Path, name: str) -> None:
    path = folder / f"{name}.torrent"
    info = metainfo(path)[b"info"]
    assert remade(info, info[b"pieces"]).infohash == infohash(path)


@pytest.mark.parametrize("name", NOT_OURS_TO_MAKE)
def test_what_is_not_made_anew_has_a_reason(folder: Path, name: str) -> None:
    """Without a reason it belongs with the others."""
    info = metainfo(folder / f"{name}.torrent")[b"info"]
    assert not info.keys() >= {b"name", b"length"} or info.keys() - {
        b"name",
        b"length",
        b"piece length",
        b"pieces",
        b"private",
        b"source",
    }


def test_one_torrent_tells_its_infohash_itself(folder: Path) -> None:
    path = folder / "leaves-metadata.torrent"
    assert metainfo(path)[b"infoHash"].decode() == infohash(path)
