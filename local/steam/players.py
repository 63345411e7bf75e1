"""The stand-in's accounts and their games, in the shapes of Steam's Web API."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_TITLES = ("Portal", "Hollow", "Star", "Iron", "Silent", "Deep", "Last", "Red", "Ember", "Frost")
_KINDS = ("Quest", "Racer", "Tactics", "Garden", "Harbor", "Odyssey", "Arena", "Circuit", "Valley", "Signal")
_PLAYED_OF_TEN = 6
_EPOCH = 1_700_000_000


@dataclass(frozen=True)
class Player:
    """An account.

    Attributes:
        games: What it owns, as GetOwnedGames tells it. One with `"free": true` is told only on request.
        shared: What it plays and doesn't own, as GetRecentlyPlayedGames tells it.
        private: Game details are hidden: responses are empty.
        public: False hides the rest of the profile too.
    """

    steam_id: str
    persona_name: str = ""
    vanity: str = ""
    private: bool = False
    public: bool = True
    games: list[dict[str, Any]] = field(default_factory=list)
    shared: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of(cls, steam_id: str, document: Mapping[str, Any]) -> "Player":
        """Read the body of `PUT /_standin/players/<steamId>`. `games` may be a number of games to make up.

        Raises:
            TypeError: it has an unknown setting.
        """
        games = document.get("games", [])
        renamed = {"personaName": "persona_name"}
        others = {renamed.get(name, name): value for name, value in document.items() if name != "games"}
        return cls(steam_id, games=made_up(games) if isinstance(games, int) else games, **others)

    def owned(self, *, names: bool, free: bool) -> dict[str, Any]:
        """Return what GetOwnedGames responds; empty if game details are private."""
        if self.private:
            return {}
        told = [game for game in self.games if free or not game.get("free")]
        hidden = {"free"} if names else {"free", "name"}
        games = [{name: value for name, value in game.items() if name not in hidden} for game in told]
        return {"game_count": len(games), **({"games": games} if games else {})}

    def recent(self) -> dict[str, Any]:
        """Return what GetRecentlyPlayedGames responds; empty if game details are private."""
        if self.private:
            return {}
        played = [game for game in (*self.games, *self.shared) if game.get("playtime_2weeks")]
        games = [{name: game[name] for name in game if name not in {"free", "rtime_last_played"}} for game in played]
        return {"total_count": len(games), **({"games": games} if games else {})}

    def summary(self) -> dict[str, Any]:
        """Return the account's entry in what GetPlayerSummaries responds."""
        return {
            "steamid": self.steam_id,
            "communityvisibilitystate": 3 if self.public else 1,
            "profilestate": 1,
            "personaname": self.persona_name,
            "profileurl": f"https://steamcommunity.com/{f'id/{self.vanity}' if self.vanity else self.steam_id}/",
            "personastate": 0,
        }


def made_up(count: int) -> list[dict[str, Any]]:
    """Make up games, the same for the same count. Their appids are 10, 20, 30 and so on."""
    return [_made_up(number) for number in range(1, count + 1)]


def _made_up(number: int) -> dict[str, Any]:
    title = f"{_TITLES[number % 10]} {_KINDS[number // 10 % 10]} {number}"
    minutes = number * 7919 % 20_000 if number % 10 < _PLAYED_OF_TEN else 0
    windows = minutes * 3 // 4
    return {
        "appid": number * 10,
        "name": title,
        "playtime_forever": minutes,
        "playtime_windows_forever": windows,
        "playtime_mac_forever": 0,
        "playtime_linux_forever": minutes - windows,
        "rtime_last_played": _EPOCH + number * 3600 if minutes else 0,
        "img_icon_url": f"{number:040x}",
    }
