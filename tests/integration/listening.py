"""Listens for events as an application does: a rule of EventBridge, and a queue that it fills."""

import contextlib
import json
import uuid
from collections.abc import Callable, Iterator
from typing import Any

from local.stack import LocalStack

type Event = dict[str, Any]


@contextlib.contextmanager
def listening(stack: LocalStack) -> Iterator[Callable[[], list[Event]]]:
    """Yields a function that returns all events so far, with repeats; the rule and its queue end with the block."""
    name = f"listener-{uuid.uuid4()}"
    events, sqs = stack.client("events"), stack.client("sqs")
    url = sqs.create_queue(QueueName=name)["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name=name, EventPattern='{"source": ["switchyard"], "detail-type": ["Job State Change"]}')
    events.put_targets(Rule=name, Targets=[{"Id": "queue", "Arn": arn}])
    heard: list[Event] = []

    def all_so_far() -> list[Event]:
        while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
            for message in found:
                heard.append(json.loads(message["Body"]))
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        return heard

    try:
        yield all_so_far
    finally:
        events.remove_targets(Rule=name, Ids=["queue"])
        events.delete_rule(Name=name)
        sqs.delete_queue(QueueUrl=url)


def told(events: list[Event]) -> set[tuple[str, str]]:
    """Returns which job is said to have entered which status."""
    return {(event["detail"]["jobId"], event["detail"]["status"]) for event in events}
