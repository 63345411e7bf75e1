"""States from which the exploration starts, and the actors that meet there."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from typing import Any, cast

from switchyard.errors import NoCapacity, PermanentError, StartRefused, SwitchyardError
from switchyard.protocol.cancel import Canceller
from switchyard.protocol.dispatch import Dispatcher
from switchyard.protocol.jobs import Job, Status, WorkRequest
from switchyard.protocol.ports import Claimed
from switchyard.protocol.reconcile import Reconciler
from switchyard.protocol.tracking import Tracker
from tests.fakes.memory_store import MemoryStore
from tests.fakes.target import FakeTarget, Mode
from tests.interleavings.replaying import Ports
from tests.requests import request, source
from tests.world import World


class DeadLetters:
    """Keeps the requests that were given up."""

    def __init__(self) -> None:
        self.sent: list[WorkRequest] = []

    def send_request(self, request: WorkRequest, error: SwitchyardError) -> None:  # noqa: ARG002 - the port's
        self.sent.append(request)


@dataclass
class Target(FakeTarget):
    """A target that remembers the job of each run, since a job's row may be about other work by now.

    While it is `full`, it counts the starts that it can't take.
    """

    jobs: dict[str, Job] = field(default_factory=dict)
    full: bool = False
    tries: int = 0

    def start(self, job: Job) -> str:
        if self.full:
            self.tries += 1
            raise NoCapacity("no room")
        self.jobs[f"{self.name}-{len(self.runs)}"] = job
        return super().start(job)


class NoWakes:
    """Wakes nobody: the reconciler must do."""

    def wake(self, lane: str, at: datetime) -> None: ...


@dataclass
class State:
    """Everything that outlives an invocation. `limit` is the lane's."""

    store: MemoryStore
    target: Target = field(default_factory=Target)
    dead_letters: DeadLetters = field(default_factory=DeadLetters)
    limit: int = 1

    def copied(self) -> State:
        """A copy that shares only what never changes."""
        store = copy.copy(self.store)
        store.jobs, store.locks = dict(self.store.jobs), dict(self.store.locks)
        store.lanes = {
            name: replace(lane, holders=set(lane.holders), room=dict(lane.room), later=dict(lane.later))
            for name, lane in self.store.lanes.items()
        }
        target = replace(
            self.target,
            runs=dict(self.target.runs),
            jobs=dict(self.target.jobs),
            stopped=[*self.target.stopped],
            news=[],
        )
        dead_letters = DeadLetters()
        dead_letters.sent = [*self.dead_letters.sent]
        return State(store, target, dead_letters, self.limit)

    def mark(self) -> int:
        """Tells this state apart from others."""
        lanes = [
            (
                *(name, lane.taken, lane.waiting, lane.timed, lane.moves, lane.pause, frozenset(lane.holders)),
                *(frozenset(lane.room.items()), frozenset(lane.later.items())),
            )
            for name, lane in sorted(self.store.lanes.items())
        ]
        parts = (
            frozenset(self.store.jobs.values()),
            frozenset(self.store.locks.items()),
            tuple(lanes),
            tuple(self.target.runs.values()),
            tuple(self.target.jobs.values()),
            tuple(self.target.stopped),
            tuple(self.dead_letters.sent),
            self.target.tries,
        )
        return hash(parts)

    @property
    def world(self) -> World:
        """The state for code that isn't explored: it builds the scenario, and lets everything come to rest."""
        letters = cast("Any", self.dead_letters)
        return World(store=self.store, target=self.target, dead_letters=letters, limit=self.limit)

    def dispatcher(self, ports: Ports) -> Dispatcher:
        """The dispatcher of one invocation."""
        plain = _plain(self.limit)
        return replace(
            plain,
            store=ports.wrap(self.store),
            targets={"batch": ports.wrap(self.target)},
            dead_letters=dict.fromkeys(plain.lanes, ports.wrap(self.dead_letters)),
        )


