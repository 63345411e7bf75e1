"""Tasks of Step Functions that wait for a job: each hears of its end, whatever dies, and nobody sees its token."""

import json
import re
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from switchyard.api import http
from switchyard.messages.envelope import Envelope
from switchyard.messages.redrive import redrive_body
from switchyard.messages.tasks import TaskWork
from switchyard.messages.videos import VideoWork
from switchyard.notifications.announcement import announcement
from switchyard.notifications.stream import Notifier
from switchyard.notifications.tasks import Tasks
from switchyard.protocol.dispatch import Outcome
from switchyard.protocol.jobs import Job, Status, WorkRequest
from switchyard.protocol.lanes import Lane, WaitEntry
from switchyard.protocol.ports import Claimed
from switchyard.protocol.reconcile import Reconciler
from switchyard.tables.records import task_tokens
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.fakes.crashing import Countdown, Crashing
from tests.fakes.dead_letters import FakeDeadLetters
from tests.requests import SENT_AT, request, source, task
from tests.unit.notifications.stream import Image, Receiver, Shard, image, record
from tests.world import World

TOKEN: Final = "AQCEAAAAKgAAAAMAAAAAAAAAAT-of-a-task"
ONE: Final = Lane("video", 1)
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")


@dataclass
class StepFunctions:
    """Tasks that wait. As on AWS, a token that was used, or that nobody has, is refused."""

    waiting: set[str] = field(default_factory=lambda: {TOKEN})
    ended: dict[str, tuple[str, ...]] = field(default_factory=dict)
    beats: list[str] = field(default_factory=list)
    failures: list[Exception] = field(default_factory=list)

    def send_task_success(self, *, taskToken: str, output: str) -> None:  # noqa: N803 - boto3's
        self._end(taskToken, "success", output)

    def send_task_failure(self, *, taskToken: str, error: str, cause: str) -> None:  # noqa: N803 - boto3's
        assert len(error) <= 256
        assert len(cause) <= 32_768
        self._end(taskToken, "failure", error, cause)

    def send_task_heartbeat(self, *, taskToken: str) -> None:  # noqa: N803 - boto3's
        self._fail()
        self._check(taskToken)
        self.beats.append(taskToken)

    def _end(self, token: str, *outcome: str) -> None:
        self._fail()
        self._check(token)
        self.waiting.discard(token)
        self.ended[token] = outcome

    def _check(self, token: str) -> None:
        if token not in self.waiting:
            raise refusal("TaskTimedOut" if token in self.ended else "TaskDoesNotExist")

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "x"}}, "SendTaskSuccess")


def row(status: str, job_id: str = "job-1", token: str | None = TOKEN, **more: Any) -> Image:  # noqa: ANN401 - attributes
    return image(status, job_id) | ({"taskToken": {"S": token}} if token else {}) | more


def tell(tasks: StepFunctions, *records: dict[str, Any]) -> dict[str, Any]:
    return Notifier([Tasks(tasks)], FakeDeadLetters()).consume({"Records": list(records)})


# ---- the end of a job ends its task ---------------------------------------------------------------------------------


def test_a_completed_job_lets_its_task_succeed_with_what_is_announced() -> None:
    tasks, ended = StepFunctions(), record(row("COMPLETED"), row("RUNNING"))
    assert tell(tasks, ended) == {"batchItemFailures": []}
    outcome, output = tasks.ended[TOKEN]
    found = announcement(ended)
    assert found
    assert (outcome, json.loads(output)) == ("success", found.detail())


@pytest.mark.parametrize(
    ("status", "error", "expected"),
    [
        ("FAILED", {"M": {"code": {"S": "HOST_LOST"}, "message": {"S": "gone"}}}, ("failure", "HOST_LOST", "gone")),
        ("FAILED", {"M": {"code": {"S": "x" * 300}, "message": {"S": ""}}}, ("failure", "x" * 256, "")),
        ("CANCELLED", None, ("failure", "CANCELLED", "job job-1 is CANCELLED")),
    ],
)
def test_any_other_end_lets_it_fail(status: str, error: Any, expected: tuple[str, ...]) -> None:  # noqa: ANN401 - a value
    tasks = StepFunctions()
    tell(tasks, record(row(status, **({"error": error} if error else {})), row("RUNNING")))
    assert tasks.ended == {TOKEN: expected}


def test_a_job_that_begins_to_run_or_has_no_token_ends_no_task() -> None:
    tasks = StepFunctions()
    tell(tasks, record(row("RUNNING"), row("SUBMITTED")), record(row("COMPLETED", token=None), row("RUNNING")))
    assert tasks.ended == {}


