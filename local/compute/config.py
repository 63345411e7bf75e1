"""The job queues and job definitions that exist here: a JSON file, read once at the start.

{"region": "us-east-1", "account": "000000000000",
 "queues": {"switchyard-local": {"maxRunning": 8}},
 "definitions": {"analyze-video": {"command": ["python", "-m", "analyze_video"], "environment": {"K": "V"},
                                   "cwd": "/somewhere", "retryStrategy": {"attempts": 3}, "timeoutSeconds": 3600,
                                   "terminationGraceSeconds": 30, "parameters": {}, "propagateTags": false}}}
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

type Shape = dict[str, Any]
"""A JSON object in AWS's own spelling."""

DEFAULT_MAX_RUNNING = 4
DEFAULT_GRACE_SECONDS = 30
"""How long AWS Batch leaves a container between SIGTERM and SIGKILL."""


class ConfigError(Exception):
    """The configuration file can't be used; the message says why."""


@dataclass(frozen=True)
class Queue:
    """A job queue and the number of jobs it runs at once."""

    name: str
    max_running: int = DEFAULT_MAX_RUNNING


@dataclass(frozen=True)
class Definition:
    """A job definition: what runs, in what environment, and what happens when it fails."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: str | None = None
    retry_strategy: Shape = field(default_factory=dict)
    timeout_seconds: int | None = None
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    parameters: Mapping[str, str] = field(default_factory=dict)
    propagate_tags: bool = False

    @property
    def revision(self) -> str:
        """`name:revision`; a file holds one revision of each definition."""
        return f"{self.name}:1"


@dataclass(frozen=True)
class Config:
    """Everything the file says."""

    region: str
    account: str
    queues: Mapping[str, Queue]
    definitions: Mapping[str, Definition]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read and check a configuration file.

        Raises:
            ConfigError: it is no JSON, or holds a setting this program doesn't know or can't use.
        """
        try:
            document = json.loads(path.read_text())
            return cls(
                region=document.get("region", "us-east-1"),
                account=document.get("account", "000000000000"),
                queues={name: _queue(name, **each) for name, each in document["queues"].items()},
                definitions={name: _definition(name, **each) for name, each in document["definitions"].items()},
            )
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigError(f"{path}: {type(error).__name__}: {error}") from error

    def arn(self, resource: str, service: str = "batch") -> str:
        """The ARN of a resource such as `job-queue/switchyard-local`."""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


def _queue(name: str, **settings: Any) -> Queue:  # noqa: ANN401 - checked by what uses it
    return Queue(name, **_renamed(settings, {"maxRunning": "max_running"}))


def _definition(name: str, **settings: Any) -> Definition:  # noqa: ANN401 - as above
    names = {
        "command": "command",
        "environment": "environment",
        "cwd": "cwd",
        "retryStrategy": "retry_strategy",
        "timeoutSeconds": "timeout_seconds",
        "terminationGraceSeconds": "grace_seconds",
        "parameters": "parameters",
        "propagateTags": "propagate_tags",
    }
    return Definition(name, **_renamed({**settings, "command": tuple(settings["command"])}, names))


def _renamed(settings: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    if unknown := settings.keys() - names.keys():
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    return {names[key]: value for key, value in settings.items()}
