"""The job store on DynamoDB: every write is conditional, every change of several items is one transaction.

A comment above each write shows its condition and change. The contract is `protocol.ports.JobStore`; tests/contract
runs the same tests on this store and on the one in memory (tests/fakes).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast, override

from botocore.exceptions import ClientError

from switchyard import clock, observability
from switchyard.clients import translated
from switchyard.errors import ForeignRow
from switchyard.observability import Metric, logger
from switchyard.protocol.jobs import (
    HOLDING_SLOT,
    ROW_FULL,
    TERMINAL,
    TRANSITIONS,
    Job,
    JobError,
    Status,
    WorkRequest,
    is_other_work,
    origins_of,
    past_versions_after,
)
from switchyard.protocol.lanes import (
    ANY_ENTRY,
    LATER_PREFIX,
    WAIT_PREFIX,
    Lane,
    Pause,
    Slots,
    WaitEntry,
    holds_key,
    lane_key,
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
from switchyard.tables import items, lane_items
from switchyard.tables.items import (
    ATTEMPTS,
    CANCEL_REQUESTED_AT,
    CANCELLED_BY,
    CLAIMED_AT,
    CREATED_AT,
    ENDED_AT,
    ERROR,
    FENCE,
    HEARTBEAT_AT,
    JOB_ID,
    KIND,
    LOG_STREAM,
    METADATA,
    NEVER_STARTED,
    OF_AN_END,
    PAST_ATTEMPTS,
    PAST_VERSIONS,
    PRIORITY,
    PROGRESS,
    REQUEST,
    RESULT,
    RUN_ID,
    SOURCE,
    START_AFTER,
    STARTED_AT,
    STATUS,
    SUBMITTED_BY,
    TARGET_ID,
    TASK_TOKEN,
    TRUE,
    TTL,
    UPDATED_AT,
    USER_ID,
    Attribute,
    Item,
    Value,
    attempts_value,
    error_value,
    job_key,
    moment,
    names_and_values,
    number,
    request_attributes,
    text,
    texts,
)
from switchyard.tables.lane_items import (
    HOLDERS,
    LATER,
    LAYOUTS,
    MOVES,
    PAUSE,
    PK,
    SK,
    TAKEN,
    WAITING,
    entry_item,
    entry_key,
    hold_item,
    lock_item,
    lock_key,
    pause_value,
    slots_key,
)

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type _Action = dict[str, dict[str, Any]]
"""One action of a TransactWriteItems call."""
type _Reason = Mapping[str, Any]
"""A failed condition: an error response or cancellation reason, with the item as stored."""


@dataclass(frozen=True, slots=True)
class _Part:
    """An action of a transaction, and what it changes in the counts of the lane."""

    action: _Action
    counts: Mapping[str, int] = field(default_factory=dict)


class Store(JobStore):
    """The two tables. Every method makes one AWS call, two if a row is full; the iterators make one per page.

    What a write wants to free may be gone, or what it puts may be there: then it makes more calls, without that part.
    `turns` is entered, with the name of the lane, around each transaction that changes a lane. So those of one process
    need not collide: DynamoDB cancels transactions that meet on an item.
    """

    def __init__(
        self,
        client: DynamoDBClient,
        jobs_table: str,
        lanes_table: str,
        *,
        keep_ended_jobs: timedelta,
        turns: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._client = client
        self._jobs = jobs_table
        self._lanes = lanes_table
        self._keep = keep_ended_jobs
        self._turns = turns

    # ---- reading ----------------------------------------------------------------------------------------------------

    @override
    @translated()
    def get(self, job_id: str) -> Job | None:
        answer = self._client.get_item(TableName=self._jobs, Key=job_key(job_id), ConsistentRead=True)
        item = answer.get("Item")
        return _job(item) if item else None

    @override
    @translated()
    def slots(self, lane: Lane) -> Slots:
        found = self._read_slots(lane.name)
        if self._has_been_converted(lane.name, found):
            found = self._read_slots(lane.name)
        return lane_items.slots(found)

    @override
    def holders(self, lane: Lane) -> Iterator[str]:
        return map(SK.required, self._query(f"{PK} = :pk", {":pk": text(holds_key(lane.name))}))

    @override
    def entries(self, lane: Lane) -> Iterator[WaitEntry]:
        return self._entries(lane, ANY_ENTRY)

    @override
    def waiting(self, lane: Lane) -> Iterator[WaitEntry]:
        return self._entries(lane, WAIT_PREFIX, _AT_A_TIME)

    @override
    def later(self, lane: Lane) -> Iterator[WaitEntry]:
        return self._entries(lane, LATER_PREFIX, _AT_A_TIME)

    def _entries(self, lane: Lane, prefix: str, at_a_time: int | None = None) -> Iterator[WaitEntry]:
        values = {":pk": text(lane_key(lane.name)), ":prefix": text(prefix)}
        return map(lane_items.entry, self._query(f"{PK} = :pk AND begins_with({SK}, :prefix)", values, at_a_time))

    def _query(self, condition: str, values: dict[str, Value], at_a_time: int | None = None) -> Iterator[Item]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._lanes,
            KeyConditionExpression=condition,
            **names_and_values(condition, values),
            ConsistentRead=True,
            PaginationConfig={"PageSize": at_a_time} if at_a_time else {},
        )
        with translated():
            for page in pages:
                yield from page["Items"]

    def _read_slots(self, lane: str) -> Item:
        answer = self._client.get_item(TableName=self._lanes, Key=slots_key(lane), ConsistentRead=True)
        return answer.get("Item", {})

    def _has_been_converted(self, lane: str, found: Item) -> bool:
        """Converts a lane that an earlier version wrote. False if `found` is as this version writes it."""
        if not {HOLDERS.name, LAYOUTS.name} & found.keys():
            return False
        from switchyard.tables import old_lanes  # noqa: PLC0415 - once, after an update

        old_lanes.convert(self._client, self._lanes, lane)
        return True

    @override
    def by_status(self, status: Status) -> Iterator[ActiveJob]:
        pages = self._client.get_paginator("query").paginate(
            TableName=self._jobs,
            IndexName="byStatus",
            KeyConditionExpression=f"{STATUS} = :status",
            **names_and_values(f"{STATUS}", {":status": text(status)}),
        )
        with translated():
            for page in pages:
                for item in page["Items"]:
                    with suppress(ForeignRow):
                        yield _listed(item)

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
        claimed = {STATUS.name: text(Status.CLAIMED), FENCE.name: number(fence), CLAIMED_AT.name: moment(now)}
        hold = self._hold(lane.name, request.job_id)
        parts: dict[str, Any] = {
            "job": self._rewrite_job(request, seen, now, claimed, keeps_token=entry is not None),
            "lock": self._lock(request),
            "hold": hold,
            "entry": self._remove_entry(entry) if entry else None,
        }
        has_room = self._has_room(lane, entry, fifo=fifo)
        refused = self._apply(lane.name, has_room, **parts)
        if "slots" in refused and self._has_been_converted(lane.name, refused["slots"].get("Item", {})):
            refused = self._apply(lane.name, has_room, **parts)
        if refused.keys() == {"hold"}:  # of a run whose worker has ended its job by itself
            refused = self._apply(lane.name, has_room, **parts | {"hold": self._held(lane.name, request.job_id)})
        if not refused:
            return Claimed(_claimed_job(request, seen, now, fence))
        if "entry" in refused:
            return EntryGone()
        return _refusal(refused) or LaneFull()

    @override
    def hold(
        self, request: WorkRequest, seen: Job | None, *, lock_object: bool = True
    ) -> Held | JobChanged | ObjectLocked:
        now = clock.now()
        waiting = {STATUS.name: text(Status.WAITING), FENCE.name: number(seen.fence if seen else 0)}
        refused = self._apply(
            request.lane,
            job=self._rewrite_job(request, seen, now, waiting),
            lock=self._lock(request) if lock_object else None,
            entry=self._put_entry(WaitEntry.of(request, now)),
        )
        return _refusal(refused) or Held()  # also if the entry already exists

    @override
    def hold_behind(self, request: WorkRequest) -> None:
        # Refused only if the entry already exists.
        self._apply(request.lane, entry=self._put_entry(WaitEntry.of(request, clock.now())))

    @override
    def admit(self, entry: WaitEntry) -> bool:
        #   LANE#…/WAITS_UNTIL#… ──▶ LANE#…/WAIT#…
        left = self._remove_entry(entry)
        refused = self._apply(entry.request.lane, entry=left, moved=self._put_entry(entry.moved()))
        if refused.keys() == {"moved"}:  # it is there already
            refused = self._apply(entry.request.lane, entry=left)
        return not refused

    @override
    def drop(self, entry: WaitEntry, seen: Job | None) -> JobChanged | None:
        #   the job as seen ──▶ its entry gone
        refused = self._apply(
            entry.request.lane,
            job=self._check_job(entry.request.job_id, seen),
            entry=self._remove_entry(entry),
        )
        return _changed(refused["job"]) if "job" in refused else None

    @override
    def add_owner(self, job: Job, user_id: str) -> JobChanged | None:
        condition, values = _still(job)
        owned = replace(job.request, user_id=user_id)
        waits = job.status is Status.WAITING
        #   the job as seen, without an owner ──▶ the same, with one; WAITING with fence = n ──▶ fence = n + 1
        refused = self._update_job(
            job.id,
            f"SET {USER_ID} = :owner, {REQUEST} = :request, {UPDATED_AT} = :now{f', {FENCE} = :next' if waits else ''}",
            f"{condition} AND attribute_not_exists({USER_ID})",
            {
                ":owner": text(user_id),
                ":request": text(owned.to_json()),
                ":now": moment(clock.now()),
                **({":next": number(job.fence + 1)} if waits else {}),
                **values,
            },
        )
        return _changed(refused) if refused else None

    @override
    def add_token(self, job: Job, token: str) -> JobChanged | None:
        condition, values = _still(job)
        #   the job as seen ──▶ the same, with the token. It is the stream that says so, also of a job that has ended.
        refused = self._update_job(job.id, f"SET {TASK_TOKEN} = :token", condition, {":token": text(token), **values})
        return _changed(refused) if refused else None

    # ---- starting ---------------------------------------------------------------------------------------------------

    @override
    def record_start(self, job: Job, target_id: str) -> JobChanged | None:
        #   status CLAIMED and fence = ours, no cancel ──▶ SUBMITTED
        refused = self._update_job(
            job.id,
            f"SET {STATUS} = :to, {TARGET_ID} = :target, {UPDATED_AT} = :now",
            _OUR_CLAIM,
            {
                ":to": text(Status.SUBMITTED),
                ":target": text(target_id),
                ":now": moment(clock.now()),
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
            f"SET {FENCE} = :next, {CLAIMED_AT} = :now, {UPDATED_AT} = :now REMOVE {RUN_ID}, {TARGET_ID}",
            _OUR_CLAIM,
            {":next": number(job.fence + 1), ":now": moment(now), **_our_claim(job)},
        )
        return _changed(refused) if refused else Claimed(_claimed_job(job.request, job, now, job.fence + 1))

    @override
    def undo_claim(self, job: Job, error: JobError | None, *, entry: WaitEntry | None = None) -> JobChanged | None:
        back_to = Status.WAITING if entry else Status.PENDING
        because = f", {ERROR} = :error" if error else ""
        #   status CLAIMED and fence = ours, no cancel ──▶ PENDING | WAITING
        give_back = self._update_action(
            job.id,
            f"SET {STATUS} = :to, {UPDATED_AT} = :now{because} REMOVE {CLAIMED_AT}",
            _OUR_CLAIM,
            {
                ":to": text(back_to),
                **({":error": error_value(error)} if error else {}),
                ":now": moment(clock.now()),
                **_our_claim(job),
            },
        )
        refused = self._settle(
            job.request.lane,
            # A redelivered message may have put the entry back already. Then it counts as waiting.
            instead={"entry": [self._put_entry(entry, again=True)]} if entry else {},
            job=give_back,
            hold=self._free(job.request.lane, job.id),
            lock=self._unlock(job) if entry is None else None,
            entry=self._put_entry(entry) if entry else None,
        )
        return _changed(refused["job"]) if "job" in refused else None

    @override
    def give_up(self, job: Job, error: JobError) -> bool:
        now = clock.now()
        #   PENDING and fence as seen ──▶ FAILED, neverStarted (a redrive may start it)
        condition, values = _still(replace(job, status=Status.PENDING))
        refused = self._update_job(
            job.id,
            f"SET {STATUS} = :to, {ERROR} = :error, {NEVER_STARTED} = :true, "
            f"{ENDED_AT} = :now, {UPDATED_AT} = :now, {TTL} = :ttl",
            condition,
            {
                ":to": text(Status.FAILED),
                ":error": error_value(error),
                ":true": TRUE,
                ":now": moment(now),
                ":ttl": self._expiry(now),
                **values,
            },
        )
        return refused is None

    # ---- cancelling -------------------------------------------------------------------------------------------------

    @override
    def cancel(self, job: Job, *, by: str = "") -> JobChanged | None:
        assert job.status in {Status.PENDING, Status.WAITING}  # noqa: S101 - with a slot: `request_cancel`
        now = clock.now()
        waits = job.status is Status.WAITING
        condition, values = _still(job)
        cancelled_by, caller = _cancelled_by(by)
        #   PENDING | WAITING and fence = n, as seen ──▶ CANCELLED, fence = n + 1
        end = self._update_action(
            job.id,
            f"SET {STATUS} = :to, {FENCE} = :next, {ENDED_AT} = :now, {UPDATED_AT} = :now, {TTL} = :ttl{cancelled_by} "
            f"REMOVE {ERROR}",
            condition,
            {
                ":to": text(Status.CANCELLED),
                **caller,
                ":next": number(job.fence + 1),
                ":now": moment(now),
                ":ttl": self._expiry(now),
                **values,
            },
        )
        entry = WaitEntry.of(job.request, now)
        refused = self._settle(
            job.request.lane,
            instead={"entry": [self._remove_entry(entry.moved())]},
            job=end,
            entry=self._remove_entry(entry) if waits else None,
            lock=self._unlock(job) if waits else None,
        )
        return _changed_or(job, refused)

    @override
    @translated()
    def request_cancel(self, job: Job, *, by: str = "") -> Job | JobChanged:
        active = {f":active{n}": text(status) for n, status in enumerate(sorted(HOLDING_SLOT))}
        cancelled_by, caller = _cancelled_by(by)
        #   CLAIMED | SUBMITTED | RUNNING and fence as seen ──▶ same status, cancel requested
        note = self._update_action(
            job.id,
            f"SET {CANCEL_REQUESTED_AT} = if_not_exists({CANCEL_REQUESTED_AT}, :now), {UPDATED_AT} = :now"
            f"{cancelled_by}",
            f"{FENCE} = :fence AND {STATUS} IN ({', '.join(active)})",
            {":now": moment(clock.now()), ":fence": number(job.fence), **active, **caller},
        )
        try:
            answer = self._update_row(note, ReturnValues="ALL_NEW")
        except self._client.exceptions.ConditionalCheckFailedException as error:
            return _changed(cast("_Reason", error.response))
        return _job(answer["Attributes"])

    # ---- following --------------------------------------------------------------------------------------------------

    @override
    @translated()
    def advance(
        self, job_id: str, fence: int, target_id: str, to: Status, *, attempts: int, log_stream: str | None = None
    ) -> bool:
        assert to not in TERMINAL  # noqa: S101 - terminal: `finish`
        origins = {f":from{n}": text(origin) for n, origin in enumerate(sorted(origins_of(to)))}
        started = f", {STARTED_AT} = if_not_exists({STARTED_AT}, :now)" if to is Status.RUNNING else ""
        log, logged = _log(log_stream)
        entered = f"{STATUS} IN ({', '.join(origins)})"
        if log_stream and to is Status.RUNNING:
            # The worker itself was faster, or Batch tries the run again, with a log of its own.
            entered = (
                f"({entered} OR {STATUS} = :to AND (attribute_not_exists({RUN_ID}) OR {RUN_ID} = :target) "
                f"AND (attribute_not_exists({LOG_STREAM}) OR {LOG_STREAM} <> :log) "
                f"AND (attribute_not_exists({ATTEMPTS}) OR {ATTEMPTS} <= :attempts))"
            )
        #   status in the legal origins, fence = the run's, no other run recorded ──▶ SUBMITTED | RUNNING
        #   RUNNING by this run, with another log or none ──▶ RUNNING, with its log
        change = self._update_action(
            job_id,
            f"SET {STATUS} = :to, {TARGET_ID} = :target, {ATTEMPTS} = :attempts, {UPDATED_AT} = :now{started}{log}",
            f"{FENCE} = :fence AND {entered} AND (attribute_not_exists({TARGET_ID}) OR {TARGET_ID} = :target)",
            {
                ":to": text(to),
                ":target": text(target_id),
                ":attempts": number(attempts),
                ":now": moment(clock.now()),
                ":fence": number(fence),
                **origins,
                **logged,
            },
        )
        try:
            before = self._update_row(change, ReturnValues="UPDATED_OLD")
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        # Whether the values that stayed the same are returned as well, the reference doesn't say.
        return STATUS.of(before.get("Attributes", {})) not in (None, to)

    @override
    def retry(self, job: Job, again: Job) -> bool:
        entry = WaitEntry.of(again.request, clock.now())
        forgotten = (CLAIMED_AT, TARGET_ID, RUN_ID, PROGRESS, RESULT, ERROR, STARTED_AT, HEARTBEAT_AT)
        #   status as read, fence = n, no cancel ──▶ WAITING, fence = n + 1, without the run
        back = self._update_action(
            job.id,
            # Not the request, which others may give an owner meanwhile.
            f"SET {STATUS} = :to, {FENCE} = :next, {START_AFTER} = :due, {PAST_ATTEMPTS} = :attempts, "
            f"{UPDATED_AT} = :now REMOVE {', '.join(map(str, forgotten))}",
            f"{FENCE} = :fence AND {STATUS} = :same AND attribute_not_exists({CANCEL_REQUESTED_AT})",
            {
                ":to": text(Status.WAITING),
                ":next": number(job.fence + 1),
                ":due": moment(again.request.due),
                ":attempts": attempts_value(again.attempts),
                ":now": moment(clock.now()),
                ":fence": number(job.fence),
                ":same": text(job.status),
            },
        )
        return not self._settle(
            job.request.lane,
            instead={"entry": [self._put_entry(entry, again=True)]},
            job=back,
            hold=self._free(job.request.lane, job.id),
            entry=self._put_entry(entry),
        )

    @override
    def finish(
        self,
        job: Job,
        to: Status,
        *,
        error: JobError | None,
        target_id: str | None,
        attempts: int,
        log_stream: str | None = None,
    ) -> bool:
        if job.status not in TERMINAL and to not in TRANSITIONS[job.status] & TERMINAL:
            return False
        now = clock.now()
        log, logged = _log(log_stream)
        values = {":fence": number(job.fence), ":ttl": self._expiry(now), ":now": moment(now), **logged}
        if job.status in TERMINAL:
            #   status terminal and fence = ours ──▶ same status, with a TTL
            end = self._update_action(
                job.id,
                f"SET {TTL} = if_not_exists({TTL}, :ttl), {ENDED_AT} = if_not_exists({ENDED_AT}, :now){log}",
                f"{FENCE} = :fence AND {STATUS} = :same",
                {**values, ":same": text(job.status)},
            )
        else:
            because = f", {ERROR} = if_not_exists({ERROR}, :error)" if error else ""
            run = f", {TARGET_ID} = :target" if target_id else ""
            #   status as read and fence = ours ──▶ COMPLETED | FAILED | CANCELLED
            end = self._update_action(
                job.id,
                f"SET {STATUS} = :to, {ATTEMPTS} = :attempts, {ENDED_AT} = :now, {UPDATED_AT} = :now, "
                f"{TTL} = :ttl{run}{log}{because}{'' if error else f' REMOVE {ERROR}'}",
                f"{FENCE} = :fence AND {STATUS} = :same",
                {
                    **values,
                    ":same": text(job.status),
                    ":to": text(to),
                    ":attempts": number(attempts),
                    **({":target": text(target_id)} if target_id else {}),
                    **({":error": error_value(error)} if error else {}),
                },
            )
        lane = job.request.lane
        refused = self._settle(lane, job=end, hold=self._free(lane, job.id), lock=self._unlock(job))
        return _changed_or(job, refused) is None

    # ---- pausing ----------------------------------------------------------------------------------------------------

    @override
    def set_pause(self, lane: Lane, seen: Pause | None, to: Pause | None) -> bool:
        #   LANE#…/SLOTS   pause as seen ──▶ another, or none
        return self._change_slots(
            lane,
            f"SET {PAUSE} = :to" if to else f"REMOVE {PAUSE}",
            ({":seen": pause_value(seen)} if seen else {}) | ({":to": pause_value(to)} if to else {}),
            condition=f"{PAUSE} = :seen" if seen else f"attribute_not_exists({PAUSE})",
        )

    # ---- repairing --------------------------------------------------------------------------------------------------

    @override
    def free_leaked_slot(self, lane: Lane, job_id: str, seen: Job | None) -> bool:
        #   the job as seen ──▶ without a slot, and if it has ended, without a lock
        refused = self._settle(
            lane.name,
            job=self._check_job(job_id, seen),
            hold=self._free(lane.name, job_id),
            lock=self._unlock(seen) if seen is not None and seen.status in TERMINAL else None,
        )
        return _changed_or(seen, refused) is None

    @override
    @translated()
    def free_foreign_slot(self, lane: Lane, job_id: str) -> bool:
        free = self._free(lane.name, job_id)
        refused = self._apply(lane.name, hold=free)
        if refused and self._has_been_converted(lane.name, self._read_slots(lane.name)):
            refused = self._apply(lane.name, hold=free)
        return not refused

    @override
    def retake_slot(self, lane: Lane, job: Job) -> bool:
        #   the job as seen ──▶ with a slot, its object locked
        hold, lock = self._hold(lane.name, job.id), self._lock(job.request)
        refused = self._settle(lane.name, job=self._check_job(job.id, job), hold=hold, lock=lock)
        return _changed_or(job, refused) is None

    @override
    def recount(self, lane: Lane, seen: Slots, actual: Slots) -> bool:
        #   nothing moved since ──▶ as counted
        counted = {TAKEN: actual.taken, WAITING: actual.waiting, LATER: actual.later}
        return self._change_slots(
            lane,
            f"SET {', '.join(f'{each} = :{each.name}' for each in counted)} ADD {MOVES} :one",
            {f":{each.name}": number(value) for each, value in counted.items()}
            | {":seen": number(seen.moves), ":one": number(1)},
            condition=f"{MOVES} = :seen" if seen.moves else f"attribute_not_exists({MOVES}) OR {MOVES} = :seen",
        )

    # ---- the pieces of a transaction --------------------------------------------------------------------------------

    def _check_job(self, job_id: str, seen: Job | None) -> _Action:
        condition, values = _still(seen)
        return {
            "ConditionCheck": {
                "TableName": self._jobs,
                "Key": job_key(job_id),
                "ConditionExpression": condition,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **names_and_values(condition, values),
            }
        }

    def _rewrite_job(
        self,
        request: WorkRequest,
        seen: Job | None,
        now: datetime,
        changes: dict[str, Any],
        *,
        keeps_token: bool = False,
    ) -> _Action:
        """Rewrites the job for this request, with `changes`, and removes the attributes of an earlier run.

        With `keeps_token`, a token that the same work got since its request was written stays.
        """
        condition, values = _still(seen)
        attributes = {**request_attributes(request), UPDATED_AT.name: moment(now), **changes}
        created = f"if_not_exists({CREATED_AT}, :now)"
        removed = _LEFT_BY_A_RUN
        if seen is not None and is_other_work(seen, request):
            created = ":now"
            attributes[PAST_VERSIONS.name] = texts(past_versions_after(seen, request))
            removed += _LEFT_BY_A_REQUEST
        elif seen is not None and seen.is_placeholder:
            removed += _LEFT_BY_A_REQUEST[:1]  # nobody becomes the owner of work by writing its row ahead
        #   nothing there, or status and fence as seen ──▶ CLAIMED | WAITING
        assigned = {name: f":new_{name}" for name in attributes}
        if keeps_token and request.task_token and TASK_TOKEN not in removed:
            assigned[TASK_TOKEN.name] = f"if_not_exists({TASK_TOKEN}, :new_{TASK_TOKEN.name})"
        assignments = ", ".join(f"#{name} = {value}" for name, value in assigned.items())
        removals = ", ".join(str(attribute) for attribute in removed if attribute.name not in attributes)
        return self._update_action(
            request.job_id,
            f"REMOVE {removals} SET {CREATED_AT} = {created}, {assignments}",
            condition,
            {
                **values,
                ":now": moment(now),
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
                "Item": lock_item(request),
                "ConditionExpression": _OURS_OR_FREE,
                **names_and_values(_OURS_OR_FREE, {":job": text(request.job_id)}),
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
                "Key": lock_key(job.request.source),
                "ConditionExpression": _OURS_OR_FREE,
                **names_and_values(_OURS_OR_FREE, {":job": text(job.id)}),
            }
        }

    def _has_room(self, lane: Lane, entry: WaitEntry | None, *, fifo: bool) -> tuple[str, dict[str, Value]]:
        """The condition of a claim: a free slot, no operator's pause, and for a newcomer, nobody waits and no pause."""
        condition = (
            f"attribute_not_exists({HOLDERS}) AND attribute_not_exists({LAYOUTS}) "
            f"AND (attribute_not_exists({TAKEN}) OR {TAKEN} < :limit) "
            f"AND (attribute_not_exists({PAUSE}) OR attribute_exists({PAUSE}.#until))"
        )
        values = {":limit": number(lane.limit)}
        if entry is None and fifo:
            condition += (
                f" AND (attribute_not_exists({WAITING}) OR {WAITING} <= :nobody) AND attribute_not_exists({PAUSE})"
            )
            values[":nobody"] = number(0)
        return condition, values

    def _hold(self, lane: str, job_id: str) -> _Part:
        #   HOLDS#…/job absent ──▶ there        LANE#…/SLOTS   taken + 1
        return _Part(self._put(hold_item(lane, job_id), f"attribute_not_exists({PK})"), {TAKEN.name: 1})

    def _held(self, lane: str, job_id: str) -> _Part:
        #   HOLDS#…/job there ──▶ the same
        return _Part(self._put(hold_item(lane, job_id), f"attribute_exists({PK})"))

    def _free(self, lane: str, job_id: str) -> _Part:
        #   HOLDS#…/job there ──▶ gone        LANE#…/SLOTS   taken − 1
        return _Part(self._remove(hold_item(lane, job_id)), {TAKEN.name: -1})

    def _put_entry(self, entry: WaitEntry, *, again: bool = False) -> _Part:
        #   LANE#…/WAIT#… | WAITS_UNTIL#… absent ──▶ there        LANE#…/SLOTS   waiting | later + 1
        #   again: there ──▶ as given
        if again:
            return _Part(self._put(entry_item(entry), f"attribute_exists({PK})"))
        return _Part(self._put(entry_item(entry), f"attribute_not_exists({PK})"), {_counted_as(entry): 1})

    def _remove_entry(self, entry: WaitEntry) -> _Part:
        #   LANE#…/WAIT#… | WAITS_UNTIL#… there ──▶ gone        LANE#…/SLOTS   waiting | later − 1
        return _Part(self._remove(entry_key(entry)), {_counted_as(entry): -1})

    def _put(self, item: dict[str, Value], condition: str) -> _Action:
        names = names_and_values(condition, {})
        return {"Put": {"TableName": self._lanes, "Item": item, "ConditionExpression": condition, **names}}

    def _remove(self, key: dict[str, Value]) -> _Action:
        condition = f"attribute_exists({PK})"
        names = names_and_values(condition, {})
        return {"Delete": {"TableName": self._lanes, "Key": key, "ConditionExpression": condition, **names}}

    def _update_slots(
        self, lane: str, update: str, values: dict[str, Value], *, condition: str | None = None
    ) -> _Action:
        return {
            "Update": {
                "TableName": self._lanes,
                "Key": slots_key(lane),
                "UpdateExpression": update,
                **(
                    {"ConditionExpression": condition, "ReturnValuesOnConditionCheckFailure": "ALL_OLD"}
                    if condition
                    else {}
                ),
                **names_and_values(f"{update} {condition}", values),
            }
        }

    # ---- sending ----------------------------------------------------------------------------------------------------

    @translated()
    def _change_slots(self, lane: Lane, update: str, values: dict[str, Value], *, condition: str) -> bool:
        """Makes one UpdateItem call for a lane's slots. False if the condition does not hold."""
        change = self._update_slots(lane.name, update, values, condition=condition)
        try:
            self._client.update_item(**change["Update"])
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def _update_action(self, job_id: str, update: str, condition: str, values: dict[str, Any]) -> _Action:
        return {
            "Update": {
                "TableName": self._jobs,
                "Key": job_key(job_id),
                "UpdateExpression": update,
                "ConditionExpression": condition,
                "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
                **names_and_values(f"{update} {condition}", values),
            }
        }

    @translated()
    def _update_job(self, job_id: str, update: str, condition: str, values: dict[str, Any]) -> _Reason | None:
        """Makes one UpdateItem call. None if it was applied, else the failed condition."""
        try:
            self._update_row(self._update_action(job_id, update, condition, values))
        except self._client.exceptions.ConditionalCheckFailedException as error:
            return cast("_Reason", error.response)
        return None

    def _update_row(self, action: _Action, **options: Any) -> Mapping[str, Any]:  # noqa: ANN401 - a call's parameters
        """Makes one UpdateItem call. If the row is full, it makes a second one, which also makes room."""
        try:
            return self._client.update_item(**action["Update"], **options)
        except ClientError as error:
            smaller = _making_room(action, _WRITTEN_BY_A_WORKER) if _is_full(error) else None
            if smaller is None:
                raise
        return self._update_row(smaller, **options)

    def _settle(
        self, lane: str, *, instead: Mapping[str, list[_Part]] | None = None, **given: _Part | _Action | None
    ) -> Mapping[str, _Reason]:
        """Applies the parts that can be applied, if that of the job can. Returns what was refused: {} if applied.

        A hold, a lock or an entry may be gone, or another job's by now. Such a part is left out, or replaced by the
        next one in `instead`.
        """
        others = {name: iter(every) for name, every in (instead or {}).items()}
        refused: Mapping[str, _Reason] = {}
        parts: dict[str, Any] = given
        may_be_old = True
        for _ in range(len(given) + 2):
            refused = self._apply(lane, **parts)
            if not refused or "job" in refused:
                return refused
            if "hold" in refused and may_be_old:
                may_be_old = False
                if self._has_been_converted(lane, self._read_slots(lane)):
                    continue
            parts |= {name: next(others.get(name, iter(())), None) for name in refused}
        return refused

    def _apply(
        self, lane: str, only_if: tuple[str, dict[str, Value]] | None = None, **parts: _Part | _Action | None
    ) -> Mapping[str, _Reason]:
        """Makes one transaction of these parts and of what they change in the lane's counts."""
        counts = Counter[str]()
        actions = dict[str, _Action | None]()
        for name, part in parts.items():
            actions[name] = part.action if isinstance(part, _Part) else part
            counts.update(part.counts if isinstance(part, _Part) else {})
        if not counts and only_if is None:
            return self._transact(**actions)
        counts[MOVES.name] = 1
        condition, values = only_if or (None, {})
        values = values | {f":{name}": number(change) for name, change in counts.items()}
        update = f"ADD {', '.join(f'#{name} :{name}' for name in counts)}"
        with self._turns(lane):
            return self._transact(**actions, slots=self._update_slots(lane, update, values, condition=condition))

    @translated()
    def _transact(self, **actions: _Action | None) -> Mapping[str, _Reason]:
        """Makes one TransactWriteItems call of the given actions. Returns the failed conditions by action's name.

        Without a failed condition everything was applied, else nothing. If the job's row is full, it makes a second
        call, which also makes room. No run goes on after a transaction, so that one may forget the run.
        """
        wanted = {name: action for name, action in actions.items() if action is not None}
        if not wanted:
            return {}
        try:
            self._client.transact_write_items(TransactItems=cast("Any", list(wanted.values())))
        except ClientError as error:
            smaller = _making_room(wanted.get("job"), _WRITTEN_BY_A_WORKER + _ABOUT_A_RUN) if _is_full(error) else None
            if smaller is not None:
                return self._transact(**wanted | {"job": smaller})
            reasons = cast("list[dict[str, Any]]", error.response.get("CancellationReasons", []))
            if not reasons or not {reason.get("Code") for reason in reasons} <= {"None", "ConditionalCheckFailed"}:
                raise  # throttling, or a conflict at every retry: nothing was applied
            named = zip(wanted, reasons, strict=True)
            return {name: reason for name, reason in named if reason.get("Code") == "ConditionalCheckFailed"}
        return {}

    def _expiry(self, now: datetime) -> Value:
        # Only ended jobs get one: DynamoDB must never delete a job that waits or runs.
        return number(int((now + self._keep).timestamp()))


