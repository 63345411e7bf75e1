"""The stand-in retries failed jobs as AWS Batch does."""

from typing import Any

from local.compute.retries import retried
from tests.cases import cases

RULES = [
    {"onStatusReason": "Host EC2*", "action": "RETRY"},
    {"onExitCode": "65", "action": "exit"},
    {"onExitCode": "13*", "onReason": "Out*", "action": "EXIT"},
    {"onReason": "", "action": "RETRY"},
    {"onReason": "*", "action": "EXIT"},
]


@cases(
    ("failure", "expected"),
    [
        ({"exit_code": 1}, True),
        ({"exit_code": 65}, False),
        ({"exit_code": 651}, True),
        ({"exit_code": 65, "status_reason": "Host EC2 (instance i-1) terminated."}, True),
        ({"exit_code": 65, "status_reason": "A Host EC2"}, False),
        ({"exit_code": None, "status_reason": "Host EC2 (instance i-1) terminated."}, True),
        ({"exit_code": 137, "reason": "OutOfMemoryError: killed"}, False),
        ({"exit_code": 137}, True),
        ({"exit_code": 1, "reason": "anything"}, False),
    ],
)
def test_the_first_rule_that_holds_decides(failure: dict[str, Any], *, expected: bool) -> None:
    known = {"exit_code": 1, "reason": "", "status_reason": "Essential container in task exited", **failure}
    assert retried({"attempts": 2, "evaluateOnExit": RULES}, attempts=1, **known) is expected


@cases(
    ("strategy", "attempts", "expected"),
    [
        ({}, 1, False),
        ({"attempts": 1}, 1, False),
        ({"attempts": 3}, 2, True),
        ({"attempts": 3}, 3, False),
        ({"attempts": 3, "evaluateOnExit": [{"onExitCode": "9", "action": "EXIT"}]}, 1, True),
        ({"attempts": 3, "evaluateOnExit": [{"onExitCode": "1", "action": "RETRY"}]}, 3, False),
    ],
)
def test_attempts_are_the_limit_and_no_rule_means_retry(
    strategy: dict[str, Any], attempts: int, *, expected: bool
) -> None:
    assert retried(strategy, attempts=attempts, exit_code=1, reason="", status_reason="") is expected
