"""Starts jobs' processes by forking one that has imported boto3, which saves each an interpreter's start.

worker      takes the place of a job's container; the stand-in for Batch and ECS, or a test, starts it
__main__    the nursery itself: forks a process for each worker
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from local.environment import ROOT
from local.processes import Process, start
from local.workers import JobDefinition

_PYTHONPATH = f"{ROOT}:{ROOT / 'workers' / 'library'}"
_SECONDS = 60
"""Seconds to wait for the nursery: a busy machine takes some of them to import boto3."""


def command(socket: Path) -> tuple[str, ...]:
    """Returns the command of a job definition whose jobs the nursery at `socket` runs."""
    return (sys.executable, "-I", "-S", str(ROOT / "tests" / "nursery" / "worker.py"), str(socket))


def definition(socket: Path, *, gates: Path, ledger: Path, grace: float) -> JobDefinition:
    """Returns the definition of jobs that the nursery at `socket` runs, and that do what tests tell them.

    Args:
        socket: The path where the nursery listens.
        gates: The folder of the files that tell jobs what to do.
        ledger: The file in which jobs record what they did.
        grace: Seconds from SIGTERM to SIGKILL.
    """
    variables = {"RESULTS_PREFIX": "results/", "GATES": str(gates), "LEDGER": str(ledger)}
    return JobDefinition(command(socket), variables, grace=grace)


@contextlib.contextmanager
def serving(
    socket: Path, perform: str, *, env: Mapping[str, str], log: Path, python: Path = Path(sys.executable)
) -> Iterator[Process]:
    """Runs a nursery at `socket` while the block runs.

    Args:
        socket: The path where it listens.
        perform: `module:function`. The function does one job in the job's environment and returns its exit code.
        env: The nursery's own environment, with PYTHONPATH if jobs need more than boto3 and the worker's library. Each
            job gets its worker's environment instead.
        log: The file for the nursery's own output.
        python: The interpreter of the nursery and its jobs.
    """
    socket.unlink(missing_ok=True)
    process = start(
        [python, "-m", "tests.nursery", socket, perform],
        env={"PYTHONPATH": _PYTHONPATH, **env},
        cwd=ROOT,
        log=log,
    )
    try:
        deadline = time.monotonic() + _SECONDS
        while not socket.exists():
            if time.monotonic() > deadline or not process.is_alive():
                raise TimeoutError(f"the nursery doesn't answer:\n{log.read_text()}")
            time.sleep(0.02)
        yield process
    finally:
        process.stop(grace=1)
