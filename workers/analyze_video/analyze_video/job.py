"""The job: from an object in S3 to the results of all stages, summary.json and summary.md."""

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analyze_video import pipeline, report
from analyze_video.settings import Settings
from analyze_video.source import S3File
from analyze_video.stage import Video
from switchyard_worker import WorkerJob

_STAGES = 97.0  # percent; the summaries are the rest


def main(job: WorkerJob) -> Mapping[str, Any]:
    """Analyse the video, save the results, return the headline facts."""
    started = time.monotonic()
    settings = Settings.from_env()
    stages = pipeline.chosen(settings.stages)
    given = job.environment
    source = S3File(job.s3, given.bucket, given.key, given.version_id, job.checkpoint)

    def progress(share: float, message: str) -> None:
        job.progress(share * _STAGES, message)

    with tempfile.TemporaryDirectory(prefix="analyze-video-") as name:
        video = Video(job, settings, source, Path(name))
        outcomes = pipeline.run(video, stages, progress)
        job.progress(_STAGES, "saving the summary")
        summary = report.summary(given, video, [outcome.described() for outcome in outcomes])
        sections = {outcome.name: outcome.found.section for outcome in outcomes}
        # Last: when a summary exists, so do the files it names.
        job.save("summary.md", report.markdown(summary, sections).encode())
        job.save("summary.json", report.as_json(summary))
    job.files.sort(key=lambda name: name.startswith("scene-"))  # last: the API links to the first hundred
    headline: dict[str, Any] = {"summary": job.key("summary.json")}
    for outcome in outcomes:
        headline |= outcome.found.headline
    headline["stages"] = {outcome.name: outcome.state for outcome in outcomes}
    return headline | {"seconds": round(time.monotonic() - started, 1)}
