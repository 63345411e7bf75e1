"""The chaos tests' job: passes the fence check with the real worker library, waits, and records it all in the ledger.

Its id and version decide how long it takes and how it ends, so that the same work always behaves the same.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from switchyard_worker import PermanentFailure, TryAgain, WorkerError, WorkerJob, run
from tests.chaos.ledger import DONE, FAILED

SHORTEST, LONGEST = 1.0, 4.5
"""Seconds of work: longer than a start, so that all slots are used at once, and kills and cancels hit running jobs.
Jobs only sleep, so they cost a busy machine nothing."""
AGAIN_SHARE: Final = 0.03
"""The share that asks for another attempt on its first. ECS has no attempts and would treat it as the end."""
FAILING_SHARE: Final = 0.02
"""The share that fails permanently."""

_PAUSE = 0.02


def dice(*words: str) -> float:
    """Returns a number from 0 to 1, determined by these words alone."""
    return int.from_bytes(hashlib.sha256("\0".join(words).encode()).digest()[:6]) / 2**48


def perform(variables: Mapping[str, str]) -> int:
    """Runs one attempt in the environment set by its target, and returns its exit code."""
    note = _Notes(variables)
    note("boot")

    def work(job: WorkerJob) -> Mapping[str, Any]:
        note("begin", fence=job.environment.fence, run=job.environment.run_id)
        try:
            _obey(job)
        except WorkerError as error:
            note("end", outcome=error.code)
            raise
        note("end", outcome=DONE)
        return {"did": "nothing much"}

    return run(work, variables=variables)


def _obey(job: WorkerJob) -> None:
    given = job.environment
    version = given.version_id or ""
    until = time.monotonic() + SHORTEST + (LONGEST - SHORTEST) * dice("seconds", given.job_id, version)
    while time.monotonic() < until:
        job.checkpoint()
        time.sleep(_PAUSE)
    if dice("fails", given.job_id, version) < FAILING_SHARE:
        raise PermanentFailure(FAILED, "as planned")
    on_batch = not given.run_id.startswith("arn:")
    if on_batch and given.attempt == 1 and dice("again", given.job_id, version) < AGAIN_SHARE:
        raise TryAgain(FAILED, "as planned")


class _Notes:
    """Writes lines to the ledger."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._ledger = Path(variables["LEDGER"])
        batch_job = variables.get("AWS_BATCH_JOB_ID", "")
        self._line: dict[str, Any] = {
            "pid": os.getpid(),
            "boot": time.time(),
            "job_id": variables["JOB_ID"],
            "version": variables.get("S3_VERSION_ID") or variables["JOB_ID"],
            "lane": "video" if batch_job else "images",
            "fence": int(variables["FENCE"]),
            "run_id": batch_job,
            "number": int(variables.get("AWS_BATCH_JOB_ATTEMPT") or 1),
        }

    def __call__(self, event: str, *, outcome: str = "", fence: int | None = None, run: str = "") -> None:
        if fence is not None:
            self._line |= {"fence": fence, "run_id": run}
        line = {**self._line, "event": event, "time": self._line["boot"] if event == "boot" else time.time()}
        # One short write to a file opened for appending: lines of concurrent jobs don't mix.
        with self._ledger.open("ab", buffering=0) as ledger:
            ledger.write(json.dumps({**line, "outcome": outcome}).encode() + b"\n")
