"""What the writers of jobs' items share: a request as attributes, and the names and values of an expression."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from switchyard import clock

if TYPE_CHECKING:
    from switchyard.protocol.jobs import WorkRequest


def request_attributes(request: WorkRequest) -> dict[str, Any]:
    """A request as attributes people and indexes can read, and whole, as JSON, for a later start."""
    source, target = request.source, request.target
    described = {
        "bucket": source.bucket,
        "key": source.key,
        "version": source.version,
        "messageId": source.message_id,
        "versionId": source.version_id,
        "sequencer": source.sequencer,
        "writtenAt": clock.iso(source.written_at) if source.written_at else None,
    }
    attributes: dict[str, Any] = {
        "kind": _s(request.kind),
        "lane": _s(request.lane),
        "target": {"M": {"type": _s(target.type), "queue": _s(target.queue), "definition": _s(target.definition)}},
        "source": {"M": {name: _s(value) for name, value in described.items() if value is not None}},
        "request": _s(request.to_json()),
    }
    if request.user_id is not None:
        attributes["userId"] = _s(request.user_id)
    if request.metadata is not None:
        attributes["metadata"] = _s(json.dumps(request.metadata, separators=(",", ":"), ensure_ascii=False))
    return attributes


def _s(text: str) -> dict[str, str]:
    return {"S": text}


def names_and_values(expression: str, values: dict[str, Any]) -> dict[str, Any]:
    """What goes with an expression: `#name` in it is the attribute of that name, `:value` is in `values`."""
    names = {match: match[1:] for match in _PLACEHOLDER.findall(expression)}
    return {
        **({"ExpressionAttributeNames": names} if names else {}),
        **({"ExpressionAttributeValues": values} if values else {}),
    }


_PLACEHOLDER = re.compile(r"#\w+")
