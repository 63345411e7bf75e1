"""The functions from end to end: sample events in; tables, queues, calls to Batch, logs and metrics out."""

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer
from botocore.exceptions import ClientError, ReadTimeoutError
from moto.dynamodb.responses import DynamoHandler

from functions.dispatch_to_ecs import app as dispatch_to_ecs
from functions.reconcile_jobs import app as reconcile_jobs
from functions.s3_torrent_creator import app as s3_torrent_creator
from functions.sqs_to_batch import app as sqs_to_batch
from functions.track_job import app as track_job
from switchyard import clients, clock, observability
from switchyard.errors import (
    InvalidMessage,
    JobExists,
    JobIdTaken,
    KindNotConfigured,
    NoFreeSlot,
    SettingsError,
    StartRefused,
    UrlRefused,
)
from switchyard.tables.items import request_attributes
from switchyard.torrents.format.layout import ObjectVersion
from switchyard.torrents.messages import job_id
from switchyard.torrents.messages import request as torrent_request
from tests.conftest import Aws
from tests.fakes.resolver import resolving

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

# An invocation that counts nothing is a normal one (layers/switchyard/switchyard/observability.py).
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

EVENTS = Path(__file__).parents[3] / "events"
UUID = "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506"
RUN = "4c7599ae-0a82-49aa-ba5a-4727fcce14a8"
"""The Batch job that the sample state changes tell of."""


@dataclass
class FakeBatch:
    """Batch for both of the layer's clients. The first job it accepts has the id of the sample events."""

    failure: Exception | None = None
    submitted: list[dict[str, Any]] = field(default_factory=list)
    known: dict[str, dict[str, Any]] = field(default_factory=dict)

    def submit_job(self, **call: Any) -> dict[str, str]:  # noqa: ANN401 - a call's parameters
        if self.failure:
            raise self.failure
        target_id = f"batch-{len(self.submitted)}" if self.submitted else RUN
        self.submitted.append(call)
        self.known[target_id] = {"jobId": target_id, "status": "RUNNABLE", "container": call["containerOverrides"]}
        return {"jobId": target_id}

    def describe_jobs(self, *, jobs: list[str]) -> dict[str, Any]:
        return {"jobs": [self.known[target_id] for target_id in jobs if target_id in self.known]}

    @property
    def keys(self) -> list[str]:
        """Returns the keys of the submitted jobs' objects."""
        variables = [each["containerOverrides"]["environment"] for each in self.submitted]
        return sorted(pair["value"] for each in variables for pair in each if pair["name"] == "S3_KEY")


TALK = "talk-2026-11-22"
TASK = "arn:aws:ecs:us-east-1:123456789012:task/switchyard/0cd0b1d23ac94e06b5a2e5f7c4d81a96"
"""The ECS task that the sample state changes tell of."""