def _is_full(error: ClientError) -> bool:
    """Whether an item would have become larger than the 400 KB that DynamoDB allows. Nothing was applied then."""
    reasons = cast("list[dict[str, str]]", error.response.get("CancellationReasons", [error.response["Error"]]))
    return any("exceeded the maximum allowed size" in (reason.get("Message") or "") for reason in reasons)


def _making_room(action: _Action | None, removed: tuple[Attribute[Any], ...]) -> _Action | None:
    """The same update of a job's row without what its worker wrote, and with the reason. None if it makes room already.

    A worker can fill any row. No write of ours may fail because of that, least of all the end of a job.
    """
    update = dict(action.get("Update", {}) if action else {})
    expression = update.get("UpdateExpression", "REMOVE")
    if expression.startswith("REMOVE"):
        return None
    logger.warning("a row is full: removing what its worker wrote", job_id=JOB_ID.of(update["Key"]))
    assigned, _, gone = expression.partition(" REMOVE ")
    assigned = _ERROR_ASSIGNED.sub("", _KEPT_IF_THERE.sub(r"\1", assigned))
    names = {*gone.split(", "), *map(str, removed)} - {"", f"{ERROR}", *re.findall(r"#\w+(?= =)", assigned)}
    update["UpdateExpression"] = f"REMOVE {', '.join(sorted(names))} {assigned}, {ERROR} = :error"
    values = update["ExpressionAttributeValues"] | {":error": error_value(ROW_FULL)}
    return {
        "Update": update | names_and_values(f"{update['UpdateExpression']} {update['ConditionExpression']}", values)
    }


