"""The house rules for templates. Each yields a template's violations in words."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

from switchyard.keys import PIECES
from tests.template.rendering import Template

type Rule = Callable[[Template], Iterator[str]]

EXPIRING: Final = {"JobsTable", "LibraryTable", "WebhooksTable"}
"""Tables with expiring items: only ended jobs, the history of imports, and deliveries have a `ttl`."""
NOT_WATCHED: Final = "ReconcileDeadLetterQueue"
"""A dead-letter queue whose messages ask nothing of anybody: the next run does what the failed one could not."""
FOURTEEN_DAYS: Final = 1_209_600
LONGEST_STOP_SECONDS: Final = 120
LOGGED_OF_A_REQUEST: Final = {
    "requestId",
    "requestTime",
    "httpMethod",
    "path",
    "resourcePath",
    "status",
    "error.responseType",
    "responseLatency",
    "responseLength",
    "identity.sourceIp",
    "identity.apiKeyId",
    "identity.userArn",
    "authorizer.claims.sub",
}
"""Context variables of API Gateway without query strings, bodies and keys."""


def functions_log_in_json_with_retention(template: Template) -> Iterator[str]:
    """Each function has a log group of the stack: otherwise Lambda creates one that keeps logs for ever."""
    groups = template.of_type("AWS::Logs::LogGroup")
    for name, function in template.of_type("AWS::Lambda::Function").items():
        logging = function.get("LoggingConfig", {})
        if "RetentionInDays" not in groups.get(_target(logging.get("LogGroup")), {}):
            yield f"{name} has no log group with retention"
        if logging.get("LogFormat") != "JSON":
            yield f"{name} doesn't log in JSON"


def log_groups_have_retention(template: Template) -> Iterator[str]:
    """Every log group has a retention time, to limit its cost."""
    for name, group in template.of_type("AWS::Logs::LogGroup").items():
        if "RetentionInDays" not in group:
            yield f"{name} keeps its logs for ever"


def functions_run_alike(template: Template) -> Iterator[str]:
    """Functions share one runtime, are traced, and have a role defined in the template."""
    roles = template.of_type("AWS::IAM::Role")
    for name, function in template.of_type("AWS::Lambda::Function").items():
        if function.get("Runtime") != "python3.13":
            yield f"{name} doesn't run on python3.13"
        if function.get("TracingConfig") != {"Mode": "Active"}:
            yield f"{name} isn't traced"
        role = roles.get(_target(function.get("Role")), {})
        if not role.get("Policies") or any("Ref" not in arn for arn in role.get("ManagedPolicyArns", [])):
            yield f"{name} has a role that isn't written by hand"


def own_messages_are_no_loop(template: Template) -> Iterator[str]:
    """A function that sends to the queue it reads may: Lambda stops what it takes for a loop after some 16 messages."""
    functions = template.of_type("AWS::Lambda::Function")
    statements = list(template.statements())
    for mapping in template.of_type("AWS::Lambda::EventSourceMapping").values():
        name, queue = _target(mapping["FunctionName"]), _target(mapping["EventSourceArn"])
        role = _target(functions[name]["Role"])
        sends = any(
            owner == role
            and "sqs:SendMessage" in _as_list(statement["Action"])
            and queue in map(_target, _as_list(statement["Resource"]))
            for owner, statement in statements
            if "Action" in statement
        )
        if sends and functions[name].get("RecursiveLoop") != "Allow":
            yield f"{name} sends to its own queue, and is stopped as a loop"


def event_sources_have_a_failure_destination(template: Template) -> Iterator[str]:
    """Every undeliverable or failed event ends in a dead-letter queue, which has an alarm."""
    queues = template.of_type("AWS::SQS::Queue")
    for name, mapping in template.of_type("AWS::Lambda::EventSourceMapping").items():
        given_up = mapping.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if (
            "RedrivePolicy" not in queues.get(_target(mapping["EventSourceArn"]), {})
            and _target(given_up) not in queues
        ):
            yield f"{name} reads a queue without a dead-letter queue"
        if mapping.get("FunctionResponseTypes") != ["ReportBatchItemFailures"]:
            yield f"{name} fails whole batches"
    functions = template.of_type("AWS::Lambda::Function")
    caught = {
        _target(config["FunctionName"])
        for config in template.of_type("AWS::Lambda::EventInvokeConfig").values()
        if "OnFailure" in config.get("DestinationConfig", {})
    }
    for name, rule in template.of_type("AWS::Events::Rule").items():
        for target in rule["Targets"]:
            if _target(target.get("DeadLetterConfig", {}).get("Arn")) not in queues:
                yield f"{name} drops what it can't deliver to {target['Id']}"
            invoked = _target(target["Arn"])
            if invoked in functions and invoked not in caught:
                yield f"{invoked} drops events that it fails on"


def queues_are_safe(template: Template) -> Iterator[str]:
    """Queues are encrypted and have a dead-letter queue. Dead-letter queues keep messages for 14 days."""
    queues = template.of_type("AWS::SQS::Queue")
    dead_letter_queues = _dead_letter_queues(template)
    for name, queue in queues.items():
        if queue.get("SqsManagedSseEnabled") != {"Fn::If": ["HasKey", False, True]}:  # with KmsKeyArn: by that key
            yield f"{name} isn't encrypted"
        if name in dead_letter_queues and queue.get("MessageRetentionPeriod") != FOURTEEN_DAYS:
            yield f"{name} is a dead-letter queue that forgets too soon"
        if name not in dead_letter_queues and "RedrivePolicy" not in queue:
            yield f"{name} has no dead-letter queue"


def queues_outlast_their_functions(template: Template) -> Iterator[str]:
    """Queues use long polling, and a visibility timeout of six function timeouts plus the longest batching window.

    https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
    """
    queues, functions = template.of_type("AWS::SQS::Queue"), template.of_type("AWS::Lambda::Function")
    parameters = template.rendered["Parameters"]
    for mapping in template.of_type("AWS::Lambda::EventSourceMapping").values():
        name = _target(mapping["EventSourceArn"])
        if name not in queues:
            continue
        window = mapping.get("MaximumBatchingWindowInSeconds", 0)
        longest = parameters[window["Ref"]]["MaxValue"] if isinstance(window, dict) else window
        needed = 6 * functions[_target(mapping["FunctionName"])]["Timeout"] + longest
        if queues[name].get("VisibilityTimeout", 30) < needed:
            yield f"{name} shows a message again before {needed} s have passed"
        if queues[name].get("ReceiveMessageWaitTimeSeconds") != 20:
            yield f"{name} isn't polled long"


def actions_are_named(template: Template) -> Iterator[str]:
    """Grants name their actions, without wildcards. A denial may use them."""
    for name, statement in template.statements():
        if statement["Effect"] == "Allow":
            for action in _as_list(statement["Action"]):
                if "*" in action:
                    yield f"{name} grants {action}"


def wide_resources_have_a_reason(template: Template) -> Iterator[str]:
    """`Resource: "*"` in a grant needs a comment `# because ...` on its line."""
    grants = [statement for _, statement in template.statements() if statement["Effect"] == "Allow"]
    wide = sum("*" in _as_list(statement.get("Resource", [])) for statement in grants)
    explained = len(re.findall(r'^ +Resource: "\*" # because .+$', template.source, re.MULTILINE))
    if wide != explained:
        yield f"{wide} grants on every resource, {explained} explained"


def principals_are_named(template: Template) -> Iterator[str]:
    """No policy allows anonymous access; services need a condition on our account or a source's ARN.

    An endpoint's policy grants nothing: it bounds what others grant, for everybody.
    """
    endpoints = template.of_type("AWS::EC2::VPCEndpoint")
    for name, statement in template.statements():
        principal = statement.get("Principal")
        if statement["Effect"] == "Deny" or principal is None or name in endpoints:
            continue
        if "*" in _as_list(principal) or (isinstance(principal, dict) and "*" in _as_list(principal.get("AWS", []))):
            yield f"{name} lets everybody in"
        if statement["Action"] != "sts:AssumeRole" and "Service" in principal and "Condition" not in statement:
            yield f"{name} lets a service in for anybody"


def partitions_are_open(template: Template) -> Iterator[str]:
    """Nothing names a partition or its domain, so that the stack also works in China and in GovCloud.

    Services' principals are the same everywhere, except EC2's.
    https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html
    """
    for name, resource in template.rendered["Resources"].items():
        for text in _texts(resource.get("Properties", {})):
            if "arn:aws:" in text:
                yield f"{name} names the partition aws"
            service = re.fullmatch(r"([a-z0-9.-]+)\.amazonaws\.com", text)
            if service and (service[1] == "ec2" or "." in service[1]):
                yield f"{name} names the domain of the partition aws"


def grants_have_a_comment(template: Template) -> Iterator[str]:
    """Each grant has a comment above it that says why, except a service's permission to assume a role."""
    lines = template.source.splitlines()
    for number, line in enumerate(lines):
        grants = line.strip().startswith(("- Effect: Allow", "- { Effect: Allow")) and (
            "sts:AssumeRole" not in " ".join(lines[number : number + 4])
        )
        if grants and not lines[number - 1].strip().startswith("#"):
            yield f"line {number + 1} grants something without saying why"


