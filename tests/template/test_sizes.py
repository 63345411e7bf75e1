"""What is deployed stays within AWS's limits of size, with the longest names and values that the parameters allow.

Lambda: https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html
IAM: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
CloudFormation: https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
"""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from tests.template.rendering import COMPUTE, TEMPLATE, WATCH, load
from tools.prepare import STACK_NAME

STACKS: Final = [TEMPLATE, COMPUTE, WATCH]
STACK: Final = "s" * next(length for length in range(128, 0, -1) if STACK_NAME.fullmatch("a" * length))
NESTED: Final = f"{STACK}-Compute-1A2B3C4D5E6F"
PSEUDO: Final = {
    "AWS::StackName": STACK,
    "AWS::AccountId": "123456789012",
    "AWS::Region": "ap-southeast-7",
    "AWS::Partition": "aws-us-gov",
    "AWS::URLSuffix": "amazonaws.com.cn",
    "AWS::StackId": "12345678",  # of which names have a piece
}
CREATED: Final = f"{STACK}-{'X' * 30}-1A2B3C4D5E6F"
"""A physical name that CloudFormation makes: stack, logical id, and twelve characters."""
OUTPUTS: Final = {
    "SubnetIds": ",".join(["subnet-0123456789abcdef0"] * 2),
    "SecurityGroupId": "sg-0123456789abcdef0",
    "AssignPublicIp": "DISABLED",
    "JobQueueName": f"{NESTED}-CpuQueue-1A2B3C4D5E6F",
    "TaskRoleArns": ",".join([f"arn:aws-us-gov:iam::123456789012:role/{'r' * 64}"] * 4),
}
"""Values of the nested stack's outputs. The others are names of definitions."""

SENDERS: Final = 10
"""Principals in a list for which policies must have room."""
LONG_ARN: Final = 120
VARIABLES_BYTES: Final = 4096
MANAGED_POLICY_CHARACTERS: Final = 6144
INLINE_POLICIES_CHARACTERS: Final = 10_240
BUCKET_AND_QUEUE_POLICY_BYTES: Final = 20 * 1024
TEMPLATE_BYTES: Final = 1_000_000
RESOURCES: Final = 500
PARAMETERS: Final = 200
OUTPUTS_OF_A_STACK: Final = 200


def _longest(name: str, parameter: dict[str, Any]) -> str:
    """Returns a value of a parameter that is as long, in bytes, as any that it allows."""
    if "AllowedValues" in parameter:
        return str(max(map(str, parameter["AllowedValues"]), key=len))
    if parameter["Type"] == "Number":
        return str(parameter["MaxValue"])
    if parameter["Type"] == "CommaDelimitedList":  # has no bound of its own
        return ",".join(["x" * LONG_ARN] * SENDERS)
    pattern = parameter.get("AllowedPattern", "^.*$")
    width = re._parser.parse(pattern).getwidth()[1]  # nothing public tells it
    longest: int = min(width, parameter.get("MaxLength", width))
    assert longest < VARIABLES_BYTES, f"{name} has no bound"
    takes_any = "AllowedPattern" not in parameter or "[^" in pattern
    return ("\N{GRINNING FACE}" if takes_any else "x") * longest


