"""The stand-in for S3, compared with moto's operations, and with S3's documentation for the others."""

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError
from moto import mock_aws

from tests.fakes.object_store import Fault, ObjectStore, serving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

KEY = "my folder/my file+ü #1 100%.bin"
BODY = bytes(range(256))


@pytest.fixture(params=["moto", "the stand-in"])
def either(request: pytest.FixtureRequest) -> Iterator["S3Client"]:
    """Yields moto's S3 or ours, with an unversioned and a versioned bucket."""
    if request.param == "moto":
        with mock_aws():
            client = boto3.client("s3")
            for bucket in ("media", "versioned"):
                client.create_bucket(Bucket=bucket)
            client.put_bucket_versioning(Bucket="versioned", VersioningConfiguration={"Status": "Enabled"})
            yield client
    else:
        with serving() as running:
            running.create_bucket("media")
            running.create_bucket("versioned", versioned=True)
            yield boto3.client("s3", endpoint_url=running.url)


def refusal(call: Any, **parameters: object) -> tuple[int, str]:  # noqa: ANN401 - any of a client's methods
    """Returns status and code of a refusal."""
    with pytest.raises(ClientError) as raised:
        call(**parameters)
    answer: Any = raised.value.response
    return answer["ResponseMetadata"]["HTTPStatusCode"], answer["Error"]["Code"]


# ---- both -----------------------------------------------------------------------------------------------------------


def test_what_is_put_can_be_read(either: "S3Client") -> None:
    either.put_object(Bucket="media", Key=KEY, Body=BODY, ContentType="text/x-test", Metadata={"info-hash": "abc"})
    found = either.get_object(Bucket="media", Key=KEY)
    assert (found["Body"].read(), found["ContentType"], found["Metadata"]) == (
        BODY,
        "text/x-test",
        {"info-hash": "abc"},
    )


def test_an_etag_is_the_md5_of_the_body(either: "S3Client") -> None:
    etag = either.put_object(Bucket="media", Key=KEY, Body=BODY)["ETag"]
    assert etag == f'"{hashlib.md5(BODY, usedforsecurity=False).hexdigest()}"'


def test_head_tells_what_get_would(either: "S3Client") -> None:
    put = either.put_object(Bucket="media", Key=KEY, Body=BODY)
    head = either.head_object(Bucket="media", Key=KEY)
    assert (head["ContentLength"], head["ETag"]) == (len(BODY), put["ETag"])


