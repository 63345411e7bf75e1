"""Handles the records of JobsTable's stream, the outbox: whatever changed a job's status has already been written.

A record comes again until everybody was told, so each announcement is made at least once, and some more often.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from switchyard import observability
from switchyard.errors import ForeignRow, SwitchyardError
from switchyard.notifications.announcement import Announcement, announcement
from switchyard.observability import Metric, logger

if TYPE_CHECKING:
    from switchyard.messages.dead_letters import DeadLetterQueue


class Channel(Protocol):
    """A way to tell somebody."""

    def tell(self, announcements: Sequence[Announcement], /) -> set[str]:
        """Tells of these. Returns the ids of those that must be tried again, because somebody may not know of them."""


class NotReadable(SwitchyardError):
    """A record could not be read, because of a bug. Its letter holds it; docs/runbook.md says how to repeat it."""

    code = "NOT_READABLE"


@dataclass(frozen=True, slots=True)
class Notifier:
    """Tells all channels of the records of an invocation."""

    channels: Sequence[Channel]
    dead_letters: DeadLetterQueue

    def consume(self, event: Mapping[str, Any]) -> dict[str, Any]:
        """Handles the records of one shard, which are in order.

        Returns the partial batch response: Lambda sends the first record that it names again, and all after it (Lambda
        developer guide, "Configuring partial batch response with DynamoDB and Lambda").
        """
        read = [(record, self._read(record)) for record in event["Records"]]
        told = {(found.id, found.task_token): found for _, found in read if found is not None}
        announcements = list(told.values())
        untold = {each for channel in self.channels for each in channel.tell(announcements)} if announcements else set()
        if len(told) > len(untold):
            observability.count(Metric.ANNOUNCED, len(told) - len(untold))
        failed = [record["dynamodb"]["SequenceNumber"] for record, found in read if found and found.id in untold]
        return {"batchItemFailures": [{"itemIdentifier": number} for number in failed[:1]]}

    def _read(self, record: Mapping[str, Any]) -> Announcement | None:
        try:
            return announcement(record)
        except ForeignRow as error:
            logger.warning("ignored", reason=str(error))
            observability.count(Metric.FOREIGN_ROWS)
        except Exception as error:  # noqa: BLE001 - whatever the bug is, its record must not stop the others
            # A bug. Returned, the record would come again for a day, and none of its shard after it.
            logger.exception("record not readable", error_type=type(error).__name__)
            self.dead_letters.send(_letter(record), NotReadable(type(error).__name__))
        return None


def _letter(record: Mapping[str, Any]) -> str:
    """An event for the function with this record alone. Of the old image it needs only the status."""
    about = dict(record.get("dynamodb", {}))
    if "OldImage" in about:
        about["OldImage"] = {name: value for name, value in about["OldImage"].items() if name == "status"}
    return json.dumps({"Records": [{**record, "dynamodb": about}]}, separators=(",", ":"))
