"""What S3 keeps of a recording, and announces: the figures of docs/performance.md.

The bucket is versioned. So every state of a growing piece that another one replaces is kept, and every piece that is
deleted at the end, until the lifecycle rule of its prefix lets it go.
"""

from collections import defaultdict
from types import SimpleNamespace
from typing import Any, Final

import pytest

from record_stream.upload import Upload

HOUR: Final = 3600
SAVE_SECONDS: Final = 10
PREFIX: Final = "recordings/job-1/"


class VersionedS3:
    """Counts, by prefix, the bytes of old versions that a versioned bucket keeps, and the writes it could announce."""

    def __init__(self) -> None:
        self.sizes: dict[str, int] = {}
        self.old: dict[str, int] = defaultdict(int)
        self.writes: dict[str, int] = defaultdict(int)

    def put_object(self, *, Key: str, Body: bytes, **_: object) -> None:  # noqa: N803 - botocore's
        self._replaced(Key)
        self.sizes[Key] = len(Body)
        self.writes[Key.partition("/")[0]] += 1

    def create_multipart_upload(self, **_: object) -> dict[str, Any]:
        return {"UploadId": "upload"}

    def upload_part_copy(self, **_: object) -> dict[str, Any]:
        return {"CopyPartResult": {"ETag": "etag"}}

    def complete_multipart_upload(self, *, Key: str, **_: object) -> None:  # noqa: N803 - botocore's
        self.writes[Key.partition("/")[0]] += 1

    def delete_objects(self, *, Delete: dict[str, Any], **_: object) -> None:  # noqa: N803 - botocore's
        for each in Delete["Objects"]:
            self._replaced(each["Key"])

    def _replaced(self, key: str) -> None:
        self.old[key.partition("/")[0]] += self.sizes.pop(key, 0)


def _recorded(megabits: float) -> VersionedS3:
    """Records an hour of a stream, a second at a time."""
    s3 = VersionedS3()
    job: Any = SimpleNamespace(
        s3=s3,
        environment=SimpleNamespace(fence=1, results_bucket="media"),
        metadata={},
        files=[],
        key=lambda name: PREFIX + name,
        confirm=lambda: None,
    )
    upload = Upload(job, "recording.ts")
    second = bytes(round(megabits * 125_000))
    for number in range(1, HOUR + 1):
        upload.write(second)
        if number % SAVE_SECONDS == 0:
            upload.save()
    upload.finish()
    return s3


@pytest.mark.parametrize(("megabits", "times"), [(0.25, 9.5), (1, 3), (4, 1.5), (8, 1)])
def test_old_versions_are_several_times_the_recording_and_go_in_a_day(megabits: float, times: float) -> None:
    s3 = _recorded(megabits)
    size = megabits * 125_000 * HOUR
    assert s3.old["recordings"] == 0  # these are kept for 30 days
    assert s3.old["pieces"] / size == pytest.approx(times, abs=0.5)


def test_one_write_of_a_recording_is_announced() -> None:
    """Before, the torrent function was invoked for each of the others, to ignore it."""
    writes = _recorded(1).writes
    assert writes["recordings"] == 1
    assert writes["pieces"] > HOUR / SAVE_SECONDS
