"""Makes pictures to test with. Runs in the worker's own environment: `python pictures.py PHOTO FOLDER`."""

import io
import sys
import zlib
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


def chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """A chunk of a PNG."""
    right = zlib.crc32(kind + data) if checksum is None else checksum
    return b"".join([len(data).to_bytes(4), kind, data, right.to_bytes(4)])


def with_chunk(kind: bytes, data: bytes, checksum: int | None = None) -> bytes:
    """The PNG with a chunk after its header."""
    return png[:33] + chunk(kind, data, checksum) + png[33:]


def with_segment(kind: int, data: bytes) -> bytes:
    """The JPEG with a segment after its first one."""
    return jpeg[:20] + bytes([0xFF, kind]) + (len(data) + 2).to_bytes(2) + data + jpeg[20:]


def extended(flags: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """The WebP with metadata that its header tells of."""
    size = (photo.width - 1).to_bytes(3, "little") + (photo.height - 1).to_bytes(3, "little")
    body = b"WEBPVP8X" + (10).to_bytes(4, "little") + bytes([flags, 0, 0, 0]) + size
    first, *later = (kind + len(data).to_bytes(4, "little") + data for kind, data in chunks)
    body += first + webp[12:] + b"".join(later)
    whole: bytes = b"RIFF" + len(body).to_bytes(4, "little") + body
    return whole


profile = zlib.compress(bytes(2_000_000))
packet = b"XML:com.adobe.xmp\0\x01\0\0\0" + zlib.compress(b"<x:xmpmeta>" + b" " * 3_000_000)
files = {
    # the same photograph with metadata that a decoder may stumble over
    "huge-icc.png": with_chunk(b"iCCP", b"icc\0\0" + profile),
    "unknown-icc.png": with_chunk(b"iCCP", b"icc\0\x07" + profile),
    "empty-icc.png": with_chunk(b"iCCP", b""),
    "huge-xmp.png": with_chunk(b"iTXt", packet),
    "bad-text.png": with_chunk(b"tEXt", b"Comment\0hello", checksum=1),
    "bad-text-length.png": with_chunk(b"zTXt", b"a"),
    "bad-gamma.png": with_chunk(b"gAMA", b"\0"),
    "bad-exif.png": with_chunk(b"eXIf", b"MM\0*", checksum=1),
    "corrupt-icc.png": png[:1000] + bytes(1000) + png[2000:],
    "no-end.png": png[:-12],
    "half-end.png": png[:-6],
    "no-end.jpg": jpeg[:-2],
    "half-end.jpg": jpeg[:-1],
    "no-end-progressive.jpg": progressive[:-2],
    "short-icc.jpg": with_segment(0xE2, b"ICC_PROFILE\0"),
    "short-jfif.jpg": with_segment(0xE0, b"JFIF\0"),
    "short-adobe.jpg": with_segment(0xEE, b"Adobe"),
    "bad-mpf.jpg": with_segment(0xE2, b"MPF\0II*\0\xff\xff\xff\x7f"),
    "junk.jpg": jpeg[:2] + b"\xff" + bytes(1_000_000) + jpeg[2:],
    "huge-xmp.webp": extended(0x24, (b"ICCP", bytes(2_000_000)), (b"XMP ", bytes(2_000_000))),
    "half-xmp.webp": extended(0x24, (b"ICCP", bytes(20)), (b"XMP ", bytes(2_000)))[:-1000],
    "no-exif.webp": extended(0x28, (b"ICCP", bytes(20))),
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
    "corrupt.png": png[:10_000] + bytes(1000) + png[11_000:],
    "moving.gif": encoded(photo, "GIF"),
    "renamed.jpg": encoded(photo.resize((32, 32)), "BMP"),
    "scans.jpg": rescanned(progressive, 300),
    "passes.jpg": rescanned(encoded(large_grey, "JPEG", progressive=True), 150),
    "comments.jpg": jpeg[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + jpeg[2:],
    "almost.jpg": jpeg[:-60],
    "almost-progressive.jpg": progressive[:-60],
    "almost.png": png[:-1000],
    "chunks.png": png[:33] + b"\x00\x00\x00\x00prVt\xa6\x87\x8c\x49" * 1_000_000 + png[33:],
}
for name, data in files.items():
    (folder / name).write_bytes(data)
