"""Searches all interleavings of some actors in a scenario, with at most one fault.

A node is the state and how far each actor has come. From it, every actor that goes on may make its next call, well or
with a fault. Two ways that lead to the same node are followed from there once, so the search is complete although it
visits each node once only.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from unittest import mock

from switchyard import clock, observability
from tests.interleavings.invariants import Violation, check, check_cancelled, settle
from tests.interleavings.replaying import READS, Fault, Ports, Progress, advance
from tests.interleavings.scenarios import SCENARIOS, Actor, Scenario, State
from tests.world import GRACE, Time


@dataclass(frozen=True, slots=True)
class Step:
    """A turn: which actor, and what goes wrong."""

    actor: int
    fault: Fault | None = None

    def __str__(self) -> str:
        return f"{self.actor}{f'!{self.fault}' if self.fault else ''}"

    @classmethod
    def parse(cls, text: str) -> "Step":
        """Reads what `str` wrote."""
        actor, _, fault = text.partition("!")
        return cls(int(actor), Fault(fault) if fault else None)


@dataclass(frozen=True, slots=True)
class Found:
    """A schedule that breaks an invariant."""

    scenario: str
    actors: tuple[str, ...]
    steps: tuple[Step, ...]
    problem: str
    trace: tuple[str, ...]

    def __str__(self) -> str:
        schedule = f"{self.scenario}:{','.join(self.actors)}:{' '.join(map(str, self.steps))}"
        return "\n".join((self.problem, *(f"    {line}" for line in self.trace), f'--replay "{schedule}"'))


@dataclass
class Tally:
    """What a search has seen."""

    nodes: int = 0
    calls: int = 0
    ends: int = 0


@dataclass(frozen=True)
class _Node:
    state: State
    progress: tuple[Progress, ...]
    steps: tuple[Step, ...] = ()
    switches: int = 0

    @cached_property
    def mark(self) -> int:
        """Tells the state apart from others."""
        return self.state.mark()

    @property
    def failed(self) -> bool:
        return any(step.fault for step in self.steps)

    def key(self, *, by_switches: bool) -> int:
        """Tells this node apart from others."""
        last = (self.switches, self.steps[-1].actor) if by_switches else None
        return hash((self.mark, tuple(each.key for each in self.progress), self.failed, last))


@dataclass
class Search:
    """The search of some actors in one scenario.

    `preemptions` limits how often an actor that could go on has to wait for another; None for no limit.
    """

    name: str
    names: tuple[str, ...]
    faults: bool = True
    preemptions: int | None = None
    scenarios: Mapping[str, Scenario] = field(default_factory=lambda: SCENARIOS)
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._scenario = self.scenarios[self.name]
        self._actors: Sequence[Actor] = [self._scenario.actors[name] for name in self.names]
        self._time = Time()
        self._settled: set[tuple[object, ...]] = set()

    def run(self) -> Found | None:
        """Searches until an invariant is broken. None if none is."""
        with self._still():
            nodes, seen = [self._begin()], set[int]()
            while nodes:
                node = nodes.pop()
                for step in self._turns(node):
                    try:
                        after = self._take(node, step)
                    except Violation as problem:
                        return self._found((*node.steps, step), problem)
                    key = after.key(by_switches=self.preemptions is not None)
                    if key not in seen:
                        seen.add(key)
                        nodes.append(after)
            self.tally.nodes += len(seen)
        return None

    def replay(self, steps: Sequence[Step]) -> Found | None:
        """Takes the given turns. Returns what they break, None if nothing."""
        with self._still():
            node = self._begin()
            for position, step in enumerate(steps, start=1):
                try:
                    node = self._take(node, step)
                except Violation as problem:
                    return self._found(tuple(steps[:position]), problem)
        return None

    @contextmanager
    def _still(self) -> Iterator[None]:
        """Stops the clock, and the logs and metrics, which would take longer than everything else."""
        with (
            mock.patch.object(clock, "now", lambda: self._time.now),  # noqa: PT008 - it moves in `settle`
            mock.patch.multiple(observability, count=_ignore, since=_ignore, seconds=_ignore),
            mock.patch.multiple(observability.logger, info=_ignore, warning=_ignore),
        ):
            yield

    def _begin(self) -> _Node:
        self._time = Time()
        state = self._scenario.build()
        if self._scenario.late:
            self._time.advance(GRACE)
        return _Node(state, tuple(advance(self._at(actor, state), (), performing=False) for actor in self._actors))

    def _at(self, actor: Actor, state: State) -> Callable[[Ports], object]:
        return lambda ports: actor.run(state, ports)

    def _turns(self, node: _Node) -> Iterator[Step]:
        last = node.steps[-1].actor if node.steps else None
        goes_on = last is not None and node.progress[last].ended is None
        for number, progress in enumerate(node.progress):
            if progress.ended is not None:
                continue
            if goes_on and number != last and node.switches == self.preemptions:
                continue
            yield Step(number)
            if self.faults and not node.failed:
                yield Step(number, Fault.THROTTLE)
                yield Step(number, Fault.KILL)
                if progress.next_call not in READS:
                    yield Step(number, Fault.UNKNOWN)

    def _take(self, node: _Node, step: Step) -> _Node:
        """Takes a turn.

        Raises:
            Violation: it breaks an invariant, or everything comes to rest and something is wrong.
        """
        before = node.progress[step.actor]
        reads = step.fault is Fault.KILL or before.next_call in READS
        state = node.state if reads else node.state.copied()
        if step.fault is Fault.KILL:
            now = replace(before, ended="killed", next_call="")
        else:
            now = advance(self._at(self._actors[step.actor], state), before.answers, performing=True, fault=step.fault)
        self.tally.calls += 1
        if not reads:
            check(state)
        if now.succeeded and self._actors[step.actor].cancels:
            check_cancelled(state, now.answers[0].value)
        last = node.steps[-1].actor if node.steps else step.actor
        switched = last != step.actor and node.progress[last].ended is None
        progress = (*node.progress[: step.actor], now, *node.progress[step.actor + 1 :])
        after = _Node(state, progress, (*node.steps, step), node.switches + switched)
        if all(each.ended for each in progress):
            self._settle(after)
        return after

    def _settle(self, node: _Node) -> None:
        self.tally.ends += 1
        began = self._time.now
        unfinished = [actor for actor, each in zip(self._actors, node.progress, strict=True) if not each.succeeded]
        end = (node.mark, *(each.succeeded for each in node.progress), node.failed)
        if end in self._settled:
            return
        try:
            settle(self._scenario, node.state.copied(), self._actors, unfinished, self._time, failed=node.failed)
        finally:
            self._time.now = began
        self._settled.add(end)

    def _found(self, steps: tuple[Step, ...], problem: Violation) -> Found:
        return Found(self.name, self.names, steps, str(problem), tuple(self._trace(steps)))

    def _trace(self, steps: Sequence[Step]) -> Iterator[str]:
        node = self._begin()
        for step in steps:
            call = node.progress[step.actor].next_call
            yield f"{self.names[step.actor]:12} {call}{f' ({step.fault})' if step.fault else ''}"
            try:
                node = self._take(node, step)
            except Violation:
                return


def _ignore(*_: object, **__: object) -> None: ...


def parse(schedule: str) -> tuple[Search, list[Step]]:
    """Reads a schedule as `Found` prints it.

    Raises:
        ValueError: it is none.
    """
    found = re.fullmatch(r"([^:]+):([^:]+):([0-9a-z! ]+)", schedule)
    if not found or found[1] not in SCENARIOS or not {*found[2].split(",")} <= {*SCENARIOS[found[1]].actors}:
        raise ValueError("not a schedule: it must have the form scenario:actor,actor:0 1 0!throttle …")
    return Search(found[1], tuple(found[2].split(","))), [Step.parse(each) for each in found[3].split()]
