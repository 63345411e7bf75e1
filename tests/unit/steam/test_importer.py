"""Imports from the stand-in: what they write, what they answer, and what failures mean for them and for others."""

import re
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.errors import Contended, GameDetailsPrivate, ProfileNotFound, RetryableError
from switchyard.function_jobs.jobs import Postponed, Stopped
from switchyard.steam.pace import Paused, Reason
from switchyard.steam.providers import ProviderFailed
from switchyard.steam.table import Order
from tests.fakes.crashing import Countdown, Freeze, Killed
from tests.unit.steam.world import BUCKET, OTHER_ID, STEAM_ID, SteamWorld


def test_a_first_import_adds_every_game(steam: SteamWorld) -> None:
    steam.player(games=250)
    result = steam.run()
    assert steam.live() == steam.owned()
    counts = {"games": 250, "added": 250, "updated": 0, "removed": 0, "unchanged": 0}
    assert result == {
        "steamId": STEAM_ID,
        "personaName": "Gabe",
        **counts,
        "changesKey": result["changesKey"],
    }
    changes = steam.changes(result)
    assert changes["counts"] == counts
    assert [game["name"] for game in changes["added"]] == [game["name"] for game in steam.games()]
    (row,) = steam.rows("ACCOUNT#")
    assert row["games"] == 250
    assert "leasedBy" not in row
    assert "planKey" not in row


def test_a_second_import_tells_what_changed(steam: SteamWorld) -> None:
    steam.player(games=20)
    steam.run("first")
    first, second, third = steam.games()[:3]
    first |= {"playtime_forever": 90, "playtime_windows_forever": 60, "playtime_linux_forever": 30}
    first |= {"rtime_last_played": 1_790_000_000, "playtime_2weeks": 12}
    second["name"] = "Renamed"
    steam.games().remove(third)
    steam.games().append({"appid": 7, "name": "New", "playtime_forever": 0})
    steam.time.advance(timedelta(hours=1))
    result = steam.run("second")
    assert {name: result[name] for name in ("games", "added", "updated", "removed", "unchanged")} == {
        "games": 20,
        "added": 1,
        "updated": 2,
        "removed": 1,
        "unchanged": 17,
    }
    assert steam.live() == steam.owned()
    changes = steam.changes(result)
    assert [game["appid"] for game in changes["removed"]] == [third["appid"]]
    assert changes["updated"][0]["before"]["playtimeMinutes"]["total"] == 7919
    (history,) = [row for row in steam.rows("IMPORT#") if row["counts"]["updated"]]
    assert history["played"] == {"10": [90 - 7919, 60 - 5939, 0, 30 - 1980]}
    assert history["ttl"] == int((steam.time.now + timedelta(days=365)).timestamp())


def test_a_removed_game_is_a_tombstone_that_can_come_back(steam: SteamWorld) -> None:
    steam.player(games=20)
    steam.run("first")
    gone = steam.games().pop()
    assert steam.run("second")["removed"] == 1
    (tombstone,) = [row for row in steam.rows("GAME#") if "removedAt" in row]
    assert tombstone["name"] == gone["name"]
    assert tombstone["total"] == gone["playtime_forever"]
    assert len(steam.listed()) == 19
    assert steam.run("third")["unchanged"] == 19
    steam.games().append(gone)
    assert steam.run("fourth")["added"] == 1
    assert len(steam.listed()) == 20


def test_names_and_addresses_lead_to_the_same_library(steam: SteamWorld) -> None:
    steam.player(games=3, vanity="GabeLoganNewell")
    steam.run("first", name="https://steamcommunity.com/id/gabelogannewell/")
    assert steam.live() == steam.owned()
    assert steam.run("second")["unchanged"] == 3
    assert [row["sk"] for row in steam.rows("ACCOUNT#")] == [f"ACCOUNT#{STEAM_ID}"]


