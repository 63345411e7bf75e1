"""A torrent's job: what it is, and what a message means for it. Pure; `table` reads and writes it.

The **fence** counts how often a job was begun. Whoever began it last may go on with it; the writes of all before are
refused, and tell them to stop. What has been hashed of a huge object is a set of names, so that noting it twice changes
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
"""How often a job is begun without anything of it getting done in between."""
SILENCE = timedelta(seconds=60)
"""After which an invocation that kept a job alive is taken for dead."""


class Stopped(SwitchyardError):
    """This run of the job is not to go on: the job was begun anew, or has ended, or is to be cancelled."""

    code = "STOPPED"


@dataclass(frozen=True, slots=True)
class TorrentRun:
    """The right to work on a job, until it is begun anew. `chunks` are the names of what was hashed when it was given.

    A segment's has the fence of whoever cut the object.
    """

    job_id: str
    fence: int
    chunks: frozenset[str] = frozenset()
    user_id: str | None = None


@dataclass(frozen=True, slots=True)
class TorrentJob:
    """A job as the table has it. `begun_by` is the message that it was begun for, `modified` when its object was."""

    id: str
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
    """What a message means for the job found under its object's version."""

    BEGIN = auto()
    """It is new, or to be done again."""
    TAKE_OVER = auto()
    """Whoever was at it is dead, or is an earlier delivery of this very message."""
    LEAVE = auto()
    """It is done, or being done."""
    CANCEL = auto()
    """It is to be cancelled, and whoever would have noticed is dead."""
    GIVE_UP = auto()
    """It was begun too often."""


def judge_torrent(
    found: TorrentJob, message_id: str, modified: datetime, *, again: bool, now: datetime
) -> TorrentVerdict:
    """What to do about a torrent, given the job the table holds for that version of the object.

    Without versions, the same bytes uploaded once more are the same version: only `modified` tells the two apart.
    """
    if found.status is Status.PENDING:
        return TorrentVerdict.BEGIN
    if found.modified is not None and found.modified != modified:
        return TorrentVerdict.BEGIN if found.modified < modified else TorrentVerdict.LEAVE
    if found.status in TERMINAL:
        wanted = found.begun_by != message_id and (again or found.status is Status.FAILED)
        return TorrentVerdict.BEGIN if wanted else TorrentVerdict.LEAVE
    # SQS delivers a message again only once the invocation before is over, but for rare doubles, whose fence gives way.
    if found.begun_by != message_id and found.alive_at is not None and now - found.alive_at < SILENCE:
        return TorrentVerdict.LEAVE
    if found.cancel_requested:
        return TorrentVerdict.CANCEL
    return TorrentVerdict.GIVE_UP if found.attempts >= MAX_BEGINS else TorrentVerdict.TAKE_OVER