def routes_are_guarded(template: Template) -> Iterator[str]:
    """Every route needs authorization, except preflights, which carry no credentials, and what holds no data.

    That is the API's own document and the console's page, which no other page reads: it needs no preflights.
    """
    for route, operation in _routes(template):
        method, path = route.split()
        is_open = method == "OPTIONS" or path == "/openapi.json" or _is_console(path)
        if ("security" not in operation) is not is_open:
            yield f"{route} is for {'callers only' if is_open else 'everybody'}"
    for route in dict(_routes(template)):
        preflight = f"OPTIONS {route.split()[1]}"
        if preflight not in dict(_routes(template)) and not _is_console(route.split()[1]):
            yield f"{route} has no preflight"


def _is_console(path: str) -> bool:
    return path in {"/console", "/console/{file+}"}


def routes_reach_a_function(template: Template) -> Iterator[str]:
    """Each route proxies to a function that allows this gateway, and only this one, to invoke it.

    Preflights are free: the gateway answers them, and a function does so only for the emulator.
    """
    let_in = {}
    for name, permission in template.of_type("AWS::Lambda::Permission").items():
        let_in[_target(permission["FunctionName"])] = permission
        if "SourceArn" not in permission:
            yield f"{name} lets a service in for anybody"
    for route, operation in _routes(template):
        integration = operation.get("x-amazon-apigateway-integration", {})
        if route.startswith("OPTIONS "):
            match integration:
                case {"Fn::If": ["OnAws", {"type": "mock"}, emulated]}:
                    integration = emulated
                case _:
                    yield f"{route} costs an invocation"
        invoked = re.search(r"/functions/\$\{(\w+)\.Arn\}/invocations$", _text(integration.get("uri", "")))
        if (integration.get("type"), integration.get("httpMethod")) != ("aws_proxy", "POST") or not invoked:
            yield f"{route} doesn't reach a function"
        elif let_in.get(invoked[1], {}).get("Principal") != "apigateway.amazonaws.com":
            yield f"{route} isn't let in by {invoked[1]}"


