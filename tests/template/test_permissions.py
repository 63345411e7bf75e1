"""The functions' permissions, checked without deploying. `make check-iam` shows that all of them are needed."""

import copy
import json
from collections.abc import Iterable
from typing import Final

from moto.iam.aws_managed_policies import aws_managed_policies_data

from tests.cases import cases
from tests.iam.excuses import EXCUSES, excuse
from tests.iam.permissions import Permission, permissions, policies, without
from tests.iam.probes import PROBES
from tests.template.rendering import TEMPLATE, load

TEMPLATE_AS_WRITTEN: Final = load(TEMPLATE).written
PERMISSIONS: Final = permissions(TEMPLATE_AS_WRITTEN)


def names(found: Iterable[Permission]) -> list[tuple[str, str, str]]:
    """As a list, since the numbers of statements change when one goes."""
    return [(permission.function, permission.policy, permission.what) for permission in found]


@cases("permission", PERMISSIONS, ids=str)
def test_every_permission_has_a_probe_or_an_excuse(permission: Permission) -> None:
    """So `make check-iam` knows which probes to run, and a newly granted permission fails here first."""
    assert any(probe.claimed(permission) for probe in PROBES) or excuse(permission)


def test_probes_and_excuses_are_for_permissions_that_there_are() -> None:
    granted = {(permission.function, permission.what) for permission in PERMISSIONS}
    claimed = {claim for probe in PROBES for claim in probe.claims}
    excused = {(function, what) for function, whats in EXCUSES.items() for what in whats}

    assert claimed | excused == granted


def test_aws_itself_grants_what_is_excused() -> None:
    policies = json.loads(aws_managed_policies_data)
    for what, why in ((what, why) for whats in EXCUSES.values() for what, why in whats.items()):
        if why.policy:
            statements = policies[why.policy]["Document"]["Statement"]
            assert what.partition(" ")[0] in {action for statement in statements for action in statement["Action"]}


@cases("permission", PERMISSIONS, ids=str)
def test_a_permission_is_taken_from_its_function_and_from_no_other(permission: Permission) -> None:
    before = copy.deepcopy(TEMPLATE_AS_WRITTEN)

    left = permissions(without(TEMPLATE_AS_WRITTEN, [permission]))

    assert sorted([*names(left), *names([permission])]) == sorted(names(PERMISSIONS))
    assert before == TEMPLATE_AS_WRITTEN


def test_many_permissions_are_taken_at_once() -> None:
    """Also a policy's last one, and with it the policy."""
    assert permissions(without(TEMPLATE_AS_WRITTEN, PERMISSIONS)) == []


def test_only_runs_with_our_tags_may_be_ended() -> None:
    """Every run has had these tags since the first version, so runs from before an update can be ended too."""
    ours = {
        "StringEquals": {"aws:ResourceTag/Environment": {"Ref": "Environment"}},
        "Null": {"aws:ResourceTag/JobId": "false"},
    }
    ending = {"batch:TerminateJob", "ecs:StopTask"}
    found = [
        (permission.action, statement.get("Condition"))
        for permission in PERMISSIONS
        if permission.action in ending
        for policy in policies(TEMPLATE_AS_WRITTEN, permission.role)
        if policy["PolicyName"] == permission.policy
        for statement in [policy["PolicyDocument"]["Statement"][permission.statement]]
    ]
    assert {action for action, _ in found} == ending
    assert all(condition == {"Fn::If": ["OnAws", ours, {"Ref": "AWS::NoValue"}]} for _, condition in found)
