"""JobsTable for the API: announces, withdraws, reads and lists jobs.

An announced job is recorded before its message is sent, and withdrawn if sending fails. Status changes are in `store`.
A list is one Query of an index, so its cost depends on the page size, not on the number of jobs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import astuple, dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock
from switchyard.clients import translated
from switchyard.names import stable_hash
from switchyard.protocol.jobs import TERMINAL, Job, Status, WorkRequest
from switchyard.tables import items
from switchyard.tables.items import Item, PlainItem, Value, job_key, names_and_values, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from switchyard.protocol.lanes import Slots

_LOOKED_AT = 500
"""How many index entries a filtered page reads at most, about 20 read units. So it may be short before the end."""

_MAX_KEYS = 100
"""Of a BatchGetItem call (Amazon DynamoDB API reference)."""
_MAX_ID_BYTES = 2048
_MAX_TIME_BYTES = 1024

# The attributes that `api.presentation` shows, and those that say who may see the job. Not the whole item: a job that
# ran for 100 uploads has 100 past versions.
_SHOWN = (
    f"{items.JOB_ID}, {items.KIND}, {items.STATUS}, {items.PROGRESS}, {items.ERROR}, {items.RESULT}, {items.METADATA}, "
    f"{items.USER_ID}, {items.REQUEST}, {items.CREATED_AT}, {items.UPDATED_AT}, {items.STARTED_AT}, {items.ENDED_AT}, "
    f"{items.CANCEL_REQUESTED_AT}, {items.SUBMITTED_BY}, {items.CANCELLED_BY}, {items.LANE}, "
    f"{items.PAST_ATTEMPTS}, {items.START_AFTER}, {items.SOURCE}, {items.PRIORITY}"
)
_OF_THE_LOG = f"{items.JOB_ID}, {items.USER_ID}, {items.STATUS}, {items.TARGET}, {items.LOG_STREAM}"
_LISTED = f"{items.JOB_ID}, {items.KIND}, {items.STATUS}, {items.USER_ID}, {items.CREATED_AT}, {items.LANE}"
_INDEXES = {items.USER_ID: "byUser", items.STATUS: "byStatus", items.KIND: "byKind"}
"""By partition key, the most selective first: a user has few jobs, a status or kind many."""


class BadToken(ValueError):
    """The page token is invalid, or belongs to another list."""


@dataclass(frozen=True, slots=True)
class Known:
    """The job that already has this id. Without a `fingerprint`, the API did not announce it."""

    fingerprint: str | None
    status: str
    kind: str | None = None
    user_id: str | None = None

    @property
    def is_pending(self) -> bool:
        """Whether its message may not have been sent yet."""
        return self.status == Status.PENDING


@dataclass(frozen=True, slots=True)
class Filters:
    """Which jobs to list; at least one is set."""

    user_id: str | None = None
    kind: str | None = None
    status: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of jobs, newest first. `next_token` is set if more may follow."""

    jobs: list[PlainItem]
    next_token: str | None


