"""Lambda's filter of log lines: what the local system lets pass, and that it lets metrics pass at every LogLevel."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from local.isolation.log_filter import kept
from tests.template.rendering import TEMPLATE, resolved

ROOT = Path(__file__).parents[3]
TIME = "2026-11-30T08:00:00.123Z"
FUNCTION = """
from switchyard.observability import Metric, count, handler, logger

def lambda_handler(event, context):
    logger.debug("debug")
    logger.info("info")
    logger.warning("warning")
    logger.error("error")
    count(Metric.FAILED)

class Context:
    function_name = memory_limit_in_mb = invoked_function_arn = aws_request_id = "x"

handler(lambda_handler)({}, Context())
"""


def line(level: str, timestamp: str = TIME) -> str:
    return json.dumps({"level": level, "timestamp": timestamp, "message": "x"})


def passes(text: str, least: str) -> bool:
    return kept(text, {"LogFormat": "JSON", "ApplicationLogLevel": least}) == text


@pytest.mark.parametrize("level", ["WARN", "WARNING", "warn", "ERROR", "CRITICAL"])
def test_a_line_as_severe_as_demanded_passes(level: str) -> None:
    assert passes(line(level), "WARN")


@pytest.mark.parametrize("level", ["TRACE", "DEBUG", "INFO"])
def test_a_less_severe_line_is_dropped(level: str) -> None:
    assert not passes(line(level), "WARN")


@pytest.mark.parametrize(
    "text",
    [
        line("ERROR", "2026-11-30 08:00:00,123+0000"),
        line("SERIOUS"),
        '{"_aws": {}, "Failed": 1}',
        "Traceback (most recent call last):",
        "[]",
    ],
)
def test_a_line_without_level_or_time_counts_as_info(text: str) -> None:
    assert (passes(text, "INFO"), passes(text, "WARN")) == (True, False)


def test_text_is_not_filtered() -> None:
    assert kept("DEBUG x", {"LogFormat": "Text"}) == "DEBUG x"


@pytest.mark.parametrize(
    ("level", "logged"),
    [
        ("DEBUG", ["debug", "info", "warning", "error"]),
        ("INFO", ["info", "warning", "error"]),
        ("WARN", ["warning", "error"]),
        ("ERROR", ["error"]),
    ],
)
def test_whatever_the_log_level_metrics_pass(level: str, logged: list[str]) -> None:
    filtered: dict[str, str] = resolved(TEMPLATE, LogLevel=level)["TrackJobFunction"]["Properties"]["LoggingConfig"]
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "layers/switchyard"),
        "AWS_LAMBDA_LOG_LEVEL": filtered["ApplicationLogLevel"],  # set by Lambda
        "POWERTOOLS_LOG_LEVEL": level,
    }
    out = subprocess.run([sys.executable, "-c", FUNCTION], env=env, capture_output=True, text=True, check=True).stdout
    lines: list[dict[str, Any]] = [json.loads(each) for each in kept(out.strip(), filtered).splitlines()]

    assert [each["message"] for each in lines if "message" in each] == logged
    assert [each["Failed"] for each in lines if "_aws" in each] == [[1.0]]
