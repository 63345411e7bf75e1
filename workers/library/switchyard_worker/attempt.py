"""One attempt of a job, from the fence check to the exit code."""

import logging
import os
import signal
import threading
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from switchyard_worker.environment import WorkerEnvironment
from switchyard_worker.errors import (
    AWS_ERRORS,
    CRASHED,
    ExitCode,
    PermanentFailure,
    Stopped,
    Superseded,
    TryAgain,
    WorkerError,
)
from switchyard_worker.heartbeat import Heartbeat
from switchyard_worker.job import Main, WorkerJob
from switchyard_worker.logs import json_logs
from switchyard_worker.record import Record

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)


def run(
    main: Main,
    *,
    needs: Collection[str] = (),
    results: str = "results",
    owned: bool = False,
    variables: Mapping[str, str] | None = None,
    dynamodb: "DynamoDBClient | None" = None,
    s3: "S3Client | None" = None,
) -> int:
    """Make one attempt at the job that the environment describes, from fence check to exit code.

    Args:
        main: the worker's own code. It may raise `PermanentFailure` and `TryAgain`. A boto3 error that it doesn't catch
            counts as `TryAgain`, any other exception as a crash.
        needs: see `WorkerEnvironment.from_env`.
        results: see `WorkerEnvironment.from_env`.
        owned: see `WorkerEnvironment.from_env`.
        variables: used instead of `os.environ`.
        dynamodb: used instead of a new client.
        s3: used instead of a new client.

    Returns:
        The process's exit code: an `ExitCode`, or `CRASHED`.
    """
    context: dict[str, object] = {}
    with json_logs(context), _stop_signals() as stop:
        try:
            environment = WorkerEnvironment.from_env(variables, needs=needs, results=results, owned=owned)
        except WorkerError as error:
            log.error("%s", error.message)  # noqa: TRY400 - a sentence, not a bug: no traceback
            return _exit_code(error)
        context |= {"jobId": environment.job_id, "fence": environment.fence, "attempt": environment.attempt}
        record = Record(dynamodb or client("dynamodb"), environment)
        heartbeat = Heartbeat(record, stop)
        job = WorkerJob(environment, record, heartbeat, s3 or client("s3"), stop)
        code = _attempt(main, job, record, heartbeat)
        log.info("exit", extra={"fields": {"exitCode": int(code)}})
        return code


def _attempt(main: Main, job: WorkerJob, record: Record, heartbeat: Heartbeat) -> int:
    if (ended := _check_fence(record)) is not None:
        return ended
    video = {"videoId": job.environment.video_id} if job.environment.video_id else {}
    log.info("started", extra={"fields": {"runId": job.environment.run_id, **video}})
    try:
        _work(main, job, record, heartbeat)
    except WorkerError as error:
        return _fail(record, heartbeat, error)
    except AWS_ERRORS as error:
        return _fail(record, heartbeat, TryAgain("AWS_ERROR", f"an AWS call failed: {error}"))
    except Exception as error:
        log.exception("the worker crashed")
        name = type(error).__name__
        return _fail(record, heartbeat, WorkerError("CRASHED", f"the worker crashed ({name}); its log says where"))
    return ExitCode.SUCCESS


def _check_fence(record: Record) -> ExitCode | None:
    """Make the fence check. None if the work may begin. A run that fails it writes nothing to the record."""
    try:
        done = record.start()
    except Superseded as error:
        log.warning("%s", error.message)
        return ExitCode.SUPERSEDED
    except AWS_ERRORS as error:
        log.warning("fence check failed: %s", error)
        return ExitCode.TRY_AGAIN
    if done:
        log.info("an earlier attempt of this run has recorded the result")
        return ExitCode.SUCCESS
    return None


def _work(main: Main, job: WorkerJob, record: Record, heartbeat: Heartbeat) -> None:
    """Run the worker's code with a heartbeat in parallel, then record the result."""
    heartbeat.start()
    try:
        headline = main(job)
    finally:
        heartbeat.end()
    if heartbeat.superseded.is_set():
        raise Superseded
    record.finish(job.result(headline), {"percent": 100, "message": "done"})


def _fail(record: Record, heartbeat: Heartbeat, error: WorkerError) -> int:
    """End a failed attempt: record the error or, if it was stopped, its progress. Returns the exit code."""
    log.warning("%s: %s", error.code, error.message)
    if not isinstance(error, Superseded):
        try:
            if isinstance(error, Stopped):
                record.beat(heartbeat.progress)
            else:
                record.fail(error.code, error.message)
        except Superseded as superseded:
            error = superseded
        except AWS_ERRORS as problem:
            # The exit code alone tells the platform enough, and the reason is in the log.
            log.warning("error not recorded: %s", problem)
    return _exit_code(error)


def _exit_code(error: WorkerError) -> int:
    match error:
        case PermanentFailure():
            return ExitCode.PERMANENT_FAILURE
        case TryAgain():
            return ExitCode.TRY_AGAIN
        case Superseded():
            return ExitCode.SUPERSEDED
        case _:
            return CRASHED


def client(service: str, *, read_timeout: float = 10) -> Any:  # noqa: ANN401 - boto3 has it so; the callers name the type
    """A boto3 client with retries, and timeouts short enough for a stop signal. For calls that may be repeated."""
    # SIGKILL follows SIGTERM after 30 s.
    config = Config(connect_timeout=3, read_timeout=read_timeout, retries={"mode": "standard", "total_max_attempts": 5})
    # AWS_REGION is the name that other SDKs and the job definition use; boto3 only reads AWS_DEFAULT_REGION.
    region = os.environ.get("AWS_REGION")
    return boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """Within this block, SIGTERM and SIGINT only set a flag. An exception could interrupt any line, half done."""
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()  # nothing else: logging from here could break another log line

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