def apis_are_limited_and_logged(template: Template) -> Iterator[str]:
    """APIs are throttled and traced, and have an access log without query strings, bodies and keys."""
    for name, stage in template.of_type("AWS::ApiGateway::Stage").items():
        settings = {(each["ResourcePath"], each["HttpMethod"]): each for each in stage.get("MethodSettings", [])}
        if not {"ThrottlingRateLimit", "ThrottlingBurstLimit"} <= set(settings.get(("/*", "*"), {})):
            yield f"{name} has no limit"
        if stage.get("TracingEnabled") is not True:
            yield f"{name} isn't traced"
        log = stage.get("AccessLogSetting", {})
        if _target(log.get("DestinationArn")) not in template.of_type("AWS::Logs::LogGroup"):
            yield f"{name} has no access log"
        elif not set(json.loads(_quoted(log["Format"])).values()) <= {
            f"$context.{each}" for each in LOGGED_OF_A_REQUEST
        }:
            yield f"{name} logs what it should not"


def the_gateway_answers_as_we_do(template: Template) -> Iterator[str]:
    """The gateway's own errors have the shape of ours, and web pages may read them."""
    for name, api in template.of_type("AWS::ApiGateway::RestApi").items():
        answers = api["Body"].get("x-amazon-apigateway-gateway-responses", {})
        for kind in ("DEFAULT_4XX", "DEFAULT_5XX"):
            answer = answers.get(kind, {})
            text = answer.get("responseTemplates", {}).get("application/json", "{}")
            body = json.loads(text.replace("$context.error.messageString", '"message"'))
            if list(body) != ["error", "message", "details", "requestId"]:
                yield f"{name} answers {kind} in a shape of its own"
            if "gatewayresponse.header.Access-Control-Allow-Origin" not in answer.get("responseParameters", {}):
                yield f"{name} hides {kind} from web pages"


