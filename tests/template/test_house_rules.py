"""All templates keep the house rules, and each rule notices when it is broken."""

import copy
import dataclasses
import re
from collections.abc import Callable
from typing import Any

from tests.cases import cases
from tests.template import house_rules
from tests.template.house_rules import RULES, Rule
from tests.template.rendering import COMPUTE, Template, load, load_watched

type Break = Callable[[dict[str, Any]], object]


@cases("template", [load_watched(), load(COMPUTE)], ids=["template and watch", "compute"])
@cases("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rule_is_kept(rule: Rule, template: Template) -> None:
    assert list(rule(template)) == []


def _edit(logical_id: str, *path: str | int, to: object = None) -> Break:
    """Sets a property of a resource, or deletes it."""

    def apply(resources: dict[str, Any]) -> None:
        node = resources[logical_id]
        for key in path[:-1]:
            node = node[key]
        if to is None:
            del node[path[-1]]
        else:
            node[path[-1]] = to

    return apply


def _properties(logical_id: str, *path: str | int, to: object = None) -> Break:
    return _edit(logical_id, "Properties", *path, to=to)


def _without(logical_id: str) -> Break:
    return lambda resources: resources.pop(logical_id)


_STATEMENT = ("PolicyDocument", "Statement", 0)

BROKEN: list[tuple[Rule, Break, str]] = [
    (
        house_rules.functions_log_in_json_with_retention,
        _properties("TrackJobFunction", "LoggingConfig", "LogGroup"),
        "TrackJobFunction has no log group with retention",
    ),
    (
        house_rules.functions_log_in_json_with_retention,
        _properties("TrackJobFunction", "LoggingConfig", "LogFormat", to="Text"),
        "TrackJobFunction doesn't log in JSON",
    ),
    (
        house_rules.log_groups_have_retention,
        _properties("TrackJobLogGroup", "RetentionInDays"),
        "TrackJobLogGroup keeps its logs for ever",
    ),
    *(
        (
            house_rules.own_messages_are_no_loop,
            _properties(name, "RecursiveLoop"),
            f"{name} sends to its own queue, and is stopped as a loop",
        )
        for name in ("S3TorrentCreatorFunction", "ImportSteamLibraryFunction")
    ),
    (
        house_rules.functions_run_alike,
        _properties("TrackJobFunction", "Runtime", to="python3.12"),
        "TrackJobFunction doesn't run on python3.13",
    ),
    (
        house_rules.functions_run_alike,
        _properties("TrackJobFunction", "TracingConfig"),
        "TrackJobFunction isn't traced",
    ),
    (
        house_rules.functions_run_alike,
        _properties("TrackJobRole", "ManagedPolicyArns", to=["arn:aws:iam::aws:policy/AdministratorAccess"]),
        "TrackJobFunction has a role that isn't written by hand",
    ),
    (
        house_rules.event_sources_have_a_failure_destination,
        _properties("TrackQueue", "RedrivePolicy"),
        "TrackJobFunctionStateChanges reads a queue without a dead-letter queue",
    ),
    (
        house_rules.event_sources_have_a_failure_destination,
        _properties("TrackJobFunctionStateChanges", "FunctionResponseTypes"),
        "TrackJobFunctionStateChanges fails whole batches",
    ),
    (
        house_rules.event_sources_have_a_failure_destination,
        _properties("BatchStateChangeRule", "Targets", 0, "DeadLetterConfig"),
        "BatchStateChangeRule drops what it can't deliver to TrackQueue",
    ),
    (
        house_rules.event_sources_have_a_failure_destination,
        _without("ReconcileJobsFunctionEventInvokeConfig"),
        "ReconcileJobsFunction drops events that it fails on",
    ),
    (
        house_rules.queues_are_safe,
        _properties("VideoQueue", "SqsManagedSseEnabled", to=False),
        "VideoQueue isn't encrypted",
    ),
    (house_rules.queues_are_safe, _properties("VideoQueue", "RedrivePolicy"), "VideoQueue has no dead-letter queue"),
    (
        house_rules.queues_are_safe,
        _properties("TrackDeadLetterQueue", "MessageRetentionPeriod"),
        "TrackDeadLetterQueue is a dead-letter queue that forgets too soon",
    ),
    (
        house_rules.queues_outlast_their_functions,
        _properties("VideoQueue", "VisibilityTimeout", to=239),
        "VideoQueue shows a message again before 240 s have passed",
    ),
    (
        house_rules.queues_outlast_their_functions,
        _properties("TrackJobFunction", "Timeout", to=31),
        "TrackQueue shows a message again before 186 s have passed",
    ),
    (
        house_rules.queues_outlast_their_functions,
        _properties("TrackQueue", "ReceiveMessageWaitTimeSeconds"),
        "TrackQueue isn't polled long",
    ),
    (
        house_rules.actions_are_named,
        _properties("StorePolicy", *_STATEMENT, "Action", to=["dynamodb:*"]),
        "StorePolicy grants dynamodb:*",
    ),
    (
        house_rules.wide_resources_have_a_reason,
        _properties("StorePolicy", *_STATEMENT, "Resource", to="*"),
        "10 grants on every resource, 9 explained",
    ),
    (
        house_rules.principals_are_named,
        _properties("TrackQueuePolicy", *_STATEMENT, "Principal", to="*"),
        "TrackQueuePolicy lets everybody in",
    ),
    (
        house_rules.principals_are_named,
        _properties("TrackQueuePolicy", *_STATEMENT, "Condition"),
        "TrackQueuePolicy lets a service in for anybody",
    ),
    (
        house_rules.routes_are_guarded,
        _properties("Api", "Body", "paths", "/jobs", "post", "security"),
        "POST /jobs is for everybody",
    ),
    (
        house_rules.routes_are_guarded,
        _properties("Api", "Body", "paths", "/jobs", "options", "security", to=[{"api_key": []}]),
        "OPTIONS /jobs is for callers only",
    ),
    (
        house_rules.routes_are_guarded,
        _properties("Api", "Body", "paths", "/process", "options"),
        "POST /process has no preflight",
    ),
    (
        house_rules.routes_reach_a_function,
        _properties("Api", "Body", "paths", "/jobs", "get", "x-amazon-apigateway-integration", "type", to="aws"),
        "GET /jobs doesn't reach a function",
    ),
    (
        house_rules.routes_reach_a_function,
        _properties(
            "Api", "Body", "paths", "/jobs", "options", "x-amazon-apigateway-integration", to={"type": "aws_proxy"}
        ),
        "OPTIONS /jobs costs an invocation",
    ),
    (
        house_rules.routes_reach_a_function,
        _without("GetJobPermission"),
        "GET /jobs isn't let in by GetJobFunction",
    ),
    (
        house_rules.routes_reach_a_function,
        _properties("GetJobPermission", "SourceArn"),
        "GetJobPermission lets a service in for anybody",
    ),
    (
        house_rules.apis_are_limited_and_logged,
        _properties("Apiv1Stage", "MethodSettings"),
        "Apiv1Stage has no limit",
    ),
    (
        house_rules.apis_are_limited_and_logged,
        _properties("Apiv1Stage", "TracingEnabled"),
        "Apiv1Stage isn't traced",
    ),
    (
        house_rules.apis_are_limited_and_logged,
        _properties("Apiv1Stage", "AccessLogSetting"),
        "Apiv1Stage has no access log",
    ),
    (
        house_rules.apis_are_limited_and_logged,
        _properties("Apiv1Stage", "AccessLogSetting", "Format", to='{"key": "$context.identity.apiKey"}'),
        "Apiv1Stage logs what it should not",
    ),
    (
        house_rules.the_gateway_answers_as_we_do,
        _properties("Api", "Body", "x-amazon-apigateway-gateway-responses", "DEFAULT_4XX", "responseTemplates"),
        "Api answers DEFAULT_4XX in a shape of its own",
    ),
    (
        house_rules.the_gateway_answers_as_we_do,
        _properties("Api", "Body", "x-amazon-apigateway-gateway-responses", "DEFAULT_5XX"),
        "Api hides DEFAULT_5XX from web pages",
    ),
    (house_rules.everything_has_its_alarm, _without("ApiErrorsAlarm"), "5XXError of AWS::StackName has no alarm"),
    (house_rules.everything_has_its_alarm, _without("ApiLatencyAlarm"), "Latency of AWS::StackName has no alarm"),
    (house_rules.tables_are_safe, _edit("JobsTable", "DeletionPolicy"), "JobsTable goes with the stack"),
    (house_rules.tables_are_safe, _edit("JobsTable", "UpdateReplacePolicy"), "JobsTable goes when it is replaced"),
    (house_rules.tables_are_safe, _properties("LanesTable", "SSESpecification"), "LanesTable isn't encrypted"),
    (
        house_rules.tables_are_safe,
        _properties("LanesTable", "PointInTimeRecoverySpecification"),
        "LanesTable can't be restored",
    ),
    (
        house_rules.tables_are_safe,
        _properties("JobsTable", "TimeToLiveSpecification", "AttributeName", to="expires"),
        "JobsTable keeps everything",
    ),
    (
        house_rules.tables_are_safe,
        _properties("LanesTable", "TimeToLiveSpecification", to={"AttributeName": "ttl", "Enabled": True}),
        "LanesTable may lose items that are still needed",
    ),
    (
        house_rules.tables_are_safe,
        _properties("JobsTable", "BillingMode", to="PROVISIONED"),
        "JobsTable isn't on demand",
    ),
    (
        house_rules.buckets_are_private,
        _properties("MediaBucket", "PublicAccessBlockConfiguration", "BlockPublicPolicy", to=False),
        "MediaBucket may become public",
    ),
    (house_rules.buckets_are_private, _properties("MediaBucket", "BucketEncryption"), "MediaBucket isn't encrypted"),
    (house_rules.buckets_are_private, _edit("MediaBucket", "DeletionPolicy"), "MediaBucket goes with the stack"),
    (house_rules.buckets_are_private, _without("MediaBucketPolicy"), "MediaBucket answers plain HTTP"),
    (
        house_rules.buckets_are_private,
        _properties("MediaBucket", "LifecycleConfiguration"),
        "MediaBucket keeps the parts of forgotten uploads",
    ),
    (
        house_rules.buckets_forget_what_is_overwritten,
        _properties("MediaBucket", "LifecycleConfiguration", "Rules", 1, "ExpiredObjectDeleteMarker"),
        "MediaBucket keeps delete markers for ever",
    ),
    (
        house_rules.buckets_forget_what_is_overwritten,
        _properties("MediaBucket", "LifecycleConfiguration", "Rules", 2, "NoncurrentVersionExpiration"),
        "MediaBucket keeps every state of a growing recording",
    ),
    (
        house_rules.buckets_forget_what_is_overwritten,
        lambda resources: resources["MediaBucket"]["Properties"]["NotificationConfiguration"]["QueueConfigurations"][
            -1
        ]["Filter"]["S3Key"].update(Rules=[{"Name": "prefix", "Value": {"Ref": "SearchIndexHost"}}]),  # an empty one
        "MediaBucket announces every state of a growing recording",
    ),
    (
        house_rules.failed_creations_leave_nothing,
        _edit("ApiLogRole", "DeletionPolicy", to="Retain"),
        "ApiLogRole remains of a stack that was never created",
    ),
    (
        house_rules.buckets_tell_who_lets_them,
        _edit("MediaBucket", "DependsOn", to="VideoQueuePolicy"),
        "MediaBucket tells TorrentQueue before that lets it",
    ),
    (
        house_rules.buckets_tell_who_lets_them,
        _without("VideoQueuePolicy"),
        "MediaBucket tells VideoQueue before that lets it",
    ),
    (house_rules.everything_has_its_alarm, _without("TrackJobErrorsAlarm"), "Errors of TrackJobFunction has no alarm"),
    (
        house_rules.everything_has_its_alarm,
        _without("TrackDeadLetterQueueAlarm"),
        "ApproximateNumberOfMessagesVisible of TrackDeadLetterQueue has no alarm",
    ),
    (
        house_rules.everything_has_its_alarm,
        _without("VideoQueueAgeAlarm"),
        "ApproximateAgeOfOldestMessage of VideoQueue has no alarm",
    ),
    (
        house_rules.everything_has_its_alarm,
        _without("StuckRunnableAlarm"),
        "StuckRunnable of reconcile_jobs has no alarm",
    ),
    (house_rules.everything_has_its_alarm, _without("ThrottlesAlarm"), "Throttles of the account has no alarm"),
    (
        house_rules.everything_has_its_alarm,
        _without("ReconcileJobsSilentAlarm"),
        "Invocations of ReconcileJobsFunction has no alarm",
    ),
    (
        house_rules.everything_has_its_alarm,
        _without("SteamKeyRejectedAlarm"),
        "KeyRejected of import_steam_library has no alarm",
    ),
    (
        house_rules.alarms_reach_somebody,
        _properties("StuckRunnableAlarm", "AlarmActions"),
        "StuckRunnableAlarm tells nobody",
    ),
    (
        house_rules.alarms_reach_somebody,
        _properties("StuckRunnableAlarm", "TreatMissingData"),
        "StuckRunnableAlarm rings when there is nothing to measure",
    ),
    (
        house_rules.alarms_reach_somebody,
        _properties("ReconcileJobsSilentAlarm", "TreatMissingData"),
        "ReconcileJobsSilentAlarm is silent when there is nothing to measure",
    ),
    (
        house_rules.alarms_reach_somebody,
        _properties("StuckRunnableAlarm", "AlarmDescription", to="Something is stuck."),
        "StuckRunnableAlarm doesn't say what to do",
    ),
]


BROKEN_COMPUTE: list[tuple[Rule, Break, str]] = [
    (
        house_rules.containers_log_and_end_in_peace,
        _properties("RecorderTask", "ContainerDefinitions", 0, "LogConfiguration"),
        "RecorderTask has no log group",
    ),
    (
        house_rules.containers_log_and_end_in_peace,
        _properties("DetectorTask", "ContainerDefinitions", 0, "StopTimeout"),
        "DetectorTask is killed sooner than it must be",
    ),
    (
        house_rules.nobody_calls_in,
        _properties("WorkerSecurityGroup", "SecurityGroupIngress", to=[]),
        "WorkerSecurityGroup lets somebody in",
    ),
    (house_rules.nobody_calls_in, _edit("PeersByTcp", "Condition"), "PeersByTcp lets somebody in"),
    (
        house_rules.partitions_are_open,
        _properties(
            "InstanceRole", "AssumeRolePolicyDocument", "Statement", 0, "Principal", to={"Service": "ec2.amazonaws.com"}
        ),
        "InstanceRole names the domain of the partition aws",
    ),
    (
        house_rules.partitions_are_open,
        _properties("InstanceRole", "ManagedPolicyArns", to=["arn:aws:iam::aws:policy/service-role/Any"]),
        "InstanceRole names the partition aws",
    ),
]
EVERY_BREAK = [(load_watched(), *case) for case in BROKEN] + [(load(COMPUTE), *case) for case in BROKEN_COMPUTE]


@cases(("template", "rule", "break_it", "complaint"), EVERY_BREAK, ids=[each[-1] for each in EVERY_BREAK])
def test_the_rule_notices(template: Template, rule: Rule, break_it: Break, complaint: str) -> None:
    broken = dataclasses.replace(template, rendered=copy.deepcopy(template.rendered))
    break_it(broken.rendered["Resources"])
    assert complaint in list(rule(broken))


def test_an_uncommented_grant_is_noticed() -> None:
    template = load_watched()
    for comment in ("A job's record: read again", "Traces."):  # above a grant on one line, and above one on several
        source = re.sub(rf"^ +# {comment}.*\n", "", template.source, count=1, flags=re.MULTILINE)
        complaints = list(house_rules.grants_have_a_comment(Template(source, {}, template.rendered)))
        assert [complaint.partition(" grants")[2] for complaint in complaints] == [" something without saying why"]


def test_every_rule_is_shown_to_fail() -> None:
    assert {rule for _, rule, *_ in EVERY_BREAK} | {house_rules.grants_have_a_comment} == set(RULES)