@pytest.mark.parametrize(
    ("asked", "start", "stop"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=250-", 250, 256),
        ("bytes=-6", 250, 256),
        ("bytes=250-999", 250, 256),
    ],
)
def test_a_range_is_answered_with_that_range(asked: str, start: int, stop: int, either: "S3Client") -> None:
    either.put_object(Bucket="media", Key=KEY, Body=BODY)
    found = either.get_object(Bucket="media", Key=KEY, Range=asked)
    assert found["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert (found["ContentRange"], found["Body"].read()) == (f"bytes {start}-{stop - 1}/256", BODY[start:stop])


def test_a_range_behind_the_end_is_refused(either: "S3Client") -> None:
    either.put_object(Bucket="media", Key=KEY, Body=BODY)
    assert refusal(either.get_object, Bucket="media", Key=KEY, Range="bytes=256-300") == (416, "InvalidRange")


def test_an_object_can_be_asked_for_by_its_etag(either: "S3Client") -> None:
    etag = either.put_object(Bucket="media", Key=KEY, Body=BODY)["ETag"]
    assert either.get_object(Bucket="media", Key=KEY, IfMatch=etag)["Body"].read() == BODY


def test_another_etag_is_refused(either: "S3Client") -> None:
    either.put_object(Bucket="media", Key=KEY, Body=BODY)
    asked = {"Bucket": "media", "Key": KEY, "IfMatch": '"other"'}
    assert refusal(either.get_object, **asked) == (412, "PreconditionFailed")


@pytest.mark.parametrize("call", ["get_object", "get_object_attributes"])
def test_a_missing_object_is_told_apart(call: str, either: "S3Client") -> None:
    more = {} if call == "get_object" else {"ObjectAttributes": ["ETag"]}
    assert refusal(getattr(either, call), Bucket="media", Key=KEY, **more) == (404, "NoSuchKey")


def test_head_of_a_missing_object_says_no_more_than_404(either: "S3Client") -> None:
    assert refusal(either.head_object, Bucket="media", Key=KEY) == (404, "404")


def test_a_missing_bucket_is_told_apart(either: "S3Client") -> None:
    assert refusal(either.get_object, Bucket="another", Key=KEY) == (404, "NoSuchBucket")


def test_an_older_version_can_be_read(either: "S3Client") -> None:
    first = either.put_object(Bucket="versioned", Key=KEY, Body=BODY)["VersionId"]
    second = either.put_object(Bucket="versioned", Key=KEY, Body=b"new")["VersionId"]
    assert first != second
    assert either.get_object(Bucket="versioned", Key=KEY, VersionId=first)["Body"].read() == BODY


def test_an_object_that_is_there_is_not_put_again(either: "S3Client") -> None:
    either.put_object(Bucket="media", Key=KEY, Body=BODY, IfNoneMatch="*")
    asked = {"Bucket": "media", "Key": KEY, "Body": b"new", "IfNoneMatch": "*"}
    assert refusal(either.put_object, **asked) == (412, "PreconditionFailed")


def test_only_the_object_that_is_meant_is_replaced(either: "S3Client") -> None:
    etag = either.put_object(Bucket="media", Key=KEY, Body=BODY)["ETag"]
    either.put_object(Bucket="media", Key=KEY, Body=b"new", IfMatch=etag)
    asked = {"Bucket": "media", "Key": KEY, "Body": b"newer", "IfMatch": etag}
    assert refusal(either.put_object, **asked) == (412, "PreconditionFailed")


def test_an_object_has_attributes(either: "S3Client") -> None:
    put = either.put_object(Bucket="media", Key=KEY, Body=BODY)
    found = either.get_object_attributes(Bucket="media", Key=KEY, ObjectAttributes=["ETag", "ObjectSize"])
    assert (found["ETag"], found["ObjectSize"]) == (put["ETag"].strip('"'), len(BODY))
    assert "LastModified" in found


def test_an_upload_is_listed_until_it_is_aborted(either: "S3Client") -> None:
    upload = either.create_multipart_upload(Bucket="media", Key=KEY, ChecksumAlgorithm="SHA1")["UploadId"]
    listed = either.list_multipart_uploads(Bucket="media")["Uploads"]
    either.abort_multipart_upload(Bucket="media", Key=KEY, UploadId=upload)
    assert [(each["Key"], each["UploadId"]) for each in listed] == [(KEY, upload)]
    assert "Uploads" not in either.list_multipart_uploads(Bucket="media")


def test_an_upload_that_is_not_there_is_not_aborted(either: "S3Client") -> None:
    named = {"Bucket": "media", "Key": KEY, "UploadId": "x"}
    assert refusal(either.abort_multipart_upload, **named) == (404, "NoSuchUpload")


def copying(client: "S3Client", size: int = 6 * 10**6) -> dict[str, Any]:
    """Creates a source of this size, and an upload to copy it to."""
    client.put_object(Bucket="media", Key=KEY, Body=bytes(size))
    upload = client.create_multipart_upload(Bucket="media", Key="copy", ChecksumAlgorithm="SHA1")["UploadId"]
    source = {"Bucket": "media", "Key": KEY}
    return {"Bucket": "media", "Key": "copy", "UploadId": upload, "PartNumber": 1, "CopySource": source}


def test_a_copied_part_has_an_etag(either: "S3Client") -> None:
    assert either.upload_part_copy(**copying(either))["CopyPartResult"]["ETag"]


# ---- what moto doesn't know, by S3's API reference -------------------------------------------------------------------


def test_a_copied_part_has_the_sha1_that_its_upload_was_created_with(store: ObjectStore, s3: "S3Client") -> None:
    copied = s3.upload_part_copy(**copying(s3), CopySourceRange="bytes=0-99")["CopyPartResult"]
    assert copied["ChecksumSHA1"] == "7Up30bVqEYk4eI/FMDd1m2xQHj0="


def test_a_copied_part_has_no_sha1_otherwise(store: ObjectStore, s3: "S3Client") -> None:
    asked = copying(s3)
    asked["UploadId"] = s3.create_multipart_upload(Bucket="media", Key="copy")["UploadId"]
    assert "ChecksumSHA1" not in s3.upload_part_copy(**asked)["CopyPartResult"]


def test_a_missing_source_is_not_copied(store: ObjectStore, s3: "S3Client") -> None:
    asked = copying(s3) | {"CopySource": {"Bucket": "media", "Key": "another"}}
    assert refusal(s3.upload_part_copy, **asked) == (404, "NoSuchKey")


def test_another_source_is_not_copied(store: ObjectStore, s3: "S3Client") -> None:
    asked = copying(s3) | {"CopySourceIfMatch": "other"}
    assert refusal(s3.upload_part_copy, **asked) == (412, "PreconditionFailed")


def test_nothing_is_copied_to_an_upload_that_is_not_there(store: ObjectStore, s3: "S3Client") -> None:
    asked = copying(s3) | {"UploadId": "x"}
    assert refusal(s3.upload_part_copy, **asked) == (404, "NoSuchUpload")


@pytest.mark.parametrize("asked", ["bytes=5999999-6000000", "bytes=5-4", "bytes=5-", "5-6"])
def test_a_range_that_the_source_does_not_have_is_not_copied(asked: str, store: ObjectStore, s3: "S3Client") -> None:
    assert refusal(s3.upload_part_copy, **copying(s3), CopySourceRange=asked) == (400, "InvalidArgument")


def test_no_range_is_copied_of_a_small_source(store: ObjectStore, s3: "S3Client") -> None:
    asked = copying(s3, 5 * 10**6)
    assert refusal(s3.upload_part_copy, **asked, CopySourceRange="bytes=0-9") == (400, "InvalidRequest")


@pytest.mark.parametrize("number", [0, 10_001])
def test_an_upload_has_ten_thousand_parts_at_most(number: int, store: ObjectStore, s3: "S3Client") -> None:
    assert refusal(s3.upload_part_copy, **copying(s3) | {"PartNumber": number}) == (400, "InvalidArgument")


EVERYTHING: Any = ["ETag", "Checksum", "ObjectParts", "ObjectSize"]


def test_parts_with_checksums_are_listed_page_by_page(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, bytes(30), parts=[10, 10, 10], sha1=True)
    asked: Any = {"Bucket": "media", "Key": KEY, "ObjectAttributes": EVERYTHING, "MaxParts": 2}
    first = s3.get_object_attributes(**asked)["ObjectParts"]
    second = s3.get_object_attributes(**asked, PartNumberMarker=first["NextPartNumberMarker"])["ObjectParts"]
    assert [[part["PartNumber"] for part in page["Parts"]] for page in (first, second)] == [[1, 2], [3]]
    assert [page["IsTruncated"] for page in (first, second)] == [True, False]
    assert [page["TotalPartsCount"] for page in (first, second)] == [3, 3]


def test_a_page_has_a_thousand_parts_at_most(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, bytes(1001), parts=[1] * 1001, sha1=True)
    asked: Any = {"Bucket": "media", "Key": KEY, "ObjectAttributes": EVERYTHING, "MaxParts": 5000}
    assert len(s3.get_object_attributes(**asked)["ObjectParts"]["Parts"]) == 1000


def test_a_listed_part_has_its_size_and_checksum(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, bytes(100), parts=[100], sha1=True)
    found = s3.get_object_attributes(Bucket="media", Key=KEY, ObjectAttributes=EVERYTHING)
    assert found["ObjectParts"]["Parts"] == [
        {"PartNumber": 1, "Size": 100, "ChecksumSHA1": "7Up30bVqEYk4eI/FMDd1m2xQHj0="}
    ]


def test_the_composite_checksum_is_that_of_the_parts_checksums(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, bytes(200), parts=[100, 100], sha1=True)
    found = s3.get_object_attributes(Bucket="media", Key=KEY, ObjectAttributes=EVERYTHING)
    head = s3.head_object(Bucket="media", Key=KEY, ChecksumMode="ENABLED")
    assert found["Checksum"] == {"ChecksumSHA1": "gjWZLrgZsg7HDkOLTBhzt5mYg/E=", "ChecksumType": "COMPOSITE"}
    assert (head["ChecksumSHA1"], head["ChecksumType"]) == ("gjWZLrgZsg7HDkOLTBhzt5mYg/E=-2", "COMPOSITE")


def test_of_parts_without_checksums_only_the_count_is_told(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, bytes(30), parts=[10, 20])
    found = s3.get_object_attributes(Bucket="media", Key=KEY, ObjectAttributes=EVERYTHING)
    assert found["ObjectParts"] == {"TotalPartsCount": 2}


def test_an_object_in_one_piece_has_no_parts(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, BODY)
    found = s3.get_object_attributes(Bucket="media", Key=KEY, ObjectAttributes=EVERYTHING)
    assert "ObjectParts" not in found


# ---- the stand-in itself --------------------------------------------------------------------------------------------


def test_an_object_need_not_be_stored(store: ObjectStore, s3: "S3Client") -> None:
    store.make("media", KEY, 5 * 10**12, lambda start, stop: b"%d-%d" % (start, stop))
    last = s3.get_object(Bucket="media", Key=KEY, Range="bytes=4999999999900-")
    assert last["ContentRange"] == "bytes 4999999999900-4999999999999/5000000000000"


UNKNOWN: dict[str, tuple[str, dict[str, Any]]] = {
    "an operation": ("list_objects_v2", {"Bucket": "media"}),
    "an operation on an object": ("delete_object", {"Bucket": "media", "Key": KEY}),
    "a parameter": ("get_object", {"Bucket": "media", "Key": KEY, "PartNumber": 1}),
    "a header": ("get_object", {"Bucket": "media", "Key": KEY, "IfNoneMatch": "x"}),
    "a copy of a whole object": (
        "copy_object",
        {"Bucket": "media", "Key": KEY, "CopySource": {"Bucket": "a", "Key": "b"}},
    ),
    "a part of our own": ("upload_part", {"Bucket": "media", "Key": KEY, "UploadId": "x", "PartNumber": 1}),
}


@pytest.mark.parametrize(("call", "parameters"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_it_does_not_know_it_refuses(
    call: str, parameters: dict[str, Any], store: ObjectStore, s3: "S3Client"
) -> None:
    assert refusal(getattr(s3, call), **parameters) == (501, "NotImplemented")


def test_a_fault_strikes_the_call_that_is_meant(store: ObjectStore, s3: "S3Client") -> None:
    store.put("media", KEY, BODY)
    store.fail("GetObject", Fault("refuse", status=403, code="AccessDenied"), after=1)
    s3.get_object(Bucket="media", Key=KEY)
    assert refusal(s3.get_object, Bucket="media", Key=KEY) == (403, "AccessDenied")
    s3.get_object(Bucket="media", Key=KEY)


def test_a_call_whose_answer_is_lost_takes_effect(store: ObjectStore, s3: "S3Client") -> None:
    store.fail("PutObject", Fault("lost"))
    asked = {"Bucket": "media", "Key": KEY, "Body": BODY, "IfNoneMatch": "*"}
    assert refusal(s3.put_object, **asked) == (412, "PreconditionFailed")
    assert store.read("media", KEY) == BODY
