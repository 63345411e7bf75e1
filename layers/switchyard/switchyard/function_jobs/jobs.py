"""A job that a function does itself, and the rules for what a message does to it. Pure; `table` reads and writes jobs.

The **fence** counts how often a job was begun. Only the run that began it last may continue: writes of earlier runs are
refused, which stops them. A run that must wait ends. Its message is sent again, to continue the run of that fence.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from switchyard.errors import PermanentError, RetryableError, SwitchyardError
from switchyard.protocol.jobs import TERMINAL, JobError, Status, WorkRequest

GIVEN_UP = "GIVEN_UP"
MAX_BEGINS = 25
"""How often a job is begun without progress or a wait in between, before it is given up."""
SILENCE = timedelta(seconds=60)
"""An invocation whose last heartbeat is older is considered dead."""
LONGEST_WAIT = timedelta(days=3)
"""How long after its start a job may still wait."""

type Values = Mapping[str, str | int]
"""Progress or a result, as the API shows it. Progress has `percent` and `message`, and any other numbers."""


@dataclass(frozen=True, slots=True)
class FunctionRun:
    """The right to work on a job until it is begun again.

    Attributes:
        begun_by: The id of the message that the job was begun for.
        chunks: Names of the parts of large work that were done when the run began.
    """

    job_id: str
    fence: int
    begun_by: str | None = None
    started_at: datetime | None = None
    user_id: str | None = None
    chunks: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class FunctionJob:
    """A job as the table has it.

    Attributes:
        begun_by: The id of the message that it was begun for.
        modified: The last modification of its input; None if that has no such time.
        alive_at: The last heartbeat, or the job's creation before the first.
        waits_until: Set while the job waits. No invocation works on it.
        chunks: Names of the parts of large work that are done. They outlive a failure.
    """

    id: str
    kind: str | None
    status: Status
    fence: int
    attempts: int
    begun_by: str | None
    modified: datetime | None
    alive_at: datetime | None
    cancel_requested: bool
    chunks: frozenset[str]
    user_id: str | None
    request: WorkRequest | None
    error: JobError | None
    result: Values
    started_at: datetime | None = None
    waits_until: datetime | None = None
    ended_at: datetime | None = None

    @property
    def quiet_since(self) -> datetime | None:
        """Since when nobody has worked on the job, or when a message continues it."""
        return self.waits_until or self.alive_at


type Again = Callable[[FunctionJob], bool]
"""Whether a message asks for an ended job's work again. A message that has begun the job before never does."""


def after_failure(found: FunctionJob) -> bool:
    """Again if it has failed."""
    return found.status is Status.FAILED


def after_any_end(_found: FunctionJob) -> bool:
    """Again in any case."""
    return True


class Stopped(SwitchyardError):
    """This run must stop: the job was begun again, has ended, or a cancel was requested."""

    code = "STOPPED"


class Postponed(RetryableError):
    """The work must wait `until` then. The text says why; it is shown to callers with the rest of the progress."""

    code = "POSTPONED"

    def __init__(self, message: str, until: datetime, progress: Values | None = None) -> None:
        super().__init__(message)
        self.until = until
        self.progress = progress or {}


class Waiting(RetryableError):
    """`run` waits `until` then, and its message must come back."""

    code = "WAITING"

    def __init__(self, run: FunctionRun, until: datetime) -> None:
        super().__init__("the job waits")
        self.run = run
        self.until = until


class Unfinished(RetryableError):
    """The job was begun, and failed with an error that may pass. `run` is the run that failed."""

    def __init__(self, run: FunctionRun, error: SwitchyardError) -> None:
        super().__init__(str(error), getattr(error, "retry_after", None))
        self.run = run
        self.code = error.code


class Failed(PermanentError):
    """The job was begun, and can't succeed. Its message is dead-lettered before the job is marked FAILED."""

    def __init__(self, run: FunctionRun, error: PermanentError) -> None:
        super().__init__(str(error))
        self.run = run
        self.code = error.code


class FunctionVerdict(Enum):
    """What to do with the job found under the id of a message's work."""

    BEGIN = auto()
    """Begin it: it is new, or must be done again."""
    TAKE_OVER = auto()
    """Continue it: its invocation is dead, handled an earlier delivery of this message, or the wait is over."""
    LEAVE = auto()
    """Do nothing: it is done, or under way."""
    WAIT = auto()
    """Let the message wait: it is the one that continues the job later."""
    CANCEL = auto()
    """Mark it CANCELLED: a cancel was requested, and nobody works on it."""
    GIVE_UP = auto()
    """Fail it: it was begun too often."""


def judge_message(
    found: FunctionJob,
    message_id: str,
    modified: datetime | None,
    *,
    again: Again,
    now: datetime,
    continues: int | None = None,
) -> FunctionVerdict:
    """Decides what a message does, given the job that the table holds for its work.

    Newer input, by `modified`, is new work: in a bucket without versioning, uploading the same bytes again keeps the
    version. `continues` is the fence of the run that the message continues after a wait, None for any other message.
    """
    if continues not in (None, found.fence):
        return FunctionVerdict.LEAVE  # somebody else has continued it
    if found.status is Status.PENDING:
        return FunctionVerdict.BEGIN
    if found.modified is not None and modified is not None and found.modified != modified:
        return FunctionVerdict.BEGIN if found.modified < modified else FunctionVerdict.LEAVE
    own = found.begun_by == message_id
    if found.status in TERMINAL:
        return FunctionVerdict.BEGIN if not own and again(found) else FunctionVerdict.LEAVE
    return _judge_in_flight(found, now, own=own)


def _judge_in_flight(found: FunctionJob, now: datetime, *, own: bool) -> FunctionVerdict:
    # SQS delivers a message again only after its last invocation has ended. Rare duplicates lose by their fence.
    if not own and found.quiet_since is not None and now - found.quiet_since < SILENCE:
        return FunctionVerdict.LEAVE
    if found.cancel_requested:
        return FunctionVerdict.CANCEL
    if found.waits_until is not None and now < found.waits_until:
        return FunctionVerdict.WAIT
    return FunctionVerdict.GIVE_UP if found.attempts >= MAX_BEGINS else FunctionVerdict.TAKE_OVER
