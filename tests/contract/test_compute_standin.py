"""The local stand-in answers as AWS Batch does, runs jobs for real, and loses none."""

import os
import signal
import subprocess
import time
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest
from botocore.config import Config
from botocore.exceptions import HTTPClientError
from botocore.session import Session
from botocore.validate import ParamValidator

from tests.contract.standin import (
    QUEUE,
    REPOSITORY,
    RETRIES,
    SIGNED,
    Bus,
    Job,
    Json,
    StandIn,
    allowing,
    client_of,
    free_port,
    refused,
    role,
    until,
)

ACCOUNT = "arn:aws:batch:us-east-1:000000000000"


def submit(standin: StandIn, script: str = "true", name: str = "a-job", **members: Json) -> str:
    request = {"jobName": name, "jobQueue": QUEUE, "jobDefinition": "shell", **members}
    overrides: Any = {"command": ["sh", "-c", script], **request.pop("containerOverrides", {})}
    return standin.client().submit_job(**request, containerOverrides=overrides)["jobId"]


def describe(standin: StandIn, job_id: str) -> Job:
    return dict(standin.client().describe_jobs(jobs=[job_id])["jobs"][0])


def reached(standin: StandIn, job_id: str, *statuses: str) -> Job:
    client = standin.client()

    def look() -> Job | None:
        job = dict(client.describe_jobs(jobs=[job_id])["jobs"][0])
        return job if job["status"] in statuses else None

    return until(look)


def ended(standin: StandIn, job_id: str) -> Job:
    return reached(standin, job_id, "SUCCEEDED", "FAILED")


# ---- SubmitJob -------------------------------------------------------------------------------------------------


def test_a_job_runs_and_is_described_in_full(standin: StandIn) -> None:
    before = time.time_ns() // 1_000_000
    environment: Any = [{"name": "BOTH", "value": "override"}, {"name": "S3_KEY", "value": "uploads/ünï 'x'.mp4"}]
    answer = standin.client().submit_job(
        jobName="video-process-1",
        jobQueue=QUEUE,
        jobDefinition="shell",
        containerOverrides={"environment": environment},
        tags={"JobId": "1", "VideoKey": "uploads/a b+c=d.mp4"},
        propagateTags=True,
    )
    job = ended(standin, answer["jobId"])
    assert answer["jobArn"] == job["jobArn"] == f"{ACCOUNT}:job/{job['jobId']}"
    assert job["status"] == "SUCCEEDED"
    assert job["statusReason"] == "Essential container in task exited"
    assert (job["jobName"], job["jobQueue"]) == ("video-process-1", f"{ACCOUNT}:job-queue/{QUEUE}")
    assert job["jobDefinition"] == f"{ACCOUNT}:job-definition/shell:1"
    assert before <= job["createdAt"] <= job["startedAt"] <= job["stoppedAt"]
    assert job["container"]["exitCode"] == 0
    assert {each["name"]: each["value"] for each in job["container"]["environment"]} == {
        "FROM": "definition",
        "BOTH": "override",
        "S3_KEY": "uploads/ünï 'x'.mp4",
    }
    assert job["tags"] == {"JobId": "1", "VideoKey": "uploads/a b+c=d.mp4"}
    assert job["propagateTags"] is True
    assert len(job["attempts"]) == 1
    assert job["attempts"][0]["container"]["exitCode"] == 0


def test_the_worker_sees_its_environment_and_nothing_of_the_servers(standin: StandIn) -> None:
    job_id = submit(standin, "env; pwd")
    ended(standin, job_id)
    *lines, folder = standin.log(job_id)[0].splitlines()
    seen = dict(line.partition("=")[::2] for line in lines if "=" in line)
    assert seen["AWS_BATCH_JOB_ID"] == job_id
    assert seen["AWS_BATCH_JOB_ATTEMPT"] == "1"
    assert seen["AWS_BATCH_JQ_NAME"] == QUEUE
    assert seen["HOME"] == seen["TMPDIR"] == folder
    assert not Path(folder).exists(), "the scratch folder ends with the worker"
    assert set(seen) <= {
        *("PATH", "HOME", "TMPDIR", "AWS_REGION", "AWS_DEFAULT_REGION", "FROM", "BOTH", "PWD", "SHLVL", "_", "OLDPWD"),
        *("AWS_BATCH_JOB_ID", "AWS_BATCH_JOB_ATTEMPT", "AWS_BATCH_JQ_NAME", "AWS_BATCH_CE_NAME"),
    }


def test_the_log_is_read_by_offset_while_the_job_runs(standin: StandIn) -> None:
    job_id = submit(standin, "echo one; sleep 0.4; echo two")
    until(lambda: standin.log(job_id)[0])
    text, offset = standin.log(job_id)
    assert (text, offset) == ("one\n", 4)
    ended(standin, job_id)
    assert standin.log(job_id, offset) == ("two\n", 8)


