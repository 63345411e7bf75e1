"""Which faults hit which AWS operations, how often: pure. `wire` puts them in force.

The operations are those that the functions' roles allow, so that whoever grants a function something new is told that
nothing disturbs it yet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

type Rule = dict[str, Any]


@dataclass(frozen=True, order=True)
class Operation:
    """A call of AWS, as microburst and botocore name it."""

    service: str
    name: str

    def __str__(self) -> str:
        """As people write it."""
        return f"{self.service} {self.name}"


_TRANSACTED: Final = "TransactWriteItems"
_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    "dynamodb:GetItem": ("GetItem",),
    "dynamodb:PutItem": ("PutItem", _TRANSACTED),
    "dynamodb:UpdateItem": ("UpdateItem", _TRANSACTED),
    "dynamodb:DeleteItem": ("DeleteItem", _TRANSACTED),
    "dynamodb:ConditionCheckItem": (_TRANSACTED,),
    "dynamodb:Query": ("Query",),
    "sqs:SendMessage": ("SendMessage",),
    "sqs:ChangeMessageVisibility": ("ChangeMessageVisibility",),
    "s3:GetObject": ("GetObject", "HeadObject"),
    "s3:GetObjectVersion": ("GetObject",),
    "s3:GetObjectAttributes": ("GetObjectAttributes",),
    "s3:GetObjectVersionAttributes": ("GetObjectAttributes",),
    "s3:PutObject": ("PutObject", "CreateMultipartUpload", "CompleteMultipartUpload"),
    "s3:ListMultipartUploadParts": ("ListParts",),
    "s3:AbortMultipartUpload": ("AbortMultipartUpload",),
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
    "logs:CreateLogStream": "Lambda itself makes it",
    "logs:PutLogEvents": "as logs:CreateLogStream",
    "xray:PutTraceSegments": "Lambda's X-Ray daemon makes it",
    "xray:PutTelemetryRecords": "as xray:PutTraceSegments",
    "batch:TagResource": "asked for by SubmitJob; no call of its own",
    "ecs:TagResource": "asked for by RunTask; no call of its own",
    "iam:PassRole": "asked for by RunTask; no call of its own",
    "s3:ListBucket": "makes S3 answer 404 for what is not there; no call of its own",
}
"""What a role allows though its function makes no such call, and why."""
OF_THE_STAND_IN: Final = frozenset({"batch", "ecs"})
"""The services whose faults `local.compute` makes itself."""


class UnknownActionError(Exception):
    """A function was granted something of which nobody has said yet how it can fail."""


def operations(actions: Iterable[str]) -> list[Operation]:
    """The calls that functions can make who are allowed these actions.

    Raises:
        UnknownActionError: naming the actions that are neither in the table of calls nor in `NOT_CALLED`.
    """
    asked = set(actions)
    if unknown := asked - _CALLS.keys() - NOT_CALLED.keys():
        raise UnknownActionError(f"nothing disturbs {', '.join(sorted(unknown))}: add them to tests/chaos/forecast.py")
    return sorted(
        {Operation(action.split(":")[0], call) for action in asked & _CALLS.keys() for call in _CALLS[action]}
    )


# ---- weather ---------------------------------------------------------------------------------------------------------

LEAST: Final = 2
"""How often each fault hits an operation before luck decides: so that what is called a few times is disturbed too."""
EAGERNESS: Final = 0.06
"""How likely it is until then."""
EAGERNESS_WHERE_SELDOM: Final = 0.25
"""The same for what only a repair or a few requests call."""
OFTEN: Final = 20
"""So many calls without a fault are no luck, but a fault that is missing."""

_SELDOM: Final = frozenset(
    {
        *("batch ListJobs", "batch DescribeJobs", "batch TerminateJob"),
        *("ecs ListTasks", "ecs DescribeTasks", "ecs StopTask"),
        *("s3 ListParts", "s3 CreateMultipartUpload", "s3 CompleteMultipartUpload", "s3 AbortMultipartUpload"),
        *("s3 GetObjectAttributes", "dynamodb DeleteItem"),
    }
)


def _eagerness(operation: Operation) -> float:
    return EAGERNESS_WHERE_SELDOM if str(operation) in _SELDOM else EAGERNESS


_LATE_MS: Final = {"s3 GetObject": 32_000}
"""Past the clients' read timeout (clients.py): 5 s, and 30 s for whole objects."""
_USUAL_LATE_MS: Final = 6_000

_WITHOUT_BODY: Final = frozenset({"s3 HeadObject", "s3 PutObject", "s3 AbortMultipartUpload"})
"""Their answers have no body that could be cut; "late" is what keeps their effect from their callers."""

_THROTTLES: Final[Mapping[str, Rule]] = {
    "dynamodb": {"code": "ThrottlingException", "status": 400, "message": "Rate of requests exceeds the limit."},
    "sqs": {"code": "RequestThrottled", "status": 403, "message": "Rate exceeded."},
    "s3": {"code": "SlowDown", "status": 503, "message": "Please reduce your request rate."},
}


def _effects(operation: Operation) -> Mapping[str, tuple[float, Rule]]:
    """Every kind of fault on the wire, with its share of all calls and microburst's words for it."""
    internal = "InternalServerError" if operation.service == "dynamodb" else "InternalError"
    effects: dict[str, tuple[float, Rule]] = {
        "throttled": (0.020, {"error": _THROTTLES[operation.service]}),
        "500": (0.012, {"error": {"code": internal, "status": 500, "message": "An internal error occurred."}}),
        "503": (0.010, {"error": {"code": "ServiceUnavailable", "status": 503, "message": "Try again."}}),
        "reset": (0.012, {"reset": True}),
        # The call takes effect, but nobody learns of it.
        "answer lost": (0.012, {"response": {"abort_bytes": 0}}),
        "answer cut": (0.006, {"response": {"abort_frac": 0.5}}),
        # ... and here it does so after its caller has given up and asked again.
        "late": (0.004, {"latency": _LATE_MS.get(str(operation), _USUAL_LATE_MS)}),
        "slow": (0.030, {"latency": 300}),
    }
    if str(operation) in _WITHOUT_BODY:
        del effects["answer lost"], effects["answer cut"]
    return effects


def on_the_wire(asked: Sequence[Operation], strength: float = 1.0) -> list[tuple[Operation | None, str, Rule]]:
    """Microburst's rules, each with what it is about. The last one lets everything through, and counts it.

    Each call is looked at by one rule after the other, and meets the first fault that its dice say.
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
    # Silent until the caller gives up, which for SubmitJob takes ten seconds.
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
    """The faults of the stand-in for Batch and ECS, and of its state change events; see `local.compute.faults`."""
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


# ---- what came of it -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Disturbance:
    """What one operation met: how often it was called, how often each fault hit it."""

    operation: Operation
    calls: int
    faults: Mapping[str, int]

    @property
    def hits(self) -> int:
        """How many calls met a fault."""
        return sum(self.faults.values())


def undisturbed(seen: Iterable[Disturbance], calls: int = 1) -> list[Operation]:
    """Operations that were called so often at least, and that no fault ever hit."""
    return [each.operation for each in seen if each.calls >= calls and not each.hits]


def not_called(seen: Iterable[Disturbance], asked: Iterable[Operation]) -> list[Operation]:
    """Operations that functions may call, and that none did."""
    return sorted(set(asked) - {each.operation for each in seen if each.calls})
