"""A message whose requests fail in different ways loses none of them."""

import json
import re
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from switchyard.errors import Contended, NoFreeSlot, OutcomeUnknown, RetryableError, StartRefused, Unavailable
from switchyard.messages.intake import Intake, RequestsFailed
from switchyard.messages.kinds import IMAGES
from switchyard.messages.queues import Message
from switchyard.messages.redrive import redrive_body
from switchyard.messages.tasks import TaskWork
from switchyard.messages.videos import VideoWork
from switchyard.protocol.dispatch import Dispatcher
from switchyard.protocol.jobs import Status, WorkRequest
from tests.cases import cases
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.target import Mode
from tests.requests import SENT_AT, request, task
from tests.world import World

PATTERN = re.compile(r"uploads/(?P<video_id>\w+)")


def intake(world: World) -> Intake:
    work = VideoWork("video", request().target, PATTERN, frozenset({"media"}))
    return Intake(world.dispatcher, work, world.dead_letters)


def message(*job_ids: str, receive_count: int = 1) -> Message:
    """Returns an S3 notification with one upload per job."""
    records = [
        {
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "eventTime": "2026-11-22T12:00:00.000Z",
            "s3": {"bucket": {"name": "media"}, "object": {"key": f"uploads/{job}.mp4", "versionId": "v1"}},
        }
        for job in job_ids
    ]
    return Message(json.dumps({"Records": records}), "m1", SENT_AT, receive_count, "receipt")


def fail(world: World, sent: Message) -> RequestsFailed:
    with pytest.raises(RequestsFailed) as caught:
        intake(world).handle(sent)
    return caught.value


def test_every_request_has_its_turn_though_the_first_fails(world: World) -> None:
    world.limit = 2
    world.target.modes.append(Mode.REFUSE)
    fail(world, message("a", "b"))
    assert world.job("b").status is Status.SUBMITTED


def test_each_failure_is_kept_with_its_request(world: World) -> None:
    world.limit = 2
    world.target.modes.extend([Mode.REFUSE, Mode.TIME_OUT_AFTER])
    failures = fail(world, message("a", "b")).failures
    assert [(wanted.job_id, type(error)) for wanted, error in failures] == [("a", StartRefused), ("b", OutcomeUnknown)]


@pytest.mark.parametrize("failure", [Unavailable("down"), Contended("raced")])
def test_a_failure_says_whether_a_service_is_to_blame(world: World, failure: RetryableError) -> None:
    working = intake(world)
    with patch.object(Dispatcher, "dispatch", side_effect=failure), pytest.raises(RequestsFailed) as caught:
        working.handle(message("a"))
    assert caught.value.outage is failure.outage


def test_only_what_failed_for_good_is_given_up(world: World) -> None:
    world.limit = 2
    world.target.modes.extend([Mode.TIME_OUT_AFTER, Mode.REFUSE])
    sent = message("a", "b")
    assert intake(world).exhausted(sent, fail(world, sent))
    assert (world.job("a").status, world.job("b").status) == (Status.CLAIMED, Status.FAILED)


def test_what_is_given_up_is_dead_lettered_by_itself(world: World) -> None:
    world.limit = 2
    world.target.modes.extend([Mode.ACCEPT, Mode.REFUSE])
    sent = message("a", "b")
    intake(world).exhausted(sent, fail(world, sent))
    ((body, _),) = world.dead_letters.sent
    assert json.loads(body)["job_id"] == "b"


def test_a_request_that_found_no_slot_is_not_lost_with_one_whose_outcome_is_unknown(world: World) -> None:
    """Both in one message, on its last receive, with AT_CAPACITY=return."""
    world.waiting_room = False
    world.target.modes.append(Mode.TIME_OUT_AFTER)
    sent = message("a", "b")
    error = fail(world, sent)
    assert [type(failure) for _, failure in error.failures] == [OutcomeUnknown, NoFreeSlot]
    assert not intake(world).exhausted(sent, error)


def test_a_throttle_after_many_full_lanes_is_not_the_end(world: World) -> None:
    world.waiting_room = False
    world.target.modes.append(Mode.THROTTLE)
    sent = message("a", receive_count=9)
    assert not intake(world).exhausted(sent, fail(world, sent))
    assert world.dead_letters.sent == []


