"""Drill: messages in the dead-letter queue are inspected and redriven after the fix."""

import os
import subprocess
import sys
from collections.abc import Callable

from local.environment import ROOT
from tests.drills import truth
from tests.integration.system import System

COUNT = 3


def play(system: System, say: Callable[[str], None]) -> None:
    """Has Batch refuse all jobs until they are dead-lettered, then accept them, and redrives them."""
    system.deploy(MaxConcurrentJobs=str(COUNT))  # each is refused separately, and none waits for another
    # If the message of a slow start were received again, SQS could move it before its job is FAILED.
    with system.redelivery("VideoQueue", 60), system.variables("SqsToBatchFunction", MAX_RECEIVE_COUNT="1"):
        say(f"Batch refuses every job; {COUNT} videos are uploaded, and each message gets one try")
        system.fault("SubmitJob", "refuse")
        keys = [system.upload() for _ in range(COUNT)]
        before = {key: system.wait_for(key, "FAILED")["jobId"] for key in keys}
        system.send("no job at all")
        system.until(lambda: depth(system) == COUNT + 1, "the dead letters")
    say("their jobs are FAILED (START_REFUSED), their messages are dead letters; an invalid message is one too")

    say("look first: make redrive QUEUE=video")
    say(redrive(system, "video"))
    assert depth(system) == COUNT + 1, "the dry run moved messages"

    say("Batch accepts jobs again: make redrive QUEUE=video APPLY=1, for the refused ones")
    system.no_more_faults()
    said = redrive(system, "video", "--error-type", "START_REFUSED", "--apply", "--rate", "100")
    say(said)
    assert f"{COUNT} of {COUNT} moved" in said

    system.until(lambda: all((system.job(key) or {})["status"] == "COMPLETED" for key in keys), "the jobs to complete")
    assert {key: (system.job(key) or {})["jobId"] for key in keys} == before, "a job has another id"
    [rubbish] = system.messages()
    assert rubbish["attributes"]["ErrorType"] == "INVALID_MESSAGE"
    say("all completed under their ids; the invalid message stayed in the queue and is purged now")
    say(truth.compare(system, *keys))


def depth(system: System) -> int:
    """Returns the number of visible dead letters."""
    visible, _ = system.view.queues()["VideoDeadLetterQueue"]
    return visible


def redrive(system: System, *words: str) -> str:
    """Runs the command behind `make redrive` and returns its output."""
    command = [sys.executable, "-m", "switchyard_client", "--local", "redrive", *words]
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "client")}
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=system.stack.folder, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
