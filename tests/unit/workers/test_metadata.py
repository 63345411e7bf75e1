"""Metadata of pictures are left out, whatever the bytes are. Decoders see the result in test_detect_objects.py."""

import zlib
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from detect_objects.metadata import MAX_PARTS, TooManyParts, without_metadata
from local.demos.media import photo

PNG = b"\x89PNG\r\n\x1a\n"


@given(st.sampled_from([PNG, b"RIFF\x10\0\0\0WEBP", b"RIFF\0\0\0\0WEBPVP8X", b""]), st.binary(max_size=300))
def test_any_bytes_are_taken_apart_and_a_second_time_changes_nothing(beginning: bytes, rest: bytes) -> None:
    assume(not (beginning + rest).startswith(b"\xff\xd8"))  # a JPEG without an end is two files: below
    (file,) = without_metadata(beginning + rest).files
    assert without_metadata(file).files == (file,)


@given(st.sampled_from([b"\xff\xd8", b"\xff\xd8\xff\xe0", b"\xff\xd8\xff\xda\0\2"]), st.binary(max_size=300))
def test_any_bytes_of_a_jpeg_get_an_end_and_two_if_they_had_none(beginning: bytes, rest: bytes) -> None:
    files = without_metadata(beginning + rest).files
    assert len(files) in {1, 2}
    assert all(file.startswith(b"\xff\xd8") and file.endswith(b"\xff\xd9") for file in files)


@given(st.integers(0, 4000), st.binary(min_size=1, max_size=8))
def test_a_real_photograph_with_damage_is_taken_apart(at: int, damage: bytes) -> None:
    whole = Path(photo("china.jpg")).read_bytes()
    assert without_metadata(whole[:at] + damage + whole[at:]).files


def test_a_jpeg_keeps_its_pixels_byte_for_byte_and_nothing_after_its_end() -> None:
    whole = Path(photo("china.jpg")).read_bytes()
    found = without_metadata(whole + b"a video")
    (file,) = found.files
    assert found.scans == 1
    assert file.endswith(whole[whole.rindex(b"\xff\xda") :])


@pytest.mark.parametrize("beginning", [PNG, b"\xff\xd8", b"RIFF\0\0\0\0WEBP"])
def test_too_many_parts_are_refused(beginning: bytes) -> None:
    part = {PNG: bytes(4) + b"IDAT" + zlib.crc32(b"IDAT").to_bytes(4), b"\xff\xd8": b"\xff\xdb\0\2"}
    with pytest.raises(TooManyParts):
        without_metadata(beginning + part.get(beginning, b"ALPH\0\0\0\0") * (MAX_PARTS + 1))
