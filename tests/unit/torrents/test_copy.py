"""Way 2: the hashes that S3 computes."""

import _thread
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from switchyard.errors import ObjectChanged, ObjectGone, Unavailable
from switchyard.torrents.format.layout import Extent, Format, Layout
from switchyard.torrents.hashing import Copy, NoChecksum, copying
from tests.fakes.object_store import Fault, ObjectStore
from tests.unit.torrents import reference
from tests.unit.torrents.ways import KEY, Stop, digests, stop

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

PIECE = 2**20
DATA = bytes(range(251)) * 28_000
"""Seven pieces, the last one short: S3 copies no ranges of less than 5 MB."""
LAYOUT = Layout(len(DATA), PIECE, Format.V1)
SCRATCH = "torrent-scratch/job/"


def copy(
    s3: "S3Client",
    extent: Extent | None = None,
    *,
    layout: Layout = LAYOUT,
    connections: int = 4,
    **how: Any,  # noqa: ANN401 - as `digests` has them
) -> bytes:
    return digests(Copy(s3, connections, SCRATCH), layout, extent, **how)


@pytest.fixture(autouse=True)
def thing(store: ObjectStore) -> None:
    store.put("media", KEY, DATA)
    store.put("versioned", KEY, DATA)


@pytest.mark.parametrize("extent", [Extent(0, 7), Extent(0, 1), Extent(3, 2), Extent(6, 1)])
def test_copied_pieces_have_the_hashes_of_their_bytes(extent: Extent, s3: "S3Client") -> None:
    assert copy(s3, extent) == reference.digests(DATA, LAYOUT)[extent.first * 20 : extent.end * 20]


@pytest.mark.parametrize("size", [1, 5 * 10**6, 5 * 10**6 + 1, 8 * 2**20])
def test_an_object_of_one_piece_is_copied(size: int, store: ObjectStore, s3: "S3Client") -> None:
    data = DATA[:size].ljust(size, b"x")
    store.put("media", KEY, data)
    layout = Layout(size, 8 * 2**20, Format.V1)
    assert copy(s3, layout=layout) == reference.digests(data, layout)


def test_the_end_of_a_huge_object_is_copied(store: ObjectStore, s3: "S3Client") -> None:
    size, length = 5 * 10**12, 2**26
    store.make("media", KEY, size, lambda *_: b"", digest=lambda start, stop: b"%10d%10d" % (start >> 26, stop - start))
    layout = Layout(size, length, Format.V1)
    last = layout.pieces - 1
    expected = b"%10d%10d%10d%10d" % (last - 1, length, last, size - last * length)
    assert copy(s3, Extent(last - 1, 2), layout=layout) == expected


def test_more_pieces_than_an_upload_has_parts_take_several_uploads(
    store: ObjectStore, s3: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "_MAX_PARTS", 3)
    assert copy(s3) == reference.digests(DATA, LAYOUT)
    assert store.calls["CreateMultipartUpload"] == 3


def test_a_piece_is_one_call(store: ObjectStore, s3: "S3Client") -> None:
    copy(s3)
    assert store.calls == {
        "GetObjectAttributes": 1,
        "CreateMultipartUpload": 1,
        "UploadPartCopy": 7,
        "AbortMultipartUpload": 1,
    }


def test_every_byte_is_reported_once(s3: "S3Client") -> None:
    done: list[int] = []
    copy(s3, progress=done.append)
    assert sum(done) == len(DATA)


# ---- only this version ----------------------------------------------------------------------------------------------


def test_an_object_that_is_replaced_midway_has_changed(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("UploadPartCopy", Fault("then", call=lambda: store.put("media", KEY, DATA + b"x")), after=3)
    with pytest.raises(ObjectChanged):
        copy(s3)


def test_an_object_that_is_deleted_midway_is_gone(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("UploadPartCopy", Fault("then", call=lambda: store.delete("media", KEY)), after=3)
    with pytest.raises(ObjectGone):
        copy(s3, connections=1)


def test_an_older_version_can_be_copied(store: ObjectStore, s3: "S3Client") -> None:
    replaced = copy(s3, bucket="versioned", then=lambda: store.put("versioned", KEY, DATA[::-1]))
    assert replaced == reference.digests(DATA, LAYOUT)


# ---- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault", [Fault("refuse"), Fault("lost"), Fault("reset"), Fault("cut", 50)], ids=lambda f: f.kind
)
def test_a_copy_that_fails_in_passing_is_repeated(fault: Fault, store: ObjectStore, s3: "S3Client") -> None:
    store.fail("UploadPartCopy", fault, after=2)
    assert copy(s3) == reference.digests(DATA, LAYOUT)


def test_a_copy_without_a_checksum_is_told_apart(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("UploadPartCopy", Fault("unhashed"), after=2)
    with pytest.raises(NoChecksum):
        copy(s3)


def test_an_upload_that_somebody_ends_can_be_made_again(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("UploadPartCopy", Fault("then", call=store.uploads.clear), after=2)
    with pytest.raises(Unavailable):
        copy(s3)


@pytest.mark.parametrize("fault", [Fault("refuse"), Fault("refuse", status=403, code="AccessDenied")])
def test_an_upload_that_cannot_be_aborted_spoils_nothing(fault: Fault, store: ObjectStore, s3: "S3Client") -> None:
    store.fail("AbortMultipartUpload", fault, times=9)
    assert copy(s3) == reference.digests(DATA, LAYOUT)


# ---- the end --------------------------------------------------------------------------------------------------------


def interrupting() -> Callable[[int], None]:
    """Sends Ctrl-C once."""
    presses = iter([_thread.interrupt_main])
    return lambda _: next(presses, lambda: None)()


def test_time_that_runs_out_leaves_the_first_pieces(store: ObjectStore, s3: "S3Client") -> None:
    got = copy(s3, connections=1, out_of_time=lambda: store.calls["UploadPartCopy"] >= 3)
    assert got == reference.digests(DATA, LAYOUT)[: 3 * 20]


def test_without_time_no_upload_is_left(store: ObjectStore, s3: "S3Client") -> None:
    assert copy(s3, out_of_time=lambda: True) == b""
    assert not store.uploads


def test_what_progress_raises_passes(s3: "S3Client") -> None:
    with pytest.raises(Stop):
        copy(s3, progress=stop)


ENDS: dict[str, tuple[Callable[[], Callable[[int], None]], type[BaseException]]] = {
    "an exception": (lambda: stop, Stop),
    "Ctrl-C": (interrupting, KeyboardInterrupt),
}


@pytest.mark.parametrize(("ending", "error"), ENDS.values(), ids=ENDS)
def test_however_it_ends_no_upload_is_left(
    ending: Callable[[], Callable[[int], None]], error: type[BaseException], store: ObjectStore, s3: "S3Client"
) -> None:
    with pytest.raises(error):
        copy(s3, progress=ending())
    assert store.calls["CreateMultipartUpload"] == 1
    assert not store.uploads


def test_when_all_is_copied_no_upload_is_left(store: ObjectStore, s3: "S3Client") -> None:
    copy(s3)
    assert not store.uploads


def test_when_a_copy_is_refused_no_upload_is_left(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("UploadPartCopy", Fault("unhashed"))
    with pytest.raises(NoChecksum):
        copy(s3)
    assert not store.uploads
