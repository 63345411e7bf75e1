"""functions/submit_job from end to end: sample events in; answers, records and messages out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeDeserializer

from functions.submit_job import app
from switchyard import clients
from switchyard.errors import SettingsError
from tests.conftest import Aws
from tests.fakes.resolver import resolving
from tests.rest import Answer, read
from tests.unit.functions.test_functions import Context

# An invocation that counts nothing is a normal one (layers/switchyard/switchyard/observability.py).
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

EVENTS = Path(__file__).parents[3] / "events" / "submit_job"
USER = "c2b5d4a8-30c1-70e6-9a4f-1d2e3f405162"


@dataclass
class Deployed:
    """The function on one moto account."""

    aws: Aws
    monkeypatch: pytest.MonkeyPatch

    def set(self, **variables: str) -> None:
        """Changes settings of the function."""
        for name, value in variables.items():
            self.monkeypatch.setenv(name, value)
        app.api.cache_clear()

    def send(self, name: str, **changes: object) -> Answer:
        event = json.loads((EVENTS / f"{name}.json").read_text()) | changes
        return read(event, app.lambda_handler(event, Context()))

    def job(self, job_id: str) -> dict[str, Any]:
        found = self.aws.dynamodb.get_item(TableName=self.aws.jobs_table, Key={"jobId": {"S": job_id}})["Item"]
        return {name: TypeDeserializer().deserialize(value) for name, value in found.items()}

    def messages(self, queue_url: str | None = None) -> list[dict[str, Any]]:
        url = queue_url or self.aws.queue_url
        found = self.aws.sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10).get("Messages", [])
        return [json.loads(message["Body"]) for message in found]


@pytest.fixture
def deployed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    deployment = Deployed(aws, monkeypatch)
    deployment.set(
        ENVIRONMENT="test",
        JOBS_TABLE=aws.jobs_table,
        QUEUE_URL=aws.queue_url,
        S3_BUCKET="switchyard-media",
        ECS_CLUSTER="cluster",
        ECS_TASK_DEF="record-stream",
        IMAGE_TASK_DEF="detect-objects",
        TORRENT_QUEUE_URL=aws.sqs.create_queue(QueueName="torrents")["QueueUrl"],
    )
    with resolving():
        yield deployment
    app.api.cache_clear()


def test_images_become_a_job_and_a_message(deployed: Deployed) -> None:
    answer = deployed.send("process")
    assert (answer.status, answer.body["imageCount"]) == (202, 2)
    (message,) = deployed.messages()
    assert (message["jobId"], message["kind"]) == (answer.body["jobId"], "image-processing")
    assert deployed.job(answer.body["jobId"])["target"] == {
        "type": "ecs",
        "queue": "cluster",
        "definition": "detect-objects",
    }


def test_a_repeated_request_is_the_same_job(deployed: Deployed) -> None:
    assert deployed.send("process_idempotent").body == deployed.send("process_idempotent").body


def test_a_users_images_are_theirs(deployed: Deployed) -> None:
    assert deployed.job(deployed.send("process_as_user").body["jobId"])["userId"] == USER


def test_a_stream_becomes_a_job_and_a_message(deployed: Deployed) -> None:
    answer = deployed.send("record")
    assert answer.status == 201
    (message,) = deployed.messages()
    assert (message["jobId"], message["url"]) == (answer.body["jobId"], "https://live.example.com/stream.m3u8")


def test_a_recording_has_the_id_it_was_given(deployed: Deployed) -> None:
    assert deployed.send("record_with_id").body["jobId"] == "evening-2026-11-22"


@pytest.mark.parametrize("name", ["process_other_bucket", "record_leads_inside"])
def test_a_url_that_may_not_be_used_is_refused(deployed: Deployed, name: str) -> None:
    answer = deployed.send(name)
    assert (answer.status, answer.body["error"]) == (400, "URL_NOT_ALLOWED")
    assert deployed.messages() == []


def test_a_kind_without_a_task_definition_is_not_taken(deployed: Deployed) -> None:
    deployed.set(IMAGE_TASK_DEF="")
    assert deployed.send("process").status == 501
    assert deployed.send("record").status == 201


def test_a_network_may_be_allowed(deployed: Deployed) -> None:
    deployed.set(ALLOWED_NETWORKS="10.0.0.0/8")
    body = {"url": "http://10.0.0.5/live.m3u8"}
    assert deployed.send("record", body=json.dumps(body)).status == 201


@pytest.fixture
def recording(deployed: Deployed) -> str:
    """Creates a user's recording and returns its key."""
    key = f"recordings/{USER}/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506/evening.mp4"
    clients.s3().create_bucket(Bucket="switchyard-media")
    clients.s3().put_object(Bucket="switchyard-media", Key=key, Body=b"evening")
    return key


@pytest.mark.parametrize("name", ["torrent", "torrent_as_user", "torrent_again"])
def test_a_request_for_a_torrent_becomes_a_job_and_a_message(deployed: Deployed, recording: str, name: str) -> None:
    answer = deployed.send(name)
    assert answer.status == 202
    (message,) = deployed.messages(deployed.aws.sqs.get_queue_url(QueueName="torrents")["QueueUrl"])
    assert (message["bucket"], message["key"]) == ("switchyard-media", recording)
    assert deployed.job(answer.body["jobId"])["userId"] == USER


def test_there_is_no_torrent_of_an_upload(deployed: Deployed, recording: str) -> None:
    assert deployed.send("torrent_of_an_upload").status == 404


def test_torrents_are_made_of_what_lies_under_the_prefix_that_is_set(deployed: Deployed, recording: str) -> None:
    deployed.set(TORRENT_SOURCE_PREFIX="shared/")
    assert deployed.send("torrent").status == 404


def test_settings_that_are_missing_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOBS_TABLE", "QUEUE_URL", "S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    app.api.cache_clear()
    with pytest.raises(SettingsError) as failure:
        app.api()
    assert len(failure.value.problems) == 3
