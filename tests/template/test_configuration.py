"""Template, settings, samconfig and docs/configuration.md name the same things, with the same defaults and limits."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from switchyard import settings
from switchyard.variables import Settings
from tests.cases import cases
from tests.template.rendering import COMPUTE, ROOT, TEMPLATE, WATCH, load
from tools.functions import FUNCTIONS, Trigger, for_every_function

SETTINGS: Final[Mapping[str, type[Settings]]] = {
    name: getattr(settings, function.settings) for name, function in FUNCTIONS.items()
}
EMPTY: Final = "*(empty)*"
REQUIRED: Final = "*required*"


def _tables() -> dict[str, list[list[str]]]:
    """The rows of each table in the page, by its heading; cells without the marks of code."""
    tables: dict[str, list[list[str]]] = {}
    for section in re.split(r"^## ", (ROOT / "docs" / "configuration.md").read_text(), flags=re.MULTILINE):
        heading, _, body = section.partition("\n")
        rows = [
            [cell.strip() for cell in line.strip("|").split(" | ")] for line in body.splitlines() if line[:1] == "|"
        ]
        tables[heading] = [[cells[0].strip("`"), *cells[1:]] for cells in rows[2:]]
    return tables


DOCS: Final = _tables()
VARIABLES: Final = {name: setting for cls in SETTINGS.values() for name, setting in cls.variables().items()}
PARAMETERS: Final[Mapping[str, Any]] = load(TEMPLATE).written["Parameters"]


def _variables(logical_id: str) -> dict[str, Any]:
    variables: dict[str, Any] = load(TEMPLATE).of_type("AWS::Lambda::Function")[logical_id]["Environment"]["Variables"]
    return {name: value for name, value in variables.items() if not name.startswith("POWERTOOLS_")}


def _triggers(function: Mapping[str, Any]) -> tuple[Trigger, str]:
    """What invokes a function of the template, and the queue that it reads: one without events has routes."""
    match list(function["Properties"].get("Events", {}).values()):
        case [{"Type": "SQS", "Properties": {"Queue": {"Fn::GetAtt": [str(queue), "Arn"]}}}]:
            return Trigger.QUEUE, queue
        case [{"Type": kind}]:
            return Trigger(kind), ""
    return Trigger.API, ""


def test_the_list_of_functions_is_that_of_the_template() -> None:
    resources = load(TEMPLATE).written["Resources"].items()
    written = {name: each for name, each in resources if each["Type"] == "AWS::Serverless::Function"}
    listed = {each.logical_id: (each.trigger, each.queue, each.folder, each.log_group) for each in FUNCTIONS.values()}
    assert listed == {
        name: (
            *_triggers(each),
            ROOT / each["Properties"]["CodeUri"],
            each["Properties"]["LoggingConfig"]["LogGroup"]["Ref"],
        )
        for name, each in written.items()
    }


def test_the_list_of_functions_is_that_of_the_code() -> None:
    assert {each.folder / "app.py" for each in FUNCTIONS.values()} == set(ROOT.glob("functions/*/app.py"))
    assert {each.folder.name for each in FUNCTIONS.values() if each.event.exists()} == set(FUNCTIONS)


def test_a_table_for_every_function_tells_of_what_it_lacks() -> None:
    table = dict.fromkeys(FUNCTIONS, "")
    assert for_every_function(table) is table
    for wrong in (table | {"one_too_many": ""}, {name: "" for name in table if name != "get_job"}):
        with pytest.raises(ValueError, match=r"one_too_many$|get_job$"):
            for_every_function(wrong)


@cases("function", SETTINGS)
def test_the_template_sets_exactly_what_the_function_reads(function: str) -> None:
    assert set(_variables(FUNCTIONS[function].logical_id)) == set(SETTINGS[function].variables())


@cases("function", SETTINGS)
def test_the_page_names_exactly_what_the_function_reads(function: str) -> None:
    rows = DOCS["Variables of the functions"]
    named = {name for name, functions, *_ in rows if functions == "all" or f"`{function}`" in functions}
    assert named == set(SETTINGS[function].variables())


def test_the_page_names_the_defaults_of_the_code() -> None:
    for name, _, default, *_ in DOCS["Variables of the functions"]:
        setting = VARIABLES[name]
        if default == REQUIRED:
            assert setting.default is None, name
        elif default == EMPTY:
            assert not setting.default, name
            assert setting.default is not None, name
        else:
            assert setting.parse(default.strip("`")) == setting.default, name


def test_the_page_names_the_limits_of_the_code() -> None:
    for name, _, _, allowed, _ in DOCS["Variables of the functions"]:
        if limits := re.fullmatch(r"(\d+) to (\d+)", allowed):
            parse, (low, high) = VARIABLES[name].parse, map(int, limits.groups())
            parse(str(low))
            parse(str(high))
            for beyond in (low - 1, high + 1):
                with pytest.raises(ValueError, match=allowed):
                    parse(str(beyond))


def test_powertools_knows_the_function_by_its_name() -> None:
    """The alarms on gauges count on the dimension `service`."""
    for name in SETTINGS:
        variables = load(TEMPLATE).of_type("AWS::Lambda::Function")[FUNCTIONS[name].logical_id]["Environment"][
            "Variables"
        ]
        assert variables["POWERTOOLS_SERVICE_NAME"] == name
        assert variables["POWERTOOLS_METRICS_NAMESPACE"] == "Switchyard"


def test_the_page_names_every_parameter_with_its_default() -> None:
    documented = {
        name: "" if default == EMPTY else default.strip("`") for name, default, *_ in DOCS["Parameters of the template"]
    }
    assert documented == {name: str(parameter["Default"]) for name, parameter in PARAMETERS.items()}


def test_the_page_names_the_limits_of_every_parameter() -> None:
    for name, _, allowed, _ in DOCS["Parameters of the template"]:
        match PARAMETERS[name]:
            case {"AllowedValues": values}:
                expected = " ".join(f"`{value}`" for value in values)
            case {"MinValue": low, "MaxValue": high}:
                expected = f"{low} to {high}"
            case {"MinValue": low}:
                expected = f"{low} and more"
            case _:
                continue
        assert allowed == expected, name


def test_defaults_and_samples_fit_the_parameters_patterns() -> None:
    samples = {
        "BatchJobQueue": ["video", "Video_2-x"],
        "BatchJobDefinition": ["analyze-video", "analyze-video:12"],
        "SourceBuckets": ["one.bucket", "one,two-2"],
        "AlarmEmail": ["ops@example.com"],
        "AnalysisStages": ["scenes", "scenes,speech,speakers,summary,index"],
        "SpeechModel": [
            "whisper-base",
            "/models/large-v3",
            "s3://models.example/whisper/large-v3",
            "gpt-4o-transcribe",
        ],
        "SpeechLanguage": ["en", "yue"],
        "SpeechUrl": ["https://api.example.com/v1"],
        "SpeechKeySecretArn": ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:speech/key-AbCdEf"],
        "SummaryUrl": ["https://api.example.com/v1", "http://127.0.0.1:8080", "http://127.0.0.1:8080/v1"],
        "SummaryModel": ["gpt-4.1-mini", "eu.anthropic.claude-haiku-4-5-20251001-v1:0", "org/model"],
        "SummaryKeySecretArn": ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:summary/key-AbCdEf"],
        "SearchIndexHost": ["videos-abc123.svc.aped-4627-b74a.pinecone.io"],
        "SearchIndexNamespace": ["switchyard-dev"],
        "SearchIndexKeySecretArn": ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:index/key-AbCdEf"],
        "ConsoleSignInUrl": ["https://name.auth.eu-central-1.amazoncognito.com"],
        "ConsoleClientId": ["4h57kqt8q2example1a2b3c"],
        "UploadPrefix": ["in/video (new)/", "in"],
        "EcsCluster": ["tasks"],
        "RecorderTaskDefinition": ["record-stream", "record-stream:3"],
        "SubnetIds": ["subnet-0a1b2c3d", "subnet-0a1b2c3d,subnet-4e5f6a7b"],
        "SecurityGroupIds": ["sg-0a1b2c3d"],
        "UserPoolArn": ["arn:aws:cognito-idp:eu-central-1:123456789012:userpool/eu-central-1_AbCd"],
        "AllowedNetworks": ["10.0.0.0/8", "10.0.0.0/8,fd12::/16", "172.16.0.0/12,100.64.0.0/10", "192.168.127.0/24"],
        "TaskRoleArns": ["arn:aws:iam::123456789012:role/tasks/recorder", "arn:aws-cn:iam::123456789012:role/a+b=.@_-"],
        "SenderPrincipals": [
            "123456789012",
            "arn:aws:iam::123456789012:root",
            "arn:aws:iam::123456789012:role/backend",
            "arn:aws:sts::123456789012:assumed-role/backend/session",
        ],
        "SteamSenderPrincipals": ["123456789012", "arn:aws:iam::123456789012:role/backend"],
        "SteamApiKeySecretArn": ["arn:aws:secretsmanager:eu-central-1:123456789012:secret:prod/steam-key-Ab12Cd"],
        "IgdbSecretArn": ["arn:aws-cn:secretsmanager:cn-north-1:123456789012:secret:igdb+client=@x-Ab12Cd"],
        "SteamStandIn": ["http://127.0.0.1:8080"],
        "TorrentSourcePrefix": ["recordings/", "shared/films (new)/"],
        "TorrentPrefix": ["watch/"],
        "TorrentScratchPrefix": ["scratch/", "tmp/torrent-scratch/"],
        "Trackers": ["udp://a.example:1/announce", "https://a.example/x?k=1,wss://b.example;http://c.example/~d"],
        "ComputeZones": ["us-west-1a,us-west-1c"],
        "CorsOrigins": [
            "",
            "https://app.example.com",
            "https://a.example,http://localhost:8080",
            "*,https://a.example",
        ],
        "PeerNetwork": ["0.0.0.0/0", "203.0.113.0/24"],
        "WebSeedBaseUrls": ["https://cdn.example", "https://cdn.example/media/,http://127.0.0.1:8080/a"],
        "KmsKeyArn": ["arn:aws:kms:eu-central-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab"],
        "PermissionsBoundaryArn": [
            "arn:aws:iam::123456789012:policy/dev/boundary",
            "arn:aws:iam::aws:policy/PowerUserAccess",
        ],
        "EventBusName": ["default", "media.prod-1"],
        "WebAclArn": [
            "arn:aws:wafv2:eu-central-1:123456789012:regional/webacl/ours/1234abcd-12ab-34cd-56ef-1234567890ab"
        ],
    }
    wrong = {
        "JobLogGroup": ["arn:aws:logs:eu-central-1:123456789012:log-group:jobs", "jobs:*", "a b"],
        "TaskLogGroup": ["/ecs/*"],
        "TaskLogPrefix": ["", "a/b"],
        "EventBusName": ["arn:aws:events:eu-central-1:123456789012:event-bus/media", ""],
        "AnalysisStages": ["speech", "scenes, speech", "scenes,"],
        "SpeechModel": ["a model", "s3://bucket/$(x)"],
        "SpeechLanguage": ["English", "e"],
        "SpeechUrl": ["http://api.example.com/v1", "https://user@host/v1", "https://host/v1?x=1"],
        "SpeechKeySecretArn": ["sk-secret", "arn:aws:iam::123456789012:role/x"],
        "SummaryUrl": [
            "http://api.example.com/v1",
            "https://user@host/v1",
            "https://host?x=1",
            "http://127.0.0.1@host:1",
        ],
        "SummaryModel": ["a model", "*"],
        "SummaryKeySecretArn": ["sk-secret", "arn:aws:iam::123456789012:role/x"],
        "ConsoleSignInUrl": [
            "name.auth.eu-central-1.amazoncognito.com",
            "http://a.b",
            "https://a.b/path",
            "https://a.b; *",
        ],
        "ConsoleClientId": ["a client", "a;b"],
        "SearchIndexHost": ["https://index.pinecone.io", "localhost", "index.pinecone.io:8080", "a@b.c"],
        "SearchIndexNamespace": ["a/b", ""],
        "SearchIndexKeySecretArn": ["pc-secret", "arn:aws:iam::123456789012:role/x"],
        "BatchJobQueue": ["arn:aws:batch:us-east-1:1:job-queue/video", "-x"],
        "BatchJobDefinition": ["analyze-video:", "analyze-video:0"],
        "SourceBuckets": ["one, two", "One"],
        "AlarmEmail": ["ops"],
        "Environment": ["Prod", ""],
        "UploadPrefix": ["", "*", "results/", "recordings/in/", "known-voices/"],
        "EcsCluster": ["arn:aws:ecs:us-east-1:1:cluster/tasks"],
        "RecorderTaskDefinition": ["record-stream:", "record-stream:latest"],
        "ImageTaskDefinition": ["arn:aws:ecs:us-east-1:1:task-definition/detect-objects:1"],
        "TransmissionTaskDefinition": ["-x"],
        "ContainerName": ["", "a b"],
        "SubnetIds": ["subnet-1, subnet-2", "vpc-1"],
        "SecurityGroupIds": ["default"],
        "UserPoolArn": ["eu-central-1_AbCd"],
        "AllowedNetworks": [
            *("10.0.0.0", "inside", "10.0.0.0/8,", "10.0.0.0/8,0.0.0.0/0", "0.0.0.0/0", "::/0", "128.0.0.0/1"),
            *("127.0.0.1/32", "10.0.0.0/8,127.0.0.0/8", "::1/128", "0:0:0:0:0:0:0:1/128"),
            *("169.254.169.254/32", "10.0.0.0/8,169.254.0.0/16", "fe80::/10", "FEBF::/16", "fd00:ec2::254/128"),
        ],
        "TaskRoleArns": ["*", "arn:aws:iam::123456789012:role/*", "arn:aws:iam::*:role/a", "arn:aws:iam::12:role/a"],
        "SenderPrincipals": ["*", "arn:aws:iam::*:root", "arn:aws:iam::123456789012:role/*", "s3.amazonaws.com"],
        "SteamSenderPrincipals": ["*", "arn:aws:iam::*:root", "arn:aws:iam::123456789012:role/*", "s3.amazonaws.com"],
        "SteamApiKeySecretArn": ["steam-key", "arn:aws:secretsmanager:eu-central-1:123456789012:secret:*"],
        "IgdbSecretArn": ["arn:aws:ssm:eu-central-1:123456789012:parameter/igdb"],
        "SteamStandIn": ["http://example.com:80", "https://127.0.0.1:1", "http://127.0.0.1:1/path"],
        "TorrentSourcePrefix": ["", "recordings", "/", "/recordings/", "a//b/", "*/"],
        "TorrentPrefix": ["", "torrents", "results/", "recordings/torrents/"],
        "TorrentScratchPrefix": ["", "recordings/", "scratch", "/scratch/", "recordings/scratch/"],
        "Trackers": [
            "a.example",
            "ftp://a.example",
            "udp://a.example;",
            "udp://a.example, udp://b.example",
            "udp://é/",
        ],
        "CorsOrigins": [
            "app.example.com",
            "https://a.example, https://b.example",
            "https://a.example,",
            "https://ä.de",
        ],
        "ComputeZones": ["us-west-1a", "us-west-1a, us-west-1c", "a,b,c"],
        "PeerNetwork": ["10.0.0.0", "everywhere", "::/0"],
        "KmsKeyArn": ["arn:aws:kms:eu-central-1:123456789012:alias/ours", "1234abcd-12ab-34cd-56ef-1234567890ab"],
        "PermissionsBoundaryArn": ["boundary", "arn:aws:iam::123456789012:role/boundary"],
        "WebAclArn": ["arn:aws:wafv2:us-east-1:123456789012:global/webacl/ours/1234abcd-12ab-34cd-56ef-1234567890ab"],
        "WebSeedBaseUrls": ["cdn.example", "https://cdn.example?a=1", "https://cdn.example/#a", "https://a.example,"],
    }
    for name, parameter in PARAMETERS.items():
        if pattern := parameter.get("AllowedPattern"):
            for value in [str(parameter["Default"]), *samples.get(name, [])]:
                assert re.fullmatch(pattern, value), (name, value)
            for value in wrong[name]:
                assert not re.fullmatch(pattern, value), (name, value)


def test_what_may_hold_passkeys_is_not_shown() -> None:
    assert {name for name, parameter in PARAMETERS.items() if parameter.get("NoEcho")} == {"Trackers"}


def test_every_parameter_is_explained_and_has_its_place_in_the_console() -> None:
    groups = load(TEMPLATE).written["Metadata"]["AWS::CloudFormation::Interface"]["ParameterGroups"]
    assert sorted(name for group in groups for name in group["Parameters"]) == sorted(PARAMETERS)
    assert all(parameter["Description"].endswith(".") for parameter in PARAMETERS.values())


@pytest.mark.parametrize(("stack", "path"), [("Compute", COMPUTE), ("Watch", WATCH)])
def test_a_nested_stack_gets_every_parameter_it_has(stack: str, path: Path) -> None:
    given = load(TEMPLATE).rendered["Resources"][stack]["Properties"]["Parameters"]
    assert set(given) == set(load(path).written["Parameters"])


def test_what_watches_is_given_each_resource_under_its_own_name() -> None:
    """An alarm that says `!Ref VideoQueue` then watches VideoQueue."""
    resources = load(TEMPLATE).written["Resources"]
    for name, value in load(TEMPLATE).written["Resources"]["Watch"]["Properties"]["Parameters"].items():
        if resources.get(name, {}).get("Type") == "AWS::SQS::Queue":
            assert value == {"Fn::GetAtt": [name, "QueueName"]}
        elif name != "ApiName":
            assert value == {"Ref": name}


def test_the_page_names_the_workers_variables() -> None:
    compute = load(COMPUTE)
    containers = [job["ContainerProperties"] for job in compute.of_type("AWS::Batch::JobDefinition").values()]
    for task in compute.of_type("AWS::ECS::TaskDefinition").values():
        containers += task["ContainerDefinitions"]
    given = {variable["Name"] for container in containers for variable in container["Environment"]}
    assert {name for name, *_ in DOCS["Variables of the worker"]} == given


def test_who_may_call_changes_with_the_parameter_alone() -> None:
    """SAM makes a new deployment when the definition's text changes, which `!If` keeps as it is."""
    assert load(TEMPLATE).written["Resources"]["Api"]["Properties"]["AlwaysDeploy"] is True


