"""An object of 5 TB: every message, row and chunk is real, and everything that can fail does.

Nobody waits for 5 TB to be hashed, so each test leaves out something else: the hashing (in its place is what knows the
digests), the bytes (S3 computes the hashes; 50 GB, and with `--hypothesis-profile=thorough` 5 TB, which is 74,506
requests and some minutes), or the size.
"""

import hashlib
from collections.abc import Iterator
from typing import Any, cast

import boto3
import libtorrent
import pytest
from botocore.config import Config
from hypothesis import settings

from switchyard.errors import Unavailable
from switchyard.torrents.format import segments
from switchyard.torrents.format.bencode import encode
from switchyard.torrents.format.layout import Extent, Format, Layout, ObjectVersion, Way
from switchyard.torrents.hashing import Stream
from tests.conftest import Aws
from tests.fakes.crashing import Countdown
from tests.fakes.object_store import Fault, ObjectStore
from tests.unit.torrents import reference
from tests.unit.torrents.world import BUCKET, KEY, MIB, ONE_PIECE_EACH, TorrentWorld
from tests.world import Time

GIGABYTE, TERABYTE = 10**9, 10**12


def pretended(layout: Layout, extent: Extent) -> bytes:
    """Returns digest records without bytes. No two pieces have the same, so that none can be confused with another."""
    size = layout.format.digest_size
    return b"".join(hashlib.sha512(b"%d" % index).digest()[:size] for index in range(extent.first, extent.end))


@pytest.fixture
def huge(aws: Aws, time: Time, store: ObjectStore) -> TorrentWorld:
    """Sets up the function on a stand-in for S3 that computes bytes from offsets, with its real connections."""
    patient = Config(read_timeout=60, response_checksum_validation="when_required")
    world = TorrentWorld(aws, boto3.client("s3", endpoint_url=store.url, config=patient), time)
    world.set(connections=8)
    return world


def put(store: ObjectStore, layout: Layout) -> str:
    """Puts an object whose bytes are never read, and returns its version."""

    def no_bytes(start: int, stop: int) -> bytes:
        raise AssertionError(f"bytes {start} to {stop} were read")

    def digest(start: int, _: int) -> bytes:
        return pretended(layout, Extent(start // layout.piece_length, 1))

    return store.make(BUCKET, KEY, layout.size, no_bytes, digest=digest).etag


def check(world: TorrentWorld, version: str, layout: Layout, digests: bytes) -> None:
    """Checks that the torrent has these digests, and that libtorrent reads it as the job describes it."""
    assert world.outcome(version) == ("COMPLETED", None)
    found, result = world.torrent(), world.job(version)["result"]
    assert found is not None
    size = layout.format.digest_size
    sha1s = b"".join(digests[at : at + 20] for at in range(0, len(digests), size))
    assert (found[b"info"][b"pieces"], found[b"info"][b"length"]) == (sha1s, layout.size)
    told = libtorrent.torrent_info(cast("Any", libtorrent.bdecode(encode(found))))
    assert (str(told.info_hashes().v1), told.num_pieces(), told.piece_length()) == (
        result["infohash"],
        layout.pieces,
        layout.piece_length,
    )


# ---- all of 5 TB, but for the hashing -------------------------------------------------------------------------------


class Troubles:
    """Replaces hashing. Each segment fails once in its own way."""

    def __init__(self) -> None:
        self.asked: list[Extent] = []
        self.short_of_time: set[int] = {3, 50, 244}
        self.refused: set[int] = {5, 60}

    def digests(self, layout: Layout, extent: Extent) -> bytes:
        self.asked.append(extent)
        number = len(self.asked)
        if number in self.refused:
            raise Unavailable("as S3 is now and then")
        count = extent.count // 2 if number in self.short_of_time else extent.count
        return pretended(layout, Extent(extent.first, count))


@pytest.fixture
def troubles(monkeypatch: pytest.MonkeyPatch) -> Troubles:
    made = Troubles()

    def digests(_: Stream, thing: ObjectVersion, layout: Layout, extent: Extent, **__: Any) -> bytes:  # noqa: ANN401
        assert thing.size == layout.size
        return made.digests(layout, extent)

    monkeypatch.setattr(Stream, "digests", digests)
    return made


@pytest.mark.heavy
def test_five_terabytes_become_a_torrent_whatever_befalls_their_segments(
    huge: TorrentWorld, store: ObjectStore, troubles: Troubles
) -> None:
    plan = segments.plan(5 * TERABYTE)
    version = put(store, plan.layout)
    huge.ask()
    huge.deliver()
    assert len(huge.messages) == plan.segments == 223
    for number, kill in killed_now_and_then():
        if number % 40 == 7:  # delivered a second time
            huge.send(huge.messages[0].body)
        if not huge.deliver(kill=kill):
            break
    assert huge.dead_letters == []
    check(huge, version, plan.layout, pretended(plan.layout, plan.layout.whole))
    hashed_twice = sum(extent.count for extent in troubles.asked) - plan.layout.pieces
    assert hashed_twice <= 8 * plan.segment_pieces  # those killed, refused or overlapping: no more


def killed_now_and_then() -> Iterator[tuple[int, Countdown | None]]:
    """Kills every fiftieth invocation, each at a different call."""
    for number in range(1000):
        yield number, Countdown(number // 50, after_effect=bool(number % 100)) if number % 50 == 10 else None


# ---- nothing of it is read: S3 knows --------------------------------------------------------------------------------


def test_s3_is_asked_for_the_hashes_of_what_nobody_reads(huge: TorrentWorld, store: ObjectStore) -> None:
    size = 5 * TERABYTE if settings.get_current_profile_name() == "thorough" else 50 * GIGABYTE
    huge.set(by_copy=True)
    plan = segments.plan(size, way=Way.COPY)
    layout, version = plan.layout, put(store, plan.layout)
    store.fail("UploadPartCopy", Fault("refuse"), after=layout.pieces // 2)
    store.fail("UploadPartCopy", Fault("lost"), after=layout.pieces // 3)
    huge.ask()
    huge.deliver()
    huge.deliver(kill=Countdown(7))
    huge.deliver_all(most=2 * plan.segments)
    assert huge.job(version)["result"]["way"] == "copy"
    assert len(store.uploads) == 1  # that of the one who was killed is for the bucket's lifecycle rule
    check(huge, version, layout, pretended(layout, layout.whole))


# ---- all of it is read, of less -------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", Format)
def test_what_is_read_in_many_segments_is_the_object(form: Format, huge: TorrentWorld, store: ObjectStore) -> None:
    size, period = 20 * MIB + 1, bytes(range(251))
    whole = period * (size // len(period) + 1)
    layout = Layout(size, MIB, form)
    version = store.make(BUCKET, KEY, size, lambda start, stop: whole[start:stop]).etag
    huge.set(form=form, megabytes_per_second=ONE_PIECE_EACH)
    store.fail("GetObject", Fault("cut", at=1000), after=3, times=2)
    store.fail("GetObject", Fault("refuse"), after=9)
    huge.ask()
    huge.deliver()
    assert len(huge.messages) == layout.pieces == 21
    huge.deliver(kill=Countdown(3, after_effect=True))
    huge.deliver_all()
    check(huge, version, layout, reference.digests(whole[:size], layout))
