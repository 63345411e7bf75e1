"""Which work is the same, and whose a job is: nothing is dropped as a duplicate or handed on that is other work."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.errors import ForeignRow, JobExists, JobIdTaken, OutcomeUnknown, StartRefused
from switchyard.messages.kinds import RECORDING, VIDEO
from switchyard.protocol.dispatch import Outcome
from switchyard.protocol.jobs import (
    HISTORY_LIMIT,
    TERMINAL,
    Job,
    JobError,
    Run,
    Source,
    Status,
    Verdict,
    WorkRequest,
    has_run,
    judge,
    past_versions_after,
)
from switchyard.protocol.lanes import WaitEntry
from switchyard.protocol.ports import ActiveJob
from tests.cases import cases
from tests.fakes.memory_store import MemoryStore
from tests.fakes.target import Mode
from tests.requests import SENT_AT, request, source, task
from tests.world import GRACE, PENDING_GRACE, Time, World

NOW = SENT_AT + timedelta(hours=1)
BUSY = [Status.PENDING, Status.WAITING, Status.CLAIMED, Status.SUBMITTED, Status.RUNNING]

CLIP1 = source(key="clip-v1.mp4", version="m1", written_at=None)
CLIP2 = source(key="clip-v2.mp4", version="m2", message_id="m2", written_at=None)


def verdict(status: Status, found: WorkRequest, wanted: WorkRequest) -> Verdict:
    job = Job(found, status, fence=1, created_at=SENT_AT, claimed_at=NOW)
    return judge(job, wanted, now=NOW, grace=GRACE)


# ---- another object -------------------------------------------------------------------------------------------------


@cases("other", [CLIP2, replace(CLIP1, bucket="second"), replace(CLIP1, key="clip-v2.mp4"), source(key="clip-v2.mp4")])
@cases("status", BUSY)
def test_another_object_waits_behind_a_busy_job(status: Status, other: Source) -> None:
    assert verdict(status, request("7", of=CLIP1), request("7", of=other)) is Verdict.WAIT_BEHIND


@cases("other", [CLIP2, replace(CLIP1, bucket="second"), source(key="clip-v2.mp4")])
@cases("status", sorted(TERMINAL))
def test_another_object_is_started_once_the_job_has_ended(status: Status, other: Source) -> None:
    assert verdict(status, request("7", of=CLIP1), request("7", of=other)) is Verdict.START


def test_the_cancel_of_a_job_does_not_cover_another_object() -> None:
    job = Job(request("7", of=CLIP1), Status.CANCELLED, fence=2, created_at=SENT_AT, ended_at=NOW)
    assert judge(job, request("7", of=CLIP2), now=NOW, grace=GRACE) is Verdict.START


def test_the_second_of_two_objects_under_an_id_runs_after_the_first(world: World) -> None:
    world.limit = 2
    world.dispatch(request("7", of=CLIP1))
    assert world.dispatch(request("7", of=CLIP2, sent=1)) is Outcome.HELD
    world.end("run-0")
    assert world.job("7").request.source == CLIP2
    assert world.job("7").status is Status.SUBMITTED


def test_an_object_that_has_run_is_a_duplicate_after_another_had_its_turn(world: World) -> None:
    first = request("7", of=replace(CLIP1, written_at=SENT_AT))
    world.dispatch(first)
    world.end("run-0")
    world.dispatch(request("7", of=CLIP2, sent=1))
    world.end("run-1")
    assert world.dispatch(first) is Outcome.DUPLICATE


def test_a_plain_message_that_waited_while_its_object_was_run_starts_no_second_run(world: World, time: Time) -> None:
    world.dispatch(request("7", of=CLIP1))
    announced = source(key="clip-v2.mp4", version="v", message_id="m3", written_at=SENT_AT)
    world.dispatch(request("7", of=announced, sent=1))
    world.dispatch(request("7", of=CLIP2, sent=2))  # the backend's word of the same upload
    time.advance(timedelta(seconds=10))
    world.end("run-0")
    world.end("run-1")
    assert len(world.target.runs) == 2
    assert world.slots.waiting == 0


def test_two_objects_with_the_same_version_have_two_places_in_the_waiting_room() -> None:
    one, two = (WaitEntry(request("7", of=source(key=key, version="same"))) for key in ("1.mp4", "2.mp4"))
    assert one.sort_key != two.sort_key


works = st.builds(source, key=st.sampled_from("abc"), version=st.sampled_from(["1", "2", "0123456789abcdef:1"]))


@given(st.lists(works, min_size=2, max_size=12, unique_by=lambda work: (work.key, work.version)))
def test_exactly_what_came_before_has_run(sources: list[Source]) -> None:
    job = Job(request("7", of=sources[0]), Status.COMPLETED, fence=1, created_at=SENT_AT)
    for position, each in enumerate(sources[1:], start=1):
        wanted = request("7", of=each)
        job = replace(job, request=wanted, past_versions=past_versions_after(job, wanted))
        ran = {index for index, past in enumerate(sources) if has_run(job, request("7", of=past))}
        assert ran == set(range(position))


def test_the_history_of_a_row_from_before_is_its_objects() -> None:
    old = Job(request("7", of=CLIP1), Status.COMPLETED, fence=3, created_at=SENT_AT, past_versions=("v0",))
    assert has_run(old, request("7", of=replace(CLIP1, version="v0")))
    assert not has_run(old, request("7", of=replace(CLIP2, version="v0")))


def test_the_history_keeps_its_limit_over_a_change_of_object() -> None:
    past = tuple(f"v{number}" for number in range(HISTORY_LIMIT))
    job = Job(request("7", of=CLIP1), Status.COMPLETED, fence=1, created_at=SENT_AT, past_versions=past)
    assert len(past_versions_after(job, request("7", of=CLIP2))) == HISTORY_LIMIT


def test_a_job_whose_object_another_job_has_by_now_ends(world: World) -> None:
    """Its start was refused, and before its message came back, the object was announced under another id."""
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(request("x", of=CLIP1))
    world.dispatch(request("7", of=CLIP1))
    assert world.dispatch(request("x", of=CLIP1)) is Outcome.DUPLICATE
    assert (world.job("x").status, world.job("x").error) == (
        Status.FAILED,
        JobError("DUPLICATE", "job 7 works on the same object"),
    )


def test_a_plain_message_about_an_object_that_ran_before_another_asks_for_another_run(world: World) -> None:
    """It names no version, so that nothing tells a late word of the first run from a wish for a second one."""
    world.dispatch(request("7", of=replace(CLIP1, version="v1", written_at=SENT_AT)))
    world.end("run-0")
    world.dispatch(request("7", of=CLIP2, sent=1))
    assert world.dispatch(request("7", of=CLIP1, sent=2)) is Outcome.HELD
    world.end("run-1")
    assert world.job("7").request.source == CLIP1


def test_a_message_with_the_version_that_ran_before_another_object_asks_for_nothing(world: World) -> None:
    world.dispatch(request("7", of=replace(CLIP1, version="v1", written_at=SENT_AT)))
    world.end("run-0")
    world.dispatch(request("7", of=CLIP2, sent=1))
    assert world.dispatch(request("7", of=replace(CLIP1, version="v1"), sent=2)) is Outcome.DUPLICATE


# ---- another input --------------------------------------------------------------------------------------------------

OTHER_INPUT = replace(task(message_id="m2"), input={"imageUrls": ["s3://media/dog.jpg"]})


@cases("wanted", [OTHER_INPUT, replace(OTHER_INPUT, source=task().source)])
@cases("status", list(Status))
def test_another_input_is_never_a_duplicate(status: Status, wanted: WorkRequest) -> None:
    assert verdict(status, task(), wanted) is Verdict.EXISTS


def test_a_caller_with_another_input_is_told(world: World) -> None:
    world.dispatch(task())
    with pytest.raises(JobExists, match="the job t exists with another input"):
        world.dispatch(OTHER_INPUT)


def test_the_same_input_in_another_message_is_a_duplicate(world: World) -> None:
    world.dispatch(task())
    assert world.dispatch(task(message_id="m2")) is Outcome.DUPLICATE


def test_announced_work_is_not_taken_over_by_a_message_that_only_says_announced(world: World) -> None:
    """The API has announced one job and withdrawn it, and somebody else's is announced under the id."""
    other = replace(OTHER_INPUT, announced=True)
    world.store.jobs["t"] = Job(other, Status.PENDING, fence=0, created_at=SENT_AT)
    with pytest.raises(JobExists):
        world.dispatch(task(announced=True))
    assert world.job("t").request == other


