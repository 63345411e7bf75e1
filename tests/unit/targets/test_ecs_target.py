"""Amazon ECS as a target: the requests, and the meaning of its answers and task descriptions."""

import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, cast

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import NoCredentialsError, ReadTimeoutError
from hypothesis import given
from hypothesis import strategies as st

from switchyard import clients, clock
from switchyard.errors import NoCapacity, OutcomeUnknown, StartRefused, StartThrottled, SwitchyardError, Unavailable
from switchyard.names import NAME_LIMIT
from switchyard.observability import Metric
from switchyard.protocol.jobs import Job, JobError, Source, Status, TargetSpec, WorkRequest
from switchyard.targets import ecs, runs
from switchyard.targets.ecs import EcsTarget, Placement, run_of, token_of
from tests.cases import cases
from tests.fakes.endpoint import Answer, Endpoint, Reply, serving
from tests.requests import SENT_AT

EVENTS = Path(__file__).parents[3] / "events" / "track_job"
PULL = "CannotPullContainerError: pull image manifest has been retried 7 time(s)"
TASK = "arn:aws:ecs:us-east-1:123456789012:task/cluster/0cd0b1d23ac94e06b5a2e5f7c4d81a96"
STARTED = Reply(body={"tasks": [{"taskArn": TASK}], "failures": []})
PLACEMENT = Placement("worker", subnets=("subnet-1", "subnet-2"), security_groups=("sg-1",))
REQUEST = WorkRequest(
    job_id="talk",
    kind="stream-recording",
    lane="recordings",
    target=TargetSpec("ecs", "cluster", "record-stream:3"),
    source=Source("media", "", "v1", "m1"),
    sent_at=SENT_AT,
    input={"url": "https://www.example.com/live"},
)


def job(fence: int = 3, **changes: Any) -> Job:  # noqa: ANN401 - a request's fields
    return Job(replace(REQUEST, **changes), Status.CLAIMED, fence=fence, created_at=SENT_AT)


