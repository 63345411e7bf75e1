"""Way 3: hashes of bytes that are read."""

import _thread
import base64
import hashlib
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config
from moto import mock_aws

from switchyard import clients
from switchyard.errors import ObjectChanged, ObjectGone, Unavailable
from switchyard.torrents.format.layout import LEAF, Extent, Format, Layout
from switchyard.torrents.hashing import Stream, streaming
from tests.fakes.object_store import Fault, ObjectStore, Stored
from tests.unit.torrents import reference
from tests.unit.torrents.ways import KEY, Stop, digests, stop

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


PIECE = 2 * LEAF
DATA = bytes(range(251)) * 2000
"""Some fifteen pieces, the last one short."""
V1 = Layout(len(DATA), PIECE, Format.V1)
EXPECTED = reference.digests(DATA, V1)


def read(
    s3: "S3Client",
    extent: Extent | None = None,
    *,
    layout: Layout = V1,
    connections: int = 4,
    **how: Any,  # noqa: ANN401 - as `digests` has them
) -> bytes:
    return digests(Stream(s3, connections), layout, extent, **how)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets ranges of two pieces, and portions that don't align with leaves."""
    monkeypatch.setattr(streaming, "_LEAST_RANGE", 2 * PIECE)
    monkeypatch.setattr(streaming, "_MOST_RANGE", 2 * PIECE)
    monkeypatch.setattr(streaming, "_PORTION", 10_000)


@pytest.fixture(autouse=True)
def thing(store: ObjectStore) -> None:
    store.put("media", KEY, DATA)
    store.put("versioned", KEY, DATA)


# ---- hashes ---------------------------------------------------------------------------------------------------------

SIZES = sorted({max(1, n * LEAF + more) for n in (0, 1, 2, 4, 7, 8) for more in (-1, 0, 1)})


@pytest.mark.parametrize("form", Format)
@pytest.mark.parametrize("length", [LEAF, 2 * LEAF, 8 * LEAF])
def test_pieces_have_the_hashes_of_their_bytes(form: Format, length: int, store: ObjectStore, s3: "S3Client") -> None:
    for size in SIZES:
        store.put("media", KEY, DATA[:size])
        layout = Layout(size, length, form)
        assert read(s3, layout=layout) == reference.digests(DATA[:size], layout), size


@pytest.mark.parametrize("extent", [Extent(0, 1), Extent(3, 5), Extent(V1.pieces - 1, 1), Extent(0, 0)])
def test_some_pieces_can_be_read(extent: Extent, s3: "S3Client") -> None:
    assert read(s3, extent) == EXPECTED[extent.first * 20 : extent.end * 20]


def test_the_end_of_a_huge_object_is_read(store: ObjectStore, s3: "S3Client") -> None:
    size, length = 5 * 10**12, 2**26
    store.make("media", KEY, size, lambda start, stop: bytes(stop - start))
    layout = Layout(size, length, Format.V1)
    last = layout.pieces - 1
    zeros = bytes(size - last * length)
    assert read(s3, Extent(last, 1), layout=layout) == reference.digests(zeros, Layout(len(zeros), length, Format.V1))


def test_the_hashes_make_the_composite_checksum_that_s3_reports() -> None:
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="media")
        parts = [DATA[:1].ljust(5 * 2**20, b"a"), DATA[1:2].ljust(5 * 2**20, b"b"), b"the end"]
        upload = s3.create_multipart_upload(Bucket="media", Key=KEY, ChecksumAlgorithm="SHA1")["UploadId"]
        for number, part in enumerate(parts, 1):
            s3.upload_part(Bucket="media", Key=KEY, UploadId=upload, PartNumber=number, Body=part)
        etags = s3.list_parts(Bucket="media", Key=KEY, UploadId=upload)["Parts"]
        s3.complete_multipart_upload(
            Bucket="media",
            Key=KEY,
            UploadId=upload,
            MultipartUpload={"Parts": [{"PartNumber": part["PartNumber"], "ETag": part["ETag"]} for part in etags]},
        )
        composite = s3.head_object(Bucket="media", Key=KEY, ChecksumMode="ENABLED")["ChecksumSHA1"]
        layout = Layout(sum(map(len, parts)), 5 * 2**20, Format.V1)
        hashes = hashlib.sha1(read(s3, layout=layout), usedforsecurity=False).digest()
    assert base64.b64encode(hashes).decode() == composite.partition("-")[0]


# ---- what is asked for ----------------------------------------------------------------------------------------------


def asked(store: ObjectStore) -> list[tuple[int, int]]:
    """Returns the requested ranges, in their order in the object."""
    bounds = [str(each).removeprefix("bytes=").split("-") for each in store.ranges]
    return sorted((int(first), int(last) + 1) for first, last in bounds)


