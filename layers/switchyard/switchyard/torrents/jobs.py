"""The jobs of torrents in JobsTable: begun, kept alive and ended by the function itself, by conditional writes.

The **fence** counts how often a job was begun. Whoever began it last may go on with it; the writes of all before are
refused, and tell them to stop. What has been hashed of a huge object is a set of names, so that noting it twice changes
nothing (`segments`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock
from switchyard.errors import Contended, SwitchyardError
from switchyard.protocol.jobs import TERMINAL, JobError, Status, WorkRequest
from switchyard.protocol.ports import RACES
from switchyard.tables.items import names_and_values, request_attributes
from switchyard.torrents.format.layout import ObjectVersion

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

GIVEN_UP = "GIVEN_UP"
MAX_BEGINS = 25
"""How often a job is begun without anything of it getting done in between."""
SILENCE = timedelta(seconds=60)
"""After which an invocation that kept a job alive is taken for dead."""


class Stopped(SwitchyardError):
    """This run of the job is not to go on: the job was begun anew, or has ended, or is to be cancelled."""

    code = "STOPPED"


@dataclass(frozen=True, slots=True)
class TorrentRun:
    """The right to work on a job, until it is begun anew. `chunks` are the names of what was hashed when it was given.

    A segment's has the fence of whoever cut the object.
    """

    job_id: str
    fence: int
    chunks: frozenset[str] = frozenset()
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class TorrentJob:
    """A job as the table has it. `begun_by` is the message that it was begun for, `modified` when its object was."""

    id: str
    status: Status
    fence: int
    attempts: int
    begun_by: str | None
    modified: datetime | None
    alive_at: datetime | None
    cancel_requested: bool
    chunks: frozenset[str]
    user_id: str | None
    request: WorkRequest | None
    error: JobError | None
    result: Mapping[str, str]


class TorrentVerdict(Enum):
    """What a message means for the job found under its object's version."""

    BEGIN = auto()
    """It is new, or to be done again."""
    TAKE_OVER = auto()
    """Whoever was at it is dead, or is an earlier delivery of this very message."""
    LEAVE = auto()
    """It is done, or being done."""
    CANCEL = auto()
    """It is to be cancelled, and whoever would have noticed is dead."""
    GIVE_UP = auto()
    """It was begun too often."""


def judge_torrent(
    found: TorrentJob, message_id: str, modified: datetime, *, again: bool, now: datetime
) -> TorrentVerdict:
    """What to do about a torrent, given the job the table holds for that version of the object.

    Without versions, the same bytes uploaded once more are the same version: only `modified` tells the two apart.
    """
    if found.status is Status.PENDING:
        return TorrentVerdict.BEGIN
    if found.modified is not None and found.modified != modified:
        return TorrentVerdict.BEGIN if found.modified < modified else TorrentVerdict.LEAVE
    if found.status in TERMINAL:
        wanted = found.begun_by != message_id and (again or found.status is Status.FAILED)
        return TorrentVerdict.BEGIN if wanted else TorrentVerdict.LEAVE
    # SQS delivers a message again only once the invocation before is over, but for rare doubles, whose fence gives way.
    if found.begun_by != message_id and found.alive_at is not None and now - found.alive_at < SILENCE:
        return TorrentVerdict.LEAVE
    if found.cancel_requested:
        return TorrentVerdict.CANCEL
    return TorrentVerdict.GIVE_UP if found.attempts >= MAX_BEGINS else TorrentVerdict.TAKE_OVER


