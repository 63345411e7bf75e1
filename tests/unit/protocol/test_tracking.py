"""State changes of runs: duplicate, reordered, lost, or of the wrong run."""

from dataclasses import replace
from datetime import timedelta
from itertools import permutations

import pytest

from switchyard.protocol.cancel import Cancellation
from switchyard.protocol.dispatch import Dispatcher, Outcome
from switchyard.protocol.jobs import NO_CAPACITY, Attempt, JobError, Run, Status
from tests.fakes.target import Mode
from tests.requests import request, source, task
from tests.world import MAX_ATTEMPTS, Time, World


def run_of(world: World, status: Status, **changes: object) -> Run:
    """Returns the only run as it was in this status."""
    return Run("run-0", "a", 1, status, **changes)  # type: ignore[arg-type]


@pytest.fixture
def started(world: World) -> World:
    world.dispatch(request())
    return world


def test_a_run_moves_its_job(started: World) -> None:
    started.event(run_of(started, Status.RUNNING))
    assert started.job().status is Status.RUNNING


@pytest.mark.parametrize("order", [*permutations([Status.SUBMITTED, Status.RUNNING, Status.COMPLETED])])
def test_news_in_any_order_ends_in_the_right_status(started: World, order: tuple[Status, ...]) -> None:
    for status in order:
        started.event(run_of(started, status))
    assert started.job().status is Status.COMPLETED


def test_news_told_twice_changes_nothing_the_second_time(started: World) -> None:
    started.event(run_of(started, Status.COMPLETED))
    assert not started.event(run_of(started, Status.COMPLETED))


def test_an_end_after_an_end_changes_nothing(started: World) -> None:
    started.event(run_of(started, Status.COMPLETED))
    started.event(run_of(started, Status.FAILED, error=JobError("X", "late")))
    assert (started.job().status, started.job().error) == (Status.COMPLETED, None)


def test_a_failure_says_why(started: World) -> None:
    started.event(run_of(started, Status.FAILED, error=JobError("OUT_OF_MEMORY", "too big")))
    assert started.job().error == JobError("OUT_OF_MEMORY", "too big")


def test_news_of_an_older_claim_changes_nothing(world: World, time: Time) -> None:
    world.target.modes.append(Mode.TIME_OUT_BEFORE)
    with pytest.raises(Exception, match="timeout"):
        world.dispatch(request())
    time.pass_grace()
    world.dispatch(request())
    assert not world.event(Run("ghost", "a", 1, Status.COMPLETED))
    assert world.job().status is Status.SUBMITTED


def test_news_of_another_run_of_the_same_claim_changes_nothing(started: World) -> None:
    assert not started.event(Run("doubled", "a", 1, Status.COMPLETED))
    assert started.job().status is Status.SUBMITTED


def test_late_news_of_the_version_before_frees_nothing(started: World) -> None:
    started.end("run-0")
    started.dispatch(request(of=source(key="uploads/a.mp4", version="v2")))
    started.event(run_of(started, Status.COMPLETED))
    assert started.holders == {"a"}


def test_late_news_of_the_version_before_does_not_end_a_job_that_waits(started: World) -> None:
    started.end("run-0")
    started.dispatch(request("b"))
    started.dispatch(request(of=source(key="uploads/a.mp4", version="v2"), sent=1))
    assert not started.event(run_of(started, Status.FAILED))
    assert started.job().status is Status.WAITING


def test_news_of_a_job_we_do_not_know_changes_nothing(world: World) -> None:
    assert not world.event(Run("run-0", "stranger", 1, Status.COMPLETED))


def test_a_second_end_still_starts_the_next_job(started: World) -> None:
    """The first delivery may have died between freeing the slot and starting the next job."""
    started.dispatch(request("b"))
    started.store.finish(started.job(), Status.COMPLETED, error=None, target_id="run-0", attempts=1)
    started.event(run_of(started, Status.COMPLETED))
    assert started.job("b").status is Status.SUBMITTED


# ---- runs that are tried again --------------------------------------------------------------------------------------


def interrupted(world: World, number: int, code: str = "HOST_LOST") -> bool:
    """Ends a task for a reason that another run may not meet."""
    error = JobError(code, "it was taken away")
    return world.event(world.tasks.move(f"task-{number}", Status.FAILED, error=error, may_retry=True, attempts=1))


def wake(world: World, time: Time) -> None:
    """Waits until the lane is to be woken, and wakes it."""
    lane, time.now = world.wakes.asked[-1]
    world.dispatcher.start_waiting(lane)