def test_a_limit_in_the_template_is_one_the_code_accepts() -> None:
    """A value that CloudFormation lets pass must not stop the function at its start."""
    for function in SETTINGS:
        for name, value in _variables(FUNCTIONS[function].logical_id).items():
            parameter = PARAMETERS.get(value.get("Ref", "")) if isinstance(value, dict) else None
            if parameter is None:
                continue
            edges = parameter.get("AllowedValues") or [
                parameter[key] for key in ("MinValue", "MaxValue") if key in parameter
            ]
            for edge in edges:
                VARIABLES[name].parse(str(edge))


def test_samconfig_sets_only_parameters_that_exist_to_values_they_allow() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    environments = {name: table["deploy"]["parameters"] for name, table in config.items() if isinstance(table, dict)}
    assert set(environments) == {"default", "prod", "local"}
    for name, deploy in environments.items():
        overrides = dict(pair.split("=", 1) for pair in deploy["parameter_overrides"].split())
        assert set(overrides) <= set(PARAMETERS), name
        for parameter, value in overrides.items():
            definition = PARAMETERS[parameter]
            assert value in map(str, definition.get("AllowedValues", [value])), (name, parameter)
            if definition["Type"] == "Number":
                assert definition.get("MinValue", 0) <= int(value) <= definition.get("MaxValue", int(value)), (
                    name,
                    parameter,
                )


def test_only_the_local_configuration_is_local() -> None:
    config = tomllib.loads((ROOT / "samconfig.toml").read_text())
    local = {name for name in ("default", "prod", "local") if "Local=true" in str(config[name])}
    assert local == {"local"}
    assert not re.search(r"\b\d{12}\b|arn:|AKIA", (ROOT / "samconfig.toml").read_text())
