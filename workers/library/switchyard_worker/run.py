"""The worker's side of the contract between Switchyard and a job: workers/CONTRACT.md, as a library.

    sys.exit(run(main))

`run` checks the fence, keeps the heartbeat, turns SIGTERM into a flag, calls `main(job)` and records what it
returns. A worker image holds only boto3 and this module, so it imports nothing else: neither Powertools nor the
layer's own `settings` and `clients`, which belong to the functions.

Every write is one UpdateItem that may be sent twice: each sets the same values under the same condition, so a
timeout that hid a success does no harm, and boto3 may retry as it likes.
"""

import faulthandler
import json
import logging
import math
import mimetypes
import os
import re
import signal
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from http.client import HTTPException
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Self

import boto3
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, ConnectionClosedError

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger("switchyard_worker.run")

HEARTBEAT_SECONDS = 10.0
"""How often a run says that it is alive, when nothing else makes it write."""
PROGRESS_SECONDS = 2.0
"""How often progress is looked at: the shortest time between two writes of it."""
WHOLE_ANSWER_ATTEMPTS = 3
"""How often a write is sent whose answers are cut off. boto3 sees to whatever else can be tried again."""
HANG_SECONDS = 300.0
"""How long the heartbeat may be kept from its turn, by code that doesn't let go of the interpreter."""
METADATA_ATTEMPTS = 4
"""How often ECS is asked which task this is, over about 1.5 s."""
ERROR_LIMIT = 1000
"""Characters of an error's message that are kept in the table."""

AWS_ERRORS = (BotoCoreError, ClientError)
"""What boto3 raises once its own retries are used up."""

CRASHED = 1
"""The exit code of a bug: as for any code not in `ExitCode`, the job's retry strategy decides what follows."""


class ExitCode(IntEnum):
    """What a worker tells its target by how it ends; on Batch the job definition's retry strategy acts on it."""

    SUCCESS = 0
    PERMANENT_FAILURE = 65
    TRY_AGAIN = 75
    SUPERSEDED = 77


class WorkerError(Exception):
    """A known way for a run to end without success.

    Args:
        code: stable and short, for programs: `SOURCE_MISSING`.
        message: a sentence for people. It is shown to callers of the API: no secrets, no traceback.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class PermanentFailure(WorkerError):
    """The input is bad: no retry can help."""


class TryAgain(WorkerError):
    """Something that may be better in a minute: another attempt is wanted."""


class Stopped(TryAgain):
    """The run has to end (spot reclaim, cancel, a person): there is half a minute to leave in."""

    def __init__(self) -> None:
        super().__init__("STOPPED", "the worker was asked to stop")


class Superseded(WorkerError):
    """Another run has the right to do this job, or nobody has any more: leave without touching anything."""

    def __init__(self) -> None:
        super().__init__("SUPERSEDED", "the job's record says that this run isn't the one")


class BadEnvironment(PermanentFailure):
    """Environment variables are missing or bad; the message names all of them at once."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("BAD_ENVIRONMENT", "bad environment: " + "; ".join(problems))
        self.problems = problems


# ---- the environment -------------------------------------------------------------------------------------------------

