"""The protocol's ports: job store, targets, dead-letter queues and repairs. Pure.

`tables`, `targets`, `messages` and `torrents` implement them, and `wiring` connects them. The docstrings here are the
contract; `tests/contract` runs one suite on each implementation and its fake.

Every method but `Target.start` may raise `Unavailable` if the service failed or throttled the call; iterators raise it
during iteration. A write that raises it may have taken effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # functions without lanes import ports too, and start faster without `lanes`
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from switchyard.errors import SwitchyardError
    from switchyard.protocol.jobs import Job, JobError, Run, Status, TargetSpec, WorkRequest
    from switchyard.protocol.lanes import Lane, ObjectLock, Pause, Slots, WaitEntry

RACES = 5
"""How often a conditional write is tried, each time on the state that the last refusal returned, before Contended.

A refusal means that somebody else changed the job, and a job has few transitions. Five attempts are nearly always
enough; after that it is better to retry later.
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The caller has won the right to start the job, under its new fence."""

    job: Job


@dataclass(frozen=True, slots=True)
class Held:
    """The job is in the waiting room."""


@dataclass(frozen=True, slots=True)
class LaneFull:
    """Every slot is taken, other jobs wait for the next one, or the lane is paused."""


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job is not in the state the caller saw. `found` is its state now, None if there is no such job."""

    found: Job | None


@dataclass(frozen=True, slots=True)
class ObjectLocked:
    """Another job holds the lock of the object."""

    lock: ObjectLock


@dataclass(frozen=True, slots=True)
class EntryGone:
    """The entry is no longer in the waiting room."""


@dataclass(frozen=True, slots=True)
class ActiveJob:
    """A job as listed in the status index. Eventually consistent: read the job before acting on it."""

    id: str
    status: Status
    fence: int
    lane: str
    target: TargetSpec | None
    target_id: str | None
    claimed_at: datetime | None
    created_at: datetime
    cancel_requested: bool = False


