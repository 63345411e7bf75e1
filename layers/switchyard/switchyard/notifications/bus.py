"""Puts announcements on an event bus of EventBridge."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard.observability import logger

if TYPE_CHECKING:
    from switchyard.notifications.announcement import Announcement

SOURCE = "switchyard"
DETAIL_TYPE = "Job State Change"
_MAX_ENTRIES = 10
"""Of a call (EventBridge API reference, PutEvents)."""


@dataclass(frozen=True, slots=True)
class Bus:
    """An event bus. `client` is boto3's of EventBridge."""

    client: Any
    name: str

    def tell(self, announcements: Sequence[Announcement]) -> set[str]:
        """Puts an event for each announcement. Returns the ids of those that are not known to be accepted."""
        untold: set[str] = set()
        for batch in batched(announcements, _MAX_ENTRIES, strict=False):
            untold |= self._put(batch)
        return untold

    def _put(self, batch: Sequence[Announcement]) -> set[str]:
        try:
            answer = self.client.put_events(Entries=[self._entry(each) for each in batch])
        except (ClientError, BotoCoreError) as error:
            logger.warning("events not put", number=len(batch), error_type=type(error).__name__)
            return {each.id for each in batch}
        entries = answer.get("Entries", [])
        refused = {
            each.id: entry["ErrorCode"] for each, entry in zip(batch, entries, strict=True) if "ErrorCode" in entry
        }
        if refused:
            logger.warning("events refused", number=len(refused), error_types=sorted(set(refused.values())))
        return set(refused)

    def _entry(self, announcement: Announcement) -> dict[str, Any]:
        return {
            "EventBusName": self.name,
            "Source": SOURCE,
            "DetailType": DETAIL_TYPE,
            "Time": announcement.at,
            "Detail": json.dumps(announcement.detail(), separators=(",", ":")),
        }
