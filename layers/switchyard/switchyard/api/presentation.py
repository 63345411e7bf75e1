"""Answers `GET /jobs/{jobId}`, `GET /jobs` and `GET /openapi.json`.

Other programs may write to the table too: attributes of unexpected shape are left out.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeGuard

from switchyard import clock
from switchyard.api import http
from switchyard.api.access import find_job
from switchyard.api.http import Problem, Request, Response, invalid, moment
from switchyard.api.results import Results, parsed
from switchyard.messages.envelope import is_identifier
from switchyard.messages.kinds import LANES
from switchyard.names import stable_hash
from switchyard.protocol.jobs import PRIORITIES, TERMINAL, Status, lane_of
from switchyard.tables.items import (
    CANCEL_REQUESTED_AT,
    CANCELLED_BY,
    CREATED_AT,
    ENDED_AT,
    ERROR,
    JOB_ID,
    KIND,
    LANE,
    METADATA,
    PAST_ATTEMPTS,
    PRIORITY,
    PROGRESS,
    RERUN_OF,
    START_AFTER,
    STARTED_AT,
    STATUS,
    SUBMITTED_BY,
    UPDATED_AT,
    USER_ID,
    Attribute,
    PlainItem,
)
from switchyard.tables.records import BadToken, Filters, Records

_BLOCKED: Mapping[str, str] = {
    "NO_CAPACITY": "There is no room for another run at the moment. The job starts when there is.",
    "OPERATOR": "An operator has paused jobs of this kind. The job starts when they are resumed.",
    "START_THROTTLED": "The service that runs jobs takes no more requests at the moment. The job starts when it does.",
}
"""Why the lane of a waiting job is paused, by the error's code."""

_PAGE = 25
_KIND = re.compile(r"(?s:.{1,128})")
_LIMIT = re.compile(r"[1-9][0-9]?|100")


