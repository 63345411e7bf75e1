"""The routes about lanes, and what a pause by an operator does to the jobs of the lane."""

import json
from dataclasses import replace
from typing import Any

import pytest

from switchyard import clock
from switchyard.api.http import Problem, Request
from switchyard.api.lanes import LaneRoutes
from switchyard.errors import Contended, NoFreeSlot
from switchyard.protocol.dispatch import Outcome
from switchyard.protocol.jobs import Status
from switchyard.protocol.lanes import Pause
from tests.fakes.target import Mode
from tests.requests import request
from tests.world import Time, World


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    return time


@pytest.fixture
def world() -> World:
    return World(limit=2)


def routes(world: World) -> LaneRoutes:
    return LaneRoutes(world.store, world.lanes, world.wakes)


def asked(lane: str = "video", user_id: str | None = None) -> Request:
    return Request("POST", "/lanes/{lane}/pause", {"lane": lane}, user_id=user_id, caller="key:ops")


def body(answer: Any) -> dict[str, Any]:  # noqa: ANN401 - a response
    assert answer.status == 200
    shown: dict[str, Any] = json.loads(json.dumps(answer.body))
    return shown


def test_lanes_are_listed_with_who_holds_and_who_waits(world: World) -> None:
    for number, job_id in enumerate("abcd"):
        world.dispatch(request(job_id, sent=number))
    video, images = body(routes(world).list(asked()))["lanes"]
    assert video == {
        "name": "video",
        "limit": 2,
        "taken": 2,
        "waiting": 2,
        "oldestWaitingSince": clock.iso(request("c", sent=2).sent_at),
        "paused": None,
    }
    assert (images["name"], images["taken"], images["oldestWaitingSince"]) == ("images", 0, None)


def test_the_oldest_is_told_of_though_a_higher_priority_is_next(world: World) -> None:
    for number, job_id in enumerate("abc"):
        world.dispatch(request(job_id, sent=number))
    world.dispatch(replace(request("d", sent=9), priority=9))
    assert body(routes(world).list(asked()))["lanes"][0]["oldestWaitingSince"] == clock.iso(
        request("c", sent=2).sent_at
    )


def test_in_a_paused_lane_nothing_starts_until_it_is_resumed(world: World, time: Time) -> None:
    world.dispatch(request("a"))
    assert body(routes(world).pause(asked()))["paused"] == {"until": None, "reason": "OPERATOR"}
    assert world.dispatch(request("b")) is Outcome.HELD
    world.end("run-0")
    time.pass_grace()
    world.reconcile()
    assert world.job("b").status is Status.WAITING
    assert body(routes(world).resume(asked()))["paused"] is None
    [(lane, _)] = world.wakes.asked
    world.dispatcher.start_waiting(lane)
    assert world.job("b").status is Status.SUBMITTED


def test_without_a_waiting_room_a_paused_lane_starts_nothing_either(world: World) -> None:
    world.waiting_room = False
    routes(world).pause(asked())
    with pytest.raises(NoFreeSlot):
        world.dispatch(request())


def test_a_start_that_works_does_not_end_an_operators_pause(world: World, time: Time) -> None:
    """The lane had no room, and the one try that may be made is under way."""
    world.target.modes.append(Mode.THROTTLE)
    world.dispatch(request("a"))
    time.pass_grace()
    really = world.target.start

    def start(job: Any) -> str:  # noqa: ANN401 - as the target's
        routes(world).pause(asked())
        return really(job)

    world.target.start = start  # type: ignore[method-assign]
    world.dispatcher.start_waiting("video")
    assert (world.job("a").status, world.slots.pause) == (Status.SUBMITTED, Pause.by_operator())


def test_pausing_and_resuming_twice_is_as_once(world: World) -> None:
    for action, paused in ((routes(world).pause, True), (routes(world).resume, False)):
        assert [body(action(asked()))["paused"] is not None for _ in range(2)] == [paused, paused]


def test_a_pause_for_want_of_room_is_shown_and_can_be_ended(world: World, time: Time) -> None:
    world.target.modes.append(Mode.THROTTLE)
    world.dispatch(request("a"))
    pause = world.slots.pause
    assert pause is not None
    assert pause.until is not None
    shown = body(routes(world).list(asked()))["lanes"][0]["paused"]
    assert shown == {"until": clock.iso(pause.until), "reason": "START_THROTTLED"}
    assert body(routes(world).resume(asked()))["paused"] is None


@pytest.mark.parametrize("action", ["pause", "resume"])
def test_users_may_not(world: World, action: str) -> None:
    with pytest.raises(Problem) as refused:
        getattr(routes(world), action)(asked(user_id="ann"))
    assert (refused.value.status, world.slots.pause) == (403, None)


@pytest.mark.parametrize("lane", ["", "audio", "video/0of2"])
def test_a_lane_that_there_is_not_is_not_found(world: World, lane: str) -> None:
    with pytest.raises(Problem) as refused:
        routes(world).pause(asked(lane))
    assert refused.value.status == 404


def test_a_pause_that_others_change_all_the_time_is_tried_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(world.store, "set_pause", lambda *_: False)
    with pytest.raises(Contended):
        routes(world).pause(asked())
