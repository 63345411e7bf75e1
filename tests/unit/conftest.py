"""Fixtures for unit tests: a system in memory and a clock that stands still."""

import pytest

from switchyard import clock
from switchyard.errors import OutcomeUnknown
from tests.fakes.target import Mode
from tests.requests import request
from tests.world import Time, World


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    return time


@pytest.fixture
def world(time: Time) -> World:
    return World()


@pytest.fixture
def unknown(world: World) -> World:
    """Sets up a claim whose start took effect unnoticed."""
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    return world