_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True)
class WorkerEnvironment:
    """What a worker is told by the dispatcher, its definition and its target. See workers/CONTRACT.md.

    `run_id` is Batch's id of the job, or the ARN of the ECS task. `video_id` and `key` are empty where the job isn't
    about an object in S3.
    """

    job_id: str
    jobs_table: str
    fence: int
    run_id: str
    attempt: int
    video_id: str
    bucket: str
    key: str
    version_id: str | None
    results_bucket: str
    results_prefix: str

    @classmethod
    def from_env(
        cls, variables: Mapping[str, str] | None = None, *, needs: Collection[str] = (), results: str = "results"
    ) -> Self:
        """Read it from `os.environ`, or from `variables`. An empty variable counts as a missing one.

        Args:
            variables: instead of `os.environ`.
            needs: variables that this worker can't do without, and others can: `VIDEO_ID`, `S3_KEY`.
            results: where this worker's results go unless `RESULTS_PREFIX` says otherwise.

        Raises:
            BadEnvironment: naming everything that is missing or bad, not just the first.
            TryAgain: ECS doesn't tell which task this is.
        """
        variables = os.environ if variables is None else variables
        given = {name: value for name, value in variables.items() if value}
        problems: list[str] = []

        def required(name: str, pattern: str = ".+", default: str = "") -> str:
            value = given.get(name, default)
            if not value:
                problems.append(f"{name} is missing")
            elif not re.fullmatch(pattern, value, re.DOTALL):
                problems.append(f"{name} is {value[:40]!r}, which doesn't match {pattern}")
            return value

        number = "[1-9][0-9]{0,14}"
        job_id = required("JOB_ID", _JOB_ID.pattern)
        jobs_table = required("JOBS_TABLE")
        fence = required("FENCE", number)
        run_id = given.get("AWS_BATCH_JOB_ID", "")
        metadata = given.get("ECS_CONTAINER_METADATA_URI_V4", "")
        if not run_id and not re.fullmatch("https?://.+", metadata):
            problems.append("AWS_BATCH_JOB_ID is missing, and so is ECS_CONTAINER_METADATA_URI_V4")
        attempt = required("AWS_BATCH_JOB_ATTEMPT", number, default="1")
        bucket = required("S3_BUCKET")
        for name in needs:
            required(name)
        if problems:
            raise BadEnvironment(problems)
        return cls(
            job_id=job_id,
            jobs_table=jobs_table,
            fence=int(fence),
            run_id=run_id or _task_arn(metadata),
            attempt=int(attempt),
            video_id=given.get("VIDEO_ID", ""),
            bucket=bucket,
            key=given.get("S3_KEY", ""),
            version_id=given.get("S3_VERSION_ID"),
            results_bucket=given.get("RESULTS_BUCKET", bucket),
            results_prefix=f"{given.get('RESULTS_PREFIX', results).strip('/')}/{job_id}/",
        )


