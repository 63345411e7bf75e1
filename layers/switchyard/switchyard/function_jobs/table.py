"""JobsTable as functions use it that do the work of jobs themselves: they begin, keep alive and end jobs.

A comment above each write draws its condition. `jobs` explains the fence.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock, observability
from switchyard.errors import Contended, ForeignRow, JobIdTaken, PermanentError, RetryableError, Unavailable
from switchyard.function_jobs.jobs import (
    GIVEN_UP,
    LONGEST_WAIT,
    Again,
    Failed,
    FunctionJob,
    FunctionRun,
    FunctionVerdict,
    Postponed,
    Stopped,
    Unfinished,
    Values,
    Waiting,
    after_failure,
    judge_message,
)
from switchyard.observability import Metric, logger
from switchyard.protocol.jobs import JobError, Status, WorkRequest
from switchyard.protocol.ports import RACES
from switchyard.tables.items import (
    ATTEMPTS,
    BEGUN_BY,
    CANCEL_REQUESTED_AT,
    CHUNKS,
    CREATED_AT,
    ENDED_AT,
    ERROR,
    FENCE,
    HEARTBEAT_AT,
    JOB_ID,
    KIND,
    MODIFIED,
    OF_AN_END,
    PROGRESS,
    REQUEST,
    RESULT,
    STARTED_AT,
    STATUS,
    TTL,
    UPDATED_AT,
    USER_ID,
    WAITS_UNTIL,
    Item,
    error_value,
    fields,
    job_key,
    moment,
    names_and_values,
    number,
    ours,
    request_attributes,
    text,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class FunctionJobs:
    """JobsTable for the jobs of a function. Most methods make one AWS call; `begin` and the refusals make a few."""

    def __init__(self, client: DynamoDBClient, jobs_table: str, *, keep_ended_jobs: timedelta) -> None:
        self._client = client
        self._table = jobs_table
        self._keep = keep_ended_jobs

    # ---- reading ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> FunctionJob | None:
        """The job as it is now (consistent read).

        Raises:
            ForeignRow: the row is not one that Switchyard writes.
        """
        answer = self._client.get_item(TableName=self._table, Key=job_key(job_id), ConsistentRead=True)
        item = answer.get("Item")
        return _job(item) if item else None

    # ---- beginning --------------------------------------------------------------------------------------------------

    def begin(
        self,
        request: WorkRequest,
        *,
        again: Again = after_failure,
        modified: datetime | None = None,
        continues: int | None = None,
    ) -> FunctionRun | FunctionJob:
        """Claims the right to do the work; returns the job as it is if there is nothing to do.

        `again` says whether work that has ended is done again. `modified` is the input's last modification: newer input
        is new work. `continues` is the envelope's.

        Raises:
            Waiting: the job waits, and this message continues it later.
            JobIdTaken, ForeignRow: the row under the job's id is not this work's.
            Contended: others changed the job at every attempt.
        """
        seen: FunctionJob | None = None
        modified = clock.parse(clock.iso(modified)) if modified else None  # as the table has it
        for _ in range(RACES):
            now, verdict = clock.now(), FunctionVerdict.BEGIN
            if seen is not None:
                _demand_same_work(seen, request)
                by = request.source.message_id
                verdict = judge_message(seen, by, modified, again=again, now=now, continues=continues)
                if verdict not in (FunctionVerdict.BEGIN, FunctionVerdict.TAKE_OVER):
                    return self._leave(seen, verdict)
            begun = self._begin(request, modified, seen, now, is_new=verdict is FunctionVerdict.BEGIN)
            if isinstance(begun, FunctionRun):
                return begun
            seen = begun
        raise Contended(f"job {request.job_id} changed {RACES} times while it was being begun")

    def _leave(self, seen: FunctionJob, verdict: FunctionVerdict) -> FunctionJob:
        if verdict is FunctionVerdict.WAIT and seen.waits_until is not None:
            raise Waiting(run_of(seen), seen.waits_until)
        if verdict is FunctionVerdict.CANCEL:
            self.cancel(seen)
        elif verdict is FunctionVerdict.GIVE_UP:
            error = JobError(GIVEN_UP, f"begun {seen.attempts} times without progress")
            self.fail(run_of(seen), error)
        else:
            return seen
        return self.get(seen.id) or seen

    def _begin(
        self, request: WorkRequest, modified: datetime | None, seen: FunctionJob | None, now: datetime, *, is_new: bool
    ) -> FunctionRun | FunctionJob | None:
        attributes = {
            **request_attributes(request),
            STATUS.name: text(Status.RUNNING),
            FENCE.name: number(seen.fence + 1 if seen else 1),
            ATTEMPTS.name: number(1 if seen is None or is_new else seen.attempts + 1),
            BEGUN_BY.name: text(request.source.message_id),
            **({MODIFIED.name: moment(modified)} if modified else {}),
            HEARTBEAT_AT.name: moment(now),
            UPDATED_AT.name: moment(now),
        }
        # Finished chunks stay: they are of the same input.
        left = (*OF_AN_END, PROGRESS) if is_new else OF_AN_END
        started = ":now" if is_new else f"if_not_exists({STARTED_AT}, :now)"
        condition, values = f"attribute_not_exists({JOB_ID})", {":now": moment(now)}
        if seen is not None:
            condition = f"{STATUS} = :seen_status AND "
            condition += f"{FENCE} = :seen_fence" if seen.fence else f"attribute_not_exists({FENCE})"
            values |= {":seen_status": text(seen.status)} | ({":seen_fence": number(seen.fence)} if seen.fence else {})
        #   nothing there, or status and fence as seen ──▶ RUNNING, fence + 1
        refused = self._update(
            request.job_id,
            f"SET {CREATED_AT} = if_not_exists({CREATED_AT}, :now), {STARTED_AT} = "
            f"{started}, {', '.join(f'#{name} = :new_{name}' for name in attributes)} "
            f"REMOVE {', '.join(map(str, left))}",
            condition,
            {**values, **{f":new_{name}": value for name, value in attributes.items()}},
        )
        return refused.found if isinstance(refused, Refused) else run_of(refused)

    # ---- keeping alive ----------------------------------------------------------------------------------------------

    def beat(self, run: FunctionRun, progress: Values | None = None) -> None:
        """Writes a heartbeat, and the progress if given.

        Raises:
            Stopped: this run must not continue.
        """
        values = {} if progress is None else {":progress": fields(progress)}
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ unchanged
        self._go_on(
            run.job_id,
            run.fence,
            f"SET {HEARTBEAT_AT} = :now, {UPDATED_AT} = :now" + (f", {PROGRESS} = :progress" if values else ""),
            values,
        )

    def _wait(self, run: FunctionRun, why: Postponed) -> None:
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ the same, waiting
        self._go_on(
            run.job_id,
            run.fence,
            f"SET {WAITS_UNTIL} = :until, {PROGRESS} = :progress, {UPDATED_AT} = :now, {ATTEMPTS} = :none",
            {
                ":until": moment(why.until),
                ":progress": fields({**why.progress, "message": str(why), "waitsUntil": clock.iso(why.until)}),
                ":none": number(0),
            },
        )

    def _go_on(self, job_id: str, fence: int, update: str, values: Mapping[str, Any] | None = None) -> FunctionJob:
        changed = self._update(
            job_id,
            update,
            f"{_UNDER_WAY} AND attribute_not_exists({CANCEL_REQUESTED_AT})",
            {":now": moment(clock.now()), **_under_way(fence), **(values or {})},
        )
        if isinstance(changed, FunctionJob):
            return changed
        found = changed.found
        if found is not None and found.fence == fence:
            self.cancel(found)
        raise Stopped(f"job {job_id} is {found.status if found else 'gone'}, or was begun again")

    # ---- ending -----------------------------------------------------------------------------------------------------

    @contextmanager
    def ending(self, run: FunctionRun, *, dead_letter: bool) -> Iterator[None]:
        """Ends the job, or lets it wait, for what the block raises. The intake handles what this raises.

        A PermanentError marks the job FAILED. With `dead_letter`, its message is dead-lettered too. Stopped is logged.

        Raises:
            Failed: PermanentError, with `dead_letter`.
            Waiting: Postponed. The job is marked as waiting.
            Unfinished: RetryableError, ClientError, BotoCoreError; or Postponed, if the job has waited for too long.
        """
        try:
            try:
                yield
            except Postponed as why:
                if run.started_at is None or why.until - run.started_at > LONGEST_WAIT:
                    raise
                self._wait(run, why)
                logger.info("waits", job_id=run.job_id, fence=run.fence, until=clock.iso(why.until), reason=str(why))
                raise Waiting(run, why.until) from why
        except Stopped as stopped:
            logger.info("stopped", job_id=run.job_id, fence=run.fence, reason=str(stopped))
        except PermanentError as error:
            logger.warning("failed", job_id=run.job_id, fence=run.fence, error_type=error.code, reason=str(error))
            if dead_letter:
                raise Failed(run, error) from error
            self.fail(run, JobError(error.code, str(error)))
        except Waiting:
            raise
        except RetryableError as error:
            raise Unfinished(run, error) from error
        except (ClientError, BotoCoreError) as error:
            raise Unfinished(run, Unavailable(f"{type(error).__name__}: {error}")) from error

    def complete(self, run: FunctionRun, result: Values) -> bool:
        """Marks the job COMPLETED. False if it was COMPLETED already.

        Raises:
            Stopped: the job has ended otherwise, or was begun again.
        """
        #   RUNNING, or FAILED as given up; fence = ours ──▶ COMPLETED
        changed = self._update(
            run.job_id,
            f"SET {STATUS} = :to, {RESULT} = :result, {PROGRESS} = :progress, {_AT_THE_END} "
            f"REMOVE {ERROR}, {CHUNKS}, {CANCEL_REQUESTED_AT}",
            _UNDER_WAY,
            {
                ":to": text(Status.COMPLETED),
                ":result": fields(result),
                ":progress": fields({"percent": 100, "message": "done"}),
                **self._at_the_end(clock.now()),
                **_under_way(run.fence),
            },
        )
        if isinstance(changed, FunctionJob):
            return True
        if changed.found and changed.found.status is Status.COMPLETED:
            return False
        raise Stopped(f"job {run.job_id} has ended otherwise, or was begun again")

    def fail(self, run: FunctionRun, error: JobError) -> bool:
        """Marks the job FAILED, or CANCELLED if a cancel was requested. True only if it is FAILED now."""
        #   RUNNING, fence = ours, no cancel ──▶ FAILED
        changed = self._end(
            run.job_id,
            error,
            f"{FENCE} = :fence AND {STATUS} = :running AND attribute_not_exists({CANCEL_REQUESTED_AT})",
            {":fence": number(run.fence), ":running": text(Status.RUNNING)},
        )
        if not changed:
            self._cancel(run.job_id, run.fence)
        return changed

    def void(self, job_id: str, error: JobError) -> bool:
        """Marks a job FAILED because its input is gone or replaced. False if it has ended or doesn't exist."""
        #   PENDING | RUNNING ──▶ FAILED
        return self._end(
            job_id,
            error,
            f"{STATUS} IN (:pending, :running)",
            {":pending": text(Status.PENDING), ":running": text(Status.RUNNING)},
        )

    def cancel(self, found: FunctionJob) -> None:
        """Marks a job CANCELLED, if a cancel was requested and the job was not begun since it was found."""
        if found.cancel_requested:
            self._cancel(found.id, found.fence)

    def _end(self, job_id: str, error: JobError, condition: str, values: Mapping[str, Any]) -> bool:
        changed = self._update(
            job_id,
            f"SET {STATUS} = :to, {ERROR} = :error, {_AT_THE_END} REMOVE {WAITS_UNTIL}",
            condition,
            {":to": text(Status.FAILED), ":error": error_value(error), **self._at_the_end(clock.now()), **values},
        )
        if isinstance(changed, Refused):
            return False
        observability.count(Metric.FAILED)
        return True

    def _cancel(self, job_id: str, fence: int) -> None:
        #   RUNNING, fence = ours, cancel requested ──▶ CANCELLED
        self._update(
            job_id,
            f"SET {STATUS} = :to, {_AT_THE_END} REMOVE {WAITS_UNTIL}",
            f"{FENCE} = :fence AND {STATUS} = :running AND attribute_exists({CANCEL_REQUESTED_AT})",
            {
                ":to": text(Status.CANCELLED),
                ":fence": number(fence),
                ":running": text(Status.RUNNING),
                **self._at_the_end(clock.now()),
            },
        )

    def _at_the_end(self, now: datetime) -> dict[str, Any]:
        return {":now": moment(now), ":ttl": number(int((now + self._keep).timestamp()))}

    def _update(self, job_id: str, update: str, condition: str, values: Mapping[str, Any]) -> FunctionJob | Refused:
        """Sends one UpdateItem. Returns the job after it, or the job that the condition refused."""
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=job_key(job_id),
                UpdateExpression=update,
                ConditionExpression=condition,
                ReturnValues="ALL_NEW",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **names_and_values(f"{update} {condition}", dict(values)),
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            item = cast("dict[str, Any]", error.response).get("Item")
            return Refused(_job(item) if item else None)
        return _job(answer["Attributes"])


