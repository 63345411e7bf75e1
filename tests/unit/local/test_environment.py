"""Nothing of the user's AWS reaches the local system."""

import pytest

from local.environment import bare, sealed

USERS = {
    "PATH": "/bin",
    "HTTPS_PROXY": "http://proxy.example:3128",
    "AWS_PROFILE": "production",
    "AWS_ACCESS_KEY_ID": "AKIAREAL",
    "AWS_SESSION_TOKEN": "real",
    "AWS_ENDPOINT_URL_S3": "https://s3.example",
    "AWS_REGION": "eu-central-1",
}


def test_the_users_credentials_are_gone() -> None:
    environment = sealed(USERS, "http://127.0.0.1:4566")

    assert not {"AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL_S3"} & environment.keys()
    assert environment["AWS_ACCESS_KEY_ID"] == "test"
    assert environment["AWS_ENDPOINT_URL"] == "http://127.0.0.1:4566"


def test_what_pip_needs_is_kept_but_never_in_the_emulators_way() -> None:
    environment = sealed(USERS)

    assert environment["HTTPS_PROXY"] == USERS["HTTPS_PROXY"]
    assert "127.0.0.1" in environment["NO_PROXY"]


def test_without_an_emulator_calls_go_nowhere() -> None:
    assert sealed(USERS)["AWS_ENDPOINT_URL"].startswith("http://127.0.0.1:")


def test_a_worker_gets_none_of_the_users_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in USERS.items():
        monkeypatch.setenv(name, value)

    environment = bare("http://127.0.0.1:4566")

    assert "HTTPS_PROXY" not in environment
    assert "AWS_PROFILE" not in environment
    assert environment["AWS_REGION"] == "us-east-1"
    assert "AWS_ACCESS_KEY_ID" not in bare()
