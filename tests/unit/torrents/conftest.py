"""The stand-in for S3, and a client of it that loses patience soon."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from tests.fakes.object_store import ObjectStore, serving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """With a bucket that keeps no versions, and one that does."""
    with serving() as running:
        running.create_bucket("media")
        running.create_bucket("versioned", versioned=True)
        yield running


@pytest.fixture
def s3(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> "S3Client":
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    quick = Config(
        read_timeout=1,
        retries={"mode": "standard", "total_max_attempts": 4},
        response_checksum_validation="when_required",
    )
    return boto3.client("s3", endpoint_url=store.url, config=quick)