def test_a_task_that_comes_after_the_end_is_told_of_it() -> None:
    tasks = StepFunctions({TOKEN, "later"})
    first = record(row("COMPLETED"), row("RUNNING"))
    added = record(row("COMPLETED", token="later"), row("COMPLETED"))
    assert tell(tasks, first, added) == {"batchItemFailures": []}
    assert tasks.ended.keys() == {TOKEN, "later"}
    assert announcement(record(row("COMPLETED", ttl={"N": "1"}), row("COMPLETED"))) is None


# ---- what fails and what dies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["TaskTimedOut", "TaskDoesNotExist", "InvalidToken"])
def test_a_task_that_no_longer_waits_is_not_told_again(code: str) -> None:
    tasks = StepFunctions(failures=[refusal(code)])
    assert tell(tasks, record(row("COMPLETED"), row("RUNNING"))) == {"batchItemFailures": []}


@pytest.mark.parametrize("code", ["KmsAccessDeniedException", "KmsInvalidStateException", "InvalidOutput"])
def test_a_task_that_can_not_be_told_keeps_no_other_waiting(code: str) -> None:
    tasks = StepFunctions({"a", "b"}, failures=[refusal(code)])
    ends = [
        record(row("COMPLETED", name, token=name), row("RUNNING", name), number) for number, name in enumerate("ab")
    ]
    assert tell(tasks, *ends) == {"batchItemFailures": []}
    assert tasks.ended.keys() == {"b"}


@pytest.mark.parametrize(
    "failure",
    [refusal("ThrottlingException"), refusal("AccessDeniedException"), ReadTimeoutError(endpoint_url="https://states")],
    ids=str,
)
def test_a_call_that_fails_comes_again_with_all_after_it(failure: Exception) -> None:
    tasks = StepFunctions({"a", "b", "c"}, failures=[failure])
    ends = [
        record(row("COMPLETED", name, token=name), row("RUNNING", name), number) for number, name in enumerate("abc")
    ]
    answer = tell(tasks, *ends)
    assert answer == {"batchItemFailures": [{"itemIdentifier": ends[0]["dynamodb"]["SequenceNumber"]}]}
    assert tasks.ended == {}
    assert tell(tasks, *ends) == {"batchItemFailures": []}
    assert tasks.ended.keys() == {"a", "b", "c"}


@pytest.mark.parametrize("after_effect", [False, True])
@pytest.mark.parametrize("calls", range(4))
def test_every_task_ends_once_wherever_notify_dies(calls: int, after_effect: bool) -> None:  # noqa: FBT001 - a parameter
    names = ("a", "b", "c")
    tasks, shard = StepFunctions(set(names)), Shard([])
    shard.records = [
        record(row("FAILED", name, token=name), row("RUNNING", name), number) for number, name in enumerate(names)
    ]
    channels = [Tasks(Crashing(tasks, Countdown(calls, after_effect))), Tasks(tasks)]
    shard.poll(Notifier(channels[:1], FakeDeadLetters()).consume)
    shard.drain(Notifier(channels[1:], FakeDeadLetters()).consume)
    shard.place = 0
    shard.drain(Notifier(channels[1:], FakeDeadLetters()).consume)  # a replay of the stream
    assert tasks.ended == {name: ("failure", "FAILED", f"job {name} is FAILED") for name in names}


# ---- whose a token is -----------------------------------------------------------------------------------------------


def test_a_token_is_told_to_its_task_alone(capsys: pytest.CaptureFixture[str]) -> None:
    heard, tasks = Receiver(), StepFunctions(failures=[refusal("ThrottlingException")])
    Notifier([heard, Tasks(tasks)], FakeDeadLetters()).consume({"Records": [record(row("COMPLETED"), row("RUNNING"))]})
    [told] = heard.heard
    assert TOKEN not in json.dumps(told.detail())
    assert TOKEN not in repr(told)
    assert TOKEN not in repr(asking())
    assert TOKEN not in capsys.readouterr().out


def test_the_api_takes_no_token() -> None:
    schemas = http.document()["components"]["schemas"]
    assert "taskToken" not in json.dumps(schemas)
    assert schemas["JobRequest"]["additionalProperties"] is False
    assert schemas["ProcessRequest"]["additionalProperties"] is False
    parsed = TaskWork("media", "cluster", {"image-processing": "d"}).parse(
        json.dumps({"imageUrls": ["s3://media/a.jpg"], "taskToken": TOKEN}), Envelope("m", SENT_AT)
    )
    assert [each.error.code for each in parsed.rejected] == ["INVALID_MESSAGE"]


# ---- from the message to the row ------------------------------------------------------------------------------------


def asking(job_id: str = "a", token: str | None = TOKEN, **more: Any) -> WorkRequest:  # noqa: ANN401 - as `request`
    return replace(request(job_id, **more), task_token=token)


