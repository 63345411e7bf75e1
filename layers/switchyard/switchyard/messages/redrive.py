"""Writes the messages that `videos` and `tasks` read: redrives, requests of the API, requests to seed. Pure.

docs/messages.md describes every field.
"""

import json
from collections.abc import Mapping
from typing import Any

from switchyard import clock
from switchyard.protocol.jobs import WorkRequest


def redrive_body(request: WorkRequest) -> str:
    """Writes a message that requests exactly the same work: same job id, same source version."""
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
            "priority": request.priority or None,
            "taskToken": request.task_token,
            **(request.input or {}),
            "metadata": request.metadata,
            "announced": request.announced or None,
        }
    )


def _job_body(request: WorkRequest) -> str:
    return task_body(
        request.kind,
        request.job_id,
        request.source.version,
        {
            **(request.input or {}),
            "startAfter": clock.iso(request.start_after) if request.start_after else None,
            "priority": request.priority or None,
            "taskToken": request.task_token,
        },
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
    """Writes a message that requests a task. `given` is its input, with the field names of messages of this kind."""
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
