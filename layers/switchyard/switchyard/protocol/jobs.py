"""What a job is, which statuses may follow which, and what a message means for the job it names. Pure.

The picture of the statuses, and who makes each transition, is in docs/states.md.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Any, Self

from switchyard import clock


class Status(StrEnum):
    """Where a job stands. CLAIMED is transient: one invocation has won the right to start it and is doing so."""

    PENDING = "PENDING"
    WAITING = "WAITING"
    CLAIMED = "CLAIMED"
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
"""No event moves a job out of these; only new work (another version, or a redrive) starts it again."""

HOLDING_SLOT = frozenset({Status.CLAIMED, Status.SUBMITTED, Status.RUNNING})
"""In these a job occupies a slot of its lane."""

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.CLAIMED, Status.WAITING, Status.FAILED, Status.CANCELLED}),
    Status.WAITING: frozenset({Status.CLAIMED, Status.CANCELLED}),
    Status.CLAIMED: frozenset(
        {Status.SUBMITTED, Status.RUNNING, Status.PENDING, Status.WAITING, Status.CLAIMED} | TERMINAL
    ),
    Status.SUBMITTED: frozenset({Status.RUNNING} | TERMINAL),
    Status.RUNNING: TERMINAL,
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
"""The legal transitions of one piece of work. CLAIMED → CLAIMED is a restart with the fence raised."""


def origins_of(status: Status) -> frozenset[Status]:
    """The statuses from which `status` may be entered: the condition of the write that enters it."""
    return frozenset(origin for origin, following in TRANSITIONS.items() if status in following)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a job's input is and which state of it is meant.

    `version` tells two uploads to one key apart: the S3 versionId, else ETag and sequencer, else the id of the message
    that asked. `sequencer` and `written_at` are known only where S3 itself told of the object. Work that is not about
    one object has an empty `key`; its `bucket` is where the results go.
    """

    bucket: str
    key: str
    version: str
    message_id: str
    version_id: str | None = None
    sequencer: str | None = None
    written_at: datetime | None = None

    @property
    def is_object(self) -> bool:
        """Whether the work is about one object, which is locked while it lasts."""
        return bool(self.key)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """What runs a job. `type` "batch": a job queue and a job definition; "ecs": a cluster and a task definition."""

    type: str
    queue: str
    definition: str


