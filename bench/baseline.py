"""The usual way, as teams write it by hand: list Batch's jobs to find duplicates, then submit.

We wrote it from descriptions of such functions, idiomatically and without handicap: one client per service, created
once; plain `logging`; partial batch responses. It has no claim, so two simultaneous deliveries start two jobs. That is
not counted against it here. The API's functions further down are written in the same way.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import boto3
from boto3.dynamodb.types import TypeDeserializer
from botocore.config import Config

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_batch.literals import JobStatusType
    from mypy_boto3_batch.type_defs import JobSummaryTypeDef
    from mypy_boto3_dynamodb import DynamoDBClient
    from mypy_boto3_s3 import S3Client
    from mypy_boto3_sqs import SQSClient

logger = logging.getLogger(__name__)

# The last two are there so that a video just processed is not processed again.
_STATUSES: tuple[JobStatusType, ...] = (
    *("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"),
    *("SUCCEEDED", "FAILED"),
)
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class UsualWay:
    """SQS → Batch, finding duplicates by listing jobs.

    The common form reads the first hundred jobs of each status and describes them one by one. With `thorough` it reads
    every page and describes a hundred jobs per call. That is its best form, and the only one that finds every
    duplicate.
    """

    batch: BatchClient
    dynamodb: DynamoDBClient
    queue: str
    definition: str
    table: str
    limit: int
    thorough: bool = False

    def lambda_handler(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """Handles the messages in order and returns the partial batch response."""
        failures = []
        for record in event["Records"]:
            try:
                for s3_record in json.loads(record["body"])["Records"]:
                    self._process(s3_record["s3"], record["messageId"])
            except Exception:
                logger.exception("message %s failed", record["messageId"])
                failures.append({"itemIdentifier": record["messageId"]})
        return {"batchItemFailures": failures}

    def _process(self, s3: dict[str, Any], message_id: str) -> None:
        bucket, key = s3["bucket"]["name"], unquote_plus(s3["object"]["key"])
        match = _ID.search(key)
        video_id = match[0] if match else key
        name = f"video-process-{video_id}"
        jobs = list(self._jobs())
        if any(job["jobName"] == name for job in jobs) or self._has_key([job["jobId"] for job in jobs], bucket, key):
            logger.info("duplicate: %s", key)
            return
        if sum(job.get("status") not in ("SUCCEEDED", "FAILED") for job in jobs) >= self.limit:
            raise RuntimeError("at capacity")
        variables = {"VIDEO_ID": video_id, "S3_BUCKET": bucket, "S3_KEY": key, "SQS_MESSAGE_ID": message_id}
        answer = self.batch.submit_job(
            jobName=name,
            jobQueue=self.queue,
            jobDefinition=self.definition,
            containerOverrides={"environment": [{"name": each, "value": value} for each, value in variables.items()]},
        )
        now = datetime.now(UTC)
        self.dynamodb.put_item(
            TableName=self.table,
            Item={
                "jobId": {"S": video_id},
                "batchJobId": {"S": answer["jobId"]},
                "status": {"S": "SUBMITTED"},
                "bucket": {"S": bucket},
                "key": {"S": key},
                "createdAt": {"S": now.isoformat()},
                "ttl": {"N": str(int((now + timedelta(days=30)).timestamp()))},
            },
        )
        logger.info("submitted %s as %s", key, answer["jobId"])

    def _jobs(self) -> Iterator[JobSummaryTypeDef]:
        for status in _STATUSES:
            if self.thorough:
                pages = self.batch.get_paginator("list_jobs").paginate(jobQueue=self.queue, jobStatus=status)
                for page in pages:
                    yield from page["jobSummaryList"]
            else:
                answer = self.batch.list_jobs(jobQueue=self.queue, jobStatus=status, maxResults=100)
                yield from answer["jobSummaryList"]

    def _has_key(self, job_ids: list[str], bucket: str, key: str) -> bool:
        for some in batched(job_ids, 100 if self.thorough else 1, strict=False):
            for job in self.batch.describe_jobs(jobs=list(some))["jobs"]:
                pairs = job.get("container", {}).get("environment", [])
                variables = {pair["name"]: pair["value"] for pair in pairs if "name" in pair and "value" in pair}
                if (variables.get("S3_BUCKET"), variables.get("S3_KEY")) == (bucket, key):
                    return True
        return False


def usual_way(*, limit: int, table: str, thorough: bool = False) -> UsualWay:
    """Returns the usual way with boto3's default clients."""
    batch, dynamodb = boto3.client("batch"), boto3.client("dynamodb")
    return UsualWay(batch, dynamodb, "video", "analyze-video", table, limit, thorough)


_AS_TOLD = {"RUNNING": "RUNNING", "SUCCEEDED": "COMPLETED", "FAILED": "FAILED"}