def test_two_jobs_may_have_the_same_name(standin: StandIn) -> None:
    assert submit(standin, name="twin") != submit(standin, name="twin")


@pytest.mark.parametrize("queue", [QUEUE, f"{ACCOUNT}:job-queue/{QUEUE}"])
@pytest.mark.parametrize(
    "definition", ["shell", "shell:1", *(f"{ACCOUNT}:job-definition/shell{r}" for r in ("", ":1"))]
)
def test_queue_and_definition_are_named_or_given_by_arn(standin: StandIn, queue: str, definition: str) -> None:
    job = describe(standin, submit(standin, jobQueue=queue, jobDefinition=definition))
    assert job["jobDefinition"].endswith("/shell:1")


OK: Any = {"jobName": "x", "jobQueue": "parked", "jobDefinition": "shell"}


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ({"jobName": ""}, "Job name should match valid pattern"),
        ({"jobName": "-x"}, "Job name should match valid pattern"),
        ({"jobName": "a b"}, "Job name should match valid pattern"),
        ({"jobName": "x\n"}, "Job name should match valid pattern"),
        ({"jobName": "x" * 129}, "Job name should match valid pattern"),
        ({"jobQueue": "nowhere"}, "JobQueue nowhere not found."),
        ({"jobQueue": f"{ACCOUNT}:job-queue/nowhere"}, f"JobQueue {ACCOUNT}:job-queue/nowhere not found."),
        ({"jobQueue": "a/b"}, "Provided name a/b is not supported pattern"),
        ({"jobDefinition": "none"}, "JobDefinition name none does not exist or is not in ACTIVE status"),
        ({"jobDefinition": "shell:2"}, "JobDefinition name shell:2 does not exist"),
        ({"jobDefinition": f"{ACCOUNT}:job-definition/no"}, f"JobDefinition {ACCOUNT}:job-definition/no not found."),
        ({"tags": {f"k{n}": "" for n in range(51)}}, "50"),
        ({"tags": {"k" * 129: ""}}, "tag key"),
        ({"tags": {"k": "v" * 257}}, "tag value"),
        ({"tags": {"k": "a,b"}}, "tag value"),
        ({"tags": {"a?": "b"}}, "tag key"),
        ({"tags": {"AWS:x": "b"}}, "tag key"),
        ({"containerOverrides": {"environment": [{"name": "AWS_BATCH_X", "value": "1"}]}}, "AWS_BATCH"),
        ({"containerOverrides": {"environment": [{"name": "X", "value": "x" * 31_000}]}}, "30720 bytes"),
        ({"retryStrategy": {"attempts": 11}}, "between 1 and 10"),
        ({"retryStrategy": {"evaluateOnExit": [{"onExitCode": "1", "action": "EXIT"}]}}, "attempts must be"),
        ({"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"action": "EXIT"}]}}, "condition"),
        ({"retryStrategy": {"attempts": 2, "evaluateOnExit": [{"onExitCode": "x", "action": "EXIT"}]}}, "pattern"),
        ({"timeout": {"attemptDurationSeconds": 59}}, "at least 60"),
        ({"dependsOn": [{"jobId": "x"}]}, "doesn't support dependsOn"),
        ({"arrayProperties": {"size": 2}}, "doesn't support arrayProperties"),
    ],
)
def test_what_aws_refuses_is_refused(standin: StandIn, members: dict[str, Any], message: str) -> None:
    request: dict[str, Any] = {**OK, **members}
    code, text = refused(lambda: submit_plain(standin, request))
    assert code == "ClientException"
    assert message in text


def submit_plain(standin: StandIn, request: dict[str, Any]) -> None:
    """Submits without boto3's own validation, as another SDK might."""
    client = boto3.client(
        "batch",
        endpoint_url=standin.url,
        region_name="us-east-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(parameter_validation=False),
    )
    client.submit_job(**request)


def test_the_boundaries_themselves_are_accepted(standin: StandIn) -> None:
    tags = {f"k{n:02}{'é' * 125}": "v" * 256 for n in range(25)}
    submit(standin, name="x" * 128, jobQueue="parked", tags=tags, timeout={"attemptDurationSeconds": 60})


def test_rubbish_is_refused(standin: StandIn) -> None:
    for path, body in [("/v1/submitjob", b"{"), ("/v1/submitjob", b'{"jobName": 7}'), ("/v1/no", b"{}")]:
        answer = standin.http.post(path, content=body)
        assert (answer.status_code, answer.headers["x-amzn-ErrorType"]) == (400, "ClientException")


