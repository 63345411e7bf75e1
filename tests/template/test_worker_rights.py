"""The rights and limits of workers on the starter compute, in case an untrusted file takes one over."""

import re
import subprocess
from email import message_from_string
from pathlib import Path
from typing import Any

import pytest

from switchyard_worker import WorkerEnvironment
from switchyard_worker.record import Record
from tests.template.rendering import COMPUTE, ROOT, TEMPLATE, load, resolved

READS = {"s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"}
WRITES = {"s3:PutObject", "s3:AbortMultipartUpload", "s3:DeleteObject"}
REPORTS = {"dynamodb:UpdateItem"}
TASKS = load(COMPUTE).of_type("AWS::ECS::TaskDefinition")
[DEFINITION] = load(COMPUTE).of_type("AWS::Batch::JobDefinition").values()
[REPORT] = load(COMPUTE).of_type("AWS::IAM::ManagedPolicy")["ReportPolicy"]["PolicyDocument"]["Statement"]
[LAUNCH] = [each["LaunchTemplateData"] for each in load(COMPUTE).of_type("AWS::EC2::LaunchTemplate").values()]
ROLES = sorted({task["TaskRoleArn"]["Fn::GetAtt"][0] for task in [*TASKS.values()]} | {"JobRole"})
DEFAULTS = {
    "AWS::Partition": "aws",
    "MediaBucketName": "media",
    "UploadPrefix": "uploads/",
    "TorrentPrefix": "torrents/",
    "TorrentSourcePrefix": "recordings/",
}


def _statements(role: str) -> list[dict[str, Any]]:
    properties = load(COMPUTE).of_type("AWS::IAM::Role")[role]
    assert properties["ManagedPolicyArns"] == [{"Ref": "ReportPolicy"}]
    [policy] = properties["Policies"]
    statements: list[dict[str, Any]] = policy["PolicyDocument"]["Statement"]
    return [*statements, REPORT]


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - a template holds anything
    return value if isinstance(value, list) else [value]


def _actions(statement: dict[str, Any]) -> set[str]:
    return set(_list(statement["Action"]))


def may(role: str, action: str, key: str) -> bool:
    """Whether a role may do something with an object of the media bucket, where prefixes are the defaults."""
    return any(
        re.fullmatch(re.escape(_arn(resource["Fn::Sub"])).replace(r"\*", ".*"), f"arn:aws:s3:::media/{key}", re.DOTALL)
        for statement in _statements(role)
        if action in _actions(statement)
        for resource in _list(statement["Resource"])
    )


def _arn(template: str) -> str:
    return re.sub(r"\$\{(.+?)\}", lambda match: DEFAULTS[match[1]], template)


@pytest.mark.parametrize("role", ROLES)
def test_a_worker_reads_objects_writes_results_and_reports(role: str) -> None:
    assert {action for each in _statements(role) for action in _actions(each)} <= READS | WRITES | REPORTS


UPLOAD, RESULT = "uploads/user/2026/11/30/uuid-clip.mp4", "results/job/summary.json"
RECORDING, USERS_RECORDING = "recordings/job/stream.mkv", "recordings/user/job/stream.mkv"
OLD_PIECE, USERS_OLD_PIECE = "recordings/job/pieces-3/00001.mkv", "recordings/user/job/pieces-3/00001.mkv"
PIECES = {OLD_PIECE, USERS_OLD_PIECE, f"pieces/{OLD_PIECE}", f"pieces/{USERS_OLD_PIECE}"}
CLAIM = "recordings/user/job/.claim"
TORRENT = f"torrents/{RECORDING}.torrent"
RECORDINGS = {RECORDING, USERS_RECORDING, OLD_PIECE, USERS_OLD_PIECE, CLAIM}
EVERYTHING = {UPLOAD, RESULT, *RECORDINGS, *PIECES, TORRENT, "other/clip.mp4"}


