"""The local stand-in answers as Amazon ECS does, runs tasks for real, and each of them once."""

import json
import os
import signal
import sqlite3
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from botocore.exceptions import ClientError, HTTPClientError
from botocore.session import Session
from botocore.validate import ParamValidator

from tests.contract.standin import (
    CLUSTER,
    SIGNED,
    TASK_ROLE,
    Bus,
    Json,
    StandIn,
    allowing,
    ecs_client_of,
    refused,
    role,
    until,
)

ACCOUNT = "arn:aws:ecs:us-east-1:000000000000"
NETWORK: Any = {"awsvpcConfiguration": {"subnets": ["subnet-1"]}}
OK: Any = {"cluster": CLUSTER, "taskDefinition": "idle", "launchType": "FARGATE", "networkConfiguration": NETWORK}

type Task = dict[str, Any]


def run(
    standin: StandIn, script: str | None = None, environment: dict[str, str] | None = None, **members: Json
) -> Task:
    """Runs a shell script, or the definition's command."""
    variables = [{"name": name, "value": value} for name, value in (environment or {}).items()]
    command = {"command": ["sh", "-c", script]} if script else {}
    overrides: Any = {"containerOverrides": [{"name": "worker", "environment": variables, **command}]}
    return dict(standin.ecs().run_task(**{**OK, "overrides": overrides, **members})["tasks"][0])


def describe(standin: StandIn, arn: str) -> Task:
    return dict(standin.ecs().describe_tasks(cluster=arn.split("/")[1], tasks=[arn])["tasks"][0])


def reached(standin: StandIn, task: Task, status: str) -> Task:
    def look() -> Task | None:
        found = describe(standin, task["taskArn"])
        return found if found["lastStatus"] == status else None

    return until(look)


def ended(standin: StandIn, task: Task) -> Task:
    return reached(standin, task, "STOPPED")


def id_of(task: Task) -> str:
    return str(task["taskArn"]).rpartition("/")[2]


def listed(standin: StandIn, **filters: Json) -> list[str]:
    return standin.ecs().list_tasks(**{"cluster": CLUSTER, **filters})["taskArns"]


def end(task: Task) -> dict[str, Any]:
    """Returns a task's end in short form."""
    container = {key: task["containers"][0].get(key) for key in ("exitCode", "reason")}
    return {"stopCode": task["stopCode"], "stoppedReason": task["stoppedReason"], **container}


# ---- RunTask ---------------------------------------------------------------------------------------------------


def test_a_task_runs_and_is_described_in_full(standin: StandIn) -> None:
    before = datetime.now(UTC)
    started = run(standin, "exit 3", {"JOB_ID": "j"}, startedBy="me", tags=[{"key": "JobId", "value": "j"}])
    arn, task_id = started["taskArn"], id_of(started)
    assert (started["lastStatus"], started["desiredStatus"], started["version"]) == ("PROVISIONING", "RUNNING", 1)
    assert started["tags"] == [{"key": "JobId", "value": "j"}]
    task = ended(standin, started)
    times = [task[key] for key in ("createdAt", "startedAt", "stoppingAt", "stoppedAt")]
    assert times == sorted(times)
    assert (times[0] - before).total_seconds() > -0.01
    [container] = task["containers"]
    assert arn == f"{ACCOUNT}:task/{CLUSTER}/{task_id}"
    assert {
        key: task[key]
        for key in ("clusterArn", "taskDefinitionArn", "group", "launchType", "startedBy", "desiredStatus", "overrides")
    } == {
        "clusterArn": f"{ACCOUNT}:cluster/{CLUSTER}",
        "taskDefinitionArn": f"{ACCOUNT}:task-definition/idle:1",
        "group": "family:idle",
        "launchType": "FARGATE",
        "startedBy": "me",
        "desiredStatus": "STOPPED",
        "overrides": started["overrides"],
    }
    assert (container["name"], container["lastStatus"], container["exitCode"]) == ("worker", "STOPPED", 3)
    assert end(task) == {
        "stopCode": "EssentialContainerExited",
        "stoppedReason": "Essential container in task exited",
        "exitCode": 3,
        "reason": None,
    }


def test_times_are_epoch_seconds_on_the_wire(standin: StandIn) -> None:
    run(standin, "true")
    assert time.time() - standin.ask("/_compute/tasks?limit=1")["tasks"][0]["createdAt"] < 60


def test_the_worker_sees_its_environment_and_nothing_of_batch(standin: StandIn) -> None:
    task = run(standin, environment={"BOTH": "override", "KEY": "ünï 'x'"}, taskDefinition="shell")
    ended(standin, task)
    seen = dict(line.split("=", 1) for line in standin.log(id_of(task))[0].splitlines() if "=" in line)
    assert (seen["FROM"], seen["BOTH"], seen["KEY"]) == ("definition", "override", "ünï 'x'")
    assert seen["AWS_REGION"] == "us-east-1"
    assert not [name for name in seen if name.startswith("AWS_BATCH")]


