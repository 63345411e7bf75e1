"""Jobs that Batch has accepted and finds no machine for."""

from collections.abc import Callable

from tests.drills import truth
from tests.integration.system import System

LIMIT = 2
LEAST = "60"
"""The least seconds after which a job may be called stuck."""


def play(system: System, say: Callable[[str], None]) -> None:
    """There is no machine; the alarm's metric tells; one job is given up by hand; then there are machines."""
    system.deploy(MaxConcurrentJobs=str(LIMIT))
    system.stack.restart_compute(crash=False, room=0)
    try:
        say("Batch has no machine, and three videos are uploaded; two may run at once")
        keys = [system.upload()]
        system.wait_for(keys[0], "SUBMITTED")
        keys.append(system.upload())
        system.wait_for(keys[1], "SUBMITTED")
        keys.append(system.upload())
        system.until(lambda: system.lane().waiting == 1, "the third to wait")
        system.until(lambda: states(system, keys[:2]) == ["RUNNABLE", "RUNNABLE"], "both to be RUNNABLE")
        say(f"they are stuck once they have waited {LEAST} s (as deployed, half an hour)")
        with system.variables("ReconcileJobsFunction", STUCK_RUNNABLE_SECONDS=LEAST):
            system.until(lambda: stuck(system) == LIMIT, "the metric to tell of both", seconds=180)
            alarmed(system, say)
            say("the second can't be placed at all, say: aws batch cancel-job")
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
    """What Batch says of the jobs' runs."""
    return [start.status for job in system.jobs(*keys) for start in system.starts(job["jobId"])]


def stuck(system: System) -> float:
    """Run the reconciler; the metric that it writes."""
    system.invoke("ReconcileJobsFunction")
    values = [line["StuckRunnable"] for line in system.log("ReconcileJobsFunction") if "StuckRunnable" in line]
    return float(values[-1][0]) if values else -1


def alarmed(system: System, say: Callable[[str], None]) -> None:
    """Hold the metric against the alarm that looks at it."""
    alarms = system.stack.client("cloudwatch").describe_alarms()["MetricAlarms"]
    [alarm] = [each for each in alarms if each["MetricName"] == "StuckRunnable"]
    [*_, line] = [line for line in system.log("ReconcileJobsFunction") if line.get("StuckRunnable", [0])[0]]
    assert line["_aws"]["CloudWatchMetrics"][0]["Namespace"] == alarm["Namespace"]
    assert {each["Name"]: each["Value"] for each in alarm["Dimensions"]}.items() <= line.items()
    assert line["StuckRunnable"][0] > alarm["Threshold"]
    assert any("stuck" in str(each.get("message")) for each in system.log("ReconcileJobsFunction"))
    value, threshold = line["StuckRunnable"][0], alarm["Threshold"]
    say(f"the reconciler's metric StuckRunnable is {value:g}, above the alarm's {threshold:g}")