def containers_log_and_end_in_peace(template: Template) -> Iterator[str]:
    """Each container has a log group of the stack, and the longest time after SIGTERM that Fargate allows."""
    groups = template.of_type("AWS::Logs::LogGroup")
    for name, task in template.of_type("AWS::ECS::TaskDefinition").items():
        for container in task["ContainerDefinitions"]:
            if _target(container.get("LogConfiguration", {}).get("Options", {}).get("awslogs-group")) not in groups:
                yield f"{name} has no log group"
            if container.get("StopTimeout") != LONGEST_STOP_SECONDS:
                yield f"{name} is killed sooner than it must be"


def nobody_calls_in(template: Template) -> Iterator[str]:
    """Workers accept no connections, unless a parameter of the stack allows it."""
    for name, group in template.of_type("AWS::EC2::SecurityGroup").items():
        if "SecurityGroupIngress" in group:
            yield f"{name} lets somebody in"
    for name in template.of_type("AWS::EC2::SecurityGroupIngress"):
        if "Condition" not in template.rendered["Resources"][name]:
            yield f"{name} lets somebody in"


def tables_are_safe(template: Template) -> Iterator[str]:
    """Tables are retained, encrypted, restorable and on demand. Only those in EXPIRING expire items."""
    for name, table in template.of_type("AWS::DynamoDB::Table").items():
        resource = template.rendered["Resources"][name]
        if resource.get("DeletionPolicy") != "RetainExceptOnCreate":
            yield f"{name} goes with the stack"
        if resource.get("UpdateReplacePolicy") != "Retain":
            yield f"{name} goes when it is replaced"
        if table.get("SSESpecification", {}).get("SSEEnabled") is not True:
            yield f"{name} isn't encrypted"
        if table.get("PointInTimeRecoverySpecification") != {"PointInTimeRecoveryEnabled": True}:
            yield f"{name} can't be restored"
        expires = table.get("TimeToLiveSpecification")
        if name in EXPIRING and expires != {"AttributeName": "ttl", "Enabled": True}:
            yield f"{name} keeps everything"
        if name not in EXPIRING and expires:
            yield f"{name} may lose items that are still needed"
        if table.get("BillingMode") != "PAY_PER_REQUEST":
            yield f"{name} isn't on demand"


def buckets_are_private(template: Template) -> Iterator[str]:
    """Buckets are private, encrypted, retained, TLS only, and delete incomplete uploads."""
    tls_only = {
        _target(policy["Bucket"])
        for policy in template.of_type("AWS::S3::BucketPolicy").values()
        for statement in policy["PolicyDocument"]["Statement"]
        if statement["Effect"] == "Deny"
        and statement.get("Condition") == {"Bool": {"aws:SecureTransport": "false"}}
        and len(statement["Resource"]) == 2
    }
    for name, bucket in template.of_type("AWS::S3::Bucket").items():
        if list(bucket.get("PublicAccessBlockConfiguration", {}).values()) != [True] * 4:
            yield f"{name} may become public"
        if "BucketEncryption" not in bucket:
            yield f"{name} isn't encrypted"
        if template.rendered["Resources"][name].get("DeletionPolicy") != "RetainExceptOnCreate":
            yield f"{name} goes with the stack"
        if name not in tls_only:
            yield f"{name} answers plain HTTP"
        rules = bucket.get("LifecycleConfiguration", {}).get("Rules", [])
        if not any("AbortIncompleteMultipartUpload" in rule for rule in rules):
            yield f"{name} keeps the parts of forgotten uploads"


