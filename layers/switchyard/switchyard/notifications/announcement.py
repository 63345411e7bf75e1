"""What others are told of a job's change of status, read from a record of JobsTable's stream. Pure.

docs/events.md has the schema. It is thin: whoever needs more asks `GET /jobs/{jobId}`, which is the truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from switchyard import clock
from switchyard.names import stable_hash
from switchyard.protocol.jobs import TERMINAL, JobError, Status
from switchyard.tables import items

VERSION = "1"
"""Of the schema. New fields may come without a new version; one that goes or changes its meaning brings one."""
TOLD = frozenset({Status.RUNNING} | TERMINAL)
"""The statuses that are announced when a job enters them. template.yaml filters the stream by them."""

_MAX_FIELDS = 20
_MAX_TEXT = 512
_MAX_CODE, _MAX_MESSAGE = 256, 1024


@dataclass(frozen=True, slots=True)
class Announcement:
    """A job's change of status.

    Attributes:
        owner: The id of the user whose job it is. None for a job without an owner.
        result: The short fields of the job's result.
        task_token: Step Functions' token of the task that waits for the job. It is told to nobody else.
    """

    job_id: str
    kind: str
    owner: str | None
    status: Status
    fence: int
    at: datetime
    error: JobError | None = None
    result: Mapping[str, str | int] = field(default_factory=dict)
    task_token: str | None = field(default=None, repr=False)

    @property
    def id(self) -> str:
        """The same for every copy of this announcement, and no other's: receivers drop repeats by it."""
        return f"evt_{stable_hash(self.job_id, str(self.fence), self.status)}"

    @property
    def type(self) -> str:
        """Such as `job.completed`: its name for webhooks."""
        return f"job.{self.status.lower()}"

    def detail(self) -> dict[str, Any]:
        """The announcement as JSON values, without absent fields."""
        found = {
            "version": VERSION,
            "id": self.id,
            "jobId": self.job_id,
            "kind": self.kind,
            "owner": self.owner,
            "status": str(self.status),
            "fence": self.fence,
            "at": clock.iso(self.at),
            "error": _cut(self.error) if self.error else None,
            "result": dict(self.result) or None,
        }
        return {name: value for name, value in found.items() if value is not None}


def _cut(error: JobError) -> dict[str, str]:
    return {"code": error.code[:_MAX_CODE], "message": error.message[:_MAX_MESSAGE]}


def announcement(record: Mapping[str, Any]) -> Announcement | None:
    """Reads a record of the stream. None if the job didn't enter a status that is announced.

    An end is announced again if the ended job got a task token since: another task waits for it.

    Raises:
        ForeignRow: the row is not one that Switchyard writes.
    """
    about = record["dynamodb"]
    new, old = about.get("NewImage"), about.get("OldImage", {})
    if new is None:
        return None  # deleted: its end was announced before
    with items.ours(new):
        status, before = items.STATUS.of(new), items.STATUS.of(old)
        token = items.TASK_TOKEN.of(new)
        if status not in TOLD:
            return None
        has_entered = status != before and not {status, before} <= TERMINAL  # only new work moves a job out of its end
        has_new_token = status in TERMINAL and token not in (None, items.TASK_TOKEN.of(old))
        if not has_entered and not has_new_token:
            return None
        return Announcement(
            job_id=items.JOB_ID.required(new),
            kind=items.KIND.of(new) or "",
            owner=items.USER_ID.of(new),
            status=Status(status),
            fence=items.FENCE.of(new) or 0,
            at=items.UPDATED_AT.of(new) or datetime.fromtimestamp(float(about["ApproximateCreationDateTime"]), UTC),
            error=items.ERROR.of(new),
            result=_short(items.RESULT.of(new) or {}),
            task_token=token,
        )


def _short(result: Mapping[str, str | int]) -> dict[str, str | int]:
    short = {
        name: value
        for name, value in result.items()
        if len(name) <= _MAX_TEXT and (isinstance(value, int) or len(value) <= _MAX_TEXT)
    }
    return dict(list(short.items())[:_MAX_FIELDS])
