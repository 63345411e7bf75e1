"""Permissions that can't be proven here, because the emulator doesn't check them.

Lambda itself uses most of them, with the function's role, and the emulator's Lambda doesn't check them. Three are
for calls that the emulator's S3 handles differently from S3. Every run verifies this: with all of them removed at once,
every probe still passes. AWS's documentation says that AWS does check them. For Lambda's own calls, AWS's managed
policies grant the same permissions, and tests/template compares this list with them.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tests.iam.permissions import Permission
from tools.functions import FUNCTIONS, Function


@dataclass(frozen=True)
class Excuse:
    """Why permissions can't be proven here, the page that says AWS checks them, and AWS's managed policy if any."""

    reason: str
    page: str
    policy: str | None = None


POLLER: Final = Excuse(
    "Lambda's poller reads the queue with the function's role; the emulator's doesn't check it",
    "https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html",
    "AWSLambdaSQSQueueExecutionRole",
)
LOGS: Final = Excuse(
    "Lambda writes the log with the function's role; the emulator's doesn't check it",
    "https://docs.aws.amazon.com/lambda/latest/dg/monitoring-cloudwatchlogs.html",
    "AWSLambdaBasicExecutionRole",
)
TRACES: Final = Excuse(
    "Lambda's X-Ray daemon sends traces with the function's role; the emulator has no X-Ray",
    "https://docs.aws.amazon.com/lambda/latest/dg/services-xray.html",
    "AWSXRayDaemonWriteAccess",
)
STREAM_POLLER: Final = Excuse(
    "Lambda's poller reads the stream with the function's role; the emulator's doesn't check it",
    "https://docs.aws.amazon.com/lambda/latest/dg/services-ddb-params.html",
    "AWSLambdaDynamoDBExecutionRole",
)
FAILED_RUNS: Final = Excuse(
    "Lambda sends failed events to the destination with the function's role; the emulator's doesn't check it",
    "https://docs.aws.amazon.com/lambda/latest/dg/invocation-async-retain-records.html",
)

GONE: Final = Excuse(
    "S3 answers 404 only to callers that may list the bucket; the emulator's answers it to all",
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_HeadObject.html",
)
PARTS: Final = Excuse(
    "further pages of an object's parts are read by version; the emulator has no part checksums",
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_GetObjectAttributes.html",
)
VERSIONS: Final = Excuse(
    "S3 checks it for deleting versions, s3:DeleteObject for deleting objects; the emulator only checks the latter",
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_DeleteObjects.html",
)


VECTORS: Final = Excuse(
    "the emulator has no S3 Vectors, and its stand-in asks for no permissions",
    "https://docs.aws.amazon.com/AmazonS3/latest/API/API_S3VectorBuckets_QueryVectors.html",
)
ANSWER_KEY: Final = Excuse(
    "the local system's SummaryBackend is extractive, which writes no answers and needs no key",
    "https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html",
)
BEDROCK: Final = Excuse(
    "the local system's SummaryBackend is extractive, which calls no model",
    "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
)
PINECONE: Final = Excuse(
    "only with SearchIndex=pinecone; the local system's is s3vectors",
    "https://docs.aws.amazon.com/secretsmanager/latest/apireference/API_GetSecretValue.html",
)


def _of(function: Function) -> Mapping[str, Excuse]:
    """Returns the permissions that Lambda uses with a function's role."""
    polled = ("ReceiveMessage", "DeleteMessage", "GetQueueAttributes") if function.queue else ()
    return {
        **{f"sqs:{action} on {function.queue}": POLLER for action in polled},
        f"logs:CreateLogStream on {function.log_group}": LOGS,
        f"logs:PutLogEvents on {function.log_group}": LOGS,
        "xray:PutTraceSegments on *": TRACES,
        "xray:PutTelemetryRecords on *": TRACES,
    }


_ERASED: Final = "MediaBucket/results, MediaBucket/recordings, MediaBucket/pieces, MediaBucket"
_INDEX: Final = "bucket/${AWS::StackName}-search/index/minilm-l6-v2-384"
_MORE: Final[Mapping[str, Mapping[str, Excuse]]] = {
    "s3_torrent_creator": {"s3:ListBucket on MediaBucket": GONE, "s3:GetObjectVersionAttributes on MediaBucket": PARTS},
    "cancel_job": {
        f"s3vectors:DeleteVectors on {_INDEX}": VECTORS,
        "secretsmanager:GetSecretValue on SearchIndexKeySecretArn": PINECONE,
        f"s3:DeleteObjectVersion on {_ERASED}": VERSIONS,
        "s3:GetObjectVersion on MediaBucket": VERSIONS,
    },
    "search_media": {
        **{f"s3vectors:{action} on {_INDEX}": VECTORS for action in ("QueryVectors", "GetVectors")},
        "secretsmanager:GetSecretValue on SummaryKeySecretArn": ANSWER_KEY,
        "bedrock:InvokeModel on foundation-model, inference-profile": BEDROCK,
        "bedrock:InvokeModel on foundation-model": BEDROCK,
        "secretsmanager:GetSecretValue on SearchIndexKeySecretArn": PINECONE,
    },
    "notify": {
        f"dynamodb:{action} on JobsTable": STREAM_POLLER
        for action in ("DescribeStream", "GetRecords", "GetShardIterator", "ListStreams")
    },
    "reconcile_jobs": {"sqs:SendMessage on ReconcileDeadLetterQueue": FAILED_RUNS},
}
"""Excuses beyond those of every function."""

EXCUSES: Final[Mapping[str, Mapping[str, Excuse]]] = {
    name: {**_of(function), **_MORE.get(name, {})} for name, function in FUNCTIONS.items()
}


def excuse(permission: Permission) -> Excuse | None:
    """Returns why a permission can't be proven here; None if it must be."""
    return EXCUSES.get(permission.function, {}).get(permission.what)
