"""What a template lets each function do, one permission at a time, and the template without some of it."""

import copy
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

type Template = dict[str, Any]
"""A template as written, before SAM's transform, every intrinsic in its long form."""


@dataclass(frozen=True)
class Permission:
    """One action that one statement of one policy lets one function's role do.

    Attributes:
        function: As in `functions/`.
        role: Its role's logical id.
        policy: The policy's name; of a policy that functions share, its logical id.
        statement: Which statement of the policy, from 0.
        action: "dynamodb:GetItem".
        resource: What it may be done to, in short: a logical id where that says it.
    """

    function: str
    role: str
    policy: str
    statement: int
    action: str
    resource: str

    @property
    def what(self) -> str:
        """Action and resource, as probes and excuses name them."""
        return f"{self.action} on {self.resource}"

    def __str__(self) -> str:
        """With the function, as `--only` finds it."""
        return f"{self.function} {self.what}"


def permissions(template: Template) -> list[Permission]:
    """Everything the functions' roles allow; what a policy grants several functions is listed for each of them."""
    return list(_permissions(template))


def _permissions(template: Template) -> Iterator[Permission]:
    for name, function in template["Resources"].items():
        if function["Type"] != "AWS::Serverless::Function":
            continue
        service = function["Properties"]["Environment"]["Variables"]["POWERTOOLS_SERVICE_NAME"]
        match function["Properties"].get("Role"):
            case {"Fn::GetAtt": [str(role), "Arn"]}:
                pass
            case _:
                raise ValueError(f"{name} has no role of this template, which could be looked into")
        for policy in _policies(template, role):
            for number, written in enumerate(policy["PolicyDocument"]["Statement"]):
                statement = _statement(written)
                for action in _actions(statement):
                    yield Permission(
                        service, role, policy["PolicyName"], number, action, _in_short(statement["Resource"])
                    )


def without(template: Template, taken: Collection[Permission]) -> Template:
    """A copy that lacks these permissions and nothing else.

    What a policy grants several functions is taken only from those meant: their roles get a copy of the policy's own.
    """
    mutated = copy.deepcopy(template)
    for role in {permission.role for permission in taken}:
        properties = mutated["Resources"][role]["Properties"]
        properties["Policies"] = [
            {**policy, "PolicyDocument": {**policy["PolicyDocument"], "Statement": left}}
            for policy in _policies(mutated, role)
            if (left := list(_left(policy, role, taken)))
        ]
        properties["ManagedPolicyArns"] = []
    return mutated


def _left(policy: dict[str, Any], role: str, taken: Collection[Permission]) -> Iterator[dict[str, Any]]:
    gone = {
        (permission.statement, permission.action)
        for permission in taken
        if (permission.role, permission.policy) == (role, policy["PolicyName"])
    }
    for number, written in enumerate(policy["PolicyDocument"]["Statement"]):
        statement = _statement(written)
        if left := [action for action in _actions(statement) if (number, action) not in gone]:
            rest = {**statement, "Action": left}
            yield {"Fn::If": [written["Fn::If"][0], rest, written["Fn::If"][2]]} if "Fn::If" in written else rest


def _policies(template: Template, role: str) -> list[dict[str, Any]]:
    """A role's policies, those it shares with others in the form of its own."""
    properties = template["Resources"][role]["Properties"]
    shared = [arn["Ref"] for arn in properties.get("ManagedPolicyArns", [])]
    return [
        *properties.get("Policies", []),
        *(
            {"PolicyName": name, "PolicyDocument": template["Resources"][name]["Properties"]["PolicyDocument"]}
            for name in shared
        ),
    ]


def _statement(written: dict[str, Any]) -> dict[str, Any]:
    """A statement that is there on a condition counts as there."""
    statement: dict[str, Any] = written["Fn::If"][1] if "Fn::If" in written else written
    return statement


def _actions(statement: dict[str, Any]) -> list[str]:
    actions = statement["Action"]
    return [actions] if isinstance(actions, str) else actions


def _in_short(resource: Any) -> str:  # noqa: ANN401 - a template holds anything
    match resource:
        case list():
            return ", ".join(dict.fromkeys(_in_short(each) for each in resource))
        case {"Fn::If": [_, _, brought]}:
            return _in_short(brought)
        case {"Fn::GetAtt": [str(name), *_]} | {"Ref": str(name)}:
            return name
        case {"Fn::Sub": [str(text), *_]} | {"Fn::Sub": str(text)}:
            return _ARN.sub("", re.sub(r"\$\{(\w+)\.Arn\}", r"\1", text))
    return str(resource)


_ARN = re.compile(r"^arn:.+:(?=[\w-]+/)|(?<=\w)/\$\{\w+\}.*$|/\*$")
"""What can go from an ARN so that the kind of resource is left."""
