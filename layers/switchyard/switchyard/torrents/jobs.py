"""A torrent's job, and the rules for what a message does to it. Pure; `table` reads and writes jobs.

The **fence** counts how often a job was begun. Only the run that began it last may continue: writes of earlier runs are
refused, which stops them. The hashed chunks of a large object are a set of names, so that adding one twice changes
nothing (`segments`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto

from switchyard.errors import SwitchyardError
from switchyard.protocol.jobs import TERMINAL, JobError, Status, WorkRequest

GIVEN_UP = "GIVEN_UP"
MAX_BEGINS = 25
"""How often a job is begun without a chunk being hashed in between, before it is given up."""
SILENCE = timedelta(seconds=60)
"""An invocation whose last heartbeat is older is considered dead."""


class Stopped(SwitchyardError):
    """This run must stop: the job was begun again, has ended, or a cancel was requested."""

    code = "STOPPED"


@dataclass(frozen=True, slots=True)
class TorrentRun:
    """The right to work on a job until it is begun again. `chunks` names what had been hashed when the run began.

    A segment has the fence of the run that split the object.
    """

    job_id: str
    fence: int
    chunks: frozenset[str] = frozenset()
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class TorrentJob:
    """A job as the table has it.

    `begun_by` is the id of the message that it was begun for, `modified` the object's last modification, and `alive_at`
    the last heartbeat, or the job's creation before the first.
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
    result: Mapping[str, str]


class TorrentVerdict(Enum):
    """What to do with the job found under the version of a message's object."""

    BEGIN = auto()
    """Begin it: it is new, or must be done again."""
    TAKE_OVER = auto()
    """Continue it: its invocation is dead, or handled an earlier delivery of this message."""
    LEAVE = auto()
    """Do nothing: it is done, or under way."""
    CANCEL = auto()
    """Mark it CANCELLED: a cancel was requested, and its invocation is dead."""
    GIVE_UP = auto()
    """Fail it: it was begun too often."""


def judge_torrent(
    found: TorrentJob, message_id: str, modified: datetime, *, again: bool, now: datetime
) -> TorrentVerdict:
    """Decides what a message does, given the job that the table holds for that version of the object.

    In a bucket without versioning, uploading the same bytes again keeps the version: only `modified` differs.
    """
    if found.status is Status.PENDING:
        return TorrentVerdict.BEGIN
    if found.modified is not None and found.modified != modified:
        return TorrentVerdict.BEGIN if found.modified < modified else TorrentVerdict.LEAVE
    if found.status in TERMINAL:
        wanted = found.begun_by != message_id and (again or found.status is Status.FAILED)
        return TorrentVerdict.BEGIN if wanted else TorrentVerdict.LEAVE
    # SQS delivers a message again only after its last invocation has ended. Rare duplicates lose by their fence.
    if found.begun_by != message_id and found.alive_at is not None and now - found.alive_at < SILENCE:
        return TorrentVerdict.LEAVE
    if found.cancel_requested:
        return TorrentVerdict.CANCEL
    return TorrentVerdict.GIVE_UP if found.attempts >= MAX_BEGINS else TorrentVerdict.TAKE_OVER
