"""JobsTable for the API: announces, withdraws, reads and lists jobs.

An announced job is recorded before its message is sent, and withdrawn if sending fails. Status changes are in `store`.
A page is one Query of an index, or one per status, so its cost depends on the page size, not on the number of jobs.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any, Self, cast

from switchyard import clock
from switchyard.clients import translated
from switchyard.names import stable_hash
from switchyard.protocol.jobs import TERMINAL, Job, Source, Status, WorkRequest
from switchyard.tables import items
from switchyard.tables.items import Item, PlainItem, Value, job_key, names_and_values, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

    from switchyard.protocol.lanes import Slots

_LOOKED_AT = 500
"""How many index entries a filtered page reads at most, some 30 read units. So it may be short before the end."""

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
    f"{items.PAST_ATTEMPTS}, {items.START_AFTER}, {items.SOURCE}, {items.PRIORITY}, {items.RERUN_OF}"
)
_OF_THE_LOG = f"{items.JOB_ID}, {items.USER_ID}, {items.STATUS}, {items.TARGET}, {items.LOG_STREAM}"
_LISTED = f"{items.JOB_ID}, {items.KIND}, {items.STATUS}, {items.USER_ID}, {items.CREATED_AT}, {items.LANE}"
_INDEXES = {items.USER_ID: "byUser", items.STATUS: "byStatus", items.KIND: "byKind"}
"""By partition key."""


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
    """Which jobs to list; all of them without a filter.

    Attributes:
        statuses: Any of them; empty for all.
        since: The earliest `createdAt`, itself included, as an item has it.
        until: The latest, itself included.
    """

    user_id: str | None = None
    kind: str | None = None
    statuses: tuple[str, ...] = ()
    since: str | None = None
    until: str | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """A page of jobs, newest first. `next_token` is set if more may follow."""

    jobs: list[PlainItem]
    next_token: str | None


class Records:
    """Reads and writes jobs for the API. Only `holder` and `pauses` need the table of lanes."""

    def __init__(self, client: DynamoDBClient, jobs_table: str, lanes_table: str = "") -> None:
        self._client = client
        self._table = jobs_table
        self._lanes = lanes_table

    # ---- announcing -------------------------------------------------------------------------------------------------
    # In an announced request, `source.message_id` is the id of the HTTP request, and identifies who announced the job.

    def announce(self, request: WorkRequest, *, fingerprint: str, by: str = "", rerun_of: str = "") -> Known | None:
        """Records a job before its message is sent. Returns the existing job if its id is taken, else None.

        `fingerprint` is a hash of the request and its caller; `by` is the caller; `rerun_of` is the id of the job whose
        work is done again.
        """
        #   nothing there ──▶ PENDING, announced by us
        condition = f"attribute_not_exists({items.JOB_ID})"
        try:
            self._client.put_item(
                TableName=self._table,
                Item=items.announced(request, fingerprint, clock.now(), by)
                | ({items.RERUN_OF.name: text(rerun_of)} if rerun_of else {}),
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

    def holder(self, source: Source) -> str | None:
        """The id of the job that works on an object. Consistent. None if no job has started, or waits to start."""
        from switchyard.tables import lane_items  # noqa: PLC0415 - only where a job is about an object

        key = lane_items.lock_key(source)
        item = self._client.get_item(TableName=self._lanes, Key=key, ConsistentRead=True).get("Item", {})
        return items.JOB_ID.of(item)

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

        Merges the lists of an index that have all these jobs: a user's, those of statuses, or a kind's. It reads a
        bounded number of entries of each, so a page may be short, even empty, and still have a token. A job whose
        status changes between two pages is listed once, unless others were created in the same millisecond.

        Raises:
            BadToken: the token is not from this list.
        """
        after = _place_of(token, filters) if token is not None else None
        read = [self._part(each, limit, after) for each in _lists(filters)]
        # Nothing is known of a list beyond the last entry looked at. The page ends at the first such place.
        end = max((place for _, place in read if place), default=None, key=_rank)
        found = [each for entries, _ in read for each in entries if end is None or _rank(each[0]) >= _rank(end)]
        known = sorted(found, key=lambda each: each[0].time, reverse=True)  # of one moment: as the lists have them
        # Entries beyond the page are read again for the next one, which starts after the last job of this page.
        last = known[limit - 1][0] if len(known) > limit else end
        jobs = [items.plain(entry) for _, entry in known[:limit]]
        return Page(jobs, _token(last, filters) if last else None)

    def _part(self, wanted: _List, limit: int, after: _Place | None) -> tuple[list[tuple[_Place, Item]], _Place | None]:
        """Reads entries of a list, and how far it has been read; None if that was its end."""
        latest, start = wanted.latest, None
        if after is not None and after.number == wanted.number:
            start = {wanted.key.name: text(wanted.value), items.CREATED_AT.name: text(after.time), **job_key(after.id)}
        elif after is not None:  # of one moment, the lists' entries are in the order of the lists
            latest = after.time if wanted.number > after.number else _before(after.time)
        condition = f"{wanted.key} = :{wanted.key.name}"
        values: dict[str, Value] = {f":{wanted.key.name}": text(wanted.value), **wanted.values}
        match wanted.earliest, latest:
            case str(), str():
                condition += f" AND {items.CREATED_AT} BETWEEN :earliest AND :latest"
            case str(), None:
                condition += f" AND {items.CREATED_AT} >= :earliest"
            case None, str():
                condition += f" AND {items.CREATED_AT} <= :latest"
        bounds = {":earliest": wanted.earliest, ":latest": latest}
        values |= {name: text(bound) for name, bound in bounds.items() if bound is not None}
        if latest is not None and latest < (wanted.earliest or "\0"):
            return [], None  # DynamoDB refuses such bounds
        query: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": _INDEXES[wanted.key],
            "KeyConditionExpression": condition,
            "ProjectionExpression": _LISTED,
            "ScanIndexForward": False,
            "Limit": wanted.looked_at if wanted.fits else limit,
            **names_and_values(f"{_LISTED} {condition} {wanted.fits}", values),
            **({"FilterExpression": wanted.fits} if wanted.fits else {}),
            **({"ExclusiveStartKey": start} if start else {}),
        }
        answer: Mapping[str, Any] = self._client.query(**query)
        last = answer.get("LastEvaluatedKey")
        entries = [(_Place.of(item, wanted.number), item) for item in answer["Items"]]
        return entries, _Place.of(last, wanted.number) if last else None


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


