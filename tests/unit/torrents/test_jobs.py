"""The row of a torrent job: which invocation may begin it, whose writes are accepted, and how it ends."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

from switchyard.errors import Contended, ForeignRow, JobIdTaken
from switchyard.function_jobs.jobs import (
    GIVEN_UP,
    MAX_BEGINS,
    SILENCE,
    FunctionJob,
    FunctionRun,
    FunctionVerdict,
    Stopped,
    after_any_end,
    after_failure,
    judge_message,
)
from switchyard.function_jobs.repair import FunctionRepair
from switchyard.protocol.jobs import JobError, Status
from switchyard.torrents.format.layout import ObjectVersion
from switchyard.torrents.messages import asked_again, request
from switchyard.torrents.table import TorrentJobs
from tests.cases import cases
from tests.conftest import Aws
from tests.world import Time

NOW = datetime(2026, 11, 22, 13, tzinfo=UTC)
THING = ObjectVersion("media", "recordings/a.bin", 100, "etag-1", None, NOW)
ERROR = JobError("OBJECT_CHANGED", "it was replaced")

# ---- what a message means -------------------------------------------------------------------------------------------

FOUND = FunctionJob(
    id="torrent-1",
    kind="torrent",
    status=Status.RUNNING,
    fence=1,
    attempts=1,
    begun_by="m1",
    modified=NOW,
    alive_at=NOW,
    cancel_requested=False,
    chunks=frozenset(),
    user_id=None,
    request=None,
    error=None,
    result={},
)
PENDING = replace(FOUND, status=Status.PENDING, fence=0, begun_by=None, modified=None)
COMPLETED, FAILED, CANCELLED = (
    replace(FOUND, status=status) for status in (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
)
SILENT = replace(FOUND, alive_at=NOW - SILENCE)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)


@cases(
    ("found", "message", "again", "verdict"),
    [
        (PENDING, "m2", False, FunctionVerdict.BEGIN),
        (FOUND, "m2", False, FunctionVerdict.LEAVE),
        (FOUND, "m2", True, FunctionVerdict.LEAVE),
        (FOUND, "m1", False, FunctionVerdict.TAKE_OVER),
        (SILENT, "m2", False, FunctionVerdict.TAKE_OVER),
        (replace(FOUND, cancel_requested=True), "m2", False, FunctionVerdict.LEAVE),
        (replace(SILENT, cancel_requested=True), "m2", False, FunctionVerdict.CANCEL),
        (replace(FOUND, cancel_requested=True), "m1", False, FunctionVerdict.CANCEL),
        (replace(SILENT, attempts=MAX_BEGINS), "m2", False, FunctionVerdict.GIVE_UP),
        (COMPLETED, "m2", False, FunctionVerdict.LEAVE),
        (COMPLETED, "m2", True, FunctionVerdict.BEGIN),
        (COMPLETED, "m1", True, FunctionVerdict.LEAVE),
        (CANCELLED, "m2", False, FunctionVerdict.LEAVE),
        (CANCELLED, "m2", True, FunctionVerdict.BEGIN),
        (FAILED, "m1", False, FunctionVerdict.LEAVE),
        (FAILED, "m2", False, FunctionVerdict.BEGIN),
    ],
)
def test_what_a_message_means_for_a_job(
    found: FunctionJob,
    message: str,
    again: bool,  # noqa: FBT001
    verdict: FunctionVerdict,
) -> None:
    wanted = after_any_end if again else after_failure
    assert judge_message(found, message, NOW, again=wanted, now=NOW) is verdict


@cases("found", [FOUND, COMPLETED, FAILED, CANCELLED])
def test_the_same_bytes_uploaded_once_more_are_new_work(found: FunctionJob) -> None:
    assert judge_message(found, "m2", LATER, again=after_failure, now=NOW) is FunctionVerdict.BEGIN


@cases("found", [SILENT, COMPLETED, FAILED, CANCELLED])
def test_who_looked_at_an_upload_before_that_is_late(found: FunctionJob) -> None:
    assert judge_message(found, "m2", EARLIER, again=after_any_end, now=NOW) is FunctionVerdict.LEAVE


# ---- the row --------------------------------------------------------------------------------------------------------


@pytest.fixture
def jobs(aws: Aws, time: Time) -> TorrentJobs:
    return TorrentJobs(aws.dynamodb, aws.jobs_table, keep_ended_jobs=timedelta(days=30))


def begin(jobs: TorrentJobs, message: str = "m1", *, again: bool = False, thing: ObjectVersion = THING) -> FunctionRun:
    """Begins the job, and fails if that is impossible."""
    begun = jobs.begin(
        request(thing, message_id=message, sent_at=NOW),
        again=after_any_end if again else after_failure,
        modified=thing.modified,
    )
    assert isinstance(begun, FunctionRun)
    return begun


def found(jobs: TorrentJobs) -> FunctionJob:
    job = jobs.get(request(THING, message_id="", sent_at=NOW).job_id)
    assert job is not None
    return job


def test_a_job_is_begun_once(jobs: TorrentJobs) -> None:
    begin(jobs)
    second = jobs.begin(request(THING, message_id="m2", sent_at=NOW), modified=NOW)
    assert isinstance(second, FunctionJob)
    assert (second.status, second.fence, second.begun_by) == (Status.RUNNING, 1, "m1")


def test_who_takes_over_has_the_last_word(jobs: TorrentJobs) -> None:
    first, second = begin(jobs), begin(jobs)
    assert second.fence == first.fence + 1
    for write in (jobs.beat, lambda run: jobs.add_chunk(run, "v1-1/0+1"), lambda run: jobs.complete(run, {})):
        with pytest.raises(Stopped):
            write(first)
    assert not jobs.fail(first, ERROR)
    assert found(jobs).status is Status.RUNNING


def test_whose_job_it_is_stays_with_it(jobs: TorrentJobs) -> None:
    jobs.begin(request(THING, message_id="m1", sent_at=NOW, user_id="user-42"), modified=NOW)
    assert begin(jobs).user_id == "user-42"
    assert found(jobs).user_id == "user-42"


@pytest.mark.parametrize(
    "row",
    [
        {"kind": {"S": "stream-recording"}, "status": {"S": "PENDING"}},
        {"kind": {"S": "torrent"}, "status": {"S": "FAILED"}, "userId": {"S": "bob"}},
    ],
    ids=["another kind", "another user"],
)
def test_a_row_under_the_torrent_s_id_is_not_taken_over(jobs: TorrentJobs, aws: Aws, row: dict[str, Any]) -> None:
    """Whoever knows an object's version can compute the id of its torrent's job."""
    wanted = request(THING, message_id="m1", sent_at=NOW, user_id="ada")
    aws.dynamodb.put_item(TableName=aws.jobs_table, Item={"jobId": {"S": wanted.job_id}, **row})
    with pytest.raises(JobIdTaken):
        jobs.begin(wanted, again=after_any_end, modified=NOW)
    kept = aws.dynamodb.get_item(TableName=aws.jobs_table, Key={"jobId": {"S": wanted.job_id}})["Item"]
    assert kept == {"jobId": {"S": wanted.job_id}, **row}


FOREIGN: list[dict[str, Any]] = [
    {"status": {"S": "DANCING"}},
    {"status": {"N": "7"}},
    {},
    {"status": {"S": "PENDING"}, "request": {"S": json.dumps({"job_id": "another"})}},
    {"status": {"S": "PENDING"}, "request": {"S": "[1]"}},
]


@pytest.mark.parametrize("row", FOREIGN, ids=str)
def test_a_row_that_nobody_here_wrote_is_foreign(jobs: TorrentJobs, aws: Aws, row: dict[str, Any]) -> None:
    wanted = request(THING, message_id="m1", sent_at=NOW)
    aws.dynamodb.put_item(
        TableName=aws.jobs_table, Item={"jobId": {"S": wanted.job_id}, "kind": {"S": "torrent"}, **row}
    )
    with pytest.raises(ForeignRow):
        jobs.begin(wanted, modified=NOW)
    repair = FunctionRepair(jobs, cast("Any", None), "queue", timedelta(), asked_again)
    repair.ask_again(wanted.job_id)  # leaves it alone


def test_another_jobs_request_is_foreign(jobs: TorrentJobs, aws: Aws) -> None:
    begin(jobs)
    item = aws.dynamodb.get_item(TableName=aws.jobs_table, Key={"jobId": {"S": found(jobs).id}})["Item"]
    aws.dynamodb.put_item(TableName=aws.jobs_table, Item={**item, "jobId": {"S": "torrent-2"}})
    with pytest.raises(ForeignRow):
        jobs.get("torrent-2")


def test_a_job_that_is_begun_anew_has_nothing_left_of_its_end(jobs: TorrentJobs, aws: Aws) -> None:
    jobs.complete(begin(jobs), {"infohash": "abc"})
    begin(jobs, "m2", again=True)
    item = aws.dynamodb.get_item(TableName=aws.jobs_table, Key={"jobId": {"S": found(jobs).id}})["Item"]
    assert {"result", "error", "endedAt", "ttl", "progress"} & set(item) == set()


def test_a_job_that_is_begun_too_often_is_given_up(jobs: TorrentJobs, time: Time) -> None:
    for _ in range(MAX_BEGINS):
        begin(jobs)
    left = jobs.begin(request(THING, message_id="m1", sent_at=NOW), modified=NOW)
    assert isinstance(left, FunctionJob)
    assert left.error is not None
    assert (left.status, left.error.code) == (Status.FAILED, GIVEN_UP)


def test_as_long_as_something_gets_done_nothing_is_given_up(jobs: TorrentJobs) -> None:
    for number in range(MAX_BEGINS + 1):
        jobs.add_chunk(begin(jobs), f"v1-1/{number}+1")
    assert len(found(jobs).chunks) == MAX_BEGINS + 1


def test_a_job_that_never_stands_still_is_contended(jobs: TorrentJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "_begin", lambda *_, **__: None)
    with pytest.raises(Contended):
        begin(jobs)


def test_noting_a_chunk_twice_changes_nothing(jobs: TorrentJobs) -> None:
    run = begin(jobs)
    assert jobs.add_chunk(run, "v1-1/0+1") == jobs.add_chunk(run, "v1-1/0+1") == {"v1-1/0+1"}


def test_a_lost_chunk_is_struck_off(jobs: TorrentJobs) -> None:
    run = begin(jobs)
    jobs.add_chunk(run, "v1-1/0+1")
    jobs.add_chunk(run, "v1-1/1+1")
    jobs.lose_chunks(run, ["v1-1/0+1"])
    assert found(jobs).chunks == {"v1-1/1+1"}


def test_what_was_hashed_outlives_a_failure(jobs: TorrentJobs) -> None:
    run = begin(jobs)
    jobs.add_chunk(run, "v1-1/0+1")
    jobs.fail(run, ERROR)
    assert begin(jobs, "m2").chunks == {"v1-1/0+1"}


def test_a_completed_job_keeps_its_result_and_no_chunks(jobs: TorrentJobs) -> None:
    run = begin(jobs)
    jobs.add_chunk(run, "v1-1/0+1")
    assert jobs.complete(run, {"infohash": "abc", "size": 7})
    job = found(jobs)
    assert (job.status, job.result["infohash"], job.chunks) == (Status.COMPLETED, "abc", frozenset())


def test_the_second_to_complete_a_job_is_not_the_first(jobs: TorrentJobs) -> None:
    run = begin(jobs)
    assert [jobs.complete(run, {}), jobs.complete(run, {})] == [True, False]


def test_progress_never_goes_back(jobs: TorrentJobs, aws: Aws) -> None:
    run = begin(jobs)
    for percent in (30, 20):
        jobs.advance(run, percent)
    item = aws.dynamodb.get_item(TableName=aws.jobs_table, Key={"jobId": {"S": run.job_id}})["Item"]
    assert item["progress"]["M"]["percent"] == {"N": "30"}


# ---- given up, and sent again ---------------------------------------------------------------------------------------


@pytest.fixture
def given_up(jobs: TorrentJobs) -> FunctionRun:
    run = begin(jobs)
    assert jobs.fail(run, JobError(GIVEN_UP, "too often"))
    return run


def test_other_segments_of_a_job_that_was_given_up_go_on(jobs: TorrentJobs, given_up: FunctionRun) -> None:
    jobs.beat(given_up)
    assert jobs.add_chunk(given_up, "v1-1/0+1") == {"v1-1/0+1"}
    assert found(jobs).status is Status.FAILED


def test_a_segment_that_comes_again_has_the_job_under_way_again(jobs: TorrentJobs, given_up: FunctionRun) -> None:
    jobs.join(given_up.job_id, given_up.fence)
    assert (found(jobs).status, found(jobs).error) == (Status.RUNNING, None)


@pytest.mark.parametrize("code", ["OBJECT_CHANGED", "EMPTY_OBJECT"])
def test_a_segment_of_a_job_that_failed_otherwise_is_void(jobs: TorrentJobs, code: str) -> None:
    run = begin(jobs)
    jobs.fail(run, JobError(code, "because"))
    with pytest.raises(Stopped):
        jobs.join(run.job_id, run.fence)


def test_a_segment_of_a_job_that_is_gone_is_void(jobs: TorrentJobs) -> None:
    with pytest.raises(Stopped):
        jobs.join("torrent-1", 1)


# ---- void, cancelled ------------------------------------------------------------------------------------------------


def test_a_job_whose_object_was_replaced_is_void(jobs: TorrentJobs) -> None:
    assert jobs.void(begin(jobs).job_id, ERROR)
    assert found(jobs).error == ERROR


def test_no_job_is_made_only_to_be_void(jobs: TorrentJobs) -> None:
    assert not jobs.void("torrent-1", ERROR)
    assert jobs.get("torrent-1") is None


def test_what_has_ended_is_not_void(jobs: TorrentJobs) -> None:
    run = begin(jobs)
    jobs.complete(run, {})
    assert not jobs.void(run.job_id, ERROR)


def ask_to_cancel(jobs: TorrentJobs, aws: Aws) -> None:
    aws.dynamodb.update_item(
        TableName=aws.jobs_table,
        Key={"jobId": {"S": found(jobs).id}},
        UpdateExpression="SET cancelRequestedAt = :now",
        ExpressionAttributeValues={":now": {"S": "2026-11-22T13:00:00.000Z"}},
    )


def test_the_next_beat_after_a_cancel_ends_the_job(jobs: TorrentJobs, aws: Aws) -> None:
    run = begin(jobs)
    ask_to_cancel(jobs, aws)
    with pytest.raises(Stopped):
        jobs.beat(run)
    assert found(jobs).status is Status.CANCELLED


def test_a_failure_after_a_cancel_is_the_cancel(jobs: TorrentJobs, aws: Aws) -> None:
    run = begin(jobs)
    ask_to_cancel(jobs, aws)
    assert not jobs.fail(run, ERROR)
    assert found(jobs).status is Status.CANCELLED


def test_a_torrent_that_was_quicker_than_the_cancel_is_made(jobs: TorrentJobs, aws: Aws) -> None:
    run = begin(jobs)
    ask_to_cancel(jobs, aws)
    assert jobs.complete(run, {})


def test_a_cancel_that_nobody_noticed_is_noticed_by_whoever_comes(jobs: TorrentJobs, aws: Aws) -> None:
    begin(jobs)
    ask_to_cancel(jobs, aws)
    left = jobs.begin(request(THING, message_id="m1", sent_at=NOW), modified=NOW)
    assert isinstance(left, FunctionJob)
    assert left.status is Status.CANCELLED
