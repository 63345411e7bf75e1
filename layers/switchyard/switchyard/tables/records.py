"""JobsTable as the API uses it: jobs announced before their message is sent, withdrawn if it can't be, read and listed.

What moves a job from status to status is `store`. A list is one Query of an index: what it costs depends on the page,
never on how many jobs there are.
"""

from __future__ import annotations

import base64
import json
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Status, WorkRequest
from switchyard.tables import items
from switchyard.tables.items import Item, PlainItem, Value, job_key, names_and_values, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_LOOKED_AT = 500
"""How many index entries a filtered page looks at, at the most: about 20 read units. It may be short, and go on."""

_MAX_ID_BYTES = 2048
_MAX_TIME_BYTES = 1024

# What a job's view is made of (`presentation`), and what tells whose it is and which request it came from. A job that
# ran for a hundred uploads has a hundred old versions, which nobody is to wait for.
_SHOWN = (
    f"{items.JOB_ID}, {items.KIND}, {items.STATUS}, {items.PROGRESS}, {items.ERROR}, {items.RESULT}, {items.METADATA}, "
    f"{items.USER_ID}, {items.REQUEST}, {items.CREATED_AT}, {items.UPDATED_AT}, {items.STARTED_AT}, {items.ENDED_AT}, "
    f"{items.CANCEL_REQUESTED_AT}"
)
_LISTED = f"{items.JOB_ID}, {items.KIND}, {items.STATUS}, {items.USER_ID}, {items.CREATED_AT}"
_INDEXES = {items.USER_ID: "byUser", items.STATUS: "byStatus", items.KIND: "byKind"}
"""By key. The most telling first: a user has few jobs, a kind and a status many."""


class BadToken(ValueError):
    """A page's token that we never gave, or gave for another list."""


@dataclass(frozen=True, slots=True)
class Known:
    """There is a job of this id already. Without a `fingerprint` it was not announced by the API."""

    fingerprint: str | None
    status: str

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
    """Some jobs, newest first, and the token of what follows, if anything may."""

    jobs: list[PlainItem]
    next_token: str | None


class Records:
    """The jobs of the API. Every method is one AWS call."""

    def __init__(self, client: DynamoDBClient, jobs_table: str) -> None:
        self._client = client
        self._table = jobs_table

    # ---- announcing -------------------------------------------------------------------------------------------------
    # The message id of a request's source is that of the one HTTP request which made it: it tells who announced what.

    def announce(self, request: WorkRequest, *, fingerprint: str) -> Known | None:
        """Writes a job down before its message is sent; gives the one that has its id already, if any.

        `fingerprint` tells what was asked for, and by whom.
        """
        #   nothing there ──▶ PENDING, announced by us
        condition = f"attribute_not_exists({items.JOB_ID})"
        try:
            self._client.put_item(
                TableName=self._table,
                Item=items.announced(request, fingerprint, clock.now()),
                ConditionExpression=condition,
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
                **names_and_values(condition, {}),
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            item = _found(error)
            # The SDK repeats a call whose answer got lost: then it is our own record that we found.
            if items.ANNOUNCED_BY.of(item) == request.source.message_id:
                return None
            return Known(items.FINGERPRINT.of(item), items.STATUS.of(item) or "")
        return None

    def announce_again(self, request: WorkRequest) -> bool:
        """Says that a job's message is about to be sent once more. False where the job isn't PENDING, or is gone.

        Whoever announced it before then can't withdraw it under us any more.
        """
        #   PENDING ──▶ PENDING, announced by us
        update, condition = f"SET {items.ANNOUNCED_BY} = :us", f"{items.STATUS} = :pending"
        try:
            self._client.update_item(
                TableName=self._table,
                Key=job_key(request.job_id),
                UpdateExpression=update,
                ConditionExpression=condition,
                **names_and_values(f"{update} {condition}", _us(request)),
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def withdraw(self, request: WorkRequest) -> bool:
        """Deletes a job whose message could not be sent, as far as we know. False: it has been claimed, so it was sent.

        What another request has announced since stays: that one may have been told that the job is accepted.
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

    # ---- reading ----------------------------------------------------------------------------------------------------

    def read(self, job_id: str) -> PlainItem | None:
        """What can be shown of a job, as it is now (consistent read: whoever was told of a job finds it)."""
        answer = self._client.get_item(
            TableName=self._table,
            Key=job_key(job_id),
            ConsistentRead=True,
            ProjectionExpression=_SHOWN,
            **names_and_values(_SHOWN, {}),
        )
        item = answer.get("Item")
        return items.plain(item) if item else None

    def page(self, filters: Filters, limit: int, token: str | None = None) -> Page:
        """Up to `limit` jobs, newest first, after those of the page that gave `token`.

        The index is that of the most telling filter; what the others refuse is looked at all the same, within a bound:
        so a page may be short, even empty, and yet have a token. Eventually consistent.

        Raises:
            BadToken: the token isn't one of this list.
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
        # What lies beyond the page is read again by the next one, which begins after the last job of this one.
        last = found[limit - 1] if len(found) > limit else answer.get("LastEvaluatedKey")
        jobs = [items.plain(item) for item in found[:limit]]
        return Page(jobs, _token(last, filters) if last else None)


def _us(request: WorkRequest) -> dict[str, Value]:
    return {":us": text(request.source.message_id), ":pending": text(Status.PENDING)}


def _found(error: Any) -> Item:  # noqa: ANN401 - made by botocore at run time
    return cast("Item", error.response["Item"])


# ---- tokens ---------------------------------------------------------------------------------------------------------


def _token(key: Item, filters: Filters) -> str:
    """Where a page ended. It holds no more than its reader has seen, and means nothing to another list."""
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
    # Each with what tells a filter that is absent from one that is empty.
    return stable_hash(*(json.dumps(value) for value in astuple(filters)), length=16)
