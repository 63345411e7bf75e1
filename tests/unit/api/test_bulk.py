"""POST /jobs/bulk: each request is judged alone and answered as its own route would answer it."""

import io
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from switchyard.api import bulk
from switchyard.api.bulk import Bulk, OtherFunction
from switchyard.api.http import Api, ApiAuth, Request, Response, event_of
from switchyard.protocol.jobs import Status
from tests.conftest import Aws
from tests.corpus.urls import RESOLVES
from tests.fakes.resolver import resolving
from tests.rest import Answer, ask, event
from tests.strategies import anything
from tests.unit.api.repeating import ANALYZE, BULK, KEY, Repeating

IMAGES = {"imageUrls": ["s3://media/uploads/2026/11/22/a.jpg"], "userId": "ada"}
PUBLIC = {"url": "https://public.example/live.m3u8"}


@pytest.fixture(autouse=True, scope="module")
def names() -> Iterator[None]:
    with resolving(RESOLVES | {"public.example": ["93.184.215.14"]}):
        yield


@pytest.fixture
def again(aws: Aws) -> Repeating:
    return Repeating(aws)


def cancel(job_id: str) -> dict[str, Any]:
    return {"action": "cancel", "jobId": job_id}


def submit(path: str, body: object) -> dict[str, Any]:
    return {"action": "submit", "path": path, "body": body}


def answers(again: Repeating, *requests: object, **more: Any) -> list[tuple[int, dict[str, Any]]]:  # noqa: ANN401 - as `event`
    answer = again.ask(BULK, {"requests": requests}, **more)
    assert answer.status == 207, answer
    return [(each["status"], each["body"]) for each in answer.body["responses"]]


def test_each_is_answered_as_alone_and_in_order(again: Repeating) -> None:
    key, _ = again.upload()
    ended = again.done(ANALYZE, {"key": key})
    waiting = again.ask("POST /process", IMAGES).body["jobId"]
    found = answers(
        again,
        cancel(waiting),
        cancel(ended),
        {"action": "rerun", "jobId": ended},
        submit("/process", IMAGES),
        submit("/jobs", PUBLIC),
        submit("/videos", {"key": "uploads/nothing.mp4"}),
        cancel("nothing"),
        submit("/process", {"imageUrls": []}),
    )
    assert [status for status, _ in found] == [200, 409, 202, 202, 201, 404, 404, 400]
    bodies = [body for _, body in found]
    assert bodies[0] == {"jobId": waiting, "status": "CANCELLED"}
    assert bodies[2]["rerunOf"] == ended
    errors = [each["error"] for each in (bodies[1], *bodies[5:])]
    assert errors == ["ALREADY_ENDED", "OBJECT_NOT_FOUND", "NOT_FOUND", "INVALID_REQUEST"]
    assert bodies[7] == again.ask("POST /process", {"imageUrls": []}).body
    assert again.job(waiting).status is Status.CANCELLED


@pytest.mark.parametrize(
    "bad",
    [
        {},
        {"action": "erase", "jobId": "a"},
        {"action": "cancel"},
        {"action": "cancel", "jobId": 7},
        {"action": "cancel", "jobId": "a", "data": True},
        {"action": ["cancel"], "jobId": "a"},
        submit("/jobs/bulk", {"requests": []}),
        submit("/imports/steam", {"steamId": "gabe"}),
        submit("videos", {}),
        submit("/videos", []),
        submit("/videos", {}) | {"jobId": "a"},
        {"action": "submit", "path": "/videos"},
    ],
    ids=str,
)
def test_a_request_that_is_none_stops_no_other(again: Repeating, bad: dict[str, Any]) -> None:
    found = answers(again, submit("/process", IMAGES), bad, submit("/process", IMAGES))
    assert [status for status, _ in found] == [202, 400, 202]
    assert found[1][1]["error"] == "INVALID_REQUEST"


@pytest.mark.parametrize(
    "body",
    [{}, {"requests": []}, {"requests": {}}, {"requests": [1]}, {"requests": [{}] * 101}, {"requests": [{}], "x": 1}],
    ids=lambda body: str(body)[:40],
)
def test_what_is_no_list_of_requests_is_refused(again: Repeating, body: dict[str, Any]) -> None:
    assert again.ask(BULK, body).status == 400


