"""HTTP: AWS Batch under /v1/, Amazon ECS by `X-Amz-Target`, S3 Vectors by its signature, ours under /_compute/."""

import asyncio
import contextlib
import json
import socket
import struct
import uuid
from asyncio import Transport
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import ClassVar, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.compute.authorize import Gatekeeper, SignedRequest
from local.compute.batch import Batch
from local.compute.config import Shape
from local.compute.ecs import TARGET, Ecs
from local.compute.engine import Engine
from local.compute.errors import ApiError, ClientError, UnsignedError
from local.compute.events import Outbox
from local.compute.faults import Fault, Faults
from local.compute.runs import ComputeRun, Job, Task
from local.compute.service import Service
from local.compute.store import Condition, Store
from local.compute.tasks import METADATA, Tasks
from local.vectors.service import Vectors

LOG_CHUNK_BYTES = 1 << 20
MAX_SHOWN = 1000


class Wire(H11Protocol):
    """uvicorn's HTTP protocol, which also records its connections, so that a fault can cut one."""

    open: ClassVar[dict[tuple[str, int], Transport]] = {}

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Remember the connection by the caller's address."""
        super().connection_made(transport)
        # asyncio sets it only on sockets made with an explicit protocol number; without it each response takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open[transport.get_extra_info("peername")] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.open.pop(self.transport.get_extra_info("peername"), None)
        super().connection_lost(exc)


class _Torn(JSONResponse):
    """A response whose second half is never sent."""

    def __init__(self, request: Request, content: Shape) -> None:
        super().__init__(content, headers=_request_id())
        self._request = request

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Announce the complete body, send half of it, and close the connection."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        await send({"type": "http.response.body", "body": self.body[: len(self.body) // 2], "more_body": True})
        _hang_up(self._request)
        await asyncio.sleep(0)