# ---- DescribeJobs, ListJobs ------------------------------------------------------------------------------------


def test_describe_takes_a_hundred_and_leaves_out_the_unknown(standin: StandIn) -> None:
    job_id = submit(standin, jobQueue="parked")
    client = standin.client()
    found = client.describe_jobs(jobs=[job_id, *(f"unknown-{n}" for n in range(99))])["jobs"]
    assert [job["jobId"] for job in found] == [job_id]
    assert refused(lambda: client.describe_jobs(jobs=["x"] * 101))[0] == "ClientException"


def test_answers_hold_nothing_that_aws_doesnt_have(standin: StandIn) -> None:
    """Botocore's parser drops unknown members silently, so this checks the raw answers."""
    job_id = submit(standin)
    ended(standin, job_id)
    model = Session().get_service_model("batch")
    for operation, path, request in [
        ("DescribeJobs", "/v1/describejobs", {"jobs": [job_id]}),
        ("ListJobs", "/v1/listjobs", {"jobQueue": QUEUE, "jobStatus": "SUCCEEDED"}),
        ("SubmitJob", "/v1/submitjob", OK),
        ("DescribeJobQueues", "/v1/describejobqueues", {}),
        ("DescribeJobDefinitions", "/v1/describejobdefinitions", {}),
    ]:
        shape = model.operation_model(operation).output_shape
        assert shape is not None
        answer = standin.ask(path, "POST", request)
        assert answer
        report = ParamValidator().validate(answer, shape)
        assert not report.has_errors(), report.generate_report()


def test_a_job_that_has_ended_can_be_forgotten_as_batch_does_some_days_later(standin: StandIn) -> None:
    job_id = submit(standin, "sleep 60")
    reached(standin, job_id, "RUNNING")
    assert standin.http.delete(f"/_compute/jobs/{job_id}").status_code == 404
    standin.client().terminate_job(jobId=job_id, reason="enough")
    ended(standin, job_id)
    standin.ask(f"/_compute/jobs/{job_id}", "DELETE")
    assert standin.client().describe_jobs(jobs=[job_id])["jobs"] == []


def test_list_gives_running_jobs_unless_a_status_is_named(standin: StandIn) -> None:
    running, waiting = submit(standin, "sleep 30", jobQueue="single"), submit(standin, jobQueue="single")
    reached(standin, running, "RUNNING")
    client = standin.client()
    assert [job["jobId"] for job in client.list_jobs(jobQueue="single")["jobSummaryList"]] == [running]
    listed = client.list_jobs(jobQueue="single", jobStatus="RUNNABLE")["jobSummaryList"]
    assert [job["jobId"] for job in listed] == [waiting]
    assert not {"tags", "attempts"} & set(listed[0])
    for job_id in (waiting, running):
        client.terminate_job(jobId=job_id, reason="enough")
        ended(standin, job_id)


def test_the_name_filter_ignores_status_and_case_and_pages_newest_first(standin: StandIn) -> None:
    ids = [submit(standin, jobQueue="parked", name=name) for name in ("Filter_a", "filter_A", "filter_ab", "other")]
    first, second, third, _ = ids
    client = standin.client()

    def listed(value: str, **more: Json) -> list[str]:
        pages = client.get_paginator("list_jobs").paginate(
            jobQueue="parked", filters=[{"name": "JOB_NAME", "values": [value]}], jobStatus="FAILED", **more
        )
        return [job["jobId"] for page in pages for job in page["jobSummaryList"]]

    assert listed("FILTER_A") == [second, first]
    assert listed("filter*") == listed("filter*", PaginationConfig={"PageSize": 1}) == [third, second, first]
    assert listed("filter_*b") == []
    assert listed("filter%") == []


def test_the_other_filters(standin: StandIn) -> None:
    job_id = submit(standin, jobQueue="parked", jobDefinition="missing")
    created = describe(standin, job_id)["createdAt"]
    client = standin.client()

    def listed(name: str, value: str) -> list[str]:
        answer = client.list_jobs(jobQueue="parked", filters=[{"name": name, "values": [value]}])
        return [job["jobId"] for job in answer["jobSummaryList"]]

    for value in ("missing", "missing:1", "miss*", f"{ACCOUNT}:job-definition/missing:1"):
        assert listed("JOB_DEFINITION", value) == [job_id]
    assert listed("JOB_DEFINITION", "miss") == []
    assert listed("AFTER_CREATED_AT", str(created - 1))[-1] == job_id
    assert job_id not in listed("AFTER_CREATED_AT", str(created))
    assert job_id not in listed("BEFORE_CREATED_AT", str(created))
    assert refused(lambda: listed("BEFORE_CREATED_AT", "now"))[0] == "ClientException"
    assert refused(lambda: listed("job_name", "x"))[0] == "ClientException"


