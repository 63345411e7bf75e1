"""What the protocol needs of the outside: a store, targets, dead-letter queues and repairs. Pure.

`tables`, `targets`, `messages` and `torrents` implement these ports; `wiring` puts them together. The docstrings here
are the contract, and `tests/contract` runs one suite on each implementation and its fake.

Every method but `Target.start` may raise `Unavailable`, an iterator while it is read: the service failed or was
throttled. A write that raises it may have taken effect.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:  # functions that have no lane implement a port too, and start faster without `lanes`
    from collections.abc import Iterable, Iterator
    from datetime import datetime

    from switchyard.errors import SwitchyardError
    from switchyard.protocol.jobs import Job, JobError, Run, Status, TargetSpec, WorkRequest
    from switchyard.protocol.lanes import Lane, ObjectLock, Slots, WaitEntry

RACES = 5
"""How often a conditional write is tried on what the last refusal showed, before the caller raises Contended.

A refusal means that somebody else moved the job, and a job has few moves to make. So five are nearly always enough, and
what loses them all should come back later rather than spin.
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """The right to start the job, under the fence it now has."""

    job: Job


@dataclass(frozen=True, slots=True)
class Held:
    """The job is in the waiting room."""


@dataclass(frozen=True, slots=True)
class LaneFull:
    """Every slot is taken, or others wait for the next one."""


@dataclass(frozen=True, slots=True)
class JobChanged:
    """The job is not in the state the caller saw. `found` is its state now, None if there is no such job."""

    found: Job | None


@dataclass(frozen=True, slots=True)
class ObjectLocked:
    """Another job works on the same object."""

    lock: ObjectLock


@dataclass(frozen=True, slots=True)
class EntryGone:
    """Somebody else took the entry out of the waiting room."""


