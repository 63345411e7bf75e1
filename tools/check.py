"""Check a deployed stack against what only AWS itself can show, and collect the evidence in one folder.

It looks at the stack, its functions, queues and alarms. With --file it uploads that video through the API, whole and in
parts, follows the jobs to their end, and holds the events of Batch and ECS against the project's samples. With
--uploads N it uploads the file N times at once and then cancels those jobs. With --left, after the stack was deleted,
it lists what remains and is billed.

It works on the local system, or with --stack on a stack in AWS with your own credentials. While jobs run, a queue and
two rules named STACK-evidence-… listen to events; they are removed at the end, and leftovers at the next run. The
folder holds no credentials: of functions' variables only the names, of signed URLs nothing but how long they last.
"""

import concurrent.futures
import contextlib
import json
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qs, urlsplit

import boto3
import click
import httpx
from botocore.exceptions import BotoCoreError, ClientError

from local import api
from local.environment import ROOT, STATE, seal_this_process
from local.stack import STACK_NAME, LocalStack, NotRunningError
from switchyard.errors import InvalidMessage
from switchyard.protocol.jobs import TERMINAL
from tools.functions import FUNCTIONS
from tools.prepare import Clients, Finding

MOST_VARIABLES: Final = 4096
MOST_URL_SECONDS: Final = 3600
ONCE_AT_MOST: Final = 32
"""Uploads that are sent at once: more would only wait for this machine."""
RULES: Final = {"BatchStateChangeRuleName": "batch", "EcsStateChangeRuleName": "ecs"}
SAMPLES: Final = {
    "Batch Job State Change": ROOT / "events" / "track_job" / "running.json",
    "ECS Task State Change": ROOT / "events" / "track_job" / "task_running.json",
}
_EVERY: Final = 1.0

type Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Deployment:
    """A stack and how to reach it. `http` is None if the API wants credentials that can't be had here."""

    client: Clients
    stack: str
    outputs: Mapping[str, str]
    http: httpx.Client | None


@dataclass(frozen=True, slots=True)
class Evidence:
    """A folder of JSON files."""

    folder: Path

    def save(self, name: str, value: object) -> None:
        """Writes a file."""
        path = self.folder / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(value, indent=2, default=str, sort_keys=True) + "\n")


def _verdict(holds: bool, text: str) -> Finding:  # noqa: FBT001 - the verdict itself
    return Finding("ok" if holds else "wrong", text)


# ---- the stack as it is ----------------------------------------------------------------------------------------------


def stack_is_complete(place: Deployment, evidence: Evidence) -> Iterator[Finding]:
    """Everything of the stack was created or updated, and nothing of it failed."""
    cloudformation = place.client("cloudformation")
    stack = cloudformation.describe_stacks(StackName=place.stack)["Stacks"][0]
    pages = cloudformation.get_paginator("list_stack_resources").paginate(StackName=place.stack)
    resources = [each for page in pages for each in page["StackResourceSummaries"]]
    evidence.save("stack", {"status": stack["StackStatus"], "outputs": place.outputs, "resources": resources})
    yield _verdict(stack["StackStatus"].endswith("_COMPLETE"), f"stack {place.stack}: {stack['StackStatus']}")
    failed = [each["LogicalResourceId"] for each in resources if each["ResourceStatus"].endswith("_FAILED")]
    yield _verdict(not failed, f"{len(resources)} resources, failed: {', '.join(failed) or 'none'}")


def functions_are_as_they_should_be(place: Deployment, evidence: Evidence) -> Iterator[Finding]:
    """Lambda's filter lets metrics through, and the variables fit."""
    found: dict[str, Json] = {}
    for function in FUNCTIONS.values():
        name = place.outputs[f"{function.logical_id}Name"]
        told = place.client("lambda").get_function_configuration(FunctionName=name)
        variables = told.get("Environment", {}).get("Variables", {})
        level = told.get("LoggingConfig", {}).get("ApplicationLogLevel", "INFO")
        size = len(json.dumps(variables, ensure_ascii=False).encode())
        kept = (
            "FunctionName",
            "Runtime",
            "Timeout",
            "MemorySize",
            "State",
            "LastUpdateStatus",
            "CodeSize",
            "LoggingConfig",
        )
        found[function.name] = {
            **{key: told[key] for key in kept if key in told},
            "variables": sorted(variables),
            "bytesOfVariables": size,
        }
        if level not in {"INFO", "DEBUG", "TRACE"}:
            yield Finding("wrong", f"{function.name}: Lambda's log level {level} drops metrics, and with them alarms")
        if size > MOST_VARIABLES:
            yield Finding("wrong", f"{function.name}: its variables have {size} bytes")
    evidence.save("functions", found)
    largest = max(found.values(), key=lambda each: int(each["bytesOfVariables"]))
    yield Finding("ok", f"{len(found)} functions, variables of at most {largest['bytesOfVariables']} bytes")


