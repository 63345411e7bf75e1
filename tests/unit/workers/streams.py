"""Makes media and streams as people have them. Runs in the environment of workers/record_stream.

`python streams.py KIND FOLDER`: eight seconds of moving pictures and a tone, with a key frame every second.
"""

import os
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import zip_longest
from pathlib import Path
from typing import Any

import av
import numpy as np

RATE = 25
ENCODER = {"libx264": {"preset": "ultrafast", "sc_threshold": "0"}, "libsvtav1": {"preset": "12"}}
SECONDS = 8


def write(
    name: str, container: str, *, seconds: int = SECONDS, size: tuple[int, int] = (320, 180), video: str = "libx264",
    audio: str | None = "aac", hertz: int = 44_100, change: Callable[[Any], None] | None = None, **options: str,
) -> None:  # fmt: skip
    """Write a clip."""
    with av.open(name, "w", format=container, options=options) as target:
        picture = target.add_stream(video, rate=RATE, options=ENCODER[video])
        picture.width, picture.height, picture.pix_fmt = *size, "yuv420p"
        picture.gop_size = picture.codec_context.gop_size = RATE
        if change is not None:
            change(picture)
        sound = target.add_stream(audio, rate=hertz, layout="stereo", format="fltp") if audio else None
        for number in range(seconds * RATE):
            shade = np.full((size[1] * 3 // 2, size[0]), number % 256, np.uint8)
            shade[: size[1], : number % size[0] + 1] = 200
            frame = av.VideoFrame.from_ndarray(shade, "yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            target.mux(picture.encode(frame))
            if sound is not None:
                target.mux(sound.encode(_tone(number, hertz)))
        target.mux(picture.encode())
        if sound is not None:
            target.mux(sound.encode())


def _tone(number: int, hertz: int) -> av.AudioFrame:
    count = hertz // RATE
    wave = np.sin(np.arange(number * count, (number + 1) * count) * 2 * np.pi * 440 / hertz) * 0.5
    frame = av.AudioFrame.from_ndarray(np.stack([wave, wave]).astype(np.float32), "fltp", "stereo")
    frame.sample_rate, frame.pts, frame.time_base = hertz, number * count, Fraction(1, hertz)
    return frame


def hls(name: str = "index", *, fmp4: bool = False, **options: Any) -> None:  # noqa: ANN401
    """Write an HLS stream of one-second segments."""
    kind: dict[str, Any] = {"hls_segment_type": "fmp4", "hls_fmp4_init_filename": f"{name}.mp4"} if fmp4 else {}
    suffix = "m4s" if fmp4 else "ts"
    write(
        f"{name}.m3u8", "hls", hls_time="1", hls_list_size="0", hls_segment_filename=f"{name}%d.{suffix}",
        **kind, **options,
    )  # fmt: skip


def _turned(picture: Any) -> None:  # noqa: ANN401
    picture.set_display_rotation(90)


def _wide(picture: Any) -> None:  # noqa: ANN401
    picture.sample_aspect_ratio = picture.codec_context.sample_aspect_ratio = Fraction(4, 3)


def _cover() -> None:
    write("clip.mp4", "mp4", audio="libmp3lame")
    with av.open("clip.mp4") as source, av.open("clip.mp3", "w", format="mp3") as target:
        tone = source.streams.audio[0]
        copy = target.add_stream_from_template(tone)
        cover = target.add_stream("png", rate=1)
        cover.width = cover.height = 64
        cover.pix_fmt = "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        target.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")))
        for packet in source.demux(tone):
            if packet.dts is not None:
                packet.stream = copy
                target.mux(packet)


def _two_sizes(*, fmp4: bool) -> None:
    hls("a", fmp4=fmp4)
    hls("b", fmp4=fmp4, size=(640, 360), hertz=48_000, seconds=3)


def _radio(name: str) -> None:
    with av.open(name, "w", format="mpegts", options={"mpegts_service_id": "1"}) as target:
        sound = target.add_stream("aac", rate=44_100, layout="stereo", format="fltp")
        for number in range(SECONDS * RATE):
            target.mux(sound.encode(_tone(number, 44_100)))
        target.mux(sound.encode())


def _two_programmes() -> None:
    """One transport stream of two programmes: radio, then television."""
    _radio("radio.ts")
    write(
        "television.ts", "mpegts", audio="libmp3lame", mpegts_service_id="2",
        mpegts_pmt_start_pid="0x1100", mpegts_start_pid="0x200",
    )  # fmt: skip
    packets = [
        [body[at : at + 188] for at in range(0, len(body), 188)] for body in map(_taken, ("radio.ts", "television.ts"))
    ]
    both = [packet for pair in zip_longest(*packets, fillvalue=b"") for packet in pair if packet and _pid(packet)]
    # ISO/IEC 13818-1, 2.4.4.3: a table of programmes and the PIDs of their maps, with the CRC of MPEG.
    section = bytes.fromhex("00b011 0001 c1 00 00 0001 f000 0002 f100".replace(" ", ""))
    table = b"\x47\x40\x00\x10\x00" + section + _crc(section).to_bytes(4)
    Path("clip.ts").write_bytes(table.ljust(188, b"\xff") + b"".join(both))


def _taken(name: str) -> bytes:
    body = Path(name).read_bytes()
    Path(name).unlink()
    return body


def _pid(packet: bytes) -> int:
    return int.from_bytes(packet[1:3]) & 0x1FFF


def _crc(section: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in section:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc & 0x80000000 else 0)) & 0xFFFFFFFF
    return crc


KINDS: dict[str, Callable[[], None]] = {
    "hls": hls,
    "hls-fmp4": lambda: hls(fmp4=True),
    "hls-two-fmp4": lambda: _two_sizes(fmp4=True),
    "hls-two": lambda: _two_sizes(fmp4=False),
    "hls-av1": lambda: hls(fmp4=True, video="libsvtav1"),
    "hls-mp3": lambda: hls(audio="libmp3lame"),
    "dash": lambda: write("index.mpd", "dash", seg_duration="1"),
    "turned": lambda: write("clip.mp4", "mp4", change=_turned),
    "wide": lambda: write("clip.mp4", "mp4", change=_wide),
    "mp3": lambda: write("clip.mp4", "mp4", audio="libmp3lame"),
    "av1": lambda: write("clip.mp4", "mp4", video="libsvtav1"),
    "cover": _cover,
    "two-programmes": _two_programmes,
}

kind, folder = sys.argv[1:]
Path(folder).mkdir(parents=True)
os.chdir(folder)
KINDS[kind]()
