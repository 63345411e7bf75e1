"""The sample state machine, run by the emulator's Step Functions: each upload's job ends its task, then it searches."""

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.integration.system import System

SAMPLE: Final = Path(__file__).parents[2] / "examples" / "analyze_uploads.asl.json"


@contextmanager
def machine(system: System) -> Iterator[str]:
    """Creates the state machine, and its role, which may do what docs/events.md says."""
    iam, states = system.stack.client("iam"), system.stack.client("stepfunctions")
    name = f"analyze-uploads-{uuid.uuid4()}"
    trust = {"Effect": "Allow", "Principal": {"Service": "states.amazonaws.com"}, "Action": "sts:AssumeRole"}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps({"Statement": [trust]}))["Role"]["Arn"]
    may = {"Effect": "Allow", "Action": ["sqs:SendMessage", "lambda:InvokeFunction"], "Resource": "*"}
    iam.put_role_policy(RoleName=name, PolicyName="may", PolicyDocument=json.dumps({"Statement": [may]}))
    made = states.create_state_machine(name=name, definition=SAMPLE.read_text(), roleArn=role)["stateMachineArn"]
    try:
        yield made
    finally:
        states.delete_state_machine(stateMachineArn=made)
        iam.delete_role_policy(RoleName=name, PolicyName="may")
        iam.delete_role(RoleName=name)


def test_the_sample_analyzes_uploads_and_searches_them(system: System) -> None:
    """S3 announces the uploads too, so that some jobs run, or have ended, before the state machine asks for them."""
    states = system.stack.client("stepfunctions")
    good, waiting = system.upload(), system.upload(seconds=1)
    bad = system.upload(permanent="NOT_A_VIDEO")
    system.wait_for(bad, "FAILED")
    given = {
        "queueUrl": system.stack.resource("VideoQueue"),
        "searchFunction": system.stack.resource("SearchMediaFunction"),
        "bucket": system.bucket,
        "keys": [good, waiting, bad],
        "search": {"query": "anything"},
    }
    with machine(system) as arn:
        execution = states.start_execution(stateMachineArn=arn, input=json.dumps(given))["executionArn"]

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = states.describe_execution(executionArn=execution)
            return found if found["status"] != "RUNNING" else None

        found = system.until(ended, "the execution", seconds=60)
    assert found["status"] == "SUCCEEDED", found.get("cause")
    output = json.loads(found["output"])
    assert [job.get("status") for job in output["jobs"][:2]] == ["COMPLETED", "COMPLETED"]
    assert output["jobs"][2]["failure"]["Error"] == "NOT_A_VIDEO"
    assert output["found"]["status"] == 200
    assert output["found"]["answer"]["hits"] == []
    tokens = [
        line for name in ("SqsToBatchFunction", "NotifyFunction") for line in system.log(name) if "oken" in str(line)
    ]
    assert tokens == []
