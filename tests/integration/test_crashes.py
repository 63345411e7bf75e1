"""A function may die, and Batch may keep its answer to itself, at any moment: the work is still done, and done once.

Here a claim counts as old after seconds, not minutes, so that what was left half done is looked into soon.
"""

import json
from collections.abc import Iterator

import pytest

from tests.integration.system import Item, System, environment

GRACE_SECONDS = 2
REDELIVERY_SECONDS = 4
SUPERSEDED = 77
"""The exit code of a run that another has taken the place of."""


@pytest.fixture(scope="module", autouse=True)
def hasty(scene: System) -> Iterator[None]:
    """Old claims are looked into soon, and what a killed function had in hand is soon delivered again."""
    grace = str(GRACE_SECONDS)
    with (
        scene.variables("SqsToBatchFunction", CLAIM_GRACE_SECONDS=grace),
        scene.variables("TrackJobFunction", CLAIM_GRACE_SECONDS=grace),
        scene.variables("ReconcileJobsFunction", CLAIM_GRACE_SECONDS=grace),
        scene.redelivery("VideoQueue", REDELIVERY_SECONDS),
        scene.redelivery("TrackQueue", REDELIVERY_SECONDS),
    ):
        yield


def test_killed_after_the_claim_the_next_delivery_starts_the_job(system: System) -> None:
    system.fault("SubmitJob", "timeout_before_effect", times=1)
    key = system.upload()
    kill_at_submission(system, "SqsToBatchFunction")

    [job] = system.completed(key)

    assert len(system.runs(key)) == 1
    assert fences(system, job) == ["2"]


def test_killed_after_the_submission_the_job_runs_once(system: System) -> None:
    system.fault("SubmitJob", "timeout_after_effect", times=1)
    key = system.upload()
    kill_at_submission(system, "SqsToBatchFunction")

    [job] = system.completed(key)
    system.drained()

    assert len(system.runs(key)) == 1
    assert fences(system, job) == ["1"]


def test_killed_after_the_submission_the_next_delivery_adopts_a_run_that_nobody_has_told_of(system: System) -> None:
    key = system.key()
    with system.booting(key):
        only_the_end_is_told(system)
        system.fault("SubmitJob", "timeout_after_effect", times=1)
        system.upload(key)
        kill_at_submission(system, "SqsToBatchFunction")

        job = system.wait_for(key, "SUBMITTED")

    assert [run["jobId"] for run in system.submissions(job["jobId"])] == [job["targetId"]]
    system.completed(key)
    assert len(system.runs(key)) == 1


def test_killed_after_the_submission_the_reconciler_adopts_the_run_if_no_delivery_comes(system: System) -> None:
    key = system.key()
    with system.booting(key):
        only_the_end_is_told(system)
        system.fault("SubmitJob", "timeout_after_effect", times=1)
        system.upload(key)
        kill_at_submission(system, "SqsToBatchFunction")
        lose_messages(system)

        job = reconciled(system, key, "SUBMITTED", "RUNNING")

    assert [run["jobId"] for run in system.submissions(job["jobId"])] == [job["targetId"]]
    system.completed(key)


def test_killed_after_the_claim_the_reconciler_starts_the_job_if_no_delivery_comes(system: System) -> None:
    system.fault("SubmitJob", "timeout_before_effect", times=1)
    key = system.upload()
    kill_at_submission(system, "SqsToBatchFunction")
    lose_messages(system)

    reconciled(system, key, "SUBMITTED", "RUNNING", "COMPLETED")

    system.completed(key)
    assert len(system.runs(key)) == 1


def test_killed_after_the_record_but_before_the_acknowledgement_the_job_runs_once(system: System) -> None:
    done, held = system.place(gate=True), system.place()
    system.fault("SubmitJob", "timeout_before_effect", times=1, jobName="video-process-held")
    with system.variables("SqsToBatchFunction", MAX_CONCURRENT_JOBS="2"):
        system.stack.client("sqs").send_message_batch(
            QueueUrl=system.stack.resource("VideoQueue"),
            Entries=[
                {"Id": video_id, "MessageBody": plain(system, key, video_id)}
                for video_id, key in (("held", held), ("done", done))
            ],
        )
        system.wait_for(done, "SUBMITTED", "RUNNING")
        kill_at_submission(system, "SqsToBatchFunction")
        system.release(done)

        jobs = system.completed(done, held)
        system.drained()

    assert [len(system.submissions(job["jobId"])) for job in jobs] == [1, 1]
    assert [len(system.runs(key)) for key in (done, held)] == [1, 1]


