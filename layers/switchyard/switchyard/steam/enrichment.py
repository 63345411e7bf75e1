"""Matches games with IGDB: those that were never asked for, and now and then those that IGDB didn't know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import batched

from switchyard import clock
from switchyard.errors import RetryableError
from switchyard.observability import logger
from switchyard.steam.igdb import BATCH, Igdb
from switchyard.steam.library import Match, Stored
from switchyard.steam.table import Lease, Library

ASKED_AGAIN = timedelta(days=30)
"""After this time IGDB is asked again for a game that it didn't know."""


@dataclass(slots=True, eq=False)
class Enrichment:
    """Matches the games of an account. What it doesn't reach stays PENDING, for the next import."""

    igdb: Igdb
    library: Library

    def match(self, lease: Lease, stored: dict[int, Stored], has_time: Callable[[], bool]) -> None:
        """Matches what is due, and keeps `stored` up to date. A failure of IGDB ends it, and never the import.

        Raises:
            Contended, Unavailable: the table can't be written, or the lease was taken over.
        """
        for appids in batched(list(due(stored, clock.now())), BATCH, strict=False):
            if not has_time():
                return
            try:
                found = self.igdb.games(appids)
            except RetryableError as error:
                logger.warning("matching is left for later", steam_id=lease.steam_id, error_type=error.code)
                return
            self.library.match(lease, found)
            for appid, igdb_id in found.items():
                match = Match.UNMATCHED if igdb_id is None else Match.MATCHED
                stored[appid] = replace(stored[appid], match=match)


def matches(stored: Mapping[int, Stored]) -> dict[str, int]:
    """How many games of a library are matched, known to be unknown, or still to be asked for. Pure."""
    states = [each.match for each in stored.values() if not each.is_removed]
    return {match.value.lower(): states.count(match) for match in (Match.MATCHED, Match.UNMATCHED, Match.PENDING)}


def due(stored: Mapping[int, Stored], now: datetime) -> Iterator[int]:
    """The games to ask IGDB for, by appid. Pure."""
    long_ago = clock.iso(now - ASKED_AGAIN)
    for appid, each in sorted(stored.items()):
        if not each.is_removed and (
            each.match is Match.PENDING or (each.match is Match.UNMATCHED and each.matched_at < long_ago)
        ):
            yield appid