def test_the_worker_learns_its_tasks_arn_from_the_metadata(standin: StandIn) -> None:
    task = run(standin, taskDefinition="shell")
    ended(standin, task)
    [address] = [line for line in standin.log(id_of(task))[0].splitlines() if line.startswith("ECS_CONTAINER_METADATA")]
    answer = httpx.get(f"{address.partition('=')[2]}/task").json()
    assert {key: answer[key] for key in ("Cluster", "TaskARN", "Family", "Revision")} == {
        "Cluster": f"{ACCOUNT}:cluster/{CLUSTER}",
        "TaskARN": task["taskArn"],
        "Family": "shell",
        "Revision": "1",
    }


def test_metadata_is_shown_to_nobody_else(standin: StandIn) -> None:
    task_id = id_of(run(standin, "true"))
    for secret in ("", "0" * 32):
        assert httpx.get(f"{standin.url}/_compute/metadata/{task_id}-{secret}/task").status_code == 404


def test_both_services_answer_on_one_port(standin: StandIn) -> None:
    task_id = id_of(run(standin, "true"))
    assert task_id not in json.dumps(standin.ask("/_compute/jobs?limit=1000"))
    assert standin.client().describe_jobs(jobs=[task_id])["jobs"] == []


@pytest.mark.parametrize("cluster", ["named", f"{ACCOUNT}:cluster/named"])
@pytest.mark.parametrize("definition", ["shell", "shell:1", f"{ACCOUNT}:task-definition/shell:1"])
def test_cluster_and_definition_are_named_or_given_by_arn(standin: StandIn, cluster: str, definition: str) -> None:
    task = run(standin, "true", cluster=cluster, taskDefinition=definition)
    assert task["taskDefinitionArn"] == f"{ACCOUNT}:task-definition/shell:1"


def test_the_default_cluster_is_called_so(standin: StandIn) -> None:
    task = standin.ecs().run_task(taskDefinition="shell", launchType="FARGATE", networkConfiguration=NETWORK)["tasks"][
        0
    ]
    assert task["clusterArn"] == f"{ACCOUNT}:cluster/default"


def test_a_capacity_provider_is_remembered(standin: StandIn) -> None:
    strategy: Any = [{"capacityProvider": "FARGATE_SPOT", "weight": 1}]
    members = {key: value for key, value in OK.items() if key != "launchType"}
    task = standin.ecs().run_task(**members, capacityProviderStrategy=strategy)["tasks"][0]
    assert (task["capacityProviderName"], task["launchType"]) == ("FARGATE_SPOT", "FARGATE")


def test_ecs_adds_its_own_tags_where_asked_to(standin: StandIn) -> None:
    task = run(standin, "true", enableECSManagedTags=True, tags=[{"key": "a", "value": "b"}])
    assert task["tags"] == [{"key": "a", "value": "b"}, {"key": "aws:ecs:clusterName", "value": CLUSTER}]


def newest(standin: StandIn) -> str:
    return str(standin.ask("/_compute/tasks?limit=1")["tasks"][0]["taskArn"])


def worker(**members: Json) -> Json:
    return {"overrides": {"containerOverrides": [{"name": "worker", **members}]}}


