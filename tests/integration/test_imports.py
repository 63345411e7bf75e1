"""Imports of Steam libraries, by the deployed function with its role, from the stand-in for Steam and IGDB."""

import itertools
import json
import time
from collections.abc import Iterator
from typing import Any, Final

import httpx
import pytest

from local import api
from local.players import Players
from switchyard.messages.kinds import STEAM_IMPORT
from tests.integration.system import Item, System

IMPORTER: Final = "ImportSteamLibraryFunction"
QUEUE: Final = "SteamQueue"
DEAD: Final = "SteamDeadLetterQueue"
_FIRST: Final = 76_561_198_100_000_000
_numbers: Final = itertools.count(int(time.time()) % 1_000_000 * 100)


@pytest.fixture
def players(system: System) -> Iterator[Players]:
    """Yields the stand-in, calm and with no calls counted; and calm afterwards, with no pause left."""
    steam = Players(system.stack.steam.url)
    steam.calm()
    steam.forget_calls()
    yield steam
    steam.calm()
    end_pauses(system)


@pytest.fixture
def http(system: System) -> Iterator[httpx.Client]:
    with api.client(system.stack) as client:
        yield client


def player() -> str:
    """Returns a Steam id that no other test uses."""
    return str(_FIRST + next(_numbers))


def end_pauses(system: System) -> None:
    """Makes everybody call Steam and IGDB again, as the end of a pause does."""
    for provider in ("steam", "igdb"):
        system.stack.client("dynamodb").delete_item(
            TableName=system.stack.resource("LibraryTable"),
            Key={"pk": {"S": f"PACE#{provider}"}, "sk": {"S": "PACE"}},
        )


def imports(system: System, steam_id: str) -> list[Item]:
    """Returns the jobs that imported an account."""
    return [
        item
        for item in system._items()
        if item.get("kind") == STEAM_IMPORT.name and json.loads(item["request"])["input"]["steamId"] == steam_id
    ]


def ended(system: System, steam_id: str, status: str = "COMPLETED", fence: int = 1) -> Item:
    """Waits for the end of an account's import, and returns its job."""

    def found() -> Item | None:
        for job in imports(system, steam_id):
            if job["status"] in {"COMPLETED", "FAILED", "CANCELLED"} and job["fence"] >= fence:
                return job
        return None

    job = system.until(found, f"the import of {steam_id} to end")
    assert job["status"] == status, job.get("error")
    return job


def listed(http: httpx.Client, user_id: str, **query: Any) -> list[Item]:  # noqa: ANN401 - of any type
    """Returns all of a user's games, page by page."""
    games: list[Item] = []
    while True:
        answer = http.get(f"/users/{user_id}/games", params=query)
        assert answer.status_code == 200, answer.text
        games += answer.json()["games"]
        if "nextToken" not in answer.json():
            return games
        query["nextToken"] = answer.json()["nextToken"]


# ---- ways in --------------------------------------------------------------------------------------------------------


def test_a_message_makes_a_library_that_the_api_lists_in_three_orders(
    system: System, players: Players, http: httpx.Client
) -> None:
    steam_id = player()
    players.put(steam_id, personaName="Ada", games=130)

    system.send({"userId": f"user-{steam_id}", "steamId": steam_id}, QUEUE)
    job = ended(system, steam_id)

    assert (job["result"]["games"], job["result"]["added"], job["result"]["personaName"]) == (130, 130, "Ada")
    names = [game["name"].casefold() for game in listed(http, f"user-{steam_id}", limit=50)]
    assert names == sorted(names)
    assert len(names) == 130
    played = [game["playtimeMinutes"]["total"] for game in listed(http, f"user-{steam_id}", sort="playtime", limit=100)]
    assert played == sorted(played, reverse=True)
    assert len(listed(http, f"user-{steam_id}", sort="lastPlayed", limit=100)) == 130


