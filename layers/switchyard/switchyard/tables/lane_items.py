"""Encodes and decodes the items of LanesTable, and decodes entries of JobsTable's status index.

Separate from `items`, since only functions that change the status of jobs need this; the others start faster.
"""

from __future__ import annotations

from switchyard import clock
from switchyard.protocol.jobs import Source, Status, WorkRequest
from switchyard.protocol.lanes import (
    LATER_PREFIX,
    LOCK,
    SLOTS,
    ObjectLock,
    Pause,
    Slots,
    WaitEntry,
    holds_key,
    lane_key,
    object_key,
)
from switchyard.protocol.ports import ActiveJob
from switchyard.tables import items
from switchyard.tables.items import (
    ATTEMPTS,
    CANCEL_REQUESTED_AT,
    CLAIMED_AT,
    CREATED_AT,
    FENCE,
    JOB_ID,
    LANE,
    REQUEST,
    STATUS,
    TARGET,
    TARGET_ID,
    Attribute,
    Item,
    Value,
    number,
    text,
)

PK = Attribute[str]("pk", lambda value: value.get("S"))
SK = Attribute("sk", lambda value: value.get("S"))
TAKEN = Attribute("taken", lambda value: int(value.get("N", "0")))
WAITING = Attribute("waiting", lambda value: int(value.get("N", "0")))
LATER = Attribute("later", lambda value: int(value.get("N", "0")))
MOVES = Attribute("moves", lambda value: int(value.get("N", "0")))
# Of earlier versions; see `old_lanes`.
HOLDERS = Attribute("holders", lambda value: frozenset[str](value.get("SS", ())))
LAYOUTS = Attribute("layouts", lambda value: frozenset(int(each) for each in value.get("NS", ())))
PAUSE = Attribute("pause", lambda value: _pause_of(value["M"]))
VERSION = Attribute("version", lambda value: value.get("S"))


def _key(pk: str, sk: str) -> dict[str, Value]:
    return {PK.name: text(pk), SK.name: text(sk)}


def slots_key(lane: str) -> dict[str, Value]:
    """The key of a lane's slots."""
    return _key(lane_key(lane), SLOTS)


def hold_item(lane: str, job_id: str) -> dict[str, Value]:
    """The item that says that a job holds a slot; also its key."""
    return _key(holds_key(lane), job_id)


def lane_of_item(item: Item) -> str:
    """The lane of an item."""
    return PK.required(item).removeprefix(lane_key(""))


def slots(item: Item) -> Slots:
    """Decodes a lane's slots. An empty item is a lane without any jobs so far."""
    return Slots(
        TAKEN.of(item) or 0,
        WAITING.of(item) or 0,
        LATER.of(item) or 0,
        MOVES.of(item) or 0,
        PAUSE.of(item),
    )


def pause_value(pause: Pause) -> Value:
    """Encodes why and until when a lane is paused."""
    until = {"until": clock.iso(pause.until)} if pause.until else {}
    return items.fields({**until, "tries": pause.tries, "reason": pause.reason})


def _pause_of(values: Item) -> Pause:
    until = clock.parse(values["until"]["S"]) if "until" in values else None
    return Pause(until, int(values["tries"]["N"]), values["reason"]["S"])


def entry_key(entry: WaitEntry) -> dict[str, Value]:
    """The key of an entry of the waiting room."""
    return _key(lane_key(entry.request.lane), entry.sort_key)


def entry_item(entry: WaitEntry) -> dict[str, Value]:
    """Encodes an entry of the waiting room."""
    return {
        **entry_key(entry),
        REQUEST.name: text(entry.request.to_json()),
        ATTEMPTS.name: number(entry.attempts),
    }


def entry(item: Item) -> WaitEntry:
    """Decodes an entry of the waiting room."""
    key = SK.required(item)
    return WaitEntry(REQUEST.required(item), ATTEMPTS.required(item), key.startswith(LATER_PREFIX), stored_key=key)


def lock_key(source: Source) -> dict[str, Value]:
    """The key of an object's lock."""
    return _key(object_key(source), LOCK)


def lock_item(request: WorkRequest) -> dict[str, Value]:
    """Encodes the lock of a job on its object."""
    return {
        **lock_key(request.source),
        JOB_ID.name: text(request.job_id),
        VERSION.name: text(request.source.version),
    }


def lock(item: Item) -> ObjectLock:
    """Decodes the lock of an object."""
    return ObjectLock(job_id=JOB_ID.required(item), version=VERSION.required(item))


def active_job(item: Item) -> ActiveJob:
    """Decodes an entry of the status index.

    Raises:
        ForeignRow: another program wrote it.
    """
    with items.ours(item):
        return ActiveJob(
            id=JOB_ID.required(item),
            status=Status(STATUS.required(item)),
            fence=FENCE.of(item) or 0,
            lane=LANE.of(item) or "",
            target=TARGET.of(item),
            target_id=TARGET_ID.of(item),
            claimed_at=CLAIMED_AT.of(item),
            created_at=CREATED_AT.of(item) or clock.EPOCH,
            cancel_requested=CANCEL_REQUESTED_AT.name in item,
        )
