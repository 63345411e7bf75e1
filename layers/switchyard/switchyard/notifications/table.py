"""WebhooksTable: webhooks by their owners, and the last deliveries of each.

OWNER#<user id, or nothing>   HOOK#<id>            a webhook, its failures, and the slots of its deliveries
HOOK#<id>                     DELIVERY#<id>        a delivery and its outcome; it expires
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from typing import TYPE_CHECKING, Any

from switchyard import clock
from switchyard.names import stable_hash
from switchyard.notifications.webhooks import FEW_SLOTS, SLOTS, Delivery, Disabled, State, Webhook
from switchyard.tables.items import Item, Value, names_and_values, number, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

HELD = timedelta(seconds=20)
"""How long a slot stays taken if the invocation that took it dies: longer than a receiver may take to answer."""
KEPT = timedelta(days=30)
"""How long deliveries are kept."""
_TRIES = 3


class NoSlot(Enum):
    """Why a delivery got no slot."""

    GONE = auto()
    """There is no such webhook."""
    DISABLED = auto()


@dataclass(frozen=True, slots=True)
class Busy:
    """All slots of the webhook are taken by other deliveries."""

    webhook: Webhook


@dataclass(frozen=True, slots=True)
class Slot:
    """The right to deliver to a webhook until `until`, in epoch milliseconds."""

    webhook: Webhook
    number: int
    until: int


class Webhooks:
    """Reads and writes the table."""

    def __init__(self, client: DynamoDBClient, table: str) -> None:
        self._client = client
        self._table = table

    # ---- webhooks ---------------------------------------------------------------------------------------------------

    def create(self, webhook: Webhook, fingerprint: str) -> tuple[Webhook, str] | None:
        """Stores a webhook. Returns the existing one with its fingerprint if the id is taken, else None."""
        try:
            self._client.put_item(
                TableName=self._table,
                Item=_item(webhook) | {"fingerprint": text(fingerprint)},
                ConditionExpression="attribute_not_exists(pk)",
                ReturnValuesOnConditionCheckFailure="ALL_OLD",
            )
        except self._client.exceptions.ConditionalCheckFailedException as error:
            found: Item = error.response["Item"]  # type: ignore[typeddict-item]  # botocore's types lack it
            return _webhook(found), found["fingerprint"]["S"]
        return None

    def read(self, owner: str, webhook_id: str) -> Webhook | None:
        """A webhook of this owner."""
        found = self._client.get_item(TableName=self._table, Key=_key(owner, webhook_id), ConsistentRead=True)
        return _webhook(found["Item"]) if "Item" in found else None

    def all_of(self, owner: str) -> list[Webhook]:
        """The webhooks of an owner, oldest first. The API keeps them few."""
        answer = self._client.query(
            TableName=self._table,
            KeyConditionExpression="pk = :owner",
            ExpressionAttributeValues={":owner": text(f"OWNER#{owner}")},
        )
        return sorted(map(_webhook, answer["Items"]), key=lambda webhook: webhook.created_at)

    def delete(self, owner: str, webhook_id: str) -> bool:
        """Deletes a webhook. False if there is none."""
        gone = self._client.delete_item(TableName=self._table, Key=_key(owner, webhook_id), ReturnValues="ALL_OLD")
        return "Attributes" in gone

    def rotate(self, webhook: Webhook, now: datetime) -> Webhook | None:
        """Gives a webhook the next secret. None if it is gone, or was rotated since it was read."""
        update = "SET generation = :next, rotatedAt = :now"
        values = {":next": number(webhook.generation + 1), ":now": text(clock.iso(now))}
        condition = "generation = :seen"
        return self._change(webhook, update, condition, values | {":seen": number(webhook.generation)})

    def enable(self, webhook: Webhook) -> Webhook | None:
        """Lets deliveries to a webhook begin again. None if it is gone."""
        return self._change(webhook, "REMOVE disabled, disabledAt, failingSince, slow", "attribute_exists(pk)", {})

    # ---- slots ------------------------------------------------------------------------------------------------------

    def take_slot(self, webhook_id: str, owner: str, hint: str, now: datetime) -> Slot | Busy | NoSlot:
        """Takes a slot of a webhook, so that a slow or dead receiver can't take up all deliveries.

        `hint` spreads deliveries among the slots. The write also reads the webhook.
        """
        wanted, moment = int(stable_hash(hint, length=8), 16) % SLOTS, clock.epoch_ms(now)
        until = moment + _ms_of(HELD)
        found: Item = {}
        for _ in range(_TRIES):
            #   exists, enabled, the slot free or expired; one of many slots only if the receiver answers well ──▶ taken
            slot = f"slot{wanted}"
            condition = f"attribute_exists(pk) AND attribute_not_exists(disabled) AND {_free(slot)}"
            if wanted >= FEW_SLOTS:
                condition += " AND attribute_not_exists(failingSince) AND attribute_not_exists(slow)"
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=_key(owner, webhook_id),
                    UpdateExpression=f"SET {slot} = :until",
                    ConditionExpression=condition,
                    ExpressionAttributeValues={":until": number(until), ":now": number(moment)},
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                found = error.response.get("Item", {})  # type: ignore[assignment]  # as in `create`
            else:
                return Slot(_webhook(answer["Attributes"]), wanted, until)
            if not found:
                return NoSlot.GONE
            if "disabled" in found:
                return NoSlot.DISABLED
            free = [n for n in range(_webhook(found).slots) if int(found.get(f"slot{n}", {"N": "0"})["N"]) < moment]
            if not free:
                break
            wanted = free[wanted % len(free)]
        return Busy(_webhook(found))

    def succeeded(self, slot: Slot, *, slow: bool) -> None:
        """Frees the slot after a success, which ends a webhook's failures."""
        update = f"{'SET slow = :yes ' if slow else ''}REMOVE slot{slot.number}, failingSince"
        self._change(
            slot.webhook,
            update if slow else f"{update}, slow",
            "attribute_exists(pk)",
            {":yes": {"BOOL": True}} if slow else {},
        )

    def failed(self, slot: Slot, now: datetime) -> Webhook | None:
        """Frees the slot after a failure, and returns the webhook as it now is. None if it was deleted."""
        update = f"SET failingSince = if_not_exists(failingSince, :now) REMOVE slot{slot.number}"
        return self._change(slot.webhook, update, "attribute_exists(pk)", {":now": text(clock.iso(now))})

    def disable(self, webhook: Webhook, why: Disabled, now: datetime) -> bool:
        """Ends deliveries to a webhook. False if it was deleted, disabled or enabled since it was read."""
        seen = webhook.failing_since
        condition = "attribute_not_exists(disabled) AND " + ("failingSince = :seen" if seen else "attribute_exists(pk)")
        values = {":why": text(why), ":now": text(clock.iso(now))} | ({":seen": text(clock.iso(seen))} if seen else {})
        return self._change(webhook, "SET disabled = :why, disabledAt = :now", condition, values) is not None

    def _change(self, webhook: Webhook, update: str, condition: str, values: dict[str, Value]) -> Webhook | None:
        try:
            answer = self._client.update_item(
                TableName=self._table,
                Key=_key(webhook.owner, webhook.id),
                UpdateExpression=update,
                ConditionExpression=condition,
                ReturnValues="ALL_NEW",
                **names_and_values("", values),
            )
        except self._client.exceptions.ConditionalCheckFailedException:
            return None
        return _webhook(answer["Attributes"])

    # ---- deliveries -------------------------------------------------------------------------------------------------

    def note(self, delivery: Delivery, state: State, told: dict[str, str | int], now: datetime) -> None:
        """Records the outcome of an attempt. `told` says what the receiver did, in the API's words."""
        fields = {
            "pk": text(f"HOOK#{delivery.webhook_id}"),
            "sk": text(f"DELIVERY#{delivery.id}"),
            "eventId": text(delivery.event_id),
            "at": text(clock.iso(delivery.at)),
            "body": text(delivery.body),
            "state": text(state),
            "attempts": number(delivery.attempt),
            "lastAttemptAt": text(clock.iso(now)),
            "ttl": number(int((now + KEPT).timestamp())),
        }
        fields |= {name: number(each) if isinstance(each, int) else text(each) for name, each in told.items()}
        self._client.put_item(TableName=self._table, Item=fields)

    def deliveries(self, webhook_id: str, limit: int) -> Sequence[Item]:
        """The newest deliveries of a webhook, newest first, as items."""
        answer = self._client.query(
            TableName=self._table,
            KeyConditionExpression="pk = :hook",
            ExpressionAttributeValues={":hook": text(f"HOOK#{webhook_id}")},
            ScanIndexForward=False,
            Limit=limit,
        )
        return answer["Items"]

    def delivery(self, webhook: Webhook, delivery_id: str) -> Delivery | None:
        """A delivery as it was first sent, for another try."""
        key = {"pk": text(f"HOOK#{webhook.id}"), "sk": text(f"DELIVERY#{delivery_id}")}
        found: Any = self._client.get_item(TableName=self._table, Key=key, ConsistentRead=True).get("Item")
        if found is None:
            return None
        at, body = clock.parse(found["at"]["S"]), found["body"]["S"]
        return Delivery(webhook.id, webhook.owner, found["eventId"]["S"], at, body)


