"""An update of a deployed stack never replaces a table, queue or bucket, since the new one would be empty."""

from typing import Any, Final

from cfnlint.schema import PROVIDER_SCHEMA_MANAGER

from tests.template.rendering import TEMPLATE, load

STATEFUL: Final = ("AWS::DynamoDB::Table", "AWS::SQS::Queue", "AWS::S3::Bucket")
STACK_ID_PART: Final = {
    "Fn::Select": [0, {"Fn::Split": ["-", {"Fn::Select": [2, {"Fn::Split": ["/", {"Ref": "AWS::StackId"}]}]}]}]
}
DEPLOYED: Final[dict[str, dict[str, Any]]] = {
    "JobsTable": {"KeySchema": [{"AttributeName": "jobId", "KeyType": "HASH"}]},
    "LanesTable": {
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    },
    "MediaBucket": {"BucketName": {"Fn::Sub": ["${AWS::StackName}-media-${Piece}", {"Piece": STACK_ID_PART}]}},
    "VideoQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-video"}},
    "EcsQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-ecs-jobs"}},
    "TorrentQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-torrents"}},
    "LibraryTable": {
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    },
    "SteamQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-steam"}},
    "SteamDeadLetterQueue": {},
    "TrackQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-track"}},
    "VideoDeadLetterQueue": {},
    "EcsDeadLetterQueue": {},
    "TorrentDeadLetterQueue": {},
    "TrackDeadLetterQueue": {},
    "ReconcileDeadLetterQueue": {},
    "NotifyDeadLetterQueue": {},
    "WebhooksTable": {
        "KeySchema": [{"AttributeName": "pk", "KeyType": "HASH"}, {"AttributeName": "sk", "KeyType": "RANGE"}]
    },
    "WebhookQueue": {"QueueName": {"Fn::Sub": "${AWS::StackName}-webhooks"}},
    "WebhookDeadLetterQueue": {},
}
"""Stateful resources of released versions, with their properties that CloudFormation can't change in place.

A new one is added here. A change of one that is here loses data on update: UPGRADING.md then says how to keep it.
"""


def test_an_update_replaces_no_table_queue_or_bucket() -> None:
    assert {
        name: {key: value for key, value in properties.items() if key in _create_only(kind)}
        for kind in STATEFUL
        for name, properties in load(TEMPLATE).of_type(kind).items()
    } == DEPLOYED


def test_cloudformation_says_which_properties_are_create_only() -> None:
    """Or the test above would compare nothing."""
    assert {"KeySchema", "TableName"} <= _create_only("AWS::DynamoDB::Table")
    assert "QueueName" in _create_only("AWS::SQS::Queue")
    assert "BucketName" in _create_only("AWS::S3::Bucket")


def _create_only(kind: str) -> set[str]:
    schema = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    pointers = [*schema["createOnlyProperties"], *schema.get("conditionalCreateOnlyProperties", [])]
    return {pointer.removeprefix("/properties/") for pointer in pointers}
