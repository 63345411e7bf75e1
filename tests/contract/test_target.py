"""One suite for the Batch and ECS targets on the stand-in, and for the fake target in memory."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from switchyard import clients
from switchyard.errors import NoCapacity, OutcomeUnknown, StartRefused, StartThrottled, Unavailable
from switchyard.protocol.jobs import Job, JobError, Run, Status, TargetSpec, WorkRequest
from switchyard.protocol.ports import Target
from switchyard.targets.batch import BatchTarget
from switchyard.targets.ecs import EcsTarget, Placement
from tests.contract.standin import CLUSTER, StandIn, client_of, until
from tests.fakes.target import FakeTarget, Mode
from tests.requests import SENT_AT, request, task

type Misbehave = Callable[[Mode], None]

_FAULTS: dict[Mode, dict[str, Any]] = {
    Mode.REFUSE: {"mode": "refuse"},
    Mode.THROTTLE: {"mode": "throttle"},
    # No answer: whether it is the caller or the network that gives up is the same to who has to decide.
    Mode.TIME_OUT_BEFORE: {"mode": "timeout_before_effect", "delaySeconds": 0.01},
    Mode.TIME_OUT_AFTER: {"mode": "timeout_after_effect", "delaySeconds": 0.01},
}


@dataclass(frozen=True)
class Case:
    """A target, how to make its starts and stops go wrong, work for it, and the id of a run that it has forgotten."""

    target: Target
    start_goes_wrong: Misbehave
    stop_goes_wrong: Misbehave
    work: WorkRequest
    forgotten: str


@pytest.fixture(params=["memory", "batch", "ecs"])
def case(request: pytest.FixtureRequest) -> Iterator[Case]:
    match request.param:
        case "memory":
            fake = FakeTarget()
            yield Case(fake, fake.modes.append, fake.stop_modes.append, _JOB, "run-99")
        case "batch":
            standin: StandIn = request.getfixturevalue("standin")
            client = client_of(standin.url, "test", "test", None)
            batch = BatchTarget(client, client, jobs_table="jobs", environment="test", grace_seconds=1)
            yield Case(batch, _faults(standin, "SubmitJob"), _faults(standin, "TerminateJob"), _JOB, "no-such-run")
            standin.ask("/_compute/faults", "DELETE")
        case "ecs":
            standin = request.getfixturevalue("standin")
            ecs = request.getfixturevalue("ecs_target")
            forgotten = f"arn:aws:ecs:us-east-1:000000000000:task/{CLUSTER}/{'0' * 32}"
            yield Case(ecs, _faults(standin, "RunTask"), _faults(standin, "StopTask"), _TASK, forgotten)
            standin.ask("/_compute/faults", "DELETE")


_JOB = replace(request(), target=TargetSpec("batch", "parked", "shell"))
_TASK = replace(task(), target=TargetSpec("ecs", CLUSTER, "idle"))


def _faults(standin: StandIn, operation: str) -> Misbehave:
    """Faults that last until the test's end, as the SDK may repeat what fails."""
    return lambda mode: standin.ask("/_compute/faults", "POST", [{"operation": operation, **_FAULTS[mode]}])


