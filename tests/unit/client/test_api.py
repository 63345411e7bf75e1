"""The client has every route of openapi.json, sends what the document allows, and its types are the document's."""

import ast
import asyncio
import inspect
import json
import re
from collections.abc import Mapping
from typing import Any, Final

import httpx
from jsonschema_rs import Draft4Validator

from switchyard.api import http
from switchyard_client import AsyncSwitchyard
from switchyard_client.api import ROUTES, Api
from tests.cases import cases
from tools import shapes

DOCUMENT: Final = http.document()
OPERATIONS: Final[Mapping[str, dict[str, Any]]] = {
    f"{verb.upper()} {path}": {
        **operation,
        "parameters": [*item.get("parameters", ()), *operation.get("parameters", ())],
    }
    for path, item in DOCUMENT["paths"].items()
    for verb, operation in item.items()
    if verb in {"get", "post", "delete"}
}
NOT_SENT: Final = frozenset({"file_name", "content_type", "If-None-Match"})
"""Other names of fields, and a header that only saves bytes."""

SAMPLES: Final[Mapping[str, Any]] = {
    "answer": True,
    "content_type": "video/mp4",
    "size": 20 * 2**20,
    "kind": "video",
    "method": "PUT",
    "checksum": "SHA1",
    "key": "uploads/2026/11/22/6f1c2a34-5b6d-4e7f-8a90-b1c2d3e4f506-clip.mp4",
    "parts": [{"partNumber": 1, "etag": '"e"'}],
    "metadata": {"a": 1},
    "image_urls": ["s3://bucket/key"],
    "url": "https://example.com/a",
    "bucket": "bucket",
    "again": True,
    "event_types": ["job.failed"],
    "kinds": ["torrent"],
    "limit": 5,
    "data": True,
    "upload": True,
    "sort": "name",
    "priority": 3,
    "status": "RUNNING",
    "stages": ["speech"],
    "requests": [{"action": "cancel", "jobId": "a"}],
    "imports": None,
}
"""A value for each argument that isn't just any text."""


def snake(name: str) -> str:
    return "from_" if name == "from" else re.sub("(?<!^)(?=[A-Z])", "_", name).lower()


def resolved(node: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in node:
        *_, section, name = node["$ref"].split("/")
        node = DOCUMENT["components"][section][name]
    return node


def fields(operation: Mapping[str, Any]) -> set[str]:
    """Returns the names of an operation's parameters and of its body's fields."""
    body = resolved(operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {}))
    return {resolved(each)["name"] for each in operation["parameters"]} | set(body.get("properties", ()))


def test_every_route_has_a_method_and_no_method_has_no_route() -> None:
    assert ROUTES.keys() == OPERATIONS.keys()


@cases("route", sorted(OPERATIONS))
def test_a_method_takes_every_field(route: str) -> None:
    taken = set(inspect.signature(getattr(Api, ROUTES[route]).__wrapped__).parameters)

    missing = {
        name
        for name in fields(OPERATIONS[route]) - NOT_SENT
        if snake(name.replace("Idempotency-Key", "idempotencyKey")) not in taken
    }

    assert missing == set()


@cases("route", sorted(ROUTES))
def test_a_method_sends_what_the_document_allows(route: str) -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, json={})

    async def call() -> None:
        async with AsyncSwitchyard("https://example.com/v1", "key", transport=httpx.MockTransport(answer)) as api:
            method = getattr(api, ROUTES[route])
            given = {name: SAMPLES.get(name, f"some-{name}") for name in inspect.signature(method).parameters}
            if route == "POST /uploads/multipart/parts":
                given["parts"] = [{"partNumber": 1, "size": 5}]
            await method(**given)

    asyncio.run(call())

    [request] = seen
    verb, path = route.split(" ")
    pattern = re.sub(r"\{[^}]+\}", "[^/]+", f"/v1{path}")
    assert (request.method, bool(re.fullmatch(pattern, request.url.path))) == (verb, True)
    assert request.headers["x-api-key"] == "key"
    if route in OPERATIONS:
        parameters = {resolved(each)["name"]: resolved(each) for each in OPERATIONS[route]["parameters"]}
        assert set(dict(request.url.params)) <= {name for name, each in parameters.items() if each["in"] == "query"}
        if "requestBody" in OPERATIONS[route]:
            schema = OPERATIONS[route]["requestBody"]["content"]["application/json"]["schema"]
            body = json.loads(request.content)
            assert [
                each.message
                for each in Draft4Validator(schema | {"components": DOCUMENT["components"]}).iter_errors(body)
            ] == []
        if "Idempotency-Key" in parameters:
            assert request.headers["idempotency-key"]


def test_the_types_are_those_of_the_document() -> None:
    assert ast.dump(ast.parse(shapes.FILE.read_text())) == ast.dump(ast.parse(shapes.written(DOCUMENT))), (
        "openapi.json has changed: run `python -m tools.shapes`"
    )


@cases("route", sorted(OPERATIONS))
def test_a_method_returns_the_documents_type(route: str) -> None:
    good = [each for status, each in OPERATIONS[route]["responses"].items() if status.startswith("2")]
    named = {
        each["content"]["application/json"]["schema"].get("$ref", "").rpartition("/")[2]
        for each in map(resolved, good)
        if "content" in each
    }

    annotation = inspect.signature(getattr(Api, ROUTES[route]).__wrapped__).return_annotation
    returned = str(annotation)

    if named != {""}:
        assert set(re.findall(r"shapes\.(\w+)", returned)) == named, returned
