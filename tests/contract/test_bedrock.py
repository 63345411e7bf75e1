"""Bedrock as the emulator has it: Converse, answered by the emulator itself or by a service behind it."""

from pathlib import Path

import boto3
import pytest

from analyze_video.minute_taker import MinuteTaker
from analyze_video.minutes import extracted
from switchyard.language.models import BedrockModel, prompt
from tests.contract.conftest import ministack
from tests.unit.language.services import serving
from tests.unit.workers.talks import KITCHEN
from tests.unit.workers.test_minutes import answer, talk

MODEL = "anthropic.claude-3-haiku-20240307-v1:0"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")


def model(url: str) -> BedrockModel:
    return BedrockModel(boto3.client("bedrock-runtime", endpoint_url=url, region_name="us-east-1"), MODEL)


def test_a_models_answer_comes_through_converse(tmp_path: Path) -> None:
    """The emulator passes prompt, data and bounds on to a service with OpenAI's API."""
    with (
        serving(answer()) as service,
        ministack(tmp_path, MINISTACK_BEDROCK_PROXY_URL=service.url.removesuffix("/v1")) as url,
    ):
        taker = MinuteTaker(model(url), None, lambda _share: None)
        minutes, is_written = taker.take(talk(KITCHEN))
    assert is_written
    assert [chapter.title for chapter in minutes.chapters] == ["Bread", "Knives"]
    assert [point.segments for point in minutes.summary] == [(1, 3)]
    (asked,) = service.asked
    told = prompt("summary", 1500)
    assert [(each["role"], each["content"][:12]) for each in asked["messages"]] == [
        ("system", told.text[:12]),
        ("user", "<transcript>"),
    ]
    assert (asked["max_tokens"], asked["temperature"]) == (1500, 0)


def test_an_answer_that_is_no_json_is_replaced(emulator: str) -> None:
    """The emulator's own answer is a sentence."""
    taker = MinuteTaker(model(emulator), None, lambda _share: None)
    minutes, is_written = taker.take(talk(KITCHEN))
    assert (is_written, taker.fallbacks) == (False, [{"part": 1, "code": "UNUSABLE"}])
    assert minutes == extracted(talk(KITCHEN), None)
