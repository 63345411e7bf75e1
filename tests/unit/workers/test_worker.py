"""The worker's side of the contract, on moto's DynamoDB and S3."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.config import Config
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws

import switchyard_worker
from switchyard import keys
from switchyard_worker import (
    CRASHED,
    BadEnvironment,
    ExitCode,
    Main,
    PermanentFailure,
    Stopped,
    TryAgain,
    WorkerEnvironment,
    WorkerJob,
    content_type,
    heartbeat,
    run,
)
from switchyard_worker.attempt import client
from switchyard_worker.environment import METADATA_ATTEMPTS
from switchyard_worker.record import ERROR_LIMIT
from tests.cases import cases

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient
    from mypy_boto3_s3.client import S3Client

LIBRARY = Path(switchyard_worker.__file__).parent
SOURCE = "\n".join(path.read_text(encoding="utf-8") for path in sorted(LIBRARY.glob("*.py")))
TABLE = "jobs"
VARIABLES = {
    "JOB_ID": "video-1",
    "JOBS_TABLE": TABLE,
    "FENCE": "3",
    "AWS_BATCH_JOB_ID": "batch-1",
    "VIDEO_ID": "1",
    "S3_BUCKET": "media",
    "S3_KEY": "uploads/a b.mp4",
}


@pytest.fixture(scope="module", autouse=True)
def aws() -> Iterator[None]:
    """Creates one account for the module, because creating clients takes time."""
    with pytest.MonkeyPatch.context() as patch, mock_aws():
        patch.setenv("AWS_DEFAULT_REGION", "eu-west-1")
        patch.setenv("AWS_ACCESS_KEY_ID", "test")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        table().create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "jobId", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "jobId", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        bucket().create_bucket(Bucket="media", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        yield
        table.cache_clear()
        bucket.cache_clear()


@pytest.fixture(autouse=True)
def clean(aws: None) -> None:
    table().delete_item(TableName=TABLE, Key={"jobId": {"S": "video-1"}})
    for found in bucket().list_objects_v2(Bucket="media").get("Contents", []):
        bucket().delete_object(Bucket="media", Key=found["Key"])


@cache
def table() -> "DynamoDBClient":
    """Creates a client that tries once, so that a retry doesn't hide a test's fault."""
    return boto3.client("dynamodb", config=Config(retries={"total_max_attempts": 1}))


@cache
def bucket() -> "S3Client":
    return boto3.client("s3")


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SHORTEST_GAP", 0.02)


def put(**attributes: Any) -> None:  # noqa: ANN401 - whatever DynamoDB holds
    """Writes the job's item as the dispatcher leaves it, with changes."""
    item = {"jobId": "video-1", "status": "SUBMITTED", "fence": 3, **attributes}
    table().put_item(TableName=TABLE, Item={name: TypeSerializer().serialize(value) for name, value in item.items()})


def item() -> dict[str, Any]:
    found = table().get_item(TableName=TABLE, Key={"jobId": {"S": "video-1"}}, ConsistentRead=True).get("Item", {})
    return {name: TypeDeserializer().deserialize(value) for name, value in found.items()}


def attempt(main: Main, dynamodb: "Faulty | None" = None, **changed: str) -> int:
    """Runs one attempt of the job with VARIABLES and these changes."""
    client: Any = dynamodb or table()
    return run(main, variables={**VARIABLES, **changed}, dynamodb=client, s3=bucket())


def succeed(job: WorkerJob) -> Mapping[str, Any]:
    job.save("summary.json", b"{}")
    return {"duration": 5.25}


def raising(error: BaseException) -> Callable[[WorkerJob], Mapping[str, Any]]:
    def main(job: WorkerJob) -> Mapping[str, Any]:
        raise error

    return main


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end, "it didn't happen within 10 s"
        time.sleep(0.005)


def checkpoints_until_told(job: WorkerJob) -> None:
    """Does work that never ends by itself."""
    end = time.monotonic() + 10
    while time.monotonic() < end:
        job.checkpoint()
        time.sleep(0.005)