@dataclass(frozen=True, slots=True)
class Refused:
    """The condition did not hold; `found` is the job as it is, or None if there is none."""

    found: FunctionJob | None


_AT_THE_END = f"{ENDED_AT} = :now, {UPDATED_AT} = :now, {TTL} = :ttl"
_UNDER_WAY = f"{FENCE} = :fence AND ({STATUS} = :running OR ({STATUS} = :failed AND {ERROR}.#code = :given_up))"


def _under_way(fence: int) -> dict[str, Any]:
    return {
        ":fence": number(fence),
        ":running": text(Status.RUNNING),
        ":failed": text(Status.FAILED),
        ":given_up": text(GIVEN_UP),
    }


def run_of(job: FunctionJob) -> FunctionRun:
    """The run that has just begun or joined a job."""
    return FunctionRun(job.id, job.fence, job.begun_by, job.started_at, job.user_id, job.chunks)


def _demand_same_work(seen: FunctionJob, wanted: WorkRequest) -> None:
    """Refuses a row whose id somebody else chose. The ids are easily computed."""
    if seen.kind not in (None, wanted.kind):
        raise JobIdTaken(f"job {seen.id} is of another kind")
    if seen.user_id and wanted.user_id and seen.user_id != wanted.user_id:
        raise JobIdTaken(f"job {seen.id} is another user's")


