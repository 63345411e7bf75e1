"""What imports cost, as docs/imports.md tells: calls and write units of 1,000 games; memory of 5,000."""

import tracemalloc
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from local.steam.players import Player
from switchyard import clock
from switchyard.steam.library import MAX_NAME, Game, Owned, Plan, diff
from switchyard.steam.web import _games
from tests.unit.steam.world import STEAM_ID, SteamWorld

INDEXES = ("nameKey", "playtimeKey", "lastPlayedKey")


class Meter:
    """Wraps a client: counts its calls, and the write units of DynamoDB by the size of each item.

    Amazon DynamoDB developer guide, "DynamoDB throughput capacity": a unit for each KiB, twice in a transaction; in
    each index that has the item a unit for each entry written, and one for each deleted if its key has changed.
    """

    def __init__(self, client: Any, calls: Counter[str], units: Counter[str]) -> None:  # noqa: ANN401 - any client
        self._client = client
        self._calls = calls
        self._units = units

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any attribute of a client
        found = getattr(self._client, name)
        if not callable(found) or name == "exceptions":
            return found

        def counted(*args: object, **arguments: Any) -> Any:  # noqa: ANN401 - as boto3's
            self._calls[name] += 1
            writes = self._writes(name, arguments)
            before = [self._item(*write) for write in writes]
            answer = found(*args, **arguments)
            in_transaction = name == "transact_write_items"
            for write, old in zip(writes, before, strict=True):
                self._count(old, self._item(*write), in_transaction=in_transaction)
            return answer

        return counted

    def _writes(self, name: str, arguments: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        if name == "transact_write_items":
            actions = [action for each in arguments["TransactItems"] for action in each.values()]
        else:
            actions = [arguments] if name in {"put_item", "update_item"} else []
        return [(each["TableName"], each.get("Key") or _key(each["Item"])) for each in actions]

    def _item(self, table: str, key: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = self._client.get_item(TableName=table, Key=key).get("Item", {})
        return found

    def _count(self, old: dict[str, Any], new: dict[str, Any], *, in_transaction: bool) -> None:
        units = max(_units(old), _units(new), 1) * (2 if in_transaction else 1)
        for index in INDEXES:
            if index in new and old != new:
                units += _units(new)
            if index in old and old.get(index) != new.get(index):
                units += _units(old)
        kind = (new or old)["sk"]["S"].partition("#")[0]
        self._units[kind] += units


def _key(item: dict[str, Any]) -> dict[str, Any]:
    return {name: item[name] for name in ("pk", "sk")}


def _units(item: dict[str, Any]) -> int:
    size = sum(len(name) + len(str(next(iter(value.values())))) for name, value in item.items())
    return -(-size // 1024)


@pytest.fixture
def measured(steam: SteamWorld) -> Callable[[str], tuple[Counter[str], Counter[str]]]:
    def run(message: str) -> tuple[Counter[str], Counter[str]]:
        calls: Counter[str] = Counter()
        units: Counter[str] = Counter()
        importer = steam.importer(
            lambda each: Meter(each, calls, units) if each in (steam.dynamodb, steam.s3) else each
        )
        original, steam.importer = steam.importer, lambda *_: importer  # type: ignore[method-assign] # this one
        steam.run(message)
        steam.importer = original  # type: ignore[method-assign] # as it was
        return calls, units

    return run


def test_a_thousand_games(steam: SteamWorld, measured: Callable[[str], tuple[Counter[str], Counter[str]]]) -> None:
    steam.player(games=1000)
    calls, units = measured("first")
    assert calls == {"put_item": 1, "update_item": 2, "query": 1, "put_object": 1, "transact_write_items": 12}
    assert units["GAME"] == 5 * 1000
    assert units.total() - units["GAME"] < 40
    calls, units = measured("second")
    assert calls == {"put_item": 2, "update_item": 2, "query": 1}
    assert units.keys() <= {"ACCOUNT", "PACE"}
    assert units.total() <= 4
    for game in steam.games()[:20]:
        game |= {"playtime_forever": 40_000 + game["appid"], "rtime_last_played": 1_790_000_000 + game["appid"]}
    calls, units = measured("third")
    assert units["GAME"] == 7 * 20, "two of the three sort keys have changed"


@pytest.mark.heavy
def test_five_thousand_games_are_stored_and_then_unchanged(steam: SteamWorld) -> None:
    steam.player(games=5000)
    assert steam.run("first")["added"] == 5000
    second = steam.run("second")
    assert (second["added"], second["updated"], second["unchanged"]) == (0, 0, 5000)


def test_five_thousand_games_in_memory() -> None:
    """Everything that an import holds of the longest names: the answer's JSON, its games, rows and plan."""
    answer = Player.of(STEAM_ID, {"games": 5000}).owned(names=True, free=True)
    for game in answer["games"]:
        game["name"] = game["name"].ljust(MAX_NAME, "x")
    tracemalloc.start()
    games: list[Game] = _games(answer)
    found = diff({}, Owned(games), [])
    plan = Plan("import", STEAM_ID, "Gabe", clock.EPOCH, found.counts, found.changes)
    assert Plan.from_json(plan.to_json().encode()) == plan
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 * 2**20
