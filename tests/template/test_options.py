"""What a company may ask for: each option is off by default, and changes what it says and nothing else."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cases import cases
from tests.template.rendering import COMPUTE, TEMPLATE, WATCH, load, resolved
from tools.functions import FUNCTIONS, Trigger

KEY: Final = "arn:aws:kms:eu-central-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab"
OPTIONS: Final = {
    "KmsKeyArn": KEY,
    "PermissionsBoundaryArn": "arn:aws:iam::123456789012:policy/boundary",
    "WebAclArn": "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/ours/1234abcd-12ab-34cd-56ef-1234567890ab",
    "TlsOnly": "true",
    "ApiReservedConcurrency": "20",
    "UploadRetentionDays": "30",
    "ResultRetentionDays": "90",
    "RecordingRetentionDays": "365",
    "TorrentRetentionDays": "7",
}
ALL_WORKERS: Final = {"RecorderImage": "recorder", "DetectorImage": "detector", "SeederImage": "seeder"}
STACKS: Final = {TEMPLATE: {}, WATCH: {}, COMPUTE: ALL_WORKERS}

type Where = tuple[str | int, ...]


def _changes(path: Path, **given: str) -> dict[Where, Any]:
    """What parameters change in a template's resources: the new value (None: removed) by its place."""
    return dict(_differences(resolved(path, **STACKS[path]), resolved(path, **STACKS[path], **given)))


def _differences(old: Any, new: Any, at: Where = ()) -> Iterator[tuple[Where, Any]]:  # noqa: ANN401 - a template holds anything
    match old, new:
        case dict(), dict():
            for key in old.keys() | new.keys():
                yield from _differences(old.get(key), new.get(key), (*at, key))
        case list(), list():
            for number in range(max(len(old), len(new))):
                one, other = (each[number] if number < len(each) else None for each in (old, new))
                yield from _differences(one, other, (*at, number))
        case _ if old != new:
            yield at, new


def _of(path: Path, kind: str) -> set[str]:
    return {name for name, each in resolved(path, **STACKS[path]).items() if each["Type"] == kind}


def _properties(names: set[str], *properties: str) -> set[Where]:
    return {(name, "Properties", *rest.split(".")) for name in names for rest in properties}


