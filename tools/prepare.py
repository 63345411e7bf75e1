"""Prepare an account and Region for the first `sam deploy` of Switchyard.

It creates the service-linked roles that CreateCompute=true needs and that a new account lacks, and changes nothing
else. Then it says what would make the deployment fail or its jobs wait: the stack's name, quotas, zones without
Fargate. It may be run again at any time; with --dry-run it only looks.

It uses your own credentials. They must allow iam:GetRole, iam:CreateServiceLinkedRole, sts:GetCallerIdentity; what it
may not look at, it leaves out: apigateway:GET, lambda:GetAccountSettings, servicequotas:GetServiceQuota,
servicequotas:GetAWSDefaultServiceQuota, ec2:DescribeAvailabilityZones.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, cast

import boto3
import click
from botocore.exceptions import BotoCoreError, ClientError

ROLES: Final = {
    "AWSServiceRoleForECS": "ecs.amazonaws.com",
    "AWSServiceRoleForBatch": "batch.amazonaws.com",
    "AWSServiceRoleForEC2Spot": "spot.amazonaws.com",
}
"""Service-linked roles and their services. A cluster, a compute environment and Spot instances need them."""
STACK_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,42}")
"""S3 takes no capitals in a bucket's name, and Lambda no more than 64 characters in a function's."""
EXECUTIONS: Final = 50
"""Concurrent executions of Lambda that the stack may use at its defaults (docs/deploying.md)."""
FARGATE_ZONES: Final = {
    "us-west-1": frozenset({"usw1-az1", "usw1-az3"}),
    "ap-northeast-1": frozenset({"apne1-az1", "apne1-az2", "apne1-az4"}),
    "cn-north-1": frozenset({"cnn1-az1", "cnn1-az2"}),
}
"""Zones with Fargate, by id, in the Regions where it isn't all of them.

https://docs.aws.amazon.com/AmazonECS/latest/developerguide/AWS_Fargate-Regions.html
"""


@dataclass(frozen=True, slots=True)
class Quota:
    """A quota of Service Quotas, and what the stack uses of it at its defaults."""

    name: str
    service: str
    code: str
    need: int


QUOTAS: Final = (
    Quota("Fargate vCPUs", "fargate", "L-3032A538", 23),  # 10 recordings, 5 images of 2, 5 seeders of half of one
    Quota("Fargate Spot vCPUs", "fargate", "L-36FBB829", 23),  # with FargateSpot=true
    Quota("EC2 Spot vCPUs", "ec2", "L-34B43A08", 16),  # ComputeMaxVcpus
    Quota("EC2 On-Demand vCPUs", "ec2", "L-1216C47A", 16),  # with ComputeSpot=false
)

type Verdict = Literal["ok", "done", "note", "wrong"]
type Clients = Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. With `wrong`, the deployment would fail."""

    verdict: Verdict
    text: str


def roles(client: Clients, *, dry_run: bool) -> Iterator[Finding]:
    """Creates the service-linked roles that are missing.

    Raises:
        ClientError, BotoCoreError: IAM refused or didn't answer.
    """
    iam = client("iam")
    for name, service in ROLES.items():
        try:
            iam.get_role(RoleName=name)
        except ClientError as error:
            if error.response["Error"]["Code"] != "NoSuchEntity":
                raise
        else:
            yield Finding("ok", f"role {name} exists")
            continue
        if dry_run:
            yield Finding("note", f"role {name} is missing and would be created")
            continue
        try:
            iam.create_service_linked_role(AWSServiceName=service)
        except ClientError as error:
            # Somebody else was faster, or our own first try took effect and its answer was lost.
            if "has been taken" not in error.response["Error"]["Message"]:
                raise
            yield Finding("ok", f"role {name} exists")
        else:
            yield Finding("done", f"role {name} was created")


def stack_name(name: str) -> Finding:
    """Whether a stack may have this name."""
    if STACK_NAME.fullmatch(name):
        return Finding("ok", f"stack name {name}")
    return Finding(
        "wrong", f"stack name {name!r}: it must be 1 to 43 lower-case letters, digits and hyphens, a letter first"
    )


def log_role(client: Clients) -> Finding:
    """Whether API Gateway has a role for logs, which is one setting for the account and Region."""
    arn = client("apigateway").get_account().get("cloudwatchRoleArn")
    if arn:
        return Finding("note", f"API Gateway logs as {arn}: deploy with SetApiLogRole=false, which keeps it")
    return Finding("ok", "API Gateway has no role for logs: SetApiLogRole=true, the default, sets one")


