"""Authorization of the API, and CORS."""

from collections.abc import Iterator

import httpx
import pytest

from local import api
from tests.integration.system import System

ORIGIN = "https://app.example.com"
CLOSED = [
    ("POST", "/uploads/presign"),
    ("POST", "/uploads/multipart"),
    ("POST", "/uploads/multipart/parts"),
    ("GET", "/uploads/multipart"),
    ("POST", "/uploads/multipart/complete"),
    ("DELETE", "/uploads/multipart"),
    ("POST", "/process"),
    ("POST", "/jobs"),
    ("GET", "/jobs"),
    ("GET", "/jobs/some-job"),
    ("DELETE", "/jobs/some-job"),
]


@pytest.fixture(scope="module")
def stranger(scene: System) -> Iterator[httpx.Client]:
    """A client without an API key."""
    with httpx.Client(base_url=api.address(scene.stack), trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize(("method", "path"), CLOSED)
@pytest.mark.parametrize("headers", [{}, {"x-api-key": "guessed"}], ids=["no key", "a wrong key"])
def test_without_the_key_nothing_is_answered(
    stranger: httpx.Client, method: str, path: str, headers: dict[str, str]
) -> None:
    assert stranger.request(method, path, headers=headers).status_code == 403


def test_the_document_is_open_to_all(stranger: httpx.Client) -> None:
    assert stranger.get("/openapi.json").json()["openapi"].startswith("3.")


@pytest.mark.parametrize("path", sorted({path for _, path in CLOSED}))
def test_a_browser_may_ask_what_it_may_do_without_a_key(stranger: httpx.Client, path: str) -> None:
    answer = stranger.options(path, headers={"Origin": ORIGIN, "Access-Control-Request-Method": "POST"})

    assert answer.status_code == 204
    assert answer.headers["access-control-allow-origin"] in {"*", ORIGIN}


def test_a_page_may_read_errors_too(scene: System) -> None:
    with api.client(scene.stack) as client:
        answer = client.post("/process", content=b"rubbish", headers={"Origin": ORIGIN})

    assert answer.status_code == 400
    assert answer.headers["access-control-allow-origin"] in {"*", ORIGIN}