@dataclass(frozen=True, slots=True)
class WorkRequest:
    """Everything needed to start a job, frozen when it is accepted: a later start uses nothing else.

    `sent_at` is when the message was sent; the waiting room is ordered by it. `input` is what a worker needs to know
    beyond the object, `metadata` the caller's own; both are JSON-shaped and come back as they were. An `announced`
    request was written down before its message was sent: where its record is gone, it was withdrawn.
    """

    job_id: str
    kind: str
    lane: str
    target: TargetSpec
    source: Source
    sent_at: datetime
    video_id: str = ""
    user_id: str | None = None
    input: Mapping[str, Any] | None = None
    metadata: Mapping[str, Any] | None = None
    announced: bool = False

    def to_json(self) -> str:
        """Compact JSON, for the table; times as ISO 8601, absent fields left out."""
        return _encode(_present(self) | {"target": _present(self.target), "source": _present(self.source)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`."""
        found = json.loads(text)
        source = found.pop("source")
        written_at = source.pop("written_at", None)
        return cls(
            target=TargetSpec(**found.pop("target")),
            source=Source(**source, written_at=clock.parse(written_at) if written_at else None),
            sent_at=clock.parse(found.pop("sent_at")),
            **found,
        )


def _present(record: WorkRequest | TargetSpec | Source) -> dict[str, object]:
    # Unlike `asdict`, this copies nothing of what the caller sent. The slots are the fields.
    named = ((name, getattr(record, name)) for name in record.__slots__)
    return {name: value for name, value in named if value is not None and value is not False}


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=clock.iso).encode


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a stable code and a sentence for people."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Job:
    """A job as the table has it.

    `fence` counts claims, and cancels of what was not claimed; it only grows. `run_id` is the target id of the run that
    passed the worker's fence check, `past_versions` the versions of earlier runs under the same id (the newest
    `HISTORY_LIMIT`), and `never_started` marks a FAILED job whose message went to the dead-letter queue: a redrive may
    start it. `cancel_requested` stands while a job that holds a slot is being cancelled: whatever its run does next, it
    is not started again.
    """

    request: WorkRequest
    status: Status
    fence: int
    created_at: datetime
    target_id: str | None = None
    run_id: str | None = None
    claimed_at: datetime | None = None
    past_versions: tuple[str, ...] = ()
    never_started: bool = False
    cancel_requested: bool = False
    ended_at: datetime | None = None
    error: JobError | None = None

    @property
    def id(self) -> str:
        """The job's id, the table's key."""
        return self.request.job_id

    @property
    def is_placeholder(self) -> bool:
        """Whether somebody else wrote this row ahead of the work: nobody started it and it names no version."""
        return self.status is Status.PENDING and not self.request.source.version

    @property
    def accepted_at(self) -> datetime:
        """When it was settled which state of its object the job is about; what was written later is new work."""
        settled_by_its_end = None if self.request.source.version else self.ended_at
        return self.claimed_at or settled_by_its_end or self.created_at

    @property
    def authoritative_target_id(self) -> str | None:
        """The one run whose end is the job's end: the one that passed the fence check, else the one we recorded."""
        return self.run_id or self.target_id


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of a job on its target stands, from an event or a description.

    `queued_since` is set while the target has no room for it.
    """

    target_id: str
    job_id: str
    fence: int
    status: Status
    attempts: int = 0
    error: JobError | None = None
    queued_since: datetime | None = None


HISTORY_LIMIT = 100


class Verdict(Enum):
    """What a request means for the job found under its id."""

    START = auto()
    """Claim it: it is new, or it is known but not started."""
    DUPLICATE = auto()
    """The same work is waiting, under way or done."""
    WAIT_BEHIND = auto()
    """New work for a job that is still busy with older work."""
    IN_FLIGHT = auto()
    """This very message was claimed a moment ago by a delivery that may still be at work."""
    ADOPT = auto()
    """The claim is older than its grace period: find out what became of it."""
    WITHDRAWN = auto()
    """The record that announced it is gone: nobody wants it any more."""


def judge(found: Job | None, request: WorkRequest, *, now: datetime, grace: timedelta) -> Verdict:
    """What to do with `request`, given the job the table holds under its id."""
    if found is None:
        return Verdict.WITHDRAWN if request.announced else Verdict.START
    if found.is_placeholder:
        return Verdict.START
    if found.request.source.version == request.source.version:
        return _judge_same_work(found, request, now=now, grace=grace)
    return _judge_other_work(found, request)


def _judge_other_work(found: Job, request: WorkRequest) -> Verdict:
    if request.source.version in found.past_versions or is_older(request.source, found.request.source):
        return Verdict.DUPLICATE
    newer = is_newer_work(request.source, found.request.source, found.accepted_at)
    if found.status not in TERMINAL:
        return Verdict.WAIT_BEHIND if newer else Verdict.DUPLICATE
    if newer or found.never_started:
        return Verdict.START
    # A plain message that comes after the end asks for another run. S3 telling late of what that run has read does not,
    # nor does a message from before a cancel: that was meant for all that had been asked by then.
    told_late = request.source.written_at is not None or _was_cancelled_since(request, found)
    return Verdict.DUPLICATE if told_late else Verdict.START


def _was_cancelled_since(request: WorkRequest, found: Job) -> bool:
    return found.status is Status.CANCELLED and found.ended_at is not None and request.sent_at <= found.ended_at


def _judge_same_work(found: Job, request: WorkRequest, *, now: datetime, grace: timedelta) -> Verdict:
    if found.status is Status.PENDING or found.never_started:
        return Verdict.START
    if found.status is not Status.CLAIMED or found.claimed_at is None:
        return Verdict.DUPLICATE
    if now - found.claimed_at >= grace:
        return Verdict.ADOPT
    # Another message for the same work can go: the claim's own message, or the reconciler, sees it through.
    own_message = found.request.source.message_id == request.source.message_id
    return Verdict.IN_FLIGHT if own_message else Verdict.DUPLICATE


def is_other_work(job: Job, request: WorkRequest) -> bool:
    """Whether a request under a job's id asks for something else than what the job is about."""
    return not job.is_placeholder and job.request.source.version != request.source.version


def past_versions_after(job: Job) -> tuple[str, ...]:
    """The versions that are past once a job is about other work: its own too, unless it was given up unstarted.

    Such a one is a dead letter, which a redrive may bring back.
    """
    past = job.past_versions if job.never_started else (*job.past_versions, job.request.source.version)
    return past[-HISTORY_LIMIT:]


def is_older(source: Source, other: Source) -> bool:
    """Whether S3 says that `source` was written before `other`. Both must be of one key."""
    if source.sequencer is None or other.sequencer is None or (source.bucket, source.key) != (other.bucket, other.key):
        return False
    # Sequencers are hexadecimal strings of varying length: pad the shorter on the right, then compare as text
    # (Amazon S3 user guide, "Event message structure").
    width = max(len(source.sequencer), len(other.sequencer))
    return source.sequencer.ljust(width, "0") < other.sequencer.ljust(width, "0")


def is_newer_work(source: Source, busy_with: Source, accepted_at: datetime) -> bool:
    """Whether `source` is certainly other work than `busy_with`, a different version accepted at `accepted_at`.

    Two versions known from S3 itself differ for certain. Where the busy job came from a plain message, which names no
    version, an object written after that message was accepted is new. Anything else is taken for the same upload told
    twice, once by S3 and once by a backend.
    """
    if source.written_at is None:
        return False
    if busy_with.written_at is not None:
        return True
    return source.written_at > accepted_at
