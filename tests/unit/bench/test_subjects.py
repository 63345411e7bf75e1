"""Subjects on moto's tables run in a lane that is as full as the bench says, but not full."""

from datetime import timedelta

import boto3
import pytest

from bench.environment import LANE_LIMIT, LANE_SHARDS, VARIABLES
from bench.subjects import real_conditions
from switchyard.protocol.lanes import divided
from switchyard.tables.store import Store


@pytest.mark.parametrize("name", ["video", "images"])
def test_a_lane_with_as_many_active_jobs_as_it_may_have_leaves_room_in_each_shard(name: str) -> None:
    lane = divided(name, LANE_LIMIT, LANE_SHARDS)
    with real_conditions(LANE_LIMIT):
        store = Store(
            boto3.client("dynamodb"), VARIABLES["JOBS_TABLE"], VARIABLES["LANES_TABLE"], keep_ended_jobs=timedelta(1)
        )
        shards = [lane.shard(number, LANE_SHARDS) for number in range(LANE_SHARDS)]
        free = [shard.limit - len(store.slots(shard).holders) for shard in shards]
    assert free == [25] * LANE_SHARDS
