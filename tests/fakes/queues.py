"""SQS in memory, as our code calls it: sends, receive counts, and messages that come back."""

import itertools
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

_MAX_BATCH = 10
_MAX_BYTES = 2**20


@dataclass
class Queued:
    """A message on a queue."""

    id: str
    body: str
    receives: int = 0
    attributes: dict[str, str] = field(default_factory=dict)


@dataclass
class FakeSqs:
    """Queues by URL, oldest message first.

    `visibilities` holds the timeouts set on messages in flight. `refusals` is the number of batches of which one
    message will be refused.
    """

    queues: dict[str, deque[Queued]] = field(default_factory=lambda: defaultdict(deque))
    visibilities: list[int] = field(default_factory=list)
    refusals: int = 0
    _ids: Any = field(default_factory=lambda: itertools.count(1))

    def send_message(self, **call: Any) -> dict[str, str]:  # noqa: ANN401 - a call's parameters
        attributes = {name: value["StringValue"] for name, value in call.get("MessageAttributes", {}).items()}
        message = Queued(f"m{next(self._ids)}", call["MessageBody"], attributes=attributes)
        self.queues[call["QueueUrl"]].append(message)
        return {"MessageId": message.id}

    def send_message_batch(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        entries = call["Entries"]
        assert 1 <= len(entries) <= _MAX_BATCH
        assert len({entry["Id"] for entry in entries}) == len(entries)
        assert sum(len(entry["MessageBody"].encode()) for entry in entries) <= _MAX_BYTES
        refused = [entries.pop()] if self.refusals else []
        self.refusals -= len(refused)
        for entry in entries:
            self.send_message(QueueUrl=call["QueueUrl"], MessageBody=entry["MessageBody"])
        return {"Successful": [{"Id": entry["Id"]} for entry in entries]} | (
            {"Failed": [{"Id": entry["Id"], "Code": "InternalError", "SenderFault": False} for entry in refused]}
            if refused
            else {}
        )

    def change_message_visibility(self, **call: Any) -> None:  # noqa: ANN401 - a call's parameters
        self.visibilities.append(call["VisibilityTimeout"])