def test_a_body_of_more_than_256_kib_is_refused(again: Repeating) -> None:
    large = submit("/process", IMAGES | {"metadata": {"a": "x" * 30_000}})
    assert again.ask(BULK, {"requests": [large] * 9}).status == 413


def test_users_act_on_their_own_jobs_alone(again: Repeating) -> None:
    theirs = again.ask("POST /jobs", PUBLIC, user="bob").body["jobId"]
    key, _ = again.upload(owner="bob")
    found = answers(
        again,
        cancel(theirs),
        {"action": "rerun", "jobId": theirs},
        submit("/videos", {"key": key}),
        submit("/jobs", PUBLIC | {"userId": "bob"}),
        submit("/jobs", PUBLIC),
        user="ada",
    )
    assert [status for status, _ in found] == [404, 404, 404, 403, 201]
    mine = again.job(found[-1][1]["jobId"])
    assert mine.request.user_id == "ada"
    assert again.job(theirs).status is Status.PENDING


def test_a_hundred_cancels_are_one_request(again: Repeating, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_SECONDS", 300)  # moto on a busy machine
    ids = [body["jobId"] for _, body in answers(again, *[submit("/process", IMAGES)] * 100)]
    assert len(set(ids)) == 100
    assert {status for status, _ in answers(again, *map(cancel, ids))} == {200}
    assert {again.job(each).status for each in ids} == {Status.CANCELLED}


def test_a_bulk_can_be_repeated_with_its_key(again: Repeating) -> None:
    key, _ = again.upload()
    ended = again.done(ANALYZE, {"key": key})
    wanted = [submit("/process", IMAGES), {"action": "rerun", "jobId": ended}, submit("/process", IMAGES)]
    first, second = (answers(again, *wanted, headers=KEY) for _ in range(2))
    assert [body["jobId"] for _, body in first] == [body["jobId"] for _, body in second]
    assert len({body["jobId"] for _, body in first}) == 3
    changed = answers(again, submit("/process", IMAGES | {"metadata": {}}), *wanted[1:], headers=KEY)
    assert changed[0][1]["error"] == "IDEMPOTENCY_KEY_REUSED"
    assert changed[1:] == second[1:]


def test_a_key_that_is_none_is_refused(again: Repeating) -> None:
    assert again.ask(BULK, {"requests": [cancel("a")]}, headers={"Idempotency-Key": "é"}).status == 400


def test_names_are_as_in_a_path(again: Repeating) -> None:
    """Ids with any characters, such as a percent sign, mean themselves."""
    assert [status for status, _ in answers(again, *map(cancel, ("a/b", "%41", "", "é", "..")))] == [404] * 5


# ---- failures, and time ---------------------------------------------------------------------------------------------


def single(answer: Any, *requests: object) -> Answer:  # noqa: ANN401 - a handler
    routes = {"DELETE /jobs/{jobId}": answer}
    return ask(Api({BULK: Bulk(routes).bulk}), BULK, {"requests": requests})


def test_an_error_of_ours_stops_no_other_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def failing(request: Request) -> Response:
        if request.path["jobId"] == "b":
            raise RuntimeError("a secret")
        return Response(200, {"jobId": request.path["jobId"]})

    found = single(failing, *map(cancel, "abc")).body["responses"]
    assert [each["status"] for each in found] == [200, 500, 200]
    assert found[1]["body"]["error"] == "INTERNAL"
    assert "secret" not in json.dumps(found)


def test_requests_for_which_there_is_no_time_are_to_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bulk, "_SECONDS", 0.3)
    begun = []

    def slow(request: Request) -> Response:
        begun.append(request.path["jobId"])
        threading.Event().wait(0.2)
        return Response(200, {})

    found = single(slow, *[cancel(str(number)) for number in range(100)]).body["responses"]
    assert {each["status"] for each in found} == {200, 503}
    assert [each["status"] for each in found].count(200) == len(begun) < 50
    assert found[-1]["body"]["error"] == "UNAVAILABLE"


