"""Loads untrusted pictures from S3: enforces limits first, and reports each bad picture separately."""

import io
import logging
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError
from PIL import Image, UnidentifiedImageError  # type: ignore[import-not-found] # as numpy

from detect_objects.metadata import TooManyParts, without_metadata
from switchyard.urls import UrlNotAllowed, s3_location

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

log = logging.getLogger(__name__)

FORMATS = ("JPEG", "PNG", "WEBP")
"""Pillow's names of the accepted formats. It knows forty more, each with a parser of its own."""
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n")
MAX_BYTES = 32 * 2**20
"""Per file."""
MAX_PIXELS = 64_000_000
"""Per picture: more than phones take in normal mode. A few kilobytes can claim far more, and would get the memory."""
MAX_SCANS = 200
"""Per JPEG. Each scan is a pass over the whole picture; cameras and encoders write at most a dozen."""
MAX_PASSED = 1_000_000_000
"""Pixels of all scans together, several seconds of work. A few kilobytes could demand minutes."""
READ_ATTEMPTS = 3
"""Attempts per file. boto3 retries failures before the body starts; we retry a body that breaks off."""

UNREACHABLE = "UNREACHABLE"
"""The only error that may be temporary."""

Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit only warns at first; `decoded` enforces ours

_UPRIGHT = {
    # EXIF orientation (CIPA DC-008, 4.6.5): the transposition that makes the picture upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = range(5, 9)
_ORIENTATION = 0x0112


class ImageError(Exception):
    """One picture can't be processed.

    Args:
        code: stable, for programs.
        message: a sentence for people.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture, upright.

    Attributes:
        pixels: height × width × red, green, blue; bytes. May be smaller than the original.
        width: the original's width.
        height: the original's height.
    """

    pixels: Any
    width: int
    height: int


def fetched(s3: "S3Client", bucket: str, url: str, checkpoint: Callable[[], None]) -> bytes:
    """Download the file that `url` names in `bucket`.

    Args:
        s3: a client.
        bucket: the only bucket to read from, whatever the URL says.
        url: `s3://bucket/key`, or an https URL of it.
        checkpoint: called before every request; an error it raises ends reading.

    Raises:
        ImageError: the file can't be downloaded.
    """
    try:
        key = s3_location(url, bucket)
    except UrlNotAllowed as error:
        raise ImageError("URL_NOT_ALLOWED", str(error)) from error
    for attempt in range(READ_ATTEMPTS):
        time.sleep(0.2 * 2**attempt if attempt else 0)
        checkpoint()
        try:
            answer = s3.get_object(Bucket=bucket, Key=key)
            with closing(answer["Body"]) as body:
                size = answer["ContentLength"]
                if size > MAX_BYTES:
                    raise ImageError("IMAGE_TOO_LARGE", f"the file has {size:,} bytes; the limit is {MAX_BYTES:,}")
                return bytes(body.read())
        except ClientError as error:
            raise _explained(error) from error
        except BotoCoreError as error:
            log.warning("can't read a picture: %s", type(error).__name__)
    raise ImageError(UNREACHABLE, f"the download of the picture broke off {READ_ATTEMPTS} times")


def _explained(error: ClientError) -> ImageError:
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    code = error.response.get("Error", {}).get("Code", "")
    if code == "InvalidObjectState":
        return ImageError("ARCHIVED", "the picture is in an archive storage class: restore it and submit it again")
    if status in (404, 405):  # 405: a delete marker
        return ImageError("NOT_FOUND", "no such object: it was deleted or never existed")
    # 403 too: somebody may add the missing permission, and the object may be fine.
    return ImageError(UNREACHABLE, f"S3 did not send the picture (HTTP {status}, {code or 'no code'})")


def decoded(data: bytes, side: int) -> Picture:
    """Decode a picture.

    Args:
        data: the file's content.
        side: maximum pixels of the longer side; a larger picture is shrunk, which saves memory and time.

    Raises:
        ImageError: the picture isn't accepted, or is damaged.
    """
    if not data:
        raise ImageError("EMPTY_FILE", "the file is empty (0 bytes)")
    try:
        found = without_metadata(data)
    except TooManyParts as error:
        raise ImageError("IMAGE_TOO_LARGE", "the file has too many pieces: it would take too long") from error
    picture, *again = (_decoded(file, found.scans, side) for file in found.files)
    if not all(np.array_equal(picture.pixels, other.pixels) for other in again):
        raise _broken()
    return picture


def _decoded(data: bytes, scans: int, side: int) -> Picture:
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            _check_limits(image, scans)
            width, height = image.size
            if image.format == "PNG":  # Pillow would do it to find EXIF data, and tell of damaged pixels only once
                image.load()
            orientation = _orientation(image)
            if image.mode.startswith("I;16"):  # 16-bit grey: Pillow neither shrinks nor converts it well
                image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))  # noqa: PLW2901
            # First of all, and for a JPEG during decoding: the full picture may take hundreds of megabytes.
            image.thumbnail((side, side), Image.Resampling.BICUBIC, reducing_gap=2.0)
            turn = _UPRIGHT.get(orientation)
            pixels = np.asarray(_in_colour(image if turn is None else image.transpose(turn)))
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        if data.startswith(_BEGINNINGS) or data[8:12] == b"WEBP":
            raise _broken() from error
        raise ImageError(
            "NOT_AN_IMAGE", "the file is not a JPEG, PNG or WebP picture, whatever its name says"
        ) from error
    except Exception as error:
        # Decoders raise anything for damaged files, and one picture must not fail the others.
        log.info("can't decode a picture: %s", type(error).__name__)
        raise _broken() from error
    return Picture(pixels, *((height, width) if orientation in _SIDEWAYS else (width, height)))


def _broken() -> ImageError:
    return ImageError("BROKEN_IMAGE", "the picture is damaged or truncated")


def _check_limits(image: Any, scans: int) -> None:  # noqa: ANN401
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError("IMAGE_TOO_LARGE", f"it has {width:,} × {height:,} pixels; the limit is {MAX_PIXELS:,}")
    if scans > MAX_SCANS or scans * width * height > MAX_PASSED:
        raise ImageError("IMAGE_TOO_LARGE", f"{scans:,} scans of {width:,} × {height:,} pixels would take too long")


def _orientation(image: Any) -> int:  # noqa: ANN401
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 - Pillow raises anything for damaged metadata; the picture may be fine
        return 1


def _in_colour(image: Any) -> Any:  # noqa: ANN401
    """The picture as RGB, on white where it is transparent."""
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image.convert("RGBA"))
    return image.convert("RGB")
