"""A webhook, what it wants to hear, and when a delivery is tried again. Pure; `deliveries` and `table` do the I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum, auto
from typing import TYPE_CHECKING, Any, Self

from switchyard import clock
from switchyard.errors import InvalidMessage

if TYPE_CHECKING:
    from switchyard.notifications.announcement import Announcement

MAX_WEBHOOKS = 20
"""Of an owner."""
RETRIES = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
)
"""The waits after each failed attempt; after the last attempt the delivery is dead."""
LONGEST_FAILURE = timedelta(days=3)
"""A webhook whose deliveries have all failed for so long is disabled."""
TWO_SECRETS = timedelta(hours=24)
"""How long deliveries are also signed with the secret before the last."""
SLOTS = 10
"""Concurrent deliveries to a webhook that answers well."""
FEW_SLOTS = 2
"""The same while it fails or is slow."""
SLOW = timedelta(seconds=2)
"""An answer that takes longer is slow."""
SOON = timedelta(seconds=10)
PUT_OFF_IF_SLOW = timedelta(minutes=1)
LONGEST_PUT_OFF = timedelta(minutes=15)
TEST = "webhook.test"

_DELIVERY_ID = re.compile(r"[0-9]{13}-evt_[0-9a-f]{32}")
_WEBHOOK_ID = re.compile(r"wh_[0-9a-f]{32}")


class Disabled(StrEnum):
    """Why nothing is sent to a webhook."""

    GONE = "GONE"
    """The receiver answered 410."""
    FAILING = "FAILING"
    """Every delivery failed for `LONGEST_FAILURE`."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """Where an owner wants to hear of which events.

    Attributes:
        owner: The id of the user whose jobs it hears of. Empty for a webhook of a key or a role, which hears of all.
        kinds: Kinds of jobs; empty for all.
        generation: The number of its secret, from 1.
        rotated_at: When the last secret replaced the one before.
        failing_since: When the first of the failures began that no success has followed.
        is_slow: Whether its last answer was slow.
    """

    id: str
    owner: str
    url: str
    event_types: frozenset[str]
    kinds: frozenset[str]
    created_at: datetime
    generation: int = 1
    rotated_at: datetime | None = None
    disabled: Disabled | None = None
    disabled_at: datetime | None = None
    failing_since: datetime | None = None
    is_slow: bool = False

    def wants(self, told: Announcement) -> bool:
        """Whether it hears of this. Users hear of their own jobs only."""
        return (
            self.disabled is None
            and self.owner in ("", told.owner)
            and told.type in self.event_types
            and (not self.kinds or told.kind in self.kinds)
        )

    def generations(self, now: datetime) -> tuple[int, ...]:
        """The numbers of the secrets that sign now, the newest first."""
        both = self.rotated_at is not None and now < self.rotated_at + TWO_SECRETS
        return (self.generation, self.generation - 1) if both else (self.generation,)

    @property
    def slots(self) -> int:
        """How many deliveries it may get at once."""
        return FEW_SLOTS if self.failing_since or self.is_slow else SLOTS


def is_webhook_id(text: str) -> bool:
    """Whether this can be a webhook's id."""
    return _WEBHOOK_ID.fullmatch(text) is not None


def is_delivery_id(text: str) -> bool:
    """Whether this can be a delivery's id."""
    return _DELIVERY_ID.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Delivery:
    """An event on its way to a webhook; the content of a message.

    Attributes:
        event_id: The same for every attempt, and for every copy of the event.
        at: When the event happened.
        body: What is sent: JSON with `type`, `timestamp` and `data`.
        attempt: Which attempt comes next, from 1.
        not_before: When it is due. None: at once.
        put_off: How often it found no free slot of its webhook.
    """

    webhook_id: str
    owner: str
    event_id: str
    at: datetime
    body: str
    attempt: int = 1
    not_before: datetime | None = None
    put_off: int = 0

    @property
    def id(self) -> str:
        """Its id, which sorts by time. The same for every copy of the event."""
        return f"{clock.epoch_ms(self.at):013d}-{self.event_id}"

    def to_json(self) -> str:
        """Encodes it as a message."""
        fields = {
            "webhookId": self.webhook_id,
            "owner": self.owner,
            "eventId": self.event_id,
            "at": clock.iso(self.at),
            "body": self.body,
            "attempt": self.attempt,
            "notBefore": clock.iso(self.not_before) if self.not_before else None,
            "putOff": self.put_off,
        }
        return json.dumps(fields, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Decodes what `to_json` encoded.

        Raises:
            InvalidMessage: it is anything else.
        """
        try:
            found = json.loads(text)
            given = cls(
                webhook_id=found["webhookId"],
                owner=found["owner"],
                event_id=found["eventId"],
                at=clock.parse(found["at"]),
                body=found["body"],
                attempt=found["attempt"],
                not_before=clock.parse(found["notBefore"]) if found["notBefore"] else None,
                put_off=found["putOff"],
            )
            texts = (given.owner, given.body, given.webhook_id, given.event_id)
            numbers = (given.attempt, given.put_off)
            if (
                all(isinstance(each, str) for each in texts)
                and all(type(each) is int and 0 <= each < 10**6 for each in numbers)
                and is_webhook_id(given.webhook_id)
                and is_delivery_id(given.id)
            ):
                return given
        except (AttributeError, LookupError, OverflowError, RecursionError, TypeError, ValueError):
            pass
        raise InvalidMessage("not a delivery to a webhook")


def payload(kind: str, at: datetime, data: Mapping[str, Any]) -> str:
    """The body of a delivery."""
    return json.dumps({"type": kind, "timestamp": clock.iso(at), "data": data}, separators=(",", ":"))


def delivery(webhook: Webhook, told: Announcement) -> Delivery:
    """The delivery of an announcement to a webhook."""
    return Delivery(webhook.id, webhook.owner, told.id, told.at, payload(told.type, told.at, told.detail()))


def longest_put_off(webhook: Webhook, now: datetime) -> timedelta:
    """How long a delivery may be put off that found all slots of its webhook taken.

    Soon if the receiver is well, since it is about to have a free one. A receiver that fails is asked the more rarely
    the longer it has failed, so that a dead one with thousands of deliveries costs little.
    """
    if webhook.failing_since:
        return min(max(now - webhook.failing_since, SOON), LONGEST_PUT_OFF)
    return PUT_OFF_IF_SLOW if webhook.is_slow else SOON


class State(StrEnum):
    """What became of a delivery so far."""

    RETRYING = auto()
    DELIVERED = auto()
    DEAD = auto()


def wait_after(attempt: int, asked: float | None) -> timedelta | None:
    """How long to wait after the failure of an attempt, from 1. None: there is no further attempt.

    `asked` is the seconds that the receiver asked for. They lengthen the wait, up to the longest of all.
    """
    if attempt > len(RETRIES):
        return None
    return max(RETRIES[attempt - 1], timedelta(seconds=min(asked or 0, RETRIES[-1].total_seconds())))
