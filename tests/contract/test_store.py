"""One suite for the real store on moto and for its in-memory fake, which proves that the fake behaves the same."""

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from datetime import timedelta
from itertools import cycle
from typing import Any, cast

import pytest
from moto.dynamodb.exceptions import ItemSizeTooLarge
from moto.dynamodb.models.dynamo_type import DynamoType
from moto.dynamodb.parsing.executors import UpdateExpressionExecutor

from switchyard import clock, observability
from switchyard.errors import ForeignRow, Unavailable
from switchyard.names import stable_hash
from switchyard.observability import Metric
from switchyard.protocol.jobs import (
    ROW_FULL,
    TERMINAL,
    TRANSITIONS,
    Attempt,
    Job,
    JobError,
    Status,
    WorkRequest,
    has_run,
)
from switchyard.protocol.lanes import Lane, Pause, Slots, WaitEntry
from switchyard.protocol.ports import Claimed, EntryGone, Held, JobChanged, JobStore, LaneFull, ObjectLocked
from switchyard.tables import items, lane_items
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.fakes.memory_store import MemoryStore
from tests.requests import SENT_AT, request, source, task
from tests.world import Time

ONE = Lane("video", 1)
TWO = Lane("video", 2)
ERROR = JobError("START_REFUSED", "no such queue")
PAUSE = Pause.begin(SENT_AT, "NO_CAPACITY")


@pytest.fixture(params=["memory", "dynamodb"])
def store(request: pytest.FixtureRequest) -> JobStore:
    if request.param == "memory":
        return MemoryStore()
    aws: Aws = request.getfixturevalue("aws")
    return Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    time = Time()
    monkeypatch.setattr(clock, "now", lambda: time.now)
    return time


def claimed(store: JobStore, job_id: str = "a", lane: Lane = TWO) -> Job:
    outcome = store.claim(request(job_id), None, lane)
    assert isinstance(outcome, Claimed), outcome
    return outcome.job


def submitted(store: JobStore, job_id: str = "a", lane: Lane = TWO) -> Job:
    assert store.record_start(claimed(store, job_id, lane), f"batch-{job_id}") is None
    return known(store, job_id)


def asked_to_cancel(store: JobStore, job: Job) -> Job:
    noted = store.request_cancel(job)
    assert isinstance(noted, Job), noted
    return noted


def held(store: JobStore, lane: Lane = ONE) -> set[str]:
    return set(store.holders(lane))


def known(store: JobStore, job_id: str = "a") -> Job:
    job = store.get(job_id)
    assert job is not None
    return job


def entries(store: JobStore) -> list[WaitEntry]:
    return list(store.waiting(ONE))


def test_an_unknown_job_is_none(store: JobStore) -> None:
    assert store.get("a") is None


def test_an_unused_lane_has_no_holders_and_nobody_waiting(store: JobStore) -> None:
    assert store.slots(ONE) == Slots(0, 0)


# ---- trying again ---------------------------------------------------------------------------------------------------

AGAIN = (Attempt("batch-a", JobError("HOST_LOST", "it was taken away"), SENT_AT),)


def to_try_again(job: Job) -> Job:
    return replace(job, request=replace(job.request, start_after=SENT_AT + timedelta(hours=2)), attempts=AGAIN)


def test_a_job_to_try_again_waits_for_its_time_under_a_raised_fence(store: JobStore) -> None:
    job = submitted(store)
    assert store.retry(job, to_try_again(job))
    found = known(store)
    assert (found.status, found.fence, found.attempts) == (Status.WAITING, job.fence + 1, AGAIN)
    assert (found.target_id, found.run_id, found.claimed_at, found.error) == (None, None, None, None)
    assert store.slots(TWO) == Slots(0, 1)
    assert [entry.request for entry in entries(store)] == [found.request]
    assert isinstance(store.claim(request("b", of=job.request.source), None, TWO, fifo=False), ObjectLocked)


def test_a_job_that_was_cancelled_meanwhile_is_not_tried_again(store: JobStore) -> None:
    job = submitted(store)
    asked_to_cancel(store, job)
    assert not store.retry(job, to_try_again(job))
    assert (known(store).status, store.slots(TWO)) == (Status.SUBMITTED, Slots(1, 0))


def test_a_job_is_put_back_once(store: JobStore) -> None:
    job = submitted(store)
    assert store.retry(job, to_try_again(job))
    assert not store.retry(job, to_try_again(job))
    assert store.slots(TWO).waiting == 1


def test_its_attempts_are_kept_for_its_next_run_and_not_for_other_work(store: JobStore) -> None:
    job = submitted(store)
    store.retry(job, to_try_again(job))
    [entry] = entries(store)
    claim = store.claim(entry.request, known(store), TWO, entry=entry)
    assert isinstance(claim, Claimed)
    assert known(store).attempts == AGAIN
    store.finish(known(store), Status.COMPLETED, error=None, target_id=None, attempts=2)
    newer = request(of=source(version="v2", message_id="m2"))
    assert isinstance(store.claim(newer, known(store), TWO), Claimed)
    assert known(store).attempts == ()


def test_a_job_to_try_again_can_be_cancelled(store: JobStore) -> None:
    job = submitted(store)
    store.retry(job, to_try_again(job))
    assert store.cancel(known(store)) is None
    assert (entries(store), store.slots(TWO).waiting) == ([], 0)


# ---- claim ----------------------------------------------------------------------------------------------------------


def test_a_first_claim_has_fence_one(store: JobStore) -> None:
    assert claimed(store).fence == 1


def test_a_claim_is_what_a_read_then_finds(store: JobStore) -> None:
    job = claimed(store)
    found = known(store)
    assert (found.status, found.fence, found.request) == (Status.CLAIMED, 1, job.request)


def test_a_claim_takes_a_slot(store: JobStore) -> None:
    claimed(store)
    assert held(store, ONE) == {"a"}


def test_a_claim_of_a_job_that_exists_gives_the_job_found(store: JobStore) -> None:
    claimed(store)
    outcome = store.claim(request(), None, TWO)
    assert isinstance(outcome, JobChanged)
    assert outcome.found is not None
    assert outcome.found.status is Status.CLAIMED


def test_a_claim_of_a_job_that_vanished_finds_none(store: JobStore) -> None:
    seen = Job(request(), Status.PENDING, fence=1, created_at=request().sent_at)
    assert store.claim(request(), seen, TWO) == JobChanged(None)


def test_a_claim_in_a_full_lane_is_refused(store: JobStore) -> None:
    claimed(store, "a", ONE)
    assert store.claim(request("b"), None, ONE) == LaneFull()


def test_a_refused_claim_leaves_no_job(store: JobStore) -> None:
    claimed(store, "a", ONE)
    store.claim(request("b"), None, ONE)
    assert store.get("b") is None


def test_a_refused_claim_leaves_no_lock(store: JobStore) -> None:
    claimed(store, "a", ONE)
    store.claim(request("b"), None, ONE)
    assert isinstance(store.claim(request("c", of=request("b").source), None, TWO), Claimed)


def test_a_claim_on_an_object_of_another_job_names_that_job(store: JobStore) -> None:
    claimed(store, "a")
    outcome = store.claim(request("b", of=request("a").source), None, TWO)
    assert isinstance(outcome, ObjectLocked)
    assert outcome.lock.job_id == "a"


def test_a_claim_does_not_overtake_those_who_wait(store: JobStore) -> None:
    store.hold(request("a"), None)
    assert store.claim(request("b"), None, ONE) == LaneFull()


def test_a_claim_without_fifo_overtakes(store: JobStore) -> None:
    store.hold(request("a"), None)
    assert isinstance(store.claim(request("b"), None, ONE, fifo=False), Claimed)