@pytest.mark.parametrize(
    ("members", "code", "message"),
    [
        ({"cluster": "nowhere"}, "ClusterNotFoundException", "Cluster not found."),
        ({"cluster": f"{ACCOUNT.replace('us-east-1', 'eu-west-1')}:cluster/tiny"}, "ClusterNotFoundException", ""),
        ({"taskDefinition": "nothing"}, "ClientException", "TaskDefinition not found."),
        ({"taskDefinition": "shell:2"}, "ClientException", "TaskDefinition not found."),
        ({"count": 0}, "InvalidParameterException", "count"),
        ({"count": 11}, "InvalidParameterException", "count"),
        ({"count": 2}, "ClientException", "one task per call"),
        ({"clientToken": "x" * 65}, "InvalidParameterException", "Client token"),
        ({"clientToken": "a b"}, "InvalidParameterException", "Client token"),
        ({"clientToken": ""}, "InvalidParameterException", "Client token"),
        ({"startedBy": "x" * 129}, "InvalidParameterException", "startedBy"),
        ({"startedBy": "a.b"}, "InvalidParameterException", "startedBy"),
        ({"launchType": "EC2"}, "InvalidParameterException", "No Container Instances"),
        ({"launchType": "MOON"}, "InvalidParameterException", "launch type"),
        (
            {"capacityProviderStrategy": [{"capacityProvider": "FARGATE", "weight": 1}]},
            "InvalidParameterException",
            "both",
        ),
        ({"platformVersion": "9"}, "PlatformUnknownException", ""),
        ({"networkConfiguration": {}}, "InvalidParameterException", "Network Configuration must be provided"),
        ({"networkConfiguration": {"awsvpcConfiguration": {"subnets": []}}}, "InvalidParameterException", "subnets"),
        ({"placementStrategy": [{"type": "random"}]}, "InvalidParameterException", "FARGATE"),
        ({"propagateTags": "SERVICE"}, "InvalidParameterException", "propagated"),
        ({"tags": [{"key": "aws:x", "value": ""}]}, "InvalidParameterException", "tag key"),
        ({"tags": [{"key": "a", "value": "b!"}]}, "InvalidParameterException", "tag value"),
        ({"tags": [{"key": "a"}, {"key": "a"}]}, "InvalidParameterException", "unique"),
        ({"tags": [{"key": str(each)} for each in range(51)]}, "InvalidParameterException", "50 tags"),
        (worker(name="other"), "InvalidParameterException", "container named other is not a container"),
        (worker(environment=[{"value": "x"}]), "InvalidParameterException", "Environment variable names"),
        (worker(command=["x" * 8192]), "InvalidParameterException", "at most 8192"),
        (worker(environmentFiles=[{"value": "arn:x", "type": "s3"}]), "ClientException", "doesn't support"),
        ({"overrides": {"taskRoleArn": "arn:x"}}, "ClientException", "doesn't support"),
        ({"enableExecuteCommand": True}, "ClientException", "doesn't support"),
    ],
)
def test_what_aws_refuses_is_refused(standin: StandIn, members: dict[str, Any], code: str, message: str) -> None:
    before = newest(standin)
    found = refused(lambda: standin.ecs().run_task(**{**OK, **members}))
    assert (found[0], message in found[1]) == (code, True), found
    assert newest(standin) == before


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        ([], "No Container Instances"),
        ([{"capacityProvider": "MOON", "weight": 1}], "was not found"),
        ([{"capacityProvider": "FARGATE", "weight": 0}], "weight above 0"),
    ],
)
def test_a_task_needs_capacity_that_exists(standin: StandIn, strategy: Json, message: str) -> None:
    members = {key: value for key, value in OK.items() if key != "launchType"}
    code, text = refused(lambda: standin.ecs().run_task(**members, capacityProviderStrategy=strategy))
    assert (code, message in text) == ("InvalidParameterException", True)


def test_the_boundaries_themselves_are_accepted(standin: StandIn) -> None:
    overrides = worker(command=["true", ""])["overrides"]
    size = len(json.dumps(overrides, separators=(",", ":")))
    overrides["containerOverrides"][0]["command"][1] = "x" * (8192 - size)
    tags = [{"key": str(each), "value": "y" * 256} for each in range(50)]
    members = {"startedBy": "x" * 128, "clientToken": "~" * 64, "tags": tags, "overrides": overrides}
    assert ended(standin, run(standin, **members))["containers"][0]["exitCode"] == 0


def test_an_operation_that_isnt_done_here_says_so(standin: StandIn) -> None:
    code, message = refused(lambda: standin.ecs().list_services())
    assert (code, "isn't part of the local stand-in for Amazon ECS" in message) == ("ClientException", True)


def test_answers_hold_nothing_that_aws_doesnt_have(standin: StandIn) -> None:
    """Botocore's parser drops unknown members silently, so this checks the raw answers."""
    task = run(standin, "exit 1", startedBy="shape", clientToken="shape", tags=[{"key": "a", "value": "b"}])
    ended(standin, task)
    model, validator = Session().get_service_model("ecs"), ParamValidator()
    shape = model.shape_for("Task")
    found = next(
        each for each in standin.ask("/_compute/tasks?limit=1000")["tasks"] if each["taskArn"] == task["taskArn"]
    )
    assert not validator.validate(found, shape).has_errors()
    assert found.keys() <= shape.members.keys()  # type: ignore[attr-defined]
    assert found["containers"][0].keys() <= model.shape_for("Container").members.keys()  # type: ignore[attr-defined]


# ---- clientToken -----------------------------------------------------------------------------------------------


def test_the_same_request_with_the_same_token_is_the_same_task(standin: StandIn) -> None:
    first, again = (run(standin, "sleep 1", clientToken="same", startedBy="same") for _ in range(2))
    assert again["taskArn"] == first["taskArn"]
    assert listed(standin, startedBy="same") == [first["taskArn"]]


def test_a_token_is_known_after_its_task_has_stopped(standin: StandIn) -> None:
    first = run(standin, "true", clientToken="stopped")
    ended(standin, first)
    again = run(standin, "true", clientToken="stopped")
    assert (again["taskArn"], again["lastStatus"]) == (first["taskArn"], "STOPPED")


def test_the_same_token_with_other_parameters_is_a_conflict_that_names_the_task(standin: StandIn) -> None:
    first = run(standin, "true", clientToken="conflict")
    with pytest.raises(ClientError) as caught:
        run(standin, "false", clientToken="conflict")
    assert caught.value.response["Error"]["Code"] == "ConflictException"
    answer: Any = caught.value.response
    assert answer["resourceIds"] == [first["taskArn"]]


def test_another_clusters_token_is_another(standin: StandIn) -> None:
    tasks = {run(standin, "true", clientToken="per-cluster", cluster=name)["taskArn"] for name in (CLUSTER, "default")}
    assert len(tasks) == 2


