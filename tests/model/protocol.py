"""The dispatch protocol as a state machine: messages, cancels, faults, wrong clocks, late or lost events in any mix.

The code under test is the real dispatcher, tracker, canceller, reconciler, intake and redrive. Around them are the
tables (in memory and verified by tests/contract, or the real store on moto), two lanes on two targets, a model of SQS,
and workers that check the fence as workers/CONTRACT.md says.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import cached_property, wraps
from typing import Any, ClassVar, cast

import hypothesis.strategies as st
from botocore.exceptions import BotoCoreError, ClientError
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from switchyard import clock
from switchyard.errors import ForeignRow, RetryableError, StartFailed, StartThrottled
from switchyard.messages.dead_letters import DeadLetterQueue
from switchyard.messages.intake import Intake
from switchyard.messages.kinds import IMAGES, VIDEO
from switchyard.messages.queues import Queue
from switchyard.messages.redrive import redrive_body
from switchyard.protocol.cancel import Cancellation, Canceller
from switchyard.protocol.dispatch import Dispatcher
from switchyard.protocol.jobs import HOLDING_SLOT, TERMINAL, Job, Run, Status, WorkRequest
from switchyard.protocol.lanes import Lane
from switchyard.protocol.reconcile import Reconciler
from switchyard.protocol.tracking import Tracker
from switchyard.settings import AtCapacity
from switchyard_client.queues import Redrive
from tests.fakes.crashing import Killed
from tests.fakes.target import FakeTarget, Mode
from tests.fakes.wakes import FakeWakes
from tests.model.invocations import CALM, LIVES, QUEUES, TARGETS, Invocation, Life, Shaky, current
from tests.model.messages import (
    DEAD_LETTERS,
    POISON,
    POISONED,
    TASKS,
    TASKS_DEAD,
    VIDEOS,
    VIDEOS_DEAD,
    WORK,
    Errand,
    errand_of,
    errands_of,
    errands_up_to,
    key_of,
    notification,
    number_of,
    other_input,
    other_object,
    policies,
    removal,
    upload,
)
from tests.model.sqs import Kept, ModelSqs
from tests.model.tables import MemoryTables, MotoTables, Picture, Tables
from tests.requests import task
from tests.world import GRACE, MAX_ATTEMPTS, PENDING_GRACE, STUCK_AFTER, Time

JOBS = ("a", "b", "c", "d")
SHARED = ("s", "t")
"""Ids that several senders choose, in the names of several owners, for work of two kinds."""
OWNERS = (None, "ann", "bob")
WITHOUT_SEQUENCER = frozenset({"c", "d"})
LANES = (VIDEO.lane, IMAGES.lane)
MAX_RECEIVES = 2  # few, so that more messages reach their last receive
RETURNED_AT_CAPACITY = 1000  # the template's redrive policy with AT_CAPACITY=return
EXPECTED = (RetryableError, StartFailed, ClientError, BotoCoreError)
MODES = st.sampled_from(Mode)
INDEX = st.integers(0, 200)
ALWAYS = frozenset({"upload", "submit", "deliver"})
ALL_STARTS = (None, None, Mode.REFUSE, Mode.THROTTLE)
SELDOM = st.integers(0, 9).map(lambda number: number == 9)


@dataclass(frozen=True)
class Step:
    """A possible step: its weight, its precondition, and the strategies of its arguments."""

    weight: int
    when: Callable[[Any], object]
    drawn: st.SearchStrategy[dict[str, Any]]
    take: Callable[..., None]


STEPS: dict[str, Step] = {}
"""Steps by name. They are not hypothesis rules: it disables half of those, and most examples would not get far."""


def step(
    weight: int, when: Callable[[Any], object] = lambda _: True, **drawn: st.SearchStrategy[Any]
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Registers a method as a step of the model, with the arguments it draws."""

    def register(take: Callable[..., None]) -> Callable[..., None]:
        STEPS[take.__name__] = Step(weight, when, st.fixed_dictionaries(drawn), take)
        return take

    return register


