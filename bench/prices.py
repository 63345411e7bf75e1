"""List prices of AWS in us-east-1, in US dollars, free tiers and discounts for volume left out; what is billed how.

Looked up in November 2026, without AWS: docs/performance.md says how. Whoever counts on a sum looks at the services'
pricing pages, which are named here.
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
"""Memory at which a function has one vCPU; less has its share ("Configure Lambda function memory", developer guide)."""

_SQS_CHUNK: Final = 64 * 1024
_WRITE_UNIT: Final = 1024
_READ_UNIT: Final = 4096


def share(memory: int) -> float:
    """How many vCPUs a function with so many MB has."""
    return memory / VCPU_MB


def invocation(seconds: float, memory: int, architecture: Architecture = "x86_64") -> float:
    """Dollars for one invocation: billed by the millisecond, each begun one counts."""
    billed = ceil(round(seconds * 1000, 6)) / 1000
    return LAMBDA_REQUEST + billed * memory / 1024 * LAMBDA_GB_SECOND[architecture]


def queue_request(size: int = 0) -> float:
    """Dollars for one request to SQS with so many bytes in its messages."""
    return SQS_REQUEST * max(1, ceil(size / _SQS_CHUNK))


def write_units(size: int, *, transaction: bool = False) -> int:
    """What writing an item of so many bytes takes: one unit for each KB, two in a transaction."""
    return max(1, ceil(size / _WRITE_UNIT)) * (2 if transaction else 1)


def read_units(size: int, *, consistent: bool) -> float:
    """What reading so many bytes takes: one unit for each 4 KB, half of it where the read need not be consistent."""
    return max(1, ceil(size / _READ_UNIT)) * (1.0 if consistent else 0.5)