@pytest.mark.parametrize(("column", "age"), [("created_at", 24 * 3600), ("ended_at", 3600)])
def test_a_token_is_forgotten(own: StandIn, column: str, age: int) -> None:
    first = run(own, "true", clientToken="old")
    ended(own, first)
    own.end()
    grow_old(own, column, age + 1)
    own.start()
    assert run(own, "true", clientToken="old")["taskArn"] != first["taskArn"]


def grow_old(standin: StandIn, column: str, seconds: int) -> None:
    """Makes everything in a stand-in's store older."""
    with sqlite3.connect(standin.state / "runs.sqlite3") as database:
        # Both columns are known.
        database.execute(f"UPDATE runs SET {column} = {column} - ?", [seconds * 1000])  # noqa: S608
        if column == "ended_at":
            database.execute(
                "UPDATE runs SET detail = json_set(detail, '$.stoppedAt', (detail ->> 'stoppedAt') - ?)", [seconds]
            )
    database.close()


# ---- room ------------------------------------------------------------------------------------------------------


def test_a_full_cluster_is_a_failure_in_a_good_answer(standin: StandIn) -> None:
    first = run(standin, cluster="full", clientToken="first")
    answer = standin.ecs().run_task(**{**OK, "cluster": "full", "clientToken": "second"})
    assert (answer["tasks"], [failure["reason"] for failure in answer["failures"]]) == ([], ["RESOURCE:CPU"])
    standin.ecs().stop_task(cluster="full", task=first["taskArn"])
    ended(standin, first)
    assert standin.ecs().run_task(**{**OK, "cluster": "full", "clientToken": "second"})["failures"] == []


def test_a_known_token_needs_no_room(standin: StandIn) -> None:
    first = run(standin, cluster="known", clientToken="first")
    assert run(standin, cluster="known", clientToken="first")["taskArn"] == first["taskArn"]


# ---- StopTask --------------------------------------------------------------------------------------------------


def test_stop_asks_first(standin: StandIn) -> None:
    task = run(standin, "trap 'exit 75' TERM; echo up; sleep 30 & wait")
    until(lambda: standin.log(id_of(task))[0])
    answer = standin.ecs().stop_task(cluster=CLUSTER, task=task["taskArn"], reason="enough")["task"]
    assert (answer["lastStatus"], answer["desiredStatus"], answer["stopCode"]) == (
        "STOPPING",
        "STOPPED",
        "UserInitiated",
    )
    assert end(ended(standin, task)) == {
        "stopCode": "UserInitiated",
        "stoppedReason": "enough",
        "exitCode": 75,
        "reason": None,
    }


def test_who_doesnt_listen_is_killed(standin: StandIn) -> None:
    task = run(standin, "trap '' TERM; echo up; while true; do sleep 0.1; done")
    until(lambda: standin.log(id_of(task))[0])
    standin.ecs().stop_task(cluster=CLUSTER, task=id_of(task))
    stopped = ended(standin, task)
    assert (stopped["containers"][0]["exitCode"], stopped["stoppedReason"]) == (137, "Task stopped by user")


def test_the_first_to_stop_a_task_is_the_one_who_did(standin: StandIn) -> None:
    task = run(standin, "trap 'sleep 0.2; exit 0' TERM; echo up; sleep 30 & wait")
    until(lambda: standin.log(id_of(task))[0])
    for reason in ("first", "second"):
        standin.ecs().stop_task(cluster=CLUSTER, task=task["taskArn"], reason=reason)
    stopped = ended(standin, task)
    standin.ecs().stop_task(cluster=CLUSTER, task=task["taskArn"], reason="late")
    assert describe(standin, task["taskArn"]) == stopped
    assert (stopped["stoppedReason"], stopped["containers"][0]["exitCode"]) == ("first", 0)


@pytest.mark.parametrize(
    ("cluster", "task", "code", "message"),
    [
        (CLUSTER, "0" * 32, "InvalidParameterException", "The referenced task was not found."),
        (CLUSTER, "short", "InvalidParameterException", "taskId length should be one of [32,36]"),
        ("nowhere", "0" * 32, "ClusterNotFoundException", "Cluster not found."),
    ],
)
def test_stopping_nothing_is_refused(standin: StandIn, cluster: str, task: str, code: str, message: str) -> None:
    assert refused(lambda: standin.ecs().stop_task(cluster=cluster, task=task)) == (code, message)


@pytest.mark.parametrize("code", ["SpotInterruption", "TerminationNotice"])
def test_the_platform_may_take_a_task_away(standin: StandIn, code: str) -> None:
    task = run(standin, "trap 'exit 75' TERM; echo up; sleep 30 & wait")
    until(lambda: standin.log(id_of(task))[0])
    cause = {"stopCode": code, "stoppedReason": "Your Spot Task was interrupted."}
    standin.ask(f"/_compute/tasks/{id_of(task)}/stop", "POST", cause)
    assert end(ended(standin, task)) == {**cause, "exitCode": 75, "reason": None}


# ---- DescribeTasks, ListTasks ----------------------------------------------------------------------------------


