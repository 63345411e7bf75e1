"""IGDB's API, as far as games are matched by it: which of its games a Steam app is.

Shapes: IGDB API documentation, "External Game" and "Authentication" (Twitch's client credentials).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import urlencode

from switchyard.outside.sites import Answer, Site
from switchyard.steam.providers import Malformed, Provider, decoded, mapping, number, objects

BATCH = 500
"""Rows in one response: IGDB's limit."""
_STEAM = 1
"""`external_game_source` of Steam."""
_MAX_ID = 2**63 - 1
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(slots=True, eq=False)
class Igdb:
    """The API with one client's credentials. The token is kept in memory alone: it is a secret too."""

    site: Site
    tokens: Site
    provider: Provider
    _token: str = field(default="", init=False, repr=False)

    def games(self, appids: Sequence[int]) -> dict[int, int | None]:
        """IGDB's ids of up to `BATCH` Steam apps; None for those it doesn't know. One request, or a few.

        Raises:
            Paused: IGDB is not called at the moment.
            ProviderFailed: it failed.
            Unavailable, Contended: the pace or the secret can't be read.
        """
        uids = ",".join(f'"{appid}"' for appid in appids)
        query = f"fields uid,game; where external_game_source = {_STEAM} & uid = ({uids}); sort id asc; limit {BATCH};"
        grant = self.provider.pace.acquire()
        rows = self.provider.ask(grant, lambda: self._send(query), lambda answer: objects(answer, "the response"))
        if len(rows) >= BATCH and len(appids) > 1:  # an app may have several rows, so some may have been cut off
            middle = len(appids) // 2
            return self.games(appids[:middle]) | self.games(appids[middle:])
        known: dict[int, int | None] = dict.fromkeys(appids)
        for row in rows:
            uid, game = row.get("uid"), row.get("game")
            if isinstance(uid, str) and uid.isascii() and uid.isdigit() and game is not None and int(uid) in known:
                found = number(row, "game", _MAX_ID)
                known[int(uid)] = min(known[int(uid)] or found, found)
        return known

    def _send(self, query: str) -> Answer:
        """Sends a query; once more with a new token if the one we had has expired."""
        had_token = bool(self._token)
        failure = None if had_token else self._renew()
        if failure is not None:
            return failure
        (client_id,) = self.provider.secret.read("clientId")
        headers = {"Client-ID": client_id, "Authorization": f"Bearer {self._token}", "Content-Type": "text/plain"}
        answer = self.site.post("/external_games", query, headers)
        if answer.status != HTTPStatus.UNAUTHORIZED:
            return answer
        self._token = ""
        if not had_token:
            return answer
        self.provider.pace.acquire()  # another request, another turn
        return self._send(query)

    def _renew(self) -> Answer | None:
        """Gets a token. Returns the response that refuses one."""
        client_id, secret = self.provider.secret.read("clientId", "clientSecret")
        form = {"client_id": client_id, "client_secret": secret, "grant_type": "client_credentials"}
        answer = self.tokens.post("", urlencode(form), _FORM)
        if answer.status == HTTPStatus.BAD_REQUEST:  # Twitch's answer to an unknown client
            return replace(answer, status=HTTPStatus.UNAUTHORIZED)
        if answer.status != HTTPStatus.OK:
            return answer
        token = mapping(decoded(answer.body), "the token's response").get("access_token")
        if not isinstance(token, str) or not token.isascii() or not token.isalnum():
            raise Malformed("access_token is not a token")
        self._token = token
        return None
