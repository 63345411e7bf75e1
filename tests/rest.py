"""Builds API requests as API Gateway's REST proxy integration passes them, and reads answers as a caller does."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, cast

import fastjsonschema

from switchyard.api import http
from switchyard.api.http import Api


@dataclass(frozen=True)
class Answer:
    """An API answer; `body` is parsed JSON."""

    status: int
    headers: Mapping[str, str]
    body: Any


def event(
    route: str,
    body: object = None,
    *,
    raw: str | None = None,
    base64: bool = False,
    headers: Mapping[str, str] | None = None,
    path: Mapping[str, str] | None = None,
    query: Mapping[str, str | Sequence[str]] | None = None,
    user: str | None = None,
    identity: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Builds an event for `route` ("POST /process"); `raw` is a body as sent. A list repeats a parameter."""
    method, _, resource = route.partition(" ")
    values = {name: [value] if isinstance(value, str) else [*value] for name, value in (query or {}).items()}
    return {
        "resource": resource,
        "path": resource,
        "httpMethod": method,
        "headers": dict(headers or {}),
        "pathParameters": path,
        "queryStringParameters": {name: each[-1] for name, each in values.items()} or None,
        "multiValueQueryStringParameters": values or None,
        "requestContext": {"requestId": "the-request", "identity": identity}
        | ({"authorizer": {"claims": {"sub": user}}} if user is not None else {}),
        "body": raw if body is None else json.dumps(body),
        "isBase64Encoded": base64,
    }


def ask(api: Api, route: str, body: object = None, **more: Any) -> Answer:  # noqa: ANN401 - as `event`
    """Sends one request and returns the answer."""
    asked = event(route, body, **more)
    return read(asked, api.handle(asked, None))


def read(asked: Mapping[str, Any], answer: Mapping[str, Any]) -> Answer:
    """Returns the answer to an event, checked against openapi.json."""
    found = Answer(answer["statusCode"], answer["headers"], json.loads(answer["body"] or "null"))
    _documented(f"{asked['httpMethod']} {asked['resource']}", found.status)(found.body)
    return found


@cache
def _documented(route: str, status: int) -> Callable[[object], object]:
    """Returns a check for an answer's body. Fails if openapi.json doesn't document the status."""
    method, _, resource = route.partition(" ")
    document = http.document()
    response = document["paths"][resource][method.lower()]["responses"][str(status)]
    if "$ref" in response:
        response = document["components"]["responses"][response["$ref"].rpartition("/")[2]]
    if "content" not in response:
        return fastjsonschema.compile({"type": "null"})
    schema = response["content"]["application/json"]["schema"]
    return cast("Callable[[object], object]", fastjsonschema.compile(schema | {"components": document["components"]}))