def _job(item: Item) -> FunctionJob:
    """Reads a row.

    Raises:
        ForeignRow: the row is not one that Switchyard writes. It is logged and counted.
    """
    try:
        with ours(item):
            job = _read(item)
            if job.request is not None and job.request.job_id != job.id:
                raise ValueError("the request is another job's")
    except ForeignRow as error:
        observability.count(Metric.FOREIGN_ROWS)
        logger.warning("a row is not ours: left alone", reason=str(error))
        raise
    return job


def _read(item: Item) -> FunctionJob:
    return FunctionJob(
        id=JOB_ID.required(item),
        kind=KIND.of(item),
        status=Status(STATUS.required(item)),
        fence=FENCE.of(item) or 0,
        attempts=ATTEMPTS.of(item) or 0,
        begun_by=BEGUN_BY.of(item),
        modified=MODIFIED.of(item),
        alive_at=HEARTBEAT_AT.of(item) or CREATED_AT.of(item),
        cancel_requested=CANCEL_REQUESTED_AT.name in item,
        chunks=CHUNKS.of(item) or frozenset(),
        user_id=USER_ID.of(item),
        request=REQUEST.of(item),
        error=ERROR.of(item),
        result=RESULT.of(item) or {},
        started_at=STARTED_AT.of(item),
        waits_until=WAITS_UNTIL.of(item),
        ended_at=ENDED_AT.of(item),
    )
