"""Fixtures: the stand-in for S3, a client with short timeouts, and the torrent function's whole world."""

from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING

import boto3
import pytest
from botocore.config import Config

from switchyard import clients
from tests.conftest import Aws
from tests.fakes.object_store import ObjectStore, serving
from tests.unit.torrents.world import BUCKET, TorrentWorld, modified_by
from tests.world import Time

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


@pytest.fixture
def store() -> Iterator[ObjectStore]:
    """Runs a store with an unversioned and a versioned bucket."""
    with serving() as running:
        running.create_bucket("media")
        running.create_bucket("versioned", versioned=True)
        yield running


@pytest.fixture
def s3(store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator["S3Client"]:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    monkeypatch.setattr(clients, "_BULK", clients._BULK.merge(Config(read_timeout=1)))
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", store.url)
    clients.s3_bulk.cache_clear()
    yield clients.s3_bulk()
    clients.s3_bulk.cache_clear()


@cache
def _moto_s3() -> "S3Client":
    """Creates the client once, because that takes time. moto forgets everything else between tests."""
    return boto3.client("s3")


@pytest.fixture
def torrents(aws: Aws, time: Time, monkeypatch: pytest.MonkeyPatch) -> TorrentWorld:
    """Sets up the function on one moto account."""
    monkeypatch.setattr("moto.s3.models.utcnow", modified_by(time))
    _moto_s3().create_bucket(Bucket=BUCKET)
    return TorrentWorld(aws, _moto_s3(), time)