def executions(client: Clients) -> Finding:
    """Whether Lambda's concurrency suffices for all queues and the API at once."""
    limit = client("lambda").get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    text = f"Lambda: {limit} concurrent executions, the stack's defaults use up to {EXECUTIONS}"
    if limit >= EXECUTIONS:
        return Finding("ok", text)
    return Finding("note", f"{text}. Ask for more (quota L-B99A9384 of lambda) before there is work")


def vcpus(client: Clients, quota: Quota) -> Finding:
    """Whether a quota of vCPUs suffices for what the stack's limits let run at once."""
    quotas, which = client("service-quotas"), {"ServiceCode": quota.service, "QuotaCode": quota.code}
    try:
        answer = quotas.get_service_quota(**which)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NoSuchResourceException":
            raise
        answer = quotas.get_aws_default_service_quota(**which)  # of a quota that nobody has changed
    found = answer["Quota"]["Value"]
    text = f"{quota.name}: {found:.0f}, the stack's defaults use up to {quota.need}"
    if found >= quota.need:
        return Finding("ok", text)
    return Finding("note", f"{text}. Jobs wait beyond that: ask for more (quota {quota.code} of {quota.service})")


def zones(client: Clients, region: str) -> Finding:
    """Whether Fargate runs in the two zones that the starter compute takes."""
    answer = client("ec2").describe_availability_zones(
        Filters=[{"Name": "zone-type", "Values": ["availability-zone"]}, {"Name": "state", "Values": ["available"]}]
    )
    ids = {zone["ZoneName"]: zone["ZoneId"] for zone in answer["AvailabilityZones"]}
    taken = sorted(ids)[:2]
    good = [name for name in sorted(ids) if ids[name] in FARGATE_ZONES.get(region, ids.values())]
    if good[:2] == taken:
        return Finding("ok", f"zones {', '.join(taken)}")
    if len(good) < 2:
        return Finding("wrong", "fewer than two zones of this account have Fargate: use another Region")
    return Finding("wrong", f"no Fargate in one of {', '.join(taken)}: deploy with ComputeZones={','.join(good[:2])}")


def findings(client: Clients, region: str, stack: str | None, *, dry_run: bool) -> Iterator[Finding]:
    """Yields everything that is found, done or wrong, in this order."""
    if stack is not None:
        yield stack_name(stack)
    yield from roles(client, dry_run=dry_run)
    looks: Sequence[tuple[str, Callable[[], Finding]]] = [
        ("API Gateway's role for logs", lambda: log_role(client)),
        ("Lambda's concurrency", lambda: executions(client)),
        *((quota.name, lambda quota=quota: vcpus(client, quota)) for quota in QUOTAS),
        ("the zones", lambda: zones(client, region)),
    ]
    for what, look in looks:
        try:
            yield look()
        except ClientError as error:
            yield Finding("note", f"can't look at {what}: {error.response['Error']['Code']}")


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--stack", metavar="NAME", help="The name that the stack will have, to check it.")
@click.option("--dry-run", is_flag=True, help="Create nothing.")
@click.option("--profile", help="Your AWS profile.")
@click.option("--region", help="The Region, if neither profile nor environment names it.")
def main(*, stack: str | None, dry_run: bool, profile: str | None, region: str | None) -> None:  # noqa: D103 - the module's docstring is its help
    try:
        session = boto3.Session(profile_name=profile, region_name=region)
        client = cast("Clients", session.client)
        if session.region_name is None:
            raise click.UsageError("no Region: give --region, or set AWS_REGION")
        who = client("sts").get_caller_identity()
        click.echo(f"account {who['Account']}, Region {session.region_name}, as {who['Arn']}")
        wrong = False
        for finding in findings(client, session.region_name, stack, dry_run=dry_run):
            click.echo(f"{finding.verdict:>5}  {finding.text}")
            wrong = wrong or finding.verdict == "wrong"
    except (BotoCoreError, ClientError) as error:
        raise click.ClickException(str(error)) from error
    if wrong:
        raise click.ClickException("the deployment would fail")


if __name__ == "__main__":
    main(prog_name="python -m tools.prepare")
