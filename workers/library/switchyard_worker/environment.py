"""What the job's environment variables tell a worker."""

import json
import logging
import os
import re
import time
import urllib.request
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Self

from switchyard_worker.errors import BadEnvironment, TryAgain

if TYPE_CHECKING:
    from mypy_boto3_s3.type_defs import GetObjectRequestTypeDef

log = logging.getLogger(__name__)

METADATA_ATTEMPTS = 4
"""Attempts to read the task's metadata from ECS, over about 1.5 s."""

_SEGMENT = re.compile(r"(?![0-9]{4}\Z)[A-Za-z0-9][A-Za-z0-9_.:-]{0,127}")
"""Owners that can be a segment of a key, as in `switchyard.keys`. Others are never users of the API."""
_JOB_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")


@dataclass(frozen=True)
class WorkerEnvironment:
    """The worker's environment variables, from dispatcher, definition and target. See workers/CONTRACT.md.

    `run_id` is Batch's id of the job, or the ARN of the ECS task. `video_id` and `key` are empty if the job has no
    object in S3. `owner` is empty if nobody owns the job, or if a key can't name the owner. `results_prefix` ends in
    the job's id and a slash; if `owned`, the owner's segment is before them, and the job claims the prefix.
    """

    job_id: str
    jobs_table: str
    fence: int
    run_id: str
    attempt: int
    video_id: str
    bucket: str
    key: str
    version_id: str | None
    owner: str
    owned: bool
    results_bucket: str
    results_prefix: str

    @property
    def source(self) -> "GetObjectRequestTypeDef":
        """The job's object and its version, as arguments of S3's GetObject and HeadObject."""
        if self.version_id:
            return {"Bucket": self.bucket, "Key": self.key, "VersionId": self.version_id}
        return {"Bucket": self.bucket, "Key": self.key}

    @classmethod
    def from_env(
        cls,
        variables: Mapping[str, str] | None = None,
        *,
        needs: Collection[str] = (),
        results: str = "results",
        owned: bool = False,
    ) -> Self:
        """Read the variables. An empty variable counts as missing.

        Args:
            variables: used instead of `os.environ`.
            needs: further variables that this worker requires, such as `VIDEO_ID` and `S3_KEY`.
            results: prefix of this worker's results, unless `RESULTS_PREFIX` is set.
            owned: whether results lie under their owner's prefix, which the job claims (CONTRACT.md, "Owned results").

        Raises:
            BadEnvironment: variables are missing or invalid; it names all of them.
            TryAgain: the task's metadata can't be read from ECS.
        """
        variables = os.environ if variables is None else variables
        given = {name: value for name, value in variables.items() if value}
        problems: list[str] = []

        def required(name: str, pattern: str = ".+", default: str = "") -> str:
            value = given.get(name, default)
            if not value:
                problems.append(f"{name} is missing")
            elif not re.fullmatch(pattern, value, re.DOTALL):
                problems.append(f"{name} is {value[:40]!r}, which doesn't match {pattern}")
            return value

        number = "[1-9][0-9]{0,14}"
        job_id = required("JOB_ID", _JOB_ID.pattern)
        jobs_table = required("JOBS_TABLE")
        fence = required("FENCE", number)
        run_id = given.get("AWS_BATCH_JOB_ID", "")
        metadata = given.get("ECS_CONTAINER_METADATA_URI_V4", "")
        if not run_id and not re.fullmatch("https?://.+", metadata):
            problems.append("AWS_BATCH_JOB_ID is missing, and so is ECS_CONTAINER_METADATA_URI_V4")
        attempt = required("AWS_BATCH_JOB_ATTEMPT", number, default="1")
        bucket = required("S3_BUCKET")
        for name in needs:
            required(name)
        if problems:
            raise BadEnvironment(problems)
        owner = given.get("OWNER", "") if _SEGMENT.fullmatch(given.get("OWNER", "")) else ""
        segment = f"{owner}/" if owned and owner else ""
        return cls(
            job_id=job_id,
            jobs_table=jobs_table,
            fence=int(fence),
            run_id=run_id or _task_arn(metadata),
            attempt=int(attempt),
            video_id=given.get("VIDEO_ID", ""),
            bucket=bucket,
            key=given.get("S3_KEY", ""),
            version_id=given.get("S3_VERSION_ID"),
            owner=owner,
            owned=owned,
            results_bucket=given.get("RESULTS_BUCKET", bucket),
            results_prefix=f"{given.get('RESULTS_PREFIX', results).strip('/')}/{segment}{job_id}/",
        )


def _task_arn(metadata_uri: str) -> str:
    """The ARN of this ECS task, from its metadata endpoint (Amazon ECS developer guide, version 4)."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # a link-local address: no proxy can reach it
    for attempt in range(METADATA_ATTEMPTS):
        time.sleep(0.2 * 2**attempt if attempt else 0)
        try:
            with direct.open(f"{metadata_uri}/task", timeout=2) as answer:
                return str(json.load(answer)["TaskARN"])
        except (OSError, HTTPException, ValueError, LookupError, TypeError) as error:
            log.warning("can't read the task's metadata from ECS: %r", error)
    raise TryAgain("NO_RUN_ID", "can't read the task's metadata from ECS")
