"""Fixtures: the counting function on one moto account."""

import pytest

from tests.conftest import Aws
from tests.unit.function_jobs.world import RoomWorld
from tests.world import Time


@pytest.fixture
def room(aws: Aws, time: Time) -> RoomWorld:
    return RoomWorld(aws, time)
