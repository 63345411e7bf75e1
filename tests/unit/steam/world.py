"""An import's whole world, which tests step through: the stand-in over HTTP, table and bucket on moto, and deaths."""

import json
from collections import defaultdict
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from boto3.dynamodb.types import TypeDeserializer

from local.steam.players import Player
from local.steam.server import StandIn
from switchyard.function_jobs.jobs import FunctionRun, Postponed, Values
from switchyard.names import stable_hash
from switchyard.outside.secrets import Secret
from switchyard.outside.sites import Site
from switchyard.steam.accounts import account
from switchyard.steam.enrichment import Enrichment
from switchyard.steam.igdb import Igdb
from switchyard.steam.importer import Importer
from switchyard.steam.pace import Pace
from switchyard.steam.providers import Provider
from switchyard.steam.table import Library, Order
from switchyard.steam.web import Steam
from tests.fakes.crashing import Countdown, Crashing
from tests.world import Time

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client

USER = "user-1"
STEAM_ID = "76561197960287930"
OTHER_ID = "76561197960287931"
BUCKET = "media"
TABLE = "LibraryTable"
KEEP = timedelta(days=365)


def create_library_table(client: "DynamoDBClient") -> None:
    """Creates LibraryTable as `switchyard.steam.table` needs it."""
    keys = {"byName": ("nameKey", "S"), "byPlaytime": ("playtimeKey", "N"), "byLastPlayed": ("lastPlayedKey", "N")}
    attributes: list[Any] = [("pk", "S"), ("sk", "S"), *keys.values()]
    client.create_table(
        TableName=TABLE,
        BillingMode="PAY_PER_REQUEST",
        AttributeDefinitions=[{"AttributeName": name, "AttributeType": kind} for name, kind in attributes],
        KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}],
        GlobalSecondaryIndexes=[
            {
                "IndexName": index,
                "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": name, "KeyType": "RANGE"}],
                "Projection": {"ProjectionType": "ALL"},
            }
            for index, (name, _) in keys.items()
        ],
    )


def snapshot(table: Any, _: object) -> Any:  # noqa: ANN401 - moto has no types
    """Copies a table of moto without its items.

    For each action of a transaction moto copies the whole table, to restore it if one fails: minutes for a library. In
    ours only the first action has a condition, so nothing has changed when it fails. tests/contract/test_library.py
    runs with moto's own copies.
    """
    same = copy(table)
    same.items = defaultdict(dict, {key: dict(ranges) for key, ranges in table.items.items()})
    return same


