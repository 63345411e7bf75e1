"""An update of a deployed stack never replaces what holds work or data, since the new one would be empty."""

import re
from typing import Any, Final

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.template.rendering import COMPUTE, ROOT, TEMPLATE, WATCH, load

HOLDERS: Final = {
    "AWS::DynamoDB::Table": {"TableName", "ImportSourceSpecification", "KeySchema"},
    "AWS::SQS::Queue": {"QueueName", "FifoQueue"},
    "AWS::S3::Bucket": {"BucketName", "BucketNamePrefix", "BucketNamespace"},
    "AWS::S3Vectors::VectorBucket": {"VectorBucketName", "EncryptionConfiguration"},
    "AWS::S3Vectors::Index": {
        "VectorBucketName",
        "VectorBucketArn",
        "IndexName",
        "DataType",
        "Dimension",
        "DistanceMetric",
        "MetadataConfiguration",
        "EncryptionConfiguration",
    },
    "AWS::Logs::LogGroup": {"LogGroupName"},
    "AWS::SNS::Topic": {"TopicName", "FifoTopic"},
    "AWS::ApiGateway::RestApi": set(),
    "AWS::ApiGateway::ApiKey": {"Name", "Value", "GenerateDistinctId"},
    "AWS::ECS::Cluster": {"ClusterName"},
    "AWS::Batch::JobQueue": {"JobQueueName", "JobQueueType"},
    "AWS::Batch::ComputeEnvironment": {
        "Tags",
        "Type",
        "ComputeEnvironmentName",
        "ComputeResources/SpotIamFleetRole",
        "EksConfiguration/EksClusterArn",
        "EksConfiguration/KubernetesNamespace",
        "ComputeResources/ManagedInstancesProvider/InstanceLaunchTemplate/CapacityOptionType",
        "ComputeResources/ManagedInstancesProvider/InstanceLaunchTemplate/FipsEnabled",
    },
}
"""Types of resources that hold messages, rows, objects, logs, subscriptions, keys, an address or running jobs.

With every property whose change replaces the resource. Compute environments are updated in place
(`ReplaceComputeEnvironment`), so their other properties don't count.
"""
STACK_ID_PART: Final = {
    "Fn::Select": [0, {"Fn::Split": ["-", {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}]}]
}
_PAIR: Final = [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
DEPLOYED: Final[dict[str, dict[str, Any]]] = {
    "JobsTable": {"KeySchema": [{"AttributeName": "jobId", "KeyType": "HASH"}]},
    "LanesTable": {"KeySchema": _PAIR},
    "LibraryTable": {"KeySchema": _PAIR},
    "MediaBucket": {"BucketName": {"Fn::Sub": ["${AWS::StackName}-media-${Piece}", {"Piece": STACK_ID_PART}]}},
    "VideoQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-video"}},
    "EcsQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-ecs-jobs"}},
    "TorrentQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-torrents"}},
    "SteamQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-steam"}},
    "TrackQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-track"}},
    "VideoDeadLetterQueue": {},
    "EcsDeadLetterQueue": {},
    "TorrentDeadLetterQueue": {},
    "SteamDeadLetterQueue": {},
    "TrackDeadLetterQueue": {},
    "ReconcileDeadLetterQueue": {},
    "NotifyDeadLetterQueue": {},
    "WebhooksTable": {
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    },
    "WebhookQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-webhooks"}},
    "WebhookDeadLetterQueue": {},
    "VectorBucket": {
        "VectorBucketName": {"Fn::Sub": "${AWS::StackName}-search"},
        "EncryptionConfiguration": {
            "Fn::If": ["HasKey", {"SseType": "aws:kms", "KmsKeyArn": {"Ref": "KmsKeyArn"}}, {"SseType": "AES256"}]
        },
    },
    "VectorIndex": {
        "VectorBucketName": {"Ref": "VectorBucket"},
        "IndexName": "minilm-l6-v2-384",
        "DataType": "float32",
        "Dimension": 384,
        "DistanceMetric": "cosine",
        "MetadataConfiguration": {
            "NonFilterableMetadataKeys": ["text", "screen", "times", "turns", "frame", "video"],
        },
    },
    **{
        f"{name.title().replace('_', '')}LogGroup": {
            "LogGroupName": {"Fn::Sub": f"/aws/lambda/${{AWS::StackName}}-{name}"}
        }
        for name in (
            "sqs_to_batch",
            "dispatch_to_ecs",
            "s3_torrent_creator",
            "import_steam_library",
            "track_job",
            "reconcile_jobs",
            "presign_upload",
            "submit_job",
            "get_job",
            "cancel_job",
            "search_media",
            "notify",
            "deliver_webhook",
            "manage_webhooks",
            "serve_console",
        )
    },
    "ApiLogGroup": {"LogGroupName": {"Fn::Sub": "/aws/apigateway/${AWS::StackName}"}},
    "JobLogGroup": {},
    "TaskLogGroup": {},
    "AlarmTopic": {},
    "Api": {},
    "ApiKey": {},
    "Cluster": {},
    "CpuQueue": {},
    "GpuQueue": {},
    "CpuCompute": {"Type": "MANAGED"},
    "GpuCompute": {"Type": "MANAGED"},
}
"""Such resources of released versions, with their properties that CloudFormation can't change in place.

A new one is added here. A change of one that is here loses data on update: UPGRADING.md then says how to keep it.
"""