def test_two_accounts_of_a_user_and_two_users_of_an_account_keep_apart(steam: SteamWorld) -> None:
    steam.player(games=5)
    steam.player(OTHER_ID, games=[{"appid": 10, "name": "Alone", "playtime_forever": 1}])
    steam.run("first")
    steam.run("second", name=OTHER_ID)
    steam.run("third", user="user-2")
    steam.games().clear()
    steam.run("fourth")
    assert steam.live() == {}
    assert steam.live(OTHER_ID) == {10: 1}
    assert steam.live(user="user-2") != {}
    assert [game["name"] for game in steam.listed()] == ["Alone"]


def test_a_shared_game_joins_and_never_leaves(steam: SteamWorld) -> None:
    shared = {"appid": 500, "name": "Shared", "playtime_forever": 30, "playtime_2weeks": 30}
    steam.player(games=2, shared=[shared])
    steam.run("first")
    assert steam.live()[500] == 30
    steam.standin.services.players[STEAM_ID].shared.clear()
    assert steam.run("second")["removed"] == 0
    assert {game["appid"]: game["owned"] for game in steam.listed()} == {10: True, 20: True, 500: False}


# ---- answers that say nothing about absent games --------------------------------------------------------------------


def test_private_game_details_change_nothing_and_name_the_page(steam: SteamWorld) -> None:
    steam.player(games=5)
    steam.run("first")
    before = steam.live()
    steam.player(games=5, private=True)
    with pytest.raises(GameDetailsPrivate, match=re.escape("https://steamcommunity.com/my/edit/settings")):
        steam.run("second")
    assert steam.live() == before
    assert "leasedBy" not in steam.rows("ACCOUNT#")[0]


def test_an_unknown_profile(steam: SteamWorld) -> None:
    with pytest.raises(ProfileNotFound):
        steam.run(name=OTHER_ID)
    with pytest.raises(ProfileNotFound):
        steam.run(name="nobody")


def test_an_empty_library(steam: SteamWorld) -> None:
    steam.player(games=0)
    assert steam.run()["games"] == 0
    assert steam.rows("GAME#") == []


def test_many_removals_wait_for_a_person(steam: SteamWorld) -> None:
    steam.player(games=40)
    steam.run("first")
    del steam.games()[20:]
    held = steam.run("second")
    assert (held["removed"], held["heldRemovals"], held["unchanged"], held["games"]) == (0, 20, 40, 40)
    assert len(steam.live()) == 40
    assert len(steam.changes(held)["heldRemovals"]) == 20
    steam.games().pop()
    other = steam.run("third", confirm=str(held["removalsToken"]))
    assert other["heldRemovals"] == 21, "a confirmation is of what was shown"
    done = steam.run("fourth", confirm=str(other["removalsToken"]))
    assert done["removed"] == 21
    assert steam.live() == steam.owned()


# ---- nothing to do --------------------------------------------------------------------------------------------------


def test_an_import_without_changes_writes_only_the_account(steam: SteamWorld) -> None:
    steam.player(games=15)
    steam.run("first")
    before = {row["sk"]: row for row in steam.rows()}
    steam.time.advance(timedelta(days=1))
    result = steam.run("second")
    after = {row["sk"]: row for row in steam.rows()}
    assert {sk for sk in after if after[sk] != before.get(sk)} == {f"ACCOUNT#{STEAM_ID}"}
    assert result["unchanged"] == 15
    assert "changesKey" not in result
    assert len(steam.s3.list_objects_v2(Bucket=BUCKET)["Contents"]) == 1


def test_a_repeated_message_is_the_same_import(steam: SteamWorld) -> None:
    """Its first delivery did everything but end the job."""
    steam.player(games=30)
    first = steam.run("message")
    steam.games().pop()
    assert steam.run("message") == first
    assert steam.standin.operations().count("GetOwnedGames") == 1


# ---- deaths ---------------------------------------------------------------------------------------------------------


