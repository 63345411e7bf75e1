"""Configures, starts and ends the stand-in for Batch and ECS.

On AWS a job definition or task definition names a container image. Here it names a command, a working folder and an
environment.
"""

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from local.compute.attempts import reap
from local.environment import ACCOUNT, REGION, ROOT, VENVS, bare
from local.models import MODELS
from local.processes import Process, start

HEALTH: Final = "/_compute/health"
QUEUE: Final = "switchyard-local"
CLUSTER: Final = "switchyard-local"
ROOM: Final = 64
"""Jobs that queue and cluster each run at once: more than any lane's limit, so that Switchyard's limits decide."""
TASK_ROLE: Final = f"arn:aws:iam::{ACCOUNT}:role/switchyard-local-task"
"""The role that a caller of RunTask must be allowed to pass. Workers here use the emulator's root user anyway."""
NAMES: Final = tuple(sorted(path.parent.name for path in ROOT.glob("workers/*/Dockerfile")))
"""The workers, each with an environment of the same name."""
JOB_LOG_GROUP: Final = "/aws/batch/job"
TASK_LOG_GROUP: Final = "/switchyard/tasks"
INDEX_ARN: Final = f"arn:aws:s3vectors:{REGION}:{ACCOUNT}:bucket/switchyard-local-search/index/minilm-l6-v2-384"
"""The index of videos, which the stack creates in the stand-in for S3 Vectors."""
_CONFIG = "config.json"

RETRY_STRATEGY: Final[Mapping[str, Any]] = {
    "attempts": 3,
    "evaluateOnExit": [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},  # the host was lost
        {"onExitCode": "65", "action": "EXIT"},  # a permanent failure
        {"onExitCode": "77", "action": "EXIT"},  # superseded by another run
        {"onExitCode": "75", "action": "RETRY"},
        {"onReason": "*", "action": "RETRY"},  # a crash
    ],
}
"""As in stacks/compute.yaml; workers/CONTRACT.md explains the exit codes."""


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """A job definition of the stand-in.

    Attributes:
        command: The command, with its program as an absolute path.
        environment: Variables in addition to every worker's: the emulator's address and credentials.
        cwd: The working folder.
        retry_strategy: As in Batch's RegisterJobDefinition.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    retry_strategy: Mapping[str, Any] = field(default_factory=lambda: RETRY_STRATEGY)
    grace: float = 30


@dataclass(frozen=True, slots=True)
class TaskDefinition:
    """A task definition of the stand-in.

    Attributes:
        command: As in a job definition, like `environment`, `cwd` and `grace`.
        container: The name of its container.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    grace: float = 30
    container: str = "worker"


def _python(worker: str) -> str:
    return str(VENVS / worker / "bin" / "python")


def _command(worker: str) -> tuple[str, ...]:
    return (_python(worker), "-m", worker)


def _environment(worker: str) -> dict[str, str]:
    folders = (f"workers/{worker}", "workers/library", "layers/switchyard", "layers/embedding")
    return {"PYTHONPATH": os.pathsep.join(str(ROOT / folder) for folder in folders)}


DEFINITIONS: Final[Mapping[str, JobDefinition]] = {
    # Without `make models` there is nothing in the folder: the stages that need a model are skipped, and say so.
    "analyze-video": JobDefinition(
        _command("analyze_video"),
        {
            **_environment("analyze_video"),
            "MODELS": str(MODELS),
            "SEARCH_INDEX": "s3vectors",
            "SEARCH_INDEX_ARN": INDEX_ARN,
        },
    )
}
TASKS: Final[Mapping[str, TaskDefinition]] = {
    # The demo serves its live stream on this machine, which streams may not be on by default.
    "record-stream": TaskDefinition(
        _command("record_stream"), {**_environment("record_stream"), "ALLOWED_NETWORKS": "127.0.0.0/8"}
    ),
    "detect-objects": TaskDefinition(_command("detect_objects"), _environment("detect_objects")),
    # Any port: several tasks seed at once from the same address; on Fargate each has its own.
    "seed-torrent": TaskDefinition(
        _command("seed_torrent"), {**_environment("seed_torrent"), "LISTEN_INTERFACES": "127.0.0.1:0"}
    ),
}


def own_worker(path: Path) -> dict[str, JobDefinition]:
    """The job definitions that have uploads processed by the user's own worker.

    Args:
        path: A Python file, which runs in the environment of analyze_video, or any executable. Both find
            `switchyard_worker` on PYTHONPATH.
    """
    command = (_python("analyze_video"), str(path)) if path.suffix == ".py" else (str(path),)
    return {"own-worker": JobDefinition(command, {"PYTHONPATH": str(ROOT / "workers" / "library")})}


def start_compute(
    *,
    port: int,
    emulator: str,
    state: Path,
    log: Path,
    definitions: Mapping[str, JobDefinition],
    tasks: Mapping[str, TaskDefinition] = TASKS,
    room: int = ROOM,
) -> Process:
    """Start the stand-in; it answers at `HEALTH` soon after, and continues with the jobs in `state`.

    Args:
        port: Its port on 127.0.0.1.
        emulator: The emulator's address.
        state: The folder with its jobs and tasks.
        log: The file its output is appended to.
        definitions: The job definitions, by name.
        tasks: The task definitions, by family.
        room: How many jobs, and how many tasks, run at once.
    """
    state.mkdir(parents=True, exist_ok=True)
    config = state / _CONFIG
    config.write_text(json.dumps(_config(emulator, port, definitions, tasks, room), indent=2))
    return start(
        [
            *(sys.executable, "-m", "local.compute", "--port", str(port)),
            *("--state", state, "--emulator", emulator, "--config", config),
        ],
        env=bare(emulator),
        cwd=ROOT,
        log=log,
    )


def knows(state: Path, definitions: Mapping[str, JobDefinition]) -> bool:
    """Whether the stand-in was started with these job definitions. It reads them only when it starts."""
    known = json.loads((state / _CONFIG).read_text())["definitions"]
    return all(known.get(name, {}).get("command") == [*each.command] for name, each in definitions.items())


def stop_workers(state: Path) -> None:
    """End the workers of a stand-in that was killed and couldn't end them itself."""
    reap(state / "attempts")


def _config(
    emulator: str, port: int, definitions: Mapping[str, JobDefinition], tasks: Mapping[str, TaskDefinition], room: int
) -> dict[str, Any]:
    place = {"maxRunning": room}
    aws = bare(emulator) | {"AWS_ENDPOINT_URL_S3VECTORS": f"http://127.0.0.1:{port}"}
    return {
        "region": REGION,
        "account": ACCOUNT,
        "queues": {QUEUE: place},
        "clusters": {CLUSTER: place},
        "logGroups": {"jobs": JOB_LOG_GROUP, "tasks": TASK_LOG_GROUP},
        "definitions": {
            name: {
                **_program(aws, definition),
                "retryStrategy": definition.retry_strategy,
                "terminationGraceSeconds": definition.grace,
            }
            for name, definition in definitions.items()
        },
        "taskDefinitions": {
            family: {
                **_program(aws, task),
                "container": task.container,
                "stopTimeout": task.grace,
                "taskRoleArn": TASK_ROLE,
            }
            for family, task in tasks.items()
        },
    }


def _program(aws: Mapping[str, str], definition: JobDefinition | TaskDefinition) -> dict[str, Any]:
    return {
        "command": definition.command,
        "environment": {**aws, **definition.environment},
        "cwd": str(definition.cwd),
    }