class Faulty:
    """A DynamoDB client whose n-th update fails, before or after it takes effect."""

    def __init__(self, faults: Mapping[int, Exception], *, after: bool = False) -> None:
        self._faults = faults
        self._after = after
        self.calls = 0

    def update_item(self, **arguments: Any) -> object:  # noqa: ANN401 - passed on as it comes
        """As boto3's, with the fault."""
        self.calls += 1
        fault = self._faults.get(self.calls)
        if fault and not self._after:
            raise fault
        answer = table().update_item(**arguments)
        if fault:
            raise fault
        return answer


class CutOff(Faulty):
    """A DynamoDB whose n-th answers are cut off: boto3 returns those as empty."""

    def __init__(self, cut: set[int]) -> None:
        super().__init__({})
        self._cut = cut

    def update_item(self, **arguments: Any) -> object:  # noqa: ANN401 - as Faulty
        """As boto3's, where the answer ends too soon."""
        answer = super().update_item(**arguments)
        return {} if self.calls in self._cut else answer


def refusal(code: str, status: int = 400) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "UpdateItem",
    )


# ---- the environment


def test_environment_is_read_with_its_defaults() -> None:
    environment = WorkerEnvironment.from_env(VARIABLES)
    assert environment.fence == 3
    assert environment.attempt == 1
    assert environment.version_id is None
    assert environment.results_bucket == "media"
    assert environment.results_prefix == "results/video-1/"


def test_the_source_is_the_object_in_its_version() -> None:
    place = {"Bucket": "media", "Key": "uploads/a b.mp4"}
    assert WorkerEnvironment.from_env(VARIABLES).source == place
    assert WorkerEnvironment.from_env({**VARIABLES, "S3_VERSION_ID": "v1"}).source == {**place, "VersionId": "v1"}


@cases(
    ("prefix", "key"),
    [("out/", "out/video-1/"), ("out", "out/video-1/"), ("", "results/video-1/"), ("a/b/", "a/b/video-1/")],
)
def test_results_prefix_always_ends_in_the_job_id(prefix: str, key: str) -> None:
    environment = WorkerEnvironment.from_env({**VARIABLES, "RESULTS_PREFIX": prefix, "RESULTS_BUCKET": "other"})
    assert (environment.results_bucket, environment.results_prefix) == ("other", key)


def test_every_bad_variable_is_named_in_one_error() -> None:
    variables = {"JOB_ID": "../../x", "FENCE": "0", "S3_KEY": "", "S3_BUCKET": "media", "VIDEO_ID": "1"}
    with pytest.raises(BadEnvironment) as caught:
        WorkerEnvironment.from_env(variables, needs=("VIDEO_ID", "S3_KEY"))
    for name in (
        "JOB_ID is '../../x'",
        "JOBS_TABLE is missing",
        "FENCE is '0'",
        "AWS_BATCH_JOB_ID",
        "S3_KEY is missing",
    ):
        assert name in caught.value.message
    assert "VIDEO_ID" not in caught.value.message


