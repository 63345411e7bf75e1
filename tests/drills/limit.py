"""A limit that is wrong, and corrected while jobs run."""

from collections.abc import Callable

from botocore.exceptions import ClientError

from tests.drills import redrive, truth
from tests.integration.system import System

HIGH = 4


def play(system: System, say: Callable[[str], None]) -> None:
    """Refused, too low, too high."""
    refused(system, say)
    too_low(system, say)
    too_high(system, say)


def refused(system: System, say: Callable[[str], None]) -> None:
    """Zero is no limit: not for CloudFormation, and not for the functions, whoever tells them."""
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
        system.until(lambda: redrive.depth(system) == 1, "the message to be given up")
        system.until(
            lambda: "MAX_CONCURRENT_JOBS must be a whole number from 1" in log(system), "the reason in the log"
        )
        assert system.job(key) is None
    say("written into the function's variables, it makes every invocation fail and name it; the message comes back")
    say("until, after MaxReceiveCount deliveries, SQS moves it to the dead-letter queue; corrected, it is redriven")
    say(redrive.redrive(system, "video", "--apply"))
    system.completed(key)
    say(truth.compare(system, key))


def too_low(system: System, say: Callable[[str], None]) -> None:
    """Raised while a job runs, the new slots are used at the reconciler's next run."""
    first = system.upload(gate=True)
    system.wait_for(first, "RUNNING")
    others = [system.upload(gate=True) for _ in range(HIGH - 1)]
    system.until(lambda: system.lane().waiting == len(others), "the others to wait")
    say(f"the limit is 1 by mistake: one job runs, {len(others)} wait")
    system.deploy(MaxConcurrentJobs=str(HIGH))
    system.invoke("ReconcileJobsFunction")
    system.until(lambda: len(system.runs(*others)) == len(others), "all to run")
    say(f"it is {HIGH} now: all {HIGH} run")
    finish(system, first, *others)
    say(truth.compare(system, first, *others))


def too_high(system: System, say: Callable[[str], None]) -> None:
    """Lowered while jobs run, nobody is stopped, and nobody starts before there are fewer than the limit."""
    keys = [system.upload(gate=True) for _ in range(HIGH)]
    system.until(lambda: len(system.runs(*keys)) == HIGH, "all to run")
    say(f"the limit is {HIGH} by mistake: {HIGH} jobs run")
    system.deploy(MaxConcurrentJobs="1")
    late = [system.upload(gate=True) for _ in range(2)]
    system.until(lambda: system.lane().waiting == len(late), "the new ones to wait")
    system.invoke("ReconcileJobsFunction")
    assert (len(system.lane().holders), len(system.runs(*late))) == (HIGH, 0)
    say(f"it is 1 now: the {HIGH} run on, {len(late)} new ones wait")
    finish(system, *keys[:-1])
    system.invoke("ReconcileJobsFunction")
    assert (len(system.lane().holders), len(system.runs(*late))) == (1, 0), "a job has started above the limit"
    say("with one left running, still nobody starts")
    finish(system, keys[-1])
    for key in late:
        finish(system, key)
    assert system.most_at_once(*late) == 1
    say("then they run one after the other")
    say(truth.compare(system, *keys, *late))


def finish(system: System, *keys: str) -> None:
    """Let jobs go on, and wait for their ends."""
    for key in keys:
        system.release(key)
    system.completed(*keys)


def log(system: System) -> str:
    """All that sqs_to_batch has logged in the drill."""
    return "\n".join(line.text for line in system.stack.function_log("SqsToBatchFunction", since=system.began))
