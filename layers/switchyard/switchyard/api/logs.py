"""Answers `GET /jobs/{jobId}/logs`: what the worker of a job's last run wrote, from CloudWatch Logs.

Settings fix the log groups. A job's row names only a stream in them, which the tracker learns from the run's events.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from switchyard import clock
from switchyard.api.access import find_job
from switchyard.api.http import Request, Response, invalid
from switchyard.names import stable_hash
from switchyard.protocol.jobs import TERMINAL
from switchyard.tables.items import LOG_STREAM, STATUS, TARGET, USER_ID, PlainItem

if TYPE_CHECKING:
    from switchyard.tables.records import Records

MAX_LINES = 1000
MAX_LINE = 8192
"""Characters of a line that are shown. CloudWatch itself ends a page at 1 MiB."""

_PAGE = 100
_LIMIT = re.compile(r"[1-9][0-9]{0,2}|1000")
_STREAM = re.compile(r"[^:*]{1,512}")
"""What CloudWatch allows as a stream's name (API reference, CreateLogStream)."""
_CURSOR = re.compile(r"[A-Za-z0-9_-]{1,512}")
_TOKEN = re.compile(r"f/[!-~]{1,256}")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class LogGroup:
    """Where the workers of a target write, and what the names of their streams begin with."""

    name: str
    prefix: str = ""


@dataclass(slots=True, eq=False)
class Logs:
    """The handler. `client` makes boto3's client of CloudWatch Logs; `groups` are by target type."""

    records: Records
    client: Callable[[], Any]
    groups: Mapping[str, LogGroup]

    def lines(self, request: Request) -> Response:
        """`GET /jobs/{jobId}/logs`."""
        limit = request.query.get("limit", str(_PAGE))
        if not _LIMIT.fullmatch(limit):
            raise invalid(f"limit must be 1 to {MAX_LINES}")
        record = find_job(request, self.records.read_log, lambda found: _text(found.get(USER_ID.name)))
        place = self._place(record)
        token = _token(request.query.get("cursor"), place)  # checked even where there is no log
        answer = self._page(place, int(limit), token) if place else None
        if answer is None:
            return _page([], None)
        following = answer.get("nextForwardToken")
        # CloudWatch's page is the last one if it returns the same token. Until the job has ended, more may be written.
        is_over = following in (None, token) and record.get(STATUS.name) in TERMINAL
        return _page(answer.get("events", ()), None if is_over or not following else _cursor(following, place))

    def _place(self, record: PlainItem) -> tuple[str, str] | None:
        """The log's group and stream. None if no run has written one, or this deployment doesn't know the group."""
        target, stream = record.get(TARGET.name), _text(record.get(LOG_STREAM.name))
        group = self.groups.get(str(target.get("type"))) if isinstance(target, dict) else None
        if group is None or not group.name or stream is None or not _STREAM.fullmatch(stream):
            return None
        return group.name, group.prefix + stream

    def _page(self, place: tuple[str, str], limit: int, token: str | None) -> Mapping[str, Any] | None:
        """A page of CloudWatch's. None if the stream doesn't exist, or no longer.

        Raises:
            ClientError, BotoCoreError: it can't be read now.
            Problem: 400 if the token is not valid any more.
        """
        group, stream = place
        client = self.client()
        wanted = {"logGroupName": group, "logStreamName": stream, "startFromHead": True, "limit": limit}
        try:
            found: Mapping[str, Any] = client.get_log_events(**wanted, **({"nextToken": token} if token else {}))
        except client.exceptions.ResourceNotFoundException:
            return None
        except client.exceptions.InvalidParameterException:
            if token is None:
                raise
            raise _bad_cursor() from None
        return found


def _page(events: Any, cursor: str | None) -> Response:  # noqa: ANN401 - as boto3 gives them
    return Response(200, {"lines": [_line(each) for each in events], "cursor": cursor})


def _line(event: Mapping[str, Any]) -> dict[str, str]:
    # A worker's words may hold a stranger's: no control characters, which could drive the terminal that shows them.
    message = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", event["message"].rstrip("\r\n")[:MAX_LINE])
    return {"time": clock.iso(clock.from_epoch_ms(event["timestamp"])), "message": message}


def _cursor(token: str, place: tuple[str, str] | None) -> str:
    """Encodes a token of CloudWatch, and which log it belongs to."""
    return base64.urlsafe_b64encode(f"{_digest(place)}:{token}".encode()).rstrip(b"=").decode()


def _token(cursor: str | None, place: tuple[str, str] | None) -> str | None:
    """CloudWatch's token in a cursor. None without one, or if it belongs to the log of an earlier run.

    Raises:
        Problem: 400 if it is no cursor of ours.
    """
    if cursor is None:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except ValueError:
        text = ""
    digest, _, token = text.partition(":")
    if not _CURSOR.fullmatch(cursor) or not _TOKEN.fullmatch(token):
        raise _bad_cursor()
    return token if digest == _digest(place) else None


def _digest(place: tuple[str, str] | None) -> str:
    return stable_hash(*(place or ()), length=16)


def _bad_cursor() -> Exception:
    return invalid("cursor must come from an earlier page of this job's log, of the last 24 hours")


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None
