"""A job's life: SUBMITTED → PENDING → RUNNABLE → STARTING → RUNNING → SUCCEEDED | FAILED, or back to RUNNABLE.

Everything here can stop dead between any two lines and go on from the store and the attempts' files: a state is
committed before what follows from it is done, and what is done twice does no harm.
"""

import asyncio
import contextlib
import logging
import re
import shutil
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

from local.compute import supervisor
from local.compute.attempts import Attempt
from local.compute.config import Config, Shape
from local.compute.events import Outbox
from local.compute.retries import retried
from local.compute.store import FINAL, Job, Store

LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.02
"""How often running attempts' files are looked at: what it adds to a job's end."""
ADMITTED_AT_ONCE = 50
"""Submissions moved on in one step, so that thousands of them don't keep callers waiting."""
KEPT_SECONDS = 7 * 24 * 3600
"""How long AWS Batch shows a job that has ended."""

EXITED = "Essential container in task exited"
NOT_STARTED = "Task failed to start"
TIMED_OUT = "Job attempt duration exceeded timeout"
HOST_LOST = "Host EC2 (instance i-00000000000000000) terminated."


@dataclass
class _Run:
    """An attempt under way, and whether it was announced as RUNNING."""

    attempt: Attempt
    queue: str
    announced: bool = False


