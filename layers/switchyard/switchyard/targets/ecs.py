"""Amazon ECS as a target: starts, finds, describes and stops tasks.

The clientToken is derived from job id and fence, so ECS starts at most one task per claim, however often RunTask is
repeated. The token is also the task's `startedBy`, by which it is found. ECS never retries a failed task, so a run has
one attempt, and says whether the job may have another run.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import batched
from typing import TYPE_CHECKING, Any, override

from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, ParamValidationError

from switchyard import clock, observability
from switchyard.clients import IN_DOUBT, is_without_room, translated
from switchyard.errors import NoCapacity, OutcomeUnknown, StartFailed, StartRefused, StartThrottled
from switchyard.names import legal_tag, stable_hash
from switchyard.observability import Metric
from switchyard.protocol.jobs import NO_CAPACITY, Job, JobError, Run, Status
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
    from mypy_boto3_ecs import ECSClient
    from mypy_boto3_ecs.type_defs import RunTaskResponseTypeDef, TaskOverrideTypeDef

    from switchyard.settings import PublicIp

_DESCRIBE_LIMIT = 100
_MAX_OVERRIDES = 8192
_TASK = re.compile(r"arn:[a-z-]+:ecs:[a-z0-9-]+:[0-9]{12}:task/([A-Za-z0-9_-]{1,255})/([0-9a-f]{32})")

# ECS reports some throttles and quotas with the error codes of wrong requests.
_THROTTLED = re.compile("Rate exceeded|[Ll]imit exceeded")
_QUOTA = re.compile("limit on the number of")

_STATUSES: Mapping[str, Status] = {
    "PROVISIONING": Status.SUBMITTED,
    "PENDING": Status.SUBMITTED,
    "ACTIVATING": Status.SUBMITTED,
    "RUNNING": Status.RUNNING,
    "DEACTIVATING": Status.RUNNING,
    "STOPPING": Status.RUNNING,
    "DEPROVISIONING": Status.RUNNING,
}
"""The states of a task before its end (ECS developer guide, "Task lifecycle")."""

_ENDED = frozenset({"STOPPED", "DELETED"})


@dataclass(frozen=True, slots=True)
class Placement:
    """Where tasks run on Fargate. `container` is the worker container's name in every task definition."""

    container: str
    subnets: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    public_ip: PublicIp = "DISABLED"
    spot: bool = False


