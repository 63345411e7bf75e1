"""`make invoke` fills samples with the running stack's names, and reports the result."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from local import samples
from local.samples import EVENTS, Scene
from tests.unit.local.stack import FakeStack, client
from tests.unit.local.test_demo import JOB

STACK: Any = FakeStack()
OTHER = ("switchyard-dev", "switchyard-media", "123456789012", "a1b2c3d4e5")
EVERY = sorted(EVENTS.glob("*/*.json"))


def test_no_sample_names_another_stack_once_it_is_filled_in() -> None:
    for event in EVERY:
        text = samples.fill(event.read_text(), STACK)
        json.loads(text)
        assert [name for name in OTHER if name in text] == [], event


def test_a_message_names_the_bucket_the_queue_the_cluster_and_the_table() -> None:
    text = "".join(samples.fill(event.read_text(), STACK) for event in EVERY)

    assert "local-MediaBucket" in text
    assert "arn:aws:sqs:us-east-1:000000000000:switchyard-local-video" in text
    assert "arn:aws:ecs:us-east-1:000000000000:cluster/switchyard-local" in text
    assert "arn:aws:batch:us-east-1:000000000000:job-queue/switchyard-local" in text
    assert "local-JobsTable" in text
    assert "switchyard-local-local" not in text


def test_a_sample_is_copied_and_a_file_of_the_users_is_passed_on_as_it_is(tmp_path: Path) -> None:
    own = tmp_path / "event.json"
    own.write_text("switchyard-media")

    with samples.filled(own, STACK) as given:
        assert given == own
    with samples.filled(EVENTS / "sqs_to_batch" / "s3_put.json", STACK) as given:
        assert "local-MediaBucket" in given.read_text()
    assert "switchyard-media" in (EVENTS / "sqs_to_batch" / "s3_put.json").read_text()


def test_a_new_job_is_told_with_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    scenes = [
        Scene({"a": replace(JOB, status=status, error=error)}, {})
        for status, error in (("SUBMITTED", ""), ("FAILED", "NO_SUCH_OBJECT: gone"))
    ]
    monkeypatch.setattr(samples, "scene", lambda _: scenes.pop(0))

    assert samples.outcome(STACK, Scene({}, {})) == ["job a: FAILED, NO_SUCH_OBJECT: gone"]


def test_a_job_that_goes_on_is_told_as_it_is_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "scene", lambda _: Scene({"a": replace(JOB, status="RUNNING")}, {}))

    assert samples.outcome(STACK, Scene({}, {}), patience=0) == ["job a: RUNNING"]


def test_what_was_there_before_is_not_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Scene({"a": JOB}, {"1": "VideoDeadLetterQueue: old"})
    monkeypatch.setattr(samples, "scene", lambda _: before)

    assert samples.outcome(STACK, before) == ["no job has changed, and there is no new dead letter"]


def test_a_dead_letter_is_told_with_its_reason() -> None:
    message = {
        "MessageId": "1",
        "MessageAttributes": {
            "ErrorType": {"StringValue": "SOURCE_NOT_ALLOWED"},
            "ErrorMessage": {"StringValue": "bucket x is not allowed"},
        },
    }
    stack: Any = FakeStack(
        sqs=client(receive_message=lambda **_: {"Messages": [message, {"MessageId": "2"}]}),
        dynamodb=client(get_paginator=lambda _: client(paginate=lambda **_: [{"Items": []}])),
    )

    assert samples.outcome(stack, Scene({}, {})) == [
        "dead letter in VideoDeadLetterQueue: SOURCE_NOT_ALLOWED: bucket x is not allowed",
        "dead letter in VideoDeadLetterQueue: received too often; the function's log says why",
    ]