def test_a_claim_of_new_work_remembers_the_version_before(store: JobStore) -> None:
    job = submitted(store)
    store.finish(job, Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    store.claim(request(of=replace(job.request.source, version="v2")), known(store), ONE)
    assert known(store).past_versions == ("v1",)


def test_a_claim_of_new_work_raises_the_fence(store: JobStore) -> None:
    job = submitted(store)
    store.finish(job, Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    store.claim(request(of=replace(job.request.source, version="v2")), known(store), ONE)
    assert known(store).fence == 2


def test_a_claim_of_new_work_forgets_the_run_before(store: JobStore) -> None:
    job = submitted(store)
    store.finish(job, Status.FAILED, error=ERROR, target_id="batch-a", attempts=1)
    store.claim(request(of=replace(job.request.source, version="v2")), known(store), ONE)
    assert (known(store).target_id, known(store).error) == (None, None)


# ---- the waiting room -----------------------------------------------------------------------------------------------


def test_a_held_job_waits(store: JobStore) -> None:
    assert store.hold(request(), None) == Held()
    assert known(store).status is Status.WAITING


def test_a_held_job_takes_no_slot(store: JobStore) -> None:
    store.hold(request(), None)
    assert store.slots(ONE) == Slots(0, 1)


def test_a_held_job_locks_its_object(store: JobStore) -> None:
    store.hold(request(), None)
    assert isinstance(store.hold(request("b", of=request().source), None), ObjectLocked)


def test_holding_without_the_lock_leaves_the_object_to_its_job(store: JobStore) -> None:
    claimed(store)
    assert store.hold(request("b", of=request().source), None, lock_object=False) == Held()


def test_holding_a_job_that_exists_gives_the_job_found(store: JobStore) -> None:
    claimed(store)
    assert isinstance(store.hold(request(), None), JobChanged)


def test_the_room_is_in_the_order_of_sending(store: JobStore) -> None:
    for job_id, sent in (("b", 2), ("c", 3), ("a", 1)):
        store.hold(request(job_id, sent=sent), None)
    assert [entry.request.job_id for entry in entries(store)] == ["a", "b", "c"]


def test_holding_behind_twice_counts_once(store: JobStore) -> None:
    store.hold_behind(request())
    store.hold_behind(request())
    assert (len(entries(store)), store.slots(ONE).waiting) == (1, 1)


def test_two_versions_sent_in_one_message_have_two_places(store: JobStore) -> None:
    store.hold_behind(request())
    store.hold_behind(request(of=source(version="v2")))
    assert len(entries(store)) == 2


def test_a_claim_from_the_room_leaves_it(store: JobStore) -> None:
    store.hold(request(), None)
    assert isinstance(store.claim(request(), known(store), ONE, entry=WaitEntry(request())), Claimed)
    assert (entries(store), store.slots(ONE)) == ([], Slots(1, 0))


def test_a_claim_from_the_room_of_an_entry_that_is_gone(store: JobStore) -> None:
    store.hold(request(), None)
    store.drop(WaitEntry(request()), known(store))
    assert store.claim(request(), known(store), ONE, entry=WaitEntry(request())) == EntryGone()


def test_a_claim_from_the_room_respects_the_limit(store: JobStore) -> None:
    claimed(store, "a", ONE)
    store.hold(request("b"), None)
    assert store.claim(request("b"), known(store, "b"), ONE, entry=WaitEntry(request("b"))) == LaneFull()


def at(moment: timedelta, job_id: str = "a") -> WorkRequest:
    """A request to be started at a time after the clock's."""
    return replace(request(job_id), start_after=clock.now() + moment)


def test_a_job_with_a_time_waits_for_it_and_is_no_hindrance(store: JobStore) -> None:
    store.hold(at(timedelta(hours=2)), None)
    assert (entries(store), store.slots(ONE)) == ([], Slots(0, 0, 1))
    assert [(entry.request.job_id, entry.later) for entry in store.later(ONE)] == [("a", True)]
    assert isinstance(store.claim(request("b"), None, ONE), Claimed)


def test_those_with_a_time_are_in_its_order(store: JobStore) -> None:
    for job_id, hours in (("b", 2), ("c", 3), ("a", 1)):
        store.hold(at(timedelta(hours=hours), job_id), None)
    assert [entry.request.job_id for entry in store.later(ONE)] == ["a", "b", "c"]


def test_whose_time_has_come_enters_the_room_once(store: JobStore) -> None:
    store.hold(at(timedelta(hours=2)), None)
    (entry,) = store.later(ONE)
    assert [store.admit(entry), store.admit(entry)] == [True, False]
    assert (entries(store), list(store.later(ONE)), store.slots(ONE)) == ([entry.moved()], [], Slots(0, 1))


def test_what_is_in_the_room_already_enters_it_no_second_time(store: JobStore, time: Time) -> None:
    wanted = at(timedelta(hours=2))
    store.hold(wanted, None)
    (entry,) = store.later(ONE)
    time.advance(timedelta(hours=3))
    store.hold_behind(wanted)
    assert store.admit(entry)
    assert store.slots(ONE) == Slots(0, 1)


@pytest.mark.parametrize("admitted", [False, True])
@pytest.mark.parametrize("passed", [timedelta(0), timedelta(hours=3)])
def test_a_job_with_a_time_is_cancelled_wherever_it_waits(
    store: JobStore, time: Time, passed: timedelta, *, admitted: bool
) -> None:
    store.hold(at(timedelta(hours=2)), None)
    (entry,) = store.later(ONE)
    if admitted:
        store.admit(entry)
    time.advance(passed)
    assert store.cancel(known(store)) is None
    assert (list(store.entries(ONE)), store.slots(ONE)) == ([], Slots(0, 0))


def test_all_entries_are_listed_for_who_counts_them(store: JobStore) -> None:
    store.hold(at(timedelta(hours=2)), None)
    store.hold(request("b"), None)
    assert [entry.request.job_id for entry in store.entries(ONE)] == ["b", "a"]


def test_a_higher_priority_goes_first_and_the_same_in_the_order_of_sending(store: JobStore) -> None:
    for sent, (job_id, priority) in enumerate((("a", 0), ("b", 3), ("c", 9), ("d", 3))):
        store.hold(replace(request(job_id, sent=sent), priority=priority), None)
    assert [entry.request.job_id for entry in entries(store)] == ["c", "b", "d", "a"]


def test_a_job_that_holds_its_slot_still_is_claimed_with_it(store: JobStore) -> None:
    """Its worker wrote its end itself, and a newer upload comes before the event."""
    job = submitted(store)
    store.finish(job, Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    ended = known(store)
    store.retake_slot(TWO, ended)
    assert isinstance(store.claim(request(of=source(version="v2")), ended, TWO), Claimed)
    assert (held(store), store.slots(TWO)) == ({"a"}, Slots(1, 0))


def test_an_end_whose_hold_is_lost_counts_nothing(store: JobStore) -> None:
    job = submitted(store)
    submitted(store, "b")
    store.free_leaked_slot(TWO, "a", job)
    assert store.finish(job, Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert (held(store), store.slots(TWO)) == ({"b"}, Slots(1, 0))


def test_dropping_twice_counts_once(store: JobStore) -> None:
    store.hold_behind(request("a"))
    store.hold_behind(request("b"))
    store.drop(WaitEntry(request("a")), None)
    store.drop(WaitEntry(request("a")), None)
    assert store.slots(ONE).waiting == 1


def test_an_entry_is_not_dropped_if_its_job_has_changed(store: JobStore) -> None:
    """Its start was throttled meanwhile, and it waits again under the same key."""
    store.hold(request(), None)
    entry = WaitEntry(request())
    claim = store.claim(request(), known(store), ONE, entry=entry)
    assert isinstance(claim, Claimed)
    store.undo_claim(claim.job, ERROR, entry=entry)
    assert store.drop(entry, claim.job) == JobChanged(known(store))
    assert entries(store) == [entry]


def test_an_entry_is_not_dropped_if_its_job_exists_by_now(store: JobStore) -> None:
    store.hold(request(), None)
    assert store.drop(WaitEntry(request()), None) == JobChanged(known(store))


def test_a_lane_is_paused_and_goes_on(store: JobStore) -> None:
    assert store.set_pause(ONE, None, PAUSE)
    assert store.slots(ONE).pause == PAUSE
    assert store.set_pause(ONE, PAUSE, None)
    assert store.slots(ONE).pause is None


@pytest.mark.parametrize("seen", [None, PAUSE.again(SENT_AT)])
@pytest.mark.parametrize("to", [None, PAUSE.again(SENT_AT)])
def test_a_pause_is_changed_by_whoever_knows_it(store: JobStore, seen: Pause | None, to: Pause | None) -> None:
    store.set_pause(ONE, None, PAUSE)
    assert not store.set_pause(ONE, seen, to)
    assert store.slots(ONE).pause == PAUSE


def test_in_a_paused_lane_only_a_waiting_job_is_claimed(store: JobStore) -> None:
    store.set_pause(ONE, None, PAUSE)
    assert store.claim(request(), None, ONE) == LaneFull()
    store.hold(request(), None)
    assert isinstance(store.claim(request(), known(store), ONE, entry=WaitEntry(request())), Claimed)


def test_an_operators_pause_stops_everybody(store: JobStore) -> None:
    store.hold(request(), None)
    assert store.set_pause(ONE, None, Pause.by_operator())
    assert store.slots(ONE).pause == Pause.by_operator()
    assert store.claim(request("b"), None, ONE, fifo=False) == LaneFull()
    assert store.claim(request(), known(store), ONE, entry=WaitEntry(request())) == LaneFull()
    assert store.set_pause(ONE, Pause.by_operator(), None)
    assert isinstance(store.claim(request("b"), None, ONE, fifo=False), Claimed)


def test_without_a_waiting_room_a_pause_stops_nobody(store: JobStore) -> None:
    store.set_pause(ONE, None, PAUSE)
    assert isinstance(store.claim(request(), None, ONE, fifo=False), Claimed)


def test_a_job_that_goes_back_without_an_error_has_none(store: JobStore) -> None:
    job = claimed(store, "a", ONE)
    assert store.undo_claim(job, None, entry=WaitEntry(job.request)) is None
    found = known(store)
    assert (found.status, found.error, found.fence) == (Status.WAITING, None, job.fence)


def test_a_wrong_count_is_mended(store: JobStore) -> None:
    store.hold_behind(request())
    assert store.recount(ONE, store.slots(ONE), Slots(3, 5, 4))
    assert store.slots(ONE) == Slots(3, 5, 4)


def test_a_count_that_changed_meanwhile_is_left_alone(store: JobStore) -> None:
    seen = store.slots(ONE)
    store.hold_behind(request())
    store.drop(WaitEntry(request()), None)
    assert not store.recount(ONE, seen, Slots(0, 1))


@pytest.mark.parametrize("moves", ["in", "back", "out"])
def test_every_move_of_an_entry_keeps_an_older_count_from_being_written(store: JobStore, moves: str) -> None:
    store.hold(request(), None)
    entry, slots = WaitEntry(request()), store.slots(ONE)
    if moves == "in":
        store.hold_behind(request("b"))
    else:
        claim = store.claim(request(), known(store), ONE, entry=entry)
        if moves == "back":
            slots = store.slots(ONE)
            assert isinstance(claim, Claimed)
            store.undo_claim(claim.job, ERROR, entry=entry)
    assert not store.recount(ONE, slots, Slots(0, 7))


# ---- start ----------------------------------------------------------------------------------------------------------


def test_recording_a_start(store: JobStore) -> None:
    job = submitted(store)
    assert (job.status, job.target_id) == (Status.SUBMITTED, "batch-a")


def test_a_start_is_not_recorded_over_an_event_that_came_first(store: JobStore) -> None:
    job = claimed(store)
    store.advance("a", 1, "batch-a", Status.RUNNING, attempts=0)
    assert store.record_start(job, "batch-a") == JobChanged(known(store))
    assert known(store).status is Status.RUNNING


def test_a_start_is_not_recorded_under_an_old_fence(store: JobStore) -> None:
    job = claimed(store)
    store.raise_fence(job)
    assert store.record_start(job, "batch-a") == JobChanged(known(store))


def test_raising_the_fence(store: JobStore) -> None:
    again = store.raise_fence(claimed(store))
    assert isinstance(again, Claimed)
    assert (again.job.fence, known(store).fence, known(store).status) == (2, 2, Status.CLAIMED)


def test_only_one_of_two_raises_the_fence(store: JobStore) -> None:
    job = claimed(store)
    store.raise_fence(job)
    assert store.raise_fence(job) == JobChanged(known(store))


def test_the_fence_of_a_started_job_is_not_raised(store: JobStore) -> None:
    assert store.raise_fence(submitted(store)) == JobChanged(known(store))


def test_undoing_a_claim_makes_the_job_pending(store: JobStore) -> None:
    assert store.undo_claim(claimed(store), ERROR) is None
    assert (known(store).status, known(store).error) == (Status.PENDING, ERROR)


def test_undoing_a_claim_frees_slot_and_object(store: JobStore) -> None:
    store.undo_claim(claimed(store), ERROR)
    assert held(store, ONE) == set()
    assert isinstance(store.claim(request("b", of=request().source), None, ONE), Claimed)


def test_undoing_a_claim_keeps_the_fence(store: JobStore) -> None:
    store.undo_claim(claimed(store), ERROR)
    assert known(store).fence == 1


def test_undoing_a_claim_from_the_room_puts_it_back_in_its_place(store: JobStore) -> None:
    store.hold(request(), None)
    outcome = store.claim(request(), known(store), ONE, entry=WaitEntry(request()))
    assert isinstance(outcome, Claimed)
    store.undo_claim(outcome.job, ERROR, entry=WaitEntry(request(), attempts=1))
    assert entries(store) == [WaitEntry(request(), attempts=1)]
    assert store.slots(ONE) == Slots(0, 1)
    assert known(store).status is Status.WAITING


def test_undoing_a_claim_whose_entry_was_put_back_meanwhile_counts_once(store: JobStore) -> None:
    """A redelivery of its message, which had read the job before the claim, puts the entry back."""
    store.hold(request(), None)
    (entry,) = entries(store)
    outcome = store.claim(request(), known(store), TWO, entry=entry)
    assert isinstance(outcome, Claimed)
    store.hold_behind(request())
    assert store.undo_claim(outcome.job, ERROR, entry=replace(entry, attempts=1)) is None
    assert ([each.attempts for each in entries(store)], store.slots(TWO)) == ([1], Slots(0, 1))
    assert known(store).status is Status.WAITING


def test_undoing_a_claim_that_is_no_longer_ours_changes_nothing(store: JobStore) -> None:
    job = claimed(store)
    store.record_start(job, "batch-a")
    assert store.undo_claim(job, ERROR) == JobChanged(known(store))
    assert (known(store).status, store.slots(ONE)) == (Status.SUBMITTED, Slots(1, 0))


def test_giving_up_a_pending_job(store: JobStore) -> None:
    store.undo_claim(claimed(store), ERROR)
    assert store.give_up(known(store), ERROR)
    assert (known(store).status, known(store).never_started) == (Status.FAILED, True)


def test_a_started_job_is_not_given_up(store: JobStore) -> None:
    assert not store.give_up(submitted(store), ERROR)


def test_a_given_up_job_can_be_claimed_again_and_is_no_longer_given_up(store: JobStore) -> None:
    store.undo_claim(claimed(store), ERROR)
    store.give_up(known(store), ERROR)
    assert isinstance(store.claim(request(), known(store), ONE), Claimed)
    assert not known(store).never_started


def test_a_version_that_was_given_up_is_no_past_one_when_another_is_claimed(store: JobStore) -> None:
    """It never ran: its dead letter, redriven, must not be taken for a duplicate."""
    store.undo_claim(claimed(store), ERROR)
    store.give_up(known(store), ERROR)
    store.claim(request(of=source(version="v2")), known(store), ONE)
    assert known(store).past_versions == ()


# ---- events ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", [Status.SUBMITTED, Status.RUNNING])
def test_an_event_before_the_start_is_recorded_moves_the_job(store: JobStore, to: Status) -> None:
    claimed(store)
    assert store.advance("a", 1, "batch-a", to, attempts=0)
    assert (known(store).status, known(store).target_id) == (to, "batch-a")


def test_a_late_event_does_not_move_a_job_back(store: JobStore) -> None:
    submitted(store)
    store.advance("a", 1, "batch-a", Status.RUNNING, attempts=0)
    assert not store.advance("a", 1, "batch-a", Status.SUBMITTED, attempts=0)


def test_an_event_of_an_old_fence_changes_nothing(store: JobStore) -> None:
    store.raise_fence(claimed(store))
    assert not store.advance("a", 1, "batch-a", Status.RUNNING, attempts=0)


def test_an_event_of_another_run_changes_nothing(store: JobStore) -> None:
    submitted(store)
    assert not store.advance("a", 1, "batch-other", Status.RUNNING, attempts=0)


def test_where_the_log_is_is_learned_although_the_worker_was_faster(aws: Aws) -> None:
    store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))

    def log() -> str | None:
        return (
            aws.dynamodb.get_item(TableName=aws.jobs_table, Key=items.job_key("a"))["Item"]
            .get("logStream", {})
            .get("S")
        )

    def event(stream: str, target_id: str = "batch-a", attempts: int = 0) -> bool:
        return store.advance("a", 1, target_id, Status.RUNNING, attempts=attempts, log_stream=stream)

    submitted(store)
    aws.dynamodb.update_item(  # by the worker
        TableName=aws.jobs_table,
        Key=items.job_key("a"),
        UpdateExpression="SET #status = :running, runId = :run",
        ExpressionAttributeNames={"#status": "status"},
        ExpressionAttributeValues={":running": items.text(Status.RUNNING), ":run": items.text("batch-a")},
    )
    assert not event("of-another-run", "batch-b")
    assert log() is None
    assert not event("first")
    assert log() == "first"
    assert not event("second", attempts=1)
    assert not event("first")  # told again, late
    assert log() == "second"
    assert known(store).status is Status.RUNNING
    for stream in ("third", "last"):
        ended = store.finish(
            known(store), Status.COMPLETED, error=None, target_id="batch-a", attempts=2, log_stream=stream
        )
        assert (ended, log()) == (True, stream)
    assert isinstance(store.claim(request(of=source(version="v2")), known(store), TWO), Claimed)
    assert log() is None


def test_an_event_of_an_unknown_job_changes_nothing(store: JobStore) -> None:
    assert not store.advance("a", 1, "batch-a", Status.RUNNING, attempts=0)
    assert store.get("a") is None


@pytest.mark.parametrize("to", [Status.COMPLETED, Status.FAILED, Status.CANCELLED])
def test_an_end_is_final(store: JobStore, to: Status) -> None:
    job = submitted(store)
    assert store.finish(job, to, error=None, target_id="batch-a", attempts=1)
    assert not store.advance("a", 1, "batch-a", Status.RUNNING, attempts=1)
    assert known(store).status is to


def test_an_end_frees_slot_and_object(store: JobStore) -> None:
    store.finish(submitted(store), Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert held(store, ONE) == set()
    assert isinstance(store.claim(request("b", of=request().source), None, ONE), Claimed)


def test_an_end_is_refused_where_the_job_moved_meanwhile(store: JobStore) -> None:
    job = submitted(store)
    store.advance("a", 1, "batch-a", Status.RUNNING, attempts=0)
    assert not store.finish(job, Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert held(store, ONE) == {"a"}


def test_a_second_end_changes_no_status(store: JobStore) -> None:
    store.finish(submitted(store), Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert store.finish(known(store), Status.FAILED, error=ERROR, target_id="batch-a", attempts=1)
    assert (known(store).status, known(store).error) == (Status.COMPLETED, None)


def test_a_second_end_leaves_the_object_to_who_has_it_by_now(store: JobStore) -> None:
    store.finish(submitted(store), Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    store.claim(request("b", of=request().source), None, TWO)
    assert store.finish(known(store), Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert isinstance(store.claim(request("c", of=request().source), None, TWO), ObjectLocked)


def test_a_failure_keeps_its_reason(store: JobStore) -> None:
    store.finish(submitted(store), Status.FAILED, error=ERROR, target_id="batch-a", attempts=1)
    assert known(store).error == ERROR


def test_an_end_without_a_run_is_noted(store: JobStore) -> None:
    assert store.finish(claimed(store), Status.CANCELLED, error=None, target_id=None, attempts=0)
    assert (known(store).status, known(store).target_id) == (Status.CANCELLED, None)


@pytest.mark.parametrize("to", sorted(TERMINAL - TRANSITIONS[Status.WAITING]))
def test_an_end_that_can_not_follow_changes_nothing(store: JobStore, to: Status) -> None:
    store.hold(request(), None)
    assert not store.finish(known(store), to, error=None, target_id="batch-a", attempts=1)
    assert known(store).status is Status.WAITING


@pytest.mark.parametrize("to", sorted(set(Status) - TERMINAL))
def test_what_is_no_end_ends_nothing(store: JobStore, to: Status) -> None:
    job = submitted(store)
    assert not store.finish(job, to, error=None, target_id="batch-a", attempts=1)
    assert known(store) == job


# ---- cancels --------------------------------------------------------------------------------------------------------


def test_cancelling_a_pending_job_ends_it(store: JobStore, time: Time) -> None:
    store.undo_claim(claimed(store), ERROR)
    assert store.cancel(known(store)) is None
    assert (known(store).status, known(store).ended_at, known(store).error) == (Status.CANCELLED, time.now, None)


def test_cancelling_a_waiting_job_ends_it(store: JobStore) -> None:
    store.hold(request(), None)
    assert store.cancel(known(store)) is None
    assert known(store).status is Status.CANCELLED


def test_cancelling_a_waiting_job_takes_it_out_of_the_room(store: JobStore) -> None:
    store.hold(request("a"), None)
    store.hold(request("b"), None)
    store.cancel(known(store, "a"))
    assert ([entry.request.job_id for entry in entries(store)], store.slots(ONE).waiting) == (["b"], 1)


def test_cancelling_a_waiting_job_unlocks_its_object(store: JobStore) -> None:
    store.hold(request(), None)
    store.cancel(known(store))
    assert isinstance(store.claim(request("b", of=request().source), None, ONE), Claimed)


def test_cancelling_a_job_that_waits_for_an_object_leaves_the_object_to_its_job(store: JobStore) -> None:
    claimed(store, "a")
    store.hold(request("b", of=request("a").source), None, lock_object=False)
    assert store.cancel(known(store, "b")) is None
    assert (entries(store), store.slots(ONE).waiting) == ([], 0)
    assert isinstance(store.claim(request("c", of=request("a").source), None, TWO), ObjectLocked)


def test_cancelling_a_job_that_lost_its_place_in_the_room_counts_nothing(store: JobStore) -> None:
    store.hold(request("a"), None)
    store.hold(request("b"), None)
    store.drop(WaitEntry(request("a")), known(store, "a"))
    assert store.cancel(known(store, "a")) is None
    assert (known(store, "a").status, store.slots(ONE).waiting) == (Status.CANCELLED, 1)
    assert isinstance(store.claim(request("c", of=request("a").source), None, ONE, fifo=False), Claimed)


def test_cancelling_a_waiting_job_leaves_newer_work_behind_it_in_the_room(store: JobStore) -> None:
    newer = request(of=source(version="v2"), sent=1)
    store.hold(request(), None)
    store.hold_behind(newer)
    store.cancel(known(store))
    assert [entry.request for entry in entries(store)] == [newer]


def test_a_job_that_was_claimed_meanwhile_is_not_ended_under_its_claim(store: JobStore) -> None:
    store.hold(request(), None)
    waiting = known(store)
    store.claim(request(), waiting, ONE, entry=WaitEntry(request()))
    assert store.cancel(waiting) == JobChanged(known(store))
    assert (known(store).status, held(store, ONE)) == (Status.CLAIMED, {"a"})


def test_a_job_that_went_back_to_the_room_meanwhile_is_not_ended_as_pending(store: JobStore) -> None:
    """Its fence is the same or not: it is the status that has changed."""
    store.undo_claim(claimed(store), ERROR)
    pending = known(store)
    store.hold(request(), pending)
    assert store.cancel(pending) == JobChanged(known(store))


def test_a_vanished_job_can_not_be_cancelled(store: JobStore) -> None:
    seen = Job(request(), Status.PENDING, fence=0, created_at=request().sent_at)
    assert store.cancel(seen) == JobChanged(None)
    assert store.get("a") is None


def test_a_cancelled_job_can_not_be_claimed_as_the_pending_one_it_was(store: JobStore) -> None:
    store.undo_claim(claimed(store), ERROR)
    pending = known(store)
    store.cancel(pending)
    assert store.claim(request(), pending, ONE) == JobChanged(known(store))


def test_a_cancelled_job_can_not_be_claimed_as_the_ended_one_it_was_before_it_waited(store: JobStore) -> None:
    """Somebody slow saw the version before end; a quick one has held the new one, and it was cancelled."""
    store.finish(submitted(store), Status.CANCELLED, error=None, target_id="batch-a", attempts=1)
    ended, newer = known(store), request(of=source(version="v2"))
    store.hold(newer, ended)
    store.cancel(known(store))
    assert store.claim(newer, ended, ONE) == JobChanged(known(store))


def test_a_job_with_a_slot_is_noted_to_be_cancelled_and_goes_on(store: JobStore) -> None:
    job = submitted(store)
    noted = asked_to_cancel(store, job)
    assert noted == known(store) == replace(job, cancel_requested=True)


def test_a_cancel_asked_for_twice_is_one(store: JobStore) -> None:
    once = asked_to_cancel(store, submitted(store))
    assert asked_to_cancel(store, once) == once


def test_a_cancel_finds_the_run_that_was_recorded_meanwhile(store: JobStore) -> None:
    job = claimed(store)
    store.record_start(job, "batch-a")
    assert asked_to_cancel(store, job).target_id == "batch-a"


def test_a_job_that_ended_meanwhile_is_not_to_be_cancelled(store: JobStore) -> None:
    job = submitted(store)
    store.finish(job, Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert store.request_cancel(job) == JobChanged(known(store))
    assert not known(store).cancel_requested


def test_a_job_that_was_claimed_anew_meanwhile_is_not_to_be_cancelled(store: JobStore) -> None:
    job = claimed(store)
    store.raise_fence(job)
    assert store.request_cancel(job) == JobChanged(known(store))


def test_the_start_of_a_job_to_be_cancelled_is_not_recorded_unseen(store: JobStore) -> None:
    job = claimed(store)
    asked_to_cancel(store, job)
    assert store.record_start(job, "batch-a") == JobChanged(known(store))
    assert known(store).cancel_requested


def test_an_event_tells_the_run_of_a_job_to_be_cancelled(store: JobStore) -> None:
    asked_to_cancel(store, claimed(store))
    assert store.advance("a", 1, "batch-a", Status.SUBMITTED, attempts=0)
    assert known(store).target_id == "batch-a"


def test_a_claim_to_be_cancelled_is_not_made_again(store: JobStore) -> None:
    job = claimed(store)
    asked_to_cancel(store, job)
    assert store.raise_fence(job) == JobChanged(known(store))
    assert known(store).fence == 1


@pytest.mark.parametrize("entry", [None, WaitEntry(request())], ids=["pending", "waiting"])
def test_a_claim_to_be_cancelled_does_not_go_back(store: JobStore, entry: WaitEntry | None) -> None:
    job = claimed(store)
    asked_to_cancel(store, job)
    assert store.undo_claim(job, ERROR, entry=entry) == JobChanged(known(store))
    assert (known(store).status, store.slots(ONE), entries(store)) == (Status.CLAIMED, Slots(1, 0), [])


def test_new_work_under_the_same_id_is_not_to_be_cancelled(store: JobStore) -> None:
    asked_to_cancel(store, submitted(store))
    store.finish(known(store), Status.CANCELLED, error=None, target_id="batch-a", attempts=1)
    store.claim(request(of=source(version="v2")), known(store), ONE)
    assert (known(store).cancel_requested, known(store).ended_at) == (False, None)


# ---- work without an object -----------------------------------------------------------------------------------------


IMAGES = Lane("images", 2)


def test_work_without_an_object_locks_nothing(store: JobStore) -> None:
    assert [type(store.claim(task(job_id), None, IMAGES)) for job_id in ("a", "b")] == [Claimed, Claimed]


def test_work_without_an_object_waits_without_a_lock(store: JobStore) -> None:
    assert [store.hold(task(job_id), None) for job_id in ("a", "b")] == [Held(), Held()]


def test_work_without_an_object_is_claimed_out_of_the_room(store: JobStore) -> None:
    store.hold(task(), None)
    assert isinstance(store.claim(task(), known(store, "t"), IMAGES, entry=WaitEntry(task())), Claimed)
    assert store.slots(IMAGES) == Slots(1, 0)


def test_work_without_an_object_is_given_back(store: JobStore) -> None:
    claim = store.claim(task(), None, IMAGES)
    assert isinstance(claim, Claimed)
    assert store.undo_claim(claim.job, ERROR) is None
    assert (known(store, "t").status, held(store, IMAGES)) == (Status.PENDING, set())


def test_work_without_an_object_ends(store: JobStore) -> None:
    store.claim(task(), None, IMAGES)
    assert store.finish(known(store, "t"), Status.COMPLETED, error=None, target_id="task-t", attempts=1)
    assert held(store, IMAGES) == set()


def test_work_without_an_object_is_cancelled_while_it_waits(store: JobStore) -> None:
    store.hold(task(), None)
    assert store.cancel(known(store, "t")) is None
    assert store.slots(IMAGES).waiting == 0


def test_a_leaked_slot_of_work_without_an_object_is_freed(store: JobStore) -> None:
    store.claim(task(), None, IMAGES)
    store.finish(known(store, "t"), Status.COMPLETED, error=None, target_id="task-t", attempts=1)
    assert store.free_leaked_slot(IMAGES, "t", known(store, "t"))


def test_each_lane_has_its_own_slots(store: JobStore) -> None:
    claimed(store, "a", ONE)
    assert isinstance(store.claim(task(), None, Lane("images", 1)), Claimed)


def test_input_and_metadata_come_back_as_they_were(store: JobStore) -> None:
    store.claim(task(), None, IMAGES)
    assert known(store, "t").request == task()


# ---- repairs --------------------------------------------------------------------------------------------------------


def test_the_index_lists_jobs_of_a_status_oldest_first(store: JobStore) -> None:
    for job_id in ("b", "a"):
        submitted(store, job_id)
    claimed(store, "c", Lane("video", 3))
    assert [job.id for job in store.by_status(Status.SUBMITTED)] == ["b", "a"]


def test_the_index_tells_what_the_reconciler_needs(store: JobStore) -> None:
    job = submitted(store)
    (listed,) = store.by_status(Status.SUBMITTED)
    assert (listed.fence, listed.target, listed.target_id) == (1, job.request.target, "batch-a")
    assert listed.claimed_at is not None
    assert not listed.cancel_requested


def test_the_index_tells_which_jobs_are_to_be_cancelled(store: JobStore) -> None:
    asked_to_cancel(store, submitted(store))
    assert [job.cancel_requested for job in store.by_status(Status.SUBMITTED)] == [True]


def test_a_slot_is_taken_again_by_a_job_that_runs_whatever_the_limit(store: JobStore) -> None:
    job = claimed(store)
    store.free_leaked_slot(ONE, "a", job)
    store.claim(request("b"), None, ONE)
    assert store.retake_slot(ONE, job)
    assert held(store, ONE) == {"a", "b"}


def test_taking_a_slot_again_twice_changes_nothing(store: JobStore) -> None:
    job = claimed(store)
    assert store.retake_slot(ONE, job)
    assert store.retake_slot(ONE, job)
    assert held(store, ONE) == {"a"}


def test_with_its_slot_a_job_takes_its_objects_lock_again(store: JobStore) -> None:
    job = claimed(store)
    store.finish(job, Status.COMPLETED, error=None, target_id=None, attempts=1)
    ended = known(store)
    assert store.retake_slot(ONE, ended)
    assert isinstance(store.claim(request("b", of=request().source), None, TWO), ObjectLocked)


def test_a_slot_is_taken_again_but_not_another_jobs_lock(store: JobStore) -> None:
    store.finish(claimed(store), Status.COMPLETED, error=None, target_id=None, attempts=1)
    store.claim(request("b", of=request().source), None, TWO)
    assert store.retake_slot(TWO, known(store))
    assert held(store, TWO) == {"a", "b"}
    assert isinstance(store.claim(request("c", of=request().source), None, TWO), ObjectLocked)


def test_no_slot_is_taken_again_where_the_job_changed_meanwhile(store: JobStore) -> None:
    job = claimed(store)
    store.record_start(job, "batch-a")
    store.free_leaked_slot(ONE, "a", known(store))
    assert not store.retake_slot(ONE, job)
    assert held(store, ONE) == set()


def test_work_without_an_object_takes_its_slot_again(store: JobStore) -> None:
    store.claim(task(), None, IMAGES)
    assert store.retake_slot(IMAGES, known(store, "t"))


def test_a_leaked_slot_of_an_unknown_job_is_freed(store: JobStore) -> None:
    store.claim(request("b"), None, ONE)
    assert store.free_leaked_slot(ONE, "ghost", None)
    assert held(store, ONE) == {"b"}


def test_a_slot_is_kept_where_the_job_changed_meanwhile(store: JobStore) -> None:
    job = claimed(store)
    store.record_start(job, "batch-a")
    assert not store.free_leaked_slot(ONE, "a", job)
    assert held(store, ONE) == {"a"}


def test_a_leaked_slot_of_an_ended_job_is_freed_with_its_object(store: JobStore) -> None:
    store.undo_claim(claimed(store), ERROR)
    store.give_up(known(store), ERROR)
    assert store.free_leaked_slot(ONE, "a", known(store))
    assert isinstance(store.claim(request("b", of=request().source), None, ONE), Claimed)


def test_the_slot_of_a_foreign_row_is_freed_whatever_the_row_says(store: JobStore) -> None:
    claimed(store)
    claimed(store, "b")
    for _ in range(2):
        store.free_foreign_slot(TWO, "a")
    assert held(store, TWO) == {"b"}


# ---- which work, and whose ------------------------------------------------------------------------------------------


def test_a_claim_for_another_object_keeps_what_has_run_apart_by_object(store: JobStore) -> None:
    store.finish(claimed(store), Status.COMPLETED, error=None, target_id=None, attempts=1)
    other = request(of=source(key="uploads/other.mp4"))
    assert isinstance(store.claim(other, known(store), TWO), Claimed)
    assert has_run(known(store), request())
    assert not has_run(known(store), replace(other, source=source(key="uploads/third.mp4")))


def test_two_objects_of_one_version_under_one_id_both_wait(store: JobStore) -> None:
    for key in ("1.mp4", "2.mp4"):
        store.hold_behind(request(of=source(key=key)))
    assert sorted(entry.request.source.key for entry in entries(store)) == ["1.mp4", "2.mp4"]


def test_a_job_that_was_announced_for_other_work_meanwhile_is_not_claimed(store: JobStore) -> None:
    """Its row has no fence yet, so that only the version tells."""
    assert store.hold(task(), None) == Held()
    outcome = store.claim(task(), replace(known(store, "t"), request=task(message_id="m2")), IMAGES)
    assert isinstance(outcome, JobChanged)


@pytest.mark.parametrize("change", [{"user_id": "ann"}, {"kind": "stream-recording"}], ids=str)
def test_a_job_that_was_announced_for_another_owner_or_kind_is_not_claimed(
    store: JobStore, change: dict[str, str]
) -> None:
    assert store.hold(task(), None) == Held()
    other = replace(task(), **cast("Any", change))
    assert isinstance(store.claim(other, replace(known(store, "t"), request=other), IMAGES), JobChanged)


OWNED = replace(task(), user_id="ann")


@pytest.mark.parametrize("seen_as", ["other", "same"])
def test_other_work_clears_what_the_last_request_said(aws: Aws, seen_as: str) -> None:
    """The same work keeps what the API announced of it."""
    store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))
    said = {"submittedBy": {"S": "user:ann"}, "cancelledBy": {"S": "user:ann"}}
    aws.dynamodb.put_item(TableName=aws.jobs_table, Item=items.announced(OWNED, "f", clock.now()) | said)
    wanted = replace(task(message_id="m2" if seen_as == "other" else "m1"), metadata=None)
    assert isinstance(store.claim(wanted, known(store, "t"), IMAGES), Claimed)
    left = aws.dynamodb.get_item(TableName=aws.jobs_table, Key=items.job_key("t"))["Item"]
    kept = {"userId", "metadata", "submittedBy"} if seen_as == "same" else set()
    assert left.keys() & {"userId", "metadata", "submittedBy", "cancelledBy"} == kept


def test_a_job_without_an_owner_gets_one(store: JobStore) -> None:
    job = submitted(store)
    assert store.add_owner(job, "ann") is None
    owned = known(store)
    assert owned == replace(job, request=replace(job.request, user_id="ann"))
    again = store.add_owner(job, "bob")
    assert again == JobChanged(owned)


def test_an_owner_is_not_added_to_a_job_that_has_changed(store: JobStore) -> None:
    seen = claimed(store)
    store.record_start(seen, "batch-a")
    assert isinstance(store.add_owner(seen, "ann"), JobChanged)
    assert known(store).request.user_id is None


def test_who_is_added_is_the_owner_in_lists_too(aws: Aws) -> None:
    store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))
    store.add_owner(submitted(store), "ann")
    row = aws.dynamodb.get_item(TableName=aws.jobs_table, Key=items.job_key("a"))["Item"]
    assert row["userId"] == {"S": "ann"}


def test_an_entry_of_an_earlier_version_is_found_by_the_key_it_has(aws: Aws) -> None:
    store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))
    store.hold(request(), None)
    (entry,) = entries(store)
    item = lane_items.entry_item(entry)
    aws.dynamodb.delete_item(TableName=aws.lanes_table, Key=lane_items.entry_key(entry))
    old_key = f"WAIT#{clock.iso(request().sent_at)}#a#{stable_hash('v1', length=8)}"
    aws.dynamodb.put_item(TableName=aws.lanes_table, Item=item | {"sk": {"S": old_key}})
    (old,) = entries(store)
    assert old.sort_key == old_key != WaitEntry(request()).sort_key
    assert isinstance(store.claim(request(), known(store), ONE, entry=old), Claimed)
    assert (entries(store), store.slots(ONE)) == ([], Slots(1, 0))


# ---- full rows ------------------------------------------------------------------------------------------------------

LIMIT = 4096
FILLED = [
    *("progress", "result", "error", "startedAt", "heartbeatAt", "updatedAt", "runId", "targetId", "cancelRequestedAt")
]
"""Attributes that a worker's role may write, and that hold text of any length."""


class Full:
    """A job whose row a worker fills to the last byte of a limit, as DynamoDB keeps it.

    DynamoDB refuses an update by the size the item would have. Moto refuses it half-way, and keeps that half.
    """

    def __init__(self, aws: Aws, monkeypatch: pytest.MonkeyPatch, attribute: str) -> None:
        self.store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))
        self._aws = aws
        self._attribute = attribute
        really = UpdateExpressionExecutor.execute

        def execute(executor: Any, node: object = None) -> None:  # noqa: ANN401 - moto's
            before = copy(executor.item.attrs)
            really(executor, node)
            if node is None and executor.item.hash_key.value == "a" and _size(executor.item.attrs) > LIMIT:
                executor.item.attrs = before
                raise ItemSizeTooLarge

        monkeypatch.setattr(UpdateExpressionExecutor, "execute", execute)

    def row(self) -> dict[str, Any]:
        return dict(self._aws.dynamodb.get_item(TableName=self._aws.jobs_table, Key=items.job_key("a"))["Item"])

    def fill(self) -> Job:
        row = self.row()
        self._put(row | self._filling(LIMIT - _size(row | self._filling(0))))
        assert _size(self.row()) == LIMIT
        return known(self.store)

    def say_that_it_has_ended(self) -> None:
        self._put(self.row() | {"status": {"S": "COMPLETED"}})

    def _filling(self, length: int) -> dict[str, Any]:
        text = {"S": "x" * length}
        is_map = self._attribute in {"error", "result", "progress"}
        return {self._attribute: {"M": {"code": text}} if is_map else text}

    def _put(self, row: dict[str, Any]) -> None:
        self._aws.dynamodb.put_item(TableName=self._aws.jobs_table, Item=row)


