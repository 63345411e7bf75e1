"""Shared by all tiers: an environment that can't reach AWS, and the template's tables on moto."""

import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

# Powertools and numpy read these on import, so they are set before we import anything. None is a real credential.
os.environ.update(
    AWS_ACCESS_KEY_ID="test",
    AWS_SECRET_ACCESS_KEY="test",
    AWS_DEFAULT_REGION="us-east-1",
    AWS_EC2_METADATA_DISABLED="true",
    OPENBLAS_NUM_THREADS="1",  # as many threads as processors, in several processes, wait for each other
    POWERTOOLS_SERVICE_NAME="test",
    POWERTOOLS_METRICS_NAMESPACE="Switchyard",
    POWERTOOLS_TRACE_DISABLED="true",
)
for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_REGION"):
    os.environ.pop(name, None)
# A background job inherits "ignore", and so would every process that tests start or interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

import boto3
import pytest
from hypothesis import HealthCheck, settings
from moto import mock_aws

from tests.tables import create_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_sqs import SQSClient

# Test machines are noisy: hypothesis must not fail a test for being slow.
settings.register_profile("quick", deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=5000, stateful_step_count=60)
settings.load_profile("quick")  # `--hypothesis-profile=thorough` looks longer


@dataclass(frozen=True)
class Aws:
    """A moto account with the template's tables and two queues."""

    dynamodb: "DynamoDBClient"
    sqs: "SQSClient"
    jobs_table: str
    lanes_table: str
    queue_url: str
    dead_letter_queue_url: str


@cache
def _clients() -> "tuple[DynamoDBClient, SQSClient]":
    """Creates the clients once, because that takes time. moto forgets everything else between tests."""
    return boto3.client("dynamodb"), boto3.client("sqs")


@pytest.fixture
def aws() -> Iterator[Aws]:
    """Creates the template's tables and two queues on moto. The layer's own clients reach them too."""
    with mock_aws():
        dynamodb, sqs = _clients()
        jobs_table, lanes_table = create_tables(dynamodb)
        queue_url, dlq_url = (sqs.create_queue(QueueName=name)["QueueUrl"] for name in ("queue", "dead-letters"))
        yield Aws(dynamodb, sqs, jobs_table, lanes_table, queue_url, dlq_url)
