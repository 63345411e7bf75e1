"""The usual way to do what `sqs_to_batch` does, as teams write it by hand: ask Batch what is there, then submit.

Written by us from the description of such functions, idiomatically and without handicap: one client a service, made
once; plain `logging`; partial batch responses. It has no claim, so two deliveries at once still start two jobs, and
that is not counted against it here.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import batched
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import boto3

if TYPE_CHECKING:
    from mypy_boto3_batch import BatchClient
    from mypy_boto3_batch.literals import JobStatusType
    from mypy_boto3_batch.type_defs import JobSummaryTypeDef
    from mypy_boto3_dynamodb import DynamoDBClient

logger = logging.getLogger(__name__)

# The last two because a video that has just been processed is not to be processed again.
_STATUSES: tuple[JobStatusType, ...] = (
    *("SUBMITTED", "PENDING", "RUNNABLE", "STARTING", "RUNNING"),
    *("SUCCEEDED", "FAILED"),
)
_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


@dataclass(frozen=True)
class UsualWay:
    """SQS → Batch with duplicates found by listing.

    As it is mostly seen, it reads the first hundred jobs of each status and describes them one by one. With `thorough`
    it reads every page and describes a hundred jobs a call: the best that can be made of it, and the only way that
    finds every duplicate.
    """

    batch: BatchClient
    dynamodb: DynamoDBClient
    queue: str
    definition: str
    table: str
    limit: int
    thorough: bool = False

    def lambda_handler(self, event: dict[str, Any], _context: object) -> dict[str, Any]:
        """Handles the messages one after the other; gives the partial batch response."""
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
    """It with boto3's default clients."""
    batch, dynamodb = boto3.client("batch"), boto3.client("dynamodb")
    return UsualWay(batch, dynamodb, "video", "analyze-video", table, limit, thorough)
