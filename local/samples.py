"""Fills in sample events for the running system, and reports the jobs and dead letters that result."""

import re
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from local.environment import ACCOUNT, REGION, ROOT
from local.stack import STACK_NAME, LocalStack
from local.view import Job, View
from local.workers import CLUSTER, QUEUE

EVENTS: Final = ROOT / "events"

_PATIENCE: Final = 20.0
"""Seconds to wait for a job to end before its current status is reported."""
_EVERY: Final = 0.3


@dataclass(frozen=True, slots=True)
class Scene:
    """Jobs by id, and dead letters by message id."""

    jobs: dict[str, Job]
    letters: dict[str, str]


@contextmanager
def filled(event: Path, stack: LocalStack) -> Iterator[Path]:
    """The event's file; for one of the project's samples a copy with the running stack's names filled in."""
    if not event.resolve().is_relative_to(EVENTS):
        yield event
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / event.name
        copy.write_text(fill(event.read_text(), stack))
        yield copy


def fill(text: str, stack: LocalStack) -> str:
    """Replace the names that samples use for a stack's bucket, table, queues, cluster, account and Region."""
    text = text.replace("switchyard-dev-JobsTable-EXAMPLE", stack.resource("JobsTable"))
    text = text.replace("switchyard-media", stack.resource("MediaBucket"))
    text = text.replace("switchyard-dev", STACK_NAME).replace("a1b2c3d4e5", stack.resource("Api"))
    text = re.sub(r"\bjob-queue/switchyard\b(?!-)", f"job-queue/{QUEUE}", text)
    text = re.sub(r"\b(cluster|task|container)/switchyard\b(?!-)", rf"\1/{CLUSTER}", text)
    return text.replace("123456789012", ACCOUNT).replace("eu-central-1", REGION)


def scene(stack: LocalStack) -> Scene:
    """The current jobs and dead letters."""
    view = View(stack)
    letters = {
        message["MessageId"]: f"{name}: {_reason(message)}"
        for name in sorted(stack.resources)
        if name.endswith("DeadLetterQueue")
        for message in _messages(stack, name)
    }
    return Scene({job.id: job for job in view.jobs()}, letters)


def outcome(stack: LocalStack, before: Scene, *, patience: float = _PATIENCE) -> list[str]:
    """What has changed since `before`, a line each: jobs with their status, dead letters with their reason.

    Args:
        stack: Must be running.
        before: The scene before the event.
        patience: Seconds to wait for new jobs to end.
    """
    deadline = time.monotonic() + patience
    while True:
        now = scene(stack)
        changed = [job for job in now.jobs.values() if _differs(job, before.jobs.get(job.id))]
        if all(job.over for job in changed) or time.monotonic() > deadline:
            break
        time.sleep(_EVERY)
    lines = [f"job {job.id}: {job.status}{f', {job.error}' if job.error else ''}" for job in changed]
    lines += [f"dead letter in {letter}" for key, letter in now.letters.items() if key not in before.letters]
    return lines or ["no job has changed, and there is no new dead letter"]


def _differs(job: Job, before: Job | None) -> bool:
    return before is None or (job.status, job.target_id) != (before.status, before.target_id)


def _messages(stack: LocalStack, queue: str) -> list[dict[str, Any]]:
    """Up to ten messages of a queue, which stay in it."""
    found = stack.client("sqs").receive_message(
        QueueUrl=stack.resource(queue), MaxNumberOfMessages=10, VisibilityTimeout=0, MessageAttributeNames=["All"]
    )
    messages: list[dict[str, Any]] = found.get("Messages", [])
    return messages


def _reason(message: dict[str, Any]) -> str:
    attributes = {name: value.get("StringValue", "") for name, value in message.get("MessageAttributes", {}).items()}
    told = [attributes[name] for name in ("ErrorType", "ErrorMessage") if attributes.get(name)]
    return ": ".join(told) or "received too often; the function's log says why"
