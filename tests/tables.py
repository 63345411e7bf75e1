"""Creates the tables that template.yaml defines, so that tests don't define their own schema."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

TEMPLATE = Path(__file__).parent.parent / "template.yaml"
_CREATE = ("AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes", "BillingMode")


class _Loader(yaml.CSafeLoader):
    """Reads CloudFormation's short forms (`!Ref x`) as their arguments. The tables' plain properties need no more."""


def _argument(loader: _Loader, _tag: str, node: yaml.Node) -> Any:  # noqa: ANN401 - YAML holds anything
    match node:
        case yaml.ScalarNode():
            return loader.construct_scalar(node)
        case yaml.SequenceNode():
            return loader.construct_sequence(node)
        case yaml.MappingNode():
            return loader.construct_mapping(node)
    raise TypeError(node)


_Loader.add_multi_constructor("!", _argument)


@cache
def _resources() -> dict[str, Any]:
    resources: dict[str, Any] = yaml.load(TEMPLATE.read_text(), _Loader)["Resources"]  # noqa: S506 - a safe loader
    return resources


def create_tables(client: "DynamoDBClient") -> tuple[str, str]:
    """Creates JobsTable and LanesTable and returns their names."""
    return create_table(client, "JobsTable"), create_table(client, "LanesTable")


def create_table(client: "DynamoDBClient", name: str) -> str:
    """Creates a table of the template and returns its name."""
    properties = _resources()[name]["Properties"]
    client.create_table(TableName=name, **{key: properties[key] for key in _CREATE if key in properties})
    return name
