"""The local system as one object: its processes, the deployed template, and AWS clients for it.

    with LocalStack(folder).running() as stack:
        stack.client("s3").upload_file("clip.mp4", stack.resource("MediaBucket"), "uploads/clip.mp4")

The state folder records what runs, so that a later command finds it: `python -m local status`.
"""

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Self

import boto3
from botocore.config import Config

from local import emulator, players, workers
from local.environment import ROOT, STATE, VENVS, sealed
from local.models import MODELS
from local.processes import (
    Process,
    answers,
    free_ports,
    locked,
    run,
    uninterrupted,
    wait_until_answering,
)

STACK_NAME: Final = "switchyard-local"

_BUILD: Final = ROOT / ".aws-sam"
_SAM: Final = VENVS / "sam" / "bin" / "sam"

VECTOR_INDEX: Final[Mapping[str, Any]] = {
    "indexName": "minilm-l6-v2-384",
    "dataType": "float32",
    "dimension": 384,
    "distanceMetric": "cosine",
    "metadataConfiguration": {"nonFilterableMetadataKeys": ["text", "screen", "times", "turns", "frame", "video"]},
}
"""The index of videos, as in template.yaml."""

_PLATFORM_LINES: Final = ("START RequestId", "END RequestId", "REPORT RequestId")

type Say = Callable[[str], None]


class NotRunningError(Exception):
    """The local system isn't running, or only part of it is."""


@dataclass(frozen=True, slots=True)
class Server:
    """A server process and its port."""

    pid: int
    started: str
    port: int

    @property
    def process(self) -> Process:
        """The process itself."""
        return Process(self.pid, self.started)

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"


@dataclass(slots=True)
class _State:
    """The content of `state.json`.

    Attributes:
        built: The digest of the sources that were deployed.
        parameters: The template's parameters as deployed.
        resources: Physical names by logical id.
        secrets: The template's parameters for the secrets that imports read.
        api_key: The value of the API key that the template creates; the client reads it here.
    """

    emulator: Server | None = None
    compute: Server | None = None
    steam: Server | None = None
    built: str = ""
    parameters: dict[str, str] = field(default_factory=dict)
    resources: dict[str, str] = field(default_factory=dict)
    secrets: dict[str, str] = field(default_factory=dict)
    api_key: str = ""

    @classmethod
    def read(cls, path: Path) -> Self:
        try:
            raw = json.loads(path.read_text())
        except FileNotFoundError:
            return cls()
        for server in ("emulator", "compute", "steam"):
            raw[server] = raw.get(server) and Server(**raw[server])
        return cls(**raw)

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = path.with_suffix(".new")
        whole.write_text(json.dumps(asdict(self), indent=2))
        whole.replace(path)  # a reader sees the old file or the new one, never half of it


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a function logged, and when (epoch seconds)."""

    time: float
    text: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What `up` has done.

    Attributes:
        started: Whether it started the processes, rather than found them running.
        deployed: Whether it deployed the template.
    """

    started: bool
    deployed: bool


