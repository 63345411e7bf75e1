"""The two summaries: summary.json for programs (README.md documents it), and summary.md for people, made from it."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from analyze_video import VERSION
from analyze_video.markup import clock, plain
from switchyard_worker import WorkerEnvironment

if TYPE_CHECKING:
    from analyze_video.analysis import Analysis
    from analyze_video.container import Headers
    from analyze_video.stage import Video

SCHEMA_VERSION = 1
SECTIONS = ("summary", "speakers", "speech", "text", "preview", "scenes")
"""In which order the stages' sections stand in summary.md. `speakers` has that of `speech` again, with who speaks."""


def scenes(headers: "Headers", analysis: "Analysis") -> dict[str, Any]:
    """What the stage `scenes` adds to summary.json. Times in seconds; None if the file doesn't say."""
    video = headers.streams[headers.video]
    return {
        "container": headers.container,
        "duration": analysis.duration,
        "video": {
            "stream": headers.video,
            "codec": video["codec"],
            "resolution": f"{video['width']}x{video['height']}",
            "frameRate": analysis.frame_rate,
            "frames": analysis.frames,
            "rotation": analysis.orientation.degrees,
            "mirrored": analysis.orientation.mirrored,
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
        "streams": [
            stream | ({"silent": analysis.silent.get(stream["index"])} if stream["type"] == "audio" else {})
            for stream in headers.streams
        ],
        "decodeErrors": analysis.decode_errors,
    }


def summary(job: WorkerEnvironment, video: "Video", stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The content of summary.json: what the stages have found, and how they ended."""
    source = video.source
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
        **video.summary,
        "stages": stages,
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


def markdown(summary: Mapping[str, Any], sections: Mapping[str, str]) -> str:
    """summary.md: the same for people.

    Args:
        summary: the content of summary.json.
        sections: by stage, its section; empty for none.
    """
    video = summary["video"]
    rate = f"{video['frameRate']:g} frames/s" if video["frameRate"] else "unknown frame rate"
    lines = [
        f"# {plain(summary['source']['key'].rsplit('/', 1)[-1])}",
        "",
        "| | |",
        "|---|---|",
        f"| Video | {plain(summary['videoId'])} |",
        f"| Source | {plain(summary['source']['bucket'] + '/' + summary['source']['key'])}, {_size(summary)} |",
        f"| Duration | {clock(summary['duration'])} |",
        f"| Picture | {video['codec']}, {video['resolution']}{_turned(video)}, {rate}, {video['frames']:,} frames |",
        f"| Loudness | {_loudness(summary['loudness'])} |",
        f"| Scenes | {len(summary['scenes']):,} |",
    ]
    if speech := summary.get("speech"):
        lines.append(f"| Language | {plain(speech['language'] or 'unknown')} |")
    if speakers := summary.get("speakers"):
        lines.append(f"| Speakers | {_shares(speakers)} |")
    if summary["decodeErrors"]:
        lines.append(f"| Damage | {summary['decodeErrors']:,} packets could not be decoded |")
    lines += [
        f"| {stage['name'].capitalize()} | {_unfinished(stage)} |" for stage in summary["stages"] if _unfinished(stage)
    ]
    shown = [name for name in SECTIONS if sections.get(name) and not (name == "speech" and sections.get("speakers"))]
    parts = [
        "\n".join(lines),
        *(sections[name] for name in shown),
        _streams(summary["streams"]),
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def scenes_section(scenes: list[dict[str, Any]]) -> str:
    """The section of `scenes` in summary.md: the key frames, by relative links."""
    lines = ["## Scenes", ""]
    pictures = sum(1 for scene in scenes if scene["keyFrame"])
    if pictures < len(scenes):
        lines += [f"{pictures:,} of {len(scenes):,} scenes have a picture; summary.json lists them all.", ""]
    for scene in scenes:
        if scene["keyFrame"]:
            title = f"Scene {scene['number']}, {clock(scene['start'])} to {clock(scene['end'])}"
            lines += [f"### {title}", "", f"![{title}]({scene['keyFrame']})", ""]
    return "\n".join(lines)


def minutes_section(video: "Video", summary: Mapping[str, Any]) -> str:
    """The section of `summary` in summary.md: what the video is about, then its chapters with a picture each."""
    lines = ["## Summary", ""]
    lines += [f"{plain(each['text'])} ({_moment(video, each['start'])})" for each in summary["summary"]]
    lines += ["", "## Chapters", ""]
    for chapter in summary["chapters"]:
        title = plain(chapter["title"])
        lines += [f"### {_moment(video, chapter['start'])} {title}", ""]
        inside = [each for each in summary["highlights"] if chapter["start"] <= each["start"] < chapter["end"]]
        for each in inside:
            who = "".join(f"{plain(speaker)}, " for speaker in each["speakers"][:1])
            lines.append(f"- {who}{_moment(video, each['start'])}: “{plain(each['text'])}”")
        if picture := _picture(video, chapter["start"], chapter["end"]):
            lines += ["", f"![{title}]({picture})"]
        lines.append("")
    return "\n".join(lines)


def _moment(video: "Video", seconds: float) -> str:
    """A time: a link to that second of the video if it is in the results' bucket. Relative, so it never expires."""
    given = video.job.environment
    if given.bucket != given.results_bucket:
        return clock(seconds)
    up = "../" * given.results_prefix.count("/")
    return f"[{clock(seconds)}]({up}{quote(given.key, safe='/')}#t={seconds:g})"


def _picture(video: "Video", start: float, end: float) -> str | None:
    """The first key frame of a part of the video."""
    scenes = video.analysis.scenes if video.analysis else ()
    return next((each.key_frame for each in scenes if each.key_frame and start <= (each.key_frame_at or 0) < end), None)


def _shares(speakers: list[dict[str, Any]]) -> str:
    total = sum(each["seconds"] for each in speakers) or 1
    return ", ".join(f"{plain(each['name'])} {each['seconds'] / total:.0%}" for each in speakers)


def _unfinished(stage: Mapping[str, Any]) -> str:
    match stage["state"]:
        case "skipped":
            return f"skipped: {plain(stage['reason'])}"
        case "failed":
            return f"failed: {plain(stage['error']['message'])}"
        case _:
            return ""


def _streams(streams: list[dict[str, Any]]) -> str:
    lines = ["## Streams", "", "| # | Type | Codec | Details |", "|---|---|---|---|"]
    lines += [f"| {s['index']} | {s['type']} | {s['codec'] or 'unknown'} | {_details(s)} |" for s in streams]
    return "\n".join(lines)


def _size(summary: Mapping[str, Any]) -> str:
    size = summary["source"]["size"]
    if size < 1000:
        return f"{size} bytes"
    return f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} kB"


def _turned(video: Mapping[str, Any]) -> str:
    """How players show the pictures, if they aren't stored upright."""
    turn = f" turned by {video['rotation']}° counterclockwise" if video["rotation"] else ""
    return f"{' mirrored' if video['mirrored'] else ''}{' and' if video['mirrored'] and turn else ''}{turn}"


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
            layout = "mono" if stream["channels"] == 1 else f"{stream['layout']} ({stream['channels']} channels)"
            return f"{layout}, {stream['sampleRate']:,} Hz{', silent' if stream['silent'] else ''}"
        case _:
            return ""
