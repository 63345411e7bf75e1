"""Jobs' processes without the start of an interpreter: each is forked from one that has imported boto3.

worker      stands for a job's container; the stand-in for Batch and ECS starts it
__main__    the nursery itself: forks a process for each worker
"""

import contextlib
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from local.environment import ROOT
from local.processes import Process, start

_PYTHONPATH = f"{ROOT}:{ROOT / 'workers' / 'library'}"
_SECONDS = 60
"""A busy machine needs some of them to import boto3."""


def command(socket: Path) -> tuple[str, ...]:
    """What a job definition runs, so that the nursery at `socket` does its jobs."""
    return (sys.executable, "-I", "-S", str(ROOT / "tests" / "nursery" / "worker.py"), str(socket))


@contextlib.contextmanager
def serving(socket: Path, perform: str, *, env: Mapping[str, str], log: Path) -> Iterator[Process]:
    """A nursery at `socket`, ended with the block.

    Args:
        socket: Where it listens.
        perform: `module:function`: does one job, in the job's environment, and gives its exit code.
        env: For the nursery itself. Each job gets the environment of its worker instead.
        log: Where its own output goes.
    """
    socket.unlink(missing_ok=True)
    process = start(
        [sys.executable, "-m", "tests.nursery", socket, perform],
        env={**env, "PYTHONPATH": _PYTHONPATH},
        cwd=ROOT,
        log=log,
    )
    try:
        deadline = time.monotonic() + _SECONDS
        while not socket.exists():
            if time.monotonic() > deadline or not process.is_alive():
                raise TimeoutError(f"the nursery doesn't answer: {log}")
            time.sleep(0.02)
        yield process
    finally:
        process.stop(grace=1)