def test_what_isnt_known_is_among_the_failures(standin: StandIn) -> None:
    known, unknown = run(standin, "true")["taskArn"], f"{ACCOUNT}:task/{CLUSTER}/{'0' * 32}"
    answer = standin.ecs().describe_tasks(cluster=CLUSTER, tasks=[known, "0" * 32])
    assert [task["taskArn"] for task in answer["tasks"]] == [known]
    assert answer["failures"] == [{"arn": unknown, "reason": "MISSING"}]


def test_a_task_is_known_in_its_own_cluster_only(standin: StandIn) -> None:
    task = run(standin, "true")
    for name in (id_of(task), task["taskArn"].replace(CLUSTER, "default")):
        assert standin.ecs().describe_tasks(cluster="default", tasks=[name])["tasks"] == []


def test_describe_takes_a_hundred(standin: StandIn) -> None:
    ids = [f"{each:032x}" for each in range(101)]
    assert len(standin.ecs().describe_tasks(cluster=CLUSTER, tasks=ids[:100])["failures"]) == 100
    for wrong in (ids, [], ["short"]):
        assert refused(lambda wrong=wrong: standin.ecs().describe_tasks(cluster=CLUSTER, tasks=wrong))[0] == (  # type: ignore[misc]
            "InvalidParameterException"
        )


def test_tags_are_described_where_asked_for(standin: StandIn) -> None:
    task = run(standin, "true", tags=[{"key": "a", "value": "b"}])
    described = standin.ecs().describe_tasks(cluster=CLUSTER, tasks=[task["taskArn"]], include=["TAGS"])["tasks"][0]
    assert described["tags"] == [{"key": "a", "value": "b"}]
    assert describe(standin, task["taskArn"])["tags"] == []


def test_a_stopped_task_is_shown_for_an_hour(own: StandIn) -> None:
    task = run(own, "true", startedBy="past")
    ended(own, task)
    assert listed(own, desiredStatus="STOPPED") == [task["taskArn"]]
    own.end()
    grow_old(own, "ended_at", 3601)
    own.start()
    assert listed(own, desiredStatus="STOPPED") == []
    assert own.ecs().describe_tasks(cluster=CLUSTER, tasks=[task["taskArn"]])["tasks"] == []
    assert refused(lambda: own.ecs().stop_task(cluster=CLUSTER, task=task["taskArn"]))[1].endswith("was not found.")


def test_list_gives_tasks_that_are_to_run_unless_told_otherwise(standin: StandIn) -> None:
    there: dict[str, Any] = {"cluster": "listed"}
    living, stopped = run(standin, **there), run(standin, "true", **there)
    ended(standin, stopped)
    assert listed(standin, **there) == listed(standin, **there, desiredStatus="RUNNING") == [living["taskArn"]]
    assert listed(standin, **there, desiredStatus="STOPPED") == [stopped["taskArn"]]
    assert listed(standin, **there, desiredStatus="PENDING") == []


def test_a_task_that_is_stopping_is_not_to_run(standin: StandIn) -> None:
    task = run(standin, "trap 'sleep 0.2' TERM; echo up; sleep 30 & wait", startedBy="stopping")
    until(lambda: standin.log(id_of(task))[0])
    standin.ecs().stop_task(cluster=CLUSTER, task=task["taskArn"])
    assert listed(standin, startedBy="stopping") == []


def test_the_other_filters(standin: StandIn) -> None:
    there: dict[str, Any] = {"cluster": "filtered"}
    shell, idle = run(standin, "sleep 60", **there, taskDefinition="shell"), run(standin, **there)
    assert listed(standin, **there, family="shell") == [shell["taskArn"]]
    assert listed(standin, **there, launchType="FARGATE") == [idle["taskArn"], shell["taskArn"]]
    assert listed(standin, **there, launchType="EC2") == listed(standin, **there, startedBy="nobody") == []


@pytest.mark.parametrize(
    ("filters", "code"),
    [
        ({"startedBy": "a", "desiredStatus": "STOPPED"}, "InvalidParameterException"),
        ({"startedBy": "a", "family": "shell"}, "InvalidParameterException"),
        ({"desiredStatus": "MAYBE"}, "InvalidParameterException"),
        ({"maxResults": 101}, "InvalidParameterException"),
        ({"maxResults": 0}, "InvalidParameterException"),
        ({"nextToken": "x"}, "InvalidParameterException"),
        ({"serviceName": "x"}, "ServiceNotFoundException"),
        ({"cluster": "nowhere"}, "ClusterNotFoundException"),
    ],
)
def test_list_refuses_what_aws_refuses(standin: StandIn, filters: Json, code: str) -> None:
    assert refused(lambda: listed(standin, **filters))[0] == code