@pytest.mark.parametrize(
    ("role", "action", "keys"),
    [
        ("JobRole", "s3:GetObject", {UPLOAD}),
        ("JobRole", "s3:PutObject", {RESULT}),
        ("JobRole", "s3:DeleteObject", set[str]()),
        ("DetectorRole", "s3:GetObject", {UPLOAD}),
        ("DetectorRole", "s3:PutObject", {RESULT}),
        ("DetectorRole", "s3:DeleteObject", set[str]()),
        ("RecorderRole", "s3:GetObject", {*PIECES, CLAIM}),
        ("RecorderRole", "s3:PutObject", RECORDINGS | PIECES),
        ("RecorderRole", "s3:DeleteObject", PIECES),
        ("SeederRole", "s3:GetObject", {TORRENT, *RECORDINGS}),
        ("SeederRole", "s3:PutObject", set[str]()),
        ("SeederRole", "s3:DeleteObject", set[str]()),
    ],
)
def test_a_worker_has_its_own_prefixes_and_nobody_deletes_a_recording(role: str, action: str, keys: set[str]) -> None:
    assert {key for key in EVERYTHING if may(role, action, key)} == keys


def test_a_worker_gets_keys_of_services_as_secrets_alone() -> None:
    """Whoever may describe a job definition reads its variables, but of its secrets only their ARNs."""
    container = load(COMPUTE).written["Resources"]["JobDefinition"]["Properties"]["ContainerProperties"]
    secrets = {each["Fn::If"][1]["Name"]: each["Fn::If"][1]["ValueFrom"] for each in container["Secrets"]["Fn::If"][1]}
    assert secrets["SEARCH_INDEX_KEY"] == {"Ref": "SearchIndexKeySecretArn"}
    assert secrets["SPEECH_KEY"] == {"Ref": "SpeechKeySecretArn"}
    assert not [each["Name"] for each in container["Environment"] if "KEY" in each.get("Name", "")]


def test_a_worker_may_write_chunks_of_videos_and_read_none() -> None:
    policy = load(COMPUTE).of_type("AWS::IAM::ManagedPolicy")["IndexPolicy"]
    statements = policy["PolicyDocument"]["Statement"]
    assert policy["Roles"] == [{"Ref": "JobRole"}]
    assert {str(each["Resource"]) for each in statements} == {"{'Ref': 'SearchIndexArn'}"}
    reads = {f"s3vectors:{action}" for action in ("GetVectors", "ListVectors", "QueryVectors", "*")}
    assert not reads & {action for each in statements for action in _actions(each)}


def test_bedrock_writes_by_the_chosen_model_alone_and_only_if_it_was_chosen() -> None:
    """The function's statements and the worker's are the same. Any model is allowed only through the one profile."""
    policy = load(COMPUTE).of_type("AWS::IAM::ManagedPolicy")["BedrockPolicy"]
    assert (policy["Roles"], load(COMPUTE).written["Resources"]["BedrockPolicy"]["Condition"]) == (
        [{"Ref": "JobRole"}],
        "UsesBedrock",
    )
    role = load(TEMPLATE).written["Resources"]["SearchMediaRole"]["Properties"]["Policies"][0]
    answering = [
        each["Fn::If"][1]
        for each in role["PolicyDocument"]["Statement"]
        if each.get("Fn::If", [""])[0] == "AnswersByBedrock"
    ]
    assert answering == policy["PolicyDocument"]["Statement"]
    profile = "arn:${AWS::Partition}:bedrock:${AWS::Region}:${AWS::AccountId}:inference-profile/${SummaryModel}"
    for each in answering:
        resources = each["Resource"] if isinstance(each["Resource"], list) else [each["Resource"]]
        one = all(str(resource["Fn::Sub"]).endswith("/${SummaryModel}") for resource in resources)
        through = {"StringEquals": {"bedrock:InferenceProfileArn": {"Fn::Sub": profile}}}
        assert (one, each.get("Condition")) in ((True, None), (False, through))


def test_with_transcribe_a_worker_deletes_the_files_for_it_and_no_others() -> None:
    policy = load(COMPUTE).of_type("AWS::IAM::ManagedPolicy")["TranscribePolicy"]
    assert (policy["Roles"], load(COMPUTE).written["Resources"]["TranscribePolicy"]["Condition"]) == (
        [{"Ref": "JobRole"}],
        "UsesTranscribe",
    )
    start, jobs, files = policy["PolicyDocument"]["Statement"]
    assert start["Condition"] == {"StringEquals": {"transcribe:OutputBucketName": {"Ref": "MediaBucketName"}}}
    assert jobs["Resource"]["Fn::Sub"].endswith(":transcription-job/switchyard-*")
    assert _actions(files) == {"s3:GetObject", "s3:DeleteObject"}
    assert _arn(files["Resource"]["Fn::Sub"]) == "arn:aws:s3:::media/results/*/transcribe/*"


