"""Answers `POST /videos` and `POST /jobs/{jobId}/rerun`: work on what is there already, done once more by a new job.

Of a video, one job works at a time: its object is locked (docs/architecture.md). A request for a locked object is
refused here. Two requests of the same moment pass; then the second job fails as a `DUPLICATE`.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.api.access import find_job, foreign_row
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.api.submission import accept, accepted, idempotency_key
from switchyard.errors import ForeignRow, InvalidMessage
from switchyard.keys import owner_of
from switchyard.messages.envelope import metadata_of
from switchyard.messages.kinds import TASKS, VIDEO
from switchyard.messages.redrive import redrive_body
from switchyard.messages.s3 import location, version_id
from switchyard.names import stable_hash
from switchyard.observability import logger
from switchyard.protocol.jobs import TERMINAL, Job, Source, TargetSpec, WorkRequest

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

    from switchyard.protocol.ports import JobStore
    from switchyard.tables.records import Known, Records

_GONE = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})
"""S3's answers for what is not there: no version's id; a missing key, for a caller who may not list the bucket; a
missing version; a delete marker."""
_MOST_RERUNS = 25
"""Reruns of one job that are looked through for one that has not ended."""


@dataclass(slots=True, eq=False)
class Repeats:
    """The handlers.

    Attributes:
        queues: The URL of the queue whose function starts jobs, by the type of their target.
        target: Where videos are analyzed.
        bucket: The bucket with the uploads, under `prefix`.
        s3: Returns the client that looks for objects, made only when needed.
    """

    records: Records
    store: JobStore
    sqs: SQSClient
    queues: Mapping[str, str]
    target: TargetSpec
    bucket: str
    prefix: str
    s3: Callable[[], S3Client]

    def analyze(self, request: Request) -> Response:
        """`POST /videos`: analyze an object under the prefix for uploads. A user's must be the user's own upload."""
        body, key = request.json("VideoRequest"), idempotency_key(request)
        try:
            metadata = metadata_of(body)
            location(self.bucket, body["key"])
        except InvalidMessage as error:
            raise invalid(str(error)) from None
        source = self._object(request, body["key"], body.get("versionId"))
        job_id = stable_hash(request.caller, request.route, key) if key else str(uuid.uuid4())
        fingerprint = stable_hash(json.dumps(body, sort_keys=True), request.caller, key, length=64)
        asked = WorkRequest(
            job_id=job_id,
            kind=VIDEO.name,
            lane=VIDEO.lane,
            target=self.target,
            source=source,
            sent_at=clock.now(),
            user_id=owner_of(self.prefix, source.key),  # the function that starts the job finds the video's id, too
            input={"stages": body["stages"]} if "stages" in body else None,
            metadata=metadata,
            priority=body.get("priority", 0),
        )
        known = self._accept(request, _asked_now(asked, job_id, fingerprint), fingerprint, repeatable=bool(key))
        if known and known.fingerprint != fingerprint:
            raise _key_reused()
        return Response(202, accepted(job_id))

    def rerun(self, request: Request) -> Response:
        """`POST /jobs/{jobId}/rerun`: do the work of an ended job again, as a new job of the same owner.

        While a rerun without a key is active, another request without one is answered with it.

        Raises:
            Problem: 404 if there is no such job, it is not the caller's, or its object is gone; 409 if it has not
                ended, can't be rerun, its object was replaced, or another job works on that.
        """
        key = idempotency_key(request)
        job = find_job(request, self.store.get, lambda found: found.request.user_id)
        if job.status not in TERMINAL:
            raise Problem(409, "NOT_ENDED", "The job has not ended: wait for its end, or cancel it first.")
        job_id = stable_hash(request.caller, request.route, key) if key else self._next(job.id)
        fingerprint = stable_hash(job.id if key else job_id, request.caller if key else "", key, length=64)
        work = _asked_now(self._again(job), job_id, fingerprint)
        known = self._accept(request, work, fingerprint, repeatable=True, rerun_of=job.id)
        if known and known.fingerprint != fingerprint:
            raise _key_reused() if key else _taken()
        shown = {"rerunOf": job.id} | (
            {"status": known.status, "message": "The job was rerun before."} if known else {}
        )
        return Response(202, accepted(job_id) | shown)

    def _next(self, job_id: str) -> str:
        """The id of the rerun of a job, or of its last rerun, that has not ended, or is not there yet."""
        for _ in range(_MOST_RERUNS):
            job_id = stable_hash("rerun", job_id)
            try:
                found = self.store.get(job_id)
            except ForeignRow:
                raise foreign_row() from None
            if found is None or found.status not in TERMINAL:
                return job_id
        raise Problem(409, "TOO_MANY_RERUNS", "The job was rerun many times: rerun the last one.", [f"job {job_id}"])

    def _again(self, job: Job) -> WorkRequest:
        """The work of an ended job, for where such work is done now.

        Raises:
            Problem: 404 or 409.
        """
        asked = job.request
        if asked.kind == VIDEO.name and job.has_request:
            self._demand_unchanged(asked.source)
            return replace(asked, target=self.target)
        if asked.kind in TASKS:  # the function that starts it names the task definition
            return asked
        message = "Work of this kind is requested again as it was requested first: see docs/api.md."
        raise Problem(409, "NOT_RERUNNABLE", message)

    def _accept(
        self, request: Request, work: WorkRequest, fingerprint: str, *, repeatable: bool, rerun_of: str = ""
    ) -> Known | None:
        """Stores the job and queues it, or returns the one that is there, unless another works on the same object.

        Raises:
            Problem: 409.
        """
        if work.source.is_object:
            holder = self.records.holder(work.source)
            if holder not in (None, work.job_id) and self.records.read(work.job_id) is None:
                message = "A job works on this object already: wait for its end, or cancel it first."
                raise Problem(409, "OBJECT_BUSY", message, [f"job {holder}"])
        url = self.queues[work.target.type]
        send = partial(self.sqs.send_message, QueueUrl=url, MessageBody=redrive_body(work))
        by = request.caller
        known = accept(self.records, work, fingerprint, send, repeatable=repeatable, by=by, rerun_of=rerun_of)
        logger.info("known" if known else "accepted", job_id=work.job_id, kind=work.kind, by=by)
        return known

    # ---- objects

    def _object(self, request: Request, key: str, version: str | None) -> Source:
        """An object under the prefix for uploads, as S3 has it.

        Raises:
            Problem: 404 if it doesn't exist, is no upload, or another user's.
        """
        is_upload = key.startswith(self.prefix) and not key.endswith("/")
        if not is_upload or request.user_id not in (None, owner_of(self.prefix, key)):
            raise _not_found()
        found = self._head(self.bucket, key, version)
        return Source(self.bucket, key, "", "", version_id=version_id(found.get("VersionId")))

    def _demand_unchanged(self, source: Source) -> None:
        """Refuses work on an object that is gone or was replaced. Objects that the API may not read are the worker's.

        Raises:
            Problem: 404 or 409.
        """
        if source.bucket != self.bucket or not source.key.startswith(self.prefix):
            return
        found = self._head(source.bucket, source.key, source.version_id)
        tagged = source.version_id is None and source.sequencer is not None  # such a version begins with the ETag
        if tagged and not source.version.startswith(found["ETag"].strip('"')):
            message = "The object was replaced since. Analyze what is there now: POST /videos."
            raise Problem(409, "OBJECT_REPLACED", message)

    def _head(self, bucket: str, key: str, version: str | None) -> Mapping[str, Any]:
        try:
            named: Any = {"VersionId": version} if version is not None else {}
            return self.s3().head_object(Bucket=bucket, Key=key, **named)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _GONE:
                raise
            raise _not_found() from None


def _asked_now(asked: WorkRequest, job_id: str, fingerprint: str) -> WorkRequest:
    """This work as a job of its own, requested now."""
    # The version identifies the work: equal requests are one job, whatever is lost or repeated.
    # Nobody guesses it: it depends on the id of the first request's message.
    version = asked.source.version_id or stable_hash(job_id, fingerprint, asked.source.message_id)
    source = replace(asked.source, version=version, message_id=str(uuid.uuid4()), sequencer=None, written_at=None)
    again = replace(asked, start_after=None, task_token=None)  # a token waits for the first job's end
    return replace(again, job_id=job_id, source=source, sent_at=clock.now(), announced=True)


def _not_found() -> Problem:
    return Problem(
        404, "OBJECT_NOT_FOUND", "There is no such upload, or no longer this version of it. Upload it again."
    )


def _key_reused() -> Problem:
    return Problem(409, "IDEMPOTENCY_KEY_REUSED", "This Idempotency-Key was used for a different request.")


def _taken() -> Problem:
    return Problem(409, "JOB_ID_TAKEN", "The rerun's job id belongs to other work: send an Idempotency-Key.")
