"""Reads which attempts really ran, from the ledger that the jobs write. Pure."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

DONE: Final = "done"
"""The outcome of an attempt that finished its job's work."""
FAILED: Final = "AS_PLANNED"
"""The outcome and error code of an attempt that was planned to fail."""


@dataclass(frozen=True)
class Attempt:
    """One process of a job.

    Attributes:
        job_id: The job.
        version: The object's version; the job's id if the job has no object.
        lane: The lane whose slot it used.
        fence: The fence it was started under.
        run_id: The target's id of the run.
        number: The attempt's number within the run, from 1.
        boot: When its process began, in epoch seconds.
        begin: When it passed the fence check; None if it never did.
        end: When its work ended; None if it was killed or has not ended.
        outcome: How it ended; empty if it has no end.
        killed: When we killed it, possibly between its end and its exit.
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
        """Returns the job and the version it worked on."""
        return self.job_id, self.version

    @property
    def span(self) -> tuple[float, float] | None:
        """Returns when it worked; None if it never passed the fence check. Without an end it works for ever."""
        if self.begin is None:
            return None
        return self.begin, min(filter(None, (self.end, self.killed)), default=float("inf"))


def read(lines: Iterable[str], kills: Iterable[tuple[int, float]] = ()) -> list[Attempt]:
    """Returns the attempts in a ledger, in the order they began.

    Args:
        lines: The ledger's lines; a truncated last line (its writer was killed) is ignored.
        kills: The process ids that were killed, and when.
    """
    found: dict[tuple[int, float], dict[str, Any]] = {}
    for line in lines:
        try:
            told = json.loads(line)
        except ValueError:
            continue
        attempt = found.setdefault((told["pid"], told["boot"]), {})
        attempt |= {**told, told["event"]: told["time"]}  # on ECS a run learns its id after it has begun
    for pid, at in kills:
        # Process ids are reused: the killed attempt is the last one that had the id by then.
        mine = max((key for key in found if key[0] == pid and key[1] <= at), default=None)
        if mine:
            found[mine]["killed"] = at
    fields = Attempt.__dataclass_fields__.keys()
    attempts = [Attempt(**{name: each[name] for name in each.keys() & fields}) for each in found.values()]
    return sorted(attempts, key=lambda attempt: attempt.boot)


def most_at_once(attempts: Iterable[Attempt]) -> int:
    """Returns the highest number of attempts at work at the same time."""
    edges: list[tuple[float, int]] = []
    for attempt in attempts:
        if attempt.span:
            begin, end = attempt.span
            edges += [(begin, 1), (end, -1)]
    # At the same instant, an end counts before a begin.
    return max(itertools.accumulate(change for _, change in sorted(edges)), default=0)


def by_work(attempts: Iterable[Attempt]) -> Mapping[tuple[str, str], Sequence[Attempt]]:
    """Returns the attempts that passed the fence check, by job and version."""
    found: dict[tuple[str, str], list[Attempt]] = {}
    for attempt in attempts:
        if attempt.begin is not None:
            found.setdefault(attempt.work, []).append(attempt)
    return found