@pytest.fixture
def store(aws: Aws) -> Store:
    return Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))


def tokens(aws: Aws, *job_ids: str) -> list[str]:
    return list(task_tokens(aws.dynamodb, aws.jobs_table, job_ids))


def claim(store: Store, wanted: WorkRequest, entry: WaitEntry | None = None) -> Job:
    outcome = store.claim(wanted, store.get(wanted.job_id), ONE, entry=entry)
    assert isinstance(outcome, Claimed), outcome
    return outcome.job


def test_a_job_keeps_its_token_until_other_work_begins(aws: Aws, store: Store) -> None:
    job = claim(store, asking())
    assert tokens(aws, "a", "none") == [TOKEN]
    store.finish(job, Status.COMPLETED, error=None, target_id=None, attempts=1)
    assert tokens(aws, "a") == [TOKEN]
    claim(store, asking(token=None, of=source(key="uploads/a.mp4", version="v2")))
    assert tokens(aws, "a") == []


def test_a_token_that_came_while_the_job_waited_stays(aws: Aws, store: Store) -> None:
    store.hold(asking(), None)
    job = store.get("a")
    assert job
    assert store.add_token(job, "later") is None
    [entry] = store.waiting(ONE)
    claim(store, entry.request, entry)
    assert tokens(aws, "a") == ["later"]


def test_a_duplicate_has_the_end_told_to_its_task(world: World) -> None:
    """S3 announced the upload before a state machine asked for it."""
    world.dispatcher.dispatch(request("a"))
    plain = asking("a", of=replace(source(key="uploads/a.mp4"), version="m2", message_id="m2", written_at=None))
    assert world.dispatcher.dispatch(plain) is Outcome.DUPLICATE
    job = world.store.get("a")
    assert job
    assert job.request.task_token == TOKEN


def test_a_dead_letter_keeps_the_token() -> None:
    video = VideoWork("video", request().target, re.compile("(?P<video_id>x)"), frozenset({"media"}), task_tokens=True)
    [again] = video.parse(redrive_body(asking()), Envelope("m", SENT_AT)).requests
    tasks = TaskWork("media", "cluster", {"image-processing": "d"}, task_tokens=True)
    [task_again] = tasks.parse(redrive_body(replace(task(), task_token=TOKEN)), Envelope("m", SENT_AT)).requests
    assert (again.task_token, task_again.task_token) == (TOKEN, TOKEN)
    assert WorkRequest.from_json(again.to_json()) == again


@given(st.none() | st.integers() | st.text(max_size=3000) | st.lists(st.text()))
def test_whatever_is_no_token_is_refused(token: object) -> None:
    video = VideoWork("video", request().target, re.compile("(?P<video_id>x)"), frozenset({"media"}), task_tokens=True)
    parsed = video.parse(json.dumps({"bucket": "media", "key": "a", "taskToken": token}), Envelope("m", SENT_AT))
    valid = token is None or (isinstance(token, str) and 0 < len(token) <= 2048 and token.isprintable())
    assert [each.task_token for each in parsed.requests] == ([token] if valid else [])
    assert len(parsed.rejected) == (not valid)


def test_a_deployment_that_tells_no_tasks_takes_no_token() -> None:
    video = VideoWork("video", request().target, re.compile("(?P<video_id>x)"), frozenset({"media"}))
    parsed = video.parse(json.dumps({"bucket": "media", "key": "a", "taskToken": TOKEN}), Envelope("m", SENT_AT))
    assert [each.error.code for each in parsed.rejected] == ["INVALID_MESSAGE"]


# ---- while the job lives --------------------------------------------------------------------------------------------


def test_the_reconciler_keeps_the_tasks_of_living_jobs_alive(aws: Aws, store: Store) -> None:
    claim(store, asking("closed", "closed"))
    store.hold(asking("waits", "of-the-waiting"), None)
    tasks = StepFunctions({"of-the-waiting"})
    Tasks(tasks).keep_alive(tokens(aws, "closed", "waits"))
    assert tasks.beats == ["of-the-waiting"]


def test_heartbeats_end_at_the_first_failure_and_raise_nothing() -> None:
    tasks = StepFunctions({"a", "b"}, failures=[refusal("ThrottlingException")])
    Tasks(tasks).keep_alive(["a", "b"])
    assert tasks.beats == []


def test_a_pass_of_the_reconciler_beats_for_all_that_wait_or_run(world: World) -> None:
    heard: list[str] = []
    world.dispatcher.dispatch(request("a"))
    world.dispatcher.dispatch(request("b", sent=1))
    Reconciler(world.store, world.dispatcher, world.tracker, timedelta(1), timedelta(1), beat=heard.extend).run()
    assert set(heard) == {"a", "b"}
