"""Checks of parsers for uploaded pictures and videos. Only the workers' environments have the libraries."""

import io
import json
import logging
from typing import Any

from switchyard_worker import PermanentFailure

_SIDE = 64


def image(data: bytes) -> None:
    """detect_objects' image decoder: small, upright pixels, or an ImageError."""
    from detect_objects import images  # noqa: PLC0415 - see above

    logging.getLogger(images.__name__).setLevel(logging.ERROR)
    try:
        found = images.decoded(data, _SIDE)
    except images.ImageError as error:
        assert error.code in {"EMPTY_FILE", "IMAGE_TOO_LARGE", "BROKEN_IMAGE", "NOT_AN_IMAGE"}
        return
    height, width, colours = found.pixels.shape
    assert colours == 3
    assert 0 < max(height, width) <= _SIDE
    assert 0 < found.width * found.height <= images.MAX_PIXELS


class _Object:
    """An S3File in memory."""

    name = "the video"

    def __init__(self, data: bytes) -> None:
        self.size = len(data)
        self._file = io.BytesIO(data)

    def read(self, size: int = -1) -> bytes:
        return self._file.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._file.tell(), io.SEEK_END: self.size}[whence]
        return self._file.seek(max(0, base + offset))

    def tell(self) -> int:
        return self._file.tell()

    def raise_failure(self) -> None:
        """Nothing failed."""


def movie(data: bytes) -> None:
    """analyze_video's reader of file headers: JSON, or a PermanentFailure."""
    import av.logging  # noqa: PLC0415 - see above

    from analyze_video import container  # noqa: PLC0415 - see above

    av.logging.set_level(av.logging.PANIC)
    source: Any = _Object(data)
    try:
        with container.opened(source) as opened:
            headers = container.described(opened, container.chosen(opened))
    except PermanentFailure as error:
        assert error.message.isprintable()
        return
    assert json.dumps([headers.container, headers.streams], allow_nan=False)
    assert 0 <= headers.video < len(headers.streams) <= 64