def nothing_is_dead_or_red(place: Deployment, evidence: Evidence) -> Iterator[Finding]:
    """No dead letters, and no alarm."""
    sqs = place.client("sqs")
    depths = {}
    for output, url in place.outputs.items():
        if output.endswith("QueueUrl"):
            told = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["ApproximateNumberOfMessages"])["Attributes"]
            depths[output.removesuffix("QueueUrl")] = int(told["ApproximateNumberOfMessages"])
    evidence.save("queues", depths)
    dead = {name: depth for name, depth in depths.items() if name.endswith("DeadLetter") and depth}
    yield _verdict(not dead, f"{len(depths)} queues, dead letters: {dead or 'none'}")
    pages = place.client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{place.stack}-")
    alarms = {each["AlarmName"]: each["StateValue"] for page in pages for each in page["MetricAlarms"]}
    evidence.save("alarms", alarms)
    red = sorted(name for name, state in alarms.items() if state == "ALARM")
    yield _verdict(not red, f"{len(alarms)} alarms, red: {', '.join(red) or 'none'}")


def quotas_are_known(place: Deployment, evidence: Evidence) -> Iterator[Finding]:
    """What Lambda lets run at once, for the record."""
    try:
        limits = place.client("lambda").get_account_settings()["AccountLimit"]
    except ClientError as error:
        yield Finding("note", f"can't look at Lambda's limits: {error.response['Error']['Code']}")
        return
    evidence.save("limits", limits)
    yield Finding("ok", f"Lambda: {limits['ConcurrentExecutions']} concurrent executions")


# ---- events ----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def listening(place: Deployment) -> Iterator[Callable[[], list[str]]]:
    """Receives the events of the stack's rules beside track_job. Yields what returns those that have come."""
    sqs, events = place.client("sqs"), place.client("events")
    prefix = f"{place.stack}-evidence-"
    for left in sqs.list_queues(QueueNamePrefix=prefix).get("QueueUrls", ()):
        sqs.delete_queue(QueueUrl=left)
    # SQS refuses a name for 60 seconds after a queue of that name was deleted.
    url = sqs.create_queue(QueueName=f"{prefix}{uuid.uuid4().hex[:8]}")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    names = []
    try:
        for output, name in RULES.items():
            pattern = events.describe_rule(Name=place.outputs[output])["EventPattern"]
            rule = events.put_rule(Name=prefix + name, EventPattern=pattern)["RuleArn"]
            names.append(prefix + name)
            events.put_targets(Rule=prefix + name, Targets=[{"Id": "evidence", "Arn": arn}])
            _let_in(sqs, url, arn, rule.rpartition("/")[0] + "/*")
        yield lambda: _received(sqs, url)
    finally:
        for name in names:
            events.remove_targets(Rule=name, Ids=["evidence"])
            events.delete_rule(Name=name)
        sqs.delete_queue(QueueUrl=url)


def _let_in(sqs: Any, url: str, arn: str, rules: str) -> None:  # noqa: ANN401 - a client
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnLike": {"aws:SourceArn": rules}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    sqs.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def _received(sqs: Any, url: str) -> list[str]:  # noqa: ANN401 - a client
    bodies: list[str] = []
    while found := sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5).get("Messages", ()):
        for message in found:
            bodies.append(message["Body"])
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    return bodies