def test_every_byte_is_asked_for_once(store: ObjectStore, s3: "S3Client") -> None:
    read(s3)
    bounds = asked(store)
    assert [start for start, _ in bounds] == [0, *(stop for _, stop in bounds[:-1])]
    assert bounds[-1][1] == len(DATA)


def test_a_range_is_whole_pieces(store: ObjectStore, s3: "S3Client") -> None:
    read(s3)
    assert all(start % PIECE == 0 for start, _ in asked(store))


def test_a_long_piece_is_one_range(store: ObjectStore, s3: "S3Client") -> None:
    read(s3, layout=Layout(len(DATA), 8 * LEAF, Format.V1))
    assert len(store.ranges) == 4


def test_every_byte_is_reported_once(s3: "S3Client") -> None:
    done: list[int] = []
    read(s3, progress=done.append)
    assert sum(done) == len(DATA)


# ---- only this version ----------------------------------------------------------------------------------------------


def test_an_object_that_is_replaced_midway_has_changed(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("then", call=lambda: store.put("media", KEY, DATA + b"x")), after=3)
    with pytest.raises(ObjectChanged):
        read(s3)


def test_an_object_that_shrinks_midway_has_changed(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("then", call=lambda: store.put("media", KEY, b"x")), after=3)
    with pytest.raises(ObjectChanged):
        read(s3)


def test_an_object_that_is_deleted_midway_is_gone(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("then", call=lambda: store.delete("media", KEY)), after=3)
    with pytest.raises(ObjectGone):
        read(s3, connections=1)


def test_an_older_version_can_be_read(store: ObjectStore, s3: "S3Client") -> None:
    got = read(s3, bucket="versioned", then=lambda: store.put("versioned", KEY, DATA[::-1]))
    assert got == EXPECTED


# ---- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at", [0, 1, 9_999, 10_000, 10_001, PIECE, 2 * PIECE - 1])
@pytest.mark.parametrize("kind", ["cut", "reset"])
def test_a_body_that_breaks_off_is_resumed(kind: str, at: int, store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("reset" if kind == "reset" else "cut", at), after=2)
    assert read(s3) == EXPECTED


def test_a_body_that_stalls_is_resumed(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("stall", 20_000), after=2)
    assert read(s3) == EXPECTED


def test_a_body_is_resumed_where_it_broke_off(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("cut", 12_345))
    read(s3, Extent(0, 2))
    assert asked(store) == [(0, 2 * PIECE), (12_345, 2 * PIECE)]


def test_a_body_that_breaks_off_where_its_connection_is_given_up_is_resumed(store: ObjectStore, s3: "S3Client") -> None:
    """The client no longer has a socket for such a connection while it reads the body."""
    store.fail("GetObject", Fault("last", 12_345), times=3)
    assert read(s3) == EXPECTED


def test_what_is_read_again_is_reported_once(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("cut", 12_345), times=3)
    done: list[int] = []
    read(s3, progress=done.append)
    assert sum(done) == len(DATA)


def test_a_body_may_break_off_often_while_something_comes(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("cut", 1000), times=50)
    assert read(s3, Extent(0, 2), connections=1) == EXPECTED[:40]


