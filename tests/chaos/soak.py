"""Runs steady work for a long time (`python -m tests.chaos soak`). Nothing may drift, leak, get lost or stay behind."""

import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from local.stack import Say
from tests.chaos import trends, verdict
from tests.chaos.report import Report
from tests.chaos.storm import commit
from tests.chaos.traffic import Traffic
from tests.chaos.trends import Point
from tests.chaos.verdict import Facts
from tests.chaos.world import LANES, World

EVERY: Final = 10.0
"""Seconds between two samples."""
RECONCILED_EVERY: Final = 300.0
"""The template's interval."""
LASTING: Final = 3
"""Consecutive samples after which a slot without a run, or a run without a slot, counts as drift. The two differ for a
moment at each start and end, but not for half a minute on a machine that is not overloaded."""
SETTLING: Final = 120.0
"""Warm-up seconds: processes load what they need and are not sampled yet."""
SAMPLES_TO_JUDGE: Final = 30
"""The fewest samples that a process is judged by: five minutes."""
FUNCTION_MEGABYTES_AN_HOUR: Final = 24.0
"""MB an hour that a function's process may grow. Lambda replaces an environment within hours. The smallest function
uses some 100 of its 256 MB, so it could grow like this for six hours."""
PART_MEGABYTES_AN_HOUR: Final = 64.0
"""MB an hour that the stand-in and the jobs' nursery may grow. They keep every run for a week, but on disk: only
active runs are in memory."""
FILES_AN_HOUR: Final = 12.0
"""Open files an hour that any process may gain. This detects one file left open per hundred jobs."""


@dataclass(frozen=True)
class Plan:
    """Duration and load: `rate` is uploads and jobs per minute, `slots` the slots per lane."""

    minutes: float
    rate: float
    slots: int
    seed: int


