"""What `make aws-check` finds wrong, and what its evidence never holds."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from switchyard.messages.changes import read
from tests.cases import cases
from tools import check
from tools.check import Deployment, Evidence, missing, redacted
from tools.functions import FUNCTIONS


def deployment(**clients: Any) -> Deployment:  # noqa: ANN401 - stand-ins for clients
    outputs = {f"{function.logical_id}Name": function.name for function in FUNCTIONS.values()}
    return Deployment(clients.__getitem__, "switchyard-dev", outputs | {"VideoDeadLetterQueueUrl": "url"}, None)


# ---- shapes ----------------------------------------------------------------------------------------------------------


@cases(
    ("sample", "event", "lacks"),
    [
        ({"a": 1, "b": {"c": "x"}}, {"a": 2, "b": {"c": "y", "d": 1}}, []),
        ({"a": 1, "b": {"c": "x"}}, {"b": {}}, ["a", "b.c"]),
        ({"a": 1}, {"a": 1.5}, []),
        ({"a": 1}, {"a": "1"}, ["a (int, not str)"]),
        ({"a": True}, {"a": None}, ["a (bool, not NoneType)"]),
        ({"a": [{"b": 1}]}, {"a": [{"c": 1}]}, ["a[].b"]),
        ({"a": [{"b": 1}]}, {"a": []}, []),
        ({"a": []}, {"a": [1]}, []),
        ({"a": []}, {"a": {}}, ["a (list, not dict)"]),
    ],
)
def test_an_event_is_held_against_a_sample(sample: object, event: object, lacks: list[str]) -> None:
    assert list(missing(sample, event)) == lacks


@cases("kind", check.SAMPLES)
def test_the_samples_are_events_that_are_understood(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    body = json.loads(check.SAMPLES[kind].read_text())["Records"][0]["body"]
    run = read(body)
    assert run is not None
    evidence = Evidence(tmp_path_factory.mktemp("evidence"))
    found = list(check.events_are_understood([body], {run.job_id}, evidence))
    assert [finding.verdict for finding in found] == ["ok", "ok"]


def test_a_job_that_no_event_tells_of_is_found(tmp_path: Path) -> None:
    [finding] = check.events_are_understood([], {"a"}, Evidence(tmp_path))
    assert finding.verdict == "wrong"


def test_an_event_that_is_not_understood_is_found(tmp_path: Path) -> None:
    body = json.dumps({"detail-type": "Batch Job State Change", "detail": {"jobId": 7}})
    assert "wrong" in {finding.verdict for finding in check.events_are_understood([body], set(), Evidence(tmp_path))}
    assert json.loads((tmp_path / "events" / "000.json").read_text()) == json.loads(body)


# ---- evidence --------------------------------------------------------------------------------------------------------


def test_links_are_kept_as_seconds_alone() -> None:
    url = "https://b.s3.amazonaws.com/k?X-Amz-Expires=900&X-Amz-Signature=abc"
    assert redacted({"jobId": "a", "links": {"f": url}}) == {"jobId": "a", "links": {"f": 900}}
    assert redacted({"jobId": "a"}) == {"jobId": "a"}


def test_values_of_variables_are_not_kept(tmp_path: Path) -> None:
    told = {"Environment": {"Variables": {"TRACKERS": "udp://tracker.example/passkey"}}}
    place = deployment(**{"lambda": SimpleNamespace(get_function_configuration=lambda FunctionName: told)})  # noqa: ARG005, N803
    assert [each.verdict for each in check.functions_are_as_they_should_be(place, Evidence(tmp_path))] == ["ok"]
    text = (tmp_path / "functions.json").read_text()
    assert "TRACKERS" in text
    assert "passkey" not in text


# ---- what is wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "told",
    [{"LoggingConfig": {"ApplicationLogLevel": "WARN"}}, {"Environment": {"Variables": {"NAME": "x" * 4096}}}],
    ids=["level", "variables"],
)
def test_a_function_that_would_fail_is_found(tmp_path: Path, told: dict[str, Any]) -> None:
    place = deployment(**{"lambda": SimpleNamespace(get_function_configuration=lambda FunctionName: told)})  # noqa: ARG005, N803
    found = [each.verdict for each in check.functions_are_as_they_should_be(place, Evidence(tmp_path))]
    assert found.count("wrong") == len(FUNCTIONS)


def test_a_red_alarm_is_found(tmp_path: Path) -> None:
    pages = [{"MetricAlarms": [{"AlarmName": "a", "StateValue": "ALARM"}, {"AlarmName": "b", "StateValue": "OK"}]}]
    attributes = {"Attributes": {"ApproximateNumberOfMessages": "0"}}
    place = deployment(
        sqs=SimpleNamespace(get_queue_attributes=lambda **_: attributes),
        cloudwatch=SimpleNamespace(get_paginator=lambda _: SimpleNamespace(paginate=lambda **_: pages)),
    )
    queues, alarms = check.nothing_is_dead_or_red(place, Evidence(tmp_path))
    assert (queues.verdict, alarms.verdict) == ("ok", "wrong")
    assert "red: a" in alarms.text


def test_listeners_are_removed_however_it_ends() -> None:
    gone: list[str] = []
    old = "https://sqs/1/switchyard-dev-evidence-0"
    sqs = SimpleNamespace(
        list_queues=lambda **_: {"QueueUrls": [old]},
        create_queue=lambda QueueName: {"QueueUrl": f"https://sqs/1/{QueueName}"},  # noqa: N803 - botocore's
        delete_queue=lambda **named: gone.extend(named.values()),
        get_queue_attributes=lambda **_: {"Attributes": {"QueueArn": "arn:queue"}},
        set_queue_attributes=lambda **_: None,
    )
    events = SimpleNamespace(
        describe_rule=lambda **_: {"EventPattern": "{}"},
        put_rule=lambda Name, **_: {"RuleArn": f"arn:aws:events:r:1:rule/{Name}"},  # noqa: N803 - botocore's
        put_targets=lambda **_: None,
        remove_targets=lambda **_: None,
        delete_rule=lambda **named: gone.extend(named.values()),
    )
    place = Deployment(
        {"sqs": sqs, "events": events}.__getitem__, "switchyard-dev", dict.fromkeys(check.RULES, "rule"), None
    )
    with pytest.raises(KeyboardInterrupt), check.listening(place):
        raise KeyboardInterrupt
    assert gone[0] == old
    assert gone[1:3] == ["switchyard-dev-evidence-batch", "switchyard-dev-evidence-ecs"]
    assert gone[3].startswith("https://sqs/1/switchyard-dev-evidence-")


def test_a_deleted_stack_leaves_what_is_kept(tmp_path: Path) -> None:
    def gone(**_: object) -> None:
        raise ClientError({"Error": {"Code": "ValidationError", "Message": "does not exist"}}, "DescribeStacks")

    def pages(page: dict[str, Any]) -> Any:  # noqa: ANN401 - stands in for a paginator
        return lambda _: SimpleNamespace(paginate=lambda: [page])

    clients: dict[str, Any] = {
        "cloudformation": SimpleNamespace(describe_stacks=gone),
        "dynamodb": SimpleNamespace(get_paginator=pages({"TableNames": ["s-JobsTable-1", "other"]})),
        "batch": SimpleNamespace(get_paginator=pages({"computeEnvironments": []})),
        "s3": SimpleNamespace(list_buckets=lambda: {"Buckets": [{"Name": "s-media-1"}, {"Name": "sx"}]}),
        "sqs": SimpleNamespace(list_queues=dict),
    }
    found = [f"{each.verdict} {each.text}" for each in check.what_is_left(clients.__getitem__, "s", Evidence(tmp_path))]
    assert found == [
        "note buckets left: s-media-1",
        "note tables left: s-JobsTable-1",
        "ok queues left: none",
        "ok computeEnvironments left: none",
    ]