class Writes:
    """A DynamoDB client that notes the attributes that a worker's calls name."""

    def __init__(self) -> None:
        self.attributes = set[str]()

    def update_item(self, **call: Any) -> dict[str, Any]:  # noqa: ANN401 - a call's parameters
        expressions = f"{call['ConditionExpression']} {call['UpdateExpression']}"
        words = re.findall(r"(?<![:\w])#?[a-z]\w+", expressions)
        functions = {"attribute_not_exists", "if_not_exists"}
        self.attributes |= {call["ExpressionAttributeNames"].get(word, word) for word in words} - functions
        self.attributes |= call["Key"].keys()
        return {"Attributes": {}}


def test_a_worker_may_write_exactly_the_attributes_that_it_writes() -> None:
    """DynamoDB counts the names in conditions too. The emulator checks none, so they are held equal."""
    variables = {"JOB_ID": "a", "JOBS_TABLE": "jobs", "FENCE": "1", "S3_BUCKET": "media", "AWS_BATCH_JOB_ID": "b"}
    client = Writes()
    record = Record(client, WorkerEnvironment.from_env(variables))  # type: ignore[arg-type] # acts as a client
    record.start()
    record.beat({"percent": 1})
    record.finish({}, {"percent": 100})
    record.fail("CODE", "message")
    names = REPORT["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"]
    assert sorted(names) == sorted(client.attributes)


def test_a_worker_may_not_write_what_the_platform_decides_by() -> None:
    names = set(REPORT["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"])
    assert not names & {"userId", "request", "kind", "lane", "target", "source", "metadata", "claimedAt", "ttl"}


# ---- instances ------------------------------------------------------------------------------------------------------


def test_a_worker_on_an_instance_does_not_get_the_instances_role() -> None:
    """The firewall tells a job from the ECS agent by its user, so the definition sets one, whatever the image says."""
    assert LAUNCH["MetadataOptions"] == {
        "HttpTokens": "required",
        "HttpPutResponseHopLimit": 1,
        "HttpProtocolIpv6": "disabled",
    }
    assert DEFINITION["ContainerProperties"]["User"] == "10001:10001"


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """The script that an instance runs when it boots."""
    message = message_from_string(LAUNCH["UserData"]["Fn::Base64"])
    parts: Any = message.get_payload()
    [part] = parts
    assert (message.get_content_type(), part.get_content_type()) == ("multipart/mixed", "text/cloud-boothook")
    assert [*message.defects, *part.defects] == []
    script = tmp_path / "boot.sh"
    script.write_text(str(part.get_payload()))
    return script


def test_the_boot_script_is_one(boot: Path) -> None:
    assert boot.read_text().startswith("#!/bin/sh\n")
    subprocess.run(["bash", "-n", boot], check=True)


@pytest.mark.parametrize(
    ("failing", "called"),
    [
        ([], ["iptables", "ip6tables"]),
        (["ip6tables"], ["iptables", "ip6tables", "nft"]),
        (["iptables"], ["iptables", "nft"]),
        (["iptables", "nft"], ["iptables", "nft", "poweroff"]),
    ],
)
def test_an_instance_that_cannot_block_the_metadata_address_runs_no_job(
    boot: Path, tmp_path: Path, failing: list[str], called: list[str]
) -> None:
    for name in ("iptables", "ip6tables", "nft", "poweroff"):
        program = tmp_path / name
        program.write_text(
            f'#!/bin/sh\necho "{name} $*" >> {tmp_path}/calls\n[ {name} != nft ] || cat >> {tmp_path}/rules\n'
            f"exit {int(name in failing)}\n"
        )
        program.chmod(0o755)
    subprocess.run(["sh", boot], check=True, env={"PATH": f"{tmp_path}:/usr/bin:/bin"}, capture_output=True)

    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call.partition(" ")[0] for call in calls] == called
    assert calls[0] == "iptables -w -I OUTPUT -d 169.254.169.254 -m owner ! --uid-owner 0 -j REJECT"
    if "nft" in called:
        assert re.findall(r"skuid != 0 (\S+ daddr \S+) reject", (tmp_path / "rules").read_text()) == [
            "ip daddr 169.254.169.254",
            "ip6 daddr fd00:ec2::254",
        ]