def test_bad_environment_is_a_permanent_failure_that_names_no_other_variable(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(succeed, variables={"SECRET": "hunter2"}) == ExitCode.PERMANENT_FAILURE
    line = capsys.readouterr().out
    assert "JOB_ID is missing" in json.loads(line)["message"]
    assert "hunter2" not in line


def test_a_worker_that_is_about_no_object_needs_none_named() -> None:
    environment = WorkerEnvironment.from_env(
        {name: value for name, value in VARIABLES.items() if name not in {"VIDEO_ID", "S3_KEY"}}, results="recordings"
    )
    assert (environment.video_id, environment.key) == ("", "")
    assert environment.results_prefix == "recordings/video-1/"


# ---- the run's id on ECS

TASK = "arn:aws:ecs:eu-west-1:123456789012:task/cluster/0123456789abcdef"
ON_ECS = {name: value for name, value in VARIABLES.items() if name != "AWS_BATCH_JOB_ID"}


@pytest.fixture
def metadata(monkeypatch: pytest.MonkeyPatch) -> Iterator["tuple[str, list[tuple[int, bytes]]]"]:
    """Runs ECS's metadata endpoint and yields its address, and its answers in order."""
    answers: list[tuple[int, bytes]] = []
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # which knows nothing of link-local addresses

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, body = answers.pop(0) if self.path == "/v4/abc/task" else (404, b"")
            self.send_response(code)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v4/abc", answers
        server.shutdown()
        thread.join()


def test_on_ecs_the_run_is_the_task(metadata: tuple[str, list[tuple[int, bytes]]]) -> None:
    uri, answers = metadata
    answers += [(500, b"not yet"), (200, b"[]"), (200, json.dumps({"TaskARN": TASK, "Family": "x"}).encode())]
    environment = WorkerEnvironment.from_env({**ON_ECS, "ECS_CONTAINER_METADATA_URI_V4": uri})
    assert environment.run_id == TASK
    assert environment.attempt == 1


def test_on_batch_the_metadata_of_the_task_underneath_is_not_asked() -> None:
    environment = WorkerEnvironment.from_env({**VARIABLES, "ECS_CONTAINER_METADATA_URI_V4": "http://127.0.0.1:9"})
    assert environment.run_id == "batch-1"


def test_a_task_that_cannot_learn_its_id_leaves_the_record_alone(
    metadata: tuple[str, list[tuple[int, bytes]]],
) -> None:
    uri, answers = metadata
    answers += [(500, b"")] * METADATA_ATTEMPTS
    put()
    variables = {**ON_ECS, "ECS_CONTAINER_METADATA_URI_V4": uri}
    code = run(raising(AssertionError("worked")), variables=variables, dynamodb=table(), s3=bucket())
    assert code == ExitCode.TRY_AGAIN
    assert item() == {"jobId": "video-1", "status": "SUBMITTED", "fence": 3}
    assert answers == []


@cases("uri", ["", "file:///etc/passwd"])
def test_without_an_id_of_either_target_the_environment_is_bad(uri: str) -> None:
    with pytest.raises(BadEnvironment, match="ECS_CONTAINER_METADATA_URI_V4"):
        WorkerEnvironment.from_env({**ON_ECS, "ECS_CONTAINER_METADATA_URI_V4": uri})


# ---- the fence check


def test_success_records_result_files_and_progress_but_no_terminal_status() -> None:
    put(error={"code": "OLD", "message": "of an earlier attempt"})
    assert attempt(succeed) == ExitCode.SUCCESS
    job = item()
    assert job["status"] == "RUNNING"
    assert job["runId"] == "batch-1"
    assert job["startedAt"] <= job["heartbeatAt"] == job["updatedAt"]
    assert job["progress"] == {"percent": 100, "message": "done"}
    assert job["result"] == {
        "prefix": "results/video-1/",
        "files": ["summary.json"],
        "runId": "batch-1",
        "duration": pytest.approx(5.25),
    }
    assert "error" not in job


@cases(
    "changed",
    [
        {"fence": 4},
        {"runId": "batch-2"},
        {"status": "CANCELLED"},
        {"status": "COMPLETED"},
        {"status": "WAITING"},
        {"cancelRequestedAt": "2026-11-22T18:36:54.123Z"},
    ],
)
def test_a_run_that_is_not_the_one_leaves_without_a_trace(changed: dict[str, Any]) -> None:
    put(**changed)
    before = item()
    assert attempt(raising(AssertionError("worked"))) == ExitCode.SUPERSEDED
    assert item() == before


def test_a_job_that_is_gone_does_not_come_back() -> None:
    assert attempt(succeed) == ExitCode.SUPERSEDED
    assert item() == {}


def test_of_a_doubled_submission_with_one_fence_one_run_works() -> None:
    put()
    worked: list[str] = []

    def main(job: WorkerJob) -> Mapping[str, Any]:
        worked.append(job.environment.run_id)
        return {}

    codes = [attempt(main, AWS_BATCH_JOB_ID=name) for name in ("batch-1", "batch-2")]
    assert codes == [ExitCode.SUCCESS, ExitCode.SUPERSEDED]
    assert worked == ["batch-1"]


def test_a_retried_attempt_passes_the_check_again_and_keeps_the_start() -> None:
    put(status="CLAIMED")
    assert attempt(raising(TryAgain("BUSY", "not now"))) == ExitCode.TRY_AGAIN
    first = item()
    assert first["error"] == {"code": "BUSY", "message": "not now"}
    assert attempt(succeed, AWS_BATCH_JOB_ATTEMPT="2") == ExitCode.SUCCESS
    assert item()["startedAt"] == first["startedAt"]
    assert "error" not in item()


def test_an_attempt_after_a_recorded_result_does_not_work_again() -> None:
    """The process died between its last write and its exit code."""
    put()
    attempt(succeed)
    before = item()["result"]
    assert attempt(raising(AssertionError("worked"))) == ExitCode.SUCCESS
    assert item()["result"] == before


def test_the_result_of_an_earlier_run_does_not_count_as_this_ones() -> None:
    put(result={"runId": "batch-0"})
    assert attempt(succeed) == ExitCode.SUCCESS
    assert item()["result"]["runId"] == "batch-1"


def test_a_partial_result_of_an_earlier_attempt_is_not_the_end() -> None:
    """Batch retries a stopped attempt."""
    put(result={"runId": "batch-1", "partial": True})
    assert attempt(succeed) == ExitCode.SUCCESS
    assert "partial" not in item()["result"]


def test_the_input_comes_with_the_check() -> None:
    given = {"url": "https://example.com/live.m3u8", "number": 0.1}
    put(request=json.dumps({"job_id": "video-1", "input": given}))
    seen: list[Mapping[str, Any]] = []

    def main(job: WorkerJob) -> Mapping[str, Any]:
        seen.append(job.input)
        return {}

    assert attempt(main) == ExitCode.SUCCESS
    assert seen == [given]


# ---- failures


def test_permanent_failure_records_a_clear_error() -> None:
    put()
    error = PermanentFailure("NOT_A_VIDEO", "line one\n\x00line two " + "x" * 2000)
    assert attempt(raising(error)) == ExitCode.PERMANENT_FAILURE
    assert item()["error"]["code"] == "NOT_A_VIDEO"
    assert item()["error"]["message"].startswith("line one line two x")
    assert len(item()["error"]["message"]) == ERROR_LIMIT
    assert item()["status"] == "RUNNING"


def test_a_crash_tells_the_table_only_its_type_and_the_log_everything(capsys: pytest.CaptureFixture[str]) -> None:
    put()
    assert attempt(raising(KeyError("token=hunter2"))) == CRASHED
    assert item()["error"]["code"] == "CRASHED"
    assert "KeyError" in item()["error"]["message"]
    assert "hunter2" not in str(item())
    assert any("Traceback" in json.loads(line).get("exception", "") for line in capsys.readouterr().out.splitlines())


def test_an_aws_error_let_through_by_main_is_tried_again() -> None:
    put()
    assert attempt(raising(refusal("SlowDown", 503))) == ExitCode.TRY_AGAIN
    assert "SlowDown" in item()["error"]["message"]


# ---- faults of DynamoDB. Calls of a short run: 1 the fence check, 2 before the first upload, 3 the result


@cases("call", [1, 2, 3])
@cases("after", [False, True], ids=["refused", "timed out after it took effect"])
def test_a_fault_at_any_write_costs_one_attempt_and_no_more(call: int, *, after: bool) -> None:
    put()
    fault = ReadTimeoutError(endpoint_url="https://dynamodb") if after else refusal("ThrottlingException")
    faulty = Faulty({call: fault}, after=after)
    assert attempt(succeed, dynamodb=faulty) == ExitCode.TRY_AGAIN
    assert attempt(succeed) == ExitCode.SUCCESS
    assert item()["result"]["files"] == ["summary.json"]
    assert "error" not in item()


@cases("call", [1, 2, 3])
def test_an_answer_that_was_cut_off_costs_nothing_but_a_second_call(call: int) -> None:
    put()
    assert attempt(succeed, dynamodb=CutOff({call})) == ExitCode.SUCCESS
    assert item()["result"]["files"] == ["summary.json"]


def test_answers_that_are_always_cut_off_cost_the_attempt_and_no_more() -> None:
    put()
    assert attempt(succeed, dynamodb=CutOff(set(range(100)))) == ExitCode.TRY_AGAIN


def test_a_permanent_failure_stays_one_when_its_reason_cannot_be_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    put()
    faulty = Faulty({2: refusal("ThrottlingException")})
    code = attempt(raising(PermanentFailure("BROKEN", "the reason")), dynamodb=faulty)
    assert code == ExitCode.PERMANENT_FAILURE
    assert "the reason" in capsys.readouterr().out


def test_superseded_at_the_last_write_leaves_the_new_claim_alone() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        put(fence=4)
        return {}

    assert attempt(main) == ExitCode.SUPERSEDED
    assert item() == {"jobId": "video-1", "status": "SUBMITTED", "fence": 4}


def test_a_superseded_run_uploads_nothing() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        put(fence=4)
        return succeed(job)

    assert attempt(main) == ExitCode.SUPERSEDED
    assert "Contents" not in bucket().list_objects_v2(Bucket="media")


# ---- heartbeat


@pytest.mark.usefixtures("fast")
def test_heartbeat_carries_the_newest_progress() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        job.progress(41.7, "decoding")
        until(lambda: item().get("progress") == {"percent": 41, "message": "decoding"})
        seen = item()["heartbeatAt"]
        until(lambda: item()["heartbeatAt"] > seen)
        job.progress(900, "too much")
        until(lambda: item()["progress"]["percent"] == 100)
        return {}

    assert attempt(main) == ExitCode.SUCCESS


def test_progress_is_written_only_every_so_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heartbeat, "SHORTEST_GAP", 0.05)
    put()
    counting = Faulty({})

    def main(job: WorkerJob) -> Mapping[str, Any]:
        started = time.monotonic()
        for number in range(5000):
            job.progress(number / 50, "decoding")
        until(lambda: time.monotonic() > started + 0.2)
        return {"allowed": (time.monotonic() - started) / 0.05}

    assert attempt(main, dynamodb=counting) == ExitCode.SUCCESS
    assert counting.calls <= 2 + item()["result"]["allowed"]