class TorrentJobs:
    """JobsTable as the function that makes torrents uses it. Every method is one AWS call, `begin` at most a few."""

    def __init__(self, client: DynamoDBClient, jobs_table: str, *, keep_ended_jobs: timedelta) -> None:
        self._client = client
        self._table = jobs_table
        self._keep = keep_ended_jobs

    # ---- reading ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> TorrentJob | None:
        """The job as it is now (consistent read)."""
        answer = self._client.get_item(TableName=self._table, Key=_key(job_id), ConsistentRead=True)
        item = answer.get("Item")
        return _job(item) if item else None

    def owner(self, job_id: str) -> str | None:
        """Whose job, of whatever kind, this is."""
        answer = self._client.get_item(TableName=self._table, Key=_key(job_id), ProjectionExpression="userId")
        return answer.get("Item", {}).get("userId", {}).get("S")

    # ---- beginning --------------------------------------------------------------------------------------------------

    def begin(self, request: WorkRequest, thing: ObjectVersion, *, again: bool) -> TorrentRun | TorrentJob:
        """The right to make a torrent; or the job as it stands, where there is nothing to do about it."""
        seen: TorrentJob | None = None
        for _ in range(RACES):
            now, verdict = clock.now(), TorrentVerdict.BEGIN
            if seen is not None:
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
            error = JobError(GIVEN_UP, f"it was begun {seen.attempts} times, and nothing came of it")
            self.fail(TorrentRun(seen.id, seen.fence), error)
        else:
            return seen
        return self.get(seen.id) or seen

    def _begin(
        self, request: WorkRequest, thing: ObjectVersion, seen: TorrentJob | None, now: datetime, *, is_new: bool
    ) -> TorrentRun | TorrentJob | None:
        attributes = {
            **request_attributes(request),
            "status": _s(Status.RUNNING),
            "fence": _n(seen.fence + 1 if seen else 1),
            "attempts": _n(1 if seen is None or is_new else seen.attempts + 1),
            "begunBy": _s(request.source.message_id),
            "modified": _s(clock.iso(thing.modified)),
            "heartbeatAt": _s(clock.iso(now)),
            "updatedAt": _s(clock.iso(now)),
        }
        # What was hashed stays: it is of the same bytes.
        left = ("result", "error", "endedAt", "ttl", "cancelRequestedAt", *(("progress",) if is_new else ()))
        started = ":now" if is_new else "if_not_exists(startedAt, :now)"
        condition, values = "attribute_not_exists(jobId)", {":now": _s(clock.iso(now))}
        if seen is not None:
            condition = "#status = :seen_status AND "
            condition += "fence = :seen_fence" if seen.fence else "attribute_not_exists(fence)"
            values |= {":seen_status": _s(seen.status)} | ({":seen_fence": _n(seen.fence)} if seen.fence else {})
        #   nothing there, or status and fence as seen ──▶ RUNNING, fence + 1
        refused = self._update(
            request.job_id,
            "SET createdAt = if_not_exists(createdAt, :now), startedAt = "
            f"{started}, {', '.join(f'#{name} = :new_{name}' for name in attributes)} "
            f"REMOVE {', '.join(f'#{name}' for name in left)}",
            condition,
            {**values, **{f":new_{name}": value for name, value in attributes.items()}},
        )
        if isinstance(refused, _Refused):
            return refused.found
        return TorrentRun(refused.id, refused.fence, refused.chunks, refused.user_id)

    # ---- keeping alive ----------------------------------------------------------------------------------------------

    def join(self, job_id: str, fence: int) -> TorrentRun:
        """Sets to work on a segment of a job. One that was given up is under way again. Raises Stopped."""
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ RUNNING
        found = self._go_on(
            job_id,
            fence,
            "SET #status = :running, heartbeatAt = :now, updatedAt = :now REMOVE #error, endedAt, #ttl",
        )
        return TorrentRun(job_id, fence, found.chunks, found.user_id)

    def beat(self, run: TorrentRun, percent: int | None = None) -> None:
        """Says that somebody is at it, and how far. Raises Stopped where nobody should be any more."""
        progress = "" if percent is None else ", #progress = :progress"
        values = {} if percent is None else {":progress": _progress(percent)}
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ as it is
        self._go_on(run.job_id, run.fence, f"SET heartbeatAt = :now, updatedAt = :now{progress}", values)

    def add_chunk(self, run: TorrentRun, name: str) -> frozenset[str]:
        """Notes what has been hashed; gives all that has, by anybody. Raises Stopped."""
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ as it is, with one chunk more
        found = self._go_on(
            run.job_id,
            run.fence,
            "SET heartbeatAt = :now, updatedAt = :now, attempts = :one ADD chunks :name",
            {":one": _n(1), ":name": {"SS": [name]}},
        )
        return found.chunks

    def lose_chunks(self, run: TorrentRun, names: list[str]) -> None:
        """Notes that what has been hashed is gone."""
        #   fence = ours ──▶ as it is, without these chunks
        self._update(
            run.job_id,
            "SET updatedAt = :now DELETE chunks :names",
            "fence = :fence",
            {":now": _s(clock.iso(clock.now())), ":fence": _n(run.fence), ":names": {"SS": names}},
        )

    def advance(self, run: TorrentRun, percent: int) -> None:
        """Says how far all segments together are; never less than was said before."""
        #   RUNNING, fence = ours, less done ──▶ as it is, with more done
        self._update(
            run.job_id,
            "SET #progress = :progress",
            "fence = :fence AND #status = :running AND "
            "(attribute_not_exists(#progress) OR #progress.#percent < :percent)",
            {
                ":progress": _progress(percent),
                ":percent": _n(percent),
                ":fence": _n(run.fence),
                ":running": _s(Status.RUNNING),
            },
        )

    def _go_on(self, job_id: str, fence: int, update: str, values: Mapping[str, Any] | None = None) -> TorrentJob:
        changed = self._update(
            job_id,
            update,
            f"{_UNDER_WAY} AND attribute_not_exists(cancelRequestedAt)",
            {":now": _s(clock.iso(clock.now())), **_under_way(fence), **(values or {})},
        )
        if isinstance(changed, TorrentJob):
            return changed
        found = changed.found
        if found is not None and found.fence == fence and found.cancel_requested:
            self._cancel(job_id, fence)
        raise Stopped(f"job {job_id} is {found.status if found else 'gone'}, or was begun anew")

    # ---- ending -----------------------------------------------------------------------------------------------------

    def complete(self, run: TorrentRun, result: Mapping[str, str | int]) -> bool:
        """The torrent is published. False where somebody else was quicker to say so. Raises Stopped."""
        now = clock.now()
        #   RUNNING, or FAILED as given up; fence = ours ──▶ COMPLETED
        changed = self._update(
            run.job_id,
            "SET #status = :to, #result = :result, #progress = :progress, endedAt = :now, updatedAt = :now, "
            "#ttl = :ttl REMOVE #error, chunks, cancelRequestedAt",
            _UNDER_WAY,
            {
                ":to": _s(Status.COMPLETED),
                ":result": {
                    "M": {name: _n(value) if isinstance(value, int) else _s(value) for name, value in result.items()}
                },
                ":progress": _progress(100),
                **self._at_the_end(now),
                **_under_way(run.fence),
            },
        )
        if isinstance(changed, TorrentJob):
            return True
        if changed.found and changed.found.status is Status.COMPLETED:
            return False
        raise Stopped(f"job {run.job_id} has ended otherwise, or was begun anew")

    def fail(self, run: TorrentRun, error: JobError) -> bool:
        """Ends a job without a torrent; as cancelled, where that was asked for. False where it changed meanwhile."""
        #   RUNNING, fence = ours, no cancel ──▶ FAILED
        changed = self._end(
            run.job_id,
            error,
            "fence = :fence AND #status = :running AND attribute_not_exists(cancelRequestedAt)",
            {":fence": _n(run.fence), ":running": _s(Status.RUNNING)},
        )
        return changed or (self._cancel(run.job_id, run.fence) and False)

    def void(self, job_id: str, error: JobError) -> bool:
        """Ends a job, if there is one, whose object is no longer there as it was. False where it had ended."""
        #   PENDING | RUNNING ──▶ FAILED
        return self._end(
            job_id,
            error,
            "#status IN (:pending, :running)",
            {":pending": _s(Status.PENDING), ":running": _s(Status.RUNNING)},
        )

    def _end(self, job_id: str, error: JobError, condition: str, values: Mapping[str, Any]) -> bool:
        told = {"code": _s(error.code), "message": _s(error.message)}
        changed = self._update(
            job_id,
            "SET #status = :to, #error = :error, endedAt = :now, updatedAt = :now, #ttl = :ttl",
            condition,
            {":to": _s(Status.FAILED), ":error": {"M": told}, **self._at_the_end(clock.now()), **values},
        )
        return isinstance(changed, TorrentJob)

    def _cancel(self, job_id: str, fence: int) -> bool:
        #   RUNNING, fence = ours, to be cancelled ──▶ CANCELLED
        changed = self._update(
            job_id,
            "SET #status = :to, endedAt = :now, updatedAt = :now, #ttl = :ttl",
            "fence = :fence AND #status = :running AND attribute_exists(cancelRequestedAt)",
            {
                ":to": _s(Status.CANCELLED),
                ":fence": _n(fence),
                ":running": _s(Status.RUNNING),
                **self._at_the_end(clock.now()),
            },
        )
        return isinstance(changed, TorrentJob)

    def _at_the_end(self, now: datetime) -> dict[str, Any]:
        return {":now": _s(clock.iso(now)), ":ttl": _n(int((now + self._keep).timestamp()))}

    def _update(self, job_id: str, update: str, condition: str, values: Mapping[str, Any]) -> TorrentJob | _Refused:
        """One UpdateItem; the job as it then is, or as it is where the condition refused."""
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=_key(job_id),
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
    """A condition did not hold; `found` is the job as it is."""

    found: TorrentJob | None


