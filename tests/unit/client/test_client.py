"""The client retries what is safe, says what to do about errors, and works with and without asyncio."""

import asyncio
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.environment import ROOT
from switchyard_client import ApiError, AsyncSwitchyard, Retries, Switchyard, Token, following
from switchyard_client.access import Iam
from switchyard_client.errors import (
    AccessError,
    ConnectionLostError,
    JobTimeoutError,
    NotFoundError,
    SetupError,
    ThrottledError,
    UnavailableError,
)
from switchyard_client.portal import Portal
from switchyard_client.retries import seconds_of
from tests.cases import cases

QUICK = Retries(attempts=3, base=0)
URL = "https://example.com/v1"

type Answer = httpx.Response | Exception | Callable[[httpx.Request], httpx.Response]


class Server(httpx.AsyncBaseTransport):
    """Gives its answers in order; keeps the requests and the loop's pauses."""

    def __init__(self, *answers: Answer) -> None:
        self.answers, self.asked = list(answers), list[httpx.Request]()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # A copy: httpx sends the same object again, with other headers.
        self.asked.append(httpx.Request(request.method, request.url, headers=request.headers, content=request.content))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer(request) if callable(answer) else answer


def ok(**body: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    return httpx.Response(200, json=body)


def no(status: int, code: str = "NO", headers: dict[str, str] | None = None) -> httpx.Response:
    body = {"error": code, "message": "No.", "details": ["because"], "requestId": "r-1"}
    return httpx.Response(status, json=body, headers=headers)


def client(*answers: Answer, retries: Retries = QUICK) -> tuple[AsyncSwitchyard, Server]:
    server = Server(*answers)
    return AsyncSwitchyard(URL, "key", transport=server, retries=retries), server


def done[T](wanted: Awaitable[T]) -> T:
    async def call() -> T:
        return await wanted

    return asyncio.run(call())


LOST = httpx.ReadError("reset")
UNSENT = httpx.ConnectError("refused")


@cases(
    ("answers", "tries"),
    [
        ((no(503), LOST, ok()), 3),
        ((no(429), no(504), ok()), 3),
        ((no(502), ok()), 2),
        ((UNSENT, ok()), 2),
    ],
)
def test_a_read_is_repeated(answers: tuple[Answer, ...], tries: int) -> None:
    api, server = client(*answers)
    done(api.get_job("a"))
    assert len(server.asked) == tries


def test_a_submission_is_repeated_with_one_idempotency_key() -> None:
    api, server = client(LOST, no(503), ok(jobId="a"))
    assert done(api.record_stream("https://a.example"))["jobId"] == "a"
    assert len({request.headers["idempotency-key"] for request in server.asked}) == 1
    assert len({request.content for request in server.asked}) == 1


@cases(
    ("answer", "tries"),
    [(no(503), 1), (no(504), 1), (LOST, 1), (no(429), 3), (UNSENT, 3)],
)
def test_what_has_no_key_is_repeated_only_if_it_did_nothing(answer: Answer, tries: int) -> None:
    api, server = client(answer)
    with pytest.raises((ApiError, ConnectionLostError)):
        done(api.test_webhook("wh_1"))
    assert len(server.asked) == tries


def test_a_second_delete_finds_nothing_and_that_is_well() -> None:
    api, server = client(LOST, no(404, "NOT_FOUND"))
    done(api.delete_webhook("wh_1"))
    assert len(server.asked) == 2


def test_a_first_delete_that_finds_nothing_is_an_error() -> None:
    api, _ = client(no(404, "NOT_FOUND"))
    with pytest.raises(NotFoundError):
        done(api.delete_webhook("wh_1"))


def test_it_waits_as_long_as_the_server_asks_and_not_beyond_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    api, _ = client(no(503, headers={"Retry-After": "7"}), ok())
    done(api.get_job("a"))
    assert pauses == [7.0]
    api, server = client(no(503, headers={"Retry-After": "3600"}), ok())
    with pytest.raises(UnavailableError):
        done(api.get_job("a"))
    assert len(server.asked) == 1


def test_pauses_are_random_and_grow_to_a_limit() -> None:
    retries = Retries(attempts=99, base=1, longest=8)
    for tried, most in [(1, 1), (2, 2), (4, 8), (9, 8)]:
        found = {retries.pause(tried) for _ in range(50)}
        assert len(found) > 1
        assert all(pause is not None and 0 <= pause <= most for pause in found)


@cases(("header", "seconds"), [("3", 3.0), (None, None), ("soon", None), ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0)])
def test_retry_after_is_seconds_or_a_date(header: str | None, seconds: float | None) -> None:
    assert seconds_of(header) == seconds