class Once(Countdown):
    """Kills the invocation that makes the chosen call, and none after it."""

    def strike(self) -> None:
        self.calls = None
        super().strike()


def changed(steam: SteamWorld, steam_id: str) -> None:
    """Sets up a library that was imported and has changed since: some of each kind, in several transactions."""
    steam.player(steam_id, games=12)
    steam.run("earlier", name=steam_id)
    for game in steam.games(steam_id)[:6]:
        game["playtime_forever"] += 5
    del steam.games(steam_id)[10:]
    steam.games(steam_id).extend(
        {"appid": 5000 + each, "name": f"New {each}", "playtime_forever": 0} for each in range(3)
    )


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("switchyard.steam.table.BATCH", 4)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("with_igdb", [False, True])
def test_whoever_dies_the_library_and_the_counts_are_right(
    steam: SteamWorld, *, after_effect: bool, with_igdb: bool
) -> None:
    steam.with_igdb = with_igdb
    steam.standin.services.limits["callsPerSecond"] = 1000
    for number in count():
        steam_id = str(int(STEAM_ID) + number)
        changed(steam, steam_id)
        kill = Once(number, after_effect)
        steam.time.advance(timedelta(hours=1))
        try:
            result = steam.run("message", name=steam_id, kill=kill)
        except Killed:
            result = steam.run("message", name=steam_id)
        counts = [result[name] for name in ("games", "added", "updated", "removed", "unchanged")]
        assert counts == [13, 3, 6, 2, 4], number
        assert steam.live(steam_id) == steam.owned(steam_id), number
        (history,) = [row for row in steam.rows(f"IMPORT#{steam_id}#") if row["counts"]["updated"]]
        assert history["counts"]["removed"] == 2
        if with_igdb:
            assert (result["pending"], result["matched"], result["unmatched"]) == (0, 12, 1), number
        (row,) = steam.rows(f"ACCOUNT#{steam_id}")
        assert "planKey" not in row, number
        assert "leasedBy" not in row, number
        if kill.calls is not None:
            assert number > 10
            return


@pytest.mark.usefixtures("small_batches")
def test_a_frozen_import_that_was_overtaken_changes_nothing(steam: SteamWorld) -> None:
    """It freezes at any call; another run of its job, with a newer answer, does the work; then it continues."""
    for number in count():
        steam_id = str(int(STEAM_ID) + number)
        steam.player(steam_id, games=9)
        freeze = Freeze(number)
        freeze.run(lambda: steam.run("old", name=steam_id, kill=freeze))  # noqa: B023 - it has ended by then
        was_frozen = freeze.is_frozen
        steam.games(steam_id)[0]["playtime_forever"] = 99_999
        steam.run("new", name=steam_id)
        before = steam.live(steam_id)
        assert before == steam.owned(steam_id)
        freeze.thaw()
        assert isinstance(freeze.error, Contended | type(None))
        assert steam.live(steam_id) == before, number
        if not was_frozen:
            assert number > 10
            return


@pytest.mark.usefixtures("small_batches")
def test_a_job_by_another_name_waits_until_the_first_must_be_over(steam: SteamWorld) -> None:
    steam.player(games=12, vanity="gabe")
    with pytest.raises(Killed):
        steam.run("first", kill=Once(4))
    with pytest.raises(Postponed) as waits:
        steam.run("second", name="gabe")
    assert timedelta(seconds=300) < waits.value.until - clock.now() <= timedelta(seconds=310)
    steam.wait(waits.value)
    steam.run("second", name="gabe")
    assert steam.live() == steam.owned()


@pytest.mark.usefixtures("small_batches")
def test_a_cancelled_import_is_finished_by_the_next(steam: SteamWorld) -> None:
    steam.player(games=25)

    def cancelled(percent: int, _: str) -> None:
        if percent > 10:
            raise Stopped("cancelled")

    with pytest.raises(Stopped):
        steam.run("first", progress=cancelled)
    assert 0 < len(steam.live()) < 25
    steam.time.advance(timedelta(hours=1))
    assert steam.run("second")["unchanged"] == 25
    assert [row["counts"]["added"] for row in steam.rows("IMPORT#")] == [25]


