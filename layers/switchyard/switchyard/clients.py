"""boto3 clients, each configured for the calls it serves. No other module makes clients."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, TypedDict, cast

import boto3
import botocore.session
from botocore.config import Config
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
)

from switchyard.errors import Unavailable

if TYPE_CHECKING:  # the stubs are not in the layer
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_lambda import LambdaClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# An invocation handles up to ten messages in parallel, each with one call open at a time.
_CONNECTIONS = 16
_CONNECT_TIMEOUT = 3

_REPEATABLE = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=_CONNECT_TIMEOUT,
    read_timeout=5,
    max_pool_connections=_CONNECTIONS,
)
"""For calls that may be repeated: reads, conditional writes, and transactions, which carry an idempotency token."""

_OUR_OWN = _REPEATABLE.merge(Config(parameter_validation=False))
"""For DynamoDB and SQS, without validation: we build every parameter, and it takes a sixth of a claim's time."""

_ONCE = Config(
    retries={"mode": "standard", "total_max_attempts": 1},
    connect_timeout=_CONNECT_TIMEOUT,
    read_timeout=10,
    max_pool_connections=_CONNECTIONS,
)
"""For SubmitJob, which has no idempotency token: a retried read timeout could start a second job."""

_LAUNCHES = _REPEATABLE.merge(Config(retries={"mode": "standard", "total_max_attempts": 3}))
"""For RunTask, which its clientToken makes idempotent. Fewer attempts, to stay within a function's 30 seconds."""

_ANSWERS = Config(
    retries={"mode": "standard", "total_max_attempts": 1}, connect_timeout=_CONNECT_TIMEOUT, read_timeout=18
)
"""For a model's answer while a caller waits: a second attempt would come too late for API Gateway."""

_INVOKES = _ONCE.merge(Config(read_timeout=12))
"""For another function's answer while a caller waits: a repeated invocation could request a job twice."""

_SIGNING = Config(
    signature_version="s3v4", s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"}
)
"""For presigned URLs: SigV2 doesn't sign size and type, and the global host redirects requests to young buckets."""

_BULK = _REPEATABLE.merge(
    # S3 answers a copy only when it is done. Reads need no checksum of S3's, since we hash them ourselves.
    Config(read_timeout=20, max_pool_connections=64, response_checksum_validation="when_required")
)
"""For reading and copying ranges of objects, which may be repeated."""


def _retry_cut_off(
    response: tuple[Any, dict[str, Any]] | None,
    attempts: int,
    operation: Any,  # noqa: ANN401 - botocore has no types
    endpoint: Any,  # noqa: ANN401 - as above
    *,
    most: int,
    **_: object,
) -> float | None:
    """A botocore `needs-retry` handler for truncated responses: seconds to wait before the next attempt.

    If the connection breaks during a response, botocore parses the part that arrived, and cut-off JSON as an empty
    response: an existing item would look absent. After `most` attempts this raises ConnectionClosedError, as botocore
    does without any response.
    """
    if response is None or operation.has_streaming_output or operation.http["method"] == "HEAD":
        return None
    answer, _parsed = response
    length = answer.headers.get("content-length")
    if length is None or len(answer.content) == int(length):
        return None
    if attempts >= most:
        raise ConnectionClosedError(endpoint_url=endpoint.host)
    return random.uniform(0, min(1, 0.1 * 2**attempts))  # noqa: S311 - jitter, not a secret


def _take_as_sent(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: object) -> None:
    """A botocore `before-parse` handler: decodes a JSON response directly and gives botocore an empty one to parse.

    botocore looks up every member that a shape may have, most of them absent. That is 80% of the CPU time of describing
    10,000 jobs. Its result equals the JSON, except for times, and binary attributes, which we don't have. Errors and
    truncated responses are left to botocore.
    """
    if response_dict["status_code"] != HTTPStatus.OK:
        return
    try:
        answer = json.loads(response_dict["body"])
    except ValueError:
        return
    customized_response_dict.update(answer)
    response_dict["body"] = b"{}"


def _taking_as_sent(client: Any, operation: str) -> None:  # noqa: ANN401 - any of boto3's clients
    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parse.{service}.{operation}", _take_as_sent)


@cache
def _core() -> botocore.session.Session:
    return botocore.session.Session()


@cache
def _session() -> boto3.Session:
    """The session of all clients, so that they share loaded service models."""
    return boto3.Session(botocore_session=_core())  # `_client` needs the core session's user agent