class LocalStack:
    """The system on this machine, with all its files in one folder.

    Args:
        state: The folder for its processes' files and logs.
        parameters: The template's parameters that differ from the defaults.
        definitions: The job definitions of the stand-in for Batch, by name.
        tasks: The task definitions of the stand-in for ECS, by family.
        emulator_environment: More environment variables for the emulator, which functions inherit.
    """

    def __init__(
        self,
        state: Path = STATE,
        *,
        parameters: Mapping[str, str] | None = None,
        definitions: Mapping[str, workers.JobDefinition] | None = None,
        tasks: Mapping[str, workers.TaskDefinition] | None = None,
        emulator_environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = state
        self._wanted = dict(parameters or {})
        self._definitions = dict(definitions or workers.DEFINITIONS)
        self._tasks = dict(tasks or workers.TASKS)
        self._emulator_environment = dict(emulator_environment or {})
        self._file = state / "state.json"
        self._state = _State.read(self._file)
        self._clients: dict[str, Any] = {}

    # ---- what runs ---------------------------------------------------------------------------------------

    @property
    def emulator(self) -> Server:
        """The AWS emulator.

        Raises:
            NotRunningError: If it isn't running.
        """
        return _running("the emulator", self._state.emulator)

    @property
    def compute(self) -> Server:
        """The stand-in for Batch and ECS.

        Raises:
            NotRunningError: If it isn't running.
        """
        return _running("the stand-in for Batch and ECS", self._state.compute)

    @property
    def steam(self) -> Server:
        """The stand-in for Steam and IGDB.

        Raises:
            NotRunningError: If it isn't running.
        """
        return _running("the stand-in for Steam and IGDB", self._state.steam)

    @property
    def resources(self) -> Mapping[str, str]:
        """Physical names of the deployed resources, by logical id."""
        return self._state.resources

    @property
    def parameters(self) -> Mapping[str, str]:
        """The parameters as last deployed."""
        return self._state.parameters

    @property
    def logs(self) -> Path:
        """The folder of the processes' output: emulator.log, compute.log, steam.log, build.log, deploy.log."""
        return self.folder / "logs"

    def resource(self, logical_id: str) -> str:
        """The physical name of a resource in the template; a queue's is its URL.

        Raises:
            NotRunningError: If the resource isn't deployed.
        """
        try:
            return self._state.resources[logical_id]
        except KeyError:
            raise NotRunningError(f"{logical_id} isn't deployed here; `make up` deploys the system") from None

    # boto3's stubs know a client's type only for literal service names; callers annotate it.
    def client(self, service: str, **credentials: str) -> Any:  # noqa: ANN401
        """A boto3 client for the local system. For Batch, ECS and S3 Vectors it uses the stand-in, as functions do.

        Args:
            service: boto3's name of the service.
            credentials: Credentials other than the root user's, as `boto3.client` takes them.
        """
        server = self.compute if service in {"batch", "ecs", "s3vectors"} else self.emulator
        if credentials:
            return _client(service, server.url, credentials)
        if service not in self._clients:
            self._clients[service] = _client(service, server.url, {})
        return self._clients[service]

    def function_log(self, logical_id: str, since: float = 0) -> list[LogLine]:
        """The lines that a function logged itself, oldest first.

        Args:
            logical_id: The function's logical id.
            since: Only lines from this time on (epoch seconds).
        """
        pages = self.client("logs").get_paginator("filter_log_events")
        name = f"/aws/lambda/{self.resource(logical_id)}"
        try:
            events = [
                event
                for page in pages.paginate(logGroupName=name, startTime=int(since * 1000))
                for event in page["events"]
            ]
        except self.client("logs").exceptions.ResourceNotFoundException:
            return []  # never invoked
        # Sorting is stable: lines of the same millisecond keep their order.
        return [
            LogLine(event["timestamp"] / 1000, event["message"].rstrip())
            for event in sorted(events, key=lambda event: event["timestamp"])
            if not event["message"].startswith(_PLATFORM_LINES)
        ]

    # ---- start, deploy, stop -----------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self, say: Say = lambda _: None) -> Iterator[Self]:
        """Run the system for a `with` block, and end it afterwards in any case."""
        try:
            self.up(say)
            yield self
        finally:
            self.down()

    def up(self, say: Say = lambda _: None) -> Outcome:
        """Start what isn't running and deploy what has changed.

        Raises:
            CommandFailedError: If `sam` fails; the message holds the end of its output.
        """
        with locked(self.folder / "lock"):
            self._state = _State.read(self._file)
            digest = self._build(say)
            started = not (
                _answering(self._state.emulator, emulator.HEALTH) and self._state.compute and self._state.steam
            )
            try:
                if started:
                    self._stop()
                    self._start(say)
                elif not (
                    _answering(self._state.compute, workers.HEALTH)
                    and workers.knows(self.folder / "compute", self._definitions)
                ):
                    say("restarting the stand-in for Batch and ECS; its jobs stay")
                    self.restart_compute()
                if self._state.steam and not _answering(self._state.steam, players.HEALTH):
                    say("restarting the stand-in for Steam and IGDB; its players are gone")
                    self._start_steam(self._state.steam.port)
                deployed = (digest, self._parameters()) != (self._state.built, self._state.parameters)
                if deployed:
                    self._sam_deploy(digest, say)
            except BaseException:
                if started:
                    self._stop()
                raise
            return Outcome(started, deployed)

    def down(self) -> bool:
        """End every process and forget what was deployed; logs and results stay.

        Returns:
            Whether anything ran.
        """
        with locked(self.folder / "lock"):
            self._state = _State.read(self._file)
            ran = self._state.emulator is not None
            self._stop()
            return ran

    def redeploy(self, **parameters: str) -> None:
        """Deploy the same template with changed parameters; the others keep their values."""
        changed = self._state.parameters | parameters
        if changed == self._state.parameters:
            return
        cloudformation = self.client("cloudformation")
        cloudformation.update_stack(
            StackName=STACK_NAME,
            UsePreviousTemplate=True,
            Capabilities=["CAPABILITY_IAM", "CAPABILITY_AUTO_EXPAND"],
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in changed.items()],
        )
        cloudformation.get_waiter("stack_update_complete").wait(
            StackName=STACK_NAME, WaiterConfig={"Delay": 0.1, "MaxAttempts": 600}
        )
        self._state.parameters = changed
        self._record()

    def restart_compute(self, *, crash: bool = True, room: int = workers.ROOM) -> None:
        """Restart the stand-in for Batch and ECS on the same port, with its jobs.

        Args:
            crash: Kill it, so that it can't clean up.
            room: How many jobs and tasks run at once from now on; 0 simulates a missing machine.
        """
        server = self._state.compute
        if server is None:
            raise NotRunningError("the stand-in for Batch and ECS was never started")
        if crash:
            server.process.kill()
        else:
            server.process.stop()
        self._start_compute(server.port, room)

    def _parameters(self) -> dict[str, str]:
        return {
            "Environment": "local",
            "Local": "true",
            "SearchIndex": "s3vectors",
            "Console": "true",
            "BatchJobQueue": workers.QUEUE,
            "BatchJobDefinition": next(iter(self._definitions)),
            "EcsCluster": workers.CLUSTER,
            "RecorderTaskDefinition": "record-stream",
            "ImageTaskDefinition": "detect-objects",
            "TaskRoleArns": workers.TASK_ROLE,
            "JobLogGroup": workers.JOB_LOG_GROUP,
            "TaskLogGroup": workers.TASK_LOG_GROUP,
            "SubnetIds": "subnet-00000000",
            "SecurityGroupIds": "sg-00000000",
            "SteamStandIn": self.steam.url,
            "Notifications": "all",
            "TaskTokens": "true",
            **self._state.secrets,
            # Tests send requests as fast as they can.
            "ApiRateLimit": "10000",
            "ApiBurstLimit": "5000",
            "ApiDailyQuota": "1000000000",
        } | self._wanted

    def _start(self, say: Say) -> None:
        for name in ("emulator", "compute"):  # files of a previous emulator, which is gone
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.logs / f"{name}.log").unlink(missing_ok=True)
        (self.logs / "steam.log").unlink(missing_ok=True)
        for _ in range(3):
            port, compute_port, steam_port = free_ports(3)
            say(f"starting the AWS emulator on port {port}, Batch and ECS on {compute_port}, Steam on {steam_port}")
            with uninterrupted():
                process = emulator.start_emulator(
                    port=port,
                    compute_port=compute_port,
                    state=self.folder / "emulator",
                    log=self.logs / "emulator.log",
                    extra=self._emulator_environment,
                )
                self._state.emulator = Server(process.pid, process.started, port)
                self._record()
            # On failure, another process may have taken a port since we chose it: try other ports.
            if (
                wait_until_answering(process, port, emulator.HEALTH)
                and self._start_compute(compute_port)
                and self._start_steam(steam_port)
            ):
                return
            self._stop()
        raise NotRunningError(f"the emulator or one of the stand-ins did not start: see {self.logs}")

    def _start_compute(self, port: int, room: int = workers.ROOM) -> bool:
        with uninterrupted():
            process = workers.start_compute(
                port=port,
                emulator=self.emulator.url,
                state=self.folder / "compute",
                log=self.logs / "compute.log",
                definitions=self._definitions,
                tasks=self._tasks,
                room=room,
            )
            self._state.compute = Server(process.pid, process.started, port)
            self._record()
        return wait_until_answering(process, port, workers.HEALTH)

    def _start_steam(self, port: int) -> bool:
        with uninterrupted():
            process = players.start_steam(port=port, log=self.logs / "steam.log")
            self._state.steam = Server(process.pid, process.started, port)
            self._state.secrets = self._state.secrets or players.make_secrets(self.client("secretsmanager"))
            self._record()
        return wait_until_answering(process, port, players.HEALTH)

    def _create_index(self) -> None:
        """Creates the index of videos as template.yaml does on AWS; the emulator can't."""
        vectors, name = self.client("s3vectors"), f"{STACK_NAME}-search"
        with contextlib.suppress(vectors.exceptions.ConflictException):
            vectors.create_vector_bucket(vectorBucketName=name)
        with contextlib.suppress(vectors.exceptions.ConflictException):
            vectors.create_index(vectorBucketName=name, **VECTOR_INDEX)

    def _stop(self) -> None:
        with uninterrupted():
            # The stand-in for Batch and ECS first: workers end with it.
            for server in (self._state.compute, self._state.steam, self._state.emulator):
                if server is not None:
                    server.process.stop()
            workers.stop_workers(self.folder / "compute")
            self._state = _State()
            self._clients.clear()
            self._file.unlink(missing_ok=True)

    def _build(self, say: Say) -> str:
        """Run `sam build` if the sources have changed since the last build; the sources' digest."""
        stamp = _BUILD / "sources.sha256"
        with locked(STATE / "build.lock"):  # all stacks of this clone share one build folder
            digest = _digest()
            if stamp.exists() and stamp.read_text() == digest:
                return digest
            say("building functions and layer (sam build)")
            run(
                [_SAM, "build", "--cached", "--parallel"],
                env=_sam_environment(None),
                cwd=ROOT,
                log=self.logs / "build.log",
            )
            stamp.write_text(digest)
            return digest

    def _sam_deploy(self, digest: str, say: Say) -> None:
        say("deploying template.yaml to the emulator (sam deploy)")
        parameters = self._parameters()
        run(
            [
                *(_SAM, "deploy", "--config-file", ROOT / "samconfig.toml", "--config-env", "local"),
                *("--stack-name", STACK_NAME, "--no-progressbar"),
                # sam can't set a parameter to an empty value; `redeploy` can.
                *("--parameter-overrides", *(f"{key}={value}" for key, value in parameters.items() if value)),
            ],
            env=_sam_environment(self.emulator.url),
            cwd=ROOT,
            log=self.logs / "deploy.log",
        )
        pages = self.client("cloudformation").get_paginator("list_stack_resources")
        self._state.resources = {
            resource["LogicalResourceId"]: resource["PhysicalResourceId"]
            for page in pages.paginate(StackName=STACK_NAME)
            for resource in page["StackResourceSummaries"]
            if "PhysicalResourceId" in resource
        }
        key = self.client("apigateway").get_api_key(apiKey=self.resource("ApiKey"), includeValue=True)
        self._state.api_key = str(key["value"])
        self._create_index()
        self._state.built, self._state.parameters = digest, parameters
        self._record()

    def _record(self) -> None:
        self._state.write(self._file)


