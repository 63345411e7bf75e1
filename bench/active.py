"""An AWS account with active jobs, for the reconciler. It answers below botocore, like `bench.aws`.

Tables and targets agree: no event was missed, no slot leaked, and there is nothing to repair.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from bench.aws import (
    ACTIVE_STATUSES,
    ID,
    Answer,
    Aws,
    body_of,
    dynamodb_answer,
    raw_answer,
    sample_detail,
    size_of,
)

if TYPE_CHECKING:
    from botocore.awsrequest import AWSPreparedRequest

    from switchyard.messages.kinds import Kind

type Item = dict[str, Any]

MOST_DESCRIBED = 100
PAGE_BYTES = 1_000_000
_TARGET_IDS: Mapping[str, str] = {
    "batch": "22222222-2222-4333-8444-{:012d}",
    "ecs": "arn:aws:ecs:us-east-1:123456789012:task/switchyard/{:032d}",
}
_TASK_STATUSES: Mapping[str, str] = {"RUNNABLE": "PROVISIONING", "STARTING": "ACTIVATING", "SUBMITTED": "PENDING"}
"""ECS's names for statuses that Batch names differently."""


@dataclass
class Active(Aws):
    """An account with `active` jobs in one lane, all on one target. Answers are built in advance, so they cost nothing.

    Attributes:
        target: `batch` or `ecs`.
    """

    target: str = "batch"

    def __post_init__(self) -> None:
        """Builds the answers."""
        now = datetime.now(UTC)  # or Batch would say of old jobs that no machine takes them
        numbers = range(self.active)
        self._details = {
            _short(_TARGET_IDS[self.target].format(number)): json.dumps(
                _detail(self.target, number, now), separators=(",", ":")
            ).encode()
            for number in numbers
        }
        listed: dict[str, list[Item]] = defaultdict(list)
        for number in numbers:
            item = index_item(self.target, number, now)
            listed[item["status"]["S"]].append(item)
        self._pages = {key: answer for status, items in listed.items() for key, answer in _pages(status, items).items()}
        self._lane = f"#{_kinds()[self.target].lane}"
        self._slots = dynamodb_answer({"Item": {"taken": {"N": str(self.active)}, "moves": {"N": "1"}}})
        holds = [
            {"pk": {"S": f"HOLDS{self._lane}"}, "sk": item["jobId"]} for items in listed.values() for item in items
        ]
        self._holds = dynamodb_answer({"Items": holds})  # 10,000 are fewer than 1 MB
        self._free = dynamodb_answer({})
        self._nothing = _items([], None)

    def reply(self, operation: str, request: AWSPreparedRequest) -> Answer:
        """Answers as the services would. Raises ValueError for more ids than one call allows."""
        match operation:
            case "Query":
                return self._found(body_of(request))
            case "GetItem":
                is_ours = body_of(request)["Key"]["pk"]["S"] == f"LANE{self._lane}"
                return self._slots if is_ours else self._free
            case "DescribeJobs":
                return self._described(body_of(request)["jobs"], b'{"jobs":[%b]}', "application/json")
            case "DescribeTasks":
                body = b'{"tasks":[%b],"failures":[]}'
                return self._described(body_of(request)["tasks"], body, "application/x-amz-json-1.1")
        return super().reply(operation, request)

    def _found(self, query: Mapping[str, Any]) -> Answer:
        if query.get("IndexName") != "byStatus":
            holds = query["ExpressionAttributeValues"][":pk"]["S"] == f"HOLDS{self._lane}"
            return self._holds if holds else self._nothing  # nobody waits
        after = query.get("ExclusiveStartKey", {}).get("jobId", {}).get("S", "")
        return self._pages.get((query["ExpressionAttributeValues"][":status"]["S"], after), self._nothing)

    def _described(self, ids: list[str], body: bytes, kind: str) -> Answer:
        if len(ids) > MOST_DESCRIBED:
            raise ValueError(f"{len(ids)} ids in one call: AWS accepts {MOST_DESCRIBED}")
        return raw_answer(body % b",".join(self._details[_short(each)] for each in ids), kind=kind)


