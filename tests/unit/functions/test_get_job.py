"""functions/get_job from end to end: sample events in; answers out."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from boto3.dynamodb.types import TypeSerializer

from functions.get_job import app
from switchyard.api import http
from switchyard.errors import SettingsError
from tests.conftest import Aws
from tests.rest import Answer, read
from tests.unit.functions.test_functions import Context

# An invocation that counts nothing is a normal one (layers/switchyard/switchyard/observability.py).
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics to publish")

EVENTS = Path(__file__).parents[3] / "events" / "get_job"
JOB = "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506"
USER = "c2b5d4a8-30c1-70e6-9a4f-1d2e3f405162"


@dataclass
class Deployed:
    """The function on one moto account."""

    aws: Aws

    def send(self, name: str, **changes: object) -> Answer:
        event = json.loads((EVENTS / f"{name}.json").read_text()) | changes
        return read(event, app.lambda_handler(event, Context()))

    def put(self, **attributes: Any) -> None:  # noqa: ANN401 - any attribute
        moment = "2026-11-22T18:36:54.123Z"
        row = {"jobId": JOB, "kind": "image-processing", "createdAt": moment, "updatedAt": moment} | attributes
        self.aws.dynamodb.put_item(TableName=self.aws.jobs_table, Item=TypeSerializer().serialize(row)["M"])


@pytest.fixture
def deployed(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployed]:
    monkeypatch.setenv("ENVIRONMENT", "test")
    monkeypatch.setenv("JOBS_TABLE", aws.jobs_table)
    monkeypatch.setenv("LANES_TABLE", aws.lanes_table)
    monkeypatch.setenv("LIBRARY_TABLE", "library")
    monkeypatch.setenv("S3_BUCKET", "switchyard-media")
    monkeypatch.setenv("RESULT_URL_SECONDS", "300")
    monkeypatch.setenv("TORRENT_PREFIX", "watch/")
    app.api.cache_clear()
    yield Deployed(aws)
    app.api.cache_clear()


def test_a_job_is_shown_with_links_that_live_as_long_as_is_set(deployed: Deployed) -> None:
    deployed.put(status="COMPLETED", result={"prefix": f"results/{JOB}/", "files": ["summary.json"]})
    answer = deployed.send("job")
    assert (answer.status, answer.body["status"]) == (200, "COMPLETED")
    assert "X-Amz-Expires=300" in answer.body["links"]["summary.json"]


def test_a_torrent_is_shown_with_a_link_to_its_file(deployed: Deployed) -> None:
    job_id = "torrent-0f343b0931126a20f133d67c2b018a3b"
    result = {"infohash": "0" * 40, "torrentKey": f"watch/recordings/{JOB}/evening.mp4.torrent"}
    deployed.put(jobId=job_id, kind="torrent", status="COMPLETED", result=result)
    answer = deployed.send("torrent")
    assert answer.body["result"] == result
    assert "X-Amz-Signature=" in answer.body["links"]["evening.mp4.torrent"]


def test_a_job_that_is_not_there_is_not_found(deployed: Deployed) -> None:
    assert deployed.send("job").status == 404


def test_a_job_that_the_caller_has_is_not_sent_again(deployed: Deployed) -> None:
    deployed.put(status="RUNNING")
    assert deployed.send("job_unchanged").status == 304


def test_a_user_sees_their_own_job_alone(deployed: Deployed) -> None:
    deployed.put(status="RUNNING", userId=USER)
    assert deployed.send("job_as_user").status == 200
    deployed.put(status="RUNNING", userId="user-42")
    assert deployed.send("job_as_user").status == 404


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("list_of_user", ["b"]),
        ("list_by_status_and_kind", ["b"]),
        ("list_as_user", ["a"]),
        ("list_of_everything", ["b", "a"]),
    ],
)
def test_a_list_has_what_it_is_of(deployed: Deployed, name: str, found: list[str]) -> None:
    deployed.put(jobId="a", status="COMPLETED", userId=USER)
    deployed.put(jobId="b", status="PENDING", userId="user-42")
    assert [job["jobId"] for job in deployed.send(name).body["jobs"]] == found


def test_the_document_is_the_one_in_the_layer(deployed: Deployed) -> None:
    assert deployed.send("document").body == http.document()


def test_settings_that_are_missing_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("JOBS_TABLE", "LANES_TABLE", "LIBRARY_TABLE", "S3_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    app.api.cache_clear()
    with pytest.raises(SettingsError) as failure:
        app.api()
    assert len(failure.value.problems) == 4
