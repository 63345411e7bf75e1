"""The two summaries: summary.json for programs (README.md documents it), and summary.md for people, made from it."""

import json
from importlib.metadata import version
from typing import Any

from analyze_video import VERSION
from analyze_video.analysis import Analysis
from analyze_video.container import Headers
from analyze_video.source import S3File
from switchyard_worker import WorkerEnvironment

SCHEMA_VERSION = 1


def summary(job: WorkerEnvironment, source: S3File, headers: Headers, analysis: Analysis) -> dict[str, Any]:
    """The content of summary.json. Times in seconds; None if the file doesn't say."""
    video = headers.streams[headers.video]
    return {
        "version": SCHEMA_VERSION,
        "jobId": job.job_id,
        "videoId": job.video_id,
        "source": {
            "bucket": job.bucket,
            "key": job.key,
            "versionId": source.version_id,
            "etag": source.etag.strip('"'),
            "size": source.size,
        },
        "container": headers.container,
        "duration": analysis.duration,
        "video": {
            "stream": headers.video,
            "codec": video["codec"],
            "resolution": f"{video['width']}x{video['height']}",
            "frameRate": analysis.frame_rate,
            "frames": analysis.frames,
            "rotation": analysis.rotation,
        },
        "loudness": analysis.loudness,
        "scenes": [
            {
                "number": number,
                "start": scene.start,
                "end": scene.end,
                "keyFrame": scene.key_frame,
                "keyFrameAt": scene.key_frame_at,
            }
            for number, scene in enumerate(analysis.scenes, start=1)
        ],
        "streams": headers.streams,
        "decodeErrors": analysis.decode_errors,
        "worker": {
            "name": "analyze_video",
            "version": VERSION,
            "av": version("av"),
            "scenedetect": version("scenedetect-headless"),
        },
    }


def as_json(summary: dict[str, Any]) -> bytes:
    """The bytes of summary.json."""
    return json.dumps(summary, ensure_ascii=False, indent=2, allow_nan=False).encode() + b"\n"


def markdown(summary: dict[str, Any]) -> str:
    """summary.md: the same for people, with the key frames by relative links."""
    video, scenes = summary["video"], summary["scenes"]
    pictures = sum(1 for scene in scenes if scene["keyFrame"])
    rate = f"{video['frameRate']:g} frames/s" if video["frameRate"] else "unknown frame rate"
    lines = [
        f"# {_plain(summary['source']['key'].rsplit('/', 1)[-1])}",
        "",
        "| | |",
        "|---|---|",
        f"| Video | {_plain(summary['videoId'])} |",
        f"| Source | {_plain(summary['source']['bucket'] + '/' + summary['source']['key'])}, {_size(summary)} |",
        f"| Duration | {clock(summary['duration'])} |",
        f"| Picture | {video['codec']}, {video['resolution']}, {rate}, {video['frames']:,} frames |",
        f"| Loudness | {_loudness(summary['loudness'])} |",
        f"| Scenes | {len(scenes):,} |",
    ]
    if summary["decodeErrors"]:
        lines.append(f"| Damage | {summary['decodeErrors']:,} packets could not be decoded |")
    lines += ["", "## Streams", "", "| # | Type | Codec | Details |", "|---|---|---|---|"]
    lines += [f"| {s['index']} | {s['type']} | {s['codec'] or 'unknown'} | {_details(s)} |" for s in summary["streams"]]
    lines += ["", "## Scenes", ""]
    if pictures < len(scenes):
        lines += [f"{pictures:,} of {len(scenes):,} scenes have a picture; summary.json lists them all.", ""]
    for scene in scenes:
        if scene["keyFrame"]:
            title = f"Scene {scene['number']}, {clock(scene['start'])} to {clock(scene['end'])}"
            lines += [f"### {title}", "", f"![{title}]({scene['keyFrame']})", ""]
    return "\n".join(lines).rstrip() + "\n"


def clock(seconds: float) -> str:
    """`1:02:03.4`; the hours only if there are any."""
    tenths = round(seconds * 10)
    minutes, tenths = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    rest = f"{tenths // 10:02d}.{tenths % 10}"
    return f"{hours}:{minutes:02d}:{rest}" if hours else f"{minutes}:{rest}"


def _plain(text: str) -> str:
    """Escape an untrusted name, so that Markdown and HTML in it stay text."""
    text = "".join(character if character.isprintable() else "�" for character in text)
    return "".join(f"&#{ord(character)};" if character in "\\`*_[]<>#|&~$" else character for character in text)


def _size(summary: dict[str, Any]) -> str:
    return f"{summary['source']['size'] / 1e6:,.1f} MB"


def _loudness(loudness: dict[str, Any]) -> str:
    match loudness["state"]:
        case "measured":
            return f"{loudness['integratedLufs']} LUFS, true peak {loudness['truePeakDbtp']} dBTP (EBU R 128)"
        case "none":
            return "no audio"
        case "silent":
            return "silent"
        case _:
            return "audio that is too short or too unusual to measure"


def _details(stream: dict[str, Any]) -> str:
    match stream["type"]:
        case "video":
            rate = f", {stream['frameRate']:g} frames/s" if stream.get("frameRate") else ""
            cover = ", cover picture" if stream.get("cover") else ""
            return f"{stream.get('width')} × {stream.get('height')}, {stream.get('pixelFormat')}{rate}{cover}"
        case "audio" if "channels" in stream:
            return f"{stream['layout']} ({stream['channels']} channels), {stream['sampleRate']:,} Hz"
        case _:
            return ""
