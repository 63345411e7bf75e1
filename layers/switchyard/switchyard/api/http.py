"""HTTP behind API Gateway's REST proxy integration: routing, request bodies, responses, CORS and errors.

openapi.json, beside this module, is the contract: request bodies are validated against its schemas. A handler takes a
`Request` and returns a `Response` or raises a `Problem`. Any other exception becomes a 503 (an AWS call failed) or a
500 (a bug), and its text is never shown.
"""

import base64
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, NoReturn, cast

from botocore.exceptions import BotoCoreError, ClientError

from switchyard.errors import RetryableError, Unavailable
from switchyard.keys import is_owner
from switchyard.observability import logger

MAX_BODY = 256 * 1024
"""Bytes of a request's body."""
MAX_DEPTH = 32
"""Levels of objects and arrays in a request, so that what is stored of it can be written and read as JSON again."""

_MAX_DETAILS = 10
_RETRY_AFTER = 2
_PREFLIGHT_SECONDS = 3600
_ANY_ORIGIN = "*"


class Problem(Exception):
    """An error response. `error` is a stable code; `message` and `details` are for people, and safe to show."""

    def __init__(
        self,
        status: int,
        error: str,
        message: str,
        details: Sequence[str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(f"{status} {error}: {message}")
        self.status = status
        self.error = error
        self.message = message
        self.details = details
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `route` is the path's template, such as `/jobs/{jobId}`; header names are in lower case.

    `url_path` is the path as it was sent, without the stage.

    `user_id` is the caller's id if the caller is a user (Cognito), and None for an API key or an IAM role. `caller` is
    `user:<id>`, `key:<id of the API key>` or `role:<ARN>`, and empty if API Gateway names nobody.
    """

    method: str
    route: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    request_id: str = ""
    user_id: str | None = None
    caller: str = ""
    body: str | None = field(default=None, repr=False)
    body_is_base64: bool = field(default=False, repr=False)
    url_path: str = ""
    repeated: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """All values of each parameter of the query; `query` has the last one."""

    def values(self, name: str) -> list[str]:
        """The values of a parameter that may be repeated, or have several values between commas."""
        return [value for each in self.repeated.get(name, ()) for value in each.split(",")]

    def json(self, schema: str, limit: int = MAX_BODY) -> dict[str, Any]:
        """The body, validated against `components.schemas.<schema>` of openapi.json, with defaults filled in.

        Raises:
            Problem: 400 with the broken rules, 413 for more than `limit` bytes, 415 for another content type.
        """
        media_type = self.headers.get("content-type", "application/json")
        if media_type != "application/json" and media_type.partition(";")[0].strip().lower() != "application/json":
            raise Problem(415, "UNSUPPORTED_MEDIA_TYPE", "The Content-Type must be application/json.")
        validate = _validator(schema)
        value = _parse(self._text(limit))
        try:
            return cast("dict[str, Any]", validate(value))
        except ValueError as error:
            broken: Iterable[Any] = getattr(error, "errors", ())
            raise invalid(*dict.fromkeys(_detail(each) for each in broken)) from None

    def has(self, tag: str) -> bool:
        """Whether `If-None-Match` names this ETag: the caller has the current representation, so a 304 suffices."""
        condition = self.headers.get("if-none-match", "")
        # If-None-Match compares weakly (RFC 9110, 13.1.2).
        named = (each.strip().removeprefix("W/") for each in condition.split(","))
        return condition.strip() == "*" or tag.removeprefix("W/") in named

    def _text(self, limit: int) -> str:
        body = self.body or ""
        try:
            if self.body_is_base64:
                if len(body) > 2 * limit:
                    raise _too_large(limit)
                data = base64.b64decode(body, validate=True)
                text = data.decode()
            else:
                data, text = body.encode(), body
        except ValueError:
            raise invalid("the body is not valid UTF-8") from None
        if len(data) > limit:
            raise _too_large(limit)
        return text


@dataclass(frozen=True, slots=True)
class Response:
    """A response; `body` becomes JSON, or with a `Content-Type` header is text that is sent as it is.

    With an `ETag` header, callers may cache it, see `Request.has`.
    """

    status: int
    body: object | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


type Handler = Callable[[Request], Response]
type ApiAuth = Literal["api-key", "cognito", "iam"]
"""The parameter `ApiAuth`."""

CONSOLE = frozenset({"GET /console", "GET /console/{file+}"})
"""The routes that serve a page rather than data. They are for browsers: the document has none of them."""
OPEN = CONSOLE | {"GET /openapi.json"}
"""The routes that need no authentication, besides preflights."""


class Api:
    """Routes events to handlers.

    `routes` maps method and route, as in `"POST /process"`, to a handler. `cors_origins` are the origins whose pages
    may read responses; `*` allows all. `auth` says how API Gateway authorizes callers. A request without the caller
    that this must bring is refused, in case a route was deployed without its authorizer.
    """

    def __init__(
        self,
        routes: Mapping[str, Handler],
        cors_origins: frozenset[str] = frozenset(),
        auth: ApiAuth = "api-key",
    ) -> None:
        self.routes = dict(routes)
        self._origins = cors_origins
        self._auth = auth

    def handle(self, event: Mapping[str, Any], context: object) -> dict[str, Any]:
        """The response to an event of a REST API's proxy integration (payload version 1.0). Never raises."""
        headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
        about: Mapping[str, Any] = event.get("requestContext") or {}
        request_id = str(about.get("requestId") or getattr(context, "aws_request_id", ""))
        shared = self._shared(event.get("httpMethod"), headers.get("origin"))
        answer = partial(self._answer, event, about, headers, request_id)
        return answered(answer, request_id, partial(_proxy, shared=shared))

    def _answer(
        self, event: Mapping[str, Any], about: Mapping[str, Any], headers: dict[str, str], request_id: str
    ) -> Response:
        method, resource = event["httpMethod"], event["resource"]
        route = f"{method} {resource}"
        handler = self.routes.get(route)
        if handler is None:
            return self._other(method, resource)
        user_id, caller = (None, "") if route in OPEN else _caller(about, self._auth, request_id)
        return handler(
            Request(
                method,
                resource,
                event.get("pathParameters") or {},
                event.get("queryStringParameters") or {},
                headers,
                request_id,
                user_id,
                caller,
                event.get("body"),
                bool(event.get("isBase64Encoded")),
                event.get("path") or "",
                event.get("multiValueQueryStringParameters") or {},
            )
        )

    def _other(self, method: str, resource: str) -> Response:
        # Several functions may share a path: only the document knows all its methods.
        methods = [name.upper() for name in document()["paths"].get(resource, ()) if name != "parameters"]
        if not methods:
            raise Problem(404, "NOT_FOUND", "There is no such route.")
        allow = {"Allow": ", ".join([*methods, "OPTIONS"])}
        if method != "OPTIONS":
            raise Problem(405, "METHOD_NOT_ALLOWED", "The route does not support this method.", headers=allow)
        return Response(204, None, allow)  # for the emulator: on AWS the gateway answers preflights (template.yaml)

    def _shared(self, method: str | None, origin: str | None) -> dict[str, str]:
        """The CORS headers of a response, or of a preflight's."""
        if not self._origins:
            return {}
        if _ANY_ORIGIN in self._origins:
            shared = {"Access-Control-Allow-Origin": _ANY_ORIGIN}
        elif origin in self._origins:
            shared = {"Access-Control-Allow-Origin": origin, "Vary": "Origin"}
        else:
            return {"Vary": "Origin"}
        return shared | (_PREFLIGHT if method == "OPTIONS" else _EXPOSED)


def event_of(request: Request) -> dict[str, Any]:
    """The event by which another function of the API gets this request, from the same caller."""
    kind, _, name = request.caller.partition(":")
    named = {"key": {"apiKeyId": name}, "role": {"userArn": name}}.get(kind, {})
    claims = {"authorizer": {"claims": {"sub": request.user_id}}} if request.user_id is not None else {}
    return {
        "httpMethod": request.method,
        "resource": request.route,
        "path": request.url_path,
        "headers": dict(request.headers),
        "pathParameters": dict(request.path),
        "queryStringParameters": dict(request.query),
        "multiValueQueryStringParameters": {name: list(values) for name, values in request.repeated.items()},
        "requestContext": {"requestId": request.request_id, "identity": named, **claims},
        "body": request.body,
        "isBase64Encoded": request.body_is_base64,
    }


def _caller(about: Mapping[str, Any], auth: ApiAuth, request_id: str) -> tuple[str | None, str]:
    """The user's id, and who calls.

    Raises:
        Problem: 401 if the request must name a caller and doesn't, or a user's id can't be part of a key.
    """
    claims, identity = (about.get("authorizer") or {}).get("claims"), about.get("identity") or {}
    match auth:
        case "iam":
            if role := identity.get("userArn"):
                return None, "role:" + _SESSION.sub(r"\1", role)
        case "api-key" if not claims:
            key_id = identity.get("apiKeyId")
            return None, f"key:{key_id}" if key_id else ""
        case _:
            user_id = (claims or {}).get("sub")
            if isinstance(user_id, str) and is_owner(user_id):
                return user_id, f"user:{user_id}"
    logger.warning("refused: no caller", auth=auth, api_request_id=request_id)
    raise Problem(401, "UNAUTHORIZED", "The request does not name its caller.")


_SESSION = re.compile(r"(?<=:assumed-role/)([^/]+)/.*")


def _proxy(response: Response, shared: Mapping[str, str]) -> dict[str, Any]:
    headers = {
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "private, no-cache" if "ETag" in response.headers else "no-store",
        **shared,
        **response.headers,
    }
    body = ""
    if "Content-Type" in response.headers:
        body = str(response.body)
    elif response.body is not None:
        headers["Content-Type"] = "application/json"
        body = _encode(response.body)
    return {"statusCode": response.status, "headers": headers, "body": body, "isBase64Encoded": False}


_EXPOSED = {"Access-Control-Expose-Headers": "ETag, Location, Retry-After"}
_PREFLIGHT = {
    # All methods of the API: another function may serve the path's others.
    "Access-Control-Allow-Methods": "GET, POST, DELETE",
    "Access-Control-Allow-Headers": (
        "Authorization, Content-Type, Idempotency-Key, If-None-Match, X-Api-Key, "
        "X-Amz-Content-Sha256, X-Amz-Date, X-Amz-Security-Token"
    ),
    "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
}

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode


# ---- problems -------------------------------------------------------------------------------------------------------


def answered[T](answer: Callable[[], Response], request_id: str, form: Callable[[Response], T]) -> T:
    """The response of `answer`, in its form, or that to whatever either raises. Never raises."""
    try:
        return form(answer())
    except Problem as error:
        problem = error
    except (ClientError, BotoCoreError, RetryableError) as error:
        problem = _unavailable(error, request_id)
    except Exception as error:  # noqa: BLE001 - callers get a response of ours, never the exception's text
        problem = _unexpected(error, request_id)
    return form(_refusal(problem, request_id))


def _refusal(problem: Problem, request_id: str) -> Response:
    body = {
        "error": problem.error,
        "message": problem.message,
        "details": list(problem.details),
        "requestId": request_id,
    }
    return Response(problem.status, body, problem.headers)


def _unexpected(error: Exception, request_id: str) -> Problem:
    logger.exception("unexpected error", error_type=type(error).__name__, api_request_id=request_id)
    return Problem(500, "INTERNAL", "An unexpected error occurred. Quote the request id when you report it.")


def _unavailable(error: ClientError | BotoCoreError | RetryableError, request_id: str) -> Problem:
    cause = error.__cause__ if isinstance(error, Unavailable) and error.__cause__ else error
    kind, wait = type(cause).__name__, None
    if isinstance(cause, ClientError):
        kind = f"{cause.operation_name} {cause.response.get('Error', {}).get('Code', kind)}"
    elif isinstance(cause, RetryableError):
        kind, wait = cause.code, cause.retry_after
    logger.warning("unavailable", error_type=kind, api_request_id=request_id)
    message = "A service that this request needs is unavailable at the moment. Please try again."
    return Problem(503, "UNAVAILABLE", message, headers={"Retry-After": str(math.ceil(wait or _RETRY_AFTER))})


def invalid(*details: str) -> Problem:
    """400 INVALID_REQUEST; `details` say what is wrong without repeating the caller's values."""
    return Problem(400, "INVALID_REQUEST", "The request is invalid.", details[:_MAX_DETAILS])


def moment(name: str, text: str) -> datetime:
    """Reads a date, or a date and time, of the field or parameter `name`: ISO 8601, UTC if it names no offset.

    Raises:
        Problem: 400.
    """
    try:
        found = datetime.fromisoformat(text)
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise invalid(f"{name} must be a date or a date and time, such as 2026-11-30T12:00:00Z") from None


def _too_large(limit: int) -> Problem:
    return Problem(413, "TOO_LARGE", f"The body must not exceed {limit // 1024} KiB.")


# ---- bodies ---------------------------------------------------------------------------------------------------------


def _parse(text: str) -> object:
    """Refuses ambiguous JSON (duplicate names, NaN) and what can't be stored and read again.

    Raises:
        Problem: 400.
    """
    try:
        value: object = _DECODER.decode(text)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise invalid(_TOO_DEEP) from None
    except UnicodeEncodeError:
        raise invalid("the body has an unpaired surrogate") from None
    except ValueError:
        raise invalid("the body is not JSON") from None
    if text.count("{") + text.count("[") > MAX_DEPTH and _deeper(value, MAX_DEPTH):
        raise invalid(_TOO_DEEP)
    return value


_TOO_DEEP = f"the body is nested more than {MAX_DEPTH} levels deep"


def _deeper(value: object, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for each in level
            if isinstance(each, dict | list)
            for child in (each.values() if isinstance(each, dict) else each)
        ]
    return any(isinstance(each, dict | list) for each in level)


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise invalid("the body has an object with a duplicate name")
    return found


def _number(digits: str) -> float:
    value = float(digits)
    if math.isinf(value):
        raise invalid("the body has a number that is too large")
    return value


def _no_number(_: str) -> NoReturn:
    raise invalid("the body is not JSON: NaN and Infinity are not allowed")


_DECODER = json.JSONDecoder(object_pairs_hook=_object, parse_float=_number, parse_constant=_no_number)


# ---- the document ---------------------------------------------------------------------------------------------------


@cache
def document() -> dict[str, Any]:
    """openapi.json, shared by all callers: don't modify it."""
    return cast("dict[str, Any]", json.loads(Path(__file__).with_name("openapi.json").read_bytes()))


@cache
def _validator(schema: str) -> Callable[[object], object]:
    """The compiled schema. Compiling waits for the first body, so that functions that only serve GETs start faster."""
    import fastjsonschema  # noqa: PLC0415

    root = {"$ref": f"#/components/schemas/{schema}", "components": document()["components"]}
    return cast("Callable[[object], object]", fastjsonschema.compile(root, fast_fail=False))


def _detail(broken: Any) -> str:  # noqa: ANN401 - fastjsonschema's exception, whose module is imported late
    """Describes a broken rule without repeating the caller's values: field names are the schema's."""
    where = "the body" + broken.name.removeprefix("data")
    match broken.rule:
        case "additionalProperties":
            return f"{where} must have no fields other than {', '.join(broken.definition['properties'])}"
        case "oneOf" | "anyOf":
            return f"{where} {broken.definition['description']}"
        case _:
            return f"the body{broken.message.removeprefix('data')}"
