"""Builds work requests for tests, with defaults for every field."""

from datetime import UTC, datetime, timedelta

from switchyard.messages.kinds import IMAGES, VIDEO
from switchyard.protocol.jobs import Source, TargetSpec, WorkRequest

SENT_AT = datetime(2026, 11, 22, 12, tzinfo=UTC)


def source(
    *,
    bucket: str = "media",
    key: str = "uploads/a.mp4",
    version: str = "v1",
    message_id: str = "m1",
    sequencer: str | None = None,
    written_at: datetime | None = SENT_AT,
) -> Source:
    """Builds a source announced by S3; with `written_at=None`, one from a plain message."""
    return Source(bucket, key, version, message_id, sequencer=sequencer, written_at=written_at)


def request(job_id: str = "a", *, of: Source | None = None, sent: int = 0, lane: str = VIDEO.lane) -> WorkRequest:
    """Builds a request for job `job_id` on its own object, sent `sent` seconds after SENT_AT."""
    return WorkRequest(
        job_id=job_id,
        kind=VIDEO.name,
        lane=lane,
        target=TargetSpec("batch", "queue", "definition"),
        source=of or source(key=f"uploads/{job_id}.mp4"),
        sent_at=SENT_AT + timedelta(seconds=sent),
        video_id=job_id,
    )


def task(job_id: str = "t", *, announced: bool = False, sent: int = 0, message_id: str = "m1") -> WorkRequest:
    """Builds a request for an image job: no object, another lane, another target."""
    return WorkRequest(
        job_id=job_id,
        kind=IMAGES.name,
        lane=IMAGES.lane,
        target=TargetSpec("ecs", "cluster", "detector"),
        source=Source("media", "", version=message_id, message_id=message_id),
        sent_at=SENT_AT + timedelta(seconds=sent),
        input={"imageUrls": ["s3://media/cat.jpg"]},
        metadata={"album": {"page": 1.5}},
        announced=announced,
    )
