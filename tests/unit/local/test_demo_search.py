"""The demo of the search fails when the answer is not at its second, and prints no line too long."""

import io
from typing import Any

import httpx
import pytest
from rich.console import Console

from local import api
from local.demos import search
from local.demos.videos import DemoError
from local.view import WIDTH

TEXT = "A long way round to say it, and then a little longer still. It was [red]the spring[/red] of hope, they say."


def hit(at: float) -> dict[str, Any]:
    marks = [[TEXT.index("spring"), TEXT.index("spring") + 6]]
    links = {"video": f"http://127.0.0.1/v.mp4?X-Amz-Signature=s#t={at}"}
    return {"at": at, "text": TEXT, "marks": marks, "speaker": "SPEAKER_01", "links": links}


def ask(*hits: dict[str, Any]) -> str:
    """Asks with an API that finds these."""
    out = io.StringIO()
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, json={"hits": hits}))
    with httpx.Client(transport=transport, base_url="http://api") as http:
        search._ask(http, "job-1", "When?", 10, 12, Console(file=out, width=WIDTH))
    return out.getvalue()


def test_the_moment_is_shown_with_its_text() -> None:
    told = ask(hit(11.0), hit(70.0))
    assert "0:11  SPEAKER_01" in told
    assert "[red]the spring[/red]" in " ".join(told.split())
    assert "next: 1:10" in told
    assert max(map(len, told.splitlines())) <= WIDTH


@pytest.mark.parametrize(("hits", "why"), [((), "nothing was found"), ((70.0, 11.0), "the first hit is at 1:10")])
def test_another_moment_is_no_success(hits: tuple[float, ...], why: str) -> None:
    with pytest.raises(DemoError, match=why):
        ask(*map(hit, hits))


def test_a_stage_that_is_missing_is_named() -> None:
    stages = {"scenes": "done", "speech": "done", "speakers": "done", "index": "skipped"}
    with pytest.raises(DemoError, match="should be done: index"):
        search._show_stages({"result": {"stages": stages}}, Console(file=io.StringIO()))
    with pytest.raises(DemoError, match="failed: text"):
        search._show_stages(
            {"result": {"stages": {**stages, "index": "done", "text": "failed"}}}, Console(file=io.StringIO())
        )


def test_a_job_that_is_not_announced_yet_is_waited_for() -> None:
    answers = iter([httpx.Response(404), httpx.Response(200, json={"status": "COMPLETED"}, headers={"etag": "a"})])
    with httpx.Client(transport=httpx.MockTransport(lambda _request: next(answers)), base_url="http://api") as http:
        job = api.follow(http, "job-1", Console(file=io.StringIO()), until={"COMPLETED"}, seconds=10)
    assert job["status"] == "COMPLETED"


def test_a_job_that_never_comes_is_an_error() -> None:
    transport = httpx.MockTransport(lambda _request: httpx.Response(404))
    with httpx.Client(transport=transport, base_url="http://api") as http, pytest.raises(api.ApiError, match="0 s"):
        api.follow(http, "job-1", Console(file=io.StringIO()), until={"COMPLETED"}, seconds=0)
