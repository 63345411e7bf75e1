"""A report has the same content as text and as JSON."""

import json

from tests.chaos.report import Report


def test_a_report_names_its_violations_and_says_where_there_are_none() -> None:
    report = Report("storm")
    report.add("run", {"seed": 7})
    assert "violations: none" in report.text()

    report.violations.append("job a is still RUNNING")

    assert "violations: 1\n  job a is still RUNNING" in report.text()
    assert json.loads(report.json())["violations"] == ["job a is still RUNNING"]


def test_a_section_without_rows_says_so() -> None:
    report = Report("storm")
    report.add("dead letters", {})

    assert "dead letters:\n  none" in report.text()
