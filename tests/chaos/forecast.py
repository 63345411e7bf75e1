"""Decides which faults hit which AWS operations, and how often. Pure; `wire` applies them.

The operations come from the functions' roles, so that a newly granted permission without faults is reported.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

type Rule = dict[str, Any]


@dataclass(frozen=True, order=True)
class Operation:
    """An AWS operation, by the names of microburst and botocore."""

    service: str
    name: str

    def __str__(self) -> str:
        """Returns the usual notation."""
        return f"{self.service} {self.name}"


_TRANSACTED: Final = "TransactWriteItems"
_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb:GetItem": ("GetItem",),
    "dynamodb:BatchGetItem": ("BatchGetItem",),
    "dynamodb:PutItem": ("PutItem", _TRANSACTED),
    "dynamodb:UpdateItem": ("UpdateItem", _TRANSACTED),
    "dynamodb:DeleteItem": ("DeleteItem", _TRANSACTED),
    "dynamodb:ConditionCheckItem": (_TRANSACTED,),
    "dynamodb:Query": ("Query",),
    "sqs:SendMessage": ("SendMessage", "SendMessageBatch"),
    "sqs:ChangeMessageVisibility": ("ChangeMessageVisibility",),
    "secretsmanager:GetSecretValue": ("GetSecretValue",),
    "events:PutEvents": ("PutEvents",),
    "s3:GetObject": ("GetObject", "HeadObject"),
    "s3:GetObjectVersion": ("GetObject",),
    "s3:GetObjectAttributes": ("GetObjectAttributes",),
    "s3:GetObjectVersionAttributes": ("GetObjectAttributes",),
    "s3:PutObject": ("PutObject", "CreateMultipartUpload", "CompleteMultipartUpload"),
    "s3:ListMultipartUploadParts": ("ListParts",),
    "s3:AbortMultipartUpload": ("AbortMultipartUpload",),
    "s3:ListBucketVersions": ("ListObjectVersions",),
    "s3:DeleteObject": ("DeleteObjects",),
    "s3:DeleteObjectVersion": ("DeleteObjects",),
    "batch:SubmitJob": ("SubmitJob",),
    "batch:ListJobs": ("ListJobs",),
    "batch:DescribeJobs": ("DescribeJobs",),
    "batch:TerminateJob": ("TerminateJob",),
    "ecs:RunTask": ("RunTask",),
    "ecs:ListTasks": ("ListTasks",),
    "ecs:DescribeTasks": ("DescribeTasks",),
    "ecs:StopTask": ("StopTask",),
}
NOT_CALLED: Final[Mapping[str, str]] = {
    "sqs:ReceiveMessage": "Lambda's poller makes it, not the function",
    "sqs:DeleteMessage": "as sqs:ReceiveMessage",
    "sqs:GetQueueAttributes": "as sqs:ReceiveMessage",
    "dynamodb:DescribeStream": "as sqs:ReceiveMessage",
    "dynamodb:GetRecords": "as sqs:ReceiveMessage",
    "dynamodb:GetShardIterator": "as sqs:ReceiveMessage",
    "dynamodb:ListStreams": "as sqs:ReceiveMessage",
    "logs:CreateLogStream": "Lambda itself makes it",
    "logs:PutLogEvents": "as logs:CreateLogStream",
    "xray:PutTraceSegments": "Lambda's X-Ray daemon makes it",
    "xray:PutTelemetryRecords": "as xray:PutTraceSegments",
    "logs:GetLogEvents": "a storm reads no logs; unit/api/test_logs has these faults",
    "states:SendTaskSuccess": "a storm has no state machine; unit/notifications/test_tasks has these faults",
    "states:SendTaskFailure": "as states:SendTaskSuccess",
    "states:SendTaskHeartbeat": "as states:SendTaskSuccess",
    "lambda:InvokeFunction": "a storm sends no bulk requests; unit/api/test_bulk has these faults",
    "batch:TagResource": "asked for by SubmitJob; no call of its own",
    "ecs:TagResource": "asked for by RunTask; no call of its own",
    "iam:PassRole": "asked for by RunTask; no call of its own",
    "s3vectors:QueryVectors": "a storm searches nothing; contract/test_search_index has these faults",
    "s3vectors:GetVectors": "as s3vectors:QueryVectors",
    "s3vectors:DeleteVectors": "as s3vectors:QueryVectors",
    "bedrock:InvokeModel": "a storm asks for no answers; unit/language has these faults",
    "s3:ListBucket": "makes S3 answer 404 for what is not there; no call of its own",
}
"""Permissions for which the function makes no call, and why."""
OF_THE_STAND_IN: Final = frozenset({"batch", "ecs"})
"""Services whose faults `local.compute` injects itself."""


class UnknownActionError(Exception):
    """A function has a permission without faults defined for it."""


def operations(actions: Iterable[str]) -> list[Operation]:
    """Returns the operations that functions with these permissions can call.

    Raises:
        UnknownActionError: naming the actions that are neither in the table of calls nor in `NOT_CALLED`.
    """
    asked = set(actions)
    if unknown := asked - _CALLS.keys() - NOT_CALLED.keys():
        raise UnknownActionError(f"nothing disturbs {', '.join(sorted(unknown))}: add them to tests/chaos/forecast.py")
    return sorted(
        {Operation(action.split(":")[0], call) for action in asked & _CALLS.keys() for call in _CALLS[action]}
    )


# ---- faults ----------------------------------------------------------------------------------------------------------

LEAST: Final = 2
"""How often each fault hits an operation before chance decides, so that rarely called operations get faults too."""
EAGERNESS: Final = 0.06
"""The probability of a fault until then."""
EAGERNESS_WHERE_SELDOM: Final = 0.25
"""The same for operations that only repairs or a few requests call."""
OFTEN: Final = 20
"""After so many calls without a fault, a fault is missing; it is no coincidence."""

_SELDOM: Final = frozenset(
    {
        *("batch ListJobs", "batch DescribeJobs", "batch TerminateJob"),
        *("ecs ListTasks", "ecs DescribeTasks", "ecs StopTask"),
        *("s3 ListParts", "s3 CreateMultipartUpload", "s3 CompleteMultipartUpload", "s3 AbortMultipartUpload"),
        *("s3 GetObjectAttributes", "s3 ListObjectVersions", "s3 DeleteObjects", "dynamodb DeleteItem"),
    }
)


def _eagerness(operation: Operation) -> float:
    return EAGERNESS_WHERE_SELDOM if str(operation) in _SELDOM else EAGERNESS


_LATE_MS: Final = {"s3 GetObject": 32_000}
"""Longer than the clients' read timeout (clients.py): 5 s, and 30 s for whole objects."""
_USUAL_LATE_MS: Final = 6_000