@dataclass(frozen=True)
class Api:
    """The endpoints."""

    batch: Batch
    ecs: Ecs
    vectors: Vectors
    tasks: Tasks
    store: Store
    engine: Engine
    outbox: Outbox
    faults: Faults
    gatekeeper: Gatekeeper | None
    calls: Counter[str] = field(default_factory=Counter)

    def application(self, lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]]) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/_compute/health", self.health),
                Route("/_compute/jobs", self.jobs),
                Route("/_compute/jobs/{id}", self.forget_job, methods=["DELETE"]),
                Route("/_compute/jobs/{id}/log", self.log),
                Route("/_compute/tasks", self.all_tasks),
                Route("/_compute/tasks/{id}/log", self.log),
                Route("/_compute/tasks/{id}/stop", self.stop_task, methods=["POST"]),
                Route(METADATA + "{token}/task", self.metadata),
                Route("/_compute/faults", self.add_faults, methods=["POST"]),
                Route("/_compute/faults", self.report_faults, methods=["GET"]),
                Route("/_compute/faults", self.clear_faults, methods=["DELETE"]),
                Route("/{path:path}", self.aws, methods=["GET", "POST", "PUT", "DELETE"]),
            ],
            lifespan=lifespan,
            exception_handlers={ApiError: _error},
        )

    # ---- AWS ---------------------------------------------------------------------------------------------------

    async def aws(self, request: Request) -> Response:
        """Any call of AWS Batch, Amazon ECS or S3 Vectors."""
        signed = _signed(request, await request.body())
        service: Service = self.batch
        if request.headers.get("x-amz-target", "").startswith(f"{TARGET}."):
            service = self.ecs
        elif signed.service == self.vectors.name:
            service = self.vectors
        # Required even if nobody checks the signature: a web page in the developer's browser can reach this port, but
        # can't send this header, and so can't start commands.
        if signed.service != service.name:
            raise UnsignedError
        operation, members = service.operation(request)
        members |= _members(service, signed.body)
        if self.gatekeeper:
            refusal = await self.gatekeeper.check(signed, service.grants(operation, members))
            if refusal:
                headers = {"x-amzn-ErrorType": refusal.error_type, **_request_id()}
                return Response(refusal.body, refusal.status, headers, "application/json")
        self.calls[operation] += 1
        fault = self.faults.take(operation, service.aliases(members))
        if fault is None:
            return JSONResponse(service.call(operation, members), headers=_request_id())
        return await self._fail(request, fault, service, operation, members)

    async def _fail(self, request: Request, fault: Fault, service: Service, operation: str, members: Shape) -> Response:
        match fault.mode:
            case "throttle":
                raise service.throttled()
            case "error500":
                raise ApiError("Service failure")
            case "refuse":
                raise ClientError("refused by an injected fault")
            case "quota":
                raise ClientError("You've reached the limit on the number of vCPUs you can run concurrently")
            case "capacity":
                return JSONResponse(self.ecs.no_room(members, fault.reason), headers=_request_id())
        if fault.mode == "cut_after_effect":
            return _Torn(request, service.call(operation, members))
        if fault.mode.endswith("after_effect"):
            service.call(operation, members)
        if fault.mode.startswith("timeout"):
            # The body was read, so the next message is the caller's disconnect.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(request.receive(), fault.delaySeconds)
        _cut(request)
        await asyncio.sleep(0)
        return Response()

    # ---- for the local commands and tests ----------------------------------------------------------------------

    async def health(self, request: Request) -> Response:  # noqa: ARG002 - every endpoint is given it
        """The status, the number of jobs, tasks and events, and how often each operation was called."""
        return JSONResponse(
            {
                "status": "ok",
                "jobs": self.store.counts(Job),
                "tasks": self.store.counts(Task),
                "eventsWaiting": self.store.waiting_events(),
                "calls": self.calls,
            }
        )

    async def jobs(self, request: Request) -> Response:
        """The newest Batch jobs in full: up to `?limit=` (default 100), optionally only of one `?status=`."""
        return self._newest(request, Job)

    async def all_tasks(self, request: Request) -> Response:
        """As `jobs`, for ECS tasks; `?status=` is their last status."""
        return self._newest(request, Task)

    def _newest(self, request: Request, kind: type[ComputeRun]) -> Response:
        status = request.query_params.get("status")
        conditions: list[Condition] = [("status = ?", status)] if status else []
        runs = self.store.page(kind, conditions, before=None, limit=min(_number(request, "limit", 100), MAX_SHOWN))
        return JSONResponse({f"{kind.kind}s": [run.detail for run in runs]})

    async def log(self, request: Request) -> Response:
        """The output of a job or task from `?offset=` on; of the last attempt, or of `?attempt=`.

        `X-Next-Offset` is the next offset to read; `X-Job-Status` shows whether more can come.
        """
        run = self.store.get(Job, request.path_params["id"]) or self.store.get(Task, request.path_params["id"])
        if run is None:
            return JSONResponse({"message": "no such job or task"}, 404)
        attempt = _number(request, "attempt", run.last_attempt)
        offset = _number(request, "offset", 0)
        content = b""
        with contextlib.suppress(FileNotFoundError), self.engine.log(run.id, attempt).open("rb") as file:
            file.seek(offset)
            content = file.read(LOG_CHUNK_BYTES)
        headers = {"X-Next-Offset": str(offset + len(content)), "X-Job-Status": run.status}
        return Response(content, headers={**headers, "X-Attempt": str(attempt)}, media_type="text/plain")

    async def forget_job(self, request: Request) -> Response:
        """Forget a Batch job that has ended, as Batch itself does after some days."""
        job = self.store.get(Job, request.path_params["id"])
        if job is None or not job.ended:
            return JSONResponse({"message": "no such job, or it has not ended"}, 404)
        self.engine.forget(job)
        return JSONResponse({"job": job.detail})

    async def stop_task(self, request: Request) -> Response:
        """Stop a task as the platform does: `{"stopCode": "SpotInterruption", "stoppedReason": "…"}`."""
        task = self.store.get(Task, request.path_params["id"])
        if task is None:
            return JSONResponse({"message": "no such task"}, 404)
        cause = await request.json()
        self.tasks.stop(task, cause["stopCode"], cause["stoppedReason"])
        return JSONResponse({"task": task.detail})

    async def metadata(self, request: Request) -> Response:
        """The task metadata endpoint, version 4, for a task's worker.

        https://docs.aws.amazon.com/AmazonECS/latest/developerguide/task-metadata-endpoint-v4-fargate-response.html
        """
        task = self.tasks.with_secret(request.path_params["token"])
        if task is None:
            return JSONResponse({"message": "no such task"}, 404)
        return JSONResponse(
            {
                "Cluster": task.detail["clusterArn"],
                "TaskARN": task.arn,
                "Family": task.family,
                "Revision": task.definition.partition(":")[2],
                "DesiredStatus": task.detail["desiredStatus"],
                "KnownStatus": task.status,
                "AvailabilityZone": task.detail["availabilityZone"],
                "LaunchType": task.detail["launchType"],
            }
        )

    async def add_faults(self, request: Request) -> Response:
        """Add faults; see `faults`."""
        self.faults.add(await request.json())
        return await self.report_faults(request)

    async def report_faults(self, request: Request) -> Response:  # noqa: ARG002 - every endpoint is given it
        """The active faults, and how often each has fired."""
        return JSONResponse(self.faults.report())

    async def clear_faults(self, request: Request) -> Response:
        """Remove all faults; events that one held back are delivered."""
        self.faults.clear()
        self.outbox.release()
        return await self.report_faults(request)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal():
        raise ClientError(f"{name} must be a number, not {text}")
    return int(text)


def _members(service: Service, body: bytes) -> Shape:
    try:
        members = json.loads(body) if body else {}
    except ValueError as error:
        raise service.invalid(f"the body is not JSON: {error}") from error
    if not isinstance(members, dict):
        raise service.invalid("the body is not a JSON object")
    return cast("Shape", members)


def _signed(request: Request, body: bytes) -> SignedRequest:
    target = request.scope["raw_path"].decode("ascii")
    if query := request.scope["query_string"].decode("ascii"):
        target = f"{target}?{query}"
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    return SignedRequest(request.method, target, headers, body)


def _cut(request: Request) -> None:
    """Reset the connection instead of answering."""
    client = cast("tuple[str, int]", request.scope["client"])
    if transport := Wire.open.get(client):
        reset = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        transport.abort()


def _hang_up(request: Request) -> None:
    """Close the connection normally, even in the middle of a response."""
    if transport := Wire.open.get(cast("tuple[str, int]", request.scope["client"])):
        transport.close()


def _request_id() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4())}


async def _error(request: Request, error: Exception) -> Response:
    failure = cast("ApiError", error)
    # The protocol of ECS names the error in the body, that of Batch in a header.
    kind = {"__type": failure.code} if "x-amz-target" in request.headers else {}
    headers = {"x-amzn-ErrorType": failure.code, **_request_id()}
    return JSONResponse({**kind, "message": failure.message, **failure.more}, failure.status, headers)
