"""JobsTable as the API uses it: jobs announced before their message is sent, withdrawn if it can't be, read and listed.

What moves a job from status to status is `store`. A list is one Query of an index: what it costs depends on the page,
never on how many jobs there are.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import astuple, dataclass
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Status, WorkRequest
from switchyard.tables.items import request_attributes

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Record = dict[str, Any]
"""A job's item as plain JSON values: DynamoDB's integers as int, its other numbers as float."""

_LOOKED_AT = 500
"""How many index entries a filtered page looks at, at the most: about 20 read units. It may be short, and go on."""

_MAX_ID_BYTES = 2048
_MAX_TIME_BYTES = 1024

# What a job's view is made of (`presentation`), and what tells whose it is and which request it came from. A job that
# ran for a hundred uploads has a hundred old versions, which nobody is to wait for.
_SHOWN = (
    "jobId",
    "kind",
    "status",
    "progress",
    "error",
    "result",
    "metadata",
    "userId",
    "request",
    "createdAt",
    "updatedAt",
    "startedAt",
    "endedAt",
    "cancelRequestedAt",
)
_SHOWN_NAMES = {f"#{name}": name for name in _SHOWN}
_LISTED = ("jobId", "kind", "status", "userId", "createdAt")


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

    jobs: list[Record]
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
        now = {"S": clock.iso(clock.now())}
        #   nothing there ──▶ PENDING, announced by us
        try:
            self._client.put_item(
                TableName=self._table,
                Item={
                    "jobId": {"S": request.job_id},
                    "status": {"S": Status.PENDING},
                    "createdAt": now,
                    "updatedAt": now,
                    "fingerprint": {"S": fingerprint},
                    "announcedBy": {"S": request.source.message_id},
                    **request_attributes(request),
                },
                ConditionExpression="attribute_not_exists(jobId)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            item = _found(error)
            # The SDK repeats a call whose answer got lost: then it is our own record that we found.
            if item.get("announcedBy") == {"S": request.source.message_id}:
                return None
            return Known(item.get("fingerprint", {}).get("S"), item.get("status", {}).get("S", ""))
        return None

    def announce_again(self, request: WorkRequest) -> bool:
        """Says that a job's message is about to be sent once more. False where the job isn't PENDING, or is gone.

        Whoever announced it before then can't withdraw it under us any more.
        """
        #   PENDING ──▶ PENDING, announced by us
        try:
            self._client.update_item(
                TableName=self._table,
                Key={"jobId": {"S": request.job_id}},
                UpdateExpression="SET announcedBy = :us",
                ConditionExpression="#status = :pending",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":us": {"S": request.source.message_id}, ":pending": {"S": Status.PENDING}},
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def withdraw(self, request: WorkRequest) -> bool:
        """Deletes a job whose message could not be sent, as far as we know. False: it has been claimed, so it was sent.

        What another request has announced since stays: that one may have been told that the job is accepted.
        """
        #   PENDING, never claimed, and announced by us, or not there ──▶ gone
        try:
            self._client.delete_item(
                TableName=self._table,
                Key={"jobId": {"S": request.job_id}},
                ConditionExpression="attribute_not_exists(jobId) OR "
                "(#status = :pending AND attribute_not_exists(fence) AND announcedBy = :us)",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":us": {"S": request.source.message_id}, ":pending": {"S": Status.PENDING}},
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            item = _found(error)
            return _is_pending(item) and "fence" not in item
        return True

    # ---- reading ----------------------------------------------------------------------------------------------------

    def read(self, job_id: str) -> Record | None:
        """What can be shown of a job, as it is now (consistent read: whoever was told of a job finds it)."""
        answer = self._client.get_item(
            TableName=self._table,
            Key={"jobId": {"S": job_id}},
            ConsistentRead=True,
            ProjectionExpression=", ".join(_SHOWN_NAMES),
            ExpressionAttributeNames=_SHOWN_NAMES,
        )
        item = answer.get("Item")
        return {name: _plain(value) for name, value in item.items()} if item else None

    def page(self, filters: Filters, limit: int, token: str | None = None) -> Page:
        """Up to `limit` jobs, newest first, after those of the page that gave `token`.

        The index is that of the most telling filter; what the others refuse is looked at all the same, within a bound:
        so a page may be short, even empty, and yet have a token. Eventually consistent.

        Raises:
            BadToken: the token isn't one of this list.
        """
        wanted = {"userId": filters.user_id, "kind": filters.kind, "status": filters.status}
        wanted = {name: value for name, value in wanted.items() if value is not None}
        # A user has few jobs, a kind and a status many. There is no telling which of the two has fewer.
        key = next(name for name in ("userId", "status", "kind") if name in wanted)
        others = [f"#{name} = :{name}" for name in wanted if name != key]
        names = {f"#{name}": name for name in (*_LISTED, *wanted)}
        query: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": _INDEXES[key],
            "KeyConditionExpression": f"#{key} = :{key}",
            "ProjectionExpression": ", ".join(f"#{name}" for name in _LISTED),
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {f":{name}": {"S": value} for name, value in wanted.items()},
            "ScanIndexForward": False,
            "Limit": _LOOKED_AT if others else limit,
        }
        if others:
            query["FilterExpression"] = " AND ".join(others)
        if token is not None:
            query["ExclusiveStartKey"] = {key: {"S": wanted[key]}, **_position(token, filters)}
        answer = self._client.query(**query)
        found = answer["Items"]
        # What lies beyond the page is read again by the next one, which begins after the last job of this one.
        last = found[limit - 1] if len(found) > limit else answer.get("LastEvaluatedKey")
        jobs = [{name: _plain(value) for name, value in item.items()} for item in found[:limit]]
        return Page(jobs, _token(last, filters) if last else None)


_INDEXES = {"userId": "byUser", "status": "byStatus", "kind": "byKind"}


# ---- tokens ---------------------------------------------------------------------------------------------------------


def _token(key: Mapping[str, Any], filters: Filters) -> str:
    """Where a page ended. It holds no more than its reader has seen, and means nothing to another list."""
    position = [key["createdAt"]["S"], key["jobId"]["S"], _digest(filters)]
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _position(token: str, filters: Filters) -> dict[str, Any]:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        created_at, job_id, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise BadToken from None
    if digest != _digest(filters) or not _fits(created_at, _MAX_TIME_BYTES) or not _fits(job_id, _MAX_ID_BYTES):
        raise BadToken
    return {"createdAt": {"S": created_at}, "jobId": {"S": job_id}}


def _fits(value: object, limit: int) -> bool:
    try:
        return isinstance(value, str) and 1 <= len(value.encode()) <= limit
    except UnicodeEncodeError:
        return False


def _digest(filters: Filters) -> str:
    # Each with what tells a filter that is absent from one that is empty.
    return stable_hash(*(json.dumps(value) for value in astuple(filters)), length=16)


# ---- items ----------------------------------------------------------------------------------------------------------


def _found(error: Any) -> Mapping[str, Any]:  # noqa: ANN401 - made by botocore at run time
    return cast("Mapping[str, Any]", error.response["Item"])


def _is_pending(item: Mapping[str, Any]) -> bool:
    return item.get("status") == {"S": Status.PENDING}


def _plain(value: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any JSON value
    """An attribute value as JSON has it; what JSON can't hold (binary, in rows of other programs) becomes null."""
    ((kind, content),) = value.items()
    return _PLAIN.get(kind, _nothing)(content)


def _number(digits: str) -> int | float:
    return int(digits) if digits.removeprefix("-").isdigit() else float(digits)


def _nothing(_: object) -> None:
    return None


_PLAIN: Mapping[str, Callable[[Any], Any]] = {
    "S": str,
    "BOOL": bool,
    "N": _number,
    "M": lambda fields: {name: _plain(each) for name, each in fields.items()},
    "L": lambda items: [_plain(each) for each in items],
    "SS": sorted,
    "NS": lambda numbers: sorted(_number(each) for each in numbers),
}
