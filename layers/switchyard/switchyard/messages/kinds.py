"""The list of all kinds of jobs and their lanes. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Attributes:
        name: The name in messages, items and the API.
        lane: The lane whose slots its jobs take. For a kind without a limit, only a value in its items.
        target: What runs it: "batch", "ecs" or a "function".
        limit: The environment variable with the maximum of concurrent jobs; empty if there is none.
        definition: The environment variable with its job or task definition; empty for a function.
        field: The field that identifies the kind of a message without `kind`; empty for kinds with their own queue.
    """

    name: str
    lane: str
    target: str
    limit: str = ""
    definition: str = ""
    field: str = ""


VIDEO = Kind("video-analysis", "video", "batch", "MAX_CONCURRENT_JOBS", "BATCH_JOB_DEFINITION")
RECORDING = Kind("stream-recording", "recordings", "ecs", "MAX_CONCURRENT_RECORDINGS", "ECS_TASK_DEF", "url")
IMAGES = Kind("image-processing", "images", "ecs", "MAX_CONCURRENT_IMAGES", "IMAGE_TASK_DEF", "imageUrls")
SEEDING = Kind("torrent-seeding", "seeding", "ecs", "MAX_CONCURRENT_SEEDERS", "TRANSMISSION_TASK_DEF", "torrentKey")
TORRENT = Kind("torrent", "torrents", "function")
STEAM_IMPORT = Kind("steam_import", "imports", "function")

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (VIDEO, RECORDING, IMAGES, SEEDING, TORRENT, STEAM_IMPORT)}
"""All kinds, by name."""

TASKS: Mapping[str, Kind] = {name: kind for name, kind in KINDS.items() if kind.target == "ecs"}
"""The kinds that run as ECS tasks, by name."""

LANES: Mapping[str, Kind] = {kind.lane: kind for kind in KINDS.values() if kind.limit}
"""The kinds whose lane has slots, by lane."""