@pytest.mark.parametrize("change", [{"user_id": "bob"}, {"kind": RECORDING.name}], ids=str)
def test_announced_work_is_not_taken_over_by_a_message_that_guesses_its_version(
    world: World, change: dict[str, str]
) -> None:
    anns = replace(task(announced=True), user_id="ann")
    world.store.jobs["t"] = Job(anns, Status.PENDING, fence=0, created_at=SENT_AT)
    with pytest.raises(JobIdTaken):
        world.dispatch(replace(anns, **cast("Any", change)))
    assert world.job("t").request == anns


# ---- another owner or kind ------------------------------------------------------------------------------------------

ANNS = replace(request("7", of=CLIP1), user_id="ann")


@cases("status", list(Status))
def test_a_job_of_another_owner_is_never_taken_over(status: Status) -> None:
    assert verdict(status, ANNS, replace(ANNS, user_id="bob")) is Verdict.TAKEN


@cases("user_id", [None, "bob"])
@cases("status", list(Status))
def test_a_job_of_an_owner_is_not_taken_over_for_anothers_object(status: Status, user_id: str | None) -> None:
    assert verdict(status, ANNS, replace(request("7", of=CLIP2), user_id=user_id)) is Verdict.TAKEN
    assert verdict(status, replace(ANNS, user_id=user_id), replace(request("7", of=CLIP2), user_id="ann")) is (
        Verdict.TAKEN
    )