_WITHOUT_BODY: Final = frozenset({"s3 HeadObject", "s3 PutObject", "s3 AbortMultipartUpload"})
"""Operations whose answers have no body to cut; "late" hides their effect from their callers."""

_THROTTLES: Final[Mapping[str, Rule]] = {
    "dynamodb": {"code": "ThrottlingException", "status": 400, "message": "Rate of requests exceeds the limit."},
    "sqs": {"code": "RequestThrottled", "status": 403, "message": "Rate exceeded."},
    "events": {"code": "ThrottlingException", "status": 400, "message": "Rate exceeded."},
    "secretsmanager": {"code": "ThrottlingException", "status": 400, "message": "Rate exceeded."},
    "s3": {"code": "SlowDown", "status": 503, "message": "Please reduce your request rate."},
}


def _effects(operation: Operation) -> Mapping[str, tuple[float, Rule]]:
    """Returns every kind of fault on the wire, with its share of all calls and its microburst rule."""
    internal = "InternalServerError" if operation.service == "dynamodb" else "InternalError"
    effects: dict[str, tuple[float, Rule]] = {
        "throttled": (0.020, {"error": _THROTTLES[operation.service]}),
        "500": (0.012, {"error": {"code": internal, "status": 500, "message": "An internal error occurred."}}),
        "503": (0.010, {"error": {"code": "ServiceUnavailable", "status": 503, "message": "Try again."}}),
        "reset": (0.012, {"reset": True}),
        # The call takes effect, but the answer is lost.
        "answer lost": (0.012, {"response": {"abort_bytes": 0}}),
        "answer cut": (0.006, {"response": {"abort_frac": 0.5}}),
        # ... and here it takes effect after its caller has timed out and retried.
        "late": (0.004, {"latency": _LATE_MS.get(str(operation), _USUAL_LATE_MS)}),
        "slow": (0.030, {"latency": 300}),
    }
    if str(operation) in _WITHOUT_BODY:
        del effects["answer lost"], effects["answer cut"]
    return effects


