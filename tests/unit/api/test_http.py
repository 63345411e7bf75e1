"""The API's HTTP layer: handlers' requests, callers' answers, and limits of bodies."""

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from switchyard.api import http
from switchyard.api.http import MAX_BODY, MAX_DEPTH, Api, ApiAuth, Problem, Request, Response
from switchyard.clients import translated
from switchyard.errors import Contended, StartRefused, Unavailable
from tests.cases import cases

SECRET = "the text of an exception"
ORIGIN = "https://app.example.com"


def event(
    method: str = "POST",
    resource: str = "/process",
    *,
    body: str | None = None,
    headers: Mapping[str, str] | None = None,
    **more: Any,  # noqa: ANN401 - whatever else API Gateway says
) -> dict[str, Any]:
    """Builds an event of API Gateway, reduced to the relevant fields."""
    return {
        "resource": resource,
        "path": resource,
        "httpMethod": method,
        "headers": headers,
        "queryStringParameters": None,
        "pathParameters": None,
        "requestContext": {"requestId": "the-request"},
        "body": body,
        "isBase64Encoded": False,
    } | more


def call(api: Api, given: dict[str, Any]) -> tuple[int, dict[str, str], Any]:
    answer = api.handle(given, None)
    assert answer["isBase64Encoded"] is False
    return answer["statusCode"], answer["headers"], json.loads(answer["body"] or "null")


def raising(error: Exception) -> Api:
    def handler(_: Request) -> Response:
        raise error

    return Api({"POST /process": handler})


PATHS = {"/process": {"post": {}}, "/jobs/{jobId}": {"parameters": [], "get": {}, "delete": {}}}


def seeing(*, cors_origins: frozenset[str] = frozenset(), auth: ApiAuth = "api-key") -> tuple[Api, list[Request]]:
    seen: list[Request] = []

    def handler(request: Request) -> Response:
        seen.append(request)
        return Response(200, {"done": True})

    return Api({"POST /process": handler, "GET /jobs/{jobId}": handler}, cors_origins, auth), seen


def seen_of(given: dict[str, Any]) -> Request:
    api, seen = seeing()
    api.handle(given, None)
    (request,) = seen
    return request


# ---- what a handler gets --------------------------------------------------------------------------------------------


def test_a_route_is_named_by_its_template() -> None:
    request = seen_of(event("GET", "/jobs/{jobId}", path="/jobs/7", pathParameters={"jobId": "7"}))
    assert (request.method, request.route, request.path) == ("GET", "/jobs/{jobId}", {"jobId": "7"})


def test_what_is_not_there_is_empty() -> None:
    request = seen_of(event())
    assert (request.path, request.query, request.headers, request.body) == ({}, {}, {}, None)


def test_header_names_are_in_lower_case() -> None:
    assert seen_of(event(headers={"IDEMPOTENCY-key": "a"})).headers == {"idempotency-key": "a"}


def test_a_user_is_who_cognito_says() -> None:
    context = {"requestId": "r", "authorizer": {"claims": {"sub": "user-42"}}}
    assert seen_of(event(requestContext=context)).user_id == "user-42"


@cases("authorizer", [None, {}, {"claims": None}, {"principalId": "role"}])
def test_a_key_or_a_role_is_no_user(authorizer: object) -> None:
    assert seen_of(event(requestContext={"requestId": "r", "authorizer": authorizer})).user_id is None


ROLE = "arn:aws:sts::123456789012:assumed-role/App/i-0123456789abcdef0"


@cases(
    ("context", "caller"),
    [
        ({"authorizer": {"claims": {"sub": "user-42"}}}, "user:user-42"),
        ({"identity": {"apiKeyId": "a1b2c3", "apiKey": SECRET, "userArn": None}}, "key:a1b2c3"),
        ({"identity": {"apiKeyId": None}}, ""),
        ({}, ""),
    ],
)
def test_a_caller_is_a_user_or_a_key_by_its_id(context: dict[str, Any], caller: str) -> None:
    request = seen_of(event(requestContext={"requestId": "r", **context}))
    assert request.caller == caller
    assert SECRET not in repr(request)


