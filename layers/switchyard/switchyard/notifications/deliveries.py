"""Delivers events to webhooks: one attempt a message, and a message for every later attempt.

A wait is a new message (docs/adr/0019): SQS delays one by 15 minutes at most, and a message that comes back uses up
its receives.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from itertools import batched
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock, observability
from switchyard.clients import translated
from switchyard.errors import InvalidMessage, SwitchyardError
from switchyard.notifications.signatures import derived_secret, signed_headers
from switchyard.notifications.table import Busy, NoSlot, Slot, Webhooks
from switchyard.notifications.webhooks import (
    LONGEST_FAILURE,
    SLOW,
    Delivery,
    Disabled,
    State,
    Webhook,
    delivery,
    longest_put_off,
    wait_after,
)
from switchyard.observability import Metric, logger
from switchyard.outside import receivers
from switchyard.outside.sites import Answer, NoAnswer, retry_after

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import SendMessageBatchRequestEntryTypeDef

    from switchyard.messages.dead_letters import DeadLetterQueue
    from switchyard.messages.queues import Message
    from switchyard.notifications.announcement import Announcement
    from switchyard.outside.secrets import Secret
    from switchyard.urls import Network

_MAX_DELAY = 900
"""Seconds (Amazon SQS API reference, SendMessage)."""
_MAX_BATCH = 10
_AGENT = "Switchyard-Webhooks/1"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """The queue of deliveries.

    Messages of a webhook are a group: SQS's fair queues don't let one with many delay the others (Amazon SQS developer
    guide, "Amazon SQS fair queues").
    """

    client: SQSClient
    url: str

    def send(self, deliveries: Iterable[Delivery]) -> list[Delivery]:
        """Sends deliveries. Returns those that are not known to be sent."""
        unsent: list[Delivery] = []
        for batch in batched(deliveries, _MAX_BATCH, strict=False):
            try:
                refused = self.client.send_message_batch(QueueUrl=self.url, Entries=list(map(_entry, range(10), batch)))
            except (ClientError, BotoCoreError) as error:
                logger.warning("deliveries not sent", number=len(batch), error_type=type(error).__name__)
                unsent += batch
            else:
                unsent += [batch[int(each["Id"])] for each in refused.get("Failed", [])]
        return unsent

    @translated()
    def send_later(self, waiting: Delivery, now: datetime) -> None:
        """Sends a delivery that is due later. It comes when it is due, or before a longer wait, and is sent again.

        Raises:
            Unavailable: it may not have been sent.
        """
        seconds = ((waiting.not_before or now) - now).total_seconds()
        self.client.send_message(
            QueueUrl=self.url,
            MessageBody=waiting.to_json(),
            MessageGroupId=waiting.webhook_id,
            DelaySeconds=min(max(math.ceil(seconds), 0), _MAX_DELAY),
        )


def _entry(place: int, each: Delivery) -> SendMessageBatchRequestEntryTypeDef:
    return {"Id": str(place), "MessageBody": each.to_json(), "MessageGroupId": each.webhook_id}


@dataclass(frozen=True, slots=True)
class Subscribers:
    """The channel of webhooks: sends a delivery to each webhook that wants to hear of an announcement."""

    webhooks: Webhooks
    outgoing: Outgoing

    def tell(self, announcements: Sequence[Announcement]) -> set[str]:
        """Sends the deliveries. Returns the ids of announcements of which not all deliveries are known to be sent."""
        listening: dict[str, list[Webhook]] = {}
        untold: set[str] = set()
        wanted: list[Delivery] = []
        for told in announcements:
            owners = ("", told.owner) if told.owner else ("",)
            try:
                for owner in owners:
                    if owner not in listening:
                        listening[owner] = self.webhooks.all_of(owner)
            except (ClientError, BotoCoreError) as error:
                logger.warning("webhooks not read", error_type=type(error).__name__)
                untold.add(told.id)
                continue
            wanted += [delivery(each, told) for owner in owners for each in listening[owner] if each.wants(told)]
        return untold | {each.event_id for each in self.outgoing.send(wanted)}


type Post = Callable[[str, str, dict[str, str], Sequence[Network]], Answer]


@dataclass(slots=True, eq=False)
class Deliverer:
    """Handles the queue of deliveries. `handle` and `exhausted` are the callbacks of `queues.Queue`."""

    webhooks: Webhooks
    outgoing: Outgoing
    secret: Secret
    dead_letters: DeadLetterQueue
    networks: Sequence[Network] = ()
    post: Post = receivers.post
    now: Callable[[], datetime] = clock.now

    def handle(self, message: Message) -> None:
        """Makes the attempt of a message, if it is due and its webhook has a free slot. Else it is sent again.

        Raises:
            RetryableError, ClientError, BotoCoreError: a retry may succeed.
        """
        try:
            due = Delivery.from_json(message.body)
        except InvalidMessage as error:
            self.dead_letters.send(message.body, error)
            return
        now = self.now()
        if due.not_before is not None and now < due.not_before:
            self.outgoing.send_later(due, now)
            return
        match self.webhooks.take_slot(due.webhook_id, due.owner, message.id, now):
            case NoSlot.GONE:
                logger.info("not delivered: the webhook was deleted", webhook_id=due.webhook_id)
            case NoSlot.DISABLED:
                self.webhooks.note(due, State.DEAD, {"reason": "the webhook is disabled"}, now)
            case Busy(webhook):
                # Without an attempt, so that a slow receiver loses nothing and delays only itself.
                longest = min(longest_put_off(webhook, now).total_seconds(), 2 ** min(due.put_off + 2, 10))
                later = now + timedelta(seconds=random.uniform(1, longest))  # noqa: S311 - jitter
                self.outgoing.send_later(replace(due, not_before=later, put_off=due.put_off + 1), now)
            case slot:
                self._attempt(due, slot)

    def exhausted(self, message: Message, error: SwitchyardError) -> bool:
        """Dead-letters a message that failed at each receive: an AWS service failed, not the receiver."""
        self.dead_letters.send(message.body, error)
        return True

    def _attempt(self, due: Delivery, slot: Slot) -> None:
        began = self.now()
        answer, reason = self._post(due, slot.webhook, began)
        now = self.now()
        told: dict[str, str | int] = {"statusCode": answer.status} if answer else {"reason": reason}
        if answer and receivers.is_success(answer):
            self.webhooks.note(due, State.DELIVERED, told, now)
            self.webhooks.succeeded(slot, slow=now - began > SLOW)
            observability.count(Metric.WEBHOOKS_DELIVERED)
            return
        wait = wait_after(due.attempt, retry_after(answer.retry_after, now) if answer else None)
        gone = answer is not None and answer.status == HTTPStatus.GONE
        if gone or wait is None:
            self.webhooks.note(due, State.DEAD, told, now)
            observability.count(Metric.WEBHOOKS_DEAD)
        else:
            later = now + wait * random.uniform(1, 1.1)  # noqa: S311 - jitter, so that failures don't come back together
            # First the next attempt: if the invocation dies here, this one is made again, and none is lost.
            self.outgoing.send_later(replace(due, attempt=due.attempt + 1, not_before=later, put_off=0), now)
            self.webhooks.note(due, State.RETRYING, told | {"nextAttemptAt": clock.iso(later)}, now)
        self._blame(slot, now, gone=gone)
        logger.info("not delivered", webhook_id=due.webhook_id, delivery_id=due.id, attempt=due.attempt, outcome=told)

    def _post(self, due: Delivery, webhook: Webhook, now: datetime) -> tuple[Answer | None, str]:
        (master,) = self.secret.read("key")
        secrets = [derived_secret(master, webhook.id, number) for number in webhook.generations(now)]
        headers = signed_headers(due.event_id, int(now.timestamp()), due.body, secrets)
        try:
            sent = headers | {"Content-Type": "application/json", "User-Agent": _AGENT}
            return self.post(webhook.url, due.body, sent, self.networks), ""
        except (NoAnswer, ValueError) as error:
            return None, str(error)

    def _blame(self, slot: Slot, now: datetime, *, gone: bool) -> None:
        webhook = self.webhooks.failed(slot, now)
        if webhook is None or webhook.disabled:
            return
        since = webhook.failing_since or now
        why = Disabled.GONE if gone else Disabled.FAILING if now - since >= LONGEST_FAILURE else None
        if why and self.webhooks.disable(webhook, why, now):
            observability.count(Metric.WEBHOOKS_DISABLED)
            logger.warning("webhook disabled", webhook_id=webhook.id, reason=why)