@pytest.fixture
def ecs_target(standin: StandIn, monkeypatch: pytest.MonkeyPatch) -> EcsTarget:
    """With the client that functions use: what it repeats by itself is part of the contract."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", standin.url)
    return _placed(Placement("worker", ("subnet-1",)))


def _placed(placement: Placement) -> EcsTarget:
    client = clients.ecs.__wrapped__()
    return EcsTarget(client, placement, jobs_table="jobs", environment="test", grace_seconds=1)


_names = iter(range(10_000))


def claimed(case: Case, fence: int = 1) -> Job:
    """Claims a new job, so that cases can share one stand-in."""
    return claimed_of(case.work, fence)


def claimed_of(work: WorkRequest, fence: int = 1) -> Job:
    return Job(replace(work, job_id=f"job-{next(_names)}"), Status.CLAIMED, fence=fence, created_at=SENT_AT)


def ended(case: Case, target_id: str) -> Run:
    def look() -> Run | None:
        (run,) = case.target.describe([target_id])
        return run if run.status in {Status.COMPLETED, Status.FAILED} else None

    return until(look)


def is_active(case: Case, target_id: str) -> bool:
    (run,) = case.target.describe([target_id])
    return run.status in {Status.SUBMITTED, Status.RUNNING}


def test_a_started_run_is_found_by_its_claim(case: Case) -> None:
    job = claimed(case)
    target_id = case.target.start(job)
    assert case.target.find(job) == target_id


def test_a_claim_that_was_never_started_is_not_found(case: Case) -> None:
    assert case.target.find(claimed(case)) is None


def test_a_run_of_another_fence_is_not_found(case: Case) -> None:
    job = claimed(case, fence=1)
    case.target.start(job)
    assert case.target.find(replace(job, fence=2)) is None


def test_of_two_runs_each_is_found_by_its_own_fence(case: Case) -> None:
    first = claimed(case, fence=1)
    second = replace(first, fence=2)
    runs = [case.target.start(first), case.target.start(second)]
    assert [case.target.find(first), case.target.find(second)] == runs


def test_a_run_is_described_with_its_claim(case: Case) -> None:
    job = claimed(case, fence=3)
    (run,) = case.target.describe([case.target.start(job)])
    assert (run.job_id, run.fence) == (job.id, 3)


def test_a_forgotten_run_is_left_out_of_descriptions(case: Case) -> None:
    target_id = case.target.start(claimed(case))
    assert [run.target_id for run in case.target.describe([case.forgotten, target_id])] == [target_id]


@pytest.mark.parametrize(("mode", "error"), [(Mode.REFUSE, StartRefused), (Mode.THROTTLE, StartThrottled)])
def test_a_start_that_is_not_accepted_says_so(case: Case, mode: Mode, error: type[Exception]) -> None:
    case.start_goes_wrong(mode)
    with pytest.raises(error):
        case.target.start(claimed(case))


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.THROTTLE])
def test_a_start_that_is_not_accepted_leaves_no_run(case: Case, mode: Mode) -> None:
    job = claimed(case)
    case.start_goes_wrong(mode)
    with pytest.raises((StartRefused, StartThrottled)):
        case.target.start(job)
    assert case.target.find(job) is None


@pytest.mark.parametrize(("mode", "found"), [(Mode.TIME_OUT_BEFORE, False), (Mode.TIME_OUT_AFTER, True)])
def test_a_start_that_times_out_may_have_led_to_a_run(case: Case, mode: Mode, found: bool) -> None:  # noqa: FBT001
    job = claimed(case)
    case.start_goes_wrong(mode)
    with pytest.raises(OutcomeUnknown):
        case.target.start(job)
    assert (case.target.find(job) is not None) is found


def test_a_run_that_is_stopped_fails(case: Case) -> None:
    job = claimed(case)
    target_id = case.target.start(job)
    case.target.stop(job, target_id)
    assert ended(case, target_id).status is Status.FAILED


def test_stopping_a_run_again_changes_nothing(case: Case) -> None:
    job = claimed(case)
    target_id = case.target.start(job)
    case.target.stop(job, target_id)
    case.target.stop(job, target_id)
    before = ended(case, target_id)
    case.target.stop(job, target_id)
    assert ended(case, target_id) == before


def test_stopping_one_run_leaves_the_others(case: Case) -> None:
    jobs = claimed(case), claimed(case)
    stopped, other = map(case.target.start, jobs)
    case.target.stop(jobs[0], stopped)
    ended(case, stopped)
    assert is_active(case, other)


def test_a_run_of_another_job_is_not_stopped(case: Case) -> None:
    target_id = case.target.start(claimed(case))
    case.target.stop(claimed(case), target_id)
    assert is_active(case, target_id)


@pytest.mark.parametrize("fence", [1, 3])
def test_a_run_of_another_claim_is_not_stopped(case: Case, fence: int) -> None:
    job = claimed(case, fence=2)
    target_id = case.target.start(job)
    case.target.stop(replace(job, fence=fence), target_id)
    assert is_active(case, target_id)


def test_stopping_what_is_forgotten_is_nothing(case: Case) -> None:
    case.target.stop(claimed(case), case.forgotten)


HOSTILE = ["", "0", "run", "a" * 10_240, "arn:aws:batch:us-east-1:000000000000:job/1", "arn:aws:ecs:::task/a/b", "\x00"]
"""What another program may write for a run's id."""


