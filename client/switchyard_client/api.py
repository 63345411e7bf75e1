"""Every route of the HTTP API as a method, named after its operationId. A test compares them with openapi.json."""

# A response is JSON, of the shape that openapi.json says; that each method names this shape is the test's to check.
# mypy: disable-error-code="no-any-return"

import uuid
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypeVar
from urllib.parse import quote

import httpx

from switchyard_client import shapes
from switchyard_client.portal import Method
from switchyard_client.retries import Repeat

P = ParamSpec("P")
T = TypeVar("T")

Json = dict[str, Any]
ContentType = Literal[
    "video/mp4", "video/quicktime", "video/x-msvideo", "video/x-matroska", "image/jpeg", "image/png", "image/webp"
]

ROUTES: Final[dict[str, str]] = {}
"""The method's name for each route, such as `GET /jobs`."""


def route(verb: str, path: str) -> Callable[[Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]], Method[P, T]]:
    """A method that calls this route."""

    def named(function: Callable[Concatenate[Any, P], Coroutine[Any, Any, T]]) -> Method[P, T]:
        ROUTES[f"{verb} {path}"] = function.__name__
        return Method(function)

    return named


class Api:
    """The routes. Arguments are named as the API's fields, in snake case; those that are None are not sent.

    A method that takes an `idempotency_key` makes one up if it gets none: its own retries are then safe. Give one to
    make repeated calls safe, too.
    """

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
        """Send a request, as often as `repeat` allows. With `until_gone`, a 404 after a try is what that try did."""
        raise NotImplementedError

    async def _ask(self, verb: str, path: str, **more: Any) -> Any:  # noqa: ANN401 - JSON
        return (await self._send(verb, path, **more)).json()

    async def _submit(self, path: str, key: str | None, /, **body: Any) -> Any:  # noqa: ANN401 - JSON
        headers = {"Idempotency-Key": key or str(uuid.uuid4())}
        return await self._ask("POST", path, body=body, headers=headers, repeat=Repeat.WITH_KEY)

    # ---- uploads -----------------------------------------------------------------------------------------------------

    @route("POST", "/uploads/presign")
    async def presign_upload(
        self,
        filename: str,
        content_type: ContentType | str,
        *,
        size: int | None = None,
        kind: Literal["video", "image"] | None = None,
        method: Literal["PUT", "POST"] | None = None,
    ) -> shapes.PresignedUpload:
        """A URL to upload one file of `size` bytes to."""
        body = {"filename": filename, "contentType": content_type, "size": size, "kind": kind, "method": method}
        return await self._ask("POST", "/uploads/presign", body=body)

    @route("POST", "/uploads/multipart")
    async def create_multipart_upload(
        self,
        filename: str,
        content_type: ContentType | str,
        size: int,
        *,
        kind: Literal["video", "image"] | None = None,
        checksum: Literal["SHA1"] | None = None,
    ) -> shapes.MultipartUpload:
        """Begin an upload in parts."""
        body = {"filename": filename, "contentType": content_type, "size": size, "kind": kind, "checksum": checksum}
        return await self._ask("POST", "/uploads/multipart", body=body)

    @route("GET", "/uploads/multipart")
    async def list_multipart_parts(
        self, key: str, upload_id: str, *, next_token: str | None = None
    ) -> shapes.MultipartPartList:
        """A page of the parts that have arrived."""
        query = {"key": key, "uploadId": upload_id, "nextToken": next_token}
        return await self._ask("GET", "/uploads/multipart", query=query)

    @route("DELETE", "/uploads/multipart")
    async def abort_multipart_upload(self, key: str, upload_id: str) -> None:
        """Give up an upload in parts."""
        await self._send("DELETE", "/uploads/multipart", query={"key": key, "uploadId": upload_id}, until_gone=True)

    @route("POST", "/uploads/multipart/parts")
    async def presign_parts(
        self, key: str, upload_id: str, parts: Sequence[Mapping[str, Any]]
    ) -> shapes.MultipartParts:
        """URLs for up to 100 parts, each `{"partNumber", "size"?, "checksumSha1"?}`."""
        body = {"key": key, "uploadId": upload_id, "parts": list(parts)}
        return await self._ask("POST", "/uploads/multipart/parts", body=body)

    @route("POST", "/uploads/multipart/complete")
    async def complete_multipart_upload(
        self, key: str, upload_id: str, size: int, parts: Sequence[Mapping[str, Any]]
    ) -> shapes.CompletedUpload:
        """Make the parts one object; each part is `{"partNumber", "etag", "checksumSha1"?}`."""
        body = {"key": key, "uploadId": upload_id, "size": size, "parts": list(parts)}
        return await self._ask("POST", "/uploads/multipart/complete", body=body)

    # ---- submitting --------------------------------------------------------------------------------------------------

    @route("POST", "/videos")
    async def analyze_video(
        self,
        key: str,
        *,
        version_id: str | None = None,
        stages: Sequence[str] | None = None,
        priority: int | None = None,
        metadata: Json | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.JobAccepted:
        """Analyze a video that lies in the deployment's bucket."""
        return await self._submit(
            "/videos",
            idempotency_key,
            key=key,
            versionId=version_id,
            stages=list(stages) if stages is not None else None,
            priority=priority,
            metadata=metadata,
        )

    @route("POST", "/process")
    async def process_images(
        self,
        image_urls: Sequence[str],
        user_id: str,
        *,
        metadata: Json | None = None,
        start_after: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.ProcessAccepted:
        """Find objects in 1 to 1,000 images of the deployment's bucket."""
        return await self._submit(
            "/process",
            idempotency_key,
            imageUrls=list(image_urls),
            userId=user_id,
            metadata=metadata,
            startAfter=start_after,
            priority=priority,
        )

    @route("POST", "/jobs")
    async def record_stream(
        self,
        url: str,
        *,
        filename: str | None = None,
        job_id: str | None = None,
        user_id: str | None = None,
        metadata: Json | None = None,
        start_after: str | None = None,
        priority: int | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.JobAccepted:
        """Record a live stream, or the video on a page."""
        return await self._submit(
            "/jobs",
            idempotency_key,
            url=url,
            filename=filename,
            jobId=job_id,
            userId=user_id,
            metadata=metadata,
            startAfter=start_after,
            priority=priority,
        )

    @route("POST", "/torrents")
    async def make_torrent(
        self, key: str, *, bucket: str | None = None, again: bool | None = None, idempotency_key: str | None = None
    ) -> shapes.TorrentAccepted:
        """Make a torrent of an object."""
        return await self._submit("/torrents", idempotency_key, key=key, bucket=bucket, again=again)

    @route("POST", "/imports/steam")
    async def import_steam(
        self,
        steam_id: str | None = None,
        *,
        user_id: str | None = None,
        confirm_removals: str | None = None,
        imports: Sequence[Mapping[str, str]] | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.ImportAccepted | shapes.ImportAnswers:
        """Import the games of one Steam account, or of each in `imports`."""
        return await self._submit(
            "/imports/steam",
            idempotency_key,
            steamId=steam_id,
            userId=user_id,
            confirmRemovals=confirm_removals,
            imports=list(imports) if imports is not None else None,
        )

    # ---- jobs --------------------------------------------------------------------------------------------------------

    @route("GET", "/jobs")
    async def list_jobs(
        self,
        *,
        status: str | Iterable[str] | None = None,
        user_id: str | None = None,
        kind: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> shapes.JobList:
        """A page of jobs, newest first. `from_` and `to` are times in RFC 3339."""
        statuses = status if status is None or isinstance(status, str) else ",".join(status)
        query = {"status": statuses, "userId": user_id, "kind": kind, "from": from_, "to": to, "limit": limit}
        return await self._ask("GET", "/jobs", query={**query, "nextToken": next_token})

    @route("GET", "/jobs/{jobId}")
    async def get_job(self, job_id: str) -> shapes.Job:
        """A job, by its id or its sender's."""
        return await self._ask("GET", f"/jobs/{quoted(job_id)}")

    @route("DELETE", "/jobs/{jobId}")
    async def cancel_job(
        self, job_id: str, *, data: bool | None = None, upload: bool | None = None
    ) -> shapes.Cancellation:
        """Cancel a job; with `data` erase the results of one that has ended, with `upload` its upload as well."""
        query = {"data": _flag(data), "upload": _flag(upload)}
        return await self._ask("DELETE", f"/jobs/{quoted(job_id)}", query=query)

    @route("POST", "/jobs/{jobId}/rerun")
    async def rerun_job(self, job_id: str, *, idempotency_key: str | None = None) -> shapes.RerunAccepted:
        """Do a job's work again, as a new job."""
        return await self._submit(f"/jobs/{quoted(job_id)}/rerun", idempotency_key)

    @route("POST", "/jobs/bulk")
    async def bulk_jobs(
        self, requests: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None
    ) -> shapes.BulkAnswers:
        """Up to 100 requests at once: `{"action": "cancel" | "rerun", "jobId"}` or `{"action": "submit", …}`."""
        return await self._submit("/jobs/bulk", idempotency_key, requests=list(requests))

    @route("GET", "/jobs/{jobId}/logs")
    async def get_log(self, job_id: str, *, cursor: str | None = None, limit: int | None = None) -> shapes.LogPage:
        """A page of what the job's worker has written, oldest first: `lines`, and a `cursor` for the next page."""
        return await self._ask("GET", f"/jobs/{quoted(job_id)}/logs", query={"cursor": cursor, "limit": limit})

    @route("GET", "/users/{userId}/games")
    async def list_games(
        self,
        user_id: str,
        *,
        sort: Literal["name", "playtime", "lastPlayed"] | None = None,
        steam_id: str | None = None,
        limit: int | None = None,
        next_token: str | None = None,
    ) -> shapes.GameList:
        """A page of a user's games."""
        query = {"sort": sort, "steamId": steam_id, "limit": limit, "nextToken": next_token}
        return await self._ask("GET", f"/users/{quoted(user_id)}/games", query=query)

    @route("POST", "/search")
    async def search_videos(
        self,
        query: str,
        *,
        limit: int | None = None,
        job_id: str | None = None,
        user_id: str | None = None,
        kind: str | None = None,
        from_: str | None = None,
        to: str | None = None,
        speaker: str | None = None,
        answer: bool | None = None,
    ) -> shapes.SearchResult:
        """The moments of videos that answer a question, best first."""
        body = {"query": query, "limit": limit, "jobId": job_id, "userId": user_id, "kind": kind}
        more = {"from": from_, "to": to, "speaker": speaker, "answer": answer}
        return await self._ask("POST", "/search", body={**body, **more})

    # ---- lanes -------------------------------------------------------------------------------------------------------

    @route("GET", "/lanes")
    async def list_lanes(self) -> shapes.Lanes:
        """Every lane: its limit, how many slots are taken, how many jobs wait, and whether it is paused."""
        return await self._ask("GET", "/lanes")

    @route("POST", "/lanes/{lane}/pause")
    async def pause_lane(self, lane: str) -> shapes.Lane:
        """Let nothing new start in a lane until it is resumed. Operators only."""
        return await self._ask("POST", f"/lanes/{quoted(lane)}/pause")

    @route("POST", "/lanes/{lane}/resume")
    async def resume_lane(self, lane: str) -> shapes.Lane:
        """End a pause. Operators only."""
        return await self._ask("POST", f"/lanes/{quoted(lane)}/resume")

    # ---- webhooks ----------------------------------------------------------------------------------------------------

    @route("GET", "/webhooks")
    async def list_webhooks(self) -> shapes.WebhookList:
        """The caller's webhooks."""
        return await self._ask("GET", "/webhooks")

    @route("POST", "/webhooks")
    async def create_webhook(
        self,
        url: str,
        *,
        event_types: Sequence[str] | None = None,
        kinds: Sequence[str] | None = None,
        idempotency_key: str | None = None,
    ) -> shapes.WebhookWithSecret:
        """Have events posted to a URL. Only this response and that of `rotate_webhook` show the secret."""
        return await self._submit(
            "/webhooks",
            idempotency_key,
            url=url,
            eventTypes=list(event_types) if event_types is not None else None,
            kinds=list(kinds) if kinds is not None else None,
        )

    @route("GET", "/webhooks/{webhookId}")
    async def get_webhook(self, webhook_id: str) -> shapes.Webhook:
        """A webhook."""
        return await self._ask("GET", f"/webhooks/{quoted(webhook_id)}")

    @route("DELETE", "/webhooks/{webhookId}")
    async def delete_webhook(self, webhook_id: str) -> None:
        """Delete a webhook."""
        await self._send("DELETE", f"/webhooks/{quoted(webhook_id)}", until_gone=True)

    @route("POST", "/webhooks/{webhookId}/rotate")
    async def rotate_webhook(self, webhook_id: str) -> shapes.WebhookWithSecret:
        """Give a webhook a new secret. The old one signs as well for 24 hours."""
        return await self._ask("POST", f"/webhooks/{quoted(webhook_id)}/rotate", repeat=Repeat.UNLESS_IT_ARRIVED)

    @route("POST", "/webhooks/{webhookId}/enable")
    async def enable_webhook(self, webhook_id: str) -> shapes.Webhook:
        """Enable a webhook that was disabled because it failed."""
        return await self._ask("POST", f"/webhooks/{quoted(webhook_id)}/enable")

    @route("POST", "/webhooks/{webhookId}/test")
    async def test_webhook(self, webhook_id: str) -> shapes.WebhookQueued:
        """Deliver an event of type `webhook.test`."""
        return await self._ask("POST", f"/webhooks/{quoted(webhook_id)}/test", repeat=Repeat.UNLESS_IT_ARRIVED)

    @route("GET", "/webhooks/{webhookId}/deliveries")
    async def list_deliveries(self, webhook_id: str, *, limit: int | None = None) -> shapes.WebhookDeliveries:
        """A webhook's newest deliveries."""
        return await self._ask("GET", f"/webhooks/{quoted(webhook_id)}/deliveries", query={"limit": limit})

    @route("POST", "/webhooks/{webhookId}/deliveries/{deliveryId}/resend")
    async def resend_delivery(self, webhook_id: str, delivery_id: str) -> shapes.WebhookQueued:
        """Begin a delivery's attempts anew."""
        path = f"/webhooks/{quoted(webhook_id)}/deliveries/{quoted(delivery_id)}/resend"
        return await self._ask("POST", path, repeat=Repeat.UNLESS_IT_ARRIVED)

    @route("GET", "/openapi.json")
    async def get_document(self) -> Json:
        """The deployment's OpenAPI document."""
        return await self._ask("GET", "/openapi.json")


def quoted(segment: str) -> str:
    """A path segment, percent-encoded.

    Raises:
        ValueError: It is empty or consists of dots: a path with it would be another one.
    """
    if not segment.strip("."):
        raise ValueError(f"{segment!r} is no id")
    return quote(segment, safe="")


def _flag(value: bool | None) -> str | None:  # noqa: FBT001 - a value of the query
    return None if value is None else str(value).lower()
