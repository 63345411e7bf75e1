"""Drill: Batch accepted jobs, but has no machine for them."""

from collections.abc import Callable

from tests.drills import truth
from tests.integration.system import System

LIMIT = 2
LEAST = "60"
"""The minimum number of seconds after which a job counts as stuck."""


def play(system: System, say: Callable[[str], None]) -> None:
    """Removes all machines, checks the alarm's metric, cancels one job by hand, and brings the machines back."""
    system.deploy(MaxConcurrentJobs=str(LIMIT))
    system.stack.restart_compute(crash=False, room=0)
    try:
        say("Batch has no machine; three videos are uploaded, and two may run at once")
        keys = [system.upload()]
        system.wait_for(keys[0], "SUBMITTED")
        keys.append(system.upload())
        system.wait_for(keys[1], "SUBMITTED")
        keys.append(system.upload())
        system.until(lambda: system.lane().waiting == 1, "the third to wait")
        system.until(lambda: states(system, keys[:2]) == ["RUNNABLE", "RUNNABLE"], "both to be RUNNABLE")
        say(f"they count as stuck after {LEAST} s (as deployed, after half an hour)")
        with system.variables("ReconcileJobsFunction", STUCK_RUNNABLE_SECONDS=LEAST):
            system.until(lambda: stuck(system) == LIMIT, "the metric to count both", seconds=180)
            alarmed(system, say)
            say("assume that the second can never be placed: aws batch cancel-job")
            target_id = (system.job(keys[1]) or {})["targetId"]
            system.stack.client("batch").cancel_job(jobId=target_id, reason="cannot be placed")
            system.wait_for(keys[1], "FAILED")
            system.wait_for(keys[2], "SUBMITTED")
            say(f"it is FAILED ({(system.job(keys[1]) or {})['error']['code']}), and its slot goes to the third")
    finally:
        system.stack.restart_compute(crash=False)
    say("there are machines again")
    system.completed(keys[0], keys[2])
    with system.variables("ReconcileJobsFunction", STUCK_RUNNABLE_SECONDS=LEAST):
        system.until(lambda: stuck(system) == 0, "the metric to be zero")
    say("the metric StuckRunnable is 0 again")
    say(truth.compare(system, *keys, ended={keys[1]: "FAILED"}, worked={keys[1]: 0}))


def states(system: System, keys: list[str]) -> list[str]:
    """Returns the status of the jobs' runs at Batch."""
    return [start.status for job in system.jobs(*keys) for start in system.starts(job["jobId"])]


def stuck(system: System) -> float:
    """Runs the reconciler and returns its metric StuckRunnable."""
    system.invoke("ReconcileJobsFunction")
    values = [line["StuckRunnable"] for line in system.log("ReconcileJobsFunction") if "StuckRunnable" in line]
    return float(values[-1][0]) if values else -1


def alarmed(system: System, say: Callable[[str], None]) -> None:
    """Checks that the metric exceeds its alarm's threshold."""
    alarms = system.stack.client("cloudwatch").describe_alarms()["MetricAlarms"]
    [alarm] = [each for each in alarms if each["MetricName"] == "StuckRunnable"]
    [*_, line] = [line for line in system.log("ReconcileJobsFunction") if line.get("StuckRunnable", [0])[0]]
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == alarm["Namespace"]
    assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]}.items() <= line.items()
    assert line["StuckRunnable"][0] > alarm["Threshold"]
    assert any("stuck" in str(each.get("message")) for each in system.log("ReconcileJobsFunction"))
    value, threshold = line["StuckRunnable"][0], alarm["Threshold"]
    say(f"the reconciler's metric StuckRunnable is {value:g}, above the alarm's {threshold:g}")