@pytest.mark.parametrize(("age", "seconds"), [(0, 2), (4, 2), (10, 5), (60, 30), (120, 60), (14_400, 60)])
def test_an_older_run_writes_less_often(age: float, seconds: float) -> None:
    assert heartbeat.gap(age) == seconds


@pytest.mark.usefixtures("fast")
def test_a_throttled_heartbeat_does_not_kill_the_job() -> None:
    put()
    faulty = Faulty({2: refusal("ThrottlingException"), 3: ReadTimeoutError(endpoint_url="https://dynamodb")})

    def main(job: WorkerJob) -> Mapping[str, Any]:
        until(lambda: faulty.calls >= 5)
        return {}

    assert attempt(main, dynamodb=faulty) == ExitCode.SUCCESS


@pytest.mark.usefixtures("fast")
def test_a_run_superseded_in_the_middle_stops_at_its_next_checkpoint() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        put(fence=4)
        checkpoints_until_told(job)
        return {}

    assert attempt(main) == ExitCode.SUPERSEDED
    assert "heartbeatAt" not in item()


@pytest.mark.usefixtures("fast")
def test_progress_may_carry_further_numbers() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        job.progress(2, "recording", bytes=73400320, seconds=281)
        written = {"percent": 2, "message": "recording", "bytes": 73400320, "seconds": 281}
        until(lambda: item().get("progress") == written)
        return {}

    assert attempt(main) == ExitCode.SUCCESS


