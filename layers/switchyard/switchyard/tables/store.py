"""Jobs and lanes in DynamoDB: every write conditional, every change of several items one transaction.

Above each write stands the little picture of its condition. The contract is `protocol.ports.JobStore`; the in-memory
twin in tests/fakes keeps it too, held by tests/contract.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast, override

from switchyard import clock
from switchyard.clients import translated
from switchyard.protocol.jobs import (
    HOLDING_SLOT,
    TERMINAL,
    TRANSITIONS,
    Job,
    JobError,
    Source,
    Status,
    TargetSpec,
    WorkRequest,
    is_other_work,
    origins_of,
    past_versions_after,
)
from switchyard.protocol.lanes import (
    LOCK,
    SLOTS,
    WAIT_PREFIX,
    Lane,
    ObjectLock,
    Slots,
    WaitEntry,
    lane_key,
    object_key,
)
from switchyard.protocol.ports import (
    ActiveJob,
    Claimed,
    EntryGone,
    Held,
    JobChanged,
    JobStore,
    LaneFull,
    ObjectLocked,
)
from switchyard.tables.items import names_and_values, request_attributes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type _Item = Mapping[str, Any]
type _Action = dict[str, dict[str, Any]]
"""One action of a TransactWriteItems call."""
type _Reason = Mapping[str, Any]
"""Why a condition refused a write: an error or a cancellation reason, with the item as it was."""


class Store(JobStore):
    """The two tables. Every method is one AWS call, but for the iterators, which make one a page."""

    def __init__(
        self, client: DynamoDBClient, jobs_table: str, lanes_table: str, *, keep_ended_jobs: timedelta
    ) -> None:
        self._client = client
        self._jobs = jobs_table
        self._lanes = lanes_table
        self._keep = keep_ended_jobs

    # ---- reading ----------------------------------------------------------------------------------------------------

    @override
    @translated()
    def get(self, job_id: str) -> Job | None:
        answer = self._client.get_item(TableName=self._jobs, Key={"jobId": _s(job_id)}, ConsistentRead=True)
        item = answer.get("Item")
        return _job(item) if item else None

    @override
    @translated()
    def slots(self, lane: Lane) -> Slots:
        answer = self._client.get_item(TableName=self._lanes, Key=_slots_key(lane.name), ConsistentRead=True)
        item = answer.get("Item", {})
        return Slots(
            holders=frozenset(item.get("holders", {}).get("SS", ())),
            waiting=int(item.get("waiting", {}).get("N", "0")),
            layouts=frozenset(int(number) for number in item.get("layouts", {}).get("NS", ())),
        )

    @override
    def waiting(self, lane: Lane, *, at_a_time: int = 25) -> Iterator[WaitEntry]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._lanes,
            KeyConditionExpression="pk = :lane AND begins_with(sk, :wait)",
            ExpressionAttributeValues={":lane": _s(lane_key(lane.name)), ":wait": _s(WAIT_PREFIX)},
            ConsistentRead=True,
            PaginationConfig={"PageSize": at_a_time},
        )
        with translated():
            for page in pages:
                for item in page["Items"]:
                    request = WorkRequest.from_json(item["request"]["S"])
                    yield WaitEntry(request, attempts=int(item["attempts"]["N"]))

    @override
    def by_status(self, status: Status) -> Iterator[ActiveJob]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._jobs,
            IndexName="byStatus",
            KeyConditionExpression="#status = :status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":status": _s(status)},
        )
        with translated():
            for page in pages:
                for item in page["Items"]:
                    yield _active_job(item)

    # ---- accepting --------------------------------------------------------------------------------------------------

    @override
    def claim(
        self,
        request: WorkRequest,
        seen: Job | None,
        lane: Lane,
        *,
        entry: WaitEntry | None = None,
        fifo: bool = True,
    ) -> Claimed | LaneFull | JobChanged | ObjectLocked | EntryGone:
        now = clock.now()
        fence = (seen.fence if seen else 0) + 1
        claimed = {"status": _s(Status.CLAIMED), "fence": _n(fence), "claimedAt": _s(clock.iso(now))}
        refused = self._transact(
            job=self._rewrite_job(request, seen, now, claimed),
            lock=self._lock(request),
            slot=self._take_slot(request, lane, entry, fifo=fifo),
            entry=self._leave_room(entry) if entry else None,
        )
        if not refused:
            return Claimed(_claimed_job(request, seen, now, fence))
        if "entry" in refused:
            return EntryGone()
        return _refusal(refused) or LaneFull()

    @override
    def hold(
        self, request: WorkRequest, seen: Job | None, *, lock_object: bool = True
    ) -> Held | JobChanged | ObjectLocked:
        waiting = {"status": _s(Status.WAITING), "fence": _n(seen.fence if seen else 0)}
        refused = self._transact(
            job=self._rewrite_job(request, seen, clock.now(), waiting),
            lock=self._lock(request) if lock_object else None,
            **self._enter_room(WaitEntry(request)),
        )
        return _refusal(refused) or Held()  # ... also where the entry is there already

    @override
    def hold_behind(self, request: WorkRequest) -> None:
        self._transact(**self._enter_room(WaitEntry(request)))  # refused only where the entry is there already

    @override
    def drop(self, entry: WaitEntry) -> None:
        #   LANE#…/WAIT#…   there ──▶ gone        LANE#…/SLOTS   waiting − 1
        self._transact(entry=self._leave_room(entry), waiting=self._count_waiting(entry.request.lane, -1))

    # ---- starting ---------------------------------------------------------------------------------------------------

    @override
    def record_start(self, job: Job, target_id: str) -> JobChanged | None:
        #   status CLAIMED and fence = ours, no cancel ──▶ SUBMITTED
        refused = self._update_job(
            job.id,
            "SET #status = :to, targetId = :target, updatedAt = :now",
            _OUR_CLAIM,
            {
                ":to": _s(Status.SUBMITTED),
                ":target": _s(target_id),
                ":now": _s(clock.iso(clock.now())),
                **_our_claim(job),
            },
        )
        return _changed(refused) if refused else None

    @override
    def raise_fence(self, job: Job) -> Claimed | JobChanged:
        now = clock.now()
        #   status CLAIMED and fence = n, no cancel ──▶ CLAIMED, fence = n + 1; a run of fence n fails its check
        refused = self._update_job(
            job.id,
            "SET fence = :next, claimedAt = :now, updatedAt = :now REMOVE runId, targetId",
            _OUR_CLAIM,
            {":next": _n(job.fence + 1), ":now": _s(clock.iso(now)), **_our_claim(job)},
        )
        return _changed(refused) if refused else Claimed(_claimed_job(job.request, job, now, job.fence + 1))

    @override
    def undo_claim(self, job: Job, error: JobError, *, entry: WaitEntry | None = None) -> JobChanged | None:
        back_to = Status.WAITING if entry else Status.PENDING
        #   status CLAIMED and fence = ours, no cancel ──▶ PENDING | WAITING
        give_back = self._update_action(
            job.id,
            "SET #status = :to, #error = :error, updatedAt = :now REMOVE claimedAt",
            _OUR_CLAIM,
            {
                ":to": _s(back_to),
                ":error": _error(error),
                ":now": _s(clock.iso(clock.now())),
                **_our_claim(job),
            },
        )
        refused = self._transact(
            job=give_back,
            slot=self._free_slot(job, waiting=1 if entry else 0),
            entry=self._put_entry(entry) if entry else None,
            lock=None if entry else self._unlock(job),
        )
        return _changed(refused["job"]) if "job" in refused else None

    @override
    def give_up(self, job: Job, error: JobError) -> bool:
        now = clock.now()
        #   PENDING and fence as seen ──▶ FAILED, neverStarted (a redrive may start it)
        condition, values = _still(replace(job, status=Status.PENDING))
        refused = self._update_job(
            job.id,
            "SET #status = :to, #error = :error, neverStarted = :true, endedAt = :now, updatedAt = :now, #ttl = :ttl",
            condition,
            {
                ":to": _s(Status.FAILED),
                ":error": _error(error),
                ":true": {"BOOL": True},
                ":now": _s(clock.iso(now)),
                ":ttl": self._expiry(now),
                **values,
            },
        )
        return refused is None

    # ---- cancelling -------------------------------------------------------------------------------------------------

    @override
    def cancel(self, job: Job) -> JobChanged | None:
        assert job.status in {Status.PENDING, Status.WAITING}  # noqa: S101 - `request_cancel` is for those with a slot
        now = clock.now()
        waits = job.status is Status.WAITING
        condition, values = _still(job)
        #   PENDING | WAITING and fence = n, as seen ──▶ CANCELLED, fence = n + 1
        end = self._update_action(
            job.id,
            "SET #status = :to, fence = :next, endedAt = :now, updatedAt = :now, #ttl = :ttl REMOVE #error",
            condition,
            {
                ":to": _s(Status.CANCELLED),
                ":next": _n(job.fence + 1),
                ":now": _s(clock.iso(now)),
                ":ttl": self._expiry(now),
                **values,
            },
        )
        return self._end(
            job,
            end,
            entry=self._leave_room(WaitEntry(job.request)) if waits else None,
            waiting=self._count_waiting(job.request.lane, -1) if waits else None,
            lock=self._unlock(job) if waits else None,
        )

    @override
    @translated()
    def request_cancel(self, job: Job) -> Job | JobChanged:
        active = {f":active{n}": _s(status) for n, status in enumerate(sorted(HOLDING_SLOT))}
        #   CLAIMED | SUBMITTED | RUNNING and fence as seen ──▶ as it is, to be cancelled
        note = self._update_action(
            job.id,
            "SET cancelRequestedAt = if_not_exists(cancelRequestedAt, :now), updatedAt = :now",
            f"fence = :fence AND #status IN ({', '.join(active)})",
            {":now": _s(clock.iso(clock.now())), ":fence": _n(job.fence), **active},
        )
        try:
            answer = self._client.update_item(**note["Update"], ReturnValues="ALL_NEW")
        except self._client.exceptions.ConditionalCheckFailedException as error:
            return _changed(cast("_Reason", error.response))
        return _job(answer["Attributes"])

    # ---- following --------------------------------------------------------------------------------------------------

    @override
    def advance(self, job_id: str, fence: int, target_id: str, to: Status, *, attempts: int) -> bool:
        assert to not in TERMINAL  # noqa: S101 - `finish` is for those
        origins = {f":from{n}": _s(origin) for n, origin in enumerate(sorted(origins_of(to)))}
        started = ", startedAt = if_not_exists(startedAt, :now)" if to is Status.RUNNING else ""
        #   status in the legal origins, fence = the run's, no other run recorded ──▶ SUBMITTED | RUNNING
        refused = self._update_job(
            job_id,
            f"SET #status = :to, targetId = :target, attempts = :attempts, updatedAt = :now{started}",
            f"fence = :fence AND #status IN ({', '.join(origins)}) "
            "AND (attribute_not_exists(targetId) OR targetId = :target)",
            {
                ":to": _s(to),
                ":target": _s(target_id),
                ":attempts": _n(attempts),
                ":now": _s(clock.iso(clock.now())),
                ":fence": _n(fence),
                **origins,
            },
        )
        return refused is None

    @override
    def finish(self, job: Job, to: Status, *, error: JobError | None, target_id: str | None, attempts: int) -> bool:
        if job.status not in TERMINAL and to not in TRANSITIONS[job.status] & TERMINAL:
            return False
        now = clock.now()
        values = {":fence": _n(job.fence), ":ttl": self._expiry(now), ":now": _s(clock.iso(now))}
        if job.status in TERMINAL:
            #   status terminal and fence = ours ──▶ as it is, and it expires
            end = self._update_action(
                job.id,
                "SET #ttl = if_not_exists(#ttl, :ttl), endedAt = if_not_exists(endedAt, :now)",
                "fence = :fence AND #status = :same",
                {**values, ":same": _s(job.status)},
            )
        else:
            because = ", #error = if_not_exists(#error, :error)" if error else ""
            run = ", targetId = :target" if target_id else ""
            #   status as read and fence = ours ──▶ COMPLETED | FAILED | CANCELLED
            end = self._update_action(
                job.id,
                "SET #status = :to, attempts = :attempts, endedAt = :now, updatedAt = :now, "
                f"#ttl = :ttl{run}{because}{'' if error else ' REMOVE #error'}",
                "fence = :fence AND #status = :same",
                {
                    **values,
                    ":same": _s(job.status),
                    ":to": _s(to),
                    ":attempts": _n(attempts),
                    **({":target": _s(target_id)} if target_id else {}),
                    **({":error": _error(error)} if error else {}),
                },
            )
        return self._end(job, end, slot=self._free_slot(job), lock=self._unlock(job)) is None

    # ---- repairing --------------------------------------------------------------------------------------------------

    @override
    def free_leaked_slot(self, lane: Lane, job_id: str, seen: Job | None) -> bool:
        free: _Action = {
            "Update": {
                "TableName": self._lanes,
                "Key": _slots_key(lane.name),
                "UpdateExpression": "DELETE holders :job",
                "ExpressionAttributeValues": {":job": {"SS": [job_id]}},
            }
        }
        #   the job as seen ──▶ LANE#…/SLOTS without it
        check = self._check_job(job_id, seen)
        if seen is not None and seen.status in TERMINAL:
            return self._end(seen, check, slot=free, lock=self._unlock(seen)) is None
        return not self._transact(job=check, slot=free)

    @override
    def retake_slot(self, lane: Lane, job: Job) -> bool:
        take: _Action = {
            "Update": {
                "TableName": self._lanes,
                "Key": _slots_key(lane.name),
                "UpdateExpression": "ADD holders :job",
                "ExpressionAttributeValues": {":job": {"SS": [job.id]}},
            }
        }
        #   the job as seen ──▶ LANE#…/SLOTS with it, its object locked
        return self._end(job, self._check_job(job.id, job), slot=take, lock=self._lock(job.request)) is None

    @override
    @translated()
    def recount_waiting(self, lane: Lane, seen: int, actual: int) -> bool:
        #   waiting as seen ──▶ waiting as counted
        try:
            self._client.update_item(
                TableName=self._lanes,
                Key=_slots_key(lane.name),
                UpdateExpression="SET waiting = :actual",
                ConditionExpression="attribute_not_exists(waiting) OR waiting = :seen",
                ExpressionAttributeValues={":actual": _n(actual), ":seen": _n(seen)},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    @override
    @translated()
    def note_layouts(self, lane: Lane, layouts: frozenset[int]) -> None:
        self._client.update_item(
            TableName=self._lanes,
            Key=_slots_key(lane.name),
            UpdateExpression="ADD layouts :layouts",
            ExpressionAttributeValues={":layouts": {"NS": [str(number) for number in sorted(layouts)]}},
        )

    # ---- the pieces of a transaction --------------------------------------------------------------------------------

    def _check_job(self, job_id: str, seen: Job | None) -> _Action:
        condition, values = _still(seen)
        return {
            "ConditionCheck": {
                "TableName": self._jobs,
                "Key": {"jobId": _s(job_id)},
                "ConditionExpression": condition,
                **names_and_values(condition, values),
            }
        }

    def _rewrite_job(self, request: WorkRequest, seen: Job | None, now: datetime, changes: dict[str, Any]) -> _Action:
        """The job, as the caller saw it, becomes this request with `changes`; what an earlier run left is removed."""
        condition, values = _still(seen)
        attributes = {**request_attributes(request), "updatedAt": _s(clock.iso(now)), **changes}
        created = "if_not_exists(createdAt, :now)"
        if seen is not None and is_other_work(seen, request):
            created = ":now"
            attributes["pastVersions"] = {"L": [_s(version) for version in past_versions_after(seen)]}
        #   nothing there, or status and fence as seen ──▶ CLAIMED | WAITING
        assignments = ", ".join(f"#{name} = :new_{name}" for name in attributes)
        return self._update_action(
            request.job_id,
            f"SET createdAt = {created}, {assignments} REMOVE {_LEFT_BY_A_RUN}",
            condition,
            {
                **values,
                ":now": _s(clock.iso(now)),
                **{f":new_{name}": value for name, value in attributes.items()},
            },
        )

    def _lock(self, request: WorkRequest) -> _Action | None:
        if not request.source.is_object:
            return None
        #   OBJECT#…/LOCK free, or ours ──▶ ours
        return {
            "Put": {
                "TableName": self._lanes,
                "Item": {
                    **_lock_key(request.source),
                    "jobId": _s(request.job_id),
                    "version": _s(request.source.version),
                },
                "ConditionExpression": "attribute_not_exists(pk) OR jobId = :job",
                "ExpressionAttributeValues": {":job": _s(request.job_id)},
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
            }
        }

    def _unlock(self, job: Job) -> _Action | None:
        if not job.request.source.is_object:
            return None
        #   OBJECT#…/LOCK ours, or free ──▶ free
        return {
            "Delete": {
                "TableName": self._lanes,
                "Key": _lock_key(job.request.source),
                "ConditionExpression": "attribute_not_exists(pk) OR jobId = :job",
                "ExpressionAttributeValues": {":job": _s(job.id)},
            }
        }

    def _take_slot(self, request: WorkRequest, lane: Lane, entry: WaitEntry | None, *, fifo: bool) -> _Action:
        #   LANE#…/SLOTS holders fewer than the limit, and nobody waits or this one's turn came ──▶ this job among them
        condition = "(attribute_not_exists(holders) OR size(holders) < :limit)"
        values: dict[str, Any] = {":job": {"SS": [request.job_id]}, ":limit": _n(lane.limit)}
        update = "ADD holders :job"
        if entry is not None:
            update += ", waiting :one_less"
            values[":one_less"] = _n(-1)
        elif fifo:
            condition += " AND (attribute_not_exists(waiting) OR waiting <= :nobody)"
            values[":nobody"] = _n(0)
        return {
            "Update": {
                "TableName": self._lanes,
                "Key": _slots_key(lane.name),
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ExpressionAttributeValues": values,
            }
        }

    def _free_slot(self, job: Job, *, waiting: int = 0) -> _Action:
        #   LANE#…/SLOTS ──▶ without this job; taking out what isn't there changes nothing
        values: dict[str, Any] = {":job": {"SS": [job.id]}}
        update = "DELETE holders :job"
        if waiting:
            update += " ADD waiting :more"
            values[":more"] = _n(waiting)
        return {
            "Update": {
                "TableName": self._lanes,
                "Key": _slots_key(job.request.lane),
                "UpdateExpression": update,
                "ExpressionAttributeValues": values,
            }
        }

    def _enter_room(self, entry: WaitEntry) -> dict[str, _Action]:
        #   LANE#…/WAIT#… not there ──▶ there, and the lane counts one more that waits
        put = self._put_entry(entry)
        put["Put"]["ConditionExpression"] = "attribute_not_exists(pk)"
        return {"entry": put, "waiting": self._count_waiting(entry.request.lane, 1)}

    def _put_entry(self, entry: WaitEntry) -> _Action:
        return {
            "Put": {
                "TableName": self._lanes,
                "Item": {
                    **_entry_key(entry),
                    "request": _s(entry.request.to_json()),
                    "attempts": _n(entry.attempts),
                },
            }
        }

    def _leave_room(self, entry: WaitEntry) -> _Action:
        #   LANE#…/WAIT#… there ──▶ gone
        return {
            "Delete": {
                "TableName": self._lanes,
                "Key": _entry_key(entry),
                "ConditionExpression": "attribute_exists(pk)",
            }
        }

    def _count_waiting(self, lane: str, change: int) -> _Action:
        return {
            "Update": {
                "TableName": self._lanes,
                "Key": _slots_key(lane),
                "UpdateExpression": "ADD waiting :change",
                "ExpressionAttributeValues": {":change": _n(change)},
            }
        }

    # ---- sending ----------------------------------------------------------------------------------------------------

    def _update_action(self, job_id: str, update: str, condition: str, values: dict[str, Any]) -> _Action:
        return {
            "Update": {
                "TableName": self._jobs,
                "Key": {"jobId": _s(job_id)},
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **names_and_values(f"{update} {condition}", values),
            }
        }

    @translated()
    def _update_job(self, job_id: str, update: str, condition: str, values: dict[str, Any]) -> _Reason | None:
        """One UpdateItem. None where it was applied, else why its condition refused."""
        try:
            self._client.update_item(**self._update_action(job_id, update, condition, values)["Update"])
        except self._client.exceptions.ConditionalCheckFailedException as error:
            return cast("_Reason", error.response)
        return None

    def _end(self, job: Job, end: _Action, **freed: _Action | None) -> JobChanged | None:
        """Applies `end` to a job, and frees with it what is still its own; None where it was applied."""
        refused = self._transact(job=end, **freed)
        if refused and "job" not in refused:
            # The lock is another job's by now, or the place in the room has got lost, which then isn't to be counted.
            theirs = {*refused, "waiting"} if "entry" in refused else set(refused)
            refused = self._transact(job=end, **{name: freed[name] for name in freed.keys() - theirs})
        if not refused:
            return None
        return _changed(refused["job"]) if "job" in refused else JobChanged(job)

    @translated()
    def _transact(self, **actions: _Action | None) -> Mapping[str, _Reason]:
        """One TransactWriteItems of the actions there are. Gives the reasons of those whose condition refused.

        Where there are none, all was applied; else nothing was.
        """
        wanted = {name: action for name, action in actions.items() if action is not None}
        try:
            self._client.transact_write_items(TransactItems=cast("Any", list(wanted.values())))
        except self._client.exceptions.TransactionCanceledException as error:
            reasons = cast("list[dict[str, Any]]", error.response["CancellationReasons"])
            if not {reason.get("Code") for reason in reasons} <= {"None", "ConditionalCheckFailed"}:
                raise  # a conflict that outlived the retries, throttling: nothing is decided
            named = zip(wanted, reasons, strict=True)
            return {name: reason for name, reason in named if reason.get("Code") == "ConditionalCheckFailed"}
        return {}

    def _expiry(self, now: datetime) -> dict[str, str]:
        # Only an ended job expires: DynamoDB must never delete one that waits or runs.
        return _n(int((now + self._keep).timestamp()))


_LEFT_BY_A_RUN = ", ".join(
    f"#{name}"
    for name in (
        "targetId",
        "runId",
        "result",
        "error",
        "progress",
        "attempts",
        "startedAt",
        "endedAt",
        "heartbeatAt",
        "neverStarted",
        "cancelRequestedAt",
        "ttl",
    )
)


_OUR_CLAIM = "fence = :fence AND #status = :claimed AND attribute_not_exists(cancelRequestedAt)"


def _our_claim(job: Job) -> dict[str, Any]:
    return {":fence": _n(job.fence), ":claimed": _s(Status.CLAIMED)}


def _still(seen: Job | None) -> tuple[str, dict[str, Any]]:
    """The condition that a job is still as it was seen: status and fence tell every state apart."""
    if seen is None:
        return "attribute_not_exists(jobId)", {}
    # Rows that other programs wrote have no fence.
    fence = "fence = :seen_fence" if seen.fence else "(attribute_not_exists(fence) OR fence = :seen_fence)"
    return f"#status = :seen_status AND {fence}", {
        ":seen_status": _s(seen.status),
        ":seen_fence": _n(seen.fence),
    }


def _changed(reason: _Reason) -> JobChanged:
    return JobChanged(_job(reason["Item"]) if "Item" in reason else None)


def _refusal(refused: Mapping[str, _Reason]) -> JobChanged | ObjectLocked | None:
    """Who else has the job or its object; a job by the same id tells more than a lock."""
    if "job" in refused:
        return _changed(refused["job"])
    return ObjectLocked(_object_lock(refused["lock"]["Item"])) if "lock" in refused else None


def _claimed_job(request: WorkRequest, seen: Job | None, now: datetime, fence: int) -> Job:
    return Job(
        request=request,
        status=Status.CLAIMED,
        fence=fence,
        created_at=seen.created_at if seen else now,
        claimed_at=now,
    )


# ---- DynamoDB's attribute values ------------------------------------------------------------------------------------


def _s(text: str) -> dict[str, str]:
    return {"S": text}


def _n(number: int) -> dict[str, str]:
    return {"N": str(number)}


def _error(error: JobError) -> dict[str, Any]:
    return {"M": {"code": _s(error.code), "message": _s(error.message)}}


def _slots_key(lane: str) -> dict[str, Any]:
    return {"pk": _s(lane_key(lane)), "sk": _s(SLOTS)}


def _lock_key(source: Source) -> dict[str, Any]:
    return {"pk": _s(object_key(source)), "sk": _s(LOCK)}


def _entry_key(entry: WaitEntry) -> dict[str, Any]:
    return {"pk": _s(lane_key(entry.request.lane)), "sk": _s(entry.sort_key)}


def _text(item: _Item, name: str) -> str | None:
    value = item.get(name, {}).get("S")
    return value if isinstance(value, str) else None


def _moment(item: _Item, name: str) -> datetime | None:
    text = _text(item, name)
    try:
        return clock.parse(text) if text else None
    except ValueError:
        return None  # another program's row: a time we can't read is a time we don't know


def _number(item: _Item, name: str) -> int:
    return int(item.get(name, {}).get("N", "0"))


def _job(item: _Item) -> Job:
    """An item as a job. A row that another program wrote, without a request, names no version (`is_placeholder`)."""
    request = _text(item, "request")
    error = item.get("error", {}).get("M")
    return Job(
        request=WorkRequest.from_json(request) if request else _foreign_request(item["jobId"]["S"]),
        status=Status(_text(item, "status") or Status.PENDING),
        fence=_number(item, "fence"),
        created_at=_moment(item, "createdAt") or clock.EPOCH,
        target_id=_text(item, "targetId"),
        run_id=_text(item, "runId"),
        claimed_at=_moment(item, "claimedAt"),
        past_versions=tuple(version["S"] for version in item.get("pastVersions", {}).get("L", ())),
        never_started=item.get("neverStarted", {}).get("BOOL", False),
        cancel_requested="cancelRequestedAt" in item,
        ended_at=_moment(item, "endedAt"),
        error=JobError(_text(error, "code") or "", _text(error, "message") or "") if error else None,
    )


def _foreign_request(job_id: str) -> WorkRequest:
    return WorkRequest(
        job_id=job_id,
        kind="",
        lane="",
        target=TargetSpec("", "", ""),
        source=Source(bucket="", key="", version="", message_id=""),
        sent_at=clock.EPOCH,
        video_id="",
    )


def _active_job(item: _Item) -> ActiveJob:
    target = item.get("target", {}).get("M")
    return ActiveJob(
        id=item["jobId"]["S"],
        status=Status(item["status"]["S"]),
        fence=_number(item, "fence"),
        lane=_text(item, "lane") or "",
        target=TargetSpec(**{name: target[name]["S"] for name in ("type", "queue", "definition")}) if target else None,
        target_id=_text(item, "targetId"),
        claimed_at=_moment(item, "claimedAt"),
        created_at=_moment(item, "createdAt") or clock.EPOCH,
        cancel_requested="cancelRequestedAt" in item,
    )


def _object_lock(item: _Item) -> ObjectLock:
    return ObjectLock(job_id=item["jobId"]["S"], version=item["version"]["S"])
