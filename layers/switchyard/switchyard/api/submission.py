"""Submits jobs: each is stored before it is queued, so that a job id in an answer can be looked up at once.

The job's item is also its idempotency record: the id derives from the caller's `Idempotency-Key`, and a conditional
write lets one request create the item (docs/adr/0011). If queueing fails, the item is deleted again.
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
from switchyard.keys import owner_of
from switchyard.messages.envelope import Envelope
from switchyard.messages.kinds import IMAGES, RECORDING
from switchyard.messages.redrive import redrive_body
from switchyard.messages.tasks import TaskWork
from switchyard.names import owned_name, stable_hash
from switchyard.observability import logger
from switchyard.protocol.jobs import Status, WorkRequest
from switchyard.protocol.ports import RACES
from switchyard.tables.records import Known, Records
from switchyard.urls import UrlNotAllowed, s3_location

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient


_KEY = re.compile(r"[!-~]{1,255}")


@dataclass(slots=True, eq=False)
class Submission:
    """Accepts requests for jobs. `work` knows which kinds this deployment runs, and where."""

    records: Records
    work: TaskWork
    sqs: SQSClient
    queue_url: str

    def process(self, request: Request) -> Response:
        """`POST /process`: detect objects in images. A user's images must be that user's own uploads."""
        body = request.json("ProcessRequest")
        if request.user_id is not None:
            self._demand_own(request.user_id, body["imageUrls"])
        job_id = self._submit(request, IMAGES.name, body)
        return Response(202, accepted(job_id) | {"imageCount": len(body["imageUrls"])})

    def record(self, request: Request) -> Response:
        """`POST /jobs`: record a stream."""
        job_id = self._submit(request, RECORDING.name, request.json("JobRequest"))
        # Relative to /jobs: the API's public host and stage are unknown here.
        return Response(201, accepted(job_id), {"Location": f"jobs/{job_id}"})

    def _demand_own(self, user_id: str, urls: list[str]) -> None:
        """Refuses objects that aren't this user's uploads, whether they exist or not.

        Raises:
            Problem: 403. URLs that aren't in the bucket are left to `_read`.
        """
        for position, url in enumerate(urls):
            try:
                key = s3_location(url, self.work.bucket)
            except UrlNotAllowed:
                continue
            if owner_of(self.work.upload_prefix, key) != user_id:
                detail = f"imageUrls[{position}]: not an upload of this user"
                raise Problem(403, "FORBIDDEN", "A user's images must be the user's own uploads.", [detail])

    def _submit(self, request: Request, kind: str, body: Mapping[str, Any]) -> str:
        key = idempotency_key(request)
        user_id, caller = request.user_id, request.caller
        asked = _owned(body, user_id)
        own_id = asked.get("jobId")
        if own_id:
            job_id = owned_name(user_id, own_id) if user_id is not None else own_id
        else:
            job_id = stable_hash(caller, request.route, key) if key else str(uuid.uuid4())
        fingerprint = stable_hash(json.dumps(asked, sort_keys=True), caller, key, length=64)
        work = self._read(
            # The version identifies the work: equal requests are one job, whatever is lost or repeated.
            {**asked, "kind": kind, "jobId": job_id, "version": stable_hash(job_id, fingerprint), "announced": True}
        )
        known = accept(self.records, work, fingerprint, partial(self._send, work), repeatable=bool(key), by=caller)
        if known and not (key and known.fingerprint == fingerprint):
            if own_id:
                raise Problem(409, "JOB_EXISTS", "A job with this id exists already.")
            raise Problem(409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for a different request.")
        logger.info("accepted", job_id=job_id, kind=kind, by=caller)
        return job_id

    def _read(self, message: Mapping[str, Any]) -> WorkRequest:
        """The work that this message asks for once it is queued.

        Raises:
            Problem: 400 or 501.
        """
        try:
            return self.work.read(message, Envelope(str(uuid.uuid4()), clock.now()))
        except PermanentError as error:
            raise _refusal(error) from None

    def _send(self, work: WorkRequest) -> None:
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=redrive_body(work))


def accept(
    records: Records,
    work: WorkRequest,
    fingerprint: str,
    send: Callable[[], object],
    *,
    repeatable: bool,
    by: str = "",
    rerun_of: str = "",
) -> Known | None:
    """Stores a job and sends its message. Returns the existing job instead if its id is taken.

    `by` is who asked for it, `rerun_of` the job whose work it repeats. With `repeatable`, an equal request for a job
    that is still PENDING sends its message again, and returns None.

    Raises:
        Contended: the job was created and deleted by others in every attempt.
        ClientError, BotoCoreError: the job could not be queued, and its item was deleted.
    """
    for _ in range(RACES):
        try:
            known = records.announce(work, fingerprint=fingerprint, by=by, rerun_of=rerun_of)
            if known is None:
                send()
                return None
        except (ClientError, BotoCoreError):
            # Either call may have taken effect despite its error. A job that can't be withdrawn is already under way.
            if records.withdraw(work):
                raise
            return None
        if not (repeatable and known.is_pending and known.fingerprint == fingerprint):
            return known
        # The first request may have died before queueing the job. If not, the second message is a harmless duplicate.
        if records.announce_again(work):
            send()
            return None
    raise Contended(f"job {work.job_id} was announced and withdrawn {RACES} times")


def accepted(job_id: str) -> dict[str, Any]:
    """The body that answers for a job that was stored and queued."""
    return {"success": True, "jobId": job_id, "status": Status.PENDING, "message": "The job is accepted."}


def idempotency_key(request: Request) -> str:
    """The request's `Idempotency-Key`, empty if it has none.

    Raises:
        Problem: 400 if it is not valid.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return ""
    if not _KEY.fullmatch(key):
        raise invalid("Idempotency-Key must be 1 to 255 visible ASCII characters")
    return key


def _owned(body: Mapping[str, Any], user_id: str | None) -> dict[str, Any]:
    """The body with its owner: jobs that a user submits belong to that user."""
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
