"""If a function dies or a target's answer is lost at any moment, the work is still done exactly once.

A claim counts as stale after seconds here, not minutes, so that half-done work is soon repaired.
"""

from collections.abc import Iterator

import pytest

from tests.integration.roads import BATCH, OVER_BOTH, Start
from tests.integration.system import Item, System

pytestmark = OVER_BOTH

GRACE_SECONDS = 2
REDELIVERY_SECONDS = 6
SUPERSEDED = 77
"""The exit code of a run that another has taken the place of."""


@pytest.fixture(scope="module", autouse=True)
def hasty(scene: System) -> Iterator[None]:
    """Makes claims stale soon, and redelivers a killed function's messages soon."""
    grace = str(GRACE_SECONDS)
    with (
        scene.variables(scene.road.dispatcher, CLAIM_GRACE_SECONDS=grace),
        scene.variables("TrackJobFunction", CLAIM_GRACE_SECONDS=grace),
        scene.variables("ReconcileJobsFunction", CLAIM_GRACE_SECONDS=grace),
        scene.redelivery(scene.road.queue, REDELIVERY_SECONDS),
        scene.redelivery("TrackQueue", REDELIVERY_SECONDS),
    ):
        yield


def test_killed_after_the_claim_the_next_delivery_starts_the_job(system: System) -> None:
    system.fault(system.road.start, "timeout_before_effect", times=1)
    key = system.upload()
    kill_at_start(system)

    [job] = system.completed(key)

    assert len(system.runs(key)) == 1
    assert fences(system, job) == ["2"]


def test_killed_after_the_start_the_job_runs_once(system: System) -> None:
    system.fault(system.road.start, "timeout_after_effect", times=1)
    key = system.upload()
    kill_at_start(system)

    [job] = system.completed(key)
    system.drained()

    assert len(system.runs(key)) == 1
    assert fences(system, job) == ["1"]


def test_killed_after_the_start_the_next_delivery_adopts_a_run_that_nobody_has_told_of(system: System) -> None:
    key = system.key()
    with system.booting(key):
        only_the_end_is_told(system)
        system.fault(system.road.start, "timeout_after_effect", times=1)
        system.upload(key)
        kill_at_start(system)

        job = system.wait_for(key, "SUBMITTED")

    assert [start.id for start in system.starts(job["jobId"])] == [job["targetId"]]
    system.completed(key)
    assert len(system.runs(key)) == 1


def test_killed_after_the_start_the_reconciler_adopts_the_run_if_no_delivery_comes(system: System) -> None:
    key = system.key()
    with system.booting(key):
        only_the_end_is_told(system)
        system.fault(system.road.start, "timeout_after_effect", times=1)
        system.upload(key)
        kill_at_start(system)
        lose_messages(system)

        job = reconciled(system, key, "SUBMITTED", "RUNNING")

    assert [start.id for start in system.starts(job["jobId"])] == [job["targetId"]]
    system.completed(key)


def test_killed_after_the_claim_the_reconciler_starts_the_job_if_no_delivery_comes(system: System) -> None:
    system.fault(system.road.start, "timeout_before_effect", times=1)
    key = system.upload()
    kill_at_start(system)
    lose_messages(system)

    reconciled(system, key, "SUBMITTED", "RUNNING", "COMPLETED")

    system.completed(key)
    assert len(system.runs(key)) == 1


def test_killed_after_the_record_but_before_the_acknowledgement_the_job_runs_once(system: System) -> None:
    done, held = system.place(gate=True), system.place()
    # The two are handled side by side; whichever's start is held back, the other one's has been recorded.
    system.fault(system.road.start, "timeout_before_effect", times=1)
    with system.variables(system.road.dispatcher, **{system.road.slots: "2"}):
        system.send_together(system.message(held), system.message(done))
        system.until(lambda: any(_recorded(system, key) for key in (done, held)), "one of the two to be recorded")
        kill_at_start(system)
        system.release(done)

        jobs = system.completed(done, held)
        system.drained()

    assert [len(system.starts(job["jobId"])) for job in jobs] == [1, 1]
    assert [len(system.runs(key)) for key in (done, held)] == [1, 1]


def test_the_tracker_killed_while_it_starts_a_waiting_job_that_job_runs_once(system: System) -> None:
    first, second = one_that_runs_and_one_that_waits(system)
    system.fault(system.road.start, "timeout_after_effect", times=1)
    system.release(first)
    kill_at_start(system, "TrackJobFunction")

    jobs = system.completed(first, second)

    assert [len(system.starts(job["jobId"])) for job in jobs] == [1, 1]


