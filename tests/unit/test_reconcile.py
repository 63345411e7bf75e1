"""Repairs: each thing that can go astray, and that a second pass changes nothing more."""

from dataclasses import replace
from datetime import timedelta

import pytest

from switchyard.errors import OutcomeUnknown, StartRefused
from switchyard.jobs import Status
from switchyard.lanes import Lane
from tests.fakes.target import Mode
from tests.requests import request
from tests.world import PENDING_GRACE, STUCK_AFTER, Time, World


@pytest.fixture
def unknown(world: World) -> World:
    """A job whose start timed out after it took effect; its message is gone."""
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    return world


def test_a_young_claim_is_left_alone(unknown: World) -> None:
    unknown.reconcile()
    assert unknown.job().status is Status.CLAIMED


def test_a_stale_claim_is_adopted(unknown: World, time: Time) -> None:
    time.pass_grace()
    unknown.reconcile()
    assert (unknown.job().status, unknown.job().target_id) == (Status.SUBMITTED, "run-0")


def test_a_stale_claim_that_came_to_nothing_is_started_again(world: World, time: Time) -> None:
    world.target.modes.append(Mode.TIME_OUT_BEFORE)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    time.pass_grace()
    world.reconcile()
    assert (world.job().status, world.job().fence) == (Status.SUBMITTED, 2)


@pytest.mark.parametrize("status", [Status.RUNNING, Status.COMPLETED, Status.FAILED])
def test_a_lost_event_is_made_up_for(world: World, status: Status) -> None:
    world.dispatch(request())
    world.target.move("run-0", status)
    world.reconcile()
    assert world.job().status is status


def test_a_lost_end_frees_the_slot_for_the_next_job(world: World) -> None:
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.target.move("run-0", Status.COMPLETED)
    world.reconcile()
    assert world.job("b").status is Status.SUBMITTED


def test_a_run_nobody_noted_is_found_by_its_claim(unknown: World, time: Time) -> None:
    """The start timed out, the worker said that it runs, and every event was lost."""
    unknown.store.jobs["a"] = replace(unknown.job(), status=Status.RUNNING, run_id="run-0")
    unknown.target.move("run-0", Status.COMPLETED)
    time.pass_grace()
    unknown.reconcile()
    assert (unknown.job().status, unknown.slots.holders) == (Status.COMPLETED, frozenset())


def test_a_run_the_target_forgot_fails(world: World, time: Time) -> None:
    world.dispatch(request())
    world.target.runs.clear()
    time.pass_grace()
    world.reconcile()
    job = world.job()
    assert (job.status, job.error and job.error.code) == (Status.FAILED, "TARGET_LOST")


def test_a_run_the_target_does_not_show_yet_is_left_alone(world: World) -> None:
    world.dispatch(request())
    world.target.runs.clear()
    world.reconcile()
    assert world.job().status is Status.SUBMITTED


def test_a_leaked_slot_is_freed(world: World) -> None:
    world.store._lane("video").holders.add("ghost")
    world.reconcile()
    assert world.slots.holders == frozenset()


def test_a_slot_whose_job_a_worker_ended_by_itself_is_freed(world: World) -> None:
    """A worker from before Switchyard writes COMPLETED into the table, and its event is lost."""
    world.dispatch(request())
    world.store.jobs["a"] = replace(world.job(), status=Status.COMPLETED)
    world.reconcile()
    assert (world.slots.holders, world.store.locks) == (frozenset(), {})


def test_slots_in_use_are_kept(world: World) -> None:
    world.limit = 2
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.reconcile()
    assert world.slots.holders == {"a", "b"}


def test_a_free_slot_with_jobs_waiting_is_filled(world: World) -> None:
    world.store.hold(request(), None)
    world.reconcile()
    assert world.job().status is Status.SUBMITTED


def test_a_wrong_count_of_the_waiting_room_is_mended(world: World) -> None:
    world.store.hold(request(), None)
    world.store._lane("video").waiting = -3
    world.reconcile()
    assert (world.job().status, world.slots.waiting) == (Status.SUBMITTED, 0)


def test_a_waiting_job_that_lost_its_place_gets_it_back(world: World, time: Time) -> None:
    world.store.hold(request(), None)
    world.store._lane("video").room.clear()
    time.pass_grace()
    world.reconcile()
    assert world.job().status is Status.SUBMITTED


def test_an_accepted_job_whose_message_is_lost_is_started(world: World, time: Time) -> None:
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(request())
    time.advance(PENDING_GRACE)
    world.reconcile()
    assert world.job().status is Status.SUBMITTED


def test_an_accepted_job_is_given_time_to_be_started_by_its_message(world: World) -> None:
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(request())
    world.reconcile()
    assert world.job().status is Status.PENDING


def test_one_failing_repair_does_not_stop_the_others_and_is_told(world: World, time: Time) -> None:
    world.limit = 3
    for job_id in ("a", "b"):
        world.target.modes.append(Mode.TIME_OUT_BEFORE)
        with pytest.raises(OutcomeUnknown):
            world.dispatch(request(job_id))
    time.pass_grace()
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(ExceptionGroup):
        world.reconcile()
    assert world.job("b").status is Status.SUBMITTED


def test_a_run_that_no_machine_takes_is_counted(world: World, time: Time, caplog: pytest.LogCaptureFixture) -> None:
    world.dispatch(request())
    world.target.move("run-0", Status.SUBMITTED, queued_since=time.now)
    time.advance(STUCK_AFTER + timedelta(seconds=1))
    world.reconcile()
    assert "stuck: no machine takes the run" in caplog.messages


def test_a_second_pass_changes_nothing(world: World, time: Time) -> None:
    world.limit = 2
    for job_id in ("a", "b", "c"):
        world.dispatch(request(job_id))
    time.pass_grace()
    world.reconcile()
    before = dict(world.store.jobs)
    world.reconcile()
    assert world.store.jobs == before
    assert world.store.slots(Lane("video", 2)).waiting == 1
