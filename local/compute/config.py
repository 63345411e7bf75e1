"""The configured queues, clusters and definitions: a JSON file, read once at the start.

{"region": "us-east-1", "account": "000000000000",
 "queues": {"switchyard-local": {"maxRunning": 8}},
 "definitions": {"analyze-video": {"command": ["python", "-m", "analyze_video"], "environment": {"K": "V"},
                                   "cwd": "/somewhere", "retryStrategy": {"attempts": 3}, "timeoutSeconds": 3600,
                                   "terminationGraceSeconds": 30, "parameters": {}, "propagateTags": false}},
 "clusters": {"switchyard-local": {"maxRunning": 8}},
 "taskDefinitions": {"record-stream": {"command": ["python", "-m", "record_stream"], "environment": {"K": "V"},
                                       "cwd": "/somewhere", "container": "worker", "stopTimeout": 30,
                                       "taskRoleArn": "arn:aws:iam::000000000000:role/worker"}},
 "logGroups": {"jobs": "/aws/batch/job", "tasks": "/switchyard/tasks"}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

type Shape = dict[str, Any]
"""A JSON object with AWS's member names."""

DEFAULT_MAX_RUNNING = 4
DEFAULT_GRACE_SECONDS = 30
"""AWS's default time between SIGTERM and SIGKILL."""
DEFAULT_CONTAINER = "worker"


class ConfigError(Exception):
    """The configuration file can't be used; the message says why."""


@dataclass(frozen=True)
class Place:
    """A job queue or a cluster, and how many jobs or tasks it runs at once."""

    name: str
    max_running: int = DEFAULT_MAX_RUNNING


@dataclass(frozen=True, kw_only=True)
class Program:
    """The common part of job and task definitions: the command and its environment."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    grace_seconds: float = DEFAULT_GRACE_SECONDS

    @property
    def revision(self) -> str:
        """`name:revision`; every definition has one revision."""
        return f"{self.name}:1"


@dataclass(frozen=True, kw_only=True)
class Definition(Program):
    """A job definition."""

    retry_strategy: Shape = field(default_factory=dict)
    timeout_seconds: int | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    propagate_tags: bool = False


@dataclass(frozen=True, kw_only=True)
class TaskDefinition(Program):
    """A task definition with one container, for Fargate, with the network mode `awsvpc`."""

    container: str = DEFAULT_CONTAINER
    task_role_arn: str | None = None


@dataclass(frozen=True)
class Config:
    """The content of the configuration file."""

    region: str
    account: str
    queues: Mapping[str, Place]
    definitions: Mapping[str, Definition]
    clusters: Mapping[str, Place]
    task_definitions: Mapping[str, TaskDefinition]
    log_groups: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a configuration file.

        Raises:
            ConfigError: the file is not JSON, or has an unknown or invalid setting.
        """
        try:
            document = json.loads(path.read_text())
            jobs, tasks = document.get("definitions", {}), document.get("taskDefinitions", {})
            return cls(
                region=document.get("region", "us-east-1"),
                account=document.get("account", "000000000000"),
                queues=_places(document.get("queues", {})),
                definitions={name: Definition(name=name, **_settings(each, _OF_JOBS)) for name, each in jobs.items()},
                clusters=_places(document.get("clusters", {})),
                task_definitions={
                    name: TaskDefinition(name=name, **_settings(each, _OF_TASKS)) for name, each in tasks.items()
                },
                log_groups=document.get("logGroups", {}),
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error

    def arn(self, resource: str, service: str = "batch") -> str:
        """The ARN of a resource such as `job-queue/switchyard-local`."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


_OF_ALL = {"command": "command", "environment": "environment", "cwd": "cwd"}
_OF_JOBS = _OF_ALL | {
    "retryStrategy": "retry_strategy",
    "timeoutSeconds": "timeout_seconds",
    "terminationGraceSeconds": "grace_seconds",
    "parameters": "parameters",
    "propagateTags": "propagate_tags",
}
_OF_TASKS = _OF_ALL | {"container": "container", "stopTimeout": "grace_seconds", "taskRoleArn": "task_role_arn"}


def _places(document: Mapping[str, Mapping[str, Any]]) -> dict[str, Place]:
    return {name: Place(name, **_renamed(each, {"maxRunning": "max_running"})) for name, each in document.items()}


def _settings(given: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    return _renamed({**given, "command": tuple(given["command"])}, names)


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if unknown := settings.keys() - names.keys():
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    return {names[key]: value for key, value in settings.items()}
