"""The job as a worker's own code sees it: input, progress, results."""

import json
import logging
import math
import mimetypes
import re
import threading
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from botocore.exceptions import ClientError

from switchyard_worker.environment import WorkerEnvironment
from switchyard_worker.errors import AWS_ERRORS, PermanentFailure, Stopped, Superseded, TryAgain
from switchyard_worker.heartbeat import Heartbeat
from switchyard_worker.record import Record, readable

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

CLAIM = ".claim"
"""The object that says which job a prefix belongs to. `save` accepts no name that begins with a dot."""
_CLAIM_ATTEMPTS = 3

_CONTENT_TYPES = {
    # The types for which the machine's own tables differ or are missing.
    ".json": "application/json",
    ".md": "text/markdown; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".jpg": "image/jpeg",
    ".vtt": "text/vtt; charset=utf-8",
    ".ts": "video/mp2t",
    ".mkv": "video/x-matroska",
}


class ObjectName(TypedDict):
    """Bucket and key, as boto3 arguments."""

    Bucket: str
    Key: str


class WorkerJob:
    """The job of this attempt.

    Attributes:
        environment: the environment variables.
        s3: a client with retries, and timeouts short enough for a stop signal.
        files: names of the result files saved so far.
    """

    def __init__(
        self,
        environment: WorkerEnvironment,
        record: Record,
        heartbeat: Heartbeat,
        s3: "S3Client",
        stop: threading.Event,
    ) -> None:
        self.environment = environment
        self.s3 = s3
        self.files: list[str] = []
        self._record = record
        self._heartbeat = heartbeat
        self._stop = stop
        self._claimed = not environment.owned

    @property
    def input(self) -> Mapping[str, Any]:
        """The input in the job's request: JSON-shaped, and not validated for this worker."""
        return self._record.input

    @property
    def created_at(self) -> str:
        """When the job was accepted, in UTC as in ISO 8601, such as `2026-11-22T18:36:54.123Z`."""
        return self._record.created_at

    def checkpoint(self) -> None:
        """Raise an error if the run must end. Call it every second or two, wherever it is safe to stop.

        Raises:
            Superseded: another run has taken over.
            Stopped: SIGTERM or SIGINT came, or the job is being cancelled.
        """
        if self._heartbeat.superseded.is_set():
            raise Superseded
        if self._stop.is_set():
            raise Stopped

    def progress(self, percent: float, message: str, **facts: float) -> None:
        """Report progress. Also a checkpoint, and as cheap: only the newest report is written, at most every 2 s.

        Args:
            percent: 0 to 100.
            message: for people, one line.
            facts: further numbers for programs, such as `bytes`.
        """
        whole = math.floor(min(max(percent, 0), 100))
        self._heartbeat.progress = {"percent": whole, "message": readable(message)[:200], **facts}
        self.checkpoint()

    def confirm(self) -> None:
        """Check that this run still owns the job, and claim owned results' prefix. Call it before the first file.

        A run that was frozen for minutes must not overwrite the files of the run that replaced it.

        Raises:
            Superseded: this run doesn't own the job.
            PermanentFailure: the prefix belongs to another job.
        """
        self._record.beat(self._heartbeat.progress)
        if not self._claimed:
            self._claim()
            self._claimed = True

    def _claim(self) -> None:
        """Claim the results' prefix for this job, for good: the object outlives the job's record.

        A later run of the job finds its own claim. A job that takes the same id once the record has expired was created
        at another time: it finds somebody else's.
        """
        given = self.environment
        mine = {"owner": given.owner, "jobId": given.job_id, "createdAt": self._record.created_at}
        place: ObjectName = {"Bucket": given.results_bucket, "Key": self.key(CLAIM)}
        for _ in range(_CLAIM_ATTEMPTS):
            try:
                self.s3.put_object(
                    **place, Body=json.dumps(mine).encode(), IfNoneMatch="*", ContentType="application/json"
                )
            except ClientError as error:
                if error.response["Error"]["Code"] == "ConditionalRequestConflict":  # somebody writes it right now
                    continue
                if error.response["Error"]["Code"] != "PreconditionFailed":
                    raise
            else:
                return
            if _claimant(self.s3.get_object(**place)["Body"].read()) != mine:
                raise PermanentFailure("PREFIX_TAKEN", "the prefix of the results belongs to another job")
            return
        raise TryAgain("PREFIX_CONTENDED", "somebody else is claiming the prefix of the results")

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata of every result file: whose it is, and which job made it."""
        given = self.environment
        return {"job-id": given.job_id} | ({"owner": given.owner} if given.owner else {})

    def key(self, name: str) -> str:
        """The object key of the result file `name`."""
        return self.environment.results_prefix + name

    def save(self, name: str, body: bytes | Path) -> None:
        """Upload one result file. Its key is the same in every run of the job, so an upload may be repeated.

        Raises:
            ValueError: `name` isn't a plain relative name.
            Superseded, Stopped: as `checkpoint`.
        """
        if not re.fullmatch(r"(?:[A-Za-z0-9_-][A-Za-z0-9._-]*/)*[A-Za-z0-9_-][A-Za-z0-9._-]*", name):
            raise ValueError(f"not a plain file name: {name!r}")
        self.checkpoint()
        if not self.files:
            self.confirm()
        with BytesIO(body) if isinstance(body, bytes) else body.open("rb") as stream:
            self.s3.upload_fileobj(
                stream,
                self.environment.results_bucket,
                self.key(name),
                {"ContentType": content_type(name), "Metadata": self.metadata},
            )
        if name not in self.files:
            self.files.append(name)

    def keep(self, headline: Mapping[str, Any]) -> None:
        """Record a partial result that is already useful, in case the run doesn't finish.

        The result has `partial` set. Call this whenever there is something new, and also after `checkpoint` has raised
        `Stopped`. A failed write is logged and dropped, like a heartbeat.

        Raises:
            Superseded: as `checkpoint`.
        """
        try:
            self._record.finish(self.result({**headline, "partial": True}), self._heartbeat.progress)
        except AWS_ERRORS as error:
            log.warning("partial result not recorded: %s", error)

    def result(self, headline: Mapping[str, Any]) -> dict[str, Any]:
        """The job's `result` for the record: `headline`, and where the files are."""
        given = self.environment
        return {**headline, "prefix": given.results_prefix, "files": self.files, "runId": given.run_id}


def _claimant(body: bytes) -> object:
    try:
        return json.loads(body)
    except ValueError:
        return None


type Main = Callable[[WorkerJob], Mapping[str, Any]]
"""A worker's own code: does the job, saves its files, and returns a few headline facts (JSON-shaped, small)."""


def content_type(name: str) -> str:
    """The Content-Type of a result file, by its suffix."""
    return _CONTENT_TYPES.get(Path(name).suffix.lower()) or mimetypes.guess_type(name)[0] or "application/octet-stream"