def test_a_request_makes_a_library_and_links_to_what_changed(
    system: System, players: Players, http: httpx.Client
) -> None:
    steam_id = player()
    players.put(steam_id, vanity=f"name-{steam_id}", games=3)

    asked = http.post(
        "/imports/steam", json={"userId": "user-1", "steamId": f"https://steamcommunity.com/id/name-{steam_id}/"}
    )
    assert asked.status_code == 202, asked.text
    path = f"/jobs/{asked.json()['jobId']}"
    system.until(lambda: http.get(path).json()["status"] == "COMPLETED", "the import to end")

    shown = http.get(path).json()
    assert (shown["kind"], shown["result"]["steamId"], shown["result"]["added"]) == (STEAM_IMPORT.name, steam_id, 3)
    [link] = shown["links"].values()
    assert len(httpx.get(link, trust_env=False).json()["added"]) == 3


def test_a_direct_invocation_answers_with_the_import(system: System, players: Players) -> None:
    steam_id = player()
    players.put(steam_id, games=2)

    answer = system.invoke(IMPORTER, {"userId": "user-1", "steamId": steam_id})

    assert (answer["status"], answer["result"]["games"]) == ("COMPLETED", 2)


# ---- repeats --------------------------------------------------------------------------------------------------------


def test_ten_equal_messages_at_once_are_one_import(system: System, players: Players) -> None:
    steam_id = player()
    players.put(steam_id, games=20)
    body = json.dumps({"userId": "user-1", "steamId": steam_id})
    system.deploy(SteamProcessingEnabled="false")
    system.stack.client("sqs").send_message_batch(
        QueueUrl=system.stack.resource(QUEUE),
        Entries=[{"Id": str(number), "MessageBody": body} for number in range(10)],
    )
    system.deploy(SteamProcessingEnabled="true")

    ended(system, steam_id)
    system.drained(QUEUE)

    [job] = imports(system, steam_id)
    assert (job["status"], job["fence"]) == ("COMPLETED", 1)
    assert players.calls().count("GetOwnedGames") == 1


def test_an_import_after_its_end_tells_what_has_changed_since(
    system: System, players: Players, http: httpx.Client
) -> None:
    steam_id, user_id = player(), f"user-{next(_numbers)}"
    games = [{"appid": 10 + number, "name": f"Game {number}", "playtime_forever": 5} for number in range(5)]
    players.put(steam_id, games=games)
    http.post("/imports/steam", json={"userId": user_id, "steamId": steam_id})
    ended(system, steam_id)
    players.put(
        steam_id,
        games=[{**games[0], "playtime_forever": 65}, *games[2:], {"appid": 99, "name": "New", "playtime_forever": 0}],
    )

    http.post("/imports/steam", json={"userId": user_id, "steamId": steam_id})
    job = ended(system, steam_id, fence=2)

    counts = {name: job["result"][name] for name in ("games", "added", "updated", "removed", "unchanged")}
    assert counts == {"games": 5, "added": 1, "updated": 1, "removed": 1, "unchanged": 3}
    assert {game["name"] for game in listed(http, user_id)} == {"Game 0", "Game 2", "Game 3", "Game 4", "New"}


# ---- off and on, and many -------------------------------------------------------------------------------------------


def test_while_processing_is_off_imports_wait_and_can_be_cancelled(
    system: System, players: Players, http: httpx.Client
) -> None:
    first, second = player(), player()
    for steam_id in (first, second):
        players.put(steam_id, games=1)
    system.deploy(SteamProcessingEnabled="false")
    jobs = [
        http.post("/imports/steam", json={"userId": "user-1", "steamId": steam_id}).json()
        for steam_id in (first, second)
    ]
    assert [job["status"] for job in jobs] == ["PENDING", "PENDING"]
    assert http.delete(f"/jobs/{jobs[1]['jobId']}").status_code == 200

    system.deploy(SteamProcessingEnabled="true")

    ended(system, first)
    system.drained(QUEUE)
    assert imports(system, second)[0]["status"] == "CANCELLED"
    assert players.calls().count("GetOwnedGames") == 1