def buckets_forget_what_is_overwritten(template: Template) -> Iterator[str]:
    """Delete markers go, and so do the states of a growing recording, of which no function is told.

    https://docs.aws.amazon.com/AmazonS3/latest/userguide/lifecycle-configuration-examples.html
    """
    for name, bucket in template.of_type("AWS::S3::Bucket").items():
        rules = bucket.get("LifecycleConfiguration", {}).get("Rules", [])
        everywhere = [rule for rule in rules if "Prefix" not in rule]
        if not any(rule.get("ExpiredObjectDeleteMarker") for rule in everywhere):
            yield f"{name} keeps delete markers for ever"
        forgotten = {str(rule["Prefix"]): rule.get("NoncurrentVersionExpiration") for rule in rules if "Prefix" in rule}
        if forgotten.get(PIECES) != {"NoncurrentDays": 1}:
            yield f"{name} keeps every state of a growing recording"
        for written in bucket.get("NotificationConfiguration", {}).get("QueueConfigurations", []):
            told = {rule["Name"]: rule["Value"] for rule in written["Filter"]["S3Key"]["Rules"]}
            default = template.rendered["Parameters"][_target(told["prefix"])]["Default"]
            if PIECES.startswith(default):
                yield f"{name} announces every state of a growing recording"


def failed_creations_leave_nothing(template: Template) -> Iterator[str]:
    """What outlives the stack doesn't outlive a creation that failed: it would be in the way of the next one."""
    for name, resource in template.rendered["Resources"].items():
        if resource.get("DeletionPolicy") == "Retain":
            yield f"{name} remains of a stack that was never created"


def buckets_tell_who_lets_them(template: Template) -> Iterator[str]:
    """A queue for a bucket's notifications allows S3 before the bucket is created, because S3 tests it at once."""
    lets_in = {
        _target(queue): name
        for name, policy in template.of_type("AWS::SQS::QueuePolicy").items()
        for queue in policy["Queues"]
        for statement in policy["PolicyDocument"]["Statement"]
        if statement.get("Principal") == {"Service": "s3.amazonaws.com"}
    }
    for name, bucket in template.of_type("AWS::S3::Bucket").items():
        waits_for = _as_list(template.rendered["Resources"][name].get("DependsOn", []))
        for written in bucket.get("NotificationConfiguration", {}).get("QueueConfigurations", []):
            queue = _target(written.get("Fn::If", [None, written])[1]["Queue"])
            if lets_in.get(queue) not in waits_for:
                yield f"{name} tells {queue} before that lets it"


def everything_has_its_alarm(template: Template) -> Iterator[str]:
    """Every dead-letter queue, function's errors, queue's oldest message, API, gauge, schedule and key has an alarm."""
    alarms = template.of_type("AWS::CloudWatch::Alarm")
    watched = {
        (alarm["MetricName"], _target(alarm["Dimensions"][0]["Value"]) if "Dimensions" in alarm else "the account")
        for alarm in alarms.values()
    }
    dead_letter_queues = _dead_letter_queues(template)
    wanted = {("Errors", name) for name in template.of_type("AWS::Lambda::Function")}
    for name in template.of_type("AWS::SQS::Queue"):
        dead = name in dead_letter_queues
        if name == NOT_WATCHED:
            continue
        wanted.add(("ApproximateNumberOfMessagesVisible" if dead else "ApproximateAgeOfOldestMessage", name))
    for api in template.of_type("AWS::ApiGateway::RestApi").values():
        wanted |= {("5XXError", _target(api["Name"])), ("Latency", _target(api["Name"]))}
    if template.of_type("AWS::Lambda::Function"):
        wanted |= {("OldestWaitSeconds", "reconcile_jobs"), ("StuckRunnable", "reconcile_jobs")}
        wanted |= {("Invocations", "ReconcileJobsFunction"), ("Throttles", "the account")}
        wanted.add(("KeyRejected", "import_steam_library"))
        wanted.add(("IteratorAge", "NotifyFunction"))
    for metric, name in sorted(wanted - watched):
        yield f"{metric} of {name} has no alarm"


