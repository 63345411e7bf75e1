"""The demo of imports: a player's library twice, a private profile, and a throttled hour in seconds.

The stand-in for Steam and IGDB answers. The demo changes its accounts and moods, and checks every count.
"""

import time
from collections.abc import Mapping
from textwrap import fill
from typing import Any, Final

import httpx
from rich.console import Console

from local import api
from local.demos.videos import DemoError
from local.players import Players
from local.stack import LocalStack
from local.steam.players import made_up
from local.view import WIDTH, print_rows
from switchyard.protocol.jobs import TERMINAL

_FIRST: Final = 76_561_198_000_000_000
_GAMES: Final = 300
_PLAYED: Final = 90
"""Minutes that the player plays between the two imports."""
_THROTTLED: Final = 6
"""Seconds that Steam asks everybody to wait: what may be an hour."""
_CROWD: Final = 8
"""How many players are imported meanwhile."""
_COUNTS: Final = ("games", "added", "updated", "removed", "unchanged")

type _Json = dict[str, Any]


def play(stack: LocalStack, console: Console) -> None:
    """Run the demo on a running stack.

    Raises:
        DemoError: If a check fails.
    """
    players = Players(stack.steam.url)
    players.calm()
    player = str(_FIRST + int(time.time()))  # a new one each time
    with api.client(stack) as http:
        try:
            _twice(http, players, player, console)
            _private(http, players, player, console)
            _throttled(http, players, int(player), console)
        finally:
            players.calm()


def _twice(http: httpx.Client, players: Players, player: str, console: Console) -> None:
    """Import a library, change it as a player does, and import it again."""
    console.rule("A first import", align="left")
    games = made_up(_GAMES)
    players.put(player, personaName="Ada", games=games)
    job = _import(http, player, console)
    _demand(job, games=_GAMES, added=_GAMES, updated=0, removed=0, unchanged=0)

    console.print()
    console.rule("A second, after an evening of play", align="left")
    played, bought = games[0], {"appid": 2_000_000, "name": "Switchyard Simulator", "playtime_forever": 0}
    played = {**played, "playtime_forever": played["playtime_forever"] + _PLAYED}
    players.put(player, personaName="Ada", games=[played, *games[2:], bought])
    job = _import(http, player, console)
    _demand(job, games=_GAMES, added=1, updated=1, removed=1, unchanged=_GAMES - 2)
    [link] = job["links"].values()
    changes = httpx.get(link, trust_env=False).raise_for_status().json()
    for kind, mark in (("added", "+"), ("updated", "~"), ("removed", "-")):
        for game in changes[kind]:
            before = game.get("before", game)["playtimeMinutes"]["total"]
            minutes = game["playtimeMinutes"]["total"] - before
            console.print(f"  {mark} {game['name']}{f', {minutes} minutes played' if minutes else ''}", markup=False)
    most = api.ask(http, "GET", f"/users/{player}/games?sort=playtime&limit=3")["games"]
    told = [(game["name"], f"{game['playtimeMinutes']['total'] // 60} h") for game in most]
    console.print("played most:")
    print_rows(console, [(f"  {name}", hours) for name, hours in told])


def _private(http: httpx.Client, players: Players, player: str, console: Console) -> None:
    """Import a library whose owner has hidden it since: nothing is removed."""
    console.print()
    console.rule("A private profile", align="left")
    players.put(player, personaName="Ada", private=True)
    job = _import(http, player, console, status="FAILED")
    if job["error"]["code"] != "GAME_DETAILS_PRIVATE":
        raise DemoError(f"the import of hidden games failed otherwise: {job['error']}")
    console.print(fill(f"{job['error']['code']}: {job['error']['message']}", WIDTH), markup=False)
    kept = api.ask(http, "GET", f"/users/{player}/games?limit=100")["games"]
    console.print(f"the library stays: {len(kept)} games on its first page")


def _throttled(http: httpx.Client, players: Players, first: int, console: Console) -> None:
    """Import several players at once while Steam throttles the key."""
    console.print()
    console.rule("A throttled hour, in seconds", align="left")
    crowd = [str(first + number) for number in range(1, _CROWD + 1)]
    for each in crowd:
        players.put(each, games=20)
    players.forget_calls()
    players.mood("*", "throttle", times=1, retryAfter=str(_THROTTLED))
    wanted = [{"userId": each, "steamId": each} for each in crowd]
    answers = api.ask(http, "POST", "/imports/steam", {"imports": wanted})["imports"]
    console.print(f"POST /imports/steam: {len(answers)} imports accepted. Steam answers 429, Retry-After: {_THROTTLED}")
    began, jobs = time.monotonic(), [each["jobId"] for each in answers]
    refused = 0
    for job_id in jobs:
        while (job := api.ask(http, "GET", f"/jobs/{job_id}"))["status"] not in TERMINAL:
            if time.monotonic() - began < _THROTTLED / 2:
                refused = len(players.calls())
            if time.monotonic() - began > 180:
                raise DemoError(f"{job_id} is still {job['status']}: {job.get('progress')}")
            time.sleep(0.3)
        _demand(job, games=20, added=20, updated=0, removed=0, unchanged=0)
    if refused > 1:
        raise DemoError(f"Steam was called {refused} times although it had asked for a pause")
    console.print(f"{len(jobs)} imports done after {time.monotonic() - began:.0f} s; calls during the pause: {refused}")


def _import(http: httpx.Client, player: str, console: Console, *, status: str = "COMPLETED") -> _Json:
    """Import a player for the user of the same id, and follow the job to its end."""
    accepted = api.ask(http, "POST", "/imports/steam", {"userId": player, "steamId": player})
    console.print(f"POST /imports/steam: {accepted['status']}, job {accepted['jobId']}", markup=False)
    job = api.follow(http, accepted["jobId"], console, until=TERMINAL)
    if job["status"] != status:
        raise DemoError(f"the import ended as {job['status']}: {job.get('error')}")
    if result := job.get("result"):
        console.print(", ".join(f"{result[name]} {name}" for name in _COUNTS))
        matched = ", ".join(f"{result[name]} {name}" for name in ("matched", "unmatched", "pending"))
        console.print(f"at IGDB: {matched}")
    return job


def _demand(job: Mapping[str, Any], **counts: int) -> None:
    """Check an import's counts."""
    found = {name: job.get("result", {}).get(name) for name in counts}
    if found != counts:
        raise DemoError(f"job {job['jobId']} counts {found}, not {counts}")