def test_a_request_that_meets_a_failing_service_does_not_keep_its_siblings_from_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.limit = 2
    claim = world.store.claim

    def throttled(wanted: WorkRequest, *args: Any, **options: Any) -> object:  # noqa: ANN401 - as the real one's
        if wanted.job_id == "a":
            raise Unavailable("ThrottlingException")
        return claim(wanted, *args, **options)

    monkeypatch.setattr(world.store, "claim", throttled)
    ((_, error),) = fail(world, message("a", "b")).failures
    assert isinstance(error, Unavailable)
    assert world.job("b").status is Status.SUBMITTED


def test_what_is_given_up_and_redriven_is_the_same_work(world: World) -> None:
    world.target.modes.append(Mode.REFUSE)
    sent = message("a")
    before = fail(world, sent)
    intake(world).exhausted(sent, before)
    ((body, _),) = world.dead_letters.sent
    intake(world).handle(replace(sent, body=body, id="m2"))
    ((wanted, _),) = before.failures
    found = world.job("a").request.source
    assert (found.version, found.written_at) == (wanted.source.version, wanted.source.written_at)
    assert world.job("a").status is Status.SUBMITTED


def test_what_can_not_be_read_goes_to_the_queue_s_own_dead_letters(world: World) -> None:
    """Its lane is unknown."""
    own = FakeDeadLetters()
    work = VideoWork("video", request().target, PATTERN, frozenset({"media"}))
    Intake(world.dispatcher, work, own).handle(replace(message("a"), body="rubbish"))
    assert ([body for body, _ in own.sent], world.dead_letters.sent) == (["rubbish"], [])


BOBS = json.dumps({"bucket": "media", "key": "uploads/a.mp4", "video_id": "a", "user_id": "bob"})


@cases(
    ("row", "code"),
    [
        (replace(request(), user_id="ann"), "JOB_ID_TAKEN"),
        (replace(task("a"), user_id="bob"), "JOB_ID_TAKEN"),
        (None, "FOREIGN_ROW"),
    ],
)
def test_a_request_that_can_never_have_its_id_is_dead_lettered_with_the_reason(
    row: WorkRequest | None, code: str
) -> None:
    world = World()
    if row is None:
        world.store.haunt("a")
    else:
        world.dispatch(row)
    intake(world).handle(replace(message("a"), body=BOBS))
    ((body, error),) = world.dead_letters.sent
    assert (json.loads(body)["job_id"], json.loads(body)["user_id"], error.code) == ("a", "bob", code)


def test_a_task_with_another_input_is_dead_lettered_with_the_reason(world: World) -> None:
    world.dispatch(task())
    other = redrive_body(replace(task(message_id="m2"), input={"imageUrls": ["s3://media/dog.jpg"]}))
    work = TaskWork("media", "cluster", {IMAGES.name: "detector"})
    Intake(world.dispatcher, work, world.dead_letters).handle(replace(message("a"), body=other))
    ((body, error),) = world.dead_letters.sent
    assert (json.loads(body)["imageUrls"], error.code) == (["s3://media/dog.jpg"], "JOB_EXISTS")


def test_what_is_refused_is_dead_lettered_once_though_its_message_comes_back_for_another(world: World) -> None:
    world.limit = 2
    world.store.haunt("a")
    world.target.modes.extend([Mode.REFUSE, Mode.ACCEPT])
    sent = message("a", "b")
    fail(world, sent)
    assert world.dead_letters.sent == []
    intake(world).handle(sent)
    assert [(json.loads(body)["job_id"], error.code) for body, error in world.dead_letters.sent] == [
        ("a", "FOREIGN_ROW")
    ]
    assert world.job("b").status is Status.SUBMITTED


def test_what_is_refused_on_the_last_receive_is_dead_lettered_too(world: World) -> None:
    world.limit = 2
    world.store.haunt("a")
    world.target.modes.append(Mode.REFUSE)
    sent = message("a", "b")
    assert intake(world).exhausted(sent, fail(world, sent))
    assert {error.code for _, error in world.dead_letters.sent} == {"FOREIGN_ROW", "START_REFUSED"}


def test_an_attribute_that_names_one_video_is_refused_with_several_objects(world: World) -> None:
    """They would share one job, and with equal versions be one job."""
    sent = replace(message("a", "b", "c"), attributes={"video_id": "7"})
    intake(world).handle(sent)
    ((body, error),) = world.dead_letters.sent
    assert (body, error.code, world.store.jobs) == (sent.body, "INVALID_MESSAGE", {})
    intake(world).handle(replace(message("a"), attributes={"video_id": "7"}))
    assert world.job("7").status is Status.SUBMITTED
