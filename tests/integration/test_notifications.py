"""Jobs are announced by the deployed functions with their roles: events on the bus."""

from collections import Counter

from tests.integration.listening import listening, told
from tests.integration.system import System


def test_a_job_s_start_and_end_are_events_for_a_rule(system: System) -> None:
    with listening(system.stack) as events:
        key = system.upload()
        [job] = system.completed(key)
        job_id = job["jobId"]
        system.until(lambda: {(job_id, "RUNNING"), (job_id, "COMPLETED")} <= told(events()), "both events")
        about = [event for event in events() if event["detail"]["jobId"] == job_id]

    assert {event["detail"]["status"] for event in about} == {"RUNNING", "COMPLETED"}
    ended = next(event for event in about if event["detail"]["status"] == "COMPLETED")
    assert ended["source"] == "switchyard"
    assert ended["detail"]["kind"] == "video-analysis"
    assert ended["detail"]["fence"] == job["fence"]
    ids = {event["detail"]["status"]: event["detail"]["id"] for event in about}
    assert len(set(ids.values())) == 2


def test_what_eventbridge_refuses_is_announced_later(system: System) -> None:
    """The wrong bus is refused, as is a throttled call; the stream keeps the change."""
    with listening(system.stack) as events:
        with system.variables("NotifyFunction", EVENT_BUS_NAME="there-is-none"):
            [job] = system.completed(system.upload())
            system.until(
                lambda: any(
                    "put" in line.get("message", "") or "refused" in line.get("message", "")
                    for line in system.log("NotifyFunction")
                ),
                "a refused event",
            )
        system.until(lambda: (job["jobId"], "COMPLETED") in told(events()), "the event")
        counted = Counter(event["detail"]["id"] for event in events() if event["detail"]["jobId"] == job["jobId"])
    assert len(counted) == 2, "RUNNING and COMPLETED"
