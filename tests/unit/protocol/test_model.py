"""Runs the state machine of the dispatch protocol (tests/model) briefly; `make test-model` runs it for longer."""

from collections.abc import Iterator

import pytest
from hypothesis import settings

from switchyard.observability import logger
from tests.model.protocol import InMemory, OnMoto


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Turns off the log, which would take longer than everything else."""
    level = logger.log_level
    logger.setLevel("CRITICAL")
    yield
    logger.setLevel(level)


TestInMemory = InMemory.TestCase
TestInMemory.settings = settings(max_examples=settings().max_examples // 5)

TestOnMoto = OnMoto.TestCase
TestOnMoto.settings = settings(max_examples=settings().max_examples // 100, stateful_step_count=20)