def on_the_wire(asked: Sequence[Operation], strength: float = 1.0) -> list[tuple[Operation | None, str, Rule]]:
    """Returns microburst's rules, each with its operation and fault. The last rule passes everything and counts it.

    Each call goes through the rules in order and gets the first fault that chance selects.
    """
    rules: list[tuple[Operation | None, str, Rule]] = []
    for operation in asked:
        if operation.service in OF_THE_STAND_IN:
            continue
        where = {"service": operation.service, "operation": operation.name}
        effects = _effects(operation)
        rules += [
            (operation, kind, {**where, "times": LEAST, "probability": _eagerness(operation), **effect})
            for kind, (_, effect) in effects.items()
        ]
        rules += [
            (operation, kind, {**where, "probability": share * strength, **effect})
            for kind, (share, effect) in effects.items()
        ]
    return [*rules, (None, "", {"service": "*"})]


_OF_CALLS: Final[Mapping[str, tuple[float, Rule]]] = {
    "throttle": (0.020, {}),
    "error500": (0.012, {}),
    "reset": (0.012, {}),
    "reset_after_effect": (0.012, {}),
    "cut_after_effect": (0.010, {}),
    # No answer until the caller times out, which for SubmitJob takes ten seconds.
    "timeout_before_effect": (0.003, {}),
    "timeout_after_effect": (0.005, {}),
}
_OF_RUN_TASK: Final[Mapping[str, tuple[float, Rule]]] = {
    "capacity": (0.020, {"reason": "RESOURCE:CPU"}),
}
_OF_EVENTS: Final[Mapping[str, tuple[float, Rule]]] = {
    "drop": (0.030, {}),
    "duplicate": (0.050, {}),
    "delay": (0.050, {"delaySeconds": 3}),
    "reverse": (0.020, {}),
}


def on_the_stand_in(asked: Sequence[Operation], strength: float = 1.0) -> list[Rule]:
    """Returns faults of the stand-in for Batch and ECS, and of its state change events; see `local.compute.faults`."""
    rules = []
    for operation in asked:
        if operation.service in OF_THE_STAND_IN:
            modes = {**_OF_CALLS, **(_OF_RUN_TASK if operation.name == "RunTask" else {})}
            rules += [
                {
                    "operation": operation.name,
                    "mode": mode,
                    "times": LEAST,
                    "probability": _eagerness(operation),
                    **more,
                }
                for mode, (_, more) in modes.items()
            ]
            rules += [
                {"operation": operation.name, "mode": mode, "probability": share * strength, **more}
                for mode, (share, more) in modes.items()
            ]
    return rules + [
        {"operation": "events", "mode": mode, "probability": share * strength, **more}
        for mode, (share, more) in _OF_EVENTS.items()
    ]


# ---- results ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disturbance:
    """One operation's calls, and how often each fault hit it."""

    operation: Operation
    calls: int
    faults: Mapping[str, int]

    @property
    def hits(self) -> int:
        """Returns how many calls were hit by a fault."""
        return sum(self.faults.values())


def undisturbed(seen: Iterable[Disturbance], calls: int = 1) -> list[Operation]:
    """Returns operations with at least `calls` calls that no fault ever hit."""
    return [each.operation for each in seen if each.calls >= calls and not each.hits]


def not_called(seen: Iterable[Disturbance], asked: Iterable[Operation]) -> list[Operation]:
    """Returns operations that functions may call but never did."""
    return sorted(set(asked) - {each.operation for each in seen if each.calls})
