"""Simulates many simultaneous claims on SLOTS items. No emulator makes transactions conflict as DynamoDB does.

Each claim is one TransactWriteItems. In the middle of the call it holds the item for a while. Another claim that
arrives then is cancelled and retried as `clients` configures it. An item supports 1,000 write units a second, and a
transaction uses two per KB of it. How long a transaction really holds an item is a guess, so two values are shown.

It also computes what sharding a lane costs: a job waits while its shard is full, even if another shard has free slots.
This is Erlang's C formula with one queue per shard, random arrivals and exponential durations.
"""

import heapq
import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort
from bench.report import table
from switchyard import clients

_LATENCY: Final = 0.020
_HELD: Final = (0.005, 0.020)
_CLAIMS: Final = (10, 100, 1000)
_ITEMS: Final = (1, 4, 16, 64)
_DIVIDED: Final = ((160, 16), (1000, 1), (1000, 4), (1000, 16), (10_000, 4), (10_000, 16), (10_000, 64))
_UNITS_A_SECOND: Final = 1000.0
_BURST: Final = 1000.0
"""Burst capacity in write units. DynamoDB often has more, but promises none."""
_ID: Final = 36
"""Bytes of a job id in the set of holders."""
_CONFLICT: Final = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
_COMES_BACK: Final = 10.0
"""Approximate seconds until a message is delivered again after its claim was cancelled too often."""


@dataclass
class _Item:
    """One SLOTS item."""

    held_until: float = 0.0
    holders: int = 0
    units: float = _BURST
    filled: float = 0.0

    def takes(self, now: float, hold: float) -> bool:
        """Returns whether a transaction that arrives now gets the item."""
        self.units = min(_BURST, self.units + (now - self.filled) * _UNITS_A_SECOND)
        self.filled = now
        needed = 2 * ceil((self.holders + 1) * _ID / 1024)
        if now < self.held_until or self.units < needed:
            return False
        self.held_until, self.units, self.holders = now + hold, self.units - needed, self.holders + 1
        return True


@dataclass
class Course:
    """The result: when each claim was done, in seconds; all calls; how often a message was returned."""

    done: list[float] = field(default_factory=list)
    calls: int = 0
    came_back: int = 0


def simulate(claims: int, items: int, hold: float, active: int, seed: int) -> Course:
    """Simulates `claims` simultaneous claims on a lane with `items` SLOTS items and `active` slots held."""
    dice = random.Random(seed)  # noqa: S311 - a simulation
    slots = [_Item(holders=active // items) for _ in range(items)]
    course = Course()
    # Time, number (so that no two are equal), item, attempts so far.
    due = [(dice.uniform(0, 0.005), number, dice.randrange(items), 1) for number in range(claims)]
    heapq.heapify(due)
    while due:
        now, number, item, attempt = heapq.heappop(due)
        course.calls += 1
        if slots[item].takes(now, hold):
            course.done.append(now + _LATENCY)
            continue
        pause = clients.pause_after_conflict((None, _CONFLICT), attempt)
        if pause is None:
            course.came_back += 1
            pause, attempt = dice.uniform(0.5, 1.5) * _COMES_BACK, 0
        heapq.heappush(due, (now + _LATENCY + pause, number, item, attempt + 1))
    return course


def waiting(slots: int, load: float) -> tuple[float, float]:
    """Returns the share of jobs that wait for one of `slots` slots, and the average wait in job lengths.

    `load` is a slot's utilization, below 1. Computes Erlang's C formula from his B formula, which has a recursion.
    """
    offered = slots * load
    blocked = 1.0
    for servers in range(1, slots + 1):
        blocked = offered * blocked / (servers + offered * blocked)
    waits = blocked / (1 - load * (1 - blocked))
    return waits, waits / (slots - offered)


def run(_layer: Layer, effort: Effort) -> list[Table]:
    """Simulates every size on one item and on several, then computes the cost of several."""
    claims, sizes = effort.of(_CLAIMS, _CLAIMS[:1]), effort.of((0, 1000), (0,))
    return [*(_table(active, claims, effort.rounds) for active in sizes), _price()]


def _price() -> Table:
    shown = table(
        "Jobs that wait although their lane has slots enough (computed)",
        *("slots", "shards", "slots taken", "jobs that wait", "waits on average, job lengths"),
    )
    for slots, shards in _DIVIDED:
        for load in (0.8, 0.9, 0.95):
            share, length = waiting(slots // shards, load)
            shown.add_row(f"{slots:,}", str(shards), f"{load:.0%}", f"{share:.1%}", f"{length:.3f}")
    return shown


def _table(active: int, sizes: Sequence[int], rounds: int) -> Table:
    shown = table(
        f"Claims of one lane at one moment, {active:,} jobs active before (simulated)",
        *("claims", "SLOTS items", "item kept, ms", "calls a claim", "came back", "half done, s", "all done, s"),
        caption="One item is an undivided lane; several are its shards.",
    )
    for claims in sizes:
        for items in _ITEMS:
            for hold in _HELD:
                courses = [simulate(claims, items, hold, active, seed) for seed in range(rounds)]
                shown.add_row(
                    f"{claims:,}",
                    str(items),
                    f"{hold * 1000:.0f}",
                    f"{statistics.median(each.calls / claims for each in courses):.1f}",
                    f"{statistics.median(each.came_back / claims for each in courses):.0%}",
                    f"{statistics.median(statistics.median(each.done) for each in courses):.2f}",
                    f"{statistics.median(max(each.done) for each in courses):.2f}",
                )
    return shown
