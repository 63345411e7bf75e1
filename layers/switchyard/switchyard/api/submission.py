"""Submits jobs: written down first, then queued, so that whoever is told of a job finds it.

A job's id is its idempotency record: it comes from the caller's `Idempotency-Key`, and DynamoDB lets one request write
it down (docs/adr/0011). What was written down and can't be queued is withdrawn.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.errors import Contended, KindNotConfigured, PermanentError, UrlRefused
from switchyard.messages.envelope import Envelope
from switchyard.messages.kinds import IMAGES, RECORDING
from switchyard.messages.redrive import redrive_body
from switchyard.messages.tasks import TaskWork
from switchyard.names import stable_hash
from switchyard.observability import logger
from switchyard.protocol.jobs import Status, WorkRequest
from switchyard.protocol.ports import RACES
from switchyard.tables.records import Known, Records

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(slots=True, eq=False)
class Submission:
    """Takes requests for work; `work` says what of it this deployment runs, and where."""

    records: Records
    work: TaskWork
    sqs: SQSClient
    queue_url: str

    def process(self, request: Request) -> Response:
        """`POST /process`: objects are to be found in images."""
        body = request.json("ProcessRequest")
        job_id = self._submit(request, IMAGES.name, body)
        return Response(202, accepted(job_id) | {"imageCount": len(body["imageUrls"])})

    def record(self, request: Request) -> Response:
        """`POST /jobs`: a stream is to be recorded."""
        job_id = self._submit(request, RECORDING.name, request.json("JobRequest"))
        # Relative to /jobs, since nothing here knows under which host and stage the API is reached.
        return Response(201, accepted(job_id), {"Location": f"jobs/{job_id}"})

    def _submit(self, request: Request, kind: str, body: Mapping[str, Any]) -> str:
        key = idempotency_key(request)
        caller = request.user_id or ""
        asked = _owned(body, request.user_id)
        own_id = asked.get("jobId")
        job_id = own_id or (stable_hash(caller, request.route, key) if key else str(uuid.uuid4()))
        fingerprint = stable_hash(json.dumps(asked, sort_keys=True), caller, key, length=64)
        work = self._read(
            # The version says which work it is: whatever gets lost or repeated, equal requests are one piece of it.
            {**asked, "kind": kind, "jobId": job_id, "version": stable_hash(job_id, fingerprint), "announced": True}
        )
        known = accept(self.records, work, fingerprint, partial(self._send, work), repeatable=bool(key))
        if known and not (key and known.fingerprint == fingerprint):
            if own_id:
                raise Problem(409, "JOB_EXISTS", "There is a job of this id already.")
            raise Problem(409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key came with another request before.")
        logger.info("accepted", job_id=job_id, kind=kind)
        return job_id

    def _read(self, message: Mapping[str, Any]) -> WorkRequest:
        """The work that the message, once it is queued, will ask for."""
        try:
            return self.work.read(message, Envelope(str(uuid.uuid4()), clock.now()))
        except PermanentError as error:
            raise _refusal(error) from None

    def _send(self, work: WorkRequest) -> None:
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=redrive_body(work))


def accept(
    records: Records, work: WorkRequest, fingerprint: str, send: Callable[[], None], *, repeatable: bool
) -> Known | None:
    """Writes a job down and sends its message; gives the job that has its id already, if that is to be left alone.

    With `repeatable` it isn't, as long as it is PENDING and was asked for by an equal request.
    """
    for _ in range(RACES):
        try:
            known = records.announce(work, fingerprint=fingerprint)
            if known is None:
                send()
                return None
        except (ClientError, BotoCoreError):
            # Either call may have taken effect all the same: the job is gone, or it is being seen to already.
            if records.withdraw(work):
                raise
            return None
        if not (repeatable and known.is_pending and known.fingerprint == fingerprint):
            return known
        # Whoever wrote it down may have died before it was queued. If not, the second message is a duplicate.
        if records.announce_again(work):
            send()
            return None
    raise Contended(f"job {work.job_id} was announced and withdrawn {RACES} times")


def accepted(job_id: str) -> dict[str, Any]:
    """What is answered of a job that was written down and queued."""
    return {"success": True, "jobId": job_id, "status": Status.PENDING, "message": "The job is accepted."}


def idempotency_key(request: Request) -> str:
    """The request's `Idempotency-Key`; empty where it has none."""
    key = request.headers.get("idempotency-key")
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        raise invalid("Idempotency-Key must be 1 to 255 visible ASCII characters")
    return key


def _owned(body: Mapping[str, Any], user_id: str | None) -> dict[str, Any]:
    """The body with its owner: a user's jobs are their own."""
    if user_id is None:
        return dict(body)
    if body.get("userId", user_id) != user_id:
        raise Problem(403, "FORBIDDEN", "A job can't be submitted for another user.")
    return {**body, "userId": user_id}


def _refusal(error: PermanentError) -> Problem:
    match error:
        case KindNotConfigured():
            logger.warning("refused", error_type=error.code, reason=str(error))
            return Problem(501, "NOT_CONFIGURED", "This deployment does not run jobs of this kind.")
        case UrlRefused():
            return Problem(400, error.code, "A URL can't be used.", [str(error)])
    return invalid(str(error))