def missing(sample: object, event: object, at: str = "") -> Iterator[str]:
    """Yields the paths of a sample that an event lacks or has with another type. Of lists, the first elements count."""
    match sample, event:
        case dict(), dict():
            for key, value in sample.items():
                if key not in event:
                    yield f"{at}.{key}".lstrip(".")
                else:
                    yield from missing(value, event[key], f"{at}.{key}")
        case [first, *_], [other, *_]:
            yield from missing(first, other, f"{at}[]")
        case _ if type(sample) is not type(event) and not {type(sample), type(event)} <= {int, float}:
            yield f"{at} ({type(sample).__name__}, not {type(event).__name__})".lstrip(".")


def events_are_understood(bodies: list[str], job_ids: set[str], evidence: Evidence) -> Iterator[Finding]:
    """The functions' own reader understands each event, all jobs are told of, and the samples have the right shape."""
    from switchyard.messages.changes import read  # noqa: PLC0415 - X-Ray's SDK fails on import if the profile is unknown

    seen: set[str] = set()
    shapes: dict[str, set[str]] = {}
    for number, body in enumerate(bodies):
        event = json.loads(body)
        evidence.save(f"events/{number:03}", event)
        try:
            run = read(body)
        except InvalidMessage as error:
            yield Finding("wrong", f"event {number:03} isn't understood: {error}")
            continue
        if run is not None:
            seen.add(run.job_id)
        kind = event["detail-type"]
        sample = json.loads(json.loads(SAMPLES[kind].read_text())["Records"][0]["body"])
        shapes.setdefault(kind, set()).update(missing(sample, event))
    yield _verdict(job_ids <= seen, f"{len(bodies)} events, jobs that none tells of: {len(job_ids - seen)}")
    evidence.save("shapes", {kind: sorted(lacks) for kind, lacks in shapes.items()})
    for kind, lacks in shapes.items():
        # Optional fields differ between states. What the functions read was checked above.
        yield Finding("ok" if not lacks else "note", f"{kind}: fields of the sample that an event lacks: {len(lacks)}")


# ---- work ------------------------------------------------------------------------------------------------------------


def redacted(job: Json) -> Json:
    """A job as the API shows it, with signed links replaced by how many seconds they last."""
    signed = {field: job[field] for field in ("links", "sources") if job.get(field)}
    return job | {field: {name: _seconds(url) for name, url in urls.items()} for field, urls in signed.items()}


def _seconds(url: str) -> int:
    return int(parse_qs(urlsplit(url).query).get("X-Amz-Expires", ["0"])[0])


def _presigned(http: httpx.Client, size: int) -> Json:
    wanted = {"filename": "first-run.mp4", "contentType": "video/mp4", "size": size}
    return api.ask(http, "POST", "/uploads/presign", wanted)


def _put(signed: Json, content: bytes) -> httpx.Response:
    """Uploads. The client itself sends the length, which the signature holds to what was asked for."""
    headers = {name: value for name, value in signed.get("headers", {}).items() if name.lower() != "content-length"}
    return httpx.put(signed["url"], content=content, headers=headers, trust_env=False, timeout=300)


def whole_upload(http: httpx.Client, content: bytes) -> str:
    """Uploads in one piece, and returns the job's id."""
    signed = _presigned(http, len(content))
    _put(signed, content).raise_for_status()
    return str(signed["jobId"])


def upload_in_parts(http: httpx.Client, content: bytes) -> str:
    """Uploads in parts, with the API's part size, and returns the job's id."""
    wanted = {"filename": "first-run-parts.mp4", "contentType": "video/mp4", "size": len(content)}
    begun = api.ask(http, "POST", "/uploads/multipart", wanted)
    named = {"uploadId": begun["uploadId"], "key": begun["key"]}
    size, parts = int(begun["partSize"]), []
    for first in range(0, len(content), size):
        number = first // size + 1
        part = content[first : first + size]
        wanted_part = {"partNumber": number, "size": len(part)}
        [signed] = api.ask(http, "POST", "/uploads/multipart/parts", {**named, "parts": [wanted_part]})["parts"]
        answer = _put(signed, part)
        answer.raise_for_status()
        parts.append({"partNumber": number, "etag": answer.headers["etag"]})
    api.ask(http, "POST", "/uploads/multipart/complete", {**named, "parts": parts, "size": len(content)})
    return str(begun["jobId"])


