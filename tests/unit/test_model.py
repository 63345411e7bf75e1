"""The dispatch protocol as a state machine: any mix of messages, kills, unknown outcomes, lost and doubled news.

The code under test is the real dispatcher, tracker and reconciler; around them are the in-memory store (held to the
real one by tests/contract), a target, a queue and workers that check the fence as workers/CONTRACT.md says.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, cast

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from switchyard import clock
from switchyard.errors import RetryableError, StartFailed
from switchyard.jobs import HOLDING_SLOT, TERMINAL, Job, Run, Status, WorkRequest
from switchyard.lanes import Lane
from switchyard.reconcile import Reconciler
from switchyard.tracking import Tracker
from tests.fakes.crashing import Countdown, Crashing, Freeze, Killed
from tests.fakes.target import Mode
from tests.requests import request, source
from tests.world import GRACE, PENDING_GRACE, STUCK_AFTER, Time, World

JOBS = ("a", "b", "c", "d")
WITHOUT_SEQUENCER = frozenset({"d"})
KILLS = st.builds(Countdown, st.none() | st.integers(0, 12), st.booleans())
NO_KILL = st.builds(Countdown)
MODES = st.sampled_from(Mode)


@dataclass(frozen=True)
class Delivery:
    """A message on the queue."""

    wanted: WorkRequest


class Protocol(RuleBasedStateMachine):
    """Messages come in, invocations die, runs come and go; then all faults stop and everything must come right."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self._now = clock.now
        clock.now = lambda: self.time.now
        self.queue: list[Delivery] = []
        self.news: list[Run] = []
        self.done: Counter[tuple[str, str]] = Counter()
        self.at_work: dict[str, str] = {}  # run → version, of runs that passed the fence check and have not ended
        self.versions: Counter[str] = Counter()
        self.messages = 0
        self.frozen: list[Freeze] = []

    def teardown(self) -> None:
        try:
            self._quiesce()
        finally:
            clock.now = self._now

    @initialize(limit=st.integers(1, 3))
    def start(self, limit: int) -> None:
        self.world = World(limit=limit)

    # ---- what happens in the world ----------------------------------------------------------------------------------

    @rule(job_id=st.sampled_from(JOBS), copies=st.integers(1, 3))
    def upload(self, job_id: str, copies: int) -> None:
        """An object is written; its notification is sent once or several times."""
        self.versions[job_id] += 1
        self._tick()
        number = self.versions[job_id]
        for _ in range(copies):
            self.messages += 1
            of = source(
                key=f"uploads/{job_id}.mp4",
                version=f"v{number}",
                message_id=f"m{self.messages}",
                sequencer=None if job_id in WITHOUT_SEQUENCER else f"{number:04X}",
                written_at=self.time.now,
            )
            self.queue.append(Delivery(replace(request(job_id, of=of), sent_at=self.time.now)))

    @rule(index=st.integers(0, 50), kill=KILLS, mode=MODES)
    def deliver(self, index: int, kill: Countdown, mode: Mode) -> None:
        """A message is handled; unless it comes to a good end, it stays on the queue."""
        if not self.queue:
            return
        delivery = self.queue[index % len(self.queue)]
        self.world.target.modes.append(mode)
        try:
            self._with_kill(kill).dispatch(delivery.wanted)
        except (RetryableError, StartFailed, Killed):
            return
        finally:
            self.world.target.modes.clear()
        self.queue.remove(delivery)

    @rule(index=st.integers(0, 50), at=st.integers(0, 8), after=st.booleans())
    def deliver_slowly(self, index: int, at: int, after: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """A message is handled by an invocation that stops in the middle and goes on when much has happened."""
        if self.queue:
            wanted = self.queue[index % len(self.queue)].wanted
            self._freeze(Freeze(at, after), lambda freeze: self._with_kill(freeze).dispatch(wanted))

    @rule(index=st.integers(0, 200), at=st.integers(0, 8), after=st.booleans())
    def hear_slowly(self, index: int, at: int, after: bool) -> None:  # noqa: FBT001
        if self.news:
            run = self.news[index % len(self.news)]
            self._freeze(Freeze(at, after), lambda freeze: self._tracker(freeze).apply(run))

    @rule(index=st.integers(0, 20))
    def thaw(self, index: int) -> None:
        if self.frozen:
            freeze = self.frozen.pop(index % len(self.frozen))
            freeze.thaw()
            self._check(freeze.error)

    @rule(index=st.integers(0, 50))
    def worker_starts(self, index: int) -> None:
        """A machine takes a run; its worker checks the fence and goes to work, or stops."""
        runs = [run for run in self.world.target.runs.values() if run.status is Status.SUBMITTED]
        if runs:
            self._begin(runs[index % len(runs)])

    @rule(index=st.integers(0, 50), ends_well=st.booleans())
    def worker_ends(self, index: int, ends_well: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        runs = [run for run in self.world.target.runs.values() if run.status is Status.RUNNING]
        if runs:
            self._end(runs[index % len(runs)], Status.COMPLETED if ends_well else Status.FAILED)

    @rule(index=st.integers(0, 200), kill=KILLS, mode=MODES, again=st.booleans())
    def hear(self, index: int, kill: Countdown, mode: Mode, again: bool) -> None:  # noqa: FBT001
        """Any news so far arrives: late, doubled, out of order."""
        if not self.news:
            return
        run = self.news[index % len(self.news)]
        self.world.target.modes.append(mode)
        try:
            self._tracker(kill).apply(run)
        except (RetryableError, StartFailed, Killed):
            return
        finally:
            self.world.target.modes.clear()
        if not again:
            self.news.remove(run)

    @rule(index=st.integers(0, 200))
    def lose_news(self, index: int) -> None:
        if self.news:
            self.news.pop(index % len(self.news))

    @rule(kill=KILLS)
    def reconcile(self, kill: Countdown) -> None:
        dispatcher = self._with_kill(kill)
        reconciler = Reconciler(
            dispatcher.store, dispatcher, Tracker(dispatcher.store, dispatcher), PENDING_GRACE, STUCK_AFTER
        )
        try:
            reconciler.run()
        except (Killed, ExceptionGroup):
            return

    @rule(seconds=st.integers(1, 300))
    def time_passes(self, seconds: int) -> None:
        self.time.advance(timedelta(seconds=seconds))

    @rule(lagging=st.booleans())
    def target_lists_late(self, lagging: bool) -> None:  # noqa: FBT001
        """The target's list does not show runs it has accepted, for a while: the fence alone must do."""
        self.world.target.lagging = lagging

    # ---- what must always hold --------------------------------------------------------------------------------------

    @invariant()
    def never_over_the_limit(self) -> None:
        assert len(self.world.slots.holders) <= self.world.limit

    @invariant()
    def never_more_at_work_than_the_limit(self) -> None:
        assert len(self.at_work) <= self.world.limit

    @invariant()
    def no_work_is_done_twice(self) -> None:
        assert max(self.done.values(), default=0) <= 1

    @invariant()
    def slots_are_held_by_jobs_that_are_under_way(self) -> None:
        under_way = {job.id for job in self.world.store.jobs.values() if job.status in HOLDING_SLOT}
        assert self.world.slots.holders == under_way

    @invariant()
    def objects_are_locked_by_accepted_jobs_only(self) -> None:
        for lock in self.world.store.locks.values():
            job = self.world.store.get(lock.job_id)
            assert job is not None
            assert job.status not in TERMINAL

    @invariant()
    def the_waiting_room_is_counted_right(self) -> None:
        assert self.world.slots.waiting == len(list(self.world.store.waiting(self._lane)))

    # ---- when all faults stop ---------------------------------------------------------------------------------------

    def _quiesce(self) -> None:
        if not hasattr(self, "world"):
            return
        self.world.target.lagging = False
        while self.frozen:
            self.thaw(0)
        for _ in range(200):
            self._one_good_round()
            if self._is_quiet():
                break
        assert self._is_quiet(), "work is left over"
        assert self.world.slots.holders == frozenset()
        assert self.world.store.locks == {}
        for job_id, newest in self.versions.items():
            assert self.done[job_id, f"v{newest}"] == 1, f"the newest upload of {job_id} was never processed"

    def _one_good_round(self) -> None:
        self._tick(GRACE + PENDING_GRACE)
        for index in range(len(self.queue)):
            self.deliver(index, Countdown(), Mode.ACCEPT)
        self.reconcile(Countdown())
        for run in list(self.world.target.runs.values()):
            if run.status is Status.SUBMITTED:
                self._begin(run)
            if self.world.target.runs[run.target_id].status is Status.RUNNING:
                self._end(run, Status.COMPLETED)
        for run in list(self.news):
            self._tracker(Countdown()).apply(run)

    def _is_quiet(self) -> bool:
        ended = all(job.status in TERMINAL for job in self.world.store.jobs.values())
        return ended and not self.queue and self.world.slots.waiting == 0

    # ---- the hands --------------------------------------------------------------------------------------------------

    @property
    def _lane(self) -> Lane:
        return Lane("video", self.world.limit)

    def _tick(self, by: timedelta = timedelta(milliseconds=1)) -> None:
        self.time.advance(by)

    def _with_kill(self, kill: Countdown) -> Any:  # noqa: ANN401 - a Dispatcher, but for mypy's view of Crashing
        return replace(
            self.world.dispatcher,
            store=cast("Any", Crashing(self.world.store, kill)),
            targets={"batch": cast("Any", Crashing(self.world.target, kill))},
        )

    def _tracker(self, kill: Countdown) -> Tracker:
        dispatcher = self._with_kill(kill)
        return Tracker(dispatcher.store, dispatcher)

    def _freeze(self, freeze: Freeze, invocation: Callable[[Freeze], object]) -> None:
        freeze.run(lambda: invocation(freeze))
        self._check(freeze.error)
        self.frozen.append(freeze)

    @staticmethod
    def _check(error: BaseException | None) -> None:
        """Only what a handler expects may come out of an invocation."""
        if error is not None and not isinstance(error, RetryableError | StartFailed):
            raise error

    def _begin(self, run: Run) -> None:
        """The worker's fence check: one conditional write, as workers/CONTRACT.md has it."""
        job = self.world.store.get(run.job_id)
        if job is None or not self._may_run(job, run):
            self.news.append(self.world.target.move(run.target_id, Status.FAILED))
            return
        self.world.store.jobs[job.id] = replace(
            job, run_id=run.target_id, target_id=run.target_id, status=Status.RUNNING
        )
        self.at_work[run.target_id] = job.request.source.version
        self.done[job.id, job.request.source.version] += 1
        self.news.append(self.world.target.move(run.target_id, Status.RUNNING))

    @staticmethod
    def _may_run(job: Job, run: Run) -> bool:
        mine = job.run_id in (None, run.target_id)
        return mine and job.fence == run.fence and job.status in HOLDING_SLOT

    def _end(self, run: Run, status: Status) -> None:
        self.at_work.pop(run.target_id, None)
        self.news.append(self.world.target.move(run.target_id, status))


TestProtocol = Protocol.TestCase
