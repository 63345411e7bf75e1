"""A task's states: PROVISIONING → PENDING → RUNNING → STOPPED, with STOPPING before the end if it was requested.

ECS doesn't retry tasks.
"""

import uuid
from collections.abc import Iterable

from local.compute import supervisor
from local.compute.config import Config, Place, Shape
from local.compute.engine import ADMITTED_AT_ONCE, EXITED, HOST_LOST, Engine, Workload
from local.compute.events import Outbox
from local.compute.runs import Task
from local.compute.store import Store

METADATA = "/_compute/metadata/"
LOG_PREFIX = "worker"
"""Every task definition's `awslogs-stream-prefix`."""


class Tasks:
    """Moves tasks through their states."""

    def __init__(self, config: Config, store: Store, outbox: Outbox, engine: Engine, address: str) -> None:
        self._config = config
        self._store = store
        self._outbox = outbox
        self._engine = engine
        self._address = address
        engine.take(self)

    # ---- for callers -------------------------------------------------------------------------------------------

    def busy(self, cluster: Place) -> int:
        """How many tasks of a cluster haven't stopped."""
        counts = self._store.counts(Task).get(cluster.name, {})
        return sum(number for status, number in counts.items() if status not in Task.final)

    def run(self, task: Task, token: str | None) -> None:
        """Accept a task; it is durable when this returns."""
        with self._store.transaction():
            self._store.add(task, token)
            self._outbox.put(task)
        self._engine.wake()

    def stop(self, task: Task, code: str, reason: str) -> None:
        """End a task: SIGTERM, and after the grace period SIGKILL. No effect on a task that is ending."""
        if task.stopping:
            return
        now = supervisor.now() / 1000
        with self._store.transaction():
            task.detail |= {"stopCode": code, "stoppedReason": reason, "stoppingAt": now}
            if self._engine.has(task):
                self._move(task, "STOPPING", desiredStatus="STOPPED")
            else:
                self._move(task, "STOPPED", desiredStatus="STOPPED", stoppedAt=now, executionStoppedAt=now)
        self._engine.stop(task)

    def with_secret(self, token: str) -> Task | None:
        """The task that a metadata URL belongs to."""
        task_id, _, secret = token.partition("-")
        task = self._store.get(Task, task_id)
        return task if task and task.own["secret"] == secret else None

    # ---- for the engine ----------------------------------------------------------------------------------------

    def admit(self) -> bool:
        """Nothing to do: RunTask itself answers whether there is room."""
        return False

    def start(self) -> None:
        """PROVISIONING → PENDING."""
        for task in self._store.by_status(Task, ["PROVISIONING"], limit=ADMITTED_AT_ONCE):
            with self._store.transaction():
                self._move(task, "PENDING")
            self._engine.launch(self, task)

    def under_way(self) -> Iterable[Task]:
        """The tasks between PROVISIONING and STOPPED."""
        return self._store.by_status(Task, ["PENDING", "RUNNING", "STOPPING"])

    def workload(self, task: Task) -> Workload:
        """The caller's or the definition's command; the caller's variables override the definition's."""
        [override] = task.detail["overrides"]["containerOverrides"] or [{}]
        given = {each["name"]: each.get("value", "") for each in override.get("environment", ())}
        return Workload(
            override.get("command") or task.own["command"],
            {**task.own["environment"], **given},
            {
                "AWS_EXECUTION_ENV": "AWS_ECS_FARGATE",
                "ECS_CONTAINER_METADATA_URI_V4": f"{self._address}{METADATA}{task.id}-{task.own['secret']}",
            },
        )

    def began(self, task_id: str, running: Shape) -> None:
        """PENDING → RUNNING. A task that is being stopped stays STOPPING."""
        task = self._store.known(Task, task_id)
        task.detail["startedAt"] = running["startedAt"] / 1000
        with self._store.transaction():
            if task.stopping:
                self._store.save(task)
            else:
                self._move(task, "RUNNING")

    def finished(self, task_id: str, ended: Shape) -> None:
        """→ STOPPED."""
        task = self._store.known(Task, task_id)
        at = ended["stoppedAt"] / 1000
        code, reason = self._cause(ended)
        [container] = task.detail["containers"]
        if ended["reason"]:
            # The container never started, so it has no exit code.
            container["reason"] = ended["reason"]
        elif ended["exitCode"] is not None:
            container["exitCode"] = ended["exitCode"]
        # An earlier cause, such as StopTask, takes precedence.
        task.detail = {"stopCode": code, "stoppedReason": reason, "stoppingAt": at} | task.detail
        with self._store.transaction():
            self._move(task, "STOPPED", desiredStatus="STOPPED", executionStoppedAt=at, stoppedAt=at)

    def log_stream(self, task_id: str) -> tuple[str, str]:
        """As the `awslogs` driver names it on ECS."""
        [container] = self._store.known(Task, task_id).detail["containers"]
        return self._config.log_groups.get("tasks", ""), f"{LOG_PREFIX}/{container['name']}/{task_id}"

    def _cause(self, ended: Shape) -> tuple[str, str]:
        if ended["reason"]:
            return "TaskFailedToStart", ended["reason"]
        if ended["exitCode"] is None or (self._engine.closing and ended["exitCode"] != 0):
            return "TerminationNotice", HOST_LOST
        return "EssentialContainerExited", EXITED

    def _move(self, task: Task, status: str, **changes: object) -> None:
        version = task.detail["version"] + 1
        task.detail |= {**changes, "lastStatus": status, "version": version}
        for container in task.detail["containers"]:
            # Containers have the states PENDING, RUNNING and STOPPED.
            container["lastStatus"] = container["lastStatus"] if status == "STOPPING" else status
        self._store.save(task)
        self._outbox.put(task)


def new_secret() -> str:
    """A secret that makes a task's metadata URL unguessable."""
    return uuid.uuid4().hex
