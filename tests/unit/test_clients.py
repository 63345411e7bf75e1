"""The clients' retries and timeouts, over real HTTP: which calls they repeat, and which they never repeat."""

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from bench.aws import sample_detail
from switchyard import clients
from switchyard.targets.ecs import run_of
from tests.fakes.endpoint import Endpoint, Reply, serving

EVERY: Any = (
    clients.dynamodb,
    clients.sqs,
    clients.batch,
    clients.batch_submit,
    clients.ecs,
    clients.s3,
    clients.s3_bulk,
)
every_client = pytest.mark.parametrize("make", EVERY, ids=lambda make: make.__name__)
PUT: Any = [{"Put": {"TableName": "lanes", "Item": {"pk": {"S": "a"}, "sk": {"S": "b"}}}}]
OK = Reply()
BUSY = Reply(503, {"message": "busy"})


def canceled(*codes: str) -> Reply:
    """Returns DynamoDB's answer to a cancelled transaction."""
    return Reply(
        400,
        {
            "__type": "com.amazonaws.dynamodb.v20120810#TransactionCanceledException",
            "Message": "Transaction cancelled, please refer cancellation reasons for specific reasons",
            "CancellationReasons": [{"Code": code} for code in codes],
        },
    )


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Records the SDK's pauses instead of making them."""
    pauses: list[float] = []
    monkeypatch.setattr("botocore.endpoint.time.sleep", pauses.append)
    return pauses


@pytest.fixture(autouse=True)
def new_clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for client in EVERY:
        client.cache_clear()
    yield
    for client in EVERY:
        client.cache_clear()


def transact(monkeypatch: pytest.MonkeyPatch, endpoint: Endpoint) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint.url)
    clients.dynamodb().transact_write_items(TransactItems=PUT)