# ---- what another function answers ----------------------------------------------------------------------------------

CALLERS: list[tuple[ApiAuth, dict[str, Any]]] = [
    ("api-key", {"identity": {"apiKeyId": "one"}}),
    ("api-key", {}),
    ("cognito", {"user": "ada"}),
    ("iam", {"identity": {"userArn": "arn:aws:sts::123456789012:assumed-role/admin/session"}}),
    ("iam", {"identity": {"userArn": "arn:aws:iam::123456789012:user/ann"}}),
]


@pytest.mark.parametrize(("auth", "caller"), CALLERS)
def test_another_function_hears_the_same_request_of_the_same_caller(auth: ApiAuth, caller: dict[str, Any]) -> None:
    heard: list[Request] = []

    def note(request: Request) -> Response:
        heard.append(request)
        return Response(202, {})

    asked = event("POST /process", {"a": "Żółw"}, headers=KEY, query={"b": ["1", "2"]}, path={"c": "d"}, **caller)
    api = Api({"POST /process": note}, auth=auth)
    api.handle(asked, None)
    api.handle(json.loads(json.dumps(event_of(heard[0]))), None)
    assert heard[1] == heard[0]


class FakeLambda:
    """A function that answers with this."""

    def __init__(self, answer: object, **more: str) -> None:
        self.answer, self.more, self.asked = answer, more, list[dict[str, Any]]()

    def invoke(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        self.asked.append(json.loads(call["Payload"]))
        if isinstance(self.answer, Exception):
            raise self.answer
        return {"Payload": io.BytesIO(json.dumps(self.answer).encode()), **self.more}


def elsewhere(function: FakeLambda, *requests: object, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - as `event`
    client: Any = function
    routes = {"POST /process": OtherFunction(lambda: client, "submit_job").ask}
    found = ask(Api({BULK: Bulk(routes).bulk}), BULK, {"requests": requests}, **more)
    answers: list[dict[str, Any]] = found.body["responses"]
    return answers


def test_what_another_function_answers_is_the_answer() -> None:
    function = FakeLambda({"statusCode": 202, "body": '{"jobId": "a"}'})
    assert elsewhere(function, submit("/process", IMAGES), identity={"apiKeyId": "one"}, headers=KEY) == [
        {"status": 202, "body": {"jobId": "a"}}
    ]
    (heard,) = function.asked
    assert (heard["httpMethod"], heard["resource"], json.loads(heard["body"])) == ("POST", "/process", IMAGES)
    assert heard["requestContext"]["identity"] == {"apiKeyId": "one"}
    assert set(heard["headers"]) == {"idempotency-key"}


@pytest.mark.parametrize(
    "function",
    [
        FakeLambda({"errorMessage": "a secret"}, FunctionError="Unhandled"),
        FakeLambda(ClientError({"Error": {"Code": "TooManyRequestsException"}}, "Invoke")),
        FakeLambda(ReadTimeoutError(endpoint_url="https://lambda")),
    ],
    ids=["crashed", "throttled", "timed out"],
)
def test_a_function_that_gives_no_answer_is_unavailable(function: FakeLambda) -> None:
    (found,) = elsewhere(function, submit("/process", IMAGES))
    assert (found["status"], found["body"]["error"]) == (503, "UNAVAILABLE")
    assert "secret" not in json.dumps(found)


texts = st.text(anything, max_size=20) | st.sampled_from(["cancel", "rerun", "submit", "/videos", "/process", "/jobs"])
values = texts | st.none() | st.booleans() | st.floats() | st.dictionaries(texts, texts | st.lists(texts), max_size=3)


@given(st.lists(st.dictionaries(st.sampled_from(["action", "jobId", "path", "body", "x"]), values), max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_requests_break_the_others(again: Repeating, requests: list[dict[str, Any]]) -> None:
    answer = again.ask(BULK, raw=json.dumps({"requests": [*requests, cancel("nothing")]}))
    assert answer.status in {207, 400}
    if answer.status == 207:
        assert all(each["status"] in {400, 404, 409, 201, 202} for each in answer.body["responses"])
        assert answer.body["responses"][-1]["status"] == 404
