"""SQS messages of one invocation: handled in parallel and separately; delayed retries; the dead-letter queue."""

import importlib
import json
import pkgutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.sqs_event import SQSRecord
from aws_xray_sdk import global_sdk_config
from aws_xray_sdk.core import AWSXRayRecorder
from botocore.exceptions import BotoCoreError, ClientError

import switchyard
from switchyard import observability
from switchyard.errors import (
    ClaimInFlight,
    Contended,
    InvalidMessage,
    NoFreeSlot,
    OutcomeUnknown,
    SourceNotAllowed,
    StartRefused,
    StartThrottled,
    SwitchyardError,
    Unavailable,
)
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.messages.queues import Message, Queue
from tests.conftest import Aws
from tests.requests import request

NOT_NOW = ClientError({"Error": {"Code": "ServiceUnavailable", "Message": "busy"}}, "ChangeMessageVisibility")


def record(
    number: int = 0, body: str = "{}", *, received: int = 1, attributes: dict[str, dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Builds a record of a Lambda event from SQS."""
    return {
        "messageId": f"message-{number}",
        "receiptHandle": f"receipt-{number}",
        "body": body,
        "attributes": {
            "ApproximateReceiveCount": str(received),
            "SentTimestamp": "1795372614123",
            "SenderId": "sender",
            "ApproximateFirstReceiveTimestamp": "1795372614135",
        },
        "messageAttributes": attributes or {},
        "md5OfBody": "",
        "eventSource": "aws:sqs",
        "eventSourceARN": "arn:aws:sqs:us-east-1:123456789012:queue",
        "awsRegion": "us-east-1",
    }


@dataclass
class FakeSqs:
    """Records the visibility timeouts, and fails where the test says."""

    failure: Exception | None = None
    changed: list[tuple[str, int]] = field(default_factory=list)

    def change_message_visibility(self, *, QueueUrl: str, ReceiptHandle: str, VisibilityTimeout: int) -> None:  # noqa: N803
        assert QueueUrl == "url"
        if self.failure:
            raise self.failure
        self.changed.append((ReceiptHandle, VisibilityTimeout))


@pytest.fixture
def sqs() -> FakeSqs:
    return FakeSqs()


@dataclass
class Handler:
    """Fails with the test's exception for a message id, and records its messages."""

    failures: dict[str, Exception] = field(default_factory=dict)
    acknowledges: bool = True
    handled: list[Message] = field(default_factory=list)
    gave_up: list[tuple[str, SwitchyardError]] = field(default_factory=list)

    def handle(self, message: Message) -> None:
        self.handled.append(message)
        if message.id in self.failures:
            raise self.failures[message.id]

    def exhausted(self, message: Message, error: SwitchyardError) -> bool:
        self.gave_up.append((message.id, error))
        return self.acknowledges


def consume(
    sqs: FakeSqs, handle: Handler | Callable[[Message], None], *records: dict[str, Any], max_receives: int = 5
) -> list[str]:
    """Handles records and returns the ids of the messages that come back."""
    handler = handle if isinstance(handle, Handler) else Handler()
    each = handle.handle if isinstance(handle, Handler) else handle
    queue = Queue(cast("Any", sqs), "url", max_receives, each, handler.exhausted)
    response = queue.consume({"Records": list(records)})
    assert list(response) == ["batchItemFailures"]
    return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]


def failing(error: Exception, **changes: Any) -> Handler:  # noqa: ANN401 - a Handler's fields
    return Handler({"message-0": error}, **changes)


# ---- one invocation -------------------------------------------------------------------------------------------------


def test_ten_messages_are_handled_at_the_same_time(sqs: FakeSqs) -> None:
    everybody = threading.Barrier(10, timeout=10)
    assert consume(sqs, lambda _message: cast("None", everybody.wait()), *map(record, range(10))) == []


def test_a_message_that_fails_leaves_the_others(sqs: FakeSqs) -> None:
    handler = failing(Contended("raced"))
    assert consume(sqs, handler, *map(record, range(3))) == ["message-0"]
    assert len(handler.handled) == 3


def test_messages_that_all_fail_all_come_back(sqs: FakeSqs) -> None:
    handler = Handler({f"message-{number}": Contended("raced") for number in range(3)})
    assert sorted(consume(sqs, handler, *map(record, range(3)))) == ["message-0", "message-1", "message-2"]


def test_a_batch_that_went_well_gives_an_empty_list(sqs: FakeSqs) -> None:
    assert consume(sqs, Handler(), record()) == []


def test_one_invocation_s_failures_are_not_the_next_one_s(sqs: FakeSqs) -> None:
    handler = failing(Contended("raced"))
    consume(sqs, handler, record())
    handler.failures.clear()
    assert consume(sqs, handler, record()) == []


def test_a_record_that_cannot_be_read_leaves_the_others(sqs: FakeSqs) -> None:
    handler, strange = Handler(), record(0)
    del strange["attributes"]
    assert consume(sqs, handler, strange, record(1)) == ["message-0"]
    assert [message.id for message in handler.handled] == ["message-1"]


def test_a_message_that_is_alone_takes_no_thread(sqs: FakeSqs) -> None:
    threads = []
    consume(sqs, lambda _message: threads.append(threading.current_thread()), record())
    assert threads == [threading.current_thread()]


def test_threads_are_kept_from_one_invocation_to_the_next(sqs: FakeSqs) -> None:
    everybody, threads = threading.Barrier(10, timeout=10), set()

    def handle(_message: Message) -> None:
        everybody.wait()
        threads.add(threading.current_thread())

    queue = Queue(cast("Any", sqs), "url", 5, handle, Handler().exhausted)
    for _ in range(3):
        queue.consume({"Records": [record(number) for number in range(10)]})
    assert len(threads) == 10


def test_a_message_is_read_from_its_record(sqs: FakeSqs) -> None:
    handler = Handler()
    consume(sqs, handler, record(7, '{"a": 1}', received=3))
    assert handler.handled == [
        Message(
            body='{"a": 1}',
            id="message-7",
            sent_at=datetime(2026, 11, 22, 18, 36, 54, 123_000, tzinfo=UTC),
            receive_count=3,
            receipt_handle="receipt-7",
        )
    ]


def test_the_text_attributes_of_a_message_are_read_and_binary_ones_are_not(sqs: FakeSqs) -> None:
    handler = Handler()
    attributes = {
        "video_id": {"stringValue": "v", "dataType": "String", "stringListValues": [], "binaryListValues": []},
        "raw": {"binaryValue": "AA==", "dataType": "Binary", "stringListValues": [], "binaryListValues": []},
    }
    consume(sqs, handler, record(attributes=attributes))
    assert handler.handled[0].attributes == {"video_id": "v"}


# ---- the answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("records", "failing"),
    [
        ([0], []),
        ([0], [0]),
        ([0, 1, 2], []),
        ([0, 1, 2], [1]),
        ([2, 0, 1], [1, 2]),
        ([0, 1, 2], [0, 1, 2]),
        (range(10), [9, 3]),
        ([0, 0, 1], [0]),
        ([0, 0], [0]),
        ([0, 1, 0, 1], [0, 1]),
    ],
)
def test_the_answer_is_that_of_powertools(sqs: FakeSqs, records: Sequence[int], failing: Sequence[int]) -> None:
    """To the byte, also where all messages fail or SQS delivers one twice in a batch."""
    event: dict[str, Any] = {"Records": [record(number) for number in records]}
    failures = {f"message-{number}" for number in failing}

    def handle(message: Message) -> None:
        if message.id in failures:
            raise KeyError(message.id)

    def handle_record(record: SQSRecord) -> None:  # Powertools gives it by this name
        handle(Message.of(record.raw_event))

    processor = BatchProcessor(EventType.SQS, raise_on_entire_batch_failure=False)
    expected = process_partial_response(event, handle_record, processor)
    answer = Queue(cast("Any", sqs), "url", 5, handle, Handler().exhausted).consume(event)
    assert json.dumps(answer) == json.dumps(expected)


