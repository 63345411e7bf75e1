"""The deployed API against its own document: requests that keep to it or break it, by schemathesis.

No answer is a 5xx, has a status that isn't documented, or breaks its schema. `make test-api` sends thousands.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance, unsupported_method

from local import api
from local.environment import ROOT
from tests.integration.roads import ECS, Road
from tests.integration.system import System

DOCUMENT = ROOT / "layers" / "switchyard" / "switchyard" / "api" / "openapi.json"
THOROUGH = settings.get_current_profile_name() == "thorough"
EXAMPLES = 120 if THOROUGH else 15
"""For each operation, besides the cases made of its examples and of each constraint's edge."""
LEAST_CASES = 2000 if THOROUGH else 500

NOT_IN_A_SCHEMA = {
    ("POST", "/uploads/presign", "UPLOAD_TOO_LARGE"): "S3's limit for one piece, not that for parts",
    ("POST", "/uploads/multipart", "UPLOAD_TOO_LARGE"): "the deployment's own limit",
    ("POST", "/uploads/multipart/complete", "INVALID_PART_ORDER"): "a schema can't say that numbers follow each other",
    ("POST", "/process", "URL_NOT_ALLOWED"): "the deployment's own bucket",
    ("POST", "/process", "INVALID_REQUEST"): "startAfter is a time within thirty days",
    ("POST", "/jobs", "INVALID_REQUEST"): "startAfter is a time within thirty days",
    ("POST", "/jobs", "URL_NOT_ALLOWED"): "hosts that don't exist, or lead inside",
    ("POST", "/webhooks", "URL_NOT_ALLOWED"): "hosts that don't exist, or lead inside",
    ("POST", "/torrents", "INVALID_REQUEST"): "the deployment's own bucket, and keys of what gets no torrent",
    ("POST", "/imports/steam", "INVALID_STEAM_ID"): "ids of players, and names that aren't mistyped ids",
    ("POST", "/imports/steam", "INVALID_REQUEST"): "a caller without a user must name one",
    ("POST", "/search", "INVALID_REQUEST"): "times have several forms; ids are printable",
    ("GET", "/users/{userId}/games", "INVALID_REQUEST"): "a token is only good for its own list; ids are printable",
    ("GET", "/jobs", "INVALID_REQUEST"): "times have several forms; a token is only good for its own list",
    ("POST", "/uploads/presign", "INVALID_REQUEST"): "the type is that of the name, and of the kind",
    ("POST", "/uploads/multipart", "INVALID_REQUEST"): "the type is that of the name, and of the kind",
    ("POST", "/videos", "INVALID_REQUEST"): "a key is 1,024 bytes long, not characters, and metadata 32 KiB",
}
"""What may be refused although it keeps to the schema, and why the schema can't say so."""

schema = schemathesis.openapi.from_path(DOCUMENT)
sent = itertools.count()


@pytest.fixture(scope="module")
def road() -> Road:
    return ECS


@pytest.fixture(scope="module", autouse=True)
def unread(scene: System) -> Iterator[None]:
    """Nobody reads the queues of accepted jobs meanwhile, or hundreds of them would run."""
    scene.deploy(EcsProcessingEnabled="false", SteamProcessingEnabled="false")
    yield
    for queue in (scene.road.queue, "SteamQueue"):
        scene.stack.client("sqs").purge_queue(QueueUrl=scene.stack.resource(queue))
    scene.forget_pending()


@pytest.fixture(scope="module")
def http(scene: System) -> Iterator[httpx.Client]:
    with api.client(scene.stack) as client:
        yield client


def test_the_document_that_is_served_is_this_one(http: httpx.Client) -> None:
    assert http.get("/openapi.json").json() == json.loads(DOCUMENT.read_text())


def answers_as_documented(operation: str) -> Callable[..., None]:
    """The test of one operation: a name of its own, which schemathesis' own parameters don't give it under pytest 9."""

    @schema.include(operation_id=operation).parametrize()
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    def test(case: Any, http: httpx.Client) -> None:  # noqa: ANN401 - generic in private types
        next(sent)
        answer = case.call(base_url=str(http.base_url), headers={"x-api-key": http.headers["x-api-key"]})
        # Methods that have no route are API Gateway's to refuse, which it does with 403.
        but = [unsupported_method]
        if answer.status_code >= 400 and (case.method, case.path, answer.json().get("error")) in NOT_IN_A_SCHEMA:
            but.append(positive_data_acceptance)
        if (case.path, answer.status_code) == ("/search", 501):  # to `answer: true`: no model here writes answers
            but += [not_a_server_error, positive_data_acceptance]
        case.validate_response(answer, excluded_checks=but)

    return cast("Callable[..., None]", test)


for _path in json.loads(DOCUMENT.read_text())["paths"].values():
    for _operation in (each["operationId"] for name, each in _path.items() if name != "parameters"):
        globals()[f"test_{_operation}_answers_as_documented"] = answers_as_documented(_operation)


def test_the_requests_were_many(capsys: pytest.CaptureFixture[str]) -> None:
    count = next(sent)
    with capsys.disabled():
        print(f"\nschemathesis: {count:,} requests to the deployed API, every answer as documented")  # noqa: T201

    assert count >= LEAST_CASES
