"""The reconciler repairs every kind of inconsistency, and a second pass changes nothing more."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from switchyard import observability
from switchyard.errors import OutcomeUnknown, StartRefused, Unavailable
from switchyard.messages.kinds import VIDEO
from switchyard.observability import Metric
from switchyard.protocol.jobs import TERMINAL, Job, Run, Status, TargetSpec
from switchyard.protocol.lanes import Lane, Pause, Slots
from switchyard.protocol.tracking import Tracker
from tests.fakes.memory_store import MemoryStore
from tests.fakes.target import Mode
from tests.requests import SENT_AT, request, task
from tests.world import PENDING_GRACE, STUCK_AFTER, Time, World


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


def test_a_stale_claim_that_came_to_nothing_is_left_while_an_operator_has_paused_the_lane(
    world: World, time: Time
) -> None:
    world.target.modes.append(Mode.TIME_OUT_BEFORE)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    lane = world.lanes[VIDEO.lane]
    assert world.store.set_pause(lane, None, Pause.by_operator())
    time.pass_grace()
    world.reconcile()
    assert (world.job().status, world.target.runs) == (Status.CLAIMED, {})
    assert world.store.set_pause(lane, Pause.by_operator(), None)
    world.reconcile()
    assert world.job().status is Status.SUBMITTED


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
    """The start timed out, the worker reported that it runs, and every event was lost."""
    unknown.store.jobs["a"] = replace(unknown.job(), status=Status.RUNNING, run_id="run-0")
    unknown.target.move("run-0", Status.COMPLETED)
    time.pass_grace()
    unknown.reconcile()
    assert (unknown.job().status, unknown.holders) == (Status.COMPLETED, set())


def test_a_run_the_target_forgot_fails(world: World, time: Time) -> None:
    world.dispatch(request())
    world.target.runs.clear()
    time.pass_grace()
    world.reconcile()
    job = world.job()
    assert (job.status, job.error and job.error.code) == (Status.FAILED, "TARGET_LOST")


@pytest.mark.parametrize("forgotten", [False, True])
def test_a_row_that_names_a_run_that_is_none_keeps_no_slot(world: World, time: Time, *, forgotten: bool) -> None:
    """A worker that was taken over wrote `runId` into the row of another job."""
    world.dispatch(request())
    world.store.jobs["a"] = replace(world.job(), status=Status.RUNNING, run_id="bogus")
    if forgotten:
        world.target.runs.clear()
        time.pass_grace()
    else:
        world.target.move("run-0", Status.COMPLETED)
    world.reconcile()
    assert (world.job().status, world.holders) == (Status.FAILED if forgotten else Status.COMPLETED, set())


def test_the_run_that_passed_the_fence_check_counts_and_no_other_of_its_claim(world: World) -> None:
    world.dispatch(request())
    world.target.runs["run-7"] = replace(world.target.runs["run-0"], target_id="run-7", status=Status.RUNNING)
    world.store.jobs["a"] = replace(world.job(), status=Status.RUNNING, run_id="run-7")
    world.target.move("run-0", Status.FAILED)
    world.reconcile()
    assert world.job().status is Status.RUNNING


def test_a_row_that_says_it_runs_but_was_never_claimed_ends(world: World) -> None:
    world.store.jobs["a"] = Job(request(), Status.RUNNING, fence=0, created_at=SENT_AT)
    world.reconcile()
    assert world.job().status is Status.FAILED


def test_a_run_the_target_does_not_show_yet_is_left_alone(world: World) -> None:
    world.dispatch(request())
    world.target.runs.clear()
    world.reconcile()
    assert world.job().status is Status.SUBMITTED


def test_a_leaked_slot_is_freed(world: World) -> None:
    world.store._take("video", "ghost")
    world.reconcile()
    assert (world.holders, world.slots.taken) == (set(), 0)


@pytest.mark.parametrize("counted", [0, 1, 3])
def test_counts_that_are_wrong_are_corrected(world: World, counted: int) -> None:
    world.limit = 2
    for job_id in ("a", "b", "c"):
        world.dispatch(request(job_id))
    lane = world.store._lane("video")
    lane.taken, lane.waiting, lane.timed = counted, 7, 7
    world.reconcile()
    assert (world.holders, world.slots) == ({"a", "b"}, Slots(2, 1))


def test_a_slot_whose_job_a_worker_ended_by_itself_is_freed(world: World) -> None:
    """A worker from before Switchyard writes COMPLETED into the table, and its event is lost."""
    world.dispatch(request())
    world.store.jobs["a"] = replace(world.job(), status=Status.COMPLETED)
    world.reconcile()
    assert (world.holders, world.store.locks) == (set(), {})


def test_slots_in_use_are_kept(world: World) -> None:
    world.limit = 2
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.reconcile()
    assert world.holders == {"a", "b"}


def test_a_running_job_that_lost_its_slot_gets_it_back_before_anybody_else_starts(world: World) -> None:
    """LanesTable was restored to a moment before the job began."""
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.store._lane("video").holders.clear()
    world.reconcile()
    assert (world.holders, world.job("b").status) == (set("a"), Status.WAITING)


def test_lost_slots_are_taken_again_before_an_end_lets_the_next_job_start(world: World) -> None:
    world.limit = 2
    for job_id in ("a", "b", "c", "d"):
        world.dispatch(request(job_id))
    world.store._lane("video").holders.clear()
    world.target.move("run-0", Status.COMPLETED)
    world.reconcile()
    assert (world.holders, world.job("d").status) == (set("bc"), Status.WAITING)


def test_a_job_that_has_ended_meanwhile_gets_no_slot_back(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.dispatch(request())
    listed = list(world.store.by_status(Status.SUBMITTED))
    world.end("run-0")
    monkeypatch.setattr(MemoryStore, "by_status", lambda _, status: listed if status is Status.SUBMITTED else [])
    world.reconcile()
    assert world.holders == set()


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
    assert "stuck: no capacity for the run" in caplog.messages


# ---- lanes and targets ----------------------------------------------------------------------------------------------


def test_every_lane_is_mended(world: World) -> None:
    world.store._take("images", "ghost")
    world.store.hold(task(), None)
    world.reconcile()
    assert (world.job("t").status, world.holders_of("images")) == (Status.SUBMITTED, {"t"})


def test_lost_ends_are_made_up_for_on_every_target(world: World) -> None:
    for wanted in (request(), task()):
        world.dispatch(wanted)
    world.target.move("run-0", Status.COMPLETED)
    world.tasks.move("task-0", Status.FAILED)
    world.reconcile()
    assert (world.job("a").status, world.job("t").status) == (Status.COMPLETED, Status.FAILED)


@pytest.mark.parametrize("target", ["target", "tasks"])
def test_a_target_in_trouble_does_not_hold_up_the_others(
    world: World, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def unavailable(*_: object) -> list[Run]:
        raise Unavailable("ServerException")

    for wanted in (request(), task()):
        world.dispatch(wanted)
    world.target.move("run-0", Status.COMPLETED)
    world.tasks.move("task-0", Status.COMPLETED)
    monkeypatch.setattr(getattr(world, target), "describe", unavailable)
    with pytest.raises(ExceptionGroup):
        world.reconcile()
    assert sorted(job.status for job in world.store.jobs.values()) == [Status.COMPLETED, Status.SUBMITTED]


def test_a_row_that_names_another_jobs_run_does_not_hide_it(world: World) -> None:
    world.limit = 2
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.end("run-0", Status.RUNNING)
    world.store.jobs["b"] = replace(world.job("b"), status=Status.RUNNING, target_id="run-0")
    world.target.stop_modes.append(Mode.THROTTLE)
    world.cancel("a")
    world.reconcile()
    assert (world.target.stopped, world.job("b").status) == (["run-0"], Status.RUNNING)


def test_a_row_that_names_another_jobs_run_does_not_keep_its_slot(world: World, time: Time) -> None:
    world.limit = 2
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.store.jobs["b"] = replace(world.job("b"), target_id="run-0")
    time.pass_grace()
    world.reconcile()
    job = world.job("b")
    assert (job.status, job.error and job.error.code) == (Status.FAILED, "TARGET_LOST")
    assert (world.job("a").status, world.holders) == (Status.SUBMITTED, {"a"})


def test_a_queue_in_trouble_does_not_hold_up_the_others(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row may name any queue or cluster, and the role may not read all of them."""
    world.limit = 2
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    elsewhere = replace(world.job("b").request, target=TargetSpec("batch", "0-elsewhere", "d"))
    world.store.jobs["b"] = replace(world.job("b"), request=elsewhere)
    world.target.move("run-0", Status.COMPLETED)
    describe = world.target.describe

    def denied(target_ids: Iterable[str], queue: str) -> Iterator[Run]:
        if queue == "0-elsewhere":
            raise Unavailable("AccessDeniedException")
        return describe(target_ids, queue)

    monkeypatch.setattr(world.target, "describe", denied)
    with pytest.raises(ExceptionGroup):
        world.reconcile()
    assert world.job("a").status is Status.COMPLETED