def test_lists_page(standin: StandIn) -> None:
    there: dict[str, Any] = {"cluster": "paged"}
    arns = [run(standin, **there, startedBy="many")["taskArn"] for _ in range(5)]
    paginator = standin.ecs().get_paginator("list_tasks")
    pages = paginator.paginate(cluster="paged", startedBy="many", PaginationConfig={"PageSize": 2})
    assert [page["taskArns"] for page in pages] == [arns[:2:-1], arns[2:0:-1], arns[:1]]
    token = standin.ecs().list_tasks(cluster="paged", maxResults=2)["nextToken"]
    assert refused(lambda: listed(standin, **there, startedBy="many", nextToken=token))[0] == (
        "InvalidParameterException"
    )


# ---- one attempt, whatever happens -----------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1, 65, 75, 77])
def test_a_failed_task_is_not_tried_again(standin: StandIn, code: int) -> None:
    task = run(standin, f"echo ran; exit {code}")
    assert ended(standin, task)["containers"][0]["exitCode"] == code
    assert standin.log(id_of(task))[0] == "ran\n"


def test_a_command_that_isnt_there_fails_to_start(standin: StandIn) -> None:
    task = ended(standin, run(standin, taskDefinition="missing"))
    assert task["stopCode"] == "TaskFailedToStart"
    assert task["stoppedReason"] == task["containers"][0]["reason"]
    assert task["stoppedReason"].startswith("CannotStartContainerError")
    assert "exitCode" not in task["containers"][0]
    assert "startedAt" not in task


def test_killed_and_restarted_it_loses_nothing_and_runs_nothing_twice(own: StandIn) -> None:
    living, meanwhile = run(own, "echo ran; sleep 30"), run(own, "echo ran; sleep 0.2; exit 65")
    for task in (living, meanwhile):
        until(lambda task=task: own.log(id_of(task))[0])  # type: ignore[misc]
    own.end(signal.SIGKILL)
    time.sleep(0.4)
    own.start()
    assert ended(own, meanwhile)["containers"][0]["exitCode"] == 65
    assert describe(own, living["taskArn"])["lastStatus"] == "RUNNING"
    assert own.log(id_of(living))[0] == own.log(id_of(meanwhile))[0] == "ran\n"


def test_a_stop_asked_for_before_the_kill_is_carried_out(own: StandIn) -> None:
    task = run(own, "trap 'sleep 0.2; exit 3' TERM; echo up; sleep 30 & wait")
    until(lambda: own.log(id_of(task))[0])
    own.ecs().stop_task(cluster=CLUSTER, task=task["taskArn"], reason="enough")
    own.end(signal.SIGKILL)
    own.start()
    assert end(ended(own, task)) == {
        "stopCode": "UserInitiated",
        "stoppedReason": "enough",
        "exitCode": 3,
        "reason": None,
    }


def test_a_clean_stop_of_the_standin_takes_the_host_away(own: StandIn) -> None:
    task = run(own, "trap 'exit 75' TERM; echo up; sleep 30 & wait")
    until(lambda: own.log(id_of(task))[0])
    own.end()
    own.start()
    stopped = ended(own, task)
    assert (stopped["stopCode"], stopped["containers"][0]["exitCode"]) == ("TerminationNotice", 75)


def test_a_lost_supervisor_is_a_lost_host(standin: StandIn) -> None:
    task = run(standin, "echo up; sleep 30")
    until(lambda: standin.log(id_of(task))[0])
    lock = standin.state / "attempts" / id_of(task) / "1" / "supervisor.lock"
    os.kill(int(lock.read_text()), signal.SIGKILL)
    stopped = ended(standin, task)
    assert stopped["stopCode"] == "TerminationNotice"
    assert "exitCode" not in stopped["containers"][0]


# ---- faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "raised", "tasks"),
    [
        ("throttle", "ThrottlingException", 0),
        ("error500", "ServerException", 0),
        ("refuse", "ClientException", 0),
        ("quota", "ClientException", 0),
        ("reset", HTTPClientError, 0),
        ("reset_after_effect", HTTPClientError, 1),
        ("timeout_before_effect", HTTPClientError, 0),
        ("timeout_after_effect", HTTPClientError, 1),
    ],
)
def test_faults_on_request(standin: StandIn, mode: str, raised: str | type[Exception], tasks: int) -> None:
    token = f"faulty-{mode}"
    fault = {"operation": "RunTask", "times": 1, "mode": mode, "jobName": "faulty*"}
    standin.ask("/_compute/faults", "POST", [fault])
    run(standin, startedBy="other")  # not hit
    if isinstance(raised, str):
        assert refused(lambda: run(standin, startedBy=token, clientToken=token))[0] == raised
    else:
        impatient = ecs_client_of(standin.url, "test", "test", None, read_timeout=0.5)
        with pytest.raises(raised):
            impatient.run_task(**OK, startedBy=token, clientToken=token)
    assert len(listed(standin, startedBy=token)) == tasks
    assert standin.ask("/_compute/faults", "DELETE") == []


