"""The worker's library and the layer use the same attributes of JobsTable."""

import re
from dataclasses import replace
from typing import Any

from switchyard.tables import items
from switchyard.tables.items import Attribute
from switchyard_worker import Record, WorkerEnvironment
from tests.requests import task

ENVIRONMENT = WorkerEnvironment.from_env(
    {"JOB_ID": "a", "JOBS_TABLE": "jobs", "FENCE": "3", "AWS_BATCH_JOB_ID": "run-1", "S3_BUCKET": "media"}
)
NAMES = {each.name for each in vars(items).values() if isinstance(each, Attribute)}
ASKED = replace(task(), input={"imageUrls": ["s3://media/a.jpg"]})
SYNTAX = {"SET", "REMOVE", "AND", "OR", "IN", "attribute_not_exists", "if_not_exists"}


class Table:
    """A table that accepts every write and answers with an item as the layer writes it."""

    def __init__(self, **more: items.Value) -> None:
        self.calls: list[dict[str, Any]] = []
        self.item = items.request_attributes(ASKED) | more

    def update_item(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - as boto3
        self.calls.append(call)
        return {"Attributes": self.item}


def record(table: Table) -> Record:
    client: Any = table
    return Record(client, ENVIRONMENT)


def test_a_worker_writes_attributes_of_the_layer_and_no_others() -> None:
    table = Table()
    written = record(table)
    written.start()
    written.beat({})
    written.finish({}, {})
    written.fail("CODE", "message")
    assert len(table.calls) == 4
    for call in table.calls:
        expressions = f"{call['UpdateExpression']} {call['ConditionExpression']}"
        words = set(re.findall(r"(?<![:\w])\w+", expressions)) - SYNTAX
        assert words <= NAMES
        assert call["Key"] == items.job_key("a")


def test_a_worker_finds_the_input_that_the_layer_wrote() -> None:
    read = record(Table())
    read.start()
    assert read.input == ASKED.input


def test_a_worker_finds_the_cancel_that_the_layer_wrote() -> None:
    assert record(Table()).beat({})
    assert not record(Table(**{items.CANCEL_REQUESTED_AT.name: items.text("2026-11-22T13:00:00.000Z")})).beat({})


def test_an_attempt_finds_the_result_of_the_one_before() -> None:
    kept = {items.RESULT.name: items.fields({"runId": "run-1"})}
    assert record(Table(**kept)).start()
    assert not record(Table()).start()
