"""Accepted work. Pure."""

from dataclasses import dataclass, field


@dataclass
class Work:
    """An upload that S3 accepted, or a job that the API accepted.

    Attributes:
        kind: "video", "image" or "torrent".
        job_id: Empty for a torrent, whose id clients don't learn.
        key: The object's key; empty for an image job.
        version: The object's version, or the job's id.
        cancels: The API's status codes for cancels, in order; 0 if there was no answer.
    """

    kind: str
    job_id: str
    key: str
    version: str
    cancels: list[int] = field(default_factory=list)