def _counted_as(entry: WaitEntry) -> str:
    return (LATER if entry.later else WAITING).name


def _log(stream: str | None) -> tuple[str, dict[str, Value]]:
    """An assignment to append to an update, with its value."""
    return (f", {LOG_STREAM} = :log", {":log": text(stream)}) if stream else ("", {})


def _cancelled_by(by: str) -> tuple[str, dict[str, Value]]:
    """An assignment to append to an update, with its value. The first who cancels a job is recorded."""
    return (f", {CANCELLED_BY} = if_not_exists({CANCELLED_BY}, :by)", {":by": text(by)}) if by else ("", {})


_AT_A_TIME = 25
"""Entries of a page. Few start when a job ends, so reading more of them would be wasted."""

_LEFT_BY_A_RUN: tuple[Attribute[Any], ...] = (
    *OF_AN_END,
    *(TARGET_ID, RUN_ID, LOG_STREAM, PROGRESS, ATTEMPTS, STARTED_AT, HEARTBEAT_AT, NEVER_STARTED, START_AFTER),
)
_LEFT_BY_A_REQUEST: tuple[Attribute[Any], ...] = (USER_ID, METADATA, SUBMITTED_BY, PAST_ATTEMPTS, PRIORITY, TASK_TOKEN)
"""Attributes that a request may set; what the last one set must not be taken for the next one's."""
_WRITTEN_BY_A_WORKER: tuple[Attribute[Any], ...] = (PROGRESS, RESULT, ERROR, STARTED_AT, HEARTBEAT_AT, UPDATED_AT)
_ABOUT_A_RUN: tuple[Attribute[Any], ...] = (TARGET_ID, RUN_ID, CANCEL_REQUESTED_AT)
"""Attributes that a worker may write too. While its run goes on, they can't be removed."""
_ERROR_ASSIGNED = re.compile(rf", {ERROR} = (?:if_not_exists\({ERROR}, :error\)|:error)")
_KEPT_IF_THERE = re.compile(rf"if_not_exists\((?:{STARTED_AT}|{CANCEL_REQUESTED_AT}), (:\w+)\)")
_OURS_OR_FREE = f"attribute_not_exists({PK}) OR {JOB_ID} = :job"
_OUR_CLAIM = f"{FENCE} = :fence AND {STATUS} = :claimed AND attribute_not_exists({CANCEL_REQUESTED_AT})"


