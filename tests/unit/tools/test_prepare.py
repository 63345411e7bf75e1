"""The first deployment is prepared by what is missing, once, and what can't be looked at doesn't end it."""

from types import SimpleNamespace
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError
from click.testing import CliRunner, Result

from tests.cases import cases
from tests.template.rendering import COMPUTE, TEMPLATE, load, resolved
from tools import prepare as tool
from tools.prepare import EXECUTIONS, QUOTAS, ROLES, STACK_NAME, findings

RICH: Final = 10_000
API_EXECUTIONS: Final = 10
"""What the API is left at the stack's defaults: 50 requests a second of 0.2 s each."""


def refusal(code: str, message: str = "no") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Call")


class Account:
    """As much of an account as is asked for. `lost` roles are created without an answer, as after a timeout."""

    def __init__(self, *roles: str, region: str = "eu-central-1") -> None:
        self.roles, self.region = set(roles), region
        self.created: list[str] = []
        self.log_role: str | None = None
        self.executions = self.vcpus = RICH
        self.zones = {"a": "euc1-az1", "b": "euc1-az2"}
        self.changed_quotas = {quota.code for quota in QUOTAS}
        self.denied: set[str] = set()
        self.lost: set[str] = set()

    def client(self, service: str) -> Any:  # noqa: ANN401 - stands in for a client
        if service in self.denied:
            raise refusal("AccessDenied")
        calls: dict[str, dict[str, Any]] = {
            "iam": {"get_role": self._get, "create_service_linked_role": self._create},
            "apigateway": {"get_account": lambda: {"cloudwatchRoleArn": self.log_role} if self.log_role else {}},
            "lambda": {"get_account_settings": lambda: {"AccountLimit": {"ConcurrentExecutions": self.executions}}},
            "service-quotas": {"get_service_quota": self._quota, "get_aws_default_service_quota": self._default},
            "ec2": {"describe_availability_zones": self._zones},
        }
        return SimpleNamespace(**calls[service])

    def _get(self, *, RoleName: str) -> dict[str, Any]:  # noqa: N803 - botocore's
        if RoleName not in self.roles:
            raise refusal("NoSuchEntity")
        return {"Role": {"RoleName": RoleName}}

    def _create(self, *, AWSServiceName: str) -> dict[str, Any]:  # noqa: N803 - botocore's
        [name] = [name for name, service in ROLES.items() if service == AWSServiceName]
        if name in self.roles or name in self.lost:
            raise refusal("InvalidInput", f"Service role name {name} has been taken in this account, please try …")
        self.created.append(name)
        self.roles.add(name)
        return {}

    def _quota(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:  # noqa: ARG002, N803 - botocore's
        if QuotaCode not in self.changed_quotas:
            raise refusal("NoSuchResourceException")
        return {"Quota": {"Value": float(self.vcpus)}}

    def _default(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, Any]:  # noqa: ARG002, N803 - botocore's
        return {"Quota": {"Value": 5.0}}

    def _zones(self, *, Filters: Any) -> dict[str, Any]:  # noqa: ANN401, ARG002, N803 - botocore's
        found = [{"ZoneName": self.region + name, "ZoneId": zone} for name, zone in self.zones.items()]
        return {"AvailabilityZones": found}


def prepared(account: Account, stack: str | None = None, *, dry_run: bool = False) -> list[str]:
    return [f"{each.verdict} {each.text}" for each in findings(account.client, account.region, stack, dry_run=dry_run)]


def test_missing_roles_are_created_once() -> None:
    account = Account("AWSServiceRoleForECS")
    assert prepared(account)[:3] == [
        "ok role AWSServiceRoleForECS exists",
        "done role AWSServiceRoleForBatch was created",
        "done role AWSServiceRoleForEC2Spot was created",
    ]
    assert all(line.startswith("ok ") for line in prepared(account))
    assert account.created == ["AWSServiceRoleForBatch", "AWSServiceRoleForEC2Spot"]


def test_a_creation_whose_answer_was_lost_has_happened() -> None:
    account = Account()
    account.lost = set(ROLES)
    assert all(line.startswith("ok role") for line in prepared(account)[:3])


def test_a_dry_run_creates_nothing() -> None:
    account = Account()
    assert prepared(account, dry_run=True)[0] == "note role AWSServiceRoleForECS is missing and would be created"
    assert account.created == []


@cases("name", ["switchyard-dev", "a", "a" * 43])
def test_a_stack_may_have_this_name(name: str) -> None:
    assert prepared(Account(), name)[0] == f"ok stack name {name}"


@cases("name", ["Switchyard", "a" * 44, "1a", "a_b", "", "a\n"])
def test_a_stack_may_not_have_this_name(name: str) -> None:
    assert prepared(Account(), name)[0].startswith("wrong stack name")


def test_the_longest_name_of_a_stack_fits_what_is_named_after_it() -> None:
    """And one more character doesn't: the bound is the templates' own."""
    longest = next(length for length in range(128, 0, -1) if STACK_NAME.fullmatch("a" * length))
    limits = {
        "AWS::Lambda::Function": ("FunctionName", 64),
        "AWS::S3::Bucket": ("BucketName", 63),
        "AWS::SQS::Queue": ("QueueName", 80),
        "AWS::S3Vectors::VectorBucket": ("VectorBucketName", 63),
    }
    room = []
    for kind, (name, limit) in limits.items():
        for properties in load(TEMPLATE).of_type(kind).values():
            if name in properties:
                text = properties[name]["Fn::Sub"]
                text = text if isinstance(text, str) else text[0].replace("${Piece}", "1234abcd")
                room.append(limit - len(text.replace("${AWS::StackName}", "")))
    assert min(room) == longest


def test_what_would_be_short_is_said_with_its_quota() -> None:
    account = Account(*ROLES)
    account.executions, account.vcpus = 10, 6
    account.changed_quotas -= {"L-36FBB829"}
    account.log_role = "arn:aws:iam::123456789012:role/logs"
    notes = [line for line in prepared(account) if line.startswith("note")]
    told = ["SetApiLogRole=false", "L-B99A9384", *(quota.code for quota in QUOTAS)]
    assert [what for line in notes for what in told if what in line] == told
    assert "Fargate Spot vCPUs: 5," in " ".join(notes)


@cases(
    ("region", "zones", "told"),
    [
        ("us-west-1", {"a": "usw1-az3", "c": "usw1-az1"}, "ok zones us-west-1a, us-west-1c"),
        ("us-west-1", {"b": "usw1-az2", "c": "usw1-az1"}, "wrong fewer than two zones"),
        ("ap-northeast-1", {"a": "apne1-az4", "b": "apne1-az3", "c": "apne1-az1"}, "wrong no Fargate in one of "),
        ("eu-central-1", {"a": "euc1-az2", "b": "euc1-az3"}, "ok zones eu-central-1a, eu-central-1b"),
    ],
)
def test_zones_without_fargate_are_found(region: str, zones: dict[str, str], told: str) -> None:
    account = Account(*ROLES, region=region)
    account.zones = zones
    [line] = [line for line in prepared(account) if "zone" in line or "Fargate in" in line]
    assert line.startswith(told)
    if "ComputeZones=" in line:
        assert line.endswith("ComputeZones=ap-northeast-1a,ap-northeast-1c")


def test_what_may_not_be_looked_at_is_left_out() -> None:
    account = Account(*ROLES)
    account.denied = {"apigateway", "lambda", "service-quotas", "ec2"}
    assert [line for line in prepared(account) if "can't look" not in line] == [
        f"ok role {name} exists" for name in ROLES
    ]


# ---- the figures are the templates' ----------------------------------------------------------------------------------


def test_the_defaults_leave_the_api_its_share_of_the_executions() -> None:
    resources = resolved(TEMPLATE)
    parameters = load(TEMPLATE).written["Parameters"]
    maxima = 0
    for mapping in load(TEMPLATE).of_type("AWS::Lambda::EventSourceMapping").values():
        if mapping.get("Enabled", {}).get("Fn::If", [""])[0] in {"Notifies", "HasWebhooks"}:  # off by default
            continue
        most = mapping["ScalingConfig"]["MaximumConcurrency"]["Fn::If"][1]
        maxima += parameters[most["Ref"]]["Default"] if isinstance(most, dict) else most
    schedules = sum(
        "Schedule" in str(each["Properties"]) for each in resources.values() if each["Type"] == "AWS::Events::Rule"
    )
    assert maxima + schedules + API_EXECUTIONS <= EXECUTIONS


def test_the_quotas_are_those_of_the_default_limits() -> None:
    parameters = {name: each.get("Default") for name, each in load(TEMPLATE).written["Parameters"].items()}
    tasks = {name: int(each["Cpu"]) / 1024 for name, each in load(COMPUTE).of_type("AWS::ECS::TaskDefinition").items()}
    fargate = (
        parameters["MaxConcurrentRecordings"] * tasks["RecorderTask"]
        + parameters["MaxConcurrentImages"] * tasks["DetectorTask"]
        + parameters["MaxConcurrentSeeders"] * tasks["SeederTask"]
    )
    for quota in QUOTAS:
        need = fargate if quota.service == "fargate" else parameters["ComputeMaxVcpus"]
        assert quota.need - 1 < need <= quota.need


# ---- the command -----------------------------------------------------------------------------------------------------


def ran(monkeypatch: pytest.MonkeyPatch, account: Account, *arguments: str) -> Result:
    identity = SimpleNamespace(get_caller_identity=lambda: {"Account": "123456789012", "Arn": "arn:aws:iam::1:user/me"})

    def client(service: str) -> Any:  # noqa: ANN401 - a client
        return identity if service == "sts" else account.client(service)

    session = SimpleNamespace(client=client, region_name=account.region)
    monkeypatch.setattr("boto3.Session", lambda **_: session)
    return CliRunner().invoke(tool.main, arguments)


def test_the_command_says_where_and_as_whom_it_works(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ran(monkeypatch, Account())
    assert result.exit_code == 0
    assert result.output.splitlines()[0] == "account 123456789012, Region eu-central-1, as arn:aws:iam::1:user/me"


def test_the_command_fails_if_the_deployment_would(monkeypatch: pytest.MonkeyPatch) -> None:
    result = ran(monkeypatch, Account(), "--stack", "Switchyard")
    assert (result.exit_code, result.output.splitlines()[-1]) == (1, "Error: the deployment would fail")


def test_the_command_fails_without_the_right_to_create_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    account = Account()
    account.denied = {"iam"}
    result = ran(monkeypatch, account)
    assert result.exit_code == 1
    assert "AccessDenied" in result.output