@pytest.mark.usefixtures("fast")
def test_a_run_whose_cancel_was_asked_for_stops_also_without_a_signal() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        put(status="RUNNING", runId="batch-1", cancelRequestedAt="2026-11-22T18:36:54.123Z")
        checkpoints_until_told(job)
        return {}

    assert attempt(main) == ExitCode.TRY_AGAIN
    assert "error" not in item()


@pytest.mark.usefixtures("fast")
def test_no_beat_follows_the_last_write() -> None:
    put()
    attempt(succeed)
    assert not [thread for thread in threading.enumerate() if thread.name == "heartbeat"]


# ---- SIGTERM


@cases("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_ends_the_run_at_a_checkpoint_and_keeps_its_progress(number: signal.Signals) -> None:
    put()
    before = signal.getsignal(number)

    def main(job: WorkerJob) -> Mapping[str, Any]:
        job.progress(40, "decoding")
        os.kill(os.getpid(), number)
        os.kill(os.getpid(), number)  # a second one changes nothing
        checkpoints_until_told(job)
        return {}

    assert attempt(main) == ExitCode.TRY_AGAIN
    assert item()["progress"] == {"percent": 40, "message": "decoding"}
    assert "error" not in item()
    assert "result" not in item()
    assert signal.getsignal(number) is before


def test_a_stop_signal_after_the_work_is_done_does_not_throw_it_away() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    assert attempt(main) == ExitCode.SUCCESS
    assert "result" in item()


def test_a_stopped_run_records_what_it_leaves_behind() -> None:
    put()

    def main(job: WorkerJob) -> Mapping[str, Any]:
        job.save("first.ts", b"an hour")
        os.kill(os.getpid(), signal.SIGTERM)
        try:
            job.progress(40, "recording")
        except Stopped:
            job.keep({"seconds": 3600})
            raise
        return {}

    assert attempt(main) == ExitCode.TRY_AGAIN
    assert item()["result"] == {
        "seconds": 3600,
        "partial": True,
        "prefix": "results/video-1/",
        "files": ["first.ts"],
        "runId": "batch-1",
    }
    assert item()["progress"] == {"percent": 40, "message": "recording"}
    assert "error" not in item()


# ---- results and logs


def test_results_get_their_content_types_and_plain_names(tmp_path: Path) -> None:
    put()
    picture = tmp_path / "scene.jpg"
    picture.write_bytes(b"jpeg")

    def main(job: WorkerJob) -> Mapping[str, Any]:
        job.save("scenes/0001.jpg", picture)
        job.save("summary.md", b"# hello")
        job.save("summary.md", b"# hello again")
        for bad in ("../x", "/x", "a//b", "", "a b", ".hidden", "x/"):
            with pytest.raises(ValueError, match="plain file name"):
                job.save(bad, b"")
        return {}

    assert attempt(main) == ExitCode.SUCCESS
    assert item()["result"]["files"] == ["scenes/0001.jpg", "summary.md"]
    assert bucket().get_object(Bucket="media", Key="results/video-1/scenes/0001.jpg")["ContentType"] == "image/jpeg"
    summary = bucket().get_object(Bucket="media", Key="results/video-1/summary.md")
    assert summary["ContentType"] == "text/markdown; charset=utf-8"
    assert summary["Body"].read() == b"# hello again"


# ---- owned results

OWNED = "recordings/ada/video-1/"
CREATED = "2026-11-22T18:36:54.123Z"


def record(job: WorkerJob) -> Mapping[str, Any]:
    job.save("evening.ts", job.environment.owner.encode())
    return {}


def recorded(fence: str = "3", created: str = CREATED, owner: str = "ada") -> int:
    """Runs one attempt that records, of a job with this record."""
    put(fence=int(fence), createdAt=created)
    variables = {**VARIABLES, "FENCE": fence, "OWNER": owner}
    return run(record, variables=variables, dynamodb=table(), s3=bucket(), results="recordings", owned=True)


def kept(prefix: str = OWNED) -> bytes:
    return bucket().get_object(Bucket="media", Key=f"{prefix}evening.ts")["Body"].read()


@cases(
    ("owner", "prefix"),
    [
        ("ada", OWNED),
        ("", "recordings/video-1/"),
        ("2026", "recordings/video-1/"),
        ("../bob", "recordings/video-1/"),
        ("a/b", "recordings/video-1/"),
        ("Jörg", "recordings/video-1/"),
        ("ada@example.com", "recordings/video-1/"),
    ],
)
def test_owned_results_lie_under_their_owner(owner: str, prefix: str) -> None:
    variables = {**VARIABLES, "OWNER": owner}
    environment = WorkerEnvironment.from_env(variables, results="recordings", owned=True)
    assert environment.results_prefix == prefix
    assert WorkerEnvironment.from_env(variables).results_prefix == "results/video-1/"


@given(st.text("Az09_.:-/@ü\n", max_size=130))
def test_an_owner_is_what_a_key_can_name(text: str) -> None:
    owner = WorkerEnvironment.from_env({**VARIABLES, "OWNER": text}).owner
    assert owner == (text if keys.is_owner(text) else "")


def test_the_first_run_claims_the_prefix_and_every_file_names_its_owner() -> None:
    assert recorded() == ExitCode.SUCCESS
    claim = bucket().get_object(Bucket="media", Key=OWNED + keys.CLAIM)["Body"].read()
    assert json.loads(claim) == {"owner": "ada", "jobId": "video-1", "createdAt": CREATED}
    assert bucket().head_object(Bucket="media", Key=f"{OWNED}evening.ts")["Metadata"] == {
        "owner": "ada",
        "job-id": "video-1",
    }
    assert keys.recording_owner("recordings/", f"{OWNED}evening.ts") == "ada"


def test_a_later_run_of_the_same_job_goes_on() -> None:
    recorded()
    assert recorded(fence="4") == ExitCode.SUCCESS


@cases("owner", ["ada", ""])
def test_a_job_that_takes_the_id_once_the_record_has_expired_overwrites_nothing(owner: str) -> None:
    prefix = OWNED if owner else "recordings/video-1/"
    assert recorded(owner=owner) == ExitCode.SUCCESS
    bucket().put_object(Bucket="media", Key=f"{prefix}evening.ts", Body=b"the first")
    for fence in ("1", "2", "9"):  # no fence helps
        assert recorded(fence, "2027-01-01T00:00:00.000Z", owner) == ExitCode.PERMANENT_FAILURE
        assert item()["error"]["code"] == "PREFIX_TAKEN"
    assert kept(prefix) == b"the first"


@cases("body", [b"", b"[]", b"{}", b"\xff"])
def test_a_claim_that_can_t_be_read_is_another_s(body: bytes) -> None:
    bucket().put_object(Bucket="media", Key=OWNED + keys.CLAIM, Body=body)
    assert recorded() == ExitCode.PERMANENT_FAILURE


def test_two_owners_jobs_of_one_name_have_a_prefix_each() -> None:
    assert recorded(owner="ada") == recorded(owner="bob") == ExitCode.SUCCESS
    assert (kept(), kept("recordings/bob/video-1/")) == (b"ada", b"bob")


@cases(("conflicts", "code"), [(1, ExitCode.SUCCESS), (2, ExitCode.SUCCESS), (3, ExitCode.TRY_AGAIN)])
def test_a_claim_that_somebody_else_writes_at_this_moment_is_tried_again(conflicts: int, code: ExitCode) -> None:
    class Contended:
        def __init__(self) -> None:
            self.left = conflicts

        def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - any method
            return getattr(bucket(), name)

        def put_object(self, **call: Any) -> Any:  # noqa: ANN401 - as boto3
            if self.left:
                self.left -= 1
                raise ClientError({"Error": {"Code": "ConditionalRequestConflict"}}, "PutObject")
            return bucket().put_object(**call)

    put(createdAt=CREATED)
    s3: Any = Contended()
    variables = {**VARIABLES, "OWNER": "ada"}
    assert run(record, variables=variables, dynamodb=table(), s3=s3, results="recordings", owned=True) == code


@cases(
    ("name", "expected"),
    [("a.JSON", "application/json"), ("a.mp4", "video/mp4"), ("a.png", "image/png"), ("a", "application/octet-stream")],
)
def test_content_types(name: str, expected: str) -> None:
    assert content_type(name) == expected


def test_logs_are_json_lines_with_the_job_and_without_a_status(capsys: pytest.CaptureFixture[str]) -> None:
    put()
    attempt(raising(PermanentFailure("NOT_A_VIDEO", "näh")), AWS_SESSION_TOKEN="hunter2")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["message"] for line in lines] == ["started", "NOT_A_VIDEO: näh", "exit"]
    assert all(line["jobId"] == "video-1" and line["fence"] == 3 for line in lines)
    assert lines[-1]["exitCode"] == 65
    assert not any("status" in line for line in lines)
    assert "hunter2" not in str(lines)


