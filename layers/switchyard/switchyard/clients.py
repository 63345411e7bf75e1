"""The only module that makes boto3 clients, each as the calls it is for demand."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, cast

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

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from botocore.credentials import ReadOnlyCredentials
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# Ten messages of one invocation are handled side by side, each with one call open at a time.
_CONNECTIONS = 16
_CONNECT_TIMEOUT = 3

_REPEATABLE = Config(
    retries={"mode": "standard", "total_max_attempts": 4},
    connect_timeout=_CONNECT_TIMEOUT,
    read_timeout=5,
    max_pool_connections=_CONNECTIONS,
)
"""For calls that may be sent again: conditional writes, reads, and transactions, which carry a token of their own."""

_OUR_OWN = _REPEATABLE.merge(Config(parameter_validation=False))
"""For DynamoDB and SQS: we write every request in full, and checking a claim costs a sixth of the whole call."""

_ONCE = Config(
    retries={"mode": "standard", "total_max_attempts": 1},
    connect_timeout=_CONNECT_TIMEOUT,
    read_timeout=10,
    max_pool_connections=_CONNECTIONS,
)
"""For SubmitJob, which has no idempotency token: a read timeout that the SDK retries is a doubled job."""

_LAUNCHES = _REPEATABLE.merge(Config(retries={"mode": "standard", "total_max_attempts": 3}))
"""For RunTask, whose clientToken makes it repeatable; fewer, so that a function's 30 seconds are enough."""

_SIGNING = Config(
    signature_version="s3v4", s3={"us_east_1_regional_endpoint": "regional", "addressing_style": "virtual"}
)
"""For presigned URLs: SigV2 leaves size and type unchecked, and the global host redirects where a bucket is young."""

_BULK = _REPEATABLE.merge(
    # A copied range is answered only when S3 has copied it. What we read has a hash of its own already.
    Config(read_timeout=20, max_pool_connections=64, response_checksum_validation="when_required")
)
"""For ranges of objects, read or copied: both may be repeated."""


def _retry_cut_off(
    response: tuple[Any, dict[str, Any]] | None,
    attempts: int,
    operation: Any,  # noqa: ANN401 - botocore has no types
    endpoint: Any,  # noqa: ANN401 - as above
    *,
    most: int,
    **_: object,
) -> float | None:
    """A botocore `needs-retry` handler: seconds to wait before asking again because the answer ended too soon.

    Where a connection breaks in the middle of an answer, botocore takes what has come for all of it, and JSON that ends
    too soon for an answer without members: an item that is there would be one that isn't. After `most` attempts this
    raises what botocore raises where no answer came at all.
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
    """A botocore `before-parse` handler: takes the JSON of an answer as it is, and leaves botocore nothing to parse.

    botocore looks for every member that a shape may have, most of which are never there: four fifths of what it takes
    to ask how 10,000 jobs stand. What it makes of these answers is what they are, but for times, and but for binary
    attributes, of which we have none. What is no success, or was cut off, it parses as ever.
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
    """One for all clients, which share the data it has loaded."""
    return boto3.Session(botocore_session=_core())  # or it would make one that nobody else can ask


def credentials() -> ReadOnlyCredentials:
    """What all clients sign with, as it is now. NoCredentialsError where there is nothing."""
    found = _session().get_credentials()
    if found is None:
        raise NoCredentialsError
    return found.get_frozen_credentials()


def _client(service: str, config: Config) -> Any:  # noqa: ANN401 - the callers name the type
    """A client that takes no part of an answer for the whole."""
    session = _session()
    # Said once. What botocore says by default it puts together anew for every call, twice.
    named = config.merge(Config(user_agent=_core().user_agent()))
    client: Any = session.client(cast("Any", service), config=named)
    events = f"needs-retry.{client.meta.service_model.service_id.hyphenize()}"
    most = client.meta.config.retries["total_max_attempts"]
    client.meta.events.register(events, partial(_retry_cut_off, most=most))
    return client


@contextmanager
def translated() -> Iterator[None]:
    """Raises Unavailable in place of boto3's errors; a context manager and a decorator.

    Classes that implement a port of the protocol use it, so that the protocol knows no AWS error. A generator needs the
    block: a decorator covers only the call that makes the generator.
    """
    try:
        yield
    except (ClientError, BotoCoreError) as error:
        raise Unavailable(f"{type(error).__name__}: {error}") from error


