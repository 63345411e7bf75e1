"""Way 1: the hashes that S3 already has."""

import base64
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from switchyard.errors import ObjectChanged, ObjectGone
from switchyard.torrents.format.layout import LEAF, Format, Layout
from switchyard.torrents.hashing import describe, part_digests
from tests.fakes.object_store import Fault, ObjectStore
from tests.unit.torrents import reference

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "recordings/my file+ü #1 100%.bin"
MAXIMUM = 2**26
DATA = bytes(range(251)) * 1000


def put(store: ObjectStore, parts: Sequence[int], *, bucket: str = "media", sha1: bool = True) -> bytes:
    data = DATA[: sum(parts)]
    store.put(bucket, KEY, data, parts=parts, sha1=sha1)
    return data


def known(s3: "S3Client", maximum: int = MAXIMUM, bucket: str = "media") -> tuple[int, bytes] | None:
    return part_digests(s3, describe(s3, bucket, KEY), maximum)


# ---- what an object is ----------------------------------------------------------------------------------------------


def test_an_object_is_described(store: ObjectStore, s3: "S3Client") -> None:
    stored = store.put("media", KEY, b"abc")
    thing = describe(s3, "media", KEY).thing
    assert (thing.bucket, thing.key, thing.size, thing.etag) == ("media", KEY, 3, stored.etag)
    assert (thing.version_id, thing.modified) == (None, stored.modified)


def test_the_current_version_is_described(store: ObjectStore, s3: "S3Client") -> None:
    store.put("versioned", KEY, b"abc")
    newest = store.put("versioned", KEY, b"def")
    assert describe(s3, "versioned", KEY).thing.version_id == newest.version_id


def test_a_version_from_before_versioning_is_none(s3: "S3Client") -> None:
    found: dict[str, Any] = {"ETag": "e", "ObjectSize": 1, "VersionId": "null", "LastModified": datetime.now(UTC)}
    assert described(found).thing.version_id is None


def test_an_object_that_is_not_there_is_gone(store: ObjectStore, s3: "S3Client") -> None:
    with pytest.raises(ObjectGone):
        describe(s3, "media", KEY)


def test_an_object_is_described_by_one_call(store: ObjectStore, s3: "S3Client") -> None:
    put(store, [LEAF, 1])
    describe(s3, "media", KEY)
    assert store.calls == {"GetObjectAttributes": 1}


def test_an_empty_answer_is_asked_for_again(store: ObjectStore, s3: "S3Client") -> None:
    put(store, [LEAF, 1])
    store.fail("GetObjectAttributes", Fault("cut", 0))
    assert describe(s3, "media", KEY).thing.size == LEAF + 1


def described(found: dict[str, Any]) -> Any:  # noqa: ANN401 - what `describe` makes of an answer
    client = boto3.client("s3")
    with Stubber(client) as stub:
        stub.add_response("get_object_attributes", found)
        return describe(client, "media", KEY)


@pytest.mark.parametrize("written", ["abc=", "abc=-2"])
def test_a_composite_checksum_may_tell_the_count_of_parts(written: str) -> None:
    checksum = {"ChecksumSHA1": written, "ChecksumType": "COMPOSITE"}
    found = {"ETag": "e", "ObjectSize": 1, "LastModified": datetime.now(UTC), "Checksum": checksum}
    assert described(found).composite == "abc="


def test_a_checksum_of_the_whole_object_is_no_composite() -> None:
    checksum = {"ChecksumSHA1": "abc=", "ChecksumType": "FULL_OBJECT"}
    found = {"ETag": "e", "ObjectSize": 1, "LastModified": datetime.now(UTC), "Checksum": checksum}
    assert described(found).composite is None


# ---- hashes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("last", [1, LEAF - 1, LEAF])
def test_parts_are_pieces(last: int, store: ObjectStore, s3: "S3Client") -> None:
    data = put(store, [LEAF, LEAF, last])
    assert known(s3) == (LEAF, reference.digests(data, Layout(len(data), LEAF, Format.V1)))


@pytest.mark.parametrize(
    ("size", "length"), [(1, LEAF), (LEAF, LEAF), (LEAF + 1, 2 * LEAF), (2 * LEAF, 2 * LEAF), (3 * LEAF, 4 * LEAF)]
)
def test_the_only_part_is_one_piece(size: int, length: int, store: ObjectStore, s3: "S3Client") -> None:
    data = put(store, [size])
    assert known(s3) == (length, reference.digests(data, Layout(size, length, Format.V1)))