class EcsTarget(Target):
    """Runs jobs as ECS tasks. `client` must be `switchyard.clients.ecs`, which retries RunTask and sets IN_DOUBT."""

    def __init__(
        self, client: ECSClient, placement: Placement, *, jobs_table: str, environment: str, grace_seconds: float
    ) -> None:
        self._client = client
        self._placement = placement
        self._jobs_table = jobs_table
        self._environment = environment
        self._grace_seconds = grace_seconds

    @override
    def start(self, job: Job) -> str:
        with counted():
            return self._run(job)

    def _run(self, job: Job) -> str:
        overrides = self._overrides_of(job)
        size = len(json.dumps(overrides))
        if size > _MAX_OVERRIDES:
            raise StartRefused(f"RunTask: the overrides have {size} characters; ECS takes {_MAX_OVERRIDES}")
        token = token_of(job)
        try:
            answer = self._client.run_task(
                cluster=job.request.target.queue,
                taskDefinition=job.request.target.definition,
                clientToken=token,
                startedBy=token,
                count=1,
                overrides=overrides,
                enableECSManagedTags=True,
                propagateTags="TASK_DEFINITION",
                tags=[
                    {"key": "JobId", "value": job.id},
                    {"key": "Kind", "value": job.request.kind},
                    {"key": "Environment", "value": legal_tag(self._environment)},
                    {"key": "SubmittedAt", "value": clock.iso(job.request.sent_at)},
                ],
                **self._place(),
            )
        except ParamValidationError as error:
            raise StartRefused(f"RunTask: {error}") from error
        except NoCredentialsError as error:
            raise StartThrottled(f"RunTask was never sent: {error}") from error
        except self._client.exceptions.ConflictException as error:
            _count_retries(error.response)
            if task := _conflicting_task(error):
                return task
            raise self._unknown(error) from error
        except ClientError as error:
            _count_retries(error.response)
            raise self._start_error(error) from error
        except BotoCoreError as error:
            # Even if the last attempt was never sent, an earlier one may have started the task.
            raise self._unknown(error) from error
        _count_retries(answer)
        return self._task_of(answer)

    def _place(self) -> dict[str, Any]:
        placement = self._placement
        awsvpc = {
            "subnets": list(placement.subnets),
            "securityGroups": list(placement.security_groups),
            "assignPublicIp": placement.public_ip,
        }
        capacity: dict[str, Any] = (
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]}
            if placement.spot
            else {"launchType": "FARGATE"}
        )
        return {"networkConfiguration": {"awsvpcConfiguration": awsvpc}, **capacity}

    def _overrides_of(self, job: Job) -> TaskOverrideTypeDef:
        # Nothing whose size a user chooses: workers read the rest of their input from the job's item.
        variables = environment_of(job, self._jobs_table)
        variables["DDB_TABLE"] = self._jobs_table  # for workers written for the systems that Switchyard replaces
        environment = [{"name": name, "value": value} for name, value in variables.items()]
        return {"containerOverrides": [{"name": self._placement.container, "environment": environment}]}  # type: ignore[typeddict-item]

    def _task_of(self, answer: RunTaskResponseTypeDef) -> str:
        for task in answer.get("tasks", ()):
            if arn := task.get("taskArn"):
                return arn
        reasons = [failure.get("reason", "?") for failure in answer.get("failures", ())]
        if not reasons:  # botocore parses a truncated response as an empty one
            raise self._unknown("the answer names no task")
        text = "; ".join(
            f"{failure.get('reason', '?')} {failure.get('detail', '')}".strip() for failure in answer["failures"]
        )
        if answer["ResponseMetadata"].get(IN_DOUBT):
            raise self._unknown(text)
        if all(map(is_without_room, reasons)):
            raise NoCapacity(f"RunTask: no room: {text}")
        raise StartRefused(f"RunTask: {text}")

    def _start_error(self, error: ClientError) -> StartFailed | OutcomeUnknown:
        found = start_error("RunTask", error, self._grace_seconds)
        if isinstance(found, OutcomeUnknown):
            return found
        if error.response["ResponseMetadata"].get(IN_DOUBT):
            return self._unknown(error)
        if _QUOTA.search(str(error)):
            return NoCapacity(f"RunTask: {error}")
        return StartThrottled(f"RunTask: {error}") if _THROTTLED.search(str(error)) else found

    def _unknown(self, reason: object) -> OutcomeUnknown:
        return OutcomeUnknown(f"RunTask: {reason}", self._grace_seconds)

    @override
    @translated()
    def find(self, job: Job) -> str | None:
        # With startedBy no other filter is allowed, so stopped tasks are not listed. Starting again is safe even then:
        # a worker that passed its fence check has moved the job on, and after raise_fence no other passes it.
        pages = self._client.get_paginator("list_tasks").paginate(
            cluster=job.request.target.queue, startedBy=token_of(job)
        )
        return next((arn for page in pages for arn in page["taskArns"]), None)

    @override
    def describe(self, target_ids: Iterable[str], queue: str = "") -> Iterator[Run]:
        # Tasks are asked for by their ids, since ECS refuses the whole call for one ARN of another account, Region or
        # cluster.
        asked: dict[str, dict[str, str]] = defaultdict(dict)
        for arn in target_ids:
            match = _TASK.fullmatch(arn)
            if match and queue.rpartition("/")[2] in ("", match[1]):
                asked[match[1]][arn] = match[2]
        batches = (
            (cluster, dict(some))
            for cluster, ids in asked.items()
            for some in batched(ids.items(), _DESCRIBE_LIMIT, strict=False)
        )
        return described(batches, self._described)

    @translated()
    def _described(self, batch: tuple[str, dict[str, str]]) -> list[Run]:
        cluster, ids = batch
        try:
            tasks = self._client.describe_tasks(cluster=cluster, tasks=[*dict.fromkeys(ids.values())])["tasks"]
        except self._client.exceptions.ClusterNotFoundException:
            return []  # the tasks are gone with their cluster
        return [run for task in tasks if (run := run_of(task)) and run.target_id in ids]

    @override
    @translated()
    def stop(self, job: Job, target_id: str) -> None:
        if not is_run_of(job, target_id, self.describe([target_id], job.request.target.queue)):
            return
        try:
            self._client.stop_task(cluster=target_id.split("/")[-2], task=target_id, reason=STOPPED)
        except self._client.exceptions.ClusterNotFoundException:
            return
        except self._client.exceptions.InvalidParameterException as error:
            if "not found" not in error.response["Error"]["Message"]:
                raise


def token_of(job: Job) -> str:
    """The token of a claim: a valid `clientToken` (up to 64 characters) and `startedBy` (`[A-Za-z0-9-/_]`)."""
    return f"switchyard-{stable_hash(job.id, str(job.fence), length=36)}"


