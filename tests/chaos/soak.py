"""`python -m tests.chaos soak`: steady work for a long time. Nothing may drift, leak, be lost or be left behind."""

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
"""As the template has it."""
LASTING: Final = 3
"""In how many samples running a slot without a run, or a run without a slot, counts as drift. A start or an end takes
a moment in which the two differ; half a minute is none, on a machine that has time."""
SETTLING: Final = 120.0
"""Seconds in which processes load what they need, and are not looked at yet."""
SAMPLES_TO_JUDGE: Final = 30
"""A process is judged by at least so many samples: five minutes."""
FUNCTION_MEGABYTES_AN_HOUR: Final = 24.0
"""What a function's process may grow. Lambda replaces an environment within hours; of the 256 MB that the smallest
function has, some 100 are in use, so this much would be borne for six hours."""
PART_MEGABYTES_AN_HOUR: Final = 64.0
"""What the stand-in and the jobs' nursery may grow. They keep every run for a week, on disk: in memory there are only
those under way."""
FILES_AN_HOUR: Final = 12.0
"""What any process may grow in open files: one that is left open at every hundredth job is seen."""


@dataclass(frozen=True)
class Plan:
    """How long, and how much: `rate` is pieces of work a minute, `slots` what each lane has."""

    minutes: float
    rate: float
    slots: int
    seed: int


class Soak:
    """One run.

    Args:
        plan: Of it.
        world: The deployed system.
        say: Told what is going on.
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
        """Work, come to rest, and look at what is left."""
        plan = self._plan
        pieces = round(plan.minutes * plan.rate)
        videos, torrents = round(pieces * 0.5), round(pieces * 0.05)
        self._traffic.plan(videos=videos, jobs=pieces - videos - torrents, torrents=torrents, rate=plan.rate / 60)
        with self._traffic.flowing():
            end = self._began + plan.minutes * 60
            self._repeat(lambda: time.monotonic() > end and self._traffic.over, until=end + 120)
        self._say("no more work comes")
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
        # The runs on both sides of the slots: what starts or ends between the looks is not counted.
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
        """Slots against what really runs."""
        leaked = trends.lasting(self._slots_without_run, LASTING)
        unseen = trends.lasting(self._runs_without_slot, LASTING)
        report.add(
            f"drift that lasts {LASTING} samples",
            {"slots held without a run": len(leaked), "runs without a slot": len(unseen)},
        )
        return [f"a slot was held by {job}, and nothing ran" for job in sorted(leaked)] + [
            f"{job} ran, and held no slot" for job in sorted(unseen)
        ]

    def _growth(self, report: Report) -> list[str]:
        """Memory and open files of every process that lived long enough to tell."""
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
            # The emulator has no bound: it keeps all that was ever stored and logged in memory.
            bound = {True: FUNCTION_MEGABYTES_AN_HOUR, False: PART_MEGABYTES_AN_HOUR}[name.endswith("Function")]
            if name != "the emulator" and grows > bound:
                violations.append(f"{name}, process {pid}: grows by {grows:.1f} MB an hour, more than {bound:.0f}")
            if opens > FILES_AN_HOUR:
                violations.append(f"{name}, process {pid}: {opens:.1f} more open files an hour")
        report.add("memory and open files of what lived long enough", rows)
        return violations


def soak(plan: Plan, say: Say) -> Report:
    """A system of its own, steady work, and what was left of it."""
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
