"""A redrive loses no message, moves only the selected ones, and is a dry run by default."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from click.testing import CliRunner, Result
from rich.console import Console

from switchyard_client import discovery
from switchyard_client import queues as tool
from switchyard_client.command import main
from switchyard_client.queues import QUEUES, Redrive
from tests.conftest import Aws

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

REFUSED = {"ErrorType": "START_REFUSED", "ErrorMessage": "no such queue"}


class Death(BaseException):
    """The process was killed."""


class Sqs:
    """An SQS with one call that fails before it takes effect."""

    def __init__(self, sqs: "SQSClient", call: str, failure: BaseException, after: int = 0) -> None:
        self._sqs, self._call, self._failure, self._left = sqs, call, failure, after

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the client's
        if name == self._call:
            self._left -= 1
            if self._left < 0:
                raise self._failure
        return getattr(self._sqs, name)


def refusal(code: str = "AccessDenied") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "Call")


def lay(aws: Aws, *bodies: str, **attributes: str) -> None:
    """Puts messages into the dead-letter queue."""
    for body in bodies:
        aws.sqs.send_message(
            QueueUrl=aws.dead_letter_queue_url,
            MessageBody=body,
            MessageAttributes={
                name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
            },
        )


def redrive_of(aws: Aws, sqs: Any = None) -> Redrive:  # noqa: ANN401 - a client, or what stands in for one
    return Redrive(sqs or aws.sqs, aws.dead_letter_queue_url, aws.queue_url, wait=0, sleep=lambda _: None)


def all_of(redrive: Redrive, **wanted: Any) -> list[bool]:  # noqa: ANN401 - `take`'s
    outcomes: list[bool] = []
    letters = redrive.take(**{"limit": 100, "seconds": 60, **wanted})
    redrive.move_all(letters, 1000, lambda _, moved: outcomes.append(moved))
    return outcomes


def visible(aws: Aws, url: str) -> list[str]:
    """Returns the bodies of the visible messages."""
    found: list[str] = []
    while batch := aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages"):
        found += [message["Body"] for message in batch]
    return sorted(found)


def test_a_message_goes_back_with_its_body_and_what_makes_it_its_jobs(aws: Aws) -> None:
    lay(aws, "a", video_id="v", **REFUSED)
    all_of(redrive_of(aws))
    (message,) = aws.sqs.receive_message(QueueUrl=aws.queue_url, MessageAttributeNames=["All"])["Messages"]
    assert message["Body"] == "a"
    assert {name: value["StringValue"] for name, value in message["MessageAttributes"].items()} == {"video_id": "v"}
    assert visible(aws, aws.dead_letter_queue_url) == []


def test_many_go_back_all(aws: Aws) -> None:
    bodies = [f"{number:03}" for number in range(25)]
    lay(aws, *bodies)
    assert all_of(redrive_of(aws)) == [True] * 25
    assert (visible(aws, aws.queue_url), redrive_of(aws).depth()) == (bodies, 0)


def test_looking_changes_nothing(aws: Aws) -> None:
    lay(aws, "a", "b")
    redrive = redrive_of(aws)
    redrive.release(redrive.take(limit=100, seconds=600))
    assert (visible(aws, aws.queue_url), visible(aws, aws.dead_letter_queue_url)) == ([], ["a", "b"])


def test_what_is_in_hand_nobody_else_gets(aws: Aws) -> None:
    lay(aws, "a")
    redrive_of(aws).take(limit=100, seconds=600)
    assert visible(aws, aws.dead_letter_queue_url) == []


def test_only_so_many(aws: Aws) -> None:
    lay(aws, *"abcde")
    assert len(all_of(redrive_of(aws), limit=2)) == 2
    assert (len(visible(aws, aws.queue_url)), len(visible(aws, aws.dead_letter_queue_url))) == (2, 3)


def test_only_those_of_a_type(aws: Aws) -> None:
    lay(aws, "a", **REFUSED)
    lay(aws, "b", ErrorType="INVALID_MESSAGE")
    lay(aws, "c")
    all_of(redrive_of(aws), types=["START_REFUSED", "none"])
    assert (visible(aws, aws.queue_url), visible(aws, aws.dead_letter_queue_url)) == (["a", "c"], ["b"])


def test_oldest_first(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(aws, *"abc")
    redrive = redrive_of(aws)
    found = iter([datetime(2026, 11, 22, hour, tzinfo=UTC) for hour in (3, 1, 2)])

    class Moments(datetime):
        @classmethod
        def fromtimestamp(cls, *_: object) -> datetime:  # type: ignore[override]
            return next(found)

    monkeypatch.setattr(tool, "datetime", Moments)
    assert [letter.body for letter in redrive.take(limit=9, seconds=60)] == ["b", "c", "a"]


def test_not_faster_than_asked_for(aws: Aws) -> None:
    lay(aws, *"abc")
    pauses: list[float] = []
    redrive = Redrive(aws.sqs, aws.dead_letter_queue_url, aws.queue_url, wait=0, sleep=pauses.append)
    redrive.move_all(redrive.take(limit=9, seconds=60), 4, lambda *_: None)
    assert pauses == [0.25, 0.25]


def test_a_death_between_send_and_delete_doubles_a_message_and_loses_none(aws: Aws) -> None:
    lay(aws, "a", "b")
    letters = redrive_of(aws).take(limit=9, seconds=60)
    dying = redrive_of(aws, Sqs(aws.sqs, "delete_message", Death()))
    with pytest.raises(Death):
        dying.move(letters[0])
    redrive_of(aws).release(letters)  # ... as time would
    assert visible(aws, aws.queue_url) == ["a"]
    assert visible(aws, aws.dead_letter_queue_url) == ["a", "b"]


@pytest.mark.parametrize("failure", [refusal(), KeyboardInterrupt()])
def test_at_the_first_that_can_not_be_sent_the_rest_stays_and_is_seen_at_once(aws: Aws, failure: BaseException) -> None:
    lay(aws, *"abc")
    letters = redrive_of(aws).take(limit=9, seconds=600)
    failing = redrive_of(aws, Sqs(aws.sqs, "send_message", failure, after=1))
    with pytest.raises(type(failure)):
        failing.move_all(letters, 1000, lambda *_: None)
    assert (len(visible(aws, aws.queue_url)), len(visible(aws, aws.dead_letter_queue_url))) == (1, 2)


def test_an_interrupted_look_leaves_everything_to_be_seen(aws: Aws) -> None:
    lay(aws, *[str(number) for number in range(25)])
    failing = redrive_of(aws, Sqs(aws.sqs, "receive_message", KeyboardInterrupt(), after=1))
    with pytest.raises(KeyboardInterrupt):
        failing.take(limit=100, seconds=600)
    assert len(visible(aws, aws.dead_letter_queue_url)) == 25


def test_a_message_that_another_redrive_has_in_hand_is_not_sent_twice(aws: Aws) -> None:
    lay(aws, "a")
    (letter,) = redrive_of(aws).take(limit=9, seconds=60)
    assert redrive_of(aws).move(letter)
    assert not redrive_of(aws, Sqs(aws.sqs, "change_message_visibility", refusal("ReceiptHandleIsInvalid"))).move(
        letter
    )
    assert visible(aws, aws.queue_url) == ["a"]


@pytest.mark.parametrize("failure", [refusal(), ReadTimeoutError(endpoint_url="https://sqs")], ids=["refused", "late"])
def test_who_can_not_ask_whether_a_message_is_theirs_moves_nothing(aws: Aws, failure: Exception) -> None:
    lay(aws, "a")
    (letter,) = redrive_of(aws).take(limit=9, seconds=60)
    with pytest.raises(type(failure)):
        redrive_of(aws, Sqs(aws.sqs, "change_message_visibility", failure)).move(letter)
    assert visible(aws, aws.queue_url) == []


def test_a_message_that_comes_back_meanwhile_is_not_moved_in_circles(aws: Aws) -> None:
    lay(aws, "a")
    moved: list[str] = []

    def and_it_fails_again(body: str) -> None:
        moved.append(body)
        lay(aws, body, **REFUSED)

    redrive = redrive_of(aws)
    redrive.move_all(redrive.take(limit=9, seconds=60), 1000, lambda letter, _: and_it_fails_again(letter.body))
    assert (moved, visible(aws, aws.dead_letter_queue_url)) == (["a"], ["a"])


# ---- the command -----------------------------------------------------------------------------------------------------

type Command = Callable[..., Result]


class CloudFormation:
    """A CloudFormation with one stack whose video queues are those of `aws`."""

    def __init__(self, aws: Aws) -> None:
        self._urls = aws.dead_letter_queue_url, aws.queue_url

    def describe_stacks(self, StackName: str) -> Any:  # noqa: ANN401, N803 - as boto3 has it
        if StackName != "switchyard-dev":
            raise refusal("ValidationError")
        outputs = zip(QUEUES["video"], self._urls, strict=True)
        return {"Stacks": [{"Outputs": [{"OutputKey": name, "OutputValue": url} for name, url in outputs]}]}


@pytest.fixture
def command(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs the command in an account with one stack."""
    clients: Any = {"sqs": aws.sqs, "cloudformation": CloudFormation(aws)}
    monkeypatch.setattr(discovery.Aws, "client", lambda _, service: clients[service])
    monkeypatch.setattr(tool, "Redrive", partial(Redrive, wait=0))

    def run(*words: str, stack: str = "switchyard-dev") -> Result:
        return CliRunner().invoke(main, ["--stack", stack, "redrive", *words, "--rate", "100"])

    return run


