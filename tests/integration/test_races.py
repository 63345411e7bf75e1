"""The same message delivered more than once, at once or late, is one job that runs once."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from local.environment import ROOT
from tests.integration.roads import OVER_BOTH
from tests.integration.system import Item, System

pytestmark = OVER_BOTH

COPIES = 5


def in_one_batch(system: System, body: Item) -> None:
    system.send_together(*[body] * COPIES)


def side_by_side(system: System, body: Item) -> None:
    with ThreadPoolExecutor(COPIES) as senders:
        list(senders.map(lambda _: system.send(body), range(COPIES)))


@pytest.mark.parametrize("deliver", [in_one_batch, side_by_side])
def test_a_message_delivered_five_times_at_once_makes_one_job(
    system: System, deliver: Callable[[System, Item], None]
) -> None:
    key = system.place(seconds=0.2)

    deliver(system, system.message(key))

    [job] = system.completed(key)
    system.drained()
    assert len(system.starts(job["jobId"])) == 1
    assert len(system.runs(key)) == 1
    assert not system.messages()


def test_a_message_that_comes_again_after_the_end_runs_nothing(system: System) -> None:
    key = system.place()
    body = system.message(key)
    system.send(body)
    [before] = system.completed(key)

    system.send(body)
    system.drained()

    assert system.job(key) == before
    assert len(system.runs(key)) == 1


def test_a_message_without_a_version_delivered_again_after_the_end_runs_nothing(system: System) -> None:
    key = system.place()
    body = system.unversioned(key)
    again = _delivery(body, system.send(body))
    [before] = system.completed(key)

    answer = system.invoke(system.road.dispatcher, again)

    assert answer == {"batchItemFailures": []}
    assert system.job(key) == before


def test_a_message_without_a_version_sent_anew_after_the_end_asks_for_another_run(system: System) -> None:
    key = system.place()
    system.send(system.unversioned(key))
    system.completed(key)

    system.send(system.unversioned(key))

    system.until(lambda: len(system.runs(key)) == 2, "a second run")
    system.completed(key)


def _delivery(body: Item, message_id: str) -> dict[str, Any]:
    """The event of a later delivery of a message, as Lambda's poller makes it."""
    event: dict[str, Any] = json.loads((ROOT / "events" / "sqs_to_batch" / "plain_bucket_key.json").read_text())
    [record] = event["Records"]
    record |= {"messageId": message_id, "body": json.dumps(body)}
    record["attributes"]["ApproximateReceiveCount"] = "2"
    return event