class _Worst:
    """Resolves a template's values to the longest that they may be."""

    def __init__(self, path: Path) -> None:
        template = load(path)
        self._resources = template.rendered["Resources"]
        self._parameters = template.written["Parameters"]

    def text(self, node: Any) -> str:  # noqa: ANN401 - a template holds anything
        if not isinstance(node, dict):
            return node if isinstance(node, str) else json.dumps(node)
        [(function, value)] = node.items()
        return str(getattr(self, "_" + function.removeprefix("Fn::").lower())(value))

    def _ref(self, name: str) -> str:
        if name == "AWS::NoValue":
            return ""
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._parameters:
            parameter = self._parameters[name]
            return _longest(name, parameter) if "Default" in parameter or "AllowedValues" in parameter else "x" * 300
        if self._resources[name]["Type"] == "AWS::SQS::Queue":
            return f"https://sqs.ap-southeast-7.amazonaws.com.cn/123456789012/{CREATED:.80}"
        return CREATED

    def _getatt(self, path: list[str]) -> str:
        name, attribute = path
        if attribute.startswith("Outputs."):
            return OUTPUTS.get(attribute.removeprefix("Outputs."), f"{NESTED}-analyze-video")
        return f"arn:aws-us-gov:service:ap-southeast-7:123456789012:{name}/{CREATED}"

    def _if(self, branches: list[Any]) -> str:
        return max(self.text(branches[1]), self.text(branches[2]), key=lambda each: len(each.encode()))

    def _sub(self, given: str | list[Any]) -> str:
        text, values = (given, {}) if isinstance(given, str) else given
        return re.sub(r"\$\{([\w:.]+)\}", lambda found: self._variable(found[1], values), text)

    def _variable(self, name: str, values: dict[str, Any]) -> str:
        if name in values:
            return self.text(values[name])
        return self._getatt(name.split(".", 1)) if "." in name else self._ref(name)

    def _join(self, given: list[Any]) -> str:
        separator, parts = given
        return separator.join(map(self.text, parts)) if isinstance(parts, list) else self.text(parts)

    def _split(self, given: list[Any]) -> str:
        return self.text(given[1])  # a part is no longer than the whole

    def _select(self, given: list[Any]) -> str:
        return self.text(given[1])

    def whole(self, node: Any) -> Any:  # noqa: ANN401 - a template holds anything
        """Resolves a policy: what a condition adds is there, and every text is as long as it may be."""
        match node:
            case {"Fn::If": [_, yes, no]}:
                return self.whole(no if yes == {"Ref": "AWS::NoValue"} else yes)
            case dict() if len(node) == 1 and next(iter(node)).startswith(("Fn::", "Ref")):
                return self.text(node)
            case dict():
                return {key: self.whole(child) for key, child in node.items()}
            case list():
                return [self.whole(child) for child in node]
        return node


@pytest.mark.parametrize("name", load(TEMPLATE).of_type("AWS::Lambda::Function"))
def test_a_function_s_variables_fit(name: str) -> None:
    """Names and values together, as JSON, which has some bytes more than what Lambda counts."""
    variables = load(TEMPLATE).of_type("AWS::Lambda::Function")[name]["Environment"]["Variables"]
    worst = {key: _Worst(TEMPLATE).text(value) for key, value in variables.items()}
    size = len(json.dumps(worst, ensure_ascii=False).encode())
    assert size <= VARIABLES_BYTES, sorted(((len(value.encode()), key) for key, value in worst.items()), reverse=True)[
        :9
    ]


@pytest.mark.parametrize("path", [TEMPLATE, COMPUTE], ids=lambda path: path.name)
def test_policies_fit(path: Path) -> None:
    """IAM counts no white space."""
    worst = _Worst(path)

    def size(document: Any) -> int:  # noqa: ANN401 - a policy
        return len(json.dumps(worst.whole(document), separators=(",", ":")))

    for name, policy in load(path).of_type("AWS::IAM::ManagedPolicy").items():
        assert size(policy["PolicyDocument"]) <= MANAGED_POLICY_CHARACTERS, name
    for name, role in load(path).of_type("AWS::IAM::Role").items():
        inline = sum(size(policy["PolicyDocument"]) for policy in role.get("Policies", []))
        assert inline <= INLINE_POLICIES_CHARACTERS, name
        assert len(role.get("ManagedPolicyArns", [])) <= 10, name
    for kind in ("AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy"):
        for name, policy in load(path).of_type(kind).items():
            assert size(policy["PolicyDocument"]) <= BUCKET_AND_QUEUE_POLICY_BYTES, name


@pytest.mark.parametrize("path", STACKS, ids=lambda path: path.name)
def test_a_template_fits(path: Path) -> None:
    """As SAM uploads it: with merges written out, before and after its transformation."""
    template = load(path)
    for document in (template.written, template.rendered):
        assert len(json.dumps(document, indent=2)) <= TEMPLATE_BYTES
        assert len(document["Resources"]) <= RESOURCES
        assert len(document["Parameters"]) <= PARAMETERS
        assert len(document["Outputs"]) <= OUTPUTS_OF_A_STACK


def test_a_value_without_a_bound_is_found() -> None:
    with pytest.raises(AssertionError, match="Comment has no bound"):
        _longest("Comment", {"Type": "String", "Default": ""})
    with pytest.raises(AssertionError, match="Networks has no bound"):
        _longest("Networks", {"Type": "String", "Default": "", "AllowedPattern": "^([0-9.]+(,[0-9.]+)*)?$"})
    assert _longest("Name", {"Type": "String", "Default": "", "AllowedPattern": "^([a-z]{2,3})?$"}) == "xxx"
