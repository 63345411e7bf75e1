"""The client: finds a deployment, sends requests with retries, and the flows that take several requests."""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal, Self

import httpx

from switchyard_client import discovery, errors, following, results, shapes, uploads
from switchyard_client._version import VERSION
from switchyard_client.access import ApiKey
from switchyard_client.api import Api
from switchyard_client.portal import Blocking, Method, Portal, Stream
from switchyard_client.retries import Repeat, Retries, again, seconds_of

TIMEOUT: Final = httpx.Timeout(connect=10, read=40, write=60, pool=None)
"""API Gateway answers within 29 s."""


class _Flows(Api):
    """What both clients can do, beyond the routes."""

    @Method
    async def upload(
        self,
        file: str | Path,
        *,
        content_type: str | None = None,
        kind: Literal["video", "image"] | None = None,
        parallel: int = 4,
        progress: uploads.Progress | None = None,
        journal: uploads.Journal | None = None,
    ) -> uploads.Uploaded:
        """Upload a file; a video becomes a job.

        Args:
            file: Its path.
            content_type: By default that of the name's ending.
            kind: Refuse the file unless it is of this kind.
            parallel: Parts that are sent at once. Memory holds as many, 16 MiB each and more for files over 160 GiB.
            progress: Called with the bytes sent so far and the file's size.
            journal: Remembers uploads that were cut off. Without one, an upload can't be resumed.

        Raises:
            UploadError: The file can't be read, changed meanwhile, or was refused by S3.
            ApiError, ConnectionLostError: The API said no, or nothing.
        """
        return await uploads.Upload(
            self, self._storage(), Path(file), kind, content_type, parallel, progress, journal
        )()

    @Stream
    async def watch(
        self, job_id: str, *, seconds: float | None = None, unknown: float = 60.0
    ) -> AsyncGenerator[shapes.Job, None]:
        """The job, now and whenever it has changed, until it has ended.

        Args:
            job_id: Its id.
            seconds: How long to wait for the end; without limit if None.
            unknown: Seconds in which the job may be unknown: that of an upload exists once S3 has announced it.

        Raises:
            JobTimeoutError: It didn't end in time.
            NotFoundError: There is no such job.
        """
        async for job in following.watch(self, job_id, seconds, unknown):
            yield job

    @Method
    async def wait(self, job_id: str, *, seconds: float | None = None) -> shapes.Job:
        """The job, once it has ended, however it ended. Errors are those of `watch`."""
        async for job in following.watch(self, job_id, seconds, 60.0):
            if job["status"] in following.ENDED:
                return job
        raise errors.JobTimeoutError(f"{job_id} is not followed any more")

    @Stream
    async def jobs(
        self,
        *,
        status: str | Sequence[str] | None = None,
        user_id: str | None = None,
        kind: str | None = None,
        from_: str | None = None,
        to: str | None = None,
    ) -> AsyncGenerator[Mapping[str, Any], None]:
        """All jobs that fit, newest first, page after page."""
        token: str | None = None
        while True:
            page = await self.list_jobs(
                status=status, user_id=user_id, kind=kind, from_=from_, to=to, limit=100, next_token=token
            )
            for job in page["jobs"]:
                yield job
            if not (token := page.get("nextToken")):
                return

    @Method
    async def results(self, job: str | shapes.Job, folder: str | Path, *, parallel: int = 4) -> list[Path]:
        """Download a job's result files into a folder; their paths. Each file appears only once it is whole."""
        found = await self.get_job(job) if isinstance(job, str) else job
        return await results.fetch(self, self._storage(), found, Path(folder), parallel)

    def _storage(self) -> uploads.Storage:
        raise NotImplementedError


