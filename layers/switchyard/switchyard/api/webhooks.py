"""Answers the routes of webhooks. A webhook belongs to its maker; another user's answers 404, as if there were none."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from switchyard import clock
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.api.submission import idempotency_key
from switchyard.errors import Contended, Unavailable
from switchyard.names import stable_hash
from switchyard.notifications.deliveries import Outgoing
from switchyard.notifications.signatures import derived_secret
from switchyard.notifications.table import Webhooks
from switchyard.notifications.webhooks import (
    MAX_WEBHOOKS,
    TEST,
    TWO_SECRETS,
    Delivery,
    Webhook,
    is_delivery_id,
    is_webhook_id,
    payload,
)
from switchyard.observability import logger
from switchyard.outside.receivers import check_receiver
from switchyard.tables.items import Item, plain
from switchyard.urls import Network, UrlNotAllowed

if TYPE_CHECKING:
    from switchyard.outside.secrets import Secret

_ENDS = ("job.completed", "job.failed", "job.cancelled")
_LIMIT = re.compile(r"[1-9]|[1-4][0-9]|50")
_SHOWN = 50
"""Deliveries."""


@dataclass(slots=True, eq=False)
class WebhookRoutes:
    """The handlers. Without `outgoing` this deployment has no webhooks.

    Attributes:
        networks: Networks that URLs may lead to although they are not public.
        plain: Whether URLs may be http, as an emulator needs.
    """

    webhooks: Webhooks
    outgoing: Outgoing | None
    secret: Secret
    networks: Sequence[Network] = ()
    plain: bool = False

    def create(self, request: Request) -> Response:
        """`POST /webhooks`. The response alone shows the secret."""
        self._configured()
        body, key = request.json("WebhookRequest"), idempotency_key(request)
        try:
            check_receiver(body["url"], self.networks, plain=self.plain)
        except UrlNotAllowed as error:
            raise Problem(400, "URL_NOT_ALLOWED", "The URL can't be used.", [str(error)]) from None
        owner, unique = _owner(request), stable_hash(request.caller, request.route, key) if key else uuid.uuid4().hex
        others = [each for each in self.webhooks.all_of(owner) if each.id != f"wh_{unique}"]
        if len(others) >= MAX_WEBHOOKS:
            raise Problem(409, "TOO_MANY_WEBHOOKS", f"There are {MAX_WEBHOOKS} webhooks already. Delete one first.")
        webhook = Webhook(
            id=f"wh_{unique}",
            owner=owner,
            url=body["url"],
            event_types=frozenset(body.get("eventTypes", _ENDS)),
            kinds=frozenset(body.get("kinds", ())),
            created_at=clock.parse(clock.iso(clock.now())),  # as it is stored
        )
        fingerprint = stable_hash(json.dumps(body, sort_keys=True), request.caller, key)
        found = self.webhooks.create(webhook, fingerprint)
        if found:
            webhook, known = found
            if known != fingerprint:
                raise Problem(409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for a different request.")
        logger.info("webhook created", webhook_id=webhook.id, by=request.caller)
        return Response(201, self._with_secret(webhook), {"Location": f"webhooks/{webhook.id}"})

    def list(self, request: Request) -> Response:
        """`GET /webhooks`."""
        return Response(200, {"webhooks": [_view(each) for each in self.webhooks.all_of(_owner(request))]})

    def get(self, request: Request) -> Response:
        """`GET /webhooks/{webhookId}`."""
        return Response(200, _view(self._find(request)))

    def delete(self, request: Request) -> Response:
        """`DELETE /webhooks/{webhookId}`. What is on its way to it is dropped."""
        webhook_id = request.path.get("webhookId", "")
        if not is_webhook_id(webhook_id) or not self.webhooks.delete(_owner(request), webhook_id):
            raise _not_found()
        return Response(204)

    def rotate(self, request: Request) -> Response:
        """`POST /webhooks/{webhookId}/rotate`. For a day, deliveries carry a signature of each secret."""
        self._configured()
        rotated = self.webhooks.rotate(self._find(request), clock.now())
        if rotated is None:
            raise Contended("the webhook was rotated or deleted at the same time")
        logger.info("webhook rotated", webhook_id=rotated.id, by=request.caller)
        return Response(200, self._with_secret(rotated))

    def enable(self, request: Request) -> Response:
        """`POST /webhooks/{webhookId}/enable`."""
        webhook = self.webhooks.enable(self._find(request))
        if webhook is None:
            raise _not_found()
        return Response(200, _view(webhook))

    def test(self, request: Request) -> Response:
        """`POST /webhooks/{webhookId}/test`: sends an event that no job has caused."""
        webhook, now = self._find(request), clock.now()
        event_id = f"evt_{uuid.uuid4().hex}"
        return self._send(Delivery(webhook.id, webhook.owner, event_id, now, payload(TEST, now, {"id": event_id})))

    def deliveries(self, request: Request) -> Response:
        """`GET /webhooks/{webhookId}/deliveries`: the last ones, newest first."""
        limit = request.query.get("limit", str(_SHOWN))
        if not _LIMIT.fullmatch(limit):
            raise invalid(f"limit must be 1 to {_SHOWN}")
        found = self.webhooks.deliveries(self._find(request).id, int(limit))
        return Response(200, {"deliveries": [_delivery(each) for each in found]})

    def resend(self, request: Request) -> Response:
        """`POST /webhooks/{webhookId}/deliveries/{deliveryId}/resend`: begins the attempts anew."""
        webhook, delivery_id = self._find(request), request.path.get("deliveryId", "")
        found = self.webhooks.delivery(webhook, delivery_id) if is_delivery_id(delivery_id) else None
        if found is None:
            raise Problem(404, "NOT_FOUND", "There is no such delivery.")
        return self._send(found)

    def _send(self, delivery: Delivery) -> Response:
        if self._configured().send([delivery]):
            raise Unavailable("the delivery was not queued")
        return Response(202, {"deliveryId": delivery.id, "eventId": delivery.event_id})

    def _configured(self) -> Outgoing:
        if self.outgoing is None:
            raise Problem(501, "NOT_CONFIGURED", "This deployment has no webhooks.")
        return self.outgoing

    def _find(self, request: Request) -> Webhook:
        webhook_id = request.path.get("webhookId", "")
        found = self.webhooks.read(_owner(request), webhook_id) if is_webhook_id(webhook_id) else None
        if found is None:
            raise _not_found()
        return found

    def _with_secret(self, webhook: Webhook) -> dict[str, Any]:
        (master,) = self.secret.read("key")
        return _view(webhook) | {"secret": derived_secret(master, webhook.id, webhook.generation)}


def _owner(request: Request) -> str:
    """Users have their own webhooks. Those of keys and roles hear of all jobs and are nobody's."""
    return request.user_id or ""


def _not_found() -> Problem:
    return Problem(404, "NOT_FOUND", "There is no such webhook.")


def _view(webhook: Webhook) -> dict[str, Any]:
    until = webhook.rotated_at + TWO_SECRETS if webhook.rotated_at else None
    view = {
        "webhookId": webhook.id,
        "url": webhook.url,
        "eventTypes": sorted(webhook.event_types),
        "kinds": sorted(webhook.kinds) or None,
        "createdAt": clock.iso(webhook.created_at),
        "oldSecretUntil": clock.iso(until) if until and clock.now() < until else None,
        "failingSince": clock.iso(webhook.failing_since) if webhook.failing_since else None,
        "disabled": webhook.disabled,
        "disabledAt": clock.iso(webhook.disabled_at) if webhook.disabled_at else None,
    }
    return {name: value for name, value in view.items() if value is not None}


def _delivery(item: Item) -> dict[str, Any]:
    found = plain(item)
    shown = ("eventId", "at", "state", "attempts", "lastAttemptAt", "nextAttemptAt", "statusCode", "reason")
    view = {name: found[name] for name in shown if name in found}
    return {"deliveryId": found["sk"].removeprefix("DELIVERY#"), "type": json.loads(found["body"])["type"], **view}