def test_an_interrupted_task_waits_without_a_slot_under_a_raised_fence(world: World, time: Time) -> None:
    world.dispatch(task("t"))
    assert interrupted(world, 0)
    job = world.job("t")
    assert (job.status, job.fence, job.target_id) == (Status.WAITING, 2, None)
    assert job.attempts == (Attempt("task-0", JobError("HOST_LOST", "it was taken away"), time.now),)
    assert (world.holders_of("images"), world.slots_of("images").later) == (set(), 1)


def test_its_pause_doubles_until_it_has_failed(world: World, time: Time) -> None:
    world.dispatch(task("t"))
    pauses = []
    for number in range(MAX_ATTEMPTS - 1):
        interrupted(world, number)
        pauses.append((world.wakes.asked[-1][1] - time.now).total_seconds())
        wake(world, time)
    assert pauses == [30, 60]
    interrupted(world, MAX_ATTEMPTS - 1)
    job = world.job("t")
    assert (job.status, [each.target_id for each in job.attempts]) == (Status.FAILED, ["task-0", "task-1"])
    assert not job.never_started


def test_before_its_time_nothing_starts_it_and_others_pass(world: World, time: Time) -> None:
    world.dispatch(task("t"))
    interrupted(world, 0)
    time.advance(timedelta(seconds=29))
    assert world.dispatch(task("u")) is Outcome.STARTED
    assert [run.job_id for run in world.tasks.runs.values()] == ["t", "u"]
    world.reconcile()
    assert world.job("t").status is Status.WAITING


def test_a_job_whose_runs_find_no_room_is_tried_for_as_long_as_it_takes(world: World, time: Time) -> None:
    world.dispatch(task("t"))
    for number in range(20):
        interrupted(world, number, NO_CAPACITY)
        wake(world, time)
    assert (world.job("t").status, len(world.job("t").attempts)) == (Status.SUBMITTED, 1)


def test_a_batch_job_or_a_failure_for_good_is_not_tried_again(world: World) -> None:
    world.dispatch(task("t"))
    world.end("task-0", Status.FAILED)
    assert world.job("t").status is Status.FAILED


def test_a_cancelled_job_is_not_tried_again(world: World) -> None:
    world.dispatch(task("t"))
    world.cancel("t")
    interrupted(world, 0)
    assert world.job("t").status is Status.CANCELLED


def test_a_job_that_is_to_be_tried_again_can_be_cancelled(world: World, time: Time) -> None:
    world.dispatch(task("t"))
    interrupted(world, 0)
    assert world.cancel("t") is Cancellation.CANCELLED
    assert world.slots_of("images").waiting == 0
    time.advance(timedelta(hours=1))
    world.reconcile()
    assert len(world.tasks.runs) == 1


def test_a_repeated_end_tries_nothing_again_and_starts_the_next_job(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first delivery died right after the job had gone back."""
    world.dispatch(task("t"))
    world.dispatch(task("u", sent=1))
    with monkeypatch.context() as dying:
        dying.setattr(Dispatcher, "start_waiting", lambda *_: None)
        interrupted(world, 0)
    assert not interrupted(world, 0)
    assert (len(world.job("t").attempts), world.job("u").status) == (1, Status.SUBMITTED)


def test_the_old_run_is_shut_out(world: World, time: Time) -> None:
    world.dispatch(task("t"))
    interrupted(world, 0)
    wake(world, time)
    assert not world.event(replace(world.tasks.runs["task-0"], status=Status.COMPLETED))
    assert (world.job("t").status, world.job("t").fence) == (Status.SUBMITTED, 3)


# ---- a time to wait for ---------------------------------------------------------------------------------------------


def test_a_job_for_later_waits_for_its_time_whatever_its_lane_does(world: World, time: Time) -> None:
    later = time.now + timedelta(minutes=10)
    world.waiting_room = False
    assert world.dispatch(replace(task("t"), start_after=later)) is Outcome.HELD
    assert world.wakes.asked == [("images", later)]
    world.reconcile()
    assert world.job("t").status is Status.WAITING
    wake(world, time)
    assert world.job("t").status is Status.SUBMITTED


def test_jobs_for_later_start_in_the_order_of_their_times(world: World, time: Time) -> None:
    for job_id, minutes in (("t", 20), ("u", 10)):
        world.dispatch(replace(task(job_id), start_after=time.now + timedelta(minutes=minutes)))
    time.advance(timedelta(hours=1))
    world.limit = 2
    world.dispatcher.start_waiting("images")
    assert [run.job_id for run in world.tasks.runs.values()] == ["u", "t"]
