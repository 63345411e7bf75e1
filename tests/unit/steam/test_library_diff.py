"""The diff, by properties: whatever is stored and whatever Steam says."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard import clock
from switchyard.steam.library import (
    Game,
    Kind,
    Match,
    Owned,
    Plan,
    Playtime,
    Stored,
    apply,
    diff,
    is_made,
    removals_token,
)

minutes = st.integers(0, 50)
games = st.builds(
    Game,
    appid=st.integers(1, 40),
    name=st.sampled_from(["", "Portal", "Ü"]),
    playtime=st.builds(Playtime, minutes, minutes, minutes, minutes),
    recent=minutes,
    last_played=minutes,
)
libraries = st.lists(games, unique_by=lambda game: game.appid)
rows = st.builds(
    Stored,
    games.flatmap(lambda game: st.booleans().map(lambda owned: replace(game, is_owned=owned))),
    match=st.sampled_from(Match),
    igdb_id=st.none() | st.integers(1, 9),
    added_at=st.just("2026-01-01T00:00:00.000Z"),
    is_removed=st.booleans(),
).filter(lambda row: row.game.is_owned or not row.is_removed)
stores = st.lists(rows, unique_by=lambda row: row.game.appid).map(lambda found: {row.game.appid: row for row in found})


def live(stored: dict[int, Stored]) -> set[int]:
    return {appid for appid, row in stored.items() if not row.is_removed}


@given(stores, libraries, libraries)
def test_afterwards_the_library_is_what_steam_says(
    stored: dict[int, Stored], owned: list[Game], recent: list[Game]
) -> None:
    found = diff(stored, Owned(owned), recent)
    confirmed = diff(stored, Owned(owned), recent, removals_token(found.held))
    after = apply(stored, confirmed.changes)
    assert {appid for appid in live(after) if after[appid].game.is_owned} == {game.appid for game in owned}
    for game in owned:
        assert after[game.appid].game.playtime == game.playtime
    assert live(after) >= {game.appid for game in recent if game.appid not in stored}
    again = diff(after, Owned(owned), recent)
    assert again.changes == []
    assert again.held == []
    assert confirmed.counts["games"] == len(live(after))


@given(stored=stores, owned=libraries, recent=libraries, complete=st.booleans())
def test_counts_add_up(*, stored: dict[int, Stored], owned: list[Game], recent: list[Game], complete: bool) -> None:
    found = diff(stored, Owned(owned, is_complete=complete), recent)
    counts = found.counts
    known = live(stored) | {game.appid for game in owned}
    shared = {game.appid for game in recent if game.appid not in stored or not stored[game.appid].game.is_owned}
    assert sum(counts[name] for name in ("added", "updated", "removed", "unchanged")) == len(known | shared)
    assert counts["games"] == len(live(apply(stored, found.changes)))


@given(stores, libraries, libraries)
def test_an_incomplete_answer_removes_nothing(stored: dict[int, Stored], owned: list[Game], recent: list[Game]) -> None:
    found = diff(stored, Owned(owned, is_complete=False), recent)
    assert not found.held
    assert live(apply(stored, found.changes)) >= live(stored)


@given(stores, libraries)
def test_no_large_part_of_a_library_is_removed_unasked(stored: dict[int, Stored], owned: list[Game]) -> None:
    found = diff(stored, Owned(owned), [], confirmed="another token")
    assert found.counts["removed"] <= max(10, 0.2 * len(live(stored)))
    assert not (found.held and found.counts["removed"])


@given(stores, libraries, libraries, st.integers(0, 60))
def test_a_plan_that_was_half_made_is_completed(
    stored: dict[int, Stored], owned: list[Game], recent: list[Game], made: int
) -> None:
    changes = diff(stored, Owned(owned), recent).changes
    half = apply(stored, changes[:made])
    left = [change for change in changes if not is_made(half, change)]
    assert left == changes[made:]
    assert apply(half, left) == apply(stored, changes)


@given(stores, libraries, libraries)
def test_a_plan_survives_its_document(stored: dict[int, Stored], owned: list[Game], recent: list[Game]) -> None:
    found = diff(stored, Owned(owned), recent)
    plan = Plan("import", "id", "Gabe", clock.EPOCH, found.counts, found.changes, found.held)
    read = Plan.from_json(plan.to_json())
    key = lambda change: (change.kind, change.row.game.appid)  # noqa: E731 - two uses, one line each
    assert sorted(read.changes, key=key) == sorted(plan.changes, key=key)
    assert replace(read, changes=[]) == replace(plan, changes=[])


@pytest.mark.parametrize(("gone", "of", "held"), [(10, 20, 0), (11, 56, 0), (11, 54, 11), (12, 60, 0), (13, 60, 13)])
def test_where_removals_begin_to_be_suspicious(gone: int, of: int, held: int) -> None:
    stored = {appid: Stored(Game(appid, "x")) for appid in range(of)}
    found = diff(stored, Owned([Game(appid, "x") for appid in range(gone, of)]), [])
    assert len(found.held) == held
    assert found.counts["removed"] == gone - held


def test_a_game_that_gets_a_name_is_matched_after_all() -> None:
    stored = apply({}, diff({}, Owned([Game(1)]), []).changes)
    assert stored[1].match is Match.IGNORED
    (change,) = diff(stored, Owned([Game(1, "Named")]), []).changes
    assert (change.kind, change.row.match) == (Kind.UPDATED, Match.PENDING)
    assert diff(apply(stored, [change]), Owned([Game(1)]), []).changes == [], "a name is never lost"


def test_a_tombstone_keeps_its_match_and_comes_back_with_it() -> None:
    row = Stored(Game(1, "Portal"), Match.MATCHED, igdb_id=7, added_at="then")
    removed = apply({1: row}, diff({1: row}, Owned([]), []).changes)
    back = apply(removed, diff(removed, Owned([Game(1, "Portal")]), []).changes)
    assert back == {1: row}