def test_the_tracker_killed_while_it_starts_a_waiting_job_that_job_runs_once(system: System) -> None:
    first, second = one_that_runs_and_one_that_waits(system)
    system.fault("SubmitJob", "timeout_after_effect", times=1)
    system.release(first)
    kill_at_submission(system, "TrackJobFunction")

    jobs = system.completed(first, second)

    assert [len(system.submissions(job["jobId"])) for job in jobs] == [1, 1]


def test_the_tracker_killed_before_a_waiting_job_was_submitted_the_reconciler_starts_it(system: System) -> None:
    first, second = one_that_runs_and_one_that_waits(system)
    system.fault("SubmitJob", "timeout_before_effect", times=1)
    system.release(first)
    kill_at_submission(system, "TrackJobFunction")

    reconciled(system, second, "SUBMITTED", "RUNNING", "COMPLETED")

    system.completed(first, second)
    assert len(system.runs(second)) == 1


@pytest.mark.parametrize("mode", ["reset", "error500", "timeout_before_effect"])
def test_no_answer_from_a_submission_that_did_nothing_the_job_is_submitted_again(system: System, mode: str) -> None:
    system.fault("SubmitJob", mode, times=1, delaySeconds=0.2)

    key = system.upload()

    [job] = system.completed(key)
    assert fences(system, job) == ["2"]


@pytest.mark.parametrize("mode", ["reset_after_effect", "timeout_after_effect"])
def test_no_answer_from_a_submission_that_worked_the_job_is_not_submitted_again(system: System, mode: str) -> None:
    system.fault("SubmitJob", mode, times=1, delaySeconds=0.2)

    key = system.upload()

    [job] = system.completed(key)
    system.drained()
    assert fences(system, job) == ["1"]


def test_a_run_under_an_older_fence_does_nothing(system: System) -> None:
    system.fault("SubmitJob", "reset", times=1)  # the claim is raised to its second fence
    key = system.upload(gate=True)
    job = system.wait_for(key, "RUNNING")
    [current] = system.submissions(job["jobId"])
    batch = system.stack.client("batch")

    late = batch.submit_job(
        jobName=current["jobName"],
        jobQueue=current["jobQueue"],
        jobDefinition=current["jobDefinition"],
        containerOverrides={
            "environment": [
                pair if pair["name"] != "FENCE" else {"name": "FENCE", "value": "1"}
                for pair in current["container"]["environment"]
            ]
        },
    )["jobId"]

    ended = system.until(lambda: _ended(system, job["jobId"], late), "the late run to end")
    assert ended["container"]["exitCode"] == SUPERSEDED
    assert [run.run_id for run in system.runs(key)] == [current["jobId"]]


def fences(system: System, job: Item) -> list[str]:
    """The fence of every Batch job ever submitted for a job."""
    return [environment(submission)["FENCE"] for submission in system.submissions(job["jobId"])]


def plain(system: System, key: str, video_id: str) -> str:
    """A message that names its video, so that a fault can tell it apart by the Batch job's name."""
    return json.dumps({"bucket": system.bucket, "key": key, "video_id": video_id})


def kill_at_submission(system: System, function: str) -> None:
    """Wait until a fault holds a SubmitJob call back, and kill the function that waits for its answer."""
    system.until(lambda: system.fired("SubmitJob") == 1, "a submission to be held back")
    assert system.kill_function(function) >= 1


def only_the_end_is_told(system: System) -> None:
    """Lose every state change but the last, so that nobody learns from them which run it is."""
    for status in ("PENDING", "RUNNABLE", "STARTING", "RUNNING"):
        system.fault("events", "drop", status=status)


def lose_messages(system: System) -> None:
    """Nothing is ever delivered again."""
    system.stack.client("sqs").purge_queue(QueueUrl=system.stack.resource("VideoQueue"))


def reconciled(system: System, key: str, *statuses: str) -> Item:
    """Have the reconciler run until the object's job has one of these statuses; the job then."""

    def run_once() -> Item | None:
        system.invoke("ReconcileJobsFunction")
        job = system.job(key)
        return job if job and job["status"] in statuses else None

    return system.until(run_once, f"{key} to be {' or '.join(statuses)}")


def one_that_runs_and_one_that_waits(system: System) -> tuple[str, str]:
    first, second = system.upload(gate=True), system.key()
    system.wait_for(first, "RUNNING")
    system.upload(second)
    system.until(lambda: system.lane().waiting == 1, "the second to wait")
    return first, second


def _ended(system: System, job_id: str, target_id: str) -> Item | None:
    found = [run for run in system.submissions(job_id) if run["jobId"] == target_id and run["status"] == "FAILED"]
    return found[0] if found else None