def _running(name: str, server: Server | None) -> Server:
    if server is None or not server.process.is_alive():
        raise NotRunningError(f"{name} isn't running; `make up` starts it")
    return server


def _client(service: str, url: str, credentials: Mapping[str, str]) -> Any:  # noqa: ANN401 - as LocalStack.client
    return boto3.client(  # type: ignore[call-overload]  # its overloads take only literal names
        service,
        endpoint_url=url,
        config=Config(s3={"addressing_style": "path"}, proxies={}, max_pool_connections=32),
        **credentials,
    )


def _answering(server: Server | None, path: str) -> bool:
    return server is not None and server.process.is_alive() and answers(server.port, path)


def _digest() -> str:
    """A digest of all files that `sam build` reads."""
    files = [ROOT / "template.yaml"]
    for folder in ("console", "functions", "layers", "stacks"):
        files += sorted(path for path in (ROOT / folder).rglob("*") if path.is_file())
    whole = hashlib.sha256()
    for path in files:
        if path.suffix != ".pyc":
            whole.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return whole.hexdigest()


def _sam_environment(endpoint: str | None) -> dict[str, str]:
    """The user's environment without their AWS settings, with a `python3.13` that has pip first on PATH."""
    env = sealed(os.environ, endpoint)
    # The layer that embeds questions takes its model from here, and fetches it only once.
    models = {"MODELS": str(MODELS)}
    return env | models | {"PATH": f"{VENVS / 'uv' / 'bin'}{os.pathsep}{env['PATH']}", "SAM_CLI_TELEMETRY": "0"}