class AsyncSwitchyard(_Flows):
    """A deployment's API, for asyncio. Use it as `async with`, or call `aclose`.

    Args:
        url: The API's address, which ends in its stage: `https://….amazonaws.com/v1`.
        auth: An API key, or one of `switchyard_client.access`.
        retries: How often and how patiently.
        transport: For tests.
    """

    def __init__(
        self,
        url: str,
        auth: str | httpx.Auth | None,
        *,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = discovery.checked(url)
        self._auth = ApiKey(auth) if isinstance(auth, str) else auth
        self._retries = retries or Retries()
        self._transport = transport
        self._clients: dict[str, httpx.AsyncClient] = {}

    @classmethod
    def from_url(cls, url: str, auth: str | httpx.Auth | None) -> Self:
        """The deployment at this address, with an API key or another way in."""
        return cls(url, auth)

    @classmethod
    def from_stack(cls, name: str, *, profile: str | None = None, region: str | None = None) -> Self:
        """The stack with this name. Needs the extra `aws`, and credentials that may describe it and read its API key.

        Raises:
            SetupError: There is no such stack, no credentials, or it wants a user's token.
        """
        return cls(*discovery.stack(name, profile, region))

    @classmethod
    def local(cls, folder: str | Path | None = None) -> Self:
        """The system that `make up` started in this folder's project: the current folder or one above.

        Raises:
            SetupError: There is none, or it isn't running.
        """
        return cls(*discovery.local(Path(folder) if folder else None))

    async def aclose(self) -> None:
        """Close the connections."""
        for client in self._clients.values():
            await client.aclose()
        self._clients.clear()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _client(self, name: str) -> httpx.AsyncClient:
        if name not in self._clients:
            self._clients[name] = httpx.AsyncClient(
                timeout=TIMEOUT,
                transport=self._transport,
                # A proxy can't reach this machine's loopback address.
                trust_env=not discovery.is_loopback(self.url),
                headers={"User-Agent": f"switchyard-client/{VERSION}"},
                limits=httpx.Limits(max_connections=64),
            )
        return self._clients[name]

    def _storage(self) -> uploads.Storage:
        # Never with the API's credentials: S3's URLs carry their own.
        return uploads.Storage(self._client("storage"), self._retries)

    async def _send(
        self,
        verb: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        repeat: Repeat = Repeat.ALWAYS,
        until_gone: bool = False,
    ) -> httpx.Response:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        content = {name: value for name, value in body.items() if value is not None} if body is not None else None
        tried = 0
        while True:
            tried += 1
            try:
                response = await self._client("api").request(
                    verb, self.url + path, params=asked or None, json=content, headers=headers, auth=self._auth
                )
            except httpx.TransportError as error:
                unsent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
                pause = self._retries.pause(tried) if unsent or repeat is not Repeat.UNLESS_IT_ARRIVED else None
                if pause is None:
                    raise errors.ConnectionLostError(_lost(verb, path, self.url, error, unsent=unsent)) from error
            else:
                if not response.is_error:
                    return response
                if tried > 1 and until_gone and response.status_code == httpx.codes.NOT_FOUND:
                    return response  # an earlier try, whose response was lost, has deleted it
                pause = None
                if again(response.status_code, repeat):
                    pause = self._retries.pause(tried, seconds_of(response.headers.get("retry-after")))
                if pause is None:
                    raise error_of(response)
            await asyncio.sleep(pause)


class Switchyard(_Flows, Blocking):
    """A deployment's API, without asyncio. Arguments are those of `AsyncSwitchyard`. Use it as `with`, or call `close`.

    It may be shared by threads.
    """

    def __init__(
        self,
        url: str,
        auth: str | httpx.Auth | None,
        *,
        retries: Retries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.portal = Portal()
        self.asynchronous = AsyncSwitchyard(url, auth, retries=retries, transport=transport)

    @property
    def url(self) -> str:
        """The API's address."""
        return str(self.asynchronous.url)

    @classmethod
    def from_url(cls, url: str, auth: str | httpx.Auth | None) -> Self:
        """As `AsyncSwitchyard.from_url`."""
        return cls(url, auth)

    @classmethod
    def from_stack(cls, name: str, *, profile: str | None = None, region: str | None = None) -> Self:
        """As `AsyncSwitchyard.from_stack`."""
        return cls(*discovery.stack(name, profile, region))

    @classmethod
    def local(cls, folder: str | Path | None = None) -> Self:
        """As `AsyncSwitchyard.local`."""
        return cls(*discovery.local(Path(folder) if folder else None))

    def close(self) -> None:
        """Close the connections and end the thread."""
        self.portal.run(self.asynchronous.aclose())
        self.portal.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def error_of(response: httpx.Response) -> errors.ApiError:
    """The exception for an error response, whoever wrote it."""
    try:
        body = response.json()
    except ValueError:
        body = {}
    request_id = response.headers.get("x-amzn-requestid", "")
    return errors.of_status(response.status_code, body if isinstance(body, dict) else {}, request_id)


def _lost(verb: str, path: str, url: str, error: Exception, *, unsent: bool) -> str:
    if unsent:
        return f"no connection to {url} ({_why(error)}): check the address and the network"
    told = "" if verb == "GET" else " It may have taken effect: look before you send it again."
    return f"the connection was lost during {verb} {path} ({_why(error)}).{told}"


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