class Soak:
    """One soak run.

    Args:
        plan: Duration and load.
        world: The deployed system.
        say: Prints progress.
    """

    def __init__(self, plan: Plan, world: World, say: Say) -> None:
        self._plan = plan
        self._world = world
        self._say = say
        self._traffic = Traffic(world, plan.seed)
        self._began = time.monotonic()
        self._reconciled = self._began
        self._times: list[float] = []
        self._series: dict[str, list[Point]] = defaultdict(list)
        self._processes: dict[tuple[str, int], list[tuple[float, float, float]]] = defaultdict(list)
        self._slots_without_run: list[set[str]] = []
        self._runs_without_slot: list[set[str]] = []

    def run(self) -> Report:
        """Sends work, waits until everything has ended, and checks the result."""
        plan = self._plan
        pieces = round(plan.minutes * plan.rate)
        videos, torrents = round(pieces * 0.5), round(pieces * 0.05)
        self._traffic.plan(videos=videos, jobs=pieces - videos - torrents, torrents=torrents, rate=plan.rate / 60)
        with self._traffic.flowing():
            end = self._began + plan.minutes * 60
            self._repeat(lambda: time.monotonic() > end and self._traffic.over, until=end + 120)
        self._say("all work is sent")
        self._world.reconcile()
        self._repeat(self._at_rest, until=time.monotonic() + 180)
        return self._report()

    def _at_rest(self) -> bool:
        return self._world.quiet() and not any(self._world.at_work().values())

    def _repeat(self, over: Callable[[], bool], *, until: float) -> None:
        while not over() and time.monotonic() < until:
            due = time.monotonic() + EVERY
            if time.monotonic() - self._reconciled > RECONCILED_EVERY:
                self._reconciled = time.monotonic()
                self._world.reconcile()
            self._sample()
            time.sleep(max(0.0, due - time.monotonic()))

    def _sample(self) -> None:
        world, now = self._world, time.monotonic() - self._began
        # Reads the runs before and after the slots: runs that start or end in between are not counted.
        before = world.at_work()
        holders = world.holders()
        after = world.at_work()
        self._slots_without_run.append({job for lane in LANES for job in holders[lane] - before[lane] - after[lane]})
        self._runs_without_slot.append({job for lane in LANES for job in (before[lane] & after[lane]) - holders[lane]})
        self._times.append(now)
        depths = world.depths()
        for name, (visible, handled) in depths.items():
            self._series[f"messages in {name}"].append((now, visible + handled))
        self._series["jobs waiting"].append((now, world.waiting()))
        self._series["slots held"].append((now, sum(map(len, holders.values()))))
        self._series["runs under way"].append((now, sum(map(len, after.values()))))
        parts = [
            (world.stack.emulator.pid, "the emulator"),
            (world.stack.compute.pid, "the stand-in for Batch and ECS"),
            (world.nursery.pid, "the jobs' nursery"),
        ]
        functions = world.function_processes()
        self._series["function processes"].append((now, len(functions)))
        for pid, name in [*parts, *functions]:
            with suppress(OSError):
                self._processes[name, pid].append((now, _megabytes(pid), _open_files(pid)))
        if len(self._times) % 6 == 1:
            self._say(
                f"{now / 60:5.1f} min  accepted {len(self._traffic.accepted)}, slots held "
                f"{sum(map(len, holders.values()))}, waiting {self._series['jobs waiting'][-1][1]:.0f}, emulator "
                f"{self._processes['the emulator', world.stack.emulator.pid][-1][1]:.0f} MB"
            )

    # ---- the report --------------------------------------------------------------------------------------------------

    def _report(self) -> Report:
        world = self._world
        limits = dict.fromkeys(LANES, self._plan.slots)
        facts = Facts(self._traffic.accepted, world.jobs(), world.lanes(), world.attempts(), world.at_work(), limits)
        found = verdict.judge(facts)
        report = Report("soak")
        report.add(
            "run",
            {
                "date": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
                "commit": commit(),
                **asdict(self._plan),
                "samples": len(self._times),
                "longest time between two": f"{trends.longest_gap(self._times):.0f} s",
            },
        )
        report.add("what clients did", sorted(self._traffic.tally.items()))
        report.add("how it ended", sorted(found.ends.items()))
        report.add(
            "most jobs at work at once", {lane: f"{most} of {self._plan.slots}" for lane, most in found.most.items()}
        )
        report.add("least, middle, most", [(name, _range(points)) for name, points in self._series.items()])
        report.violations += found.violations + self._traffic.failures
        report.violations += self._drift(report)
        report.violations += self._growth(report)
        letters = Counter(f"{each.queue}: {each.reason}" for each in world.dead_letters())
        report.violations += [f"dead letters: {count} in {which}" for which, count in letters.items()]
        return report

    def _drift(self, report: Report) -> list[str]:
        """Compares the slots with the real runs."""
        leaked = trends.lasting(self._slots_without_run, LASTING)
        unseen = trends.lasting(self._runs_without_slot, LASTING)
        report.add(
            f"drift for {LASTING} samples",
            {"slots held without a run": len(leaked), "runs without a slot": len(unseen)},
        )
        return [f"a slot was held by {job}, and nothing ran" for job in sorted(leaked)] + [
            f"{job} ran, and held no slot" for job in sorted(unseen)
        ]

    def _growth(self, report: Report) -> list[str]:
        """Reports memory and open files of every process with enough samples."""
        rows, violations = [], []
        for (name, pid), samples in sorted(self._processes.items()):
            points = trends.settled([(at, megabytes) for at, megabytes, _ in samples], after=SETTLING)
            files = trends.settled([(at, count) for at, _, count in samples], after=SETTLING)
            if len(points) < SAMPLES_TO_JUDGE:
                continue
            grows, opens = trends.slope(points), trends.slope(files)
            memory = f"{points[0][1]:.0f} to {points[-1][1]:.0f} MB, {grows:+.1f} MB an hour"
            opened = f"{files[0][1]:.0f} to {files[-1][1]:.0f} open files, {opens:+.1f} an hour"
            rows.append((f"{name}, process {pid}", f"{memory}; {opened}; {len(points)} samples"))
            # The emulator has no bound: it keeps everything ever stored and logged in memory.
            bound = {True: FUNCTION_MEGABYTES_AN_HOUR, False: PART_MEGABYTES_AN_HOUR}[name.endswith("Function")]
            if name != "the emulator" and grows > bound:
                violations.append(f"{name}, process {pid}: grows by {grows:.1f} MB an hour, more than {bound:.0f}")
            if opens > FILES_AN_HOUR:
                violations.append(f"{name}, process {pid}: {opens:.1f} more open files an hour")
        report.add("memory and open files of processes with enough samples", rows)
        return violations


def soak(plan: Plan, say: Say) -> Report:
    """Deploys a system, runs the soak on it and returns the report."""
    with World.running("soak", say, slots=plan.slots, proxied=False) as world:
        return Soak(plan, world, say).run()


def _megabytes(pid: int) -> float:
    """Resident memory."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _open_files(pid: int) -> float:
    return float(len(list(Path(f"/proc/{pid}/fd").iterdir())))


def _range(points: list[Point]) -> str:
    least, middle, most = trends.quartiles([value for _, value in points])
    return f"{least:.0f}, {middle:.0f}, {most:.0f}"
