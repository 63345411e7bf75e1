"""The stage `scenes`: one pass over the whole file, for scenes, key frames and loudness. It also judges the file."""

from analyze_video import container as containers
from analyze_video import markup, report
from analyze_video.analysis import Limits, analyze
from analyze_video.stage import Found, Progress, Video


def run(video: Video, progress: Progress) -> Found:
    """Decode the video, find its scenes and save a key frame for each.

    Raises:
        WorkerError: the file isn't a video, is damaged or costs too much, or S3 failed.
    """
    settings = video.settings
    limits = Limits(settings.key_frames, settings.free_gigapixels, settings.max_seconds)

    def decoded(share: float, seconds: float, scenes: int) -> None:
        progress(share, f"decoded {markup.clock(seconds)}, {scenes + 1} scenes so far")

    with containers.opened(video.source) as container:
        streams = containers.chosen(container)
        video.headers = containers.described(container, streams)
        video.analysis = analyze(container, streams, video.source, video.folder, limits, decoded)
    for scene in video.analysis.scenes:
        if scene.key_frame:
            video.job.save(scene.key_frame, video.folder / scene.key_frame)
    summary = report.scenes(video.headers, video.analysis)
    return Found(
        summary=summary,
        headline={
            "duration": video.analysis.duration,
            "scenes": len(video.analysis.scenes),
            "resolution": summary["video"]["resolution"],
            "frameRate": video.analysis.frame_rate,
            "loudness": video.analysis.loudness,
        },
        section=report.scenes_section(summary["scenes"]),
    )