@pytest.fixture(autouse=True)
def new_client(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Creates the layer's own client with shorter waits."""
    monkeypatch.setattr(clients, "_LAUNCHES", clients._LAUNCHES.merge(Config(read_timeout=0.5)))
    monkeypatch.setattr("botocore.endpoint.time.sleep", lambda _seconds: None)
    clients.ecs.cache_clear()
    yield
    clients.ecs.cache_clear()


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> dict[Metric, int]:
    """Returns the counted metrics."""
    found: dict[Metric, int] = {}

    def count(metric: Metric, amount: int = 1) -> None:
        found[metric] = found.get(metric, 0) + amount

    for module in (ecs, runs):
        monkeypatch.setattr(module.observability, "count", count)
    return found


def target_of(client: Any, placement: Placement = PLACEMENT) -> EcsTarget:  # noqa: ANN401 - a client or what acts as one
    return EcsTarget(client, placement, jobs_table="jobs", environment="dev", grace_seconds=120)


@pytest.fixture
def target(monkeypatch: pytest.MonkeyPatch) -> Callable[[Endpoint], EcsTarget]:
    """Creates the target with a client for an endpoint."""

    def at(endpoint: Endpoint) -> EcsTarget:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", endpoint.url)
        return target_of(clients.ecs())

    return at


type At = Callable[[Endpoint], EcsTarget]


# ---- start: what is sent --------------------------------------------------------------------------------------------


class Recording:
    """A client that records its calls, and fails if the test says so."""

    exceptions = boto3.client("ecs", "us-east-1").exceptions

    def __init__(self, failure: Exception | None = None) -> None:
        self.failure = failure
        self.call: dict[str, Any] = {}

    def run_task(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        if self.failure:
            raise self.failure
        self.call = call
        return {"tasks": [{"taskArn": TASK}], "failures": [], "ResponseMetadata": {}}


def sent(wanted: Job, placement: Placement = PLACEMENT) -> dict[str, Any]:
    """Returns the parameters of the RunTask call for a job."""
    client = Recording()
    target_of(client, placement).start(wanted)
    return client.call


def test_a_start_gives_the_task_s_own_id(target: At) -> None:
    with serving(STARTED) as endpoint:
        assert target(endpoint).start(job()) == TASK


def test_a_start_is_one_task_of_the_definition_of_the_request() -> None:
    call = sent(job())
    assert (call["cluster"], call["taskDefinition"], call["count"]) == ("cluster", "record-stream:3", 1)


def test_a_worker_is_given_all_that_the_contract_promises() -> None:
    (override,) = sent(job())["overrides"]["containerOverrides"]
    assert override["name"] == "worker"
    assert {pair["name"]: pair["value"] for pair in override["environment"]} == {
        "JOB_ID": "talk",
        "FENCE": "3",
        "JOBS_TABLE": "jobs",
        "KIND": "stream-recording",
        "LANE": "recordings",
        "S3_BUCKET": "media",
        "SQS_MESSAGE_ID": "m1",
        "DDB_TABLE": "jobs",
    }


def test_a_worker_learns_whose_the_job_is() -> None:
    (override,) = sent(job(user_id="ada"))["overrides"]["containerOverrides"]
    assert {"name": "OWNER", "value": "ada"} in override["environment"]


def test_a_task_can_be_found_by_its_tags() -> None:
    call = sent(job())
    assert call["enableECSManagedTags"]
    assert {tag["key"]: tag["value"] for tag in call["tags"]} == {
        "JobId": "talk",
        "Kind": "stream-recording",
        "Environment": "dev",
        "SubmittedAt": clock.iso(SENT_AT),
    }


def test_a_task_runs_in_the_subnets_and_groups_of_the_settings() -> None:
    assert sent(job())["networkConfiguration"]["awsvpcConfiguration"] == {
        "subnets": ["subnet-1", "subnet-2"],
        "securityGroups": ["sg-1"],
        "assignPublicIp": "DISABLED",
    }


def test_a_task_has_a_public_address_where_that_is_wanted() -> None:
    call = sent(job(), replace(PLACEMENT, public_ip="ENABLED"))
    assert call["networkConfiguration"]["awsvpcConfiguration"]["assignPublicIp"] == "ENABLED"


def test_a_task_runs_on_fargate() -> None:
    call = sent(job())
    assert (call["launchType"], "capacityProviderStrategy" in call) == ("FARGATE", False)


def test_a_task_runs_on_spot_capacity_where_that_is_wanted() -> None:
    call = sent(job(), replace(PLACEMENT, spot=True))
    assert "launchType" not in call  # ECS takes one or the other
    assert call["capacityProviderStrategy"] == [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]


def test_what_is_sent_is_a_call_that_the_sdk_knows(target: At) -> None:
    with serving(STARTED) as endpoint:
        target(endpoint).start(job())
    ((_, body),) = endpoint.asked
    assert body["clientToken"] == body["startedBy"] == token_of(job())


@cases("other", [job(fence=4), job(job_id="other")])
def test_no_two_claims_have_the_same_token(other: Job) -> None:
    assert token_of(other) != token_of(job())


@given(st.text(), st.integers(1, 10**15))
def test_every_token_is_legal(job_id: str, fence: int) -> None:
    assert re.fullmatch(r"[A-Za-z0-9/_-]{1,64}", token_of(job(fence, job_id=job_id)))


@given(
    job_id=st.text("aZ0-_", min_size=1, max_size=NAME_LIMIT),
    message_id=st.text(min_size=1, max_size=128),
    bucket=st.text("a.-0", max_size=63),
    fence=st.integers(1, 10**15),
    table=st.text("a.-_0", max_size=255),
    container=st.text("aZ-_0", max_size=255),
    images=st.integers(0, 1000),
)
def test_no_legal_request_makes_overrides_that_ecs_refuses(
    job_id: str, message_id: str, bucket: str, fence: int, table: str, container: str, images: int
) -> None:
    source = Source(bucket, "", "v", message_id)
    wanted = job(fence, job_id=job_id, source=source, input={"imageUrls": ["s3://media/a.jpg"] * images})
    client = Recording()
    placement = replace(PLACEMENT, container=container)
    EcsTarget(cast("Any", client), placement, jobs_table=table, environment="dev", grace_seconds=1).start(wanted)
    assert len(json.dumps(client.call["overrides"])) <= 8192


def test_overrides_that_are_too_long_are_never_sent() -> None:
    wanted = job(source=replace(REQUEST.source, message_id="m" * 8000))
    client = Recording(AssertionError("was sent"))
    with pytest.raises(StartRefused, match=r"the overrides have 8382 characters; ECS takes 8192"):
        target_of(client).start(wanted)


# ---- start: what the answers mean -----------------------------------------------------------------------------------


def error(status: int, code: str, message: str = "because", **fields: Any) -> Reply:  # noqa: ANN401 - JSON
    return Reply(status, {"__type": code, "message": message, **fields})


def failed(*reasons: str) -> Reply:
    return Reply(body={"tasks": [], "failures": [{"reason": reason, "detail": "why"} for reason in reasons]})


THROTTLED = error(400, "ThrottlingException", "Rate exceeded")
CONFLICT = error(400, "ConflictException", resourceIds=[TASK])
ANSWERS: list[tuple[str, Answer, type[SwitchyardError], int]] = [
    ("throttle", THROTTLED, StartThrottled, 3),
    ("throttle 429", error(429, "TooManyRequestsException"), StartThrottled, 3),
    ("quota", error(400, "ClientException", "You've reached the limit on the number of tasks"), NoCapacity, 1),
    ("EC2's throttle", error(400, "InvalidParameterException", "sg-1: Request limit exceeded."), StartThrottled, 1),
    ("wrong parameter", error(400, "InvalidParameterException"), StartRefused, 1),
    ("no such definition", error(400, "ClientException"), StartRefused, 1),
    ("no such cluster", error(400, "ClusterNotFoundException"), StartRefused, 1),
    ("not allowed", error(400, "AccessDeniedException"), StartRefused, 1),
    ("blocked", error(400, "BlockedException"), StartRefused, 1),
    ("unsupported", error(400, "UnsupportedFeatureException"), StartRefused, 1),
    ("conflict without a task", error(400, "ConflictException", resourceIds=[]), OutcomeUnknown, 1),
    ("500", error(500, "ServerException"), OutcomeUnknown, 3),
    ("503", error(503, "ServiceUnavailable"), OutcomeUnknown, 3),
    ("503 throttle", error(503, "ThrottlingException"), StartThrottled, 3),
    ("no memory", failed("RESOURCE:MEMORY"), NoCapacity, 4),
    ("no cpu", failed("RESOURCE:CPU"), NoCapacity, 4),
    ("no agent", failed("AGENT"), NoCapacity, 4),
    ("no capacity", failed("Capacity is unavailable at this time. Please try again later"), NoCapacity, 4),
    ("missing", failed("MISSING"), StartRefused, 1),
    ("inactive", failed("INACTIVE"), StartRefused, 1),
    ("attribute", failed("ATTRIBUTE"), StartRefused, 1),
    ("no room and missing", failed("RESOURCE:CPU", "MISSING"), StartRefused, 1),
    ("empty", Reply(), OutcomeUnknown, 4),
    ("cut", replace(STARTED, cut=True), OutcomeUnknown, 3),
    ("timeout", "never", OutcomeUnknown, 3),
    ("reset", "reset", OutcomeUnknown, 3),
]
every_answer = pytest.mark.parametrize(
    ("answer", "verdict", "times"), [case[1:] for case in ANSWERS], ids=[case[0] for case in ANSWERS]
)


@every_answer
def test_every_answer_has_its_verdict_after_so_many_attempts(
    answer: Answer, verdict: type[SwitchyardError], times: int, target: At
) -> None:
    with serving(answer) as endpoint, pytest.raises(verdict) as raised:
        target(endpoint).start(job())
    assert (type(raised.value), len(endpoint.asked)) == (verdict, times)


PASSING: dict[str, Answer] = {
    "throttle": THROTTLED,
    "500": error(500, "ServerException"),
    "no room": failed("RESOURCE:CPU"),
    "cut": replace(STARTED, cut=True),
    "timeout": "never",
    "reset": "reset",
}
every_passing = pytest.mark.parametrize("answer", PASSING.values(), ids=PASSING)


@every_passing
def test_what_passes_is_waited_for(answer: Answer, target: At) -> None:
    with serving(answer, STARTED) as endpoint:
        assert target(endpoint).start(job()) == TASK


@every_passing
def test_a_call_that_is_repeated_is_the_very_same(answer: Answer, target: At) -> None:
    with serving(answer, STARTED) as endpoint:
        target(endpoint).start(job())
    (_, first), (_, second) = endpoint.asked
    assert first == second


IN_DOUBT = pytest.mark.parametrize(
    "first",
    [error(500, "ServerException"), replace(STARTED, cut=True), "never", "reset"],
    ids=["500", "cut", "timeout", "reset"],
)


@IN_DOUBT
@pytest.mark.parametrize(
    "then",
    [THROTTLED, failed("RESOURCE:CPU"), failed("MISSING"), error(400, "ClientException")],
    ids=["throttle", "no room", "missing", "refusal"],
)
def test_a_refusal_does_not_undo_an_attempt_that_may_have_started_the_task(
    first: Answer, then: Answer, target: At
) -> None:
    """If the claim were undone, it would be repeated with another token and start a second task."""
    with serving(first, then) as endpoint, pytest.raises(OutcomeUnknown):
        target(endpoint).start(job())


@pytest.mark.parametrize("first", [THROTTLED, failed("RESOURCE:CPU")], ids=["throttle", "no room"])
def test_attempts_that_certainly_came_to_nothing_leave_no_doubt(first: Answer, target: At) -> None:
    with serving(first, error(400, "ClientException")) as endpoint, pytest.raises(StartRefused):
        target(endpoint).start(job())


def test_the_doubt_of_one_call_is_not_that_of_the_next(target: At) -> None:
    with serving("reset", STARTED, THROTTLED) as endpoint:
        at = target(endpoint)
        at.start(job())
        with pytest.raises(StartThrottled):
            at.start(job(fence=4))


def test_a_conflict_names_the_task_that_runs(target: At) -> None:
    with serving(CONFLICT) as endpoint:
        assert target(endpoint).start(job()) == TASK


def test_an_unknown_outcome_is_looked_at_again_after_the_grace_period(target: At) -> None:
    with serving("reset") as endpoint, pytest.raises(OutcomeUnknown) as unknown:
        target(endpoint).start(job())
    assert unknown.value.retry_after == 120


def test_a_failure_says_what_ecs_said(target: At) -> None:
    with serving(failed("MISSING")) as endpoint, pytest.raises(StartRefused, match="RunTask: MISSING why"):
        target(endpoint).start(job())


def test_where_nobody_listens_it_is_not_known_what_earlier_attempts_did(target: At) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(OutcomeUnknown):
            target(Endpoint(url=f"http://127.0.0.1:{nobody.getsockname()[1]}")).start(job())


def test_what_can_not_be_signed_was_never_sent() -> None:
    with pytest.raises(StartThrottled, match="never sent"):
        target_of(Recording(NoCredentialsError())).start(job())


def test_what_the_sdk_itself_refuses_is_refused(target: At) -> None:
    with serving(STARTED) as endpoint, pytest.raises(StartRefused):
        target(endpoint).start(job(kind=7))


# ---- start: what is counted -----------------------------------------------------------------------------------------


def test_a_start_is_counted(target: At, counts: dict[Metric, int]) -> None:
    with serving(STARTED) as endpoint:
        target(endpoint).start(job())
    assert counts == {Metric.LAUNCH_SUCCEEDED: 1}


def test_a_start_that_failed_is_counted(target: At, counts: dict[Metric, int]) -> None:
    with serving(failed("MISSING")) as endpoint, pytest.raises(StartRefused):
        target(endpoint).start(job())
    assert counts == {Metric.LAUNCH_FAILED: 1}


@pytest.mark.parametrize("answer", [THROTTLED, failed("AGENT")], ids=["throttle", "no room"])
def test_what_was_repeated_is_counted(answer: Answer, target: At, counts: dict[Metric, int]) -> None:
    with serving(answer, answer, STARTED) as endpoint:
        target(endpoint).start(job())
    assert counts == {Metric.LAUNCH_RETRIES: 2, Metric.LAUNCH_SUCCEEDED: 1}


def test_what_was_repeated_in_vain_is_counted_too(target: At, counts: dict[Metric, int]) -> None:
    with serving(THROTTLED) as endpoint, pytest.raises(StartThrottled):
        target(endpoint).start(job())
    assert counts == {Metric.LAUNCH_RETRIES: 2, Metric.LAUNCH_FAILED: 1}


def test_what_is_unknown_is_neither_success_nor_failure(counts: dict[Metric, int]) -> None:
    with pytest.raises(OutcomeUnknown):
        target_of(Recording(ReadTimeoutError(endpoint_url="ecs"))).start(job())
    assert counts == {}


# ---- find -----------------------------------------------------------------------------------------------------------


def listed(*arns: str, more: str | None = None) -> Reply:
    return Reply(body={"taskArns": arns} | ({"nextToken": more} if more else {}))


def test_the_task_of_the_very_claim_is_found(target: At) -> None:
    with serving(listed(TASK)) as endpoint:
        assert target(endpoint).find(job()) == TASK


def test_it_is_asked_for_by_its_token_alone(target: At) -> None:
    with serving(listed(TASK)) as endpoint:
        target(endpoint).find(job())
    assert endpoint.asked[0][1] == {"cluster": "cluster", "startedBy": token_of(job())}


def test_where_ecs_lists_nothing_nothing_is_found(target: At) -> None:
    with serving(listed()) as endpoint:
        assert target(endpoint).find(job()) is None


def test_every_page_is_read(target: At) -> None:
    with serving(listed(more="next"), listed(more="last"), listed(TASK)) as endpoint:
        assert target(endpoint).find(job()) == TASK


# ---- describe -------------------------------------------------------------------------------------------------------


def arn(number: int, cluster: str = "cluster") -> str:
    return f"arn:aws:ecs:us-east-1:123456789012:task/{cluster}/{number:032x}"


def described(task: str, status: str = "RUNNING", job_id: str = "talk", fence: int = 3) -> dict[str, Any]:
    environment = [{"name": "JOB_ID", "value": job_id}, {"name": "FENCE", "value": str(fence)}]
    overrides = {"containerOverrides": [{"name": "worker", "environment": environment}]}
    return {"taskArn": task, "lastStatus": status, "createdAt": 1795372624.402, "overrides": overrides}


def test_tasks_are_described_a_hundred_at_a_time(target: At) -> None:
    with serving(Reply(body={"tasks": []})) as endpoint:
        list(target(endpoint).describe(arn(number) for number in range(250)))
    assert [len(body["tasks"]) for _, body in endpoint.asked] == [100, 100, 50]


def test_tasks_are_asked_for_in_their_own_cluster(target: At) -> None:
    with serving(Reply(body={"tasks": []})) as endpoint:
        list(target(endpoint).describe([arn(1, "a"), arn(2, "b"), arn(3, "a")]))
    assert {body["cluster"]: len(body["tasks"]) for _, body in endpoint.asked} == {"a": 2, "b": 1}


def test_nothing_to_describe_asks_nothing(target: At) -> None:
    with serving(Reply()) as endpoint:
        assert list(target(endpoint).describe([])) == []
    assert endpoint.asked == []


@pytest.mark.parametrize(
    "target_id",
    [
        "",
        "b1",
        "12345",
        "a" * 10_240,
        "arn:aws:ecs:us-east-1:123456789012:task/0cd0b1d2",
        arn(2, "cluster/other"),
        arn(2, "other"),
        arn(2, "c" * 10_240),
        f"{arn(2)}\n",
        arn(2).replace("123456789012", "*"),
    ],
)
def test_what_is_no_task_of_the_cluster_is_unknown_and_does_not_disturb_the_others(target_id: str, target: At) -> None:
    with serving(Reply(body={"tasks": [described(arn(1))]})) as endpoint:
        assert [run.target_id for run in target(endpoint).describe([target_id, arn(1)], "cluster")] == [arn(1)]
        target(endpoint).stop(job(), target_id)
    assert [body["tasks"] for _, body in endpoint.asked] == [[f"{1:032x}"]]


@pytest.mark.parametrize("place", ["us-east-1:210987654321", "eu-west-1:123456789012"])
def test_a_task_of_another_account_or_region_is_asked_for_by_its_id_and_unknown(place: str, target: At) -> None:
    """ECS would refuse the whole call for its ARN."""
    foreign = arn(1).replace("us-east-1:123456789012", place)
    with serving(Reply(body={"tasks": [described(arn(1)), described(arn(2))]})) as endpoint:
        assert [run.target_id for run in target(endpoint).describe([foreign, arn(2)])] == [arn(2)]
    assert not [task for _, body in endpoint.asked for task in body["tasks"] if task.startswith("arn:")]


def test_a_cluster_that_may_not_be_read_does_not_hide_the_others(target: At) -> None:
    answers = error(400, "AccessDeniedException"), Reply(body={"tasks": [described(arn(2))]})
    with serving(*answers) as endpoint:
        runs = target(endpoint).describe([arn(1, "a"), arn(2)])
        assert next(runs).target_id == arn(2)
        with pytest.raises(Unavailable):
            next(runs)


def test_a_cluster_may_be_named_by_its_arn(target: At) -> None:
    with serving(OURS) as endpoint:
        found = target(endpoint).describe([TASK], "arn:aws:ecs:us-east-1:123456789012:cluster/cluster")
        assert [run.target_id for run in found] == [TASK]


def test_what_ecs_has_forgotten_is_left_out(target: At) -> None:
    answer = Reply(body={"tasks": [described(arn(2))], "failures": [{"arn": arn(1), "reason": "MISSING"}]})
    with serving(answer) as endpoint:
        assert [run.target_id for run in target(endpoint).describe([arn(1), arn(2)])] == [arn(2)]


def test_a_cluster_that_is_gone_does_not_hide_the_others(target: At) -> None:
    with serving(error(400, "ClusterNotFoundException"), Reply(body={"tasks": [described(arn(2))]})) as endpoint:
        assert [run.target_id for run in target(endpoint).describe([arn(1, "gone"), arn(2)])] == [arn(2)]


def test_any_other_trouble_passes(target: At) -> None:
    with serving(error(400, "AccessDeniedException")) as endpoint, pytest.raises(Exception, match="AccessDenied"):
        list(target(endpoint).describe([arn(1)]))


def test_a_task_says_where_its_log_is(target: At) -> None:
    running = described(TASK) | {"containers": [{"name": "a-sidecar"}, {"name": "worker"}]}
    with serving(Reply(body={"tasks": [running]})) as endpoint:
        (run,) = target(endpoint).describe([TASK])
    assert run.log_stream == f"worker/{TASK.rpartition('/')[2]}"


def test_a_task_that_waits_for_room_says_since_when(target: At) -> None:
    with serving(Reply(body={"tasks": [described(TASK, "PROVISIONING")]})) as endpoint:
        (run,) = target(endpoint).describe([TASK])
    assert run.queued_since == datetime(2026, 11, 22, 18, 37, 4, 402000, tzinfo=UTC)


# ---- stop -----------------------------------------------------------------------------------------------------------

OURS = Reply(body={"tasks": [described(TASK)]})


def test_a_task_is_stopped_in_its_own_cluster(target: At) -> None:
    with serving(OURS, Reply(body={"task": {}})) as endpoint:
        target(endpoint).stop(job(), TASK)
    _, (_, body) = endpoint.asked
    assert (body["cluster"], body["task"]) == ("cluster", TASK)


@pytest.mark.parametrize(
    "answer",
    [
        error(400, "InvalidParameterException", "The referenced task was not found."),
        error(400, "ClusterNotFoundException", "Cluster not found."),
    ],
    ids=["task", "cluster"],
)
def test_stopping_what_is_just_gone_does_nothing(answer: Reply, target: At) -> None:
    with serving(OURS, answer) as endpoint:
        target(endpoint).stop(job(), TASK)


@pytest.mark.parametrize(
    "tasks",
    [
        pytest.param([described(TASK, job_id="other")], id="another job's"),
        pytest.param([described(TASK, fence=2)], id="an older claim's"),
        pytest.param([described(TASK, fence=4)], id="a newer claim's"),
        pytest.param([{"taskArn": TASK, "lastStatus": "RUNNING", "overrides": {}}], id="another program's"),
        pytest.param([described(TASK.replace("123456789012", "210987654321"))], id="another account's"),
        pytest.param([], id="nobody's"),
    ],
)
def test_a_task_that_is_not_the_job_s_is_not_stopped(
    tasks: list[Any], target: At, caplog: pytest.LogCaptureFixture, counts: dict[Metric, int]
) -> None:
    with serving(Reply(body={"tasks": tasks, "failures": []})) as endpoint:
        target(endpoint).stop(job(), TASK)
    assert [body for _, body in endpoint.asked] == [{"cluster": "cluster", "tasks": [TASK.rpartition("/")[2]]}]
    assert "not stopped: not a run of this job" in caplog.messages
    assert counts == {Metric.NOT_STOPPED: 1}


@pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidParameterException", "ServerException"])
def test_a_stop_that_fails_says_so(code: str, target: At) -> None:
    with serving(OURS, error(400, code)) as endpoint, pytest.raises(Unavailable, match=code):
        target(endpoint).stop(job(), TASK)


def test_a_look_for_a_task_that_fails_says_so(target: At) -> None:
    with serving(error(400, "AccessDeniedException")) as endpoint, pytest.raises(Unavailable, match="ListTasks"):
        target(endpoint).find(job())


def test_a_description_that_fails_says_so(target: At) -> None:
    with serving(error(400, "AccessDeniedException")) as endpoint, pytest.raises(Unavailable, match="DescribeTasks"):
        list(target(endpoint).describe([TASK]))


# ---- run_of ---------------------------------------------------------------------------------------------------------


def detail(name: str = "task_running", **changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    """Returns the detail of a sample event with changes."""
    (record,) = json.loads((EVENTS / f"{name}.json").read_text())["Records"]
    found: dict[str, Any] = json.loads(record["body"])["detail"]
    return found | changes


def ended(exit_code: int | None, stop_code: str | None, reason: str | None = None, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Returns the detail of a stopped task."""
    stopped = detail("task_succeeded", **changes)
    del stopped["containers"][0]["exitCode"], stopped["stopCode"]
    outcome = {"exitCode": exit_code, "reason": reason}
    stopped["containers"][0] |= {name: value for name, value in outcome.items() if value is not None}
    return stopped | ({"stopCode": stop_code} if stop_code else {})


def outcome(description: Mapping[str, Any]) -> str:
    """Returns the status of a run, or why it failed."""
    run = run_of(description)
    assert run is not None
    return run.error.code if run.error else run.status


def test_a_run_is_told_by_the_claim_it_was_given() -> None:
    run = run_of(detail())
    assert run is not None
    assert (run.job_id, run.fence) == ("talk-2026-11-22", 1)
    assert run.target_id == "arn:aws:ecs:us-east-1:123456789012:task/switchyard/0cd0b1d23ac94e06b5a2e5f7c4d81a96"


@cases(
    ("state", "status"),
    [
        ("PROVISIONING", Status.SUBMITTED),
        ("PENDING", Status.SUBMITTED),
        ("ACTIVATING", Status.SUBMITTED),
        ("RUNNING", Status.RUNNING),
        ("DEACTIVATING", Status.RUNNING),
        ("STOPPING", Status.RUNNING),
        ("DEPROVISIONING", Status.RUNNING),
        ("STOPPED", Status.FAILED),
        ("DELETED", Status.FAILED),
    ],
)
def test_every_state_of_a_task_is_a_status_of_ours(state: str, status: Status) -> None:
    run = run_of(detail(lastStatus=state))
    assert run is not None
    assert run.status is status


BY_EXIT_CODE = {
    None: "NOT_STARTED",
    0: "COMPLETED",
    1: "WORKER_CRASHED",
    65: "PERMANENT_FAILURE",
    75: "RETRIES_EXHAUSTED",
    77: "SUPERSEDED",
}


def from_outside(code: str) -> dict[int | None, str]:
    """What the exit codes mean of a task that was stopped: only a worker's final word stands before that."""
    return {**BY_EXIT_CODE, None: code, 1: code, 75: code}


MEANINGS: dict[str, dict[int | None, str]] = {
    "TaskFailedToStart": BY_EXIT_CODE,
    "EssentialContainerExited": BY_EXIT_CODE,
    "UserInitiated": from_outside("STOPPED"),
    "ServiceSchedulerInitiated": from_outside("STOPPED"),
    "SpotInterruption": from_outside("HOST_LOST"),
    "TerminationNotice": from_outside("HOST_LOST"),
    "InfrastructureHealth": from_outside("HOST_LOST"),
}
"""By stop code and exit code."""


def test_every_stop_code_that_the_sdk_knows_is_tested() -> None:
    shape: Any = clients.ecs().meta.service_model.shape_for("TaskStopCode")
    assert set(MEANINGS) == set(shape.enum)


@cases("stop_code", MEANINGS)
@cases("exit_code", BY_EXIT_CODE)
def test_every_end_has_its_meaning(stop_code: str, exit_code: int | None) -> None:
    assert outcome(ended(exit_code, stop_code)) == MEANINGS[stop_code][exit_code]


def test_a_worker_out_of_memory_is_told_as_such() -> None:
    reason = "OutOfMemoryError: Container killed due to memory usage"
    assert outcome(ended(137, "EssentialContainerExited", reason)) == "OUT_OF_MEMORY"


def test_a_task_that_does_not_say_why_it_stopped_is_told_by_its_exit_code() -> None:
    assert outcome(ended(139, None)) == "WORKER_CRASHED"


def test_a_failure_says_what_ecs_said_but_no_novel() -> None:
    run = run_of(ended(None, "TaskFailedToStart", stoppedReason="CannotPullContainerError: " + "x" * 5000))
    assert run is not None
    assert run.error is not None
    assert run.error.message.startswith("CannotPullContainerError: xxx")
    assert len(run.error.message) == 500


@cases(
    ("description", "message"),
    [
        (
            ended(None, "TaskFailedToStart", PULL, stoppedReason="Task failed to start"),
            f"Task failed to start: {PULL}",
        ),
        (ended(None, "TaskFailedToStart", PULL, stoppedReason=PULL), PULL),
        (ended(None, "TaskFailedToStart", stoppedReason=PULL), PULL),
        (ended(None, "TaskFailedToStart", PULL, stoppedReason=None), PULL),
        (
            ended(None, "TaskFailedToStart", stoppedReason=None) | {"containers": []},
            "ECS ended the task before its container ran",
        ),
    ],
)
def test_a_run_that_never_started_tells_why(description: Mapping[str, Any], message: str) -> None:
    run = run_of(description)
    assert run is not None
    assert run.error == JobError("NOT_STARTED", message)


def test_a_run_that_never_started_because_of_a_sidecar_tells_why() -> None:
    stopped = ended(None, "TaskFailedToStart", stoppedReason="Task failed to start")
    stopped["containers"].append({"name": "logs", "lastStatus": "STOPPED", "reason": PULL})
    run = run_of(stopped)
    assert run is not None
    assert run.error == JobError("NOT_STARTED", f"Task failed to start: {PULL}")


def test_the_exit_code_is_that_of_the_container_with_the_claim() -> None:
    sidecar = {"name": "logs", "exitCode": 137, "lastStatus": "STOPPED"}
    stopped = ended(0, "EssentialContainerExited")
    stopped["containers"].insert(0, sidecar)
    stopped["overrides"]["containerOverrides"].insert(0, {"name": "logs", "environment": [{"name": "A", "value": "b"}]})
    assert outcome(stopped) == "COMPLETED"


def test_a_task_whose_container_was_never_made_has_not_started() -> None:
    assert outcome(ended(None, "TaskFailedToStart") | {"containers": []}) == "NOT_STARTED"


def test_a_run_is_one_attempt_once_it_has_ended() -> None:
    runs = [run_of(detail(name)) for name in ("task_running", "task_succeeded")]
    assert [run and run.attempts for run in runs] == [0, 1]


def with_environment(**variables: str) -> dict[str, Any]:
    environment = [{"name": name, "value": value} for name, value in variables.items()]
    return detail(overrides={"containerOverrides": [{"name": "worker", "environment": environment}]})


@cases(
    "description",
    [
        {},
        detail("task_not_ours"),
        detail(overrides=None),
        detail(overrides={}),
        detail(overrides={"containerOverrides": None}),
        detail(lastStatus="DREAMING"),
        detail(lastStatus=None),
        with_environment(JOB_ID="a"),
        with_environment(FENCE="1"),
        with_environment(JOB_ID="", FENCE="1"),
        with_environment(JOB_ID="a", FENCE="one"),
        with_environment(JOB_ID="a", FENCE="1" * 5000),
    ],
)
def test_what_is_not_ours_is_none(description: Mapping[str, Any]) -> None:
    assert run_of(description) is None
