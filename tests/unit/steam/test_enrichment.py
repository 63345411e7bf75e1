"""Matching with IGDB: in batches, with a token, never the import's failure."""

from datetime import timedelta

import pytest

from switchyard.steam.pace import Paused, Reason
from switchyard.steam.providers import ProviderFailed
from tests.unit.steam.world import SteamWorld


@pytest.fixture
def matching(steam: SteamWorld) -> SteamWorld:
    steam.with_igdb = True
    steam.standin.services.limits["callsPerSecond"] = 1000
    return steam


def test_games_are_matched(matching: SteamWorld) -> None:
    matching.player(games=[*[{"appid": each, "name": "x"} for each in (10, 14, 22)], {"appid": 30}])
    result = matching.run()
    assert {name: result[name] for name in ("matched", "unmatched", "pending")} == {
        "matched": 2,
        "unmatched": 1,
        "pending": 0,
    }
    rows = {int(row["appid"]): (row["match"], row.get("igdbId")) for row in matching.rows("GAME#")}
    expected = {10: ("MATCHED", 100_010), 14: ("UNMATCHED", None), 22: ("MATCHED", 100_022), 30: ("IGNORED", None)}
    assert rows == expected


def test_a_cut_off_answer_is_asked_again_by_halves(matching: SteamWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchyard.steam.igdb.BATCH", 4)
    appids = [11, 22, 33, 5, 6]
    assert matching.igdb().games(appids) == {appid: 100_000 + appid for appid in appids}


def test_an_expired_token_is_renewed(matching: SteamWorld) -> None:
    igdb = matching.igdb()
    igdb.games([10])
    matching.standin.services.expire_tokens()
    assert igdb.games([10]) == {10: 100_010}
    assert matching.standin.operations().count("token") == 2


@pytest.mark.parametrize(("name", "status"), [("clientId", 400), ("clientSecret", 403)])
def test_rejected_credentials_stop_matching_alone(matching: SteamWorld, name: str, status: int) -> None:
    igdb = matching.igdb()
    igdb.provider.secret.read("clientId")
    matching.standin.services.keys[name] = "changed"
    with pytest.raises(Paused) as rejected:
        igdb.games([10])
    assert rejected.value.code == Reason.KEY_REJECTED
    assert matching.standin.calls[-1]["status"] == status
    matching.steam().begin()


@pytest.mark.parametrize("mode", ["throttle", "unavailable", "reset", "cut", "wrong", "forbidden", "slow"])
def test_a_failing_igdb_leaves_the_library_saved_and_is_continued(matching: SteamWorld, mode: str) -> None:
    matching.player(games=5)
    matching.mood(mode, "external_games", times=1, seconds=1.5)
    result = matching.run("first")
    assert (result["added"], result["pending"]) == (5, 5)
    assert matching.live() == matching.owned()
    matching.time.advance(timedelta(hours=1))
    result = matching.run("second")
    assert (result["unchanged"], result["pending"], result["matched"]) == (5, 0, 5)


def test_an_unknown_game_is_asked_for_again_after_a_month(matching: SteamWorld) -> None:
    matching.player(games=[{"appid": 7, "name": "x"}])
    for days, queries in ((0, 1), (1, 1), (31, 2)):
        matching.time.advance(timedelta(days=days))
        matching.run(f"after {days}")
        assert matching.standin.operations().count("external_games") == queries


def test_igdb_sees_at_most_four_requests_a_second(steam: SteamWorld) -> None:
    """The stand-in counts, and nobody waits here: the fifth in a second is refused."""
    igdb = steam.igdb()
    for _ in range(4):
        igdb.games([10])
    with pytest.raises((Paused, ProviderFailed)):
        igdb.games([10])