_CONFLICT_ATTEMPTS = 8
_PASSING_REASONS = frozenset({"TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded"})


def pause_after_conflict(response: tuple[Any, dict[str, Any]] | None, attempts: int, **_: object) -> float | None:
    """A botocore `needs-retry` handler: seconds to wait before repeating a transaction that only lost a race.

    A lane's SLOTS item is hot, and DynamoDB cancels rather than queues a transaction that meets another one on the same
    item; botocore's own rules take every cancellation for final.
    """
    if response is None or attempts >= _CONFLICT_ATTEMPTS:
        return None
    reasons = {reason.get("Code") for reason in response[1].get("CancellationReasons", ())} - {"None"}
    if not reasons or not reasons <= _PASSING_REASONS:
        return None
    return random.uniform(0, min(0.5, 0.01 * 2**attempts))  # noqa: S311 - jitter, not a secret


_PLACEMENT_ATTEMPTS = 4
_NO_ROOM = ("RESOURCE:", "AGENT", "Capacity is unavailable")

NEVER_SENT = (ConnectTimeoutError, EndpointConnectionError, ProxyConnectionError, NoCredentialsError)
"""What says that a request has not left this machine."""

IN_DOUBT = "InDoubt"
"""In the ResponseMetadata of an answer to RunTask: an earlier attempt of the call may have had its effect."""


def is_throttle(answer: Mapping[str, Any]) -> bool:
    """Whether an answer says only that there were too many requests: this one was not looked at."""
    too_many = answer["ResponseMetadata"].get("HTTPStatusCode") == HTTPStatus.TOO_MANY_REQUESTS
    return too_many or "Throttl" in answer.get("Error", {}).get("Code", "")


def is_without_room(reason: str) -> bool:
    """Whether a failure of RunTask says only that there is no room now (ECS developer guide, "API failure reasons")."""
    return reason.startswith(_NO_ROOM)


def _retry_placement(
    response: tuple[Any, dict[str, Any]] | None,
    attempts: int,
    caught_exception: Exception | None,
    request_dict: dict[str, Any],
    **_: object,
) -> float | None:
    """A botocore `needs-retry` handler: seconds to wait before asking again for a task that found no room.

    RunTask says so with HTTP 200, so botocore takes the answer for a success, as it does one that was cut off. A task
    that an earlier attempt may have started must not be taken for refused because a later one was throttled: that is
    noted on the way.
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
    """DynamoDB, with the SDK's retries, which also repeat transactions that met another one on the same item."""
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


@cache
def batch() -> BatchClient:
    """Batch for reading, with the SDK's retries."""
    client: BatchClient = _client("batch", _REPEATABLE)
    _taking_as_sent(client, "DescribeJobs")
    return client


@cache
def batch_submit() -> BatchClient:
    """Batch for SubmitJob: one attempt, no more."""
    client: BatchClient = _client("batch", _ONCE)
    return client


@cache
def ecs() -> ECSClient:
    """ECS, with the SDK's retries, which also repeat a RunTask that found no room. Tasks' times are numbers."""
    client: ECSClient = _client("ecs", _LAUNCHES)
    _taking_as_sent(client, "DescribeTasks")
    client.meta.events.register("needs-retry.ecs.RunTask", cast("Any", _retry_placement))
    return client


def _s3(config: Config) -> S3Client:
    signing = config.merge(_SIGNING)
    client: S3Client = _client("s3", signing)
    if ".amazonaws.com" not in client.meta.endpoint_url:
        # An emulator: its address has no name for each bucket.
        client = _client("s3", signing.merge(Config(s3={"addressing_style": "path"})))
    return client


@cache
def s3() -> S3Client:
    """S3, with the SDK's retries. What it signs is SigV4, for the bucket's own host in the Region."""
    return _s3(_REPEATABLE)


@cache
def s3_bulk() -> S3Client:
    """S3 for whole objects, read by many connections at once or copied by S3 itself, range by range."""
    return _s3(_BULK)
