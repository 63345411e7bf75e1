"""AWS Batch's operations: checks of requests, and responses.

Limits and error messages come from the API reference (https://docs.aws.amazon.com/batch/latest/APIReference/) and from
errors seen on AWS. Unsupported features (array and multi-node jobs, dependencies, EKS, consumable resources) are
refused, never ignored.
"""

import json
import re
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from starlette.requests import Request

from local.compute import supervisor
from local.compute.config import Config, Definition, Shape
from local.compute.errors import ClientError, InvalidRequestError, ThrottledError
from local.compute.jobs import Jobs
from local.compute.runs import Job
from local.compute.service import Grant, Service, token
from local.compute.store import Condition, Store

JOB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
RESOURCE_NAME = re.compile(r"[A-Za-z0-9_-]{1,128}")
STATUSES = ("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED", "FAILED")

MAX_REQUEST_BYTES = 30 * 1024
MAX_DESCRIBED = 100
MAX_LISTED = 1000
MAX_FILTERED = 100
MAX_ATTEMPTS = 10
MAX_RULES = 5
MIN_TIMEOUT_SECONDS = 60
MAX_REASON = 1024

UNSUPPORTED = (
    "arrayProperties",
    "dependsOn",
    "nodeOverrides",
    "eksPropertiesOverride",
    "ecsPropertiesOverride",
    "consumableResourcePropertiesOverride",
    "shareIdentifier",
    "schedulingPriorityOverride",
)

_RULE_CONDITIONS = {
    "onStatusReason": re.compile(r"[A-Za-z0-9.:\s]*\*?"),
    "onReason": re.compile(r"[A-Za-z0-9.:\s]*\*?"),
    "onExitCode": re.compile(r"[0-9]*\*?"),
}