def test_the_library_needs_nothing_but_boto3() -> None:
    """A worker's image has neither Powertools nor the rest of the layer."""
    imported = re.findall(r"^ *(?:import|from) ([a-z0-9_]+)", SOURCE, re.MULTILINE)
    libraries = set(imported) - sys.stdlib_module_names
    assert {name for name in libraries if not name.startswith("mypy_boto3_")} == {
        "boto3", "botocore", "switchyard_worker",
    }  # fmt: skip


def test_clients_of_its_own_give_up_within_the_stop_timeout() -> None:
    config = client("dynamodb").meta.config
    assert config.retries["mode"] == "standard"
    assert config.connect_timeout + config.read_timeout < 30


def test_the_written_contract_says_what_the_code_does() -> None:
    contract = (Path(__file__).resolve().parents[3] / "workers" / "CONTRACT.md").read_text(encoding="utf-8")
    words = " ".join(contract.split())
    for written in (
        "fence = :fence AND (attribute_not_exists(runId) OR runId = :runId) AND #status IN",
        "#status IN (:claimed, :submitted, :running) AND attribute_not_exists(cancelRequestedAt)",
        "SET runId = :runId, targetId = :runId, #status = :running, startedAt = if_not_exists(startedAt, :now),",
        "SET #progress = :progress, heartbeatAt = :now, updatedAt = :now",
        "SET #result = :result, #progress = :progress, heartbeatAt = :now, updatedAt = :now REMOVE #error",
        "SET #error = :error, heartbeatAt = :now, updatedAt = :now",
    ):
        assert written in words
        # In the source a long string is written in pieces.
        assert written in " ".join(re.sub(r'"\s*\n\s*"', "", SOURCE).split())
    assert {f"| {code.value} |" for code in ExitCode} <= set(re.findall(r"\| \d+ \|", contract))
    for name in re.findall(r'required\("(\w+)"|given\.get\("(\w+)"', SOURCE):
        assert f"`{name[0] or name[1]}`" in contract