def test_list_refuses_what_aws_refuses(standin: StandIn) -> None:
    client = standin.client()
    a_filter: Any = {"name": "JOB_NAME", "values": ["x"]}
    requests: list[Any] = [
        {},
        {"jobQueue": QUEUE, "arrayJobId": "x"},
        {"jobQueue": "nowhere"},
        {"jobQueue": QUEUE, "filters": [a_filter, a_filter]},
        {"jobQueue": QUEUE, "maxResults": 0},
        {"jobQueue": QUEUE, "nextToken": "rubbish"},
        {"jobQueue": QUEUE, "jobStatus": "DONE"},
    ]
    for request in requests:
        assert refused(partial(client.list_jobs, **request))[0] == "ClientException"


def test_pages_are_a_thousand_or_a_hundred(standin: StandIn) -> None:
    for _ in range(1010):
        standin.ask("/v1/submitjob", "POST", {**OK, "jobQueue": "crowded"})
    client = standin.client()
    until(lambda: not client.list_jobs(jobQueue="crowded", jobStatus="SUBMITTED")["jobSummaryList"])
    page = client.list_jobs(jobQueue="crowded", jobStatus="RUNNABLE", maxResults=5000)
    assert len(page["jobSummaryList"]) == 1000
    token = page["nextToken"]
    rest = client.list_jobs(jobQueue="crowded", jobStatus="RUNNABLE", nextToken=token)
    assert len(rest["jobSummaryList"]) == 10
    assert "nextToken" not in rest
    assert refused(lambda: client.list_jobs(jobQueue="crowded", nextToken=token))[0] == "ClientException"
    filtered = client.list_jobs(jobQueue="crowded", filters=[{"name": "JOB_NAME", "values": ["x"]}], maxResults=500)
    assert len(filtered["jobSummaryList"]) == 100


def test_queues_and_definitions_are_the_configurations(standin: StandIn) -> None:
    client = standin.client()
    queues = client.describe_job_queues(jobQueues=["single", f"{ACCOUNT}:job-queue/parked", "nowhere"])["jobQueues"]
    assert [(queue["jobQueueName"], queue["state"]) for queue in queues] == [
        ("single", "ENABLED"),
        ("parked", "ENABLED"),
    ]
    pages = client.get_paginator("describe_job_queues").paginate(PaginationConfig={"PageSize": 2})
    assert [len(page["jobQueues"]) for page in pages] == [2, 2]
    (definition,) = client.describe_job_definitions(jobDefinitionName="retrying", status="ACTIVE")["jobDefinitions"]
    assert definition["retryStrategy"] == RETRIES


def test_tags_are_changed_and_listed(standin: StandIn) -> None:
    client = standin.client()
    arn = describe(standin, submit(standin, jobQueue="parked", tags={"a": "1", "b": "2"}))["jobArn"]
    client.tag_resource(resourceArn=arn, tags={"b": "3", "c": "4"})
    client.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"b": "3", "c": "4"}
    assert refused(lambda: client.tag_resource(resourceArn=arn + "x", tags={"a": "b"}))[0] == "ClientException"


# ---- a job's life ----------------------------------------------------------------------------------------------


def test_attempts_are_retried_and_counted(standin: StandIn) -> None:
    job_id = submit(standin, 'echo "$AWS_BATCH_JOB_ATTEMPT"; exit 75', jobDefinition="retrying")
    job = ended(standin, job_id)
    assert job["status"] == "FAILED"
    assert [attempt["container"]["exitCode"] for attempt in job["attempts"]] == [75, 75, 75]
    assert len({attempt["container"]["taskArn"] for attempt in job["attempts"]}) == 3
    assert job["container"]["exitCode"] == 75
    assert standin.log(job_id)[0] == "3\n"


@pytest.mark.parametrize(("code", "attempts"), [(65, 1), (77, 1), (1, 3)])
def test_the_exit_code_decides_over_a_retry(standin: StandIn, code: int, attempts: int) -> None:
    job = ended(standin, submit(standin, f"exit {code}", jobDefinition="retrying"))
    assert (job["status"], len(job["attempts"])) == ("FAILED", attempts)


def test_a_later_attempt_may_succeed(standin: StandIn) -> None:
    job = ended(standin, submit(standin, "exit $((AWS_BATCH_JOB_ATTEMPT == 1))", jobDefinition="retrying"))
    assert (job["status"], len(job["attempts"]), job["container"]["exitCode"]) == ("SUCCEEDED", 2, 0)


def test_a_killed_worker_exits_as_a_container_does(standin: StandIn) -> None:
    assert ended(standin, submit(standin, "kill -9 $$"))["container"]["exitCode"] == 137