def _conflicting_task(error: ClientError) -> str | None:
    """The task that was started with the same token but other parameters, before the settings changed."""
    ids: list[str] = error.response.get("resourceIds") or []  # type: ignore[assignment]
    return ids[0] if ids else None


def _count_retries(answer: Mapping[str, Any]) -> None:
    if retries := answer["ResponseMetadata"].get("RetryAttempts"):
        observability.count(Metric.LAUNCH_RETRIES, retries)


def run_of(detail: Mapping[str, Any]) -> Run | None:
    """Reads a task's description by DescribeTasks or a state change event as a run. None if the task isn't ours."""
    state = detail.get("lastStatus", "")
    claimed = _claimed(detail)
    if claimed is None or (state not in _STATUSES and state not in _ENDED):
        return None
    container, (job_id, fence) = claimed
    ended = state in _ENDED
    exit_code = container.get("exitCode")
    completed = ended and exit_code == 0
    error = _error_of(detail, container) if ended and not completed else None
    if error and error.code == "NOT_STARTED" and is_without_room(excerpt(detail.get("stoppedReason"))):
        error = _NO_ROOM
    return Run(
        target_id=detail["taskArn"],
        job_id=job_id,
        fence=fence,
        status=_STATUSES.get(state, Status.COMPLETED if completed else Status.FAILED),
        attempts=1 if ended else 0,
        error=error,
        may_retry=error is not None and error.code in _RETRIED,
        # Waiting for a network interface, or for an instance of a capacity provider.
        queued_since=_moment(detail.get("createdAt")) if state == "PROVISIONING" else None,
        log_stream=_log_stream(detail["taskArn"], container),
    )


def _log_stream(arn: str, container: Mapping[str, Any]) -> str | None:
    """The name of the container's log stream, without the prefix, which the task's definition alone has."""
    name, match = container.get("name"), _TASK.fullmatch(arn)
    return f"{name}/{match[2]}" if name and match else None


def _claimed(detail: Mapping[str, Any]) -> tuple[Mapping[str, Any], tuple[str, int]] | None:
    """The claim in a task's overrides, with its container, which is empty if the task has none yet."""
    for given in (detail.get("overrides") or {}).get("containerOverrides") or ():
        if claim := claim_of(given.get("environment") or ()):
            name = given.get("name")
            containers = detail.get("containers") or ()
            return next((container for container in containers if container.get("name") == name), {}), claim
    return None


def _moment(value: object) -> datetime | None:
    """Parses a time: epoch seconds, a datetime, or an event's ISO 8601 text."""
    if isinstance(value, int | float):
        return clock.from_epoch_ms(round(value * 1000))
    if isinstance(value, datetime) or value is None:
        return value
    return clock.parse(str(value))


def _error_of(detail: Mapping[str, Any], container: Mapping[str, Any]) -> JobError:
    """Why a task failed, according to ECS. An error that the worker has written takes precedence."""
    exit_code = container.get("exitCode")
    reason = excerpt(container.get("reason"))
    stopped_reason = excerpt(detail.get("stoppedReason"))
    stop_code = detail.get("stopCode")
    if exit_code in _FINAL_EXIT_CODES:
        return WORKER_ERRORS[exit_code]
    if "OutOfMemory" in reason:
        return OUT_OF_MEMORY
    if stop_code in _HOST_LOST:
        return JobError("HOST_LOST", "the capacity that ran the task was taken away")
    if stop_code in _STOPPED:
        return JobError("STOPPED", stopped_reason or "the task was stopped from outside")
    if exit_code is None:
        others = [each.get("reason") for each in detail.get("containers") or ()]  # a sidecar's may be the cause
        return not_started([stopped_reason, reason, *others], "ECS ended the task before its container ran")
    return WORKER_ERRORS.get(exit_code) or crashed(exit_code, reason)


_FINAL_EXIT_CODES = (65, 77)
"""Exit codes that count even if the task was stopped. 75 does not: a stopped worker also exits with it."""

_NO_ROOM = JobError(NO_CAPACITY, "there was no room for the task when it was to start")
_RETRIED = frozenset({"HOST_LOST", "NOT_STARTED", NO_CAPACITY, WORKER_ERRORS[75].code})
"""Why a task failed that is run again: nothing that the next one need meet. ECS itself runs no task again."""

_HOST_LOST = frozenset({"SpotInterruption", "TerminationNotice", "InfrastructureHealth"})
_STOPPED = frozenset({"UserInitiated", "ServiceSchedulerInitiated"})
