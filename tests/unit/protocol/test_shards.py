"""Dispatch in a sharded lane: two shards with one slot each, and layouts that change while jobs run."""

from dataclasses import replace
from typing import Any, cast

import pytest

from switchyard.errors import StartRefused
from switchyard.protocol.dispatch import Outcome
from switchyard.protocol.jobs import Status
from switchyard.protocol.lanes import Lane
from switchyard.protocol.reconcile import Reconciler
from switchyard.protocol.tracking import Tracker
from tests.fakes.crashing import Countdown, Crashing, Freeze, Killed
from tests.fakes.target import Mode
from tests.requests import request, source
from tests.world import PENDING_GRACE, STUCK_AFTER, World

LANE = Lane("video", 2, shards=2)
FIRST, OTHER, SECOND = "a", "b", "c"
"""Jobs; the second belongs into the same shard as the first, the other one does not."""
NEWER = source(key=f"uploads/{FIRST}.mp4", version="v2", message_id="m2")
"""A newer upload of the first one's object."""


@pytest.fixture
def divided(world: World) -> World:
    assert LANE.shard_for(FIRST) == LANE.shard_for(SECOND) != LANE.shard_for(OTHER)
    world.limit, world.shards = LANE.limit, LANE.shards
    return world


def holders(world: World, job_id: str) -> frozenset[str]:
    return world.store.slots(LANE.shard_for(job_id)).holders


def test_a_job_takes_a_slot_of_its_shard(divided: World) -> None:
    divided.dispatch(request(FIRST))
    assert holders(divided, FIRST) == {FIRST}
    assert not holders(divided, OTHER)


def test_a_job_whose_shard_is_full_waits(divided: World) -> None:
    divided.dispatch(request(FIRST))
    assert divided.dispatch(request(SECOND)) is Outcome.HELD


def test_a_full_shard_leaves_the_others_open(divided: World) -> None:
    divided.dispatch(request(FIRST))
    divided.dispatch(request(SECOND))
    assert divided.dispatch(request(OTHER)) is Outcome.STARTED


def test_the_end_of_a_job_starts_the_next_of_its_shard(divided: World) -> None:
    divided.dispatch(request(FIRST))
    divided.dispatch(request(SECOND))
    divided.end("run-0")
    assert divided.job(SECOND).status is Status.SUBMITTED


def test_what_waits_for_an_object_is_started_by_the_end_of_the_job_that_works_on_it(divided: World) -> None:
    divided.dispatch(request(FIRST))
    assert divided.dispatch(request(OTHER, of=NEWER, sent=60)) is Outcome.HELD
    divided.end("run-0")
    assert divided.job(OTHER).status is Status.SUBMITTED


def test_a_waiting_job_given_up_goes_to_the_dead_letters_of_the_lane(divided: World) -> None:
    divided.dispatch(request(FIRST))
    divided.dispatch(request(SECOND))
    divided.target.modes.extend([Mode.REFUSE] * 3)
    with pytest.raises(StartRefused):
        divided.end("run-0")
    for _ in range(2):
        with pytest.raises(StartRefused):
            divided.dispatcher.start_waiting(LANE.shard_for(SECOND).name)
    assert divided.job(SECOND).never_started
    assert len(divided.dead_letters.sent) == 1


# ---- the layout changes ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_what_waits_in_an_older_layout_is_started_by_the_end_of_a_job_there(
    world: World, before: int, after: int
) -> None:
    world.limit, world.shards = before, before
    world.dispatch(request(FIRST))
    world.dispatch(request(SECOND))
    waited = world.job(SECOND).status is Status.WAITING
    world.shards = after
    world.end("run-0")
    assert waited
    assert world.job(SECOND).status is Status.SUBMITTED


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 3)])
def test_what_waits_in_an_older_layout_is_started_by_the_reconciler(world: World, before: int, after: int) -> None:
    world.limit, world.shards = before, before
    world.dispatch(request(FIRST))
    world.dispatch(request(SECOND))
    world.shards = after
    world.target.move("run-0", Status.COMPLETED)
    world.reconcile()
    assert world.job(SECOND).status is Status.SUBMITTED


