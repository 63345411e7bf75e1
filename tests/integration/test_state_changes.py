"""The final status is right if the target's state changes arrive twice, in any order, or not at all."""

import pytest

from tests.integration.roads import OVER_BOTH
from tests.integration.system import System

pytestmark = OVER_BOTH


@pytest.fixture(params=["duplicate", "reverse"])
def disorder(system: System, request: pytest.FixtureRequest) -> str:
    """Delivers every state change twice, or all of them in reverse order."""
    system.fault("events", request.param)
    return str(request.param)


def test_the_status_is_right_in_the_end(system: System, disorder: str) -> None:
    key = system.upload(seconds=0.1)

    system.completed(key)
    everything_told(system)

    assert system.fired("events")
    system.completed(key)


def test_a_failure_stays_one(system: System, disorder: str) -> None:
    key = system.upload(permanent="NOT_A_VIDEO")

    system.wait_for(key, "FAILED")
    everything_told(system)

    system.wait_for(key, "FAILED")


def test_the_slot_goes_to_the_next_once(system: System, disorder: str) -> None:
    first = system.upload(gate=True)
    system.wait_for(first, "SUBMITTED", "RUNNING")
    waiting = [system.upload(seconds=0.1) for _ in range(2)]
    system.until(lambda: system.lane().waiting == len(waiting), "two to wait")

    system.release(first)
    system.completed(first, *waiting)
    everything_told(system)

    assert system.most_at_once(first, *waiting) == 1
    assert [len(system.runs(key)) for key in waiting] == [1, 1]
    assert not system.lane().holders


def test_word_of_the_start_that_comes_after_the_end_changes_nothing(system: System) -> None:
    system.fault("events", "delay", status="RUNNING", delaySeconds=2)
    key = system.upload()
    [before] = system.completed(key)

    everything_told(system)

    assert system.job(key) == before


def test_a_lost_end_is_found_by_the_reconciler(system: System) -> None:
    system.fault("events", "drop")
    key = system.upload()
    ended_at_the_target(system, key)
    assert system.wait_for(key, "SUBMITTED", "RUNNING")

    system.invoke("ReconcileJobsFunction")

    system.completed(key)
    assert not system.lane().holders


def test_a_lost_failure_is_found_by_the_reconciler_with_the_workers_own_reason(system: System) -> None:
    system.fault("events", "drop")
    key = system.upload(permanent="NOT_A_VIDEO")
    ended_at_the_target(system, key)

    system.invoke("ReconcileJobsFunction")

    assert system.wait_for(key, "FAILED")["error"]["code"] == "NOT_A_VIDEO"


def test_after_a_lost_end_the_reconciler_starts_what_waits(system: System) -> None:
    system.fault("events", "drop")
    first, second = system.upload(gate=True), system.key()
    system.wait_for(first, "SUBMITTED", "RUNNING")
    system.upload(second)
    system.until(lambda: system.lane().waiting == 1, "the second to wait")
    system.release(first)
    ended_at_the_target(system, first)
    system.no_more_faults()

    system.invoke("ReconcileJobsFunction")

    system.completed(first, second)


def test_the_reconciler_leaves_alone_what_is_well(system: System) -> None:
    key = system.upload(gate=True)
    waiting = system.key()
    before = system.wait_for(key, "RUNNING")
    system.upload(waiting)
    system.until(lambda: system.lane().waiting == 1, "the second to wait")

    system.invoke("ReconcileJobsFunction")

    assert (system.job(key) or {})["fence"] == before["fence"]
    assert system.lane().holders == {before["jobId"]}
    assert system.lane().waiting == 1


def everything_told(system: System) -> None:
    """Waits until no state change is in transit."""
    system.until(lambda: system.compute("GET", "/_compute/health")["eventsWaiting"] == 0, "all events to be sent")
    system.drained("TrackQueue")


def ended_at_the_target(system: System, key: str) -> None:
    """Waits until the target itself shows the run of an object's job as ended."""

    def ended() -> bool:
        job = system.job(key)
        starts = system.starts(job["jobId"]) if job else []
        return len(starts) == 1 and bool(starts[0].attempts)

    system.until(ended, f"the run for {key} to end")
