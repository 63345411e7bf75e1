"""Checks of the HTTP API: bodies, headers, page tokens, whole requests from API Gateway, and rows to show."""

import base64
import json
import logging
import os
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import astuple
from datetime import timedelta
from functools import cache
from io import BytesIO
from typing import Any, Final, cast
from unittest import mock
from urllib.parse import unquote, urlsplit

import boto3
from botocore.awsrequest import AWSResponse

from functions.cancel_job import app as cancel_job
from functions.get_job import app as get_job
from functions.presign_upload import app as presign_upload
from functions.submit_job import app as submit_job
from switchyard import clients, observability
from switchyard.api.http import MAX_DEPTH, Api, Problem, Request, document
from switchyard.api.presentation import Presentation
from switchyard.api.results import Results
from switchyard.api.submission import idempotency_key
from switchyard.api.uploads import Uploads
from switchyard.tables.records import BadToken, Filters, Records, _place_of, _token
from tests.corpus.urls import RESOLVES
from tests.fakes.resolver import resolving
from tests.fuzz.harness import text

SCHEMAS: Final = (
    "ProcessRequest",
    "JobRequest",
    "TorrentRequest",
    "PresignRequest",
    "MultipartRequest",
    "MultipartPartsRequest",
    "MultipartCompleteRequest",
)
BUCKET: Final = "media"
_VIDEO_ID: Final = re.compile(r"(?P<video_id>[^/]{36})[^/]*$")
_CREDENTIALS: Final = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


def body(data: bytes) -> None:
    """`Request.json`, for every schema: accepted bodies can be stored and parse the same; refusals quote nothing."""
    given = text(data)
    packed = base64.b64encode(data).decode()
    for schema in SCHEMAS:
        for request in (
            Request("POST", "/", body=given),
            Request("POST", "/", body=packed, body_is_base64=True),
            Request("POST", "/", body=given, body_is_base64=True),
        ):
            try:
                value = request.json(schema)
            except Problem as problem:
                assert problem.status in (400, 413)
                assert problem.error in ("INVALID_REQUEST", "TOO_LARGE")
                assert 0 <= len(problem.details) <= 10
                assert all(detail.isprintable() for detail in problem.details)
                continue
            written = json.dumps(value, allow_nan=False, ensure_ascii=False)
            assert _depth(value) <= MAX_DEPTH
            assert Request("POST", "/", body=written).json(schema) == value


def _depth(value: object) -> int:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(_depth, inner), default=0)


def headers(data: bytes) -> None:
    """Headers, one per line: the Idempotency-Key is visible ASCII or refused; conditions and content types are safe."""
    lines = (line.partition(": ") for line in text(data).split("\n"))
    request = Request("POST", "/jobs", headers={name.lower(): value for name, _, value in lines}, body="{}")
    try:
        key = idempotency_key(request)
    except Problem as problem:
        assert problem.status == 400
    else:
        assert re.fullmatch("[!-~]{0,255}", key)
    condition = request.headers.get("if-none-match", "")
    assert request.has('W/"0123"') == (condition.strip() == "*" or '"0123"' in _tags(condition))
    try:
        request.json("JobRequest")
    except Problem as problem:
        assert problem.status in (400, 415)
    else:
        raise AssertionError("an empty request was accepted")


def _tags(condition: str) -> list[str]:
    return [each.strip().removeprefix("W/") for each in condition.split(",")]


# ---- tokens ----------------------------------------------------------------------------------------------------------

LISTS: Final = (
    Filters(user_id="ada"),
    Filters(user_id="bob"),
    Filters(user_id="ada", statuses=("RUNNING",)),
    Filters(statuses=("RUNNING",)),
    Filters(kind="RUNNING"),
    Filters(user_id="null", kind=None),
)


def token(data: bytes) -> None:
    """A page's token: valid for one list only and encoded to an equivalent token, or BadToken."""
    given = text(data)
    positions = []
    for filters in LISTS:
        try:
            place = _place_of(given, filters)
        except BadToken:
            continue
        assert all(1 <= len(each.encode()) <= 2048 for each in (place.time, place.id))
        assert _place_of(_token(place, filters), filters) == place
        positions.append(astuple(filters))
    assert len(positions) <= 1


# ---- whole requests --------------------------------------------------------------------------------------------------


class _Raw(BytesIO):
    """A response body as urllib3 returns it."""

    def stream(self, **_wishes: object) -> list[bytes]:
        return [self.read()]


