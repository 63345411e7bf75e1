"""Judges how all accepted work ended, and finds violations. Pure."""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos import ledger
from tests.chaos.ledger import DONE, FAILED, Attempt
from tests.chaos.work import Work

type Item = Mapping[str, Any]

TERMINAL: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})
_AT_ONCE: Final = 200
"""The API's answer if a cancel takes effect at once: the job never runs."""


@dataclass(frozen=True)
class Facts:
    """The state after everything has ended.

    Attributes:
        accepted: The accepted work, in order.
        jobs: JobsTable's items, by job id.
        lanes: LanesTable's items.
        attempts: The attempts that the jobs' processes recorded.
        at_work: The jobs that are still active at the targets, by lane.
        limits: The slots of each lane.
    """

    accepted: Sequence[Work]
    jobs: Mapping[str, Item]
    lanes: Sequence[Item]
    attempts: Sequence[Attempt]
    at_work: Mapping[str, Collection[str]]
    limits: Mapping[str, int]


@dataclass
class Verdict:
    """How everything ended.

    Attributes:
        ends: The number of jobs by how they ended.
        violations: Broken promises; empty if all is well.
        most: The most jobs of each lane at work at once.
    """

    ends: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    most: dict[str, int] = field(default_factory=dict)


def judge(facts: Facts) -> Verdict:
    """Compares the accepted work with the runs and the tables."""
    verdict = Verdict()
    _Ends(facts, verdict).look()
    verdict.violations += _left_over(facts)
    verdict.violations += _done_twice(facts)
    for lane, limit in facts.limits.items():
        most = verdict.most[lane] = ledger.most_at_once(each for each in facts.attempts if each.lane == lane)
        if most > limit:
            verdict.violations.append(f"lane {lane}: {most} jobs at work at once, and its limit is {limit}")
    return verdict


def _left_over(facts: Facts) -> Iterator[str]:
    """Finds everything that should be gone or ended."""
    for job_id, job in facts.jobs.items():
        if job["status"] not in TERMINAL:
            yield f"job {job_id} is still {job['status']}"
    for item in facts.lanes:
        match item:
            case {"sk": "SLOTS"}:
                for count in ("taken", "waiting", "later"):
                    if item.get(count):
                        yield f"{item['pk']}: {count} is {item[count]}"
            case _:
                yield f"left behind: {item['pk']} {item['sk']}"
    for lane, jobs in facts.at_work.items():
        for job_id in sorted(jobs):
            yield f"lane {lane}: a run of {job_id} is still under way"


def _done_twice(facts: Facts) -> Iterator[str]:
    """Finds work that more than one run was allowed to do, and runs of unknown jobs."""
    for (job_id, version), attempts in ledger.by_work(facts.attempts).items():
        runs = {attempt.run_id for attempt in attempts}
        if len(runs) > 1:
            yield f"job {job_id}, version {version}: {len(runs)} runs passed the fence check"
        if job_id not in facts.jobs:
            yield f"job {job_id} ran, and has no record"


class _Ends:
    """Judges each piece of accepted work."""

    def __init__(self, facts: Facts, verdict: Verdict) -> None:
        self._facts = facts
        self._verdict = verdict
        self._worked = ledger.by_work(facts.attempts)
        self._uploads: dict[str, list[Work]] = {}
        for work in facts.accepted:
            self._uploads.setdefault(work.key or work.job_id, []).append(work)

    def look(self) -> None:
        kinds: Mapping[str, Callable[[Work], str]] = {
            "video": self._video,
            "image": self._job,
            "torrent": self._torrent,
        }
        for work in self._facts.accepted:
            try:
                self._verdict.ends[f"{work.kind}: {kinds[work.kind](work)}"] += 1
            except _Wrong as wrong:
                self._verdict.ends[f"{work.kind}: WRONG"] += 1
                self._verdict.violations.append(f"{work.kind} {work.key or work.job_id}: {wrong}")

    def _video(self, work: Work) -> str:
        job = self._facts.jobs.get(work.job_id)
        if job is None:
            raise _Wrong("no record of it")
        if job.get("source", {}).get("version") == work.version:
            return self._end(work, job)
        if (work.job_id, work.version) in self._worked:
            return "done, and its key was uploaded again"
        uploads = self._uploads[work.key]
        if uploads.index(work) < len(uploads) - 1:
            return "overtaken: a newer upload to its key was announced first, or it was cancelled before that"
        raise _Wrong(f"the newest upload is lost; the record is about {job.get('source', {}).get('version')}")

    def _job(self, work: Work) -> str:
        job = self._facts.jobs.get(work.job_id)
        if job is None:
            raise _Wrong("no record of it")
        return self._end(work, job)

    def _end(self, work: Work, job: Item) -> str:
        attempts = self._worked.get((work.job_id, work.version), ())
        done_by = {attempt.run_id for attempt in attempts if attempt.outcome == DONE}
        alone = len(self._uploads[work.key or work.job_id]) == 1
        if _AT_ONCE in work.cancels and alone and (job["status"] != "CANCELLED" or done_by):
            raise _Wrong(f"it was cancelled for good, and then it was {job['status']}, done by {len(done_by)} runs")
        match job["status"]:
            case "COMPLETED":
                if done_by != {job.get("result", {}).get("runId")}:
                    raise _Wrong(f"COMPLETED, and the ledger says: done by {sorted(done_by) or 'nobody'}")
                return "COMPLETED"
            case "CANCELLED":
                if not any(each.cancels for each in self._uploads[work.key or work.job_id]):
                    raise _Wrong("CANCELLED, and nobody asked for it")
                return "CANCELLED"
            case "FAILED":
                return self._failure(work, job)
        raise _Wrong(f"not ended: {job['status']}")

    def _failure(self, work: Work, job: Item) -> str:
        code = job.get("error", {}).get("code")
        if code == FAILED:
            return "FAILED as planned"
        mine = [each for each in self._facts.attempts if (each.job_id, each.fence) == (work.job_id, job["fence"])]
        if mine and max(mine, key=lambda attempt: attempt.boot).killed:
            return "FAILED: its process was killed as often as its target starts it"
        raise _Wrong(f"FAILED: {code}: {job.get('error', {}).get('message')}")

    def _torrent(self, work: Work) -> str:
        about = [
            job
            for job in self._facts.jobs.values()
            if job.get("kind") == "torrent" and job.get("source", {}).get("key") == work.key
        ]
        if not about:
            raise _Wrong("no record of it")
        if [job["status"] for job in about] != ["COMPLETED"]:
            raise _Wrong(f"{', '.join(str(job.get('error', job['status'])) for job in about)}")
        return "COMPLETED"


class _Wrong(Exception):
    """An end without an explanation."""


def unasked(facts: Facts) -> int:
    """Counts records of work that no client knows is accepted: the answers to their requests were lost."""
    known = {work.job_id for work in facts.accepted}
    return sum(job_id not in known and job.get("kind") != "torrent" for job_id, job in facts.jobs.items())


def repeated_attempts(attempts: Iterable[Attempt]) -> int:
    """Counts attempts beyond the first of their run."""
    return sum(attempt.number > 1 for attempt in attempts)
