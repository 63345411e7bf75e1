"""A worker's reads and writes of its job's item in JobsTable.

Every write is one UpdateItem that may be sent twice: it sets the same values under the same condition. So a timeout
that hides a success does no harm, and boto3's retries stay on.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer, TypeSerializer
from botocore.exceptions import ClientError, ConnectionClosedError

from switchyard_worker.environment import WorkerEnvironment
from switchyard_worker.errors import Superseded

if TYPE_CHECKING:
    from mypy_boto3_dynamodb.client import DynamoDBClient

WHOLE_ANSWER_ATTEMPTS = 3
"""Attempts to write if the response is truncated. boto3 retries all other failures."""
ERROR_LIMIT = 1000
"""Maximum characters of an error's message in the table."""


class Record:
    """The job's item in JobsTable: the attributes that a worker may write.

    A worker never writes a terminal status: the platform does, in the transaction that also frees the job's slot.
    """

    def __init__(self, dynamodb: "DynamoDBClient", environment: WorkerEnvironment) -> None:
        self._dynamodb = dynamodb
        self._environment = environment
        self.input: Mapping[str, Any] = {}
        self.created_at = ""

    def start(self) -> bool:
        """Make the fence check and read the job's `input` and `created_at`.

        Returns:
            Whether an earlier attempt of this run has already recorded the complete result.

        Raises:
            Superseded: this run must not do the job.
        """
        # claim N written ──► SubmitJob ──► this run starts ────────► fence is N, no runId: ours
        #                 └─► SubmitJob again (a timeout hid the first) ► runId is the other run's: superseded
        # claim N+1 written meanwhile (adopted, uploaded again) ───────► fence isn't N: superseded
        # cancelled, or ended meanwhile ───────────────────────────────► status isn't active: superseded
        # cancel requested, run not stopped yet ───────────────────────► cancelRequestedAt exists: superseded
        # a retried attempt of this run has the same Batch job id ─────► runId is ours: continue
        item = self._update(
            condition="fence = :fence AND (attribute_not_exists(runId) OR runId = :runId)"
            " AND #status IN (:claimed, :submitted, :running) AND attribute_not_exists(cancelRequestedAt)",
            update="SET runId = :runId, targetId = :runId, #status = :running,"
            " startedAt = if_not_exists(startedAt, :now), heartbeatAt = :now, updatedAt = :now REMOVE #error",
            values={":claimed": "CLAIMED", ":submitted": "SUBMITTED", ":running": "RUNNING"},
        )
        self.input = json.loads(item.get("request", "{}")).get("input") or {}
        self.created_at = str(item.get("createdAt", ""))
        result = item.get("result")
        return (
            isinstance(result, dict) and result.get("runId") == self._environment.run_id and not result.get("partial")
        )

    def beat(self, progress: Mapping[str, Any]) -> bool:
        """Record that the run is alive, and its progress. False if a cancel was requested."""
        item = self._write("SET #progress = :progress, heartbeatAt = :now, updatedAt = :now", {":progress": progress})
        return "cancelRequestedAt" not in item

    def finish(self, result: Mapping[str, Any], progress: Mapping[str, Any]) -> None:
        """Record the result, complete or partial. A complete result is the last write of a successful run."""
        self._write(
            "SET #result = :result, #progress = :progress, heartbeatAt = :now, updatedAt = :now REMOVE #error",
            {":result": result, ":progress": progress},
        )

    def fail(self, code: str, message: str) -> None:
        """Record why this attempt failed."""
        error = {"code": code, "message": readable(message)}
        self._write("SET #error = :error, heartbeatAt = :now, updatedAt = :now", {":error": error})

    def _write(self, update: str, values: Mapping[str, Any]) -> dict[str, Any]:
        # Another claim may own the item, or TTL may have deleted it: never overwrite or recreate it.
        return self._update("fence = :fence AND runId = :runId", update, values)

    def _update(self, condition: str, update: str, values: Mapping[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        given = {":fence": self._environment.fence, ":runId": self._environment.run_id, ":now": now, **values}
        aliases = re.findall(r"#\w+", condition + update)  # `#name` stands for `name`, a reserved word
        serialize, deserialize = TypeSerializer().serialize, TypeDeserializer().deserialize
        call: dict[str, Any] = {
            "TableName": self._environment.jobs_table,
            "Key": {"jobId": {"S": self._environment.job_id}},
            "ConditionExpression": condition,
            "UpdateExpression": update,
            "ExpressionAttributeNames": {alias: alias.removeprefix("#") for alias in aliases},
            "ExpressionAttributeValues": {name: serialize(_exact(value)) for name, value in given.items()},
            "ReturnValues": "ALL_NEW",
        }
        for _ in range(WHOLE_ANSWER_ATTEMPTS):
            try:
                answer = self._dynamodb.update_item(**call)
            except ClientError as error:
                if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                    raise Superseded from error
                raise
            # boto3 returns a truncated response as an empty one.
            if "Attributes" in answer:
                return {name: deserialize(value) for name, value in answer["Attributes"].items()}
        raise ConnectionClosedError(endpoint_url="DynamoDB")


def _exact(value: object) -> object:
    """JSON-shaped data with Decimals instead of floats, which DynamoDB rejects."""
    return json.loads(json.dumps(value), parse_float=Decimal)


def readable(message: str) -> str:
    """`message` as one printable line of at most `ERROR_LIMIT` characters."""
    line = "".join(character if character.isprintable() else " " for character in message)
    line = " ".join(line.split())
    return line if len(line) <= ERROR_LIMIT else line[: ERROR_LIMIT - 1] + "…"