def test_a_layout_that_no_job_tells_of_any_more_is_remembered(divided: World) -> None:
    """A newer upload waits behind a run. The invocation that recorded its end died, and no reconciler has run since."""
    divided.dispatch(request(FIRST))
    divided.dispatch(request(FIRST, of=NEWER, sent=60))
    divided.shards = 1
    divided.target.move("run-0", Status.COMPLETED)
    ended = divided.job(FIRST)
    assert divided.store.finish(ended, Status.COMPLETED, error=None, target_id="run-0", attempts=0)
    divided.reconcile()
    assert divided.job(FIRST).request.source.version == "v2"


def test_nothing_enters_a_layout_that_could_not_be_noted(divided: World) -> None:
    killed = divided.wrapped(lambda inner: Crashing(inner, Countdown(0)))
    with pytest.raises(Killed):
        killed.dispatch(request(FIRST))
    assert not divided.store.jobs


def test_a_layout_is_noted_once_in_a_process(divided: World) -> None:
    notes = []
    divided.store.note_layouts = lambda lane, layouts: notes.append((lane.name, layouts))  # type: ignore[method-assign]
    dispatcher = divided.dispatcher
    dispatcher.dispatch(request(FIRST))
    dispatcher.dispatch(request(OTHER))
    assert notes == [("video", frozenset({2}))]


def test_a_lane_that_was_always_whole_is_noted_nothing_of(world: World) -> None:
    world.dispatch(request(FIRST))
    world.reconcile()
    assert world.slots.layouts == frozenset()


def test_a_slot_held_in_an_older_layout_is_given_back_there(divided: World) -> None:
    divided.dispatch(request(FIRST))
    shard = LANE.shard_for(FIRST)
    divided.shards = 1
    divided.store.lanes[shard.name].holders.clear()
    divided.reconcile()
    assert divided.store.slots(shard).holders == {FIRST}


def test_a_job_given_back_is_claimed_in_the_layout_that_is(divided: World) -> None:
    divided.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        divided.dispatch(request(FIRST))
    divided.shards = 1
    divided.dispatch(divided.job(FIRST).request)
    assert divided.job(FIRST).request.lane == "video"


# ---- a job id comes back in another layout ---------------------------------------------------------------------------


def test_a_slot_is_not_taken_back_for_a_run_that_a_newer_upload_has_in_another_shard(divided: World) -> None:
    """A reconciler that was frozen while the layout changed lists the older upload's run as active."""
    divided.dispatch(request(FIRST))
    shard = LANE.shard_for(FIRST)
    freeze = Freeze(calls=3)  # CLAIMED, SUBMITTED and RUNNING are listed, WAITING is not
    slow = reconciler(divided, freeze)
    freeze.run(slow.run)
    divided.end("run-0")
    divided.shards = 1
    divided.dispatch(request(FIRST, of=NEWER, sent=60))
    freeze.thaw()
    assert not divided.store.slots(shard).holders


def test_a_leaked_slot_is_freed_though_its_holder_has_one_in_another_shard(divided: World) -> None:
    divided.dispatch(request(FIRST))
    divided.end("run-0")
    divided.shards = 1
    divided.dispatch(request(FIRST, of=NEWER, sent=60))
    shard = LANE.shard_for(FIRST)
    divided.store.lanes[shard.name].holders.add(FIRST)
    divided.reconcile()
    assert not divided.store.slots(shard).holders
    assert divided.slots.holders == {FIRST}


def reconciler(world: World, freeze: Freeze) -> Reconciler:
    store = cast("Any", Crashing(world.store, freeze))
    dispatcher = replace(world.dispatcher, store=store)
    return Reconciler(store, dispatcher, Tracker(store, dispatcher), PENDING_GRACE, STUCK_AFTER)
