"""The one list of template.yaml's functions, which `local/`, `bench/`, the checks and the tests read.

tests/template compares it with the template, the folders under functions/ and the settings classes.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]


class Trigger(Enum):
    """What invokes a function."""

    QUEUE = "SQS"
    API = "Api"
    SCHEDULE = "Schedule"
    STREAM = "DynamoDB"


@dataclass(frozen=True)
class Function:
    """One function.

    Attributes:
        name: Its folder under functions/ and events/, and the `service` of its logs and metrics.
        trigger: What invokes it.
        sample: A typical sample event, under events/; for s3_torrent_creator, one that needs no object, and for
            import_steam_library, one that asks Steam nothing.
        queue: The logical id of the queue that it reads, if any.
    """

    name: str
    trigger: Trigger
    sample: str
    queue: str = ""

    @property
    def logical_id(self) -> str:
        """Its logical id in template.yaml."""
        return f"{self._camel}Function"

    @property
    def log_group(self) -> str:
        """The logical id of its log group."""
        return f"{self._camel}LogGroup"

    @property
    def settings(self) -> str:
        """The name of its settings class in `switchyard.settings`."""
        return f"{self._camel}Settings"

    @property
    def folder(self) -> Path:
        """The folder with its code."""
        return ROOT / "functions" / self.name

    @property
    def event(self) -> Path:
        """The file with its sample event."""
        return ROOT / "events" / self.name / f"{self.sample}.json"

    @property
    def _camel(self) -> str:
        return "".join(word.title() for word in self.name.split("_"))


_LISTED: Final = (
    Function("sqs_to_batch", Trigger.QUEUE, "s3_put", "VideoQueue"),
    Function("dispatch_to_ecs", Trigger.QUEUE, "images", "EcsQueue"),
    Function("track_job", Trigger.QUEUE, "succeeded", "TrackQueue"),
    Function("notify", Trigger.STREAM, "ended"),
    Function("deliver_webhook", Trigger.QUEUE, "not_due", "WebhookQueue"),
    Function("manage_webhooks", Trigger.API, "list"),
    Function("reconcile_jobs", Trigger.SCHEDULE, "schedule"),
    Function("presign_upload", Trigger.API, "presign_put"),
    Function("submit_job", Trigger.API, "process"),
    Function("get_job", Trigger.API, "job"),
    Function("cancel_job", Trigger.API, "cancel"),
    Function("search_media", Trigger.API, "search"),
    Function("serve_console", Trigger.API, "page"),
    Function("s3_torrent_creator", Trigger.QUEUE, "s3_test_event", "TorrentQueue"),
    Function("import_steam_library", Trigger.QUEUE, "mistyped_id", "SteamQueue"),
)
FUNCTIONS: Final[Mapping[str, Function]] = {function.name: function for function in _LISTED}
"""All functions, by name."""


def invoked_by(*triggers: Trigger) -> tuple[Function, ...]:
    """The functions that one of these triggers invokes."""
    return tuple(function for function in FUNCTIONS.values() if function.trigger in triggers)


def for_every_function[Table: Collection[str]](table: Table) -> Table:
    """Checks that a table has all functions by name and nothing else, and returns it.

    Raises:
        ValueError: If a function is missing or unknown.
    """
    if wrong := FUNCTIONS.keys() ^ set(table):
        raise ValueError(f"functions missing from a table, or unknown: {', '.join(sorted(wrong))}")
    return table