@cases(
    ("arn", "caller"),
    [
        (ROLE, "role:arn:aws:sts::123456789012:assumed-role/App"),
        ("arn:aws:iam::123456789012:user/team/ada", "role:arn:aws:iam::123456789012:user/team/ada"),
    ],
)
def test_a_role_is_the_same_caller_in_every_session(arn: str, caller: str) -> None:
    api, seen = seeing(auth="iam")
    api.handle(event(requestContext={"requestId": "r", "identity": {"userArn": arn}}), None)
    assert [(request.user_id, request.caller) for request in seen] == [(None, caller)]


NOBODY: list[dict[str, Any]] = [
    {},
    {"authorizer": None},
    {"authorizer": {"claims": {}}},
    {"identity": {"apiKeyId": "a"}},
]


@cases(
    ("auth", "context"),
    [("cognito", each) for each in [*NOBODY, {"identity": {"userArn": ROLE}}]]
    + [("iam", each) for each in [*NOBODY, {"identity": {"userArn": ""}}, {"authorizer": {"claims": {"sub": "ada"}}}]],
)
def test_a_request_without_the_caller_that_the_api_demands_is_refused(auth: ApiAuth, context: dict[str, Any]) -> None:
    api, seen = seeing(auth=auth)
    status, _, body = call(api, event(requestContext={"requestId": "r", **context}))
    assert (status, body["error"], seen) == (401, "UNAUTHORIZED", [])


@cases("auth", ["api-key", "cognito"])
@cases("sub", ["", None, 7, "a/b", "..", "a b", "jörg", "-a", "x" * 129, "2026"])
def test_a_user_whose_id_can_t_be_part_of_a_key_is_refused(auth: ApiAuth, sub: object) -> None:
    api, seen = seeing(auth=auth)
    status, _, body = call(api, event(requestContext={"requestId": "r", "authorizer": {"claims": {"sub": sub}}}))
    assert (status, body["error"], seen) == (401, "UNAUTHORIZED", [])


def test_an_open_route_needs_no_caller() -> None:
    api = Api({"GET /openapi.json": lambda _: Response(200, {})}, auth="cognito")
    assert call(api, event("GET", "/openapi.json"))[0] == 200


def test_a_request_in_a_log_shows_no_body() -> None:
    assert SECRET not in repr(Request("POST", "/process", body=SECRET))


# ---- answers --------------------------------------------------------------------------------------------------------


def test_an_answer_is_json() -> None:
    status, headers, body = call(seeing()[0], event())
    assert (status, headers["Content-Type"], body) == (200, "application/json", {"done": True})


def test_an_answer_without_a_body_is_empty() -> None:
    api = Api({"DELETE /uploads/multipart": lambda _: Response(204)})
    answer = api.handle(event("DELETE", "/uploads/multipart"), None)
    assert (answer["statusCode"], answer["body"], "Content-Type" in answer["headers"]) == (204, "", False)


def test_nobody_keeps_an_answer() -> None:
    _, headers, _ = call(seeing()[0], event())
    assert (headers["Cache-Control"], headers["X-Content-Type-Options"]) == ("no-store", "nosniff")


def has(condition: str | None, tag: str) -> bool:
    headers = {} if condition is None else {"If-None-Match": condition}
    return seen_of(event("GET", "/jobs/{jobId}", headers=headers)).has(tag)


@cases("condition", ['"abc"', 'W/"abc"', '"x", "abc"', '"x",W/"abc"', "*", " * "])
@cases("tag", ['"abc"', 'W/"abc"'])
def test_a_caller_has_what_it_names(condition: str, tag: str) -> None:
    assert has(condition, tag)


@cases("condition", [None, "", '"x"', "abc", '"abc', "**"])
def test_a_caller_does_not_have_anything_else(condition: str | None) -> None:
    assert not has(condition, '"abc"')


def test_an_answer_with_an_etag_may_be_kept_by_the_caller() -> None:
    api = Api({"GET /jobs/{jobId}": lambda _: Response(304, None, {"ETag": '"abc"'})})
    _, headers, body = call(api, event("GET", "/jobs/{jobId}"))
    assert (headers["Cache-Control"], headers["ETag"], body) == ("private, no-cache", '"abc"', None)


# ---- errors ---------------------------------------------------------------------------------------------------------