@dataclass
class FakeEcs:
    """ECS for the layer's client. The first task it runs has the id of the sample events."""

    failure: Exception | None = None
    run: list[dict[str, Any]] = field(default_factory=list)
    exceptions = boto3.client("ecs", "us-east-1").exceptions

    def run_task(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        if self.failure:
            raise self.failure
        task = f"{TASK[:-4]}{len(self.run):04}" if self.run else TASK
        self.run.append(call)
        return {"tasks": [{"taskArn": task}], "failures": [], "ResponseMetadata": {}}

    def describe_tasks(self, *, tasks: list[str], **_: str) -> dict[str, Any]:
        return {"tasks": [], "failures": [{"arn": task, "reason": "MISSING"} for task in tasks]}

    @property
    def definitions(self) -> list[str]:
        """Returns the task definitions of the started tasks."""
        return sorted(call["taskDefinition"] for call in self.run)


@dataclass
class Context:
    """An invocation's context from Lambda."""

    function_name: str = "function"
    function_version: str = "$LATEST"
    memory_limit_in_mb: int = 512
    invoked_function_arn: str = "arn:aws:lambda:us-east-1:123456789012:function:function"
    aws_request_id: str = "52fdfc07-2182-454f-963f-5f0f9a621d72"
    log_group_name: str = "/aws/lambda/function"
    log_stream_name: str = "2026/11/22/[$LATEST]0123456789abcdef"
    tenant_id: str | None = None

    @staticmethod
    def get_remaining_time_in_millis() -> int:
        return 900_000


@dataclass
class Deployment:
    """The functions that start jobs, on one moto account with a fake Batch and a fake ECS."""

    aws: Aws
    batch: FakeBatch
    ecs: FakeEcs
    monkeypatch: pytest.MonkeyPatch

    def set(self, **variables: str) -> None:
        """Changes settings of the functions."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)
        for made in (sqs_to_batch, dispatch_to_ecs, s3_torrent_creator, track_job):
            made.function.cache_clear()
        reconcile_jobs.reconciler.cache_clear()

    def video(self, name: str, **changes: str) -> list[str]:
        """Invokes sqs_to_batch with a sample event and returns the ids of the messages that come back."""
        return self._failures(sqs_to_batch.lambda_handler(event(f"sqs_to_batch/{name}", **changes), Context()))

    def task(self, name: str, **changes: str) -> list[str]:
        """Invokes dispatch_to_ecs with a sample event and returns the ids of the messages that come back."""
        return self._failures(dispatch_to_ecs.lambda_handler(event(f"dispatch_to_ecs/{name}", **changes), Context()))

    def invoke(self, message: object, request_id: str = Context.aws_request_id) -> dict[str, Any]:
        """Invokes dispatch_to_ecs directly with a job message."""
        answer: dict[str, Any] = dispatch_to_ecs.lambda_handler(message, Context(aws_request_id=request_id))
        return answer

    def invoke_video(self, message: object, request_id: str = Context.aws_request_id) -> dict[str, Any]:
        """Invokes sqs_to_batch directly with a message."""
        answer: dict[str, Any] = sqs_to_batch.lambda_handler(message, Context(aws_request_id=request_id))
        return answer

    def torrent(self, name: str, **changes: str) -> list[str]:
        """Invokes s3_torrent_creator with a sample event and returns the ids of the messages that come back."""
        read = event(f"s3_torrent_creator/{name}", **changes)
        return self._failures(s3_torrent_creator.lambda_handler(read, Context()))

    def torrent_directly(self, name: str) -> dict[str, Any]:
        """Invokes s3_torrent_creator directly with the request in a sample event."""
        answer: dict[str, Any] = s3_torrent_creator.lambda_handler(event(f"s3_torrent_creator/{name}"), Context())
        return answer

    def change(self, name: str, **changes: str) -> list[str]:
        """Invokes track_job with a sample event and returns the ids of the messages that come back."""
        return self._failures(track_job.lambda_handler(event(f"track_job/{name}", **changes), Context()))

    def reconcile(self) -> None:
        reconcile_jobs.lambda_handler(event("reconcile_jobs/schedule"), Context())

    @staticmethod
    def _failures(response: Mapping[str, Any]) -> list[str]:
        assert list(response) == ["batchItemFailures"]
        return [failure["itemIdentifier"] for failure in response["batchItemFailures"]]

    def job(self, job_id: str = UUID) -> dict[str, Any]:
        """Returns a job's item in JobsTable."""
        found = self.aws.dynamodb.get_item(TableName=self.aws.jobs_table, Key={"jobId": {"S": job_id}})["Item"]
        return {name: TypeDeserializer().deserialize(value) for name, value in found.items()}

    def dead_letters(self) -> list[tuple[str, str, dict[str, str]]]:
        """Returns ErrorType, body and other attributes of every message in the dead-letter queue."""
        found = []
        while answer := self.aws.sqs.receive_message(
            QueueUrl=self.aws.dead_letter_queue_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        ).get("Messages"):
            for message in answer:
                attributes = {name: value["StringValue"] for name, value in message["MessageAttributes"].items()}
                found.append((attributes.pop("ErrorType"), message["Body"], attributes))
        return found


def event(name: str, **changes: str) -> dict[str, Any]:
    """A sample event, each of its records changed: `body`, or one of the attributes that SQS gives it."""
    read: dict[str, Any] = json.loads((EVENTS / f"{name}.json").read_text())
    for record in read.get("Records", ()):
        if record["eventSource"] == "aws:s3":
            continue
        record["body"] = changes.get("body", record["body"])
        record["attributes"] |= {name: value for name, value in changes.items() if name != "body"}
    return read


LAST = {"ApproximateReceiveCount": "5"}
"""A message on its last receive."""


@pytest.fixture
def deployed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    batch = FakeBatch()
    monkeypatch.setattr(clients, "batch", lambda: batch)
    monkeypatch.setattr(clients, "batch_submit", lambda: batch)
    ecs = FakeEcs()
    monkeypatch.setattr(clients, "ecs", lambda: ecs)
    # DynamoDB applies transactions one after the other; moto, called from several threads, does not.
    one_at_a_time, call_action = threading.Lock(), DynamoHandler.call_action

    def in_turn(self: DynamoHandler) -> Any:  # noqa: ANN401 - moto's own type of an answer
        with one_at_a_time:
            return call_action(self)

    monkeypatch.setattr(DynamoHandler, "call_action", in_turn)
    deployment = Deployment(aws, batch, ecs, monkeypatch)
    deployment.set(
        ENVIRONMENT="test",
        JOBS_TABLE=aws.jobs_table,
        LANES_TABLE=aws.lanes_table,
        MAX_CONCURRENT_JOBS="10",
        DEAD_LETTER_QUEUE_URL=aws.dead_letter_queue_url,
        TRACK_DEAD_LETTER_QUEUE_URL=aws.dead_letter_queue_url,
        TRACK_QUEUE_URL=aws.sqs.create_queue(QueueName="track")["QueueUrl"],
        QUEUE_URL=aws.queue_url,
        BATCH_JOB_QUEUE="queue",
        BATCH_JOB_DEFINITION="definition",
        SOURCE_BUCKETS="switchyard-media",
        S3_BUCKET="switchyard-media",
        ECS_CLUSTER="switchyard",
        ECS_TASK_DEF="record-stream",
        IMAGE_TASK_DEF="detect-objects",
        TRANSMISSION_TASK_DEF="transmission",
        SUBNET_IDS="subnet-1",
        SECURITY_GROUP_IDS="sg-1",
        ECS_DEAD_LETTER_QUEUE_URL=aws.dead_letter_queue_url,
    )
    with resolving():
        yield deployment
    deployment.set()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[dict[str, Any]]]:
    """Returns the log lines so far, as Lambda would get them."""
    formatter = observability.logger.registered_formatter
    return lambda: [json.loads(formatter.format(record)) for record in caplog.records if record.name == "test"]


type Lines = Callable[[], list[dict[str, Any]]]


# ---- sqs_to_batch ---------------------------------------------------------------------------------------------------

STARTS = {
    "s3_put": 1,
    "s3_multipart_upload_versioned": 1,
    "s3_several_records": 3,
    "s3_test_event": 0,
    "sns_wrapped": 1,
    "eventbridge_object_created": 1,
    "backend_video_uploaded": 1,
    "plain_bucket_key": 1,
    "job_message": 1,
    "video_id_attribute": 1,
    "rubbish": 0,
    "mixed_batch": 4,
}
REJECTS = {"rubbish": 9, "mixed_batch": 2}


def test_every_sample_event_is_tested() -> None:
    assert set(STARTS) == {path.stem for path in EVENTS.glob("sqs_to_batch/*.json")}


@pytest.mark.parametrize("name", STARTS)
def test_every_event_starts_what_it_asks_for_and_rejects_the_rest(name: str, deployed: Deployment) -> None:
    assert deployed.video(name) == []
    assert (len(deployed.batch.submitted), len(deployed.dead_letters())) == (STARTS[name], REJECTS.get(name, 0))


