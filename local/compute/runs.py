"""The runs of the two services: Batch jobs and ECS tasks, each as the JSON that its service describes it by."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from local.compute.config import Shape


@dataclass
class ComputeRun(ABC):
    """A Batch job or an ECS task: `detail` is what AWS shows of it, `own` what only this program needs to know."""

    kind: ClassVar[str]
    final: ClassVar[frozenset[str]]
    """The statuses that are its end."""
    source: ClassVar[str]
    change: ClassVar[str]
    """The source and the type of its events."""

    detail: Shape
    own: Shape
    seq: int = 0

    @property
    @abstractmethod
    def id(self) -> str:
        """What it is known by."""

    @property
    @abstractmethod
    def status(self) -> str:
        """How far it is, in its service's words."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The name of its queue or cluster."""

    @property
    @abstractmethod
    def name(self) -> str:
        """What its starter calls it; lists are filtered by it."""

    @property
    @abstractmethod
    def definition(self) -> str:
        """The definition's `name:revision`."""

    @property
    @abstractmethod
    def attempt(self) -> int:
        """The number of the attempt that runs, or is the next to run."""

    @property
    def last_attempt(self) -> int:
        """The number of the latest attempt that has a log, or will have."""
        return self.attempt

    @property
    @abstractmethod
    def stopping(self) -> bool:
        """Whether somebody asked for its end."""

    @property
    @abstractmethod
    def created_at(self) -> int:
        """When it was asked for, in milliseconds since 1970."""

    @property
    @abstractmethod
    def ended_at(self) -> int | None:
        """When it ended, likewise."""

    @property
    @abstractmethod
    def arn(self) -> str:
        """Its ARN."""

    @property
    @abstractmethod
    def aliases(self) -> tuple[str, ...]:
        """What a fault may call it by."""

    @abstractmethod
    def told(self) -> Shape:
        """What its events say of it."""

    @property
    def announced(self) -> bool:
        """Whether its attempt is known to run."""
        return "startedAt" in self.detail

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.status in self.final


class Job(ComputeRun):
    """A job of AWS Batch: `detail` is its DescribeJobs shape."""

    kind = "job"
    final = frozenset({"SUCCEEDED", "FAILED"})
    source = "aws.batch"
    change = "Batch Job State Change"

    @property
    def id(self) -> str:
        """The job's id."""
        return str(self.detail["jobId"])

    @property
    def status(self) -> str:
        """One of AWS Batch's job statuses."""
        return str(self.detail["status"])

    @property
    def place(self) -> str:
        """The queue's name."""
        return str(self.detail["jobQueue"]).rpartition("/")[2]

    @property
    def name(self) -> str:
        """The job's name, in lower case, as the JOB_NAME filter compares."""
        return str(self.detail["jobName"]).lower()

    @property
    def definition(self) -> str:
        """The job definition's `name:revision`."""
        return str(self.detail["jobDefinition"]).rpartition("/")[2]

    @property
    def attempt(self) -> int:
        """One more than have ended."""
        return len(self.detail["attempts"]) + 1

    @property
    def last_attempt(self) -> int:
        """The one that runs, else the last one that ran."""
        active = self.status in {"STARTING", "RUNNING"}
        return self.attempt if active else max(self.attempt - 1, 1)

    @property
    def stopping(self) -> bool:
        """Whether TerminateJob was called."""
        return bool(self.detail.get("isTerminated"))

    @property
    def created_at(self) -> int:
        """When it was submitted."""
        return int(self.detail["createdAt"])

    @property
    def ended_at(self) -> int | None:
        """When it ended."""
        return int(self.detail["stoppedAt"]) if self.ended else None

    @property
    def arn(self) -> str:
        """The job's ARN."""
        return str(self.detail["jobArn"])

    @property
    def aliases(self) -> tuple[str, ...]:
        """The job's name as it was given."""
        return (self.detail["jobName"],)

    def told(self) -> Shape:
        """As DescribeJobs, but AWS's events carry the job's own ARN among the tags.

        https://docs.aws.amazon.com/batch/latest/userguide/batch_job_events.html
        """
        return {**self.detail, "tags": {"resourceArn": self.arn, **self.detail["tags"]}}


class Task(ComputeRun):
    """A task of Amazon ECS: `detail` is its DescribeTasks shape, with tags."""

    kind = "task"
    final = frozenset({"STOPPED"})
    source = "aws.ecs"
    change = "ECS Task State Change"

    @property
    def arn(self) -> str:
        """The task's ARN."""
        return str(self.detail["taskArn"])

    @property
    def id(self) -> str:
        """The last part of the task's ARN."""
        return self.arn.rpartition("/")[2]

    @property
    def status(self) -> str:
        """Its last status."""
        return str(self.detail["lastStatus"])

    @property
    def place(self) -> str:
        """The cluster's name."""
        return str(self.detail["clusterArn"]).rpartition("/")[2]

    @property
    def name(self) -> str:
        """What it was started by."""
        return str(self.detail.get("startedBy", ""))

    @property
    def definition(self) -> str:
        """The task definition's `family:revision`."""
        return str(self.detail["taskDefinitionArn"]).rpartition("/")[2]

    @property
    def family(self) -> str:
        """The task definition's family."""
        return self.definition.partition(":")[0]

    @property
    def attempt(self) -> int:
        """ECS starts a task once."""
        return 1

    @property
    def stopping(self) -> bool:
        """Whether StopTask was called, or the platform takes it away."""
        return bool(self.detail["desiredStatus"] == "STOPPED")

    @property
    def created_at(self) -> int:
        """When RunTask was called."""
        return round(float(self.detail["createdAt"]) * 1000)

    @property
    def ended_at(self) -> int | None:
        """When it ended."""
        return round(float(self.detail["stoppedAt"]) * 1000) if self.ended else None

    @property
    def aliases(self) -> tuple[str, ...]:
        """What it was started by, and its family."""
        return (self.name, self.family)

    def told(self) -> Shape:
        """As DescribeTasks without tags, its times as text.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
        """
        shown = {key: value for key, value in self.detail.items() if key != "tags"}
        times = {key: _moment(value) for key, value in shown.items() if key.endswith("At")}
        return {**shown, **times, "updatedAt": _moment(time.time())}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
