"""A player's library, and what an import changes in it. Pure.

    what is stored, what Steam says ──diff──▶ Diff: added, updated, removed, held ──apply──▶ what is stored then

Diffing again after only some changes were made gives the others, so an import that was cut off can be repeated.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Self

from switchyard import clock
from switchyard.names import stable_hash

MAX_NAME = 256
HELD_ABOVE = 10
"""More removals than this are held if they are also more than `HELD_SHARE` of the library."""
HELD_SHARE = 0.2


class Match(StrEnum):
    """Whether IGDB knows a game. IGNORED: Steam gives it no name, as for tests and withdrawn tools; never asked for."""

    PENDING = "PENDING"
    MATCHED = "MATCHED"
    UNMATCHED = "UNMATCHED"
    IGNORED = "IGNORED"


@dataclass(frozen=True, slots=True)
class Playtime:
    """Minutes played: in total, and by platform. Some have no platform, so the parts may be less."""

    total: int = 0
    windows: int = 0
    mac: int = 0
    linux: int = 0


@dataclass(frozen=True, slots=True)
class Game:
    """A game as Steam tells it.

    Attributes:
        recent: Minutes played in the last two weeks.
        last_played: Epoch seconds; 0 if never.
        is_owned: False for a game that was only played, for example one that a family shares.
    """

    appid: int
    name: str = ""
    playtime: Playtime = Playtime()
    recent: int = 0
    last_played: int = 0
    is_owned: bool = True


@dataclass(frozen=True, slots=True)
class Owned:
    """The games that Steam says an account owns. One that isn't `is_complete` says nothing about absent games."""

    games: list[Game]
    is_complete: bool = True


@dataclass(frozen=True, slots=True)
class Stored:
    """A game as the table has it. A removed one stays, as a tombstone.

    Attributes:
        igdb_id: IGDB's id of a matched game.
        matched_at: When IGDB was asked, ISO 8601; empty if it wasn't.
        added_at: When an import first saw the game, ISO 8601; empty until it is written.
    """

    game: Game
    match: Match = Match.PENDING
    igdb_id: int | None = None
    matched_at: str = ""
    added_at: str = ""
    is_removed: bool = False


class Kind(StrEnum):
    """What happens to a game. A tombstone whose game is back is ADDED."""

    ADDED = "added"
    UPDATED = "updated"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Change:
    """A change of one game: what is stored afterwards, and the game as it was stored before, if it was."""

    kind: Kind
    row: Stored
    before: Game | None = None


@dataclass(frozen=True, slots=True)
class Diff:
    """What an import changes. `held` are removals that a person must confirm; `games` counts the library afterwards."""

    changes: list[Change]
    held: list[Game]
    unchanged: int
    games: int

    @property
    def counts(self) -> dict[str, int]:
        """How many games there are, and how many were added, updated, removed or unchanged; held ones are unchanged."""
        kinds = [change.kind for change in self.changes]
        return {"games": self.games, **{kind.value: kinds.count(kind) for kind in Kind}, "unchanged": self.unchanged}


def diff(stored: Mapping[int, Stored], owned: Owned, recent: Iterable[Game], confirmed: str | None = None) -> Diff:
    """Compares what Steam says with what is stored.

    `recent` are the games played lately. Those that are not owned join the library; they never leave it, because they
    are only told of for two weeks. `confirmed` is the token of held removals that a person wants to be made.
    """
    changes, unchanged = [], 0
    current = _current(stored, owned, recent)
    for game in current.values():
        change = _change(stored.get(game.appid), game)
        if change is None:
            unchanged += 1
        else:
            changes.append(change)
    live = {appid: each.game for appid, each in stored.items() if not each.is_removed}
    gone = [game for appid, game in live.items() if game.is_owned and appid not in current and owned.is_complete]
    held = gone if _is_suspicious(len(gone), len(live)) and confirmed != removals_token(gone) else []
    removed = [] if held else gone
    changes += [Change(Kind.REMOVED, replace(stored[game.appid], is_removed=True), game) for game in removed]
    return Diff(
        changes,
        held,
        unchanged + len(live.keys() - current.keys()) - len(removed),
        len(live.keys() | current.keys()) - len(removed),
    )


def apply(stored: Mapping[int, Stored], changes: Iterable[Change]) -> dict[int, Stored]:
    """What is stored after these changes."""
    return {**stored, **{change.row.game.appid: change.row for change in changes}}