class Protocol(RuleBasedStateMachine):
    """Messages arrive, invocations die, runs start and end; then all faults stop and all work must end correctly.

    `tally` counts the steps and faults of all examples.
    """

    tally: ClassVar[Counter[str]]

    @staticmethod
    @abstractmethod
    def tables_of_an_example() -> Tables:
        """Empty ones."""

    def __init__(self) -> None:
        super().__init__()
        self.time = Time()
        self._now = clock.now
        clock.now = self._now_here
        self.news: list[Run] = []
        self.done: Counter[Errand] = Counter()
        self.at_work: dict[str, WorkRequest] = {}  # runs that passed the fence check and have not ended
        self.versions: Counter[str] = Counter()
        self.others = 0
        self.whose: dict[str, tuple[str, str | None]] = {}  # the kind and owner of the shared ids' jobs
        self.tasks: dict[str, WorkRequest] = {}
        self.accepted: set[Errand] = set()
        self.withdrawn: set[Errand] = set()
        self.cancelled: set[Errand] = set()  # cancelled according to the answer, with nothing started
        self.not_to_start: set[Errand] = set()  # cancelled, cancel requested, or withdrawn
        self.perhaps_over: set[Errand] = set()  # a cancel began and may have died
        self.ends: dict[Errand, Status] = {}
        self.outcomes: dict[Errand, Status] = {}  # status of the run that did the work
        self.refusing: Mode | None = None
        self.fences: dict[str, int] = {}
        self.frozen: list[Invocation] = []
        self.bugs: list[Exception] = []
        self.poisoned = 0
        self.is_well = False

    def _now_here(self) -> Any:  # noqa: ANN401 - as clock.now
        invocation = current()
        return self.time.now + (invocation.life.clock if invocation else timedelta())

    def teardown(self) -> None:
        try:
            if self.is_well:  # otherwise the example has already failed
                self._quiesce()
        finally:
            for invocation in self.frozen:
                invocation.abandon()
            if hasattr(self, "sqs"):
                self.tally["dead letters written, with the reason"] += sum(
                    self.sqs.sent[url] for url in DEAD_LETTERS.values()
                )
            clock.now = self._now
            if hasattr(self, "tables"):
                self.tables.close()

    @initialize(
        limit=st.integers(1, 3),
        at_capacity=st.sampled_from(("wait", "return")),
        missing=st.sets(st.deferred(lambda: st.sampled_from(sorted(STEPS.keys() - ALWAYS))), max_size=3),
    )
    def start(self, limit: int, at_capacity: AtCapacity, missing: set[str]) -> None:
        """Sets up an empty system. Some steps are disabled per example, so that others have to compensate."""
        self.missing = missing
        self.tally["examples"] += 1
        self.tally[f"examples with AT_CAPACITY={at_capacity}"] += 1
        self.limit = limit
        self.wakes = FakeWakes()
        self.lanes = {lane: Lane(lane, limit) for lane in LANES}
        self.tables = self.tables_of_an_example()
        self.targets = {"batch": FakeTarget(news=self.news), "ecs": FakeTarget("task", news=self.news)}
        self.sqs = ModelSqs(self.time, policies(MAX_RECEIVES if at_capacity == "wait" else RETURNED_AT_CAPACITY))
        self.client = cast("Any", Shaky(self.sqs, QUEUES))
        given_up = {
            lane: DeadLetterQueue(self.client, url) for lane, url in zip(LANES, (VIDEOS_DEAD, TASKS_DEAD), strict=True)
        }
        self.dispatcher = Dispatcher(
            store=self.tables.store,
            targets={name: cast("Any", Shaky(target, TARGETS)) for name, target in self.targets.items()},
            lanes=self.lanes,
            dead_letters=given_up,
            wakes=self.wakes,
            grace=GRACE,
            max_refusals=MAX_RECEIVES,
        )
        store = self.dispatcher.store
        self.tracker = Tracker(store, self.dispatcher)
        self.reconciler = Reconciler(store, self.dispatcher, self.tracker, PENDING_GRACE, STUCK_AFTER)
        self.functions = {
            url: self._function(url, replace(self.dispatcher, waiting_room=at_capacity == "wait"), given_up[lane])
            for url, lane in zip((VIDEOS, TASKS), LANES, strict=True)
        }

    def _function(self, url: str, dispatcher: Dispatcher, given_up: DeadLetterQueue) -> Queue:
        intake = Intake(dispatcher, WORK[url], given_up)
        return Queue(self.client, url, MAX_RECEIVES, self._watched(intake.handle), self._watched(intake.exhausted))

    def _watched[**P, R](self, function: Callable[P, R]) -> Callable[P, R]:
        """Keeps exceptions that the queue would treat as a returned message, but that are bugs."""

        @wraps(function)
        def watched(*args: P.args, **options: P.kwargs) -> R:
            try:
                return function(*args, **options)
            except EXPECTED:
                raise
            except Exception as error:
                self.bugs.append(error)
                raise

        return watched

    # ---- steps -------------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def something_happens(self, data: st.DataObject) -> None:
        """Takes one step whose precondition holds."""
        possible = [name for name, each in STEPS.items() if name not in self.missing and each.when(self)]
        name = data.draw(st.sampled_from([name for name in possible for _ in range(STEPS[name].weight)]), label="step")
        values = data.draw(STEPS[name].drawn, label=name)
        self.tally["steps"] += 1
        self.tally[f"step: {name}"] += 1
        self.is_well = False
        STEPS[name].take(self, **values)
        self.__dict__.pop("picture", None)

    @step(
        2,
        job_ids=st.lists(st.sampled_from(JOBS), min_size=1, max_size=2, unique=True),
        copies=st.integers(1, 3),
        poisoned=SELDOM,
    )
    def upload(self, job_ids: list[str], copies: int, poisoned: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """Writes objects; S3's one message about them is sent once or several times."""
        records = []
        for job_id in job_ids:
            self.versions[job_id] += 1
            self._tick()
            number = self.versions[job_id]
            sequencer = None if job_id in WITHOUT_SEQUENCER else f"{number:04X}"
            records.append(upload(key_of(job_id), f"v{number}", sequencer, self.time.now))
        if poisoned:
            self.poisoned += 1
            records.append(removal(self.poisoned))
        self._send(VIDEOS, notification(records), copies)

    @step(
        2,
        copies=st.integers(0, 2),
        announced=st.booleans(),
        poison=st.none() | st.sampled_from(POISON),
        delay=st.sampled_from((None, None, None, 30, 3000)),
        priority=st.sampled_from((0, 0, 3, 9)),
    )
    def submit(self, copies: int, announced: bool, poison: str | None, delay: int | None, priority: int) -> None:  # noqa: FBT001
        """Requests work without an object: recorded first or not, its message sent several times or lost, or for later.

        Or sends an unreadable message, or one for another system.
        """
        if poison is not None:
            self._send(TASKS if announced else VIDEOS, poison, 1)
            return
        self._tick()
        number = len(self.tasks)
        asked = task(f"t{number}", announced=announced, message_id=f"asked-{number}")
        later = self.time.now + timedelta(seconds=delay) if delay else None
        asked = replace(asked, sent_at=self.time.now, start_after=later, priority=priority)
        if announced:
            self.tables.announce(asked)
        if announced or copies:
            self.tasks[asked.job_id] = asked
            self.accepted.add(errand_of(asked))
        self._send(TASKS, redrive_body(asked), copies)

    @step(2, job_id=st.sampled_from(JOBS), copies=st.integers(1, 2))
    def name_another_object(self, job_id: str, copies: int) -> None:
        """Asks under a job's id for another object, as a backend that uses an id again."""
        self.others += 1
        self._send(VIDEOS, other_object(job_id, self.others, None), copies)

    @step(
        2,
        job_id=st.sampled_from(SHARED),
        owner=st.sampled_from(OWNERS),
        url=st.sampled_from((VIDEOS, VIDEOS, TASKS)),
        copies=st.integers(1, 2),
    )
    def share_an_id(self, job_id: str, owner: str | None, url: str, copies: int) -> None:
        """Asks for work of some kind and owner, under an id that others use."""
        self.others += 1
        message = other_object if url == VIDEOS else other_input
        self._send(url, message(job_id, self.others, owner), copies)

    @step(1, lambda self: self._hauntable(), index=INDEX, has_status=st.booleans())
    def haunt(self, index: int, has_status: bool) -> None:  # noqa: FBT001
        """Makes a row unreadable, or writes one where there is none, as another program might."""
        ids = self._hauntable()
        self.tables.haunt(ids[index % len(ids)], has_status=has_status)

    @step(2, lambda self: self.tables.haunted, index=INDEX)
    def mend(self, index: int) -> None:
        """Makes an unreadable row again what it was."""
        ids = sorted(self.tables.haunted)
        self.tables.mend(ids[index % len(ids)])

    @step(1, lambda self: self._announced(), index=INDEX)
    def withdraw(self, index: int) -> None:
        """Withdraws an announced job, because its caller could not tell whether the message was sent."""
        announced = self._announced()
        asked = announced[index % len(announced)]
        if self.tables.withdraw(asked):
            for errands in (self.withdrawn, self.not_to_start, self.perhaps_over):
                errands.add(errand_of(asked))

    @step(2, lambda self: self.picture.jobs, index=INDEX, life=LIVES, mode=MODES)
    def cancel(self, index: int, life: Life, mode: Mode) -> None:
        """Cancels a job in any state."""
        jobs = sorted(self.picture.jobs)
        job = self.picture.jobs[jobs[index % len(jobs)]]

        def cancel() -> None:
            with suppress(ForeignRow):
                answer = Canceller(self.dispatcher.store, self.dispatcher.targets).cancel(job)
                if answer is not Cancellation.ENDED:
                    self.not_to_start.add(errand_of(job.request))
                if answer is Cancellation.CANCELLED:
                    self.cancelled.add(errand_of(job.request))

        self.perhaps_over.add(errand_of(job.request))
        self._invoke(life, mode, cancel)

    @step(8, lambda self: self._messages(), index=INDEX, life=LIVES, mode=MODES, too_soon=st.booleans(), stays=SELDOM)
    def deliver(self, index: int, life: Life, mode: Mode, too_soon: bool, stays: bool) -> None:  # noqa: FBT001
        """Delivers a message, possibly while another receiver is handling it.

        It comes back unless it succeeds, and sometimes even then.
        """
        messages = (not too_soon and self._visible()) or self._messages()
        url, kept = messages[index % len(messages)]
        self.tally["messages delivered while in flight"] += kept.visible_at > self.time.now
        self._deliver(url, kept, life, mode, stays=stays)

    @step(1, lambda self: self._letters(), url=st.sampled_from((VIDEOS, TASKS)), limit=st.integers(1, 5), life=LIVES)
    def redrive(self, url: str, limit: int, life: Life) -> None:
        """Redrives dead letters with the operator's tool."""
        self._invoke(life, Mode.ACCEPT, lambda: self._redrive(url, limit))

    @step(3, lambda self: self.frozen, index=INDEX, mode=MODES)
    def thaw(self, index: int, mode: Mode) -> None:
        """Resumes a frozen invocation, which others have overtaken."""
        invocation = self.frozen.pop(index % len(self.frozen))
        with self._misbehaving(mode):
            invocation.thaw()
        self._check(invocation)

    @step(6, lambda self: self._runs(), index=INDEX, ends_well=st.booleans())
    def worker_goes_on(self, index: int, ends_well: bool) -> None:  # noqa: FBT001 - hypothesis passes by name
        """Starts a run's worker, which checks the fence and works or stops; or ends a run."""
        runs = self._runs()
        run = runs[index % len(runs)]
        if run.status is Status.SUBMITTED:
            self._begin(run)
        else:
            self._end(run, Status.COMPLETED if ends_well else Status.FAILED)

    @step(3, lambda self: self._tasks(), index=INDEX)
    def task_is_interrupted(self, index: int) -> None:
        """Ends a task, begun or not, for a reason that another run may not meet. Batch itself would run it again."""
        runs = self._tasks()
        run = runs[index % len(runs)]
        request = self.at_work.pop(run.target_id, None)
        if request is not None:
            self.done[errand_of(request)] -= 1
        self._target_of(run).move(run.target_id, Status.FAILED, may_retry=True)

    @step(6, lambda self: self.news, index=INDEX, life=LIVES, mode=MODES, again=st.booleans(), lost=SELDOM)
    def hear(self, index: int, life: Life, mode: Mode, again: bool, lost: bool) -> None:  # noqa: FBT001
        """Delivers any event so far: late, twice, out of order, or never."""
        run = self.news[index % len(self.news)]

        def hear() -> None:
            self.tracker.apply(run)
            if not again and run in self.news:
                self.news.remove(run)

        if lost:
            self.tally["news lost"] += 1
            self.news.remove(run)
        else:
            self._invoke(life, mode, hear)

    @step(2, life=LIVES, mode=MODES)
    def reconcile(self, life: Life, mode: Mode) -> None:
        """Runs a pass of the reconciler."""
        self._invoke(life, mode, self.reconciler.run)

    @step(2, lambda self: self.wakes.asked, index=INDEX, life=LIVES, mode=MODES)
    def wake(self, index: int, life: Life, mode: Mode) -> None:
        """Wakes a lane, whether its time has come or not."""
        lane, _ = self.wakes.asked.pop(index % len(self.wakes.asked))
        self._invoke(life, mode, lambda: self.dispatcher.start_waiting(lane))

    @step(2, seconds=st.integers(1, 300), lagging=st.booleans(), refusing=st.sampled_from(ALL_STARTS))
    def time_passes(self, seconds: int, lagging: bool, refusing: Mode | None) -> None:  # noqa: FBT001
        """Advances the clock: messages come back, claims become stale, pauses end.

        For a while, the targets' lists may lack accepted runs: then only the fence protects. Or the targets refuse
        every start, or have no room for any.
        """
        self.refusing = refusing
        self.time.advance(timedelta(seconds=seconds))
        for target in self.targets.values():
            target.lagging = lagging

    # ---- invariants --------------------------------------------------------------------------------------------------

    @cached_property
    def picture(self) -> Picture:
        """Returns the tables' content after the last step."""
        return self.tables.picture()

    @invariant()
    def all_is_well(self) -> None:
        """Checks every invariant after every step. It is one rule, to keep failing examples short."""
        self.never_over_the_limit()
        self.never_more_at_work_than_the_limit()
        self.never_two_at_work_on_one_object()
        self.no_work_is_done_twice()
        self.what_is_at_work_is_under_way()
        self.what_was_answered_cancelled_stays_so()
        self.ends_are_final()
        self.fences_only_rise()
        self.slots_are_held_by_jobs_that_are_under_way()
        self.objects_are_locked_by_accepted_jobs_only()
        self.all_is_counted_right()
        self.a_job_stays_its_owners()
        self.nothing_accepted_is_lost()
        self.dead_letters_say_why()
        self.no_room_is_no_failure()
        self.is_well = True

    def never_over_the_limit(self) -> None:
        assert all(len(holders) <= self.limit for holders in self.picture.holders.values())

    def never_more_at_work_than_the_limit(self) -> None:
        at_work = Counter(request.lane for request in self.at_work.values())
        assert max(at_work.values(), default=0) <= self.limit

    def never_two_at_work_on_one_object(self) -> None:
        objects = Counter(request.source.key for request in self.at_work.values() if request.source.is_object)
        assert max(objects.values(), default=0) <= 1

    def no_work_is_done_twice(self) -> None:
        assert max(self.done.values(), default=0) <= 1

    def what_is_at_work_is_under_way(self) -> None:
        for request in self.at_work.values():
            job = self.picture.jobs[request.job_id]
            assert errand_of(job.request) == errand_of(request)
            assert job.status in HOLDING_SLOT, f"{errand_of(request)} is at work, and {job.status}"

    def what_was_answered_cancelled_stays_so(self) -> None:
        for errand in self.cancelled:
            job = self.picture.jobs[errand[0]]
            assert job.status is Status.CANCELLED or errand_of(job.request) != errand

    def ends_are_final(self) -> None:
        """Terminal statuses never change, unless nothing was started: then a redrive may start it."""
        for job in self.picture.jobs.values():
            errand = errand_of(job.request)
            if errand in self.ends:
                assert job.status is self.ends[errand], f"{errand} had ended as {self.ends[errand]}"
            elif job.status in TERMINAL and not job.never_started:
                self.ends[errand] = job.status

    def fences_only_rise(self) -> None:
        for job in self.picture.jobs.values():
            assert job.fence >= self.fences.get(job.id, 0)
            self.fences[job.id] = job.fence

    def slots_are_held_by_jobs_that_are_under_way(self) -> None:
        under_way: dict[str, set[str]] = {lane: set() for lane in LANES}
        for job in self.picture.jobs.values():
            if job.status in HOLDING_SLOT:
                under_way[job.request.lane].add(job.id)
        assert {lane: self.picture.holders.get(lane, set()) for lane in LANES} == under_way

    def objects_are_locked_by_accepted_jobs_only(self) -> None:
        for lock in self.picture.locks:
            assert self.picture.jobs[lock.job_id].status not in TERMINAL

    def all_is_counted_right(self) -> None:
        for lane, slots in self.picture.slots.items():
            room = self.picture.rooms.get(lane, ())
            later = sum(entry.later for entry in room)
            assert (slots.waiting, slots.later) == (len(room) - later, later)
            assert slots.taken == len(self.picture.holders.get(lane, ()))

    def a_job_stays_its_owners(self) -> None:
        """No request takes over the job of another owner or kind, nor a task's job for another input."""
        for job_id in self.picture.jobs.keys() & set(SHARED):
            request = self.picture.jobs[job_id].request
            whose = self.whose.setdefault(job_id, (request.kind, request.user_id))
            assert whose == (request.kind, request.user_id)
            assert request.source.is_object or not self.picture.jobs[job_id].past_versions

    def nothing_accepted_is_lost(self) -> None:
        """All accepted work is in a queue, in a waiting room, with its job, or a dead letter."""
        somewhere = self._on(VIDEOS, TASKS, *DEAD_LETTERS.values())
        somewhere |= {errand_of(entry.request) for room in self.picture.rooms.values() for entry in room}
        with_jobs = {errand for job in self.picture.jobs.values() for errand in errands_up_to(job)}
        # S3 says which is newer: an older version announced late is no longer work.
        newest: Counter[str] = Counter()
        for errand in with_jobs | somewhere:
            newest[errand[0]] = max(newest[errand[0]], number_of(errand))
        for errand in self.accepted - self.withdrawn - somewhere - with_jobs:
            is_ordered = errand[0] in JOBS and errand[0] not in WITHOUT_SEQUENCER
            is_superseded = is_ordered and 0 < number_of(errand) < newest[errand[0]]
            assert is_superseded, f"{errand} is nowhere"

    def dead_letters_say_why(self) -> None:
        for url in DEAD_LETTERS.values():
            assert all(letter.has_reason for letter in self.sqs.on(url).values())

    def no_room_is_no_failure(self) -> None:
        letters = (letter for url in DEAD_LETTERS.values() for letter in self.sqs.on(url).values())
        ended = (job.error.code for job in self.picture.jobs.values() if job.error and job.status is Status.FAILED)
        assert StartThrottled.code not in {*(letter.attributes.get("ErrorType") for letter in letters), *ended}

    # ---- after all faults --------------------------------------------------------------------------------------------

    def _quiesce(self) -> None:
        self.refusing = None
        for job_id in sorted(self.tables.haunted):
            self.tables.mend(job_id)
        for target in self.targets.values():
            target.lagging = False
        while self.frozen:
            invocation = self.frozen.pop()
            invocation.thaw()
            self._check(invocation)
        self._settle()
        letters = self._on(*DEAD_LETTERS.values())
        for errand in self._wanted() - self._tried_often_enough():
            assert self.done[errand] == 1 or errand in letters, f"{errand} is neither done nor a dead letter"
        # The causes are fixed: all dead letters are redriven. Only those become dead letters again that are unreadable,
        # or whose id is another owner's, of another kind or of another input.
        for url in DEAD_LETTERS:
            self._redrive(url, 1000)
        self._settle()
        letters = self._on(*DEAD_LETTERS.values())
        refused = {errand for errand in letters if errand[0] in SHARED and not self.done[errand]}
        self.tally["refused for good: the id is taken"] += len(refused)
        assert letters - refused == {errand for errand in self.accepted if errand[0] == POISONED}
        for errand in self._wanted() - refused - self._tried_often_enough():
            assert self.done[errand] == 1 or errand[0] == POISONED, f"{errand} was never done"
        for ended in self.picture.jobs.values():
            self._check_outcome(ended)
        for errand in self.not_to_start:
            job = self.picture.jobs.get(errand[0])
            if job and errand_of(job.request) == errand and not self.done[errand]:
                assert job.status is Status.CANCELLED

    def _tried_often_enough(self) -> set[Errand]:
        """Returns the work that failed at its last attempt."""
        failed = [job for job in self.picture.jobs.values() if job.status is Status.FAILED]
        assert all(len(job.attempts) < MAX_ATTEMPTS for job in self.picture.jobs.values())
        return {errand_of(job.request) for job in failed if len(job.attempts) == MAX_ATTEMPTS - 1}

    def _check_outcome(self, job: Job) -> None:
        """A job ends as its run ended, except that a failed run with a requested cancel makes it CANCELLED."""
        errand = errand_of(job.request)
        outcome = self.outcomes.get(errand, job.status)
        was_cancelled = outcome is Status.FAILED and errand in self.perhaps_over
        assert job.status is outcome or (was_cancelled and job.status is Status.CANCELLED), f"{errand} was {outcome}"

    def _wanted(self) -> set[Errand]:
        """Returns the work that must have ended: of an object with ordered versions only the newest."""
        ordered = {job_id: newest for job_id, newest in self.versions.items() if job_id not in WITHOUT_SEQUENCER}
        superseded = {errand for errand in self.accepted if 0 < number_of(errand) < ordered.get(errand[0], 0)}
        return self.accepted - superseded - self.perhaps_over

    def _settle(self) -> None:
        for _ in range(200):
            self._one_good_round()
            if self._is_quiet():
                break
        assert self._is_quiet(), "work is left over"
        assert not any(slots.taken for slots in self.picture.slots.values())
        assert not self.picture.locks

    def _one_good_round(self) -> None:
        self._tick(GRACE + PENDING_GRACE)
        for url, kept in self._visible():
            self._deliver(url, kept, CALM, Mode.ACCEPT)
        self.reconciler.run()
        for run in self._runs():
            if run.status is Status.SUBMITTED:
                self._begin(run)
        jobs = self.tables.picture().jobs
        for run in self._runs():
            if run.target_id in self._target_of(run).stopped:
                self._end(run, Status.FAILED)
            elif not jobs[run.job_id].cancel_requested:  # these runs must end only by being stopped
                self._end(run, Status.COMPLETED)
        for run in list(self.news):
            self.tracker.apply(run)
        self.__dict__.pop("picture", None)

    def _is_quiet(self) -> bool:
        ended = all(job.status in TERMINAL for job in self.picture.jobs.values())
        waiting = any(slots.waiting + slots.later for slots in self.picture.slots.values())
        return ended and not waiting and not any(self.sqs.on(url) for url in DEAD_LETTERS)

    # ---- helpers -----------------------------------------------------------------------------------------------------

    def _send(self, url: str, body: str, copies: int) -> None:
        for _ in range(copies):
            self._tick()
            kept = self.sqs.put(url, body)
            self.accepted |= errands_of(url, body, kept.id)

    def _messages(self) -> list[tuple[str, Kept]]:
        return [(url, kept) for url in DEAD_LETTERS for kept in self.sqs.on(url).values()]

    def _visible(self) -> list[tuple[str, Kept]]:
        return [(url, kept) for url in DEAD_LETTERS for kept in self.sqs.visible(url)]

    def _letters_of(self, url: str) -> Counter[Errand]:
        letters = self.sqs.on(DEAD_LETTERS[url]).values()
        return Counter(errand for letter in letters for errand in errands_of(url, letter.body, letter.id))

    def _letters(self) -> list[Kept]:
        return [letter for url in DEAD_LETTERS.values() for letter in self.sqs.visible(url)]

    def _hauntable(self) -> list[str]:
        """Returns the ids whose jobs hold no slot. Rows of running jobs are told of in tests/unit/protocol."""
        jobs = self.picture.jobs
        ids = {*jobs, *JOBS, *SHARED} - self.tables.haunted
        return sorted(job_id for job_id in ids if job_id not in jobs or jobs[job_id].status not in HOLDING_SLOT)

    def _announced(self) -> list[WorkRequest]:
        """Returns the requests that their callers might still withdraw."""
        jobs = self.picture.jobs
        pending = [asked for asked in self.tasks.values() if asked.announced and asked.job_id in jobs]
        return [asked for asked in pending if jobs[asked.job_id].status is Status.PENDING]

    def _on(self, *urls: str) -> set[Errand]:
        """Returns the work that the queues' messages request."""
        queues = {dead: url for url, dead in DEAD_LETTERS.items()}
        return {
            errand
            for url in urls
            for kept in self.sqs.on(url).values()
            for errand in errands_of(queues.get(url, url), kept.body, kept.id)
        }

    def _deliver(self, url: str, kept: Kept, life: Life, mode: Mode, *, stays: bool = False) -> None:
        record = self.sqs.receive(url, kept)
        if record is None:
            self.tally["messages moved to a dead-letter queue by SQS"] += 1
            return
        self.tally["deliveries after the first"] += kept.receives > 1

        def handle() -> None:
            answer = self.functions[url].consume({"Records": [record]})
            if not answer["batchItemFailures"] and not stays:
                self.sqs.acknowledge(url, record)

        before = self._letters_of(url)
        # A waiting job has no message. If handling this message starts one and fails, that one gets its own letter.
        waiting = {errand_of(entry.request) for room in self.picture.rooms.values() for entry in room}
        invocation = self._invoke(life, mode, handle)
        if not invocation.struck:
            written = self._letters_of(url) - before
            of_this = [number for errand, number in written.items() if errand not in waiting]
            assert max(of_this, default=0) <= 1, "two dead letters of one message"

    def _redrive(self, url: str, limit: int) -> None:
        redrive = Redrive(self.client, DEAD_LETTERS[url], url, wait=0)
        for letter in redrive.take(limit=limit, seconds=60):
            self.tally["dead letters redriven"] += redrive.move(letter)

    def _runs(self) -> list[Run]:
        every = (run for target in self.targets.values() for run in target.runs.values())
        return [run for run in every if run.status not in TERMINAL]

    def _tasks(self) -> list[Run]:
        return [run for run in self._runs() if run.target_id in self.targets["ecs"].runs]

    def _target_of(self, run: Run) -> FakeTarget:
        (target,) = (target for target in self.targets.values() if run.target_id in target.runs)
        return target

    @contextmanager
    def _misbehaving(self, mode: Mode) -> Iterator[None]:
        """Sets the outcome of the next start and stop on both targets. While they refuse, every start is refused."""
        every = self.refusing
        for target in self.targets.values():
            target.modes.extend([every] * 100 if every else [mode])
            target.stop_modes.append(mode)
        yield
        for target in self.targets.values():
            if mode is not Mode.ACCEPT:
                self.tally[f"a start or stop: {mode.name}"] += (not target.modes) + (not target.stop_modes)
            if every:
                self.tally[f"a start: {every.name}, as all of them"] += 100 - len(target.modes)
            target.modes.clear()
            target.stop_modes.clear()

    def _invoke(self, life: Life, mode: Mode, work: Callable[[], object]) -> Invocation:
        """Runs an invocation until it ends or freezes."""
        invocation = Invocation(life, self.tally)
        with self._misbehaving(mode):
            invocation.run(work)
        if invocation.is_frozen:
            self.frozen.append(invocation)
        else:
            self._check(invocation)
        return invocation

    def _check(self, invocation: Invocation) -> None:
        """Raises any exception of an invocation that a handler does not expect."""
        if self.bugs:
            raise self.bugs[0]
        if invocation.error and not isinstance(invocation.error, (*EXPECTED, ExceptionGroup, Killed)):
            raise invocation.error

    def _tick(self, by: timedelta = timedelta(milliseconds=1)) -> None:
        self.time.advance(by)

    def _begin(self, run: Run) -> None:
        if not self.tables.check_fence(run):
            self._target_of(run).move(run.target_id, Status.FAILED)
            return
        request = self.tables.picture().jobs[run.job_id].request
        assert errand_of(request) not in self.not_to_start, "it started although it was cancelled"
        self.at_work[run.target_id] = request
        self.done[errand_of(request)] += 1
        self._target_of(run).move(run.target_id, Status.RUNNING)

    def _end(self, run: Run, status: Status) -> None:
        request = self.at_work.pop(run.target_id, None)
        if request is not None:
            self.outcomes[errand_of(request)] = status
        self._target_of(run).move(run.target_id, status)


class InMemory(Protocol):
    """The model on the store in memory. A fault hits a method of the store."""

    tally: ClassVar[Counter[str]] = Counter()

    @staticmethod
    def tables_of_an_example() -> Tables:
        return MemoryTables()


class OnMoto(Protocol):
    """The model on the real store and moto. A fault hits a request to DynamoDB."""

    tally: ClassVar[Counter[str]] = Counter()

    @staticmethod
    def tables_of_an_example() -> Tables:
        return MotoTables()
