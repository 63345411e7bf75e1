"""The dispatch protocol on the in-memory store and target, one situation per test."""

import re
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest

from switchyard.errors import ClaimInFlight, NoCapacity, NoFreeSlot, OutcomeUnknown, StartRefused, StartThrottled
from switchyard.messages.envelope import Envelope
from switchyard.messages.videos import VideoWork
from switchyard.protocol.dispatch import Outcome
from switchyard.protocol.jobs import Job, Status, WorkRequest
from switchyard.protocol.lanes import FIRST_PAUSE, LONGEST_PAUSE, Pause
from tests.fakes.crashing import Countdown, Crashing
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.target import Mode
from tests.requests import SENT_AT, request, source, task
from tests.world import Time, World


def new_version(version: str = "v2", job_id: str = "a", *, message_id: str = "m2") -> WorkRequest:
    """Returns a request for the same object, uploaded again."""
    key = f"uploads/{job_id}.mp4"
    return request(job_id, of=source(key=key, version=version, message_id=message_id), sent=60)


# ---- start ----------------------------------------------------------------------------------------------------------


def test_a_new_request_starts_a_run(world: World) -> None:
    assert world.dispatch(request()) is Outcome.STARTED
    assert [(run.job_id, run.fence) for run in world.target.runs.values()] == [("a", 1)]


def test_a_started_job_knows_its_run(world: World) -> None:
    world.dispatch(request())
    assert (world.job().status, world.job().target_id) == (Status.SUBMITTED, "run-0")


# ---- duplicates -----------------------------------------------------------------------------------------------------


def test_a_redelivery_starts_nothing(world: World) -> None:
    world.dispatch(request())
    assert world.dispatch(request()) is Outcome.DUPLICATE
    assert len(world.target.runs) == 1


def test_a_redelivery_after_the_end_starts_nothing(world: World) -> None:
    world.dispatch(request())
    world.end("run-0")
    assert world.dispatch(request()) is Outcome.DUPLICATE


def test_a_redelivery_after_a_failure_starts_nothing(world: World) -> None:
    world.dispatch(request())
    world.end("run-0", Status.FAILED)
    assert world.dispatch(request()) is Outcome.DUPLICATE


def test_the_same_object_under_another_id_starts_nothing(world: World) -> None:
    world.limit = 2
    world.dispatch(request())
    other = request("b", of=replace(request().source, message_id="m2"))
    assert world.dispatch(other) is Outcome.DUPLICATE
    assert world.store.get("b") is None


def test_a_plain_message_for_an_object_under_way_starts_nothing(world: World) -> None:
    world.limit = 2
    world.dispatch(request())
    plain = request("b", of=source(key="uploads/a.mp4", version="m2", message_id="m2", written_at=None))
    assert world.dispatch(plain) is Outcome.DUPLICATE


def test_an_old_version_after_a_newer_one_starts_nothing(world: World) -> None:
    world.dispatch(request(of=source(version="v2", sequencer="0B")))
    world.end("run-0")
    assert world.dispatch(request(of=source(version="v1", sequencer="0A"))) is Outcome.DUPLICATE


def test_a_version_that_ran_before_the_last_one_starts_nothing(world: World) -> None:
    for number, version in enumerate(("v1", "v2")):
        world.dispatch(new_version(version))
        world.end(f"run-{number}")
    assert world.dispatch(new_version("v1")) is Outcome.DUPLICATE


# ---- new versions ---------------------------------------------------------------------------------------------------


def test_a_new_version_after_the_end_runs(world: World) -> None:
    world.dispatch(request())
    world.end("run-0")
    assert world.dispatch(new_version()) is Outcome.STARTED
    assert world.job().fence == 2


def test_a_new_version_of_a_running_job_waits(world: World) -> None:
    world.limit = 2
    world.dispatch(request())
    assert world.dispatch(new_version()) is Outcome.HELD
    assert len(world.target.runs) == 1


def test_a_new_version_runs_once_the_old_one_has_ended(world: World) -> None:
    world.dispatch(request())
    world.dispatch(new_version())
    world.end("run-0")
    assert (world.job().status, world.job().request.source.version) == (Status.SUBMITTED, "v2")


def test_a_new_version_under_another_id_waits_and_then_runs(world: World) -> None:
    world.limit = 2
    world.dispatch(request("a"))
    other = request("b", of=replace(request("a").source, version="v2", message_id="m2"))
    assert world.dispatch(other) is Outcome.HELD
    assert world.job("b").status is Status.WAITING
    world.end("run-0")
    assert world.job("b").status is Status.SUBMITTED