def test_a_problem_is_told_as_it_is() -> None:
    problem = Problem(409, "JOB_EXISTS", "There is such a job.", ["look at it"], {"Location": "/jobs/7"})
    status, headers, body = call(raising(problem), event())
    assert (status, headers["Location"]) == (409, "/jobs/7")
    assert body == {
        "error": "JOB_EXISTS",
        "message": "There is such a job.",
        "details": ["look at it"],
        "requestId": "the-request",
    }


def test_an_unknown_route_is_not_found() -> None:
    assert call(seeing()[0], event("POST", "/elsewhere"))[0] == 404


def test_an_unknown_method_says_which_there_are() -> None:
    status, headers, _ = call(seeing()[0], event("PATCH", "/jobs/{jobId}"))
    assert (status, headers["Allow"]) == (405, "GET, DELETE, OPTIONS")


AWS_TROUBLE = [
    ClientError({"Error": {"Code": "ThrottlingException", "Message": SECRET}}, "PutItem"),
    EndpointConnectionError(endpoint_url=SECRET),
    Contended(SECRET),
]


@cases("error", AWS_TROUBLE, ids=lambda error: type(error).__name__)
def test_trouble_with_aws_asks_for_patience(error: Exception) -> None:
    status, headers, body = call(raising(error), event())
    assert (status, body["error"], int(headers["Retry-After"]) > 0) == (503, "UNAVAILABLE", True)


def test_the_log_names_the_call_that_failed_behind_a_port(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Unavailable) as caught, translated():
        raise AWS_TROUBLE[0]
    call(raising(caught.value), event())
    assert [record.__dict__["error_type"] for record in caplog.records] == ["PutItem ThrottlingException"]


def test_patience_is_as_long_as_the_error_says() -> None:
    assert call(raising(Contended("", retry_after=6.2)), event())[1]["Retry-After"] == "7"


@cases("error", [*AWS_TROUBLE, KeyError(SECRET), StartRefused(SECRET), RecursionError(SECRET)])
def test_no_exception_is_quoted(error: Exception) -> None:
    assert SECRET not in raising(error).handle(event(), None)["body"]


def test_what_a_caller_can_name_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    call(raising(KeyError(SECRET)), event())
    assert [record.__dict__["api_request_id"] for record in caplog.records] == ["the-request"]


def test_what_was_not_expected_is_our_fault() -> None:
    status, _, body = call(raising(KeyError(SECRET)), event())
    assert (status, body["error"], body["requestId"]) == (500, "INTERNAL", "the-request")


def test_what_can_not_be_written_as_json_is_our_fault_too() -> None:
    api = Api({"POST /process": lambda _: Response(200, {"value": float("nan")})})
    assert call(api, event())[0] == 500


# ---- other origins --------------------------------------------------------------------------------------------------

LISTED = frozenset({ORIGIN, "https://other.example.com"})


def cross(origins: frozenset[str], origin: str | None = ORIGIN, method: str = "POST") -> tuple[int, dict[str, str]]:
    headers = {} if origin is None else {"Origin": origin}
    status, answered, _ = call(seeing(cors_origins=origins)[0], event(method, headers=headers))
    return status, answered


def test_without_origins_there_is_no_word_of_them() -> None:
    _, headers = cross(frozenset())
    assert not [name for name in headers if name.startswith("Access-Control") or name == "Vary"]


def test_a_listed_origin_may_read() -> None:
    _, headers = cross(LISTED)
    assert (headers["Access-Control-Allow-Origin"], headers["Vary"]) == (ORIGIN, "Origin")


@cases("origin", [None, "null", "https://evil.example.com", ORIGIN + ".evil.example.com", "*"])
def test_another_origin_may_not_read(origin: str | None) -> None:
    _, headers = cross(LISTED, origin)
    assert not [name for name in headers if name.startswith("Access-Control")]


def test_a_cache_is_told_that_origins_differ_even_where_none_is_named() -> None:
    assert cross(LISTED, None)[1]["Vary"] == "Origin"


def test_with_a_star_every_origin_may_read() -> None:
    _, headers = cross(frozenset({"*"}), "https://anybody.example.com")
    assert (headers["Access-Control-Allow-Origin"], "Vary" in headers) == ("*", False)


def test_a_page_may_read_what_it_needs_of_the_headers() -> None:
    assert cross(LISTED)[1]["Access-Control-Expose-Headers"] == "ETag, Location, Retry-After"