@cache
def _plain(limit: int) -> Dispatcher:
    return replace(World(limit=limit).dispatcher, wakes=NoWakes())


@dataclass(frozen=True, slots=True)
class Actor:
    """One invocation. `brings` is the work that it asks for, `cancels` the id of the job that it ends."""

    run: Callable[[State, Ports], object]
    brings: WorkRequest | None = None
    cancels: str = ""


def dispatch(wanted: WorkRequest) -> Actor:
    """A message's delivery."""

    def run(state: State, ports: Ports) -> None:
        try:
            state.dispatcher(ports).dispatch(wanted)
        except PermanentError:
            state.dead_letters.sent.append(wanted)

    return Actor(run, brings=wanted)


def give_up(wanted: WorkRequest) -> Actor:
    """The end of a message's last receive, whose start was refused."""

    def run(state: State, ports: Ports) -> None:
        dispatcher = state.dispatcher(ports)
        dispatcher.dead_letters["video"].send_request(wanted, _REFUSED)
        dispatcher.give_up(wanted, _REFUSED)

    return Actor(run)


def news(target_id: str, status: Status) -> Actor:
    """A state change of a run."""

    def run(state: State, ports: Ports) -> None:
        dispatcher = state.dispatcher(ports)
        Tracker(dispatcher.store, dispatcher).apply(replace(state.target.runs[target_id], status=status))

    return Actor(run)


def _wake(state: State, ports: Ports) -> None:
    state.dispatcher(ports).start_waiting("video")


def cancel(job_id: str) -> Actor:
    """A caller's DELETE."""

    def run(state: State, ports: Ports) -> None:
        dispatcher = state.dispatcher(ports)
        job = dispatcher.store.get(job_id)
        if job is not None:
            Canceller(dispatcher.store, dispatcher.targets).cancel(job)

    return Actor(run, cancels=job_id)


def _reconcile(state: State, ports: Ports) -> None:
    dispatcher = state.dispatcher(ports)
    tracker = Tracker(dispatcher.store, dispatcher)
    try:
        Reconciler(dispatcher.store, dispatcher, tracker, timedelta(hours=1), timedelta(hours=1)).run()
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None


RECONCILE = Actor(_reconcile)
WAKE = Actor(_wake)
_REFUSED = StartRefused("no such queue")


@dataclass(frozen=True, slots=True)
class Scenario:
    """Where actors meet.

    Attributes:
        build: Makes the state.
        accepted: The work that the state has accepted.
        actors: By name.
        in_order: The jobs that must start in this order as long as nothing fails.
        late: Whether the claims of the state are older than their grace period.
    """

    build: Callable[[], State]
    accepted: tuple[WorkRequest, ...]
    actors: Mapping[str, Actor]
    in_order: tuple[str, ...] = ()
    late: bool = False


# ---- the scenarios --------------------------------------------------------------------------------------------------

A, B, C = (request(job_id, sent=number) for number, job_id in enumerate("abc"))
A2 = request("a", of=source(version="v2", message_id="m2", sequencer="0B"), sent=3)
A3 = request("a", of=source(version="v3", message_id="m5", sequencer="0C"), sent=6)
OTHER = request("a", of=source(key="uploads/other.mp4", message_id="m3"), sent=4)
AS_X = request("x", of=A.source, sent=5)
OWNED = replace(OTHER, user_id="ann")
ANNS = replace(A, user_id="ann")


def _after(*accepted: WorkRequest, limit: int = 1, ended: bool = False) -> Callable[[], State]:
    """The state after these messages. With `ended`, the first run has ended, but nobody knows yet."""

    def build() -> State:
        state = State(MemoryStore(), limit=limit)
        for each in accepted:
            state.world.dispatch(each)
        if ended:
            state.target.move("run-0", Status.COMPLETED)
        return state

    return build