def _size(attributes: Any) -> int:  # noqa: ANN401 - an item, or moto's
    return sum(
        len(name) + (value if isinstance(value, DynamoType) else DynamoType(value)).size()
        for name, value in attributes.items()
    )


@pytest.fixture
def filled_by(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Full]:
    return lambda attribute: Full(aws, monkeypatch, attribute)


@pytest.mark.parametrize(("attribute", "to"), [*zip(FILLED, cycle(sorted(TERMINAL)), strict=False)])
def test_a_full_row_ends(filled_by: Callable[[str], Full], attribute: str, to: Status) -> None:
    full = filled_by(attribute)
    submitted(full.store)
    error = ERROR if to is Status.FAILED else None
    assert full.store.finish(full.fill(), to, error=error, target_id="batch-a", attempts=1)
    job = known(full.store)
    assert (job.status, job.target_id, job.run_id) == (to, "batch-a", None)
    assert (held(full.store, TWO), "ttl" in full.row()) == (set(), True)
    assert isinstance(full.store.claim(request(of=source(version="v2")), job, TWO), Claimed)  # its object is unlocked


def test_a_full_row_says_why_its_result_is_gone(filled_by: Callable[[str], Full]) -> None:
    full = filled_by("result")
    submitted(full.store)
    full.store.finish(full.fill(), Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert (known(full.store).error, "result" in full.row()) == (ROW_FULL, False)


def test_a_full_row_that_says_it_has_ended_frees_its_slot(filled_by: Callable[[str], Full]) -> None:
    full = filled_by("result")
    submitted(full.store)
    full.say_that_it_has_ended()
    assert full.store.finish(full.fill(), Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert held(full.store, TWO) == set()


@pytest.mark.parametrize("attribute", ["result", "error", "startedAt"])
def test_every_step_of_a_job_is_written_to_a_full_row(filled_by: Callable[[str], Full], attribute: str) -> None:
    full = filled_by(attribute)
    store = full.store
    store.hold(request(), None)
    (entry,) = entries(store)
    assert isinstance(store.claim(request(), full.fill(), TWO, entry=entry), Claimed)
    assert store.undo_claim(full.fill(), ERROR, entry=entry) is None
    assert isinstance(store.claim(request(), full.fill(), TWO, entry=entry), Claimed)
    assert isinstance(store.raise_fence(full.fill()), Claimed)
    assert store.record_start(full.fill(), "batch-a") is None
    full.fill()
    assert store.advance("a", 3, "batch-a", Status.RUNNING, attempts=1)
    job = store.request_cancel(full.fill(), by="user:ann")
    assert isinstance(job, Job)
    assert (job.status, job.fence, job.target_id, job.cancel_requested) == (Status.RUNNING, 3, "batch-a", True)
    assert full.row()["cancelledBy"] == {"S": "user:ann"}


@pytest.mark.parametrize("attribute", ["result", "error", "runId"])
def test_a_full_row_that_waits_is_cancelled(filled_by: Callable[[str], Full], attribute: str) -> None:
    full = filled_by(attribute)
    full.store.hold(request(), None)
    assert full.store.cancel(full.fill(), by="user:ann") is None
    assert (known(full.store).status, full.store.slots(TWO).waiting) == (Status.CANCELLED, 0)


def test_a_full_row_that_is_pending_is_given_up(filled_by: Callable[[str], Full]) -> None:
    full = filled_by("result")
    full.store.undo_claim(claimed(full.store), ERROR)
    assert full.store.give_up(full.fill(), ERROR)
    assert known(full.store).never_started


def test_a_full_row_is_known_by_the_reason_of_a_cancelled_transaction(
    aws: Aws, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Moto raises a ValidationException, DynamoDB a TransactionCanceledException with reasons."""
    store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))
    job = submitted(store)
    too_large = {"Code": "ValidationError", "Message": "Item size to update has exceeded the maximum allowed size"}
    response: Any = {"Error": {"Code": "TransactionCanceledException"}, "CancellationReasons": [too_large]}
    sent = []
    really = aws.dynamodb.transact_write_items

    def transact(**call: Any) -> object:  # noqa: ANN401 - a call's parameters
        sent.append(call)
        if len(sent) == 1:
            raise aws.dynamodb.exceptions.TransactionCanceledException(response, "TransactWriteItems")
        return really(**call)

    monkeypatch.setattr(aws.dynamodb, "transact_write_items", transact)
    assert store.finish(job, Status.COMPLETED, error=None, target_id="batch-a", attempts=1)
    assert (len(sent), known(store).error) == (2, ROW_FULL)


# ---- rows that are not ours -----------------------------------------------------------------------------------------

FOREIGN: dict[str, dict[str, Any]] = {
    "an unknown status": {"status": {"S": "NONSENSE"}},
    "a status that is no text": {"status": {"N": "1"}},
    "a fence as text": {"fence": {"S": "2"}},
    "a broken fence": {"fence": {"N": "1.5"}},
    "a fence below any": {"fence": {"N": "-1"}},
    "a fence that no claim can count on from": {"fence": {"N": "1" + "0" * 37}},
    "a broken request": {"request": {"S": "{"}},
    "a request that is no object": {"request": {"S": "[]"}},
    "a deeply nested request": {"request": {"S": "[" * 100_000}},
    "another job's request": {"request": {"S": request("b").to_json()}},
    "another kind's request": {"request": {"S": task("a").to_json()}},
    "a request with a number for a kind": {"request": {"S": request().to_json().replace('"video-analysis"', "7")}},
    "a request without a time zone": {"request": {"S": request().to_json().replace("00.000Z", "00.000")}},
    "an unknown field in the request": {"request": {"S": request().to_json().replace("{", '{"x":"y",', 1)}},
    "a number for a lane": {"lane": {"N": "1"}},
    "another lane than the request's": {"lane": {"S": "images"}},
    "past versions that are no text": {"pastVersions": {"L": [{"N": "1"}]}},
}


class Row:
    """A running job whose row another program has changed."""

    def __init__(self, aws: Aws, change: dict[str, Any]) -> None:
        self._aws = aws
        self.store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))
        self.job = submitted(self.store)
        self._put(self._get() | change)
        self.before = self._get()

    def _get(self) -> dict[str, Any]:
        return dict(self._aws.dynamodb.get_item(TableName=self._aws.jobs_table, Key=items.job_key("a"))["Item"])

    def _put(self, item: dict[str, Any]) -> None:
        self._aws.dynamodb.put_item(TableName=self._aws.jobs_table, Item=item)

    @property
    def is_untouched(self) -> bool:
        return self._get() == self.before


@pytest.mark.parametrize("change", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_row_is_not_read_and_not_claimed(aws: Aws, change: dict[str, Any]) -> None:
    row = Row(aws, change)
    with pytest.raises(ForeignRow, match="'a'"):
        row.store.get("a")
    with pytest.raises(ForeignRow):  # the answer of the refused write
        row.store.claim(request(), None, TWO)
    assert row.is_untouched


@pytest.mark.parametrize("name", ["an unknown status", "a fence as text"])
def test_no_write_changes_a_row_that_became_foreign(aws: Aws, name: str) -> None:
    row = Row(aws, FOREIGN[name])
    seen = row.job
    writes: list[Callable[[], object]] = [
        lambda: row.store.record_start(replace(seen, status=Status.CLAIMED), "batch-a"),
        lambda: row.store.raise_fence(replace(seen, status=Status.CLAIMED)),
        lambda: row.store.undo_claim(replace(seen, status=Status.CLAIMED), ERROR),
        lambda: row.store.cancel(replace(seen, status=Status.PENDING)),
        lambda: row.store.request_cancel(seen),
        lambda: row.store.finish(seen, Status.COMPLETED, error=None, target_id=None, attempts=1),
        lambda: row.store.hold(request(), seen),
    ]
    for write in writes:
        with pytest.raises(ForeignRow):
            write()
    assert not row.store.advance("a", 1, "batch-a", Status.RUNNING, attempts=1)
    assert row.is_untouched


@pytest.mark.parametrize("change", [{"fence": {"S": "2"}}, {"target": {"M": {"type": {"S": "batch"}}}}])
def test_the_index_lists_the_rows_next_to_a_foreign_one(aws: Aws, change: dict[str, Any]) -> None:
    store = Row(aws, change).store
    submitted(store, "b")
    assert [job.id for job in store.by_status(Status.SUBMITTED)] == ["b"]


@pytest.mark.parametrize("change", [{"targetId": {"N": "7"}}, {"claimedAt": {"S": "yesterday"}}])
def test_a_detail_of_a_row_that_can_not_be_read_is_as_if_absent(aws: Aws, change: dict[str, Any]) -> None:
    job = Row(aws, change).store.get("a")
    assert job is not None
    assert None in {job.target_id, job.claimed_at}


def test_a_foreign_row_is_counted(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[Metric] = []
    monkeypatch.setattr(observability, "count", counted.append)
    row = Row(aws, FOREIGN["an unknown status"])
    with pytest.raises(ForeignRow):
        row.store.get("a")
    assert counted == [Metric.FOREIGN_ROWS]


# ---- DynamoDB in trouble --------------------------------------------------------------------------------------------

JOB = Job(request(), Status.WAITING, fence=1, created_at=request().sent_at)
CALLS: dict[str, Callable[[JobStore], object]] = {
    "get": lambda store: store.get("a"),
    "slots": lambda store: store.slots(ONE),
    "holders": lambda store: list(store.holders(ONE)),
    "entries": lambda store: list(store.entries(ONE)),
    "later": lambda store: list(store.later(ONE)),
    "admit": lambda store: store.admit(WaitEntry(request(), later=True)),
    "waiting": lambda store: list(store.waiting(ONE)),
    "by_status": lambda store: list(store.by_status(Status.RUNNING)),
    "claim": lambda store: store.claim(request(), None, ONE),
    "hold": lambda store: store.hold(request(), None),
    "hold_behind": lambda store: store.hold_behind(request()),
    "drop": lambda store: store.drop(WaitEntry(request()), None),
    "add_owner": lambda store: store.add_owner(JOB, "ann"),
    "add_token": lambda store: store.add_token(JOB, "token"),
    "record_start": lambda store: store.record_start(JOB, "batch-a"),
    "raise_fence": lambda store: store.raise_fence(JOB),
    "undo_claim": lambda store: store.undo_claim(JOB, ERROR),
    "give_up": lambda store: store.give_up(JOB, ERROR),
    "cancel": lambda store: store.cancel(JOB),
    "request_cancel": lambda store: store.request_cancel(JOB),
    "advance": lambda store: store.advance("a", 1, "batch-a", Status.RUNNING, attempts=1),
    "retry": lambda store: store.retry(JOB, JOB),
    "finish": lambda store: store.finish(
        replace(JOB, status=Status.RUNNING), Status.COMPLETED, error=None, target_id="batch-a", attempts=1
    ),
    "set_pause": lambda store: store.set_pause(ONE, None, PAUSE),
    "free_leaked_slot": lambda store: store.free_leaked_slot(ONE, "a", None),
    "free_foreign_slot": lambda store: store.free_foreign_slot(ONE, "a"),
    "retake_slot": lambda store: store.retake_slot(ONE, JOB),
    "recount": lambda store: store.recount(ONE, Slots(0, 0), Slots(0, 1)),
}


@pytest.mark.parametrize("method", sorted(name for name in vars(JobStore) if not name.startswith("_")))
def test_what_dynamodb_can_not_do_is_unavailable(method: str, aws: Aws) -> None:
    store = Store(aws.dynamodb, "no-such-table", "no-such-table", keep_ended_jobs=timedelta(days=30))
    with pytest.raises(Unavailable, match=r"^ResourceNotFoundException: .*operation"):
        CALLS[method](store)
