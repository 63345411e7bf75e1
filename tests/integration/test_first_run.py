"""`make aws-check`, which is for a first deployment on AWS, tried on the deployed local system."""

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from local import api
from local.stack import STACK_NAME
from tests.integration.system import System
from tools import check


def ran(system: System, out: Path, *arguments: str) -> Result:
    return CliRunner().invoke(
        check.main, ["--state", str(system.stack.folder), "--out", str(out), "--seconds", "120", *arguments]
    )


def saved(out: Path, name: str) -> Any:  # noqa: ANN401 - JSON
    return json.loads((out / f"{name}.json").read_text())


def listeners(system: System) -> list[str]:
    rules = system.stack.client("events").list_rules(NamePrefix=f"{STACK_NAME}-evidence-")["Rules"]
    queues = system.stack.client("sqs").list_queues(QueueNamePrefix=f"{STACK_NAME}-evidence-")
    return [*(rule["Name"] for rule in rules), *queues.get("QueueUrls", ())]


def test_the_whole_system_is_checked_and_the_evidence_collected(system: System, tmp_path: Path) -> None:
    plan = tmp_path / "plan.mp4"
    plan.write_text(json.dumps({"seconds": 0.1}))
    out = tmp_path / "evidence"

    result = ran(system, out, "--file", str(plan), "--uploads", "5")

    assert result.exit_code == 0, result.output
    assert not [line for line in saved(out, "report") if line["verdict"] == "wrong"]
    for how in ("whole", "parts"):
        job = saved(out, f"jobs/{how}")
        assert job["status"] == "COMPLETED"
        assert all(isinstance(seconds, int) and 0 < seconds <= 3600 for seconds in job["links"].values())
    events = [json.loads(path.read_text()) for path in (out / "events").iterdir()]
    assert {event["detail"]["status"] for event in events} >= {"RUNNING", "SUCCEEDED"}
    assert saved(out, "shapes").keys() == {"Batch Job State Change"}
    assert saved(out, "uploads")["count"] == 5
    assert listeners(system) == []
    everything = "".join(path.read_text() for path in out.rglob("*.json"))
    assert "X-Amz-Signature" not in everything
    assert api.key(system.stack) not in everything


def test_a_dead_letter_fails_the_check(system: System, tmp_path: Path) -> None:
    letters = system.stack.client("cloudformation").describe_stacks(StackName=STACK_NAME)["Stacks"][0]["Outputs"]
    [url] = [output["OutputValue"] for output in letters if output["OutputKey"] == "VideoDeadLetterQueueUrl"]
    system.stack.client("sqs").send_message(QueueUrl=url, MessageBody="{}")
    try:
        result = ran(system, tmp_path)
    finally:
        system.stack.client("sqs").purge_queue(QueueUrl=url)
    assert result.exit_code == 1
    [wrong] = [line["text"] for line in saved(tmp_path, "report") if line["verdict"] == "wrong"]
    assert wrong.endswith("dead letters: {'VideoDeadLetter': 1}")


def test_a_stack_that_is_not_deleted_is_left(system: System, tmp_path: Path) -> None:
    result = ran(system, tmp_path, "--left")
    assert (result.exit_code, "is still there" in result.output) == (1, True)
    assert saved(tmp_path, "left")["buckets"]
