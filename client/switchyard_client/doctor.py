"""Examines a stack with an operator's credentials: each check is ok, or says what to do. It changes nothing."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

from switchyard_client.discovery import Aws, outputs

MAPPINGS: Final[Mapping[str, str]] = {
    "VideoMappingUuid": "ProcessingEnabled",
    "EcsMappingUuid": "EcsProcessingEnabled",
    "TorrentMappingUuid": "TorrentProcessingEnabled",
    "SteamMappingUuid": "SteamProcessingEnabled",
    "TrackMappingUuid": "",
    "NotifyMappingUuid": "",
    "WebhookMappingUuid": "",
}
"""The outputs with ids of event source mappings, and the parameter that switches each off."""
DEAD_LETTERS: Final = ("Video", "Ecs", "Torrent", "Steam", "Track", "Notify", "Webhook", "Reconcile")
FUNCTIONS: Final = (
    "SqsToBatchFunctionName",
    "DispatchToEcsFunctionName",
    "TrackJobFunctionName",
    "ReconcileJobsFunctionName",
    "SubmitJobFunctionName",
    "GetJobFunctionName",
)
MOST_SKEW: Final = 60.0
"""Seconds that this clock may be off. Signatures fail from five minutes on."""
STUCK_HOURS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. `ok` is None if it couldn't be checked."""

    check: str
    ok: bool | None
    detail: str = ""
    advice: str = ""


def examine(aws: Aws) -> Iterator[Finding]:
    """The findings of all checks. A check that AWS refuses is a finding, too.

    Raises:
        SetupError: There is no such stack.
    """
    stack = aws.described()
    found = outputs(stack)
    yield _stack(stack)
    checks: Iterable[tuple[str, Callable[[Aws, Mapping[str, str]], Iterator[Finding]]]] = (
        ("clock", _clock),
        ("event source mappings", _mappings),
        ("functions", _functions),
        ("batch", _batch),
        ("ecs", _ecs),
        ("rules", _rules),
        ("dead letters", _dead_letters),
        ("alarms", _alarms),
        ("stuck jobs", _stuck),
    )
    for name, check in checks:
        try:
            yield from check(aws, found)
        except Exception as error:
            if not type(error).__module__.startswith("botocore"):
                raise
            yield Finding(name, None, str(error), "allow your role this call, or look in the console")


def _stack(stack: Mapping[str, Any]) -> Finding:
    status = str(stack["StackStatus"])
    ok = status in {"CREATE_COMPLETE", "UPDATE_COMPLETE", "UPDATE_COMPLETE_CLEANUP_IN_PROGRESS"}
    return Finding("stack", ok, status, "" if ok else "see its events in CloudFormation, then deploy again")


def _clock(aws: Aws, _found: Mapping[str, str]) -> Iterator[Finding]:
    answer = aws.client("sts").get_caller_identity()
    date = answer["ResponseMetadata"]["HTTPHeaders"].get("date", "")
    try:
        there = parsedate_to_datetime(date)
    except ValueError:
        yield Finding("clock", None, "AWS's response has no date")
        return
    skew = abs((datetime.now(UTC) - there.astimezone(UTC)).total_seconds())
    ok = skew <= MOST_SKEW
    yield Finding("clock", ok, f"{skew:.0f} s off", "" if ok else "set this machine's clock: signed requests will fail")


