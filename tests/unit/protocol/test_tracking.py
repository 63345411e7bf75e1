"""State changes of runs: duplicate, reordered, lost, or of the wrong run."""

from itertools import permutations

import pytest

from switchyard.protocol.jobs import JobError, Run, Status
from tests.fakes.target import Mode
from tests.requests import request, source
from tests.world import Time, World


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
    assert started.slots.holders == {"a"}


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