@pytest.mark.usefixtures("small_batches")
def test_an_import_whose_plan_was_erased_starts_afresh(steam: SteamWorld) -> None:
    steam.player(games=25)
    with pytest.raises(Killed):
        steam.run("message", kill=Once(11))
    (plan,) = steam.s3.list_objects_v2(Bucket=BUCKET)["Contents"]
    steam.s3.delete_object(Bucket=BUCKET, Key=plan["Key"])
    steam.run("message")
    assert steam.live() == steam.owned()


# ---- failures of Steam ----------------------------------------------------------------------------------------------

BROKEN = ("unavailable", "slow", "truncated", "cut", "html", "wrong", "reset", "redirect")


@pytest.mark.parametrize("mode", BROKEN)
@pytest.mark.parametrize("operation", ["GetPlayerSummaries", "GetOwnedGames", "GetRecentlyPlayedGames"])
def test_whatever_breaks_is_tried_again_after_a_shared_pause(steam: SteamWorld, mode: str, operation: str) -> None:
    steam.player(games=3)
    steam.mood(mode, operation, times=1, seconds=1.5)
    with pytest.raises(ProviderFailed) as failed:
        steam.run()
    assert failed.value.retry_after is not None
    calls = len(steam.standin.calls)
    with pytest.raises(Paused) as paused:
        steam.run("others", name=OTHER_ID)
    assert len(steam.standin.calls) == calls, "nobody calls during a pause"
    steam.wait(paused.value)
    steam.run()
    assert steam.live() == steam.owned()


def test_an_empty_answer_is_malformed_where_it_means_nothing(steam: SteamWorld) -> None:
    steam.mood("empty", "GetPlayerSummaries", times=1)
    with pytest.raises(ProviderFailed):
        steam.run()


@pytest.mark.parametrize(
    ("header", "seconds"), [("120", 120), ("Sun, 22 Nov 2026 13:10:00 GMT", 600), ("999999", 3600), (None, 5)]
)
def test_a_throttled_key_is_left_alone_by_everybody(steam: SteamWorld, header: str | None, seconds: int) -> None:
    steam.player(games=3)
    assert clock.iso(clock.now()).startswith("2026-11-22T13:00:00")
    steam.mood("throttle", times=1, retryAfter=header)
    with pytest.raises(Paused) as throttled:
        steam.run()
    assert throttled.value.code == Reason.THROTTLED
    assert abs((throttled.value.until - clock.now()).total_seconds() - seconds) < 1
    calls = len(steam.standin.calls)
    for _ in range(5):
        with pytest.raises(Paused):
            steam.run("others", name=OTHER_ID)
    assert len(steam.standin.calls) == calls
    steam.wait(throttled.value)
    assert steam.run()["games"] == 3


def test_pauses_double_while_steam_stays_throttled(steam: SteamWorld) -> None:
    steam.mood("throttle")
    lengths = []
    for _ in range(10):
        with pytest.raises(Paused) as paused:
            steam.run()
        lengths.append(round((paused.value.until - clock.now()).total_seconds()))
        steam.wait(paused.value)
    assert lengths == [5, 10, 20, 40, 80, 160, 320, 600, 600, 600]
    assert len(steam.standin.calls) == 10, "one call finds out"
    steam.standin.moods.clear()
    steam.run()


