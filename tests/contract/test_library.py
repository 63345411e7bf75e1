"""LibraryTable on moto: what an overtaken import can't write, what a repeated one doesn't, and what lists leave out."""

import base64
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard import clock
from switchyard.errors import Contended
from switchyard.function_jobs.jobs import Postponed
from switchyard.steam.library import Change, Game, Kind, Match, Plan, Playtime, Stored
from switchyard.steam.table import BadToken, Lease, Library, Order
from tests.conftest import Aws
from tests.unit.steam.world import KEEP, STEAM_ID, TABLE, USER, create_library_table

PORTAL = Game(400, "Portal", Playtime(90, 60, 0, 30), 5, 1_700_000_000)
NOTHING = Plan("import-1", STEAM_ID, "Gabe", clock.EPOCH, {"games": 0})


@pytest.fixture
def library(aws: Aws) -> Library:
    create_library_table(aws.dynamodb)
    return Library(aws.dynamodb, TABLE)


def leased(library: Library, holder: str = "job-1", user: str = USER) -> Lease:
    return library.lease(user, STEAM_ID, holder, 300)


def add(library: Library, lease: Lease, *games: Game) -> None:
    changes = [Change(Kind.ADDED, Stored(game)) for game in games]
    library.apply(lease, changes, clock.now(), lambda _: None)


def test_a_game_is_stored_as_it_is(library: Library) -> None:
    lease = leased(library)
    add(library, lease, PORTAL)
    (stored,) = library.stored(lease).values()
    assert stored == Stored(PORTAL, Match.PENDING, added_at=stored.added_at)


def test_whoever_was_overtaken_writes_nothing(library: Library) -> None:
    old, new = leased(library), leased(library)
    plan = replace(NOTHING, changes=[Change(Kind.ADDED, Stored(PORTAL))])
    with pytest.raises(Contended):
        add(library, old, PORTAL)
    with pytest.raises(Contended):
        library.match(old, {400: 7})
    with pytest.raises(Contended):
        library.register(old, "key")
    for end in (NOTHING, plan):
        with pytest.raises(Contended):
            library.finish(old, end, {}, keep=KEEP, release=True)
    library.release(old)
    assert library.stored(new) == {}
    with pytest.raises(Postponed):
        leased(library, "job-2")


def test_a_lease_is_over_when_its_time_is(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    first = leased(library)
    later = clock.now() + timedelta(seconds=301)
    monkeypatch.setattr(clock, "now", lambda: later)
    assert leased(library, "job-2").fence == first.fence + 1


def test_an_import_that_ended_is_known_by_its_message(library: Library) -> None:
    lease = leased(library)
    library.register(lease, "results/job/changes-1.json")
    assert leased(library).plan_key == "results/job/changes-1.json"
    library.finish(leased(library), NOTHING, {"games": 0}, keep=KEEP, release=True)
    found = leased(library, "job-2")
    assert (found.plan_key, found.last_import, found.last_result) == (None, "import-1", {"games": 0})


def test_a_matched_game_shows_it(library: Library) -> None:
    lease = leased(library)
    add(library, lease, PORTAL, replace(PORTAL, appid=401))
    library.match(lease, {400: 7, 401: None})
    games = {game["appid"]: game for game in library.games(USER, Order.NAME, 10).games}
    assert (games[400]["match"], games[400]["igdbId"]) == ("MATCHED", 7)
    assert games[401]["match"] == "UNMATCHED"
    assert games[400]["lastPlayedAt"] == "2023-11-14T22:13:20.000Z"


def test_a_list_has_no_tombstones_and_no_other_users_games(library: Library) -> None:
    lease, other = leased(library), leased(library, user="user-2")
    add(library, lease, PORTAL, replace(PORTAL, appid=401))
    add(library, other, replace(PORTAL, appid=402))
    removed = Change(Kind.REMOVED, replace(library.stored(lease)[401], is_removed=True), PORTAL)
    library.apply(lease, [removed], clock.now(), lambda _: None)
    for order in Order:
        assert [game["appid"] for game in library.games(USER, order, 10).games] == [400]
    assert library.stored(lease)[401].is_removed


def test_pages_of_one_account_among_several(library: Library) -> None:
    add(library, leased(library), *(replace(PORTAL, appid=each, name=f"{each:03}") for each in range(1, 8)))
    other = library.lease(USER, "76561197960287931", "job-2", 300)
    add(library, other, *(replace(PORTAL, appid=each, name=f"{each:03}") for each in range(1, 8)))
    found, token = [], None
    for _ in range(10):
        page = library.games(USER, Order.NAME, 3, token, STEAM_ID)
        found += [(game["steamId"], game["appid"]) for game in page.games]
        token = page.next_token
        if token is None:
            break
    assert found == [(STEAM_ID, each) for each in range(1, 8)]


def test_a_token_is_for_its_own_list(library: Library) -> None:
    add(library, leased(library), *(replace(PORTAL, appid=each) for each in (1, 2)))
    token = library.games(USER, Order.NAME, 1).next_token
    assert library.games(USER, Order.NAME, 1, token).games
    for user, order, steam_id in (("user-2", Order.NAME, None), (USER, Order.PLAYTIME, None), (USER, Order.NAME, "x")):
        with pytest.raises(BadToken):
            library.games(user, order, 1, token, steam_id)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.text(max_size=60) | st.lists(st.text() | st.integers(), max_size=4).map(json.dumps), st.sampled_from(Order))
def test_any_other_token_is_refused(library: Library, text: str, order: Order) -> None:
    encoded = base64.urlsafe_b64encode(text.encode("utf-8", "replace")).decode()
    for token in (text, encoded):
        with pytest.raises(BadToken):
            library.games(USER, order, 1, token)
