"""Presigned URLs equal those of boto3's own client, including the signature."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import NoCredentialsError
from hypothesis import given
from hypothesis import strategies as st

from switchyard import clients
from switchyard.api import signing

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

DAY = timedelta(days=1)
SHA1 = "2jmj7l5rSw0yVb/vlWAYkK/YBwk="
keys = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=80)
upload_ids = st.from_regex(r"[!-~]{1,64}", fullmatch=True)


@pytest.fixture(autouse=True, scope="module")
def one_moment() -> Iterator[None]:
    """No second begins between two signatures."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("botocore.auth.get_current_datetime", lambda: datetime(2026, 11, 23, 5, 30))  # noqa: DTZ001 - botocore's own
        yield


@pytest.fixture
def s3() -> "S3Client":
    return clients.s3()


@pytest.fixture
def own_client() -> Iterator[None]:
    """A client of the test's own settings."""
    clients.s3.cache_clear()
    yield
    clients.s3.cache_clear()


def parts(url: str) -> tuple[str, str, str, Mapping[str, list[str]]]:
    split = urlsplit(url)
    return split.scheme, split.netloc, split.path, parse_qs(split.query, keep_blank_values=True, strict_parsing=True)


def assert_same(url: str, theirs: str) -> None:
    assert parts(url) == parts(theirs)


def theirs(operation: str, **params: Any) -> str:  # noqa: ANN401 - a call's parameters
    return clients.s3().generate_presigned_url(operation, Params={"Bucket": "media", **params}, ExpiresIn=86_400)


@given(key=keys)
def test_a_url_to_read_by_is_the_client_s(key: str) -> None:
    assert_same(signing.presigned_url(clients.s3(), "GET", "media", key, DAY), theirs("get_object", Key=key))


@given(key=keys, size=st.integers(0, 5 * 2**30))
def test_a_url_to_upload_by_is_the_client_s(key: str, size: int) -> None:
    headers = {"Content-Type": "video/mp4", "Content-Length": str(size)}
    url = signing.presigned_url(clients.s3(), "PUT", "media", key, DAY, headers=headers)
    assert_same(url, theirs("put_object", Key=key, ContentType="video/mp4", ContentLength=size))


@given(key=keys, number=st.integers(1, 10_000), upload=upload_ids)
def test_a_url_to_upload_a_part_by_is_the_client_s(key: str, number: int, upload: str) -> None:
    headers = {"Content-Length": "5", "x-amz-checksum-sha1": SHA1}
    query = {"partNumber": str(number), "uploadId": upload}
    url = signing.presigned_url(clients.s3(), "PUT", "media", key, DAY, query=query, headers=headers)
    part = {"PartNumber": number, "UploadId": upload, "ContentLength": 5, "ChecksumSHA1": SHA1}
    assert_same(url, theirs("upload_part", Key=key, **part))


@pytest.mark.parametrize("endpoint", [None, "http://127.0.0.1:4566"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1", "cn-north-1", "us-gov-west-1"])
@pytest.mark.parametrize("bucket", ["media", "media.example.org"])
@pytest.mark.usefixtures("own_client")
def test_a_url_is_for_the_endpoint_that_the_client_has(
    bucket: str, region: str, endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    url = signing.presigned_url(clients.s3(), "GET", bucket, "a b.mp4", DAY)
    assert_same(url, theirs("get_object", Bucket=bucket, Key="a b.mp4"))


def test_without_credentials_nothing_is_signed(s3: "S3Client", monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clients, "_session", lambda: SimpleNamespace(get_credentials=lambda: None))
    with pytest.raises(NoCredentialsError):
        signing.presigned_url(s3, "GET", "media", "key", DAY)
