"""Converts what earlier versions stored of a lane: slots as a set of job ids, in up to 64 parts with their own rooms.

Each step is a transaction that moves what it finds and counts it. So nothing is lost or counted twice, however many
convert a lane at once, and wherever they die. A lane that is converted costs nothing.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import batched
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock
from switchyard.clients import translated
from switchyard.errors import Contended
from switchyard.observability import logger
from switchyard.protocol.lanes import WaitEntry, lane_key
from switchyard.tables import lane_items
from switchyard.tables.items import Item, Value, members, names_and_values, number, text
from switchyard.tables.lane_items import HOLDERS, LATER, LAYOUTS, MOVES, PK, SK, TAKEN, WAITING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mypy_boto3_dynamodb import DynamoDBClient

type _Action = dict[str, dict[str, Any]]

_AT_ONCE = 40
"""Holders or entries a transaction, which may have 100 actions. A moved entry needs two."""
_TRIES = 50
_OLD_ENTRY = "WAIT#2"
"""How keys of entries began: with the year they were due. Now there is a priority, and `#` after it."""


@translated()
def convert(client: DynamoDBClient, table: str, lane: str) -> None:
    """Turns the holders of a lane and its parts into holds, and moves entries of its parts into its waiting room.

    Raises:
        Contended: others changed the lane at every try. What was moved stays so.
        Unavailable: DynamoDB failed.
    """
    conversion = _Conversion(client, table, lane)
    for _ in range(_TRIES):
        try:
            return conversion.run()
        except (client.exceptions.TransactionCanceledException, client.exceptions.ConditionalCheckFailedException):
            continue  # somebody else moved some of it
    raise Contended(f"lane {lane} changed {_TRIES} times while it was being converted")


@dataclass(frozen=True, slots=True)
class _Conversion:
    client: DynamoDBClient
    table: str
    lane: str

    def run(self) -> None:
        layouts = LAYOUTS.of(self._slots(self.lane)) or frozenset()
        for part in [self.lane, *(f"{self.lane}/{each}of{parts}" for parts in layouts for each in range(parts))]:
            slots = self._slots(part)
            for jobs in batched(sorted(HOLDERS.of(slots) or ()), _AT_ONCE, strict=False):
                self._move_holders(part, jobs)
            for entries in batched(self._old_entries(part), _AT_ONCE, strict=False):
                self._move_entries(part, entries)
            if slots and part != self.lane:
                self._remove(part, slots)
        if layouts:
            self._forget(layouts)
        logger.info("what an earlier version stored of a lane was converted", lane=self.lane, parts=sum(layouts))

    def _slots(self, part: str) -> Item:
        key = lane_items.slots_key(part)
        return self.client.get_item(TableName=self.table, Key=key, ConsistentRead=True).get("Item", {})

    def _old_entries(self, part: str) -> Iterator[Item]:
        condition = f"{PK} = :pk AND begins_with({SK}, :old)"
        pages = self.client.get_paginator("query").paginate(
            TableName=self.table,
            KeyConditionExpression=condition,
            **names_and_values(condition, {":pk": text(lane_key(part)), ":old": text(_OLD_ENTRY)}),
            ConsistentRead=True,
        )
        found = (item for page in pages for item in page["Items"])
        return (item for item in found if SK.required(item)[len(_OLD_ENTRY)] != "#")

    def _move_holders(self, part: str, jobs: Sequence[str]) -> None:
        #   LANE#part/SLOTS   all of these in `holders` ──▶ none        HOLDS#lane/job ──▶ there
        all_there = " AND ".join(f"contains({HOLDERS}, :job{number})" for number in range(len(jobs)))
        given = {f":job{number}": text(job) for number, job in enumerate(jobs)} | {":jobs": members(*jobs)}
        holds = [(lane_items.hold_item(self.lane, job), TAKEN.name) for job in jobs]
        removed = (f"DELETE {HOLDERS} :jobs", all_there, given)
        if part == self.lane:
            self._move(holds, [], Counter(), removed)
        else:
            self._move(holds, [self._update(part, *removed)], Counter())

    def _move_entries(self, part: str, found: Sequence[Item]) -> None:
        #   LANE#part/WAIT#… in the old order ──▶ gone        LANE#lane/WAIT#… | WAITS_UNTIL#… ──▶ there
        there, now, puts = f"attribute_exists({PK})", clock.now(), []
        for item in found:
            old = lane_items.entry(item)
            new = replace(WaitEntry.of(old.request, now), attempts=old.attempts)
            puts.append((lane_items.entry_item(new), (LATER if new.later else WAITING).name))
        keys = [{PK.name: item[PK.name], SK.name: item[SK.name]} for item in found]
        deletes = [{"Delete": self._on(key, there)} for key in keys]
        self._move(puts, deletes, Counter({WAITING.name: -len(found)} if part == self.lane else {}))

    def _move(
        self,
        puts: Sequence[tuple[dict[str, Value], str]],
        others: Sequence[_Action],
        counts: Counter[str],
        more: tuple[str, str, dict[str, Value]] = ("", "", {}),
    ) -> None:
        """Makes one transaction: puts what is not there yet, counts it in the lane's SLOTS, and does the others.

        `more` is an update of the same SLOTS with its condition and values.
        """
        absent, puts = f"attribute_not_exists({PK})", list(puts)
        while True:
            new = Counter({MOVES.name: 1})
            new.update(counts)
            new.update(name for _, name in puts)
            update, condition, values = more
            added = f"ADD {', '.join(f'#{name} :{name}' for name in new)}"
            values = values | {f":{name}": number(change) for name, change in new.items()}
            slots = self._update(self.lane, f"{added} {update}", condition, values)
            actions = [*({"Put": {**self._on(item, absent, "Item")}} for item, _ in puts), slots, *others]
            try:
                self.client.transact_write_items(TransactItems=cast("Any", actions))
            except self.client.exceptions.TransactionCanceledException as error:
                reasons = cast("list[dict[str, Any]]", error.response.get("CancellationReasons", []))
                there = [reason.get("Code") == "ConditionalCheckFailed" for reason in reasons[: len(puts)]]
                if not any(there):
                    raise
                puts = [put for put, is_there in zip(puts, there, strict=True) if not is_there]
            else:
                return

    def _remove(self, part: str, seen: Item) -> None:
        #   LANE#part/SLOTS without holders, no entry moved since ──▶ gone
        moves = MOVES.of(seen)
        unmoved = f"{MOVES} = :seen" if moves is not None else f"attribute_not_exists({MOVES})"
        condition = f"attribute_not_exists({HOLDERS}) AND {unmoved}"
        values = {":seen": number(moves)} if moves is not None else {}
        self.client.delete_item(**self._on(lane_items.slots_key(part), condition, values=values))

    def _forget(self, seen: frozenset[int]) -> None:
        #   LANE#lane/SLOTS   layouts as seen ──▶ none
        given = {":seen": {"NS": [str(parts) for parts in sorted(seen)]}}
        self.client.update_item(**self._update(self.lane, f"REMOVE {LAYOUTS}", f"{LAYOUTS} = :seen", given)["Update"])

    def _update(self, part: str, update: str, condition: str, values: dict[str, Value]) -> _Action:
        about = self._on(lane_items.slots_key(part), condition, values=values, update=update)
        return {"Update": about | {"UpdateExpression": update}}

    def _on(
        self,
        key: dict[str, Value],
        condition: str,
        name: str = "Key",
        *,
        values: dict[str, Value] | None = None,
        update: str = "",
    ) -> dict[str, Any]:
        given = {"ConditionExpression": condition} if condition else {}
        return {"TableName": self.table, name: key, **given, **names_and_values(f"{update} {condition}", values or {})}
