"""Lanes as versions before this one stored them: slots as a set of ids, also in parts with rooms of their own."""

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from switchyard import clock
from switchyard.errors import Contended
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Job, Status, WorkRequest
from switchyard.protocol.lanes import Lane, Slots
from switchyard.protocol.ports import Claimed, LaneFull
from switchyard.tables import items, old_lanes
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.requests import request
from tests.world import World

FOUR = Lane("video", 4)
PARTS = ("video", "video/0of2", "video/1of2")
"""A lane that was whole, then divided."""


class Old:
    """The tables as an earlier version left them."""

    def __init__(self, aws: Aws) -> None:
        self.aws = aws
        self.store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))

    def slots(self, part: str, holders: list[str], waiting: int = 0, **more: dict[str, list[str]]) -> None:
        item: dict[str, Any] = {
            "pk": {"S": f"LANE#{part}"},
            "sk": {"S": "SLOTS"},
            "waiting": {"N": str(waiting)},
        } | more
        self.aws.dynamodb.put_item(
            TableName=self.aws.lanes_table, Item=item | ({"holders": {"SS": holders}} if holders else {})
        )

    def row(self, job_id: str, part: str, status: Status) -> WorkRequest:
        """Writes the row of a job that was accepted into this part, with its lock."""
        wanted = request(job_id)
        told = items.request_attributes(wanted)
        told |= {"lane": {"S": part}, "request": {"S": wanted.to_json().replace('"video"', f'"{part}"', 1)}}
        now = {"S": clock.iso(clock.now())}
        row = told | {"jobId": {"S": job_id}, "status": {"S": status}, "fence": {"N": "1"}, "createdAt": now}
        self.aws.dynamodb.put_item(TableName=self.aws.jobs_table, Item=row | {"claimedAt": now})
        return wanted

    def runs(self, job_id: str, part: str) -> Job:
        self.row(job_id, part, Status.RUNNING)
        job = self.store.get(job_id)
        assert job is not None
        return job

    def waits(self, job_id: str, part: str, sent: int) -> None:
        wanted = replace(self.row(job_id, part, Status.WAITING), sent_at=request(job_id, sent=sent).sent_at)
        key = f"WAIT#{clock.iso(wanted.sent_at)}#{job_id}#{stable_hash(wanted.source.version, length=8)}"
        text = json.dumps(json.loads(wanted.to_json()) | {"lane": part})
        entry = {"pk": {"S": f"LANE#{part}"}, "sk": {"S": key}, "request": {"S": text}, "attempts": {"N": "2"}}
        self.aws.dynamodb.put_item(TableName=self.aws.lanes_table, Item=entry)

    def divided(self) -> None:
        """Three jobs run, one in each part, and three wait."""
        self.slots("video", ["a"], 1, layouts={"NS": ["2"]})
        self.slots("video/0of2", ["b"], 2)
        self.slots("video/1of2", ["c"])
        for job_id, part in zip("abc", PARTS, strict=True):
            self.runs(job_id, part)
        for sent, (job_id, part) in enumerate((("d", "video/0of2"), ("e", "video"), ("f", "video/0of2"))):
            self.waits(job_id, part, sent)

    def left(self) -> set[str]:
        found = self.aws.dynamodb.scan(TableName=self.aws.lanes_table)["Items"]
        return {f"{item['pk']['S']} {item['sk']['S'][:6]}" for item in found}


@pytest.fixture
def old(aws: Aws) -> Old:
    return Old(aws)


def test_holders_count_until_they_end(old: Old) -> None:
    old.slots("video", ["a", "b", "c"])
    job = old.runs("a", "video")
    assert isinstance(old.store.claim(request("d"), None, FOUR), Claimed)
    assert old.store.claim(request("e"), None, FOUR) == LaneFull()
    assert old.store.finish(job, Status.COMPLETED, error=None, target_id=None, attempts=1)
    assert set(old.store.holders(FOUR)) == {"b", "c", "d"}
    assert old.store.slots(FOUR) == Slots(3, 0)


def test_an_old_job_that_ends_first_frees_its_slot(old: Old) -> None:
    old.slots("video", ["a", "b"])
    job = old.runs("a", "video")
    assert old.store.finish(job, Status.COMPLETED, error=None, target_id=None, attempts=1)
    assert (set(old.store.holders(FOUR)), old.store.slots(FOUR)) == ({"b"}, Slots(1, 0))


def test_the_slot_of_an_old_foreign_row_is_freed(old: Old) -> None:
    old.slots("video", ["a", "b"])
    assert old.store.free_foreign_slot(FOUR, "a")
    assert (set(old.store.holders(FOUR)), old.store.slots(FOUR).taken) == ({"b"}, 1)


