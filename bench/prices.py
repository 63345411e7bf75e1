"""AWS list prices in us-east-1 and billing rules. In US dollars, without free tiers and volume discounts.

Looked up in November 2026; docs/performance.md says how. Before you rely on a sum, check the pricing pages named here.
"""

from __future__ import annotations

from math import ceil
from typing import Final, Literal

MILLION: Final = 1_000_000

type Architecture = Literal["x86_64", "arm64"]

LAMBDA_GB_SECOND: Final[dict[Architecture, float]] = {"x86_64": 0.0000166667, "arm64": 0.0000133334}
LAMBDA_REQUEST: Final = 0.20 / MILLION  # aws.amazon.com/lambda/pricing
SQS_REQUEST: Final = 0.40 / MILLION  # aws.amazon.com/sqs/pricing: standard queues, 64 KB of a message a request
DYNAMODB_WRITE: Final = 0.625 / MILLION  # aws.amazon.com/dynamodb/pricing/on-demand: request units, since November 2024
DYNAMODB_READ: Final = 0.125 / MILLION
API_REQUEST: Final = 3.50 / MILLION  # aws.amazon.com/api-gateway/pricing: REST, the first 333 million of a month
LOGS_GB: Final = 0.50  # aws.amazon.com/cloudwatch/pricing: taken in, standard class
TRACE: Final = 5.00 / MILLION  # aws.amazon.com/xray/pricing: recorded
ALARM_MONTH: Final = 0.10  # aws.amazon.com/cloudwatch/pricing: of standard resolution
METRIC_MONTH: Final = 0.30  # as above: the first ten thousand custom metrics

VCPU_MB: Final = 1769
"""Memory at which a function has one vCPU; less has a proportional share ("Configure Lambda function memory")."""

_SQS_CHUNK: Final = 64 * 1024
_WRITE_UNIT: Final = 1024
_READ_UNIT: Final = 4096


def share(memory: int) -> float:
    """Returns the vCPUs of a function with `memory` MB."""
    return memory / VCPU_MB


def invocation(seconds: float, memory: int, architecture: Architecture = "x86_64") -> float:
    """Returns dollars for one invocation, billed by the millisecond, rounded up."""
    billed = ceil(round(seconds * 1000, 6)) / 1000
    return LAMBDA_REQUEST + billed * memory / 1024 * LAMBDA_GB_SECOND[architecture]


def queue_request(size: int = 0) -> float:
    """Returns dollars for one request to SQS with `size` bytes of messages."""
    return SQS_REQUEST * max(1, ceil(size / _SQS_CHUNK))


def write_units(size: int, *, transaction: bool = False) -> int:
    """Returns write units for an item of `size` bytes: one per KB, two in a transaction."""
    return max(1, ceil(size / _WRITE_UNIT)) * (2 if transaction else 1)


def read_units(size: int, *, consistent: bool) -> float:
    """Returns read units for `size` bytes: one per 4 KB, half of that for an eventually consistent read."""
    return max(1, ceil(size / _READ_UNIT)) * (1.0 if consistent else 0.5)