@cases(
    ("status", "kind"),
    [(403, AccessError), (404, NotFoundError), (429, ThrottledError), (500, UnavailableError)],
)
def test_errors_are_classes_that_say_what_to_do(status: int, kind: type[ApiError]) -> None:
    api, _ = client(no(status))
    with pytest.raises(kind) as raised:
        done(api.get_job("a"))
    assert (raised.value.status, raised.value.code, raised.value.request_id) == (status, "NO", "r-1")
    assert str(raised.value).startswith("No; because (NO, request r-1)")
    assert kind.advice in str(raised.value)


def test_what_the_gateway_answers_is_an_error_too() -> None:
    api, _ = client(httpx.Response(403, text="<html>", headers={"x-amzn-requestid": "g-1"}))
    with pytest.raises(AccessError, match="g-1"):
        done(api.get_job("a"))


def test_no_answer_at_all_is_told_from_a_lost_one() -> None:
    with pytest.raises(ConnectionLostError, match="check the address"):
        done(client(UNSENT)[0].get_job("a"))
    with pytest.raises(ConnectionLostError, match="may have taken effect"):
        done(client(LOST)[0].rotate_webhook("a"))


@cases("identifier", ["", ".", ".."])
def test_an_id_never_changes_the_path(identifier: str) -> None:
    api, server = client(ok())
    with pytest.raises(ValueError, match="no id"):
        done(api.get_job(identifier))
    assert server.asked == []


def test_ids_are_percent_encoded() -> None:
    api, server = client(ok())
    done(api.get_job("my video/1?x#y"))
    assert server.asked[0].url.raw_path == b"/v1/jobs/my%20video%2F1%3Fx%23y"


@cases("url", ["http://example.com/v1", "ftp://example.com", "example.com", "https://"])
def test_credentials_are_never_sent_in_clear(url: str) -> None:
    with pytest.raises(SetupError):
        AsyncSwitchyard(url, "key")


def test_an_expired_token_is_fetched_again_once() -> None:
    tokens = iter(["old", "new"])
    server = Server(httpx.Response(401, json={"message": "expired"}), ok())
    api = AsyncSwitchyard(URL, Token(lambda: next(tokens)), transport=server)
    done(api.get_job("a"))
    assert [request.headers["authorization"] for request in server.asked] == ["old", "new"]


def test_iam_signs_each_try_with_its_body() -> None:
    import boto3  # noqa: PLC0415 - the extra

    session = boto3.Session("AKIDEXAMPLE", "secret", region_name="eu-central-1")
    server = Server(no(503), ok(jobId="a"))
    api = AsyncSwitchyard(URL, Iam(session), transport=server, retries=QUICK)
    done(api.record_stream("https://a.example"))
    for request in server.asked:
        assert "/eu-central-1/execute-api/aws4_request" in request.headers["authorization"]
        assert request.headers["x-amz-date"]


# ---- following -------------------------------------------------------------------------------------------------------


@pytest.fixture
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST", 0.001)
    monkeypatch.setattr(following, "SLOWEST", 0.002)


def job(status: str, **more: Any) -> httpx.Response:  # noqa: ANN401 - JSON
    return ok(jobId="a", status=status, links={"a": str(time.monotonic())}, **more)


@pytest.mark.usefixtures("hurry")
def test_watching_shows_each_change_until_the_end() -> None:
    api, _ = client(no(404), job("PENDING"), job("PENDING"), job("RUNNING"), job("RUNNING", a=1), job("FAILED"))

    async def watched() -> list[str]:
        return [found["status"] async for found in api.watch("a")]

    assert done(watched()) == ["PENDING", "RUNNING", "RUNNING", "FAILED"]


@pytest.mark.usefixtures("hurry")
def test_watching_ends_in_time_and_says_that_the_job_goes_on() -> None:
    with pytest.raises(JobTimeoutError, match=r"a is RUNNING after .* it goes on"):
        done(client(job("RUNNING"))[0].wait("a", seconds=0.05))


@pytest.mark.usefixtures("hurry")
def test_a_job_that_never_comes_is_not_found() -> None:
    async def watched() -> list[object]:
        return [found async for found in client(no(404))[0].watch("a", unknown=0.01)]

    with pytest.raises(NotFoundError):
        done(watched())


