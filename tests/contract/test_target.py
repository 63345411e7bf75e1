"""One suite over Batch as the stand-in answers for it, and over the target in memory: trusted because it passes."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from switchyard.dispatch import Target
from switchyard.errors import OutcomeUnknown, StartRefused, StartThrottled
from switchyard.jobs import Job, Status, TargetSpec
from switchyard.targets.batch import BatchTarget
from tests.contract.standin import StandIn, client_of
from tests.fakes.target import FakeTarget, Mode
from tests.requests import SENT_AT, request

type Misbehave = Callable[[Mode], None]

_FAULTS = {
    Mode.REFUSE: "refuse",
    Mode.THROTTLE: "throttle",
    Mode.TIME_OUT_BEFORE: "timeout_before_effect",
    Mode.TIME_OUT_AFTER: "timeout_after_effect",
}


@dataclass(frozen=True)
class Case:
    """A target, and how to make its next start go wrong."""

    target: Target
    misbehave: Misbehave


@pytest.fixture(params=["memory", "batch"])
def case(request: pytest.FixtureRequest) -> Case:
    if request.param == "memory":
        fake = FakeTarget()
        return Case(fake, fake.modes.append)
    standin: StandIn = request.getfixturevalue("standin")

    def misbehave(mode: Mode) -> None:
        standin.ask("/_compute/faults", "POST", [{"operation": "SubmitJob", "times": 1, "mode": _FAULTS[mode]}])

    client = client_of(standin.url, "test", "test", None, read_timeout=1)
    return Case(BatchTarget(client, client, jobs_table="jobs", environment="test", grace_seconds=1), misbehave)


_names = iter(range(10_000))


def claimed(fence: int = 1) -> Job:
    """A claim on a job of its own, so that cases share one stand-in."""
    wanted = replace(request(f"job-{next(_names)}"), target=TargetSpec("batch", "parked", "shell"))
    return Job(wanted, Status.CLAIMED, fence=fence, created_at=SENT_AT)


def test_a_started_run_is_found_by_its_claim(case: Case) -> None:
    job = claimed()
    target_id = case.target.start(job)
    assert case.target.find(job) == target_id


def test_a_claim_that_was_never_started_is_not_found(case: Case) -> None:
    assert case.target.find(claimed()) is None


def test_a_run_of_another_fence_is_not_found(case: Case) -> None:
    job = claimed(fence=1)
    case.target.start(job)
    assert case.target.find(replace(job, fence=2)) is None


def test_of_two_runs_each_is_found_by_its_own_fence(case: Case) -> None:
    first = claimed(fence=1)
    second = replace(first, fence=2)
    runs = [case.target.start(first), case.target.start(second)]
    assert [case.target.find(first), case.target.find(second)] == runs


def test_a_run_is_described_with_its_claim(case: Case) -> None:
    job = claimed(fence=3)
    (run,) = case.target.describe([case.target.start(job)])
    assert (run.job_id, run.fence) == (job.id, 3)


def test_a_forgotten_run_is_left_out_of_descriptions(case: Case) -> None:
    target_id = case.target.start(claimed())
    assert [run.target_id for run in case.target.describe(["no-such-run", target_id])] == [target_id]


@pytest.mark.parametrize(("mode", "error"), [(Mode.REFUSE, StartRefused), (Mode.THROTTLE, StartThrottled)])
def test_a_start_that_is_not_accepted_says_so(case: Case, mode: Mode, error: type[Exception]) -> None:
    case.misbehave(mode)
    with pytest.raises(error):
        case.target.start(claimed())


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.THROTTLE])
def test_a_start_that_is_not_accepted_leaves_no_run(case: Case, mode: Mode) -> None:
    job = claimed()
    case.misbehave(mode)
    with pytest.raises((StartRefused, StartThrottled)):
        case.target.start(job)
    assert case.target.find(job) is None


@pytest.mark.parametrize(("mode", "found"), [(Mode.TIME_OUT_BEFORE, False), (Mode.TIME_OUT_AFTER, True)])
def test_a_start_that_times_out_may_have_led_to_a_run(case: Case, mode: Mode, found: bool) -> None:  # noqa: FBT001
    job = claimed()
    case.misbehave(mode)
    with pytest.raises(OutcomeUnknown):
        case.target.start(job)
    assert (case.target.find(job) is not None) is found
