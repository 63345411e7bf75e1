"""The durable state in one SQLite file: jobs, tasks and undelivered events.

For one thread. A run is stored as the JSON with which its service describes it, with extra columns for lists.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.compute.config import Shape
from local.compute.runs import ComputeRun

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,   -- in the order of requests
  kind TEXT NOT NULL,                      -- job or task
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,                      -- the job's name in lower case; the task's startedBy
  place TEXT NOT NULL,                     -- queue or cluster
  definition TEXT NOT NULL,                -- name:revision
  token TEXT,                              -- the client token of RunTask
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,             -- ms
  ended_at INTEGER,                        -- ms
  detail TEXT NOT NULL,                    -- AWS's description
  own TEXT NOT NULL                        -- data for this program alone
);
CREATE INDEX IF NOT EXISTS runs_by_status ON runs (kind, place, status, seq);
CREATE INDEX IF NOT EXISTS runs_by_name ON runs (kind, place, name, seq);
CREATE INDEX IF NOT EXISTS runs_by_token ON runs (kind, place, token);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order of delivery
  run TEXT NOT NULL,
  body TEXT NOT NULL,
  due_at REAL NOT NULL,
  held INTEGER NOT NULL                    -- held back until its run has ended (see faults)
);
CREATE INDEX IF NOT EXISTS events_by_due ON events (held, due_at);
CREATE INDEX IF NOT EXISTS events_by_run ON events (run);
"""

type Condition = tuple[str, str | int]
"""SQL with one placeholder, and its value: `("status = ?", "RUNNING")`."""


@dataclass(frozen=True)
class Event:
    """An undelivered state change."""

    seq: int
    body: Shape


class Store:
    """The SQLite file at `path`."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        # Commits survive the death of this process. A power cut could lose the last ones, but it ends the jobs too.
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all writes of the block together, or none."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    # ---- runs --------------------------------------------------------------------------------------------------

    def add(self, run: ComputeRun, token: str | None = None) -> None:
        """Insert a run; it is durable when this returns."""
        self._database.execute(
            "INSERT INTO runs (kind, id, name, place, definition, token, status, created_at, detail, own)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.kind,
                run.id,
                run.name,
                run.place,
                run.definition,
                token,
                run.status,
                run.created_at,
                json.dumps(run.detail),
                json.dumps(run.own),
            ),
        )

    def save(self, run: ComputeRun) -> None:
        """Write a run's new state."""
        self._database.execute(
            "UPDATE runs SET status = ?, ended_at = ?, detail = ?, own = ? WHERE id = ?",
            (run.status, run.ended_at, json.dumps(run.detail), json.dumps(run.own), run.id),
        )

    def get[R: ComputeRun](self, kind: type[R], run_id: str) -> R | None:
        """A run, or None."""
        return next(self._runs(kind, "AND id = ?", [run_id]), None)

    def known[R: ComputeRun](self, kind: type[R], run_id: str) -> R:
        """A run that must exist.

        Raises:
            LookupError: it doesn't.
        """
        run = self.get(kind, run_id)
        if run is None:
            raise LookupError(run_id)
        return run

    def by_status[R: ComputeRun](
        self, kind: type[R], statuses: Iterable[str], *, place: str | None = None, limit: int = -1
    ) -> list[R]:
        """Runs in any of these statuses, of one place or all, oldest first."""
        wanted = list(statuses)
        where, values = ("AND place = ? ", [place]) if place is not None else ("", [])
        marks = ", ".join("?" * len(wanted))
        return list(self._runs(kind, f"{where}AND status IN ({marks}) ORDER BY seq LIMIT ?", [*values, *wanted, limit]))

    def page[R: ComputeRun](
        self, kind: type[R], conditions: Iterable[Condition], *, before: int | None, limit: int
    ) -> list[R]:
        """Runs that meet every condition, newest first.

        Args:
            kind: Jobs or tasks.
            conditions: The conditions.
            before: Only runs with a smaller `seq`: that of the previous page's last run.
            limit: The maximum number of runs.
        """
        wanted = [*conditions, *([("seq < ?", before)] if before is not None else [])]
        where = "".join(f"AND {sql} " for sql, _ in wanted)
        return list(self._runs(kind, f"{where}ORDER BY seq DESC LIMIT ?", [*(value for _, value in wanted), limit]))

    def counts(self, kind: type[ComputeRun]) -> dict[str, dict[str, int]]:
        """How many runs each place has in each status."""
        result: dict[str, dict[str, int]] = {}
        sql = "SELECT place, status, count(*) AS n FROM runs WHERE kind = ? GROUP BY place, status"
        for row in self._database.execute(sql, [kind.kind]):
            result.setdefault(row["place"], {})[row["status"]] = row["n"]
        return result

    def forget(self, before: int) -> list[str]:
        """Delete runs that ended before a time (ms); returns their ids."""
        rows = self._database.execute("DELETE FROM runs WHERE ended_at < ? RETURNING id", [before])
        return [row["id"] for row in rows.fetchall()]

    def forget_one(self, run_id: str) -> None:
        """Delete a run."""
        self._database.execute("DELETE FROM runs WHERE id = ?", [run_id])

    def _runs[R: ComputeRun](self, kind: type[R], where: str, values: list[str | int]) -> Iterator[R]:
        sql = f"SELECT seq, detail, own FROM runs WHERE kind = ? {where}"  # noqa: S608 - own SQL
        for row in self._database.execute(sql, [kind.kind, *values]):
            yield kind(json.loads(row["detail"]), json.loads(row["own"]), row["seq"])

    # ---- events ------------------------------------------------------------------------------------------------

    def add_event(self, run_id: str, body: Shape, *, due_at: float, held: bool) -> None:
        """Store an event for delivery."""
        self._database.execute(
            "INSERT INTO events (run, body, due_at, held) VALUES (?, ?, ?, ?)",
            (run_id, json.dumps(body), due_at, held),
        )

    def due_events(self, now: float, limit: int) -> list[Event]:
        """Events to deliver now, in order."""
        rows = self._database.execute(
            "SELECT seq, body FROM events WHERE held = 0 AND due_at <= ? ORDER BY seq LIMIT ?", (now, limit)
        )
        return [Event(row["seq"], json.loads(row["body"])) for row in rows]

    def next_due(self) -> float | None:
        """When the next event is due; None if there is none."""
        row = self._database.execute("SELECT min(due_at) AS due FROM events WHERE held = 0").fetchone()
        return None if row["due"] is None else float(row["due"])

    def delivered(self, event: Event) -> None:
        """Delete a delivered event."""
        self._database.execute("DELETE FROM events WHERE seq = ?", (event.seq,))

    def release_events(self) -> None:
        """Release all held events, in order."""
        self._database.execute("UPDATE events SET held = 0 WHERE held = 1")

    def release_reversed(self, run_id: str) -> None:
        """Release a run's held events, the last one first."""
        self._database.execute(
            "INSERT INTO events (run, body, due_at, held)"
            " SELECT run, body, due_at, 0 FROM events WHERE held = 1 AND run = ? ORDER BY seq DESC",
            (run_id,),
        )
        self._database.execute("DELETE FROM events WHERE held = 1 AND run = ?", (run_id,))

    def waiting_events(self) -> int:
        """The number of undelivered events."""
        return int(self._database.execute("SELECT count(*) FROM events").fetchone()[0])
