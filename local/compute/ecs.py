"""Amazon ECS's operations for tasks on Fargate: checks of requests, and responses.

Limits and error messages come from the API reference (https://docs.aws.amazon.com/AmazonECS/latest/APIReference/) and
from errors seen on AWS. Every task definition has one container and the network mode `awsvpc`. Unsupported features
(services, container instances, volumes, ECS Exec) are refused, never ignored.
"""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping

from starlette.requests import Request

from local.compute import supervisor
from local.compute.config import Config, Place, Shape, TaskDefinition
from local.compute.errors import (
    ClientError,
    ClusterNotFoundError,
    ConflictError,
    InvalidParameterError,
    PlatformUnknownError,
    RateExceededError,
    ServiceNotFoundError,
)
from local.compute.runs import Task
from local.compute.service import Grant, Service, token
from local.compute.store import Condition, Store
from local.compute.tasks import Tasks, new_secret

TARGET = "AmazonEC2ContainerServiceV20141113"
"""The prefix of its operations' names in `X-Amz-Target`."""

MAX_OVERRIDES = 8192
MAX_COUNT = 10
MAX_DESCRIBED = 100
MAX_LISTED = 100
MAX_SUBNETS = 16
MAX_SECURITY_GROUPS = 5
SHOWN_MS = 3600 * 1000
"""How long ECS shows a stopped task."""
TOKEN_MS = 24 * 3600 * 1000
"""How long ECS remembers a client token, unless its task is forgotten first."""

CLIENT_TOKEN = re.compile(r"[!-~]{1,64}")
STARTED_BY = re.compile(r"[A-Za-z0-9_/-]{1,128}")
TASK_ID = re.compile(r"[0-9a-f]{32}|[0-9a-f-]{36}")
CAPACITY_PROVIDERS = ("FARGATE", "FARGATE_SPOT")
PLATFORMS = ("LATEST", "1.4.0", "1.3.0")
DEFAULT_CLUSTER = "default"

UNSUPPORTED = ("enableExecuteCommand", "referenceId", "volumeConfigurations")
UNSUPPORTED_OVERRIDES = ("inferenceAcceleratorOverrides", "executionRoleArn", "taskRoleArn", "ephemeralStorage")
UNSUPPORTED_CONTAINER_OVERRIDES = ("environmentFiles", "resourceRequirements")


