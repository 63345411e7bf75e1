"""What the stand-in for Batch is told to run, and how it is started and ended.

On AWS a job definition names a container image; here it names a command, whose working folder and environment
stand in for the image.
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
from local.processes import Process, start

HEALTH: Final = "/_compute/health"
QUEUE: Final = "switchyard-local"

RETRY_STRATEGY: Final[Mapping[str, Any]] = {
    "attempts": 3,
    "evaluateOnExit": [
        {"onStatusReason": "Host EC2*", "action": "RETRY"},  # the host went away
        {"onExitCode": "65", "action": "EXIT"},  # a permanent failure
        {"onExitCode": "77", "action": "EXIT"},  # superseded by another run
        {"onExitCode": "75", "action": "RETRY"},
        {"onReason": "*", "action": "RETRY"},  # a crash
    ],
}
"""As in stacks/compute.yaml; workers/CONTRACT.md tells what the exit codes mean."""


@dataclass(frozen=True, slots=True)
class JobDefinition:
    """A job definition of the stand-in.

    Attributes:
        command: What runs, its program as an absolute path.
        environment: In addition to what every worker gets: the emulator's address and credentials.
        cwd: Where it runs.
        retry_strategy: As in Batch's RegisterJobDefinition.
        grace: Seconds between SIGTERM and SIGKILL.
    """

    command: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    cwd: Path = ROOT
    retry_strategy: Mapping[str, Any] = field(default_factory=lambda: RETRY_STRATEGY)
    grace: float = 30


DEFINITIONS: Final[Mapping[str, JobDefinition]] = {
    "analyze-video": JobDefinition(
        (str(VENVS / "analyze_video" / "bin" / "python"), "-m", "analyze_video"),
        {
            "PYTHONPATH": os.pathsep.join(
                str(ROOT / folder) for folder in ("workers/analyze_video", "layers/switchyard")
            ),
            "RESULTS_PREFIX": "results/",
        },
    )
}


def start_compute(
    *, port: int, emulator: str, state: Path, log: Path, definitions: Mapping[str, JobDefinition]
) -> Process:
    """Start the stand-in; it answers `HEALTH` soon after, and takes up the jobs it finds in `state`.

    Args:
        port: Where it listens, on 127.0.0.1 only.
        emulator: The emulator's address.
        state: The folder that holds its jobs.
        log: The file its output is appended to.
        definitions: What it can run, by name.
    """
    state.mkdir(parents=True, exist_ok=True)
    config = state / "config.json"
    config.write_text(json.dumps(_config(emulator, definitions), indent=2))
    return start(
        [
            *(sys.executable, "-m", "local.compute", "--port", str(port)),
            *("--state", state, "--emulator", emulator, "--config", config),
        ],
        env=bare(emulator),
        cwd=ROOT,
        log=log,
    )


def stop_workers(state: Path) -> None:
    """End the workers of a stand-in that was killed and couldn't end them itself."""
    reap(state / "attempts")


def _config(emulator: str, definitions: Mapping[str, JobDefinition]) -> dict[str, Any]:
    return {
        "region": REGION,
        "account": ACCOUNT,
        # More than any lane's limit here: it is Switchyard that holds jobs back, not the queue.
        "queues": {QUEUE: {"maxRunning": 64}},
        "definitions": {
            name: {
                "command": definition.command,
                "environment": {**bare(emulator), **definition.environment},
                "cwd": str(definition.cwd),
                "retryStrategy": definition.retry_strategy,
                "terminationGraceSeconds": definition.grace,
            }
            for name, definition in definitions.items()
        },
    }
