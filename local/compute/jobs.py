"""A job's states: SUBMITTED → PENDING → RUNNABLE → STARTING → RUNNING → SUCCEEDED | FAILED, or back to RUNNABLE."""

import re
import uuid
from collections.abc import Iterable

from local.compute import supervisor
from local.compute.config import Config, Shape
from local.compute.engine import ADMITTED_AT_ONCE, EXITED, HOST_LOST, Engine, Workload
from local.compute.events import Outbox
from local.compute.retries import retried
from local.compute.runs import Job
from local.compute.store import Store

NOT_STARTED = "Task failed to start"
TIMED_OUT = "Job attempt duration exceeded timeout"

_PLACED = ("containerInstanceArn", "taskArn", "logStreamName")


class Jobs:
    """Moves jobs through their states."""

    def __init__(self, config: Config, store: Store, outbox: Outbox, engine: Engine) -> None:
        self._config = config
        self._store = store
        self._outbox = outbox
        self._engine = engine
        engine.take(self)

    # ---- for callers -------------------------------------------------------------------------------------------

    def submit(self, job: Job) -> None:
        """Accept a job; it is durable when this returns. As on AWS, there is no event for SUBMITTED."""
        self._store.add(job)
        self._engine.wake()

    def terminate(self, job_id: str, reason: str) -> None:
        """End a job in any state. No effect on a job that is unknown, has ended or is ending."""
        job = self._store.get(Job, job_id)
        if job is None or job.ended or job.stopping:
            return
        with self._store.transaction():
            job.detail["isTerminated"] = True
            if self._engine.has(job):
                job.own["stopReason"] = reason
                self._store.save(job)
            else:
                self._move(job, "FAILED", statusReason=reason, stoppedAt=supervisor.now())
        self._engine.stop(job)

    def cancel(self, job_id: str, reason: str) -> None:
        """End a job that hasn't started. No effect on any other."""
        job = self._store.get(Job, job_id)
        if job is None or job.ended or self._engine.has(job):
            return
        with self._store.transaction():
            self._move(job, "FAILED", statusReason=reason, stoppedAt=supervisor.now(), isCancelled=True)

    # ---- for the engine ----------------------------------------------------------------------------------------

    def admit(self) -> bool:
        """SUBMITTED → PENDING → RUNNABLE: jobs here wait for nothing but room."""
        admitted = 0
        for queue in self._config.queues:
            jobs = self._store.by_status(Job, ["SUBMITTED", "PENDING"], place=queue, limit=ADMITTED_AT_ONCE)
            if not jobs:
                continue
            with self._store.transaction():
                for job in jobs:
                    if job.status == "SUBMITTED":
                        self._move(job, "PENDING")
                    self._move(job, "RUNNABLE")
            admitted += len(jobs)
        return admitted > 0

    def start(self) -> None:
        """RUNNABLE → STARTING, oldest first, up to the queues' limits."""
        for queue in self._config.queues.values():
            free = queue.max_running - self._engine.count(self, queue.name)
            if free <= 0:
                continue
            for job in self._store.by_status(Job, ["RUNNABLE"], place=queue.name, limit=free):
                with self._store.transaction():
                    job.detail["container"] |= self._placement()
                    job.detail.pop("statusReason", None)  # the last attempt's
                    self._move(job, "STARTING")
                self._engine.launch(self, job)

    def under_way(self) -> Iterable[Job]:
        """The jobs that are STARTING or RUNNING."""
        return self._store.by_status(Job, ["STARTING", "RUNNING"])

    def workload(self, job: Job) -> Workload:
        """The definition's or the caller's command, with parameters filled in."""
        container = job.detail["container"]
        return Workload(
            [_substituted(word, job.detail["parameters"]) for word in container["command"]],
            {each["name"]: each["value"] for each in container["environment"]},
            {
                "AWS_BATCH_JOB_ID": job.id,
                "AWS_BATCH_JOB_ATTEMPT": str(job.attempt),
                "AWS_BATCH_JQ_NAME": job.place,
                "AWS_BATCH_CE_NAME": job.place,
            },
            job.detail.get("timeout", {}).get("attemptDurationSeconds"),
        )

    def began(self, job_id: str, running: Shape) -> None:
        """STARTING → RUNNING."""
        job = self._store.known(Job, job_id)
        definition = job.definition.partition(":")[0]
        job.detail["container"]["logStreamName"] = f"{definition}/default/{uuid.uuid4().hex}"
        with self._store.transaction():
            self._move(job, "RUNNING", startedAt=running["startedAt"])

    def finished(self, job_id: str, ended: Shape) -> None:
        """→ SUCCEEDED, FAILED, or RUNNABLE for another attempt."""
        # Read again for each change, because tags may have changed or TerminateJob may have been called.
        job = self._store.known(Job, job_id)
        detail = job.detail
        outcome = {key: ended[key] for key in ("exitCode", "reason") if ended[key] is not None}
        status_reason = self._status_reason(job, ended)
        placed = {key: value for key, value in detail["container"].items() if key in _PLACED}
        again = (
            ended["exitCode"] != 0
            and not job.stopping
            and not ended["timedOut"]
            and retried(
                detail["retryStrategy"],
                attempts=job.attempt,
                exit_code=ended["exitCode"],
                reason=ended["reason"] or "",
                status_reason=status_reason,
            )
        )
        detail["attempts"].append(
            {
                "container": {**placed, **outcome, "networkInterfaces": []},
                "startedAt": ended["startedAt"],
                "stoppedAt": ended["stoppedAt"],
                "statusReason": status_reason,
            }
        )
        with self._store.transaction():
            if again:
                # The next attempt gets a new placement; this one's is in `attempts` now.
                detail["container"] = {k: v for k, v in detail["container"].items() if k not in _PLACED}
                detail.pop("startedAt", None)
                self._move(job, "RUNNABLE", statusReason=status_reason)
            else:
                detail["container"] |= outcome
                good = ended["exitCode"] == 0 and not job.stopping and not ended["timedOut"]
                status = "SUCCEEDED" if good else "FAILED"
                self._move(job, status, statusReason=status_reason, stoppedAt=ended["stoppedAt"])

    def log_stream(self, run_id: str) -> tuple[str, str]:
        """As its description says."""
        name = self._store.known(Job, run_id).detail["container"]["logStreamName"]
        return self._config.log_groups.get("jobs", ""), name

    def _status_reason(self, job: Job, ended: Shape) -> str:
        if "stopReason" in job.own:
            return str(job.own["stopReason"])
        if ended["timedOut"]:
            return TIMED_OUT
        if ended["exitCode"] is None or (self._engine.closing and ended["exitCode"] != 0):
            return HOST_LOST
        return NOT_STARTED if ended["reason"] else EXITED

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


def _substituted(word: str, parameters: Shape) -> str:
    """A command's argument with its `Ref::name` placeholders replaced by parameters. Unknown names stay."""
    return re.sub(r"Ref::([A-Za-z0-9_-]+)", lambda found: parameters.get(found[1], found[0]), word)