def _claimed(*, started: bool) -> Callable[[], State]:
    """The state after an invocation that died right before, or right after, it started the job."""

    def build() -> State:
        state = State(MemoryStore())
        claim = state.store.claim(A, None, state.world.lanes["video"])
        if started and isinstance(claim, Claimed):
            state.target.start(claim.job)
        return state

    return build


def _without_room() -> State:
    """The state after the target had no room for a job, and another message came. There still is none."""
    state = State(MemoryStore(), limit=2)
    state.target.modes.append(Mode.THROTTLE)
    state.world.dispatch(A)
    state.world.dispatch(B)
    state.target.full = True
    return state


def _interrupted() -> State:
    """The state after a run was interrupted, while another job waited, but nobody knows yet."""
    state = State(MemoryStore())
    state.world.dispatch(A)
    state.world.dispatch(B)
    state.target.move("run-0", Status.FAILED, may_retry=True)
    return state


def _given_up() -> State:
    """The state after a job was given up: its message is in the dead-letter queue."""
    state = State(MemoryStore())
    state.target.modes.append(Mode.REFUSE)
    with suppress(StartRefused):
        state.world.dispatch(A)
    state.world.dispatcher.give_up(A, _REFUSED)
    return state


_NEW = {"a": dispatch(A), "newer": dispatch(A2), "other": dispatch(OTHER), "b": dispatch(B), "same": dispatch(AS_X)}
_COMMON = {"cancel": cancel("a"), "reconcile": RECONCILE, "anns": dispatch(ANNS)}
_RUNS = {"running": news("run-0", Status.RUNNING), "end": news("run-0", Status.COMPLETED)}

SCENARIOS: Mapping[str, Scenario] = {
    "nothing": Scenario(_after(), (), {**_NEW, **_COMMON, "owned": dispatch(OWNED)}),
    "running": Scenario(_after(A, ended=True), (A,), {**_NEW, **_COMMON, **_RUNS}),
    "one waits": Scenario(
        _after(A, B, ended=True),
        (A, B),
        {**_NEW, **_COMMON, **_RUNS, "cancel b": cancel("b"), "c": dispatch(C)},
        in_order=("b", "c"),
    ),
    "two wait": Scenario(
        _after(A, B, C, ended=True),
        (A, B, C),
        {**_COMMON, **_RUNS, "newer": dispatch(A2), "b": dispatch(B), "cancel b": cancel("b")},
        in_order=("b", "c"),
    ),
    "newer waits": Scenario(_after(A, A2, limit=2, ended=True), (A, A2), {**_NEW, **_COMMON, **_RUNS}, in_order=()),
    "two newer wait": Scenario(
        _after(A, A2, A3, limit=2, ended=True),
        (A, A2, A3),
        {**_COMMON, **_RUNS, "b": dispatch(B), "newer": dispatch(A2)},
    ),
    "another object waits": Scenario(_after(A, OTHER, limit=2, ended=True), (A, OTHER), {**_NEW, **_COMMON, **_RUNS}),
    "claimed": Scenario(_claimed(started=False), (A,), {**_NEW, **_COMMON}, late=True),
    "claimed and started": Scenario(
        _claimed(started=True), (A,), {**_NEW, **_COMMON, "running": news("run-0", Status.RUNNING)}, late=True
    ),
    "no room": Scenario(
        _without_room,
        (A, B),
        {**_COMMON, "wake": WAKE, "newer": dispatch(A2), "b": dispatch(B), "c": dispatch(C)},
        in_order=("a", "b", "c"),
        late=True,
    ),
    "interrupted": Scenario(
        _interrupted,
        (A, B),
        {
            **_COMMON,
            "end": news("run-0", Status.FAILED),
            "running": news("run-0", Status.RUNNING),
            "wake": WAKE,
            "newer": dispatch(A2),
            "a": dispatch(A),
            "c": dispatch(C),
        },
        late=True,
    ),
    "given up": Scenario(_given_up, (), {**_NEW, **_COMMON}),
    "refused": Scenario(_after(), (), {**_NEW, **_COMMON, "give up": give_up(A)}),
}
