"""Functions' normal logs and metrics: JSON, no errors, and none of the users' data."""

import json
from dataclasses import dataclass

import pytest

from tests.integration.system import FUNCTIONS, Item, System

SECRET = "nobody-else-s-business"


@dataclass(frozen=True)
class Day:
    """The log of a normal day: raw lines, and parsed ones."""

    lines: list[str]
    records: list[Item]

    def sum(self, metric: str) -> float:
        """Returns the sum of a metric's values, from the lines in CloudWatch's embedded metric format."""
        return sum(sum(record[metric]) for record in self.records if metric in record)


@pytest.fixture(scope="module")
def day(scene: System) -> Day:
    """Runs a day: an upload announced twice, one that waits for it, a redelivery after the end, a reconciler's run."""
    first = scene.upload(gate=True)
    scene.wait_for(first, "RUNNING")
    again = scene.notification(first)
    scene.send(again | {"token": SECRET})
    second = scene.place()
    scene.send(
        {
            "eventType": "video-uploaded",
            "video": {"id": "waits", "title": SECRET},
            "s3": {"bucket": scene.bucket, "key": second},
        }
    )
    scene.until(lambda: scene.lane().waiting == 1, "the second to wait")
    scene.release(first)
    scene.completed(first, second)
    scene.send(again)
    scene.drained()
    scene.drained("TrackQueue")
    scene.invoke("ReconcileJobsFunction", {"token": SECRET})
    lines = [line.text for name in FUNCTIONS for line in scene.stack.function_log(name, since=scene.began)]
    return Day(lines, [json.loads(line) for line in lines if line.startswith("{")])


def test_every_line_is_json(day: Day) -> None:
    assert [line for line in day.lines if not line.startswith("{")] == []


def test_nothing_goes_wrong(day: Day) -> None:
    assert [record for record in day.records if record.get("level") in {"WARNING", "ERROR", "CRITICAL"}] == []


def test_no_line_holds_a_message_or_an_event(day: Day) -> None:
    telling = (SECRET, "receiptHandle", "eventSource", "eventType", "Records")

    assert [line for line in day.lines if any(word in line for word in telling)] == []


@pytest.mark.parametrize(("metric", "times"), [("Dispatched", 1), ("Held", 1), ("Released", 1), ("Duplicates", 2)])
def test_what_happens_is_counted(day: Day, metric: str, times: int) -> None:
    assert day.sum(metric) == times


def test_the_time_from_message_to_start_is_measured_for_each_job(day: Day) -> None:
    assert sum(len(record["TimeToStart"]) for record in day.records if "TimeToStart" in record) == 2


def test_metrics_name_their_namespace_function_and_environment(day: Day) -> None:
    measured = [record for record in day.records if "Dispatched" in record]

    for record in measured:
        [declared] = record["_aws"]["CloudWatchMetrics"]
        assert declared["Namespace"] == "Switchyard"
        assert sorted(declared["Dimensions"][0]) == ["Environment", "service"]
        assert (record["Environment"], record["service"]) == ("local", "sqs_to_batch")
    assert measured
