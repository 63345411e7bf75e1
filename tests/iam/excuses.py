"""Permissions that can't be proven here, because here nobody asks for them.

Most are used not by our code but by Lambda itself, in the function's name, and the emulator's Lambda does those things
without asking. Two are for what the emulator's S3 does in another way than S3. That this is so is looked at on every
run: with all of them taken away at once, every probe still passes. That AWS does ask is what its documentation says,
and for Lambda's own doings AWS's own policy for the purpose grants the same, which tests/template holds this list
against.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.iam.permissions import Permission
from tools.functions import FUNCTIONS, Function


@dataclass(frozen=True)
class Excuse:
    """Why permissions can't be proven here, the page that says that AWS asks for them, and AWS's own policy if any."""

    reason: str
    page: str
    policy: str | None = None


POLLER: Final = Excuse(
    "Lambda's poller reads the queue by the function's role; the emulator's takes messages without asking",
    "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html",
    "AWSLambdaSQSQueueExecutionRole",
)
LOGS: Final = Excuse(
    "Lambda writes the log by the function's role; the emulator's writes it without asking",
    "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html",
    "AWSLambdaBasicExecutionRole",
)
TRACES: Final = Excuse(
    "Lambda's X-Ray daemon sends traces by the function's role; the emulator has no X-Ray",
    "https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html",
    "AWSXRayDaemonWriteAccess",
)
FAILED_RUNS: Final = Excuse(
    "Lambda sends what failed to the destination by the function's role; the emulator's sends it without asking",
    "https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html",
)

GONE: Final = Excuse(
    "S3 says that an object isn't there to those who may list the bucket; the emulator's says so to all",
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html",
)
PARTS: Final = Excuse(
    "further pages of an object's parts are asked for by its version; the emulator knows no parts' checksums",
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html",
)


def _of(function: Function) -> Mapping[str, Excuse]:
    """What Lambda does in a function's name."""
    polled = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes") if function.queue else ()
    return {
        **{f"sqs:{action} on {function.queue}": POLLER for action in polled},
        f"logs:CreateLogStream on {function.log_group}": LOGS,
        f"logs:PutLogEvents on {function.log_group}": LOGS,
        "xray:PutTraceSegments on *": TRACES,
        "xray:PutTelemetryRecords on *": TRACES,
    }


_MORE: Final[Mapping[str, Mapping[str, Excuse]]] = {
    "s3_torrent_creator": {"s3:ListBucket on MediaBucket": GONE, "s3:GetObjectVersionAttributes on MediaBucket": PARTS},
    "reconcile_jobs": {"sqs:SendMessage on ReconcileDeadLetterQueue": FAILED_RUNS},
}
"""Beyond what Lambda does in every function's name."""

EXCUSES: Final[Mapping[str, Mapping[str, Excuse]]] = {
    name: {**_of(function), **_MORE.get(name, {})} for name, function in FUNCTIONS.items()
}


def excuse(permission: Permission) -> Excuse | None:
    """Why it can't be proven here; None if it has to be."""
    return EXCUSES.get(permission.function, {}).get(permission.what)