def _ended(http: httpx.Client, job_id: str, seconds: float) -> Json | None:
    """Waits until a job has ended. None if it hasn't in that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        answer = http.get(f"/jobs/{job_id}")
        if answer.is_success and (job := answer.json())["status"] in TERMINAL:
            return cast("Json", job)
        time.sleep(_EVERY)
    return None


def work_is_done(place: Deployment, evidence: Evidence, content: bytes, seconds: float) -> Iterator[Finding]:
    """Uploads become jobs that end, whose links last an hour at most, and of whose runs the target tells."""
    if place.http is None:
        yield Finding("note", "no API key: upload by hand (docs/aws-first-run.md)")
        return
    too_long = _put(_presigned(place.http, len(content)), content + b"!")
    yield _verdict(too_long.status_code == httpx.codes.FORBIDDEN, f"an upload of another size: {too_long.status_code}")
    with listening(place) as events:
        ids = {"whole": whole_upload(place.http, content), "parts": upload_in_parts(place.http, content)}
        for how, job_id in ids.items():
            job = _ended(place.http, job_id, seconds)
            status = job["status"] if job else f"not ended after {seconds:.0f} s"
            yield _verdict(status == "COMPLETED", f"the upload ({how}): {status}")
            if job:
                shown = redacted(job)
                evidence.save(f"jobs/{how}", shown)
                longest = max(shown.get("links", {}).values(), default=0)
                yield _verdict(longest <= MOST_URL_SECONDS, f"links of its results last {longest} s")
        yield from events_are_understood(events(), set(ids.values()), evidence)


def many_at_once(
    place: Deployment, evidence: Evidence, content: bytes, count: int, seconds: float
) -> Iterator[Finding]:
    """Uploads at once each become one job. They are cancelled as soon as they are known."""
    if place.http is None or count == 0:
        return
    http = place.http
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(ONCE_AT_MOST) as pool:
        ids = list(pool.map(lambda _: whole_upload(http, content), range(count)))
        uploaded = time.monotonic() - began
        known = list(pool.map(lambda job_id: _known(http, job_id, seconds), ids))
        recorded = time.monotonic() - began
        list(pool.map(lambda job_id: http.delete(f"/jobs/{job_id}"), ids))
    evidence.save("uploads", {"count": count, "uploaded": uploaded, "recorded": recorded, "jobs": ids})
    yield _verdict(len(set(ids)) == count, f"{count} uploads in {uploaded:.1f} s, {len(set(ids))} jobs")
    yield _verdict(all(known), f"{sum(known)} of {count} jobs recorded after {recorded:.1f} s")


def _known(http: httpx.Client, job_id: str, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while http.get(f"/jobs/{job_id}").status_code == httpx.codes.NOT_FOUND:
        if time.monotonic() > deadline:
            return False
        time.sleep(_EVERY)
    return True


# ---- after the deletion ----------------------------------------------------------------------------------------------


def what_is_left(client: Clients, stack: str, evidence: Evidence) -> Iterator[Finding]:
    """Lists what a deleted stack leaves: it is kept on purpose, and billed."""
    try:
        status = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]["StackStatus"]
    except ClientError as error:
        if error.response["Error"]["Code"] != "ValidationError":  # no such stack
            raise
    else:
        yield Finding("wrong", f"stack {stack} is still there: {status}")
    looks: Mapping[str, Callable[[], list[str]]] = {
        "buckets": lambda: [each["Name"] for each in client("s3").list_buckets()["Buckets"]],
        "tables": lambda: _named(client("dynamodb"), "list_tables", "TableNames"),
        "queues": lambda: [url.rpartition("/")[2] for url in client("sqs").list_queues().get("QueueUrls", ())],
        "computeEnvironments": lambda: [
            each["computeEnvironmentName"]
            for each in _named(client("batch"), "describe_compute_environments", "computeEnvironments")
        ],
    }
    left: dict[str, list[str]] = {}
    for kind, look in looks.items():
        try:
            left[kind] = [name for name in look() if name.startswith(f"{stack}-")]
        except ClientError as error:
            yield Finding("note", f"can't look for {kind}: {error.response['Error']['Code']}")
        else:
            yield Finding("note" if left[kind] else "ok", f"{kind} left: {', '.join(left[kind]) or 'none'}")
    evidence.save("left", left)


def _named(client: Any, operation: str, field: str) -> list[Any]:  # noqa: ANN401 - a client of any service
    return [each for page in client.get_paginator(operation).paginate() for each in page[field]]


# ---- the command -----------------------------------------------------------------------------------------------------


def _outputs(client: Clients, stack: str) -> dict[str, str]:
    described = client("cloudformation").describe_stacks(StackName=stack)["Stacks"][0]
    return {output["OutputKey"]: output["OutputValue"] for output in described.get("Outputs", ())}


def _aws(profile: str | None, region: str | None) -> Clients:
    return cast("Clients", boto3.Session(profile_name=profile, region_name=region).client)


def on_aws(client: Clients, stack: str) -> Deployment:
    """A stack on AWS, with the first key of its API."""
    outputs = _outputs(client, stack)
    http = None
    if "ApiKeyId" in outputs:
        key = client("apigateway").get_api_key(apiKey=outputs["ApiKeyId"], includeValue=True)["value"]
        http = httpx.Client(base_url=outputs["ApiUrl"], headers={"x-api-key": key}, timeout=30)
    return Deployment(client, stack, outputs, http)


def on_this_machine(stack: LocalStack) -> Deployment:
    """The local system."""
    return Deployment(stack.client, STACK_NAME, _outputs(stack.client, STACK_NAME), api.client(stack))


@click.command(help=__doc__, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="A short video to upload.")
@click.option("--uploads", default=0, type=click.IntRange(0, 1000), help="Upload it so many times at once.")
@click.option("--seconds", default=1800.0, show_default=True, help="How long a job may take.")
@click.option("--left", is_flag=True, help="After the stack was deleted: list what remains.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="The folder for the evidence.")
@click.option("--stack", metavar="NAME", help="A stack in AWS, instead of the local system.")
@click.option("--profile", help="Your AWS profile, with --stack.")
@click.option("--region", help="The stack's Region, if neither profile nor environment names it.")
@click.option(
    "--state", type=click.Path(file_okay=False, path_type=Path), default=STATE, help="As for `python -m local`."
)
def main(  # noqa: D103, PLR0913 - the module's docstring is its help; each argument is an option
    *,
    file: Path | None,
    uploads: int,
    seconds: float,
    left: bool,
    out: Path | None,
    stack: str | None,
    profile: str | None,
    region: str | None,
    state: Path,
) -> None:
    name = stack or STACK_NAME
    evidence = Evidence(out or STATE / "aws-check" / f"{name}-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}")
    found: list[Finding] = []
    try:
        if not stack:
            seal_this_process()
        local = None if stack else LocalStack(state.resolve())
        client = local.client if local else _aws(profile, region)
        if left:
            checks = what_is_left(client, name, evidence)
        else:
            place = on_this_machine(local) if local else on_aws(client, name)
            checks = _all(place, evidence, file.read_bytes() if file else None, uploads, seconds)
        for finding in checks:
            click.echo(f"{finding.verdict:>5}  {finding.text}")
            found.append(finding)
    except (BotoCoreError, ClientError, NotRunningError, httpx.HTTPError, api.ApiError) as error:
        found.append(Finding("wrong", f"{type(error).__name__}: {error}"))
        raise click.ClickException(str(error)) from error
    finally:
        evidence.save("report", [asdict(finding) for finding in found])
        click.echo(f"evidence: {evidence.folder}")
    if any(finding.verdict == "wrong" for finding in found):
        raise click.ClickException("not everything is as it should be")


def _all(
    place: Deployment, evidence: Evidence, content: bytes | None, uploads: int, seconds: float
) -> Iterator[Finding]:
    yield from stack_is_complete(place, evidence)
    yield from functions_are_as_they_should_be(place, evidence)
    yield from quotas_are_known(place, evidence)
    if content is not None:
        yield from work_is_done(place, evidence, content, seconds)
        yield from many_at_once(place, evidence, content, uploads, seconds)
    yield from nothing_is_dead_or_red(place, evidence)


if __name__ == "__main__":
    main(prog_name="python -m tools.check")
