"""What was accepted: pure."""

from dataclasses import dataclass, field


@dataclass
class Work:
    """Something that was accepted: S3 has taken an upload, or the API has answered that a job is.

    Attributes:
        kind: "video", "image" or "torrent".
        job_id: Empty for a torrent, whose id nobody is told.
        key: The object's; empty for an image job.
        version: The object's, or the job's id.
        cancels: What the API answered to a cancel, in turn; 0 where it gave no answer at all.
    """

    kind: str
    job_id: str
    key: str
    version: str
    cancels: list[int] = field(default_factory=list)
