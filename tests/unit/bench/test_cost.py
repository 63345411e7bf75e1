"""Computes a job's cost from DynamoDB's units and AWS's prices."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import boto3
import pytest
from moto import mock_aws

from bench import prices
from bench.cost import JOBS_A_SECOND, Pace, Usual, of_job, of_usual, receives_of, traced
from bench.course import OF_BATCH, OF_ECS, Step
from bench.deployed import template
from bench.units import Index, Meter, item_size
from tests.tables import create_tables

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

_PACES = {"sqs_to_batch": Pace(one=0.02, ten=0.005)}
_KB = "x" * 1000


def step(**changed: object) -> Step:
    made = Step("message", "sqs_to_batch", {"PutItem": 1}, writes=0, indexes=0, reads=0, logged=0, came=0, sent=())
    return replace(made, **changed)  # type: ignore[arg-type] # a test names its fields


# ---- sizes and units -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("item", "size"),
    [
        ({"a": {"S": "bc"}}, 3),
        ({"ä": {"S": "€"}}, 5),
        ({"n": {"N": "1795372615000"}}, 1 + 6),
        ({"n": {"N": "-0.5"}}, 1 + 2),
        ({"y": {"BOOL": True}}, 2),
        ({"ids": {"SS": ["abc", "de"]}}, 3 + 5),
        ({"m": {"M": {"k": {"S": "v"}}}}, 1 + 3 + 1 + 1 + 1),
        ({"l": {"L": [{"S": "ab"}]}}, 1 + 3 + 1 + 2),
    ],
)
def test_an_item_is_as_large_as_its_names_and_values(item: dict[str, dict[str, object]], size: int) -> None:
    assert item_size(item) == size


_INDEX = Index(("status", "createdAt"), frozenset({"status", "createdAt", "kind"}))
_ITEM = {"status": {"S": "RUNNING"}, "createdAt": {"S": "2026"}, "kind": {"S": "video"}, "note": {"S": "a"}}


def test_an_index_is_not_written_for_what_it_does_not_hold() -> None:
    assert _INDEX.units(_ITEM, _ITEM | {"note": {"S": "b"}}) == 0


def test_an_index_is_written_once_for_what_it_holds() -> None:
    assert _INDEX.units(_ITEM, _ITEM | {"kind": {"S": "image"}}) == 1


def test_a_new_key_is_a_deletion_and_a_write() -> None:
    assert _INDEX.units(_ITEM, _ITEM | {"status": {"S": "COMPLETED"}}) == 2


def test_a_new_item_is_one_write_of_an_index() -> None:
    assert _INDEX.units(None, _ITEM) == 1


def test_an_item_without_the_key_is_in_no_index() -> None:
    assert _INDEX.units(None, {"kind": {"S": "video"}}) == 0


# ---- a meter ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def client() -> Iterator["DynamoDBClient"]:
    with mock_aws():
        made = boto3.client("dynamodb", region_name="us-east-1")
        create_tables(made)
        yield made


@pytest.fixture
def meter(client: "DynamoDBClient") -> Meter:
    made = Meter(boto3.client("dynamodb", region_name="us-east-1"), ["JobsTable", "LanesTable"])
    made.watch(client)
    return made


def test_a_write_is_billed_by_the_larger_of_before_and_after(client: "DynamoDBClient", meter: Meter) -> None:
    client.put_item(TableName="JobsTable", Item={"jobId": {"S": "a"}, "text": {"S": 3 * _KB}})
    client.put_item(TableName="JobsTable", Item={"jobId": {"S": "a"}})
    assert meter.bill.writes == 3 + 3


def test_a_transaction_is_billed_twice(client: "DynamoDBClient", meter: Meter) -> None:
    puts = [{"Put": {"TableName": "JobsTable", "Item": {"jobId": {"S": name}}}} for name in "ab"]
    client.transact_write_items(TransactItems=puts)  # type: ignore[arg-type] # the stubs want literals
    assert meter.bill.writes == 2 * 2


def test_a_refused_condition_is_billed_as_a_write(client: "DynamoDBClient", meter: Meter) -> None:
    client.put_item(TableName="JobsTable", Item={"jobId": {"S": "a"}, "text": {"S": 2 * _KB}})
    before = meter.bill.writes
    with pytest.raises(client.exceptions.ConditionalCheckFailedException):
        client.put_item(
            TableName="JobsTable", Item={"jobId": {"S": "a"}}, ConditionExpression="attribute_not_exists(jobId)"
        )
    assert meter.bill.writes - before == 2


def test_writes_of_indexes_are_counted_and_told(client: "DynamoDBClient", meter: Meter) -> None:
    names = ("status", "createdAt", "kind")
    client.put_item(TableName="JobsTable", Item={"jobId": {"S": "a"}, **{name: {"S": name} for name in names}})
    assert (meter.bill.writes, meter.bill.indexes) == (3, 2)  # the third index has users


def test_a_consistent_read_is_a_unit_and_another_half_of_one(client: "DynamoDBClient", meter: Meter) -> None:
    client.get_item(TableName="JobsTable", Key={"jobId": {"S": "a"}}, ConsistentRead=True)
    client.get_item(TableName="JobsTable", Key={"jobId": {"S": "a"}})
    assert meter.bill.reads == 1.5


# ---- dollars ---------------------------------------------------------------------------------------------------------


def test_a_job_is_the_sum_of_its_steps() -> None:
    one, two = of_job([step(writes=3)], _PACES), of_job([step(writes=3), step(writes=3)], _PACES)
    assert two.parts["DynamoDB: writes"] == pytest.approx(2 * one.parts["DynamoDB: writes"])


def test_a_message_is_sent_received_and_deleted() -> None:
    assert of_job([step(came=100)], _PACES).parts["SQS"] == pytest.approx(3 * prices.SQS_REQUEST)


def test_a_message_that_a_step_of_ours_has_sent_is_counted_there() -> None:
    steps = [step(sent=(100,)), step(function="dispatch_to_ecs", came=100)]
    paces = _PACES | {"dispatch_to_ecs": Pace(0.02, 0.005)}
    assert of_job(steps, paces).parts["SQS"] == pytest.approx(3 * prices.SQS_REQUEST)


def test_ten_messages_share_an_invocation_a_receive_and_a_deletion() -> None:
    tens = of_job([step(came=100)], _PACES, tens=True).parts
    assert tens["SQS"] == pytest.approx((1 + 0.1 + 0.1) * prices.SQS_REQUEST)
    alone = of_job([step(came=100)], _PACES).parts
    assert tens["Lambda"] < alone["Lambda"]


def test_heartbeats_and_questions_are_not_in_the_sum() -> None:
    asides = [step(name="worker: one heartbeat", writes=2), step(name="status asked for once", function="get_job")]
    assert of_job(asides, _PACES).total == 0


def test_a_function_invoked_less_than_once_a_second_is_traced_each_time() -> None:
    assert traced(1 / JOBS_A_SECOND) == pytest.approx(1 / JOBS_A_SECOND)


def test_of_a_thousand_a_second_one_in_twenty_is_traced() -> None:
    assert traced(1000 / JOBS_A_SECOND) == pytest.approx(50.95 / JOBS_A_SECOND)


def test_a_message_that_waits_is_received_after_each_visibility_timeout() -> None:
    assert receives_of(round(JOBS_A_SECOND * 480), 240) == pytest.approx(3, rel=0.01)


def test_the_usual_way_pays_for_each_receive_as_for_the_first() -> None:
    usual = Usual("usual", 0, seconds=0.5, step=step(came=100))
    waited = of_usual(usual, round(JOBS_A_SECOND * 240), 240).parts["Lambda"]
    assert waited == pytest.approx(2 * of_usual(usual, 0, 240).parts["Lambda"], rel=0.01)


@pytest.mark.parametrize(
    ("rule", "field", "states"),
    [("BatchStateChangeRule", "status", OF_BATCH), ("EcsStateChangeRule", "lastStatus", OF_ECS)],
)
def test_a_course_has_the_state_changes_that_the_templates_rule_lets_through(
    rule: str, field: str, states: tuple[str, ...]
) -> None:
    let_through = template()["Resources"][rule]["Properties"]["EventPattern"]["detail"][field]
    assert set(states) == set(let_through) - {"FAILED"}