@pytest.mark.parametrize("mode", ["forbidden", "unauthorized"])
def test_a_rejected_key_stops_the_kind_until_a_probe_succeeds(
    steam: SteamWorld, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []
    monkeypatch.setattr("switchyard.observability.count", counted.append)
    steam.player(games=3)
    steam.mood(mode, times=2)
    for _ in range(2):
        with pytest.raises(Paused) as rejected:
            steam.run()
        assert rejected.value.code == Reason.KEY_REJECTED
        with pytest.raises(Paused) as others:
            steam.run("others", name=OTHER_ID)
        assert others.value.code == Reason.KEY_REJECTED
        assert others.value.until - clock.now() == timedelta(minutes=15)
        steam.wait(rejected.value)
    assert len(steam.standin.calls) == 2
    assert counted == ["KeyRejected", "KeyRejected"]
    assert steam.run()["games"] == 3


def test_a_probe_is_one_call_for_all(steam: SteamWorld) -> None:
    """After a pause one import tries; the others still wait, until it has an answer."""
    steam.player(games=3)
    steam.mood("throttle", times=1)
    with pytest.raises(Paused) as paused:
        steam.run()
    steam.wait(paused.value)
    probe = Freeze(4)  # when it has said in the table that it tries
    probe.run(lambda: steam.run(kill=probe))
    assert probe.is_frozen
    with pytest.raises(Paused):
        steam.run("others", name=OTHER_ID)
    probe.thaw()
    assert probe.error is None
    with pytest.raises(ProfileNotFound):
        steam.run("others", name=OTHER_ID)


def test_the_days_budget(steam: SteamWorld) -> None:
    steam.daily = 10
    steam.player(games=1)
    steam.run("first")
    steam.run("second")
    with pytest.raises(Paused) as used:
        steam.run("third")
    assert used.value.code == Reason.BUDGET_USED
    assert clock.iso(used.value.until) == "2026-11-23T00:00:00.000Z"
    steam.wait(used.value)
    steam.run("third")


# ---- failures of the table ------------------------------------------------------------------------------------------


def throttled(operation: str) -> Callable[..., Any]:
    """Returns a client's method that DynamoDB throttles."""

    def method(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ProvisionedThroughputExceededException"}}, operation)

    return method


@pytest.mark.parametrize("operation", ["put_item", "update_item", "query", "transact_write_items"])
def test_a_throttled_table_fails_the_import_and_loses_nothing(
    steam: SteamWorld, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steam.player(games=12)
    with monkeypatch.context() as patched:
        patched.setattr(steam.dynamodb, operation, throttled(operation))
        with pytest.raises(RetryableError) as failed:
            steam.run()
    assert failed.value.code == "AWS_UNAVAILABLE"
    if operation == "put_item":
        assert steam.standin.calls == [], "without leave, nothing is called"
    steam.run()
    assert steam.live() == steam.owned()


def test_a_pause_that_cannot_be_shared_is_kept_by_the_one_who_knows(
    steam: SteamWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    steam.mood("throttle", retryAfter="60")
    put, puts = steam.dynamodb.put_item, iter(range(99))

    def second_fails(**arguments: Any) -> Any:  # noqa: ANN401 - as boto3's
        return put(**arguments) if next(puts) == 0 else throttled("PutItem")()

    monkeypatch.setattr(steam.dynamodb, "put_item", second_fails)
    with pytest.raises(Paused) as paused:
        steam.run()
    assert round((paused.value.until - clock.now()).total_seconds()) == 60


# ---- lists ----------------------------------------------------------------------------------------------------------


def test_a_library_is_listed_in_every_order_by_pages(steam: SteamWorld) -> None:
    steam.player(games=230)
    steam.run()
    by_name = [game["name"].casefold() for game in steam.listed(Order.NAME)]
    by_playtime = [game["playtimeMinutes"]["total"] for game in steam.listed(Order.PLAYTIME)]
    by_last_played = [game.get("lastPlayedAt", "") for game in steam.listed(Order.LAST_PLAYED)]
    assert by_name == sorted(by_name)
    assert by_playtime == sorted(by_playtime, reverse=True)
    assert by_last_played == sorted(by_last_played, reverse=True)
    assert len(by_name) == len(by_playtime) == len(by_last_played) == 230
