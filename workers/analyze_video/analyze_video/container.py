"""Opens an untrusted video: enforces limits first, then reads its headers.

The bytes come from strangers and FFmpeg is a large parser, so it gets as little as video needs: a file object without a
name, only formats that hold their own media (no playlists, no `concat`, no image sequences), no protocol, no way to
open a second file, and a limit on picture size.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn

import av

from analyze_video.source import S3File
from switchyard_worker import PermanentFailure

FORMATS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,asf,ogg,mxf,wtv,dv,gxf,nut,rm"
"""FFmpeg's names of the accepted containers: those that cameras, phones and editors write."""

MAX_PIXELS = 8192 * 4320
"""Per picture: cinema 8K. A few hundred bytes can claim far more, and FFmpeg would allocate memory for it."""

_DECODING = {"max_pixels": str(MAX_PIXELS)}
_OPENING = {"format_whitelist": FORMATS, "protocol_whitelist": "none"}
_MAX_STREAMS = 64  # to decode: a film has many subtitles, and a font for each


@dataclass(frozen=True)
class Streams:
    """The streams to analyse. `others` are those with sound besides `audio` that can be decoded."""

    video: Any
    audio: Any | None
    others: tuple[Any, ...]


@contextmanager
def opened(source: S3File) -> Iterator[Any]:
    """Open the container.

    Raises:
        PermanentFailure: the file isn't a video, or it is broken.
        TryAgain: S3 failed.
    """
    if source.size == 0:
        raise PermanentFailure("EMPTY_FILE", "the file is empty (0 bytes)")
    source.seek(0)  # an earlier stage may have read it
    try:
        container = av.open(source, mode="r", options=_DECODING, container_options=_OPENING, io_open=_refuse)
    except (av.FFmpegError, UnicodeDecodeError) as error:
        source.raise_failure()
        raise _not_a_video(source) from error
    source.raise_failure()
    with container:
        yield container


def _refuse(*_what: object) -> NoReturn:
    """FFmpeg calls this before it opens anything that the file names."""
    raise PermanentFailure("REFERS_ELSEWHERE", "the file refers to other files or addresses, which is not allowed")


def _not_a_video(source: S3File) -> PermanentFailure:
    source.seek(0)
    if source.read(12)[4:8] in {b"ftyp", b"wide", b"mdat"}:
        return PermanentFailure("BROKEN_VIDEO", "the file begins like an MP4 but can't be read: damaged or truncated")
    return PermanentFailure("NOT_A_VIDEO", "the file is not a video in a known format, or it is damaged")


def chosen(container: Any) -> Streams:  # noqa: ANN401 - PyAV has types, but isn't installed where types are checked
    """Choose the video stream to analyse, and its audio stream: None if there is none that can be decoded.

    Raises:
        PermanentFailure: there is no video stream, or it exceeds a limit.
    """
    pictures = [stream for stream in container.streams.video if not _is_cover(stream)]
    decoded = len(pictures) + len(container.streams.audio)
    if decoded > _MAX_STREAMS:
        raise PermanentFailure(
            "TOO_MANY_STREAMS", f"the file has {decoded} streams of pictures and sound; the limit is {_MAX_STREAMS}"
        )
    if not pictures:
        found = ", ".join(sorted({stream.type for stream in container.streams})) or "none"
        raise PermanentFailure("NO_VIDEO_STREAM", f"the file has no video stream (its streams: {found})")
    best = container.streams.best("video")
    video = best if best in pictures else pictures[0]
    if video.codec_context is None:
        raise PermanentFailure("UNKNOWN_CODEC", "the video stream has a codec that can't be decoded")
    if not 0 < video.width * video.height <= MAX_PIXELS:  # 0: FFmpeg rejected it because of _DECODING
        raise PermanentFailure("TOO_LARGE", f"the pictures have more than {MAX_PIXELS:,} pixels, or no known size")
    video.codec_context.options = _DECODING  # again: a stream may change its size midway
    video.thread_type = "AUTO"
    video.codec_context.thread_count = 4  # each thread holds pictures in memory, so not one per core
    audio = container.streams.best("audio", related=video)  # the default one, as in players
    if audio is not None and audio.codec_context is None:
        audio = next((other for other in container.streams.audio if other.codec_context is not None), None)
    known = (other for other in container.streams.audio if other.codec_context is not None)
    return Streams(video, audio, tuple(other for other in known if other is not audio))


def codec_name(stream: Any) -> str:  # noqa: ANN401
    """The codec as everybody calls it, whichever decoder FFmpeg has for it."""
    name: str = stream.codec_context.codec.canonical_name
    return name


def _is_cover(stream: Any) -> bool:  # noqa: ANN401
    """Whether the stream is a cover picture, stored as a video stream of one frame."""
    return bool(stream.disposition & av.stream.Disposition.attached_pic)


@dataclass(frozen=True)
class Headers:
    """The file's headers, in the shape of summary.json. `video` is the index of the analysed stream."""

    container: dict[str, Any]
    streams: list[dict[str, Any]]
    video: int


def described(container: Any, streams: Streams) -> Headers:  # noqa: ANN401
    """Read the headers of an open container."""
    return Headers(
        container={
            "format": container.format.name,
            "name": container.format.long_name,
            "duration": seconds(container.duration, 1 / av.time_base),
            "bitRate": container.bit_rate or None,
        },
        streams=[_described(stream) for stream in container.streams],
        video=streams.video.index,
    )


def _described(stream: Any) -> dict[str, Any]:  # noqa: ANN401
    facts: dict[str, Any] = {"index": stream.index, "type": stream.type, "codec": None}
    codec = stream.codec_context
    if codec is None:
        return facts
    facts |= {
        "codec": codec_name(stream),
        "profile": stream.profile,
        "bitRate": codec.bit_rate or None,
        "language": stream.language if stream.language != "und" else None,
        "duration": seconds(stream.duration, stream.time_base),
    }
    match stream.type:
        case "video":
            facts |= {
                "width": codec.width,
                "height": codec.height,
                "pixelFormat": codec.pix_fmt,
                "pixelAspect": ratio(stream.sample_aspect_ratio) or 1.0,
                "frameRate": ratio(stream.average_rate),
                "cover": _is_cover(stream),
            }
        case "audio":
            facts |= {
                "sampleRate": codec.sample_rate,
                "channels": codec.channels,
                "layout": codec.layout.name,
                "sampleFormat": codec.format.name if codec.format else None,
            }
    return facts


def ratio(rational: Any) -> float | None:  # noqa: ANN401
    """A PyAV rational as a number; None if unset."""
    return round(float(rational), 3) if rational else None


def seconds(ticks: int | None, time_base: Any) -> float | None:  # noqa: ANN401
    """A PyAV time in seconds; None if unset."""
    return round(ticks * float(time_base), 3) if ticks is not None and time_base else None