# ---- lists ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _List:
    """A list of an index: the entries of one key. `number` is its place among the lists that are merged.

    `fits` is what else must hold of its jobs, with these `values`; then at most `looked_at` entries are read at once.
    """

    number: int
    key: items.Attribute[str]
    value: str
    earliest: str | None
    latest: str | None
    fits: str
    values: Mapping[str, Value]
    looked_at: int


@dataclass(frozen=True, slots=True)
class _Place:
    """A place in merged lists: that of an entry in the list of this number."""

    time: str
    number: int
    id: str

    @classmethod
    def of(cls, key: Item, number: int) -> Self:
        return cls(key[items.CREATED_AT.name]["S"], number, items.JOB_ID.required(key))


def _lists(filters: Filters) -> list[_List]:
    """The lists that have these jobs. The most selective: a user has few jobs, a status or kind many."""
    given: dict[items.Attribute[str], tuple[str, ...]] = {
        items.USER_ID: (filters.user_id,) if filters.user_id is not None else (),
        items.STATUS: filters.statuses,
        items.KIND: (filters.kind,) if filters.kind is not None else (),
    }
    wanted = {attribute: values for attribute, values in given.items() if values} or {items.STATUS: (*Status,)}
    key, *others = wanted
    names = {attribute: [f":{attribute.name}_{n}" for n, _ in enumerate(wanted[attribute])] for attribute in others}
    fits = " AND ".join(f"{attribute} IN ({', '.join(names[attribute])})" for attribute in others)
    values = {
        name: text(value)
        for attribute in others
        for name, value in zip(names[attribute], wanted[attribute], strict=True)
    }
    looked_at = _LOOKED_AT // len(wanted[key])
    return [
        _List(number, key, value, filters.since, filters.until, fits, values, looked_at)
        for number, value in enumerate(wanted[key])
    ]


def _rank(place: _Place) -> tuple[str, int]:
    """Orders places: the greater one comes first on a page."""
    return place.time, -place.number


def _before(time: str) -> str:
    """The last text before this one, as DynamoDB orders them: by their UTF-8 bytes."""
    last = ord(time[-1])
    if not last:
        return time[:-1]
    lower = "\ud7ff" if last == _AFTER_SURROGATES else chr(last - 1)  # surrogates are no text
    return f"{time[:-1]}{lower}{_LAST}"


_AFTER_SURROGATES, _LAST = 0xE000, "\U0010ffff"


# ---- tokens ---------------------------------------------------------------------------------------------------------


def _token(place: _Place, filters: Filters) -> str:
    """Encodes where a page ended. Contains nothing that the caller has not seen, and is only valid for this list."""
    position = [*astuple(place), _digest(filters)]
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _place_of(token: str, filters: Filters) -> _Place:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        time, number, job_id, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise BadToken from None
    if digest != _digest(filters) or not _fits(time, _MAX_TIME_BYTES) or not _fits(job_id, _MAX_ID_BYTES):
        raise BadToken
    # DynamoDB refuses to start outside of what is asked for.
    is_outside = not (filters.since or "") <= time <= (filters.until or time)
    if is_outside or type(number) is not int or not 0 <= number < len(_lists(filters)):
        raise BadToken
    return _Place(time, number, job_id)


def _fits(value: object, limit: int) -> bool:
    try:
        return isinstance(value, str) and 1 <= len(value.encode()) <= limit
    except UnicodeEncodeError:
        return False


def _digest(filters: Filters) -> str:
    # As JSON, so that an absent filter differs from an empty one.
    return stable_hash(*(json.dumps(value) for value in astuple(filters)), length=16)