def _resources() -> dict[str, dict[str, Any]]:
    return {
        name: each for path in (TEMPLATE, COMPUTE, WATCH) for name, each in load(path).rendered["Resources"].items()
    }


def test_an_update_replaces_nothing_that_holds_work_or_data() -> None:
    assert {
        name: {key: value for key, value in resource.get("Properties", {}).items() if key in HOLDERS[resource["Type"]]}
        for name, resource in _resources().items()
        if resource["Type"] in HOLDERS
    } == DEPLOYED


def test_the_properties_that_replace_are_those_of_cloudformation() -> None:
    for kind, properties in HOLDERS.items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
        found = [*schema.get("createOnlyProperties", [])]
        if kind != "AWS::Batch::ComputeEnvironment":
            found += schema.get("conditionalCreateOnlyProperties", [])
        assert {pointer.removeprefix("/properties/") for pointer in found} == properties, kind


def test_compute_environments_are_updated_in_place() -> None:
    """Otherwise every new image of instances, subnet or limit would replace them."""
    for name, properties in load(COMPUTE).of_type("AWS::Batch::ComputeEnvironment").items():
        assert properties["ReplaceComputeEnvironment"] is False, name
        assert properties["UpdatePolicy"]["TerminateJobsOnUpdate"] is False, name
        # After that, jobs that still run are ended and tried again.
        longest = load(TEMPLATE).written["Parameters"]["WorkerTimeoutSeconds"]["Default"]
        assert properties["UpdatePolicy"]["JobExecutionTimeoutMinutes"] * 60 >= longest, name


def test_a_changed_stack_tag_ends_no_job() -> None:
    """A resource whose tags can't change is replaced by a tag of the stack: then the old one stays for its jobs."""
    fixed = set()
    for name, resource in _resources().items():
        schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", resource["Type"]).schema
        tagging = schema.get("tagging", {})
        if tagging.get("taggable") and not tagging.get("tagUpdatable", True):
            fixed.add(name)
            assert resource.get("UpdateReplacePolicy") == "Retain", name
    assert fixed == {"CpuCompute", "GpuCompute"}


def test_the_runbook_names_what_a_change_set_must_not_replace() -> None:
    section = (ROOT / "docs" / "runbook.md").read_text().partition("## Read a change set")[2].partition("\n## ")[0]
    named = set(re.findall(r"`(AWS::[\w:]+)`", section))
    assert named == set(HOLDERS)