@cases("status", [Status.WAITING, Status.SUBMITTED, Status.RUNNING])
def test_one_upload_announced_with_and_without_its_owner_is_one_job(status: Status) -> None:
    announced = request("7", of=replace(CLIP1, version="v1", written_at=SENT_AT))
    assert verdict(status, announced, ANNS) is Verdict.DUPLICATE
    assert verdict(status, ANNS, announced) is Verdict.DUPLICATE


@cases("status", list(Status))
def test_a_job_of_another_kind_is_never_taken_over(status: Status) -> None:
    """A user posts a recording under the id that somebody's upload will get."""
    recording = replace(task("7"), kind=RECORDING.name, lane=RECORDING.lane, user_id="bob")
    assert verdict(status, recording, request("7", of=CLIP1)) is Verdict.TAKEN


S3S = request("7", of=replace(CLIP1, version="v1", written_at=SENT_AT))


def test_an_upload_that_s3_announced_first_gets_the_owner_that_a_backend_names(world: World) -> None:
    world.dispatch(S3S)
    assert world.dispatch(ANNS) is Outcome.DUPLICATE
    assert world.job("7").request == replace(S3S, user_id="ann")
    with pytest.raises(JobIdTaken):
        world.dispatch(replace(ANNS, user_id="bob"))


def test_the_owner_that_was_named_while_a_job_waited_is_its_owner_when_it_runs(world: World) -> None:
    world.dispatch(request("z"))
    world.dispatch(S3S)
    world.dispatch(ANNS)
    world.end("run-0")
    assert (world.job("7").status, world.job("7").request.user_id) == (Status.SUBMITTED, "ann")


