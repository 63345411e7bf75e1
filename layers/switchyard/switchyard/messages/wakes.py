"""Wakes lanes by delayed messages on the queue of state changes, whose function starts waiting jobs anyway.

A message is sent only when a pause begins or a job has to wait for a time, so nothing is paid for while nothing waits.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, override

from botocore.exceptions import BotoCoreError, ClientError

from switchyard import clock
from switchyard.observability import logger
from switchyard.protocol.ports import Wakes

if TYPE_CHECKING:
    from datetime import datetime

    from mypy_boto3_sqs import SQSClient

_LONGEST_DELAY = 900
"""SQS's longest delay of a message, in seconds. What is due later, the reconciler finds."""


@dataclass(slots=True, eq=False)
class WakeQueue(Wakes):
    """The queue of state changes, as an alarm clock."""

    client: SQSClient
    url: str

    @override
    def wake(self, lane: str, at: datetime) -> None:
        # A second later, since SQS's clock is not ours, and a lane that is woken too early sleeps on.
        seconds = max(0, math.ceil((at - clock.now()).total_seconds())) + 1
        if seconds > _LONGEST_DELAY:
            return
        try:
            self.client.send_message(QueueUrl=self.url, MessageBody=json.dumps({"wake": lane}), DelaySeconds=seconds)
        except (ClientError, BotoCoreError) as error:
            logger.warning("not to be woken: left to the reconciler", lane=lane, error_type=type(error).__name__)


def lane_to_wake(body: str) -> str | None:
    """Reads a message of WakeQueue. None if it is anything else."""
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        return None
    match message:
        case {"wake": str(lane)}:
            return lane
    return None
