"""If the target refuses one start, the claim is undone, other jobs go on, and the next try makes one job."""

from tests.integration.roads import OVER_BOTH
from tests.integration.system import System

pytestmark = OVER_BOTH


def test_a_throttled_start_is_made_again_and_makes_one_job(system: System) -> None:
    system.fault(system.road.start, "throttle", times=1)

    key = system.upload()

    [job] = system.completed(key)
    assert len(system.starts(job["jobId"])) == len(system.runs(key)) == 1


def test_a_refused_claim_is_taken_back_until_the_message_returns(system: System) -> None:
    system.fault(system.road.start, "refuse", times=1)

    key = system.upload()

    job = system.wait_for(key, "PENDING")
    assert job["error"]["code"] == "START_REFUSED"
    assert not system.lane().holders
    [job] = system.completed(key)
    assert [start.environment["FENCE"] for start in system.starts(job["jobId"])] == ["2"]


def test_a_refused_job_leaves_its_slot_to_others(system: System) -> None:
    refused = system.place()
    system.fault(system.road.start, "refuse", times=1)
    system.send(system.message(refused))
    system.wait_for(refused, "PENDING")

    key = system.upload(gate=True)

    system.wait_for(key, "RUNNING")
