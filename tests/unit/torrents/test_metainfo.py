"""The content and names of torrents and magnet links. test_libtorrent verifies the hashes."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from switchyard.torrents.format.bencode import decode, encode
from switchyard.torrents.format.layout import Format, Layout, ObjectVersion
from switchyard.torrents.format.metainfo import Sharing, Torrent, make, name_of, piece_length_for, web_seed_urls
from tests.cases import cases
from tests.unit.torrents.reference import digests

MIB = 2**20
KIB = 2**10
CONTENT = b"spam" * 10_000
LAYOUT = Layout(len(CONTENT), 16 * KIB, Format.V1)
THING = ObjectVersion(
    bucket="media",
    key="recordings/7/my film+ü.mp4",
    size=len(CONTENT),
    etag="d41d8cd98f00b204e9800998ecf8427e",
    version_id=None,
    modified=datetime(2026, 11, 22, 12, tzinfo=UTC),
)


def made(sharing: Sharing, layout: Layout = LAYOUT, thing: ObjectVersion = THING) -> Torrent:
    return make(thing, layout, digests(CONTENT[: layout.size], layout), sharing)


def metainfo(sharing: Sharing, layout: Layout = LAYOUT, thing: ObjectVersion = THING) -> dict[bytes, Any]:
    return cast("dict[bytes, Any]", decode(made(sharing, layout, thing).data))


# ---- piece length ----------------------------------------------------------------------------------------------------


@cases(
    ("size", "length"),
    [
        (1, MIB),
        (2048 * MIB, MIB),
        (2048 * MIB + 1, 2 * MIB),
        (4096 * MIB, 2 * MIB),
        (4096 * MIB + 1, 4 * MIB),
        (5 * 10**12, 64 * MIB),
    ],
)
def test_pieces_are_few(size: int, length: int) -> None:
    assert piece_length_for(size, 64 * MIB) == length


def test_pieces_are_never_longer_than_allowed() -> None:
    assert piece_length_for(5 * 10**12, 16 * MIB) == 16 * MIB


def test_pieces_are_never_shorter_than_asked() -> None:
    assert piece_length_for(1, 64 * MIB, minimum=8 * MIB) == 8 * MIB


# ---- name ------------------------------------------------------------------------------------------------------------


@cases(
    ("key", "name"),
    [
        ("film.mp4", "film.mp4"),
        ("recordings/7/film.mp4", "film.mp4"),
        ("a/my file+ü #1 100%.bin", "my file+ü #1 100%.bin"),
        ("a/.hidden", ".hidden"),
        ("a/...", "..."),
        ("a/", "_"),
        ("a/.", "_."),
        ("a/..", "_.."),
        ("..\\..\\autoexec.bat", ".._.._autoexec.bat"),
        ("a/tab\tnul\0c1\x85.bin", "tab_nul_c1_.bin"),
        ("a/holiday\u202egpj.exe", "holidaygpj.exe"),
        ("a/\u200b", "_"),
        ("a/" + "x" * 240, "x" * 240),
        ("a/" + "x" * 241, "x" * 240),
        ("a/" + "x" * 300 + ".mkv", "x" * 236 + ".mkv"),
        ("a/" + "ü" * 130 + ".mkv", "ü" * 118 + ".mkv"),
        ("a/" + "日" * 85 + ".m", "日" * 79 + ".m"),
        ("a/film." + "x" * 300, "film." + "x" * 235),
    ],
)
def test_the_name_is_the_last_part_of_the_key(key: str, name: str) -> None:
    assert name_of(key) == name


# ---- web seeds -------------------------------------------------------------------------------------------------------


def test_each_base_url_is_a_web_seed() -> None:
    bases = ["https://cdn.example.com", "https://media.example.com/files"]
    assert web_seed_urls(bases, "a/b.bin", None) == [f"{base}/a/b.bin" for base in bases]


@cases(
    ("key", "path"),
    [
        ("a/my file+ü #1 100%.bin", "a/my%20file%2B%C3%BC%20%231%20100%25.bin"),
        ("~me/x?y=z&w", "~me/x%3Fy%3Dz%26w"),
        ("/a//b", "/a//b"),
    ],
)
def test_a_key_is_encoded_for_the_pickiest_client(key: str, path: str) -> None:
    assert web_seed_urls(["https://cdn.example.com"], key, None) == [f"https://cdn.example.com/{path}"]


def test_a_version_is_asked_for_where_there_is_one() -> None:
    assert web_seed_urls(["https://cdn.example.com"], "a", "3/L4+kqt=") == [
        "https://cdn.example.com/a?versionId=3%2FL4%2Bkqt%3D"
    ]


# ---- the file --------------------------------------------------------------------------------------------------------


def test_a_torrent_holds_this_and_no_more() -> None:
    assert metainfo(Sharing()) == {
        b"created by": b"Switchyard",
        b"creation date": 1795348800,
        b"info": {
            b"length": 40_000,
            b"name": "my film+ü.mp4".encode(),
            b"piece length": 16_384,
            b"pieces": digests(CONTENT, LAYOUT),
        },
    }


def test_a_hybrid_also_holds_the_trees() -> None:
    layout = replace(LAYOUT, format=Format.HYBRID)
    plain, hybrid = metainfo(Sharing()), metainfo(Sharing(), layout)
    layers = hybrid.pop(b"piece layers")
    info = hybrid[b"info"]
    assert info.pop(b"meta version") == 2
    ((name, file),) = info.pop(b"file tree").items()
    assert (name, file[b""][b"length"]) == ("my film+ü.mp4".encode(), 40_000)
    assert [len(layer) for layer in layers.values()] == [3 * 32]
    assert list(layers) == [file[b""][b"pieces root"]]
    assert hybrid == plain


def test_a_hybrid_of_one_piece_has_no_layer() -> None:
    layout = Layout(16 * KIB, 16 * KIB, Format.HYBRID)
    assert metainfo(Sharing(), layout, replace(THING, size=layout.size))[b"piece layers"] == {}


def test_all_that_is_said_of_sharing_is_in_it() -> None:
    sharing = Sharing(
        trackers=[["http://a.example/announce", "udp://b.example:6969"], ["http://c.example/announce"]],
        web_seed_base_urls=["https://cdn.example.com"],
        private=True,
        source="EXAMPLE",
        comment="für alle",
    )
    found = metainfo(sharing)
    info = found.pop(b"info")
    assert (info[b"private"], info[b"source"]) == (1, b"EXAMPLE")
    assert found == {
        b"announce": b"http://a.example/announce",
        b"announce-list": [
            [b"http://a.example/announce", b"udp://b.example:6969"],
            [b"http://c.example/announce"],
        ],
        b"comment": "für alle".encode(),
        b"created by": b"Switchyard",
        b"creation date": 1795348800,
        b"url-list": [b"https://cdn.example.com/recordings/7/my%20film%2B%C3%BC.mp4"],
    }


def test_a_lone_tracker_is_not_listed_twice() -> None:
    assert metainfo(Sharing(trackers=[["http://a.example/announce"]])).keys() == {
        b"announce",
        b"created by",
        b"creation date",
        b"info",
    }


@cases("changed", [Sharing(private=True), Sharing(source="EXAMPLE")], ids=["private", "source"])
def test_some_of_it_makes_another_torrent(changed: Sharing) -> None:
    assert made(changed).infohash != made(Sharing()).infohash


@cases(
    "changed",
    [Sharing(trackers=[["http://a.example"]]), Sharing(web_seed_base_urls=["http://b.example"]), Sharing(comment="c")],
    ids=["trackers", "web seeds", "comment"],
)
def test_the_rest_of_it_does_not(changed: Sharing) -> None:
    assert made(changed).infohash == made(Sharing()).infohash


def test_two_makers_make_the_same_bytes() -> None:
    assert made(Sharing(comment="c")) == made(Sharing(comment="c"))


@cases("form", Format)
def test_the_infohashes_are_those_of_the_info(form: Format) -> None:
    torrent = made(Sharing(), replace(LAYOUT, format=form))
    info = encode(cast("dict[bytes, Any]", decode(torrent.data))[b"info"])
    v2 = hashlib.sha256(info).hexdigest() if form is Format.HYBRID else None
    assert (torrent.infohash, torrent.infohash_v2) == (hashlib.sha1(info, usedforsecurity=False).hexdigest(), v2)


@cases(
    ("thing", "layout", "bytes_of_digests"),
    [
        (THING, LAYOUT, 40),
        (THING, LAYOUT, 59),
        (THING, LAYOUT, 80),
        (THING, replace(LAYOUT, format=Format.HYBRID), 60),
        (replace(THING, size=39_999), LAYOUT, 60),
        (replace(THING, size=0), replace(LAYOUT, size=0), 0),
    ],
    ids=["a piece too few", "a byte too few", "a piece too many", "of another format", "of another size", "of nothing"],
)
def test_digests_that_do_not_fit_are_refused(thing: ObjectVersion, layout: Layout, bytes_of_digests: int) -> None:
    with pytest.raises(ValueError, match="bytes of digests"):
        make(thing, layout, bytes(bytes_of_digests), Sharing())


# ---- the magnet link -------------------------------------------------------------------------------------------------


def test_a_magnet_link_has_all_to_start_from() -> None:
    torrent = made(
        Sharing(
            trackers=[["http://a.example/announce?key=1&x"], ["udp://b.example:6969"]],
            web_seed_base_urls=["https://cdn.example.com"],
        ),
        replace(LAYOUT, format=Format.HYBRID),
    )
    assert torrent.magnet == (
        f"magnet:?xt=urn:btih:{torrent.infohash}&xt=urn:btmh:1220{torrent.infohash_v2}"
        "&dn=my%20film%2B%C3%BC.mp4"
        "&tr=http%3A%2F%2Fa.example%2Fannounce%3Fkey%3D1%26x&tr=udp%3A%2F%2Fb.example%3A6969"
        "&ws=https%3A%2F%2Fcdn.example.com%2Frecordings%2F7%2Fmy%2520film%252B%25C3%25BC.mp4"
    )


def test_without_trackers_and_web_seeds_it_has_only_hash_and_name() -> None:
    torrent = made(Sharing())
    assert torrent.magnet == f"magnet:?xt=urn:btih:{torrent.infohash}&dn=my%20film%2B%C3%BC.mp4"