@pytest.mark.parametrize("target_id", HOSTILE)
def test_what_is_no_id_is_unknown(case: Case, target_id: str) -> None:
    job = claimed(case)
    known = case.target.start(job)
    case.target.stop(job, target_id)
    found = case.target.describe([target_id, known, *HOSTILE], case.work.target.queue)
    assert [run.target_id for run in found] == [known]


def test_a_stop_that_is_throttled_says_so(case: Case) -> None:
    job = claimed(case)
    target_id = case.target.start(job)
    case.stop_goes_wrong(Mode.THROTTLE)
    with pytest.raises(Unavailable):
        case.target.stop(job, target_id)


# ---- ECS alone: a claim has one task ---------------------------------------------------------------------------


def test_ecs_runs_one_task_a_claim(ecs_target: EcsTarget) -> None:
    job = claimed_of(_TASK)
    assert ecs_target.start(job) == ecs_target.start(job)


def test_ecs_knows_a_claims_task_though_the_settings_have_changed(ecs_target: EcsTarget) -> None:
    job = claimed_of(_TASK)
    target_id = ecs_target.start(job)
    assert _placed(Placement("worker", ("subnet-2",))).start(job) == target_id


@pytest.mark.parametrize("mode", ["reset", "reset_after_effect", "error500", "throttle", "capacity"])
def test_ecs_gets_over_what_passes(standin: StandIn, ecs_target: EcsTarget, mode: str) -> None:
    job = claimed_of(_TASK)
    standin.ask("/_compute/faults", "POST", [{"operation": "RunTask", "times": 1, "mode": mode}])
    assert ecs_target.start(job) == ecs_target.find(job)
    assert standin.ask("/_compute/faults", "DELETE") == []


@pytest.mark.parametrize(
    ("reason", "error"),
    [("RESOURCE:CPU", NoCapacity), ("Capacity is unavailable", NoCapacity), ("MISSING", StartRefused)],
)
def test_ecs_tells_a_lack_of_room_from_other_failures(
    standin: StandIn, ecs_target: EcsTarget, reason: str, error: type[Exception]
) -> None:
    standin.ask("/_compute/faults", "POST", [{"operation": "RunTask", "mode": "capacity", "reason": reason}])
    with pytest.raises(error, match=reason):
        ecs_target.start(claimed_of(_TASK))
    standin.ask("/_compute/faults", "DELETE")


def test_a_quota_of_fargate_is_a_lack_of_room(standin: StandIn, ecs_target: EcsTarget) -> None:
    standin.ask("/_compute/faults", "POST", [{"operation": "RunTask", "mode": "quota"}])
    with pytest.raises(NoCapacity):
        ecs_target.start(claimed_of(_TASK))
    standin.ask("/_compute/faults", "DELETE")


def test_ecs_runs_on_spot(ecs_target: EcsTarget) -> None:
    target = _placed(Placement("worker", ("subnet-1",), spot=True))
    job = claimed_of(_TASK)
    assert ecs_target.find(job) is None
    assert target.start(job) == ecs_target.find(job)


@pytest.mark.parametrize(
    ("definition", "code"),
    [("exits-0", None), ("exits-65", "PERMANENT_FAILURE"), ("exits-9", "WORKER_CRASHED"), ("missing", "NOT_STARTED")],
)
def test_ecs_tells_how_a_run_ended(standin: StandIn, ecs_target: EcsTarget, definition: str, code: str | None) -> None:
    job = claimed_of(replace(_TASK, target=TargetSpec("ecs", CLUSTER, definition)))
    target_id = ecs_target.start(job)
    run = until(lambda: next((each for each in ecs_target.describe([target_id]) if each.attempts), None))
    assert (run.status, run.error and run.error.code) == (Status.FAILED if code else Status.COMPLETED, code)


def test_ecs_tells_that_a_host_was_lost(standin: StandIn, ecs_target: EcsTarget) -> None:
    target_id = ecs_target.start(claimed_of(_TASK))
    cause = {"stopCode": "SpotInterruption", "stoppedReason": "Your Spot Task was interrupted."}
    standin.ask(f"/_compute/tasks/{target_id.rpartition('/')[2]}/stop", "POST", cause)
    run = until(lambda: next((each for each in ecs_target.describe([target_id]) if each.attempts), None))
    assert run.error == JobError("HOST_LOST", "the capacity that ran the task was taken away")
