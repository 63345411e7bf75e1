"""AWS Batch as a target: starts, finds, describes and stops runs.

Batch job names need not be unique and SubmitJob has no idempotency token. So a run is identified by the JOB_ID and
FENCE in its environment, never by its name alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import batched
from typing import TYPE_CHECKING, Any, override

from botocore.exceptions import BotoCoreError, ClientError, ParamValidationError

from switchyard import clock
from switchyard.clients import NEVER_SENT, translated
from switchyard.errors import OutcomeUnknown, StartRefused, StartThrottled
from switchyard.names import legal_name, legal_tag
from switchyard.protocol.jobs import Job, JobError, Run, Status
from switchyard.protocol.ports import Target
from switchyard.targets.runs import (
    OUT_OF_MEMORY,
    STOPPED,
    WORKER_ERRORS,
    claim_of,
    counted,
    crashed,
    described,
    environment_of,
    excerpt,
    is_run_of,
    not_started,
    start_error,
)

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_batch.type_defs import KeyValuePairTypeDef

_DESCRIBE_LIMIT = 100
_JOB_ID = re.compile("[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Batch's ids of jobs. Asked about anything else, it may refuse the whole call."""

_STATUSES: Mapping[str, Status] = {
    "SUBMITTED": Status.SUBMITTED,
    "PENDING": Status.SUBMITTED,
    "RUNNABLE": Status.SUBMITTED,
    "STARTING": Status.SUBMITTED,
    "RUNNING": Status.RUNNING,
    "SUCCEEDED": Status.COMPLETED,
    "FAILED": Status.FAILED,
}


class BatchTarget(Target):
    """Runs jobs on Batch. `submitter` must be a client without retries."""

    def __init__(
        self, reader: BatchClient, submitter: BatchClient, *, jobs_table: str, environment: str, grace_seconds: float
    ) -> None:
        self._reader = reader
        self._submitter = submitter
        self._jobs_table = jobs_table
        self._environment = environment
        self._grace_seconds = grace_seconds

    @override
    def start(self, job: Job) -> str:
        with counted():
            return self._submit(job)

    def _submit(self, job: Job) -> str:
        request = job.request
        try:
            answer = self._submitter.submit_job(
                jobName=job_name(job),
                jobQueue=request.target.queue,
                jobDefinition=request.target.definition,
                containerOverrides={"environment": self._environment_of(job)},
                tags={
                    "JobId": job.id,
                    "VideoId": legal_tag(request.video_id),
                    "VideoKey": legal_tag(request.source.key),
                    "Environment": legal_tag(self._environment),
                    "SubmittedAt": clock.iso(request.sent_at),
                },
                propagateTags=True,
            )
        except ParamValidationError as error:
            raise StartRefused(f"SubmitJob: {error}") from error
        except NEVER_SENT as error:
            raise StartThrottled(f"SubmitJob was never sent: {error}") from error
        except ClientError as error:
            raise start_error("SubmitJob", error, self._grace_seconds) from error
        except BotoCoreError as error:
            raise OutcomeUnknown(f"SubmitJob: {error}", self._grace_seconds) from error
        target_id = answer.get("jobId")
        if not target_id:  # botocore parses a truncated response as an empty one
            raise OutcomeUnknown("SubmitJob: the answer names no job", self._grace_seconds)
        return target_id

    def _environment_of(self, job: Job) -> list[KeyValuePairTypeDef]:
        source = job.request.source
        variables = environment_of(job, self._jobs_table) | {"VIDEO_ID": job.request.video_id, "S3_KEY": source.key}
        if source.version_id:
            variables["S3_VERSION_ID"] = source.version_id
        if stages := (job.request.input or {}).get("stages"):
            variables["STAGES"] = ",".join(stages)
        return [{"name": name, "value": value} for name, value in variables.items()]

    @override
    @translated()
    def find(self, job: Job) -> str | None:
        name = job_name(job)
        pages = self._reader.get_paginator("list_jobs").paginate(
            jobQueue=job.request.target.queue, filters=[{"name": "JOB_NAME", "values": [name]}]
        )
        # The filter ignores case, and the summaries lack the environment, which identifies the claim.
        same_name = (
            summary["jobId"] for page in pages for summary in page["jobSummaryList"] if summary["jobName"] == name
        )
        for run in self.describe(same_name):
            if (run.job_id, run.fence) == (job.id, job.fence):
                return run.target_id
        return None

    @override
    def describe(self, target_ids: Iterable[str], queue: str = "") -> Iterator[Run]:
        return described(batched(filter(_JOB_ID.fullmatch, target_ids), _DESCRIBE_LIMIT, strict=False), self._described)

    @translated()
    def _described(self, ids: tuple[str, ...]) -> list[Run]:
        jobs = self._reader.describe_jobs(jobs=list(ids))["jobs"]
        return [run for detail in jobs if (run := run_of(detail))]

    @override
    @translated()
    def stop(self, job: Job, target_id: str) -> None:
        if is_run_of(job, target_id, self.describe([target_id])):
            with suppress(self._reader.exceptions.ClientException):  # TerminateJob: no such job any more
                self._reader.terminate_job(jobId=target_id, reason=STOPPED)


def job_name(job: Job) -> str:
    """The Batch job name: `video-process-{video_id}`, changed where Batch requires it."""
    return legal_name(job.request.video_id, prefix="video-process-")


def run_of(detail: Mapping[str, Any]) -> Run | None:
    """Reads a job's description by DescribeJobs or a state change event as a run. None if the job isn't ours."""
    container = detail.get("container") or {}
    claim, state = claim_of(container.get("environment") or ()), detail.get("status", "")
    if not claim or state not in _STATUSES:
        return None
    job_id, fence = claim
    created_at = detail.get("createdAt")
    return Run(
        target_id=detail["jobId"],
        job_id=job_id,
        fence=fence,
        status=_STATUSES[state],
        attempts=len(detail.get("attempts") or ()),
        error=_error_of(detail, container) if state == "FAILED" else None,
        queued_since=clock.from_epoch_ms(created_at) if state == "RUNNABLE" and created_at else None,
        log_stream=container.get("logStreamName"),
    )


def _error_of(detail: Mapping[str, Any], container: Mapping[str, Any]) -> JobError:
    """Why a job failed, according to Batch. An error that the worker has written takes precedence."""
    exit_code = container.get("exitCode")
    reason = excerpt(container.get("reason"))
    status_reason = excerpt(detail.get("statusReason"))
    if exit_code is not None and exit_code in WORKER_ERRORS:
        return WORKER_ERRORS[exit_code]
    if "OutOfMemory" in reason:
        return OUT_OF_MEMORY
    if "exceeded timeout" in status_reason:  # not any timeout: a registry that doesn't answer is none of the job's
        return JobError("TIMED_OUT", "the job ran longer than its job definition allows")
    if status_reason.startswith("Host EC2"):
        return JobError("HOST_LOST", "the machine that ran the job was taken away, and no attempts were left")
    if exit_code is None:
        tried = [attempt.get("container") or {} for attempt in (detail.get("attempts") or ())[-1:]]
        reasons = [status_reason, *(each.get("reason") for each in (container, *tried))]
        return not_started(reasons, "Batch ended the job before its container ran")
    return crashed(exit_code, reason)
