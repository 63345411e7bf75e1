"""`make status` and `make env` print the system's addresses, and shells can evaluate them."""

import os
import subprocess
from typing import Any

import pytest

from local import api, places
from tests.unit.local.stack import FakeStack, client

KEY = "a key; with 'quotes' $(and more)"
STACK: Any = FakeStack(apigateway=client(get_api_key=lambda **_: {"value": KEY}))
USERS = {
    "AWS_PROFILE": "production",
    "AWS_SESSION_TOKEN": "real",
    "AWS_ENDPOINT_URL_S3": "https://s3.example",
    "AWS_REGION": "eu-central-1",
    "NO_PROXY": "intranet",
}
SHELLS = ("bash", "sh")


def evaluated(shell: str, variables: dict[str, str]) -> dict[str, str]:
    """Returns the environment of a shell after `eval "$(make env)"`."""
    script = 'set -eu; eval "$EXPORTS"; eval "$EXPORTS"; env -0'
    done = subprocess.run(
        [shell, "-c", script],
        env={"PATH": os.environ["PATH"], "EXPORTS": places.exports(variables), **USERS},
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(line.split("=", 1) for line in done.stdout.split("\0") if line)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_shell_has_each_value_as_it_is(shell: str) -> None:
    variables = dict(places.variables(STACK))

    found = evaluated(shell, variables)

    assert {name: found[name] for name in variables} == variables
    assert found["KEY"] == KEY
    assert found["API"] == api.address(STACK)
    assert found["BUCKET"] == "local-MediaBucket"
    assert found["AWS_ENDPOINT_URL"] == STACK.emulator.url
    assert found["AWS_ENDPOINT_URL_BATCH"] == found["AWS_ENDPOINT_URL_ECS"] == STACK.compute.url


@pytest.mark.parametrize("shell", SHELLS)
def test_nothing_of_the_users_account_is_left(shell: str) -> None:
    found = evaluated(shell, dict(places.variables(STACK)))

    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"} & found.keys()
    assert found["AWS_REGION"] == found["AWS_DEFAULT_REGION"] == "us-east-1"
    assert found["NO_PROXY"].endswith("intranet")
    assert found["NO_PROXY"].startswith("127.0.0.1")


def test_the_places_are_those_that_a_newcomer_looks_for() -> None:
    rows = dict(places.rows(STACK))

    assert rows["HTTP API"] == api.address(STACK)
    assert rows["API key"] == KEY
    assert rows["videos"] == "s3://local-MediaBucket/uploads/"
    assert "make env" in rows["your shell"]