def _short(target_id: str) -> str:
    """The id at the end of a task's ARN: ECS takes either."""
    return target_id.rpartition("/")[2]


def _kinds() -> Mapping[str, Kind]:
    """The kind of job each target runs in this bench."""
    from switchyard.messages.kinds import IMAGES, VIDEO  # noqa: PLC0415 - as in `index_item`

    return {kind.target: kind for kind in (VIDEO, IMAGES)}


def index_item(target: str, number: int, now: datetime) -> Item:
    """Returns a job as an item of the index byStatus, with all projected attributes."""
    kind = _kinds()[target]
    status = _status(number)
    queue, definition = ("video", "analyze-video") if target == "batch" else ("switchyard", "detect-objects")
    moment = now.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    runs_on = {"type": {"S": target}, "queue": {"S": queue}, "definition": {"S": definition}}
    return {
        "jobId": {"S": ID.format(number)},
        "status": {"S": status if status == "RUNNING" else "SUBMITTED"},
        "createdAt": {"S": moment},
        "kind": {"S": kind.name},
        "lane": {"S": kind.lane},
        "target": {"M": runs_on},
        "targetId": {"S": _TARGET_IDS[target].format(number)},
        "fence": {"N": "1"},
        "claimedAt": {"S": moment},
        "userId": {"S": "user-42"},
    }


def _status(number: int) -> str:
    return ACTIVE_STATUSES[number % len(ACTIVE_STATUSES)]


def _detail(target: str, number: int, now: datetime) -> Item:
    """Describes a run as its target would: the repository's sample of a running one, in this run's status."""
    identifier, status = _TARGET_IDS[target].format(number), _status(number)
    if target == "batch":
        detail = sample_detail("running")
        container = {**detail["container"], "environment": _of_job(number, detail["container"]["environment"])}
        known = {"jobId": identifier, "status": status, "createdAt": int(now.timestamp() * 1000)}
        return {**detail, **known, "container": container}
    detail = sample_detail("task_running")
    [override] = detail["overrides"]["containerOverrides"]
    # Times are text in an event and numbers in an answer.
    times = {name: now.timestamp() for name in detail if name.endswith("At")}
    own = [{**override, "environment": _of_job(number, override["environment"])}]
    known = {"taskArn": identifier, "lastStatus": _TASK_STATUSES.get(status, status)}
    return {**detail, **times, **known, "overrides": {"containerOverrides": own}}


def _of_job(number: int, environment: Iterable[Mapping[str, str]]) -> list[Mapping[str, str]]:
    mine = {"JOB_ID": ID.format(number), "FENCE": "1"}
    return [{**pair, "value": mine.get(pair["name"], pair["value"])} for pair in environment]


def _pages(status: str, items: Iterable[Item]) -> dict[tuple[str, str], Answer]:
    """Builds the answers to a Query for a status, 1 MB of items each, by the id of the last job before the page."""
    pages: list[list[Item]] = [[]]
    size = 0
    for item in items:
        more = sum(len(name.encode()) + size_of(value) for name, value in item.items())
        if size + more > PAGE_BYTES:
            pages.append([])
            size = 0
        pages[-1].append(item)
        size += more
    answers = {}
    after = ""
    for number, page in enumerate(pages, start=1):
        answers[status, after] = _items(page, page[-1] if number < len(pages) else None)
        after = page[-1]["jobId"]["S"]
    return answers


def _items(items: list[Item], last: Item | None) -> Answer:
    more = {"LastEvaluatedKey": {name: last[name] for name in ("jobId", "status", "createdAt")}} if last else {}
    return dynamodb_answer({"Items": items, "Count": len(items), "ScannedCount": len(items), **more})
