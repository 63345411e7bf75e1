"""What survives a kill: the jobs, and the events not yet delivered, in one SQLite file.

Used from one thread. A job is kept as the JSON that DescribeJobs answers, beside the columns that lists are made by.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from local.compute.config import Shape

FINAL = ("SUCCEEDED", "FAILED")

_SCHEMA = """
CREATE TABLE IF NOT EXISTS jobs (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,   -- in the order of submission
  id TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL,                      -- in lower case, as the JOB_NAME filter compares
  queue TEXT NOT NULL,
  definition TEXT NOT NULL,                -- name:revision
  status TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  detail TEXT NOT NULL,                    -- what DescribeJobs answers
  run TEXT NOT NULL                        -- what only this program needs to know
);
CREATE INDEX IF NOT EXISTS jobs_by_status ON jobs (queue, status, seq);
CREATE INDEX IF NOT EXISTS jobs_by_name ON jobs (queue, name, seq);
CREATE TABLE IF NOT EXISTS events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,   -- the order of delivery
  job TEXT NOT NULL,
  body TEXT NOT NULL,
  due_at REAL NOT NULL,
  held INTEGER NOT NULL                    -- kept back until its job has ended (see faults)
);
CREATE INDEX IF NOT EXISTS events_by_due ON events (held, due_at);
CREATE INDEX IF NOT EXISTS events_by_job ON events (job);
"""


@dataclass
class Job:
    """A job: `detail` is its DescribeJobs shape, `run` what it takes to run it."""

    detail: Shape
    run: Shape
    seq: int = 0

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.detail["jobId"])

    @property
    def status(self) -> str:
        """One of AWS Batch's job statuses."""
        return str(self.detail["status"])

    @property
    def queue(self) -> str:
        """The queue's name."""
        return str(self.detail["jobQueue"]).rpartition("/")[2]

    @property
    def definition(self) -> str:
        """The definition's `name:revision`."""
        return str(self.detail["jobDefinition"]).rpartition("/")[2]


@dataclass(frozen=True)
class Event:
    """A state change on its way to EventBridge."""

    seq: int
    body: Shape


class Store:
    """The SQLite file at `path`."""

    def __init__(self, path: Path) -> None:
        self._database = sqlite3.connect(path, isolation_level=None)
        self._database.row_factory = sqlite3.Row
        self._database.execute("PRAGMA journal_mode = WAL")
        # What is committed survives this process's death, which is the promise; only a power cut could take the last
        # moments back, and the jobs would be gone with it anyway.
        self._database.execute("PRAGMA synchronous = NORMAL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All of it or nothing."""
        with self._database:
            self._database.execute("BEGIN IMMEDIATE")
            yield

    # ---- jobs --------------------------------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """Insert a job; it is durable when this returns."""
        self._database.execute(
            "INSERT INTO jobs (id, name, queue, definition, status, created_at, detail, run)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                job.id,
                job.detail["jobName"].lower(),
                job.queue,
                job.definition,
                job.status,
                job.detail["createdAt"],
                json.dumps(job.detail),
                json.dumps(job.run),
            ),
        )

    def save(self, job: Job) -> None:
        """Write a job's new state."""
        self._database.execute(
            "UPDATE jobs SET status = ?, detail = ?, run = ? WHERE id = ?",
            (job.status, json.dumps(job.detail), json.dumps(job.run), job.id),
        )

    def get(self, job_id: str) -> Job | None:
        """A job, or None."""
        return next(self._jobs("WHERE id = ?", [job_id]), None)

    def by_status(self, queue: str, statuses: Iterable[str], limit: int = -1) -> list[Job]:
        """A queue's jobs in any of these statuses, oldest first."""
        wanted = list(statuses)
        marks = ", ".join("?" * len(wanted))
        return list(
            self._jobs(f"WHERE queue = ? AND status IN ({marks}) ORDER BY seq LIMIT ?", [queue, *wanted, limit])
        )

    def under_way(self) -> list[Job]:
        """The jobs that have a process, or were about to."""
        return list(self._jobs("WHERE status IN ('STARTING', 'RUNNING') ORDER BY seq", []))

    def page(self, conditions: Iterable[tuple[str, str | int]], *, before: int | None, limit: int) -> list[Job]:
        """Jobs that meet every condition, such as `("status = ?", "RUNNING")`, newest first.

        Args:
            conditions: SQL with one mark each, and the mark's value.
            before: only jobs with a smaller `seq`: the last one of the page before.
            limit: at most so many.
        """
        wanted = [*conditions, *([("seq < ?", before)] if before is not None else [])]
        where = f"WHERE {' AND '.join(sql for sql, _ in wanted)} " if wanted else ""
        return list(self._jobs(f"{where}ORDER BY seq DESC LIMIT ?", [*(value for _, value in wanted), limit]))

    def counts(self) -> dict[str, dict[str, int]]:
        """How many jobs each queue has in each status."""
        result: dict[str, dict[str, int]] = {}
        for row in self._database.execute("SELECT queue, status, count(*) AS n FROM jobs GROUP BY queue, status"):
            result.setdefault(row["queue"], {})[row["status"]] = row["n"]
        return result

    def forget(self, before: int) -> list[str]:
        """Delete the jobs that were submitted before a time (ms) and have ended; returns their ids."""
        rows = self._database.execute(
            "DELETE FROM jobs WHERE created_at < ? AND status IN (?, ?) RETURNING id", (before, *FINAL)
        )
        return [row["id"] for row in rows.fetchall()]

    def _jobs(self, where: str, values: list[str | int]) -> Iterator[Job]:
        for row in self._database.execute(f"SELECT seq, detail, run FROM jobs {where}", values):  # noqa: S608 - own SQL
            yield Job(json.loads(row["detail"]), json.loads(row["run"]), row["seq"])

    # ---- events ------------------------------------------------------------------------------------------------

    def add_event(self, job_id: str, body: Shape, *, due_at: float, held: bool) -> None:
        """Keep an event for delivery."""
        self._database.execute(
            "INSERT INTO events (job, body, due_at, held) VALUES (?, ?, ?, ?)",
            (job_id, json.dumps(body), due_at, held),
        )

    def due_events(self, now: float, limit: int) -> list[Event]:
        """Events to deliver now, in their order."""
        rows = self._database.execute(
            "SELECT seq, body FROM events WHERE held = 0 AND due_at <= ? ORDER BY seq LIMIT ?", (now, limit)
        )
        return [Event(row["seq"], json.loads(row["body"])) for row in rows]

    def next_due(self) -> float | None:
        """When the next event is due; None if none waits."""
        row = self._database.execute("SELECT min(due_at) AS due FROM events WHERE held = 0").fetchone()
        return None if row["due"] is None else float(row["due"])

    def delivered(self, event: Event) -> None:
        """Drop an event."""
        self._database.execute("DELETE FROM events WHERE seq = ?", (event.seq,))

    def release_events(self) -> None:
        """Let every held event go, in order."""
        self._database.execute("UPDATE events SET held = 0 WHERE held = 1")

    def release_reversed(self, job_id: str) -> None:
        """Let a job's held events go, the last one first."""
        self._database.execute(
            "INSERT INTO events (job, body, due_at, held)"
            " SELECT job, body, due_at, 0 FROM events WHERE held = 1 AND job = ? ORDER BY seq DESC",
            (job_id,),
        )
        self._database.execute("DELETE FROM events WHERE held = 1 AND job = ?", (job_id,))

    def waiting_events(self) -> int:
        """How many events wait."""
        return int(self._database.execute("SELECT count(*) FROM events").fetchone()[0])