UNUSABLE = {
    "too short": [LEAF // 2, LEAF // 2],
    "no power of two": [3 * LEAF, LEAF],
    "unequal": [2 * LEAF, LEAF, 2 * LEAF],
    "the last is longer": [LEAF, 2 * LEAF],
    "the last is much longer": [LEAF, LEAF, 3 * LEAF],
    "longer than pieces may be": [8 * LEAF, 1],
    "the only one is longer than a piece may be": [4 * LEAF + 1],
}


@pytest.mark.parametrize("parts", UNUSABLE.values(), ids=UNUSABLE)
def test_parts_that_are_no_pieces_are_of_no_use(parts: list[int], store: ObjectStore, s3: "S3Client") -> None:
    put(store, parts)
    assert known(s3, maximum=4 * LEAF) is None


def test_parts_with_other_checksums_are_of_no_use(store: ObjectStore, s3: "S3Client") -> None:
    put(store, [LEAF, LEAF], sha1=False)
    assert known(s3) is None


def test_an_object_in_one_piece_has_no_parts(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, b"abc")
    assert known(s3) is None


def test_parts_that_are_no_pieces_cost_no_further_call(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, bytes(1001 * 10), parts=[10] * 1001, sha1=True)
    known(s3)
    assert store.calls == {"GetObjectAttributes": 1}


def test_checksums_that_do_not_make_the_composite_are_not_believed(store: ObjectStore, s3: "S3Client") -> None:
    put(store, [LEAF, LEAF])
    description = replace(describe(s3, "media", KEY), composite=base64.b64encode(bytes(20)).decode())
    assert part_digests(s3, description, MAXIMUM) is None


@pytest.mark.parametrize("lost", [0, 1])
def test_a_list_that_lacks_a_part_is_not_believed(lost: int, store: ObjectStore, s3: "S3Client") -> None:
    put(store, [LEAF, LEAF])
    description = describe(s3, "media", KEY)
    parts: Any = dict(description.parts)
    parts["Parts"] = [part for index, part in enumerate(parts["Parts"]) if index != lost]
    assert part_digests(s3, replace(description, parts=parts), MAXIMUM) is None


@pytest.mark.parametrize("checksum", ["", "no base64", None])
def test_a_part_without_a_right_checksum_is_not_believed(
    checksum: str | None, store: ObjectStore, s3: "S3Client"
) -> None:
    put(store, [LEAF, LEAF])
    description = describe(s3, "media", KEY)
    parts: Any = dict(description.parts)
    parts["Parts"][1] = {"PartNumber": 2, "Size": LEAF} | ({} if checksum is None else {"ChecksumSHA1": checksum})
    assert part_digests(s3, replace(description, parts=parts), MAXIMUM) is None


# ---- many parts -----------------------------------------------------------------------------------------------------


def many(store: ObjectStore, bucket: str = "media", count: int = 2500) -> bytes:
    """Creates an object of this many parts and returns their SHA-1s."""
    digest = reference.digests(bytes(LEAF), Layout(LEAF, LEAF, Format.V1))
    store.make(
        bucket,
        KEY,
        count * LEAF,
        lambda start, stop: bytes(stop - start),
        digest=lambda *_: digest,
        parts=[LEAF] * count,
        sha1=True,
    )
    return digest * count


def test_ten_thousand_parts_take_twelve_calls_at_most(store: ObjectStore, s3: "S3Client") -> None:
    digests = many(store, count=10_000)
    assert known(s3) == (LEAF, digests)
    assert store.calls["GetObjectAttributes"] <= 12


def test_no_byte_is_read(store: ObjectStore, s3: "S3Client") -> None:
    many(store)
    known(s3)
    assert store.calls.keys() == {"GetObjectAttributes"}


def test_all_pages_are_of_one_version(store: ObjectStore, s3: "S3Client") -> None:
    digests = many(store, "versioned")
    replaced = Fault("then", call=lambda: many(store, "versioned", 3000))
    store.fail("GetObjectAttributes", replaced, after=1)
    assert known(s3, bucket="versioned") == (LEAF, digests)


def test_an_object_that_is_replaced_between_pages_has_changed(store: ObjectStore, s3: "S3Client") -> None:
    many(store)
    store.fail("GetObjectAttributes", Fault("then", call=lambda: many(store)), after=1)
    with pytest.raises(ObjectChanged):
        known(s3)


def test_an_object_that_is_deleted_between_pages_is_gone(store: ObjectStore, s3: "S3Client") -> None:
    many(store)
    store.fail("GetObjectAttributes", Fault("then", call=lambda: store.delete("media", KEY)), after=1)
    with pytest.raises(ObjectGone):
        known(s3)