# ---- coming back ----------------------------------------------------------------------------------------------------

RETRYABLE: list[Exception] = [
    NoFreeSlot("full"),
    ClaimInFlight("claimed"),
    Contended("raced"),
    OutcomeUnknown("timeout"),
    StartRefused("no queue"),
    StartThrottled("slow down"),
    NOT_NOW,
    BotoCoreError(),
]
every_retryable = pytest.mark.parametrize("error", RETRYABLE, ids=lambda error: type(error).__name__)


@every_retryable
def test_what_can_be_retried_comes_back(error: Exception, sqs: FakeSqs) -> None:
    assert consume(sqs, failing(error), record()) == ["message-0"]


@every_retryable
def test_what_can_be_retried_comes_back_before_its_visibility_timeout(error: Exception, sqs: FakeSqs) -> None:
    consume(sqs, failing(error), record())
    assert [receipt for receipt, _ in sqs.changed] == ["receipt-0"]


def test_an_error_that_says_when_is_taken_at_its_word(sqs: FakeSqs) -> None:
    consume(sqs, failing(NoFreeSlot("full", retry_after=37.4)), record())
    assert sqs.changed == [("receipt-0", 37)]


@pytest.mark.parametrize(
    ("received", "low", "high"), [(1, 5, 10), (2, 5, 20), (3, 5, 40), (7, 5, 640), (8, 5, 900), (1000, 5, 900)]
)
def test_the_pause_is_drawn_from_a_range_that_doubles_up_to_a_limit(
    received: int, low: int, high: int, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    for end in (min, max):
        monkeypatch.setattr("random.uniform", lambda *limits, end=end: end(limits))
        consume(sqs, failing(Contended("raced")), record(received=received), max_receives=2000)
    assert [seconds for _, seconds in sqs.changed] == [low, high]


@pytest.mark.parametrize(
    "error", [Unavailable("down"), BotoCoreError(), NOT_NOW], ids=lambda error: type(error).__name__
)
def test_five_receives_outlast_an_outage_of_ten_minutes(
    error: Exception, sqs: FakeSqs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("random.uniform", min)
    for received in range(1, 5):
        consume(sqs, failing(error), record(received=received))
    assert sum(seconds for _, seconds in sqs.changed) >= 600


@pytest.mark.parametrize("failure", [NOT_NOW, BotoCoreError()])
def test_a_pause_that_sqs_refuses_changes_nothing(failure: Exception) -> None:
    assert consume(FakeSqs(failure), failing(Contended("raced")), record(0), record(1)) == ["message-0"]


def test_a_bug_comes_back_too(sqs: FakeSqs) -> None:
    assert consume(sqs, failing(KeyError("oops")), record()) == ["message-0"]


def test_a_bug_is_left_to_the_queue_s_own_visibility_timeout(sqs: FakeSqs) -> None:
    consume(sqs, failing(KeyError("oops")), record())
    assert sqs.changed == []


def test_a_bug_leaves_the_other_messages(sqs: FakeSqs) -> None:
    handler = failing(KeyError("oops"))
    assert consume(sqs, handler, record(0), record(1)) == ["message-0"]
    assert len(handler.handled) == 2


# ---- the last receive -----------------------------------------------------------------------------------------------


def test_on_its_last_receive_a_message_is_given_up(sqs: FakeSqs) -> None:
    error = Contended("raced")
    handler = failing(error)
    assert consume(sqs, handler, record(received=5)) == []
    assert handler.gave_up == [("message-0", error)]


def test_before_its_last_receive_a_message_is_not_given_up(sqs: FakeSqs) -> None:
    handler = failing(Contended("raced"))
    consume(sqs, handler, record(received=4))
    assert handler.gave_up == []


def test_a_message_received_more_often_than_allowed_is_given_up(sqs: FakeSqs) -> None:
    handler = failing(Contended("raced"))
    assert consume(sqs, handler, record(received=6)) == []


def test_a_message_that_goes_well_at_last_is_not_given_up(sqs: FakeSqs) -> None:
    handler = Handler()
    consume(sqs, handler, record(received=5))
    assert handler.gave_up == []


def test_a_message_that_nobody_deals_with_comes_back_after_its_pause(sqs: FakeSqs) -> None:
    handler = failing(NoFreeSlot("full", retry_after=30), acknowledges=False)
    assert consume(sqs, handler, record(received=5)) == ["message-0"]
    assert sqs.changed == [("receipt-0", 30)]


@pytest.mark.parametrize("error", [NOT_NOW, BotoCoreError(), KeyError("oops")])
def test_what_is_not_the_message_s_fault_is_left_to_the_redrive_policy(error: Exception, sqs: FakeSqs) -> None:
    handler = failing(error)
    assert consume(sqs, handler, record(received=5)) == ["message-0"]
    assert handler.gave_up == []


# ---- traces ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> AWSXRayRecorder:
    """Sets up X-Ray as in Lambda with tracing on, but without sending."""
    monkeypatch.setattr(global_sdk_config, "sdk_enabled", lambda: True)
    recorder = AWSXRayRecorder()
    recorder.emitter._socket.close()
    recorder.configure(sampling=False, emitter=type("Silent", (), {"send_entity": lambda *_: None})())
    monkeypatch.setattr(observability, "xray_recorder", recorder)
    monkeypatch.setattr(observability.tracer, "disabled", False)
    return recorder


def test_the_calls_for_a_message_belong_to_the_trace_of_the_invocation(recorder: AWSXRayRecorder, sqs: FakeSqs) -> None:
    seen = []
    segment = recorder.begin_segment("invocation")
    consume(sqs, lambda _message: seen.append(recorder.get_trace_entity()), *map(record, range(10)))
    assert seen == [segment] * 10


def test_a_thread_that_is_used_again_keeps_no_old_trace(recorder: AWSXRayRecorder) -> None:
    recorder.begin_segment("invocation")
    carrying = observability.carrying_trace(lambda: None)
    left_over = []

    def on_a_thread() -> None:
        carrying()
        left_over.append(getattr(recorder.context._local, "entities", None))

    thread = threading.Thread(target=on_a_thread)
    thread.start()
    thread.join()
    assert left_over == [None]


def test_without_tracing_nothing_is_carried() -> None:
    assert observability.carrying_trace(print) is print


# ---- the dead-letter queue ------------------------------------------------------------------------------------------


def dead_lettered(aws: Aws, body: str, error: SwitchyardError, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    DeadLetterQueue(aws.sqs, aws.dead_letter_queue_url).send(body, error, **more)
    (message,) = aws.sqs.receive_message(QueueUrl=aws.dead_letter_queue_url, MessageAttributeNames=["All"])["Messages"]
    return cast("dict[str, Any]", message)


def attributes(message: dict[str, Any]) -> dict[str, str]:
    return {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}


def test_a_dead_letter_has_the_body_as_it_came(aws: Aws) -> None:
    assert dead_lettered(aws, ' {"a":\t1} ', InvalidMessage("why"))["Body"] == ' {"a":\t1} '


@pytest.mark.parametrize("error", [InvalidMessage("why"), SourceNotAllowed("why"), StartRefused("why")])
def test_a_dead_letter_says_why(error: SwitchyardError, aws: Aws) -> None:
    message = dead_lettered(aws, "{}", error)
    assert attributes(message) == {"ErrorType": error.code, "ErrorMessage": "why"}


def test_a_request_that_can_not_be_dead_lettered_is_for_later(aws: Aws) -> None:
    queue = DeadLetterQueue(aws.sqs, f"{aws.dead_letter_queue_url}-gone")
    with pytest.raises(Unavailable, match="SendMessage"):
        queue.send_request(request(), StartRefused("why"))


def test_a_dead_letter_keeps_the_video_id_of_its_message(aws: Aws) -> None:
    message = dead_lettered(aws, "{}", InvalidMessage("why"), video_id="video-1")
    assert attributes(message)["video_id"] == "video-1"


def test_a_reason_is_made_fit_for_an_attribute(aws: Aws) -> None:
    message = dead_lettered(aws, "{}", InvalidMessage("a\0b\ud800c\nd"))
    assert attributes(message)["ErrorMessage"] == "a?b?c?d"


def test_a_long_reason_is_cut(aws: Aws) -> None:
    message = dead_lettered(aws, "{}", InvalidMessage("r" * 5000))
    assert attributes(message)["ErrorMessage"] == "r" * 1000


def test_a_missing_reason_is_replaced_by_its_type(aws: Aws) -> None:
    assert attributes(dead_lettered(aws, "{}", InvalidMessage("")))["ErrorMessage"] == "INVALID_MESSAGE"


def test_every_error_type_is_a_constant_that_alarms_and_people_can_rely_on() -> None:
    def codes(error: type[SwitchyardError]) -> set[str]:
        # Tests have errors of their own.
        kinds = [kind for kind in error.__subclasses__() if kind.__module__.startswith("switchyard.")]
        return {error.code}.union(*map(codes, kinds))

    for module in pkgutil.walk_packages(switchyard.__path__, "switchyard."):  # any may have an error of its own
        importlib.import_module(module.name)
    assert codes(SwitchyardError) - {"INTERNAL"} == {
        "AWS_UNAVAILABLE",
        "CLAIM_IN_FLIGHT",
        "CONTENDED",
        "FOREIGN_ROW",
        "GAME_DETAILS_PRIVATE",
        "INVALID_MESSAGE",
        "INVALID_STEAM_ID",
        "JOB_EXISTS",
        "JOB_ID_TAKEN",
        "KIND_NOT_CONFIGURED",
        "LANE_FULL",
        "MALFORMED",
        "NO_ANSWER",
        "NO_CAPACITY",
        "NOT_READABLE",
        "NO_CHECKSUM",
        "OBJECT_CHANGED",
        "OBJECT_GONE",
        "POSTPONED",
        "PROFILE_NOT_FOUND",
        "PROVIDER_FAILED",
        "SETTINGS",
        "SOURCE_NOT_ALLOWED",
        "START_REFUSED",
        "START_THROTTLED",
        "START_UNKNOWN",
        "STOPPED",
        "TOO_SLOW",
        "URL_NOT_ALLOWED",
        "WAITING",
    }
