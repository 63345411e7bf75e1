"""The stage `preview`: a poster, a strip of small pictures, and a rendition where browsers can't play the source."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import av

from analyze_video import container as containers
from analyze_video import rendition, strip
from analyze_video.analysis import Analysis
from analyze_video.stage import Found, Progress, Skipped, StageFailed, Video
from analyze_video.upload import Upload

log = logging.getLogger(__name__)

VIDEO, POSTER, STRIP, INDEX = "preview.mp4", "poster.jpg", "strip.jpg", "preview.vtt"
_LONGEST_SECONDS = 6 * 3600.0  # of a video with a rendition: its index is built in memory, 4 kB a second
_LEAST_SECONDS = 600.0  # that a rendition may take; more for videos that last longer


def run(video: Video, progress: Progress) -> Found:
    """Save what players and pages show of the video.

    Raises:
        StageFailed: the rendition can't be made; poster and strip are saved nevertheless.
    """
    analysis = video.analysis
    if analysis is None:
        raise Skipped("the video wasn't decoded")
    facts: dict[str, Any] = {}
    headline: dict[str, Any] = {}
    if poster := _poster(video.folder, analysis):
        video.job.save(POSTER, poster)
        facts["poster"] = POSTER
        headline["poster"] = video.job.key(POSTER)
    if analysis.thumbnails:
        picture, (width, height) = strip.sheet(analysis.thumbnails, analysis.orientation)
        times = [each.at for each in analysis.thumbnails]
        video.job.save(STRIP, picture)
        video.job.save(INDEX, strip.index(STRIP, times, (width, height), analysis.duration).encode())
        facts["strip"] = {"file": STRIP, "index": INDEX, "pictures": len(times), "width": width, "height": height}

    def found() -> Found:
        return Found({"preview": facts}, headline, _section(facts))

    video.source.seek(0)
    beginning = video.source.read(64)
    with containers.opened(video.source) as container:
        streams = containers.chosen(container)
        facts["sourcePlays"] = plays(container, streams, beginning)
        if facts["sourcePlays"]:
            return found()
        if analysis.duration > _LONGEST_SECONDS:
            raise StageFailed("TOO_LONG", "the video is longer than six hours: it has no rendition", found())
        try:
            size = _rendition(video, analysis, container, streams, progress)
        except StageFailed as failed:
            raise StageFailed(failed.code, failed.message, found()) from failed
        except (av.FFmpegError, ValueError) as error:
            video.source.raise_failure()
            log.warning("no rendition: %s", error)
            raise StageFailed("NO_RENDITION", "the video can't be encoded again", found()) from error
    facts["video"] = {"file": VIDEO, "width": size.width, "height": size.height}
    headline["preview"] = video.job.key(VIDEO)
    return found()


def _section(facts: Mapping[str, Any]) -> str:
    parts = ["## Preview"]
    if "poster" in facts:
        parts.append(f"![A picture of the video]({POSTER})")
    if "video" in facts:
        parts.append(f"[A smaller copy that browsers play]({VIDEO})")
    return "\n\n".join(parts)


def plays(container: Any, streams: containers.Streams, beginning: bytes) -> bool:  # noqa: ANN401 - PyAV's
    """Whether all common browsers play the file as it is.

    That is H.264 of 8 bits and 4:2:0 with AAC or MP3 in an MP4 that isn't QuickTime's, or VP8 or VP9 of 8 bits with
    Opus or Vorbis in a WebM that isn't merely Matroska; in both without sound, too.
    """
    pictures, sound = streams.video.codec_context, streams.audio
    if pictures.pix_fmt not in {"yuv420p", "yuvj420p"}:
        return False
    if container.format.name.startswith("mov"):
        brand, codecs, sounds = container.metadata.get("major_brand", "qt"), {"h264"}, {"aac", "mp3"}
        known = brand.strip() not in {"qt", ""}
    else:
        codecs, sounds = {"vp8", "vp9"}, {"opus", "vorbis"}
        known = container.format.name.startswith("matroska") and b"webm" in beginning
    heard = sound is None or containers.codec_name(sound) in sounds
    unheard = sound is None and bool(container.streams.audio)  # of an unknown codec
    return known and heard and not unheard and containers.codec_name(streams.video) in codecs


def _poster(folder: Path, analysis: Analysis) -> bytes | None:
    """The key frame of the scene that is long and rich: a picture without detail makes a small JPEG."""
    pictures = [(folder / each.key_frame, each.end - each.start) for each in analysis.scenes if each.key_frame]
    best = max(pictures, key=lambda each: each[0].stat().st_size * each[1], default=None)
    return best[0].read_bytes() if best else None


def _allowed(duration: float) -> float:
    """Seconds that a rendition may take. The stages after it need time, too."""
    return max(_LEAST_SECONDS, duration)


def _rendition(
    video: Video,
    analysis: Analysis,
    container: Any,  # noqa: ANN401
    streams: containers.Streams,
    progress: Progress,
) -> rendition.Size:
    end = time.monotonic() + _allowed(analysis.duration)

    def tick(done: float) -> None:
        progress(min(1.0, done / (analysis.duration or 1)), f"{done:.0f} of {analysis.duration:.0f} s")
        if time.monotonic() > end:
            raise StageFailed("OUT_OF_TIME", "the rendition takes longer than the video lasts")

    head = rendition.index_bytes(analysis.duration, analysis.frames) + 64 * 1024
    upload = Upload(video.job, VIDEO, head)
    try:
        size = rendition.write(upload, container, streams, video.source, analysis, tick)
        upload.finish()
    except BaseException:
        upload.abort()
        raise
    return size