_XML: Final = {"content-type": "application/xml"}
_ITEM: Final = {
    "jobId": {"S": "job-1"},
    "status": {"S": "COMPLETED"},
    "kind": {"S": "image-processing"},
    "userId": {"S": "ada"},
    "createdAt": {"S": "2026-11-22T12:00:00.000Z"},
}
_ANSWERS: Final[Mapping[str, tuple[Mapping[str, str], str]]] = {
    "GetItem": ({}, json.dumps({"Item": _ITEM})),
    "Query": ({}, json.dumps({"Items": [_ITEM], "LastEvaluatedKey": _ITEM})),
    "SendMessage": ({}, json.dumps({"MessageId": "m1"})),
    "CreateMultipartUpload": (_XML, "<R><UploadId>upload-1</UploadId></R>"),
    "ListParts": (
        _XML,
        "<R><IsTruncated>false</IsTruncated><Part><PartNumber>1</PartNumber><Size>5</Size><ETag>e</ETag></Part></R>",
    ),
    "AbortMultipartUpload": ({}, ""),
    "CompleteMultipartUpload": (_XML, '<R><ETag>"e-1"</ETag></R>'),
    "GetObject": ({"content-length": "14"}, json.dumps({"images": []})),
    "Invoke": ({}, json.dumps({"statusCode": 202, "body": "{}"})),
    "HeadObject": (
        {"etag": '"e"', "content-length": "5", "last-modified": "Sun, 22 Nov 2026 12:00:00 GMT"},
        "",
    ),
}
"""AWS's answers to every request. botocore still validates and serializes each request."""


def _client(service: str) -> Any:  # noqa: ANN401 - a client of boto3
    client = boto3.client(cast("Any", service), region_name="us-east-1")

    def answered(request: Any, **_about: object) -> AWSResponse:  # noqa: ANN401 - botocore's
        given, text_of_it = _ANSWERS.get(operations.pop(), ({}, "{}"))
        return AWSResponse(request.url, 200, cast("Any", given), cast("Any", _Raw(text_of_it.encode())))

    operations: list[str] = []
    client.meta.events.register(f"before-call.{service}", lambda model, **_: operations.append(model.name))
    client.meta.events.register(f"before-send.{service}", answered)
    return client


@cache
def _routes() -> Mapping[str, Callable[[dict[str, Any], object], dict[str, Any]]]:
    """Returns the function of every route, with clients and settings created once."""
    # An invocation without metrics is normal.
    warnings.filterwarnings("ignore", message="No application metrics to publish")
    made = {service: _client(service) for service in ("dynamodb", "sqs", "s3", "batch", "ecs")}
    made["functions"] = _client("lambda")
    variables = {
        "JOBS_TABLE": "jobs",
        "LANES_TABLE": "lanes",
        "QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/jobs",
        "TORRENT_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/torrents",
        "STEAM_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/steam",
        "LIBRARY_TABLE": "library",
        "S3_BUCKET": BUCKET,
        "VIDEO_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/video",
        "ECS_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/ecs-jobs",
        "BATCH_JOB_QUEUE": "video",
        "BATCH_JOB_DEFINITION": "analyze-video",
        "SUBMIT_FUNCTION": "submit_job",
        "TRACK_QUEUE_URL": "https://sqs.us-east-1.amazonaws.com/123456789012/track",
        "ECS_CLUSTER": "cluster",
        "ECS_TASK_DEF": "recorder",
        "IMAGE_TASK_DEF": "detector",
    }
    routes: dict[str, Callable[[dict[str, Any], object], dict[str, Any]]] = {}
    with mock.patch.dict(os.environ, _CREDENTIALS | variables, clear=False):
        for app in (submit_job, get_job, presign_upload, cancel_job):
            app.api.cache_clear()
            with ExitStack() as stack:
                # It would also add this environment's name to other tests' metrics.
                stack.enter_context(mock.patch.object(observability, "configure"))
                for name, client in made.items():
                    stack.enter_context(mock.patch.object(clients, name, return_value=client))
                api = app.api()
            app.api.cache_clear()
            routes |= dict.fromkeys(api.routes, api.handle)
    return routes


class Context:
    """An invocation's context from Lambda."""

    aws_request_id = "52fdfc07-2182-454f-963f-5f0f9a621d72"


def gateway(data: bytes) -> None:
    """Requests from API Gateway to the functions: every answer is documented, and none is 5xx."""
    event = _event(data)
    if event is None:
        return
    route = f"{event['httpMethod']} {event['resource']}"
    handle = _routes().get(route, _routes()["GET /jobs"])
    with resolving(RESOLVES), _silent():
        answer = handle(event, Context())
    status = answer["statusCode"]
    assert status < 500, f"{route}: {answer['body']}"
    for name, value in answer["headers"].items():
        assert f"{name}{value}".isprintable()
    if status >= 400:
        assert set(json.loads(answer["body"])) == {"error", "message", "details", "requestId"}
    if route in _routes():
        operation = document()["paths"][event["resource"]][event["httpMethod"].lower()]
        assert str(status) in operation["responses"], f"{route}: {status}"


@contextmanager
def _silent() -> Iterator[None]:
    """Turns off the log, which would hide a finding."""
    level = observability.logger.log_level
    observability.logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        observability.logger.setLevel(level)


