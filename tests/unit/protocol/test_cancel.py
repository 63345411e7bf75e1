"""Cancels in every state of a job, with every race and failure."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from switchyard.errors import Contended, OutcomeUnknown, StartRefused
from switchyard.protocol.cancel import Cancellation, Canceller
from switchyard.protocol.dispatch import Outcome
from switchyard.protocol.jobs import TERMINAL, Job, Status
from switchyard.protocol.ports import JobChanged
from switchyard.protocol.tracking import Tracker
from tests.fakes.crashing import Countdown, Crashing, Freeze, Killed
from tests.fakes.target import Mode
from tests.requests import SENT_AT, request, source, task
from tests.world import Time, World

NEWER = request(of=source(version="v2", message_id="m2"), sent=60)


@pytest.fixture
def started(world: World) -> World:
    """Starts a job and returns it."""
    world.dispatch(request())
    return world


@pytest.fixture
def lost(world: World) -> World:
    """Sets up a claim whose start failed unnoticed."""
    world.target.modes.append(Mode.TIME_OUT_BEFORE)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    return world


def refuse(world: World) -> None:
    """Job a is PENDING: its start was refused."""
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(request())


# ---- what has no slot -----------------------------------------------------------------------------------------------


def test_a_pending_job_is_cancelled_at_once(world: World) -> None:
    refuse(world)
    assert world.cancel() is Cancellation.CANCELLED
    assert world.job().status is Status.CANCELLED


def test_a_waiting_job_is_cancelled_at_once_and_leaves_the_room(world: World) -> None:
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    assert world.cancel("b") is Cancellation.CANCELLED
    assert (world.job("b").status, world.slots.waiting) == (Status.CANCELLED, 0)


def test_the_message_of_a_cancelled_job_starts_nothing(world: World) -> None:
    refuse(world)
    world.cancel()
    assert world.dispatch(request()) is Outcome.DUPLICATE


def test_the_reconciler_does_not_bring_back_a_cancelled_job(world: World, time: Time) -> None:
    refuse(world)
    world.cancel()
    time.pass_grace()
    world.reconcile()
    assert world.job().status is Status.CANCELLED


def test_an_announced_job_is_cancelled_before_its_message_comes(world: World) -> None:
    wanted = task(announced=True)
    world.store.jobs["t"] = Job(wanted, Status.PENDING, fence=0, created_at=SENT_AT)
    assert world.cancel("t") is Cancellation.CANCELLED
    assert world.dispatch(wanted) is Outcome.DUPLICATE


def test_newer_work_that_waits_behind_a_cancelled_job_is_done(started: World) -> None:
    started.dispatch(NEWER)
    started.cancel()
    started.end("run-0", Status.FAILED)
    assert (started.job().status, started.job().request.source.version) == (Status.SUBMITTED, "v2")


def test_a_message_from_before_the_cancel_asks_for_nothing_more(world: World) -> None:
    """A plain message sent twice: the second has another version, but requests the same work."""
    plain = request(of=source(version="m1", written_at=None))
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(plain)
    world.cancel()
    assert world.dispatch(request(of=source(version="m2", message_id="m2", written_at=None))) is Outcome.DUPLICATE


def test_a_message_from_after_the_cancel_asks_for_a_run(world: World, time: Time) -> None:
    refuse(world)
    world.cancel()
    plain = request(of=source(version="m2", message_id="m2", written_at=None))
    time.pass_grace()
    assert world.dispatch(replace(plain, sent_at=time.now)) is Outcome.STARTED


@pytest.fixture
def foreseen(world: World) -> World:
    """Writes a row ahead of its work, and cancels it."""
    placeholder = source(version="", message_id="", written_at=None)
    world.store.jobs["a"] = Job(request(of=placeholder), Status.PENDING, fence=0, created_at=SENT_AT)
    world.cancel()
    return world


def test_a_cancel_of_a_row_written_ahead_is_one_of_the_upload_it_was_for(foreseen: World, time: Time) -> None:
    assert foreseen.dispatch(request(of=source(written_at=time.now))) is Outcome.DUPLICATE


def test_an_upload_after_the_cancel_of_a_row_written_ahead_is_new_work(foreseen: World, time: Time) -> None:
    time.pass_grace()
    assert foreseen.dispatch(request(of=source(written_at=time.now))) is Outcome.STARTED


# ---- what has one ---------------------------------------------------------------------------------------------------


def test_a_started_job_is_stopped(started: World) -> None:
    assert started.cancel() is Cancellation.REQUESTED
    assert started.target.stopped == ["run-0"]


def test_a_stopped_run_ends_its_job_as_cancelled(started: World) -> None:
    started.cancel()
    started.end("run-0", Status.FAILED)
    assert (started.job().status, started.job().error) == (Status.CANCELLED, None)


def test_a_run_that_was_quicker_than_its_stop_completes(started: World) -> None:
    started.cancel()
    started.end("run-0", Status.COMPLETED)
    assert started.job().status is Status.COMPLETED


def test_the_end_of_a_cancelled_run_starts_the_next_job(started: World) -> None:
    started.dispatch(request("b"))
    started.cancel()
    started.end("run-0", Status.FAILED)
    assert (started.job("b").status, started.holders) == (Status.SUBMITTED, {"b"})


def test_the_run_that_passed_the_fence_check_is_stopped(started: World) -> None:
    started.target.runs["run-1"] = replace(started.target.runs["run-0"], target_id="run-1")
    started.store.jobs["a"] = replace(started.job(), run_id="run-1")
    started.cancel()
    assert started.target.stopped == ["run-1"]


def test_a_row_that_names_somebody_elses_run_stops_nothing(started: World) -> None:
    started.limit = 2
    started.dispatch(request("b"))
    started.store.jobs["a"] = replace(started.job(), run_id="run-1", target_id="run-1")
    assert started.cancel() is Cancellation.REQUESTED
    started.reconcile()
    assert started.target.stopped == []


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_an_ended_job_is_left_alone(started: World, status: Status) -> None:
    started.store.jobs["a"] = ended = replace(started.job(), status=status)
    assert started.cancel() is Cancellation.ENDED
    assert started.job() == ended


def test_cancelling_twice_stops_twice_and_changes_nothing_more(started: World) -> None:
    started.target.move("run-0", Status.RUNNING)
    answers = [started.cancel(), started.cancel()]
    assert (answers, started.target.stopped) == ([Cancellation.REQUESTED] * 2, ["run-0"] * 2)


def test_a_new_version_after_a_cancel_runs_and_is_not_to_be_cancelled(started: World) -> None:
    started.cancel()
    started.end("run-0", Status.FAILED)
    assert started.dispatch(NEWER) is Outcome.STARTED
    assert not started.job().cancel_requested


def test_a_job_on_a_target_that_is_gone_is_to_be_cancelled_all_the_same(started: World) -> None:
    gone = replace(started.job().request.target, type="mainframe")
    started.store.jobs["a"] = replace(started.job(), request=replace(started.job().request, target=gone))
    assert started.cancel() is Cancellation.REQUESTED


# ---- what fails -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.THROTTLE, Mode.TIME_OUT_BEFORE, Mode.TIME_OUT_AFTER])
def test_a_stop_that_fails_is_made_again_by_the_reconciler(started: World, mode: Mode) -> None:
    started.end("run-0", Status.RUNNING)
    started.target.stop_modes.append(mode)
    assert started.cancel() is Cancellation.REQUESTED
    started.target.stopped.clear()
    started.reconcile()
    assert started.target.stopped == ["run-0"]


def test_a_stop_that_was_never_made_is_made_by_the_reconciler(started: World) -> None:
    killed = started.wrapped(lambda inner: Crashing(inner, Countdown(0, after_effect=True)))
    with pytest.raises(Killed):
        Canceller(killed.store, killed.targets).cancel(started.job())
    started.reconcile()
    assert started.target.stopped == ["run-0"]


def test_a_run_that_nobody_cancelled_is_not_stopped_by_the_reconciler(started: World) -> None:
    started.reconcile()
    assert started.target.stopped == []


def test_a_stopped_run_that_the_target_forgot_was_cancelled(started: World, time: Time) -> None:
    started.cancel()
    started.target.runs.clear()
    time.pass_grace()
    started.reconcile()
    assert started.job().status is Status.CANCELLED


def test_a_job_that_never_stands_still_is_left_to_another_try(started: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(started.store, "request_cancel", lambda job, **_: JobChanged(job))
    with pytest.raises(Contended):
        started.cancel()


# ---- who is faster --------------------------------------------------------------------------------------------------


def test_a_job_that_was_started_since_it_was_read_is_stopped(world: World) -> None:
    world.dispatch(request("b"))
    world.dispatch(request("a", sent=1))
    waiting = world.job("a")
    world.end("run-0")
    assert world.canceller().cancel(waiting) is Cancellation.REQUESTED
    assert world.target.stopped == ["run-1"]


def test_a_job_that_has_ended_since_it_was_read_has_ended(started: World) -> None:
    running = started.job()
    started.end("run-0")
    assert started.canceller().cancel(running) is Cancellation.ENDED


def test_newer_work_that_has_begun_since_the_job_was_read_is_left_alone(started: World) -> None:
    running = started.job()
    started.end("run-0")
    started.dispatch(NEWER)
    assert started.canceller().cancel(running) is Cancellation.ENDED
    assert (started.job().status, started.job().cancel_requested) == (Status.SUBMITTED, False)


def test_an_announcement_that_was_withdrawn_since_it_was_read_has_ended(world: World) -> None:
    gone = Job(task(announced=True), Status.PENDING, fence=0, created_at=SENT_AT)
    assert world.canceller().cancel(gone) is Cancellation.ENDED


@pytest.fixture
def midway(world: World) -> Callable[[int], Freeze]:
    """An invocation that dispatches job a and stops before its call number so-and-so: claim, start, record."""

    def frozen(call: int) -> Freeze:
        freeze = Freeze(call)
        dispatcher = world.wrapped(lambda inner: Crashing(inner, freeze))
        freeze.run(lambda: dispatcher.dispatch(request()))
        return freeze

    return frozen


def test_a_job_that_is_cancelled_before_its_start_is_recorded_is_stopped(
    world: World, midway: Callable[[int], Freeze]
) -> None:
    freeze = midway(2)
    assert (world.cancel(), world.target.stopped) == (Cancellation.REQUESTED, [])
    freeze.thaw()
    assert (world.job().target_id, world.target.stopped) == ("run-0", ["run-0"])


def test_a_job_that_is_cancelled_before_its_start_starts_and_is_stopped(
    world: World, midway: Callable[[int], Freeze]
) -> None:
    freeze = midway(1)
    world.cancel()
    freeze.thaw()
    assert (freeze.error, world.target.stopped) == (None, ["run-0"])


def test_a_start_is_done_though_its_stop_fails(world: World, midway: Callable[[int], Freeze]) -> None:
    freeze = midway(2)
    world.cancel()
    world.target.stop_modes.append(Mode.THROTTLE)
    freeze.thaw()
    assert (freeze.error, world.job().target_id) == (None, "run-0")


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.THROTTLE])
def test_a_cancelled_job_whose_start_is_not_accepted_is_cancelled(
    world: World, midway: Callable[[int], Freeze], mode: Mode
) -> None:
    freeze = midway(1)
    world.cancel()
    world.target.modes.append(mode)
    freeze.thaw()
    assert freeze.error is None
    assert (world.job().status, world.holders, world.store.locks) == (Status.CANCELLED, set(), {})


def test_a_cancelled_job_whose_start_is_not_accepted_leaves_its_slot_to_the_next(
    world: World, midway: Callable[[int], Freeze]
) -> None:
    freeze = midway(1)
    world.dispatch(request("b", sent=1))
    world.cancel()
    world.target.modes.append(Mode.REFUSE)
    freeze.thaw()
    assert world.job("b").status is Status.SUBMITTED


def test_a_cancelled_job_out_of_the_room_that_is_refused_does_not_go_back(world: World) -> None:
    world.dispatch(request("b"))
    world.dispatch(request("a", sent=1))
    freeze = Freeze(6)  # get, finish; slots, waiting, get, claim: before the start
    dispatcher = world.wrapped(lambda inner: Crashing(inner, freeze))
    run = world.target.move("run-0", Status.COMPLETED)
    freeze.run(lambda: Tracker(dispatcher.store, dispatcher).apply(run))
    assert world.cancel() is Cancellation.REQUESTED
    world.target.modes.append(Mode.REFUSE)
    freeze.thaw()
    assert (freeze.error, world.job().status, world.slots.waiting) == (None, Status.CANCELLED, 0)


def test_a_cancelled_claim_that_led_to_a_run_is_adopted_and_stopped(unknown: World, time: Time) -> None:
    unknown.cancel()
    time.pass_grace()
    unknown.reconcile()
    assert (unknown.job().target_id, unknown.target.stopped) == ("run-0", ["run-0"])


def test_a_cancelled_claim_that_led_to_nothing_is_not_started_again(lost: World, time: Time) -> None:
    lost.cancel()
    time.pass_grace()
    lost.reconcile()
    assert (lost.job().status, lost.holders, lost.target.runs) == (Status.CANCELLED, set(), {})


def test_a_redelivery_of_a_cancelled_claim_ends_it_too(lost: World, time: Time) -> None:
    lost.cancel()
    time.pass_grace()
    assert lost.dispatch(request()) is Outcome.CANCELLED


def test_a_cancelled_claim_within_its_grace_is_left_to_who_has_it(lost: World) -> None:
    lost.cancel()
    lost.reconcile()
    assert lost.job().status is Status.CLAIMED


def test_a_run_that_comes_to_light_after_its_job_was_cancelled_is_stopped(
    world: World, time: Time, midway: Callable[[int], Freeze]
) -> None:
    """Its invocation was so slow that it was considered dead."""
    freeze = midway(1)
    world.cancel()
    time.pass_grace()
    world.reconcile()
    freeze.thaw()
    assert (world.job().status, world.target.stopped) == (Status.CANCELLED, ["run-0"])
