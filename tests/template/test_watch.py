"""The dashboard and the saved queries name only what exists: metrics and log lines that code emits, and parameters."""

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any, Final

from switchyard.observability import Metric
from tests.template.rendering import ROOT, WATCH, load

SOURCES: Final = sorted([*(ROOT / "layers" / "switchyard").rglob("*.py"), *(ROOT / "functions").rglob("*.py")])
AWS: Final = {
    "AWS/SQS": {"ApproximateNumberOfMessagesVisible", "ApproximateAgeOfOldestMessage"},
    "AWS/Lambda": {"Errors", "Duration", "Invocations", "Throttles", "IteratorAge"},
    "AWS/ApiGateway": {"Count", "4XXError", "5XXError", "Latency"},
}
"""AWS's own metrics that are used, as its documentation names them."""


@cache
def trees() -> list[tuple[Path, ast.Module]]:
    return [(path, ast.parse(path.read_text())) for path in SOURCES]


def emitted() -> set[str]:
    """Returns the metrics that something besides their definition uses."""
    used = {
        node.attr
        for path, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Metric"
    }
    return {str(metric) for metric in Metric if metric.name in used}


def texts() -> set[str]:
    """Returns every string in the code."""
    return {
        node.value
        for _, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def body() -> str:
    [dashboard] = load(WATCH).of_type("AWS::CloudWatch::Dashboard").values()
    text: str = dashboard["DashboardBody"]["Fn::Sub"]
    return text


def metrics() -> list[list[Any]]:
    filled = json.loads(re.sub(r"\$\{[\w:]+\}", "filled", body()))
    return [metric for widget in filled["widgets"] for metric in widget["properties"]["metrics"]]


def queries() -> dict[str, dict[str, Any]]:
    return load(WATCH).of_type("AWS::Logs::QueryDefinition")


def test_the_dashboard_is_json_and_its_widgets_dont_overlap() -> None:
    widgets = json.loads(re.sub(r"\$\{[\w:]+\}", "filled", body()))["widgets"]
    cells = [
        (widget["x"] + x, widget["y"] + y)
        for widget in widgets
        for x in range(widget["width"])
        for y in range(widget["height"])
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24


def test_every_metric_is_emitted() -> None:
    ours = {
        name
        for metric in metrics()
        if isinstance(metric[0], dict)
        for name in re.findall('MetricName="(.*?)"', metric[0]["expression"])
    }
    assert {"Dispatched", "OldestWaitSeconds"} <= ours <= emitted()
    for namespace, name, *_ in (metric for metric in metrics() if isinstance(metric[0], str)):
        assert name in AWS[namespace]


def test_every_alarm_of_ours_is_about_an_emitted_metric() -> None:
    alarms = load(WATCH).of_type("AWS::CloudWatch::Alarm").values()
    assert {alarm["MetricName"] for alarm in alarms if alarm["Namespace"] == "Switchyard"} <= emitted()


def test_the_dashboard_shows_every_queue_and_function_that_alarms_watch() -> None:
    named = set(re.findall(r"\$\{(\w+)\}", body()))
    parameters = set(load(WATCH).written["Parameters"])
    assert named <= parameters
    watched = {name for name in parameters if name.endswith(("Queue", "Function"))}
    assert watched <= named


def test_every_query_looks_for_lines_that_are_logged() -> None:
    known = texts()
    for name, query in queries().items():
        text = query["QueryString"]
        for found in re.findall(r'message = "(.*?)"', text) + [
            each for group in re.findall(r"message in \[(.*?)\]", text) for each in re.findall('"(.*?)"', group)
        ]:
            assert found in known, (name, found)
        assert set(re.findall(r"(?:ispresent|avg|pct)\((\w+)\.0", text)) <= emitted()


def test_queries_read_the_logs_of_every_function() -> None:
    functions = {name for name in load(WATCH).written["Parameters"] if name.endswith("Function")}
    for query in queries().values():
        groups = {group["Fn::Sub"] for group in query["LogGroupNames"]}
        assert groups == {f"/aws/lambda/${{{name}}}" for name in functions}