def test_the_owner_that_was_named_after_a_refused_start_is_its_owner_when_it_runs(world: World) -> None:
    world.target.modes.append(Mode.REFUSE)
    with pytest.raises(StartRefused):
        world.dispatch(S3S)
    assert world.dispatch(ANNS) is Outcome.DUPLICATE
    assert world.dispatch(S3S) is Outcome.STARTED
    assert world.job("7").request.user_id == "ann"


@cases("mode", [Mode.TIME_OUT_BEFORE, Mode.TIME_OUT_AFTER])
def test_an_owner_that_is_named_while_a_claim_is_adopted_is_its_owner(mode: Mode) -> None:
    world = World()
    world.target.modes.append(mode)
    announced = replace(S3S, sent_at=SENT_AT)
    with pytest.raises(OutcomeUnknown):
        world.dispatch(announced)
    old = world.job("7")
    assert old.claimed_at is not None
    world.store.jobs["7"] = replace(old, claimed_at=old.claimed_at - GRACE)
    world.dispatch(replace(announced, user_id="ann"))
    assert (world.job("7").status, world.job("7").request.user_id) == (Status.SUBMITTED, "ann")


def test_an_owner_named_under_another_id_owns_the_job_that_works_on_the_object(world: World) -> None:
    world.limit = 2
    world.dispatch(S3S)
    assert world.dispatch(replace(ANNS, job_id="lecture-4")) is Outcome.DUPLICATE
    assert world.job("7").request.user_id == "ann"


def test_an_upload_that_is_busy_for_another_owner_is_no_silent_duplicate(world: World) -> None:
    world.limit = 2
    world.dispatch(ANNS)
    with pytest.raises(JobIdTaken, match="job 7 of another owner works on the object of job lecture-4"):
        world.dispatch(replace(ANNS, job_id="lecture-4", user_id="bob"))


def test_a_job_that_waits_for_an_object_of_another_owner_says_why_it_ended(world: World) -> None:
    world.target.modes.append(Mode.REFUSE)
    bobs = replace(ANNS, job_id="x", user_id="bob")
    with pytest.raises(StartRefused):
        world.dispatch(bobs)
    world.dispatch(ANNS)
    with pytest.raises(JobIdTaken):
        world.dispatch(bobs)
    assert (world.job("x").status, getattr(world.job("x").error, "code", "")) == (Status.FAILED, "JOB_ID_TAKEN")


def test_who_finds_the_id_taken_is_told(world: World) -> None:
    world.dispatch(ANNS)
    with pytest.raises(JobIdTaken, match="another kind or owner"):
        world.dispatch(replace(ANNS, user_id="bob"))


def test_what_waited_for_an_id_that_was_taken_meanwhile_is_dead_lettered(world: World) -> None:
    world.limit = 1
    world.dispatch(request("z"))
    world.dispatch(ANNS)
    world.store.jobs["7"] = replace(world.job("7"), request=replace(ANNS, user_id="bob"), status=Status.COMPLETED)
    world.end("run-0")
    ((body, error),) = world.dead_letters.sent
    assert (json.loads(body)["job_id"], error.code) == ("7", "JOB_ID_TAKEN")
    assert world.slots.waiting == 0


# ---- foreign rows ---------------------------------------------------------------------------------------------------


def test_news_of_a_run_whose_row_is_foreign_is_ignored(world: World) -> None:
    world.store.haunt("a")
    assert not world.event(Run("run-0", "a", 1, Status.COMPLETED))


def test_the_end_of_a_run_frees_its_slot_though_its_row_is_foreign(world: World) -> None:
    """A worker makes its own row unreadable, to keep the lane's only slot."""
    world.dispatch(request("a"))
    world.dispatch(request("b", sent=1))
    world.store.haunt("a")
    world.end("run-0")
    assert (world.job("b").status, world.holders) == (Status.SUBMITTED, set("b"))