def _mappings(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    client = aws.client("lambda")
    for output, parameter in MAPPINGS.items():
        if output not in found:
            continue
        mapping = client.get_event_source_mapping(UUID=found[output])
        ok = mapping["State"] in {"Enabled", "Enabling", "Creating", "Updating"}
        advice = f"set {parameter}=true, or enable the mapping" if parameter else "enable the mapping"
        name = output.removesuffix("MappingUuid").lower()
        yield Finding(f"mapping {name}", ok, mapping["State"], "" if ok else advice)


def _functions(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    client, wrong = aws.client("lambda"), []
    names = [found[name] for name in FUNCTIONS if name in found]
    for name in names:
        described = client.get_function_configuration(FunctionName=name)
        if described.get("State", "Active") not in {"Active", "Inactive"}:
            wrong.append(f"{name} is {described['State']}: {described.get('StateReason', '')}")
    yield Finding("functions", not wrong, "; ".join(wrong) or f"{len(names)} active", "deploy again" if wrong else "")


def _batch(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    client = aws.client("batch")
    if queue := found.get("BatchJobQueueName"):
        queues = client.describe_job_queues(jobQueues=[queue])["jobQueues"]
        state = f"{queues[0]['state']}, {queues[0]['status']}" if queues else "missing"
        ok = bool(queues) and queues[0]["state"] == "ENABLED" and queues[0]["status"] == "VALID"
        yield Finding("batch queue", ok, f"{queue}: {state}", "" if ok else "enable it, or set BatchJobQueue")
    if definition := found.get("BatchJobDefinitionName"):
        found_ones = client.describe_job_definitions(**_definition(definition), status="ACTIVE")["jobDefinitions"]
        ok = bool(found_ones)
        detail = f"{definition}: {'ACTIVE' if ok else 'missing or inactive'}"
        yield Finding("batch definition", ok, detail, "" if ok else "register it, or set BatchJobDefinition")


def _definition(name: str) -> Mapping[str, Any]:
    named = name.startswith("arn:") or ":" in name
    return {"jobDefinitions": [name]} if named else {"jobDefinitionName": name}


def _ecs(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    if cluster := found.get("EcsClusterName"):
        clusters = aws.client("ecs").describe_clusters(clusters=[cluster])["clusters"]
        ok = bool(clusters) and clusters[0]["status"] == "ACTIVE"
        detail = f"{cluster}: {clusters[0]['status'] if clusters else 'missing'}"
        yield Finding("ecs cluster", ok, detail, "" if ok else "create it, or set EcsCluster")


def _rules(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    client = aws.client("events")
    for output in ("BatchStateChangeRuleName", "EcsStateChangeRuleName"):
        if name := found.get(output):
            state = client.describe_rule(Name=name)["State"]
            ok = state == "ENABLED"
            yield Finding(f"rule {name.rpartition('-')[2][:20]}", ok, state, "" if ok else "enable it: ends are unseen")


def _dead_letters(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    client, counts = aws.client("sqs"), {}
    for name in DEAD_LETTERS:
        if url := found.get(f"{name}DeadLetterQueueUrl"):
            names = ["ApproximateNumberOfMessages"]
            attributes = client.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
            counts[name.lower()] = int(attributes[names[0]])
    full = {name: count for name, count in counts.items() if count}
    detail = ", ".join(f"{name}: {count}" for name, count in full.items()) or f"{len(counts)} queues are empty"
    yield Finding("dead letters", not full, detail, "switchyard dead-letters" if full else "")


def _alarms(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    pages = aws.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{aws.stack}-")
    alarms = {each["AlarmName"]: each["StateValue"] for page in pages for each in page.get("MetricAlarms", ())}
    red = sorted(name for name, state in alarms.items() if state == "ALARM")
    advice = "docs/runbook.md has a section for each" if red else ""
    yield Finding("alarms", not red, ", ".join(red) or f"{len(alarms)}, none rings", advice)
    if topic := found.get("AlarmTopicArn"):
        pages = aws.client("sns").get_paginator("list_subscriptions_by_topic").paginate(TopicArn=topic)
        subscriptions = [each for page in pages for each in page["Subscriptions"]]
        confirmed = [each for each in subscriptions if each["SubscriptionArn"].startswith("arn:")]
        waiting = len(subscriptions) - len(confirmed)
        detail = f"{len(confirmed)} confirmed subscriptions, {waiting} to be confirmed"
        advice = "" if confirmed else "set AlarmEmail, and follow the link in the mail: nobody hears of trouble"
        yield Finding(
            "alarm subscription", bool(confirmed) and not waiting, detail, advice or ("confirm them" if waiting else "")
        )


def _stuck(aws: Aws, found: Mapping[str, str]) -> Iterator[Finding]:
    if not (queue := found.get("BatchJobQueueName")):
        return
    before = (datetime.now(UTC).timestamp() - STUCK_HOURS * 3600) * 1000
    pages = aws.client("batch").get_paginator("list_jobs").paginate(jobQueue=queue, jobStatus="RUNNABLE")
    stuck = [job["jobName"] for page in pages for job in page["jobSummaryList"] if job["createdAt"] < before]
    advice = "the compute environment has no room, or is disabled: docs/troubleshooting.md" if stuck else ""
    yield Finding("stuck in RUNNABLE", not stuck, ", ".join(stuck[:5]) or "none", advice)