def test_a_second_delivery_starts_nothing(deployed: Deployment) -> None:
    deployed.video("s3_put")
    assert deployed.video("s3_put") == []
    assert len(deployed.batch.submitted) == 1


def test_a_started_job_is_on_record(deployed: Deployment) -> None:
    deployed.video("s3_put")
    job = deployed.job()
    assert (job["status"], job["fence"], job["targetId"], job["lane"]) == ("SUBMITTED", 1, RUN, "video")


def test_the_worker_gets_the_key_as_it_was_uploaded(deployed: Deployment) -> None:
    deployed.video("s3_put")
    assert deployed.batch.keys == [f"uploads/2026/11/22/{UUID}-My holiday (100%) + sun.mp4"]


def test_the_user_is_on_record(deployed: Deployment) -> None:
    deployed.video("backend_video_uploaded")
    assert deployed.job("lecture-2026-11-22")["userId"] == "user-42"


def test_what_finds_the_lane_full_waits(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    deployed.video("s3_put")
    assert deployed.video("backend_video_uploaded") == []
    assert deployed.job("lecture-2026-11-22")["status"] == "WAITING"


def test_rubbish_is_dead_lettered_with_its_reason(deployed: Deployment) -> None:
    deployed.video("rubbish")
    types = sorted(error_type for error_type, _, _ in deployed.dead_letters())
    assert types == ["INVALID_MESSAGE"] * 8 + ["SOURCE_NOT_ALLOWED"]


REFUSED = ClientError(
    {"Error": {"Code": "ClientException"}, "ResponseMetadata": {"HTTPStatusCode": 400}},  # type: ignore[typeddict-item]
    "SubmitJob",
)
THROTTLED = ClientError(
    {"Error": {"Code": "TooManyRequestsException"}, "ResponseMetadata": {"HTTPStatusCode": 429}},  # type: ignore[typeddict-item]
    "SubmitJob",
)


@pytest.mark.parametrize("received", [{}, LAST])
def test_a_job_that_batch_does_not_take_now_waits_without_a_message(
    received: dict[str, str], deployed: Deployment
) -> None:
    deployed.batch.failure = THROTTLED
    assert deployed.video("s3_put", **received) == []
    assert (deployed.job()["status"], deployed.dead_letters()) == ("WAITING", [])


def test_it_starts_when_its_lane_is_woken(deployed: Deployment) -> None:
    deployed.batch.failure = THROTTLED
    deployed.video("s3_put")
    deployed.batch.failure = None
    later(deployed, timedelta(minutes=1))
    assert deployed.change("running", body='{"wake": "video"}') == []
    assert deployed.job()["status"] == "SUBMITTED"


def test_a_start_that_is_refused_brings_the_message_back(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    assert deployed.video("s3_put") == [event("sqs_to_batch/s3_put")["Records"][0]["messageId"]]
    assert deployed.job()["status"] == "PENDING"


def test_a_start_that_is_refused_to_the_last_is_dead_lettered(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    assert deployed.video("s3_put", **LAST) == []
    ((error_type, body, _),) = deployed.dead_letters()
    assert (error_type, json.loads(body)["job_id"]) == ("START_REFUSED", deployed.job()["jobId"])


def test_a_job_that_is_given_up_has_failed(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    deployed.video("s3_put", **LAST)
    job = deployed.job()
    assert (job["status"], job["error"]["code"], job["neverStarted"]) == ("FAILED", "START_REFUSED", True)


def test_a_redrive_starts_a_job_that_was_given_up(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    deployed.video("s3_put", **LAST)
    deployed.batch.failure = None
    deployed.video("s3_put")
    assert deployed.job()["status"] == "SUBMITTED"


def test_a_dead_letter_keeps_the_id_that_came_as_an_attribute(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    deployed.video("video_id_attribute", **LAST)
    ((_, body, _),) = deployed.dead_letters()
    assert json.loads(body)["video_id"] == "camera-1-0001"


def test_an_unknown_outcome_brings_the_message_back(deployed: Deployment) -> None:
    deployed.batch.failure = ReadTimeoutError(endpoint_url="batch")
    assert len(deployed.video("s3_put")) == 1
    assert deployed.job()["status"] == "CLAIMED"


def test_an_unknown_outcome_to_the_last_is_left_to_the_reconciler(deployed: Deployment) -> None:
    deployed.batch.failure = ReadTimeoutError(endpoint_url="batch")
    assert deployed.video("s3_put", **LAST) == []
    assert deployed.dead_letters() == []


def test_one_record_that_can_not_start_does_not_keep_its_siblings_from_it(deployed: Deployment) -> None:
    deployed.video("s3_several_records")
    deployed.monkeypatch.setattr(deployed.batch, "failure", REFUSED)
    assert len(deployed.video("mixed_batch")) == 3
    assert len(deployed.batch.submitted) == 3


def test_the_bad_part_of_a_message_that_comes_back_is_not_rejected_yet(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    deployed.video("mixed_batch")
    assert [body for _, body, _ in deployed.dead_letters()] == ["rubbish between good ones"]


def test_the_bad_part_of_a_message_is_rejected_though_its_siblings_are_left_to_the_reconciler(
    deployed: Deployment,
) -> None:
    deployed.batch.failure = ReadTimeoutError(endpoint_url="batch")
    assert deployed.video("mixed_batch", **LAST) == []
    assert len(deployed.dead_letters()) == 2


@pytest.mark.parametrize("received", ["1", "5", "700"])
def test_at_capacity_a_message_returns_as_often_as_it_must(received: str, deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1", AT_CAPACITY="return")
    deployed.video("s3_put")
    assert len(deployed.video("backend_video_uploaded", ApproximateReceiveCount=received)) == 1
    assert deployed.dead_letters() == []


def test_a_returned_message_stays_away_for_the_time_set_and_at_most_three_times_as_long(
    deployed: Deployment, caplog: pytest.LogCaptureFixture
) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1", AT_CAPACITY="return", FULL_LANE_SECONDS="100")
    deployed.video("s3_put")
    deployed.video("backend_video_uploaded")
    (pause,) = [vars(each)["seconds"] for each in caplog.records if each.message == "message comes back"]
    assert 100 <= pause <= 300


def test_bad_settings_fail_the_invocation_and_name_themselves(deployed: Deployment) -> None:
    deployed.set(BATCH_JOB_QUEUE="", MAX_CONCURRENT_JOBS="many")
    with pytest.raises(SettingsError, match=r"MAX_CONCURRENT_JOBS must be .*; BATCH_JOB_QUEUE is missing"):
        deployed.video("s3_put")


# ---- dispatch_to_ecs ------------------------------------------------------------------------------------------------

RUNS = {
    "recording": ["record-stream"],
    "recording_url_only": ["record-stream"],
    "images": ["detect-objects"],
    "seeding": ["transmission"],
    "announced": [],  # its record is not there: it was withdrawn
    "rubbish": [],
    "mixed_batch": ["detect-objects", "record-stream"],  # one message is there twice
}
REFUSES = {"rubbish": 10, "mixed_batch": 1}
DIRECT = ("direct_url", "direct_job_message")
URL = "https://www.example.com/live"


def test_every_sample_of_job_messages_is_tested() -> None:
    assert {*RUNS, *DIRECT} == {path.stem for path in EVENTS.glob("dispatch_to_ecs/*.json")}


@pytest.mark.parametrize("name", RUNS)
def test_every_event_runs_what_it_asks_for_and_rejects_the_rest(name: str, deployed: Deployment) -> None:
    assert deployed.task(name) == []
    assert (deployed.ecs.definitions, len(deployed.dead_letters())) == (RUNS[name], REFUSES.get(name, 0))


def test_a_second_delivery_runs_nothing(deployed: Deployment) -> None:
    deployed.task("recording")
    assert deployed.task("recording") == []
    assert len(deployed.ecs.run) == 1


def test_a_running_recording_is_on_record_with_what_it_was_asked_for(deployed: Deployment) -> None:
    deployed.task("recording")
    job = deployed.job(TALK)
    assert (job["status"], job["fence"], job["targetId"], job["lane"]) == ("SUBMITTED", 1, TASK, "recordings")
    assert json.loads(job["request"])["input"] == {
        "url": "https://www.example.com/live/channel-1/index.m3u8",
        "filename": "talk.mp4",
    }


def test_a_kind_whose_lane_is_full_waits_and_the_others_run(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_RECORDINGS="1")
    for name in ("recording", "recording_url_only", "images"):
        deployed.task(name)
    assert deployed.ecs.definitions == ["detect-objects", "record-stream"]


def test_why_job_messages_are_rejected_is_told_apart(deployed: Deployment) -> None:
    deployed.task("rubbish")
    types = sorted(error_type for error_type, _, _ in deployed.dead_letters())
    assert types == ["INVALID_MESSAGE"] * 7 + ["URL_NOT_ALLOWED"] * 3


def test_a_kind_without_a_task_definition_is_rejected(deployed: Deployment) -> None:
    deployed.set(TRANSMISSION_TASK_DEF="")
    deployed.task("seeding")
    assert [error_type for error_type, _, _ in deployed.dead_letters()] == ["KIND_NOT_CONFIGURED"]


def test_where_there_is_no_cluster_no_kind_is_run(deployed: Deployment) -> None:
    deployed.set(ECS_CLUSTER="")
    deployed.task("recording")
    assert [error_type for error_type, _, _ in deployed.dead_letters()] == ["KIND_NOT_CONFIGURED"]


ECS_REFUSED = ClientError(
    {"Error": {"Code": "ClientException"}, "ResponseMetadata": {"HTTPStatusCode": 400}},  # type: ignore[typeddict-item]
    "RunTask",
)
QUOTA = ClientError(
    {
        "Error": {"Code": "ClientException", "Message": "You've reached the limit on the number of vCPUs"},
        "ResponseMetadata": {"HTTPStatusCode": 400},  # type: ignore[typeddict-item]
    },
    "RunTask",
)


def test_a_task_without_room_waits_and_whoever_invokes_is_told(deployed: Deployment) -> None:
    deployed.ecs.failure = QUOTA
    assert deployed.invoke({"url": URL, "jobId": "a"}) == {"jobId": "a", "status": "WAITING"}
    later(deployed, timedelta(minutes=1))
    deployed.ecs.failure = None
    deployed.reconcile()
    assert deployed.job("a")["status"] == "SUBMITTED"


def test_a_task_for_later_waits_until_then(deployed: Deployment) -> None:
    at = clock.iso(clock.now() + timedelta(hours=2))
    assert deployed.invoke({"url": URL, "jobId": "a", "startAfter": at})["status"] == "WAITING"
    deployed.reconcile()
    assert (deployed.job("a")["status"], deployed.job("a")["startAfter"]) == ("WAITING", at)
    later(deployed, timedelta(hours=2))
    deployed.reconcile()
    assert deployed.job("a")["status"] == "SUBMITTED"


def test_a_task_that_is_refused_to_the_last_is_dead_lettered_as_a_job_message(deployed: Deployment) -> None:
    deployed.ecs.failure = ECS_REFUSED
    deployed.task("recording", **LAST)
    ((error_type, body, _),) = deployed.dead_letters()
    told = json.loads(body)
    assert (error_type, told["kind"], told["jobId"]) == ("START_REFUSED", "stream-recording", TALK)


def test_a_redrive_runs_a_task_that_was_given_up(deployed: Deployment) -> None:
    deployed.ecs.failure = ECS_REFUSED
    deployed.task("recording", **LAST)
    ((_, body, _),) = deployed.dead_letters()
    deployed.ecs.failure = None
    deployed.task("recording_url_only", body=body)
    assert deployed.job(TALK)["status"] == "SUBMITTED"


@pytest.mark.parametrize("name", DIRECT)
def test_a_direct_invocation_answers_with_the_job(name: str, deployed: Deployment) -> None:
    answer = deployed.invoke(event(f"dispatch_to_ecs/{name}"))
    assert (set(answer), answer["status"]) == ({"jobId", "status"}, "SUBMITTED")
    assert deployed.job(answer["jobId"])["targetId"] == TASK


def test_a_direct_invocation_for_a_video_answers_with_the_job(deployed: Deployment) -> None:
    message = {"bucket": "switchyard-media", "key": "uploads/a.mp4", "job_id": "a", "metadata": {"album": "autumn"}}
    answers = [deployed.invoke_video(message, "request-1") for _ in range(2)]
    assert answers == [{"jobId": "a", "status": "SUBMITTED"}] * 2
    assert json.loads(deployed.job("a")["metadata"]) == {"album": "autumn"}
    assert len(deployed.batch.submitted) == 1


def test_s3_may_invoke_the_function_of_videos_itself(deployed: Deployment) -> None:
    """Its event has Records, as a queue's has."""
    (queued,) = event("sqs_to_batch/s3_put")["Records"]
    assert deployed.invoke_video(json.loads(queued["body"]))["status"] == "SUBMITTED"


@pytest.mark.parametrize("message", [None, [], {}, {"Records": []}, {"Records": [{"eventSource": "aws:sns"}]}])
def test_a_direct_invocation_with_no_video_fails(deployed: Deployment, message: object) -> None:
    with pytest.raises(InvalidMessage):
        deployed.invoke_video(message)


def test_a_direct_invocation_without_an_id_is_named_after_itself(deployed: Deployment) -> None:
    assert deployed.invoke({"url": URL}, "request-1")["jobId"] == "request-1"


def test_lambda_s_retry_of_an_invocation_runs_nothing_twice(deployed: Deployment) -> None:
    answers = [deployed.invoke({"url": URL, "jobId": "a"}, "request-1") for _ in range(2)]
    assert answers == [{"jobId": "a", "status": "SUBMITTED"}] * 2
    assert len(deployed.ecs.run) == 1


def test_a_direct_invocation_with_another_url_under_a_known_id_is_told(deployed: Deployment) -> None:
    """It was once answered with the other caller's status."""
    deployed.invoke({"url": URL, "jobId": "a", "userId": "ann"}, "request-1")
    with pytest.raises(JobExists):
        deployed.invoke({"url": f"{URL}?other", "jobId": "a", "userId": "ann"}, "request-2")
    with pytest.raises(JobIdTaken):
        deployed.invoke({"url": URL, "jobId": "a", "userId": "bob"}, "request-3")
    assert len(deployed.ecs.run) == 1


def test_a_direct_invocation_that_finds_its_lane_full_waits(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_RECORDINGS="1")
    deployed.task("recording")
    assert deployed.invoke({"url": URL})["status"] == "WAITING"


def test_a_direct_invocation_is_told_where_jobs_don_t_wait(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_RECORDINGS="1", AT_CAPACITY="return")
    deployed.task("recording")
    with pytest.raises(NoFreeSlot):
        deployed.invoke({"url": URL})


def test_a_direct_invocation_for_what_was_withdrawn_says_so(deployed: Deployment) -> None:
    assert deployed.invoke({"url": URL, "jobId": "a", "announced": True}) == {"jobId": "a", "status": "WITHDRAWN"}


@pytest.mark.parametrize(
    ("message", "error", "text"),
    [
        ({}, InvalidMessage, "kind is missing"),
        ([{"url": URL}], InvalidMessage, "the body is a list"),
        (None, InvalidMessage, "the body is null"),
        ({"url": "http://127.0.0.1/"}, UrlRefused, "not a public address"),
        ({"torrentKey": "a"}, KindNotConfigured, "TRANSMISSION_TASK_DEF is not set"),
    ],
    ids=["nothing", "a list", "null", "an inner address", "nothing to run it"],
)
def test_whoever_invokes_is_told_what_is_wrong(
    message: object, error: type[Exception], text: str, deployed: Deployment
) -> None:
    deployed.set(TRANSMISSION_TASK_DEF="")
    with pytest.raises(error, match=text):
        deployed.invoke(message)
    assert deployed.dead_letters() == []


def test_whoever_invokes_is_told_that_ecs_refused(deployed: Deployment) -> None:
    deployed.ecs.failure = ECS_REFUSED
    with pytest.raises(StartRefused):
        deployed.invoke({"url": URL, "jobId": "a"})
    assert deployed.job("a")["status"] == "PENDING"


# ---- s3_torrent_creator ---------------------------------------------------------------------------------------------

RECORDED = "b3f1c2a4-7d5e-4c1b-9e2f-0a1b2c3d4e5f"
RECORDING = f"recordings/{RECORDED}/talk.mp4"
AWKWARD = f"recordings/{RECORDED}/my file+ü #1 100%.bin"


@pytest.fixture
def bucket(deployed: Deployment) -> "S3Client":
    """Creates the media bucket with the sample events' objects, for any version."""
    s3 = clients.s3()
    s3.create_bucket(Bucket="switchyard-media")
    for key in (RECORDING, AWKWARD, "archive/tape 12.avi"):
        s3.put_object(Bucket="switchyard-media", Key=key, Body=key.encode())
    return s3


def torrent_job(s3: "S3Client", key: str) -> str:
    """Returns the job id for an object's current version."""
    etag = s3.head_object(Bucket="switchyard-media", Key=key)["ETag"].strip('"')
    return job_id("switchyard-media", key, etag)


@pytest.mark.parametrize(
    ("name", "key"),
    [("plain_bucket_key", "archive/tape 12.avi"), ("again", RECORDING), ("redriven_invocation", RECORDING)],
)
def test_a_request_makes_a_torrent(name: str, key: str, bucket: "S3Client", deployed: Deployment) -> None:
    assert deployed.torrent(name) == []
    job = deployed.job(torrent_job(bucket, key))
    assert (job["status"], job["result"]["torrentKey"]) == ("COMPLETED", f"torrents/{key}.torrent")
    assert bucket.head_object(Bucket="switchyard-media", Key=f"torrents/{key}.torrent")["ContentLength"] > 0


def test_an_upload_makes_a_torrent(bucket: "S3Client", deployed: Deployment) -> None:
    etag = bucket.head_object(Bucket="switchyard-media", Key=AWKWARD)["ETag"].strip('"')
    body = json.loads(event("s3_torrent_creator/s3_put")["Records"][0]["body"])
    body["Records"][0]["s3"]["object"]["eTag"] = etag
    assert deployed.torrent("s3_put", body=json.dumps(body)) == []
    assert deployed.job(torrent_job(bucket, AWKWARD))["status"] == "COMPLETED"


@pytest.mark.parametrize(
    "name",
    [
        "s3_put",
        "s3_multipart_upload_versioned",
        "s3_test_event",
        "sns_wrapped",
        "eventbridge_object_created",
        "announced",
        "segment",
        "torrent_object",
        "recording_piece",
    ],
)
def test_what_is_out_of_date_or_gets_no_torrent_is_acknowledged(
    name: str, bucket: "S3Client", deployed: Deployment
) -> None:
    assert (deployed.torrent(name), deployed.dead_letters()) == ([], [])
    assert "Contents" not in bucket.list_objects_v2(Bucket="switchyard-media", Prefix="torrents/")


def test_several_uploads_in_a_message_become_messages_of_their_own(bucket: "S3Client", deployed: Deployment) -> None:
    assert deployed.torrent("s3_several_records") == []
    found = deployed.aws.sqs.receive_message(QueueUrl=deployed.aws.queue_url, MaxNumberOfMessages=10)["Messages"]
    assert sorted(json.loads(message["Body"])["key"] for message in found) == [
        "recordings/first.bin",
        "recordings/second.bin",
    ]


def test_what_asks_for_no_torrent_is_dead_lettered(bucket: "S3Client", deployed: Deployment) -> None:
    assert deployed.torrent("rubbish") == []
    types = sorted(error_type for error_type, _, _ in deployed.dead_letters())
    assert types == ["INVALID_MESSAGE"] * 9 + ["SOURCE_NOT_ALLOWED"]


def test_a_direct_invocation_answers_with_the_torrent(bucket: "S3Client", deployed: Deployment) -> None:
    answer = deployed.torrent_directly("direct_plain")
    assert (set(answer), answer["status"]) == ({"jobId", "status", "infohash", "magnet", "torrentKey"}, "COMPLETED")


def test_an_upload_that_is_out_of_date_is_answered_so(bucket: "S3Client", deployed: Deployment) -> None:
    assert deployed.torrent_directly("direct_s3_put") == {"ignored": "not the current version of the object"}


def test_a_torrent_is_counted_and_its_bytes_measured(
    bucket: "S3Client", deployed: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.torrent("plain_bucket_key")
    assert metrics(capsys.readouterr().out) == {"Torrents": 1, "BytesHashed": len("archive/tape 12.avi")}


def test_a_torrent_that_can_not_be_made_is_a_failed_job(
    bucket: "S3Client", deployed: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    bucket.put_object(Bucket="switchyard-media", Key="archive/tape 12.avi", Body=b"")
    deployed.torrent("plain_bucket_key")
    assert metrics(capsys.readouterr().out) == {"Failed": 1}
    assert deployed.job(torrent_job(bucket, "archive/tape 12.avi"))["error"]["code"] == "EMPTY_OBJECT"


def test_where_something_seeds_it_is_told(bucket: "S3Client", deployed: Deployment) -> None:
    deployed.set(ECS_QUEUE_URL=deployed.aws.queue_url)
    deployed.torrent("plain_bucket_key")
    (message,) = deployed.aws.sqs.receive_message(QueueUrl=deployed.aws.queue_url)["Messages"]
    assert deployed.task("seeding", body=message["Body"]) == []
    assert deployed.ecs.definitions == ["transmission"]


# ---- track_job ------------------------------------------------------------------------------------------------------

ENDS = {
    "runnable": ("SUBMITTED", None),
    "running": ("RUNNING", None),
    "succeeded": ("COMPLETED", None),
    "failed_permanent": ("FAILED", "PERMANENT_FAILURE"),
    "failed_retries": ("FAILED", "OUT_OF_MEMORY"),
    "not_ours": ("SUBMITTED", None),
    "task_provisioning": ("SUBMITTED", None),
    "task_running": ("RUNNING", None),
    "task_succeeded": ("COMPLETED", None),
    "task_failed_permanent": ("FAILED", "PERMANENT_FAILURE"),
    "task_out_of_memory": ("FAILED", "OUT_OF_MEMORY"),
    "task_stopped_by_user": ("FAILED", "STOPPED"),
    "task_spot_interrupted": ("WAITING", None),
    "task_failed_to_start": ("WAITING", None),
    "task_not_ours": ("SUBMITTED", None),
}


def test_every_state_change_is_tested() -> None:
    assert set(ENDS) == {path.stem for path in EVENTS.glob("track_job/*.json")}


@pytest.mark.parametrize("name", ENDS)
def test_every_state_change_moves_its_job(name: str, deployed: Deployment) -> None:
    deployed.video("s3_put")
    deployed.task("recording")
    assert deployed.change(name) == []
    job = deployed.job(TALK if name.startswith("task_") else UUID)
    assert (job["status"], job.get("error", {}).get("code")) == ENDS[name]


@pytest.mark.parametrize("name", ENDS)
def test_a_state_change_of_a_job_that_nobody_knows_is_acknowledged(name: str, deployed: Deployment) -> None:
    assert deployed.change(name) == []


def test_late_news_change_nothing(deployed: Deployment) -> None:
    deployed.video("s3_put")
    for name in ("succeeded", "running", "runnable", "failed_retries"):
        deployed.change(name)
    assert deployed.job()["status"] == "COMPLETED"


def test_a_state_change_that_meets_a_failing_table_is_never_acknowledged(deployed: Deployment) -> None:
    deployed.set(JOBS_TABLE="no-such-table")
    assert len(deployed.change("succeeded", **LAST)) == 1
    assert deployed.dead_letters() == []


def test_the_end_of_a_job_starts_the_next(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    deployed.video("s3_put")
    deployed.video("backend_video_uploaded")
    deployed.change("succeeded")
    assert deployed.job("lecture-2026-11-22")["status"] == "SUBMITTED"


def test_the_end_of_a_task_starts_the_next_of_its_lane(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_RECORDINGS="1")
    deployed.task("recording")
    assert deployed.invoke({"url": URL, "jobId": "next"})["status"] == "WAITING"
    deployed.change("task_succeeded")
    assert deployed.job("next")["status"] == "SUBMITTED"


def test_the_end_of_a_job_told_twice_starts_one(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    for name in ("s3_put", "backend_video_uploaded", "plain_bucket_key"):
        deployed.video(name)
    deployed.change("succeeded")
    deployed.change("succeeded")
    assert len(deployed.batch.submitted) == 2


@pytest.mark.parametrize(
    "body",
    [
        "rubbish",
        "[]",
        "7",
        "{}",
        '{"detail-type": "Batch Job State Change"}',
        '{"detail-type": [], "detail": {}}',
        '{"detail-type": "Batch Job Queue Blocked", "detail": {"jobId": "a"}}',
        '{"detail-type": "Batch Job State Change", "detail": []}',
        '{"detail-type": "Batch Job State Change", "detail": {"jobId": 7}}',
        '{"detail-type": "ECS Task State Change", "detail": {"jobId": "a"}}',
    ],
)
def test_what_is_no_state_change_is_dead_lettered(body: str, deployed: Deployment) -> None:
    assert deployed.change("running", body=body) == []
    ((error_type, kept, _),) = deployed.dead_letters()
    assert (error_type, kept) == ("INVALID_MESSAGE", body)


def test_a_next_job_that_can_not_start_brings_the_change_back(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    deployed.video("s3_put")
    deployed.video("backend_video_uploaded")
    deployed.batch.failure = REFUSED
    assert len(deployed.change("succeeded")) == 1
    assert deployed.job("lecture-2026-11-22")["status"] == "WAITING"


def test_a_change_on_its_last_receive_is_left_to_the_reconciler(deployed: Deployment) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    deployed.video("s3_put")
    deployed.video("backend_video_uploaded")
    deployed.batch.failure = REFUSED
    assert deployed.change("succeeded", **LAST) == []
    assert deployed.dead_letters() == []


# ---- reconcile_jobs -------------------------------------------------------------------------------------------------


def test_with_nothing_to_repair_nothing_happens(deployed: Deployment) -> None:
    deployed.reconcile()
    assert deployed.batch.submitted == []


def test_an_end_that_no_event_told_of_is_noted(deployed: Deployment) -> None:
    deployed.video("s3_put")
    deployed.batch.known[RUN]["status"] = "SUCCEEDED"
    deployed.reconcile()
    assert deployed.job()["status"] == "COMPLETED"


def test_a_task_that_ecs_has_forgotten_has_failed(deployed: Deployment) -> None:
    deployed.task("recording")
    later(deployed, timedelta(minutes=3))
    deployed.reconcile()
    assert deployed.job(TALK)["error"]["code"] == "TARGET_LOST"


def test_a_job_that_batch_has_forgotten_has_failed(deployed: Deployment) -> None:
    deployed.video("s3_put")
    deployed.batch.known.clear()
    later(deployed, timedelta(minutes=3))
    deployed.reconcile()
    assert deployed.job()["error"]["code"] == "TARGET_LOST"


def test_a_job_that_lies_pending_is_started(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    deployed.video("s3_put")
    deployed.batch.failure = None
    later(deployed, timedelta(hours=1))
    deployed.reconcile()
    assert deployed.job()["status"] == "SUBMITTED"


def torrent_messages(deployed: Deployment) -> list[dict[str, Any]]:
    """Returns the reconciler's messages in the torrent queue."""
    found = deployed.aws.sqs.receive_message(QueueUrl=deployed.aws.queue_url, MaxNumberOfMessages=10)
    return [json.loads(message["Body"]) for message in found.get("Messages", ())]


def lying_about(deployed: Deployment, status: str) -> None:
    """Records a torrent that was announced, or begun by an invocation that died."""
    thing = ObjectVersion("switchyard-media", RECORDING, 1, "etag", None, clock.now())
    request = torrent_request(thing, message_id="m1", sent_at=clock.now())
    deployed.aws.dynamodb.put_item(
        TableName=deployed.aws.jobs_table,
        Item={
            "jobId": {"S": request.job_id},
            "status": {"S": status},
            "createdAt": {"S": clock.iso(clock.now())},
            **request_attributes(request),
        },
    )


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_torrent_that_nobody_is_at_is_asked_for_again(status: str, deployed: Deployment) -> None:
    deployed.set(TORRENT_QUEUE_URL=deployed.aws.queue_url)
    lying_about(deployed, status)
    deployed.reconcile()
    assert torrent_messages(deployed) == []
    later(deployed, timedelta(hours=1))
    deployed.reconcile()
    assert torrent_messages(deployed) == [{"bucket": "switchyard-media", "key": RECORDING, "version": "etag"}]


def test_where_torrents_rest_none_is_asked_for(deployed: Deployment) -> None:
    lying_about(deployed, "PENDING")
    later(deployed, timedelta(hours=1))
    deployed.reconcile()
    assert torrent_messages(deployed) == []


def test_a_torrent_that_has_ended_is_not_asked_for_again(deployed: Deployment) -> None:
    deployed.set(TORRENT_QUEUE_URL=deployed.aws.queue_url)
    lying_about(deployed, "COMPLETED")
    later(deployed, timedelta(hours=1))
    deployed.reconcile()
    assert torrent_messages(deployed) == []


def test_a_repair_that_fails_fails_the_invocation_for_the_alarm(deployed: Deployment) -> None:
    deployed.batch.failure = REFUSED
    deployed.video("s3_put")
    later(deployed, timedelta(hours=1))
    with pytest.raises(ExceptionGroup, match="some repairs failed"):
        deployed.reconcile()


def test_a_torrent_that_can_not_be_asked_for_does_not_end_the_pass(deployed: Deployment) -> None:
    deployed.set(TORRENT_QUEUE_URL=f"{deployed.aws.queue_url}-gone")
    lying_about(deployed, "PENDING")
    later(deployed, timedelta(hours=1))
    with pytest.raises(ExceptionGroup, match="some repairs failed"):
        deployed.reconcile()


def later(deployed: Deployment, by: timedelta) -> None:
    """Moves the clock."""
    now: datetime = clock.now() + by
    deployed.monkeypatch.setattr(clock, "now", lambda: now)


# ---- logs and metrics -----------------------------------------------------------------------------------------------


def all_kinds_of_ends(deployed: Deployment) -> None:
    """Runs invocations in order: started, held, rejected, refused, given up, tracked, reconciled."""
    deployed.set(MAX_CONCURRENT_JOBS="1")
    for name in ("s3_put", "sns_wrapped", "rubbish"):
        deployed.video(name)
    deployed.batch.failure = REFUSED
    deployed.change("failed_permanent")
    deployed.change("running", body="Sampled=1 rubbish")
    deployed.set(MAX_CONCURRENT_JOBS="10")
    deployed.video("job_message", **LAST)
    deployed.batch.failure = ReadTimeoutError(endpoint_url="batch")
    deployed.video("video_id_attribute", **LAST)
    deployed.batch.failure = KeyError("a bug")
    deployed.video("eventbridge_object_created")
    deployed.batch.failure = None
    for name in RUNS:
        deployed.task(name)
    deployed.change("task_failed_to_start")
    with pytest.raises(UrlRefused):
        deployed.invoke({"url": "http://127.0.0.1/?Signature=a"})
    clients.s3().create_bucket(Bucket="switchyard-media")
    clients.s3().put_object(Bucket="switchyard-media", Key="archive/tape 12.avi", Body=b"a tape")
    for name in ("plain_bucket_key", "again", "torrent_object", "segment", "rubbish"):
        deployed.torrent(name)
    deployed.reconcile()


def test_no_line_has_a_top_level_status(deployed: Deployment, lines: Lines) -> None:
    all_kinds_of_ends(deployed)
    assert [line for line in lines() if "status" in line] == []


def test_no_line_holds_an_event_or_a_secret(deployed: Deployment, lines: Lines) -> None:
    all_kinds_of_ends(deployed)
    found = [json.dumps(line) for line in lines()]
    assert len(found) > 10
    secrets = (
        "AQEB",
        "Signature",
        "Sampled=1",
        "sourceIPAddress",
        "203.0.113.7",
        "s3SchemaVersion",
        '"detail',
        "SenderId",
    )
    assert [(secret, line) for line in found for secret in secrets if secret in line] == []


def test_every_line_names_the_request_and_the_environment(deployed: Deployment, lines: Lines) -> None:
    deployed.video("s3_put")
    found = lines()
    assert found
    assert {(line["function_request_id"], line["environment"]) for line in found} == {
        ("52fdfc07-2182-454f-963f-5f0f9a621d72", "test")
    }


def metrics(printed: str) -> dict[str, Any]:
    """Returns one invocation's metrics: values by name."""
    (blob,) = [json.loads(line) for line in printed.splitlines() if '"_aws"' in line]
    (definition,) = blob["_aws"]["CloudWatchMetrics"]
    assert definition["Namespace"] == "Switchyard"
    assert definition["Dimensions"] == [["Environment", "service"]]
    return {metric["Name"]: sum(blob[metric["Name"]]) for metric in definition["Metrics"]}


def test_a_start_is_counted_and_timed(deployed: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.video("s3_put")
    measured = metrics(capsys.readouterr().out)
    assert set(measured) == {"Dispatched", "LaunchSucceeded", "TimeToStart"}
    assert (measured["Dispatched"], measured["LaunchSucceeded"]) == (1, 1)


def test_a_task_is_counted_and_timed_too(deployed: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.task("recording")
    assert set(metrics(capsys.readouterr().out)) == {"Dispatched", "LaunchSucceeded", "TimeToStart"}


def test_a_launch_that_fails_is_counted(deployed: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.ecs.failure = ECS_REFUSED
    deployed.task("recording")
    assert metrics(capsys.readouterr().out) == {"LaunchFailed": 1}


@pytest.mark.parametrize(
    ("name", "counted"),
    [
        ("s3_put", {"Duplicates": 1}),
        ("rubbish", {"Rejected": 9}),
        ("backend_video_uploaded", {"Held": 1}),
    ],
)
def test_what_does_not_start_is_counted(
    name: str, counted: dict[str, int], deployed: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    deployed.video("s3_put")
    capsys.readouterr()
    deployed.video(name)
    assert metrics(capsys.readouterr().out) == counted


def test_a_failed_job_and_the_next_one_are_counted(deployed: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    deployed.video("s3_put")
    deployed.video("backend_video_uploaded")
    capsys.readouterr()
    deployed.change("failed_permanent")
    measured = metrics(capsys.readouterr().out)
    assert (measured["Failed"], measured["Released"]) == (1, 1)


def test_the_reconciler_measures_the_waiting_room(deployed: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    deployed.set(MAX_CONCURRENT_JOBS="1")
    deployed.video("s3_put")
    deployed.video("backend_video_uploaded")
    capsys.readouterr()
    deployed.reconcile()
    measured = metrics(capsys.readouterr().out)
    assert (measured["JobsWaiting"], measured["StuckRunnable"]) == (1, 0)
