"""Every alarm has a section in the runbook, every section an alarm, and no link leads nowhere."""

import re
from pathlib import Path
from typing import Final

import pytest

from tests.template.rendering import COMPUTE, ROOT, TEMPLATE, load, load_watched

RUNBOOK: Final = ROOT / "docs" / "runbook.md"
CONFIGURATION: Final = ROOT / "docs" / "configuration.md"
TROUBLESHOOTING: Final = ROOT / "docs" / "troubleshooting.md"


def _anchor(heading: str) -> str:
    """As GitHub makes it: lower case, blanks to hyphens, other punctuation gone."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def _prose(path: Path) -> str:
    return re.sub(r"^```.*?^```", "", path.read_text(), flags=re.MULTILINE | re.DOTALL)


def _anchors(path: Path) -> set[str]:
    return {_anchor(heading) for heading in re.findall(r"^#+ (.+)$", _prose(path), flags=re.MULTILINE)}


def test_every_alarm_has_its_section_and_every_section_its_alarm() -> None:
    alarms = load_watched().of_type("AWS::CloudWatch::Alarm").values()
    linked = [alarm["AlarmDescription"]["Fn::Sub"].partition("#")[2] for alarm in alarms]
    part = _prose(RUNBOOK).partition("# Alarms\n")[2].partition("\n# ")[0]
    assert sorted(linked) == sorted(map(_anchor, re.findall(r"^## (.+)$", part, flags=re.MULTILINE)))


def test_every_alarms_section_says_what_to_look_at_and_what_to_do() -> None:
    part = RUNBOOK.read_text().partition("# Alarms\n")[2].partition("\n# Now")[0]
    for section in re.split(r"^## ", part, flags=re.MULTILINE)[1:]:
        heading = section.partition("\n")[0]
        assert "It means**" in section, heading
        assert "```sh" in section, heading
        assert "**do**" in section.lower() or "See [" in section, heading


@pytest.mark.parametrize("path", [RUNBOOK, CONFIGURATION, TROUBLESHOOTING], ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if link.startswith("https://"):
            continue
        file, _, anchor = link.partition("#")
        page = (path.parent / file).resolve() if file else path
        assert page.exists(), link
        assert not anchor or anchor in _anchors(page), link


def test_the_commands_name_outputs_that_exist() -> None:
    pages = RUNBOOK.read_text() + TROUBLESHOOTING.read_text()
    named = set(re.findall(r"\$\((?:output|arn) (\w+)\)", pages))
    assert {"VideoQueueUrl", "ApiKeyId"} <= named
    assert named <= set(load(TEMPLATE).written["Outputs"])


def test_the_pages_name_parameters_that_exist() -> None:
    parameters = set(load(TEMPLATE).written["Parameters"])
    for page in (RUNBOOK, CONFIGURATION):
        assert set(re.findall(r"--parameter-overrides (\w+)=", page.read_text())) <= parameters


def test_every_function_log_is_where_the_runbook_looks() -> None:
    groups = {group["LogGroupName"]["Fn::Sub"] for group in load(TEMPLATE).of_type("AWS::Logs::LogGroup").values()}
    text = RUNBOOK.read_text()
    looked_at = {
        f"/aws/lambda/${{AWS::StackName}}-{name}" for name in re.findall(r"troubles (\w+)$", text, re.MULTILINE)
    }
    looked_at |= {
        name.replace("$STACK", "${AWS::StackName}") for name in re.findall(r'name "(/aws/apigateway/[^"]+)"', text)
    }
    assert groups == looked_at


def test_exit_codes_decide_as_the_worker_contract_says() -> None:
    (job,) = load(COMPUTE).of_type("AWS::Batch::JobDefinition").values()
    decided = {
        rule["OnExitCode"]: rule["Action"] for rule in job["RetryStrategy"]["EvaluateOnExit"] if "OnExitCode" in rule
    }
    assert decided == {"65": "EXIT", "75": "RETRY", "77": "EXIT"}
    assert job["RetryStrategy"]["EvaluateOnExit"][-1] == {"OnReason": "*", "Action": "RETRY"}
