"""However a run ends, the job records it, the slot is freed, and the next job starts."""

import pytest

from tests.integration.roads import OVER_BOTH
from tests.integration.system import Item, System

pytestmark = OVER_BOTH


@pytest.mark.parametrize("code", [1, 137])
def test_a_worker_that_crashes_has_failed(system: System, code: int) -> None:
    key = system.upload(exit=code)

    job = system.wait_for(key, "FAILED")

    assert job["error"]["code"] == "WORKER_CRASHED"
    assert str(code) in job["error"]["message"]


@pytest.mark.parametrize("plan", [{"permanent": "NOT_A_VIDEO"}, {"exit": 1}], ids=["permanent failure", "crash"])
def test_after_a_failure_the_next_waiting_job_starts(system: System, plan: Item) -> None:
    first, second = system.upload(gate=True, **plan), system.key()
    system.wait_for(first, "RUNNING")
    system.upload(second)
    system.until(lambda: system.lane().waiting == 1, "the second to wait")

    system.release(first)

    system.completed(second)
    assert not system.lane().holders


def test_a_run_ended_from_outside_fails_its_job_and_frees_the_slot(system: System) -> None:
    key = system.upload(gate=True)
    job = system.wait_for(key, "RUNNING")

    system.stop(job["targetId"])

    system.wait_for(key, "FAILED")
    assert not system.lane().holders


def test_a_slot_goes_free_where_a_legacy_worker_has_set_the_status_itself(system: System) -> None:
    key = system.upload(gate=True)
    job = system.wait_for(key, "RUNNING")

    as_legacy_workers_do(system, job["jobId"])
    system.release(key)

    system.until(lambda: not system.lane().holders, "the slot to go free")
    system.completed(key)


def test_a_slot_goes_free_where_a_legacy_worker_has_set_the_status_and_the_end_was_not_told(system: System) -> None:
    system.fault("events", "drop")
    key = system.upload(gate=True)
    job = system.wait_for(key, "RUNNING")
    as_legacy_workers_do(system, job["jobId"])
    system.release(key)

    system.invoke("ReconcileJobsFunction")

    system.until(lambda: not system.lane().holders, "the slot to go free")


def as_legacy_workers_do(system: System, job_id: str) -> None:
    """An update that knows nothing of fences, conditions or slots."""
    system.stack.client("dynamodb").update_item(
        TableName=system.stack.resource("JobsTable"),
        Key={"jobId": {"S": job_id}},
        UpdateExpression="SET #status = :status",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":status": {"S": "COMPLETED"}},
    )
