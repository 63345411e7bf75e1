"""The demo detects broken promises and shows the course of jobs."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import replace

import pytest
from rich.console import Console

from local import follow as follow_module
from local.demos.videos import DemoError, check_one_at_a_time, pauses_between
from local.follow import Followed, FollowTimeoutError, follow
from local.view import Job, Lane

JOB = Job(
    id="a",
    kind="video-analysis",
    lane="video",
    key="uploads/a.mp4",
    subject="",
    status="COMPLETED",
    percent=100,
    message="",
    target_id="batch-1",
    error="",
    result={},
    created=100,
    sent=100,
    claimed=100,
    started=101,
    ended=102,
)


class Script:
    """A view that returns one state after another."""

    def __init__(self, *scenes: Job) -> None:
        self._scenes = list(scenes)

    def jobs_of(self, marks: Iterable[str]) -> dict[str, Job]:
        scene = self._scenes.pop(0) if len(self._scenes) > 1 else self._scenes[0]
        return {mark: scene for mark in marks if mark in {scene.key, scene.id}}

    def lane(self, name: str) -> Lane:  # noqa: ARG002 - it has one
        return Lane(frozenset("a"), 0)


def job(name: str, started: float, ended: float) -> Job:
    return replace(JOB, id=name, key=f"uploads/{name}", started=started, ended=ended)


def test_one_after_the_other_is_as_promised() -> None:
    jobs = [job("a", 1, 2), job("b", 2.5, 3), job("c", 3.25, 4)]

    check_one_at_a_time(jobs, most_holders=1)

    assert pauses_between(jobs) == [0.5, 0.25]


@pytest.mark.parametrize(
    ("jobs", "most_holders", "reason"),
    [
        ([job("a", 1, 3), job("b", 2, 4)], 1, "ran at once"),
        ([job("a", 3, 4), job("b", 1, 2)], 1, "before"),
        ([job("a", 1, 2), job("b", 3, 4)], 2, "held a slot at once"),
    ],
)
def test_a_broken_promise_is_told(jobs: list[Job], most_holders: int, reason: str) -> None:
    with pytest.raises(DemoError, match=reason):
        check_one_at_a_time(jobs, most_holders)


def test_a_pipe_gets_a_plain_line_for_each_status() -> None:
    out = io.StringIO()
    scenes = [replace(JOB, status=status) for status in ("SUBMITTED", "SUBMITTED", "RUNNING", "COMPLETED")]

    ended = follow(Script(*scenes), {JOB.key: 100.0}, Console(file=out), seconds=10)

    assert [line.split()[-1] for line in out.getvalue().splitlines()] == ["SUBMITTED", "RUNNING", "COMPLETED"]
    assert "\x1b" not in out.getvalue()
    assert [job.id for job in ended] == ["a"]


def test_a_terminal_gets_a_live_table() -> None:
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)

    follow(Script(replace(JOB, status="RUNNING", percent=40), JOB), {JOB.key: 100.0}, terminal, seconds=10)

    assert "COMPLETED" in out.getvalue()
    assert "100 %" in out.getvalue()


def test_jobs_that_do_not_end_are_named() -> None:
    with pytest.raises(FollowTimeoutError, match=r"a\.mp4 is RUNNING"):
        follow(Script(replace(JOB, status="RUNNING")), {JOB.key: 100.0}, Console(file=io.StringIO()), seconds=0)


def test_the_job_of_an_earlier_upload_to_the_key_is_not_taken_for_this_ones() -> None:
    followed = Followed(JOB.key, sent=JOB.sent + 60)

    assert not followed.update(JOB, now=200)
    assert followed.job is None


def test_work_without_a_file_is_followed_by_its_id() -> None:
    out = io.StringIO()
    images = replace(JOB, kind="image-processing", lane="images", key="", subject="3 images")

    follow(Script(images), {"a": 100.0}, Console(file=out), seconds=10, lane="images")

    assert "3 images" in out.getvalue()


def test_what_nothing_picks_up_is_reported_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "PICKUP_SECONDS", 0.0)
    out = io.StringIO()
    scenes = [replace(JOB, status=status) for status in ("PENDING", "PENDING", "PENDING", "COMPLETED")]

    follow(Script(*scenes), {JOB.key: 100.0}, Console(file=out), seconds=10, explain=lambda: "the queue isn't read")

    told = [line for line in out.getvalue().splitlines() if "nothing has picked up" in line]
    assert len(told) == 1  # and again only after REMINDER_SECONDS
    assert told[0].endswith("nothing has picked up a.mp4 yet:")
    assert "  the queue isn't read" in out.getvalue().splitlines()


def test_a_terminal_shows_what_nothing_picks_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "PICKUP_SECONDS", 0.0)
    out = io.StringIO()
    terminal = Console(file=out, force_terminal=True, width=100)

    with pytest.raises(FollowTimeoutError):
        follow(Script(replace(JOB, sent=0)), {JOB.key: 100.0}, terminal, seconds=0.2, explain=lambda: "nobody reads")

    assert "nothing has picked up a.mp4 yet" in out.getvalue()
    assert "nobody reads" in out.getvalue()


def test_a_job_that_takes_long_is_reported_again_and_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follow_module, "REMINDER_SECONDS", 0.0)
    out = io.StringIO()
    running = replace(JOB, status="RUNNING", percent=40)

    follow(Script(running, running, running, JOB), {JOB.key: 100.0}, Console(file=out), seconds=10)

    assert "a.mp4 is RUNNING, 40 %" in out.getvalue()
    assert "picked up" not in out.getvalue()


def test_whoever_looks_is_given_each_change() -> None:
    seen: list[str] = []
    scenes = [replace(JOB, status=status) for status in ("SUBMITTED", "RUNNING", "RUNNING", "COMPLETED")]

    def look(_lane: Lane, changed: Sequence[Followed]) -> None:
        seen.extend(each.job.status for each in changed if each.job)

    follow(Script(*scenes), {JOB.key: 100.0}, Console(file=io.StringIO()), seconds=10, look=look)

    assert seen == ["SUBMITTED", "RUNNING", "COMPLETED"]
