"""The kinds of jobs: the one list of them and of their lanes. Everything else reads it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of job.

    Attributes:
        name: As messages, items and the API have it.
        lane: Whose slots its jobs take. Where nothing limits a kind, only the name that its items have.
        target: What runs it: "batch", "ecs", or the "function" that its messages go to.
        limit: The environment variable that says how many run at once; empty where nothing does.
        definition: The environment variable that names its job or task definition; empty for a function.
        field: The field that tells a task's message from those of other kinds; empty where a queue holds one kind only.
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

KINDS: Mapping[str, Kind] = {kind.name: kind for kind in (VIDEO, RECORDING, IMAGES, SEEDING, TORRENT)}
"""Every kind, by its name."""

TASKS: Mapping[str, Kind] = {name: kind for name, kind in KINDS.items() if kind.target == "ecs"}
"""The kinds that run as ECS tasks, by their names."""

LANES: Mapping[str, Kind] = {kind.lane: kind for kind in KINDS.values() if kind.limit}
"""The kind of each lane that has slots, by the lane's name."""
