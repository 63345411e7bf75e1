"""Answers `POST /jobs/bulk`: up to 100 requests in one, each answered as its own route would.

The routes' handlers are called here, several at a time; those of another function by invoking it. API Gateway doesn't
wait for long: requests that are not begun in time are answered 503, to be sent again.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from switchyard import observability
from switchyard.api.http import Handler, Request, Response, answered, event_of, invalid
from switchyard.api.submission import idempotency_key
from switchyard.errors import Unavailable
from switchyard.names import stable_hash

if TYPE_CHECKING:
    from mypy_boto3_lambda import LambdaClient

_AT_A_TIME = 5
"""A new account may have no more than ten executions of Lambda at once."""
_SECONDS = 15.0
"""How long requests are begun. The last may take the time limit of `clients.functions`, and API Gateway waits 29 s."""
_JOB = {"cancel": "DELETE /jobs/{jobId}", "rerun": "POST /jobs/{jobId}/rerun"}


@dataclass(slots=True, eq=False)
class OtherFunction:
    """Handles requests by invoking another function of the API. `client` returns the client, made when needed."""

    client: Callable[[], LambdaClient]
    name: str

    def ask(self, request: Request) -> Response:
        """Has the function answer as if API Gateway had sent it the request.

        Raises:
            Unavailable: it crashed, or ran out of time.
        """
        answer = self.client().invoke(FunctionName=self.name, Payload=json.dumps(event_of(request)).encode())
        with closing(answer["Payload"]) as payload:
            found = json.loads(payload.read())
        if error := answer.get("FunctionError"):
            raise Unavailable(f"{self.name} failed: {error}")
        return Response(found["statusCode"], json.loads(found["body"]))


@dataclass(slots=True, eq=False)
class Bulk:
    """The handler. `routes` are the handlers of the single routes, as `Api` has them."""

    routes: Mapping[str, Handler]
    pool: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, _AT_A_TIME), repr=False)

    def bulk(self, request: Request) -> Response:
        """`POST /jobs/bulk`. A request that is refused, or fails, leaves the others as they are."""
        asked, key = request.json("BulkRequest")["requests"], idempotency_key(request)
        end = time.monotonic() + _SECONDS
        one = observability.carrying_trace(partial(self._one, request, key, end))
        return Response(207, {"responses": list(self.pool.map(one, range(len(asked)), asked))})

    def _one(self, request: Request, key: str, end: float, number: int, asked: Mapping[str, Any]) -> dict[str, Any]:
        answer = partial(self._answer, request, key, end, number, asked)
        return answered(answer, request.request_id, lambda found: {"status": found.status, "body": found.body})

    def _answer(self, request: Request, key: str, end: float, number: int, asked: Mapping[str, Any]) -> Response:
        if time.monotonic() > end:
            raise Unavailable("too many requests for the time")
        route, path, body = self._read(asked)
        # Its own key for each, so that the whole can be repeated. Headers about the whole body say nothing of this one.
        headers = {"idempotency-key": stable_hash(key, str(number))} if key else {}
        method, _, resource = route.partition(" ")
        single = replace(
            request,
            method=method,
            route=resource,
            path=path,
            query={},
            repeated={},
            headers=headers,
            body=None if body is None else json.dumps(body),
            body_is_base64=False,
        )
        return self.routes[route](single)

    def _read(self, asked: Mapping[str, Any]) -> tuple[str, dict[str, str], object]:
        """The route, path parameters and body of one request.

        Raises:
            Problem: 400.
        """
        match asked:
            case {"action": "cancel" | "rerun" as action, "jobId": str(job_id), **others} if not others:
                return _JOB[action], {"jobId": quote(job_id, safe="")}, None
            case {"action": "submit", "path": str(path), "body": dict(body), **others} if not others:
                if f"POST {path}" in self.routes:
                    return f"POST {path}", {}, body
        paths = ", ".join(route.removeprefix("POST ") for route in self.routes if route not in _JOB.values())
        raise invalid(f"a request must be a cancel or rerun with jobId, or a submit with body and path, one of {paths}")
