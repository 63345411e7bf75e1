"""The rights and time limits of workers on the starter compute, in case an untrusted file takes one over."""

from typing import Any

import pytest

from tests.template.rendering import COMPUTE, load

READS = {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"}
WRITES = {"s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"}
REPORTS = {"dynamodb:UpdateItem"}
TASKS = load(COMPUTE).of_type("AWS::ECS::TaskDefinition")
[DEFINITION] = load(COMPUTE).of_type("AWS::Batch::JobDefinition").values()
ROLES = sorted({task["TaskRoleArn"]["Fn::GetAtt"][0] for task in [*TASKS.values()]} | {"JobRole"})


def _statements(role: str) -> list[dict[str, Any]]:
    [policy] = load(COMPUTE).of_type("AWS::IAM::Role")[role]["Policies"]
    statements: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return statements


def _actions(statement: dict[str, Any]) -> set[str]:
    actions = statement["Action"]
    return set(actions) if isinstance(actions, list) else {actions}


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_reads_objects_writes_results_and_reports(role: str) -> None:
    assert {action for each in _statements(role) for action in _actions(each)} <= READS | WRITES | REPORTS


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_writes_under_results_and_recordings_alone(role: str) -> None:
    written = {each["Resource"]["Fn::Sub"] for each in _statements(role) if _actions(each) & WRITES}
    bucket = "arn:${AWS::Partition}:s3:::${MediaBucketName}"
    assert written <= {f"{bucket}/results/*", f"{bucket}/recordings/*"}


def test_a_worker_on_an_instance_does_not_get_the_instances_role() -> None:
    [template] = load(COMPUTE).of_type("AWS::EC2::LaunchTemplate").values()
    assert template["LaunchTemplateData"]["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}


def test_a_batch_job_has_an_end_a_bound_on_memory_and_three_attempts() -> None:
    kinds = {each["Type"] for each in DEFINITION["ContainerProperties"]["ResourceRequirements"] if "Type" in each}
    assert "AttemptDurationSeconds" in DEFINITION["Timeout"]
    assert "MEMORY" in kinds
    assert DEFINITION["RetryStrategy"]["Attempts"] == 3
    assert {"OnExitCode": "65", "Action": "EXIT"} in DEFINITION["RetryStrategy"]["EvaluateOnExit"]


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_task_has_bounds_and_no_privilege(task: dict[str, Any]) -> None:
    assert {"Cpu", "Memory"} <= task.keys()
    assert "Volumes" not in task
    for container in task["ContainerDefinitions"]:
        assert {"Privileged", "User", "LinuxParameters"} & container.keys() <= {"LinuxParameters"}
        assert "Capabilities" not in container.get("LinuxParameters", {})
