"""AWS Batch as a target: the requests, and the meaning of its answers and job descriptions."""

import json
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from switchyard import clients, clock
from switchyard.errors import OutcomeUnknown, StartFailed, StartRefused, StartThrottled, SwitchyardError, Unavailable
from switchyard.names import legal_tag
from switchyard.protocol.jobs import Job, JobError, Status
from switchyard.targets.batch import BatchTarget, job_name, run_of
from tests.cases import cases
from tests.fakes.endpoint import Answer, Endpoint, Reply, serving
from tests.requests import SENT_AT, request, source

ACCEPTED = Reply(body={"jobId": "b1", "jobName": "video-process-a"})


def run_id(number: int) -> str:
    """Returns an id as Batch gives them."""
    return f"{number:08x}-0a82-49aa-ba5a-4727fcce14a8"


B1, B2, B3 = map(run_id, (1, 2, 3))
EVENTS = Path(__file__).parents[3] / "events" / "track_job"
PULL = "CannotPullContainerError: pull image manifest has been retried 7 time(s)"


def job(job_id: str = "a", fence: int = 3, **changes: Any) -> Job:  # noqa: ANN401 - a request's fields
    return Job(replace(request(job_id), **changes), Status.CLAIMED, fence=fence, created_at=SENT_AT)


@pytest.fixture(autouse=True)
def new_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Creates the layer's own clients with shorter waits."""
    monkeypatch.setattr(clients, "_ONCE", clients._ONCE.merge(Config(read_timeout=0.2)))
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    clients.batch.cache_clear()
    clients.batch_submit.cache_clear()
    yield
    clients.batch.cache_clear()
    clients.batch_submit.cache_clear()


@pytest.fixture
def batch(monkeypatch: pytest.MonkeyPatch) -> Callable[[Endpoint], BatchTarget]:
    """Creates the target with clients for an endpoint."""

    def at(endpoint: Endpoint) -> BatchTarget:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", endpoint.url)
        return BatchTarget(
            clients.batch(), clients.batch_submit(), jobs_table="jobs", environment="dev", grace_seconds=120
        )

    return at


type At = Callable[[Endpoint], BatchTarget]


# ---- start: what is sent --------------------------------------------------------------------------------------------


def submitted(batch: At, wanted: Job) -> dict[str, Any]:
    """Returns the body of the SubmitJob call for a job."""
    with serving(ACCEPTED) as endpoint:
        batch(endpoint).start(wanted)
    ((path, body),) = endpoint.asked
    assert path == "/v1/submitjob"
    return body


def test_a_start_gives_batchs_own_id(batch: At) -> None:
    with serving(ACCEPTED) as endpoint:
        assert batch(endpoint).start(job()) == "b1"


def test_a_start_goes_to_the_queue_and_definition_of_the_request(batch: At) -> None:
    body = submitted(batch, job())
    assert (body["jobQueue"], body["jobDefinition"]) == ("queue", "definition")


def test_a_worker_is_given_all_that_the_contract_promises(batch: At) -> None:
    environment = submitted(batch, job())["containerOverrides"]["environment"]
    assert {pair["name"]: pair["value"] for pair in environment} == {
        "JOB_ID": "a",
        "FENCE": "3",
        "JOBS_TABLE": "jobs",
        "KIND": "video-analysis",
        "LANE": "video",
        "VIDEO_ID": "a",
        "S3_BUCKET": "media",
        "S3_KEY": "uploads/a.mp4",
        "SQS_MESSAGE_ID": "m1",
    }


def test_a_worker_is_given_the_version_where_there_is_one(batch: At) -> None:
    versioned = job(source=replace(source(), version_id="V1"))
    environment = submitted(batch, versioned)["containerOverrides"]["environment"]
    assert {"name": "S3_VERSION_ID", "value": "V1"} in environment


def test_a_worker_is_given_the_key_as_it_is_and_the_tag_a_legal_one(batch: At) -> None:
    key = 'uploads/it\'s "100%" + 🎬.mp4'
    body = submitted(batch, job(source=source(key=key)))
    environment = {pair["name"]: pair["value"] for pair in body["containerOverrides"]["environment"]}
    assert environment["S3_KEY"] == key
    assert body["tags"]["VideoKey"].startswith("uploads/it_s _100__ + _.mp4_")


