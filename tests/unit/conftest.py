"""A world in memory and a clock that stands still, for whoever asks."""

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
    """A claim whose start took effect, and nobody knows."""
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    return world