@pytest.mark.parametrize("passing", ["TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"])
def test_a_transaction_that_only_lost_a_race_is_repeated(
    passing: str, monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    with serving(canceled("None", passing), OK) as endpoint:
        transact(monkeypatch, endpoint)
    assert len(endpoint.asked) == 2


def test_a_repeated_transaction_has_the_same_token(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    with serving(canceled("TransactionConflict"), canceled("TransactionConflict"), OK) as endpoint:
        transact(monkeypatch, endpoint)
    tokens = {body["ClientRequestToken"] for _, body in endpoint.asked}
    assert len(tokens) == 1


def test_a_transaction_that_loses_every_race_is_given_up(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    lost = canceled("TransactionConflict")
    with serving(lost) as endpoint, pytest.raises(ClientError, match="TransactionCanceledException"):
        transact(monkeypatch, endpoint)
    assert len(endpoint.asked) == 16


@pytest.mark.parametrize(
    "reasons",
    [
        ("ConditionalCheckFailed",),
        ("ConditionalCheckFailed", "TransactionConflict"),
        ("ValidationError", "None"),
        ("None", "None"),
        (),
    ],
    ids=", ".join,
)
def test_a_transaction_that_was_refused_is_not_repeated(
    reasons: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    with serving(canceled(*reasons)) as endpoint, pytest.raises(ClientError, match="TransactionCanceledException"):
        transact(monkeypatch, endpoint)
    assert len(endpoint.asked) == 1


def test_the_pauses_between_races_grow_and_have_a_limit(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    with serving(canceled("TransactionConflict")) as endpoint, pytest.raises(ClientError):
        transact(monkeypatch, endpoint)
    assert slept == [0.02, 0.04, 0.08, 0.16, 0.32, 0.64, *[1] * 9]


def test_the_pauses_between_races_are_spread_from_zero(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    monkeypatch.setattr("random.uniform", lambda low, _high: low)
    with serving(canceled("TransactionConflict"), OK) as endpoint:
        transact(monkeypatch, endpoint)
    assert slept == [0]


def test_dynamodb_is_asked_again_when_it_is_busy(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    with serving(BUSY, OK) as endpoint:
        transact(monkeypatch, endpoint)
    assert len(endpoint.asked) == 2


def test_batch_is_asked_again_for_what_only_reads(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    with serving(BUSY, Reply(body={"jobs": []})) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", endpoint.url)
        clients.batch().describe_jobs(jobs=["a"])
    assert len(endpoint.asked) == 2


def test_reading_is_given_up_in_the_end(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    with serving(BUSY) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", endpoint.url)
        with pytest.raises(ClientError):
            clients.batch().describe_jobs(jobs=["a"])
    assert len(endpoint.asked) == 4


# ---- an answer that ends too soon: the SDK itself takes it for an empty one ------------------------------------------

QUERY: Any = {"TableName": "jobs", "KeyConditionExpression": "a = :a", "ExpressionAttributeValues": {":a": {"S": "a"}}}
ITEM: Any = {"TableName": "jobs", "Key": {"jobId": {"S": "a"}}}
CUT = Reply(body={"Item": {"jobId": {"S": "a"}}}, cut=True)
CALLS: Any = {
    "dynamodb": lambda: clients.dynamodb().get_item(**ITEM),
    "sqs": lambda: clients.sqs().send_message(QueueUrl="https://queue", MessageBody="{}"),
    "batch": lambda: clients.batch().list_jobs(jobQueue="queue"),
    "ecs": lambda: clients.ecs().list_tasks(cluster="cluster"),
    "dynamodb, taken as sent": lambda: clients.dynamodb().query(**QUERY),
    "batch, taken as sent": lambda: clients.batch().describe_jobs(jobs=["a"]),
    "ecs, taken as sent": lambda: clients.ecs().describe_tasks(tasks=["a"]),
}


def test_an_answer_that_was_cut_off_is_asked_for_again(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    with serving(CUT, Reply(body=CUT.body)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        found = clients.dynamodb().get_item(**ITEM)
    assert found["Item"] == CUT.body["Item"]


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_answer_that_was_cut_off_is_never_taken_for_an_empty_one(
    call: Any,  # noqa: ANN401 - a call of any service
    monkeypatch: pytest.MonkeyPatch,
    slept: list[float],
) -> None:
    with serving(CUT) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        with pytest.raises(ConnectionClosedError):
            call()
    assert 1 < len(endpoint.asked) <= 4


def test_a_job_is_not_submitted_again_because_the_answer_was_cut_off(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    with serving(Reply(body={"jobId": "b1"}, cut=True)) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", endpoint.url)
        with pytest.raises(ConnectionClosedError):
            clients.batch_submit().submit_job(jobName="n", jobQueue="q", jobDefinition="d")
    assert len(endpoint.asked) == 1


def test_a_refused_transaction_whose_reasons_were_cut_off_is_asked_about_again(
    monkeypatch: pytest.MonkeyPatch, slept: list[float]
) -> None:
    refused = canceled("ConditionalCheckFailed")
    with serving(replace(refused, cut=True), refused) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint.url)
        with pytest.raises(ClientError, match="TransactionCanceledException"):
            clients.dynamodb().transact_write_items(TransactItems=PUT)


# ---- answers that are taken as they were sent ------------------------------------------------------------------------

ATTRIBUTES: Any = {
    "text": {"S": "a"},
    "number": {"N": "-1.5"},
    "set": {"SS": ["a", "b"]},
    "map": {"M": {"list": {"L": [{"NULL": True}, {"BOOL": False}]}}},
}
AS_SENT: Any = {
    "GetItem": (clients.dynamodb, lambda client: client.get_item(**ITEM), {"Item": ATTRIBUTES}),
    "GetItem of nothing": (clients.dynamodb, lambda client: client.get_item(**ITEM), {}),
    "Query": (
        clients.dynamodb,
        lambda client: client.query(**QUERY),
        {"Items": [ATTRIBUTES], "Count": 1, "ScannedCount": 1, "LastEvaluatedKey": ITEM["Key"]},
    ),
    "DescribeJobs": (
        clients.batch,
        lambda client: client.describe_jobs(jobs=["a"]),
        {"jobs": [sample_detail("running"), sample_detail("failed_permanent")]},
    ),
}


def told(answer: Any) -> Any:  # noqa: ANN401 - the answer to any call
    """An answer without the headers and the like that every call to a server gets anew."""
    known = {name: value for name, value in answer["ResponseMetadata"].items() if name != "HTTPHeaders"}
    return answer | {"ResponseMetadata": known}


@pytest.mark.parametrize(("make", "call", "body"), AS_SENT.values(), ids=AS_SENT)
def test_an_answer_taken_as_it_was_sent_is_what_boto3_makes_of_it(
    make: Any,  # noqa: ANN401 - a client of any service
    call: Any,  # noqa: ANN401 - as above
    body: Any,  # noqa: ANN401 - as above
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serving(Reply(body=body, headers={"x-amzn-RequestId": "r"})) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        ours = make()
        assert told(call(ours)) == told(call(boto3.client(ours.meta.service_model.service_name)))


def test_a_task_taken_as_it_was_sent_is_the_run_that_boto3_would_make_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    detail = sample_detail("task_provisioning") | {"createdAt": 1795372624.402}
    with serving(Reply(body={"tasks": [detail]})) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        [ours, theirs] = (client.describe_tasks(tasks=["a"]) for client in (clients.ecs(), boto3.client("ecs")))
    assert run_of(ours["tasks"][0]) == run_of(theirs["tasks"][0])


def test_a_refusal_is_not_taken_as_it_was_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(Reply(400, {"message": "no"}, {"x-amzn-ErrorType": "ClientException"})) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint.url)
        with pytest.raises(ClientError, match="ClientException"):
            clients.batch().describe_jobs(jobs=["a"])


@every_client
def test_a_client_is_made_once(make: Any) -> None:  # noqa: ANN401 - a client of any service
    assert make() is make()


def test_the_user_agent_is_the_short_one_that_is_not_put_together_for_each_call(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[bytes] = []
    with serving(OK) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_DYNAMODB", endpoint.url)
        client: Any = clients.dynamodb()
        client.meta.events.register("before-send", lambda request, **_: said.append(request.headers["User-Agent"]))
        client.get_item(**ITEM)
    assert re.match(rb"Boto3/[0-9.]+ Python/[0-9.]+ \w+/\S+ Botocore/[0-9.]+ ", said[0])


@every_client
def test_ten_messages_at_once_never_wait_for_a_connection(make: Any) -> None:  # noqa: ANN401 - as above
    assert make().meta.config.max_pool_connections >= 10


@every_client
def test_no_call_outlasts_the_function(make: Any) -> None:  # noqa: ANN401 - as above
    config = make().meta.config
    assert config.connect_timeout + config.read_timeout < 30


# ---- RunTask: what it answers is tested with the target (test_ecs_target) -------------------------------------------

RUN: Any = {"cluster": "c", "taskDefinition": "d", "clientToken": "t"}
NO_ROOM = Reply(body={"tasks": [], "failures": [{"reason": "RESOURCE:CPU"}]})


def test_the_pauses_for_room_grow_and_have_a_limit(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    monkeypatch.setattr("random.uniform", lambda _low, high: high)
    with serving(NO_ROOM) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", endpoint.url)
        clients.ecs().run_task(**RUN)
    assert slept == [1, 2, 4]


def test_the_pauses_for_room_are_spread_from_zero(monkeypatch: pytest.MonkeyPatch, slept: list[float]) -> None:
    monkeypatch.setattr("random.uniform", lambda low, _high: low)
    with serving(NO_ROOM, Reply(body={"tasks": [{"taskArn": "t1"}]})) as endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL_ECS", endpoint.url)
        clients.ecs().run_task(**RUN)
    assert slept == [0]


def test_running_a_task_takes_no_longer_than_a_function_has() -> None:
    config: Any = clients.ecs().meta.config
    attempts = config.retries["total_max_attempts"]
    assert attempts * (config.connect_timeout + config.read_timeout) + sum((1, 2)) < 30


# ---- presigned URLs -------------------------------------------------------------------------------------------------


def presigned(monkeypatch: pytest.MonkeyPatch, *, region: str, endpoint: str | None = None) -> str:
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    if endpoint:
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    url: str = clients.s3().generate_presigned_url("put_object", Params={"Bucket": "media", "Key": "a b.mp4"})
    return url


@pytest.mark.parametrize(
    ("region", "host"),
    [
        ("us-east-1", "media.s3.us-east-1.amazonaws.com"),
        ("eu-central-1", "media.s3.eu-central-1.amazonaws.com"),
        ("cn-north-1", "media.s3.cn-north-1.amazonaws.com.cn"),
    ],
)
def test_a_url_is_for_the_bucket_s_own_host_in_the_region(
    region: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert presigned(monkeypatch, region=region).startswith(f"https://{host}/a%20b.mp4?")


@pytest.mark.parametrize("endpoint", ["http://127.0.0.1:4566", "http://localhost:4566"])
def test_a_url_for_an_emulator_names_the_bucket_in_its_path(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert presigned(monkeypatch, region="eu-central-1", endpoint=endpoint).startswith(f"{endpoint}/media/a%20b.mp4?")


def test_a_url_is_signed_so_that_s3_checks_its_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "X-Amz-Algorithm=AWS4-HMAC-SHA256" in presigned(monkeypatch, region="us-east-1")


def test_a_form_is_for_the_bucket_s_own_host_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    assert clients.s3().generate_presigned_post("media", "key")["url"] == "https://media.s3.eu-central-1.amazonaws.com/"