@dataclass
class SteamWorld:
    """Table, bucket and stand-in. Every import is an invocation of its own, and may be killed."""

    dynamodb: "DynamoDBClient"
    s3: "S3Client"
    standin: StandIn
    time: Time
    with_igdb: bool = False
    daily: int = 100_000
    seconds: float = 10
    fences: dict[str, int] = field(default_factory=dict)

    # ---- the function -----------------------------------------------------------------------------------------------

    def secret(self) -> Secret:
        return Secret(lambda: json.dumps(self.standin.services.keys | {"key": "steam-key"}))

    def pace(self, provider: str = "steam", client: object = None) -> Pace:
        limits: dict[str, Any] = {"daily": self.daily} if provider == "steam" else {"per_second": 4}
        return Pace(cast("Any", client or self.dynamodb), TABLE, provider, **limits)

    def steam(self, client: object = None) -> Steam:
        site = Site(f"{self.standin.url}/steam", seconds=self.seconds)
        return Steam(site, Provider("steam", self.secret(), self.pace("steam", client)))

    def igdb(self, client: object = None) -> Igdb:
        api, tokens = (Site(f"{self.standin.url}/{path}", seconds=self.seconds) for path in ("igdb", "token"))
        return Igdb(api, tokens, Provider("igdb", self.secret(), self.pace("igdb", client)))

    def library(self, client: object = None) -> Library:
        return Library(cast("Any", client or self.dynamodb), TABLE)

    def importer(self, wrap: Callable[[object], object] = lambda it: it) -> Importer:
        """Returns the importer of a new execution environment, with `wrap` around everything it calls."""
        dynamodb, s3 = wrap(self.dynamodb), cast("Any", wrap(self.s3))
        library = self.library(dynamodb)
        igdb = self.igdb(dynamodb)
        igdb.site, igdb.tokens = cast("Any", wrap(igdb.site)), cast("Any", wrap(igdb.tokens))
        enrichment = Enrichment(igdb, library) if self.with_igdb else None
        steam = self.steam(dynamodb)
        steam.site = cast("Any", wrap(steam.site))
        return Importer(steam, library, s3, BUCKET, enrichment, KEEP)

    def run(
        self,
        message: str = "message-1",
        *,
        name: str = STEAM_ID,
        user: str = USER,
        kill: Countdown | None = None,
        confirm: str | None = None,
        progress: Callable[[int, str], None] = lambda *_: None,
    ) -> Values:
        """Imports a library for a message, as a run of its job with the next fence."""
        job_id = f"steam-{stable_hash(user, str(account(name)))}"
        self.fences[job_id] = self.fences.get(job_id, 0) + 1
        importer = self.importer((lambda each: Crashing(each, kill)) if kill else lambda each: each)
        return importer.run(
            FunctionRun(job_id, self.fences[job_id], begun_by=message),
            user,
            account(name),
            confirm_removals=confirm,
            seconds_left=lambda: 300,
            progress=progress,
        )

    # ---- Steam ------------------------------------------------------------------------------------------------------

    def player(self, steam_id: str = STEAM_ID, **settings: Any) -> None:  # noqa: ANN401 - as the stand-in takes them
        self.standin.services.players[steam_id] = Player.of(steam_id, {"personaName": "Gabe", **settings})

    def mood(self, mode: str, operation: str = "*", **settings: Any) -> None:  # noqa: ANN401 - as above
        self.standin.moods.add([{"operation": operation, "mode": mode, **settings}])
        if mode == "slow":
            self.seconds = 0.5

    def games(self, steam_id: str = STEAM_ID) -> list[dict[str, Any]]:
        """Returns the games of a player, to change them."""
        return self.standin.services.players[steam_id].games

    # ---- results ----------------------------------------------------------------------------------------------------

    def rows(self, prefix: str = "", user: str = USER) -> list[dict[str, Any]]:
        """Returns the items of a user whose sort keys begin with `prefix`."""
        pages = self.dynamodb.get_paginator("query").paginate(
            TableName=TABLE,
            KeyConditionExpression="pk = :pk AND begins_with(sk, :prefix)" if prefix else "pk = :pk",
            ExpressionAttributeValues={
                ":pk": {"S": f"USER#{user}"},
                **({":prefix": {"S": prefix}} if prefix else {}),
            },
        )
        read = TypeDeserializer().deserialize
        return [{name: read(each) for name, each in item.items()} for page in pages for item in page["Items"]]

    def live(self, steam_id: str = STEAM_ID, user: str = USER) -> dict[int, int]:
        """Returns the playtimes of the stored games by appid, without tombstones."""
        rows = self.rows(f"GAME#{steam_id}#", user)
        return {int(row["appid"]): int(row["total"]) for row in rows if "removedAt" not in row}

    def owned(self, steam_id: str = STEAM_ID) -> dict[int, int]:
        """Returns the same as Steam has it."""
        return {game["appid"]: game["playtime_forever"] for game in self.games(steam_id)}

    def listed(self, order: Order = Order.NAME, user: str = USER) -> list[dict[str, Any]]:
        """Returns all games of a user's list, by pages of 100."""
        found, token = [], None
        while True:
            page = self.library().games(user, order, 100, token)
            found += page.games
            token = page.next_token
            if token is None:
                return found

    def changes(self, result: Values) -> dict[str, Any]:
        """Returns the `changes.json` of a result."""
        body = self.s3.get_object(Bucket=BUCKET, Key=str(result["changesKey"]))["Body"].read()
        return cast("dict[str, Any]", json.loads(body))

    def wait(self, postponed: Postponed) -> None:
        """Lets the time pass for which an import waits."""
        self.time.now = max(self.time.now, postponed.until + timedelta(milliseconds=1))
