"""What really ran, as the jobs themselves have written it down: pure."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

DONE: Final = "done"
"""The outcome of an attempt that has done its job's whole work."""
FAILED: Final = "AS_PLANNED"
"""The outcome, and the error's code, of one that was to fail."""


@dataclass(frozen=True)
class Attempt:
    """One process of a job.

    Attributes:
        job_id: Whose.
        version: The state of the object that it was about; the job's id where there is none.
        lane: Whose slot it used.
        fence: Under which it was started.
        run_id: The target's id of the run.
        number: Which attempt of the run, from 1.
        boot: When its process began, in epoch seconds.
        begin: When it had passed the fence check; None if it never did.
        end: When its work ended; None if it was killed, or has not ended.
        outcome: How; empty likewise.
        killed: When we killed it, perhaps after its end, before its exit.
    """

    job_id: str
    version: str
    lane: str
    fence: int
    run_id: str
    number: int
    boot: float
    begin: float | None = None
    end: float | None = None
    outcome: str = ""
    killed: float | None = None

    @property
    def work(self) -> tuple[str, str]:
        """What it worked on."""
        return self.job_id, self.version

    @property
    def span(self) -> tuple[float, float] | None:
        """From when to when it worked; None if it was never let. Without an end it works for ever."""
        if self.begin is None:
            return None
        return self.begin, min(filter(None, (self.end, self.killed)), default=float("inf"))


def read(lines: Iterable[str], kills: Iterable[tuple[int, float]] = ()) -> list[Attempt]:
    """The attempts that a ledger tells of, in the order they began.

    Args:
        lines: Of the ledger; a last line that is cut off (its writer was killed) is left out.
        kills: The process ids that were killed, and when.
    """
    found: dict[tuple[int, float], dict[str, Any]] = {}
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        attempt = found.setdefault((told["pid"], told["boot"]), {})
        attempt |= {**told, told["event"]: told["time"]}  # on ECS a run learns its own id after it has begun
    for pid, at in kills:
        # A process id is given away again: the killed one is the last that had it by then.
        mine = max((key for key in found if key[0] == pid and key[1] <= at), default=None)
        if mine:
            found[mine]["killed"] = at
    fields = Attempt.__dataclass_fields__.keys()
    attempts = [Attempt(**{name: each[name] for name in each.keys() & fields}) for each in found.values()]
    return sorted(attempts, key=lambda attempt: attempt.boot)


def most_at_once(attempts: Iterable[Attempt]) -> int:
    """The most attempts that were ever at work at the same time."""
    edges: list[tuple[float, int]] = []
    for attempt in attempts:
        if attempt.span:
            begin, end = attempt.span
            edges += [(begin, 1), (end, -1)]
    # At the same instant, an end comes before a begin.
    return max(itertools.accumulate(change for _, change in sorted(edges)), default=0)


def by_work(attempts: Iterable[Attempt]) -> Mapping[tuple[str, str], Sequence[Attempt]]:
    """The attempts that were let work, by what they worked on."""
    found: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        if attempt.begin is not None:
            found.setdefault(attempt.work, []).append(attempt)
    return found
