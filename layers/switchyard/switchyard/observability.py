"""Logs, metrics and traces. The only module that imports Powertools for AWS Lambda or X-Ray.

Logs are JSON and never contain whole events or secrets. Metrics are EMF in the namespace POWERTOOLS_METRICS_NAMESPACE;
docs/configuration.md lists them.
"""

import logging
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_xray_sdk.core import xray_recorder

from switchyard import clock, variables

# Most invocations of the tracker emit no metric; a warning each time is noise.
warnings.filterwarnings("ignore", message="No application metrics to publish")

logger = Logger(use_rfc3339=True)
# Lambda's own filter lets INFO pass, or it would drop metrics, which have no level. Powertools would obey it.
logging.getLogger(logger.name).setLevel(variables.log_level())
metrics = Metrics()
tracer = Tracer(patch_modules=["botocore"])


class Metric(StrEnum):
    """The names of all metrics."""

    DISPATCHED = "Dispatched"
    DUPLICATES = "Duplicates"
    HELD = "Held"
    RELEASED = "Released"
    ADOPTED = "Adopted"
    REJECTED = "Rejected"
    FAILED = "Failed"
    FOREIGN_ROWS = "ForeignRows"
    LAUNCH_SUCCEEDED = "LaunchSucceeded"
    LAUNCH_FAILED = "LaunchFailed"
    LAUNCH_RETRIES = "LaunchRetries"
    TIME_TO_START = "TimeToStart"
    JOBS_WAITING = "JobsWaiting"
    OLDEST_WAIT = "OldestWaitSeconds"
    STUCK_RUNNABLE = "StuckRunnable"
    NOT_STOPPED = "NotStopped"
    TORRENTS = "Torrents"
    BYTES_HASHED = "BytesHashed"
    IMPORTS = "Imports"
    KEY_REJECTED = "KeyRejected"
    ANNOUNCED = "Announced"
    WEBHOOKS_DELIVERED = "WebhooksDelivered"
    WEBHOOKS_DEAD = "WebhooksDead"
    WEBHOOKS_DISABLED = "WebhooksDisabled"


def configure(environment: str) -> None:
    """Adds the environment's name to every metric and log line of this function."""
    metrics.set_default_dimensions(Environment=environment)
    logger.append_keys(environment=environment)


def count(metric: Metric, amount: int = 1) -> None:
    """Emits a count: by default, that something happened once."""
    metrics.add_metric(name=metric, unit=MetricUnit.Count, value=amount)


def size(metric: Metric, value: int) -> None:
    """Emits a number of bytes."""
    metrics.add_metric(name=metric, unit=MetricUnit.Bytes, value=value)


def seconds(metric: Metric, value: timedelta) -> None:
    """Emits a duration in seconds."""
    metrics.add_metric(name=metric, unit=MetricUnit.Seconds, value=value.total_seconds())


def since(metric: Metric, start: datetime) -> None:
    """Emits the milliseconds since `start`; 0 if `start` is in the future, since clocks differ."""
    elapsed = max(0.0, (clock.now() - start).total_seconds() * 1000)
    metrics.add_metric(name=metric, unit=MetricUnit.Milliseconds, value=elapsed)


def handler(function: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Any]:
    """Wraps a `lambda_handler`: opens a trace segment, adds the request id to log lines, flushes metrics at the end."""
    traced = tracer.capture_lambda_handler(function, capture_response=False)
    measured = metrics.log_metrics(traced, capture_cold_start_metric=False)
    return logger.inject_lambda_context(measured, clear_state=False, log_event=False)


def carrying_trace[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Wraps `function` so that on another thread its AWS calls join the current thread's trace."""
    if tracer.disabled:
        return function
    entity = xray_recorder.get_trace_entity()

    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        xray_recorder.set_trace_entity(entity)
        try:
            return function(*args, **kwargs)
        finally:
            xray_recorder.clear_trace_entities()

    return run