def _our_claim(job: Job) -> dict[str, Any]:
    return {":fence": number(job.fence), ":claimed": text(Status.CLAIMED)}


def _still(seen: Job | None) -> tuple[str, dict[str, Any]]:
    """The condition that a job is still as seen: status and fence identify its state, and before any claim the work."""
    if seen is None:
        return f"attribute_not_exists({JOB_ID})", {}
    values = {":seen_status": text(seen.status), ":seen_fence": number(seen.fence)}
    if seen.fence:
        return f"{STATUS} = :seen_status AND {FENCE} = :seen_fence", values
    # Nothing has been claimed: the row is another program's, or was announced, and could be withdrawn and announced
    # again for other work.
    condition = f"{STATUS} = :seen_status AND (attribute_not_exists({FENCE}) OR {FENCE} = :seen_fence)"
    if not seen.has_request:
        return f"{condition} AND attribute_not_exists({REQUEST})", values
    asked = seen.request
    work = {"version": asked.source.version, "bucket": asked.source.bucket, "key": asked.source.key}
    condition += f" AND {KIND} = :seen_kind" + "".join(f" AND {SOURCE}.#{name} = :seen_{name}" for name in work)
    condition += f" AND {USER_ID} = :seen_user" if asked.user_id else f" AND attribute_not_exists({USER_ID})"
    values |= {":seen_kind": text(asked.kind), **{f":seen_{name}": text(value) for name, value in work.items()}}
    return condition, values | ({":seen_user": text(asked.user_id)} if asked.user_id else {})


