"""Drill: runs that end without Switchyard, terminated by hand or forgotten by Batch."""

from collections.abc import Callable

from tests.drills import truth
from tests.drills.lost_events import ended_at_batch
from tests.integration.system import System


def play(system: System, say: Callable[[str], None]) -> None:
    """Terminates a job in Batch; then has Batch forget another whose end was never seen."""
    terminated(system, say)
    forgotten(system, say)


def terminated(system: System, say: Callable[[str], None]) -> None:
    """Terminates jobs with and without an event: each becomes FAILED, and its slot goes to the next."""
    first, second, third = system.upload(gate=True), system.key(), system.key()
    at_work(system, first)
    system.upload(second, gate=True)
    system.until(lambda: system.lane().waiting == 1, "the second to wait")
    system.upload(third)
    system.until(lambda: system.lane().waiting == 2, "the third to wait")
    say("one job runs, two wait; somebody terminates the running one in Batch")
    system.stop((system.job(first) or {})["targetId"])
    system.wait_for(first, "FAILED")
    at_work(system, second)
    say(f"its event makes it FAILED ({why(system, first)}), and the next job gets its slot")

    system.fault("events", "drop")
    system.stop((system.job(second) or {})["targetId"])
    system.until(lambda: ended_at_batch(system, [second], 1), "the second to end at Batch")
    say("that one is terminated too, and its event is lost: in the table it still runs")
    assert (system.job(second) or {})["status"] == "RUNNING"
    system.no_more_faults()
    system.invoke("ReconcileJobsFunction")
    system.wait_for(second, "FAILED")
    say(f"the reconciler finds out: FAILED ({why(system, second)}), and starts the third")
    system.completed(third)
    say(truth.compare(system, first, second, third, ended={first: "FAILED", second: "FAILED"}))

    say("to run the first again, send a message for it: it gets another run under the same id")
    system.release(first)
    id_before = (system.job(first) or {})["jobId"]
    system.send({"bucket": system.bucket, "key": first})
    system.until(lambda: (system.job(first) or {})["status"] == "COMPLETED", "the first to complete")
    assert (system.job(first) or {})["jobId"] == id_before
    say(truth.compare(system, first, second, third, ended={second: "FAILED"}, worked={first: 2}))


def forgotten(system: System, say: Callable[[str], None]) -> None:
    """Ends a run unseen, and removes it from DescribeJobs."""
    with system.variables("ReconcileJobsFunction", CLAIM_GRACE_SECONDS="1"):
        system.fault("events", "drop")
        key, waiting = system.upload(), system.key()
        system.until(lambda: ended_at_batch(system, [key], 1), "the job to end at Batch")
        system.upload(waiting)
        system.until(lambda: system.lane().waiting == 1, "the other to wait")
        target_id = (system.job(key) or {})["targetId"]
        system.compute("DELETE", f"/_compute/jobs/{target_id}")
        system.no_more_faults()
        say("a job ended while all events were lost, and Batch has forgotten it, as it does after about a week")
        system.until(lambda: _reconciled(system, key), "the reconciler to notice that it is missing")
    job = system.job(key) or {}
    assert job["error"]["code"] == "TARGET_LOST"
    assert "obeyed" in job["result"], "its worker recorded no result"
    say("the reconciler makes it FAILED (TARGET_LOST): its outcome is unknown, though `result` shows that it worked")
    system.completed(waiting)
    say(truth.compare(system, key, waiting, ended={key: "FAILED"}, forgotten=[key]))


def _reconciled(system: System, key: str) -> bool:
    system.invoke("ReconcileJobsFunction")
    return bool((system.job(key) or {})["status"] == "FAILED")


def at_work(system: System, key: str) -> None:
    """Waits until the worker has begun; a running container is not enough."""
    system.until(lambda: len(system.runs(key)) == 1, f"the worker to begin with {key}")


def why(system: System, key: str) -> str:
    """Returns a job's error code."""
    return str((system.job(key) or {})["error"]["code"])
