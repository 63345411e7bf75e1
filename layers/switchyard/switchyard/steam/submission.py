"""`POST /imports/steam`: accepts requests to import Steam libraries, one or up to a thousand at once.

An import's job id derives from the user and the account. While an import waits or runs, all requests for it are that
job; after its end, a request begins it again, unless it repeats an `Idempotency-Key`.

Every job is recorded before its message is sent. If this dies in between, the same request sends the message, and so
does the reconciler an hour later.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import batched
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock, observability
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.api.submission import accepted, idempotency_key
from switchyard.errors import Contended, InvalidMessage, InvalidSteamId, Unavailable
from switchyard.function_jobs.outbox import MAX_BATCH, post
from switchyard.messages.kinds import STEAM_IMPORT
from switchyard.names import stable_hash
from switchyard.observability import logger
from switchyard.protocol.jobs import TERMINAL, WorkRequest
from switchyard.protocol.ports import RACES
from switchyard.steam import messages
from switchyard.steam.messages import Wanted
from switchyard.tables.records import Known, Records

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_sqs import SQSClient

_AT_ONCE = 16
"""Calls at once, which are the clients' connections."""


@dataclass(slots=True, eq=False)
class _Asked:
    """An import that a request asks for, and what becomes of it.

    Attributes:
        is_new: This request created the job's record.
        is_sent: The job needs a message, and SQS has not refused it so far.
        answer: What to answer; without one, that the job is accepted.
    """

    wanted: Wanted
    request: WorkRequest
    is_new: bool = False
    is_sent: bool = False
    answer: dict[str, Any] | Exception | None = None


@dataclass(slots=True, eq=False)
class ImportSubmission:
    """Accepts requests for imports. Without a `queue_url` it refuses them."""

    records: Records
    sqs: SQSClient
    queue_url: str
    _pool: ThreadPoolExecutor = field(default_factory=partial(ThreadPoolExecutor, _AT_ONCE), repr=False)

    def ask(self, request: Request) -> Response:
        """`POST /imports/steam`: import the library of an account, or of each account of a list."""
        body = request.json("ImportRequest")
        if not self.queue_url:
            raise Problem(501, "NOT_CONFIGURED", "This deployment imports no Steam libraries.")
        key = idempotency_key(request)
        fingerprint = stable_hash(request.caller, request.route, key or str(uuid.uuid4()), length=64)
        listed = body.get("imports")
        read = [self._read(request, each) for each in ([body] if listed is None else listed)]
        # An account that is listed twice is asked for once.
        asked = {each.wanted.job_id: each for each in read if isinstance(each, _Asked)}
        self._accept(list(asked.values()), fingerprint, request.caller)
        answers = [_told(asked[each.wanted.job_id] if isinstance(each, _Asked) else each) for each in read]
        if listed is None:
            [answer] = answers
            if isinstance(answer, Exception):
                raise answer
            return Response(202, answer)
        return Response(207, {"imports": [_as_entry(each) for each in answers]})

    def _read(self, request: Request, body: Mapping[str, Any]) -> _Asked | Problem:
        user_id = body.get("userId", request.user_id)
        if user_id is None:
            return invalid("userId is required: an API key or a role belongs to no user")
        if request.user_id not in (None, user_id):
            return Problem(403, "FORBIDDEN", "Nothing can be imported for another user.")
        try:
            wanted = messages.wanted({**body, "userId": user_id})
        except InvalidSteamId as error:
            return Problem(400, error.code, "The request is invalid.", [str(error)])
        except InvalidMessage as error:
            return invalid(str(error))
        return _Asked(wanted, wanted.request(message_id=str(uuid.uuid4()), sent_at=clock.now()))

    # ---- accepting ---------------------------------------------------------------------------------------------------

    def _accept(self, asked: list[_Asked], fingerprint: str, by: str) -> None:
        """Records every job, then sends the messages, then withdraws new records whose message could not be sent."""
        self._each(partial(self._announce, fingerprint=fingerprint, by=by), asked)
        due = [each for each in asked if each.is_sent]
        self._each(self._send, list(batched(due, MAX_BATCH, strict=False)))
        self._each(self._withdraw, [each for each in due if each.is_new and not each.is_sent])
        logger.info("accepted", kind=STEAM_IMPORT.name, by=by, asked=len(asked), sent=len(due))

    def _each[T](self, do: Callable[[T], None], things: list[T]) -> None:
        if len(things) == 1:
            do(things[0])
        else:
            list(self._pool.map(observability.carrying_trace(do), things))

    def _announce(self, asked: _Asked, *, fingerprint: str, by: str) -> None:
        """Records that the import is asked for, and decides whether it needs a message."""
        try:
            for _ in range(RACES):
                known = self.records.announce(asked.request, fingerprint=fingerprint, by=by)
                if known is None or self._announce_known(asked, known, fingerprint, by):
                    asked.is_new = known is None
                    asked.is_sent = asked.answer is None
                    return
            asked.answer = Contended(f"job {asked.request.job_id} changed {RACES} times")
        except (ClientError, BotoCoreError) as error:
            asked.answer = error

    def _announce_known(self, asked: _Asked, known: Known, fingerprint: str, by: str) -> bool:
        """The same for a job that exists. False if it has changed: look again."""
        request = asked.request
        if (known.kind, known.user_id) != (request.kind, request.user_id):
            asked.answer = Problem(409, "JOB_ID_TAKEN", "The import's job id belongs to other work.")
        elif known.is_pending:
            # Its message may never have been sent. If it was, the second one is a harmless duplicate.
            return self.records.announce_again(request)
        elif known.status not in TERMINAL:
            asked.answer = {"status": known.status, "message": "This import is under way."}
        elif known.fingerprint == fingerprint:
            asked.answer = {"status": known.status, "message": "This request was accepted before."}
        else:
            return self.records.announce_ended(request, fingerprint=fingerprint, by=by)
        return True

    def _send(self, asked: tuple[_Asked, ...]) -> None:
        try:
            refused = post(self.sqs, self.queue_url, [each.wanted.body for each in asked])
        except (ClientError, BotoCoreError) as error:
            refused = dict.fromkeys(range(len(asked)), type(error).__name__)
        for place, why in refused.items():
            asked[place].is_sent, asked[place].answer = False, Unavailable(f"SQS: {why}")

    def _withdraw(self, asked: _Asked) -> None:
        try:
            if not self.records.withdraw(asked.request):
                asked.answer = None  # the message arrived despite the error
        except (ClientError, BotoCoreError) as error:
            asked.answer = error


def _told(found: _Asked | Problem) -> dict[str, Any] | Exception:
    if isinstance(found, Problem):
        return found
    if isinstance(found.answer, Exception):
        return found.answer
    return accepted(found.wanted.job_id) | (found.answer or {})


def _as_entry(answer: dict[str, Any] | Exception) -> dict[str, Any]:
    """An answer as one of a list."""
    match answer:
        case dict():
            return answer
        case Problem():
            error, message, details = answer.error, answer.message, list(answer.details)
        case _:
            logger.warning("unavailable", error_type=getattr(answer, "code", type(answer).__name__))
            error, message, details = "UNAVAILABLE", "This import could not be queued. Please try again.", []
    return {"success": False, "error": error, "message": message, "details": details}