def test_one_that_waits_for_its_object_does_not_hold_up_the_others(world: World) -> None:
    world.limit = 2
    world.dispatch(request("a"))
    world.dispatch(new_version())
    assert world.dispatch(request("b")) is Outcome.HELD
    assert world.job("b").status is Status.SUBMITTED


def test_a_pass_reads_a_busy_job_once_however_many_versions_wait_for_it(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.limit = 3
    world.dispatch(request("a"))
    for number in range(50):
        world.dispatch(new_version(f"w{number}", message_id=f"n{number}"))
    world.dispatch(request("b", sent=99))
    read: list[str] = []
    get = world.store.get

    def counted(job_id: str) -> Job | None:
        read.append(job_id)
        return get(job_id)

    monkeypatch.setattr(world.store, "get", counted)
    world.dispatcher.start_waiting("video")
    assert read == ["a"]


def test_every_version_that_waits_has_its_run(world: World) -> None:
    world.limit = 3
    world.dispatch(request("a"))
    for number in range(5):
        world.dispatch(new_version(f"w{number}", message_id=f"n{number}"))
    for number in range(6):
        world.end(f"run-{number}")
    assert (len(world.target.runs), world.slots.waiting) == (6, 0)


# ---- a full lane ----------------------------------------------------------------------------------------------------


def test_a_full_lane_holds_the_job(world: World) -> None:
    world.dispatch(request("a"))
    assert world.dispatch(request("b")) is Outcome.HELD
    assert world.job("b").status is Status.WAITING


def test_a_redelivery_of_a_held_job_changes_nothing(world: World) -> None:
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    assert world.dispatch(request("b")) is Outcome.DUPLICATE
    assert world.slots.waiting == 1


def test_the_end_of_a_job_starts_the_next(world: World) -> None:
    for job_id in ("a", "b"):
        world.dispatch(request(job_id))
    world.end("run-0")
    assert world.job("b").status is Status.SUBMITTED


def test_waiting_jobs_start_in_the_order_they_were_sent(world: World) -> None:
    for job_id, sent in (("a", 0), ("c", 3), ("b", 2)):
        world.dispatch(request(job_id, sent=sent))
    world.end("run-0")
    world.end("run-1")
    assert [run.job_id for run in world.target.runs.values()] == ["a", "b", "c"]


def test_a_newcomer_does_not_overtake(world: World) -> None:
    for job_id in ("a", "b"):
        world.dispatch(request(job_id))
    world.store.finish(world.job("a"), Status.COMPLETED, error=None, target_id="run-0", attempts=1)  # died right after
    world.dispatch(request("c", sent=9))
    assert [run.job_id for run in world.target.runs.values()] == ["a", "b"]


def test_a_slot_freed_between_claim_and_hold_is_filled(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.dispatch(request("a"))
    hold = world.store.hold

    def end_then_hold(*args: object, **options: object) -> object:
        world.end("run-0")
        return hold(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(world.store, "hold", end_then_hold)
    world.dispatch(request("b"))
    assert world.job("b").status is Status.SUBMITTED


def test_the_limit_holds_for_many(world: World) -> None:
    world.limit = 3
    for number in range(10):
        world.dispatch(request(f"job-{number}", sent=number))
    assert (len(world.target.runs), len(world.holders), world.slots.waiting) == (3, 3, 7)


def test_with_return_a_full_lane_sends_the_message_back(world: World) -> None:
    world.waiting_room = False
    world.dispatch(request("a"))
    with pytest.raises(NoFreeSlot):
        world.dispatch(request("b"))
    assert world.store.get("b") is None


# ---- refused starts -------------------------------------------------------------------------------------------------


def test_a_start_that_was_refused_undoes_the_claim(world: World) -> None:
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(request())
    assert (world.job().status, world.holders) == (Status.PENDING, set())


def test_the_next_delivery_after_a_refusal_starts_the_job(world: World) -> None:
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(request())
    assert world.dispatch(request()) is Outcome.STARTED
    assert world.job().fence == 2


def test_a_waiting_job_that_is_refused_keeps_its_place(world: World) -> None:
    for job_id, sent in (("a", 0), ("b", 1), ("c", 2)):
        world.dispatch(request(job_id, sent=sent))
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.end("run-0")
    assert world.dispatcher.start_waiting("video") == 1
    assert world.job("b").status is Status.SUBMITTED


def refuse_to_release(world: World, *, times: int) -> None:
    """Ends job a while b waits; b's start is then refused this often."""
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.target.modes.extend([Mode.REFUSE] * times)
    with pytest.raises(StartRefused):
        world.end("run-0")
    for _ in range(times - 1):
        with pytest.raises(StartRefused):
            world.dispatcher.start_waiting("video")


def test_a_waiting_job_refused_too_often_is_dead_lettered_with_the_reason(world: World) -> None:
    refuse_to_release(world, times=3)
    ((_, error),) = world.dead_letters.sent
    assert isinstance(error, StartRefused)
    assert (world.job("b").status, world.job("b").never_started) == (Status.FAILED, True)


def test_a_redriven_job_starts_and_keeps_its_identity(world: World) -> None:
    refuse_to_release(world, times=3)
    (body, _), *_ = world.dead_letters.sent
    work = VideoWork("video", request().target, re.compile("(?P<video_id>never)"), frozenset({"media"}))
    (redriven,) = work.parse(body, Envelope("m9", SENT_AT)).requests
    assert (redriven.job_id, redriven.source.version) == ("b", "v1")
    assert world.dispatch(redriven) is Outcome.STARTED


# ---- a target without room ------------------------------------------------------------------------------------------


def fill_up(world: World, *, starts: int = 1_000) -> None:
    """Lets the target take none of the next starts."""
    world.target.modes.extend([Mode.THROTTLE] * starts)


def test_a_job_that_finds_no_room_waits_without_a_slot_and_without_an_error(world: World) -> None:
    fill_up(world, starts=1)
    assert world.dispatch(request()) is Outcome.HELD
    assert (world.job().status, world.job().error) == (Status.WAITING, None)
    assert (world.holders, world.slots.waiting) == (set(), 1)


def test_its_lane_is_paused_and_is_woken_when_that_is_over(world: World, time: Time) -> None:
    fill_up(world, starts=1)
    world.dispatch(request())
    assert world.slots.pause == Pause(time.now + FIRST_PAUSE, 1, "START_THROTTLED")
    assert world.wakes.asked == [("video", time.now + FIRST_PAUSE)]


def test_while_a_lane_is_paused_nothing_is_tried(world: World) -> None:
    fill_up(world, starts=1)
    world.limit = 2
    for number, job_id in enumerate("abc"):
        world.dispatch(request(job_id, sent=number))
    assert world.dispatcher.start_waiting("video") == 0
    assert not world.target.runs


def test_after_the_pause_all_start_in_order(world: World, time: Time) -> None:
    fill_up(world, starts=1)
    world.limit = 3
    for number, job_id in enumerate("abc"):
        world.dispatch(request(job_id, sent=number))
    time.advance(FIRST_PAUSE)
    assert world.dispatcher.start_waiting("video") == 3
    assert [run.job_id for run in world.target.runs.values()] == ["a", "b", "c"]
    assert world.slots.pause is None


def test_a_new_job_does_not_overtake_the_one_that_is_being_tried(world: World, time: Time) -> None:
    fill_up(world, starts=1)
    world.limit = 2
    world.dispatch(request("a"))
    time.advance(FIRST_PAUSE)
    world.target.modes.clear()
    assert world.dispatch(request("b", sent=1)) is Outcome.HELD
    assert [run.job_id for run in world.target.runs.values()] == ["a", "b"]


def test_a_job_waits_for_room_for_hours_and_is_tried_ever_more_seldom(world: World, time: Time) -> None:
    fill_up(world)
    world.dispatch(request())
    began, tries = time.now, []
    while time.now - began < timedelta(hours=6):
        _, at = world.wakes.asked[-1]
        time.now = at
        world.dispatcher.start_waiting("video")
        tries.append(at - began)
    assert [one.total_seconds() for one in tries[:7]] == [5, 15, 35, 75, 155, 315, 615]
    assert all(later - sooner == LONGEST_PAUSE for sooner, later in pairwise(tries[6:]))
    assert (world.job().status, world.dead_letters.sent) == (Status.WAITING, [])
    world.target.modes.clear()
    time.now += LONGEST_PAUSE
    assert world.dispatcher.start_waiting("video") == 1


def test_throttles_are_no_refusals_that_add_up(world: World, time: Time) -> None:
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.target.modes.extend([Mode.REFUSE, Mode.THROTTLE, Mode.THROTTLE, Mode.THROTTLE, Mode.REFUSE])
    with pytest.raises(StartRefused):
        world.end("run-0")
    for _ in range(3):
        world.dispatcher.start_waiting("video")
        time.advance(LONGEST_PAUSE)
    with pytest.raises(StartRefused):
        world.dispatcher.start_waiting("video")
    assert (world.job("b").status, world.dead_letters.sent) == (Status.WAITING, [])


def test_a_pause_by_a_wrong_clock_is_over_soon(time: Time) -> None:
    pause = Pause(time.now + timedelta(hours=2), 1, "")
    assert pause.is_over(time.now)
    assert not pause.is_over(time.now + timedelta(hours=2) - LONGEST_PAUSE)


def test_a_job_that_was_cancelled_while_it_found_no_room_is_cancelled(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cancel_meanwhile(_: object) -> str:
        world.cancel()
        raise NoCapacity("no room")

    monkeypatch.setattr(world.target, "start", cancel_meanwhile)
    assert world.dispatch(request()) is Outcome.CANCELLED
    assert (world.job().status, world.holders) == (Status.CANCELLED, set())


def test_an_adopted_claim_that_finds_no_room_waits(world: World, time: Time) -> None:
    world.target.modes.append(Mode.TIME_OUT_BEFORE)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    time.pass_grace()
    fill_up(world, starts=1)
    world.reconcile()
    assert (world.job().status, world.slots.waiting) == (Status.WAITING, 1)
    time.advance(FIRST_PAUSE)
    world.reconcile()
    assert world.job().status is Status.SUBMITTED


def test_a_full_target_leaves_other_lanes_open(world: World) -> None:
    fill_up(world)
    world.dispatch(request())
    assert world.dispatch(task()) is Outcome.STARTED


def test_with_return_a_throttled_message_comes_back(world: World) -> None:
    world.waiting_room = False
    fill_up(world, starts=1)
    with pytest.raises(StartThrottled):
        world.dispatch(request())
    assert (world.job().status, world.slots.waiting) == (Status.PENDING, 0)


# ---- work without an object -----------------------------------------------------------------------------------------


def test_work_without_an_object_starts_on_its_own_target(world: World) -> None:
    assert world.dispatch(task()) is Outcome.STARTED
    assert (list(world.target.runs), list(world.tasks.runs)) == ([], ["task-0"])


def test_work_without_an_object_is_in_nobodys_way(world: World) -> None:
    world.limit = 2
    assert [world.dispatch(task(job_id)) for job_id in ("t", "u")] == [Outcome.STARTED] * 2


def test_a_full_lane_leaves_the_others_open(world: World) -> None:
    for job_id in ("a", "b"):
        world.dispatch(request(job_id))
    assert world.dispatch(task()) is Outcome.STARTED


def test_the_end_of_a_job_starts_the_next_of_its_own_lane(world: World) -> None:
    for number, wanted in enumerate((request("a"), request("b", sent=1), task("t"), task("u", sent=2))):
        assert world.dispatch(wanted) is (Outcome.HELD if number % 2 else Outcome.STARTED)
    world.end("task-0")
    assert (world.job("b").status, world.job("u").status) == (Status.WAITING, Status.SUBMITTED)


def test_a_waiting_job_given_up_goes_to_the_dead_letters_of_its_lane(world: World) -> None:
    letters = FakeDeadLetters()
    dispatcher = replace(world.dispatcher, dead_letters={**world.dispatcher.dead_letters, "images": letters})
    dispatcher.dispatch(task("t"))
    dispatcher.dispatch(task("u"))
    world.tasks.modes.extend([Mode.REFUSE] * 3)
    world.store.finish(world.job("t"), Status.COMPLETED, error=None, target_id="task-0", attempts=1)
    for _ in range(3):
        with pytest.raises(StartRefused):
            dispatcher.start_waiting("images")
    assert (len(letters.sent), world.dead_letters.sent) == (1, [])


def test_a_target_that_this_deployment_lacks_refuses(world: World) -> None:
    dispatcher = replace(world.dispatcher, targets={})
    with pytest.raises(StartRefused):
        dispatcher.dispatch(task())
    assert (world.job("t").status, world.holders_of("images")) == (Status.PENDING, set())


def test_a_lane_that_this_deployment_lacks_starts_nothing(world: World) -> None:
    assert world.dispatcher.start_waiting("elsewhere") == 0


# ---- announced work -------------------------------------------------------------------------------------------------


ANNOUNCED = task(announced=True)


def announce(world: World) -> None:
    """Announces a job, as the API does before it sends the message."""
    world.store.jobs["t"] = Job(ANNOUNCED, Status.PENDING, fence=0, created_at=SENT_AT)


def test_announced_work_is_started_by_its_message(world: World) -> None:
    announce(world)
    assert world.dispatch(ANNOUNCED) is Outcome.STARTED


def test_announced_work_takes_no_call_more_than_any_other(world: World) -> None:
    announce(world)
    countdown = Countdown(3)
    world.wrapped(lambda inner: Crashing(inner, countdown)).dispatch(ANNOUNCED)
    assert countdown.calls == 0


def test_a_full_lane_holds_announced_work(world: World) -> None:
    announce(world)
    world.dispatch(task("other"))
    assert world.dispatch(ANNOUNCED) is Outcome.HELD
    assert world.job("t").status is Status.WAITING


def test_a_redelivery_of_announced_work_starts_nothing(world: World) -> None:
    announce(world)
    world.dispatch(ANNOUNCED)
    assert world.dispatch(ANNOUNCED) is Outcome.DUPLICATE


def test_announced_work_that_was_refused_is_started_by_the_next_delivery(world: World) -> None:
    announce(world)
    world.tasks.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(ANNOUNCED)
    assert world.dispatch(ANNOUNCED) is Outcome.STARTED


@pytest.mark.parametrize("limit", [0, 1])
def test_withdrawn_work_is_neither_started_nor_held(world: World, limit: int) -> None:
    world.limit = limit
    assert world.dispatch(ANNOUNCED) is Outcome.WITHDRAWN
    assert (world.store.get("t"), world.tasks.runs, world.slots_of("images").waiting) == (None, {}, 0)


def test_announced_work_given_up_before_its_first_claim_has_failed(world: World) -> None:
    announce(world)
    world.dispatcher.give_up(ANNOUNCED, StartRefused("no"))
    assert (world.job("t").status, world.job("t").never_started) == (Status.FAILED, True)


# ---- unknown outcomes and crashes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", [Mode.TIME_OUT_BEFORE, Mode.TIME_OUT_AFTER])
def test_an_unknown_outcome_keeps_the_claim(world: World, mode: Mode) -> None:
    world.target.modes.append(mode)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    assert (world.job().status, world.holders) == (Status.CLAIMED, {"a"})


def test_a_redelivery_within_the_grace_period_comes_back_later(world: World) -> None:
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    with pytest.raises(ClaimInFlight):
        world.dispatch(request())


def test_another_message_for_a_young_claim_is_a_duplicate(world: World) -> None:
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    assert world.dispatch(request(of=source(message_id="m2"))) is Outcome.DUPLICATE


def test_a_start_that_took_effect_is_adopted(world: World, time: Time) -> None:
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    time.pass_grace()
    assert world.dispatch(request()) is Outcome.ADOPTED
    assert (len(world.target.runs), world.job().target_id) == (1, "run-0")


def test_a_start_that_took_no_effect_is_done_again_under_a_higher_fence(world: World, time: Time) -> None:
    world.target.modes.append(Mode.TIME_OUT_BEFORE)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    time.pass_grace()
    assert world.dispatch(request()) is Outcome.STARTED
    assert [(run.job_id, run.fence) for run in world.target.runs.values()] == [("a", 2)]


def test_events_of_a_start_nobody_recorded_move_the_job(world: World) -> None:
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(request())
    world.end("run-0")
    assert (world.job().status, world.holders) == (Status.COMPLETED, set())


def test_a_job_someone_registered_beforehand_is_started(world: World) -> None:
    placeholder = replace(request().source, version="", message_id="")
    world.store.jobs["a"] = Job(request(of=placeholder), Status.PENDING, fence=0, created_at=SENT_AT)
    assert world.dispatch(request()) is Outcome.STARTED


def test_a_duplicate_under_another_id_gives_its_task_token_to_the_job_that_has_the_object(world: World) -> None:
    world.dispatch(request("a", of=source(key="clip.mp4")))
    again = replace(request("b", of=source(key="clip.mp4")), task_token="token")
    assert world.dispatch(again) is Outcome.DUPLICATE
    assert world.job("a").request.task_token == "token"