def credentials() -> ReadOnlyCredentials:
    """The current credentials of all clients.

    Raises:
        NoCredentialsError: there are none.
    """
    found = _session().get_credentials()
    if found is None:
        raise NoCredentialsError
    return found.get_frozen_credentials()


def _client(service: str, config: Config) -> Any:  # noqa: ANN401 - the callers name the type
    """Makes a client that never mistakes a truncated response for a complete one."""
    session = _session()
    # Set here, since botocore builds its default user agent twice per call.
    named = config.merge(Config(user_agent=_core().user_agent()))
    client: Any = session.client(cast("Any", service), config=named)
    events = f"needs-retry.{client.meta.service_model.service_id.hyphenize()}"
    most = client.meta.config.retries["total_max_attempts"]
    client.meta.events.register(events, partial(_retry_cut_off, most=most))
    return client


@contextmanager
def translated() -> Iterator[None]:
    """Context manager and decorator that turns boto3's errors into Unavailable.

    Implementations of the protocol's ports use it, so that the protocol knows no AWS error. In a generator use the
    `with` block: the decorator covers only the call that makes the generator.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


class MultipartUpload(TypedDict):
    """The arguments that name a multipart upload in S3's calls."""

    Bucket: str
    Key: str
    UploadId: str


_MISSING = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
_NO_OBJECT = frozenset({"NoSuchBucket", "NoSuchUpload"})


def is_object_gone(error: ClientError) -> bool:
    """Whether S3 says that an object, or the version of it, isn't there. A delete marker answers 405.

    The status decides, because responses to HEAD have no body. A missing bucket or multipart upload is another matter.
    """
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    return status in _MISSING and error.response.get("Error", {}).get("Code") not in _NO_OBJECT


_CONFLICT_ATTEMPTS = 16
"""So many that of a hundred transactions at once on one item none fails (`make bench ARGS=contention`)."""
_PASSING_REASONS = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def pause_after_conflict(response: tuple[Any, dict[str, Any]] | None, attempts: int, **_: object) -> float | None:
    """A botocore `needs-retry` handler for transaction conflicts and throttling: seconds before the next attempt.

    Many transactions write a lane's SLOTS item, and DynamoDB cancels a transaction that meets another one on the same
    item. botocore itself never retries a cancelled transaction.
    """
    if response is None or attempts >= _CONFLICT_ATTEMPTS:
        return None
    reasons = {reason.get("Code") for reason in response[1].get("CancellationReasons", ())} - {"None"}
    if not reasons or not reasons <= _PASSING_REASONS:
        return None
    return random.uniform(0, min(1, 0.01 * 2**attempts))  # noqa: S311 - jitter, not a secret


_PLACEMENT_ATTEMPTS = 4
_NO_ROOM = ("RESOURCE:", "AGENT", "Capacity is unavailable")

NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, NoCredentialsError)
"""Errors that prove that a request was never sent."""

IN_DOUBT = "InDoubt"
"""Key in the ResponseMetadata of RunTask: whether an earlier attempt of the call may have started the task."""


def is_throttle(answer: Mapping[str, Any]) -> bool:
    """Whether a response only says that there were too many requests, so that this one had no effect."""
    too_many = answer["ResponseMetadata"].get("HTTPStatusCode") == HTTPStatus.TOO_MANY_REQUESTS
    return too_many or "Throttl" in answer.get("Error", {}).get("Code", "")


def is_without_room(reason: str) -> bool:
    """Whether a failure of RunTask is a lack of capacity (ECS developer guide, "API failure reasons")."""
    return reason.startswith(_NO_ROOM)


def _retry_placement(
    response: tuple[Any, dict[str, Any]] | None,
    attempts: int,
    caught_exception: Exception | None,
    request_dict: dict[str, Any],
    **_: object,
) -> float | None:
    """A botocore `needs-retry` handler for RunTask without capacity: seconds to wait before the next attempt.

    RunTask reports missing capacity with HTTP 200, so botocore takes it for a success, as it does a truncated response.
    Also sets IN_DOUBT, so that a task which an earlier attempt may have started is not taken for refused because a
    later attempt was throttled.
    """
    context = request_dict["context"]
    if response is None:
        context[IN_DOUBT] = context.get(IN_DOUBT, False) or not isinstance(caught_exception, NEVER_SENT)
        return None
    _, answer = response
    status = answer["ResponseMetadata"]["HTTPStatusCode"]
    answer["ResponseMetadata"][IN_DOUBT] = context.get(IN_DOUBT, False)
    failures = answer.get("failures", ())
    cut_off = status == HTTPStatus.OK and not failures and not answer.get("tasks")
    if cut_off or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and not is_throttle(answer)):
        context[IN_DOUBT] = True
    no_room = failures and all(is_without_room(failure.get("reason", "")) for failure in failures)
    if not (cut_off or no_room) or attempts >= _PLACEMENT_ATTEMPTS:
        return None
    return random.uniform(0, min(4, 0.5 * 2**attempts))  # noqa: S311 - jitter, not a secret


