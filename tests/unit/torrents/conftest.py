"""The stand-in for S3, and a client of it that loses patience soon; the function with everything around it."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from tests.conftest import Aws
from tests.fakes.object_store import ObjectStore, serving
from tests.unit.torrents.world import BUCKET, TorrentWorld, modified_by
from tests.world import Time

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


@cache
def _moto_s3() -> "S3Client":
    """Made once: it is what takes time, and moto forgets everything else between tests."""
    return boto3.client("s3")


@pytest.fixture
def torrents(aws: Aws, time: Time, monkeypatch: pytest.MonkeyPatch) -> TorrentWorld:
    """The function over one moto account."""
    monkeypatch.setattr("moto.s3.models.utcnow", modified_by(time))
    _moto_s3().create_bucket(Bucket=BUCKET)
    return TorrentWorld(aws, _moto_s3(), time)
