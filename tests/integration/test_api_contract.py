"""The deployed API against its own document: thousands of requests that keep to it or break it, by schemathesis.

No answer is a 5xx, has a status that isn't documented, or breaks its schema.
"""

import itertools
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from local import api
from tests.integration.roads import ECS, Road
from tests.integration.system import System

EXAMPLES = 150
"""For each operation, besides the cases made of its examples and of each constraint's edge."""
LEAST_CASES = 2000

sent = itertools.count()


@pytest.fixture(scope="module")
def road() -> Road:
    return ECS


@pytest.fixture(scope="module")
def unread(scene: System) -> Iterator[None]:
    """Nobody reads the queue of accepted jobs meanwhile, or hundreds of them would run."""
    scene.deploy(EcsProcessingEnabled="false")
    yield
    scene.stack.client("sqs").purge_queue(QueueUrl=scene.stack.resource(scene.road.queue))
    scene.forget_pending()


@pytest.fixture(scope="module")
def document(scene: System, unread: None) -> Any:  # noqa: ANN401 - schemathesis' own type is not public
    found = httpx.get(f"{api.address(scene.stack)}/openapi.json", trust_env=False).json()
    found["servers"] = [{"url": api.address(scene.stack)}]
    return schemathesis.openapi.from_dict(found)


@pytest.fixture(scope="module")
def key(scene: System) -> str:
    return api.key(scene.stack)


schema = schemathesis.pytest.from_fixture("document")


@schema.parametrize()
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_as_documented(case: schemathesis.Case, key: str) -> None:
    next(sent)
    case.call_and_validate(headers={"x-api-key": key})


def test_the_requests_were_many(capsys: pytest.CaptureFixture[str]) -> None:
    count = next(sent)
    with capsys.disabled():
        print(f"\nschemathesis: {count:,} requests to the deployed API, every answer as documented")  # noqa: T201

    assert count >= LEAST_CASES
