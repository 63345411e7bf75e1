"""Both services' responses, whatever they are: read, or refused by a retryable error. And where the key never goes."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.steam.server import StandIn
from switchyard import clock
from switchyard.errors import PermanentError, Unavailable
from switchyard.outside.secrets import Secret
from switchyard.outside.sites import Answer, NoAnswer, Site
from switchyard.steam.igdb import Igdb
from switchyard.steam.pace import Grant, Paused, Reason
from switchyard.steam.providers import Provider, ProviderFailed
from switchyard.steam.web import SteamCalls
from tests.cases import cases
from tests.strategies import anything
from tests.unit.steam.world import STEAM_ID, SteamWorld

KEY = "0123456789ABCDEF0123456789ABCDEF"
REPOSITORY = Path(__file__).parents[3]


class NoPace:
    """A pace without a table: everything is granted."""

    def __init__(self) -> None:
        self.failures: list[Reason] = []

    def acquire(self, _: int = 1) -> Grant:
        return Grant()

    def succeed(self, _: Grant) -> None:
        pass

    def fail(self, _: Grant, reason: Reason, __: float | None = None) -> Any:  # noqa: ANN401 - a datetime
        self.failures.append(reason)
        return clock.now()


class Canned:
    """A site that always gives one response."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    def get(self, *_: object) -> Answer:
        return self.answer

    post = get


def provider(name: str) -> Provider:
    secret = Secret(lambda: json.dumps({"key": KEY, "clientId": "client", "clientSecret": "secret"}))
    return Provider(name, secret, cast("Any", NoPace()))


words = st.sampled_from(
    [
        *(
            "response",
            "success",
            "steamid",
            "players",
            "personaname",
            "communityvisibilitystate",
            "game_count",
            "games",
        ),
        *("appid", "name", "playtime_forever", "playtime_2weeks", "rtime_last_played", "uid", "game", STEAM_ID),
    ]
)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(anything, max_size=8) | words
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=5))
bodies = st.one_of(
    values.map(lambda value: json.dumps(value).encode()),
    st.dictionaries(words, values, max_size=4).map(lambda value: json.dumps({"response": value}).encode()),
    st.binary(max_size=64),
)
CALLS: list[Callable[[SteamCalls], object]] = [
    lambda calls: calls.resolve("gabe"),
    lambda calls: calls.profile(STEAM_ID),
    lambda calls: calls.owned(STEAM_ID),
    lambda calls: calls.recent(STEAM_ID),
]


@given(bodies, st.sampled_from(CALLS))
def test_any_body_of_steam_is_read_or_refused(body: bytes, call: Callable[[SteamCalls], object]) -> None:
    calls = SteamCalls(cast("Any", Canned(Answer(200, body))), provider("steam"), Grant())
    try:
        found = call(calls)
    except (ProviderFailed, PermanentError):
        return
    json.dumps(found, default=str, ensure_ascii=False).encode()  # storable


@given(bodies)
def test_any_body_of_igdb_is_read_or_refused(body: bytes) -> None:
    igdb = Igdb(cast("Any", Canned(Answer(200, body))), cast("Any", Canned(Answer(200, b""))), provider("igdb"))
    igdb._token = "token"
    try:
        found = igdb.games([10, 20])
    except ProviderFailed:
        return
    assert found.keys() == {10, 20}


@given(bodies)
def test_any_token_is_read_or_refused(body: bytes) -> None:
    igdb = Igdb(cast("Any", Canned(Answer(200, b"[]"))), cast("Any", Canned(Answer(200, body))), provider("igdb"))
    try:
        assert igdb.games([10]) == {10: None}
    except ProviderFailed:
        return
    assert igdb._token.isalnum()


@given(st.integers(100, 599).filter(lambda status: status != 200))
def test_any_status_is_retryable(status: int) -> None:
    calls = SteamCalls(cast("Any", Canned(Answer(status, b""))), provider("steam"), Grant())
    with pytest.raises((ProviderFailed, Paused)):
        calls.owned(STEAM_ID)
    expected = {429: Reason.THROTTLED, 401: Reason.KEY_REJECTED, 403: Reason.KEY_REJECTED}
    assert cast("NoPace", calls.provider.pace).failures == [expected.get(status, Reason.UNAVAILABLE)]