def test_a_command_that_isnt_there_fails_to_start(standin: StandIn) -> None:
    job_id = standin.client().submit_job(jobName="x", jobQueue=QUEUE, jobDefinition="missing")["jobId"]
    job = ended(standin, job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "Task failed to start")
    assert job["container"]["reason"].startswith("CannotStartContainerError")


def test_time_runs_out_and_is_not_retried(standin: StandIn) -> None:
    job = ended(standin, standin.client().submit_job(jobName="x", jobQueue=QUEUE, jobDefinition="short")["jobId"])
    assert (job["status"], len(job["attempts"])) == ("FAILED", 1)
    assert job["statusReason"] == "Job attempt duration exceeded timeout"
    assert job["container"]["exitCode"] == 143


def test_terminate_asks_first_and_isnt_retried(standin: StandIn) -> None:
    job_id = submit(standin, "trap 'echo asked; exit 75' TERM; echo up; sleep 30 & wait", jobDefinition="retrying")
    until(lambda: standin.log(job_id)[0])
    client = standin.client()
    client.terminate_job(jobId=job_id, reason="no longer wanted")
    client.terminate_job(jobId=job_id, reason="asked twice changes nothing")
    job = ended(standin, job_id)
    assert (job["status"], job["statusReason"]) == ("FAILED", "no longer wanted")
    assert job["attempts"][0]["statusReason"] == "no longer wanted"
    assert (job["container"]["exitCode"], job["isTerminated"], len(job["attempts"])) == (75, True, 1)
    assert standin.log(job_id)[0] == "up\nasked\n"


def test_who_doesnt_listen_is_killed_with_its_children(standin: StandIn) -> None:
    job_id = submit(standin, "trap '' TERM; sleep 31.7 & echo $!; wait; sleep 30")
    child = int(until(lambda: standin.log(job_id)[0]))
    standin.client().terminate_job(jobId=job_id, reason="enough")
    assert ended(standin, job_id)["container"]["exitCode"] == 137
    until(lambda: not _lives(child))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    # A dead child that nobody has waited for yet is no life.
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return bool(state) and not state.startswith("Z")


def test_cancel_ends_what_hasnt_started_and_nothing_else(standin: StandIn) -> None:
    client = standin.client()
    running, waiting = submit(standin, "sleep 30", jobQueue="single"), submit(standin, jobQueue="single")
    reached(standin, running, "RUNNING")
    for job_id in (running, waiting):
        client.cancel_job(jobId=job_id, reason="changed my mind")
    job = describe(standin, waiting)
    assert (job["status"], job["statusReason"], job["isCancelled"]) == ("FAILED", "changed my mind", True)
    assert job["attempts"] == []
    assert describe(standin, running)["status"] == "RUNNING"
    client.terminate_job(jobId=running, reason="enough")
    client.terminate_job(jobId="unknown", reason="AWS doesn't mind")
    assert refused(lambda: client.terminate_job(jobId=running, reason=""))[0] == "ClientException"


def test_never_more_at_once_than_the_queue_allows_and_in_order(standin: StandIn) -> None:
    ids = [submit(standin, "sleep 0.05", jobQueue="single") for _ in range(5)]
    jobs = [ended(standin, job_id) for job_id in ids]
    for earlier, later in pairwise(jobs):
        assert earlier["stoppedAt"] <= later["startedAt"]


def test_parameters_replace_placeholders(standin: StandIn) -> None:
    job_id = submit(standin, "echo Ref::who Ref::nobody", parameters={"who": "you"})
    ended(standin, job_id)
    assert standin.log(job_id)[0] == "you Ref::nobody\n"


# ---- killed and restarted --------------------------------------------------------------------------------------


def test_killed_and_restarted_it_loses_nothing_and_runs_nothing_twice(own: StandIn, tmp_path: Path) -> None:
    """One job ends while nobody looks, one lives on, some wait; each runs once."""
    script = f"echo $AWS_BATCH_JOB_ID >> {tmp_path}/ran; "
    meanwhile = submit(own, f"{script} sleep 0.3; exit 65", jobDefinition="retrying")
    living = submit(own, f"{script} while [ ! -e {tmp_path}/go ]; do sleep 0.05; done")
    waiting = [submit(own, script, jobQueue="single") for _ in range(3)]
    reached(own, living, "RUNNING")
    reached(own, meanwhile, "RUNNING", "FAILED")
    own.end(signal.SIGKILL)
    time.sleep(0.5)
    own.start()
    job = ended(own, meanwhile)
    assert (job["status"], job["container"]["exitCode"], len(job["attempts"])) == ("FAILED", 65, 1)
    assert describe(own, living)["status"] == "RUNNING"
    (tmp_path / "go").touch()
    assert {ended(own, job_id)["status"] for job_id in (living, *waiting)} == {"SUCCEEDED"}
    assert sorted((tmp_path / "ran").read_text().split()) == sorted([meanwhile, living, *waiting])


