"""What becomes of a function's messages and invocations: they end, wait, come back, or are dead letters."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from switchyard.function_jobs.jobs import (
    GIVEN_UP,
    LONGEST_WAIT,
    MAX_BEGINS,
    SILENCE,
    FunctionJob,
    FunctionVerdict,
    after_any_end,
    after_failure,
    judge_message,
)
from switchyard.function_jobs.outbox import continued
from switchyard.function_jobs.work import TimeLeft
from switchyard.messages.queues import Message
from switchyard.protocol.cancel import Cancellation
from switchyard.protocol.jobs import Status
from tests.cases import cases
from tests.unit.function_jobs.world import DEAD, GRACE, MAX_RECEIVES, QUEUE, RoomWorld, Wanted

# ---- the end --------------------------------------------------------------------------------------------------------


def test_a_message_gets_its_work_done(room: RoomWorld) -> None:
    room.ask()
    room.deliver_visible()
    row = room.row()
    assert (row["status"], row["result"], row["progress"]) == (
        "COMPLETED",
        {"count": 1, "file": "1.json"},
        {"percent": 100, "message": "done"},
    )
    assert (room.messages, room.dead_letters) == ([], [])


def test_ten_messages_at_once_are_one_job(room: RoomWorld) -> None:
    for _ in range(10):
        room.ask()
    room.deliver_visible()
    assert (room.service.calls, room.row()["fence"]) == (1, 1)


def test_a_message_after_the_end_begins_the_job_again(room: RoomWorld) -> None:
    for _ in range(2):
        room.time.advance(timedelta(seconds=1))
        room.ask()
        room.deliver_visible()
    assert (room.service.calls, room.row()["fence"]) == (2, 2)


def test_what_can_not_succeed_fails_and_is_dead_lettered_with_the_reason(room: RoomWorld) -> None:
    room.service.is_private = True
    kept = room.ask()
    room.deliver_visible()
    assert (room.outcome(), room.dead_letters) == (("FAILED", "PRIVATE"), ["PRIVATE"])
    room.sqs.on(QUEUE)[kept.id] = replace(kept, visible_at=room.time.now)  # delivered once more
    room.deliver_visible()
    assert (room.service.calls, room.dead_letters) == (1, ["PRIVATE"])


def test_what_may_pass_comes_back_and_is_given_up_in_the_end(room: RoomWorld) -> None:
    room.service.is_down = True
    room.ask()
    room.settle()
    assert (room.service.calls, room.outcome()) == (MAX_RECEIVES, ("FAILED", GIVEN_UP))
    assert room.dead_letters == ["AWS_UNAVAILABLE"]
    room.service.is_down = False
    [letter] = room.sqs.on(DEAD).values()
    room.sqs.put(QUEUE, letter.body)  # a redrive
    room.settle()
    assert room.outcome() == ("COMPLETED", None)


def test_a_row_of_another_user_is_left_alone(room: RoomWorld) -> None:
    row = {"jobId": {"S": Wanted("ada").job_id}, "status": {"S": "PENDING"}, "kind": {"S": "count"}}
    row["userId"] = {"S": "bob"}
    room.aws.dynamodb.put_item(TableName=room.aws.jobs_table, Item=row)
    room.ask()
    room.deliver_visible()
    assert (room.outcome(), room.dead_letters) == (("PENDING", None), ["JOB_ID_TAKEN"])


def test_a_message_that_asks_for_several_is_split(room: RoomWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Any] = []

    def send(**call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        sent.append(call["Entries"])
        return {}

    monkeypatch.setattr(room.sqs, "send_message_batch", send, raising=False)
    room.sqs.put(QUEUE, json.dumps({"users": ["ada", "bob"]}))
    room.deliver_visible()
    [entries] = sent
    assert [json.loads(entry["MessageBody"]) for entry in entries] == [{"userId": "ada"}, {"userId": "bob"}]


# ---- waiting --------------------------------------------------------------------------------------------------------


@pytest.fixture
def waiting(room: RoomWorld) -> RoomWorld:
    """Sets up a job that waits for an hour."""
    room.service.pause = room.time.now + timedelta(hours=1)
    room.ask()
    room.deliver_visible()
    return room


def test_a_job_that_waits_says_why_and_for_how_long(waiting: RoomWorld) -> None:
    row = waiting.row()
    assert (row["status"], row["progress"]) == (
        "RUNNING",
        {"percent": 40, "message": "the service wants a pause", "waitsUntil": row["waitsUntil"]},
    )
    [kept] = waiting.messages
    assert kept.visible_at == waiting.time.now + timedelta(minutes=15)


def test_a_long_wait_uses_up_no_receives_and_no_begins(waiting: RoomWorld) -> None:
    receives = set()
    while waiting.messages:
        waiting.deliver_visible()
        receives |= {kept.receives for kept in waiting.messages}
        assert waiting.row()["fence"] == 1 or not waiting.messages
        waiting.time.advance(timedelta(minutes=1))
    assert (receives, waiting.outcome(), waiting.row()["fence"]) == ({0}, ("COMPLETED", None), 2)
    assert {"waitsUntil", "error"} & set(waiting.row()) == set()


def test_many_waits_are_not_many_failures(room: RoomWorld) -> None:
    room.ask()
    for _ in range(MAX_BEGINS + MAX_RECEIVES):
        room.service.pause = room.time.now + timedelta(minutes=1)
        room.deliver_visible()
        room.time.advance(timedelta(minutes=1))
    assert (room.outcome(), room.dead_letters) == (("RUNNING", None), [])
    room.settle()
    assert (room.outcome(), sum(room.done.values())) == (("COMPLETED", None), 1)


def test_who_would_wait_for_too_long_is_given_up(room: RoomWorld) -> None:
    room.service.pause = room.time.now + LONGEST_WAIT + timedelta(seconds=1)
    room.ask()
    room.settle()
    assert (room.outcome(), room.dead_letters) == (("FAILED", GIVEN_UP), ["POSTPONED"])
    assert "pause" in room.row()["error"]["message"]


def test_other_messages_leave_a_waiting_job_alone(waiting: RoomWorld) -> None:
    waiting.time.advance(2 * SILENCE)
    other = waiting.ask()
    waiting.deliver(other)
    assert (len(waiting.messages), waiting.service.calls) == (1, 1)


def test_a_waiting_job_whose_message_is_lost_is_asked_for_again(waiting: RoomWorld) -> None:
    waiting.sqs.on(QUEUE).clear()
    for hours, asked in ((1, 0), (1, 1)):
        waiting.time.advance(GRACE * hours)
        waiting.reconcile()
        assert len(waiting.messages) == asked
    waiting.settle()
    assert waiting.outcome() == ("COMPLETED", None)


@pytest.mark.parametrize("by_repair", [True, False])
def test_a_waiting_job_can_be_cancelled(waiting: RoomWorld, by_repair: bool) -> None:  # noqa: FBT001
    assert waiting.cancel() is Cancellation.REQUESTED
    if by_repair:
        waiting.reconcile()
        assert waiting.outcome() == ("CANCELLED", None)
    waiting.settle()
    assert (waiting.outcome(), waiting.messages, waiting.service.calls) == (("CANCELLED", None), [], 1)


def test_a_message_that_comes_after_a_wait_for_nothing_does_nothing(waiting: RoomWorld) -> None:
    """The job was cancelled, and begun again, while the message waited."""
    [late] = waiting.messages
    waiting.cancel()
    waiting.reconcile()
    waiting.service.pause = None
    waiting.time.advance(timedelta(seconds=1))
    waiting.deliver(waiting.ask())
    assert waiting.outcome() == ("COMPLETED", None)
    waiting.time.advance(timedelta(hours=1))
    waiting.deliver(late)
    assert (waiting.row()["fence"], waiting.service.calls, waiting.messages) == (2, 2, [])


@given(st.dictionaries(st.sampled_from(["begunBy", "continues"]), st.text(max_size=300) | st.integers().map(str)))
def test_a_message_continues_a_run_only_if_it_names_one(attributes: dict[str, str]) -> None:
    sent_at = datetime(2026, 11, 30, tzinfo=UTC)
    message_id, fence = continued(Message("{}", "m1", sent_at, 1, "receipt", attributes))
    if fence is None:
        assert message_id == "m1"
    else:
        assert message_id == attributes["begunBy"]
        assert message_id.isprintable()
        assert int(attributes["continues"]) == fence < 10**15


# ---- the judgement --------------------------------------------------------------------------------------------------

NOW = datetime(2026, 11, 30, 12, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
RUNNING = FunctionJob(
    id="count-ada",
    kind="count",
    status=Status.RUNNING,
    fence=3,
    attempts=1,
    begun_by="m1",
    modified=None,
    alive_at=NOW - 2 * SILENCE,
    cancel_requested=False,
    chunks=frozenset(),
    user_id="ada",
    request=None,
    error=None,
    result={},
)
WAITS = replace(RUNNING, waits_until=LATER)
OVER = replace(RUNNING, waits_until=NOW)


@cases(
    ("found", "message", "continues", "verdict"),
    [
        (WAITS, "m1", None, FunctionVerdict.WAIT),
        (WAITS, "m1", 3, FunctionVerdict.WAIT),
        (WAITS, "m1", 2, FunctionVerdict.LEAVE),
        (WAITS, "m2", None, FunctionVerdict.LEAVE),
        (replace(WAITS, cancel_requested=True), "m1", 3, FunctionVerdict.CANCEL),
        (OVER, "m1", 3, FunctionVerdict.TAKE_OVER),
        (OVER, "m1", 2, FunctionVerdict.LEAVE),
        (OVER, "m2", None, FunctionVerdict.LEAVE),
        (replace(OVER, waits_until=NOW - SILENCE), "m2", None, FunctionVerdict.TAKE_OVER),
        (replace(OVER, attempts=MAX_BEGINS), "m1", 3, FunctionVerdict.GIVE_UP),
        (replace(RUNNING, status=Status.FAILED), "m1", 2, FunctionVerdict.LEAVE),
    ],
)
def test_what_a_message_means_for_a_job_that_waits(
    found: FunctionJob, message: str, continues: int | None, verdict: FunctionVerdict
) -> None:
    assert judge_message(found, message, None, again=after_any_end, now=NOW, continues=continues) is verdict


def test_without_a_time_of_its_input_no_work_is_newer() -> None:
    ended = replace(RUNNING, status=Status.COMPLETED, modified=NOW)
    assert judge_message(ended, "m2", None, again=after_failure, now=NOW) is FunctionVerdict.LEAVE


# ---- directly -------------------------------------------------------------------------------------------------------


def invoke(room: RoomWorld, user: str = "ada") -> dict[str, Any]:
    return room.intake().invoked({"userId": user}, "request-1", TimeLeft(lambda: 300_000))


def test_who_invokes_is_told_the_outcome(room: RoomWorld) -> None:
    answer = {"jobId": "count-ada", "status": "COMPLETED", "count": 1, "file": "1.json"}
    assert [invoke(room), invoke(room)] == [answer, answer]


def test_who_invokes_for_what_must_wait_is_told_that_it_runs(room: RoomWorld) -> None:
    room.service.pause = room.time.now + timedelta(minutes=1)
    assert invoke(room) == {"jobId": "count-ada", "status": "RUNNING"}
    room.settle()
    assert (room.outcome(), room.row()["begunBy"]) == (("COMPLETED", None), "request-1")


def test_who_invokes_for_what_can_not_succeed_is_told_why(room: RoomWorld) -> None:
    room.service.is_private = True
    answer = invoke(room)
    assert (answer["status"], answer["error"]["code"], room.dead_letters) == ("FAILED", "PRIVATE", [])
