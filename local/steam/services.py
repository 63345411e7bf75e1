"""What the services respond, without HTTP: Steam's Web API, IGDB and Twitch's tokens, with their limits.

Shapes: Steamworks documentation ("ISteamUser", "IPlayerService"), IGDB API documentation, Twitch's "OAuth Client
Credentials Flow". Of the apps that IGDB knows, those whose appid is divisible by 7 are missing, and those divisible by
11 have two rows.
"""

import json
import re
import secrets
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from threading import Lock
from typing import Any

from local.steam.players import Player

_MAX_SUMMARIES = 100
_MAX_ROWS = 500
_QUERY = re.compile(
    r"fields (?P<fields>[a-z,. ]+); where external_game_source = 1 & uid = \((?P<uids>[^)]*)\);"
    r"(?: sort id asc;)?(?: limit (?P<limit>\d+);)?"
)
_FORBIDDEN = (
    "<html><head><title>Forbidden</title></head><body><h1>Forbidden</h1>Access is denied. Retrying will not help. "
    "Please verify your <pre>key=</pre> parameter.</body></html>"
)


@dataclass(frozen=True)
class Reply:
    """A response: its status, and a JSON value or a page of HTML."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> tuple[str, bytes]:
        """Its type and bytes."""
        if isinstance(self.body, str):
            return "text/html", self.body.encode()
        return "application/json", json.dumps(self.body).encode()


class Services:
    """The services' state. `limits` are those of Steam's key and of IGDB's client."""

    def __init__(self) -> None:
        self.players: dict[str, Player] = {}
        self.keys = {"steam": "steam-key", "clientId": "client", "clientSecret": "secret"}
        self.limits: dict[str, float] = {"callsPerDay": 100_000, "callsPerSecond": 4}
        self._tokens: set[str] = set()
        self._today = 0
        self._sent: deque[float] = deque()
        self._lock = Lock()

    # ---- Steam ------------------------------------------------------------------------------------------------------

    def steam(self, operation: str, query: Mapping[str, str]) -> Reply:
        """Respond to a call of Steam's Web API."""
        return self._refused(query) or self._called(operation, query)

    def _refused(self, query: Mapping[str, str]) -> Reply | None:
        if "key" not in query:
            return Reply(HTTPStatus.UNAUTHORIZED, "<html><body><h1>Unauthorized</h1></body></html>")
        if query["key"] != self.keys["steam"]:
            return Reply(HTTPStatus.FORBIDDEN, _FORBIDDEN)
        with self._lock:
            self._today += 1
            if self._today > self.limits["callsPerDay"]:
                return Reply(HTTPStatus.TOO_MANY_REQUESTS, "<html><body><h1>Too Many Requests</h1></body></html>")
        return None

    def _called(self, operation: str, query: Mapping[str, str]) -> Reply:
        match operation:
            case "ResolveVanityURL":
                return self._resolve(query.get("vanityurl", ""))
            case "GetPlayerSummaries":
                return self._summaries(query.get("steamids", "").split(","))
            case "GetOwnedGames" | "GetRecentlyPlayedGames":
                return self._games(operation, query)
        return Reply(HTTPStatus.NOT_FOUND, "<html><body><h1>Not Found</h1></body></html>")

    def _resolve(self, name: str) -> Reply:
        for player in self.players.values():
            if player.vanity and player.vanity.lower() == name.lower():
                return Reply(HTTPStatus.OK, {"response": {"steamid": player.steam_id, "success": 1}})
        return Reply(HTTPStatus.OK, {"response": {"success": 42, "message": "No match"}})

    def _summaries(self, ids: list[str]) -> Reply:
        if len(ids) > _MAX_SUMMARIES:
            return Reply(HTTPStatus.BAD_REQUEST, "<html><body><h1>Bad Request</h1></body></html>")
        found = [self.players[each].summary() for each in ids if each in self.players]
        return Reply(HTTPStatus.OK, {"response": {"players": found}})

    def _games(self, operation: str, query: Mapping[str, str]) -> Reply:
        player = self.players.get(query.get("steamid", ""))
        if player is None:
            return Reply(HTTPStatus.OK, {"response": {}})
        if operation == "GetRecentlyPlayedGames":
            return Reply(HTTPStatus.OK, {"response": player.recent()})
        names, free = (query.get(name) in {"1", "true"} for name in ("include_appinfo", "include_played_free_games"))
        return Reply(HTTPStatus.OK, {"response": player.owned(names=names, free=free)})

    # ---- IGDB -------------------------------------------------------------------------------------------------------

    def token(self, form: Mapping[str, str]) -> Reply:
        """Respond to a request for a token."""
        if form.get("client_id") != self.keys["clientId"] or form.get("grant_type") != "client_credentials":
            return Reply(HTTPStatus.BAD_REQUEST, {"status": 400, "message": "invalid client"})
        if form.get("client_secret") != self.keys["clientSecret"]:
            return Reply(HTTPStatus.FORBIDDEN, {"status": 403, "message": "invalid client secret"})
        token = secrets.token_hex(15)
        self._tokens.add(token)
        return Reply(HTTPStatus.OK, {"access_token": token, "expires_in": 5_011_271, "token_type": "bearer"})

    def expire_tokens(self) -> None:
        """Forget all tokens, as IGDB does after about 60 days."""
        self._tokens.clear()

    def external_games(self, headers: Mapping[str, str], query: str) -> Reply:
        """Respond to a query for external games."""
        kind, _, token = headers.get("Authorization", "").partition(" ")
        if headers.get("Client-ID") != self.keys["clientId"] or kind != "Bearer" or token not in self._tokens:
            return Reply(HTTPStatus.UNAUTHORIZED, {"message": "Authorization Failure. Have you tried:"})
        if self._is_too_fast():
            return Reply(HTTPStatus.TOO_MANY_REQUESTS, {"message": "Too Many Requests"})
        found = _QUERY.fullmatch(query.strip())
        limit = int(found["limit"] or 10) if found else 0
        if found is None or limit > _MAX_ROWS:
            return Reply(HTTPStatus.BAD_REQUEST, [{"title": "Syntax Error", "status": 400}])
        rows = [row for uid in re.findall(r'"(\d+)"', found["uids"]) for row in _rows(int(uid))]
        return Reply(HTTPStatus.OK, sorted(rows, key=lambda row: row["id"])[:limit])

    def _is_too_fast(self) -> bool:
        with self._lock:
            now = time.monotonic()
            while self._sent and now - self._sent[0] >= 1:
                self._sent.popleft()
            if len(self._sent) >= self.limits["callsPerSecond"]:
                return True
            self._sent.append(now)
            return False


def _rows(appid: int) -> list[dict[str, Any]]:
    if appid % 7 == 0:
        return []
    row = {"id": appid * 2, "uid": str(appid), "game": 100_000 + appid}
    return [row, {**row, "id": appid * 2 + 1, "game": 900_000 + appid}] if appid % 11 == 0 else [row]
