"""An independent implementation, libtorrent, makes the same torrents, reads ours, and reads bencoding as we do."""

import random
import tempfile
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import libtorrent
import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.torrents.format.bencode import Bencoded, BencodeError, decode, encode
from switchyard.torrents.format.layout import LEAF, Format, Layout, ObjectVersion
from switchyard.torrents.format.metainfo import Sharing, Torrent, make, name_of, web_seed_urls
from tests.cases import cases
from tests.strategies import unicode_text
from tests.unit.torrents.reference import digests
from tests.unit.torrents.test_bencode import ALMOST, VALUES

PIECE_LENGTHS = [2**power for power in range(14, 27)]
"""All there are: 16 KiB to 64 MiB."""
FORMATS = st.sampled_from(Format)
MODIFIED = datetime(2026, 11, 22, tzinfo=UTC)
IN_64_BITS = range(-(2**63), 2**63)
"""The integers that libtorrent reads."""


def thing(key: str, size: int, version_id: str | None = None) -> ObjectVersion:
    return ObjectVersion("media", key, size, "etag", version_id, MODIFIED)


def loaded(torrent: Torrent) -> libtorrent.add_torrent_params:
    return libtorrent.load_torrent_buffer(torrent.data)


def content_of(torrent: Torrent) -> libtorrent.torrent_info:
    info = loaded(torrent).ti
    assert info is not None
    return info


def content(size: int) -> bytes:
    """Returns content without equal pieces."""
    return random.Random(size).randbytes(size)  # noqa: S311 - the same in every run


# ---- the same hashes -------------------------------------------------------------------------------------------------


def by_libtorrent(data: bytes, name: str, layout: Layout, *, private: bool = False) -> dict[bytes, Any]:
    """Returns the metainfo that libtorrent makes of a file on disk."""
    flags = libtorrent.create_torrent.v1_only if layout.format is Format.V1 else 0
    files = [libtorrent.create_file_entry(name, layout.size)]
    creator = libtorrent.create_torrent(files, layout.piece_length, flags)
    creator.set_priv(private)
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).write_bytes(data)
        libtorrent.set_piece_hashes(creator, folder)
    return cast("dict[bytes, Any]", decode(libtorrent.bencode(creator.generate())))


def check_same(layout: Layout, *, private: bool = False) -> None:
    data, name = content(layout.size), "my file+ü #1 100%.bin"
    torrent = make(thing(f"a/{name}", layout.size), layout, digests(data, layout), Sharing(private=private))
    ours = cast("dict[bytes, Any]", decode(torrent.data))
    theirs = by_libtorrent(data, name, layout, private=private)
    assert ours[b"info"] == theirs[b"info"]
    assert ours.get(b"piece layers") == theirs.get(b"piece layers")


@st.composite
def small_layouts(draw: st.DrawFn) -> Layout:
    """Draws up to nine short pieces, with a size anywhere but mostly around the end of a piece or leaf."""
    piece_length = draw(st.sampled_from(PIECE_LENGTHS[:3]))
    whole = draw(st.integers(0, 8)) * piece_length
    near = st.sampled_from([-LEAF - 1, -LEAF, -1, 0, 1, LEAF - 1, LEAF, LEAF + 1])
    rest = draw(near | st.integers(1, piece_length))
    return Layout(max(1, whole + rest), piece_length, draw(FORMATS))


@given(small_layouts(), st.booleans())
def test_libtorrent_makes_the_same_of_several_pieces(layout: Layout, private: bool) -> None:  # noqa: FBT001 - drawn
    check_same(layout, private=private)


@given(st.sampled_from(PIECE_LENGTHS), st.integers(1, 10 * LEAF + 1), FORMATS)
def test_libtorrent_makes_the_same_of_a_little_data(piece_length: int, size: int, form: Format) -> None:
    check_same(Layout(size, piece_length, form))


@cases("form", Format)
@cases("piece_length", PIECE_LENGTHS)
@cases("beyond", [-1, 0, 1])
def test_libtorrent_makes_the_same_around_the_end_of_a_piece(piece_length: int, form: Format, beyond: int) -> None:
    check_same(Layout(piece_length + beyond, piece_length, form))


# ---- what libtorrent sees in ours ------------------------------------------------------------------------------------


@given(st.sampled_from(PIECE_LENGTHS), st.integers(2, 40), st.randoms(use_true_random=False))
def test_libtorrent_finds_the_layer_of_pieces_under_the_root(piece_length: int, pieces: int, chance: Any) -> None:  # noqa: ANN401 - a Random
    """It refuses hybrids whose piece layer doesn't match the root, so any digests can show it."""
    layout = Layout(pieces * piece_length - 1, piece_length, Format.HYBRID)
    torrent = make(thing("a", layout.size), layout, chance.randbytes(pieces * 52), Sharing())
    assert content_of(torrent).info_hashes().has_v2()


def test_libtorrent_would_say_that_a_layer_is_wrong() -> None:
    layout = Layout(3 * LEAF, LEAF, Format.HYBRID)
    torrent = make(thing("a", layout.size), layout, digests(content(layout.size), layout), Sharing())
    metainfo = cast("dict[bytes, Any]", decode(torrent.data))
    metainfo[b"piece layers"] = {root: layer[::-1] for root, layer in metainfo[b"piece layers"].items()}
    with pytest.raises(RuntimeError, match="piece layer"):
        libtorrent.load_torrent_buffer(encode(metainfo))