class Batch(Service):
    """AWS Batch."""

    name = "batch"
    title = "AWS Batch"
    invalid = InvalidRequestError
    throttled = ThrottledError

    def __init__(self, config: Config, store: Store, jobs: Jobs) -> None:
        super().__init__()
        self._config = config
        self._store = store
        self._jobs = jobs
        self._routes = {name: _route(self._model.operation_model(name).http) for name in self._model.operation_names}

    @property
    def operations(self) -> Mapping[str, Callable[[Shape], Shape]]:
        """The supported operations."""
        return {
            "SubmitJob": self.submit_job,
            "DescribeJobs": self.describe_jobs,
            "ListJobs": self.list_jobs,
            "TerminateJob": self.terminate_job,
            "CancelJob": self.cancel_job,
            "DescribeJobQueues": self.describe_job_queues,
            "DescribeJobDefinitions": self.describe_job_definitions,
            "TagResource": self.tag_resource,
            "UntagResource": self.untag_resource,
            "ListTagsForResource": self.list_tags_for_resource,
        }

    def named(self, request: Request) -> tuple[str, Shape]:
        """The operation is determined by method and path."""
        method, path = request.method, request.url.path.rstrip("/")
        # The emulator would read an action from the query before it looks at the path.
        known = request.query_params.keys() <= {"tagKeys"}
        for name, (verb, pattern) in self._routes.items():
            if known and verb == method and (found := pattern.fullmatch(path)):
                members: Shape = found.groupdict()
                if keys := request.query_params.getlist("tagKeys"):
                    members["tagKeys"] = keys
                return name, members
        raise ClientError(f"no operation of AWS Batch: {method} {path}")

    def aliases(self, request: Shape) -> tuple[str, ...]:
        """The job's name."""
        return (str(request.get("jobName", "")),)

    def grants(self, operation: str, request: Shape) -> list[Grant]:
        """SubmitJob needs a queue and a definition as resources; tags need a permission of their own."""
        action = f"batch:{operation}"
        match operation:
            case "SubmitJob":
                queue = self._arn("job-queue", request.get("jobQueue"))
                definition = self._arn("job-definition", request.get("jobDefinition"))
                needed = [Grant(action, (queue, definition))]
                if request.get("tags"):
                    needed.append(Grant("batch:TagResource", (definition, self._config.arn("job/*"))))
                return needed
            case "TerminateJob" | "CancelJob":
                return [Grant(action, (self._arn("job", request.get("jobId")),))]
            case "TagResource" | "UntagResource" | "ListTagsForResource":
                return [Grant(action, (str(request.get("resourceArn")),))]
            case _:
                return [Grant(action)]

    # ---- jobs --------------------------------------------------------------------------------------------------

    def submit_job(self, request: Shape) -> Shape:
        """Accept a job. As on AWS, several jobs may have the same name."""
        if len(json.dumps(request).encode()) > MAX_REQUEST_BYTES:
            raise InvalidRequestError(f"SubmitJob request exceeds {MAX_REQUEST_BYTES} bytes")
        if not JOB_NAME.fullmatch(request["jobName"]):
            raise InvalidRequestError("Job name should match valid pattern")
        self.check_unsupported(request, UNSUPPORTED)
        overrides = request.get("containerOverrides", {})
        _check_environment(overrides.get("environment", ()))
        self.check_tags(request.get("tags", {}))
        _check_retries(request.get("retryStrategy", {}))
        seconds = request.get("timeout", {}).get("attemptDurationSeconds")
        if seconds is not None and seconds < MIN_TIMEOUT_SECONDS:
            raise InvalidRequestError(f"Timeout must be at least {MIN_TIMEOUT_SECONDS} seconds")
        queue = self._queue(request["jobQueue"])
        definition = self._definition(request["jobDefinition"])
        job = self._job(request, queue, definition)
        self._jobs.submit(job)
        return {"jobArn": job.detail["jobArn"], "jobName": job.detail["jobName"], "jobId": job.id}

    def describe_jobs(self, request: Shape) -> Shape:
        """Up to 100 jobs in full; unknown ids are left out."""
        ids = request["jobs"]
        if not ids:
            raise InvalidRequestError("jobs must not be empty")
        if len(ids) > MAX_DESCRIBED:
            raise InvalidRequestError(f"Number of jobs must not exceed {MAX_DESCRIBED}")
        wanted = dict.fromkeys(each.rpartition("job/")[2] for each in ids)
        return {"jobs": [job.detail for each in wanted if (job := self._store.get(Job, each))]}

    def list_jobs(self, request: Shape) -> Shape:
        """Summaries, newest first: of one status (by default RUNNING), or of all statuses with a filter."""
        given = [key for key in ("jobQueue", "arrayJobId", "multiNodeJobId") if request.get(key)]
        if len(given) != 1:
            raise InvalidRequestError("Exactly one of jobQueue, arrayJobId, multiNodeJobId must be specified")
        if given != ["jobQueue"]:
            # Array and multi-node jobs don't exist here, so there are no child jobs.
            return {"jobSummaryList": []}
        conditions: list[Condition] = [("place = ?", self._queue(request["jobQueue"]))]
        filters = request.get("filters", [])
        if len(filters) > 1:
            raise InvalidRequestError("Only one filter can be used at a time")
        if filters:
            conditions += self._filter(filters[0])
        else:
            status = request.get("jobStatus", "RUNNING")
            if status not in STATUSES:
                raise InvalidRequestError(f"{status} is not a valid JobStatus")
            conditions.append(("status = ?", status))
        size = self.page_size(request, MAX_FILTERED if filters else MAX_LISTED)
        scope = [request["jobQueue"], request.get("jobStatus"), filters]
        # Reading one more than requested shows whether there is a next page.
        jobs = self._store.page(Job, conditions, before=self.position(request, scope), limit=size + 1)
        answer: Shape = {"jobSummaryList": [_summary(job.detail) for job in jobs[:size]]}
        if len(jobs) > size:
            answer["nextToken"] = token(jobs[size - 1].seq, scope)
        return answer

    def terminate_job(self, request: Shape) -> Shape:
        """End a job in any state. As on AWS, an unknown job is no error."""
        _check_ending(request)
        self._jobs.terminate(request["jobId"], request["reason"])
        return {}

    def cancel_job(self, request: Shape) -> Shape:
        """End a job that hasn't reached STARTING. Otherwise the call succeeds without effect."""
        _check_ending(request)
        self._jobs.cancel(request["jobId"], request["reason"])
        return {}

    def _job(self, request: Shape, queue: str, definition: Definition) -> Job:
        overrides = request.get("containerOverrides", {})
        environment = {**definition.environment}
        environment |= {each["name"]: each.get("value", "") for each in overrides.get("environment", ())}
        job_id = str(uuid.uuid4())
        timeout = request.get("timeout", {}).get("attemptDurationSeconds") or definition.timeout_seconds
        retries = request.get("retryStrategy") or definition.retry_strategy
        detail = {
            "jobArn": self._config.arn(f"job/{job_id}"),
            "jobName": request["jobName"],
            "jobId": job_id,
            "jobQueue": self._config.arn(f"job-queue/{queue}"),
            "status": "SUBMITTED",
            "attempts": [],
            "createdAt": supervisor.now(),
            "retryStrategy": {"attempts": 1, "evaluateOnExit": [], **retries},
            "dependsOn": [],
            "jobDefinition": self._config.arn(f"job-definition/{definition.revision}"),
            "parameters": {**definition.parameters, **request.get("parameters", {})},
            "container": {
                "command": overrides.get("command") or list(definition.command),
                "environment": [{"name": name, "value": value} for name, value in environment.items()],
                "volumes": [],
                "mountPoints": [],
                "ulimits": [],
                "networkInterfaces": [],
                "resourceRequirements": overrides.get("resourceRequirements", []),
                "secrets": [],
            },
            **({"timeout": {"attemptDurationSeconds": timeout}} if timeout else {}),
            "tags": request.get("tags", {}),
            "propagateTags": request.get("propagateTags", definition.propagate_tags),
            "platformCapabilities": [],
            "eksAttempts": [],
        }
        return Job(detail, {"cwd": definition.cwd, "graceSeconds": definition.grace_seconds})

    def _filter(self, wanted: Shape) -> list[Condition]:
        name, values = wanted.get("name"), wanted.get("values", [])
        if len(values) != 1:
            raise InvalidRequestError(f"Filter {name} must have exactly one value")
        value = values[0]
        prefix = value.endswith("*")
        match name:
            case "JOB_NAME":
                return _named("name", value.lower())
            case "JOB_DEFINITION":
                text = value.rpartition("job-definition/")[2]
                return _named("definition", text if prefix or ":" in text else f"{text}:*")
            case "BEFORE_CREATED_AT" | "AFTER_CREATED_AT" if value.isdigit():
                return [(f"created_at {'<' if name.startswith('BEFORE') else '>'} ?", int(value))]
            case "BEFORE_CREATED_AT" | "AFTER_CREATED_AT":
                raise InvalidRequestError(f"Filter {name} takes a time in milliseconds, not {value}")
            case "SHARE_IDENTIFIER":
                # No queue here has a scheduling policy, so no job has a share.
                return [("seq < ?", 0)]
        raise InvalidRequestError(f"Filter name {name} is not supported")

    # ---- queues and definitions --------------------------------------------------------------------------------

    def describe_job_queues(self, request: Shape) -> Shape:
        """The configured queues; unknown names are left out."""
        asked = {each.rpartition("job-queue/")[2] for each in request.get("jobQueues", ())}
        queues = [
            {
                "jobQueueName": name,
                "jobQueueArn": self._config.arn(f"job-queue/{name}"),
                "state": "ENABLED",
                "status": "VALID",
                "statusReason": "JobQueue Healthy",
                "priority": 1,
                "computeEnvironmentOrder": [
                    {"order": 1, "computeEnvironment": self._config.arn(f"compute-environment/{name}")}
                ],
                "jobQueueType": "ECS",
                "tags": {},
            }
            for name in self._config.queues
            if not asked or name in asked
        ]
        return self._paged("jobQueues", queues, request)

    def describe_job_definitions(self, request: Shape) -> Shape:
        """The configured job definitions; unknown names are left out."""
        asked = {each.rpartition("job-definition/")[2] for each in request.get("jobDefinitions", ())}
        named = request.get("jobDefinitionName", "").rpartition("job-definition/")[2].partition(":")[0]
        definitions = [
            self._describe(definition)
            for definition in self._config.definitions.values()
            if (not asked or definition.revision in asked)
            and named in {"", definition.name}
            and request.get("status", "ACTIVE") == "ACTIVE"
        ]
        return self._paged("jobDefinitions", definitions, request)

    def _describe(self, definition: Definition) -> Shape:
        timeout = definition.timeout_seconds
        return {
            "jobDefinitionName": definition.name,
            "jobDefinitionArn": self._config.arn(f"job-definition/{definition.revision}"),
            "revision": 1,
            "status": "ACTIVE",
            "type": "container",
            "parameters": dict(definition.parameters),
            "retryStrategy": {"attempts": 1, "evaluateOnExit": [], **definition.retry_strategy},
            "containerProperties": {
                "command": list(definition.command),
                "environment": [{"name": name, "value": value} for name, value in definition.environment.items()],
            },
            **({"timeout": {"attemptDurationSeconds": timeout}} if timeout else {}),
            "tags": {},
            "propagateTags": definition.propagate_tags,
            "platformCapabilities": [],
            "containerOrchestrationType": "ECS",
        }

    def _queue(self, given: str) -> str:
        name = given.rpartition(":job-queue/")[2]
        if name in self._config.queues and given in {name, self._config.arn(f"job-queue/{name}")}:
            return name
        _check_resource_name(given)
        raise ClientError(f"JobQueue {given} not found.")

    def _definition(self, given: str) -> Definition:
        text = given.rpartition(":job-definition/")[2]
        definition = self._config.definitions.get(text.partition(":")[0])
        known = {definition.name, definition.revision} if definition else set()
        if definition and given in {*known, *(self._config.arn(f"job-definition/{each}") for each in known)}:
            return definition
        if given.startswith("arn:"):
            raise ClientError(f"JobDefinition {given} not found.")
        _check_resource_name(re.sub(r":\d+$", "", given))
        raise ClientError(f"JobDefinition name {given} does not exist or is not in ACTIVE status")

    def _arn(self, kind: str, given: object) -> str:
        return str(given) if str(given).startswith("arn:") else self._config.arn(f"{kind}/{given}")

    def _paged(self, member: str, items: list[Any], request: Shape) -> Shape:
        scope = {key: value for key, value in request.items() if key not in {"maxResults", "nextToken"}}
        start = self.position(request, scope) or 0
        end = start + self.page_size(request, MAX_FILTERED)
        more = {"nextToken": token(end, scope)} if end < len(items) else {}
        return {member: items[start:end], **more}

    # ---- tags --------------------------------------------------------------------------------------------------

    def tag_resource(self, request: Shape) -> Shape:
        """Add tags to a job."""
        job = self._tagged(request)
        tags = {**job.detail["tags"], **request["tags"]}
        self.check_tags(tags)
        job.detail["tags"] = tags
        self._store.save(job)
        return {}

    def untag_resource(self, request: Shape) -> Shape:
        """Remove tags from a job."""
        job = self._tagged(request)
        job.detail["tags"] = {k: v for k, v in job.detail["tags"].items() if k not in request["tagKeys"]}
        self._store.save(job)
        return {}

    def list_tags_for_resource(self, request: Shape) -> Shape:
        """A job's tags."""
        return {"tags": self._tagged(request).detail["tags"]}

    def _tagged(self, request: Shape) -> Job:
        arn = request["resourceArn"]
        job = self._store.get(Job, arn.rpartition(":job/")[2])
        if job is None:
            raise ClientError(f"Resource {arn} not found; the local stand-in for AWS Batch keeps tags of jobs only")
        return job


