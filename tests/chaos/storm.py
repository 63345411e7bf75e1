"""Injects faults, kills processes, cancels and repeats jobs (`python -m tests.chaos storm`). Nothing may be lost."""

import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from local.environment import ROOT
from local.stack import Say
from tests.chaos import forecast, verdict
from tests.chaos.forecast import Disturbance, Operation
from tests.chaos.killer import Killer
from tests.chaos.report import Report
from tests.chaos.traffic import Traffic
from tests.chaos.verdict import Facts
from tests.chaos.wire import Wire
from tests.chaos.world import DEAD_LETTERS, LANES, TERMINAL, DeadLetter, World
from tests.iam.permissions import permissions
from tests.template.rendering import TEMPLATE, load

EVERY: Final = 10.0
"""Seconds between two checks."""
RECONCILED_EVERY: Final = 30.0
NEARLY_ALL: Final = 0.97
"""The share of accepted work that must have ended before the faults stop."""
STILL: Final = 3
"""Consecutive checks that must find nothing left to do."""

LOGGED: Final = {
    "message comes back": "messages returned to their queue",
    "duplicate": "deliveries of work already known",
    "start: outcome unknown": "starts with unknown outcome",
    "start: refused": "starts refused or throttled, their claim undone",
    "adopted": "runs found and adopted",
    "starting again: the claim led to no run": "claims that led to no run, started again under a higher fence",
    "stopping: cancelled while it was being started": "runs stopped that were cancelled while being started",
    "freed a leaked slot": "leaked slots freed by the reconciler",
    "recounted the waiting room": "waiting rooms recounted by the reconciler",
    "a waiting job had lost its place in the waiting room": "waiting jobs given their place back",
    "a repair failed": "repairs that failed, and were left to the next pass",
    "dead-lettered": "messages given up",
    "ignored: not the job's current run": "events of runs that are not their job's current one",
}


@dataclass(frozen=True)
class Plan:
    """A storm's load, time limit and strength.

    `slots` is the number per lane, `minutes` the time limit for everything. `strength` multiplies the probability of
    every fault. `job_kills` and `function_kills` are the seconds between two kills, on average.
    """

    videos: int
    jobs: int
    torrents: int
    rate: float
    slots: int
    seed: int
    minutes: float
    job_kills: float
    function_kills: float
    strength: float