@cases("error", [Problem(400, "NO", "no"), KeyError()], ids=["a problem", "a fault"])
def test_errors_may_be_read_too(error: Exception) -> None:
    api = Api(raising(error).routes, LISTED)
    assert call(api, event(headers={"Origin": ORIGIN}))[1]["Access-Control-Allow-Origin"] == ORIGIN


def test_a_preflight_says_what_may_be_sent() -> None:
    status, headers = cross(LISTED, method="OPTIONS")
    assert (status, headers["Access-Control-Allow-Methods"]) == (204, "GET, POST, DELETE")
    assert {"Content-Type", "Idempotency-Key", "X-Api-Key"} <= set(headers["Access-Control-Allow-Headers"].split(", "))


def test_a_preflight_of_another_origin_says_nothing() -> None:
    status, headers = cross(LISTED, "https://evil.example.com", "OPTIONS")
    assert status == 204
    assert not [name for name in headers if name.startswith("Access-Control")]


def test_options_without_cors_say_the_methods() -> None:
    status, headers = cross(frozenset(), None, "OPTIONS")
    assert (status, headers["Allow"]) == (204, "POST, OPTIONS")


# ---- bodies ---------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _schema(monkeypatch: pytest.MonkeyPatch) -> None:
    """Builds a document with two paths and one schema, independent of openapi.json."""
    schema = {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": "^[a-z]+$"},
            "count": {"type": "integer", "maximum": 5},
            "how": {"type": "string", "default": "well"},
            "more": {"type": "object"},
        },
    }
    monkeypatch.setattr(http, "document", lambda: {"paths": PATHS, "components": {"schemas": {"Thing": schema}}})
    http._validator.cache_clear()


def reading(body: str | None, content_type: str | None = "application/json", *, is_base64: bool = False) -> Request:
    headers = {} if content_type is None else {"content-type": content_type}
    return Request("POST", "/things", headers=headers, body=body, body_is_base64=is_base64)


def refusal(request: Request) -> Problem:
    with pytest.raises(Problem) as problem:
        request.json("Thing")
    return problem.value


def test_a_body_is_what_was_sent_and_the_defaults() -> None:
    assert reading('{"name": "a", "more": {"x": 0.1}}').json("Thing") == {
        "name": "a",
        "more": {"x": 0.1},
        "how": "well",
    }


@cases("content_type", [None, "application/json", "Application/JSON; charset=utf-8"])
def test_json_may_be_named_in_these_ways(content_type: str | None) -> None:
    assert reading('{"name": "a"}', content_type).json("Thing")["name"] == "a"


@cases("content_type", ["", "text/plain", "application/jsonx", "application/x-www-form-urlencoded"])
def test_another_content_type_is_refused(content_type: str) -> None:
    assert refusal(reading('{"name": "a"}', content_type)).status == 415


def test_a_base64_body_is_decoded() -> None:
    body = base64.b64encode(b'{"name": "a"}').decode()
    assert reading(body, is_base64=True).json("Thing")["name"] == "a"


HOSTILE_BODIES = {
    "nothing": None,
    "empty": "",
    "null": "null",
    "a list": "[]",
    "a list of it": '[{"name": "a"}]',
    "a number": "7",
    "a string": '"name"',
    "true": "true",
    "truncated": '{"name": "a"',
    "twice": '{"name": "a"}{"name": "a"}',
    "a trailing comma": '{"name": "a",}',
    "single quotes": "{'name': 'a'}",
    "a comment": '{"name": "a"} // yes',
    "a byte order mark": '\ufeff{"name": "a"}',
    "a form": "name=a",
    "XML": "<name>a</name>",
    "NaN": '{"name": "a", "count": NaN}',
    "Infinity": '{"name": "a", "more": {"x": -Infinity}}',
    "beyond a float": '{"name": "a", "more": {"x": 1e999}}',
    "beyond an integer": '{"name": "a", "more": {"x": ' + "9" * 5000 + "}}",
    "the same name twice": '{"name": "a", "name": "b"}',
    "the same name twice, inside": '{"name": "a", "more": {"x": 1, "x": 2}}',
    "the same name twice, escaped": '{"name": "a", "n\\u0061me": "b"}',
    "a lone surrogate, escaped": '{"name": "a", "more": {"x": "\\ud800"}}',
    "a lone surrogate, as a name": '{"name": "a", "more": {"\\udc00": 1}}',
    "a lone surrogate, as it is": '{"name": "a", "more": {"x": "\ud800"}}',
    "deep": '{"name": "a", "more": ' + '{"x": ' * MAX_DEPTH + "1" + "}" * (MAX_DEPTH + 1),
    "very deep": "[" * 100_000 + "]" * 100_000,
    "very deep and open": '{"a":' * 40_000,
    "a prototype": '{"name": "a", "__proto__": {}}',
    "a control character": '{"name": "a\n"}',
    "a newline at the end": '{"name": "a\\n"}',
    "true for a number": '{"name": "a", "count": true}',
    "a string for a number": '{"name": "a", "count": "1"}',
    "too large a number": '{"name": "a", "count": 1e300}',
}