class Ecs(Service):
    """Amazon ECS."""

    name = "ecs"
    title = "Amazon ECS"
    invalid = InvalidParameterError
    throttled = RateExceededError

    def __init__(self, config: Config, store: Store, tasks: Tasks) -> None:
        super().__init__()
        self._config = config
        self._store = store
        self._tasks = tasks

    @property
    def operations(self) -> Mapping[str, Callable[[Shape], Shape]]:
        """The supported operations."""
        return {
            "RunTask": self.run_task,
            "StopTask": self.stop_task,
            "DescribeTasks": self.describe_tasks,
            "ListTasks": self.list_tasks,
        }

    def named(self, request: Request) -> tuple[str, Shape]:
        """The operation is the second part of `X-Amz-Target`."""
        name = request.headers["x-amz-target"].partition(".")[2]
        # The emulator would read an action from path or query before it looks at the header.
        if request.method != "POST" or request.url.path != "/" or request.url.query:
            raise ClientError(f"no operation of Amazon ECS: {request.method} {request.url.path}")
        return name, {}

    def aliases(self, request: Shape) -> tuple[str, ...]:
        """The task's `startedBy` and its family."""
        family = str(request.get("taskDefinition", "")).rpartition("/")[2].partition(":")[0]
        return str(request.get("startedBy", "")), family

    def grants(self, operation: str, request: Shape) -> list[Grant]:
        """RunTask needs a revision of a task definition as its resource, and passes a role to the task."""
        action = f"ecs:{operation}"
        cluster = str(request.get("cluster", DEFAULT_CLUSTER)).rpartition("/")[2]
        match operation:
            case "RunTask":
                given = str(request.get("taskDefinition"))
                definition = self._found(given)
                needed = [Grant(action, (self._arn_of(definition.revision if definition else given),))]
                if definition and definition.task_role_arn:
                    needed.append(Grant("iam:PassRole", (definition.task_role_arn,)))
                if request.get("tags"):
                    needed.append(Grant("ecs:TagResource", (self._config.arn(f"task/{cluster}/*", "ecs"),)))
                return needed
            case "StopTask":
                return [Grant(action, (self._task_arn(cluster, str(request.get("task"))),))]
            case "DescribeTasks":
                return [Grant(action, tuple(self._task_arn(cluster, each) for each in request.get("tasks", ())))]
            case _:
                return [Grant(action)]

    # ---- RunTask -----------------------------------------------------------------------------------------------

    def run_task(self, request: Shape) -> Shape:
        """Start a task, or return the one that the same request with the same client token has started."""
        cluster = self._cluster(request)
        definition = self._definition(request["taskDefinition"])
        self._check(request, definition)
        client_token = request.get("clientToken")
        digest = hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()
        if client_token and (known := self._with_token(cluster, client_token)):
            if known.own["request"] != digest:
                raise ConflictError([known.arn])
            return {"tasks": [known.detail], "failures": []}
        if self._tasks.busy(cluster) >= cluster.max_running:
            return self.no_room(request, "RESOURCE:CPU")
        task = self._task(request, cluster, definition, digest)
        self._tasks.run(task, client_token)
        return {"tasks": [task.detail], "failures": []}

    def no_room(self, request: Shape, reason: str) -> Shape:
        """RunTask's response if a task can't be placed."""
        cluster = self._cluster(request).name
        arn = self._config.arn(f"container-instance/{cluster}/{uuid.uuid4().hex}", "ecs")
        return {"tasks": [], "failures": [{"arn": arn, "reason": reason}]}

    def _check(self, request: Shape, definition: TaskDefinition) -> None:
        self.check_unsupported(request, UNSUPPORTED)
        count = request.get("count", 1)
        if not 1 <= count <= MAX_COUNT:
            raise InvalidParameterError(f"Tasks count must be between 1 and {MAX_COUNT}.")
        if count > 1:
            raise ClientError("the local stand-in for Amazon ECS starts one task per call")
        if (given := request.get("clientToken")) is not None and not CLIENT_TOKEN.fullmatch(given):
            raise InvalidParameterError("Client token must have 1 to 64 characters in the range of 33-126.")
        if (started_by := request.get("startedBy")) is not None and not STARTED_BY.fullmatch(started_by):
            raise InvalidParameterError("startedBy must have up to 128 letters, digits, hyphens, slashes, underscores.")
        if request.get("propagateTags", "NONE") not in {"NONE", "TASK_DEFINITION"}:
            raise InvalidParameterError("Tags can be propagated from a task definition only.")
        tags = request.get("tags", [])
        if len({tag.get("key") for tag in tags}) < len(tags):
            raise InvalidParameterError("Tag keys must be unique.")
        self.check_tags({tag.get("key", ""): tag.get("value", "") for tag in tags})
        _check_placement(request)
        _check_network(request.get("networkConfiguration", {}).get("awsvpcConfiguration"))
        self._check_overrides(request.get("overrides", {}), definition)

    def _check_overrides(self, overrides: Shape, definition: TaskDefinition) -> None:
        if len(json.dumps(overrides, separators=(",", ":"), ensure_ascii=False)) > MAX_OVERRIDES:
            raise InvalidParameterError(f"Container Overrides length must be at most {MAX_OVERRIDES}")
        self.check_unsupported(overrides, UNSUPPORTED_OVERRIDES)
        containers = overrides.get("containerOverrides", [])
        for each in containers:
            self.check_unsupported(each, UNSUPPORTED_CONTAINER_OVERRIDES)
            if each.get("name") != definition.container:
                raise InvalidParameterError(
                    f"Override for container named {each.get('name')} is not a container in the TaskDefinition."
                )
            if not all(pair.get("name") for pair in each.get("environment", ())):
                raise InvalidParameterError("Environment variable names must not be empty.")
        if len(containers) > 1:
            raise InvalidParameterError(f"There is more than one override for container {definition.container}.")

    def _task(self, request: Shape, cluster: Place, definition: TaskDefinition, digest: str) -> Task:
        task_id = uuid.uuid4().hex
        arn = self._config.arn(f"task/{cluster.name}/{task_id}", "ecs")
        overrides = request.get("overrides", {})
        provider = _provider(request)
        started_by = request.get("startedBy")
        subnets = request["networkConfiguration"]["awsvpcConfiguration"]["subnets"]
        managed = [{"key": "aws:ecs:clusterName", "value": cluster.name}] if request.get("enableECSManagedTags") else []
        detail = {
            "attachments": [
                {
                    "id": str(uuid.uuid4()),
                    "type": "ElasticNetworkInterface",
                    "status": "PRECREATED",
                    "details": [{"name": "subnetId", "value": subnets[0]}],
                }
            ],
            "attributes": [{"name": "ecs.cpu-architecture", "value": "x86_64"}],
            "availabilityZone": f"{self._config.region}a",
            **({"capacityProviderName": provider} if provider else {}),
            "clusterArn": self._config.arn(f"cluster/{cluster.name}", "ecs"),
            "containers": [
                {
                    "containerArn": self._config.arn(f"container/{cluster.name}/{task_id}/{uuid.uuid4()}", "ecs"),
                    "taskArn": arn,
                    "name": definition.container,
                    "image": f"{definition.name}:local",
                    "lastStatus": "PENDING",
                    "networkInterfaces": [],
                    "cpu": "0",
                }
            ],
            "cpu": overrides.get("cpu", "1024"),
            "createdAt": supervisor.now() / 1000,
            "desiredStatus": "RUNNING",
            "enableExecuteCommand": False,
            "group": request.get("group", f"family:{definition.name}"),
            "lastStatus": "PROVISIONING",
            "launchType": "FARGATE",
            "memory": overrides.get("memory", "2048"),
            "overrides": {"containerOverrides": [], "inferenceAcceleratorOverrides": [], **overrides},
            "platformFamily": "Linux",
            "platformVersion": "1.4.0",
            **({"startedBy": started_by} if started_by else {}),
            "tags": [*request.get("tags", ()), *managed],
            "taskArn": arn,
            "taskDefinitionArn": self._arn_of(definition.revision),
            "version": 1,
        }
        own = {
            "command": list(definition.command),
            "environment": dict(definition.environment),
            "cwd": definition.cwd,
            "graceSeconds": definition.grace_seconds,
            "request": digest,
            "secret": new_secret(),
        }
        return Task(detail, own)

    def _with_token(self, cluster: Place, client_token: str) -> Task | None:
        since = supervisor.now() - TOKEN_MS
        conditions: list[Condition] = [
            ("place = ?", cluster.name),
            ("token = ?", client_token),
            ("created_at > ?", since),
        ]
        tasks = self._store.page(Task, [*conditions, _shown()], before=None, limit=1)
        return tasks[0] if tasks else None

    # ---- the others --------------------------------------------------------------------------------------------

    def stop_task(self, request: Shape) -> Shape:
        """End a task. No effect on a task that has ended."""
        cluster = self._cluster(request)
        arn = self._task_arn(cluster.name, request["task"], check=True)
        task = self._known(arn)
        if task is None:
            raise InvalidParameterError("The referenced task was not found.")
        self._tasks.stop(task, "UserInitiated", request.get("reason", "Task stopped by user"))
        return {"task": task.detail}

    def describe_tasks(self, request: Shape) -> Shape:
        """Up to 100 tasks in full; unknown ones are listed as failures."""
        cluster = self._cluster(request)
        if not request["tasks"]:
            raise InvalidParameterError("Tasks cannot be empty.")
        if len(request["tasks"]) > MAX_DESCRIBED:
            raise InvalidParameterError(f"Tasks cannot have more than {MAX_DESCRIBED} elements.")
        include = set(request.get("include", ()))
        if include - {"TAGS"}:
            raise InvalidParameterError(f"Unknown value of include: {', '.join(sorted(include - {'TAGS'}))}")
        arns = dict.fromkeys(self._task_arn(cluster.name, each, check=True) for each in request["tasks"])
        found = {arn: self._known(arn) for arn in arns}
        return {
            "tasks": [task.detail if include else _untagged(task.detail) for task in found.values() if task],
            "failures": [{"arn": arn, "reason": "MISSING"} for arn, task in found.items() if task is None],
        }

    def list_tasks(self, request: Shape) -> Shape:
        """ARNs of tasks by desired status (by default RUNNING), newest first."""
        cluster = self._cluster(request)
        filters = {key: value for key, value in request.items() if key not in {"cluster", "maxResults", "nextToken"}}
        if "startedBy" in filters and len(filters) > 1:
            raise InvalidParameterError("startedBy must be the only filter.")
        self.check_unsupported(filters, ("containerInstance", "daemonName"))
        if "serviceName" in filters:
            raise ServiceNotFoundError
        desired = filters.get("desiredStatus", "RUNNING")
        if desired not in {"RUNNING", "PENDING", "STOPPED"}:
            raise InvalidParameterError(f"{desired} is not a desired status.")
        if not 1 <= request.get("maxResults", MAX_LISTED) <= MAX_LISTED:
            raise InvalidParameterError(f"maxResults must be between 1 and {MAX_LISTED}.")
        conditions: list[Condition] = [
            ("place = ?", cluster.name),
            ("detail ->> 'desiredStatus' = ?", desired),
            _shown(),
            *([("name = ?", filters["startedBy"])] if "startedBy" in filters else []),
            *([("definition LIKE ? || ':%'", filters["family"])] if "family" in filters else []),
            *([("detail ->> 'launchType' = ?", filters["launchType"])] if "launchType" in filters else []),
        ]
        size = self.page_size(request, MAX_LISTED)
        scope = [cluster.name, filters]
        # Reading one more than requested shows whether there is a next page.
        tasks = self._store.page(Task, conditions, before=self.position(request, scope), limit=size + 1)
        answer: Shape = {"taskArns": [task.arn for task in tasks[:size]]}
        if len(tasks) > size:
            answer["nextToken"] = token(tasks[size - 1].seq, scope)
        return answer

    # ---- clusters, definitions, tasks --------------------------------------------------------------------------

    def _cluster(self, request: Shape) -> Place:
        given = request.get("cluster", DEFAULT_CLUSTER)
        name = given.rpartition(":cluster/")[2]
        cluster = self._config.clusters.get(name)
        if cluster is None or given not in {name, self._config.arn(f"cluster/{name}", "ecs")}:
            raise ClusterNotFoundError
        return cluster

    def _definition(self, given: str) -> TaskDefinition:
        definition = self._found(given)
        if definition is None:
            raise ClientError("TaskDefinition not found.")
        return definition

    def _found(self, given: str) -> TaskDefinition | None:
        family = given.rpartition(":task-definition/")[2].partition(":")[0]
        definition = self._config.task_definitions.get(family)
        known = {definition.name, definition.revision} if definition else set()
        return definition if given in {*known, *map(self._arn_of, known)} else None

    def _arn_of(self, definition: str) -> str:
        return definition if definition.startswith("arn:") else self._config.arn(f"task-definition/{definition}", "ecs")

    def _task_arn(self, cluster: str, given: str, *, check: bool = False) -> str:
        if check and not TASK_ID.fullmatch(given.rpartition("/")[2]):
            raise InvalidParameterError("taskId length should be one of [32,36]")
        return given if given.startswith("arn:") else self._config.arn(f"task/{cluster}/{given}", "ecs")

    def _known(self, arn: str) -> Task | None:
        task = self._store.get(Task, arn.rpartition("/")[2])
        if task is None or task.arn != arn:
            return None
        forgotten = task.ended_at is not None and task.ended_at <= supervisor.now() - SHOWN_MS
        return None if forgotten else task


