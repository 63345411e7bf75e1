"""What the services do now and then, at a moment that a test or a person chooses.

`POST /_standin/moods` takes a JSON list of objects:

    operation    "ResolveVanityURL", "GetPlayerSummaries", "GetOwnedGames", "GetRecentlyPlayedGames", "external_games",
                 "token", or "*" for all
    mode         throttle (429), forbidden (403), unauthorized (401), unavailable (503), slow, truncated (half of the
                 body, then the connection ends), cut (half of the JSON, and complete by its length), html (a page with
                 status 200), empty, wrong (documented names, other types), reset, redirect
    times        how many requests it hits; default: all, until cleared
    retryAfter   throttle, unavailable: the Retry-After header, in seconds or as a date; default: none
    seconds      slow: how long the response takes
    steamId      only requests for this account
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from threading import Lock
from typing import Any

MODES = (
    *("throttle", "forbidden", "unauthorized", "unavailable", "slow", "truncated", "cut"),
    *("html", "empty", "wrong", "reset", "redirect"),
)


@dataclass
class Mood:
    """One mood; `fired` counts the requests it has hit."""

    operation: str
    mode: str
    times: int | None = None
    retryAfter: str | None = None  # noqa: N815 - the API's spelling
    seconds: float = 1.0
    steamId: str | None = None  # noqa: N815 - the API's spelling
    fired: int = 0

    def __post_init__(self) -> None:
        """Refuse an unknown mode."""
        if self.mode not in MODES:
            raise ValueError(f"mode must be one of {', '.join(MODES)}")

    def hits(self, operation: str, steam_id: str | None) -> bool:
        """Whether it hits a request."""
        return (
            self.operation in {operation, "*"}
            and (self.times is None or self.fired < self.times)
            and self.steamId in {None, steam_id}
        )


class Moods:
    """The moods, in the order they were added: the first one that hits is used."""

    def __init__(self) -> None:
        self._moods: list[Mood] = []
        self._lock = Lock()

    def add(self, documents: Iterable[Mapping[str, Any]]) -> None:
        """Add moods.

        Raises:
            TypeError, ValueError: one has an unknown setting or mode.
        """
        self._moods += [Mood(**document) for document in documents]

    def clear(self) -> None:
        """Remove all moods."""
        self._moods.clear()

    def report(self) -> list[dict[str, Any]]:
        """All moods, with how often each has fired."""
        return [dict(vars(mood)) for mood in self._moods]

    def take(self, operation: str, steam_id: str | None) -> Mood | None:
        """Find the mood that hits this request, and count it; None if there is none."""
        with self._lock:
            for mood in self._moods:
                if mood.hits(operation, steam_id):
                    mood.fired += 1
                    return mood
        return None