class Engine:
    """Moves jobs through their states and their attempts' processes through theirs."""

    def __init__(self, config: Config, store: Store, outbox: Outbox, attempts: Path) -> None:
        self._config = config
        self._store = store
        self._outbox = outbox
        self._attempts = attempts
        self._runs: dict[str, _Run] = {}
        self._wake = asyncio.Event()
        self._closing = False

    # ---- what callers ask for ----------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Take a job; it is durable when this returns. AWS sends no event for it."""
        self._store.add(job)
        self._wake.set()

    def terminate(self, job_id: str, reason: str) -> None:
        """End a job, whatever it is doing. One that is unknown or has ended stays as it is."""
        job = self._store.get(job_id)
        if job is None or job.status in FINAL or job.detail.get("isTerminated"):
            return
        with self._store.transaction():
            job.detail["isTerminated"] = True
            if job_id in self._runs:
                job.run["stopReason"] = reason
                self._store.save(job)
            else:
                self._move(job, "FAILED", statusReason=reason, stoppedAt=supervisor.now())
        if run := self._runs.get(job_id):
            run.attempt.stop()

    def cancel(self, job_id: str, reason: str) -> None:
        """End a job that hasn't started; any other stays as it is."""
        job = self._store.get(job_id)
        if job is None or job.status in FINAL or job_id in self._runs:
            return
        with self._store.transaction():
            self._move(job, "FAILED", statusReason=reason, stoppedAt=supervisor.now(), isCancelled=True)

    def log(self, job_id: str, attempt: int) -> Path:
        """The file that an attempt's output goes to."""
        return self._directory(job_id, attempt) / supervisor.LOG

    # ---- running -----------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Take up where the last process left off: attach to living workers, start what was about to start."""
        self._outbox.release()
        for job in self._store.under_way():
            attempt = Attempt(self._directory(job.id, len(job.detail["attempts"]) + 1))
            self._runs[job.id] = _Run(attempt, job.queue, announced=job.status == "RUNNING")
            if not attempt.running() and not attempt.ended() and not attempt.alive():
                attempt.launch(self._specification(job))
            if job.detail.get("isTerminated"):
                attempt.stop()
            LOG.info("took up %s (%s), %s", job.detail["jobName"], job.id, job.status)

    async def run(self) -> None:
        """Move jobs until cancelled."""
        forget_at = 0.0
        while True:
            self._wake.clear()
            if time.monotonic() >= forget_at:
                self._forget()
                forget_at = time.monotonic() + 3600
            busy = self._admit()
            self._watch()
            self._start()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), 0 if busy else POLL_SECONDS if self._runs else 3600)

    async def close(self, hurry: asyncio.Event) -> None:
        """End the workers as a lost host would, and write down how they ended; at once when `hurry` is set."""
        self._closing = True
        for run in self._runs.values():
            run.attempt.stop()
        hurried = False
        while self._runs:
            if hurry.is_set() and not hurried:
                hurried = True
                for run in self._runs.values():
                    run.attempt.stop(now=True)
            self._watch()
            await asyncio.sleep(POLL_SECONDS)

    def _admit(self) -> bool:
        """SUBMITTED → PENDING → RUNNABLE: nothing holds a job back here but its turn. True if there may be more."""
        admitted = 0
        for queue in self._config.queues:
            jobs = self._store.by_status(queue, ["SUBMITTED", "PENDING"], ADMITTED_AT_ONCE)
            if not jobs:
                continue
            with self._store.transaction():
                for job in jobs:
                    if job.status == "SUBMITTED":
                        self._move(job, "PENDING")
                    self._move(job, "RUNNABLE")
            admitted += len(jobs)
        return admitted > 0

    def _start(self) -> None:
        """RUNNABLE → STARTING, oldest first, as far as the queues' limits go."""
        for queue in self._config.queues.values():
            free = queue.max_running - sum(run.queue == queue.name for run in self._runs.values())
            if free <= 0:
                continue
            for job in self._store.by_status(queue.name, ["RUNNABLE"], free):
                with self._store.transaction():
                    job.detail["container"] |= self._placement()
                    job.detail.pop("statusReason", None)  # the last attempt's
                    self._move(job, "STARTING")
                attempt = Attempt(self._directory(job.id, len(job.detail["attempts"]) + 1))
                attempt.launch(self._specification(job))
                self._runs[job.id] = _Run(attempt, queue.name)

    def _watch(self) -> None:
        """STARTING → RUNNING → …, by what the attempts' files say."""
        for job_id, run in list(self._runs.items()):
            ended = run.attempt.ended()
            lost = False
            if ended is None and not run.attempt.alive():
                # It may have written its last word between the two looks.
                ended = run.attempt.ended()
                lost = ended is None
            if not run.announced and (running := run.attempt.running() or ended):
                self._announce(job_id, running)
                run.announced = True
            if ended is not None or lost:
                self._finish(job_id, ended or self._loss(run))
                del self._runs[job_id]

    def _announce(self, job_id: str, running: Shape) -> None:
        job = self._known(job_id)
        definition = job.definition.partition(":")[0]
        job.detail["container"]["logStreamName"] = f"{definition}/default/{uuid.uuid4().hex}"
        with self._store.transaction():
            self._move(job, "RUNNING", startedAt=running["startedAt"])

    def _finish(self, job_id: str, ended: Shape) -> None:
        job = self._known(job_id)
        detail = job.detail
        outcome = {key: ended[key] for key in ("exitCode", "reason") if ended[key] is not None}
        status_reason = self._status_reason(job, ended)
        placed = {key: value for key, value in detail["container"].items() if key in _PLACED}
        detail["attempts"].append(
            {
                "container": {**placed, **outcome, "networkInterfaces": []},
                "startedAt": ended["startedAt"],
                "stoppedAt": ended["stoppedAt"],
                "statusReason": status_reason,
            }
        )
        again = (
            ended["exitCode"] != 0
            and not detail.get("isTerminated")
            and not ended["timedOut"]
            and retried(
                detail["retryStrategy"],
                attempts=len(detail["attempts"]),
                exit_code=ended["exitCode"],
                reason=ended["reason"] or "",
                status_reason=status_reason,
            )
        )
        with self._store.transaction():
            if again:
                # The next attempt is placed anew; this one's facts are among the attempts now.
                detail["container"] = {k: v for k, v in detail["container"].items() if k not in _PLACED}
                detail.pop("startedAt", None)
                self._move(job, "RUNNABLE", statusReason=status_reason)
            else:
                detail["container"] |= outcome
                good = ended["exitCode"] == 0 and not detail.get("isTerminated") and not ended["timedOut"]
                status = "SUCCEEDED" if good else "FAILED"
                self._move(job, status, statusReason=status_reason, stoppedAt=ended["stoppedAt"])

    def _status_reason(self, job: Job, ended: Shape) -> str:
        if "stopReason" in job.run:
            return str(job.run["stopReason"])
        if ended["timedOut"]:
            return TIMED_OUT
        if ended["exitCode"] is None or (self._closing and ended["exitCode"] != 0):
            return HOST_LOST
        return NOT_STARTED if ended["reason"] else EXITED

    def _loss(self, run: _Run) -> Shape:
        """What is known of an attempt whose supervisor was killed. Nobody saw the worker's exit code."""
        run.attempt.kill_worker()
        now = supervisor.now()
        started = (run.attempt.running() or {}).get("startedAt", now)
        return {"exitCode": None, "reason": None, "startedAt": started, "stoppedAt": now, "timedOut": False}

    def _move(self, job: Job, status: str, **changes: object) -> None:
        job.detail |= {**changes, "status": status}
        self._store.save(job)
        self._outbox.put(job)

    def _placement(self) -> Shape:
        cluster = "AWSBatch-local"
        return {
            "containerInstanceArn": self._config.arn(f"container-instance/{cluster}/{uuid.uuid4().hex}", "ecs"),
            "taskArn": self._config.arn(f"task/{cluster}/{uuid.uuid4().hex}", "ecs"),
        }

    def _specification(self, job: Job) -> Shape:
        directory = self._directory(job.id, len(job.detail["attempts"]) + 1)
        scratch = str(directory / supervisor.SCRATCH)
        container = job.detail["container"]
        return {
            "command": [_substituted(word, job.detail["parameters"]) for word in container["command"]],
            "environment": {
                "PATH": "/usr/local/bin:/usr/bin:/bin",
                "HOME": scratch,
                "TMPDIR": scratch,
                "AWS_REGION": self._config.region,
                "AWS_DEFAULT_REGION": self._config.region,
                **{each["name"]: each["value"] for each in container["environment"]},
                "AWS_BATCH_JOB_ID": job.id,
                "AWS_BATCH_JOB_ATTEMPT": str(len(job.detail["attempts"]) + 1),
                "AWS_BATCH_JQ_NAME": job.queue,
                "AWS_BATCH_CE_NAME": job.queue,
            },
            "cwd": job.run["cwd"] or scratch,
            "timeoutSeconds": job.detail.get("timeout", {}).get("attemptDurationSeconds"),
            "graceSeconds": job.run["graceSeconds"],
        }

    def _directory(self, job_id: str, attempt: int) -> Path:
        return self._attempts / job_id / str(attempt)

    def _known(self, job_id: str) -> Job:
        # Read anew for each change: tags may have changed, or termination been asked for, since the last one.
        job = self._store.get(job_id)
        if job is None:
            raise LookupError(job_id)
        return job

    def _forget(self) -> None:
        for job_id in self._store.forget(supervisor.now() - KEPT_SECONDS * 1000):
            shutil.rmtree(self._attempts / job_id, ignore_errors=True)


_PLACED = ("containerInstanceArn", "taskArn", "logStreamName")


def _substituted(word: str, parameters: Shape) -> str:
    """A command's word with its `Ref::name` placeholders replaced, as far as there are parameters of that name."""
    return re.sub(r"Ref::([A-Za-z0-9_-]+)", lambda found: parameters.get(found[1], found[0]), word)