def test_a_worker_is_given_the_stages_that_were_chosen(batch: At) -> None:
    body = submitted(batch, job(input={"stages": ["scenes", "speech"]}))
    assert {"name": "STAGES", "value": "scenes,speech"} in body["containerOverrides"]["environment"]


def test_a_worker_is_given_no_stages_if_none_were_chosen(batch: At) -> None:
    body = submitted(batch, job())
    assert "STAGES" not in {each["name"] for each in body["containerOverrides"]["environment"]}


def test_a_run_can_be_found_by_its_tags(batch: At) -> None:
    body = submitted(batch, job())
    assert body["propagateTags"]
    assert body["tags"] == {
        "JobId": "a",
        "VideoId": "a",
        "VideoKey": "uploads/a.mp4",
        "Environment": "dev",
        "SubmittedAt": clock.iso(SENT_AT),
    }
    assert legal_tag(clock.iso(SENT_AT)) == clock.iso(SENT_AT)


def test_a_run_is_named_after_its_video() -> None:
    assert job_name(job("a", video_id="lecture-4")) == "video-process-lecture-4"


def test_a_run_of_a_video_with_any_name_has_a_legal_one() -> None:
    assert job_name(job("a", video_id="lecture 4 🎬")).startswith("video-process-lecture-4-")


# ---- start: what the answers mean -----------------------------------------------------------------------------------


def error(status: int, code: str) -> Reply:
    return Reply(status, {"message": "because"}, {"x-amzn-ErrorType": code})


ANSWERS: list[tuple[Answer, type[SwitchyardError]]] = [
    (error(429, "TooManyRequestsException"), StartThrottled),
    (error(400, "ThrottlingException"), StartThrottled),
    (error(503, "ThrottlingException"), StartThrottled),
    (error(400, "ClientException"), StartRefused),
    (error(403, "AccessDeniedException"), StartRefused),
    (error(403, "ExpiredTokenException"), StartRefused),
    (error(404, "NotFoundException"), StartRefused),
    (error(500, "ServerException"), OutcomeUnknown),
    (error(502, "BadGateway"), OutcomeUnknown),
    (error(503, "ServiceUnavailable"), OutcomeUnknown),
    (error(504, "GatewayTimeout"), OutcomeUnknown),
    (replace(ACCEPTED, cut=True), OutcomeUnknown),
    ("never", OutcomeUnknown),
    ("reset", OutcomeUnknown),
]
every_answer = pytest.mark.parametrize(
    ("answer", "verdict"),
    ANSWERS,
    ids=[
        f"{answer.status} {answer.headers.get('x-amzn-ErrorType', 'cut')}" if isinstance(answer, Reply) else answer
        for answer, _ in ANSWERS
    ],
)


@every_answer
def test_every_answer_has_its_verdict(answer: Answer, verdict: type[SwitchyardError], batch: At) -> None:
    with serving(answer) as endpoint, pytest.raises(verdict):
        batch(endpoint).start(job())


@every_answer
def test_submitjob_is_sent_once_whatever_the_answer(answer: Answer, verdict: type[SwitchyardError], batch: At) -> None:
    with serving(answer) as endpoint, pytest.raises(SwitchyardError):
        batch(endpoint).start(job())
    assert len(endpoint.asked) == 1


def test_an_unknown_outcome_is_looked_at_again_after_the_grace_period(batch: At) -> None:
    with serving("never") as endpoint, pytest.raises(OutcomeUnknown) as unknown:
        batch(endpoint).start(job())
    assert unknown.value.retry_after == 120


def test_a_refusal_says_what_batch_said(batch: At) -> None:
    with serving(error(400, "ClientException")) as endpoint, pytest.raises(StartRefused, match="because"):
        batch(endpoint).start(job())


def test_where_nobody_listens_nothing_was_sent(batch: At) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(StartThrottled, match="never sent"):
            batch(Endpoint(url=url)).start(job())


