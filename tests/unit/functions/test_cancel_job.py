"""functions/cancel_job from end to end: sample events in; answers, records and calls to the targets out."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from functions.cancel_job import app
from switchyard import clients
from switchyard.names import legal_name
from switchyard.protocol.jobs import Job, Source, Status, TargetSpec, WorkRequest
from switchyard.protocol.lanes import Lane
from switchyard.protocol.ports import Claimed
from switchyard.tables.records import Records
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.requests import SENT_AT
from tests.rest import Answer, read
from tests.unit.functions.test_functions import Context

# An invocation that counts nothing is a normal one (layers/switchyard/switchyard/observability.py).
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

EVENTS = Path(__file__).parents[3] / "events" / "cancel_job"
JOB = "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506"
USER = "c2b5d4a8-30c1-70e6-9a4f-1d2e3f405162"
TASK = "arn:aws:ecs:us-east-1:123456789012:task/cluster/0123456789abcdef0123456789abcdef"
LANE = Lane("recordings", 1)
REQUEST = WorkRequest(
    job_id=JOB,
    kind="stream-recording",
    lane=LANE.name,
    target=TargetSpec("ecs", "cluster", "record-stream"),
    source=Source("switchyard-media", "", "v1", "m1"),
    sent_at=SENT_AT,
    user_id=USER,
    input={"url": "https://live.example.com/stream.m3u8"},
    announced=True,
)


@dataclass
class FakeEcs:
    """An ECS with the job's task."""

    stopped: list[str] = field(default_factory=list)

    def describe_tasks(self, *, tasks: list[str], **_: str) -> dict[str, Any]:
        assert tasks == [TASK.rpartition("/")[2]]
        environment = [{"name": "JOB_ID", "value": JOB}, {"name": "FENCE", "value": "1"}]
        overrides = {"containerOverrides": [{"name": "worker", "environment": environment}]}
        return {"tasks": [{"taskArn": TASK, "lastStatus": "RUNNING", "overrides": overrides}], "failures": []}

    def stop_task(self, **call: Any) -> None:  # noqa: ANN401 - a call's parameters
        self.stopped.append(call["task"])


@dataclass
class Deployed:
    """The function on one moto account with a pending recording."""

    aws: Aws
    ecs: FakeEcs

    def send(self, name: str, **changes: object) -> Answer:
        event = json.loads((EVENTS / f"{name}.json").read_text()) | changes
        return read(event, app.lambda_handler(event, Context()))

    @property
    def store(self) -> Store:
        return Store(self.aws.dynamodb, self.aws.jobs_table, self.aws.lanes_table, keep_ended_jobs=timedelta(days=30))

    @property
    def job(self) -> Job:
        found = self.store.get(JOB)
        assert found is not None
        return found

    def start(self) -> None:
        claim = self.store.claim(REQUEST, self.job, LANE)
        assert isinstance(claim, Claimed)
        self.store.record_start(claim.job, TASK)


@pytest.fixture
def deployed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    ecs = FakeEcs()
    monkeypatch.setattr(clients, "ecs", lambda: ecs)
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.setenv("JOBS_TABLE", aws.jobs_table)
    monkeypatch.setenv("LANES_TABLE", aws.lanes_table)
    monkeypatch.setenv("TRACK_QUEUE_URL", "https://sqs.us-east-1.amazonaws.com/123456789012/track")
    monkeypatch.setenv("S3_BUCKET", "switchyard-media")
    for name in ("VIDEO_QUEUE_URL", "BATCH_JOB_QUEUE", "BATCH_JOB_DEFINITION", "SUBMIT_FUNCTION"):
        monkeypatch.setenv(name, name.lower())
    app.api.cache_clear()
    Records(aws.dynamodb, aws.jobs_table).announce(REQUEST, fingerprint="f")
    yield Deployed(aws, ecs)
    app.api.cache_clear()


def test_a_job_that_has_not_begun_ends_at_once(deployed: Deployed) -> None:
    answer = deployed.send("cancel")
    assert (answer.status, answer.body) == (200, {"jobId": JOB, "status": "CANCELLED"})
    assert deployed.job.status is Status.CANCELLED


def test_a_job_that_waits_ends_at_once(deployed: Deployed) -> None:
    deployed.store.hold(REQUEST, deployed.job)
    assert deployed.send("cancel").status == 200
    assert deployed.store.slots(LANE).waiting == 0


def test_a_job_that_runs_is_stopped_on_its_target(deployed: Deployed) -> None:
    deployed.start()
    answer = deployed.send("cancel")
    assert (answer.status, answer.body) == (202, {"jobId": JOB, "status": "SUBMITTED", "cancelRequested": True})
    assert deployed.ecs.stopped == [TASK]


def test_a_running_job_may_be_cancelled_twice(deployed: Deployed) -> None:
    deployed.start()
    assert [deployed.send("cancel").status for _ in range(2)] == [202, 202]


def test_a_job_that_has_ended_is_a_conflict(deployed: Deployed) -> None:
    deployed.send("cancel")
    answer = deployed.send("cancel")
    assert (answer.status, answer.body["error"]) == (409, "ALREADY_ENDED")


def test_a_job_that_is_not_there_is_not_found(deployed: Deployed) -> None:
    assert deployed.send("cancel", pathParameters={"jobId": "another"}).status == 404


@pytest.mark.parametrize("job_id", ["", "../a", "x" * 5000, "\ud800"])
def test_what_is_no_job_id_is_not_found(deployed: Deployed, job_id: str) -> None:
    assert deployed.send("cancel", pathParameters={"jobId": job_id}).status == 404