def _event(data: bytes) -> dict[str, Any] | None:
    """Builds an event from JSON, with fields of the types that API Gateway uses; None if there is none."""
    try:
        given = json.loads(text(data))
    except (ValueError, RecursionError):
        return None
    if not isinstance(given, dict):
        return None
    method, resource = given.get("httpMethod"), given.get("resource")
    content, about = given.get("body"), given.get("requestContext")
    user = about.get("user") if isinstance(about, dict) else None
    claims = {"authorizer": {"claims": {"sub": user}}} if isinstance(user, str) and user else {}
    query = _texts(given.get("queryStringParameters"))
    return {
        "httpMethod": method if isinstance(method, str) else "GET",
        "resource": resource if isinstance(resource, str) else "/jobs",
        "headers": _texts(given.get("headers")),
        "queryStringParameters": query or None,
        "multiValueQueryStringParameters": {name: [value] for name, value in query.items()} or None,
        "pathParameters": _texts(given.get("pathParameters")) or None,
        "requestContext": {"requestId": "r1", **claims},
        "body": content if isinstance(content, str | None) else json.dumps(content),
        "isBase64Encoded": given.get("isBase64Encoded") is True,
    }


def _texts(value: object) -> dict[str, str]:
    return {name: str(each) for name, each in value.items()} if isinstance(value, dict) else {}


# ---- rows ------------------------------------------------------------------------------------------------------------


_HALF: Final = re.compile("[\ud800-\udfff]")


class _Table:
    """A DynamoDB with one row."""

    def __init__(self, item: dict[str, Any]) -> None:
        self._item = item

    def get_item(self, **_call: object) -> dict[str, Any]:
        return {"Item": self._item}


@cache
def _signer() -> Any:  # noqa: ANN401 - a client of boto3
    with mock.patch.dict(os.environ, _CREDENTIALS):
        return _client("s3")


def row(data: bytes) -> None:
    """`Presentation.job`, for any row written as JSON: it is shown, with links only into its own folder."""
    try:
        # DynamoDB's text is UTF-8, which has no lone surrogates.
        whole = _HALF.sub("?", json.dumps(json.loads(text(data)), ensure_ascii=False))
        given = json.loads(whole, parse_constant=lambda _: 0.0, parse_float=_decimal, parse_int=_decimal)
    except (ValueError, RecursionError):
        return
    if not isinstance(given, dict):
        return
    records = Records(cast("Any", _Table({**_attribute(given)["M"], "jobId": {"S": "job-1"}})), "jobs")
    shown = Presentation(records, Results(_signer, BUCKET, "torrents/", timedelta(minutes=15)))
    event = {"httpMethod": "GET", "resource": "/jobs/{jobId}", "pathParameters": {"jobId": "job-1"}}
    with _silent():
        answer = Api({"GET /jobs/{jobId}": shown.job}).handle(event, Context())
    assert answer["statusCode"] == 200, answer["body"]
    view = json.loads(answer["body"])
    assert all(isinstance(view.get(name, ""), str) for name in ("kind", "status", "userId", "createdAt", "updatedAt"))
    for url in view.get("links", {}).values():
        path = unquote(urlsplit(url).path)
        assert {"", ".", ".."}.isdisjoint(path.removeprefix("/").split("/"))
        assert "/job-1/" in path or path.startswith("/torrents/") or f"/{BUCKET}/torrents/" in path


def _decimal(digits: str) -> float:
    """Returns a number as DynamoDB would store it: at most 38 digits, and up to 1E126."""
    value = float(digits)
    return value if abs(value) < 1e126 else 0.0


def _attribute(value: object) -> dict[str, Any]:
    match value:
        case None:
            return {"NULL": True}
        case bool():
            return {"BOOL": value}
        case float():
            return {"N": str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(value)}
        case str():
            return {"S": value}
        case list():
            return {"L": [_attribute(each) for each in value]}
        case dict():
            return {"M": {name: _attribute(each) for name, each in value.items()}}
        case _:
            raise TypeError(type(value).__name__)


# ---- uploads ---------------------------------------------------------------------------------------------------------

_KEY: Final = re.compile(
    r"uploads/(?:[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}/)?\d{4}/\d\d/\d\d/[0-9a-f-]{36}-[A-Za-z0-9._-]{1,120}"
)


def upload_key(data: bytes) -> None:
    """A key that a client names as its upload's: one that this API may have issued to that client, or not found."""
    given = text(data)
    uploads = Uploads(cast("Any", None), BUCKET, "uploads/", timedelta(minutes=15), 2**30, _VIDEO_ID)
    for user in (None, "ada"):
        try:
            upload = uploads._own(Request("GET", "/", user_id=user), given, "upload-1")
        except Problem as problem:
            assert problem.status == 404
            continue
        assert upload["Bucket"] == BUCKET
        assert _KEY.fullmatch(upload["Key"])
        assert upload["Key"] == given
        assert user is None or given.startswith(f"uploads/{user}/")