@dataclass(frozen=True)
class UsualCheck:
    """The usual scheduled check: looks up each active job of the table in Batch and corrects its status.

    It has an index by status, which few tables have. Without one it would Scan every job ever submitted.
    """

    table: str
    batch: BatchClient = field(default_factory=lambda: boto3.client("batch"))
    dynamodb: DynamoDBClient = field(default_factory=lambda: boto3.client("dynamodb"))

    def lambda_handler(self, _event: dict[str, Any], _context: object) -> None:
        """Checks every active job once."""
        for status in ("SUBMITTED", "RUNNING"):
            pages = self.dynamodb.get_paginator("query").paginate(
                TableName=self.table,
                IndexName="byStatus",
                KeyConditionExpression="#status = :status",
                ExpressionAttributeNames={"#status": "status"},
                ExpressionAttributeValues={":status": {"S": status}},
            )
            for page in pages:
                for item in page["Items"]:
                    self._check(item["jobId"]["S"], status, item["targetId"]["S"])

    def _check(self, job_id: str, status: str, batch_job_id: str) -> None:
        [job] = self.batch.describe_jobs(jobs=[batch_job_id])["jobs"]
        now = _AS_TOLD.get(job["status"], "SUBMITTED")
        if now == status:
            return
        self.dynamodb.update_item(
            TableName=self.table,
            Key={"jobId": {"S": job_id}},
            UpdateExpression="SET #status = :status",
            ExpressionAttributeNames={"#status": "status"},
            ExpressionAttributeValues={":status": {"S": now}},
        )
        logger.info("job %s is %s", job_id, now)


# ---- the API ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UsualApi:
    """The API as a hand-written function: json.loads, boto3, json.dumps.

    It validates only that a file is named. Everybody sees all jobs, a repeated request creates a second job, and there
    is no ETag.
    """

    bucket: str
    table: str
    queue_url: str
    # Without SigV4, boto3 would sign neither content type nor size.
    s3: S3Client = field(default_factory=lambda: boto3.client("s3", config=Config(signature_version="s3v4")))
    dynamodb: DynamoDBClient = field(default_factory=lambda: boto3.client("dynamodb"))
    sqs: SQSClient = field(default_factory=lambda: boto3.client("sqs"))

    def presign(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """POST /uploads/presign."""
        body = json.loads(event["body"])
        if not body.get("filename") or not body.get("contentType"):
            return _answer(400, {"error": "filename and contentType are required"})
        key = f"uploads/{datetime.now(UTC):%Y/%m/%d}/{uuid.uuid4()}-{body['filename']}"
        params = {"Bucket": self.bucket, "Key": key, "ContentType": body["contentType"]}
        if "size" in body:
            params["ContentLength"] = body["size"]
        url = self.s3.generate_presigned_url("put_object", Params=params, ExpiresIn=900)
        return _answer(200, {"url": url, "key": key, "bucket": self.bucket, "expiresIn": 900})

    def submit(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """POST /process."""
        body = json.loads(event["body"])
        job_id, now = str(uuid.uuid4()), datetime.now(UTC).isoformat()
        self.dynamodb.put_item(
            TableName=self.table,
            Item={
                "jobId": {"S": job_id},
                "status": {"S": "PENDING"},
                "userId": {"S": body["userId"]},
                "imageUrls": {"L": [{"S": url} for url in body["imageUrls"]]},
                "metadata": {"S": json.dumps(body["metadata"])},
                "createdAt": {"S": now},
                "updatedAt": {"S": now},
            },
        )
        self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=json.dumps({"jobId": job_id, **body}))
        logger.info("submitted %s", job_id)
        return _answer(202, {"success": True, "jobId": job_id, "status": "PENDING"})

    def status(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """GET /jobs/{jobId}."""
        key = {"jobId": {"S": event["pathParameters"]["jobId"]}}
        item = self.dynamodb.get_item(TableName=self.table, Key=key).get("Item")
        if item is None:
            return _answer(404, {"error": "not found"})
        deserialize = TypeDeserializer().deserialize
        return _answer(200, {name: deserialize(value) for name, value in item.items()})


def _answer(status: int, body: dict[str, Any]) -> dict[str, Any]:
    headers = {"Content-Type": "application/json"}
    return {"statusCode": status, "headers": headers, "body": json.dumps(body, default=float)}


def scan_and_sort(
    client: DynamoDBClient, table: str, kind: str, offset: int, limit: int, *, most: int = sys.maxsize
) -> list[dict[str, Any]]:
    """Answers GET /jobs?kind=…: scans the whole table, sorts the jobs of the kind and returns a slice of them.

    `most` limits how many jobs of the kind to look for, to measure a part of the scan.
    """
    pages = client.get_paginator("scan").paginate(
        TableName=table,
        FilterExpression="kind = :kind",
        ExpressionAttributeValues={":kind": {"S": kind}},
        PaginationConfig={"MaxItems": most},
    )
    found: list[dict[str, Any]] = [item for page in pages for item in page["Items"]]
    found.sort(key=lambda item: str(item["createdAt"]["S"]), reverse=True)
    return found[offset : offset + limit]
