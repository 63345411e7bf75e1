"""Lanes are woken by delayed messages on the queue of state changes."""

import json
from datetime import timedelta
from typing import Any, cast

import pytest
from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.messages.changes import Changes
from switchyard.messages.queues import Message
from switchyard.messages.wakes import WakeQueue, lane_to_wake
from tests.conftest import Aws
from tests.fakes.target import Mode
from tests.requests import request
from tests.world import Time, World


class Sqs:
    """Keeps what is sent. It may fail."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[dict[str, Any]] = []
        self.error = error

    def send_message(self, **call: Any) -> None:  # noqa: ANN401 - as the client's
        if self.error:
            raise self.error
        self.sent.append(call)


@pytest.mark.parametrize(("ahead", "delay"), [(-5.0, 1), (0.0, 1), (0.2, 2), (5.0, 6), (899.0, 900)])
def test_the_message_comes_a_second_after_the_time(ahead: float, delay: int, monkeypatch: pytest.MonkeyPatch) -> None:
    sqs, time = Sqs(), Time()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    WakeQueue(cast("Any", sqs), "queue").wake("video", time.now + timedelta(seconds=ahead))
    assert sqs.sent == [{"QueueUrl": "queue", "MessageBody": '{"wake": "video"}', "DelaySeconds": delay}]


def test_what_sqs_can_not_delay_for_so_long_is_left_to_the_reconciler() -> None:
    sqs = Sqs()
    WakeQueue(cast("Any", sqs), "queue").wake("video", clock.now() + timedelta(seconds=901))
    assert sqs.sent == []


def test_a_wake_that_is_not_sent_is_left_to_the_reconciler() -> None:
    sqs = Sqs(ClientError({"Error": {"Code": "RequestThrottled"}}, "SendMessage"))
    WakeQueue(cast("Any", sqs), "queue").wake("video", clock.now())


def test_sqs_takes_the_message(aws: Aws) -> None:
    WakeQueue(aws.sqs, aws.queue_url).wake("video", clock.now())
    counted = aws.sqs.get_queue_attributes(QueueUrl=aws.queue_url, AttributeNames=["All"])["Attributes"]
    assert counted["ApproximateNumberOfMessagesDelayed"] == "1"


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"wake": 1}', "[" * 100_000, '{"detail-type": "ECS"}'])
def test_any_other_message_wakes_nobody(body: str) -> None:
    assert lane_to_wake(body) is None


def test_a_lane_that_is_woken_starts_its_jobs(time: Time, world: World) -> None:
    world.target.modes.append(Mode.THROTTLE)
    world.dispatch(request())
    lane, at = world.wakes.asked.pop()
    time.now = at
    woken(world, lane)
    assert [run.job_id for run in world.target.runs.values()] == ["a"]


def test_a_lane_that_is_gone_is_not_woken(world: World) -> None:
    woken(world, "of an older deployment")


def woken(world: World, lane: str) -> None:
    body = json.dumps({"wake": lane})
    Changes(world.tracker, cast("Any", world.dead_letters)).handle(Message(body, "m", clock.now(), 1, "receipt"))
    assert world.dead_letters.sent == []