def test_by_default_the_command_only_shows(aws: Aws, command: Command) -> None:
    lay(aws, json.dumps({"bucket": "m", "key": "uploads/a.mp4", "job_id": "a-job", "version": "1"}), **REFUSED)
    result = command("video")
    assert (result.exit_code, len(visible(aws, aws.dead_letter_queue_url))) == (0, 1)
    for said in ("START_REFUSED", "no such queue", "a-job", "uploads/a.mp4", "nothing was moved", "--apply"):
        assert said in result.output


def test_the_command_moves_what_it_may_and_leaves_what_it_must(aws: Aws, command: Command) -> None:
    record = json.dumps({"requestContext": {"requestId": "1"}, "requestPayload": {}})
    lay(aws, "a", record)
    result = command("video", "--apply")
    assert (result.exit_code, "1 of 1 moved" in result.output) == (0, True)
    assert (visible(aws, aws.queue_url), visible(aws, aws.dead_letter_queue_url)) == (["a"], [record])


def test_what_would_fail_again_is_deleted_by_its_type_alone(aws: Aws, command: Command) -> None:
    lay(aws, "x", ErrorType="INVALID_MESSAGE")
    lay(aws, "a", **REFUSED)
    shown = command("video", "--discard", "--error-type", "INVALID_MESSAGE")
    assert (shown.exit_code, "1 would be deleted" in shown.output) == (0, True)
    deleted = command("video", "--discard", "--error-type", "INVALID_MESSAGE", "--apply")
    assert (deleted.exit_code, "1 of 1 deleted" in deleted.output) == (0, True)
    assert (visible(aws, aws.dead_letter_queue_url), visible(aws, aws.queue_url)) == (["a"], [])


