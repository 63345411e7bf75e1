"""A running Batch stand-in for the tests that leave it as it is."""

from collections.abc import Iterator

import pytest

from tests.contract.standin import StandIn


@pytest.fixture(scope="module")
def standin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandIn]:
    """One for the tests that leave it as it is."""
    running = StandIn(tmp_path_factory.mktemp("compute")).start()
    yield running
    running.end()
