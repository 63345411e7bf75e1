"""Simulates many simultaneous claims on a SLOTS item. No emulator makes transactions conflict as DynamoDB does.

Each claim is one TransactWriteItems. In the middle of the call it holds the item for a while. Another claim that
arrives then is cancelled and retried as `clients` configures it. An item supports 1,000 write units a second, and a
transaction uses two of them, since the item is smaller than 1 KB at any number of active jobs. How long a transaction
really holds an item is a guess, so two values are shown. Claims of one process take turns, so they don't meet at all.
"""

import heapq
import random
import statistics
from dataclasses import dataclass, field
from typing import Final

from rich.table import Table

from bench.environment import Layer
from bench.measure import Effort
from bench.report import table
from switchyard import clients

_LATENCY: Final = 0.020
_HELD: Final = (0.005, 0.020)
_CLAIMS: Final = (10, 100, 1000)
_UNITS_A_SECOND: Final = 1000.0
_BURST: Final = 1000.0
"""Burst capacity in write units. DynamoDB often has more, but promises none."""
_NEEDED: Final = 2.0
"""Write units of a transaction on an item of at most 1 KB."""
_CONFLICT: Final = {"CancellationReasons": [{"Code": "TransactionConflict"}]}
_COMES_BACK: Final = 10.0
"""Approximate seconds until a message is delivered again after its claim was cancelled too often."""


@dataclass
class _Item:
    """A SLOTS item."""

    held_until: float = 0.0
    units: float = _BURST
    filled: float = 0.0

    def takes(self, now: float, hold: float) -> bool:
        """Returns whether a transaction that arrives now gets the item."""
        self.units = min(_BURST, self.units + (now - self.filled) * _UNITS_A_SECOND)
        self.filled = now
        if now < self.held_until or self.units < _NEEDED:
            return False
        self.held_until, self.units = now + hold, self.units - _NEEDED
        return True


@dataclass
class Course:
    """The result: when each claim was done, in seconds; all calls; how often a message was returned."""

    done: list[float] = field(default_factory=list)
    calls: int = 0
    came_back: int = 0


def simulate(claims: int, hold: float, seed: int) -> Course:
    """Simulates `claims` simultaneous claims on a lane, each of another process."""
    dice = random.Random(seed)  # noqa: S311 - a simulation
    slots, course = _Item(), Course()
    # Time, number (so that no two are equal), attempts so far.
    due = [(dice.uniform(0, 0.005), number, 1) for number in range(claims)]
    heapq.heapify(due)
    while due:
        now, number, attempt = heapq.heappop(due)
        course.calls += 1
        if slots.takes(now, hold):
            course.done.append(now + _LATENCY)
            continue
        pause = clients.pause_after_conflict((None, _CONFLICT), attempt)
        if pause is None:
            course.came_back += 1
            pause, attempt = dice.uniform(0.5, 1.5) * _COMES_BACK, 0
        heapq.heappush(due, (now + _LATENCY + pause, number, attempt + 1))
    return course


def run(_layer: Layer, effort: Effort) -> list[Table]:
    """Simulates every size."""
    sizes = effort.of(_CLAIMS, _CLAIMS[:2])
    shown = table(
        "Claims of one lane at one moment, whatever number of jobs is active (simulated)",
        *("claims", "item kept, ms", "calls a claim", "came back", "half done, s", "all done, s", "a second"),
    )
    for claims in sizes:
        for hold in _HELD:
            courses = [simulate(claims, hold, seed) for seed in range(effort.rounds)]
            last = statistics.median(max(each.done) for each in courses)
            shown.add_row(
                f"{claims:,}",
                f"{hold * 1000:.0f}",
                f"{statistics.median(each.calls / claims for each in courses):.1f}",
                f"{max(each.came_back / claims for each in courses):.1%}",
                f"{statistics.median(statistics.median(each.done) for each in courses):.2f}",
                f"{last:.2f}",
                f"{claims / last:.0f}",
            )
    return [shown]
