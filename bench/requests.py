"""The measured API requests: samples of `events/` and the expected status of their answers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ApiRequest:
    """One kind of request: its function, its sample, and the status of the answer.

    `repeated` sends the previous answer's ETag, as a polling client does. `body` replaces the sample's body.
    `is_usual`: whether the usual way answers it, too.
    """

    name: str
    function: str
    sample: str
    status: int
    repeated: bool = False
    body: str | None = None
    is_usual: bool = True


REQUESTS: Final = {
    "presign": ApiRequest("presign a video's PUT: 200", "presign_upload", "presign_put", 200),
    "submit": ApiRequest("submit two images: 202", "submit_job", "process", 202),
    "status": ApiRequest("status with detections: 200", "get_job", "job", 200),
    "unchanged": ApiRequest("status, nothing new: 304", "get_job", "job", 304, repeated=True),
    "refused": ApiRequest("presign nothing: 400", "presign_upload", "presign_put", 400, body="{}"),
    "list": ApiRequest("list 25 jobs of all: 200", "get_job", "list_of_everything", 200, is_usual=False),
    "analyze": ApiRequest("analyze a video: 202", "cancel_job", "analyze", 202, is_usual=False),
    "rerun": ApiRequest("rerun a job: 202", "cancel_job", "rerun", 202, is_usual=False),
    "bulk": ApiRequest("a cancel, a rerun, a submission: 207", "cancel_job", "bulk", 207, is_usual=False),
}