_UNDER_WAY = "fence = :fence AND (#status = :running OR (#status = :failed AND #error.#code = :given_up))"


def _under_way(fence: int) -> dict[str, Any]:
    return {
        ":fence": _n(fence),
        ":running": _s(Status.RUNNING),
        ":failed": _s(Status.FAILED),
        ":given_up": _s(GIVEN_UP),
    }


# ---- DynamoDB's attribute values ------------------------------------------------------------------------------------


def _s(text: str) -> dict[str, str]:
    return {"S": text}


def _n(number: int) -> dict[str, str]:
    return {"N": str(number)}


def _key(job_id: str) -> dict[str, Any]:
    return {"jobId": _s(job_id)}


def _progress(percent: int) -> dict[str, Any]:
    return {"M": {"percent": _n(percent), "message": _s("hashing" if percent < 100 else "done")}}


def _job(item: Mapping[str, Any]) -> TorrentJob:
    request, error = item.get("request", {}).get("S"), item.get("error", {}).get("M")
    result = item.get("result", {}).get("M", {})
    return TorrentJob(
        id=item["jobId"]["S"],
        status=Status(item["status"]["S"]),
        fence=int(item.get("fence", {}).get("N", "0")),
        attempts=int(item.get("attempts", {}).get("N", "0")),
        begun_by=item.get("begunBy", {}).get("S"),
        modified=_moment(item, "modified"),
        alive_at=_moment(item, "heartbeatAt") or _moment(item, "createdAt"),
        cancel_requested="cancelRequestedAt" in item,
        chunks=frozenset(item.get("chunks", {}).get("SS", ())),
        user_id=item.get("userId", {}).get("S"),
        request=WorkRequest.from_json(request) if request else None,
        error=JobError(error["code"]["S"], error["message"]["S"]) if error else None,
        result={name: value["S"] for name, value in result.items() if "S" in value},
    )


def _as_kept(moment: datetime) -> datetime:
    return clock.parse(clock.iso(moment))


def _moment(item: Mapping[str, Any], name: str) -> datetime | None:
    text = item.get(name, {}).get("S")
    return clock.parse(text) if text else None
