"""Makes pictures to test with. Runs in the worker's own environment: `python pictures.py PHOTO FOLDER`."""

import io
import sys
from pathlib import Path

import numpy as np
from PIL import Image  # type: ignore[import-not-found] # as numpy

photo = Image.open(sys.argv[1]).convert("RGB").crop((100, 0, 356, 256))
folder = Path(sys.argv[2])


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    """The picture's file."""
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


jpeg = encoded(photo, "JPEG", quality=90)
png = encoded(photo, "PNG")
webp = encoded(photo, "WEBP")
turned = Image.Exif()
turned[0x0112] = 6  # what has to be turned by 90° to be upright
grey = np.asarray(photo.convert("L")).astype(np.uint16)
see_through = photo.convert("RGBA")
see_through.putalpha(200)
large_grey = photo.convert("L").resize((3000, 3000))
progressive = encoded(photo, "JPEG", progressive=True)


def rescanned(picture: bytes, times: int) -> bytes:
    """A progressive JPEG whose last scan comes that many times more."""
    return picture[:-2] + picture[picture.rindex(b"\xff\xda") : -2] * times + b"\xff\xd9"


files = {
    # the same photograph, however it is stored
    "baseline.jpg": jpeg,
    "progressive.jpg": progressive,
    "cmyk.jpg": encoded(photo.convert("CMYK"), "JPEG", quality=90),
    "sideways.jpg": encoded(photo.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=90, exif=turned),
    "broken-exif.jpg": encoded(photo, "JPEG", quality=90, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"),
    "colour.png": png,
    "grey16.png": encoded(Image.fromarray(grey * 257), "PNG"),
    "see-through.png": encoded(see_through, "PNG"),
    "palette.png": encoded(photo.quantize(256), "PNG", transparency=b"\xff" * 10),
    "lossy.webp": webp,
    "motion.jpg": jpeg + np.random.default_rng(1).bytes(20_000_000),  # as phones append a few seconds of video
    "large.jpg": encoded(photo.resize((1280, 1280)), "JPEG", quality=80),
    "large16.png": encoded(Image.fromarray(np.kron(grey, np.ones((5, 5), np.uint16)) * 257), "PNG"),
    # what no detector should see
    "truncated.jpg": jpeg[: len(jpeg) // 2],
    "truncated.png": png[: len(png) // 2],
    "truncated.webp": webp[: len(webp) // 2],
    "corrupt.png": png[:1000] + bytes(1000) + png[2000:],
    "moving.gif": encoded(photo, "GIF"),
    "renamed.jpg": encoded(photo.resize((32, 32)), "BMP"),
    "scans.jpg": rescanned(progressive, 300),
    "passes.jpg": rescanned(encoded(large_grey, "JPEG", progressive=True), 150),
    "comments.jpg": jpeg[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + jpeg[2:],
    "junk.jpg": jpeg[:2] + b"\xff" + bytes(1_000_000) + jpeg[2:],
    "chunks.png": png[:33] + b"\x00\x00\x00\x00prVt\xa6\x87\x8c\x49" * 1_000_000 + png[33:],
}
for name, data in files.items():
    (folder / name).write_bytes(data)