def test_a_thousand_are_accepted_in_one_request(system: System, http: httpx.Client) -> None:
    wanted = [{"userId": "user-1", "steamId": player()} for _ in range(1000)]
    system.deploy(SteamProcessingEnabled="false")

    answer = http.post(
        "/imports/steam", json={"imports": [*wanted[:-1], {"userId": "user-1", "steamId": "77"}]}, timeout=60
    )

    assert answer.status_code == 207
    told = answer.json()["imports"]
    assert [each["success"] for each in told] == [True] * 999 + [False]
    assert {job["jobId"] for job in system._items() if job.get("kind") == STEAM_IMPORT.name} >= {
        each["jobId"] for each in told[:-1]
    }
    assert system.view.queues((QUEUE,))[QUEUE][0] == 999
    system.stack.client("sqs").purge_queue(QueueUrl=system.stack.resource(QUEUE))
    system.forget_pending()


# ---- what can't be imported -----------------------------------------------------------------------------------------


def test_a_private_library_is_dead_lettered_and_redriven(system: System, players: Players) -> None:
    steam_id = player()
    players.put(steam_id, private=True, games=3)
    system.send({"userId": "user-1", "steamId": steam_id}, QUEUE)
    job = ended(system, steam_id, "FAILED")
    assert job["error"]["code"] == "GAME_DETAILS_PRIVATE"
    [dead] = system.until(lambda: system.messages(DEAD) or None, "the dead letter")
    assert dead["attributes"]["ErrorType"] == "GAME_DETAILS_PRIVATE"

    players.put(steam_id, games=3)
    system.send(dead["body"], QUEUE)  # as a redrive does

    assert ended(system, steam_id, fence=2)["result"]["added"] == 3


def test_what_names_no_player_is_dead_lettered(system: System) -> None:
    system.send({"userId": "user-1", "steamId": "77"}, QUEUE)
    [dead] = system.until(lambda: system.messages(DEAD) or None, "the dead letter")
    assert dead["attributes"]["ErrorType"] == "INVALID_STEAM_ID"


# ---- throttles and the key ------------------------------------------------------------------------------------------


def test_a_throttled_import_waits_with_everybody_and_then_goes_on(system: System, players: Players) -> None:
    first, second = player(), player()
    for steam_id in (first, second):
        players.put(steam_id, games=2)
    players.mood("GetPlayerSummaries", "throttle", times=1, retryAfter="10")

    system.send({"userId": "user-1", "steamId": first}, QUEUE)
    waiting = system.until(
        lambda: next((job for job in imports(system, first) if "waitsUntil" in job), None), "the import to wait"
    )
    called = len(players.calls())
    system.send({"userId": "user-1", "steamId": second}, QUEUE)

    assert "THROTTLED" in waiting["progress"]["message"]
    assert ended(system, first)["fence"] >= 2
    ended(system, second)
    assert called == 1, "nobody else called Steam during the pause"
    assert system.messages(DEAD) == []


def test_the_key_is_nowhere(system: System, players: Players) -> None:
    steam_id = player()
    players.put(steam_id, games=2)
    players.mood("GetOwnedGames", "unavailable", times=1)
    system.send({"userId": "user-1", "steamId": steam_id}, QUEUE)
    ended(system, steam_id)

    variables = system.stack.client("lambda").get_function_configuration(FunctionName=system.stack.resource(IMPORTER))[
        "Environment"
    ]["Variables"]
    library = system.stack.client("dynamodb").scan(TableName=system.stack.resource("LibraryTable"))["Items"]
    for where in (variables, library, imports(system, steam_id), system.log(IMPORTER)):
        assert where
        assert "steam-key" not in json.dumps(where, default=str)