def test_nothing_is_deleted_without_its_type(aws: Aws, command: Command) -> None:
    lay(aws, "a")
    result = command("video", "--discard", "--apply")
    assert (result.exit_code, "--error-type" in result.output) == (2, True)
    assert visible(aws, aws.dead_letter_queue_url) == ["a"]


def test_a_message_that_another_redrive_has_is_not_deleted(aws: Aws) -> None:
    lay(aws, "a")
    (letter,) = redrive_of(aws).take(limit=9, seconds=60)
    assert not redrive_of(aws, Sqs(aws.sqs, "change_message_visibility", refusal("MessageNotInflight"))).discard(letter)


def test_an_empty_queue_is_no_trouble(command: Command) -> None:
    result = command("video", "--apply")
    assert (result.exit_code, "0 of about 0 messages" in result.output) == (0, True)


def test_the_reconcilers_queue_is_refused_with_the_reason(command: Command) -> None:
    result = command("reconcile")
    assert (result.exit_code, "the next run does all their work" in result.output) == (2, True)


def test_an_unknown_queue_is_told_the_known_ones(command: Command) -> None:
    result = command("videos")
    assert (result.exit_code, "video, ecs-jobs, torrents, steam, track" in result.output) == (2, True)


def test_a_stack_that_is_not_ours_is_told_in_a_sentence(command: Command) -> None:
    result = command("track")
    assert (result.exit_code, "TrackDeadLetterQueueUrl" in result.output) == (1, True)


def test_a_stack_that_is_not_there_is_told_in_a_sentence(command: Command) -> None:
    result = command("video", stack="nowhere")
    assert (result.exit_code, "can't be read" in result.output) == (1, True)


def test_triage_in_a_pipe_only_lists_with_the_reason_and_what_to_do(aws: Aws, command: Command) -> None:
    lay(aws, json.dumps({"bucket": "m", "key": "uploads/a.mp4", "version": "1"}), **REFUSED)
    result = CliRunner().invoke(main, ["--stack", "switchyard-dev", "--json", "dead-letters", "video"])
    [found] = [json.loads(line) for line in result.output.splitlines()]
    assert (result.exit_code, found["errorType"], found["subject"]) == (0, "START_REFUSED", "uploads/a.mp4")
    assert (found["errorMessage"], "move it back" in found["advice"]) == ("no such queue", True)
    assert len(visible(aws, aws.dead_letter_queue_url)) == 1


def test_triage_asks_about_each_and_does_what_is_said(
    aws: Aws, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    for body in "abc":
        lay(aws, body, **REFUSED)
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    result = CliRunner().invoke(main, ["--stack", "switchyard-dev", "dead-letters", "video"], input="b\nd\nk\n")
    assert (result.exit_code, result.output.count("START_REFUSED")) == (0, 3)
    assert (len(visible(aws, aws.queue_url)), len(visible(aws, aws.dead_letter_queue_url))) == (1, 1)


def test_an_interrupted_triage_leaves_the_rest_to_be_seen(
    aws: Aws, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(aws, *"abc")
    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    result = CliRunner().invoke(main, ["--stack", "switchyard-dev", "dead-letters", "video"], input="d\n")
    assert result.exit_code == 1  # the input ended
    assert len(visible(aws, aws.dead_letter_queue_url)) == 2
