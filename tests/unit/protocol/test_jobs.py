"""The verdict on a message for an existing job, and the allowed status changes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from switchyard.protocol.jobs import (
    HOLDING_SLOT,
    TERMINAL,
    TRANSITIONS,
    Job,
    Source,
    Status,
    TargetSpec,
    Verdict,
    WorkRequest,
    is_newer_work,
    is_older,
    judge,
    origins_of,
)
from tests.cases import cases
from tests.requests import SENT_AT, request, source, task
from tests.strategies import unicode_text

GRACE = timedelta(seconds=120)
NOW = SENT_AT + timedelta(hours=1)
YOUNG = NOW - GRACE + timedelta(milliseconds=1)
STALE = NOW - GRACE

BUSY = [Status.PENDING, Status.WAITING, Status.CLAIMED, Status.SUBMITTED, Status.RUNNING]
ENDED = sorted(TERMINAL)


def found(status: Status, of: Source | None = None, *, claimed_at: datetime | None = YOUNG) -> Job:
    """Builds the job in the table."""
    return Job(request("a", of=of or source()), status, fence=1, created_at=SENT_AT, claimed_at=claimed_at)


def verdict(job: Job | None, of: Source | None = None) -> Verdict:
    """Returns the verdict on a request for the same job id, by default for the same work."""
    return judge(job, request("a", of=of or source()), now=NOW, grace=GRACE)


# ---- judge: new work and the same work ------------------------------------------------------------------------------


def test_an_unknown_job_is_started() -> None:
    assert verdict(None) is Verdict.START


def test_a_row_that_somebody_wrote_ahead_of_the_work_is_started() -> None:
    assert verdict(found(Status.PENDING, source(version=""))) is Verdict.START


def test_the_same_work_is_started_while_it_is_pending() -> None:
    assert verdict(found(Status.PENDING)) is Verdict.START


@cases("status", [Status.WAITING, Status.SUBMITTED, Status.RUNNING, *ENDED])
def test_the_same_work_is_a_duplicate_once_it_was_accepted(status: Status) -> None:
    assert verdict(found(status)) is Verdict.DUPLICATE


@cases("status", [Status.WAITING, Status.SUBMITTED, Status.RUNNING, *ENDED])
def test_an_old_claim_time_makes_no_accepted_work_adoptable(status: Status) -> None:
    assert verdict(found(status, claimed_at=STALE)) is Verdict.DUPLICATE


def test_work_that_was_given_up_before_it_started_is_started_by_a_redrive() -> None:
    assert verdict(replace(found(Status.FAILED), never_started=True)) is Verdict.START


def test_a_young_claim_of_the_same_message_is_in_flight() -> None:
    assert verdict(found(Status.CLAIMED)) is Verdict.IN_FLIGHT


def test_a_young_claim_of_another_message_for_the_same_work_makes_a_duplicate() -> None:
    assert verdict(found(Status.CLAIMED), source(message_id="m2")) is Verdict.DUPLICATE


@cases("message_id", ["m1", "m2"])
@cases("age", [GRACE, GRACE * 2, timedelta(days=400)])
def test_a_stale_claim_is_adopted_by_whichever_message_comes(message_id: str, age: timedelta) -> None:
    assert verdict(found(Status.CLAIMED, claimed_at=NOW - age), source(message_id=message_id)) is Verdict.ADOPT


def test_a_claim_from_the_future_of_another_clock_is_young() -> None:
    assert verdict(found(Status.CLAIMED, claimed_at=NOW + GRACE)) is Verdict.IN_FLIGHT


def test_a_claim_without_a_time_is_left_alone() -> None:
    assert verdict(found(Status.CLAIMED, claimed_at=None)) is Verdict.DUPLICATE


def test_announced_work_whose_record_is_gone_was_withdrawn() -> None:
    assert judge(None, task(announced=True), now=NOW, grace=GRACE) is Verdict.WITHDRAWN


def test_announced_work_is_started_while_its_record_is_there() -> None:
    announced = Job(task(announced=True), Status.PENDING, fence=0, created_at=SENT_AT)
    assert judge(announced, announced.request, now=NOW, grace=GRACE) is Verdict.START


# ---- judge: other versions ------------------------------------------------------------------------------------------

V1 = source(version="v1", sequencer="0A")
V2 = source(version="v2", sequencer="0B", message_id="m2")
V2_UNORDERED = source(version="v2", sequencer=None, message_id="m2")
PLAIN = source(version="m3", message_id="m3", written_at=None)


@cases("status", BUSY)
def test_a_newer_upload_waits_behind_the_work_on_an_older_one(status: Status) -> None:
    assert verdict(found(status, V1), V2) is Verdict.WAIT_BEHIND


@cases("status", ENDED)
def test_a_newer_upload_runs_once_the_older_one_has_ended(status: Status) -> None:
    assert verdict(found(status, V1), V2) is Verdict.START


@cases("status", [*BUSY, *ENDED])
def test_an_older_upload_is_a_duplicate_of_a_newer_one(status: Status) -> None:
    assert verdict(found(status, V2), V1) is Verdict.DUPLICATE


@cases("status", BUSY)
def test_an_upload_that_can_not_be_ordered_waits_behind(status: Status) -> None:
    assert verdict(found(status, V1), V2_UNORDERED) is Verdict.WAIT_BEHIND


@cases("status", ENDED)
def test_an_upload_that_can_not_be_ordered_runs_once_the_other_has_ended(status: Status) -> None:
    assert verdict(found(status, V1), V2_UNORDERED) is Verdict.START


@cases("status", [*BUSY, *ENDED])
def test_a_version_that_has_had_its_run_is_a_duplicate(status: Status) -> None:
    job = replace(found(status, V1), past_versions=("v0", "v2"))
    assert verdict(job, V2_UNORDERED) is Verdict.DUPLICATE


@cases("busy_with", [V1, source(version="m2", message_id="m2", written_at=None)])
@cases("status", BUSY)
def test_a_plain_message_for_a_busy_job_is_a_duplicate(status: Status, busy_with: Source) -> None:
    assert verdict(found(status, busy_with), PLAIN) is Verdict.DUPLICATE


@cases("status", ENDED)
def test_a_plain_message_for_an_ended_job_runs_it_again(status: Status) -> None:
    assert verdict(found(status, V1), PLAIN) is Verdict.START


@cases("status", BUSY)
def test_an_upload_from_before_a_plain_message_was_accepted_is_what_it_meant(status: Status) -> None:
    upload = source(version="v1", written_at=YOUNG - timedelta(seconds=1))
    assert verdict(found(status, PLAIN), upload) is Verdict.DUPLICATE


@cases("status", BUSY)
def test_an_upload_from_after_a_plain_message_was_accepted_waits_behind(status: Status) -> None:
    upload = source(version="v1", written_at=YOUNG + timedelta(seconds=1))
    assert verdict(found(status, PLAIN), upload) is Verdict.WAIT_BEHIND


def test_what_was_never_claimed_was_accepted_when_it_was_made() -> None:
    upload = source(version="v1", written_at=SENT_AT + timedelta(seconds=1))
    assert verdict(found(Status.PENDING, PLAIN, claimed_at=None), upload) is Verdict.WAIT_BEHIND


@cases("status", ENDED)
def test_an_upload_from_after_a_plain_message_runs_once_that_has_ended(status: Status) -> None:
    upload = source(version="v1", written_at=YOUNG + timedelta(seconds=1))
    assert verdict(found(status, PLAIN), upload) is Verdict.START


@cases("status", ENDED)
def test_an_upload_that_an_ended_run_of_a_plain_message_has_read_is_a_duplicate(status: Status) -> None:
    upload = source(version="v1", written_at=YOUNG - timedelta(seconds=1))
    assert verdict(found(status, PLAIN), upload) is Verdict.DUPLICATE


def test_an_upload_that_a_plain_message_never_got_to_read_is_started() -> None:
    upload = source(version="v1", written_at=YOUNG - timedelta(seconds=1))
    assert verdict(replace(found(Status.FAILED, PLAIN), never_started=True), upload) is Verdict.START


def cancelled(of: Source) -> Job:
    return replace(found(Status.CANCELLED, of, claimed_at=None), ended_at=NOW)


@cases(("sent_at", "expected"), [(NOW, Verdict.DUPLICATE), (NOW + timedelta(milliseconds=1), Verdict.START)])
@cases("of", [V1, source(version="m1", written_at=None), source(version="", written_at=None)])
def test_a_plain_message_runs_a_cancelled_job_again_only_if_it_was_sent_after_the_cancel(
    of: Source, sent_at: datetime, expected: Verdict
) -> None:
    wanted = replace(request("a", of=PLAIN), sent_at=sent_at)
    assert judge(cancelled(of), wanted, now=NOW, grace=GRACE) is expected


def test_a_newer_upload_runs_though_the_older_one_was_cancelled_after_it() -> None:
    assert verdict(cancelled(V1), replace(V2, written_at=SENT_AT)) is Verdict.START


@cases(("written_at", "expected"), [(NOW, Verdict.DUPLICATE), (NOW + timedelta(milliseconds=1), Verdict.START)])
def test_the_cancel_of_a_row_written_ahead_covers_what_was_uploaded_by_then(
    written_at: datetime, expected: Verdict
) -> None:
    ahead = cancelled(source(version="", written_at=None))
    assert verdict(ahead, source(written_at=written_at)) is expected


# ---- judge: whatever the case ---------------------------------------------------------------------------------------

every_case = cases(
    ("status", "of", "claimed_at"),
    list(product(Status, [V1, replace(V1, message_id="m9"), V2, V2_UNORDERED, PLAIN], [None, YOUNG, STALE])),
)


@every_case
def test_nothing_is_started_over_a_job_that_is_under_way(
    status: Status, of: Source, claimed_at: datetime | None
) -> None:
    if status in {Status.WAITING, *HOLDING_SLOT}:
        assert verdict(found(status, V1, claimed_at=claimed_at), of) is not Verdict.START


@every_case
def test_only_a_stale_claim_for_the_same_work_is_adopted(
    status: Status, of: Source, claimed_at: datetime | None
) -> None:
    adoptable = status is Status.CLAIMED and of.version == V1.version and claimed_at == STALE
    assert (verdict(found(status, V1, claimed_at=claimed_at), of) is Verdict.ADOPT) == adoptable


@every_case
def test_nothing_waits_behind_a_job_that_has_ended(status: Status, of: Source, claimed_at: datetime | None) -> None:
    if status in TERMINAL:
        assert verdict(found(status, V1, claimed_at=claimed_at), of) is not Verdict.WAIT_BEHIND


# ---- order of uploads -----------------------------------------------------------------------------------------------

sequencers = st.text("0123456789ABCDEF", min_size=1, max_size=20)


def upload(sequencer: str | None) -> Source:
    return source(sequencer=sequencer)


@given(sequencers)
def test_nothing_is_older_than_itself(sequencer: str) -> None:
    assert not is_older(upload(sequencer), upload(sequencer))


@given(sequencers, sequencers)
def test_at_most_one_of_two_is_the_older(one: str, other: str) -> None:
    assert not (is_older(upload(one), upload(other)) and is_older(upload(other), upload(one)))


@given(sequencers, sequencers, sequencers)
def test_older_than_an_older_one_is_older(one: str, two: str, three: str) -> None:
    first, second, third = sorted([one, two, three], key=lambda text: text.ljust(20, "0"))
    older = [is_older(upload(a), upload(b)) for a, b in pairwise([first, second, third])]
    assert is_older(upload(first), upload(third)) == any(older)


@given(sequencers, sequencers)
def test_the_order_is_that_of_the_numbers_padded_on_the_right(one: str, other: str) -> None:
    assert is_older(upload(one), upload(other)) == (int(one.ljust(20, "0"), 16) < int(other.ljust(20, "0"), 16))


@given(sequencers, st.integers(1, 10))
def test_zeros_at_the_end_make_no_difference(sequencer: str, zeros: int) -> None:
    padded = upload(sequencer + "0" * zeros)
    assert not is_older(upload(sequencer), padded)
    assert not is_older(padded, upload(sequencer))


@cases(("one", "other"), [(None, "0B"), ("0A", None), (None, None)])
def test_without_both_sequencers_nothing_is_older(one: str | None, other: str | None) -> None:
    assert not is_older(upload(one), upload(other))


@cases("other", [source(bucket="other", sequencer="0B"), source(key="other.mp4", sequencer="0B")])
def test_sequencers_of_different_keys_say_nothing(other: Source) -> None:
    assert not is_older(upload("0A"), other)


@cases(
    ("of", "busy_with", "newer"),
    [
        (source(written_at=NOW), source(written_at=SENT_AT), True),
        (source(written_at=SENT_AT), source(written_at=NOW), True),
        (source(written_at=NOW), source(written_at=None), False),
        (source(written_at=NOW + timedelta(milliseconds=1)), source(written_at=None), True),
        (source(written_at=None), source(written_at=SENT_AT), False),
        (source(written_at=None), source(written_at=None), False),
    ],
    ids=["two uploads", "two uploads, reordered", "at once", "after the message", "plain after upload", "two plain"],
)
def test_only_an_upload_is_certainly_other_work(of: Source, busy_with: Source, newer: bool) -> None:  # noqa: FBT001
    assert is_newer_work(of, busy_with, accepted_at=NOW) is newer


# ---- statuses -------------------------------------------------------------------------------------------------------


def test_every_status_has_its_transitions() -> None:
    assert set(TRANSITIONS) == set(Status)


@cases("status", ENDED)
def test_nothing_follows_an_end(status: Status) -> None:
    assert not TRANSITIONS[status]


def test_what_has_no_way_on_is_an_end() -> None:
    assert {status for status, following in TRANSITIONS.items() if not following} == TERMINAL


@cases("status", sorted(set(Status) - TERMINAL))
def test_every_job_can_still_be_cancelled(status: Status) -> None:
    assert Status.CANCELLED in TRANSITIONS[status]


@cases("status", sorted(set(Status) - {Status.PENDING}))
def test_every_status_can_be_reached(status: Status) -> None:
    assert origins_of(status)


def test_a_slot_is_held_from_the_claim_to_the_end() -> None:
    assert HOLDING_SLOT | TERMINAL | {Status.PENDING, Status.WAITING} == set(Status)


def test_a_slot_is_taken_only_by_a_claim() -> None:
    outside = {Status.PENDING, Status.WAITING}
    assert {to for origin in outside for to in TRANSITIONS[origin] if to in HOLDING_SLOT} == {Status.CLAIMED}


def test_a_run_never_goes_back() -> None:
    """It ends, or its job waits for another one under a raised fence."""
    assert TRANSITIONS[Status.RUNNING] == TERMINAL | {Status.WAITING}


@given(st.sampled_from(Status), st.sampled_from(Status))
def test_origins_are_the_transitions_read_backwards(origin: Status, to: Status) -> None:
    assert (origin in origins_of(to)) == (to in TRANSITIONS[origin])


# ---- requests as JSON -----------------------------------------------------------------------------------------------

texts = st.text(unicode_text, max_size=20)
moments = st.datetimes(timezones=st.sampled_from([UTC])).map(
    lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
objects = st.dictionaries(texts, scalars | st.lists(scalars, max_size=3) | st.dictionaries(texts, scalars, max_size=3))
requests = st.builds(
    WorkRequest,
    job_id=texts,
    kind=texts,
    lane=texts,
    target=st.builds(TargetSpec, texts, texts, texts),
    source=st.builds(
        Source,
        bucket=texts,
        key=texts,
        version=texts,
        message_id=texts,
        version_id=st.none() | texts,
        sequencer=st.none() | texts,
        written_at=st.none() | moments,
    ),
    sent_at=moments,
    video_id=texts,
    user_id=st.none() | texts,
    input=st.none() | objects,
    metadata=st.none() | objects,
    announced=st.booleans(),
    start_after=st.none() | moments,
)


@given(requests)
def test_a_request_survives_its_json(wanted: WorkRequest) -> None:
    assert WorkRequest.from_json(wanted.to_json()) == wanted


@given(requests)
def test_the_json_of_a_request_is_stable(wanted: WorkRequest) -> None:
    assert WorkRequest.from_json(wanted.to_json()).to_json() == wanted.to_json()


def test_the_json_of_a_request_is_compact_and_without_what_is_absent() -> None:
    assert request("a", of=source(written_at=None)).to_json() == (
        '{"job_id":"a","kind":"video-analysis","lane":"video",'
        '"target":{"type":"batch","queue":"queue","definition":"definition"},'
        '"source":{"bucket":"media","key":"uploads/a.mp4","version":"v1","message_id":"m1"},'
        '"sent_at":"2026-11-22T12:00:00.000Z","video_id":"a"}'
    )


def test_the_json_of_announced_work_says_so_and_holds_its_input() -> None:
    assert (
        task(announced=True)
        .to_json()
        .endswith('"input":{"imageUrls":["s3://media/cat.jpg"]},"metadata":{"album":{"page":1.5}},"announced":true}')
    )


# ---- a job ----------------------------------------------------------------------------------------------------------


@cases(
    ("run_id", "target_id", "counts"), [(None, None, None), (None, "b1", "b1"), ("b2", "b1", "b2"), ("b2", None, "b2")]
)
def test_the_run_that_passed_the_fence_check_counts_before_the_recorded_one(
    run_id: str | None, target_id: str | None, counts: str | None
) -> None:
    assert replace(found(Status.RUNNING), run_id=run_id, target_id=target_id).authoritative_target_id == counts


@cases("status", sorted(set(Status) - {Status.PENDING}))
def test_only_a_pending_row_is_a_placeholder(status: Status) -> None:
    assert not found(status, source(version="")).is_placeholder