def _route(http: Mapping[str, str]) -> tuple[str, re.Pattern[str]]:
    """The method and path of an operation, with its `{labels}` as named groups."""
    return http["method"], re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>.+)", re.escape(http["requestUri"])))


# ---- checks ----------------------------------------------------------------------------------------------------


def _check_resource_name(given: str) -> None:
    if not given.startswith("arn:") and not RESOURCE_NAME.fullmatch(given):
        raise ClientError(f"Provided name {given} is not supported pattern[a-zA-Z_0-9-]{{1,128}}")


def _check_environment(environment: Iterable[Shape]) -> None:
    for each in environment:
        if not each.get("name"):
            raise InvalidRequestError("Environment variable names must not be empty")
        if each["name"].startswith("AWS_BATCH"):
            raise InvalidRequestError(f"Environment variables cannot start with AWS_BATCH: {each['name']}")


def _check_retries(strategy: Shape) -> None:
    attempts = strategy.get("attempts")
    rules = strategy.get("evaluateOnExit", ())
    if attempts is not None and not 1 <= attempts <= MAX_ATTEMPTS:
        raise InvalidRequestError(f"Retry strategy attempts must be between 1 and {MAX_ATTEMPTS}")
    if rules and attempts is None:
        raise InvalidRequestError("Retry strategy attempts must be specified with evaluateOnExit")
    if len(rules) > MAX_RULES:
        raise InvalidRequestError(f"evaluateOnExit can have at most {MAX_RULES} rules")
    for rule in rules:
        conditions = {key: rule[key] for key in _RULE_CONDITIONS if key in rule}
        if rule["action"].upper() not in {"RETRY", "EXIT"} or not conditions:
            raise InvalidRequestError("A rule of evaluateOnExit needs a condition and the action RETRY or EXIT")
        for key, pattern in conditions.items():
            if len(pattern) > 512 or not _RULE_CONDITIONS[key].fullmatch(pattern):
                raise InvalidRequestError(f"{key} is not a valid pattern: {pattern}")


def _check_ending(request: Shape) -> None:
    for member in ("jobId", "reason"):
        if not request[member].strip():
            raise ClientError(f"'{member}' is a required field (cannot be an empty string)")
    if len(request["reason"]) > MAX_REASON:
        raise InvalidRequestError(f"reason must not exceed {MAX_REASON} characters")


# ---- lists -----------------------------------------------------------------------------------------------------


def _named(column: str, value: str) -> list[Condition]:
    """An exact name, or with a trailing asterisk a prefix. Uses comparisons, which an index supports."""
    if not value.endswith("*"):
        return [(f"{column} = ?", value)]
    prefix = value[:-1]
    return [(f"{column} >= ?", prefix), (f"{column} < ?", prefix + chr(0x10FFFF))]


def _summary(detail: Shape) -> Shape:
    copied = (
        "jobArn",
        "jobId",
        "jobName",
        "createdAt",
        "status",
        "statusReason",
        "startedAt",
        "stoppedAt",
        "jobDefinition",
        "isCancelled",
        "isTerminated",
    )
    outcome = {key: detail["container"][key] for key in ("exitCode", "reason") if key in detail["container"]}
    return {key: detail[key] for key in copied if key in detail} | ({"container": outcome} if outcome else {})
