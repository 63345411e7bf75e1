"""Jobs are announced by the deployed functions with their roles: events on the bus, webhooks to real receivers."""

import contextlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import httpx

from local import api
from tests.fakes.receiver import Receiver, receiving
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


@contextlib.contextmanager
def registered(http: httpx.Client, receiver: Receiver, **more: object) -> Iterator[str]:
    """Makes a webhook for a receiver, and yields its path; it ends with the block."""
    answer = http.post("/webhooks", json={"url": receiver.url, **more})
    assert answer.status_code == 201, answer.text
    receiver.secret = answer.json()["secret"]
    path = f"/webhooks/{answer.json()['webhookId']}"
    try:
        yield path
    finally:
        http.delete(path)


def test_an_end_is_delivered_and_verified_and_a_dead_receiver_delays_nobody(system: System) -> None:
    with (
        api.client(system.stack) as http,
        receiving() as well,
        receiving() as failing,
        registered(http, well) as hook,
        registered(http, failing) as other,
    ):
        failing.moods = [500] * 100
        keys = [system.upload() for _ in range(3)]
        jobs = {job["jobId"] for job in system.completed(*keys)}
        system.until(lambda: jobs <= {event["data"]["jobId"] for event in well.verified}, "the deliveries")
        system.until(lambda: len(failing.verified) > len(jobs), "another attempt")

        def states(path: str) -> dict[str, Any]:
            found = http.get(f"{path}/deliveries").json()["deliveries"]
            return {each["eventId"]: each["state"] for each in found}

        system.until(lambda: list(states(hook).values()) == ["delivered"] * 3, "the outcomes")
        assert set(states(other).values()) == {"retrying"}
        assert "failingSince" in http.get(other).json()
        assert "failingSince" not in http.get(hook).json()
    assert well.refused == failing.refused == 0


def test_a_url_inside_is_refused_by_the_deployed_api(system: System) -> None:
    with api.client(system.stack) as http:
        for url in ("http://169.254.169.254/latest/meta-data", "https://10.0.0.1/", "https://localhost.localdomain:1/"):
            assert http.post("/webhooks", json={"url": url}).status_code == 400, url
