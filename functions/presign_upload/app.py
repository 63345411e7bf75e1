"""/uploads/presign and /uploads/multipart…: presigns uploads under one prefix of one bucket, and completes them."""

from functools import cache
from typing import Any

from switchyard import clients, cold_start, wiring
from switchyard.api.http import Api
from switchyard.api.uploads import Uploads
from switchyard.observability import handler
from switchyard.settings import PresignUploadSettings


@cache
def api() -> Api:
    """Built once per execution environment, at init. If that fails, each event retries and reports it."""
    settings = PresignUploadSettings.from_env()
    uploads = Uploads(
        client=clients.s3(),
        bucket=settings.s3_bucket,
        prefix=settings.upload_prefix,
        lifetime=settings.upload_url_seconds,
        max_bytes=settings.max_upload_bytes,
        id_pattern=settings.video_id_pattern,
    )
    routes = {
        "POST /uploads/presign": uploads.presign,
        "POST /uploads/multipart": uploads.create,
        "GET /uploads/multipart": uploads.parts,
        "DELETE /uploads/multipart": uploads.abort,
        "POST /uploads/multipart/parts": uploads.sign_parts,
        "POST /uploads/multipart/complete": uploads.complete,
    }
    return wiring.api(settings, routes)


@handler
def lambda_handler(event: dict[str, Any], context: object) -> dict[str, Any]:
    """Answers one request of API Gateway's REST proxy integration."""
    return api().handle(event, context)


cold_start.prepare(api)
