"""The preview's parts as data: the strip's times, the index in WebVTT, and an upload that is a file for its writer."""

import io
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import pytest
import webvtt
from botocore.exceptions import ClientError
from hypothesis import given, settings
from hypothesis import strategies as st

from analyze_video import strip, upload

HEAD: Final = 20
PART: Final = 7


class Bucket:
    """S3's multipart upload, as far as `Upload` uses it, and a job with one result."""

    def __init__(self, fails: str = "") -> None:
        self.parts: dict[int, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.confirmed = self.aborted = 0
        self.files: list[str] = []
        self.metadata = {"job-id": "job-1"}
        self.environment = self
        self.results_bucket = "media"
        self.s3 = self
        self._fails = fails

    def _may_fail(self, call: str) -> None:
        if call == self._fails:
            raise ClientError({"Error": {"Code": "NoSuchUpload", "Message": ""}}, call)

    def key(self, name: str) -> str:
        return f"results/job-1/{name}"

    def confirm(self) -> None:
        self.confirmed += 1

    def create_multipart_upload(self, **told: object) -> dict[str, str]:
        assert told["ContentType"] == "video/mp4"
        assert told["Metadata"] == self.metadata
        return {"UploadId": "1"}

    def upload_part(self, *, PartNumber: int, Body: bytes, **_: object) -> dict[str, str]:  # noqa: N803
        self._may_fail("upload_part")
        assert PartNumber not in self.parts
        self.parts[PartNumber] = Body
        return {"ETag": str(PartNumber)}

    def complete_multipart_upload(self, *, Key: str, MultipartUpload: dict[str, Any], **_: object) -> None:  # noqa: N803
        self._may_fail("complete_multipart_upload")
        numbers = [part["PartNumber"] for part in MultipartUpload["Parts"]]
        assert numbers == sorted(self.parts)
        assert all(len(self.parts[number]) >= PART for number in numbers[:-1]), "S3 refuses small parts"
        self.objects[Key] = b"".join(self.parts[number] for number in numbers)

    def put_object(self, *, Key: str, Body: bytes, **_: object) -> None:  # noqa: N803
        self.objects[Key] = Body

    def abort_multipart_upload(self, **_: object) -> None:
        self.aborted += 1


@pytest.fixture(autouse=True, scope="module")
def small_parts() -> Iterator[None]:
    with patch.multiple(upload, PART_BYTES=PART, LEAST_HEAD=HEAD):
        yield


STEPS = st.lists(st.one_of(st.binary(max_size=30), st.tuples(st.integers(0, HEAD), st.binary(max_size=HEAD))))


@given(STEPS)
def test_what_was_written_is_what_s3_has(steps: list[bytes | tuple[int, bytes]]) -> None:
    """Bytes go to the end; a pair overwrites something in the beginning, or leaves a gap there."""
    bucket, expected = Bucket(), io.BytesIO()
    file = upload.Upload(bucket, "preview.mp4", 0)  # type: ignore[arg-type] # as far as it is used
    for step in steps:
        at, data = (max(file.size, 0), step) if isinstance(step, bytes) else (step[0], step[1][: HEAD - step[0]])
        for each in (file, expected):
            each.seek(at)
            assert each.write(data) == len(data)
            assert each.tell() == at + len(data)
    file.finish()
    assert bucket.objects == {"results/job-1/preview.mp4": expected.getvalue()}
    assert (bucket.confirmed, bucket.files) == (1, ["preview.mp4"])


def test_what_was_sent_cant_be_overwritten() -> None:
    file = upload.Upload(Bucket(), "preview.mp4", 0)  # type: ignore[arg-type]
    file.write(bytes(HEAD + 3 * PART))
    file.seek(HEAD + 1)
    with pytest.raises(OSError, match="has been sent"):
        file.write(b"x")


@pytest.mark.parametrize("call", ["upload_part", "complete_multipart_upload"])
def test_a_failed_upload_names_no_file_and_leaves_nothing_behind(call: str) -> None:
    """Also where S3 has completed it and only the answer was lost: the next attempt uploads it again."""
    bucket = Bucket(fails=call)
    file = upload.Upload(bucket, "preview.mp4", 0)  # type: ignore[arg-type]
    with pytest.raises(ClientError):  # noqa: PT012 - either may be the one
        file.write(bytes(HEAD + 3 * PART))
        file.finish()
    file.abort()
    assert (bucket.aborted, bucket.files) == (1, [])


@settings(max_examples=30)
@given(st.floats(0.02, 3.0), st.integers(1, 1500))
def test_a_strip_has_pictures_at_even_times_however_long_the_video_is(step: float, count: int) -> None:
    pictures, picture = strip.Thumbnails(1.0), np.zeros((4, 8, 3), np.uint8)
    with patch.object(strip, "small", lambda picture, _: picture):
        for number in range(count):
            pictures.add(picture, number * step)
    times = [each.at for each in pictures.kept]
    assert times[0] == 0
    assert len(times) <= strip.MOST
    length = (count - 1) * step
    allowed = 4 * max(length / strip.MOST, 1.0, step)
    assert all(after - before <= allowed for before, after in pairwise([*times, length]))


@settings(max_examples=30)
@given(st.lists(st.floats(0, 36_000), min_size=1, max_size=40, unique=True).map(sorted), st.floats(0, 40_000))
def test_the_index_is_read_by_other_programs(times: list[float], duration: float) -> None:
    text = strip.index("strip.jpg", times, (160, 90), duration)
    cues = webvtt.from_string(text).captions
    assert len(cues) == len(times)
    assert all(cue.start < cue.end for cue in cues)
    assert {cue.text.partition("#xywh=")[0] for cue in cues} == {"strip.jpg"}
    assert len({cue.text for cue in cues}) == len(times), "two pictures in one place"
