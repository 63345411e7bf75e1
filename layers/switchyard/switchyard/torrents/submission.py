"""`POST /torrents`: accepts requests for torrents of objects that exist and that the caller may see.

A torrent's job id derives from the object's bucket, key and version: all requests share one job until the object is
uploaded again.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from switchyard import clock
from switchyard.api.http import Problem, Request, Response, invalid
from switchyard.api.submission import accept, accepted, idempotency_key
from switchyard.errors import InvalidMessage
from switchyard.messages.s3 import location
from switchyard.observability import logger
from switchyard.protocol.jobs import TERMINAL, Status
from switchyard.tables.records import Known, Records
from switchyard.torrents import messages
from switchyard.torrents.format.layout import ObjectVersion
from switchyard.torrents.messages import TorrentWork

if TYPE_CHECKING:  # the stubs are not in the Lambda runtime
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

# Forbidden: S3's answer for a missing key to a caller who may not list the bucket.
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN})


@dataclass(slots=True, eq=False)
class TorrentSubmission:
    """Accepts requests for torrents of objects under `work.source_prefix`.

    `s3` returns the client that looks for the object, made only when needed.
    """

    records: Records
    work: TorrentWork
    s3: Callable[[], S3Client]
    sqs: SQSClient
    queue_url: str

    def ask(self, request: Request) -> Response:
        """`POST /torrents`: make the torrent of an object's current version."""
        body = request.json("TorrentRequest")
        if not self.queue_url:
            raise Problem(501, "NOT_CONFIGURED", "This deployment makes no torrents.")
        idempotency_key(request)  # only checked: the object's version determines the job
        again = body.get("again", False)
        thing, owner = self._object(request, body.get("bucket", self.work.bucket), body["key"])
        wanted = messages.request(thing, message_id=str(uuid.uuid4()), sent_at=clock.now(), user_id=owner)

        def send() -> None:
            message = messages.message(thing.bucket, thing.key, thing.version, again=again)
            self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=message)

        known = accept(self.records, wanted, wanted.job_id, send, repeatable=True, by=request.caller)
        if known and known.fingerprint not in (None, wanted.job_id):
            raise Problem(409, "JOB_ID_TAKEN", "The torrent's job id belongs to other work.")
        is_sent = known is None or _is_resent(known, again=again)
        if known and is_sent:
            send()
        logger.info("accepted" if is_sent else "known", job_id=wanted.job_id, kind=wanted.kind, by=request.caller)
        return Response(202, accepted(wanted.job_id) | (_standing(known, is_sent=is_sent) if known else {}))

    def _object(self, request: Request, bucket: str, key: str) -> tuple[ObjectVersion, str | None]:
        """The object's current version, and its owner.

        Raises:
            Problem: 400, or 404 if the object doesn't exist or belongs to another user.
        """
        self._check(bucket, key)
        owner = self.work.owner(key)  # never a job's: its record may expire, and its id may be anybody's choice
        if request.user_id is not None and request.user_id != owner:
            raise _not_found()
        try:
            found = self.s3().head_object(Bucket=bucket, Key=key)
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] not in _GONE:
                raise
            raise _not_found() from None
        return ObjectVersion.of_answer(bucket, key, found["ContentLength"], found), owner

    def _check(self, bucket: str, key: str) -> None:
        """Refuses objects that get no torrent, before any AWS call."""
        try:
            location(bucket, key)
        except InvalidMessage as error:
            raise invalid(str(error)) from None
        if bucket != self.work.bucket:
            raise invalid("the bucket is not this deployment's")
        if not key.startswith(self.work.source_prefix):
            raise _not_found()
        if not {".", ".."}.isdisjoint(key.split("/")):
            raise invalid("the key must not have . or .. as a segment, because HTTP clients resolve them")
        if reason := self.work.why_ignored(key):
            raise invalid(f"the object gets no torrent: it is {reason}")


def _is_resent(known: Known, *, again: bool) -> bool:
    """Whether this request sends another message for a job that exists already."""
    if known.status in (Status.PENDING, Status.FAILED):
        return True
    return again and known.status in TERMINAL


def _standing(known: Known, *, is_sent: bool) -> dict[str, Any]:
    message = "The torrent was requested again." if is_sent else "The torrent was requested before."
    return {"status": known.status, "message": message}


def _not_found() -> Problem:
    return Problem(404, "OBJECT_NOT_FOUND", "There is no such object to make a torrent of.")
