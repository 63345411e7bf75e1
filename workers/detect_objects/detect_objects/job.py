"""The job: from a list of pictures in S3 to detections.json under the job's results."""

import json
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from detect_objects import VERSION
from detect_objects.boxes import clipped, scaled
from detect_objects.detectors import Detector, from_environment
from detect_objects.images import UNREACHABLE, ImageError, decoded, fetched
from switchyard_worker import PermanentFailure, TryAgain, WorkerJob

MAX_IMAGES = 1000
FETCHED_AHEAD = 4
"""Files fetched or waiting while a picture is processed. Bounds memory, whatever the job's size."""
MAX_HEADLINE_BYTES = 64 * 1024
"""Longer JSON of detections is in the file only: a DynamoDB item holds at most 400 KB."""


def main(job: WorkerJob) -> Mapping[str, Any]:
    """Process every picture, save the detections, return the headline numbers."""
    urls = _image_urls(job.input)
    detector = from_environment()

    def fetch(url: str) -> bytes | ImageError:
        try:
            return fetched(job.s3, job.environment.bucket, url, job.checkpoint)
        except ImageError as error:
            return error

    images: list[dict[str, Any]] = []
    with ThreadPoolExecutor(FETCHED_AHEAD, thread_name_prefix="fetch") as pool:
        for url, file in zip(urls, _ahead(pool, fetch, urls), strict=True):
            job.progress(99 * len(images) / len(urls), f"{len(images)} of {len(urls)} images")
            images.append({"imageUrl": url, "imageIndex": len(images), **_looked_at(file, detector)})
    failed = Counter(image["error"]["code"] for image in images if "error" in image)
    if failed.total() == len(images):
        raise _all_failed(failed)
    found = {"version": 1, "model": detector.name, "worker": f"detect_objects {VERSION}", "images": images}
    job.save("detections.json", json.dumps(found, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    headline = {
        "model": detector.name,
        "imageCount": len(images),
        "failedCount": failed.total(),
        "detectionCount": sum(image["detectionCount"] for image in images),
    }
    small = len(json.dumps(images, ensure_ascii=False).encode()) <= MAX_HEADLINE_BYTES
    return {**headline, "detections": images} if small else headline


def _image_urls(given: Mapping[str, Any]) -> list[str]:
    urls = given.get("imageUrls")
    if not isinstance(urls, list) or not 1 <= len(urls) <= MAX_IMAGES or not all(isinstance(url, str) for url in urls):
        raise PermanentFailure("BAD_INPUT", f"the job's input needs `imageUrls`, a list of 1 to {MAX_IMAGES} strings")
    return urls


def _ahead[Item, Answer](
    pool: ThreadPoolExecutor, function: Callable[[Item], Answer], items: Iterable[Item]
) -> Iterator[Answer]:
    """Like `pool.map`, with at most `FETCHED_AHEAD` results in progress or not yet taken."""
    waiting: deque[Future[Answer]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) == FETCHED_AHEAD:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()


def _looked_at(file: bytes | ImageError, detector: Detector) -> dict[str, Any]:
    """The detections in a picture, or its error."""
    try:
        if isinstance(file, ImageError):
            raise file
        picture = decoded(file, detector.side)
    except ImageError as error:
        return {"detections": [], "detectionCount": 0, "error": {"code": error.code, "message": error.message}}
    height, width = picture.pixels.shape[:2]
    detections = [
        {"label": found.label, "confidence": round(found.confidence, 4), "bbox": bbox}
        for found in detector.detect(picture.pixels)
        if (
            bbox := clipped(
                scaled(found.box, picture.width / width, picture.height / height), picture.width, picture.height
            )
        )
    ]
    return {"detections": detections, "detectionCount": len(detections)}


def _all_failed(failed: Counter[str]) -> PermanentFailure | TryAgain:
    kinds = ", ".join(f"{count} × {code}" for code, count in failed.most_common())
    message = f"every image failed: {kinds}"
    return (TryAgain if UNREACHABLE in failed else PermanentFailure)("ALL_IMAGES_FAILED", message)
