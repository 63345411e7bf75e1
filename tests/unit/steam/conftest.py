"""Fixtures: the stand-in for Steam and IGDB, and an import's whole world."""

from collections.abc import Iterator

import boto3
import pytest
from moto.dynamodb.models.table import Table

from local.steam.server import StandIn
from tests.conftest import Aws
from tests.unit.steam.world import BUCKET, SteamWorld, create_library_table, snapshot
from tests.world import Time


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as running:
        yield running


@pytest.fixture
def steam(aws: Aws, standin: StandIn, time: Time, monkeypatch: pytest.MonkeyPatch) -> SteamWorld:
    """Sets up a player without games. Nothing waits for its turn: the clock stands still."""
    monkeypatch.setattr("switchyard.steam.pace.sleep", lambda _: None)
    monkeypatch.setattr(Table, "__deepcopy__", snapshot, raising=False)
    create_library_table(aws.dynamodb)
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=BUCKET)
    world = SteamWorld(aws.dynamodb, s3, standin, time)
    world.player()
    return world
