"""LibraryTable: accounts and their leases, games, and the history of imports.

    pk USER#<userId>   sk ACCOUNT#<steamId>            the lease, the unfinished plan, the last import
                       sk GAME#<steamId>#<appid>       a game; without sort keys of the indexes if it was removed
                       sk IMPORT#<steamId>#<time>      what an import changed; expires

A **lease** is the right to change an account's library; its fence counts leases. Every write of games is a transaction
that checks the fence, so an import that was overtaken changes nothing any more.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from itertools import batched
from typing import TYPE_CHECKING, Any, cast

from switchyard import clock
from switchyard.clients import translated
from switchyard.errors import Contended
from switchyard.function_jobs.jobs import Postponed
from switchyard.names import stable_hash
from switchyard.steam.library import Change, Game, Match, Plan, Playtime, Stored
from switchyard.tables.items import Attribute, Item, Value, names_and_values, number, text

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

BATCH = 99
"""Games in one transaction. With the check of the lease it has 100 actions, DynamoDB's limit."""
_MAX_PLAYTIMES = 500
"""Games whose playtimes an import's history tells, those played most. `changes.json` has all."""
_MAX_SORT_KEY = 200
"""Characters of a name that the list by name sorts by. DynamoDB allows 1,024 bytes."""

_PK = Attribute("pk", lambda value: value.get("S"))
_SK = Attribute("sk", lambda value: value.get("S"))
_FENCE = Attribute("fence", lambda value: int(value.get("N", "0")))
_LEASED_BY = Attribute("leasedBy", lambda value: value.get("S"))
_LEASE_UNTIL = Attribute("leaseUntil", lambda value: int(value.get("N", "0")))
_PLAN = Attribute("planKey", lambda value: value.get("S"))
_IMPORT_ID = Attribute("importId", lambda value: value.get("S"))
_RESULT = Attribute("result", lambda value: json.loads(value["S"]))
_MATCH = Attribute("match", lambda value: Match(value["S"]))
_MATCHED_AT = Attribute("matchedAt", lambda value: value.get("S"))
_IGDB_ID = Attribute("igdbId", lambda value: int(value["N"]))


class Order(StrEnum):
    """How a library is listed: by name, by total playtime, the longest first, or the game played last first."""

    NAME = "name"
    PLAYTIME = "playtime"
    LAST_PLAYED = "lastPlayed"


_INDEXES: Mapping[Order, tuple[str, str]] = {
    Order.NAME: ("byName", "nameKey"),
    Order.PLAYTIME: ("byPlaytime", "playtimeKey"),
    Order.LAST_PLAYED: ("byLastPlayed", "lastPlayedKey"),
}
"""Index and sort key of each order. Only games have sort keys, and tombstones have none: the indexes are sparse."""
_LOOKED_AT = 500
"""How many games a page of one account reads at most, if the user has several."""


class BadToken(ValueError):
    """The page token is invalid, or belongs to another list."""