@dataclass(frozen=True, slots=True)
class ActiveJob:
    """What the status index holds of a job. Eventually consistent: read the job before acting on it."""

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
    """Jobs, lanes and object locks. Each write is conditional and atomic: it is applied as a whole or not at all."""

    # ---- reading ----------------------------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job | None:
        """The job as it is now (consistent read)."""

    def slots(self, lane: Lane) -> Slots:
        """The lane's holders, the length of its waiting room and its layouts (consistent read)."""

    def waiting(self, lane: Lane, *, at_a_time: int = 25) -> Iterator[WaitEntry]:
        """The waiting room, oldest entry first. Reads `at_a_time` entries as it is consumed (consistent reads)."""

    def by_status(self, status: Status) -> Iterator[ActiveJob]:
        """Every job with this status, oldest first (eventually consistent)."""

    # ---- accepting --------------------------------------------------------------------------------------------------

    def claim(
        self, request: WorkRequest, seen: Job | None, lane: Lane, *, entry: WaitEntry | None = None, fifo: bool = True
    ) -> Claimed | LaneFull | JobChanged | ObjectLocked | EntryGone:
        """Wins the right to start a job, takes a slot of the lane and locks the object, or says why not.

        `seen` is the job as the caller believes it to be. With `entry` the job leaves the waiting room. Without
        `entry`, and with `fifo`, the claim is refused while others wait.
        """

    def hold(
        self, request: WorkRequest, seen: Job | None, *, lock_object: bool = True
    ) -> Held | JobChanged | ObjectLocked:
        """Puts a job into the waiting room and locks its object. Idempotent.

        Without `lock_object` the object stays with the job that works on it, and is locked when this job is claimed.
        """

    def hold_behind(self, request: WorkRequest) -> None:
        """Puts new work into the waiting room behind older work on the same job or object. Idempotent.

        The older work's job and lock are left alone.
        """

    def drop(self, entry: WaitEntry) -> None:
        """Takes the entry of a duplicate out of the waiting room."""

    # ---- starting ---------------------------------------------------------------------------------------------------

    def record_start(self, job: Job, target_id: str) -> JobChanged | None:
        """Records the target's id of the run. Refused if an event, another invocation or a cancel came first."""

    def raise_fence(self, job: Job) -> Claimed | JobChanged:
        """Claims a job again under a higher fence, after a start that came to nothing.

        A run of the old fence fails the worker's fence check. Refused if a cancel was requested.
        """

    def undo_claim(self, job: Job, error: JobError, *, entry: WaitEntry | None = None) -> JobChanged | None:
        """Takes back a claim whose start was refused, and frees its slot.

        The job is PENDING and its object unlocked; with `entry` it is WAITING, in the waiting room. The fence stays
        raised. Refused if the claim is no longer the caller's, or if a cancel was requested: such a job must not go
        back to where it would be started again.
        """

    def give_up(self, job: Job, error: JobError) -> bool:
        """Fails a PENDING job that could not be started and whose message goes to the dead-letter queue.

        False if the job changed meanwhile.
        """

    # ---- cancelling -------------------------------------------------------------------------------------------------

    def cancel(self, job: Job) -> JobChanged | None:
        """Ends a PENDING or WAITING job, removes it from the waiting room and unlocks its object.

        Raises the fence: status and fence must tell this end apart from that of older work cancelled under the same id.
        """

    def request_cancel(self, job: Job) -> Job | JobChanged:
        """Records that a job that holds a slot is to be cancelled. Gives the job as it then is, with its run if known.

        From then on nothing starts the job, and none of its runs passes the worker's fence check. Idempotent.
        """

    # ---- following --------------------------------------------------------------------------------------------------

    def advance(self, job_id: str, fence: int, target_id: str, to: Status, *, attempts: int) -> bool:
        """Moves a job forward to a status that is not terminal, by an event of its run.

        False if the event is late, a repeat, or of another run.
        """

    def finish(self, job: Job, to: Status, *, error: JobError | None, target_id: str | None, attempts: int) -> bool:
        """Ends a job, frees its slot and unlocks its object. False if it changed meanwhile.

        `job` is as just read. If its worker has already written a terminal status, only slot and lock go free. A
        worker's own error message takes precedence over `error`. An end that can't follow the job's status changes
        nothing.
        """

    # ---- repairing --------------------------------------------------------------------------------------------------

    def free_leaked_slot(self, lane: Lane, job_id: str, seen: Job | None) -> bool:
        """Frees a slot whose holder does not run, if the job is still as `seen`. Unlocks the object of an ended job."""

    def retake_slot(self, lane: Lane, job: Job) -> bool:
        """Gives a started job its lost slot and object lock back, if the job is still as just read.

        The lane's limit is not checked, since the job runs already. A lock that another job has by now stays there.
        """

    def recount_waiting(self, lane: Lane, seen: int, actual: int) -> bool:
        """Corrects the length of the waiting room after a count. False if it changed meanwhile."""

    def note_layouts(self, lane: Lane, layouts: frozenset[int]) -> None:
        """Records that the lane is, or was, divided into these numbers of shards. Idempotent."""


class Target(Protocol):
    """What runs jobs."""

    def start(self, job: Job) -> str:
        """Starts a claimed job and gives the target's id of the run.

        Raises:
            StartRefused, StartThrottled: the target did not accept the job.
            OutcomeUnknown: it may have.
        """

    def find(self, job: Job) -> str | None:
        """The run that was started for exactly this claim, if the target knows one."""

    def describe(self, target_ids: Iterable[str]) -> Iterator[Run]:
        """How runs stand. Runs that the target has forgotten are left out."""

    def stop(self, target_id: str) -> None:
        """Asks for the end of a run. Does nothing if the run has ended or isn't known."""


class DeadLetters(Protocol):
    """A dead-letter queue, for jobs that the dispatcher gives up itself."""

    def send_request(self, request: WorkRequest, error: SwitchyardError) -> None:
        """Sends a message that asks for the very same work again, with the reason why it was given up."""


class Repair(Protocol):
    """Repairs the jobs of a lane that has neither slots nor a target."""

    def ask_again(self, job_id: str) -> None:
        """Asks for a job's work again if its message is lost or its worker dead. Asking too often does no harm."""