def is_made(stored: Mapping[int, Stored], change: Change) -> bool:
    """Whether a change was made already."""
    found = stored.get(change.row.game.appid)
    return found is not None and (found.game, found.is_removed) == (change.row.game, change.row.is_removed)


def removals_token(games: Iterable[Game]) -> str:
    """Names these removals, so that a confirmation is of exactly what was shown."""
    return stable_hash(*(str(appid) for appid in sorted(game.appid for game in games)), length=16)


def _current(stored: Mapping[int, Stored], owned: Owned, recent: Iterable[Game]) -> dict[int, Game]:
    current = {game.appid: game for game in owned.games}
    for played in recent:
        known, before = current.get(played.appid), stored.get(played.appid)
        if known is not None:
            current[played.appid] = replace(known, recent=max(known.recent, played.recent))
        elif before is None or not before.game.is_owned:
            current[played.appid] = replace(played, is_owned=False)
    return current


def _change(before: Stored | None, game: Game) -> Change | None:
    if before is None:
        return Change(Kind.ADDED, Stored(game, Match.PENDING if game.name else Match.IGNORED))
    game = replace(game, name=game.name or before.game.name)
    if before.game == game and not before.is_removed:
        return None
    match = Match.PENDING if before.match is Match.IGNORED and game.name else before.match
    row = replace(before, game=game, match=match, is_removed=False)
    return Change(Kind.ADDED if before.is_removed else Kind.UPDATED, row, before.game)


def _is_suspicious(gone: int, live: int) -> bool:
    return gone > HELD_ABOVE and gone > HELD_SHARE * live


# ---- as a document --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """An import's changes, as they are written to S3 before any of them is made.

    `import_id` names the message that asked for the import: a repeated delivery finishes the plan.
    """

    import_id: str
    steam_id: str
    persona_name: str
    imported_at: datetime
    counts: Mapping[str, int]
    changes: list[Change] = field(default_factory=list)
    held: list[Game] = field(default_factory=list)

    def to_json(self) -> str:
        """Encodes the plan as `changes.json`."""
        document = {
            "version": 1,
            "importId": self.import_id,
            "steamId": self.steam_id,
            "personaName": self.persona_name,
            "importedAt": clock.iso(self.imported_at),
            "counts": dict(self.counts),
            **{kind.value: [_told(change) for change in self.changes if change.kind is kind] for kind in Kind},
            **(
                {"heldRemovals": [_game(game) for game in self.held], "removalsToken": removals_token(self.held)}
                if self.held
                else {}
            ),
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Decodes what `to_json` encoded.

        Raises:
            LookupError, TypeError, ValueError: it is anything else.
        """
        found = json.loads(text)
        return cls(
            import_id=found["importId"],
            steam_id=found["steamId"],
            persona_name=found["personaName"],
            imported_at=clock.parse(found["importedAt"]),
            counts=found["counts"],
            changes=[_read(kind, each) for kind in Kind for each in found[kind.value]],
            held=[_read_game(each) for each in found.get("heldRemovals", ())],
        )


def _told(change: Change) -> dict[str, Any]:
    row = change.row
    carried = {"match": row.match.value, "igdbId": row.igdb_id, "matchedAt": row.matched_at, "addedAt": row.added_at}
    return {
        **_game(row.game),
        **({"before": _game(change.before)} if change.before else {}),
        **{name: value for name, value in carried.items() if value},
    }


def _read(kind: Kind, found: Mapping[str, Any]) -> Change:
    row = Stored(
        game=_read_game(found),
        match=Match(found["match"]),
        igdb_id=found.get("igdbId"),
        matched_at=found.get("matchedAt", ""),
        added_at=found.get("addedAt", ""),
        is_removed=kind is Kind.REMOVED,
    )
    return Change(kind, row, _read_game(found["before"]) if "before" in found else None)


def _game(game: Game) -> dict[str, Any]:
    return {
        "appid": game.appid,
        "name": game.name,
        "playtimeMinutes": asdict(game.playtime),
        "recentMinutes": game.recent,
        "lastPlayed": game.last_played,
        "owned": game.is_owned,
    }


def _read_game(found: Mapping[str, Any]) -> Game:
    return Game(
        appid=found["appid"],
        name=found["name"],
        playtime=Playtime(**found["playtimeMinutes"]),
        recent=found["recentMinutes"],
        last_played=found["lastPlayed"],
        is_owned=found["owned"],
    )