@pytest.mark.parametrize(("more", "reason"), [({}, "RESOURCE:CPU"), ({"reason": "AGENT"}, "AGENT")])
def test_a_lack_of_capacity_on_request(standin: StandIn, more: dict[str, str], reason: str) -> None:
    fault = {"operation": "RunTask", "times": 1, "mode": "capacity", "jobName": "shell", **more}
    standin.ask("/_compute/faults", "POST", [fault])
    answer = standin.ecs().run_task(**{**OK, "taskDefinition": "shell"})
    assert (answer["tasks"], [failure["reason"] for failure in answer["failures"]]) == ([], [reason])
    assert standin.ask("/_compute/faults", "DELETE") == []


# ---- events ----------------------------------------------------------------------------------------------------


LIFE = ["PROVISIONING", "PENDING", "RUNNING", "STOPPED"]


def statuses(events: list[Json]) -> list[str]:
    return [event["detail"]["lastStatus"] for event in events]


def test_every_change_is_an_event_of_the_real_shape(bus: Bus) -> None:
    run(bus.standin, "true", cluster="default")  # the rule doesn't match it
    task = run(bus.standin, "exit 65", {"JOB_ID": "j"}, startedBy="me", tags=[{"key": "a", "value": "b"}])
    received = bus.received(id_of(task), 4)
    assert statuses(received) == LIFE
    assert [event["detail"]["version"] for event in received] == [1, 2, 3, 4]
    last = received[-1]
    assert {key: last[key] for key in ("version", "detail-type", "source", "account", "region", "resources")} == {
        "version": "0",
        "detail-type": "ECS Task State Change",
        "source": "aws.ecs",
        "account": "000000000000",
        "region": "us-east-1",
        "resources": [task["taskArn"]],
    }
    described = describe(bus.standin, task["taskArn"])
    del described["tags"], last["detail"]["updatedAt"]
    as_told = {key: value.isoformat() if isinstance(value, datetime) else value for key, value in described.items()}
    assert {key: _moment(value) for key, value in last["detail"].items()} == {
        key: _moment(value) for key, value in as_told.items()
    }
    assert last["detail"]["stoppedAt"].endswith("Z")


def _moment(value: Json) -> Json:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        return value


def test_a_stop_is_told_before_the_end(bus: Bus) -> None:
    task = run(bus.standin, "trap 'exit 75' TERM; echo up; sleep 30 & wait")
    assert statuses(bus.received(id_of(task), 3)) == LIFE[:3]
    bus.standin.ecs().stop_task(cluster=CLUSTER, task=task["taskArn"])
    received = bus.received(id_of(task), 2)
    assert statuses(received) == ["STOPPING", "STOPPED"]
    assert {event["detail"]["stopCode"] for event in received} == {"UserInitiated"}


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"mode": "drop", "status": "RUNNING"}, [*LIFE[:2], "STOPPED"]),
        ({"mode": "duplicate", "status": "STOPPED"}, [*LIFE, "STOPPED"]),
        ({"mode": "reverse", "jobName": "idle"}, LIFE[::-1]),
        ({"mode": "drop", "jobName": "another"}, LIFE),
    ],
)
def test_event_faults(bus: Bus, fault: dict[str, Any], expected: list[str]) -> None:
    bus.standin.ask("/_compute/faults", "POST", [{"operation": "events", **fault}])
    task = run(bus.standin, "true")
    assert statuses(bus.received(id_of(task), len(expected))) == expected


# ---- who may ---------------------------------------------------------------------------------------------------


def allow(action: str, *resources: str) -> dict[str, Any]:
    return allowing(f"ecs:{action}", *resources)


IDLE, ANY_TASK = f"{ACCOUNT}:task-definition/idle:1", f"{ACCOUNT}:task/{CLUSTER}/*"


@pytest.mark.parametrize(
    ("name", "statements", "allowed"),
    [
        ("everything", [allow("*", "*")], True),
        ("revision", [allow("RunTask", IDLE)], True),
        ("any-revision", [allow("RunTask", f"{ACCOUNT}:task-definition/idle:*")], True),
        ("no-revision", [allow("RunTask", f"{ACCOUNT}:task-definition/idle")], False),
        ("other-definition", [allow("RunTask", f"{ACCOUNT}:task-definition/shell:*")], False),
        ("cluster", [allow("RunTask", f"{ACCOUNT}:cluster/{CLUSTER}")], False),
        ("other-action", [allow("ListTasks", "*")], False),
        ("nothing", [], False),
    ],
)
def test_running_takes_the_task_definition(
    guarded: StandIn, emulator: str, name: str, statements: list[dict[str, Any]], *, allowed: bool
) -> None:
    client = guarded.ecs(*role(emulator, f"run-{name}", *statements))
    if allowed:
        assert client.run_task(**OK)["failures"] == []
    else:
        code, message = refused(lambda: client.run_task(**OK))
        assert (code, "not authorized to perform: ecs:RunTask" in message) == ("AccessDeniedException", True)