class Storm:
    """One storm run.

    Args:
        plan: Load, time limit and strength.
        world: The deployed system.
        wire: The proxy in front of it.
        say: Prints progress.
    """

    def __init__(self, plan: Plan, world: World, wire: Wire, say: Say) -> None:
        self._plan = plan
        self._world = world
        self._wire = wire
        self._say = say
        self._asked = asked()
        self._began = time.monotonic()
        self._reconciled = self._began
        self._traffic = Traffic(world, plan.seed)
        self._killer = Killer(world, plan.seed, plan.job_kills, plan.function_kills)
        self._stand_in: list[dict[str, object]] = []

    def run(self) -> Report:
        """Injects faults while work is sent, waits until everything has ended, and checks the result."""
        self._blow()
        stormy = time.monotonic() - self._began
        self._settle()
        letters = self._world.dead_letters()
        for letter in letters:
            if letter.queue in DEAD_LETTERS:
                self._world.redrive(letter)
        if letters:
            self._say(f"{len(letters)} dead letters are sent again")
            self._settle()
        return self._report(stormy, letters)

    def _blow(self) -> None:
        plan = self._plan
        self._wire.disturb(forecast.on_the_wire(self._asked, plan.strength))
        self._world.ask_compute("POST", "/_compute/faults", forecast.on_the_stand_in(self._asked, plan.strength))
        self._traffic.plan(videos=plan.videos, jobs=plan.jobs, torrents=plan.torrents, rate=plan.rate)
        with self._traffic.flowing(), self._killer.at_large():
            self._wait(self._nearly_done, until=self._began + plan.minutes * 60 * 0.7)
        self._wire.clear()
        self._stand_in = self._world.ask_compute("GET", "/_compute/faults")["faults"]
        self._world.ask_compute("DELETE", "/_compute/faults")
        self._say("the faults stop")

    def _nearly_done(self) -> bool:
        jobs = self._world.jobs()
        ended = sum(job["status"] in TERMINAL for job in jobs.values())
        counts = Counter(job["status"] for job in jobs.values())
        self._say(
            f"{time.monotonic() - self._began:5.0f} s  accepted {len(self._traffic.accepted)}, "
            + ", ".join(f"{status} {count}" for status, count in sorted(counts.items()))
        )
        return self._traffic.over and ended >= NEARLY_ALL * len({work.job_id for work in self._traffic.accepted})

    def _settle(self) -> None:
        """Waits until nothing is left to do, within the time limit."""
        self._world.impatient()
        still = 0

        def at_rest() -> bool:
            nonlocal still
            still = still + 1 if self._world.quiet() and not any(map(len, self._world.at_work().values())) else 0
            return still >= STILL

        self._wait(at_rest, until=self._began + self._plan.minutes * 60, every=EVERY / 3)

    def _wait(self, done: Callable[[], bool], *, until: float, every: float = EVERY) -> None:
        while not done() and time.monotonic() < until:
            if time.monotonic() - self._reconciled > RECONCILED_EVERY:
                self._reconciled = time.monotonic()
                self._world.reconcile()
            time.sleep(every)

    # ---- the report --------------------------------------------------------------------------------------------------

    def _report(self, stormy: float, letters: Sequence[DeadLetter]) -> Report:
        world = self._world
        limits = dict.fromkeys(LANES, self._plan.slots)
        facts = Facts(self._traffic.accepted, world.jobs(), world.lanes(), world.attempts(), world.at_work(), limits)
        found = verdict.judge(facts)
        seen = [*self._wire.seen(), *self._on_the_stand_in()]
        report = Report("faults on the wire")
        report.add(
            "run",
            {
                "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "commit": commit(),
                **asdict(self._plan),
                "seconds with faults": round(stormy),
                "seconds in all": round(time.monotonic() - self._began),
            },
        )
        report.add("what clients did", sorted(self._traffic.tally.items()))
        report.add("how it ended", sorted(found.ends.items()))
        report.add("calls, and the faults that hit them", [(str(each.operation), _faults(each)) for each in seen])
        report.add("state change events", _counted(self._stand_in, "events"))
        report.add("processes killed", sorted(self._killer.killed.items()))
        report.add(
            "effects seen",
            {
                **{name: count for name, count in world.logged(LOGGED).items() if count},
                "attempts of jobs beyond their run's first": verdict.repeated_attempts(facts.attempts),
                "runs turned away by the fence check": sum(
                    each.begin is None and not each.killed for each in facts.attempts
                ),
                "records of requests whose client had given up": verdict.unasked(facts),
            },
        )
        report.add(
            "most jobs at work at once", {lane: f"{most} of {self._plan.slots}" for lane, most in found.most.items()}
        )
        report.add(
            "dead letters, taken out and sent again where they came from a queue",
            sorted(Counter(f"{each.queue}: {each.reason}" for each in letters).items()),
        )
        report.add("called, and never disturbed", [(str(each), "") for each in forecast.undisturbed(seen)])
        report.add("may be called, and never was", [(str(each), "") for each in forecast.not_called(seen, self._asked)])
        report.violations += found.violations
        report.violations += self._traffic.failures
        report.violations += [f"{each} was never disturbed" for each in forecast.undisturbed(seen, forecast.OFTEN)]
        report.violations += [
            f"a dead letter is left in {each.queue}: {each.reason}: {each.body[:200]}" for each in world.dead_letters()
        ]
        return report

    def _on_the_stand_in(self) -> list[Disturbance]:
        calls = self._world.ask_compute("GET", "/_compute/health")["calls"]
        return [
            Disturbance(each, calls.get(each.name, 0), _counted(self._stand_in, each.name))
            for each in self._asked
            if each.service in forecast.OF_THE_STAND_IN
        ]


def storm(plan: Plan, say: Say) -> Report:
    """Deploys a system, runs the storm on it and returns the report."""
    with (
        World.running("chaos", say, slots=plan.slots, proxied=True) as world,
        Wire.running(
            world.proxy_port or 0, world.stack.emulator.url, seed=plan.seed, log=world.stack.logs / "wire.log"
        ) as wire,
    ):
        return Storm(plan, world, wire, say).run()


def asked() -> list[Operation]:
    """Returns the operations that the template lets functions call."""
    return forecast.operations(each.action for each in permissions(load(TEMPLATE).written))


def commit() -> str:
    """Returns the checked-out commit, and whether there are uncommitted changes."""
    found = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return found.stdout.strip() or "unknown"


def write(report: Report, folder: Path) -> Path:
    """Saves a report as text and JSON and returns the path."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(report.json())
    (folder / "report.txt").write_text(report.text() + "\n")
    return folder / "report.txt"


def _faults(each: Disturbance) -> str:
    kinds = ", ".join(f"{kind} {count}" for kind, count in each.faults.items() if count)
    return f"{each.calls} calls, {each.hits} hit: {kinds or 'none'}"


def _counted(faults: Sequence[dict[str, object]], operation: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for fault in faults:
        if fault["operation"] == operation:
            counts[str(fault["mode"])] += int(str(fault["fired"]))
    return dict(counts)
