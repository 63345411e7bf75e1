"""Lists each function's permissions in a template, and removes some from it."""

import copy
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

type Template = dict[str, Any]
"""A template before SAM's transform, with every intrinsic in its long form."""


@dataclass(frozen=True)
class Permission:
    """One action that one statement of one policy allows one function's role.

    Attributes:
        function: The function's name in `functions/`.
        role: Its role's logical id.
        policy: The policy's name; for a shared policy, its logical id.
        statement: The statement's index in the policy, from 0.
        action: Such as "dynamodb:GetItem".
        resource: The resource in short form: a logical id if that is enough.
    """

    function: str
    role: str
    policy: str
    statement: int
    action: str
    resource: str

    @property
    def what(self) -> str:
        """Returns action and resource, as probes and excuses name them."""
        return f"{self.action} on {self.resource}"

    def __str__(self) -> str:
        """Returns function, action and resource, as `--only` matches them."""
        return f"{self.function} {self.what}"


def permissions(template: Template) -> list[Permission]:
    """Returns all permissions of the functions' roles; those of a shared policy once for each function."""
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
                raise ValueError(f"{name} has no role in this template to inspect")
        for policy in policies(template, role):
            for number, written in enumerate(policy["PolicyDocument"]["Statement"]):
                statement = _statement(written)
                for action in _actions(statement):
                    yield Permission(
                        service, role, policy["PolicyName"], number, action, _in_short(statement["Resource"])
                    )


def without(template: Template, taken: Collection[Permission]) -> Template:
    """Returns a copy of the template without these permissions.

    A shared policy's permission is removed only from the given functions: their roles get their own copy of the policy.
    """
    mutated = copy.deepcopy(template)
    for role in {permission.role for permission in taken}:
        properties = mutated["Resources"][role]["Properties"]
        properties["Policies"] = [
            {**policy, "PolicyDocument": {**policy["PolicyDocument"], "Statement": left}}
            for policy in policies(mutated, role)
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


def policies(template: Template, role: str) -> list[dict[str, Any]]:
    """Returns a role's policies, with shared ones in the form of its own."""
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
    """Returns a statement, without its Fn::If: a conditional one counts as present."""
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


_ARN = re.compile(r"^arn:.+:log-group:|:log-stream:\*$|^arn:.+:(?=[\w-]+/)|(?<=\w)/\$\{\w+\}.*$|/\*$")
"""The parts to remove from an ARN to leave the kind of resource."""