def test_a_body_that_never_comes_is_given_up(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", Fault("cut", 0), times=99)
    with pytest.raises(Unavailable):
        read(s3)


@pytest.mark.parametrize("fault", [Fault("refuse"), Fault("lost")], ids=lambda fault: fault.kind)
def test_a_call_that_fails_in_passing_is_repeated(fault: Fault, store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", fault, after=2, times=3)
    assert read(s3) == EXPECTED


@pytest.mark.parametrize("fault", [Fault("whole"), Fault("short", 100)], ids=lambda fault: fault.kind)
def test_an_answer_to_another_question_is_not_hashed(fault: Fault, store: ObjectStore, s3: "S3Client") -> None:
    store.fail("GetObject", fault, after=2)
    with pytest.raises(Unavailable):
        read(s3)


# ---- the end --------------------------------------------------------------------------------------------------------


def interrupting() -> Callable[[int], None]:
    """Sends Ctrl-C once, during the work."""
    presses = iter([lambda: None] * 500 + [_thread.interrupt_main])
    return lambda _: next(presses, lambda: None)()


def test_time_that_runs_out_leaves_the_first_pieces(store: ObjectStore, s3: "S3Client") -> None:
    done: list[int] = []
    got = read(s3, connections=1, out_of_time=lambda: sum(done) > 5 * PIECE, progress=done.append)
    assert got == EXPECTED[: 5 * 20]


@pytest.mark.parametrize("connections", [1, 4, 64])
def test_what_is_left_are_always_the_first_pieces(connections: int, s3: "S3Client") -> None:
    done: list[int] = []
    got = read(s3, connections=connections, out_of_time=lambda: sum(done) > 7 * PIECE, progress=done.append)
    assert got == EXPECTED[: len(got)]
    assert len(got) % 20 == 0


def test_without_time_nothing_is_read(store: ObjectStore, s3: "S3Client") -> None:
    assert read(s3, out_of_time=lambda: True) == b""
    assert not store.ranges


def test_bodies_that_stall_are_not_waited_for_when_time_runs_out(store: ObjectStore) -> None:
    """S3 stalls for the whole test and the client is patient, so otherwise it would never end."""
    patient = boto3.client("s3", endpoint_url=store.url, config=Config(read_timeout=3600))
    store.fail("GetObject", Fault("stall", 20_000), times=4)
    got = read(patient, out_of_time=lambda: store.sending == 4)
    assert got == b""


@pytest.fixture
def endless(store: ObjectStore) -> Stored:
    """Creates an object larger than the buffers between us and S3, so that an unclosed body is noticed."""
    return store.make("media", KEY, 2**40, lambda start, stop: bytes(stop - start))


ENDS: dict[str, tuple[Callable[[], Callable[[int], None]], type[BaseException]]] = {
    "an exception": (lambda: stop, Stop),
    "Ctrl-C": (interrupting, KeyboardInterrupt),
}
LONG = Layout(2**40, 2**30, Format.V1)


@pytest.mark.parametrize(("ending", "error"), ENDS.values(), ids=ENDS)
def test_however_it_ends_no_thread_is_left(
    ending: Callable[[], Callable[[int], None]], error: type[BaseException], endless: Stored, s3: "S3Client"
) -> None:
    others = set(threading.enumerate())  # a queue keeps its pool from one invocation to the next
    with pytest.raises(error):
        read(s3, layout=LONG, progress=ending())
    new = [thread for thread in set(threading.enumerate()) - others if "Pool" in thread.name]
    for thread in new:
        thread.join(timeout=10)  # Ctrl-C may hit the wait for them; they end with the request they are at
    assert not [thread.name for thread in new if thread.is_alive()]


@pytest.mark.parametrize(("ending", "error"), ENDS.values(), ids=ENDS)
def test_however_it_ends_no_connection_is_left_in_the_middle_of_a_body(
    ending: Callable[[], Callable[[int], None]],
    error: type[BaseException],
    endless: Stored,
    store: ObjectStore,
    s3: "S3Client",
) -> None:
    with pytest.raises(error):
        read(s3, layout=LONG, progress=ending())
    store.wait_for_silence()


def test_time_that_runs_out_leaves_no_connection_in_the_middle_of_a_body(
    endless: Stored, store: ObjectStore, s3: "S3Client"
) -> None:
    done: list[int] = []
    read(s3, layout=LONG, out_of_time=lambda: len(done) > 9, progress=done.append)
    store.wait_for_silence()


# ---- memory ---------------------------------------------------------------------------------------------------------

MEASURE = """
import sys
from switchyard import clients
from switchyard.torrents.hashing import Stream, describe
from switchyard.torrents.format.layout import Format, Layout

def peak():
    (line,) = [line for line in open("/proc/self/status") if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024

s3 = clients.s3_bulk()
thing = describe(s3, "media", sys.argv[1]).thing
before = peak()
layout = Layout(thing.size, int(sys.argv[2]), Format(sys.argv[3]))
records = Stream(s3, 8).digests(thing, layout, layout.whole, out_of_time=lambda: False, progress=lambda _: None)
assert len(records) == layout.pieces * layout.format.digest_size
print(peak() - before)
"""


@pytest.mark.heavy
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="only Linux says how much memory was used at most")
@pytest.mark.parametrize(("length", "form"), [(2**20, Format.V1), (2**26, Format.V1), (2**26, Format.HYBRID)], ids=str)
def test_memory_is_bounded_whatever_the_length_of_pieces(length: int, form: Format, store: ObjectStore) -> None:
    zeros = bytes(2**20)
    store.make("media", KEY, 2**29 + 1, lambda start, stop: zeros[: stop - start])
    environment = {"AWS_ENDPOINT_URL_S3": store.url, "PYTHONPATH": ":".join(sys.path)} | {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "POWERTOOLS_TRACE_DISABLED": "true",
    }
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE, KEY, str(length), form],
        env=environment,
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(measured.stdout.splitlines()[-1]) <= 64 * 2**20


def test_the_client_has_a_connection_for_every_thread() -> None:
    config: Any = clients.s3_bulk().meta.config
    assert config.max_pool_connections >= 64