@cases("mode", [Mode.ACCEPT, Mode.REFUSE])
def test_a_row_that_becomes_foreign_while_its_job_is_started_keeps_no_slot(mode: Mode) -> None:
    world = World()
    store, target = world.store, world.target

    class Haunting:
        def start(self, job: Job) -> str:
            store.haunt(job.id)
            return target.start(job)

        def __getattr__(self, name: str) -> object:
            return getattr(target, name)

    world.target.modes.append(mode)
    dispatcher = replace(world.dispatcher, targets={"batch": cast("Any", Haunting())})
    if mode is Mode.REFUSE:
        with pytest.raises(StartRefused):
            dispatcher.dispatch(request())
    else:
        assert dispatcher.dispatch(request()) is Outcome.STARTED
        world.end("run-0")
    assert world.holders == set()


def test_what_is_given_up_leaves_a_foreign_row_as_it_is(world: World) -> None:
    world.store.haunt("a")
    world.dispatcher.give_up(request(), StartRefused("no such queue"))


def test_a_waiting_job_whose_row_is_foreign_does_not_hold_up_the_next(world: World) -> None:
    for number, job_id in enumerate("abc"):
        world.dispatch(request(job_id, sent=number))
    world.store.haunt("b")
    world.end("run-0")
    assert world.job("c").status is Status.SUBMITTED


def test_who_cancels_a_job_whose_row_became_foreign_is_told(world: World) -> None:
    world.dispatch(request())
    seen = world.job()
    world.store.haunt("a")
    with pytest.raises(ForeignRow):
        world.canceller().cancel(seen)


def test_a_foreign_row_ends_no_pass_of_the_reconciler(world: World, time: Time) -> None:
    world.limit = 2
    world.dispatch(request("a"))
    world.dispatch(request("b"))
    world.store.haunt("a")
    world.target.move("run-1", Status.COMPLETED)
    time.advance(PENDING_GRACE)
    world.reconcile()
    assert world.job("b").status is Status.COMPLETED


@cases("status", [Status.PENDING, Status.CLAIMED, Status.RUNNING])
def test_a_row_in_another_kinds_lane_takes_none_of_its_slots(time: Time, status: Status) -> None:
    """A worker writes a lane into its own row whose one slot it wants to have."""
    world = World()
    world.dispatch(task())
    job = world.job("t")
    moved = replace(job.request, lane=VIDEO.lane)
    world.store.jobs["t"] = replace(job, request=moved, status=status)
    time.advance(PENDING_GRACE)
    world.reconcile()
    assert world.holders == set()


@cases("wanted", [request(), task("a")])
def test_a_row_that_was_cancelled_before_any_request_is_nobodys(wanted: WorkRequest) -> None:
    world = World()
    nothing = replace(wanted, kind="", source=Source("", "", "", ""), input=None)
    world.store.jobs["a"] = Job(nothing, Status.CANCELLED, 1, SENT_AT, ended_at=SENT_AT - timedelta(seconds=1))
    assert world.dispatch(wanted) is Outcome.STARTED
    assert world.job().past_versions == ()


@cases("target_id", [None, "run-0", "run-9"])
def test_a_row_that_only_says_it_runs_takes_no_slot(world: World, target_id: str | None) -> None:
    """It names no run, another job's run, or none that the target knows."""
    world.dispatch(request("a"))
    world.end("run-0")
    forged = Job(request("b"), Status.RUNNING, fence=1, created_at=NOW, target_id=target_id, claimed_at=NOW)
    world.store.jobs["b"] = forged
    world.reconcile()
    assert world.holders == set()


def test_a_status_index_may_list_a_row_of_a_lane_that_we_do_not_have(world: World) -> None:
    class Store(MemoryStore):
        def by_status(self, status: Status) -> Iterator[ActiveJob]:
            yield ActiveJob("ghost", status, 1, "nowhere", None, "run-7", None, SENT_AT)
            yield from super().by_status(status)

    world.store = Store()
    world.dispatch(request("a"))
    world.target.move("run-0", Status.COMPLETED)
    world.reconcile()
    assert world.job("a").status is Status.COMPLETED