def _shown() -> Condition:
    return "(ended_at IS NULL OR ended_at > ?)", supervisor.now() - SHOWN_MS


def _untagged(detail: Shape) -> Shape:
    return {**detail, "tags": []}


def _provider(request: Shape) -> str | None:
    """The capacity provider for a single task: the one with the highest base, then the highest weight."""
    strategy = request.get("capacityProviderStrategy", [])
    best = max(strategy, key=lambda each: (each.get("base", 0), each.get("weight", 0)), default=None)
    return str(best["capacityProvider"]) if best else None


# ---- checks ----------------------------------------------------------------------------------------------------


def _check_placement(request: Shape) -> None:
    strategy = request.get("capacityProviderStrategy", [])
    launch_type = request.get("launchType")
    if launch_type and strategy:
        raise InvalidParameterError(
            "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again."
        )
    if launch_type not in {None, "EC2", "FARGATE", "EXTERNAL"}:
        raise InvalidParameterError(f"Unknown launch type: {launch_type}")
    for each in strategy:
        if each["capacityProvider"] not in CAPACITY_PROVIDERS:
            raise InvalidParameterError(
                f"The specified capacity provider '{each['capacityProvider']}' was not found. "
                "Specify a valid name or ARN and try again."
            )
    if strategy and not any(each.get("weight", 0) for each in strategy):
        raise InvalidParameterError("At least one capacity provider of a strategy must have a weight above 0.")
    if not strategy and launch_type != "FARGATE":
        raise InvalidParameterError("No Container Instances were found in your cluster.")
    if request.get("placementConstraints") or request.get("placementStrategy"):
        raise InvalidParameterError("Placement constraints and strategies are not supported with FARGATE launch type.")
    if request.get("platformVersion", "LATEST") not in PLATFORMS:
        raise PlatformUnknownError


def _check_network(configuration: Shape | None) -> None:
    if not configuration:
        raise InvalidParameterError("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
    if not 1 <= len(configuration["subnets"]) <= MAX_SUBNETS:
        raise InvalidParameterError(f"Between 1 and {MAX_SUBNETS} subnets must be given.")
    if len(configuration.get("securityGroups", ())) > MAX_SECURITY_GROUPS:
        raise InvalidParameterError(f"At most {MAX_SECURITY_GROUPS} security groups can be given.")
    if configuration.get("assignPublicIp", "DISABLED") not in {"ENABLED", "DISABLED"}:
        raise InvalidParameterError("assignPublicIp must be ENABLED or DISABLED.")
