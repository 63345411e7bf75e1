"""The model's messages, and the work each one requests, as the functions' own parsers read it."""

import json
import re
from datetime import datetime, timedelta
from functools import lru_cache

from switchyard import clock
from switchyard.messages.envelope import Envelope
from switchyard.messages.kinds import IMAGES, VIDEO
from switchyard.messages.redrive import task_body
from switchyard.messages.tasks import TaskWork
from switchyard.messages.videos import VideoWork
from switchyard.names import stable_hash
from switchyard.protocol.jobs import Job, Source, TargetSpec, WorkRequest
from tests.model.sqs import RedrivePolicy

VIDEOS, VIDEOS_DEAD = "videos", "videos-dead"
TASKS, TASKS_DEAD = "tasks", "tasks-dead"
DEAD_LETTERS = {VIDEOS: VIDEOS_DEAD, TASKS: TASKS_DEAD}

VIDEO_WORK = VideoWork(
    lane=VIDEO.lane,
    target=TargetSpec("batch", "queue", "definition"),
    id_pattern=re.compile(r"uploads/(?P<video_id>\w+)"),
    allowed_buckets=frozenset({"media"}),
)
TASK_WORK = TaskWork(bucket="media", cluster="cluster", definitions={IMAGES.name: "detector"})
WORK: dict[str, VideoWork | TaskWork] = {VIDEOS: VIDEO_WORK, TASKS: TASK_WORK}

POISON = (
    "not JSON",
    '{"Records": []}',
    '{"kind": "unheard of"}',
    '{"bucket": "elsewhere", "key": "uploads/a.mp4"}',
    '{"imageUrls": ["s3://elsewhere/cat.jpg"]}',
)

type Errand = tuple[str, str]
"""Work to do once: a job's id, and an object with its version; or `POISONED` and a body: it must be a dead letter."""

POISONED = "poisoned"


def policies(max_receives: int) -> dict[str, RedrivePolicy]:
    """Returns the queues' redrive policies."""
    return {url: RedrivePolicy(dead, max_receives) for url, dead in DEAD_LETTERS.items()}


def upload(key: str, version: str, sequencer: str | None, at: datetime) -> dict[str, object]:
    """Returns a record of S3's notification."""
    thing = {"key": key, "versionId": version} | ({"sequencer": sequencer} if sequencer else {})
    return {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": clock.iso(at),
        "s3": {"bucket": {"name": "media"}, "object": thing},
    }


def removal(number: int) -> dict[str, object]:
    """Returns an unprocessable record, to mix with processable ones. Each number's is different."""
    return {"eventSource": "aws:s3", "eventName": "ObjectRemoved:Delete", "number": number}


def notification(records: list[dict[str, object]]) -> str:
    """Returns S3's message with several records."""
    return json.dumps({"Records": records})


def other_object(job_id: str, number: int, owner: str | None) -> str:
    """Returns a backend's message that names an object of its own under a job's id."""
    names = {"bucket": "media", "key": f"uploads/other-{number}.mp4", "versionId": "only", "job_id": job_id}
    return json.dumps(names | ({"user_id": owner} if owner else {}))


def other_input(job_id: str, number: int, owner: str | None) -> str:
    """Returns a message for a task with an input of its own under a job's id."""
    given = {"imageUrls": [f"s3://media/{number}.jpg"]}
    return task_body(IMAGES.name, job_id, f"other-{number}", given, user_id=owner)


@lru_cache(maxsize=10_000)
def errands_of(url: str, body: str, message_id: str) -> frozenset[Errand]:
    """Returns the work that a message on a queue requests."""
    parsed = WORK[url].parse(body, Envelope(message_id, clock.EPOCH + timedelta(days=36_500)))
    wanted = {errand_of(request) for request in parsed.requests}
    return frozenset(wanted | {(POISONED, rejected.body) for rejected in parsed.rejected})


def errand_of(request: WorkRequest) -> Errand:
    """Returns the work of a request."""
    return request.job_id, work_of(request.source, request.source.version)


def errands_up_to(job: Job) -> set[Errand]:
    """Returns the work of a job and of its history, in which only versions of other objects have a prefix."""
    source = job.request.source
    past = {version if _PREFIX.match(version) else work_of(source, version) for version in job.past_versions}
    return {(job.id, work) for work in past} | {errand_of(job.request)}


def work_of(source: Source, version: str) -> str:
    """Returns a version of an object in one form, that of the history of a job with another object."""
    return f"{stable_hash(source.bucket, source.key, length=16)}:{version}"


def number_of(errand: Errand) -> int:
    """Returns the number of a version of a job's own object; 0 for any other work."""
    own = work_of(Source("media", key_of(errand[0]), "", ""), "v")
    return int(errand[1].removeprefix(own)) if errand[1].startswith(own) else 0


def key_of(job_id: str) -> str:
    """Returns the key of a job's own object, whose uploads S3 announces."""
    return f"uploads/{job_id}.mp4"


_PREFIX = re.compile("[0-9a-f]{16}:")