class JobStore(Protocol):
    """Stores jobs, lanes and object locks. Every write is conditional and atomic.

    A worker can fill its job's row. A write that finds no room there removes what the worker wrote (progress, result,
    error and times, at the end of the job also the run) and records `ROW_FULL` as the job's error.
    """

    # ---- reading ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        """Reads a job (consistent read)."""

    def slots(self, lane: Lane) -> Slots:
        """Reads the lane's counts and its pause (consistent read)."""

    def holders(self, lane: Lane) -> Iterator[str]:
        """Iterates over the ids of the jobs that hold a slot (consistent reads)."""

    def entries(self, lane: Lane) -> Iterator[WaitEntry]:
        """Iterates over `waiting`, then `later`, in as few calls as possible."""

    def waiting(self, lane: Lane) -> Iterator[WaitEntry]:
        """Iterates over the waiting room, next first (consistent reads)."""

    def later(self, lane: Lane) -> Iterator[WaitEntry]:
        """Iterates over the jobs that wait for their time, in the order of `due` (consistent reads)."""

    def by_status(self, status: Status) -> Iterator[ActiveJob]:
        """Iterates over all jobs with this status, oldest first (eventually consistent)."""

    # ---- accepting --------------------------------------------------------------------------------------------------

    def claim(
        self, request: WorkRequest, seen: Job | None, lane: Lane, *, entry: WaitEntry | None = None, fifo: bool = True
    ) -> Claimed | LaneFull | JobChanged | ObjectLocked | EntryGone:
        """Claims a job: wins the right to start it, takes a slot of the lane and locks the object, or says why not.

        `seen` is the job as the caller expects it to be stored. With `entry` the job leaves the waiting room. Without
        `entry` and with `fifo`, the claim is refused while other jobs wait, or the lane is paused. While an operator
        has paused the lane, every claim is refused.
        """

    def hold(
        self, request: WorkRequest, seen: Job | None, *, lock_object: bool = True
    ) -> Held | JobChanged | ObjectLocked:
        """Puts a job into the waiting room, or among those that wait for their time, and locks its object. Idempotent.

        Without `lock_object`, the lock's holder keeps it; this job locks the object when it is claimed.
        """

    def hold_behind(self, request: WorkRequest) -> None:
        """Puts new work into the waiting room behind older work on the same job or object. Idempotent.

        The job and lock of the older work stay unchanged.
        """

    def admit(self, entry: WaitEntry) -> bool:
        """Moves an entry whose time has come to the waiting room. False if it is gone."""

    def drop(self, entry: WaitEntry, seen: Job | None) -> JobChanged | None:
        """Removes an entry that no longer has to wait, if the job is still as seen. None if it is gone."""

    def add_owner(self, job: Job, user_id: str) -> JobChanged | None:
        """Makes `user_id` the owner of a job that has none, if the job is still as seen.

        Raises the fence of a WAITING job, since the next claim writes the request as its reader has seen it.
        """

    def add_token(self, job: Job, token: str) -> JobChanged | None:
        """Sets the task token of a job, if the job is still as seen. It replaces an earlier one. Idempotent."""

    # ---- starting ---------------------------------------------------------------------------------------------------

    def record_start(self, job: Job, target_id: str) -> JobChanged | None:
        """Records the run's target id. Refused if an event, another invocation or a cancel came first."""

    def raise_fence(self, job: Job) -> Claimed | JobChanged:
        """Claims a job again under a higher fence, after a start that led to no run.

        A run under the old fence fails the worker's fence check. Refused if a cancel was requested.
        """

    def undo_claim(self, job: Job, error: JobError | None, *, entry: WaitEntry | None = None) -> JobChanged | None:
        """Undoes a claim whose start was not accepted, and frees its slot. `error` is None if the job only waits.

        The job becomes PENDING and its object is unlocked; with `entry` it becomes WAITING and enters the waiting room.
        The fence stays raised. Refused if the claim is no longer the caller's, or if a cancel was requested, since such
        a job must not be started again.
        """

    def give_up(self, job: Job, error: JobError) -> bool:
        """Marks a PENDING job FAILED whose message goes to the dead-letter queue.

        False if the job changed meanwhile.
        """

    # ---- cancelling -------------------------------------------------------------------------------------------------

    def cancel(self, job: Job, *, by: str = "") -> JobChanged | None:
        """Ends a PENDING or WAITING job, removes it from the waiting room and unlocks its object.

        Records who cancelled it. Raises the fence, so that status and fence differ from those of older work cancelled
        under the same id.
        """

    def request_cancel(self, job: Job, *, by: str = "") -> Job | JobChanged:
        """Records a cancel request for a job that holds a slot. Returns the job as stored, with its run if known.

        The first caller in `by` is recorded.
        From then on nothing starts the job, and no run of it passes the worker's fence check. Idempotent.
        """

    # ---- following --------------------------------------------------------------------------------------------------

    def advance(
        self, job_id: str, fence: int, target_id: str, to: Status, *, attempts: int, log_stream: str | None = None
    ) -> bool:
        """Moves a job forward to a status that is not terminal, because of an event of its run.

        False if the event is late, repeated, or of another run. Where its worker was faster, or the target tries the
        run again, the event still says where the worker's log is; that is stored with the job.
        """

    def retry(self, job: Job, again: Job) -> bool:
        """Lets a job whose run failed wait for its next try, with the request and the attempts of `again`.

        Frees its slot, keeps its object locked, forgets the run and raises the fence, so that the old run is shut out.
        False if the job changed meanwhile, or if a cancel was requested.
        """

    def finish(
        self,
        job: Job,
        to: Status,
        *,
        error: JobError | None,
        target_id: str | None,
        attempts: int,
        log_stream: str | None = None,
    ) -> bool:
        """Ends a job, frees its slot and unlocks its object. False if it changed meanwhile.

        `job` must have just been read. If its worker has already written a terminal status, this only frees slot and
        lock. An error message that the worker has written takes precedence over `error`. An end that can't follow the
        job's status changes nothing.
        """

    # ---- pausing ----------------------------------------------------------------------------------------------------

    def set_pause(self, lane: Lane, seen: Pause | None, to: Pause | None) -> bool:
        """Pauses the lane, or ends its pause. False if its pause is no longer as seen."""

    # ---- repairing --------------------------------------------------------------------------------------------------

    def free_leaked_slot(self, lane: Lane, job_id: str, seen: Job | None) -> bool:
        """Frees a slot whose holder does not run, if the job is still as `seen`. Unlocks an ended job's object."""

    def free_foreign_slot(self, lane: Lane, job_id: str) -> bool:
        """Frees the slot of a job whose row is not ours and whose run has ended. False if it holds none.

        The row can't say what it holds, and is left as it is.
        """

    def retake_slot(self, lane: Lane, job: Job) -> bool:
        """Gives a started job its lost slot and object lock back, if it is still as just read.

        The lane's limit is not checked, since the job already runs. If another job holds the lock by now, it keeps it.
        """

    def recount(self, lane: Lane, seen: Slots, actual: Slots) -> bool:
        """Corrects the lane's numbers after a count. False if one of them changed since `seen`."""


class Target(Protocol):
    """A service that runs jobs."""

    def start(self, job: Job) -> str:
        """Starts a claimed job and returns the run's target id.

        Raises:
            StartRefused: the target will not accept the job.
            StartThrottled: the target takes no job at the moment. NoCapacity: it has no room.
            OutcomeUnknown: the target may have accepted it.
        """

    def find(self, job: Job) -> str | None:
        """Finds the run of exactly this claim; None if the target knows none."""

    def describe(self, target_ids: Iterable[str], queue: str = "") -> Iterator[Run]:
        """Describes runs, without those that the target doesn't know. No text is an invalid id: it is unknown.

        With `queue`, the queue or cluster of the jobs' requests, runs that can't be there are unknown. If some runs
        can't be described, the others still are, and the error follows.
        """

    def stop(self, job: Job, target_id: str) -> None:
        """Asks the target to stop a run, if the target itself describes it as a run of this job and fence.

        Anyone who writes to the jobs table can put an id there, so an id alone proves nothing. Does nothing if the run
        has ended, is unknown or is somebody else's.
        """


class DeadLetters(Protocol):
    """A dead-letter queue for jobs that the dispatcher gives up."""

    def send_request(self, request: WorkRequest, error: SwitchyardError) -> None:
        """Sends a message that requests exactly the same work, with the reason for giving it up."""


class Wakes(Protocol):
    """Sees to it that a lane is looked at when its time has come."""

    def wake(self, lane: str, at: datetime) -> None:
        """Asks for the lane's waiting jobs to be started at that time.

        A convenience: a call that is lost, or too far ahead for the implementation, is left to the reconciler. Never
        raises.
        """


class Repair(Protocol):
    """Repairs the jobs of a lane without slots and target."""

    def ask_again(self, job_id: str) -> None:
        """Requests a job's work again if its message was lost or its worker died. Idempotent."""
