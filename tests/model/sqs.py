"""A model of SQS: messages come back, come twice, come too early, and finally go to a dead-letter queue."""

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from botocore.exceptions import ClientError

from switchyard import clock
from tests.world import Time

VISIBILITY = timedelta(seconds=240)
MAX_DELAY = timedelta(seconds=900)


@dataclass
class Kept:
    """A message on a queue. `moved` means that SQS moved it there from its original queue."""

    id: str
    body: str
    sent_at: datetime
    visible_at: datetime
    attributes: dict[str, str] = field(default_factory=dict)
    receives: int = 0
    receipt: str = ""
    moved: bool = False

    @property
    def has_reason(self) -> bool:
        """Returns whether a dead letter has its reason."""
        return self.moved or bool(self.attributes.get("ErrorType") and self.attributes.get("ErrorMessage"))


@dataclass(frozen=True)
class RedrivePolicy:
    """A queue's redrive policy: after `max_receives`, SQS moves a message instead of delivering it."""

    dead_letters: str
    max_receives: int


@dataclass
class ModelSqs:
    """Queues by URL, with a client's methods for our code and `receive` for Lambda's poller.

    It has its own clock, which no invocation shares. A receipt handle is valid until the next receive. `sent` counts
    all messages ever sent to a queue.
    """

    time: Time
    policies: dict[str, RedrivePolicy]
    queues: dict[str, dict[str, Kept]] = field(default_factory=dict)
    sent: Counter[str] = field(default_factory=Counter)
    _ids: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def on(self, url: str) -> dict[str, Kept]:
        """Returns a queue's messages by id, oldest first."""
        return self.queues.setdefault(url, {})

    def put(
        self, url: str, body: str, attributes: dict[str, str] | None = None, delay: timedelta = timedelta()
    ) -> Kept:
        """Puts a message on a queue."""
        assert timedelta() <= delay <= MAX_DELAY
        now = self.time.now
        kept = Kept(f"m{next(iter(self._ids))}", body, now, now + delay, attributes or {})
        self.on(url)[kept.id] = kept
        self.sent[url] += 1
        return kept

    def visible(self, url: str) -> list[Kept]:
        """Returns the messages that a receive may deliver."""
        return [kept for kept in self.on(url).values() if kept.visible_at <= self.time.now]

    def receive(self, url: str, kept: Kept) -> dict[str, Any] | None:
        """Returns a message as a record of Lambda's event. None if its receives are used up: then SQS moves it."""
        policy = self.policies[url]
        if kept.receives >= policy.max_receives:
            del self.on(url)[kept.id]
            kept.moved, kept.receives, kept.visible_at = True, 0, self.time.now
            self.on(policy.dead_letters)[kept.id] = kept
            return None
        self._hand_out(kept, VISIBILITY)
        return {
            "messageId": kept.id,
            "receiptHandle": kept.receipt,
            "body": kept.body,
            "attributes": {"SentTimestamp": _milliseconds(kept), "ApproximateReceiveCount": str(kept.receives)},
            "messageAttributes": {
                name: {"stringValue": value, "dataType": "String"} for name, value in kept.attributes.items()
            },
            "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:us-east-1:123456789012:{url}",
            "awsRegion": "us-east-1",
        }

    def acknowledge(self, url: str, record: dict[str, Any]) -> None:
        """Deletes a handled message, as Lambda's poller does. With an old receipt handle it stays."""
        self.delete_message(QueueUrl=url, ReceiptHandle=record["receiptHandle"])

    def _hand_out(self, kept: Kept, away: timedelta) -> None:
        kept.receives += 1
        kept.receipt = f"{kept.id}/{kept.receives}/{self.time.now}"
        kept.visible_at = self.time.now + away

    # ---- the client's methods ----------------------------------------------------------------------------------------

    def send_message(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        attributes = {name: value["StringValue"] for name, value in call.get("MessageAttributes", {}).items()}
        delay = timedelta(seconds=call.get("DelaySeconds", 0))
        return {"MessageId": self.put(call["QueueUrl"], call["MessageBody"], attributes, delay).id}

    def receive_message(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - as above
        messages = []
        for kept in self.visible(call["QueueUrl"])[: call["MaxNumberOfMessages"]]:
            self._hand_out(kept, timedelta(seconds=call["VisibilityTimeout"]))
            messages.append(
                {
                    "MessageId": kept.id,
                    "ReceiptHandle": kept.receipt,
                    "Body": kept.body,
                    "Attributes": {"SentTimestamp": _milliseconds(kept)},
                    "MessageAttributes": {
                        name: {"DataType": "String", "StringValue": value} for name, value in kept.attributes.items()
                    },
                }
            )
        return {"Messages": messages}

    def change_message_visibility(self, **call: Any) -> None:  # noqa: ANN401 - as above
        for kept in self.on(call["QueueUrl"]).values():
            if kept.receipt == call["ReceiptHandle"]:
                kept.visible_at = self.time.now + timedelta(seconds=call["VisibilityTimeout"])
                return
        raise ClientError({"Error": {"Code": "ReceiptHandleIsInvalid"}}, "ChangeMessageVisibility")

    def change_message_visibility_batch(self, **call: Any) -> None:  # noqa: ANN401 - as above
        receipts = {entry["ReceiptHandle"]: entry["VisibilityTimeout"] for entry in call["Entries"]}
        for kept in self.on(call["QueueUrl"]).values():
            if kept.receipt in receipts:
                kept.visible_at = self.time.now + timedelta(seconds=receipts[kept.receipt])

    def delete_message(self, **call: Any) -> None:  # noqa: ANN401 - as above
        messages = self.on(call["QueueUrl"])
        for kept in list(messages.values()):
            if kept.receipt == call["ReceiptHandle"]:
                del messages[kept.id]


def _milliseconds(kept: Kept) -> str:
    return str((kept.sent_at - clock.EPOCH) // timedelta(milliseconds=1))