SOME_LAYOUTS = st.builds(Layout, st.integers(1, 5 * LEAF), st.sampled_from(PIECE_LENGTHS), FORMATS)
KEYS = st.text(unicode_text, min_size=1, max_size=300) | st.text(st.characters(categories=["Cc", "Cf"]), min_size=1)
URLS = st.text("abc/?=&%+;#~-.:", max_size=10).map("http://example.com/".__add__)
TIERS = st.lists(st.lists(URLS, min_size=1, max_size=3), max_size=3)
SHARINGS = st.builds(
    Sharing,
    TIERS.filter(lambda tiers: len({url for tier in tiers for url in tier}) == sum(map(len, tiers))),
    st.lists(st.sampled_from(["http://a.example", "https://b.example/files", "http://c.example:8080"]), unique=True),
    st.booleans(),
    st.text(unicode_text, max_size=10),
    st.text(unicode_text, max_size=10),
)


def any_torrent(thing_: ObjectVersion, layout: Layout, sharing: Sharing) -> Torrent:
    return make(thing_, layout, digests(content(layout.size), layout), sharing)


@given(KEYS)
def test_libtorrent_shows_the_very_name(key: str) -> None:
    layout = Layout(1, LEAF, Format.HYBRID)
    assert content_of(any_torrent(thing(key, 1), layout, Sharing())).name() == name_of(key)


@given(SOME_LAYOUTS, SHARINGS)
def test_libtorrent_sees_the_content(layout: Layout, sharing: Sharing) -> None:
    torrent = any_torrent(thing("a", layout.size), layout, sharing)
    info = content_of(torrent)
    hashes = info.info_hashes()
    assert (info.total_size(), info.piece_length(), info.num_pieces()) == (
        layout.size,
        layout.piece_length,
        layout.pieces,
    )
    assert str(hashes.v1) == torrent.infohash
    assert (str(hashes.v2) if hashes.has_v2() else None) == torrent.infohash_v2


@given(SHARINGS, KEYS, st.none() | st.text(unicode_text, min_size=1, max_size=20))
def test_libtorrent_sees_how_it_is_shared(sharing: Sharing, key: str, version_id: str | None) -> None:
    torrent = any_torrent(thing(key, 1, version_id), Layout(1, LEAF, Format.V1), sharing)
    params = loaded(torrent)
    assert tiers_of(params) == [set(tier) for tier in sharing.trackers]
    assert sorted(params.url_seeds) == sorted(web_seed_urls(sharing.web_seed_base_urls, key, version_id))
    assert content_of(torrent).priv() == sharing.private


def test_libtorrent_sees_who_made_it_and_when() -> None:
    params = loaded(any_torrent(thing("a", 1), Layout(1, LEAF, Format.V1), Sharing(comment="für alle")))
    assert (params.comment, params.created_by, params.creation_date) == (
        "für alle",
        "Switchyard",
        MODIFIED.timestamp(),
    )


@given(SHARINGS, KEYS, FORMATS)
def test_libtorrent_sees_the_same_in_the_magnet_link(sharing: Sharing, key: str, form: Format) -> None:
    torrent = any_torrent(thing(key, 1), Layout(1, LEAF, form), sharing)
    params = libtorrent.parse_magnet_uri(torrent.magnet)
    hashes = params.info_hashes
    assert params.name == name_of(key)
    assert str(hashes.v1) == torrent.infohash
    assert (str(hashes.v2) if hashes.has_v2() else None) == torrent.infohash_v2
    assert params.trackers == [url for tier in sharing.trackers for url in tier]
    assert params.url_seeds == web_seed_urls(sharing.web_seed_base_urls, key, None)


def tiers_of(params: libtorrent.add_torrent_params) -> list[set[str]]:
    """Returns the tiers without order, because libtorrent shuffles each."""
    tiers: dict[int, set[str]] = {}
    for url, tier in zip(params.trackers, params.tracker_tiers, strict=True):
        tiers.setdefault(tier, set()).add(url)
    return [tiers[tier] for tier in sorted(tiers)]


# ---- the same bencoding ----------------------------------------------------------------------------------------------


def readable(value: Bencoded) -> bool:
    """Returns whether libtorrent can read it: its integers have 64 bits."""
    match value:
        case int():
            return value in IN_64_BITS
        case list():
            return all(map(readable, value))
        case dict():
            return all(map(readable, value.values()))
        case _:
            return True


@given(VALUES.filter(readable))
def test_libtorrent_writes_the_same(value: Any) -> None:  # noqa: ANN401 - Bencodable, as libtorrent words it
    assert encode(value) == libtorrent.bencode(value)


@given(VALUES.filter(readable).map(encode) | ALMOST)
def test_libtorrent_reads_the_same_in_what_we_read(data: bytes) -> None:
    with suppress(BencodeError):
        value = decode(data)
        if readable(value):
            assert libtorrent.bdecode(data) == value