class Records:
    """Reads and writes jobs for the API. Every method makes one AWS call. Only `pauses` needs the table of lanes."""

    def __init__(self, client: DynamoDBClient, jobs_table: str, lanes_table: str = "") -> None:
        self._client = client
        self._table = jobs_table
        self._lanes = lanes_table

    # ---- announcing -------------------------------------------------------------------------------------------------
    # In an announced request, `source.message_id` is the id of the HTTP request, and identifies who announced the job.

    def announce(self, request: WorkRequest, *, fingerprint: str, by: str = "") -> Known | None:
        """Records a job before its message is sent. Returns the existing job if its id is taken, else None.

        `fingerprint` is a hash of the request and its caller; `by` is the caller.
        """
        #   nothing there ──▶ PENDING, announced by us
        condition = f"attribute_not_exists({items.JOB_ID})"
        try:
            self._client.put_item(
                TableName=self._table,
                Item=items.announced(request, fingerprint, clock.now(), by),
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **names_and_values(condition, {}),
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            item = _found(error)
            # The SDK retries a call whose response was lost; then the record found is our own.
            if items.ANNOUNCED_BY.of(item) == request.source.message_id:
                return None
            return Known(
                items.FINGERPRINT.of(item), items.STATUS.of(item) or "", items.KIND.of(item), items.USER_ID.of(item)
            )
        return None

    def announce_again(self, request: WorkRequest) -> bool:
        """Records that a PENDING job's message is about to be sent again. False if it isn't PENDING, or is gone.

        Earlier announcers can then no longer withdraw the job.
        """
        #   PENDING ──▶ PENDING, announced by us
        update, condition = f"SET {items.ANNOUNCED_BY} = :us", f"{items.STATUS} = :pending"
        return self._update(request.job_id, update, condition, _us(request))

    def announce_ended(self, request: WorkRequest, *, fingerprint: str, by: str = "") -> bool:
        """Records that an ended job's message is about to be sent, to do its work anew. False if the job hasn't ended.

        The fence stays, so that earlier runs remain shut out. Such a job can't be withdrawn: it is under way from here.
        """
        now = clock.now()
        attributes = {
            **items.announced(request, fingerprint, now, by),
            items.HEARTBEAT_AT.name: items.moment(now),  # or the reconciler would take it for lost
        }
        for kept in (items.JOB_ID, items.CREATED_AT):
            del attributes[kept.name]
        #   ended ──▶ PENDING, announced by us; kind and user stay
        update = f"SET {', '.join(f'#{name} = :new_{name}' for name in attributes)} "
        update += f" REMOVE {', '.join(map(str, (*items.OF_AN_END, items.PROGRESS, items.STARTED_AT)))}"
        condition = (
            f"{items.STATUS} IN (:completed, :failed, :cancelled) AND {items.KIND} = :new_kind "
            f"AND {items.USER_ID} = :new_userId"
        )
        ended = {f":{status.lower()}": text(status) for status in TERMINAL}
        values = {f":new_{name}": value for name, value in attributes.items()} | ended
        return self._update(request.job_id, update, condition, values)

    def withdraw(self, request: WorkRequest) -> bool:
        """Deletes a job whose message apparently could not be sent. False if it was claimed, so the message arrived.

        A job that another request has announced since is kept, since that request may have been answered 202.
        """
        #   PENDING, never claimed, and announced by us, or not there ──▶ gone
        condition = (
            f"attribute_not_exists({items.JOB_ID}) OR ({items.STATUS} = :pending "
            f"AND attribute_not_exists({items.FENCE}) AND {items.ANNOUNCED_BY} = :us)"
        )
        try:
            self._client.delete_item(
                TableName=self._table,
                Key=job_key(request.job_id),
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **names_and_values(condition, _us(request)),
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            item = _found(error)
            return items.STATUS.of(item) == Status.PENDING and items.FENCE.name not in item
        return True

    # ---- forgetting -------------------------------------------------------------------------------------------------

    def forget_result(self, ended: Job) -> bool:
        """Removes the result of an ended job whose data is erased. False if the job is no longer as seen."""
        #   ended, as seen ──▶ the same, without a result
        update = f"REMOVE {items.RESULT}"
        condition = f"{items.STATUS} = :status AND (attribute_not_exists({items.FENCE}) OR {items.FENCE} = :fence)"
        values = {":status": text(ended.status), ":fence": items.number(ended.fence)}
        return self._update(ended.id, update, condition, values)

    def _update(self, job_id: str, update: str, condition: str, values: dict[str, Value]) -> bool:
        """Updates a job. False if the condition does not hold."""
        try:
            self._client.update_item(
                TableName=self._table,
                Key=job_key(job_id),
                UpdateExpression=update,
                ConditionExpression=condition,
                **names_and_values(f"{update} {condition}", values),
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    # ---- reading ----------------------------------------------------------------------------------------------------

    def read(self, job_id: str) -> PlainItem | None:
        """Reads what can be shown of a job. Consistent, so that a job is found as soon as it is accepted."""
        return self._read(job_id, _SHOWN)

    def read_log(self, job_id: str) -> PlainItem | None:
        """Reads what says where a job's log is, and who may see it. Consistent."""
        return self._read(job_id, _OF_THE_LOG)

    def _read(self, job_id: str, attributes: str) -> PlainItem | None:
        answer = self._client.get_item(
            TableName=self._table,
            Key=job_key(job_id),
            ConsistentRead=True,
            ProjectionExpression=attributes,
            **names_and_values(attributes, {}),
        )
        item = answer.get("Item")
        return items.plain(item) if item else None

    def lanes(self, lanes: Collection[str]) -> dict[str, Slots]:
        """The counts and pauses of these lanes, at most 100. Eventually consistent, and lacks what can't be read."""
        if not lanes:
            return {}
        from switchyard.tables import lane_items  # noqa: PLC0415 - only where a job waits

        keys = [lane_items.slots_key(lane) for lane in sorted(lanes)]
        answer = self._client.batch_get_item(RequestItems={self._lanes: {"Keys": keys}})
        found = answer["Responses"][self._lanes]
        return {lane_items.lane_of_item(item): lane_items.slots(item) for item in found}

    def page(self, filters: Filters, limit: int, token: str | None = None) -> Page:
        """Lists up to `limit` jobs, newest first, after the page that returned `token`. Eventually consistent.

        Queries the index of the most selective filter and applies the others to a bounded number of its entries. So a
        page may be short, even empty, and still have a token.

        Raises:
            BadToken: the token is not from this list.
        """
        given = {items.USER_ID: filters.user_id, items.STATUS: filters.status, items.KIND: filters.kind}
        wanted = {attribute: value for attribute, value in given.items() if value is not None}
        key = next(iter(wanted))
        is_key, *others_fit = (f"{attribute} = :{attribute.name}" for attribute in wanted)
        values = {f":{attribute.name}": text(value) for attribute, value in wanted.items()}
        query: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": _INDEXES[key],
            "KeyConditionExpression": is_key,
            "ProjectionExpression": _LISTED,
            "ScanIndexForward": False,
            "Limit": _LOOKED_AT if others_fit else limit,
            **names_and_values(" ".join((_LISTED, is_key, *others_fit)), values),
        }
        if others_fit:
            query["FilterExpression"] = " AND ".join(others_fit)
        if token is not None:
            query["ExclusiveStartKey"] = {key.name: text(wanted[key]), **_position(token, filters)}
        answer = self._client.query(**query)
        found = answer["Items"]
        # Entries beyond the page are read again for the next one, which starts after the last job of this page.
        last = found[limit - 1] if len(found) > limit else answer.get("LastEvaluatedKey")
        jobs = [items.plain(item) for item in found[:limit]]
        return Page(jobs, _token(last, filters) if last else None)


def task_tokens(client: DynamoDBClient, jobs_table: str, job_ids: Sequence[str]) -> Iterator[str]:
    """The task tokens of those jobs that have one. Eventually consistent, and lacks jobs that can't be read now."""
    shown = f"{items.TASK_TOKEN}"
    for some in batched(job_ids, _MAX_KEYS, strict=False):
        wanted: Any = {"Keys": [job_key(each) for each in some], "ProjectionExpression": shown}
        with translated():
            answer = client.batch_get_item(RequestItems={jobs_table: wanted | names_and_values(shown, {})})
        for item in answer["Responses"].get(jobs_table, ()):
            if token := items.TASK_TOKEN.of(item):
                yield token


def _us(request: WorkRequest) -> dict[str, Value]:
    return {":us": text(request.source.message_id), ":pending": text(Status.PENDING)}


def _found(error: Any) -> Item:  # noqa: ANN401 - made by botocore at run time
    return cast("Item", error.response["Item"])


# ---- tokens ---------------------------------------------------------------------------------------------------------


def _token(key: Item, filters: Filters) -> str:
    """Encodes where a page ended. Contains nothing that the caller has not seen, and is only valid for this list."""
    position = [key[items.CREATED_AT.name]["S"], items.JOB_ID.required(key), _digest(filters)]
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _position(token: str, filters: Filters) -> dict[str, Value]:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        created_at, job_id, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise BadToken from None
    if digest != _digest(filters) or not _fits(created_at, _MAX_TIME_BYTES) or not _fits(job_id, _MAX_ID_BYTES):
        raise BadToken
    return {items.CREATED_AT.name: text(created_at), **job_key(job_id)}


def _fits(value: object, limit: int) -> bool:
    try:
        return isinstance(value, str) and 1 <= len(value.encode()) <= limit
    except UnicodeEncodeError:
        return False


def _digest(filters: Filters) -> str:
    # As JSON, so that an absent filter differs from an empty one.
    return stable_hash(*(json.dumps(value) for value in astuple(filters)), length=16)