@dataclass(slots=True, eq=False)
class Presentation:
    """The handlers of the routes that read jobs."""

    records: Records
    results: Results

    def job(self, request: Request) -> Response:
        """`GET /jobs/{jobId}`."""
        record = find_job(request, self.records.read, lambda found: _text(found, USER_ID))
        self._say_what_blocks([record])
        files, sources = self.results.files(record), self.results.sources(record)
        tag = self._tag(record, has_links=bool(files or sources))
        if request.has(tag):
            return Response(304, None, {"ETag": tag})
        return Response(200, self._view(request, record, files, sources), {"ETag": tag})

    def jobs(self, request: Request) -> Response:
        """`GET /jobs`. Listed jobs are items of the table's index, whose attribute names are the API's as well."""
        limit = _query(request, "limit", _LIMIT, "1 to 100") or _PAGE
        try:
            page = self.records.page(_filters(request), int(limit), request.query.get("nextToken"))
        except BadToken:
            raise invalid("nextToken must come from the previous page of a request with the same parameters") from None
        self._say_what_blocks(page.jobs)
        for job in page.jobs:
            job.pop("ahead", None)  # one job's page shows it
        return Response(200, {"jobs": page.jobs} | ({"nextToken": page.next_token} if page.next_token else {}))

    def _say_what_blocks(self, jobs: Iterable[PlainItem]) -> None:
        """Replaces the lane of each job that waits by how many are ahead of it, and why none of them starts."""
        named = [(job, job.pop(LANE.name, None)) for job in jobs]
        waiting = [(job, lane_of(lane)) for job, lane in named if _waits(job) and _is_ours(lane)]
        lanes = self.records.lanes({lane for _, lane in waiting})
        for job, lane in waiting:
            slots = lanes.get(lane)
            job["ahead"] = max(slots.waiting - 1, 0) if slots else 0
            if slots and slots.pause:
                reason = slots.pause.reason
                blocked = "capacity" if slots.pause.until else "operator"
                job |= {"blocked": blocked, "blockedReason": _BLOCKED.get(reason, _BLOCKED["NO_CAPACITY"])}

    def _tag(self, record: PlainItem, *, has_links: bool) -> str:
        """The ETag. It changes with the job, and before the links in a response expire."""
        state = json.dumps(record, sort_keys=True)
        # It changes twice in a link's lifetime, so links in a cached response stay valid for at least half of it.
        half_life = self.results.link_lifetime.total_seconds() / 2
        period = int(clock.now().timestamp() // half_life) if has_links else 0
        return f'W/"{stable_hash(state, str(period))}"'

    def _view(
        self, request: Request, record: PlainItem, files: Mapping[str, str], sources: Mapping[str, str]
    ) -> dict[str, Any]:
        status, progress = _text(record, STATUS), record.get(PROGRESS.name)
        view = {
            "jobId": record[JOB_ID.name],
            "kind": _text(record, KIND),
            "status": status,
            "progress": progress if isinstance(progress, dict) else None,
            "error": _error(record),
            "blocked": record.get("blocked"),
            "blockedReason": record.get("blockedReason"),
            "ahead": record.get("ahead"),
            "priority": _priority(record),
            "startAfter": _text(record, START_AFTER) if status not in TERMINAL else None,
            "pastAttempts": _past_attempts(record) or None,
            **self.results.shown(record, files, sources),
            "metadata": parsed(record.get(METADATA.name)),
            "userId": _text(record, USER_ID),
            "submittedBy": _shown_to(request, _text(record, SUBMITTED_BY)),
            "cancelledBy": _shown_to(request, _text(record, CANCELLED_BY)),
            "rerunOf": _text(record, RERUN_OF),
            "createdAt": _text(record, CREATED_AT),
            "updatedAt": _text(record, UPDATED_AT),
            "startedAt": _text(record, STARTED_AT),
            "endedAt": _text(record, ENDED_AT),
            "cancelRequested": (CANCEL_REQUESTED_AT.name in record and status not in TERMINAL) or None,
        }
        return {name: value for name, value in view.items() if value is not None}


def _priority(record: PlainItem) -> int | None:
    found = record.get(PRIORITY.name)
    return found if isinstance(found, int) and found in PRIORITIES else None


def document(request: Request) -> Response:
    """`GET /openapi.json`."""
    tag = _document_tag()
    return Response(304, None, {"ETag": tag}) if request.has(tag) else Response(200, http.document(), {"ETag": tag})


@cache
def _document_tag() -> str:
    return f'W/"{stable_hash(json.dumps(http.document()))}"'


# ---- a job ----------------------------------------------------------------------------------------------------------


def _text(record: PlainItem, attribute: Attribute[Any]) -> str | None:
    value = record.get(attribute.name)
    return value if isinstance(value, str) else None


def _past_attempts(record: PlainItem) -> list[dict[str, str]]:
    """The runs that failed, without their targets' ids."""
    found, shown = record.get(PAST_ATTEMPTS.name), []
    for each in found if isinstance(found, list) else ():
        match each:
            case {"code": str(code), "message": str(message), "endedAt": str(ended_at)}:
                shown.append({"code": code, "message": message, "endedAt": ended_at})
    return shown


def _is_ours(lane: object) -> TypeGuard[str]:
    """Other programs write rows too: a lane that is none of ours may not even be a key."""
    return isinstance(lane, str) and lane_of(lane) in LANES


def _waits(record: PlainItem) -> bool:
    return record.get(STATUS.name) == Status.WAITING


def _shown_to(request: Request, who: str | None) -> str | None:
    """Who did something, if the caller may know it: users learn only what they did themselves."""
    return who if request.user_id is None or who == request.caller else None


def _error(record: PlainItem) -> dict[str, str] | None:
    match record.get(ERROR.name):
        case {"code": str(code), "message": str(message)}:
            return {"code": code, "message": message}
    return None


# ---- a list ---------------------------------------------------------------------------------------------------------


def _filters(request: Request) -> Filters:
    """Which jobs to list. Users get only their own, with or without `userId`.

    Raises:
        Problem: 400 or 403.
    """
    statuses = sorted(set(request.values("status")))
    if any(each not in Status for each in statuses):
        raise invalid(f"status must be one or more of {', '.join(Status)}")
    user_id = request.query.get("userId")
    if user_id is not None and not is_identifier(user_id):
        raise invalid("userId must be 1 to 256 printable characters")
    if request.user_id is not None and user_id not in (None, request.user_id):
        raise Problem(403, "FORBIDDEN", "You can only list your own jobs.")
    return Filters(
        user_id=request.user_id or user_id,
        kind=_query(request, "kind", _KIND, "1 to 128 characters"),
        statuses=tuple(statuses),
        since=_time(request, "from"),
        until=_time(request, "to"),
    )


def _time(request: Request, name: str) -> str | None:
    """A time as items have it."""
    text = request.query.get(name)
    return None if text is None else clock.iso(moment(name, text))


def _query(request: Request, name: str, pattern: re.Pattern[str], allowed: str) -> str | None:
    value = request.query.get(name)
    if value is not None and not pattern.fullmatch(value):
        raise invalid(f"{name} must be {allowed}")
    return value
