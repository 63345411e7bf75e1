"""Jobs, their statuses and transitions, and the judgement of a request against the job that it names. Pure.

docs/states.md draws the statuses and says who makes each transition.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum, auto
from typing import Any, Self

from switchyard import clock
from switchyard.names import stable_hash


class Status(StrEnum):
    """The status of a job. CLAIMED is transient: one invocation has won the right to start the job and is doing so."""

    PENDING = "PENDING"
    WAITING = "WAITING"
    CLAIMED = "CLAIMED"
    SUBMITTED = "SUBMITTED"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"


TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.CANCELLED})
"""No event moves a job out of these. Only new work (another version, or a redrive) starts it again."""

HOLDING_SLOT = frozenset({Status.CLAIMED, Status.SUBMITTED, Status.RUNNING})
"""A job with one of these occupies a slot of its lane."""

TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.CLAIMED, Status.WAITING, Status.FAILED, Status.CANCELLED}),
    Status.WAITING: frozenset({Status.CLAIMED, Status.CANCELLED}),
    Status.CLAIMED: frozenset(
        {Status.SUBMITTED, Status.RUNNING, Status.PENDING, Status.WAITING, Status.CLAIMED} | TERMINAL
    ),
    Status.SUBMITTED: frozenset({Status.RUNNING, Status.WAITING} | TERMINAL),
    Status.RUNNING: frozenset({Status.WAITING} | TERMINAL),
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.CANCELLED: frozenset(),
}
"""The legal transitions of one piece of work. CLAIMED → CLAIMED is a restart under a higher fence.

A job becomes WAITING again if its start found no room, or if its run failed and may be tried again.
"""


def origins_of(status: Status) -> frozenset[Status]:
    """The statuses from which `status` may be entered, as the condition of the write that enters it."""
    return frozenset(origin for origin, following in TRANSITIONS.items() if status in following)


@dataclass(frozen=True, slots=True)
class Source:
    """A job's input: the object, and the version of it.

    `version` tells two uploads to one key apart: the S3 versionId, else ETag and sequencer, else the id of the
    requesting message. `sequencer` and `written_at` are set only if S3 itself announced the object. Work without an
    object has an empty `key`; its results go to `bucket`.
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
        """Whether the work has one object as its input. The object is locked until the work ends."""
        return bool(self.key)

    def is_at(self, other: Self) -> bool:
        """Whether both are in the same place: the same bucket and key."""
        return (self.bucket, self.key) == (other.bucket, other.key)


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """Where a job runs. `type` "batch": a job queue and a job definition; "ecs": a cluster and a task definition."""

    type: str
    queue: str
    definition: str


PRIORITIES = range(10)
"""A higher number goes first. The usual one is 0."""


@dataclass(frozen=True, slots=True)
class WorkRequest:
    """Everything needed to start a job. Frozen when the job is accepted, so that a later start uses the same values.

    `sent_at` is when the message was sent, and orders the waiting room. `input` is the worker's input beyond the
    object, `metadata` the caller's own data; both are JSON values, stored unchanged. An `announced` request was
    recorded before its message was sent; if the record is gone, the request was withdrawn. Before `start_after`,
    nothing starts the job. Of the jobs that wait, those with the highest `priority`, 0 to 9, start first.
    `task_token` is Step Functions', which is told of the job's end.
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
    start_after: datetime | None = None
    priority: int = 0
    task_token: str | None = field(default=None, repr=False)

    @property
    def due(self) -> datetime:
        """Its time in the waiting room: when it was sent, or the time that it has to wait for."""
        return max(self.sent_at, self.start_after) if self.start_after else self.sent_at

    def to_json(self) -> str:
        """Encodes the request as compact JSON for the table: times as ISO 8601, without absent fields."""
        return _encode(_present(self) | {"target": _present(self.target), "source": _present(self.source)})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Decodes what `to_json` encoded.

        Raises:
            AttributeError, KeyError, TypeError, ValueError, RecursionError: it is anything else.
        """
        found = json.loads(text)
        source, target = found.pop("source"), found.pop("target")
        written_at, sent_at = source.pop("written_at", None), found.pop("sent_at")
        start_after = found.pop("start_after", None)
        others = {name: found.pop(name) for name in ("input", "metadata", "announced", "priority") if name in found}
        if not all(isinstance(value, str) for fields in (found, source, target) for value in fields.values()):
            raise TypeError("a field of the request is not text")
        if not isinstance(others.get("input", {}), dict) or not isinstance(others.get("metadata", {}), dict):
            raise TypeError("a field of the request is not an object")
        if others.get("priority", 0) not in PRIORITIES:
            raise ValueError("the request has no such priority")
        found["lane"] = lane_of(found["lane"])
        return cls(
            target=TargetSpec(**target),
            source=Source(**source, written_at=clock.parse(written_at) if written_at else None),
            sent_at=clock.parse(sent_at),
            start_after=clock.parse(start_after) if start_after else None,
            **found,
            **others,
        )

    def asks_for_the_same(self, other: Self) -> bool:
        """Whether both name the same object or, if they name none, have the same input."""
        if self.source.is_object or other.source.is_object:
            return self.source.is_at(other.source)
        return self.input == other.input

    def is_same_work(self, other: Self) -> bool:
        """Whether both ask for the same work, given the same job id: the same object or input, and version."""
        return self.source.version == other.source.version and self.asks_for_the_same(other)


