"""Drill: a wrong limit, corrected while jobs run."""

from collections.abc import Callable

from botocore.exceptions import ClientError

from tests.drills import redrive, truth
from tests.integration.system import System

HIGH = 4


def play(system: System, say: Callable[[str], None]) -> None:
    """Tries an invalid limit, one too low and one too high."""
    refused(system, say)
    too_low(system, say)
    too_high(system, say)


def refused(system: System, say: Callable[[str], None]) -> None:
    """Shows that CloudFormation and the functions both refuse a limit of 0."""
    try:
        system.deploy(MaxConcurrentJobs="0")
    except ClientError as error:
        say(f"MaxConcurrentJobs=0 is refused: {error.response['Error']['Message']}")
    else:
        raise AssertionError("a limit of 0 was deployed")
    with (
        system.redelivery("VideoQueue", 1),
        system.variables("SqsToBatchFunction", MAX_CONCURRENT_JOBS="0"),
    ):
        key = system.upload()
        system.until(lambda: redrive.depth(system) == 1, "the message to be dead-lettered")
        system.until(
            lambda: "MAX_CONCURRENT_JOBS must be a whole number from 1" in log(system), "the reason in the log"
        )
        assert system.job(key) is None
    say("set in the function's variables, it fails every invocation with a clear error; the message comes back")
    say("until SQS moves it to the dead-letter queue after MaxReceiveCount deliveries; after the fix it is redriven")
    say(redrive.redrive(system, "video", "--apply"))
    system.completed(key)
    say(truth.compare(system, key))


def too_low(system: System, say: Callable[[str], None]) -> None:
    """Raises the limit while a job runs: the reconciler's next run uses the new slots."""
    first = system.upload(gate=True)
    system.wait_for(first, "RUNNING")
    others = [system.upload(gate=True) for _ in range(HIGH - 1)]
    system.until(lambda: system.lane().waiting == len(others), "the others to wait")
    say(f"the limit is 1 by mistake: one job runs, {len(others)} wait")
    system.deploy(MaxConcurrentJobs=str(HIGH))
    system.invoke("ReconcileJobsFunction")
    system.until(lambda: len(system.runs(*others)) == len(others), "all to run")
    say(f"now it is {HIGH}: all {HIGH} run")
    finish(system, first, *others)
    say(truth.compare(system, first, *others))


def too_high(system: System, say: Callable[[str], None]) -> None:
    """Lowers the limit while jobs run: none is stopped, and none starts until fewer than the limit run."""
    keys = [system.upload(gate=True) for _ in range(HIGH)]
    system.until(lambda: len(system.runs(*keys)) == HIGH, "all to run")
    say(f"the limit is {HIGH} by mistake: {HIGH} jobs run")
    system.deploy(MaxConcurrentJobs="1")
    late = [system.upload(gate=True) for _ in range(2)]
    system.until(lambda: system.lane().waiting == len(late), "the new ones to wait")
    system.invoke("ReconcileJobsFunction")
    assert (len(system.lane().holders), len(system.runs(*late))) == (HIGH, 0)
    say(f"now it is 1: the {HIGH} keep running, {len(late)} new ones wait")
    finish(system, *keys[:-1])
    system.invoke("ReconcileJobsFunction")
    assert (len(system.lane().holders), len(system.runs(*late))) == (1, 0), "a job started above the limit"
    say("while one still runs, no other starts")
    finish(system, keys[-1])
    for key in late:
        finish(system, key)
    assert system.most_at_once(*late) == 1
    say("then they run one after the other")
    say(truth.compare(system, *keys, *late))


def finish(system: System, *keys: str) -> None:
    """Releases jobs and waits until they complete."""
    for key in keys:
        system.release(key)
    system.completed(*keys)


def log(system: System) -> str:
    """Returns everything sqs_to_batch logged during the drill."""
    return "\n".join(line.text for line in system.stack.function_log("SqsToBatchFunction", since=system.began))