def _job(item: Item) -> Job:
    with _counted():
        return items.job(item)


def _listed(item: Item) -> ActiveJob:
    with _counted():
        return lane_items.active_job(item)


@contextmanager
def _counted() -> Iterator[None]:
    try:
        yield
    except ForeignRow as error:
        observability.count(Metric.FOREIGN_ROWS)
        logger.warning("a row is not ours: left alone", reason=str(error))
        raise


def _changed(reason: _Reason) -> JobChanged:
    return JobChanged(_job(reason["Item"]) if "Item" in reason else None)


def _changed_or(job: Job | None, refused: Mapping[str, _Reason]) -> JobChanged | None:
    """None if nothing was refused. `job` is what others see if the job itself has not changed."""
    if not refused:
        return None
    return _changed(refused["job"]) if "job" in refused else JobChanged(job)


def _refusal(refused: Mapping[str, _Reason]) -> JobChanged | ObjectLocked | None:
    """Which condition of a claim failed. A changed job takes precedence over a lock, since it tells more."""
    if "job" in refused:
        return _changed(refused["job"])
    return ObjectLocked(lane_items.lock(refused["lock"]["Item"])) if "lock" in refused else None


def _claimed_job(request: WorkRequest, seen: Job | None, now: datetime, fence: int) -> Job:
    return Job(
        request=request,
        status=Status.CLAIMED,
        fence=fence,
        created_at=seen.created_at if seen else now,
        claimed_at=now,
    )
