"""Shared by all targets: the environment of a run, the meaning of exit codes, the errors of a start."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

from botocore.exceptions import ClientError

from switchyard import observability
from switchyard.clients import is_throttle
from switchyard.errors import OutcomeUnknown, StartFailed, StartRefused, StartThrottled, Unavailable
from switchyard.observability import Metric, logger
from switchyard.protocol.jobs import Job, JobError, Run

STOPPED = "stopped: Switchyard was asked to cancel the job"
"""The reason that is passed to the target when a run is stopped."""

MAX_REASON = 500
"""How much of a target's own explanation an error keeps, in characters."""

WORKER_ERRORS: Mapping[int, JobError] = {
    65: JobError("PERMANENT_FAILURE", "the worker reported that this input can never be processed"),
    75: JobError("RETRIES_EXHAUSTED", "the worker asked for another attempt until none were left"),
    77: JobError("SUPERSEDED", "the worker found that another run has taken its place"),
}
"""By exit code (workers/CONTRACT.md), when no attempts are left."""

OUT_OF_MEMORY = JobError("OUT_OF_MEMORY", "the container used more memory than its definition gives it")

_FENCE = re.compile("[0-9]{1,15}")


def environment_of(job: Job, jobs_table: str) -> dict[str, str]:
    """The environment variables that every worker gets; OWNER only for a job that has an owner."""
    owner = {"OWNER": job.request.user_id} if job.request.user_id else {}
    return owner | {
        "JOB_ID": job.id,
        "FENCE": str(job.fence),
        "JOBS_TABLE": jobs_table,
        "KIND": job.request.kind,
        "LANE": job.request.lane,
        "S3_BUCKET": job.request.source.bucket,
        "SQS_MESSAGE_ID": job.request.source.message_id,
    }


def claim_of(environment: Iterable[Mapping[str, str]]) -> tuple[str, int] | None:
    """Reads job id and fence from the environment of a run, as AWS lists it. None if the run isn't ours."""
    variables = {pair.get("name"): pair.get("value") for pair in environment}
    match variables.get("JOB_ID"), variables.get("FENCE"):
        case str(job_id), str(fence) if job_id and _FENCE.fullmatch(fence):
            return job_id, int(fence)
    return None


def is_run_of(job: Job, target_id: str, described: Iterable[Run]) -> bool:
    """Whether the description of `target_id` is a run of the job's claim. If not, logs and counts that.

    Workers and other programs write to the jobs table, so a row may name somebody else's run.
    """
    if any((run.target_id, run.job_id, run.fence) == (target_id, job.id, job.fence) for run in described):
        return True
    logger.warning("not stopped: not a run of this job", job_id=job.id, fence=job.fence, target_id=excerpt(target_id))
    observability.count(Metric.NOT_STOPPED)
    return False


def described[Batch](batches: Iterable[Batch], describe: Callable[[Batch], list[Run]]) -> Iterator[Run]:
    """Describes runs batch by batch. A batch that fails is reported after the others.

    Raises:
        Unavailable: a batch failed. The second failure ends the attempt, since then it is the service that fails.
    """
    failure: Unavailable | None = None
    for batch in batches:
        try:
            yield from describe(batch)
        except Unavailable as error:
            if failure:
                raise
            failure = error
    if failure:
        raise failure


def excerpt(reason: object) -> str:
    """The beginning of a target's own explanation; empty if there is none."""
    return reason[:MAX_REASON] if isinstance(reason, str) else ""


def not_started(reasons: Iterable[object], otherwise: str) -> JobError:
    """The error of a run whose container never ran. A service tells why in several places, in one of them vaguely.

    Args:
        reasons: the explanations of the run and of its containers; those that another one holds are left out.
        otherwise: the message if there are none.
    """
    told = dict.fromkeys(text for reason in reasons if (text := excerpt(reason).strip()))
    apart = [text for text in told if not any(text in other for other in told if other != text)]
    return JobError("NOT_STARTED", excerpt(": ".join(apart)) or otherwise)


def crashed(exit_code: int, reason: str) -> JobError:
    """The error of a worker that ended with an exit code outside the contract."""
    return JobError("WORKER_CRASHED", f"the worker ended with exit code {exit_code}{f': {reason}' if reason else ''}")


def start_error(call: str, error: ClientError, grace_seconds: float) -> StartFailed | OutcomeUnknown:
    """Classifies an error response to a start: throttled, unknown outcome (5xx) or refused."""
    if is_throttle(error.response):
        return StartThrottled(f"{call}: {error}")
    if error.response["ResponseMetadata"]["HTTPStatusCode"] >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return OutcomeUnknown(f"{call}: {error}", grace_seconds)
    return StartRefused(f"{call}: {error}")


@contextmanager
def counted() -> Iterator[None]:
    """Counts a start as succeeded or failed. An unknown outcome counts as neither."""
    try:
        yield
    except StartFailed:
        observability.count(Metric.LAUNCH_FAILED)
        raise
    observability.count(Metric.LAUNCH_SUCCEEDED)