def test_the_tracker_killed_before_a_waiting_job_was_started_the_reconciler_starts_it(system: System) -> None:
    first, second = one_that_runs_and_one_that_waits(system)
    system.fault(system.road.start, "timeout_before_effect", times=1)
    system.release(first)
    kill_at_start(system, "TrackJobFunction")

    reconciled(system, second, "SUBMITTED", "RUNNING", "COMPLETED")

    system.completed(first, second)
    assert len(system.runs(second)) == 1


@pytest.mark.parametrize("mode", ["reset", "error500", "timeout_before_effect"])
def test_no_answer_from_a_start_that_did_nothing_the_job_is_started_again(system: System, mode: str) -> None:
    system.fault(system.road.start, mode, times=system.road.tries, delaySeconds=0.2)

    key = system.upload()

    [job] = system.completed(key)
    assert fences(system, job) == ["2"]


@pytest.mark.parametrize("mode", ["reset_after_effect", "timeout_after_effect"])
def test_no_answer_from_a_start_that_worked_the_job_is_not_started_again(system: System, mode: str) -> None:
    system.fault(system.road.start, mode, times=system.road.tries, delaySeconds=0.2)

    key = system.upload()

    [job] = system.completed(key)
    system.drained()
    assert fences(system, job) == ["1"]


def test_a_run_under_an_older_fence_does_nothing(system: System) -> None:
    system.fault(system.road.start, "reset", times=system.road.tries)  # the claim is raised to its second fence
    key = system.upload(gate=True)
    job = system.wait_for(key, "RUNNING")
    [current] = system.starts(job["jobId"])

    late = start_again(system, current, FENCE="1")

    ended = system.until(lambda: _ended(system, job["jobId"], late), "the late run to end")
    assert ended.exit_code == SUPERSEDED
    assert [run.run_id for run in system.runs(key)] == [current.id]


def fences(system: System, job: Item) -> list[str]:
    """Returns the fence of every run ever started for a job."""
    return [start.environment["FENCE"] for start in system.starts(job["jobId"])]


def start_again(system: System, start: Start, **changed: str) -> str:
    """Starts the same work again by hand, with other variables, and returns the target's id of that run."""
    environment = [{"name": name, "value": value} for name, value in {**start.environment, **changed}.items()]
    detail = start.detail
    if system.road is BATCH:
        submitted = system.stack.client("batch").submit_job(
            jobName=detail["jobName"],
            jobQueue=detail["jobQueue"],
            jobDefinition=detail["jobDefinition"],
            containerOverrides={"environment": environment},
        )
        return str(submitted["jobId"])
    [override] = detail["overrides"]["containerOverrides"]
    [task] = system.stack.client("ecs").run_task(
        cluster=detail["clusterArn"],
        taskDefinition=detail["taskDefinitionArn"],
        launchType=detail["launchType"],
        networkConfiguration={"awsvpcConfiguration": {"subnets": [system.stack.parameters["SubnetIds"]]}},
        overrides={"containerOverrides": [{"name": override["name"], "environment": environment}]},
    )["tasks"]
    return str(task["taskArn"])


def kill_at_start(system: System, function: str | None = None) -> None:
    """Waits until a fault delays a start, and kills the function that waits for its answer."""
    system.until(lambda: system.fired(system.road.start) == 1, "a start to be held back")
    assert system.kill_function(function or system.road.dispatcher) >= 1


def only_the_end_is_told(system: System) -> None:
    """Drops every state change but the last, so that earlier ones don't reveal the run."""
    for status in system.road.before_the_end:
        system.fault("events", "drop", status=status)


def lose_messages(system: System) -> None:
    """Prevents redelivery of messages."""
    system.stack.client("sqs").purge_queue(QueueUrl=system.stack.resource(system.road.queue))


def reconciled(system: System, key: str, *statuses: str) -> Item:
    """Runs the reconciler until the object's job has one of these statuses, and returns the job."""

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


def _recorded(system: System, key: str) -> bool:
    job = system.job(key)
    return job is not None and job["status"] in {"SUBMITTED", "RUNNING", "COMPLETED"}


def _ended(system: System, job_id: str, target_id: str) -> Start | None:
    [found] = [start for start in system.starts(job_id) if start.id == target_id]
    return found if found.exit_code is not None else None