def test_every_option_is_here_and_off_by_default() -> None:
    parameters = load(TEMPLATE).written["Parameters"]
    [group] = [
        group["Parameters"]
        for group in load(TEMPLATE).written["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
        if "KmsKeyArn" in group["Parameters"]
    ]
    assert set(group) == set(OPTIONS)
    assert {str(parameters[name]["Default"]) for name in OPTIONS} == {"", "false", "0"}


@cases("path", STACKS, ids=lambda path: path.name)
def test_an_option_that_is_off_leaves_no_trace(path: Path) -> None:
    resources = resolved(path, **STACKS[path])
    for stack in ("Compute", "Watch"):
        resources.get(stack, {"Properties": {}})["Properties"].pop("Parameters", None)
    assert not [name for name in OPTIONS if f"'{name}'" in str(resources)]
    assert not _of(path, "AWS::WAFv2::WebACLAssociation") | _of(path, "AWS::SNS::TopicPolicy")
    assert not {"KeyPolicy", "DeadLetterQueuesPolicy"} & resources.keys()


def test_a_key_of_ones_own_encrypts_all_that_is_kept() -> None:
    changes = _changes(TEMPLATE, KmsKeyArn=KEY)
    sse = ("Properties", "BucketEncryption", "ServerSideEncryptionConfiguration", 0)
    key_policy = changes.pop(("KeyPolicy",))
    assert changes.keys() == {
        ("MediaBucket", *sse, "ServerSideEncryptionByDefault", "SSEAlgorithm"),
        ("MediaBucket", *sse, "ServerSideEncryptionByDefault", "KMSMasterKeyID"),
        ("MediaBucket", *sse, "BucketKeyEnabled"),
        *_properties(_of(TEMPLATE, "AWS::SQS::Queue"), "SqsManagedSseEnabled", "KmsMasterKeyId"),
        *_properties(
            _of(TEMPLATE, "AWS::DynamoDB::Table"), "SSESpecification.SSEType", "SSESpecification.KMSMasterKeyId"
        ),
        *_properties(_of(TEMPLATE, "AWS::Logs::LogGroup"), "KmsKeyId"),
    }
    for where, value in changes.items():
        wanted = {"SqsManagedSseEnabled": False, "SSEAlgorithm": "aws:kms", "BucketKeyEnabled": True, "SSEType": "KMS"}
        assert value == wanted.get(str(where[-1]), {"Ref": "KmsKeyArn"}), where
    assert {role["Ref"] for role in key_policy["Properties"]["Roles"]} == {
        f"{function.logical_id.removesuffix('Function')}Role" for function in FUNCTIONS.values()
    }


def test_a_key_of_ones_own_encrypts_alarms_and_the_workers_logs() -> None:
    assert _changes(WATCH, KmsKeyArn=KEY) == {("AlarmTopic", "Properties", "KmsMasterKeyId"): {"Ref": "KmsKeyArn"}}
    changes = _changes(COMPUTE, KmsKeyArn=KEY)
    key_policy = changes.pop(("KeyPolicy",))
    assert changes.keys() == _properties(_of(COMPUTE, "AWS::Logs::LogGroup"), "KmsKeyId")
    workers = {name for name in _of(COMPUTE, "AWS::IAM::Role") if name not in {"InstanceRole", "ExecutionRole"}}
    assert {role["Ref"] for role in key_policy["Properties"]["Roles"]} == workers


@pytest.mark.parametrize("path", [TEMPLATE, COMPUTE], ids=lambda path: path.name)
def test_the_key_may_be_used_through_services_alone(path: Path) -> None:
    [statement] = resolved(path, **STACKS[path], KmsKeyArn=KEY)["KeyPolicy"]["Properties"]["PolicyDocument"][
        "Statement"
    ]
    assert (statement["Action"], statement["Resource"]) == (
        ["kms:Decrypt", "kms:GenerateDataKey"],
        {"Ref": "KmsKeyArn"},
    )
    services = {each["Fn::Sub"].partition(".")[0] for each in statement["Condition"]["StringEquals"]["kms:ViaService"]}
    used = {"s3", "dynamodb", "s3vectors"} | ({"sqs", "secretsmanager"} if path == TEMPLATE else set())
    assert services == used


@pytest.mark.parametrize("path", [TEMPLATE, COMPUTE], ids=lambda path: path.name)
def test_a_boundary_bounds_every_role(path: Path) -> None:
    boundary = OPTIONS["PermissionsBoundaryArn"]
    changes = _changes(path, PermissionsBoundaryArn=boundary)
    assert changes.keys() == _properties(_of(path, "AWS::IAM::Role"), "PermissionsBoundary")
    assert all(value == {"Ref": "PermissionsBoundaryArn"} for value in changes.values())


def test_a_web_acl_stands_before_the_api_s_stage() -> None:
    [(where, association)] = _changes(TEMPLATE, WebAclArn=OPTIONS["WebAclArn"]).items()
    assert where == ("WebAclAssociation",)
    assert association["Type"] == "AWS::WAFv2::WebACLAssociation"
    assert association["Properties"]["WebACLArn"] == {"Ref": "WebAclArn"}
    assert association["Properties"]["ResourceArn"]["Fn::Sub"].endswith("/restapis/${Api}/stages/${Apiv1Stage}")


@cases("senders", ["", "123456789012"], ids=["without senders", "with senders"])
def test_every_queue_refuses_plain_http(senders: str) -> None:
    off = resolved(TEMPLATE, SenderPrincipals=senders)
    on = resolved(TEMPLATE, SenderPrincipals=senders, TlsOnly="true")
    refusing: set[str] = set()
    for name, resource in on.items():
        if resource["Type"] == "AWS::SQS::QueuePolicy":
            statements = resource["Properties"]["PolicyDocument"]["Statement"]
            refused = statements.pop()
            assert (refused["Effect"], refused["Principal"], refused["Action"]) == ("Deny", "*", "sqs:*")
            assert refused["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
            queues = {queue["Ref"] for queue in resource["Properties"]["Queues"]}
            assert not queues & refusing, "SQS keeps one policy per queue"
            refusing |= queues
            if name in off:
                assert resource == off[name], "what was allowed is allowed still"
            else:
                assert statements == []
    assert refusing == _of(TEMPLATE, "AWS::SQS::Queue")


def test_the_topic_refuses_plain_http_and_takes_this_accounts_alarms() -> None:
    [(where, policy)] = _changes(WATCH, TlsOnly="true").items()
    assert where == ("AlarmTopicPolicy",)
    alarms, refused = policy["Properties"]["PolicyDocument"]["Statement"]
    assert (alarms["Effect"], alarms["Principal"]) == ("Allow", {"Service": "cloudwatch.amazonaws.com"})
    assert (refused["Effect"], refused["Principal"], refused["Action"]) == ("Deny", "*", "sns:Publish")


def test_the_emulator_which_has_no_tls_is_left_alone() -> None:
    assert resolved(TEMPLATE, Local="true", TlsOnly="true") == resolved(TEMPLATE, Local="true")


def test_executions_are_reserved_for_each_function_of_the_api() -> None:
    api = {function.logical_id for function in FUNCTIONS.values() if function.trigger is Trigger.API}
    assert len(api) == 7
    changes = _changes(TEMPLATE, ApiReservedConcurrency="20")
    assert changes.keys() == _properties(api, "ReservedConcurrentExecutions")
    assert all(value == {"Ref": "ApiReservedConcurrency"} for value in changes.values())


@cases(
    ("parameter", "prefix"),
    [
        ("UploadRetentionDays", {"Ref": "UploadPrefix"}),
        ("ResultRetentionDays", "results/"),
        ("TorrentRetentionDays", {"Ref": "TorrentPrefix"}),
    ],
)
def test_what_was_kept_long_enough_is_deleted(parameter: str, prefix: object) -> None:
    [(where, rule)] = _changes(TEMPLATE, **{parameter: "30"}).items()
    assert where[:4] == ("MediaBucket", "Properties", "LifecycleConfiguration", "Rules")
    assert (rule["Status"], rule["Prefix"], rule["ExpirationInDays"]) == ("Enabled", prefix, {"Ref": parameter})


def test_the_pieces_of_recordings_that_were_killed_are_kept_as_long_as_recordings() -> None:
    rules = _changes(TEMPLATE, RecordingRetentionDays="30").values()
    assert {(rule["Prefix"], rule["ExpirationInDays"]["Ref"]) for rule in rules} == {
        ("recordings/", "RecordingRetentionDays"),
        ("pieces/", "RecordingRetentionDays"),
    }


@cases(
    ("given", "silent"),
    [
        ({"ProcessingEnabled": "false"}, {"VideoQueueAgeAlarm", "VideoQueueDepthAlarm", "SteamQueueAgeAlarm"}),
        ({"EcsProcessingEnabled": "false"}, {"EcsQueueAgeAlarm", "EcsQueueDepthAlarm", "SteamQueueAgeAlarm"}),
        ({"TorrentProcessingEnabled": "false"}, {"TorrentQueueAgeAlarm", "SteamQueueAgeAlarm"}),
        ({"SteamApiKeySecretArn": "arn"}, set()),
        ({"SteamApiKeySecretArn": "arn", "SteamProcessingEnabled": "false"}, {"SteamQueueAgeAlarm"}),
    ],
)
def test_nobody_is_paged_for_a_queue_that_is_not_read_on_purpose(given: dict[str, str], silent: set[str]) -> None:
    """Without a key of Steam nothing reads its queue."""
    reads = {name: "true" for name in load(WATCH).written["Parameters"] if name.endswith("ProcessingEnabled")}
    alarms = resolved(WATCH, **reads | given)
    assert {name for name, each in alarms.items() if each["Properties"].get("ActionsEnabled") is False} == silent


def test_a_full_lane_is_no_alarm_where_messages_return_to_their_queue() -> None:
    for name in ("VideoQueueAgeAlarm", "EcsQueueAgeAlarm"):
        assert resolved(WATCH)[name]["Properties"]["Threshold"] == 900
        assert resolved(WATCH, AtCapacity="return")[name]["Properties"]["Threshold"] == {"Ref": "MaxWaitSeconds"}


def test_many_messages_are_no_alarm_where_they_return_to_their_queue() -> None:
    for name in ("VideoQueueDepthAlarm", "EcsQueueDepthAlarm"):
        assert resolved(WATCH, AtCapacity="return")[name]["Properties"]["ActionsEnabled"] is False


def test_one_slow_request_at_night_is_no_alarm() -> None:
    assert resolved(WATCH)["ApiLatencyAlarm"]["Properties"]["EvaluateLowSampleCountPercentile"] == "ignore"


def test_the_reconciler_may_run_once_an_hour_without_an_alarm() -> None:
    alarm = resolved(WATCH)["ReconcileJobsSilentAlarm"]["Properties"]
    longest = load(TEMPLATE).written["Parameters"]["ReconcileMinutes"]["MaxValue"] * 60
    assert alarm["Period"] * alarm["EvaluationPeriods"] >= 2 * longest


def test_each_stack_is_told_of_the_options_it_has() -> None:
    for stack, path in (("Watch", WATCH), ("Compute", COMPUTE)):
        given = load(TEMPLATE).rendered["Resources"][stack]["Properties"]["Parameters"]
        asked = OPTIONS.keys() & load(path).written["Parameters"].keys()
        assert asked
        assert {name: given[name] for name in asked} == {name: {"Ref": name} for name in asked}