@cases("body", HOSTILE_BODIES.values(), ids=HOSTILE_BODIES)
def test_a_hostile_body_is_refused(body: str | None) -> None:
    problem = refusal(reading(body))
    assert (problem.status, problem.error, bool(problem.details)) == (400, "INVALID_REQUEST", True)


@cases("body", ["=", "e30", "{}", "e3 0=", base64.b64encode(b"\xff\xfe").decode(), "ü"])
def test_a_hostile_base64_body_is_refused(body: str) -> None:
    assert refusal(reading(body, is_base64=True)).status == 400


def padded(size: int) -> str:
    return '{"name": "' + "a" * (size - 12) + '"}'


def test_the_largest_body_is_read() -> None:
    assert reading(padded(MAX_BODY)).json("Thing")


@cases("size", [MAX_BODY + 1, 2**20, 6 * 2**20])
@cases("is_base64", [False, True])
def test_a_larger_body_is_refused(size: int, *, is_base64: bool) -> None:
    body = padded(size)
    problem = refusal(reading(base64.b64encode(body.encode()).decode() if is_base64 else body, is_base64=is_base64))
    assert (problem.status, problem.error) == (413, "TOO_LARGE")


def test_bytes_count_and_not_characters() -> None:
    assert refusal(reading('{"name": "' + "影" * (MAX_BODY // 3) + '"}')).status == 413


def test_the_deepest_body_is_read() -> None:
    levels = MAX_DEPTH - 1
    assert reading('{"name": "a", "more": ' + '{"x": ' * (levels - 1) + "{}" + "}" * levels).json("Thing")


def test_brackets_in_a_string_are_no_depth() -> None:
    assert reading('{"name": "a", "more": {"x": "' + "[{" * 100 + '"}}').json("Thing")


def test_every_broken_rule_is_named() -> None:
    assert refusal(reading('{"name": "A", "count": 6}')).details == (
        "the body.name must match pattern ^[a-z]+$",
        "the body.count must be smaller than or equal to 5",
    )


def test_what_is_missing_is_named() -> None:
    assert refusal(reading("{}")).details == ("the body must contain ['name'] properties",)


def test_no_more_than_ten_broken_rules_are_named() -> None:
    schema = http.document()["components"]["schemas"]["Thing"]
    schema["properties"] |= {f"p{n}": {"type": "string"} for n in range(20)}
    assert len(refusal(reading(json.dumps({f"p{n}": n for n in range(20)}))).details) == 10


@given(st.dictionaries(st.text(min_size=1), st.integers() | st.text(), min_size=1))
def test_what_was_sent_is_never_quoted(extra: dict[str, int | str]) -> None:
    details = refusal(reading(json.dumps({"name": f"{SECRET}!", "count": SECRET, f"x{SECRET}": 1} | extra))).details
    assert SECRET not in "".join(details)


any_json = st.recursive(
    st.none()
    | st.booleans()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.integers(-(2**60), 2**60)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


@given(st.dictionaries(st.text(), any_json, max_size=4))
def test_what_is_free_comes_through_unchanged(more: dict[str, Any]) -> None:
    assert reading(json.dumps({"name": "a", "more": more})).json("Thing")["more"] == more


@given(st.text() | any_json.map(json.dumps))
def test_any_body_is_read_or_refused(body: str) -> None:
    try:
        reading(body).json("Thing")
    except Problem as problem:
        assert problem.status == 400  # noqa: PT017 - what comes besides is not what this is about
