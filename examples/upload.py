"""Uploads a video with progress: python upload.py clip.mp4 https://….amazonaws.com/v1 API_KEY

Standard library only. For more than 5 GiB, or an unreliable connection, upload in parts as upload.mjs does.
"""

import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any


class Watched:
    """A file that reports how much of it has been read."""

    def __init__(self, file: IO[bytes], size: int, progress: Callable[[int, int], None]) -> None:
        self._file, self._size, self._progress = file, size, progress

    def read(self, size: int = -1) -> bytes:
        """Read up to `size` bytes, then report the position."""
        piece = self._file.read(size)
        self._progress(self._file.tell(), self._size)
        return piece


def upload(file: Path, content_type: str, api: str, key: str, progress: Callable[[int, int], None]) -> dict[str, Any]:
    """Upload a file. The response's `key` and `jobId` name the object and the job that it starts."""
    size = file.stat().st_size
    wanted = json.dumps({"filename": file.name, "contentType": content_type, "size": size}).encode()
    headers = {"Content-Type": "application/json", "X-Api-Key": key}
    with urllib.request.urlopen(urllib.request.Request(f"{api}/uploads/presign", wanted, headers)) as answer:
        presigned: dict[str, Any] = json.load(answer)
    with file.open("rb") as content:
        body: Any = Watched(content, size, progress)
        put = urllib.request.Request(presigned["url"], body, presigned["headers"], method=presigned["method"])
        # Without a length, urllib uses chunked encoding, which S3 rejects.
        put.add_header("Content-Length", str(size))
        urllib.request.urlopen(put).close()
    return presigned


if __name__ == "__main__":
    path, api, key = sys.argv[1:]
    done = upload(Path(path), "video/mp4", api, key, lambda sent, size: print(f"{sent} of {size} bytes"))
    print(f"job {done['jobId']}")
