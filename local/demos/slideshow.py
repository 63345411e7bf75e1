"""Makes a video of recordings with a slide over each. Runs in the environment of workers/analyze_video.

`python slideshow.py PATH SECONDS` reads `[[[line, …], recording], …]` from stdin, in JSON. Each recording has so many
seconds of silence before it.
"""

import json
import sys
from fractions import Fraction

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont  # type: ignore[import-not-found]  # in the worker's environment alone

SIZE = (960, 540)
HERTZ = 16000
RATE = 5
BACKGROUNDS = ("#1c3d5a", "#5a2a1c", "#1f4d2b", "#3d2a5a")


def main(path: str, silence: str) -> None:
    """Write the video: a key frame each five seconds, in the format that browsers play."""
    slides = json.load(sys.stdin)
    with av.open(path, "w") as out:
        audio = out.add_stream("aac", rate=HERTZ, layout="mono")
        video = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "g": str(5 * RATE)})
        video.width, video.height, video.pix_fmt = *SIZE, "yuv420p"
        pictures = heard = 0
        for number, (lines, recording) in enumerate(slides):
            sound = np.concatenate([np.zeros(int(HERTZ * float(silence)), np.int16), samples(recording)])
            image = slide(lines, BACKGROUNDS[number % len(BACKGROUNDS)])
            for start in range(0, len(sound), HERTZ // RATE):
                frame = av.VideoFrame.from_image(image)
                frame.pts, frame.time_base = pictures, Fraction(1, RATE)
                out.mux(video.encode(frame))
                pictures += 1
                piece = sound[start : start + HERTZ // RATE]
                piece = np.pad(piece, (0, HERTZ // RATE - len(piece)))
                spoken = av.AudioFrame.from_ndarray(piece[None, :], format="s16", layout="mono")
                spoken.sample_rate, spoken.pts, heard = HERTZ, heard, heard + len(piece)
                out.mux(audio.encode(spoken))
        out.mux(video.encode())
        out.mux(audio.encode())


def slide(lines: list[str], background: str) -> Image.Image:
    """A slide: the first line is its title."""
    image = Image.new("RGB", SIZE, background)
    draw = ImageDraw.Draw(image)
    for number, line in enumerate(lines):
        draw.text((60, 150 + 80 * number), line, "white", ImageFont.load_default(30 if number else 44))
    return image


def samples(recording: str) -> np.ndarray:
    """The sound of a file, 16 kHz, one channel."""
    with av.open(recording) as given:
        resampler = av.AudioResampler(format="s16", layout="mono", rate=HERTZ)
        frames = (*given.decode(audio=0), None)
        return np.concatenate([each.to_ndarray()[0] for frame in frames for each in resampler.resample(frame)])


main(*sys.argv[1:])
