"""Writes messages that ask for work of the dispatcher. Pure; docs/messages.md describes every field.

Requests of the API, redrives and torrents that are to be seeded are all written here, in the terms `videos` and `tasks`
read.
"""

import json
from collections.abc import Mapping
from typing import Any

from switchyard import clock
from switchyard.protocol.jobs import WorkRequest


def redrive_body(request: WorkRequest) -> str:
    """A message that asks for the very same work again, job id and source version included."""
    return _object_body(request) if request.source.is_object else _job_body(request)


def _object_body(request: WorkRequest) -> str:
    source = request.source
    return _body(
        {
            "bucket": source.bucket,
            "key": source.key,
            "versionId": source.version_id,
            "version": source.version,
            "sequencer": source.sequencer,
            "writtenAt": clock.iso(source.written_at) if source.written_at else None,
            "job_id": request.job_id,
            "video_id": request.video_id,
            "user_id": request.user_id,
        }
    )


def _job_body(request: WorkRequest) -> str:
    return task_body(
        request.kind,
        request.job_id,
        request.source.version,
        request.input or {},
        user_id=request.user_id,
        metadata=request.metadata,
        announced=request.announced,
    )


def task_body(
    kind: str,
    job_id: str,
    version: str,
    given: Mapping[str, Any],
    *,
    user_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    announced: bool = False,
) -> str:
    """A message that asks for a task. `given` is its input, under the names that messages of this kind have for it."""
    return _body(
        {
            "kind": kind,
            "jobId": job_id,
            **given,
            "userId": user_id,
            "metadata": metadata,
            "version": version,
            "announced": announced or None,
        }
    )


def _body(fields: Mapping[str, Any]) -> str:
    return json.dumps({name: value for name, value in fields.items() if value is not None})
