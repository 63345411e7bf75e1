"""Tells tasks of Step Functions that wait for a job (`.waitForTaskToken`) how it goes.

A token is worth one answer. A second one, after a call that timed out or a replay of the stream, is refused as closed,
which changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from botocore.exceptions import BotoCoreError, ClientError

from switchyard.observability import logger
from switchyard.protocol.jobs import TERMINAL, Status

if TYPE_CHECKING:
    from switchyard.notifications.announcement import Announcement

_OVER = frozenset({"TaskDoesNotExist", "TaskTimedOut", "InvalidToken"})
"""The task isn't waiting, or no longer (AWS Step Functions API reference, SendTaskSuccess)."""
_REFUSED = frozenset(
    {
        "InvalidOutput",
        "ValidationException",
        "KmsAccessDeniedException",
        "KmsInvalidStateException",
        "KmsThrottlingException",
    }
)
"""Of this task alone. Asking again would keep the jobs after it from being told. So its own timeout has to end it."""
_MAX_ERROR = 256
_MAX_CAUSE = 32_768


@dataclass(frozen=True, slots=True)
class Tasks:
    """The channel of task tokens. `client` is boto3's of Step Functions."""

    client: Any

    def tell(self, announcements: Sequence[Announcement]) -> set[str]:
        """Ends the task of each job that has ended. Returns the ids of those of which that is not certain.

        After the first call that fails, no other is made: the service is down, or has had enough.
        """
        ended = [each for each in announcements if each.task_token and each.status in TERMINAL]
        for position, told in enumerate(ended):
            if not self._end(told):
                return {each.id for each in ended[position:]}
        return set()

    def keep_alive(self, tokens: Iterable[str]) -> None:
        """Sends a heartbeat for each task. A failure is left to the next time; never raises."""
        for token in tokens:
            try:
                self.client.send_task_heartbeat(taskToken=token)
            except (ClientError, BotoCoreError) as error:
                if not _is_over(error):
                    logger.warning("heartbeats of tasks not sent", error_type=_kind(error))
                    return

    def _end(self, told: Announcement) -> bool:
        try:
            if told.status is Status.COMPLETED:
                output = json.dumps(told.detail(), separators=(",", ":"))
                self.client.send_task_success(taskToken=told.task_token, output=output)
            else:
                self.client.send_task_failure(taskToken=told.task_token, **_failure(told))
        except (ClientError, BotoCoreError) as error:
            if not _is_over(error):
                logger.warning("a task was not told", job_id=told.job_id, error_type=_kind(error))
                return _kind(error) in _REFUSED
            logger.info("the task no longer waits", job_id=told.job_id, error_type=_kind(error))
        return True


def _failure(told: Announcement) -> dict[str, str]:
    """What a state machine's Retry and Catch see: the job's error code, or CANCELLED."""
    if told.error is None:
        return {"error": str(told.status), "cause": f"job {told.job_id} is {told.status}"}
    return {"error": told.error.code[:_MAX_ERROR], "cause": told.error.message[:_MAX_CAUSE]}


def _is_over(error: Exception) -> bool:
    return _kind(error) in _OVER


def _kind(error: Exception) -> str:
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else type(error).__name__