def test_a_batch_job_has_an_end_a_bound_on_memory_and_three_attempts() -> None:
    kinds = {each["Type"] for each in DEFINITION["ContainerProperties"]["ResourceRequirements"] if "Type" in each}
    assert "AttemptDurationSeconds" in DEFINITION["Timeout"]
    assert "MEMORY" in kinds
    assert DEFINITION["RetryStrategy"]["Attempts"] == 3
    assert {"OnExitCode": "65", "Action": "EXIT"} in DEFINITION["RetryStrategy"]["EvaluateOnExit"]


def test_a_batch_job_writes_to_memory_alone() -> None:
    container = DEFINITION["ContainerProperties"]
    assert container["ReadonlyRootFilesystem"] is True
    assert container["LinuxParameters"] == {"Tmpfs": [{"ContainerPath": "/tmp", "Size": 512}]}  # noqa: S108 - a mount
    assert not {"Privileged", "Volumes", "MountPoints"} & container.keys()


@pytest.mark.parametrize("task", TASKS.values(), ids=TASKS.keys())
def test_a_task_has_bounds_and_no_privilege(task: dict[str, Any]) -> None:
    assert {"Cpu", "Memory"} <= task.keys()
    assert task["Volumes"] == [{"Name": "scratch"}]  # the task's own disk
    for container in task["ContainerDefinitions"]:
        assert not {"Privileged", "User"} & container.keys()
        assert container["ReadonlyRootFilesystem"] is True
        assert container["MountPoints"] == [{"SourceVolume": "scratch", "ContainerPath": "/tmp"}]  # noqa: S108 - a mount
        assert container["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}


@pytest.mark.parametrize("worker", ["detect_objects", "record_stream", "seed_torrent"])
def test_an_image_for_fargate_lets_its_user_write_to_the_scratch_volume(worker: str) -> None:
    """Fargate gives a volume to root, unless the image declares it."""
    assert "\nVOLUME /tmp\n" in (ROOT / "workers" / worker / "Dockerfile").read_text()


# ---- network --------------------------------------------------------------------------------------------------------


def test_instances_call_out_by_https_alone() -> None:
    groups = load(COMPUTE).of_type("AWS::EC2::SecurityGroup")
    [egress] = groups["InstanceSecurityGroup"]["SecurityGroupEgress"]
    assert (egress["IpProtocol"], egress["FromPort"], egress["ToPort"]) == ("tcp", 443, 443)
    for environment in load(COMPUTE).of_type("AWS::Batch::ComputeEnvironment").values():
        assert environment["ComputeResources"]["SecurityGroupIds"] == [{"Ref": "InstanceSecurityGroup"}]
    for ingress in load(COMPUTE).of_type("AWS::EC2::SecurityGroupIngress").values():
        assert ingress["GroupId"] == {"Ref": "WorkerSecurityGroup"}  # tasks, where a seeder is one


def test_an_endpoint_takes_nothing_out_of_the_account() -> None:
    endpoints = load(COMPUTE).of_type("AWS::EC2::VPCEndpoint")
    account = {"StringEquals": {"aws:ResourceAccount": {"Ref": "AWS::AccountId"}}}
    for statement in endpoints["S3Endpoint"]["PolicyDocument"]["Statement"]:
        assert _actions(statement) <= READS or statement["Condition"] == account
    [statement] = endpoints["DynamoDbEndpoint"]["PolicyDocument"]["Statement"]
    assert ":${AWS::AccountId}:table/" in statement["Resource"]["Fn::Sub"]


def test_only_who_wants_gpus_needs_instances_with_gpus() -> None:
    without, with_one = (resolved(COMPUTE, WorkerGpus=count) for count in ("0", "1"))

    assert with_one.keys() - without.keys() == {"GpuCompute", "GpuQueue"}


def test_a_worker_may_not_say_whose_log_is_shown() -> None:
    written = REPORT["Condition"]["ForAllValues:StringEquals"]["dynamodb:Attributes"]
    assert not {"logStream", "target", "userId"} & set(written)


def test_all_tasks_have_the_prefix_of_logs_that_the_function_expects() -> None:
    variables = load(TEMPLATE).rendered["Resources"]["GetJobFunction"]["Properties"]["Environment"]["Variables"]
    containers = [each for task in TASKS.values() for each in task["ContainerDefinitions"]]
    prefixes = {each["LogConfiguration"]["Options"]["awslogs-stream-prefix"] for each in containers}
    assert prefixes == {variables["TASK_LOG_PREFIX"]["Fn::If"][1]}
