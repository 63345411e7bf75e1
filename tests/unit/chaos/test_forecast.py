"""Every call that the functions may make gets every kind of fault."""

import pytest

from local.compute.faults import Fault
from tests.chaos import forecast
from tests.chaos.forecast import OF_THE_STAND_IN, Disturbance, Operation, UnknownActionError
from tests.iam.permissions import permissions
from tests.template.rendering import TEMPLATE, load

GET = Operation("dynamodb", "GetItem")
SUBMIT = Operation("batch", "SubmitJob")


@pytest.fixture(scope="module")
def granted() -> set[str]:
    return {each.action for each in permissions(load(TEMPLATE).written)}


def test_every_action_that_the_template_grants_is_disturbed_or_excused(granted: set[str]) -> None:
    assert forecast.operations(granted)


def test_no_excuse_is_left_over(granted: set[str]) -> None:
    assert forecast.NOT_CALLED.keys() <= granted


def test_an_action_of_which_nothing_is_said_is_told_of() -> None:
    with pytest.raises(UnknownActionError, match="dynamodb:Scan"):
        forecast.operations(["dynamodb:GetItem", "dynamodb:Scan"])


def test_a_write_of_two_tables_may_come_as_a_transaction() -> None:
    assert Operation("dynamodb", "TransactWriteItems") in forecast.operations(["dynamodb:UpdateItem"])


def test_every_operation_on_the_wire_has_a_rule_for_every_kind_twice(granted: set[str]) -> None:
    asked = forecast.operations(granted)
    rules = forecast.on_the_wire(asked)

    for operation in asked:
        kinds = [kind for about, kind, _ in rules if about == operation]
        if operation.service not in OF_THE_STAND_IN:
            assert {"throttled", "500", "503", "reset", "late"} <= set(kinds)
            assert len(kinds) == 2 * len(set(kinds))  # a few times for certain, and then by luck


def test_the_last_rule_lets_everything_through_and_is_about_nothing() -> None:
    assert forecast.on_the_wire([GET])[-1] == (None, "", {"service": "*"})


def test_a_stronger_storm_only_raises_the_chances() -> None:
    weak, strong = (forecast.on_the_wire([GET], strength) for strength in (1, 2))

    for (_, kind, one), (_, _, other) in zip(weak[:-1], strong[:-1], strict=True):
        factor = 1 if "times" in one else 2
        assert other["probability"] == pytest.approx(factor * one["probability"]), kind


def test_the_stand_in_understands_its_faults(granted: set[str]) -> None:
    rules = forecast.on_the_stand_in(forecast.operations(granted))

    faults = [Fault(**rule) for rule in rules]  # raises for what it doesn't understand

    assert {fault.operation for fault in faults} >= {"SubmitJob", "RunTask", "ListJobs", "DescribeTasks", "events"}


def test_an_operation_that_no_fault_hit_is_told_of() -> None:
    seen = [Disturbance(GET, 7, {}), Disturbance(SUBMIT, 3, {"reset": 1})]

    assert forecast.undisturbed(seen) == [GET]


def test_an_operation_that_nobody_called_is_told_of() -> None:
    assert forecast.not_called([Disturbance(GET, 7, {}), Disturbance(SUBMIT, 0, {})], [GET, SUBMIT]) == [SUBMIT]
