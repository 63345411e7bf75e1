"""The division of a lane into shards, and the shards' names."""

import hypothesis.strategies as st
import pytest
from hypothesis import given

from switchyard.protocol.lanes import Lane, divided, find, lane_of, layout_of

LIMITS = st.integers(1, 10_000)
LAYOUTS = st.integers(1, 64)


@given(limit=LIMITS, shards=LAYOUTS)
def test_a_divided_lane_has_no_more_slots_and_no_fewer_than_a_whole_one(limit: int, shards: int) -> None:
    lane = divided("video", limit, shards)
    assert sum(lane.shard(number, lane.shards).limit for number in range(lane.shards)) == limit


@given(limit=LIMITS, shards=LAYOUTS)
def test_shards_of_a_lane_have_as_many_slots_as_each_other_or_one_less(limit: int, shards: int) -> None:
    lane = divided("video", limit, shards)
    slots = {lane.shard(number, lane.shards).limit for number in range(lane.shards)}
    assert max(slots) - min(slots) <= 1


@given(job_id=st.text(min_size=1), limit=LIMITS, shards=LAYOUTS)
def test_the_shard_of_a_job_is_found_by_its_name(job_id: str, limit: int, shards: int) -> None:
    lane = divided("video", limit, shards)
    shard = lane.shard_for(job_id)
    assert find({"video": lane}, shard.name) == shard


def test_a_shard_of_another_layout_is_found_with_the_slots_that_it_would_have_now() -> None:
    assert find({"video": Lane("video", 1000, shards=4)}, "video/3of16") == Lane("video/3of16", 63)


def test_a_shard_always_has_a_slot_for_what_still_waits_in_it() -> None:
    assert find({"video": Lane("video", 2)}, "video/15of16") == Lane("video/15of16", 1)


def test_a_lane_that_was_whole_is_found_when_it_is_divided() -> None:
    assert find({"video": Lane("video", 1000, shards=4)}, "video") == Lane("video", 1000)


@pytest.mark.parametrize("name", ["audio", "audio/1of4", ""])
def test_a_lane_that_there_is_not_is_not_found(name: str) -> None:
    assert find({"video": Lane("video", 1000)}, name) is None


@pytest.mark.parametrize(
    ("name", "lane", "layout"),
    [
        ("video", "video", 1),
        ("video/0of16", "video", 16),
        ("a/b", "a/b", 1),
        ("a/b/1of4", "a/b", 4),
        ("1of4", "1of4", 1),
    ],
)
def test_a_name_tells_lane_and_layout(name: str, lane: str, layout: int) -> None:
    assert (lane_of(name), layout_of(name)) == (lane, layout)


@pytest.mark.parametrize(("limit", "shards"), [(1, 1), (799, 1), (800, 16)])
def test_a_lane_with_too_few_slots_stays_whole(limit: int, shards: int) -> None:
    assert divided("video", limit, 16).shards == shards


def test_jobs_spread_over_the_shards() -> None:
    """With 6,400 jobs and 64 shards, fewer than 50 jobs in one shard has a binomial chance of one in ten million."""
    lane = Lane("video", 1000, shards=64)
    found = [lane.shard_for(f"job-{number}").name for number in range(6400)]
    assert min(found.count(lane.shard(number, 64).name) for number in range(64)) > 50
