"""Computes the units DynamoDB would bill for calls to an emulator, because emulators return constants.

Sources: "DynamoDB item sizes and formats", "Read consistency", "Transactions" (capacity) and "Global secondary indexes"
(write considerations) in its developer guide.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bench.prices import read_units, write_units

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

type Item = Mapping[str, Any]


def item_size(item: Item) -> int:
    """Returns an item's size in bytes: its attributes' names and values."""
    return sum(len(name.encode()) + _size(value) for name, value in item.items())


def _size(value: Mapping[str, Any]) -> int:
    ((kind, content),) = value.items()
    match kind:
        case "S":
            return len(content.encode())
        case "N":
            return math.ceil(len(content.lstrip("-").replace(".", "").strip("0")) / 2) + 1
        case "SS" | "NS":
            return sum(_size({kind[0]: each}) for each in content)
        case "M":
            return 3 + sum(1 + len(name.encode()) + _size(each) for name, each in content.items())
        case "L":
            return 3 + sum(1 + _size(each) for each in content)
    return 1  # true, false, null: nothing here is binary


@dataclass(frozen=True)
class Index:
    """A global secondary index: its keys and its projected attributes."""

    keys: tuple[str, ...]
    projected: frozenset[str]

    def entry(self, item: Item | None) -> Item | None:
        """Returns an item's entry in the index; None if the item lacks one of its keys."""
        if item is None or not all(key in item for key in self.keys):
            return None
        return {name: value for name, value in item.items() if name in self.projected}

    def units(self, before: Item | None, after: Item | None) -> int:
        """Returns write units for a changed item: none, one write, or a deletion and a write if the key changed."""
        old, new = self.entry(before), self.entry(after)
        if old == new:
            return 0
        if old is None or new is None:
            return write_units(item_size(old or new or {}))
        if any(old[key] != new[key] for key in self.keys):
            return write_units(item_size(old)) + write_units(item_size(new))
        return write_units(max(item_size(old), item_size(new)))


@dataclass
class Bill:
    """Request units, and calls by operation. `indexes` is the indexes' part of `writes`."""

    writes: int = 0
    indexes: int = 0
    reads: float = 0.0
    calls: Counter[str] = field(default_factory=Counter)


class Meter:
    """Adds the cost of watched clients' calls to `bill`.

    Args:
        client: an unwatched client, to read items before and after a write.
        tables: names of the tables.
        indexed: whether their indexes count.
    """

    def __init__(self, client: DynamoDBClient, tables: Iterable[str], *, indexed: bool = True) -> None:
        self.bill = Bill()
        self._client = client
        self._keys: dict[str, list[str]] = {}
        self._indexes: dict[str, list[Index]] = {}
        for table in tables:
            about = client.describe_table(TableName=table)["Table"]
            self._keys[table] = [key["AttributeName"] for key in about["KeySchema"]]
            indexes = about.get("GlobalSecondaryIndexes", []) if indexed else []
            self._indexes[table] = [_index(each, self._keys[table]) for each in indexes]
        self._asked: Mapping[str, Any] = {}
        self._before: list[tuple[Mapping[str, Any], Item | None]] = []

    def watch(self, client: DynamoDBClient) -> None:
        """Counts the client's calls from now on."""
        client.meta.events.register("provide-client-params.dynamodb", self._asks)
        client.meta.events.register("after-call.dynamodb", self._answered)

    def _asks(self, params: Mapping[str, Any], **_: object) -> None:
        self._asked = deepcopy(params)
        self._before = [(action, self._item(action)) for action in _writes(params)]

    def _answered(self, model: Any, parsed: Mapping[str, Any], **_: object) -> None:  # noqa: ANN401 - botocore's
        self.bill.calls[model.name] += 1
        match model.name:
            case "GetItem":
                self._read([parsed.get("Item", {})])
            case "Query":
                self._read(parsed.get("Items", []))
            case _:
                for action, before in self._before:
                    self._wrote(action, before, transaction=model.name == "TransactWriteItems")

    def _read(self, items: Iterable[Item]) -> None:
        consistent = self._asked.get("ConsistentRead", False)
        self.bill.reads += read_units(sum(item_size(item) for item in items), consistent=consistent)

    def _wrote(self, action: Mapping[str, Any], before: Item | None, *, transaction: bool) -> None:
        after = self._item(action)
        self.bill.writes += write_units(max(item_size(before or {}), item_size(after or {})), transaction=transaction)
        indexes = sum(index.units(before, after) for index in self._indexes[action["TableName"]])
        self.bill.writes += indexes
        self.bill.indexes += indexes

    def _item(self, action: Mapping[str, Any]) -> Item | None:
        table = action["TableName"]
        named = action.get("Key") or action["Item"]
        key = {name: named[name] for name in self._keys[table]}
        return self._client.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")


def _writes(params: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns a call's writes, refused ones included: a failed condition costs as much as a write."""
    if "TransactItems" in params:
        return [action for actions in params["TransactItems"] for action in actions.values()]
    return [params] if "UpdateExpression" in params or "Item" in params else []


def _index(about: Mapping[str, Any], table_keys: list[str]) -> Index:
    keys = tuple(key["AttributeName"] for key in about["KeySchema"])
    return Index(keys, frozenset((*keys, *table_keys, *about["Projection"]["NonKeyAttributes"])))
