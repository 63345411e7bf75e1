"""The measured API requests: samples of `events/` and the expected status of their answers."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class ApiRequest:
    """One kind of request: its function, its sample, and the status of the answer.

    `repeated` sends the previous answer's ETag, as a polling client does. `body` replaces the sample's body.
    """

    name: str
    function: str
    sample: str
    status: int
    repeated: bool = False
    body: str | None = None


REQUESTS: Final = {
    "presign": ApiRequest("presign a video's PUT: 200", "presign_upload", "presign_put", 200),
    "submit": ApiRequest("submit two images: 202", "submit_job", "process", 202),
    "status": ApiRequest("status with detections: 200", "get_job", "job", 200),
    "unchanged": ApiRequest("status, nothing new: 304", "get_job", "job", 304, repeated=True),
    "refused": ApiRequest("presign nothing: 400", "presign_upload", "presign_put", 400, body="{}"),
}