def lane_of(name: str) -> str:
    """The name of a lane. Earlier versions divided lanes, and jobs accepted then name a part, such as `video/3of16`."""
    return _PART_OF_A_LANE.sub("", name)


_PART_OF_A_LANE = re.compile("/[0-9]{1,2}of[0-9]{1,2}$")


def _present(record: WorkRequest | TargetSpec | Source) -> dict[str, object]:
    # `asdict` would deep-copy `input` and `metadata`. The slots are the fields.
    named = ((name, getattr(record, name)) for name in record.__slots__)
    return {name: value for name, value in named if value not in (None, False)}  # nor a priority of 0


_encode = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False, default=clock.iso).encode


@dataclass(frozen=True, slots=True)
class JobError:
    """Why a job failed: a stable code, and a sentence for people."""

    code: str
    message: str


ROW_FULL = JobError("ROW_FULL", "the job's record was full, so what its worker had written there was removed")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that failed, after which the job was to be tried again: its id, why it failed, and when that was known."""

    target_id: str
    error: JobError
    ended_at: datetime


@dataclass(frozen=True, slots=True)
class Job:
    """A job as stored in the table.

    Attributes:
        fence: Counts claims, and cancels of unclaimed jobs. It never decreases.
        target_id: The target's id of the recorded run.
        run_id: The target's id of the run that passed the worker's fence check.
        past_versions: What has had its run under this id, the newest `HISTORY_LIMIT`: versions of the job's object, and
            with a prefix those of other objects; see `has_run`.
        never_started: A FAILED job whose message is in the dead-letter queue. A redrive may start it.
        attempts: The runs after which the job was tried again; of several in a row that found no room, the last.
        cancel_requested: The job holds a slot and is being cancelled. It is never started again.
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
    attempts: tuple[Attempt, ...] = ()
    cancel_requested: bool = False
    ended_at: datetime | None = None
    error: JobError | None = None

    @property
    def id(self) -> str:
        """The job's id, which is the table's key."""
        return self.request.job_id

    @property
    def has_request(self) -> bool:
        """Whether the row has a request. Another program may create a row before any, and it may be cancelled."""
        return bool(self.request.source.version)

    @property
    def is_placeholder(self) -> bool:
        """Whether another program created this row before any request, and nothing has happened to it yet."""
        return self.status is Status.PENDING and not self.has_request

    @property
    def accepted_at(self) -> datetime:
        """When the version of the job's object was fixed. An object written later is new work."""
        fixed_by_its_end = None if self.request.source.version else self.ended_at
        return self.claimed_at or fixed_by_its_end or self.created_at

    @property
    def authoritative_target_id(self) -> str | None:
        """The run whose end ends the job: the one that passed the fence check, else the recorded one."""
        return self.run_id or self.target_id


