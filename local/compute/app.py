"""HTTP: AWS Batch under /v1/, and what people, the command line and tests ask for under /_compute/."""

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
from typing import ClassVar, cast

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from local.compute.authorize import Gatekeeper, SignedRequest, signed_for_batch
from local.compute.batch import Batch
from local.compute.config import Shape
from local.compute.engine import Engine
from local.compute.errors import ApiError, ClientError, InvalidRequestError, ThrottledError, UnsignedError
from local.compute.events import Outbox
from local.compute.faults import Fault, Faults
from local.compute.store import Store

LOG_CHUNK_BYTES = 1 << 20
MAX_SHOWN = 1000


class Wire(H11Protocol):
    """uvicorn's HTTP, with a hand on the connections, so that a fault can cut one."""

    open: ClassVar[dict[tuple[str, int], Transport]] = {}

    def connection_made(self, transport: Transport) -> None:  # type: ignore[override]
        """Remember the connection by the caller's address."""
        super().connection_made(transport)
        # asyncio sets it only on sockets made with an explicit protocol number; without it each answer takes 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.open[transport.get_extra_info("peername")] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self.open.pop(self.transport.get_extra_info("peername"), None)
        super().connection_lost(exc)


class Api:
    """The endpoints."""

    def __init__(
        self, batch: Batch, store: Store, engine: Engine, outbox: Outbox, faults: Faults, gatekeeper: Gatekeeper | None
    ) -> None:
        self._batch = batch
        self._store = store
        self._engine = engine
        self._outbox = outbox
        self._faults = faults
        self._gatekeeper = gatekeeper
        self._calls: Counter[str] = Counter()

    def application(self, lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]]) -> Starlette:
        """The ASGI application."""
        return Starlette(
            routes=[
                Route("/_compute/health", self.health),
                Route("/_compute/jobs", self.jobs),
                Route("/_compute/jobs/{job_id}/log", self.log),
                Route("/_compute/faults", self.add_faults, methods=["POST"]),
                Route("/_compute/faults", self.report_faults, methods=["GET"]),
                Route("/_compute/faults", self.clear_faults, methods=["DELETE"]),
                Route("/{path:path}", self.aws, methods=["GET", "POST", "PUT", "DELETE"]),
            ],
            lifespan=lifespan,
            exception_handlers={ApiError: _error},
        )

    # ---- AWS Batch ---------------------------------------------------------------------------------------------

    async def aws(self, request: Request) -> Response:
        """Any call of AWS Batch."""
        signed = _signed(request, await request.body())
        if not signed_for_batch(signed.headers):
            raise UnsignedError
        operation, members = self._batch.operation(request.method, request.url.path.rstrip("/"))
        members |= _members(request, signed.body)
        if self._gatekeeper:
            refusal = await self._gatekeeper.check(signed, self._batch.grants(operation, members))
            if refusal:
                headers = {"x-amzn-ErrorType": refusal.error_type, **_request_id()}
                return Response(refusal.body, refusal.status, headers, "application/json")
        self._calls[operation] += 1
        fault = self._faults.take(operation, str(members.get("jobName", "")))
        if fault is None:
            return JSONResponse(self._batch.call(operation, members), headers=_request_id())
        return await self._fail(request, fault, operation, members)

    async def _fail(self, request: Request, fault: Fault, operation: str, members: Shape) -> Response:
        match fault.mode:
            case "throttle":
                raise ThrottledError
            case "error500":
                raise ApiError("Service failure")
            case "refuse":
                raise ClientError("refused, as a test asked for")
        if fault.mode.endswith("after_effect"):
            self._batch.call(operation, members)
        if fault.mode.startswith("timeout"):
            # The body was read: the next thing to come is the caller hanging up.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(request.receive(), fault.delaySeconds)
        _cut(request)
        await asyncio.sleep(0)
        return Response()

    # ---- people, the command line, tests -----------------------------------------------------------------------

    async def health(self, request: Request) -> Response:  # noqa: ARG002 - every endpoint is given it
        """That it works, how much there is to do, and how often each operation was called that the caller may use."""
        return JSONResponse(
            {
                "status": "ok",
                "jobs": self._store.counts(),
                "eventsWaiting": self._store.waiting_events(),
                "calls": self._calls,
            }
        )

    async def jobs(self, request: Request) -> Response:
        """The newest jobs in full, `?limit=` of them (100), also `?status=RUNNING`."""
        status = request.query_params.get("status")
        limit = min(_number(request, "limit", 100), MAX_SHOWN)
        jobs = self._store.page([("status = ?", status)] if status else [], before=None, limit=limit)
        return JSONResponse({"jobs": [job.detail for job in jobs]})

    async def log(self, request: Request) -> Response:
        """What a job wrote, from `?offset=` on; `?attempt=` is the last one unless named.

        `X-Next-Offset` is where to go on, `X-Job-Status` says whether more can come.
        """
        job = self._store.get(request.path_params["job_id"])
        if job is None:
            return JSONResponse({"message": "no such job"}, 404)
        ended = len(job.detail["attempts"])
        active = job.status in {"STARTING", "RUNNING"}
        attempt = _number(request, "attempt", ended + 1 if active else max(ended, 1))
        offset = _number(request, "offset", 0)
        content = b""
        with contextlib.suppress(FileNotFoundError), self._engine.log(job.id, attempt).open("rb") as file:
            file.seek(offset)
            content = file.read(LOG_CHUNK_BYTES)
        headers = {"X-Next-Offset": str(offset + len(content)), "X-Job-Status": job.status}
        return Response(content, headers={**headers, "X-Attempt": str(attempt)}, media_type="text/plain")

    async def add_faults(self, request: Request) -> Response:
        """Put faults in force; see `faults`."""
        self._faults.add(await request.json())
        return await self.report_faults(request)

    async def report_faults(self, request: Request) -> Response:  # noqa: ARG002 - every endpoint is given it
        """The faults in force and how often each has fired."""
        return JSONResponse(self._faults.report())

    async def clear_faults(self, request: Request) -> Response:
        """No more faults; events that one held back go out."""
        self._faults.clear()
        self._outbox.release()
        return await self.report_faults(request)


def _number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, str(default))
    if not text.isdecimal():
        raise ClientError(f"{name} must be a number, not {text}")
    return int(text)


def _members(request: Request, body: bytes) -> Shape:
    try:
        members = json.loads(body) if body else {}
    except ValueError as error:
        raise InvalidRequestError(f"the body is no JSON: {error}") from error
    if not isinstance(members, dict):
        raise InvalidRequestError("the body is no JSON object")
    if keys := request.query_params.getlist("tagKeys"):
        members["tagKeys"] = keys
    return cast("Shape", members)


def _signed(request: Request, body: bytes) -> SignedRequest:
    target = request.scope["raw_path"].decode("ascii")
    if query := request.scope["query_string"].decode("ascii"):
        target = f"{target}?{query}"
    headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw]
    return SignedRequest(request.method, target, headers, body)


def _cut(request: Request) -> None:
    """End the connection with a reset instead of an answer."""
    client = cast("tuple[str, int]", request.scope["client"])
    if transport := Wire.open.get(client):
        reset = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        transport.abort()


def _request_id() -> dict[str, str]:
    return {"x-amzn-RequestId": str(uuid.uuid4())}


async def _error(request: Request, error: Exception) -> Response:  # noqa: ARG001 - Starlette's signature
    failure = cast("ApiError", error)
    headers = {"x-amzn-ErrorType": failure.code, **_request_id()}
    return JSONResponse({"message": failure.message}, failure.status, headers)
