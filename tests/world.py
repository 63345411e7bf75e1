"""The dispatcher, tracker, canceller and reconciler with an in-memory store, targets and clock."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, cast

from switchyard.messages.kinds import IMAGES, LANES, VIDEO
from switchyard.protocol.cancel import Cancellation, Canceller
from switchyard.protocol.dispatch import Dispatcher, Outcome
from switchyard.protocol.jobs import Job, Run, Status, WorkRequest
from switchyard.protocol.lanes import Lane, Slots
from switchyard.protocol.reconcile import Reconciler
from switchyard.protocol.tracking import Tracker
from tests.fakes.dead_letters import FakeDeadLetters
from tests.fakes.memory_store import MemoryStore
from tests.fakes.target import FakeTarget
from tests.fakes.wakes import FakeWakes
from tests.requests import SENT_AT

GRACE = timedelta(seconds=120)
MAX_ATTEMPTS = 3
PENDING_GRACE = timedelta(hours=1)
STUCK_AFTER = timedelta(minutes=30)


@dataclass
class World:
    """An in-memory system that tests step through: lane video runs on `target`, lane images on `tasks`."""

    store: MemoryStore = field(default_factory=MemoryStore)
    target: FakeTarget = field(default_factory=FakeTarget)
    tasks: FakeTarget = field(default_factory=lambda: FakeTarget("task"))
    dead_letters: FakeDeadLetters = field(default_factory=FakeDeadLetters)
    wakes: FakeWakes = field(default_factory=FakeWakes)
    limit: int = 1
    waiting_room: bool = True

    @property
    def lanes(self) -> dict[str, Lane]:
        return {name: Lane(name, self.limit) for name in (VIDEO.lane, IMAGES.lane)}

    @property
    def targets(self) -> dict[str, FakeTarget]:
        return {"batch": self.target, "ecs": self.tasks}

    @property
    def dispatcher(self) -> Dispatcher:
        return Dispatcher(
            store=self.store,
            targets=dict(self.targets),
            lanes=self.lanes,
            dead_letters=dict.fromkeys(self.lanes, self.dead_letters),
            wakes=self.wakes,
            grace=GRACE,
            max_refusals=3,
            waiting_room=self.waiting_room,
        )

    def dispatch(self, wanted: WorkRequest) -> Outcome:
        return self.dispatcher.dispatch(wanted)

    def job(self, job_id: str = "a") -> Job:
        job = self.store.get(job_id)
        assert job is not None
        return job

    @property
    def tracker(self) -> Tracker:
        return Tracker(self.store, self.dispatcher, MAX_ATTEMPTS)

    def event(self, run: Run) -> bool:
        return self.tracker.apply(run)

    def end(self, target_id: str, status: Status = Status.COMPLETED) -> bool:
        (target,) = (target for target in self.targets.values() if target_id in target.runs)
        return self.event(target.move(target_id, status))

    def wrapped(self, wrap: Callable[[object], object]) -> Dispatcher:
        """Returns the dispatcher of one invocation, with `wrap` around everything it calls."""
        targets = {name: cast("Any", wrap(target)) for name, target in self.targets.items()}
        return replace(self.dispatcher, store=cast("Any", wrap(self.store)), targets=targets)

    def canceller(self) -> Canceller:
        return Canceller(self.store, dict(self.targets))

    def cancel(self, job_id: str = "a") -> Cancellation:
        return self.canceller().cancel(self.job(job_id))

    def reconcile(self) -> None:
        kinds = {lane: kind.name for lane, kind in LANES.items()}
        Reconciler(self.store, self.dispatcher, self.tracker, PENDING_GRACE, STUCK_AFTER, kinds=kinds).run()

    @property
    def slots(self) -> Slots:
        return self.slots_of(VIDEO.lane)

    @property
    def holders(self) -> set[str]:
        return self.holders_of(VIDEO.lane)

    def holders_of(self, lane: str) -> set[str]:
        return set(self.store.holders(self.lanes[lane]))

    def slots_of(self, lane: str) -> Slots:
        return self.store.slots(self.lanes[lane])


class Time:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = SENT_AT + timedelta(hours=1)

    def pass_grace(self) -> None:
        self.now += GRACE

    def advance(self, by: timedelta) -> None:
        self.now += by
