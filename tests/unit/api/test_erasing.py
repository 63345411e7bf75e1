"""Erasing a job's data: what goes, what stays, and what a second request finishes. On moto's S3 and tables."""

from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest

from switchyard.api import erasing
from switchyard.api.cancelling import Cancelling
from switchyard.api.erasing import Eraser
from switchyard.api.http import Api
from switchyard.errors import Unavailable
from switchyard.protocol.cancel import Canceller
from switchyard.protocol.jobs import Source, Status, TargetSpec, WorkRequest
from switchyard.search.chunks import owner_name
from switchyard.search.none import NoIndex
from switchyard.tables import items
from switchyard.tables.records import Records
from switchyard.tables.store import Store
from tests.conftest import Aws
from tests.requests import SENT_AT
from tests.rest import Answer, ask

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

BUCKET: Final = "switchyard-media"
JOB: Final = "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506"
ALICE: Final = "c2b5d4a8-30c1-70e6-9a4f-1d2e3f405162"
BOB: Final = "d3c6e5b9-41d2-81f7-8b50-2e3f40516273"
UPLOAD: Final = f"uploads/{ALICE}/2026/11/22/{JOB}-holiday.mp4"
UNOWNED: Final = f"uploads/2026/11/22/{JOB}-holiday.mp4"
RESULTS: Final = (f"results/{JOB}/summary.json", f"results/{JOB}/frames/1.jpg", f"recordings/{ALICE}/{JOB}/a.mp4")
ALL: Final = {"upload": "true"}
REQUEST: Final = WorkRequest(
    job_id=JOB,
    kind="video-analysis",
    lane="video",
    target=TargetSpec("batch", "queue", "definition"),
    source=Source(BUCKET, UPLOAD, "v1", "m1"),
    sent_at=SENT_AT,
    user_id=ALICE,
)


class Chunks(NoIndex):
    """An index that notes what is erased. It fails while `fails` is set."""

    def __init__(self) -> None:
        self.erased: list[tuple[str, str]] = []
        self.fails = False

    def erase(self, owner: str, job_id: str) -> None:
        if self.fails:
            raise Unavailable("throttled")
        self.erased.append((owner, job_id))


@dataclass
class Deployed:
    """The function on one moto account with a bucket."""

    aws: Aws
    s3: "S3Client"
    api: Api
    chunks: Chunks

    def delete(self, user: str | None = None, job: str = JOB, **query: str) -> Answer:
        return ask(self.api, "DELETE /jobs/{jobId}", path={"jobId": job}, query=query, user=user)

    def add(self, request: WorkRequest = REQUEST, status: Status = Status.COMPLETED, fence: int = 1) -> None:
        row = items.announced(request, "f", SENT_AT) | {"status": {"S": status}, "fence": {"N": str(fence)}}
        row |= {"result": {"M": {"prefix": {"S": f"results/{request.job_id}/"}}}}
        self.aws.dynamodb.put_item(TableName=self.aws.jobs_table, Item=row)

    def put(self, *keys: str) -> None:
        for key in keys:
            self.s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")

    @property
    def row(self) -> dict[str, Any]:
        return self.aws.dynamodb.get_item(TableName=self.aws.jobs_table, Key={"jobId": {"S": JOB}})["Item"]

    @property
    def left(self) -> set[str]:
        """The keys of which a version or delete marker is left."""
        pages = self.s3.get_paginator("list_object_versions").paginate(Bucket=BUCKET)
        return {each["Key"] for page in pages for each in (*page.get("Versions", ()), *page.get("DeleteMarkers", ()))}


@pytest.fixture
def deployed(aws: Aws) -> Deployed:
    s3 = boto3.client("s3", region_name="us-east-1")
    s3.create_bucket(Bucket=BUCKET)
    s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Enabled"})
    store = Store(aws.dynamodb, aws.jobs_table, aws.lanes_table, keep_ended_jobs=timedelta(days=30))
    eraser = Eraser(
        Records(aws.dynamodb, aws.jobs_table), lambda: s3, BUCKET, "uploads/", "torrents/", chunks := Chunks()
    )
    # A request with a user is one of Cognito, one without is one of an API key.
    routes = {"DELETE /jobs/{jobId}": partial(Cancelling(Canceller(store, {})).cancel_or_erase, eraser)}
    return Deployed(aws, s3, _Either(routes), chunks)


class _Either(Api):
    """An API that takes users and API keys alike."""

    def handle(self, event: Any, context: object) -> dict[str, Any]:  # noqa: ANN401 - an event
        self._auth = "cognito" if event["requestContext"].get("authorizer") else "api-key"
        return super().handle(event, context)