def _task_arn(metadata_uri: str) -> str:
    """The ARN of the ECS task this is, from its metadata endpoint (Amazon ECS developer guide, version 4)."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # it is link-local: no proxy knows it
    for attempt in range(METADATA_ATTEMPTS):
        time.sleep(0.2 * 2**attempt if attempt else 0)
        try:
            with direct.open(f"{metadata_uri}/task", timeout=2) as answer:
                return str(json.load(answer)["TaskARN"])
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            log.warning("ECS's metadata could not be read: %r", error)
    raise TryAgain("NO_RUN_ID", "ECS did not tell the worker which task it is")


# ---- the job's record ------------------------------------------------------------------------------------------------


class Record:
    """The job's item in JobsTable, as far as a worker may touch it.

    A worker never writes a terminal status: the platform does, in the transaction that also frees the job's slot.
    """

    def __init__(self, dynamodb: "DynamoDBClient", environment: WorkerEnvironment) -> None:
        self._dynamodb = dynamodb
        self._environment = environment
        self.input: Mapping[str, Any] = {}

    def start(self) -> bool:
        """The fence check; it also brings the job's `input`.

        True where an earlier attempt of this same run has recorded its whole result already.

        Raises:
            Superseded: this run may not do the job.
        """
        # claim N written ──► SubmitJob ──► this run starts ────────► fence is N, nobody has started: ours
        #                 └─► SubmitJob again (a timeout hid the first) ► runId is the other run's: superseded
        # claim N+1 written meanwhile (adopted, uploaded anew) ────────► fence isn't N: superseded
        # cancelled, or ended meanwhile ───────────────────────────────► status isn't an active one: superseded
        # its cancel was asked for, and it can't be told from one that runs ► cancelRequestedAt is there: superseded
        # a retried attempt of this run has the same Batch job id ─────► runId is ours: carry on
        item = self._update(
            condition="fence = :fence AND (attribute_not_exists(runId) OR runId = :runId)"
            " AND #status IN (:claimed, :submitted, :running) AND attribute_not_exists(cancelRequestedAt)",
            update="SET runId = :runId, targetId = :runId, #status = :running,"
            " startedAt = if_not_exists(startedAt, :now), heartbeatAt = :now, updatedAt = :now REMOVE #error",
            values={":claimed": "CLAIMED", ":submitted": "SUBMITTED", ":running": "RUNNING"},
        )
        self.input = json.loads(item.get("request", "{}")).get("input") or {}
        result = item.get("result")
        return (
            isinstance(result, dict) and result.get("runId") == self._environment.run_id and not result.get("partial")
        )

    def beat(self, progress: Mapping[str, Any]) -> bool:
        """Say that the run is alive, and how far it has come. False where the job's cancel has been asked for."""
        item = self._write("SET #progress = :progress, heartbeatAt = :now, updatedAt = :now", {":progress": progress})
        return "cancelRequestedAt" not in item

    def finish(self, result: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
        """Record the result, whole or partial; whole, it is the last write of a run that succeeded."""
        self._write(
            "SET #result = :result, #progress = :progress, heartbeatAt = :now, updatedAt = :now REMOVE #error",
            {":result": result, ":progress": progress},
        )

    def fail(self, code: str, message: str) -> None:
        """Record why this attempt failed."""
        error = {"code": code, "message": _readable(message)}
        self._write("SET #error = :error, heartbeatAt = :now, updatedAt = :now", {":error": error})

    def _write(self, update: str, values: Mapping[str, Any]) -> dict[str, Any]:
        # The item may have been claimed anew, or deleted by its TTL: it may neither be overwritten nor come back.
        return self._update("fence = :fence AND runId = :runId", update, values)

    def _update(self, condition: str, update: str, values: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        given = {":fence": self._environment.fence, ":runId": self._environment.run_id, ":now": now, **values}
        aliases = re.findall(r"#\w+", condition + update)  # `#name` is `name`, where that is a reserved word
        serialize, deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize
        call: dict[str, Any] = {
            "TableName": self._environment.jobs_table,
            "Key": {"jobId": {"S": self._environment.job_id}},
            "ConditionExpression": condition,
            "UpdateExpression": update,
            "ExpressionAttributeNames": {alias: alias.removeprefix("#") for alias in aliases},
            "ExpressionAttributeValues": {name: serialize(_exact(value)) for name, value in given.items()},
            "ReturnValues": "ALL_NEW",
        }
        for _ in range(WHOLE_ANSWER_ATTEMPTS):
            try:
                answer = self._dynamodb.update_item(**call)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                    raise Superseded from error
                raise
            # boto3 gives out an answer that was cut off as one that holds nothing.
            if "Attributes" in answer:
                return {name: deserialize(value) for name, value in answer["Attributes"].items()}
        raise ConnectionClosedError(endpoint_url="DynamoDB")


def _exact(value: object) -> object:
    """JSON-shaped data as DynamoDB takes it: it refuses floats."""
    return json.loads(json.dumps(value), parse_float=Decimal)


def _readable(message: str) -> str:
    """One line, printable, of at most `ERROR_LIMIT` characters."""
    line = "".join(character if character.isprintable() else " " for character in message)
    line = " ".join(line.split())
    return line if len(line) <= ERROR_LIMIT else line[: ERROR_LIMIT - 1] + "…"


# ---- the run ---------------------------------------------------------------------------------------------------------


class _Heartbeat(threading.Thread):
    """Writes `heartbeatAt` and the newest progress from the side, so that neither ever slows the work down."""

    def __init__(self, record: Record, stop: threading.Event) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._record = record
        self._stop_wanted = stop
        self._ended = threading.Event()
        self.progress: dict[str, Any] = {"percent": 0, "message": "starting"}
        self.superseded = threading.Event()

    def run(self) -> None:
        written, due = None, 0.0
        self._live_on()
        while not self._ended.wait(PROGRESS_SECONDS):
            self._live_on()
            progress = self.progress
            if progress is written and time.monotonic() < due:
                continue
            # Before the write, so that a failed one is tried again at the next beat and not every moment.
            written, due = progress, time.monotonic() + HEARTBEAT_SECONDS
            try:
                if not self._record.beat(progress):
                    self._stop_wanted.set()  # SIGTERM should have come, but the call that sends it can get lost
            except Superseded:
                self.superseded.set()
                return
            except AWS_ERRORS as error:
                log.warning("heartbeat not written: %s", error)

    def end(self) -> None:
        """No beat is under way once this returns, so none can come after the run's last write."""
        self._ended.set()
        self.join()
        faulthandler.cancel_dump_traceback_later()

    def _live_on(self) -> None:
        """Put off the end of the process, which comes where this thread isn't let near: then no signal is seen either.

        What ends it needs no interpreter. It says where the work hangs, and the exit code is `CRASHED`.
        """
        faulthandler.dump_traceback_later(HANG_SECONDS, exit=True, file=2)  # 2: stderr, whatever became of its name


class Run:
    """What `main` gets: the job's environment, and the ways to report and to save."""

    def __init__(self, environment: WorkerEnvironment, record: Record, s3: "S3Client", stop: threading.Event) -> None:
        self.environment = environment
        self.s3 = s3
        self.files: list[str] = []
        self._record = record
        self._stop = stop
        self._heartbeat = _Heartbeat(record, stop)

    @property
    def input(self) -> Mapping[str, Any]:
        """What the job is about, as its request has it: JSON-shaped, checked by nobody for this worker's purposes."""
        return self._record.input

    def checkpoint(self) -> None:
        """Call it at least every second or two, wherever it is safe to leave.

        Raises:
            Superseded: another run has taken over.
            Stopped: SIGTERM or SIGINT came, or the job is being cancelled.
        """
        if self._heartbeat.superseded.is_set():
            raise Superseded
        if self._stop.is_set():
            raise Stopped

    def progress(self, percent: float, message: str, **facts: float) -> None:
        """Say how far the work is; also a checkpoint, and as cheap as one: only the newest is written, at times.

        Args:
            percent: 0 to 100.
            message: for people, one line.
            facts: further numbers for programs, such as `bytes`.
        """
        whole = math.floor(min(max(percent, 0), 100))
        self._heartbeat.progress = {"percent": whole, "message": _readable(message)[:200], **facts}
        self.checkpoint()

    def confirm(self) -> None:
        """Ask the record, now, whether this run still has the job: before the first file of a run is written.

        A run that was frozen for minutes must not put its files over those of the run that replaced it.

        Raises:
            Superseded: it hasn't.
        """
        self._record.beat(self._heartbeat.progress)

    def key(self, name: str) -> str:
        """The object key of the result file `name`."""
        return self.environment.results_prefix + name

    def save(self, name: str, body: bytes | Path) -> None:
        """Upload one result file. Its key is the same in every run of the job, so doing it again does no harm.

        Raises:
            ValueError: `name` isn't a plain relative name.
            Superseded, Stopped: as `checkpoint`.
        """
        if not re.fullmatch(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
            raise ValueError(f"not a plain file name: {name!r}")
        self.checkpoint()
        if not self.files:
            self.confirm()
        with BytesIO(body) if isinstance(body, bytes) else body.open("rb") as stream:
            self.s3.upload_fileobj(
                stream, self.environment.results_bucket, self.key(name), {"ContentType": content_type(name)}
            )
        if name not in self.files:
            self.files.append(name)

    def keep(self, headline: Mapping[str, Any]) -> None:
        """Record what is of use already, should the run not get to its end: the job's result, with `partial` set.

        It may be called as often as there is something new, and when `checkpoint` has raised `Stopped`. A write that
        fails is logged and forgotten, as a heartbeat is.

        Raises:
            Superseded: as `checkpoint`.
        """
        try:
            self._record.finish(self._result({**headline, "partial": True}), self._heartbeat.progress)
        except AWS_ERRORS as error:
            log.warning("what there is could not be recorded: %s", error)

    def perform(self, main: "Main") -> None:
        """An attempt that has passed the fence check: the work with a heartbeat beside it, then the result."""
        self._heartbeat.start()
        try:
            headline = main(self)
        finally:
            self._heartbeat.end()
        if self._heartbeat.superseded.is_set():
            raise Superseded
        self._record.finish(self._result(headline), {"percent": 100, "message": "done"})

    def leave_word(self, error: WorkerError) -> None:
        """Record why the attempt failed or, where it was only stopped, how far it came."""
        if isinstance(error, Stopped):
            self._record.beat(self._heartbeat.progress)
        else:
            self._record.fail(error.code, error.message)

    def _result(self, headline: Mapping[str, Any]) -> dict[str, Any]:
        given = self.environment
        return {**headline, "prefix": given.results_prefix, "files": self.files, "runId": given.run_id}


type Main = Callable[[Run], Mapping[str, Any]]
"""A worker's own code: does the job, saves its files, returns a few headline facts (JSON-shaped, small)."""

_CONTENT_TYPES = {
    # Said here where the machine's own tables differ or are missing.
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".jpg": "image/jpeg",
    ".vtt": "text/vtt; charset=utf-8",
    ".ts": "video/mp2t",
    ".mkv": "video/x-matroska",
}


def content_type(name: str) -> str:
    """The media type a result file is served as."""
    return _CONTENT_TYPES.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0] or "application/octet-stream"


def run(
    main: Main,
    *,
    needs: Collection[str] = (),
    results: str = "results",
    variables: Mapping[str, str] | None = None,
    dynamodb: "DynamoDBClient | None" = None,
    s3: "S3Client | None" = None,
) -> int:
    """Do one attempt of the job that the environment describes, from fence check to exit code.

    Args:
        main: the worker's own code. It may raise `PermanentFailure` and `TryAgain`; an error of boto3 that it lets
            through counts as `TryAgain`, any other as a crash.
        needs: as `WorkerEnvironment.from_env`.
        results: as `needs`.
        variables: instead of `os.environ`.
        dynamodb: instead of a client of its own.
        s3: as `dynamodb`.

    Returns:
        The process's exit code: an `ExitCode`, or `CRASHED`.
    """
    context: dict[str, object] = {}
    with _json_logs(context), _stop_signals() as stop:
        try:
            environment = WorkerEnvironment.from_env(variables, needs=needs, results=results)
        except WorkerError as error:
            log.error("%s", error.message)  # noqa: TRY400 - a sentence, not a bug: no traceback
            return _exit_code(error)
        context |= {"jobId": environment.job_id, "fence": environment.fence, "attempt": environment.attempt}
        record = Record(dynamodb or _client("dynamodb"), environment)
        job = Run(environment, record, s3 or _client("s3"), stop)
        code = _attempt(main, job, record)
        log.info("exit", extra={"fields": {"exitCode": int(code)}})
        return code


def _attempt(main: Main, job: Run, record: Record) -> int:
    if (ended := _ended_at_start(record)) is not None:
        return ended
    video = {"videoId": job.environment.video_id} if job.environment.video_id else {}
    log.info("started", extra={"fields": {"runId": job.environment.run_id, **video}})
    try:
        job.perform(main)
    except WorkerError as error:
        return _leave(job, error)
    except AWS_ERRORS as error:
        return _leave(job, TryAgain("AWS_ERROR", f"AWS did not answer as it should: {error}"))
    except Exception as error:
        log.exception("the worker crashed")
        name = type(error).__name__
        return _leave(job, WorkerError("CRASHED", f"the worker crashed ({name}); its log says where"))
    return ExitCode.SUCCESS


def _ended_at_start(record: Record) -> ExitCode | None:
    """The fence check; None means: go. A run that doesn't pass it leaves no word in the record, it isn't its own."""
    try:
        done = record.start()
    except Superseded as error:
        log.warning("%s", error.message)
        return ExitCode.SUPERSEDED
    except AWS_ERRORS as error:
        log.warning("the fence check could not be made: %s", error)
        return ExitCode.TRY_AGAIN
    if done:
        log.info("an earlier attempt of this run has recorded the result")
        return ExitCode.SUCCESS
    return None


def _leave(job: Run, error: WorkerError) -> int:
    """End an attempt that did not succeed: leave word of it, choose the exit code."""
    log.warning("%s: %s", error.code, error.message)
    if not isinstance(error, Superseded):
        try:
            job.leave_word(error)
        except Superseded as superseded:
            error = superseded
        except AWS_ERRORS as problem:
            # The exit code alone still says enough to the platform, and the log has said the rest.
            log.warning("the reason could not be recorded: %s", problem)
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


def _client(service: str) -> Any:  # noqa: ANN401 - boto3's own signature; the callers name the type
    # Retries are on because every call here may be repeated; short, because after SIGTERM there are 30 s in all.
    config = Config(connect_timeout=3, read_timeout=10, retries={"mode": "standard", "total_max_attempts": 5})
    # Spelled as every other SDK has it; boto3 itself only looks for AWS_DEFAULT_REGION.
    region = os.environ.get("AWS_REGION")
    return boto3.client(service, region_name=region, config=config)  # type: ignore[call-overload]


@contextmanager
def _stop_signals() -> Iterator[threading.Event]:
    """SIGTERM and SIGINT only raise a flag while this lasts: an exception from nowhere leaves things half done."""
    stop = threading.Event()

    def asked(_number: int, _frame: FrameType | None) -> None:
        stop.set()  # and no more: a log line from here could land inside another one

    before = {number: signal.signal(number, asked) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _JsonLines(logging.Formatter):
    """A line of JSON a record. None has a `status` at the top: the local emulator takes such a line for its own."""

    def __init__(self, context: Mapping[str, object]) -> None:
        super().__init__()
        self._context = context

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "message": record.getMessage(),
            **self._context,
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


@contextmanager
def _json_logs(context: Mapping[str, object]) -> Iterator[None]:
    """Everything logged while this lasts goes to stdout, which Batch and ECS send to CloudWatch Logs."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_JsonLines(context))
    for chatty in ("boto3", "botocore", "s3transfer", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    root = logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.setLevel(before)
        root.removeHandler(handler)
