"""Checks of message parsers: requests for videos, tasks, torrents and imports, state changes, letters to display."""

import json
import re
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, Final, Protocol, cast

from switchyard import clock
from switchyard.errors import InvalidMessage, PermanentError
from switchyard.function_jobs.work import parse
from switchyard.messages import changes
from switchyard.messages.envelope import Envelope, Rejected, decode
from switchyard.messages.kinds import TASKS as TASK_KINDS
from switchyard.messages.kinds import VIDEO
from switchyard.messages.redrive import redrive_body
from switchyard.messages.tasks import MAX_REQUEST_BYTES, TaskWork
from switchyard.messages.videos import VideoWork
from switchyard.protocol.jobs import JobError, Run, Source, Status, TargetSpec, WorkRequest
from switchyard.settings import SqsToBatchSettings
from switchyard.steam import messages as steam
from switchyard.steam.accounts import account
from switchyard.targets.runs import MAX_REASON
from switchyard.torrents.messages import Segment, TorrentWork, Wanted
from switchyard.urls import s3_location
from switchyard_client.letters import About, Letter, Queue, about, plain
from tests.corpus.urls import RESOLVES
from tests.fakes.resolver import resolving
from tests.fuzz.addresses import demand_public
from tests.fuzz.harness import text
from tests.requests import SENT_AT

BUCKET: Final = "media"
FIRST: Final = Envelope("6b1d8c0e-0000-4000-8000-000000000001", SENT_AT)
AGAIN: Final = Envelope("6b1d8c0e-0000-4000-8000-000000000002", SENT_AT)
"""The message id of a redrive."""

VIDEOS: Final = VideoWork(
    VIDEO.lane,
    TargetSpec(VIDEO.target, "queue", "definition"),
    cast("re.Pattern[str]", SqsToBatchSettings.variables()["VIDEO_ID_PATTERN"].default),
    frozenset({BUCKET}),
)
TASKS: Final = TaskWork(
    BUCKET,
    "cluster",
    dict.fromkeys(TASK_KINDS, "definition"),
)
TORRENTS: Final = TorrentWork(BUCKET, "recordings/", "torrents/", "torrent-scratch/")

_JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_QUEUES: Final[tuple[Queue, ...]] = ("video", "ecs-jobs", "torrents", "steam", "track")


class _Parsed(Protocol):
    @property
    def rejected(self) -> list[Rejected]: ...


def video(data: bytes) -> None:
    """`VideoWork.parse`: never raises; accepted requests are valid, storable and redrivable; refusals are separate."""
    parsed = VIDEOS.parse(text(data), FIRST)
    for request in parsed.requests:
        source = request.source
        assert source.bucket == BUCKET
        assert 1 <= len(source.key.encode()) <= 1024
        assert "\0" not in source.key
        assert not source.key.endswith("/")
        _demand_kept(request, VIDEOS.parse(redrive_body(request), AGAIN).requests)
    _demand_refused_again(parsed.rejected, lambda body: VIDEOS.parse(body, FIRST))


def task(data: bytes) -> None:
    """`TaskWork.parse`: as for videos, and URLs to fetch are public or of our own bucket."""
    with resolving(RESOLVES):
        parsed = TASKS.parse(text(data), FIRST)
        assert len(parsed.requests) + len(parsed.rejected) == 1
        for request in parsed.requests:
            assert len(request.to_json().encode()) <= MAX_REQUEST_BYTES
            _demand_fit_input(request.input or {})
            _demand_kept(request, TASKS.parse(redrive_body(request), AGAIN).requests)
        _demand_refused_again(parsed.rejected, lambda body: TASKS.parse(body, FIRST))


def _demand_fit_input(given: Any) -> None:  # noqa: ANN401 - JSON
    match given:
        case {"url": url}:
            demand_public(url)
        case {"imageUrls": urls}:
            assert urls
            assert all(s3_location(url, BUCKET) for url in urls)
        case {"torrentKey": key}:
            assert key.endswith(".torrent")
            assert {"", ".", ".."}.isdisjoint(key.split("/"))
        case _:
            raise AssertionError("a request without work")


def torrent(data: bytes) -> None:
    """`TorrentWork.parse`: never raises; accepted objects are in our bucket, get a torrent, and can be sent again."""
    parsed = parse(TORRENTS.read, text(data), FIRST)
    for work in parsed.work:
        bucket, key = (work.thing.bucket, work.thing.key) if isinstance(work, Segment) else (work.bucket, work.key)
        assert bucket == BUCKET
        assert TORRENTS.why_ignored(key) is None
        if isinstance(work, Segment):
            assert 0 <= work.extent.first < work.extent.end <= work.layout.pieces
        assert parse(TORRENTS.read, work.body, AGAIN).work == [_as_sent(work)]
    _demand_refused_again(parsed.rejected, lambda body: parse(TORRENTS.read, body, FIRST))