# ---- what goes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", [ALICE, None])
def test_all_versions_of_a_job_s_results_go_and_its_row_stays(deployed: Deployed, user: str | None) -> None:
    deployed.add()
    deployed.put(*RESULTS, *RESULTS, UPLOAD)
    deployed.s3.delete_object(Bucket=BUCKET, Key=RESULTS[0])

    answer = deployed.delete(user, data="true")

    assert (answer.status, answer.body) == (200, {"jobId": JOB, "status": "COMPLETED", "erased": True})
    assert deployed.left == {UPLOAD}
    assert deployed.row["status"] == {"S": "COMPLETED"}
    assert "result" not in deployed.row


def test_chunks_are_erased_before_files(deployed: Deployed) -> None:
    deployed.add()
    deployed.put(*RESULTS)
    deployed.chunks.fails = True
    assert deployed.delete(ALICE, data="true").status == 503
    assert deployed.left == set(RESULTS)
    deployed.chunks.fails = False
    assert deployed.delete(ALICE, data="true").body["erased"]
    assert deployed.delete(BOB, data="true").status == 404
    assert deployed.chunks.erased == [(owner_name(ALICE), JOB)]
    assert deployed.left == set()


def test_the_upload_goes_too_if_it_is_wanted(deployed: Deployed) -> None:
    deployed.add()
    others = (f"{UPLOAD}.bak", UPLOAD.replace(ALICE, BOB), UNOWNED)
    deployed.put(UPLOAD, UPLOAD, *others)
    assert deployed.delete(ALICE, **ALL).body["erased"]
    assert deployed.left == set(others)


def test_a_caller_without_a_user_erases_anybody_s_upload(deployed: Deployed) -> None:
    deployed.add(replace(REQUEST, user_id=None, source=Source(BUCKET, UNOWNED, "v1", "m1")))
    deployed.put(UNOWNED, f"recordings/{JOB}/a.mp4", f"recordings/{JOB}/.claim")
    deployed.put(f"pieces/recordings/{JOB}/pieces-1/0.ts", f"recordings/{JOB}/pieces-1/0.ts")  # of now, and of earlier
    assert deployed.delete(**ALL).body["erased"]
    assert deployed.left == set()


def test_the_torrent_of_a_torrent_s_job_goes(deployed: Deployed) -> None:
    key = f"recordings/{ALICE}/job/a.mp4"
    deployed.add(replace(REQUEST, kind="torrent", source=Source(BUCKET, key, "v1", "m1")))
    deployed.put(key, f"torrents/{key}.torrent", f"torrents/{key}.torrent.torrent", f"torrents/{key}s.torrent")
    assert deployed.delete(ALICE, data="true").status == 200
    assert deployed.left == {key, f"torrents/{key}.torrent.torrent", f"torrents/{key}s.torrent"}


# ---- what stays -----------------------------------------------------------------------------------------------------


def test_data_of_other_jobs_and_users_stays(deployed: Deployed) -> None:
    deployed.add()
    others = {
        *(f"results/{JOB}0/a", "results/another/a", f"recordings/{BOB}/{JOB}/a.mp4", f"recordings/{ALICE}/b/a.mp4"),
        *(f"recordings/{JOB}/a.mp4", f"torrents/{UPLOAD}.torrent"),  # an earlier job's; a torrent's own job's
        *(f"pieces/recordings/{BOB}/{JOB}/pieces-1/0.ts", f"pieces/recordings/{JOB}/pieces-1/0.ts"),
    }
    deployed.put(*others)
    assert deployed.delete(ALICE, data="true").status == 200
    assert deployed.left == others


def test_a_job_named_like_a_user_takes_none_of_the_user_s_recordings_along(deployed: Deployed) -> None:
    deployed.add(replace(REQUEST, job_id=ALICE, user_id=None))
    deployed.put(RESULTS[2], f"recordings/{ALICE}/a.mp4", f"pieces/{RESULTS[2]}", f"pieces/recordings/{ALICE}/0.ts")
    assert deployed.delete(job=ALICE, data="true").status == 200
    assert deployed.left == {RESULTS[2], f"pieces/{RESULTS[2]}"}


def test_another_user_s_job_is_not_found_and_loses_nothing(deployed: Deployed) -> None:
    deployed.add()
    deployed.put(*RESULTS, UPLOAD)
    assert deployed.delete(BOB, **ALL).status == 404
    assert deployed.left == {*RESULTS, UPLOAD}
    assert "result" in deployed.row


@pytest.mark.parametrize(
    ("bucket", "key", "user"),
    [
        (BUCKET, UPLOAD.replace(ALICE, BOB), ALICE),
        (BUCKET, UNOWNED, ALICE),
        (BUCKET, "uploads/by-hand.mp4", None),
        (BUCKET, RESULTS[2], None),
        ("another-bucket", UPLOAD, None),
    ],
)
@pytest.mark.parametrize("status", [Status.COMPLETED, Status.PENDING])
def test_what_is_no_upload_of_the_caller_is_forbidden_before_anything_happens(
    deployed: Deployed, bucket: str, key: str, user: str | None, status: Status
) -> None:
    deployed.add(replace(REQUEST, source=Source(bucket, key, "v1", "m1")), status)
    deployed.put(key, RESULTS[0])
    answer = deployed.delete(user, **ALL)
    assert (answer.status, answer.body["error"]) == (403, "FORBIDDEN")
    assert deployed.left == {key, RESULTS[0]}
    assert deployed.row["status"] == {"S": status}


