"""The verdict reports every broken promise after everything has ended."""

from dataclasses import replace
from typing import Any

import pytest

from tests.chaos import verdict
from tests.chaos.ledger import DONE, FAILED, Attempt
from tests.chaos.verdict import Facts
from tests.chaos.work import Work

IMAGE = Work("image", "i1", "", "i1")
VIDEO = Work("video", "v1", "uploads/v1.mp4", "version-1")
RAN = Attempt("i1", "i1", "images", 1, "task-1", 1, boot=1, begin=2, end=3, outcome=DONE)
PLAYED = replace(RAN, job_id="v1", version="version-1", lane="video", run_id="job-1")
NOTHING = Facts([], {}, [], [], {}, {"video": 1, "images": 1})


def completed(job_id: str, run_id: str, **more: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - an item's fields
    return {job_id: {"jobId": job_id, "status": "COMPLETED", "fence": 1, "result": {"runId": run_id}, **more}}


def video(**more: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401 - as above
    return completed("v1", "job-1", **{"source": {"version": "version-1"}, **more})


ALL_IS_WELL = replace(NOTHING, accepted=[IMAGE], jobs=completed("i1", "task-1"), attempts=[RAN])


def violations(facts: Facts) -> str:
    return "; ".join(verdict.judge(facts).violations)


def test_work_that_was_done_once_is_right() -> None:
    found = verdict.judge(ALL_IS_WELL)

    assert (found.violations, dict(found.ends)) == ([], {"image: COMPLETED": 1})


def test_work_without_a_record_is_lost() -> None:
    assert "no record" in violations(replace(ALL_IS_WELL, jobs={}, attempts=[]))


def test_completed_without_having_run_is_a_lie() -> None:
    assert "done by nobody" in violations(replace(ALL_IS_WELL, attempts=[]))


def test_completed_by_another_run_than_the_one_recorded_is_a_lie() -> None:
    assert "COMPLETED" in violations(replace(ALL_IS_WELL, jobs=completed("i1", "task-2")))


def test_two_runs_that_passed_the_fence_are_one_too_many() -> None:
    again = replace(RAN, run_id="task-2", boot=5, begin=6, end=7)

    assert "2 runs passed the fence check" in violations(replace(ALL_IS_WELL, attempts=[RAN, again]))


def test_a_second_attempt_of_the_same_run_is_none_too_many() -> None:
    killed = replace(RAN, boot=0, begin=0.5, end=None, outcome="", killed=0.9)

    assert not violations(replace(ALL_IS_WELL, attempts=[killed, replace(RAN, number=2)]))


@pytest.mark.parametrize("status", ["PENDING", "WAITING", "CLAIMED", "SUBMITTED", "RUNNING"])
def test_a_record_that_has_not_ended_is_stuck(status: str) -> None:
    assert f"still {status}" in violations(replace(NOTHING, jobs={"x": {"jobId": "x", "status": status}}))


def test_a_slot_that_is_still_held_has_leaked() -> None:
    hold = {"pk": "HOLDS#video", "sk": "v1"}

    assert "left behind: HOLDS#video v1" in violations(replace(NOTHING, lanes=[hold]))


@pytest.mark.parametrize("count", ["taken", "waiting", "later"])
def test_a_count_that_is_not_none_is_wrong(count: str) -> None:
    assert f"{count} is 2" in violations(replace(NOTHING, lanes=[{"pk": "LANE#video", "sk": "SLOTS", count: 2}]))


@pytest.mark.parametrize("sk", ["LOCK", "WAIT#2026#v1#x"])
def test_a_lock_or_an_entry_left_behind_is_told_of(sk: str) -> None:
    assert "left behind" in violations(replace(NOTHING, lanes=[{"pk": "OBJECT#b/k", "sk": sk}]))


def test_a_run_that_goes_on_is_told_of() -> None:
    assert "still under way" in violations(replace(NOTHING, at_work={"video": {"v1"}}))


def test_more_at_once_than_the_limit_is_told_of() -> None:
    other = replace(RAN, job_id="i2", version="i2", run_id="task-2")
    jobs = completed("i1", "task-1") | completed("i2", "task-2")

    assert "2 jobs at work at once" in violations(replace(ALL_IS_WELL, jobs=jobs, attempts=[RAN, other]))


def test_cancelled_is_right_only_where_it_was_asked_for() -> None:
    jobs = {"i1": {"jobId": "i1", "status": "CANCELLED", "fence": 1}}
    facts = replace(NOTHING, accepted=[IMAGE], jobs=jobs)

    assert "nobody asked" in violations(facts)
    assert not violations(replace(facts, accepted=[replace(IMAGE, cancels=[202])]))


def test_what_was_cancelled_for_good_may_not_run_all_the_same() -> None:
    assert "cancelled for good" in violations(replace(ALL_IS_WELL, accepted=[replace(IMAGE, cancels=[200])]))


@pytest.mark.parametrize(
    ("error", "last", "right"),
    [
        ({"code": FAILED}, RAN, True),
        ({"code": "CRASHED"}, replace(RAN, end=None, outcome="", killed=2.5), True),
        ({"code": "TARGET_LOST"}, RAN, False),
    ],
    ids=["planned", "killed", "unexplained"],
)
def test_a_failure_is_right_only_where_it_is_explained(error: dict[str, str], last: Attempt, *, right: bool) -> None:
    jobs = {"i1": {"jobId": "i1", "status": "FAILED", "fence": 1, "error": error}}

    assert bool(violations(replace(ALL_IS_WELL, jobs=jobs, attempts=[last]))) is not right


def test_of_two_uploads_to_a_key_the_newer_one_may_not_be_lost() -> None:
    newer = replace(VIDEO, version="version-2")

    found = violations(replace(NOTHING, accepted=[VIDEO, newer], jobs=video(), attempts=[PLAYED]))

    assert "the newest upload is lost" in found


def test_of_two_uploads_to_a_key_the_older_one_may_have_been_overtaken() -> None:
    newer = replace(VIDEO, version="version-2")
    jobs = video(source={"version": "version-2"})

    found = verdict.judge(
        replace(NOTHING, accepted=[VIDEO, newer], jobs=jobs, attempts=[replace(PLAYED, version="version-2")])
    )

    assert found.violations == []
    assert sum("overtaken" in end for end in found.ends) == 1


def test_a_torrent_that_was_not_made_is_told_of() -> None:
    wanted = Work("torrent", "", "recordings/a.mkv", "1")

    assert "no record" in violations(replace(NOTHING, accepted=[wanted]))