def _as_sent(work: Wanted | Segment) -> Wanted | Segment:
    """Returns the work with times as they are serialized."""
    if isinstance(work, Wanted):
        return work
    return replace(work, thing=replace(work.thing, modified=clock.parse(clock.iso(work.thing.modified))))


def library_import(data: bytes) -> None:
    """`steam.messages.parse`: one import or one refusal; an import's account and message are read again as the same."""
    parsed = parse(steam.read, text(data), FIRST)
    assert len(parsed.work) + len(parsed.rejected) == 1
    for wanted in parsed.work:
        assert account(str(wanted.account)) == wanted.account
        assert parse(steam.read, wanted.body, AGAIN).work == [wanted]
        request = wanted.request(message_id=FIRST.message_id, sent_at=FIRST.sent_at)
        assert _JOB_ID.fullmatch(request.job_id)
        assert WorkRequest.from_json(request.to_json()) == request
    _demand_refused_again(parsed.rejected, lambda body: parse(steam.read, body, FIRST))


def state_change(data: bytes) -> None:
    """`changes.read`: a run, None for a foreign run, or InvalidMessage."""
    try:
        run = changes.read(text(data))
    except InvalidMessage:
        return
    if run is None:
        return
    assert isinstance(run, Run)
    assert isinstance(run.job_id, str)
    assert isinstance(run.target_id, str)
    assert run.fence >= 0
    assert run.attempts >= 0
    assert run.status in Status
    assert (run.error is not None) == (run.status is Status.FAILED)
    if run.error is not None:
        assert isinstance(run.error, JobError)
        assert isinstance(run.error.message, str)
        assert len(run.error.message) <= MAX_REASON + 100
    assert run.queued_since is None or run.queued_since.tzinfo is not None


def letter(data: bytes) -> None:
    """`letters.about`: every dead letter is described, without any part of a URL that may be a password."""
    body = text(data)
    dead = Letter("m1", "receipt", body, SENT_AT, {"ErrorType": body[:50], "ErrorMessage": body})
    for queue in _QUEUES:
        shown = about(queue, dead)
        assert isinstance(shown, About)
        for words in (shown.kind, shown.job, shown.subject, dead.error_message):
            assert len(plain(words, 60)) <= 60
            assert plain(words, 60).isprintable()
        if queue == "ecs-jobs":
            _demand_no_password(body, shown)


def _demand_no_password(body: str, shown: About) -> None:
    try:
        message = decode(body)
    except InvalidMessage:
        return
    url = message.get("url")
    if not isinstance(url, str) or "requestPayload" in message or not shown.subject:
        return
    # An invalid URL could have its password anywhere. Parsers drop control characters before they read.
    read = re.sub(r"[\t\r\n]", "", url).lstrip("".join(map(chr, range(33))))
    found = re.fullmatch(r"(?is)(?:[a-z][a-z0-9+.-]*:)?//(?:[^/?#]*@)?([^/?#@]*)([^?#]*).*", read)
    assert found is not None
    assert shown.subject.partition("/")[0] in found[1].lower()


def _demand_kept(request: WorkRequest, again: list[WorkRequest]) -> None:
    """Asserts that a request has a valid id, survives the table unchanged, and is the same work after a redrive."""
    assert _JOB_ID.fullmatch(request.job_id)
    assert request.source.version
    assert WorkRequest.from_json(request.to_json()) == request
    json.dumps(json.loads(request.to_json()), allow_nan=False)  # otherwise only Python can read it
    (redriven,) = again
    assert _work(redriven) == _work(request)


def _work(request: WorkRequest) -> WorkRequest:
    """Returns the request without fields that depend on its message; times as they are serialized."""
    written = request.source.written_at
    source: Source = replace(
        request.source, message_id="", written_at=clock.parse(clock.iso(written)) if written else None
    )
    return replace(request, source=source)


def _demand_refused_again(rejected: Iterable[Rejected], parse: Callable[[str], _Parsed]) -> None:
    """Asserts that a refused part is also refused as its own message, for the same reason."""
    for each in rejected:
        assert isinstance(each.error, PermanentError)
        assert [alone.error.code for alone in parse(each.body).rejected] == [each.error.code]