@dataclass(frozen=True, slots=True)
class GamePage:
    """A page of games, as JSON values. `next_token` is set if more may follow."""

    games: list[dict[str, Any]]
    next_token: str | None


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to change an account's library until somebody else takes it.

    Attributes:
        plan_key: Where the plan of an unfinished import lies in S3.
        last_import: The id of the last import that finished; `last_result` is its result.
    """

    user_id: str
    steam_id: str
    fence: int
    plan_key: str | None
    last_import: str | None
    last_result: Mapping[str, str | int]


class Library:
    """LibraryTable. Every method raises Unavailable if DynamoDB fails after the SDK's own retries."""

    def __init__(self, client: DynamoDBClient, library_table: str) -> None:
        self._client = client
        self._table = library_table

    # ---- the lease --------------------------------------------------------------------------------------------------

    def lease(self, user_id: str, steam_id: str, holder: str, seconds: float) -> Lease:
        """Takes the lease of an account for a job. A later run of the same job takes it over.

        `seconds` is after what time the job's invocation can't run any more.

        Raises:
            Postponed: another job imports this account, by its other name.
        """
        now = clock.now()
        update = f"SET {_LEASED_BY} = :holder, {_LEASE_UNTIL} = :until ADD {_FENCE} :one"
        #   no lease, or over, or the same job's ──▶ ours, fence + 1
        condition = f"attribute_not_exists({_LEASED_BY}) OR {_LEASED_BY} = :holder OR {_LEASE_UNTIL} < :now"
        values = {
            ":holder": text(holder),
            ":until": number(_ms(now + timedelta(seconds=seconds))),
            ":now": number(_ms(now)),
            ":one": number(1),
        }
        found, refused = self._update(_account_key(user_id, steam_id), update, condition, values)
        if refused:
            until = clock.from_epoch_ms(_LEASE_UNTIL.of(found) or _ms(now))
            raise Postponed("another import of this account runs", until)
        return Lease(
            user_id, steam_id, _FENCE.required(found), _PLAN.of(found), _IMPORT_ID.of(found), _RESULT.of(found) or {}
        )

    def register(self, lease: Lease, plan_key: str) -> None:
        """Notes where the import's plan lies, before any of it is made.

        Raises:
            Contended: the lease was taken over.
        """
        #   fence = ours ──▶ with a plan
        self._as_leased(lease, f"SET {_PLAN} = :plan", {":plan": text(plan_key)})

    def finish(
        self, lease: Lease, plan: Plan, result: Mapping[str, str | int], *, keep: timedelta, release: bool
    ) -> None:
        """Records that an import is done, and its history if it changed games. Ends the lease if `release`.

        Raises:
            Contended: the lease was taken over.
        """
        ends = f", {_LEASED_BY}, {_LEASE_UNTIL}" if release else ""
        about = {
            "importId": text(plan.import_id),
            "steamId": text(plan.steam_id),
            "personaName": text(plan.persona_name),
            "importedAt": text(clock.iso(plan.imported_at)),
            "games": number(plan.counts["games"]),
            "result": text(json.dumps(dict(result))),
        }
        update = f"SET {', '.join(f'#{name} = :{name}' for name in about)} REMOVE {_PLAN}{ends}"
        values = {f":{name}": value for name, value in about.items()}
        #   fence = ours ──▶ without a plan, with the import's result
        if not plan.changes:
            self._as_leased(lease, update, values)
            return
        condition = f"{_FENCE} = :fence"
        values |= {":fence": number(lease.fence)}
        self._transact(
            {
                "Update": {
                    "TableName": self._table,
                    "Key": _account_key(lease.user_id, lease.steam_id),
                    "UpdateExpression": update,
                    "ConditionExpression": condition,
                    **names_and_values(f"{update} {condition}", values),
                }
            },
            [{"Put": {"TableName": self._table, "Item": _history(lease, plan, keep)}}],
        )

    def release(self, lease: Lease) -> None:
        """Ends the lease, if it is still ours."""
        #   fence = ours ──▶ no lease
        self._update(
            _account_key(lease.user_id, lease.steam_id),
            f"REMOVE {_LEASED_BY}, {_LEASE_UNTIL}",
            f"{_FENCE} = :fence",
            {":fence": number(lease.fence)},
        )

    # ---- games ------------------------------------------------------------------------------------------------------

    def stored(self, lease: Lease) -> dict[int, Stored]:
        """The account's games and tombstones by appid (consistent read)."""
        found: dict[int, Stored] = {}
        keys = f"{_PK} = :pk AND begins_with({_SK}, :games)"
        values = {":pk": text(f"USER#{lease.user_id}"), ":games": text(f"GAME#{lease.steam_id}#")}
        query: dict[str, Any] = {
            "TableName": self._table,
            "KeyConditionExpression": keys,
            "ConsistentRead": True,
            **names_and_values(keys, values),
        }
        while True:
            with translated():
                answer = self._client.query(**query)
            found |= {stored.game.appid: stored for stored in map(_stored, answer["Items"])}
            if "LastEvaluatedKey" not in answer:
                return found
            query["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def apply(self, lease: Lease, changes: Sequence[Change], at: datetime, progress: Callable[[int], None]) -> None:
        """Makes changes of a plan made `at` that time. Repeating them changes nothing. `progress` is told how many.

        Raises:
            Contended: the lease was taken over.
        """
        made = 0
        for some in batched(changes, BATCH, strict=False):
            self._write(lease, [{"Put": {"Item": _game_item(lease, change.row, clock.iso(at))}} for change in some])
            made += len(some)
            progress(made)

    def match(self, lease: Lease, found: Mapping[int, int | None]) -> None:
        """Notes what IGDB knows: its id of a game by appid, None if it knows none.

        Raises:
            Contended: the lease was taken over.
        """
        when = clock.iso(clock.now())
        for entries in batched(found.items(), BATCH, strict=False):
            self._write(lease, [{"Update": _match_update(lease, appid, igdb_id, when)} for appid, igdb_id in entries])

    def _write(self, lease: Lease, actions: Iterable[dict[str, dict[str, Any]]]) -> None:
        condition = f"{_FENCE} = :fence"
        #   fence = ours ──▶ the games changed
        self._transact(
            {
                "ConditionCheck": {
                    "TableName": self._table,
                    "Key": _account_key(lease.user_id, lease.steam_id),
                    "ConditionExpression": condition,
                    **names_and_values(condition, {":fence": number(lease.fence)}),
                }
            },
            [{kind: {"TableName": self._table, **action[kind]} for kind in action} for action in actions],
        )

    # ---- lists ------------------------------------------------------------------------------------------------------

    def games(
        self, user_id: str, order: Order, limit: int, token: str | None = None, steam_id: str | None = None
    ) -> GamePage:
        """Lists up to `limit` of a user's games, or of one account's. Eventually consistent; no tombstones.

        The page of one account may be short, even empty, and still have a token.

        Raises:
            BadToken: the token is not from this list.
        """
        index, sort_key = _INDEXES[order]
        keys, values = f"{_PK} = :pk", {":pk": text(f"USER#{user_id}")}
        only = "#steamId = :steam" if steam_id else ""
        values |= {":steam": text(steam_id)} if steam_id else {}
        query: dict[str, Any] = {
            "TableName": self._table,
            "IndexName": index,
            "KeyConditionExpression": keys,
            "ScanIndexForward": order is Order.NAME,
            "Limit": max(limit, _LOOKED_AT) if steam_id else limit,
            **({"FilterExpression": only} if only else {}),
            **names_and_values(f"{keys} {only}", values),
        }
        listed = (user_id, order.value, steam_id or "")
        if token is not None:
            query["ExclusiveStartKey"] = {_PK.name: text(f"USER#{user_id}"), **_position(token, sort_key, listed)}
        with translated():
            answer = self._client.query(**query)
        found = answer["Items"]
        last = found[limit - 1] if len(found) > limit else answer.get("LastEvaluatedKey")
        return GamePage([_shown(item) for item in found[:limit]], _token(last, sort_key, listed) if last else None)

    # ---- calls ------------------------------------------------------------------------------------------------------

    def _as_leased(self, lease: Lease, update: str, values: Mapping[str, Value]) -> None:
        key = _account_key(lease.user_id, lease.steam_id)
        _, refused = self._update(key, update, f"{_FENCE} = :fence", {**values, ":fence": number(lease.fence)})
        if refused:
            raise _overtaken(lease.steam_id)

    def _update(
        self, key: dict[str, Value], update: str, condition: str, values: Mapping[str, Value]
    ) -> tuple[Item, bool]:
        """Sends one UpdateItem. Returns the item after it, or the item that the condition refused, and which it is."""
        with translated():
            try:
                answer = self._client.update_item(
                    TableName=self._table,
                    Key=key,
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ReturnValues="ALL_NEW",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                    **names_and_values(f"{update} {condition}", dict(values)),
                )
            except self._client.exceptions.ConditionalCheckFailedException as error:
                return cast("dict[str, Any]", error.response).get("Item", {}), True
        return answer["Attributes"], False

    def _transact(self, first: dict[str, Any], others: Sequence[dict[str, Any]]) -> None:
        """Sends a transaction whose first action checks the lease.

        Raises:
            Contended: the lease was taken over.
        """
        with translated():
            try:
                self._client.transact_write_items(TransactItems=[first, *others])  # type: ignore[list-item]
            except self._client.exceptions.TransactionCanceledException as error:
                reasons = cast("dict[str, Any]", error.response).get("CancellationReasons", [{}])
                if reasons[0].get("Code") != "ConditionalCheckFailed":
                    raise
                raise _overtaken("the account") from None


# ---- items ----------------------------------------------------------------------------------------------------------


def _account_key(user_id: str, steam_id: str) -> dict[str, Value]:
    return {_PK.name: text(f"USER#{user_id}"), _SK.name: text(f"ACCOUNT#{steam_id}")}


def _game_key(lease: Lease, appid: int) -> dict[str, Value]:
    return {_PK.name: text(f"USER#{lease.user_id}"), _SK.name: text(f"GAME#{lease.steam_id}#{appid}")}


def _game_item(lease: Lease, row: Stored, when: str) -> dict[str, Value]:
    """The item of a game. It depends on nothing but the plan, so that writing it can be repeated."""
    game = row.game
    listed = {
        "nameKey": text(_name_key(game)),
        "playtimeKey": number(game.playtime.total),
        "lastPlayedKey": number(game.last_played),
    }
    return {
        **_game_key(lease, game.appid),
        "steamId": text(lease.steam_id),
        "appid": number(game.appid),
        "name": text(game.name),
        "total": number(game.playtime.total),
        "windows": number(game.playtime.windows),
        "mac": number(game.playtime.mac),
        "linux": number(game.playtime.linux),
        "recent": number(game.recent),
        "lastPlayed": number(game.last_played),
        "owned": {"BOOL": game.is_owned},
        _MATCH.name: text(row.match),
        **({_MATCHED_AT.name: text(row.matched_at)} if row.matched_at else {}),
        **({_IGDB_ID.name: number(row.igdb_id)} if row.igdb_id is not None else {}),
        "addedAt": text(row.added_at or when),
        "updatedAt": text(when),
        **({"removedAt": text(when)} if row.is_removed else listed),
    }


def _match_update(lease: Lease, appid: int, igdb_id: int | None, when: str) -> dict[str, Any]:
    match = Match.UNMATCHED if igdb_id is None else Match.MATCHED
    update, values = f"SET {_MATCH} = :match, {_MATCHED_AT} = :when", {":match": text(match), ":when": text(when)}
    if igdb_id is not None:
        update += f", {_IGDB_ID} = :igdb"
        values |= {":igdb": number(igdb_id)}
    return {
        "Key": _game_key(lease, appid),
        "UpdateExpression": update,
        **names_and_values(update, values),
    }


def _name_key(game: Game) -> str:
    return game.name.casefold()[:_MAX_SORT_KEY] or f"app {game.appid}"


def _stored(item: Item) -> Stored:
    return Stored(
        Game(
            appid=int(item["appid"]["N"]),
            name=item["name"]["S"],
            playtime=Playtime(*(int(item[name]["N"]) for name in ("total", "windows", "mac", "linux"))),
            recent=int(item["recent"]["N"]),
            last_played=int(item["lastPlayed"]["N"]),
            is_owned=bool(item["owned"]["BOOL"]),
        ),
        match=_MATCH.of(item) or Match.PENDING,
        igdb_id=_IGDB_ID.of(item),
        matched_at=_MATCHED_AT.of(item) or "",
        added_at=item["addedAt"]["S"],
        is_removed="removedAt" in item,
    )


def _shown(item: Item) -> dict[str, Any]:
    stored = _stored(item)
    game, igdb_id = stored.game, stored.igdb_id
    played = clock.iso(datetime.fromtimestamp(game.last_played, UTC)) if game.last_played else None
    return {
        "steamId": item["steamId"]["S"],
        "appid": game.appid,
        "name": game.name,
        "playtimeMinutes": {
            "total": game.playtime.total,
            "windows": game.playtime.windows,
            "mac": game.playtime.mac,
            "linux": game.playtime.linux,
        },
        "recentMinutes": game.recent,
        **({"lastPlayedAt": played} if played else {}),
        "owned": game.is_owned,
        "match": stored.match.value,
        **({"igdbId": igdb_id} if igdb_id is not None else {}),
        "addedAt": stored.added_at,
        "updatedAt": item["updatedAt"]["S"],
    }


def _history(lease: Lease, plan: Plan, keep: timedelta) -> dict[str, Value]:
    """An import's history: its counts, and the minutes played since the one before, by game and platform."""
    when = clock.iso(plan.imported_at)
    played = sorted(_played(plan.changes), key=lambda each: -each[1][0])
    minutes = {str(appid): {"L": [number(each) for each in parts]} for appid, parts in played[:_MAX_PLAYTIMES]}
    counts: dict[str, Value] = {name: number(count) for name, count in plan.counts.items()}
    return {
        _PK.name: text(f"USER#{lease.user_id}"),
        _SK.name: text(f"IMPORT#{lease.steam_id}#{when}"),
        "importId": text(plan.import_id),
        "counts": {"M": counts},
        "played": {"M": minutes},
        "gamesPlayed": number(len(played)),
        "ttl": number(int((plan.imported_at + keep).timestamp())),
    }


def _played(changes: Iterable[Change]) -> Iterator[tuple[int, tuple[int, int, int, int]]]:
    """Minutes by which the playtimes of known games have grown: in total, on Windows, on a Mac, on Linux."""
    for change in changes:
        game, before = change.row.game, change.before
        if before is None or before.playtime == game.playtime:
            continue
        now, then = game.playtime, before.playtime
        yield (
            game.appid,
            (now.total - then.total, now.windows - then.windows, now.mac - then.mac, now.linux - then.linux),
        )


def _overtaken(whose: str) -> Contended:
    return Contended(f"another import of {whose} has taken over")


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


# ---- tokens ---------------------------------------------------------------------------------------------------------


def _token(key: Item, sort_key: str, listed: tuple[str, ...]) -> str:
    """Encodes where a page ended. Contains nothing that the caller has not seen, and is only valid for this list."""
    position = [*key[sort_key].values(), key[_SK.name]["S"], stable_hash(*listed, length=16)]
    return base64.urlsafe_b64encode(json.dumps(position, separators=(",", ":")).encode()).rstrip(b"=").decode()


def _position(token: str, sort_key: str, listed: tuple[str, ...]) -> dict[str, Value]:
    try:
        padded = token.encode("ascii") + b"=" * (-len(token) % 4)
        value, sk, digest = json.loads(base64.b64decode(padded, altchars=b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):
        raise BadToken from None
    is_number = sort_key != _INDEXES[Order.NAME][1]
    if digest != stable_hash(*listed, length=16) or not _is_sort_value(value, is_number=is_number) or not _is_sk(sk):
        raise BadToken
    return {sort_key: {"N" if is_number else "S": value}, _SK.name: text(sk)}


def _is_sort_value(value: object, *, is_number: bool) -> bool:
    if not isinstance(value, str) or not 1 <= len(value) <= 4 * _MAX_SORT_KEY:
        return False
    if is_number:
        return value.isascii() and value.isdigit() and len(value) < 16
    return value.isprintable() and len(value.encode("utf-8", "replace")) <= 1024


def _is_sk(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"GAME#[0-9]{17}#[0-9]{1,10}", value) is not None