def alarms_reach_somebody(template: Template) -> Iterator[str]:
    """Each alarm notifies the topic and links to its runbook section. Without data only those on a lack of it ring."""
    topics = template.of_type("AWS::SNS::Topic")
    for name, alarm in template.of_type("AWS::CloudWatch::Alarm").items():
        if [_target(action) for action in alarm.get("AlarmActions", [])] != list(topics):
            yield f"{name} tells nobody"
        lacks = alarm["ComparisonOperator"] == "LessThanThreshold"
        if alarm.get("TreatMissingData") != ("breaching" if lacks else "notBreaching"):
            yield f"{name} {'is silent' if lacks else 'rings'} when there is nothing to measure"
        if not re.fullmatch(r"[^\n]+\. \$\{RunbookUrl\}#[\w-]+", _text(alarm.get("AlarmDescription", ""))):
            yield f"{name} doesn't say what to do"


RULES: Final[tuple[Rule, ...]] = (
    functions_log_in_json_with_retention,
    log_groups_have_retention,
    functions_run_alike,
    own_messages_are_no_loop,
    event_sources_have_a_failure_destination,
    queues_are_safe,
    queues_outlast_their_functions,
    actions_are_named,
    wide_resources_have_a_reason,
    principals_are_named,
    partitions_are_open,
    routes_are_guarded,
    routes_reach_a_function,
    apis_are_limited_and_logged,
    the_gateway_answers_as_we_do,
    containers_log_and_end_in_peace,
    nobody_calls_in,
    grants_have_a_comment,
    tables_are_safe,
    buckets_are_private,
    buckets_forget_what_is_overwritten,
    failed_creations_leave_nothing,
    buckets_tell_who_lets_them,
    everything_has_its_alarm,
    alarms_reach_somebody,
)


def _routes(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Returns every "METHOD /path" of every API with its definition."""
    for api in template.of_type("AWS::ApiGateway::RestApi").values():
        for path, methods in api["Body"]["paths"].items():
            for method, operation in methods.items():
                yield f"{method.upper()} {path}", operation


def _dead_letter_queues(template: Template) -> set[str]:
    """Returns the queues that resources use as dead-letter queues or failure destinations."""
    found = {
        _target(queue["RedrivePolicy"]["deadLetterTargetArn"])
        for queue in template.of_type("AWS::SQS::Queue").values()
        if "RedrivePolicy" in queue
    } | {
        _target(mapping["DestinationConfig"]["OnFailure"]["Destination"])
        for mapping in template.of_type("AWS::Lambda::EventSourceMapping").values()
        if "DestinationConfig" in mapping
    }
    for rule in template.of_type("AWS::Events::Rule").values():
        found |= {
            _target(target["DeadLetterConfig"]["Arn"]) for target in rule["Targets"] if "DeadLetterConfig" in target
        }
    return found


def _target(node: Any) -> str:  # noqa: ANN401 - a template holds anything
    """Returns the logical id in a `Ref` or `GetAtt`, or a plain value itself."""
    match node:
        case {"Ref": str(name)} | {"Fn::GetAtt": [str(name), *_]}:
            return name
        case str(text):
            return text
    return ""


def _texts(node: Any) -> Iterator[str]:  # noqa: ANN401 - a template holds anything
    match node:
        case dict():
            for child in node.values():
                yield from _texts(child)
        case list():
            for child in node:
                yield from _texts(child)
        case str():
            yield node


def _text(node: Any) -> str:  # noqa: ANN401 - a template holds anything
    return str(node["Fn::Sub"] if isinstance(node, dict) else node)


def _quoted(text: str) -> str:
    """Quotes the variables of a log's format that stand for numbers."""
    return re.sub(r"(?<=:)\$[\w.]+", r'"\g<0>"', text)


def _as_list(node: Any) -> list[Any]:  # noqa: ANN401 - a template holds anything
    return node if isinstance(node, list) else [node]
