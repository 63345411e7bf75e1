"""POST /videos and POST /jobs/{jobId}/rerun: what is there is worked on again, once, for whoever may ask for it."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.api.repeats import _MOST_RERUNS
from switchyard.messages.envelope import Envelope
from switchyard.messages.videos import STAGES
from switchyard.names import owned_name
from switchyard.protocol.dispatch import Outcome
from switchyard.protocol.jobs import Status
from tests.cases import cases
from tests.conftest import Aws
from tests.corpus.urls import RESOLVES
from tests.fakes.crashing import Countdown, Crashing, Killed
from tests.fakes.resolver import resolving
from tests.unit.api.repeating import ANALYZE, BUCKET, KEY, UUID, VIDEOS, Repeating

IMAGES = {"imageUrls": ["s3://media/uploads/2026/11/22/a.jpg"], "userId": "ada", "metadata": {"camera": 1.5}}
RECORDING = {"url": "https://public.example/live.m3u8", "filename": "evening.mp4"}


@pytest.fixture(autouse=True, scope="module")
def names() -> Iterator[None]:
    with resolving(RESOLVES | {"public.example": ["93.184.215.14"]}):
        yield


@pytest.fixture
def again(aws: Aws) -> Repeating:
    return Repeating(aws)


# ---- POST /videos ---------------------------------------------------------------------------------------------------


def test_a_video_that_is_there_is_analyzed(again: Repeating) -> None:
    key, version = again.upload()
    answer = again.ask(ANALYZE, {"key": key, "stages": ["speech", "scenes"], "metadata": {"title": "Żółw", "at": 0.5}})
    assert (answer.status, answer.body["status"]) == (202, "PENDING")
    assert again.deliver() == [Outcome.STARTED]
    job = again.job(answer.body["jobId"])
    assert (job.status, job.request.kind, job.request.announced) == (Status.SUBMITTED, "video-analysis", True)
    assert (job.request.source.key, job.request.source.version_id) == (key, version)
    assert (job.request.input, job.request.metadata) == ({"stages": ["speech", "scenes"]}, {"title": "Żółw", "at": 0.5})
    assert (job.request.video_id, job.request.user_id, job.request.target) == (UUID, None, VIDEOS.target)


def test_an_earlier_version_can_be_analyzed(again: Repeating) -> None:
    key, first = again.upload()
    again.upload(content=b"another")
    job_id = again.ask(ANALYZE, {"key": key, "versionId": first}).body["jobId"]
    again.deliver()
    assert again.job(job_id).request.source.version_id == first


def test_the_job_of_a_users_upload_is_theirs(again: Repeating) -> None:
    key, _ = again.upload(owner="ada")
    for caller in ({"user": "ada"}, {}):
        job_id = again.done(ANALYZE, {"key": key}, **caller)
        assert again.job(job_id).request.user_id == "ada"


@cases(
    "case",
    {
        "another user's": ("ada", "uploads/bob/2026/11/22/{UUID}-holiday.mp4"),
        "nobody's": ("ada", "uploads/2026/11/22/{UUID}-holiday.mp4"),
        "not there": (None, "uploads/2026/11/22/{UUID}-nothing.mp4"),
        "a folder": (None, "uploads/folder/"),
        "no upload": (None, "results/a/summary.json"),
    }.items(),
)
def test_what_is_no_upload_of_the_caller_is_not_found(
    again: Repeating, case: tuple[str, tuple[str | None, str]]
) -> None:
    _, (user, key) = case
    again.upload(owner="bob")
    again.upload()
    again.s3.put_object(Bucket=BUCKET, Key="uploads/folder/")
    again.s3.put_object(Bucket=BUCKET, Key="results/a/summary.json")
    answer = again.ask(ANALYZE, {"key": key.replace("{UUID}", UUID)}, user=user, auth="cognito" if user else "api-key")
    assert (answer.status, answer.body["error"]) == (404, "OBJECT_NOT_FOUND")
    assert (again.jobs(), again.deliver()) == (set(), [])


@pytest.mark.parametrize("status", [400, 403, 404, 405])
def test_a_version_that_is_not_there_is_not_found(again: Repeating, status: int) -> None:
    class Without:
        def head_object(self, **_: str) -> object:
            raise ClientError({"ResponseMetadata": {"HTTPStatusCode": status}, "Error": {"Code": ""}}, "HeadObject")  # type: ignore[typeddict-item]

    key, _ = again.upload()
    failing: Any = Without()
    again.s3 = failing
    assert again.ask(ANALYZE, {"key": key, "versionId": "none"}).status == 404


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"key": ""},
        {"key": "uploads/a\0.mp4"},
        {"key": "uploads/" + "é" * 600},
        {"key": "uploads/a.mp4", "stages": []},
        {"key": "uploads/a.mp4", "stages": ["speech", "--help"]},
        {"key": "uploads/a.mp4", "versionId": "a b"},
        {"key": "uploads/a.mp4", "bucket": "another"},
        {"key": "uploads/a.mp4", "metadata": []},
    ],
    ids=str,
)
def test_a_request_against_the_rules_is_refused(again: Repeating, body: dict[str, object]) -> None:
    answer = again.ask(ANALYZE, body)
    assert (answer.status, answer.body["error"]) == (400, "INVALID_REQUEST")


def test_metadata_that_is_too_large_is_refused(again: Repeating) -> None:
    key, _ = again.upload()
    answer = again.ask(ANALYZE, {"key": key, "metadata": {"a": "x" * 33_000}})
    assert (answer.status, again.jobs()) == (400, set())


def test_every_stage_can_be_chosen(again: Repeating) -> None:
    key, _ = again.upload()
    assert again.ask(ANALYZE, {"key": key, "stages": list(STAGES)}).status == 202


def test_the_same_key_is_the_same_job(again: Repeating) -> None:
    key, _ = again.upload()
    first = again.ask(ANALYZE, {"key": key}, headers=KEY)
    again.deliver()  # it holds the object's lock now, which is its own
    assert again.ask(ANALYZE, {"key": key}, headers=KEY).body == first.body
    again.end(first.body["jobId"])
    assert again.ask(ANALYZE, {"key": key}, headers=KEY).body == first.body
    assert len(again.jobs()) == 1
    answer = again.ask(ANALYZE, {"key": key, "stages": ["scenes"]}, headers=KEY)
    assert (answer.status, answer.body["error"]) == (409, "IDEMPOTENCY_KEY_REUSED")


def test_a_key_is_good_while_another_job_works_on_the_object(again: Repeating) -> None:
    key, _ = again.upload()
    first = again.done(ANALYZE, {"key": key}, headers=KEY)
    again.ask(ANALYZE, {"key": key})
    again.deliver()
    assert again.ask(ANALYZE, {"key": key}, headers=KEY).body["jobId"] == first


def test_an_object_that_a_job_works_on_is_refused(again: Repeating) -> None:
    key, _ = again.upload()
    first = again.ask(ANALYZE, {"key": key}).body["jobId"]
    again.deliver()
    answer = again.ask(ANALYZE, {"key": key})
    assert (answer.status, answer.body["error"], answer.body["details"]) == (409, "OBJECT_BUSY", [f"job {first}"])
    again.end(first)
    assert again.ask(ANALYZE, {"key": key}).status == 202


def test_of_two_requests_of_one_moment_one_is_run(again: Repeating) -> None:
    key, _ = again.upload()
    ids = [again.ask(ANALYZE, {"key": key}).body["jobId"] for _ in range(2)]
    assert sorted(outcome.name for outcome in again.deliver()) == ["DUPLICATE", "STARTED"]
    jobs = sorted((again.job(each) for each in ids), key=lambda job: job.status)
    assert [job.status for job in jobs] == [Status.FAILED, Status.SUBMITTED]
    assert jobs[0].error is not None
    assert jobs[0].error.code == "DUPLICATE"


# ---- rerun ----------------------------------------------------------------------------------------------------------


def test_a_video_is_analyzed_again_by_a_new_job(again: Repeating) -> None:
    key, version = again.upload(owner="ada")
    first = again.done(ANALYZE, {"key": key, "stages": ["scenes"], "metadata": {"a": 1}}, user="ada")
    answer = again.rerun(first, user="ada")
    assert (answer.status, answer.body["rerunOf"], answer.body["status"]) == (202, first, "PENDING")
    assert again.deliver() == [Outcome.STARTED]
    old, new = again.job(first).request, again.job(answer.body["jobId"]).request
    assert replace(new.source, message_id="", version="") == replace(old.source, message_id="", version="")
    assert new.source.version_id == version
    for name in ("kind", "video_id", "user_id", "input", "metadata", "target"):
        assert getattr(new, name) == getattr(old, name)
    assert again.job(first).status is Status.COMPLETED
    item = again.aws.dynamodb.get_item(TableName=again.aws.jobs_table, Key={"jobId": {"S": answer.body["jobId"]}})
    assert (item["Item"]["rerunOf"]["S"], item["Item"]["submittedBy"]["S"]) == (first, "user:ada")


@pytest.mark.parametrize(("route", "body"), [("POST /process", IMAGES), ("POST /jobs", RECORDING)])
def test_a_task_is_run_again_by_a_new_job(again: Repeating, route: str, body: dict[str, Any]) -> None:
    first = again.done(route, body)
    second = again.rerun(first).body["jobId"]
    assert again.deliver() == [Outcome.STARTED]
    old, new = again.job(first).request, again.job(second).request
    for name in ("kind", "user_id", "input", "metadata", "target"):
        assert getattr(new, name) == getattr(old, name)


def test_a_rerun_does_not_wait_for_a_time_that_has_passed(again: Repeating) -> None:
    start_after = clock.iso(clock.now() + timedelta(hours=1))
    first = again.ask("POST /process", IMAGES | {"startAfter": start_after}).body["jobId"]
    again.ask("DELETE /jobs/{jobId}", path={"jobId": first})
    assert again.deliver() == [Outcome.DUPLICATE]
    second = again.rerun(first).body["jobId"]
    assert again.deliver() == [Outcome.STARTED]
    assert again.job(second).request.start_after is None


def test_only_the_owner_or_an_operator_may_rerun(again: Repeating) -> None:
    key, _ = again.upload(owner="ada")
    first = again.done(ANALYZE, {"key": key})
    answer = again.rerun(first, user="bob")
    assert (answer.status, answer.body["error"], again.deliver()) == (404, "NOT_FOUND", [])
    assert again.rerun(first).status == 202


def test_a_user_names_their_job_as_they_named_it(again: Repeating) -> None:
    first = again.done("POST /jobs", RECORDING | {"jobId": "evening-1"}, user="ada")
    assert first == owned_name("ada", "evening-1")
    assert again.rerun("evening%2D1", user="ada").body["rerunOf"] == first


def test_a_job_that_has_not_ended_is_not_rerun(again: Repeating) -> None:
    key, _ = again.upload()
    first = again.ask(ANALYZE, {"key": key}).body["jobId"]
    for _ in range(2):  # pending, then submitted
        answer = again.rerun(first)
        assert (answer.status, answer.body["error"]) == (409, "NOT_ENDED")
        again.deliver()


def test_until_a_rerun_has_ended_requests_are_answered_with_it(again: Repeating) -> None:
    key, _ = again.upload()
    first = again.done(ANALYZE, {"key": key})
    second = again.rerun(first).body["jobId"]
    assert again.rerun(first).body["jobId"] == second  # pending: its message is sent again
    assert sorted(outcome.name for outcome in again.deliver()) == ["DUPLICATE", "STARTED"]
    answer = again.rerun(first)
    assert (answer.status, answer.body["jobId"], answer.body["status"]) == (202, second, "SUBMITTED")
    again.end(second)
    third = again.rerun(first).body["jobId"]
    assert third not in {first, second}
    assert again.rerun(second).body["jobId"] == third  # whichever of them is named
    again.deliver()
    again.end(third)
    assert len(again.jobs()) == 3


def test_a_key_is_the_same_rerun_even_after_its_end(again: Repeating) -> None:
    first, other = (again.done("POST /process", IMAGES) for _ in range(2))
    second = again.rerun(first, headers=KEY).body["jobId"]
    again.deliver()
    again.end(second)
    answer = again.rerun(first, headers=KEY)
    assert (answer.body["jobId"], answer.body["status"]) == (second, "COMPLETED")
    answer = again.rerun(other, headers=KEY)
    assert (answer.status, answer.body["error"]) == (409, "IDEMPOTENCY_KEY_REUSED")
    assert again.rerun(first, headers={"Idempotency-Key": "another"}).body["jobId"] != second


def test_a_rerun_never_meets_the_lock_of_another(again: Repeating) -> None:
    key, _ = again.upload()
    first = again.done(ANALYZE, {"key": key})
    busy = again.ask(ANALYZE, {"key": key}).body["jobId"]
    again.deliver()
    answer = again.rerun(first)
    assert (answer.status, answer.body["error"], answer.body["details"]) == (409, "OBJECT_BUSY", [f"job {busy}"])
    again.end(busy)
    assert again.rerun(first).status == 202
    assert again.deliver() == [Outcome.STARTED]


def test_a_video_whose_version_is_gone_is_not_rerun(again: Repeating) -> None:
    key, version = again.upload()
    first = again.done(ANALYZE, {"key": key})
    again.s3.delete_object(Bucket=BUCKET, Key=key, VersionId=version)
    answer = again.rerun(first)
    assert (answer.status, answer.body["error"], again.deliver()) == (404, "OBJECT_NOT_FOUND", [])


def announced(again: Repeating, key: str, etag: str) -> str:
    """The job of an upload that S3 announced from a bucket without versions."""
    thing = {"key": key, "eTag": etag, "sequencer": "0A"}
    event = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "s3": {"bucket": {"name": BUCKET}, "object": thing},
    }
    (work,) = (VIDEOS.read({"Records": [event]}, Envelope("m1", clock.now())),)
    again.dispatcher.dispatch(work)
    again.end(work.job_id)
    return work.job_id


def test_a_video_that_was_replaced_is_not_rerun(again: Repeating) -> None:
    again.s3.put_bucket_versioning(Bucket=BUCKET, VersioningConfiguration={"Status": "Suspended"})
    key = f"uploads/2026/11/22/{UUID}-holiday.mp4"
    etag = again.s3.put_object(Bucket=BUCKET, Key=key, Body=b"one")["ETag"].strip('"')
    first = announced(again, key, etag)
    again.s3.put_object(Bucket=BUCKET, Key=key, Body=b"two")
    answer = again.rerun(first)
    assert (answer.status, answer.body["error"]) == (409, "OBJECT_REPLACED")
    again.s3.put_object(Bucket=BUCKET, Key=key, Body=b"one")
    assert again.rerun(first).status == 202
    assert again.deliver() == [Outcome.STARTED]


@pytest.mark.parametrize("kind", ["torrent", "steam_import", "somebody's"])
def test_other_kinds_are_requested_elsewhere(again: Repeating, kind: str) -> None:
    first = again.done("POST /process", IMAGES)
    request = replace(again.job(first).request, kind=kind, job_id="t", input=None)
    again.aws.dynamodb.put_item(
        TableName=again.aws.jobs_table,
        Item={
            "jobId": {"S": "t"},
            "kind": {"S": kind},
            "status": {"S": "COMPLETED"},
            "lane": {"S": request.lane},
            "request": {"S": request.to_json()},
        },
    )
    answer = again.rerun("t")
    assert (answer.status, answer.body["error"]) == (409, "NOT_RERUNNABLE")


def test_a_job_that_never_had_a_request_is_not_rerun(again: Repeating) -> None:
    item = {"jobId": {"S": "p"}, "status": {"S": "CANCELLED"}, "kind": {"S": "video-analysis"}}
    again.aws.dynamodb.put_item(TableName=again.aws.jobs_table, Item=item)
    assert again.rerun("p").body["error"] == "NOT_RERUNNABLE"


@pytest.mark.parametrize("job_id", ["none", "%FF", "a%0Ab"])
def test_what_is_no_job_is_not_found(again: Repeating, job_id: str) -> None:
    assert again.rerun(job_id).body["error"] == "NOT_FOUND"


def test_a_row_of_another_program_is_told_to_operators(again: Repeating) -> None:
    item = {"jobId": {"S": "x"}, "status": {"S": "COMPLETED"}, "request": {"S": "{}"}}
    again.aws.dynamodb.put_item(TableName=again.aws.jobs_table, Item=item)
    assert again.rerun("x").body["error"] == "FOREIGN_ROW"
    assert again.rerun("x", user="ada").body["error"] == "NOT_FOUND"


def test_the_id_of_a_rerun_that_others_took_is_left_to_them(again: Repeating) -> None:
    first = again.done("POST /process", IMAGES)
    taken = again.rerun(first).body["jobId"]
    again.aws.dynamodb.delete_item(TableName=again.aws.jobs_table, Key={"jobId": {"S": taken}})
    again.ask("POST /jobs", RECORDING | {"jobId": taken})
    answer = again.rerun(first)
    assert (answer.status, answer.body["error"]) == (409, "JOB_ID_TAKEN")
    assert again.rerun(first, headers=KEY).status == 202


def test_reruns_are_counted_to_an_end(again: Repeating) -> None:
    first = last = again.done("POST /process", IMAGES)
    for _ in range(_MOST_RERUNS):
        last = again.rerun(first).body["jobId"]
        again.deliver()
        again.end(last)
    answer = again.rerun(first)
    assert (answer.status, answer.body["error"], answer.body["details"]) == (409, "TOO_MANY_RERUNS", [f"job {last}"])
    assert again.rerun(last).status == 202


# ---- faults ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("after", [0, 1], ids=["before its effect", "after its effect"])
@pytest.mark.parametrize("call", range(5))
@pytest.mark.parametrize("key", [{}, KEY], ids=["without a key", "with a key"])
def test_a_request_that_died_is_completed_by_its_repetition(
    again: Repeating, call: int, after: int, key: dict[str, str]
) -> None:
    """Whatever the dead one did, even after it queued: one rerun, started once."""
    video, _ = again.upload()
    first = again.done(ANALYZE, {"key": video})
    countdown = Countdown(call, after_effect=bool(after))
    again.dynamodb, again.sqs = (Crashing(each, countdown) for each in (again.aws.dynamodb, again.aws.sqs))
    with contextlib.suppress(Killed):
        again.rerun(first, headers=key)
    again.dynamodb = again.sqs = None
    second = again.rerun(first, headers=key).body["jobId"]
    again.deliver()
    assert again.jobs() == {first, second}
    assert again.job(second).status is Status.SUBMITTED
    assert len(again.target.runs) == 2


@pytest.mark.parametrize("effect", [0, 1], ids=["without effect", "with effect"])
def test_a_queue_that_fails_leaves_nothing_or_a_job(again: Repeating, effect: int) -> None:
    """SendMessage may have taken effect despite its error: then the message does nothing."""

    class Failing:
        def send_message(self, **call: str) -> None:
            if effect:
                again.aws.sqs.send_message(**call)  # type: ignore[arg-type]
            raise ClientError({"Error": {"Code": "ServiceUnavailable"}}, "SendMessage")

    first = again.done("POST /process", IMAGES)
    again.sqs = Failing()
    answer = again.rerun(first)
    assert (answer.status, again.jobs()) == (503, {first})
    again.sqs = None
    assert again.deliver() == ([Outcome.WITHDRAWN] if effect else [])
    second = again.rerun(first).body["jobId"]
    assert again.deliver() == [Outcome.STARTED]
    assert again.job(second).status is Status.SUBMITTED