# ---- sites ----------------------------------------------------------------------------------------------------------


@cases(
    "url",
    ["http://api.steampowered.com", "ftp://127.0.0.1", "https://", "https://u:p@host", "https://h?x=1", "//h", ""],
)
def test_only_https_or_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match="https"):
        Site(url)


def test_redirects_are_not_followed(standin: StandIn) -> None:
    standin.moods.add([{"operation": "*", "mode": "redirect"}])
    assert Site(standin.url).get("/steam/ISteamUser/ResolveVanityURL/v1/", {}).status == 302
    assert len(standin.calls) == 1


def test_a_response_has_a_largest_size(standin: StandIn) -> None:
    with pytest.raises(NoAnswer, match="longer than 10 bytes"):
        Site(standin.url, most_bytes=10).get("/steam/x/y/", {})


def test_nobody_there() -> None:
    with pytest.raises(NoAnswer, match="ConnectionRefusedError"):
        Site("http://127.0.0.1:9").get("/", {"key": KEY})


# ---- the key --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode", ["forbidden", "unavailable", "throttle", "slow", "truncated", "cut", "html", "wrong", "reset", "redirect"]
)
def test_the_key_is_in_no_error_log_or_row(
    steam: SteamWorld, mode: str, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    steam.standin.services.keys["steam"] = KEY
    steam.mood(mode, seconds=1.5)
    importer = steam.importer()
    importer.steam.provider.secret = Secret(lambda: KEY)
    steam.importer = lambda *_: importer  # type: ignore[method-assign] # one with this key
    with pytest.raises((ProviderFailed, Paused)) as failure:
        steam.run()
    said = capfd.readouterr()
    told = [repr(failure.value), caplog.text, said.out, said.err, str(steam.rows())]
    told += [str(steam.dynamodb.scan(TableName="LibraryTable")["Items"])]
    error: BaseException | None = failure.value
    while error is not None:
        told.append(f"{error!r} {vars(error)}")
        error = error.__cause__ or error.__context__
    assert steam.standin.calls, "it was sent"
    assert not [each for each in told if KEY in each or "key=" in each]


TRACED = """
import json, sys
from aws_xray_sdk.core import xray_recorder
from switchyard import observability
from switchyard.outside.sites import Site

sent = []
class Emitter:
    def send_entity(self, entity): sent.append(entity.serialize())
xray_recorder.configure(emitter=Emitter(), sampling=False, context_missing="LOG_ERROR")
with xray_recorder.in_subsegment("import"):
    print(Site(sys.argv[1]).get("/steam/ISteamUser/GetPlayerSummaries/v2/", {"key": sys.argv[2]}).status)
print(json.dumps(sent))
"""


def test_the_key_is_in_no_trace(standin: StandIn) -> None:
    environment = os.environ | {
        "POWERTOOLS_TRACE_DISABLED": "false",
        "AWS_LAMBDA_FUNCTION_NAME": "x",
        "LAMBDA_TASK_ROOT": str(REPOSITORY),
        "_X_AMZN_TRACE_ID": "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1",
        "PYTHONPATH": os.pathsep.join(str(REPOSITORY / each) for each in ("layers/switchyard", ".")),
    }
    done = subprocess.run(
        [sys.executable, "-c", TRACED, standin.url, KEY], env=environment, capture_output=True, text=True, check=True
    )
    status, sent = done.stdout.splitlines()[0], done.stdout.splitlines()[-1]
    assert status == "403"
    assert "import" in sent, "it was traced"
    assert KEY not in done.stdout + done.stderr


# ---- secrets --------------------------------------------------------------------------------------------------------


def test_a_secret_is_read_once_and_again_when_it_was_rejected() -> None:
    fetched = iter(["one", '{"key": "two"}'])
    secret = Secret(lambda: next(fetched))
    assert secret.read("key") == secret.read("key") == ("one",)
    secret.forget()
    assert secret.read("key") == ("two",)


@cases("text", ["", "{}", '{"key": 7}', '{"other": "x"}'])
def test_a_secret_without_a_key_says_so_and_nothing_else(text: str) -> None:
    with pytest.raises(Unavailable, match=r"^the secret has no key$"):
        Secret(lambda: text).read("key")
