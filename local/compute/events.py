"""Delivers state change events as EventBridge would.

PutEvents refuses events from `aws.*` sources, on the emulator as on AWS. So this module reads the default bus's rules
and targets from the emulator, tests each rule's pattern by TestEventPattern, and sends matching events to the rule's
SQS targets. This tests the rules and targets of the template.
"""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import boto3
from botocore.config import Config as ClientConfig
from botocore.exceptions import BotoCoreError, ClientError

from local.compute.config import Config, Shape
from local.compute.faults import DELAY_SECONDS, EVENTS, Faults
from local.compute.runs import ComputeRun
from local.compute.store import Event, Store

if TYPE_CHECKING:
    from mypy_boto3_events.type_defs import TargetOutputTypeDef

LOG = logging.getLogger(__name__)
RULES_SECONDS = 1.0
"""How long rules and targets are cached: short enough for tests that change them, without a call for every event."""
RETRY_SECONDS = (0.2, 0.5, 1, 2, 5)
PATTERNS_REMEMBERED = 10_000

ROOT: dict[str, Any] = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
"""The emulator's root credentials."""
ONE_TRY = ClientConfig(connect_timeout=2, read_timeout=10, retries={"total_max_attempts": 1})


class Bridge(Protocol):
    """Delivers events to their targets."""

    def deliver(self, event: Shape) -> None:
        """Deliver one event.

        Raises:
            BotoCoreError, ClientError: to be called again later.
        """


class Outbox:
    """Stores state changes until they are delivered: at least once, and in order for each run."""

    def __init__(self, config: Config, store: Store, faults: Faults) -> None:
        self._config = config
        self._store = store
        self._faults = faults
        self._changed = asyncio.Event()

    def put(self, run: ComputeRun) -> None:
        """Store the event of a run's current state, in the caller's transaction."""
        fault = self._faults.take(EVENTS, run.aliases, run.status)
        mode = fault.mode if fault else None
        delay = (fault.delaySeconds or DELAY_SECONDS) if fault and mode == "delay" else 0
        copies = {"drop": 0, "duplicate": 2}.get(mode or "", 1)
        event = envelope(self._config, run)
        for _ in range(copies):
            self._store.add_event(run.id, event, due_at=time.time() + delay, held=mode == "reverse")
        if run.ended:
            self._store.release_reversed(run.id)
        self._changed.set()

    def release(self) -> None:
        """Release the events that a fault holds back."""
        self._store.release_events()
        self._changed.set()

    async def run(self, bridge: Bridge) -> None:
        """Deliver events as they come, until cancelled."""
        failures = 0
        while True:
            self._changed.clear()
            for event in self._store.due_events(time.time(), limit=100):
                if not await self._deliver(bridge, event):
                    # The emulator is unreachable. All events wait, so that those of a run stay in order.
                    await asyncio.sleep(RETRY_SECONDS[min(failures, len(RETRY_SECONDS) - 1)])
                    failures += 1
                    break
                failures = 0
            else:
                await self._wait()

    async def _deliver(self, bridge: Bridge, event: Event) -> bool:
        try:
            await asyncio.to_thread(bridge.deliver, event.body)
        except (BotoCoreError, ClientError) as error:
            LOG.warning("event will be retried: %s", error)
            return False
        self._store.delivered(event)
        return True

    async def _wait(self) -> None:
        due = self._store.next_due()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._changed.wait(), None if due is None else max(0, due - time.time()))


def envelope(config: Config, run: ComputeRun) -> Shape:
    """The EventBridge event of a run's state."""
    return {
        "version": "0",
        "id": str(uuid.uuid4()),
        "detail-type": run.change,
        "source": run.source,
        "account": config.account,
        "time": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "region": config.region,
        "resources": [run.arn],
        "detail": run.told(),
    }


class EventBridge:
    """Applies the rules of the emulator's default bus. For one thread at a time."""

    def __init__(self, emulator: str, region: str) -> None:
        self._events = boto3.client("events", endpoint_url=emulator, region_name=region, config=ONE_TRY, **ROOT)
        self._sqs = boto3.client("sqs", endpoint_url=emulator, region_name=region, config=ONE_TRY, **ROOT)
        self._rules: list[tuple[str, list[TargetOutputTypeDef]]] = []
        self._read_at = float("-inf")
        self._matches: dict[str, bool] = {}
        self._warned: set[str] = set()

    def deliver(self, event: Shape) -> None:
        """Send an event to the SQS targets of every rule that it matches."""
        if time.monotonic() - self._read_at > RULES_SECONDS:
            self._rules = list(self._read_rules())
            self._read_at = time.monotonic()
        for pattern, targets in self._rules:
            if self._matched(pattern, event):
                for target in targets:
                    self._send(target, event)

    def _read_rules(self) -> Iterator[tuple[str, list["TargetOutputTypeDef"]]]:
        for page in self._events.get_paginator("list_rules").paginate():
            for rule in page["Rules"]:
                if rule.get("State") == "ENABLED" and "EventPattern" in rule:
                    targets = self._events.get_paginator("list_targets_by_rule").paginate(Rule=rule["Name"])
                    yield rule["EventPattern"], [target for page in targets for target in page["Targets"]]

    def _matched(self, pattern: str, event: Shape) -> bool:
        # A pattern depends only on the fields it names, so events with equal values there share a result.
        key = json.dumps([pattern, _named(json.loads(pattern), event)])
        if key not in self._matches:
            if len(self._matches) >= PATTERNS_REMEMBERED:
                self._matches.clear()
            answer = self._events.test_event_pattern(EventPattern=pattern, Event=json.dumps(event))
            self._matches[key] = answer["Result"]
        return self._matches[key]

    def _send(self, target: "TargetOutputTypeDef", event: Shape) -> None:
        if ":sqs:" not in target["Arn"] or "InputPath" in target or "InputTransformer" in target:
            if target["Arn"] not in self._warned:
                self._warned.add(target["Arn"])
                LOG.error("can't deliver to %s: only SQS targets without input transformation work here", target["Arn"])
            return
        body = target.get("Input") or json.dumps(event)
        group = target.get("SqsParameters", {}).get("MessageGroupId")
        try:
            self._to_queue(target["Arn"], body, group)
        except self._sqs.exceptions.QueueDoesNotExist:
            dead_letter = target.get("DeadLetterConfig", {}).get("Arn")
            LOG.warning("queue %s doesn't exist; dead-letter queue: %s", target["Arn"], dead_letter or "none")
            if dead_letter:
                self._to_queue(dead_letter, body, None)

    def _to_queue(self, arn: str, body: str, group: str | None) -> None:
        url = self._sqs.get_queue_url(QueueName=arn.rpartition(":")[2])["QueueUrl"]
        if group:
            unique = str(uuid.uuid4())
            self._sqs.send_message(QueueUrl=url, MessageBody=body, MessageGroupId=group, MessageDeduplicationId=unique)
        else:
            self._sqs.send_message(QueueUrl=url, MessageBody=body)


def _named(pattern: Shape, event: Shape) -> list[Any]:
    """The parts of an event that a pattern names."""
    found: list[Any] = []
    for field, wanted in pattern.items():
        if field == "$or":
            found += [_named(each, event) for each in wanted]
        elif isinstance(wanted, dict):
            below = event.get(field)
            found.append(_named(wanted, below) if isinstance(below, dict) else below)
        else:
            found.append(event.get(field, {"absent": True}))
    return found
