"""Explains which work the system picks up, and why it may not have picked up some."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Final

from local.stack import LocalStack
from local.view import View
from switchyard.messages.kinds import VIDEO

_READING: Final = frozenset({"Creating", "Enabling", "Enabled", "Updating"})


@dataclass(frozen=True, slots=True)
class Rule:
    """S3 announces objects whose key has this prefix and suffix. Both are case-sensitive."""

    prefix: str
    suffix: str

    def fits(self, key: str) -> bool:
        """Whether S3 announces an object with this key."""
        return key.startswith(self.prefix) and key.endswith(self.suffix)


@dataclass(frozen=True, slots=True)
class Reader:
    """A queue, the function that reads it, and the template's parameter that turns that off, by logical id."""

    queue: str
    function: str
    parameter: str


_VIDEO: Final = Reader("VideoQueue", "SqsToBatchFunction", "ProcessingEnabled")
_ECS: Final = Reader("EcsQueue", "DispatchToEcsFunction", "EcsProcessingEnabled")


def video_rules(stack: LocalStack) -> list[Rule]:
    """The rules by which the deployed media bucket announces videos."""
    found = stack.client("s3").get_bucket_notification_configuration(Bucket=stack.resource("MediaBucket"))
    name = stack.resource(_VIDEO.queue).rpartition("/")[2]
    return [_rule(each) for each in found.get("QueueConfigurations", ()) if each["QueueArn"].rpartition(":")[2] == name]


def refusal(key: str, rules: Sequence[Rule]) -> str:
    """Why an object with this key becomes no job, and which objects do; empty if it becomes one."""
    if any(rule.fits(key) for rule in rules):
        return ""
    suffixes = list(dict.fromkeys(rule.suffix for rule in rules))
    prefixes = list(dict.fromkeys(rule.prefix for rule in rules))
    lines = [
        f"{key} would not become a job, so it was not sent.",
        f"Videos do: objects under {' or '.join(prefixes)} that end in {' '.join(suffixes)}.",
        "So do pictures (.jpg .jpeg .png .webp), and streams by their http(s) URL.",
    ]
    suffix = PurePosixPath(key).suffix
    if suffix.lower() in suffixes and suffix not in suffixes:
        other = key.removesuffix(suffix) + suffix.lower()
        lines.append(f"Upper and lower case matter: send it as {other} (ARGS=\"--key '{other}'\").")
    return "\n".join(lines)


def switched_off(stack: LocalStack, lane: str) -> str:
    """Why nothing reads the queue of a lane's work; empty if something does."""
    reader = _VIDEO if lane == VIDEO.lane else _ECS
    found = stack.client("lambda").list_event_source_mappings(FunctionName=stack.resource(reader.function))
    mappings = found["EventSourceMappings"]
    if any(each["State"] in _READING for each in mappings):
        return ""
    if stack.parameters.get(reader.parameter) == "false":
        return f"{reader.parameter} is false"
    return f"the event source mapping of {reader.function} is {'disabled' if mappings else 'missing'}"


def explanation(stack: LocalStack, lane: str) -> str:
    """Why work sent to a lane has not been picked up, as far as is known."""
    if off := switched_off(stack, lane):
        return off
    reader = _VIDEO if lane == VIDEO.lane else _ECS
    queues = View(stack).queues()
    dead, (waiting, in_flight) = sum(queues[reader.queue.replace("Queue", "DeadLetterQueue")]), queues[reader.queue]
    if dead:
        return f"messages in the dead-letter queue: {dead}; `make logs` shows why"
    if in_flight:
        return f"{reader.function} is handling it, or failed and will retry; `make logs` shows more"
    return f"messages waiting in {reader.queue}: {waiting}"


def _rule(configuration: dict[str, Any]) -> Rule:
    filters = configuration.get("Filter", {}).get("Key", {}).get("FilterRules", ())
    given = {each["Name"].lower(): each["Value"] for each in filters}
    return Rule(given.get("prefix", ""), given.get("suffix", ""))