def test_what_the_sdk_itself_refuses_is_refused(batch: At) -> None:
    with serving(ACCEPTED) as endpoint, pytest.raises(StartRefused):
        batch(endpoint).start(job(kind=7))


class Raising:
    """A Batch client whose calls all fail before or during sending."""

    def __init__(self, failure: Exception) -> None:
        self._failure = failure

    def submit_job(self, **_: object) -> None:
        raise self._failure


@cases(
    ("failure", "verdict"),
    [
        (ConnectTimeoutError(endpoint_url="url"), StartThrottled),
        (EndpointConnectionError(endpoint_url="url"), StartThrottled),
        (ProxyConnectionError(proxy_url="url"), StartThrottled),
        (NoCredentialsError(), StartThrottled),
        (ReadTimeoutError(endpoint_url="url"), OutcomeUnknown),
        (ConnectionClosedError(endpoint_url="url"), OutcomeUnknown),
        (SSLError(endpoint_url="url", error=OSError()), OutcomeUnknown),
        (HTTPClientError(error="?"), OutcomeUnknown),
        (BotoCoreError(), OutcomeUnknown),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_only_what_was_certainly_never_sent_may_be_undone(failure: Exception, verdict: type[SwitchyardError]) -> None:
    client = cast("Any", Raising(failure))
    with pytest.raises(verdict):
        BatchTarget(client, client, jobs_table="jobs", environment="dev", grace_seconds=120).start(job())


def test_a_throttle_and_a_refusal_are_both_certain() -> None:
    assert issubclass(StartThrottled, StartFailed)
    assert issubclass(StartRefused, StartFailed)


# ---- find -----------------------------------------------------------------------------------------------------------


def described(target_id: str, job_id: str = "a", fence: int = 3, state: str = "RUNNABLE") -> dict[str, Any]:
    environment = [{"name": "JOB_ID", "value": job_id}, {"name": "FENCE", "value": str(fence)}]
    return {
        "jobId": target_id,
        "jobName": "video-process-a",
        "status": state,
        "container": {"environment": environment},
    }


def listed(*summaries: tuple[str, str], more: str | None = None) -> Reply:
    page: dict[str, Any] = {"jobSummaryList": [{"jobId": each, "jobName": name} for each, name in summaries]}
    return Reply(body=page | ({"nextToken": more} if more else {}))


def test_a_run_of_the_very_claim_is_found(batch: At) -> None:
    with serving(listed((B1, "video-process-a")), Reply(body={"jobs": [described(B1)]})) as endpoint:
        assert batch(endpoint).find(job()) == B1


@pytest.mark.parametrize("other", [described(B1, fence=2), described(B1, job_id="other"), {"jobId": B1}])
def test_a_run_of_another_claim_or_job_is_not(other: Mapping[str, Any], batch: At) -> None:
    with serving(listed((B1, "video-process-a")), Reply(body={"jobs": [other]})) as endpoint:
        assert batch(endpoint).find(job()) is None


def test_a_run_of_an_older_claim_does_not_hide_the_one_that_counts(batch: At) -> None:
    page = listed((B1, "video-process-a"), (B2, "video-process-a"))
    with serving(page, Reply(body={"jobs": [described(B1, fence=2), described(B2)]})) as endpoint:
        assert batch(endpoint).find(job()) == B2


@pytest.mark.parametrize("state", ["SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED"])
def test_a_run_is_found_whatever_has_become_of_it(state: str, batch: At) -> None:
    answer = Reply(body={"jobs": [described(B1, state=state)]})
    with serving(listed((B1, "video-process-a")), answer) as endpoint:
        assert batch(endpoint).find(job()) == B1


def test_where_batch_lists_nothing_nothing_is_found(batch: At) -> None:
    with serving(listed()) as endpoint:
        assert batch(endpoint).find(job()) is None


def test_only_runs_of_exactly_that_name_are_described(batch: At) -> None:
    page = listed((B1, "VIDEO-process-a"), (B2, "video-process-a"), (B3, "video-process-ab"))
    with serving(page, Reply(body={"jobs": []})) as endpoint:
        batch(endpoint).find(job())
    assert endpoint.asked[1][1] == {"jobs": [B2]}


def test_every_page_is_read(batch: At) -> None:
    pages = [listed((B1, "other"), more="next"), listed(more="last"), listed((B2, "video-process-a"))]
    with serving(*pages, Reply(body={"jobs": [described(B2)]})) as endpoint:
        assert batch(endpoint).find(job()) == B2


def test_batch_is_asked_by_name_on_the_queue_that_the_request_froze(batch: At) -> None:
    with serving(listed()) as endpoint:
        batch(endpoint).find(job())
    path, body = endpoint.asked[0]
    assert path == "/v1/listjobs"
    assert (body["jobQueue"], body["filters"]) == ("queue", [{"name": "JOB_NAME", "values": ["video-process-a"]}])


# ---- describe -------------------------------------------------------------------------------------------------------


def test_runs_are_described_a_hundred_at_a_time(batch: At) -> None:
    with serving(Reply(body={"jobs": []})) as endpoint:
        list(batch(endpoint).describe(run_id(number) for number in range(250)))
    assert [len(body["jobs"]) for _, body in endpoint.asked] == [100, 100, 50]


HOSTILE = [
    "",
    "b1",
    "12345",
    "a" * 10_240,
    f"arn:aws:batch:us-east-1:123456789012:job/{B1}",
    f"{B1}:0",
    f"{B1}#1",
    f" {B1}",
    f"{B1}\n",
    B1.upper().replace("0", "A"),
    "../job-queue/queue",
]
"""What other programs may write for a job's id. Batch refuses a whole call for one that isn't."""


@pytest.mark.parametrize("target_id", HOSTILE)
def test_what_is_no_id_of_a_job_is_unknown_and_does_not_disturb_the_others(target_id: str, batch: At) -> None:
    with serving(Reply(body={"jobs": [described(B1)]})) as endpoint:
        assert [run.target_id for run in batch(endpoint).describe([target_id, B1])] == [B1]
        batch(endpoint).stop(job(), target_id)
    assert [body for _, body in endpoint.asked] == [{"jobs": [B1]}]


def test_a_hundred_that_fail_do_not_take_the_others_along(batch: At) -> None:
    answers = error(403, "AccessDeniedException"), Reply(body={"jobs": [described(B1)]})
    with serving(*answers) as endpoint:
        runs = batch(endpoint).describe(run_id(number) for number in range(200))
        assert next(runs).target_id == B1
        with pytest.raises(Unavailable):
            next(runs)


def test_a_service_in_trouble_is_not_asked_for_ever(batch: At) -> None:
    with serving(error(403, "AccessDeniedException")) as endpoint, pytest.raises(Unavailable):
        list(batch(endpoint).describe(run_id(number) for number in range(1000)))
    assert len(endpoint.asked) == 2


def test_nothing_to_describe_asks_nothing(batch: At) -> None:
    with serving(Reply()) as endpoint:
        assert list(batch(endpoint).describe([])) == []
    assert endpoint.asked == []


def test_what_batch_has_forgotten_is_left_out(batch: At) -> None:
    with serving(Reply(body={"jobs": [described(B2)]})) as endpoint:
        assert [run.target_id for run in batch(endpoint).describe([B1, B2])] == [B2]


# ---- stop -----------------------------------------------------------------------------------------------------------


def test_a_run_is_terminated_whatever_its_state(batch: At) -> None:
    with serving(Reply(body={"jobs": [described(B1)]}), Reply()) as endpoint:
        batch(endpoint).stop(job(), B1)
    _, (path, body) = endpoint.asked
    assert (path, body["jobId"], bool(body["reason"])) == ("/v1/terminatejob", B1, True)


def test_stopping_a_run_that_batch_has_just_forgotten_does_nothing(batch: At) -> None:
    with serving(Reply(body={"jobs": [described(B1)]}), error(400, "ClientException")) as endpoint:
        batch(endpoint).stop(job(), B1)


SOMEBODY_ELSES: list[Any] = [
    pytest.param([described(B1, job_id="other")], id="another job's"),
    pytest.param([described(B1, fence=2)], id="an older claim's"),
    pytest.param([described(B1, fence=4)], id="a newer claim's"),
    pytest.param([{"jobId": B1, "status": "RUNNING", "container": {}}], id="another program's"),
    pytest.param([described(B2)], id="of another id"),
    pytest.param([], id="nobody's"),
]


@pytest.mark.parametrize("jobs", SOMEBODY_ELSES)
def test_a_run_that_is_not_the_job_s_is_not_terminated(
    jobs: list[Any], batch: At, caplog: pytest.LogCaptureFixture
) -> None:
    with serving(Reply(body={"jobs": jobs})) as endpoint:
        batch(endpoint).stop(job(), B1)
    assert [path for path, _ in endpoint.asked] == ["/v1/describejobs"]
    assert "not stopped: not a run of this job" in caplog.messages


@pytest.mark.parametrize("code", ["AccessDeniedException", "ServerException"])
def test_a_stop_that_fails_says_so(code: str, batch: At) -> None:
    answers = Reply(body={"jobs": [described(B1)]}), error(403, code)
    with serving(*answers) as endpoint, pytest.raises(Unavailable, match=code):
        batch(endpoint).stop(job(), B1)


def test_a_look_for_a_run_that_fails_says_so(batch: At) -> None:
    with serving(error(403, "AccessDeniedException")) as endpoint, pytest.raises(Unavailable, match="ListJobs"):
        batch(endpoint).find(job())


def test_a_description_that_fails_says_so(batch: At) -> None:
    with serving(error(403, "AccessDeniedException")) as endpoint, pytest.raises(Unavailable, match="DescribeJobs"):
        list(batch(endpoint).describe([B1]))


# ---- run_of ---------------------------------------------------------------------------------------------------------


def detail(name: str = "running", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Returns the detail of a sample event with changes."""
    (record,) = json.loads((EVENTS / f"{name}.json").read_text())["Records"]
    found: dict[str, Any] = json.loads(record["body"])["detail"]
    return found | changes


def ended(exit_code: int | None = None, reason: str | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns the detail of a failed run."""
    failed = detail("failed_permanent", **changes)
    container = {name: value for name, value in failed["container"].items() if name not in ("exitCode", "reason")}
    outcome = {"exitCode": exit_code, "reason": reason}
    failed["container"] = container | {name: value for name, value in outcome.items() if value is not None}
    return failed


def code(description: Mapping[str, Any]) -> str:
    run = run_of(description)
    assert run is not None
    assert run.error is not None
    return run.error.code


def test_a_run_is_told_by_its_environment() -> None:
    run = run_of(detail())
    assert run is not None
    assert (run.job_id, run.fence, run.target_id) == (
        "6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506",
        1,
        "4c7599ae-0a82-49aa-ba5a-4727fcce14a8",
    )


@cases(
    ("state", "status"),
    [
        ("SUBMITTED", Status.SUBMITTED),
        ("PENDING", Status.SUBMITTED),
        ("RUNNABLE", Status.SUBMITTED),
        ("STARTING", Status.SUBMITTED),
        ("RUNNING", Status.RUNNING),
        ("SUCCEEDED", Status.COMPLETED),
        ("FAILED", Status.FAILED),
    ],
)
def test_every_state_of_batch_is_a_status_of_ours(state: str, status: Status) -> None:
    run = run_of(detail(status=state))
    assert run is not None
    assert run.status is status


def with_environment(**variables: str) -> dict[str, Any]:
    return detail(container={"environment": [{"name": name, "value": value} for name, value in variables.items()]})


@cases(
    "description",
    [
        {},
        detail("not_ours"),
        detail(container=None),
        detail(container={"environment": None}),
        detail(status="DREAMING"),
        detail(status=None),
        with_environment(JOB_ID="a"),
        with_environment(FENCE="1"),
        with_environment(JOB_ID="", FENCE="1"),
        with_environment(JOB_ID="a", FENCE=""),
        with_environment(JOB_ID="a", FENCE="one"),
        with_environment(JOB_ID="a", FENCE="-1"),
        with_environment(JOB_ID="a", FENCE="²"),
        with_environment(JOB_ID="a", FENCE="1" * 5000),
    ],
)
def test_what_is_not_ours_is_none(description: Mapping[str, Any]) -> None:
    assert run_of(description) is None


def test_attempts_are_counted() -> None:
    run = run_of(detail("failed_retries"))
    assert run is not None
    assert run.attempts == 3


def test_a_run_without_attempts_has_none() -> None:
    run = run_of(detail(attempts=None))
    assert run is not None
    assert run.attempts == 0


def test_a_run_says_where_its_log_is() -> None:
    run = run_of(detail(container={**detail()["container"], "logStreamName": "analyze-video/default/0a1b"}))
    assert run is not None
    assert run.log_stream == "analyze-video/default/0a1b"


def test_a_runnable_run_says_since_when_it_waits() -> None:
    run = run_of(detail("runnable"))
    assert run is not None
    assert run.queued_since == clock.EPOCH + timedelta(milliseconds=1795372620000)


@cases("description", [detail(), detail("succeeded"), detail("runnable", createdAt=None)])
def test_any_other_run_does_not_wait(description: Mapping[str, Any]) -> None:
    run = run_of(description)
    assert run is not None
    assert run.queued_since is None


@cases("name", ["runnable", "running", "succeeded"])
def test_a_run_that_has_not_failed_has_no_error(name: str) -> None:
    run = run_of(detail(name))
    assert run is not None
    assert run.error is None


@cases(
    ("description", "expected"),
    [
        (detail("failed_permanent"), "PERMANENT_FAILURE"),
        (detail("failed_retries"), "OUT_OF_MEMORY"),
        (ended(65), "PERMANENT_FAILURE"),
        (ended(75), "RETRIES_EXHAUSTED"),
        (ended(77), "SUPERSEDED"),
        (ended(1), "WORKER_CRASHED"),
        (ended(139, "Segmentation fault"), "WORKER_CRASHED"),
        (ended(137, "OutOfMemoryError: Container killed due to memory usage"), "OUT_OF_MEMORY"),
        (ended(137, statusReason="Job attempt duration exceeded timeout"), "TIMED_OUT"),
        (ended(None, statusReason="Job attempt duration exceeded timeout"), "TIMED_OUT"),
        (ended(None, statusReason="Host EC2 (instance i-0ab12cd34ef56ab78) terminated."), "HOST_LOST"),
        (ended(None, "CannotPullContainerError: pull access denied"), "NOT_STARTED"),
        (ended(None, statusReason="user said so"), "NOT_STARTED"),
        (ended(None, statusReason=None), "NOT_STARTED"),
        (ended(None, statusReason=f"{PULL}: dial tcp: i/o timeout"), "NOT_STARTED"),
    ],
)
def test_every_way_to_fail_has_its_code(description: Mapping[str, Any], expected: str) -> None:
    assert code(description) == expected


@cases(
    ("description", "message"),
    [
        (ended(None, PULL, statusReason="Task failed to start"), f"Task failed to start: {PULL}"),
        (ended(None, PULL, statusReason=PULL), PULL),
        (ended(None, PULL, statusReason="CannotPullContainerError"), PULL),
        (ended(None, PULL, statusReason=None), PULL),
        (
            ended(None, attempts=[{"container": {"reason": PULL}}], statusReason="Task failed to start"),
            f"Task failed to start: {PULL}",
        ),
        (ended(None, statusReason=None, attempts=[]), "Batch ended the job before its container ran"),
    ],
)
def test_a_run_that_never_started_tells_why(description: Mapping[str, Any], message: str) -> None:
    run = run_of(description)
    assert run is not None
    assert run.error == JobError("NOT_STARTED", message)


def test_a_crash_is_told_with_exit_code_and_reason() -> None:
    run = run_of(ended(139, "Segmentation fault"))
    assert run is not None
    assert run.error is not None
    assert run.error.message == "the worker ended with exit code 139: Segmentation fault"


def test_a_long_reason_is_cut() -> None:
    run = run_of(ended(1, "r" * 10_000))
    assert run is not None
    assert run.error is not None
    assert len(run.error.message) < 600
