"""Batch jobs and ECS tasks, each kept as the JSON with which its service describes it."""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import ClassVar

from local.compute.config import Shape


@dataclass
class ComputeRun(ABC):
    """A Batch job or an ECS task: `detail` is AWS's description of it, `own` has data for this program alone."""

    kind: ClassVar[str]
    final: ClassVar[frozenset[str]]
    """Its final statuses."""
    source: ClassVar[str]
    change: ClassVar[str]
    """`source` and `detail-type` of its events."""

    detail: Shape
    own: Shape
    seq: int = 0

    @property
    @abstractmethod
    def id(self) -> str:
        """Its id."""

    @property
    @abstractmethod
    def status(self) -> str:
        """Its status in its service."""

    @property
    @abstractmethod
    def place(self) -> str:
        """The name of its queue or cluster."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name that the caller gave it, by which lists are filtered."""

    @property
    @abstractmethod
    def definition(self) -> str:
        """The definition's `name:revision`."""

    @property
    @abstractmethod
    def attempt(self) -> int:
        """The number of the current or next attempt."""

    @property
    def last_attempt(self) -> int:
        """The number of the latest attempt that has or will have a log."""
        return self.attempt

    @property
    @abstractmethod
    def stopping(self) -> bool:
        """Whether its end was requested."""

    @property
    @abstractmethod
    def created_at(self) -> int:
        """When it was requested (milliseconds since 1970)."""

    @property
    @abstractmethod
    def ended_at(self) -> int | None:
        """When it ended (milliseconds since 1970)."""

    @property
    @abstractmethod
    def arn(self) -> str:
        """Its ARN."""

    @property
    @abstractmethod
    def aliases(self) -> tuple[str, ...]:
        """The names by which a fault can select it."""

    @abstractmethod
    def told(self) -> Shape:
        """The `detail` of its events."""

    @property
    def announced(self) -> bool:
        """Whether its current attempt is known to run."""
        return "startedAt" in self.detail

    @property
    def ended(self) -> bool:
        """Whether its status is final."""
        return self.status in self.final


class Job(ComputeRun):
    """A Batch job: `detail` has the shape of DescribeJobs."""

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
        """One more than the number of ended attempts."""
        return len(self.detail["attempts"]) + 1

    @property
    def last_attempt(self) -> int:
        """The running attempt, or else the last one that ran."""
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
        """The job's name."""
        return (self.detail["jobName"],)

    def told(self) -> Shape:
        """As in DescribeJobs, but AWS's events have the job's ARN among the tags.

        https://docs.aws.amazon.com/batch/latest/userguide/batch_job_events.html
        """
        return {**self.detail, "tags": {"resourceArn": self.arn, **self.detail["tags"]}}


class Task(ComputeRun):
    """An ECS task: `detail` has the shape of DescribeTasks, with tags."""

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
        """Its `startedBy`."""
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
        """Always 1: ECS doesn't restart tasks."""
        return 1

    @property
    def stopping(self) -> bool:
        """Whether StopTask was called, or the platform is stopping it."""
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
        """Its `startedBy` and its family."""
        return (self.name, self.family)

    def told(self) -> Shape:
        """As in DescribeTasks, without tags and with times as text.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/ecs_task_events.html
        """
        shown = {key: value for key, value in self.detail.items() if key != "tags"}
        times = {key: _moment(value) for key, value in shown.items() if key.endswith("At")}
        return {**shown, **times, "updatedAt": _moment(time.time())}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