def test_killed_again_and_again_it_still_loses_nothing(own: StandIn, tmp_path: Path) -> None:
    ids = [submit(own, f"echo $AWS_BATCH_JOB_ID >> {tmp_path}/ran") for _ in range(20)]
    for pause in (0, 0.1):
        time.sleep(pause)
        own.end(signal.SIGKILL)
        own.start()
    assert {ended(own, job_id)["status"] for job_id in ids} == {"SUCCEEDED"}
    assert sorted((tmp_path / "ran").read_text().split()) == sorted(ids)


def test_a_termination_asked_for_before_the_kill_is_carried_out(own: StandIn) -> None:
    job_id = submit(own, "trap 'sleep 0.5; exit 3' TERM; echo up; sleep 30 & wait", jobDefinition="retrying")
    until(lambda: own.log(job_id)[0])
    own.client().terminate_job(jobId=job_id, reason="enough")
    own.end(signal.SIGKILL)
    own.start()
    job = ended(own, job_id)
    assert (job["status"], job["statusReason"], job["container"]["exitCode"]) == ("FAILED", "enough", 3)


def test_a_lost_supervisor_is_a_lost_host(standin: StandIn) -> None:
    job_id = submit(standin, "echo $$; [ $AWS_BATCH_JOB_ATTEMPT = 2 ] || sleep 30", jobDefinition="retrying")
    worker = int(until(lambda: standin.log(job_id)[0]))
    lock = standin.state / "attempts" / job_id / "1" / "supervisor.lock"
    os.kill(int(lock.read_text()), signal.SIGKILL)
    job = ended(standin, job_id)
    assert job["status"] == "SUCCEEDED"
    assert job["attempts"][0]["statusReason"].startswith("Host EC2")
    assert "exitCode" not in job["attempts"][0]["container"]
    assert not _lives(worker)


def test_a_clean_stop_leaves_no_process_and_the_job_goes_on_afterwards(own: StandIn) -> None:
    script = "trap 'exit 75' TERM; echo $$; [ $AWS_BATCH_JOB_ATTEMPT = 2 ] || { sleep 30 & wait; }"
    job_id = submit(own, script, jobDefinition="retrying")
    worker = int(until(lambda: own.log(job_id)[0]))
    assert own.end() == 0
    assert not _lives(worker)
    own.start()
    job = ended(own, job_id)
    assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 2)
    assert job["attempts"][0]["statusReason"].startswith("Host EC2")


def test_workers_can_be_kept_or_reaped(own: StandIn) -> None:
    own.end()
    own.options = ["--keep-workers"]
    own.start()
    job_id = submit(own, "echo $$; exec sleep 30")
    worker = int(until(lambda: own.log(job_id)[0]))
    assert own.end() == 0
    assert _lives(worker)
    command = [*own.command(), "--reap"]
    reaped = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert reaped.stdout == "1 workers ended\n"
    assert not _lives(worker)


def test_a_state_directory_has_one_master(standin: StandIn) -> None:
    command = [*standin.command(), "--config", str(standin.state / "config.json")]
    second = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert "another stand-in runs in" in second.stderr


# ---- faults ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "raised", "jobs"),
    [
        ("throttle", "TooManyRequestsException", 0),
        ("error500", "ServerException", 0),
        ("refuse", "ClientException", 0),
        ("reset", HTTPClientError, 0),
        ("reset_after_effect", HTTPClientError, 1),
        ("timeout_before_effect", HTTPClientError, 0),
        ("timeout_after_effect", HTTPClientError, 1),
    ],
)
def test_faults_on_request(standin: StandIn, mode: str, raised: str | type[Exception], jobs: int) -> None:
    name = f"faulty-{mode}"
    standin.ask(
        "/_compute/faults", "POST", [{"operation": "SubmitJob", "times": 1, "mode": mode, "jobName": "faulty*"}]
    )
    submit(standin, jobQueue="parked")  # another name: not hit
    if isinstance(raised, str):
        assert refused(lambda: submit(standin, jobQueue="parked", name=name))[0] == raised
    else:
        impatient = client_of(standin.url, "test", "test", None, read_timeout=0.5)
        with pytest.raises(raised):
            impatient.submit_job(jobName=name, jobQueue="parked", jobDefinition="shell")
    filters: Any = [{"name": "JOB_NAME", "values": [name]}]
    assert len(standin.client().list_jobs(jobQueue="parked", filters=filters)["jobSummaryList"]) == jobs
    assert [fault["fired"] for fault in standin.ask("/_compute/faults")] == [1]
    submit(standin, jobQueue="parked", name=name)  # once was asked for
    assert standin.ask("/_compute/faults", "DELETE") == []