def test_a_hold_that_is_there_already_is_not_counted_twice(old: Old) -> None:
    """The reconciler gave the job a slot back before it saw the old one."""
    old.slots("video", ["a", "b"])
    assert old.store.retake_slot(FOUR, old.runs("a", "video"))
    assert (old.store.slots(FOUR), set(old.store.holders(FOUR))) == (Slots(2, 0), {"a", "b"})


def test_a_divided_lane_becomes_one(old: Old) -> None:
    old.divided()
    assert old.store.slots(FOUR) == Slots(3, 3)
    assert set(old.store.holders(FOUR)) == {"a", "b", "c"}
    room = list(old.store.waiting(FOUR))
    assert [(entry.request.job_id, entry.attempts, entry.request.lane) for entry in room] == [
        *(("d", 2, "video"), ("e", 2, "video"), ("f", 2, "video"))
    ]
    assert old.left() == {"LANE#video SLOTS", "LANE#video WAIT#9", "HOLDS#video a", "HOLDS#video b", "HOLDS#video c"}


def test_jobs_of_a_part_end_and_what_waited_in_it_starts(old: Old) -> None:
    old.divided()
    world = World(store=old.store, limit=3)  # type: ignore[arg-type]  # the real one
    job = world.job("b")
    assert job.request.lane == "video"
    assert old.store.finish(job, Status.COMPLETED, error=None, target_id=None, attempts=1)
    world.dispatcher.start_waiting("video/0of2")
    assert (world.job("d").status, world.job("e").status) == (Status.SUBMITTED, Status.WAITING)
    assert (old.store.slots(FOUR), set(old.store.holders(FOUR))) == (Slots(3, 2), {"a", "c", "d"})


def test_what_waits_in_a_part_can_be_cancelled(old: Old) -> None:
    old.divided()
    assert old.store.slots(FOUR) == Slots(3, 3)
    world = World(store=old.store)  # type: ignore[arg-type]  # the real one
    assert old.store.cancel(world.job("d")) is None
    assert old.store.slots(FOUR) == Slots(3, 2)


@pytest.mark.parametrize("after", range(6))
def test_a_conversion_that_dies_is_taken_up(old: Old, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    old.divided()
    old.slots("video", [f"x{number:03}" for number in range(60)], 1, layouts={"NS": ["2"]})
    really, calls = old.aws.dynamodb.transact_write_items, []

    def dies(**call: Any) -> object:  # noqa: ANN401 - a call's parameters
        calls.append(call)
        if len(calls) > after:
            raise KeyboardInterrupt
        return really(**call)

    with monkeypatch.context() as patched:
        patched.setattr(old.aws.dynamodb, "transact_write_items", dies)
        with suppress(KeyboardInterrupt):
            old.store.slots(FOUR)
    assert old.store.slots(FOUR) == Slots(62, 3)
    assert len(set(old.store.holders(FOUR))) == 62


@pytest.mark.parametrize("call", range(1, 6))
def test_two_convert_a_lane_at_once(old: Old, call: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before one of the first's transactions, the second converts everything."""
    old.divided()
    old.slots("video", [f"x{number:03}" for number in range(60)], 1, layouts={"NS": ["2"]})
    really, calls = old.aws.dynamodb.transact_write_items, []

    def overtaken(**given: Any) -> object:  # noqa: ANN401 - a call's parameters
        calls.append(given)
        if len(calls) == call:
            assert old.store.slots(FOUR).taken == 62
        return really(**given)

    monkeypatch.setattr(old.aws.dynamodb, "transact_write_items", overtaken)
    assert old.store.slots(FOUR) == Slots(62, 3)
    assert len(set(old.store.holders(FOUR))) == 62


def test_a_lane_that_others_change_all_the_time_is_tried_later(old: Old, monkeypatch: pytest.MonkeyPatch) -> None:
    old.slots("video", ["a"])

    def cancelled(**_: object) -> None:
        reasons: Any = {"CancellationReasons": [{"Code": "None"}, {"Code": "ConditionalCheckFailed"}]}
        raise old.aws.dynamodb.exceptions.TransactionCanceledException(
            {"Error": {"Code": "TransactionCanceledException"}} | reasons, "TransactWriteItems"
        )

    monkeypatch.setattr(old.aws.dynamodb, "transact_write_items", cancelled)
    with pytest.raises(Contended):
        old_lanes.convert(old.aws.dynamodb, old.aws.lanes_table, "video")


@pytest.mark.parametrize(
    "seen",
    [
        lambda store: store.claim(request("z"), None, FOUR),
        lambda store: store.slots(FOUR),
    ],
    ids=["a claim", "a read"],
)
def test_whoever_comes_first_converts(old: Old, seen: Callable[[Store], object]) -> None:
    old.divided()
    seen(old.store)
    assert "LANE#video/0of2 SLOTS" not in old.left()
