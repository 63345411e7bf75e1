"""`sam local start-api`: every route of the API, answered by Lambda's own image beside the running system."""

import socket
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from local import api as deployed
from local.invoke import api
from local.processes import free_ports
from local.stack import LocalStack

pytestmark = pytest.mark.usefixtures("lambda_image")

UPLOAD = {"filename": "a.mp4", "contentType": "video/mp4", "size": 20_000_000}
ROUTES = [
    ("POST", "/uploads/presign", UPLOAD, 200),
    ("POST", "/uploads/multipart", UPLOAD, 201),
    ("POST", "/uploads/multipart/parts", {"key": "KEY", "uploadId": "UPLOAD", "parts": [{"partNumber": 1}]}, 200),
    ("GET", "/uploads/multipart?key=KEY&uploadId=UPLOAD", None, 200),
    (
        "POST",
        "/uploads/multipart/complete",
        {"key": "KEY", "uploadId": "UPLOAD", "size": 20_000_000, "parts": [{"partNumber": 1, "etag": "e"}]},
        409,
    ),
    ("DELETE", "/uploads/multipart?key=KEY&uploadId=UPLOAD", None, 204),
    ("POST", "/process", {"imageUrls": ["s3://BUCKET/a.jpg"], "userId": "u"}, 202),
    ("POST", "/jobs", {"url": "http://127.0.0.1:9/live.m3u8", "jobId": "started-in-docker"}, 201),
    ("GET", "/jobs/started-in-docker", None, 200),
    ("GET", "/jobs?kind=stream-recording", None, 200),
    ("DELETE", "/jobs/no-such-job", None, 404),
    ("GET", "/openapi.json", None, 200),
    ("OPTIONS", "/jobs", None, 204),
    ("GET", "/v1/openapi.json", None, 403),  # `sam local start-api` has no stages
]


@pytest.fixture(scope="module")
def http(stack: LocalStack) -> Iterator[httpx.Client]:
    [port] = free_ports(1)
    with api(stack, port), httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=120) as client:
        deadline = time.monotonic() + 60
        while not _listens(port):
            assert time.monotonic() < deadline, "sam local start-api doesn't answer"
            time.sleep(0.2)
        yield client


@pytest.fixture(scope="module")
def upload(stack: LocalStack) -> dict[str, str]:
    """An upload in parts that has begun, and the bucket."""
    with deployed.client(stack) as client:
        begun: dict[str, Any] = client.post("/uploads/multipart", json=UPLOAD).json()
    return {"KEY": begun["key"], "UPLOAD": begun["uploadId"], "BUCKET": begun["bucket"]}


@pytest.mark.parametrize(("method", "path", "body", "status"), ROUTES, ids=lambda value: str(value)[:40])
def test_every_route_is_served(
    http: httpx.Client, upload: dict[str, str], method: str, path: str, body: object, status: int
) -> None:
    answer = http.request(method, _filled(path, upload), json=_filled(body, upload))

    assert answer.status_code == status, answer.text


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _filled(value: Any, names: dict[str, str]) -> Any:  # noqa: ANN401 - any JSON
    match value:
        case str():
            for name, real in names.items():
                value = value.replace(name, real)
            return value
        case dict():
            return {key: _filled(each, names) for key, each in value.items()}
        case list():
            return [_filled(each, names) for each in value]
    return value
