"""Subjects on moto's tables run in a lane that is as full as the bench says, but not full."""

from datetime import timedelta

import boto3
import pytest

from bench.environment import LANE_LIMIT, VARIABLES
from bench.subjects import real_conditions
from switchyard.protocol.lanes import Lane
from switchyard.tables.store import Store


@pytest.mark.parametrize("name", ["video", "images"])
def test_a_lane_with_as_many_active_jobs_as_it_may_have_leaves_room(name: str) -> None:
    with real_conditions(LANE_LIMIT):
        store = Store(
            boto3.client("dynamodb"), VARIABLES["JOBS_TABLE"], VARIABLES["LANES_TABLE"], keep_ended_jobs=timedelta(1)
        )
        slots = store.slots(Lane(name, LANE_LIMIT))
    assert LANE_LIMIT - slots.taken == 100
