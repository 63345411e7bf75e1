"""Torrents' jobs in JobsTable: what they have beyond other jobs of functions, the chunks of large objects.

The hashed chunks of a large object are a set of names, so that adding one twice changes nothing (`segments`).
"""

from __future__ import annotations

from switchyard import clock
from switchyard.function_jobs.jobs import FunctionRun, Values
from switchyard.function_jobs.table import FunctionJobs, run_of
from switchyard.protocol.jobs import Status
from switchyard.tables.items import (
    ATTEMPTS,
    CHUNKS,
    ENDED_AT,
    ERROR,
    FENCE,
    HEARTBEAT_AT,
    PROGRESS,
    STATUS,
    TTL,
    UPDATED_AT,
    fields,
    members,
    moment,
    number,
    text,
)


class TorrentJobs(FunctionJobs):
    """JobsTable as s3_torrent_creator uses it."""

    def join(self, job_id: str, fence: int) -> FunctionRun:
        """Joins a run of a job to hash a segment. A job that was given up is RUNNING again.

        Raises:
            Stopped: this run must not continue.
        """
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ RUNNING
        found = self._go_on(
            job_id,
            fence,
            f"SET {STATUS} = :running, {HEARTBEAT_AT} = :now, {UPDATED_AT} = :now REMOVE {ERROR}, {ENDED_AT}, {TTL}",
        )
        return run_of(found)

    def add_chunk(self, run: FunctionRun, name: str) -> frozenset[str]:
        """Records a hashed chunk; returns the names of all chunks, whoever hashed them.

        Raises:
            Stopped: this run must not continue.
        """
        #   RUNNING, or FAILED as given up; fence = ours, no cancel ──▶ with one chunk more
        found = self._go_on(
            run.job_id,
            run.fence,
            f"SET {HEARTBEAT_AT} = :now, {UPDATED_AT} = :now, {ATTEMPTS} = :one ADD {CHUNKS} :name",
            {":one": number(1), ":name": members(name)},
        )
        return found.chunks

    def lose_chunks(self, run: FunctionRun, names: list[str]) -> None:
        """Removes chunks whose objects were lost."""
        #   fence = ours ──▶ without these chunks
        self._update(
            run.job_id,
            f"SET {UPDATED_AT} = :now DELETE {CHUNKS} :names",
            f"{FENCE} = :fence",
            {":now": moment(clock.now()), ":fence": number(run.fence), ":names": members(*names)},
        )

    def advance(self, run: FunctionRun, percent: int) -> None:
        """Writes the progress of all segments together; it never decreases."""
        #   RUNNING, fence = ours, less progress ──▶ with more progress
        self._update(
            run.job_id,
            f"SET {PROGRESS} = :progress",
            f"{FENCE} = :fence AND {STATUS} = :running AND "
            f"(attribute_not_exists({PROGRESS}) OR {PROGRESS}.#percent < :percent)",
            {
                ":progress": fields(hashing(percent)),
                ":percent": number(percent),
                ":fence": number(run.fence),
                ":running": text(Status.RUNNING),
            },
        )


def hashing(percent: int) -> Values:
    """The progress of a job whose object is hashed to `percent`, less than 100."""
    return {"percent": percent, "message": "hashing"}