# ---- without asyncio -------------------------------------------------------------------------------------------------


@pytest.fixture
def blocking() -> Iterator[Callable[..., Switchyard]]:
    made: list[Switchyard] = []

    def make(*answers: Answer) -> Switchyard:
        made.append(Switchyard(URL, "key", transport=Server(*answers), retries=QUICK))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.mark.usefixtures("hurry")
def test_the_same_methods_block_without_asyncio(blocking: Callable[..., Switchyard]) -> None:
    api = blocking(job("PENDING"), job("RUNNING"), job("COMPLETED"))
    assert api.get_job("a")["status"] == "PENDING"
    assert [found["status"] for found in api.watch("a")] == ["RUNNING", "COMPLETED"]
    assert api.wait("a")["status"] == "COMPLETED"


def test_blocking_works_where_a_loop_runs_and_from_threads(blocking: Callable[..., Switchyard]) -> None:
    api, found = blocking(job("RUNNING")), list[str]()

    async def notebook() -> str:
        return api.get_job("a")["status"]

    assert asyncio.run(notebook()) == "RUNNING"
    threads = [threading.Thread(target=lambda: found.append(api.get_job("a")["status"])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["RUNNING"] * 8


def test_errors_come_through_and_pages_are_walked(blocking: Callable[..., Switchyard]) -> None:
    with pytest.raises(NotFoundError):
        blocking(no(404)).get_job("a")
    api = blocking(ok(jobs=[{"jobId": "a"}], nextToken="t"), ok(jobs=[], nextToken="u"), ok(jobs=[{"jobId": "b"}]))
    assert [found["jobId"] for found in api.jobs(kind="torrent")] == ["a", "b"]


def test_an_interrupted_call_is_cancelled_and_cleans_up(monkeypatch: pytest.MonkeyPatch) -> None:
    portal, cleaned, began = Portal(), threading.Event(), threading.Event()

    async def work() -> None:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.05)
            cleaned.set()

    real, interrupts = threading.Event.wait, iter([KeyboardInterrupt])

    def wait(event: threading.Event, timeout: float | None = None) -> bool:
        if event is not began and (interrupt := next(interrupts, None)):
            real(began)
            raise interrupt
        return real(event, timeout)

    portal.run(asyncio.sleep(0))  # its thread runs
    monkeypatch.setattr(threading.Event, "wait", wait)
    with pytest.raises(KeyboardInterrupt):
        portal.run(work())
    assert cleaned.is_set()
    portal.close()


# ---- types, as a user sees them --------------------------------------------------------------------------------------

USER = """
    import asyncio
    from typing import assert_type
    from switchyard_client import AsyncSwitchyard, Switchyard, Uploaded
    from switchyard_client.shapes import Job

    with Switchyard.from_url("https://example.com/v1", "key") as api:
        assert_type(api.get_job("a"), Job)
        assert_type(api.upload("a.mp4"), Uploaded)
        for job in api.watch("a"):
            assert_type(job, Job)
        print(api.list_jobs(limit=3)["jobs"][0]["jobId"].upper())

    async def main() -> None:
        async with AsyncSwitchyard.local() as api:
            assert_type(await api.get_job("a"), Job)
            async for job in api.watch("a", seconds=3):
                assert_type(job, Job)

    asyncio.run(main())
"""
WRONG = """
    from switchyard_client import Switchyard

    api = Switchyard.local()
    api.get_job(5)
    api.get_job("a")["nonsense"]
    api.list_jobs(limit="many")
    api.no_such_route()
"""


@pytest.mark.parametrize(("program", "errors"), [(USER, 0), (WRONG, 4)], ids=["right", "wrong"])
def test_users_programs_are_checked_by_mypy(tmp_path: Path, program: str, errors: int) -> None:
    (tmp_path / "program.py").write_text(textwrap.dedent(program))
    (tmp_path / "mypy.ini").write_text("[mypy]\nstrict = true\npython_version = 3.11\n")
    command = [sys.executable, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache" / "user"), "program.py"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"MYPYPATH": str(ROOT / "client")}, capture_output=True, text=True, check=False
    )
    found = [line for line in ended.stdout.splitlines() if ": error:" in line]
    assert (len(found), [line for line in found if not line.startswith("program.py")]) == (errors, []), ended.stdout
