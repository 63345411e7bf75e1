"""Torrents' jobs in JobsTable: s3_torrent_creator itself begins, keeps alive and ends them, by conditional writes.

A comment above each write draws its condition. `jobs` explains the fence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock, observability
from switchyard.errors import Contended, ForeignRow, JobIdTaken
from switchyard.observability import Metric, logger
from switchyard.protocol.jobs import JobError, Status, WorkRequest
from switchyard.protocol.ports import RACES
from switchyard.tables.items import (
    ATTEMPTS,
    BEGUN_BY,
    CANCEL_REQUESTED_AT,
    CANCELLED_BY,
    CHUNKS,
    CREATED_AT,
    ENDED_AT,
    ERROR,
    FENCE,
    HEARTBEAT_AT,
    JOB_ID,
    KIND,
    MODIFIED,
    PROGRESS,
    REQUEST,
    RESULT,
    STARTED_AT,
    STATUS,
    TTL,
    UPDATED_AT,
    USER_ID,
    Item,
    Value,
    error_value,
    fields,
    job_key,
    members,
    moment,
    names_and_values,
    number,
    ours,
    request_attributes,
    text,
)
from switchyard.torrents.format.layout import ObjectVersion
from switchyard.torrents.jobs import GIVEN_UP, Stopped, TorrentJob, TorrentRun, TorrentVerdict, judge_torrent

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


class TorrentJobs:
    """JobsTable as s3_torrent_creator uses it. Most methods make one AWS call; `begin` and the refusals make a few."""

    def __init__(self, client: DynamoDBClient, jobs_table: str, *, keep_ended_jobs: timedelta) -> None:
        self._client = client
        self._table = jobs_table
        self._keep = keep_ended_jobs

    # ---- reading ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> TorrentJob | None:
        """The job as it is now (consistent read).

        Raises:
            ForeignRow: the row is not one that Switchyard writes.
        """
        answer = self._client.get_item(TableName=self._table, Key=job_key(job_id), ConsistentRead=True)
        item = answer.get("Item")
        return _job(item) if item else None

    # ---- beginning --------------------------------------------------------------------------------------------------

    def begin(self, request: WorkRequest, thing: ObjectVersion, *, again: bool) -> TorrentRun | TorrentJob:
        """Claims the right to make a torrent; returns the job as it is if there is nothing to do.

        Raises:
            JobIdTaken, ForeignRow: the row under the job's id is not this torrent's.
            Contended: others changed the job at every attempt.
        """
        seen: TorrentJob | None = None
        for _ in range(RACES):
            now, verdict = clock.now(), TorrentVerdict.BEGIN
            if seen is not None:
                _demand_same_work(seen, request)
                verdict = judge_torrent(seen, request.source.message_id, _as_kept(thing.modified), again=again, now=now)
                if verdict not in (TorrentVerdict.BEGIN, TorrentVerdict.TAKE_OVER):
                    return self._leave(seen, verdict)
            begun = self._begin(request, thing, seen, now, is_new=verdict is TorrentVerdict.BEGIN)
            if isinstance(begun, TorrentRun):
                return begun
            seen = begun
        raise Contended(f"job {request.job_id} changed {RACES} times while it was being begun")

    def _leave(self, seen: TorrentJob, verdict: TorrentVerdict) -> TorrentJob:
        if verdict is TorrentVerdict.CANCEL:
            self._cancel(seen.id, seen.fence)
        elif verdict is TorrentVerdict.GIVE_UP:
            error = JobError(GIVEN_UP, f"begun {seen.attempts} times without progress")
            self.fail(TorrentRun(seen.id, seen.fence), error)
        else:
            return seen
        return self.get(seen.id) or seen

    def _begin(
        self, request: WorkRequest, thing: ObjectVersion, seen: TorrentJob | None, now: datetime, *, is_new: bool
    ) -> TorrentRun | TorrentJob | None:
        attributes = {
            **request_attributes(request),
            STATUS.name: text(Status.RUNNING),
            FENCE.name: number(seen.fence + 1 if seen else 1),
            ATTEMPTS.name: number(1 if seen is None or is_new else seen.attempts + 1),
            BEGUN_BY.name: text(request.source.message_id),
            MODIFIED.name: moment(thing.modified),
            HEARTBEAT_AT.name: moment(now),
            UPDATED_AT.name: moment(now),
        }
        # Hashed chunks stay: they are of the same bytes.
        left = f"{RESULT}, {ERROR}, {ENDED_AT}, {TTL}, {CANCEL_REQUESTED_AT}, {CANCELLED_BY}" + (
            f", {PROGRESS}" if is_new else ""
        )
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
            f"REMOVE {left}",
            condition,
            {**values, **{f":new_{name}": value for name, value in attributes.items()}},
        )
        if isinstance(refused, _Refused):
            return refused.found
        return TorrentRun(refused.id, refused.fence, refused.chunks, refused.user_id)

    # ---- keeping alive ----------------------------------------------------------------------------------------------

    def join(self, job_id: str, fence: int) -> TorrentRun:
        """Joins a run of a job to hash a segment. A job that was given up is RUNNING again.

        Raises:
            Stopped: this run must not continue.
        """
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ RUNNING
        found = self._go_on(
            job_id,
            fence,
            f"SET {STATUS} = :running, {HEARTBEAT_AT} = :now, {UPDATED_AT} = :now REMOVE {ERROR}, {ENDED_AT}, {TTL}",
        )
        return TorrentRun(job_id, fence, found.chunks, found.user_id)

    def beat(self, run: TorrentRun, percent: int | None = None) -> None:
        """Writes a heartbeat, and the progress if given.

        Raises:
            Stopped: this run must not continue.
        """
        progress = "" if percent is None else f", {PROGRESS} = :progress"
        values = {} if percent is None else {":progress": _progress(percent)}
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ unchanged
        self._go_on(run.job_id, run.fence, f"SET {HEARTBEAT_AT} = :now, {UPDATED_AT} = :now{progress}", values)

    def add_chunk(self, run: TorrentRun, name: str) -> frozenset[str]:
        """Records a hashed chunk; returns the names of all chunks, whoever hashed them.

        Raises:
            Stopped: this run must not continue.
        """
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ with one chunk more
        found = self._go_on(
            run.job_id,
            run.fence,
            f"SET {HEARTBEAT_AT} = :now, {UPDATED_AT} = :now, {ATTEMPTS} = :one ADD {CHUNKS} :name",
            {":one": number(1), ":name": members(name)},
        )
        return found.chunks

    def lose_chunks(self, run: TorrentRun, names: list[str]) -> None:
        """Removes chunks whose objects were lost."""
        #   fence = ours ──▶ without these chunks
        self._update(
            run.job_id,
            f"SET {UPDATED_AT} = :now DELETE {CHUNKS} :names",
            f"{FENCE} = :fence",
            {":now": moment(clock.now()), ":fence": number(run.fence), ":names": members(*names)},
        )

    def advance(self, run: TorrentRun, percent: int) -> None:
        """Writes the progress of all segments together; it never decreases."""
        #   RUNNING, fence = ours, less progress ──▶ with more progress
        self._update(
            run.job_id,
            f"SET {PROGRESS} = :progress",
            f"{FENCE} = :fence AND {STATUS} = :running AND "
            f"(attribute_not_exists({PROGRESS}) OR {PROGRESS}.#percent < :percent)",
            {
                ":progress": _progress(percent),
                ":percent": number(percent),
                ":fence": number(run.fence),
                ":running": text(Status.RUNNING),
            },
        )

    def _go_on(self, job_id: str, fence: int, update: str, values: Mapping[str, Any] | None = None) -> TorrentJob:
        changed = self._update(
            job_id,
            update,
            f"{_UNDER_WAY} AND attribute_not_exists({CANCEL_REQUESTED_AT})",
            {":now": moment(clock.now()), **_under_way(fence), **(values or {})},
        )
        if isinstance(changed, TorrentJob):
            return changed
        found = changed.found
        if found is not None and found.fence == fence and found.cancel_requested:
            self._cancel(job_id, fence)
        raise Stopped(f"job {job_id} is {found.status if found else 'gone'}, or was begun again")

    # ---- ending -----------------------------------------------------------------------------------------------------

    def complete(self, run: TorrentRun, result: Mapping[str, str | int]) -> bool:
        """Marks the job COMPLETED, once its torrent is published. False if it was COMPLETED already.

        Raises:
            Stopped: the job has ended otherwise, or was begun again.
        """
        now = clock.now()
        #   RUNNING, or FAILED as given up; fence = ours ──▶ COMPLETED
        changed = self._update(
            run.job_id,
            f"SET {STATUS} = :to, {RESULT} = :result, {PROGRESS} = :progress, {ENDED_AT} = :now, {UPDATED_AT} = :now, "
            f"{TTL} = :ttl REMOVE {ERROR}, {CHUNKS}, {CANCEL_REQUESTED_AT}",
            _UNDER_WAY,
            {
                ":to": text(Status.COMPLETED),
                ":result": fields(result),
                ":progress": _progress(100),
                **self._at_the_end(now),
                **_under_way(run.fence),
            },
        )
        if isinstance(changed, TorrentJob):
            return True
        if changed.found and changed.found.status is Status.COMPLETED:
            return False
        raise Stopped(f"job {run.job_id} has ended otherwise, or was begun again")

    def fail(self, run: TorrentRun, error: JobError) -> bool:
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
        """Marks a job FAILED because its object is gone or replaced. False if it has ended or doesn't exist."""
        #   PENDING | RUNNING ──▶ FAILED
        return self._end(
            job_id,
            error,
            f"{STATUS} IN (:pending, :running)",
            {":pending": text(Status.PENDING), ":running": text(Status.RUNNING)},
        )

    def _end(self, job_id: str, error: JobError, condition: str, values: Mapping[str, Any]) -> bool:
        changed = self._update(
            job_id,
            f"SET {STATUS} = :to, {ERROR} = :error, {ENDED_AT} = :now, {UPDATED_AT} = :now, {TTL} = :ttl",
            condition,
            {":to": text(Status.FAILED), ":error": error_value(error), **self._at_the_end(clock.now()), **values},
        )
        return isinstance(changed, TorrentJob)

    def _cancel(self, job_id: str, fence: int) -> None:
        #   RUNNING, fence = ours, cancel requested ──▶ CANCELLED
        self._update(
            job_id,
            f"SET {STATUS} = :to, {ENDED_AT} = :now, {UPDATED_AT} = :now, {TTL} = :ttl",
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

    def _update(self, job_id: str, update: str, condition: str, values: Mapping[str, Any]) -> TorrentJob | _Refused:
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
            return _Refused(_job(item) if item else None)
        return _job(answer["Attributes"])


@dataclass(frozen=True, slots=True)
class _Refused:
    """The condition did not hold; `found` is the job as it is, or None if there is none."""

    found: TorrentJob | None


_UNDER_WAY = f"{FENCE} = :fence AND ({STATUS} = :running OR ({STATUS} = :failed AND {ERROR}.#code = :given_up))"


def _under_way(fence: int) -> dict[str, Any]:
    return {
        ":fence": number(fence),
        ":running": text(Status.RUNNING),
        ":failed": text(Status.FAILED),
        ":given_up": text(GIVEN_UP),
    }


def _progress(percent: int) -> Value:
    return fields({"percent": percent, "message": "hashing" if percent < 100 else "done"})


def _demand_same_work(seen: TorrentJob, wanted: WorkRequest) -> None:
    """Refuses a row whose id somebody else chose. The ids of torrents are easily computed."""
    if seen.kind not in (None, wanted.kind):
        raise JobIdTaken(f"job {seen.id} is of another kind")
    if seen.user_id and wanted.user_id and seen.user_id != wanted.user_id:
        raise JobIdTaken(f"job {seen.id} is another user's")


def _job(item: Item) -> TorrentJob:
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


def _read(item: Item) -> TorrentJob:
    return TorrentJob(
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
    )


def _as_kept(time: datetime) -> datetime:
    return clock.parse(clock.iso(time))