@pytest.mark.parametrize(
    ("name", "further", "missing"),
    [
        ("both", [allowing("iam:PassRole", TASK_ROLE), allow("TagResource", ANY_TASK)], None),
        ("no-role", [allow("TagResource", ANY_TASK)], "iam:PassRole"),
        ("other-role", [allowing("iam:PassRole", f"{TASK_ROLE}x"), allow("TagResource", ANY_TASK)], "iam:PassRole"),
        ("no-tags", [allowing("iam:PassRole", TASK_ROLE)], "ecs:TagResource"),
    ],
)
def test_running_with_a_role_and_tags_takes_two_more(
    guarded: StandIn, emulator: str, name: str, further: list[dict[str, Any]], missing: str | None
) -> None:
    may_run = allow("RunTask", f"{ACCOUNT}:task-definition/trusted:1")
    client = guarded.ecs(*role(emulator, f"further-{name}", may_run, *further))
    request: Any = {**OK, "taskDefinition": "trusted", "tags": [{"key": "a", "value": "b"}]}
    if missing is None:
        assert client.run_task(**request)["failures"] == []
    else:
        code, message = refused(lambda: client.run_task(**request))
        assert (code, f"not authorized to perform: {missing} " in message) == ("AccessDeniedException", True)


def test_what_cant_be_told_is_refused(guarded: StandIn, emulator: str) -> None:
    """Who may run everything isn't named by the emulator, so nobody knows whether they may pass the role."""
    client = guarded.ecs(*role(emulator, "too-much", allow("RunTask", "*"), allowing("iam:PassRole", TASK_ROLE)))
    assert refused(lambda: client.run_task(**{**OK, "taskDefinition": "trusted"}))[0] == "AccessDeniedException"


def test_the_root_may_everything(guarded: StandIn) -> None:
    assert guarded.ecs().run_task(**{**OK, "taskDefinition": "trusted"})["failures"] == []


def test_stopping_and_describing_take_the_task(guarded: StandIn, emulator: str) -> None:
    task = run(guarded)["taskArn"]
    may = guarded.ecs(*role(emulator, "tasks", allow("DescribeTasks", ANY_TASK), allow("StopTask", ANY_TASK)))
    may_not = guarded.ecs(*role(emulator, "other-tasks", allow("*", f"{ACCOUNT}:task/default/*")))
    for client, codes in ((may_not, {"AccessDeniedException"}), (may, {None})):
        found = {code_of(lambda client=client: client.describe_tasks(cluster=CLUSTER, tasks=[task]))}
        found |= {code_of(lambda client=client: client.stop_task(cluster=CLUSTER, task=task))}
        assert found == codes


def test_listing_is_granted_on_everything_or_not_at_all(guarded: StandIn, emulator: str) -> None:
    assert guarded.ecs(*role(emulator, "lister", allow("ListTasks", "*"))).list_tasks(cluster=CLUSTER)
    only_there = guarded.ecs(*role(emulator, "cluster-lister", allow("ListTasks", f"{ACCOUNT}:cluster/{CLUSTER}")))
    assert refused(lambda: only_there.list_tasks(cluster=CLUSTER))[0] == "AccessDeniedException"


def code_of(call: Any) -> str | None:  # noqa: ANN401 - a boto3 call
    try:
        call()
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def test_a_wrong_signature_is_nobody(guarded: StandIn, emulator: str) -> None:
    key, _, token = role(emulator, "forger", allow("*", "*"))
    assert refused(lambda: guarded.ecs("nobody", "x").list_tasks())[0] == "UnrecognizedClientException"
    assert refused(lambda: guarded.ecs(key, "x", token).list_tasks())[0] == "InvalidSignatureException"


def test_a_signature_covers_the_body(guarded: StandIn, emulator: str) -> None:
    client = guarded.ecs(*role(emulator, "sly", allow("*", "*")))
    client.meta.events.register("before-send", _with_another_body)
    assert refused(lambda: client.run_task(**OK))[0] == "InvalidSignatureException"


def _with_another_body(request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
    request.body = request.body.replace(b'"idle"', b'"else"')


def test_who_may_nothing_isnt_told_what_there_is(guarded: StandIn, emulator: str) -> None:
    client = guarded.ecs(*role(emulator, "curious", allow("ListTasks", "*")))
    assert refused(lambda: client.run_task(**{**OK, "taskDefinition": "nothing"}))[0] == "AccessDeniedException"


def test_the_action_is_the_one_that_was_signed(guarded: StandIn, emulator: str) -> None:
    client = guarded.ecs(*role(emulator, "slyer", allow("ListTasks", "*")))
    client.meta.events.register("before-sign.ecs.RunTask", _with_an_action_in_the_query)
    assert refused(lambda: client.run_task(**OK))[0] == "ClientException"


def _with_an_action_in_the_query(request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
    request.url += "?Action=ListTasks"


def test_unsigned_requests_run_nothing(standin: StandIn, guarded: StandIn) -> None:
    """Else any web page open on this machine could start commands."""
    target = {"X-Amz-Target": "AmazonEC2ContainerServiceV20141113.RunTask"}
    for each in (standin, guarded):
        for headers in ({}, {"Authorization": SIGNED}):  # signed for Batch
            answer = httpx.post(each.url, json=OK, headers={**target, **headers})
            assert (answer.status_code, answer.json()["__type"]) == (403, "MissingAuthenticationTokenException")