@dataclass(frozen=True, slots=True)
class Run:
    """The state of one run of a job on its target, from an event or a description.

    `queued_since` is set while the run waits for capacity of the target. `may_retry`: it failed for a reason that
    another run may not meet, and the target itself makes none. `log_stream` is where its worker's output is, in the
    target's own words; see `api.logs`.
    """

    target_id: str
    job_id: str
    fence: int
    status: Status
    attempts: int = 0
    error: JobError | None = None
    queued_since: datetime | None = None
    may_retry: bool = False
    log_stream: str | None = None


HISTORY_LIMIT = 100
NO_CAPACITY = "NO_CAPACITY"
"""The code of the error of a run that found no room. It is no attempt: such a job waits for as long as it takes."""
_FIRST_RETRY = timedelta(seconds=30)
_LONGEST_RETRY = timedelta(minutes=10)


def tried_again(job: Job, attempt: Attempt, *, limit: int) -> Job | None:
    """The job after a failed run, to be started again after a pause that doubles. None after `limit` attempts."""
    still_no_room = attempt.error.code == NO_CAPACITY and job.attempts and job.attempts[-1].error.code == NO_CAPACITY
    attempts = (*(job.attempts[:-1] if still_no_room else job.attempts), attempt)
    if attempt.error.code != NO_CAPACITY and sum(each.error.code != NO_CAPACITY for each in attempts) >= limit:
        return None
    pause = _LONGEST_RETRY if still_no_room else min(_FIRST_RETRY * 2 ** (len(attempts) - 1), _LONGEST_RETRY)
    return replace(job, request=replace(job.request, start_after=attempt.ended_at + pause), attempts=attempts)


class Verdict(Enum):
    """What to do with a request, given the job stored under its id."""

    START = auto()
    """Claim the job: it is new, or known but not started."""
    DUPLICATE = auto()
    """Ignore it: the same work waits, runs or is done."""
    WAIT_BEHIND = auto()
    """Let it wait: the job is still busy with older work."""
    IN_FLIGHT = auto()
    """Retry later: an earlier delivery of the same message holds a young claim and may still be starting the job."""
    ADOPT = auto()
    """Adopt the claim, which is older than its grace period: find out whether it led to a run."""
    WITHDRAWN = auto()
    """Ignore it: the record that announced it was deleted."""
    TAKEN = auto()
    """Refuse it: the id belongs to a job of another kind or owner."""
    EXISTS = auto()
    """Refuse it: the id belongs to a job with another input."""


def judge(found: Job | None, request: WorkRequest, *, now: datetime, grace: timedelta) -> Verdict:
    """Decides what to do with `request`, given the job stored under its id."""
    if found is None:
        return Verdict.WITHDRAWN if request.announced else Verdict.START
    if not found.has_request:
        return Verdict.START if found.is_placeholder else _judge_other_version(found, request)
    if _is_taken(found.request, request):
        return Verdict.TAKEN
    if not found.request.asks_for_the_same(request):
        return _judge_other_object(found, request) if request.source.is_object else Verdict.EXISTS
    if found.request.source.version == request.source.version:
        return _judge_same_work(found, request, now=now, grace=grace)
    return _judge_other_version(found, request)


def _is_taken(found: WorkRequest, request: WorkRequest) -> bool:
    """Whether a request may not have the job that is stored under its id: never the job of another kind or owner.

    A message about the same object may name no owner: S3 names none for a key that has none, a backend does.
    """
    if found.kind != request.kind:
        return True
    if found.user_id == request.user_id:
        return False
    return are_different_owners(found, request) or not found.asks_for_the_same(request)


def are_different_owners(one: WorkRequest, other: WorkRequest) -> bool:
    """Whether both requests name an owner, and not the same one."""
    return None not in (one.user_id, other.user_id) and one.user_id != other.user_id


def _judge_other_object(found: Job, request: WorkRequest) -> Verdict:
    if has_run(found, request):
        return Verdict.DUPLICATE
    return Verdict.START if found.status in TERMINAL else Verdict.WAIT_BEHIND


