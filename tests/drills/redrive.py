"""Messages in the dead-letter queue: look, mend, redrive."""

import os
import subprocess
import sys
from collections.abc import Callable

from local.environment import ROOT
from tests.drills import truth
from tests.integration.system import System

COUNT = 3


def play(system: System, say: Callable[[str], None]) -> None:
    """Batch refuses jobs to the last try; then it doesn't, and what was given up is sent again."""
    system.deploy(MaxConcurrentJobs=str(COUNT))  # so that each is refused by itself, and none waits for another
    with system.variables("SqsToBatchFunction", MAX_RECEIVE_COUNT="1"):
        say(f"Batch refuses every job, and {COUNT} videos are uploaded; each message gets one try")
        system.fault("SubmitJob", "refuse")
        keys = [system.upload() for _ in range(COUNT)]
        before = {key: system.wait_for(key, "FAILED")["jobId"] for key in keys}
        system.send("no job at all")
        system.until(lambda: depth(system) == COUNT + 1, "the dead letters")
    say("their jobs are FAILED (START_REFUSED), their messages dead letters; beside them one that is none")

    say("look first: make redrive QUEUE=video")
    say(redrive(system, "video"))
    assert depth(system) == COUNT + 1, "looking has moved something"

    say("Batch takes jobs again: make redrive QUEUE=video APPLY=1, for those that it had refused")
    system.no_more_faults()
    said = redrive(system, "video", "--error-type", "START_REFUSED", "--apply", "--rate", "100")
    say(said)
    assert f"{COUNT} of {COUNT} moved" in said

    system.until(lambda: all((system.job(key) or {})["status"] == "COMPLETED" for key in keys), "the jobs to complete")
    assert {key: (system.job(key) or {})["jobId"] for key in keys} == before, "a job has another id"
    [rubbish] = system.messages()
    assert rubbish["attributes"]["ErrorType"] == "INVALID_MESSAGE"
    say("all completed under their ids; the message that can't work was left where it was, and is purged now")
    say(truth.compare(system, *keys))


def depth(system: System) -> int:
    """How many dead letters can be seen."""
    visible, _ = system.view.queues()["VideoDeadLetterQueue"]
    return visible


def redrive(system: System, *words: str) -> str:
    """Run the command that `make redrive` runs; what it says."""
    command = [sys.executable, "-m", "tools.redrive", *words, "--state", str(system.stack.folder)]
    path = os.pathsep.join([str(ROOT), str(ROOT / "layers" / "switchyard")])
    ended = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