def test_a_job_is_cancelled_by_the_id_that_its_sender_gave(deployed: Deployed) -> None:
    given = "jörg's evening/1"
    work = replace(REQUEST, job_id=legal_name(given))
    Records(deployed.aws.dynamodb, deployed.aws.jobs_table).announce(work, fingerprint="f")
    answer = deployed.send("cancel", pathParameters={"jobId": quote(given, safe="")})
    assert (answer.status, answer.body["jobId"]) == (200, legal_name(given))


@pytest.mark.parametrize("is_started", [False, True])
def test_who_cancelled_first_is_kept_and_logged(
    deployed: Deployed, caplog: pytest.LogCaptureFixture, *, is_started: bool
) -> None:
    if is_started:
        deployed.start()
    answers = [
        deployed.send("cancel", requestContext={"requestId": "r", "identity": {"apiKeyId": key}})
        for key in ("one", "two")
    ]
    assert [answer.status for answer in answers] == ([202, 202] if is_started else [200, 409])
    row = Records(deployed.aws.dynamodb, deployed.aws.jobs_table).read(JOB)
    assert row is not None
    assert row["cancelledBy"] == "key:one"
    lines = [each for each in caplog.records if each.message in ("cancelled", "cancel requested")]
    assert vars(lines[0])["by"] == "key:one"


@pytest.mark.parametrize(
    "broken",
    [{"status": {"S": "DONE"}}, {"fence": {"S": "x"}}, {"request": {"S": "{"}}],
    ids=lambda each: next(iter(each)),
)
def test_a_row_of_another_program_is_a_conflict_and_left_alone(deployed: Deployed, broken: dict[str, Any]) -> None:
    key, table = {"jobId": {"S": JOB}}, deployed.aws.jobs_table
    row = deployed.aws.dynamodb.get_item(TableName=table, Key=key)["Item"] | broken
    deployed.aws.dynamodb.put_item(TableName=table, Item=row)
    answer = deployed.send("cancel")
    assert (answer.status, answer.body["error"]) == (409, "FOREIGN_ROW")
    assert deployed.send("cancel_as_user").status == 404  # such a row can't say whose it is
    assert deployed.aws.dynamodb.get_item(TableName=table, Key=key)["Item"] == row


def test_a_user_cancels_their_own_job(deployed: Deployed) -> None:
    assert deployed.send("cancel_as_user").status == 200


def test_a_user_cancels_nobody_elses_job(deployed: Deployed) -> None:
    other = replace(REQUEST, job_id="another", user_id="user-42")
    Records(deployed.aws.dynamodb, deployed.aws.jobs_table).announce(other, fingerprint="f")
    assert deployed.send("cancel_as_user", pathParameters={"jobId": "another"}).status == 404
    found = deployed.store.get("another")
    assert found is not None
    assert found.status is Status.PENDING


def test_a_job_that_never_stands_still_can_be_cancelled_later(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("switchyard.protocol.cancel.RACES", 0)
    answer = deployed.send("cancel")
    assert (answer.status, answer.body["error"]) == (503, "UNAVAILABLE")


@pytest.mark.parametrize("write", ["cancel", "request_cancel"])
def test_a_job_whose_row_turns_foreign_while_it_is_cancelled_is_left_alone(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    if write == "request_cancel":
        deployed.start()
    original = getattr(Store, write)

    def after_another_program(store: Store, job: Job, **more: str) -> object:
        deployed.aws.dynamodb.update_item(
            TableName=deployed.aws.jobs_table,
            Key={"jobId": {"S": JOB}},
            UpdateExpression="SET #status = :theirs",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":theirs": {"S": "THEIRS"}},
        )
        return original(store, job, **more)

    monkeypatch.setattr(Store, write, after_another_program)
    answer = deployed.send("cancel")

    assert (answer.status, answer.body["error"]) == (409, "FOREIGN_ROW")
    row = deployed.aws.dynamodb.get_item(TableName=deployed.aws.jobs_table, Key={"jobId": {"S": JOB}})["Item"]
    assert row["status"] == {"S": "THEIRS"}
    assert "cancelRequestedAt" not in row
    assert deployed.ecs.stopped == []


# ---- what else it answers -------------------------------------------------------------------------------------------


def test_a_job_is_rerun_when_it_has_ended(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECS_QUEUE_URL", deployed.aws.queue_url)
    app.api.cache_clear()
    assert deployed.send("rerun").body["error"] == "NOT_ENDED"
    deployed.send("cancel")
    answer = deployed.send("rerun")
    assert (answer.status, answer.body["rerunOf"]) == (202, JOB)
    (message,) = deployed.aws.sqs.receive_message(QueueUrl=deployed.aws.queue_url)["Messages"]
    assert json.loads(message["Body"])["jobId"] == answer.body["jobId"]


def test_many_requests_go_to_their_routes(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    class Lambda:
        def invoke(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
            asked.append((call["FunctionName"], json.loads(call["Payload"])["resource"]))
            return {"Payload": io.BytesIO(b'{"statusCode": 202, "body": "{}"}')}

    monkeypatch.setattr(clients, "functions", Lambda)
    app.api.cache_clear()
    cancel, _, submit = json.loads(json.loads((EVENTS / "bulk.json").read_text())["body"])["requests"]
    answer = deployed.send("bulk", body=json.dumps({"requests": [cancel, submit]}))
    assert [each["status"] for each in answer.body["responses"]] == [200, 202]
    assert asked == [("submit_function", "/process")]