def _judge_other_version(found: Job, request: WorkRequest) -> Verdict:
    if has_run(found, request) or is_older(request.source, found.request.source):
        return Verdict.DUPLICATE
    newer = is_newer_work(request.source, found.request.source, found.accepted_at)
    if found.status not in TERMINAL:
        return Verdict.WAIT_BEHIND if newer else Verdict.DUPLICATE
    if newer or found.never_started:
        return Verdict.START
    # A plain message after the end asks for another run. A late S3 event about the object that the run has read does
    # not, nor does a message sent before a cancel, which covered every request until then.
    is_late = request.source.written_at is not None or _was_cancelled_since(request, found)
    return Verdict.DUPLICATE if is_late else Verdict.START


def _was_cancelled_since(request: WorkRequest, found: Job) -> bool:
    return found.status is Status.CANCELLED and found.ended_at is not None and request.sent_at <= found.ended_at


def _judge_same_work(found: Job, request: WorkRequest, *, now: datetime, grace: timedelta) -> Verdict:
    if found.status is Status.PENDING or found.never_started:
        return Verdict.START
    if found.status is not Status.CLAIMED or found.claimed_at is None:
        return Verdict.DUPLICATE
    if now - found.claimed_at >= grace:
        return Verdict.ADOPT
    # Another message for the same work is not needed: the claim's own message, or the reconciler, finishes the start.
    own_message = found.request.source.message_id == request.source.message_id
    return Verdict.IN_FLIGHT if own_message else Verdict.DUPLICATE


def is_other_work(job: Job, request: WorkRequest) -> bool:
    """Whether `request`, which has the job's id, asks for other work than the job's."""
    return not job.is_placeholder and not job.request.is_same_work(request)


def has_run(job: Job, request: WorkRequest) -> bool:
    """Whether the work of `request` has had its run under the job's id, before the job's own work."""
    return _entry(request.source, job.request.source) in job.past_versions


def past_versions_after(job: Job, request: WorkRequest) -> tuple[str, ...]:
    """The past versions of a job once `request`, other work, replaces its own.

    The version of a job that never started is not added: it is in the dead-letter queue, and a redrive may start it.
    """
    past, source = job.past_versions, job.request.source
    if job.has_request and not job.never_started:
        past = (*past, _entry(source, source))
    past = past[-HISTORY_LIMIT:]
    if request.source.is_at(source):
        return past
    old, new = _prefix(source), _prefix(request.source)
    prefixed = (old + version if _is_plain(version) else version for version in past)
    return tuple(version.removeprefix(new) if _is_plain(version.removeprefix(new)) else version for version in prefixed)


def _entry(source: Source, current: Source) -> str:
    """A version as an entry of the history of a job whose object is that of `current`."""
    plain = source.is_at(current) and _is_plain(source.version)
    return source.version if plain else _prefix(source) + source.version


def _prefix(source: Source) -> str:
    return f"{stable_hash(source.bucket, source.key, length=16)}:"


def _is_plain(version: str) -> bool:
    return not _PREFIXED.match(version)


_PREFIXED = re.compile("[0-9a-f]{16}:")


def is_older(source: Source, other: Source) -> bool:
    """Whether S3's sequencers say that `source` was written before `other`. False for different objects."""
    if source.sequencer is None or other.sequencer is None or not source.is_at(other):
        return False
    # Sequencers are hexadecimal strings of varying length: pad the shorter on the right, then compare as text
    # (Amazon S3 user guide, "Event message structure").
    width = max(len(source.sequencer), len(other.sequencer))
    return source.sequencer.ljust(width, "0") < other.sequencer.ljust(width, "0")


def is_newer_work(source: Source, busy_with: Source, accepted_at: datetime) -> bool:
    """Whether `source` is certainly newer work than `busy_with`, another version, accepted at `accepted_at`.

    Two versions announced by S3 are certainly different. If the busy job came from a plain message, which names no
    version, an object written after `accepted_at` is new. Everything else is treated as one upload announced twice, by
    S3 and by a backend.
    """
    if source.written_at is None:
        return False
    if busy_with.written_at is not None:
        return True
    return source.written_at > accepted_at