def test_an_answer_may_be_cut_off_which_the_sdk_takes_for_an_empty_one(standin: StandIn) -> None:
    standin.ask("/_compute/faults", "POST", [{"operation": "SubmitJob", "mode": "cut_after_effect", "times": 1}])

    answer: Any = standin.client().submit_job(jobName="torn", jobQueue="parked", jobDefinition="shell")

    assert "jobId" not in answer
    standin.ask("/_compute/faults", "DELETE")
    filters: Any = [{"name": "JOB_NAME", "values": ["torn"]}]
    assert len(standin.client().list_jobs(jobQueue="parked", filters=filters)["jobSummaryList"]) == 1


def test_a_fault_may_have_a_chance_of_none(standin: StandIn) -> None:
    standin.ask("/_compute/faults", "POST", [{"operation": "SubmitJob", "mode": "throttle", "probability": 0}])

    submit(standin, jobQueue="parked")

    assert [fault["fired"] for fault in standin.ask("/_compute/faults")] == [0]
    standin.ask("/_compute/faults", "DELETE")


# ---- events ----------------------------------------------------------------------------------------------------


LIFE = ["PENDING", "RUNNABLE", "STARTING", "RUNNING", "SUCCEEDED"]


def statuses(events: list[Job]) -> list[str]:
    return [event["detail"]["status"] for event in events]


def test_every_change_but_the_submission_is_an_event_of_the_real_shape(bus: Bus) -> None:
    environment = [{"name": "JOB_ID", "value": "v"}]
    submit(bus.standin, jobQueue="parked")  # the rule doesn't match it
    job_id = submit(bus.standin, containerOverrides={"environment": environment}, tags={"JobId": "v"})
    received = bus.received(job_id, 5)
    assert statuses(received) == LIFE
    last = received[-1]
    assert {key: last[key] for key in ("version", "detail-type", "source", "account", "region", "resources")} == {
        "version": "0",
        "detail-type": "Batch Job State Change",
        "source": "aws.batch",
        "account": "000000000000",
        "region": "us-east-1",
        "resources": [f"{ACCOUNT}:job/{job_id}"],
    }
    assert last["detail"]["tags"] == {"resourceArn": f"{ACCOUNT}:job/{job_id}", "JobId": "v"}
    described = describe(bus.standin, job_id)
    del described["tags"], last["detail"]["tags"]
    assert last["detail"] == described
    assert environment[0] in last["detail"]["container"]["environment"]
    assert len({event["id"] for event in received}) == 5


def test_a_retried_attempt_is_runnable_again(bus: Bus) -> None:
    job_id = submit(bus.standin, "exit $((AWS_BATCH_JOB_ATTEMPT == 1))", jobDefinition="retrying")
    received = bus.received(job_id, 8)
    assert statuses(received) == [*LIFE[:4], *LIFE[1:]]
    assert [len(event["detail"]["attempts"]) for event in received] == [0, 0, 0, 0, 1, 1, 1, 2]


def test_events_made_while_the_emulator_is_away_arrive_later(bus: Bus, own: StandIn, emulator: str) -> None:
    own.end()
    own.emulator = f"http://127.0.0.1:{free_port()}"
    own.start()
    # Nobody listens there, so nobody can say who may do what, either.
    assert refused(lambda: submit(own))[0] == "ServiceUnavailable"
    own.end()
    own.emulator = None
    own.start()
    job_id = submit(own)
    ended(own, job_id)
    own.end(signal.SIGKILL)
    own.emulator = emulator
    own.start()
    assert statuses(bus.received(job_id, 5)) == LIFE


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ({"mode": "drop", "status": "RUNNING"}, [*LIFE[:3], "SUCCEEDED"]),
        ({"mode": "duplicate", "status": "SUCCEEDED"}, [*LIFE, "SUCCEEDED"]),
        ({"mode": "reverse"}, LIFE[::-1]),
        ({"mode": "delay", "status": "STARTING", "delaySeconds": 3}, [*LIFE[:2], *LIFE[3:], "STARTING"]),
    ],
)
def test_event_faults(bus: Bus, fault: dict[str, Any], expected: list[str]) -> None:
    bus.standin.ask("/_compute/faults", "POST", [{"operation": "events", **fault}])
    job_id = submit(bus.standin)
    assert statuses(bus.received(job_id, len(expected))) == expected


def test_clearing_faults_lets_held_events_go(bus: Bus) -> None:
    bus.standin.ask("/_compute/faults", "POST", [{"operation": "events", "mode": "reverse"}])
    job_id = submit(bus.standin, "sleep 30")
    reached(bus.standin, job_id, "RUNNING")
    bus.standin.ask("/_compute/faults", "DELETE")
    assert statuses(bus.received(job_id, 4)) == LIFE[:4]