@cache
def dynamodb() -> DynamoDBClient:
    """DynamoDB, with the SDK's retries. Conflicting transactions are retried too."""
    client: DynamoDBClient = _client("dynamodb", _OUR_OWN)
    for operation in ("GetItem", "Query"):
        _taking_as_sent(client, operation)
    client.meta.events.register("needs-retry.dynamodb.TransactWriteItems", cast("Any", pause_after_conflict))
    return client


@cache
def sqs() -> SQSClient:
    """SQS, with the SDK's retries."""
    client: SQSClient = _client("sqs", _OUR_OWN)
    return client


def secret(arn: str) -> str:
    """The text of a secret in Secrets Manager; empty if it is binary."""
    return str(_secrets().get_secret_value(SecretId=arn).get("SecretString", ""))


@cache
def _secrets() -> Any:  # noqa: ANN401 - one call needs no stubs
    return _client("secretsmanager", _REPEATABLE)


@cache
def events() -> Any:  # noqa: ANN401 - one call needs no stubs
    """EventBridge, with the SDK's retries. A repeated event is one more copy, which its receivers know by its id."""
    return _client("events", _REPEATABLE)


@cache
def logs() -> Any:  # noqa: ANN401 - one call needs no stubs
    """CloudWatch Logs, for reads while a caller waits: few retries, since its limits are those of the account."""
    return _client("logs", _REPEATABLE.merge(Config(retries={"mode": "standard", "total_max_attempts": 2})))


@cache
def states() -> Any:  # noqa: ANN401 - three calls need no stubs
    """Step Functions, with the SDK's retries: a token that was used answers that it is closed."""
    return _client("stepfunctions", _REPEATABLE)


@cache
def functions() -> LambdaClient:
    """Lambda, to have another function answer. Without retries."""
    client: LambdaClient = _client("lambda", _INVOKES)
    return client


@cache
def s3vectors() -> Any:  # noqa: ANN401 - its stubs are not installed
    """S3 Vectors, with the SDK's retries: queries, and writes that may be repeated."""
    return _client("s3vectors", _REPEATABLE)


@cache
def bedrock() -> Any:  # noqa: ANN401 - as s3vectors
    """Bedrock's models, without retries."""
    return _client("bedrock-runtime", _ANSWERS)


@cache
def batch() -> BatchClient:
    """Batch for every call but SubmitJob, with the SDK's retries."""
    client: BatchClient = _client("batch", _REPEATABLE)
    _taking_as_sent(client, "DescribeJobs")
    return client


@cache
def batch_submit() -> BatchClient:
    """Batch for SubmitJob, without retries."""
    client: BatchClient = _client("batch", _ONCE)
    return client


@cache
def ecs() -> ECSClient:
    """ECS, with the SDK's retries. RunTask is also retried without capacity. DescribeTasks gives times as numbers."""
    client: ECSClient = _client("ecs", _LAUNCHES)
    _taking_as_sent(client, "DescribeTasks")
    client.meta.events.register("needs-retry.ecs.RunTask", cast("Any", _retry_placement))
    return client


def _s3(config: Config) -> S3Client:
    signing = config.merge(_SIGNING)
    client: S3Client = _client("s3", signing)
    if ".amazonaws.com" not in client.meta.endpoint_url:
        # An emulator has no host name per bucket.
        client = _client("s3", signing.merge(Config(s3={"addressing_style": "path"})))
    return client


@cache
def s3() -> S3Client:
    """S3, with the SDK's retries. It presigns with SigV4 for the bucket's regional host."""
    return _s3(_REPEATABLE)


@cache
def s3_bulk() -> S3Client:
    """S3 for reading or copying whole objects in ranges, over many connections at once."""
    return _s3(_BULK)
