"""The dispatch protocol as a state machine: any mix of messages, cancels, kills, unknown outcomes, late or no news.

The code under test is the real dispatcher, tracker, canceller and reconciler; around them are the in-memory store (held
to the real one by tests/contract), two lanes on two targets, a queue and workers that check the fence as
workers/CONTRACT.md says.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta

import hypothesis.strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from switchyard import clock
from switchyard.cancel import Cancellation, Canceller
from switchyard.dispatch import Dispatcher
from switchyard.errors import RetryableError, StartFailed
from switchyard.jobs import HOLDING_SLOT, TERMINAL, Job, Run, Status, WorkRequest
from switchyard.reconcile import Reconciler
from switchyard.tracking import Tracker
from tests.fakes.crashing import Countdown, Crashing, Freeze, Killed
from tests.fakes.target import FakeTarget, Mode
from tests.requests import request, source, task
from tests.world import GRACE, PENDING_GRACE, STUCK_AFTER, Time, World

JOBS = ("a", "b", "c", "d")
WITHOUT_SEQUENCER = frozenset({"d"})
KILLS = st.builds(Countdown, st.none() | st.integers(0, 12), st.booleans())
NO_KILL = st.builds(Countdown)
MODES = st.sampled_from(Mode)


type Work = tuple[str, str]
"""A job id and a version: what is to be done once."""


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
        self.done: Counter[Work] = Counter()
        self.at_work: dict[str, str] = {}  # run → lane, of runs that passed the fence check and have not ended
        self.versions: Counter[str] = Counter()
        self.tasks: dict[str, WorkRequest] = {}
        self.cancelled: set[Work] = set()  # answered that it is, and nothing was started
        self.not_to_start: set[Work] = set()  # cancelled, asked to be, or withdrawn
        self.perhaps_over: set[Work] = set()  # a cancel began, and may have died
        self.messages = 0
        self.frozen: list[Freeze] = []

    def teardown(self) -> None:
        try:
            self._quiesce()
        finally:
            clock.now = self._now

    @initialize(limit=st.integers(1, 3))
    def start(self, limit: int) -> None:
        self.world = World(limit=limit, target=FakeTarget(news=self.news), tasks=FakeTarget("task", news=self.news))

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

    @rule(copies=st.integers(0, 3), announced=st.booleans())
    def submit(self, copies: int, announced: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """Work without an object is asked for: written down first or not, its message sent several times or lost."""
        self._tick()
        self.messages += 1
        wanted = task(f"t{len(self.tasks)}", announced=announced, message_id=f"m{self.messages}")
        wanted = replace(wanted, sent_at=self.time.now)
        if announced:
            self.world.store.jobs[wanted.job_id] = Job(wanted, Status.PENDING, fence=0, created_at=self.time.now)
        if announced or copies:
            self.tasks[wanted.job_id] = wanted
        self.queue.extend([Delivery(wanted)] * copies)

    @rule(index=st.integers(0, 20))
    def withdraw(self, index: int) -> None:
        """Whoever announced it could not tell whether its message was sent."""
        if not self.tasks:
            return
        wanted = list(self.tasks.values())[index % len(self.tasks)]
        job = self.world.store.get(wanted.job_id)
        if wanted.announced and job and job.status is Status.PENDING and job.fence == 0:
            del self.world.store.jobs[job.id]
            self.not_to_start.add(_work(wanted))
            self.perhaps_over.add(_work(wanted))

    @rule(index=st.integers(0, 20), kill=KILLS, mode=MODES)
    def cancel(self, index: int, kill: Countdown, mode: Mode) -> None:
        if job := self._any_job(index):
            with self._misbehaving(mode), suppress(RetryableError, Killed):
                self._cancel(job, kill)

    @rule(index=st.integers(0, 20), at=st.integers(0, 3), after=st.booleans())
    def cancel_slowly(self, index: int, at: int, after: bool) -> None:  # noqa: FBT001
        if job := self._any_job(index):
            self._freeze(Freeze(at, after), lambda freeze: self._cancel(job, freeze))

    @rule(index=st.integers(0, 50), kill=KILLS, mode=MODES)
    def deliver(self, index: int, kill: Countdown, mode: Mode) -> None:
        """A message is handled; unless it comes to a good end, it stays on the queue."""
        if not self.queue:
            return
        delivery = self.queue[index % len(self.queue)]
        with self._misbehaving(mode), suppress(RetryableError, StartFailed, Killed):
            self._with_kill(kill).dispatch(delivery.wanted)
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

    @rule(index=st.integers(0, 20), mode=MODES)
    def thaw(self, index: int, mode: Mode) -> None:
        if self.frozen:
            freeze = self.frozen.pop(index % len(self.frozen))
            with self._misbehaving(mode):
                freeze.thaw()
            self._check(freeze.error)

    @rule(index=st.integers(0, 50))
    def worker_starts(self, index: int) -> None:
        """A machine takes a run; its worker checks the fence and goes to work, or stops."""
        runs = self._runs(Status.SUBMITTED)
        if runs:
            self._begin(runs[index % len(runs)])

    @rule(index=st.integers(0, 50), ends_well=st.booleans())
    def worker_ends(self, index: int, ends_well: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        runs = self._runs(Status.RUNNING)
        if runs:
            self._end(runs[index % len(runs)], Status.COMPLETED if ends_well else Status.FAILED)

    @rule(index=st.integers(0, 200), kill=KILLS, mode=MODES, again=st.booleans())
    def hear(self, index: int, kill: Countdown, mode: Mode, again: bool) -> None:  # noqa: FBT001
        """Any news so far arrives: late, doubled, out of order."""
        if not self.news:
            return
        run = self.news[index % len(self.news)]
        with self._misbehaving(mode), suppress(RetryableError, StartFailed, Killed):
            self._tracker(kill).apply(run)
            if not again:
                self.news.remove(run)

    @rule(index=st.integers(0, 200))
    def lose_news(self, index: int) -> None:
        if self.news:
            self.news.pop(index % len(self.news))

    @rule(kill=KILLS, mode=MODES)
    def reconcile(self, kill: Countdown, mode: Mode) -> None:
        dispatcher = self._with_kill(kill)
        reconciler = Reconciler(
            dispatcher.store, dispatcher, Tracker(dispatcher.store, dispatcher), PENDING_GRACE, STUCK_AFTER
        )
        with self._misbehaving(mode), suppress(Killed, ExceptionGroup):
            reconciler.run()

    @rule(seconds=st.integers(1, 300))
    def time_passes(self, seconds: int) -> None:
        self.time.advance(timedelta(seconds=seconds))

    @rule(lagging=st.booleans())
    def target_lists_late(self, lagging: bool) -> None:  # noqa: FBT001
        """The targets' lists do not show runs they have accepted, for a while: the fence alone must do."""
        for target in self.world.targets.values():
            target.lagging = lagging

    # ---- what must always hold --------------------------------------------------------------------------------------

    @invariant()
    def never_over_the_limit(self) -> None:
        assert max(len(self.world.slots_of(lane).holders) for lane in self.world.lanes) <= self.world.limit

    @invariant()
    def never_more_at_work_than_the_limit(self) -> None:
        assert max(Counter(self.at_work.values()).values(), default=0) <= self.world.limit

    @invariant()
    def no_work_is_done_twice(self) -> None:
        assert max(self.done.values(), default=0) <= 1

    @invariant()
    def what_was_answered_cancelled_stays_so(self) -> None:
        for job_id, version in self.cancelled:
            job = self.world.job(job_id)
            assert job.status is Status.CANCELLED or job.request.source.version != version

    @invariant()
    def slots_are_held_by_jobs_that_are_under_way(self) -> None:
        under_way = [job for job in self.world.store.jobs.values() if job.status in HOLDING_SLOT]
        for lane in self.world.lanes:
            assert self.world.slots_of(lane).holders == {job.id for job in under_way if job.request.lane == lane}

    @invariant()
    def objects_are_locked_by_accepted_jobs_only(self) -> None:
        for lock in self.world.store.locks.values():
            job = self.world.store.get(lock.job_id)
            assert job is not None
            assert job.status not in TERMINAL

    @invariant()
    def the_waiting_room_is_counted_right(self) -> None:
        for name, lane in self.world.lanes.items():
            assert self.world.slots_of(name).waiting == len(list(self.world.store.waiting(lane)))

    # ---- when all faults stop ---------------------------------------------------------------------------------------

    def _quiesce(self) -> None:
        if not hasattr(self, "world"):
            return
        self.target_lists_late(lagging=False)
        while self.frozen:
            self.thaw(0, Mode.ACCEPT)
        for _ in range(200):
            self._one_good_round()
            if self._is_quiet():
                break
        assert self._is_quiet(), "work is left over"
        assert not any(self.world.slots_of(lane).holders for lane in self.world.lanes)
        assert self.world.store.locks == {}
        newest = {(job_id, f"v{number}") for job_id, number in self.versions.items()}
        for work in (newest | {_work(wanted) for wanted in self.tasks.values()}) - self.perhaps_over:
            assert self.done[work] == 1, f"{work} was never done"
        for job_id, version in self.not_to_start:
            job = self.world.store.get(job_id)
            if job and job.request.source.version == version and not self.done[job_id, version]:
                assert job.status is Status.CANCELLED

    def _one_good_round(self) -> None:
        self._tick(GRACE + PENDING_GRACE)
        for index in range(len(self.queue)):
            self.deliver(index, Countdown(), Mode.ACCEPT)
        self.reconcile(Countdown(), Mode.ACCEPT)
        for run in self._runs(Status.SUBMITTED):
            self._begin(run)
        for run in self._runs(Status.RUNNING):
            if run.target_id in self._target_of(run).stopped:
                self._end(run, Status.FAILED)
            elif not self.world.job(run.job_id).cancel_requested:  # which must not end but by being stopped
                self._end(run, Status.COMPLETED)
        for run in list(self.news):
            self._tracker(Countdown()).apply(run)

    def _is_quiet(self) -> bool:
        ended = all(job.status in TERMINAL for job in self.world.store.jobs.values())
        return ended and not self.queue and not any(self.world.slots_of(lane).waiting for lane in self.world.lanes)

    # ---- the hands --------------------------------------------------------------------------------------------------

    def _any_job(self, index: int) -> Job | None:
        jobs = sorted(self.world.store.jobs)
        return self.world.job(jobs[index % len(jobs)]) if jobs else None

    def _runs(self, status: Status) -> list[Run]:
        every = (run for target in self.world.targets.values() for run in target.runs.values())
        return [run for run in every if run.status is status]

    def _target_of(self, run: Run) -> FakeTarget:
        (target,) = (target for target in self.world.targets.values() if run.target_id in target.runs)
        return target

    @contextmanager
    def _misbehaving(self, mode: Mode) -> Iterator[None]:
        """The next start and the next stop on either target go this way."""
        queues = [queue for target in self.world.targets.values() for queue in (target.modes, target.stop_modes)]
        for queue in queues:
            queue.append(mode)
        yield
        for queue in queues:
            queue.clear()

    def _cancel(self, job: Job, kill: Countdown) -> None:
        dispatcher = self._with_kill(kill)
        self.perhaps_over.add(_work(job.request))
        answer = Canceller(dispatcher.store, dispatcher.targets).cancel(job)
        if answer is not Cancellation.ENDED:
            self.not_to_start.add(_work(job.request))
        if answer is Cancellation.CANCELLED:
            self.cancelled.add(_work(job.request))

    def _tick(self, by: timedelta = timedelta(milliseconds=1)) -> None:
        self.time.advance(by)

    def _with_kill(self, kill: Countdown) -> Dispatcher:
        return self.world.wrapped(lambda inner: Crashing(inner, kill))

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
            self._target_of(run).move(run.target_id, Status.FAILED)
            return
        assert _work(job.request) not in self.not_to_start, "it was cancelled, and starts all the same"
        self.world.store.jobs[job.id] = replace(
            job, run_id=run.target_id, target_id=run.target_id, status=Status.RUNNING
        )
        self.at_work[run.target_id] = job.request.lane
        self.done[_work(job.request)] += 1
        self._target_of(run).move(run.target_id, Status.RUNNING)

    @staticmethod
    def _may_run(job: Job, run: Run) -> bool:
        mine = job.run_id in (None, run.target_id)
        return mine and job.fence == run.fence and job.status in HOLDING_SLOT and not job.cancel_requested

    def _end(self, run: Run, status: Status) -> None:
        self.at_work.pop(run.target_id, None)
        self._target_of(run).move(run.target_id, status)


def _work(wanted: WorkRequest) -> Work:
    return wanted.job_id, wanted.source.version


TestProtocol = Protocol.TestCase