# ---- who may ---------------------------------------------------------------------------------------------------


def allow(action: str, *resources: str) -> dict[str, Any]:
    return allowing(f"batch:{action}", *resources)


ON_QUEUE, ON_DEFINITION = f"{ACCOUNT}:job-queue/parked", f"{ACCOUNT}:job-definition/shell"


@pytest.mark.parametrize(
    ("name", "statements", "allowed"),
    [
        ("everything", [allow("*", "*")], True),
        ("both", [allow("SubmitJob", ON_QUEUE, ON_DEFINITION)], True),
        ("nothing", [], False),
        ("queue-only", [allow("SubmitJob", ON_QUEUE)], False),
        ("definition-only", [allow("SubmitJob", ON_DEFINITION)], False),
        ("other-action", [allow("ListJobs", "*")], False),
    ],
)
def test_submitting_takes_the_queue_and_the_definition(
    guarded: StandIn, emulator: str, name: str, statements: list[dict[str, Any]], *, allowed: bool
) -> None:
    client = guarded.client(*role(emulator, f"submit-{name}", *statements))
    if allowed:
        client.submit_job(jobName="x", jobQueue="parked", jobDefinition="shell")
    else:
        code, message = refused(lambda: client.submit_job(jobName="x", jobQueue="parked", jobDefinition="shell"))
        assert code == "AccessDeniedException"
        assert "not authorized to perform: batch:SubmitJob" in message


@pytest.mark.parametrize("submit_on", [["*"], [ON_QUEUE, ON_DEFINITION]])
def test_submitting_with_tags_takes_tagresource_too(guarded: StandIn, emulator: str, submit_on: list[str]) -> None:
    kind = "any" if submit_on == ["*"] else "some"
    may = allow("SubmitJob", *submit_on)
    without = guarded.client(*role(emulator, f"tags-without-{kind}", may))
    code, message = refused(lambda: without.submit_job(**OK, tags={"a": "b"}))
    assert (code, "batch:TagResource" in message) == ("AccessDeniedException", True)
    tagging = allow("TagResource", ON_DEFINITION, f"{ACCOUNT}:job/*")
    guarded.client(*role(emulator, f"tags-with-{kind}", may, tagging)).submit_job(**OK, tags={"a": "b"})


def test_reading_is_granted_on_everything_or_not_at_all(guarded: StandIn, emulator: str) -> None:
    client = guarded.client(*role(emulator, "reader", allow("ListJobs", "*")))
    client.list_jobs(jobQueue="parked")
    assert refused(lambda: client.describe_jobs(jobs=["x"]))[0] == "AccessDeniedException"


def test_a_wrong_signature_is_nobody(guarded: StandIn) -> None:
    assert (
        refused(lambda: guarded.client("nobody", "x").list_jobs(jobQueue="parked"))[0] == "UnrecognizedClientException"
    )
    guarded.client().list_jobs(jobQueue="parked")


def test_a_signature_covers_tags_and_paths(guarded: StandIn, emulator: str) -> None:
    """ARNs in paths and query strings reach the emulator as they were signed."""
    arn = f"{ACCOUNT}:job/{submit(guarded, jobQueue='parked', tags={'a': '1'})}"
    statements = [allow(action, arn) for action in ("TagResource", "UntagResource", "ListTagsForResource")]
    client = guarded.client(*role(emulator, "tagger", *statements))
    client.tag_resource(resourceArn=arn, tags={"b c": "2"})
    client.untag_resource(resourceArn=arn, tagKeys=["a"])
    assert client.list_tags_for_resource(resourceArn=arn)["tags"] == {"b c": "2"}


def test_unsigned_requests_run_nothing(standin: StandIn, guarded: StandIn) -> None:
    """Else any web page open on this machine could start commands."""
    for each in (standin, guarded):
        for headers in ({}, {"Authorization": SIGNED.replace("/batch/", "/s3/")}):
            answer = httpx.post(f"{each.url}/v1/submitjob", json=OK, headers=headers)
            assert (answer.status_code, answer.json()["message"]) == (403, "Missing Authentication Token")


def test_an_unsigned_header_cant_name_another_action(guarded: StandIn, emulator: str) -> None:
    client = guarded.client(*role(emulator, "sly", allow("ListJobs", "*")))

    def name_another(request: Any, **_: object) -> None:  # noqa: ANN401 - botocore's
        request.headers["X-Amz-Target"] = "AWSBatch.ListJobs"

    client.meta.events.register("before-send", name_another)
    assert refused(lambda: client.submit_job(**OK))[0] == "AccessDeniedException"
