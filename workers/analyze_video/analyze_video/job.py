"""The job: from an object in S3 to summary.json, summary.md and a key frame per scene in the job's results."""

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analyze_video import container as containers
from analyze_video import report
from analyze_video.analysis import Limits, analyze
from analyze_video.source import S3File
from switchyard_worker import PermanentFailure, WorkerJob

_DECODED = 95.0  # percent; the uploads are the rest


def main(job: WorkerJob) -> Mapping[str, Any]:
    """Analyse the video, save the results, return the headline numbers."""
    started = time.monotonic()
    limits = _limits()
    given = job.environment
    source = S3File(job.s3, given.bucket, given.key, given.version_id, job.checkpoint)
    job.progress(0, "opening")

    def progress(share: float, decoded: float, scenes: int) -> None:
        job.progress(share * _DECODED, f"decoded {report.clock(decoded)}, {scenes + 1} scenes so far")

    with tempfile.TemporaryDirectory(prefix="analyze-video-") as name:
        folder = Path(name)
        with containers.opened(source) as container:
            streams = containers.chosen(container)
            headers = containers.described(container, streams)
            analysis = analyze(container, streams, source, folder, limits, progress)
        summary = report.summary(given, source, headers, analysis)
        job.progress(_DECODED, "saving the results")
        for scene in analysis.scenes:
            if scene.key_frame:
                job.save(scene.key_frame, folder / scene.key_frame)
        # Last: when a summary exists, so do the pictures it names.
        job.save("summary.md", report.markdown(summary).encode())
        job.save("summary.json", report.as_json(summary))
    return {
        "summary": job.key("summary.json"),
        "duration": analysis.duration,
        "scenes": len(analysis.scenes),
        "resolution": summary["video"]["resolution"],
        "frameRate": analysis.frame_rate,
        "loudness": analysis.loudness,
        "seconds": round(time.monotonic() - started, 1),
    }


def _limits() -> Limits:
    return Limits(
        key_frames=_number("MAX_KEY_FRAMES", 200, 10_000),
        free_gigapixels=_number("FREE_GIGAPIXELS", 400, 1_000_000),
        max_seconds=_number("MAX_SECONDS", 14_400, 2_592_000),
    )


def _number(name: str, default: int, most: int) -> int:
    text = os.environ.get(name) or str(default)
    if not text.isdecimal() or not 1 <= int(text) <= most:
        raise PermanentFailure("BAD_ENVIRONMENT", f"{name} is {text[:40]!r}: it must be 1 to {most}")
    return int(text)