# ---- a job that has not ended ---------------------------------------------------------------------------------------


def test_a_job_that_has_not_begun_is_cancelled_first_and_erased_then(deployed: Deployed) -> None:
    deployed.add(status=Status.PENDING, fence=0)
    deployed.put(UPLOAD)
    first, second = (deployed.delete(ALICE, **ALL) for _ in range(2))
    assert (first.status, first.body) == (202, {"jobId": JOB, "status": "CANCELLED", "erased": False})
    assert (second.status, second.body) == (200, {"jobId": JOB, "status": "CANCELLED", "erased": True})
    assert deployed.left == set()


def test_a_job_that_runs_is_cancelled_and_keeps_its_data(deployed: Deployed) -> None:
    deployed.add(status=Status.RUNNING)
    deployed.put(*RESULTS)
    answer = deployed.delete(data="true")
    expected = {"jobId": JOB, "status": "RUNNING", "cancelRequested": True, "erased": False}
    assert (answer.status, answer.body) == (202, expected)
    assert deployed.left == set(RESULTS)


def test_a_job_that_ends_meanwhile_is_erased_by_the_next_request(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.add(status=Status.RUNNING)
    cancelling = Canceller.cancel

    def ended_first(*given: Any, **named: Any) -> object:  # noqa: ANN401 - as given
        deployed.add()
        return cancelling(*given, **named)

    monkeypatch.setattr(Canceller, "cancel", ended_first)
    answers = [deployed.delete(data="true") for _ in range(2)]
    assert [(answer.status, answer.body["erased"]) for answer in answers] == [(202, False), (200, True)]


# ---- in steps -------------------------------------------------------------------------------------------------------


def test_what_a_call_has_no_time_for_the_next_one_erases(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasing, "_PAGES", 2)
    deployed.add()
    deployed.put(*RESULTS, UPLOAD)
    first = deployed.delete(ALICE, **ALL)
    assert (first.status, first.body) == (202, {"jobId": JOB, "status": "COMPLETED", "erased": False})
    assert UPLOAD in deployed.left
    assert "result" in deployed.row
    monkeypatch.undo()
    assert [deployed.delete(ALICE, **ALL).status for _ in range(2)] == [200, 200]
    assert deployed.left == set()
    assert "result" not in deployed.row


def test_a_folder_of_several_pages_is_erased_whole(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = deployed.s3.list_object_versions
    monkeypatch.setattr(deployed.s3, "list_object_versions", partial(listed, MaxKeys=2))
    deployed.add(replace(REQUEST, user_id=None))
    foreign = {f"recordings/{JOB}/{number}/a.mp4" for number in range(3)}
    deployed.put(*foreign, *(f"results/{JOB}/{number}" for number in range(5)), *[f"recordings/{JOB}/z.mp4"] * 3)
    assert deployed.delete(data="true").status == 200
    monkeypatch.undo()
    assert deployed.left == foreign


def test_an_object_that_s3_keeps_is_told_and_the_next_call_goes_on(
    deployed: Deployed, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed.add()
    deployed.put(*RESULTS)
    refused = {"Errors": [{"Key": RESULTS[0], "Code": "InternalError"}]}
    monkeypatch.setattr(deployed.s3, "delete_objects", lambda **_: refused)
    answer = deployed.delete(data="true")
    assert (answer.status, answer.body["error"]) == (503, "UNAVAILABLE")
    assert "result" in deployed.row
    monkeypatch.undo()
    assert deployed.delete(data="true").status == 200
    assert deployed.left == set()


def test_newer_work_under_the_same_id_keeps_its_result(deployed: Deployed, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed.add()
    deployed.put(RESULTS[0])
    delete = deployed.s3.delete_objects

    def claimed_meanwhile(**given: Any) -> object:  # noqa: ANN401 - as given
        deployed.add(fence=2)
        return delete(**given)

    monkeypatch.setattr(deployed.s3, "delete_objects", claimed_meanwhile)
    assert deployed.delete(data="true").status == 503
    assert "result" in deployed.row


@pytest.mark.parametrize("query", [{"data": "yes"}, {"upload": "yes"}, {"data": "true", "upload": "1"}])
def test_an_unclear_query_changes_nothing(deployed: Deployed, query: dict[str, str]) -> None:
    deployed.add(status=Status.PENDING)
    answer = deployed.delete(**query)
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")
    assert deployed.row["status"] == {"S": "PENDING"}
