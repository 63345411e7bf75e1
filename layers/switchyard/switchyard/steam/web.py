"""Steam's Web API, as far as an import needs it: four calls, and what each response may be.

The key travels in the query string. `sites` keeps it out of errors, logs and traces; nothing here repeats a URL.
Shapes: Steamworks documentation, "ISteamUser" and "IPlayerService".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from switchyard.errors import GameDetailsPrivate, InvalidSteamId, ProfileNotFound
from switchyard.outside.sites import Site
from switchyard.steam.accounts import steam_id
from switchyard.steam.library import MAX_NAME, Game, Owned, Playtime
from switchyard.steam.pace import Grant
from switchyard.steam.providers import Malformed, Provider, mapping, number, objects, text

SETTINGS_PAGE = "https://steamcommunity.com/my/edit/settings"
"""Where players change who sees their games."""
CALLS = 4
"""The most calls that one import makes."""
_PUBLIC = 3
_MAX_APPID = _MAX_EPOCH = 2**32 - 1
_MAX_MINUTES = _MAX_STATE = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Profile:
    """A player's profile. If `is_public` is False, only friends see all of it."""

    persona_name: str
    is_public: bool


@dataclass(slots=True, eq=False)
class Steam:
    """The Web API with one key."""

    site: Site
    provider: Provider

    def begin(self) -> SteamCalls:
        """Takes the leave for all calls of one import.

        Raises:
            Paused: Steam is not called at the moment.
            Unavailable, Contended: the pace or the key can't be read.
        """
        self.provider.secret.read("key")  # first, so that a missing key takes nothing of the day's budget
        return SteamCalls(self.site, self.provider, self.provider.pace.acquire(CALLS))


@dataclass(slots=True, eq=False)
class SteamCalls:
    """The calls of one import, each of which may raise Paused and ProviderFailed (`Provider.ask`)."""

    site: Site
    provider: Provider
    grant: Grant

    def resolve(self, vanity: str) -> str:
        """The id of the account with a vanity name.

        Raises:
            ProfileNotFound: there is none.
        """
        found = self._call("/ISteamUser/ResolveVanityURL/v1/", {"vanityurl": vanity}, _resolved)
        if found is None:
            raise ProfileNotFound(f"Steam knows no profile with the name {vanity!r}")
        return found

    def profile(self, account_id: str) -> Profile:
        """The profile of an account.

        Raises:
            ProfileNotFound: there is none.
        """
        found = self._call(
            "/ISteamUser/GetPlayerSummaries/v2/",
            {"steamids": account_id},
            lambda response: _profile(response, account_id),
        )
        if found is None:
            raise ProfileNotFound(f"Steam knows no profile with the id {account_id}")
        return found

    def owned(self, account_id: str) -> Owned:
        """The games of an account, free ones included if they were played.

        Raises:
            GameDetailsPrivate: the player hides them.
        """
        asked = {"steamid": account_id, "include_appinfo": "true", "include_played_free_games": "true"}
        found = self._call("/IPlayerService/GetOwnedGames/v1/", asked, _owned)
        if found is None:
            raise GameDetailsPrivate(
                f"the player's game details are private; the player can make them public at {SETTINGS_PAGE}"
            )
        return found

    def recent(self, account_id: str) -> list[Game]:
        """The games played in the last two weeks, shared ones included. Empty if the player hides them."""
        return self._call("/IPlayerService/GetRecentlyPlayedGames/v1/", {"steamid": account_id}, _games)

    def _call[T](self, path: str, asked: Mapping[str, str], read: Callable[[Mapping[str, Any]], T]) -> T:
        (key,) = self.provider.secret.read("key")
        found = self.provider.ask(
            self.grant,
            lambda: self.site.get(path, {"key": key, **asked}),
            lambda answer: read(mapping(mapping(answer, "the response").get("response"), "response")),
        )
        self.grant = Grant()  # the first success ends a probe
        return found


def _resolved(response: Mapping[str, Any]) -> str | None:
    """None if there is no such name."""
    match response:
        case {"success": 1, "steamid": found}:
            return _id(found)
        case {"success": 42}:
            return None
    raise Malformed("success is neither 1 nor 42")


def _profile(response: Mapping[str, Any], account_id: str) -> Profile | None:
    """None if there is no such account."""
    players = objects(response.get("players"), "players")
    for player in players:
        if player.get("steamid") == account_id:
            visibility = number(player, "communityvisibilitystate", _MAX_STATE)
            return Profile(text(player, "personaname", MAX_NAME), visibility == _PUBLIC)
    if players:
        raise Malformed("players are others than asked for")
    return None


def _owned(response: Mapping[str, Any]) -> Owned | None:
    """None if the game details are private: then the response is empty."""
    if not response:
        return None
    games = _games(response)
    if "game_count" not in response:
        return Owned(games, is_complete=False)
    return Owned(games, is_complete=number(response, "game_count", _MAX_STATE) == len(games))


def _games(response: Mapping[str, Any]) -> list[Game]:
    """The games of a response, each once."""
    games = (_game(each) for each in objects(response.get("games", []), "games"))
    return list({game.appid: game for game in games}.values())


def _game(found: Mapping[str, Any]) -> Game:
    def minutes(name: str) -> int:
        return number(found, name, _MAX_MINUTES, 0)

    return Game(
        appid=number(found, "appid", _MAX_APPID),
        name=text(found, "name", MAX_NAME),
        playtime=Playtime(
            minutes("playtime_forever"),
            minutes("playtime_windows_forever"),
            minutes("playtime_mac_forever"),
            minutes("playtime_linux_forever"),
        ),
        recent=minutes("playtime_2weeks"),
        last_played=number(found, "rtime_last_played", _MAX_EPOCH, 0),
    )


def _id(value: object) -> str:
    try:
        return steam_id(value)
    except InvalidSteamId:
        raise Malformed("steamid is not the id of an account") from None