# ---- work that lets nothing else have its turn

ALONE = """
import re, sys, time
import switchyard_worker as worker
from switchyard_worker import heartbeat

class Table:
    def update_item(self, **_):
        return {"Attributes": {}}

heartbeat.SHORTEST_GAP, heartbeat.HANG_SECONDS = 0.1, 1
variables = {"JOB_ID": "1", "FENCE": "1", "JOBS_TABLE": "jobs", "S3_BUCKET": "media", "AWS_BATCH_JOB_ID": "run-1"}
work = {"stuck": lambda: re.match("(a+)+$", "a" * 64 + "b"), "long": lambda: time.sleep(2), "short": lambda: None}
code = worker.run(lambda _: work[sys.argv[1]]() or {}, variables=variables, dynamodb=Table(), s3=Table())
time.sleep(2)
sys.exit(code)
"""


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("kind", "code"),
    [("stuck", CRASHED), ("long", ExitCode.SUCCESS), ("short", ExitCode.SUCCESS)],
    ids=["stuck", "at work for longer than that", "done with its work"],
)
def test_only_a_worker_that_nothing_can_stop_ends_itself(kind: str, code: int) -> None:
    """A regular expression or a C library may block the interpreter, and with it heartbeat, SIGTERM and time limits."""
    command = [sys.executable, "-c", ALONE, kind]
    ended = subprocess.run(
        command, env={"PYTHONPATH": str(LIBRARY.parent)}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == code, ended.stderr
    assert ended.stderr.startswith("Timeout") is (code == CRASHED)


# ---- programs that a worker doesn't ship

REFUSED = """
import ctypes.util, os, platform, subprocess, sys
from switchyard_worker import refuse_programs

refuse_programs()
def tries():
    yield lambda: subprocess.run(["noisy"])
    yield lambda: subprocess.run(["noisy"], close_fds=False)  # by posix_spawn
    yield lambda: os.system("noisy")
    yield lambda: os.execvp("noisy", ["noisy"])
    yield lambda: os.posix_spawnp("noisy", ["noisy"], os.environ)
    yield lambda: os.popen("noisy")
for start in tries():
    try:
        start()
    except FileNotFoundError:
        continue
    sys.exit("a program was started")
ctypes.util.find_library("gmp"), platform.architecture()  # by ldconfig and file, and they can do without
"""


def test_a_worker_that_refuses_programs_starts_none(tmp_path: Path) -> None:
    noisy = tmp_path / "noisy"
    noisy.write_text("#!/bin/sh\necho noise\n")
    noisy.chmod(0o755)
    environment = {"PYTHONPATH": str(LIBRARY.parent), "PATH": f"{tmp_path}:{os.defpath}"}
    command = [sys.executable, "-c", REFUSED]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