def _free(slot: str) -> str:
    return f"(attribute_not_exists({slot}) OR {slot} < :now)"


def _ms_of(length: timedelta) -> int:
    return round(length.total_seconds() * 1000)


def _key(owner: str, webhook_id: str) -> dict[str, Value]:
    return {"pk": text(f"OWNER#{owner}"), "sk": text(f"HOOK#{webhook_id}")}


def _item(webhook: Webhook) -> dict[str, Value]:
    item = {
        **_key(webhook.owner, webhook.id),
        "url": text(webhook.url),
        "eventTypes": {"SS": sorted(webhook.event_types)},
        "createdAt": text(clock.iso(webhook.created_at)),
        "generation": number(webhook.generation),
    }
    return item | ({"kinds": {"SS": sorted(webhook.kinds)}} if webhook.kinds else {})


def _webhook(item: Item) -> Webhook:
    def moment(name: str) -> datetime | None:
        return clock.parse(item[name]["S"]) if name in item else None

    return Webhook(
        id=item["sk"]["S"].removeprefix("HOOK#"),
        owner=item["pk"]["S"].removeprefix("OWNER#"),
        url=item["url"]["S"],
        event_types=frozenset(item["eventTypes"]["SS"]),
        kinds=frozenset(item.get("kinds", {}).get("SS", ())),
        created_at=clock.parse(item["createdAt"]["S"]),
        generation=int(item["generation"]["N"]),
        rotated_at=moment("rotatedAt"),
        disabled=Disabled(item["disabled"]["S"]) if "disabled" in item else None,
        disabled_at=moment("disabledAt"),
        failing_since=moment("failingSince"),
        is_slow="slow" in item,
    )
