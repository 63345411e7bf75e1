"""The worker of the integration tests' jobs: it keeps the contract and follows the plan in its input file.

The uploaded object (for a task, the one of its first image URL) holds the plan as JSON. Anything else is an empty plan:
a job that completes at once.

    {"seconds": 0.5}            work for so many seconds
    {"gate": true}              work until `System.release` is called for the object's key
    {"permanent": "CODE"}       fail permanently (exit code 65)
    {"again": 2}                ask for another attempt on the first two (exit code 75)
    {"exit": 137}               crash with that exit code, on every attempt

Each run that passes the fence check writes a line to the ledger when it begins and when it ends.
"""

import hashlib
import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from switchyard_worker import PermanentFailure, TryAgain, WorkerJob, run

PAUSE_SECONDS = 0.02


def gate(folder: Path, key: str) -> Path:
    """Returns the file that opens the gate for an object's key. The key may have characters that file names can't."""
    return folder / hashlib.sha256(key.encode()).hexdigest()


def boot_barrier(folder: Path, key: str) -> Path:
    """Returns the file that keeps an object's job from reaching the fence check, like a slow image pull."""
    return gate(folder, key).with_suffix(".boot")


def main(job: WorkerJob) -> dict[str, Any]:
    """Follows the plan."""
    plan = _plan(job)
    _note(job, "begin")
    try:
        _obey(plan, job)
    finally:
        _note(job, "end")
    job.save("summary.json", json.dumps(plan).encode())
    return {"obeyed": plan}


def _plan(job: WorkerJob) -> dict[str, Any]:
    where = {"Bucket": job.environment.bucket, "Key": _key(job)}
    if job.environment.version_id:
        where["VersionId"] = job.environment.version_id
    body = job.s3.get_object(**where)["Body"].read()  # type: ignore[arg-type]
    try:
        plan = json.loads(body)
    except ValueError:
        return {}
    return plan if isinstance(plan, dict) else {}


def _key(job: WorkerJob) -> str:
    """Returns the key of the job's object."""
    if job.environment.key:
        return job.environment.key
    url: str = job.input["imageUrls"][0]
    return url.removeprefix(f"s3://{job.environment.bucket}/")


def _obey(plan: dict[str, Any], job: WorkerJob) -> None:
    if plan.get("gate"):
        opened = gate(Path(os.environ["GATES"]), _key(job))
        while not opened.exists():
            job.checkpoint()
            time.sleep(PAUSE_SECONDS)
    until = time.monotonic() + plan.get("seconds", 0)
    while time.monotonic() < until:
        job.checkpoint()
        time.sleep(PAUSE_SECONDS)
    if "permanent" in plan:
        raise PermanentFailure(plan["permanent"], "as the plan says")
    if job.environment.attempt <= plan.get("again", 0):
        raise TryAgain("AS_PLANNED", "as the plan says")
    if "exit" in plan:
        _note(job, "end")
        raise SystemExit(plan["exit"])


def _note(job: WorkerJob, event: str) -> None:
    line = {
        "event": event,
        "time": time.time(),
        "jobId": job.environment.job_id,
        "key": _key(job),
        "runId": job.environment.run_id,
        "attempt": job.environment.attempt,
    }
    # One short write to a file opened for appending: lines of concurrent jobs don't mix.
    with Path(os.environ["LEDGER"]).open("ab", buffering=0) as ledger:
        ledger.write(json.dumps(line).encode() + b"\n")


def _boot() -> None:
    barrier = boot_barrier(Path(os.environ["GATES"]), os.environ.get("S3_KEY") or os.environ["JOB_ID"])
    while barrier.exists():
        time.sleep(PAUSE_SECONDS)


def perform(_variables: Mapping[str, str]) -> int:
    """Runs one attempt in the environment set by its target, and returns its exit code. The nursery calls it."""
    _boot()
    return run(main)
