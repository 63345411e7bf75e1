"""Takes a picture's file apart without decoding it, and leaves out its metadata.

Decoders refuse pictures for colour profiles that are too large, texts with a wrong checksum and the like, which no
detector looks at. What remains is what the pixels need, and EXIF data, which say how the picture is turned.
"""

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

MAX_PARTS = 100_000
"""Chunks or segments per file. Each costs time; cameras and encoders write some thousands at most."""

_PNG, _SOI, _EOI = b"\x89PNG\r\n\x1a\n", b"\xff\xd8", b"\xff\xd9"
_PNG_HEADERS, _PNG_PIXELS, _PNG_EXTRAS, _PNG_END = {b"IHDR", b"PLTE"}, b"IDAT", {b"tRNS", b"eXIf"}, b"IEND"
_WEBP_PIXELS, _WEBP_HEADER, _EXIF = {b"ANIM", b"ANMF", b"ALPH", b"VP8 ", b"VP8L"}, b"VP8X", b"EXIF"
_HAS_PROFILE, _HAS_EXIF, _HAS_XMP = 0x20, 0x08, 0x04  # of a WebP's header

# Starts a segment of a JPEG; excludes restarts, and 0xFF as pixel data or padding (ITU-T T.81, B.1.1.2).
_MARKER = re.compile(rb"\xff([^\x00\x01\xd0-\xd7\xff])")
_SCAN, _END = 0xDA, 0xD9
_JPEG_EXTRAS = {0xE0: 14, 0xE1: 0, 0xEE: 12}  # JFIF, EXIF and Adobe's, which tells the colours: least bytes of each
_APPLICATIONS, _COMMENT = range(0xE0, 0xF0), 0xFE
_NOISE = bytes(range(255)) * 256  # no marker of a JPEG, and no picture anybody has


class TooManyParts(Exception):
    """The file has more than `MAX_PARTS` chunks or segments."""


@dataclass(frozen=True)
class Pixels:
    """A picture's file without its metadata.

    Attributes:
        files: the file. Two, if a JPEG's end is missing: with different ends, so that their pictures are the same only
            if no pixel is missing.
        scans: how often a JPEG's decoder passes over the picture.
    """

    files: tuple[bytes, ...]
    scans: int = 1


def without_metadata(data: bytes) -> Pixels:
    """The picture in a JPEG, PNG or WebP. Any other file is returned as it is.

    Raises:
        TooManyParts: it would take too long.
    """
    if data.startswith(_PNG):
        return Pixels((b"".join([_PNG, *_png(data)]),))
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        body = b"".join(_webp(data))
        return Pixels((b"RIFF" + (len(body) + 4).to_bytes(4, "little") + b"WEBP" + body,))
    return _jpeg(data) if data.startswith(_SOI) else Pixels((data,))


def _png(data: bytes) -> Iterator[bytes]:
    """The chunks to keep (PNG 5.3). The end is added if it is missing."""
    at = len(_PNG)
    for _ in range(MAX_PARTS):
        kind, begin = data[at + 4 : at + 8], at + 8
        body = data[begin : begin + int.from_bytes(data[at : at + 4])]
        at = begin + len(body) + 4
        checksum = data[at - 4 : at]
        if len(kind) < 4 or kind == _PNG_END:
            end = bytes(4) + _PNG_END
            yield end + zlib.crc32(_PNG_END).to_bytes(4)
            return
        intact = zlib.crc32(body, zlib.crc32(kind)).to_bytes(4) == checksum
        cut = at > len(data)  # the file ends here; its pixels may be complete
        extra = kind in _PNG_EXTRAS and intact
        if kind in _PNG_HEADERS or extra or (kind == _PNG_PIXELS and (intact or cut)):  # Pillow checks those of headers
            yield len(body).to_bytes(4) + kind + body + checksum.ljust(4, b"\0")
    raise TooManyParts


def _webp(data: bytes) -> Iterator[bytes]:
    """The chunks to keep (RFC 9649, 2.7), the header with what is left out taken off its flags."""
    at = 12
    kept: list[tuple[bytes, bytes]] = []
    while len(kind := data[at : at + 4]) == 4 and len(kept) < MAX_PARTS:
        size = int.from_bytes(data[at + 4 : at + 8], "little")
        body = data[at + 8 : at + 8 + size]
        at += 8 + size + size % 2
        if kind in _WEBP_PIXELS or kind == _WEBP_HEADER or (kind == _EXIF and len(body) == size):
            kept.append((kind, body))
    if len(kept) == MAX_PARTS:
        raise TooManyParts
    gone = _HAS_PROFILE | _HAS_XMP | (0 if any(kind == _EXIF for kind, _ in kept) else _HAS_EXIF)
    for kind, body in kept:
        told = bytes([body[0] & ~gone]) + body[1:] if kind == _WEBP_HEADER and body else body
        yield kind + len(told).to_bytes(4, "little") + told + bytes(len(told) % 2)


def _jpeg(data: bytes) -> Pixels:
    """The segments to keep. Data after the end is left out: phones append videos."""
    kept, scans, at = [_SOI], 0, 2
    for _ in range(MAX_PARTS):
        marker = _MARKER.search(data, at)
        end = marker.start() if marker else len(data)
        if scans:
            kept.append(data[at:end])  # of the scan's pixels
        if marker is None or marker[1][0] == _END:
            break
        kind = marker[1][0]
        at = marker.end() + int.from_bytes(data[marker.end() : marker.end() + 2])
        scans += kind == _SCAN
        least = _JPEG_EXTRAS.get(kind, MAX_PARTS if kind in _APPLICATIONS or kind == _COMMENT else 0)
        if at - marker.end() - 2 >= least:
            kept.append(data[marker.start() : at])
    else:
        raise TooManyParts
    body = b"".join(kept)
    return Pixels((body + _EOI,) if marker else (body + _EOI, body + _NOISE + _EOI), scans)