def test_announced_work_whose_message_is_lost_is_started(world: World, time: Time) -> None:
    world.store.jobs["t"] = Job(task(announced=True), Status.PENDING, fence=0, created_at=time.now)
    time.advance(PENDING_GRACE)
    world.reconcile()
    assert world.job("t").status is Status.SUBMITTED


@pytest.mark.parametrize("status", sorted(set(Status) - TERMINAL))
def test_a_job_whose_lane_and_target_are_gone_does_not_hold_up_the_others(
    world: World, time: Time, status: Status
) -> None:
    foreign = replace(task("0"), lane="gone", target=TargetSpec("mainframe", "q", "d"))
    world.store.jobs["0"] = Job(foreign, status, fence=1, created_at=SENT_AT, claimed_at=SENT_AT, target_id="x")
    lost = replace(request(), sent_at=time.now)
    world.store.jobs["a"] = Job(lost, Status.PENDING, fence=0, created_at=SENT_AT)
    time.advance(PENDING_GRACE)
    world.reconcile()
    assert (world.job("0").status, world.job("a").status) == (status, Status.SUBMITTED)


def test_the_end_of_a_job_whose_lane_is_gone_is_noted(world: World) -> None:
    world.dispatch(task())
    run = world.tasks.move("task-0", Status.COMPLETED)
    tracker = Tracker(world.store, replace(world.dispatcher, lanes={}))
    assert tracker.apply(run)


def test_how_many_wait_is_one_number_for_all_lanes(world: World, time: Time, monkeypatch: pytest.MonkeyPatch) -> None:
    gauges: dict[str, list[float]] = {}
    monkeypatch.setattr(observability, "count", lambda metric, n=1: gauges.setdefault(metric, []).append(n))
    monkeypatch.setattr(
        observability, "seconds", lambda metric, value: gauges.setdefault(metric, []).append(value.total_seconds())
    )
    for wanted in (request("a"), request("b", sent=9), task("t"), task("u", sent=5), task("v", sent=7)):
        world.dispatch(wanted)
    world.reconcile()
    oldest = (time.now - SENT_AT).total_seconds() - 5
    assert (gauges[Metric.JOBS_WAITING], gauges[Metric.OLDEST_WAIT]) == ([3], [oldest])


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
