"""Scenes and their key frames, found during decoding: PySceneDetect's adaptive detector on small copies."""

import math
from collections import deque
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from PIL import Image  # type: ignore[import-not-found] # as numpy
from scenedetect import AdaptiveDetector, FrameTimecode
from scenedetect.common import Timecode

from analyze_video.orientation import orientation
from analyze_video.strip import Thumbnails

SMALL_EDGE = 256
"""Pixels of the longer edge of the compared copies: PySceneDetect's default."""
PICTURE_EDGE = 1280
"""Maximum pixels of a key frame's longer edge."""
MIN_SCENE_SECONDS = 0.6
_WINDOW = 2  # pictures on either side that the detector compares with, so its answer lags by as many
_CLEARLY_BETTER = 1.1
_MICROSECOND = Fraction(1, 1_000_000)


@dataclass(frozen=True)
class Scene:
    """A scene, from one cut to the next. Times in seconds from the first picture; `key_frame` is a file name."""

    start: float
    end: float
    key_frame: str | None = None
    key_frame_at: float | None = None


@dataclass(frozen=True)
class _Picture:
    at: float
    detail: float
    frame: Any


class SceneFinder:
    """Takes decoded video frames in order, and finds scenes and key frames.

    Memory doesn't grow with the video: it holds the few frames that the detector may still cut between, and the best
    frame of the current scene. If a video has more scenes than `limit`, only every second (fourth, eighth, …) has a key
    frame, so that key frames are spread over the whole video.

    Args:
        folder: where to save the JPEGs.
        frame_rate: nominal frames a second.
        pixel_aspect: a pixel's width divided by its height.
        limit: maximum number of key frames.
    """

    def __init__(self, folder: Path, frame_rate: float, pixel_aspect: float, limit: int) -> None:
        self.scenes: list[Scene] = []
        self.thumbnails = Thumbnails(pixel_aspect)
        self._folder = folder
        self._frame_rate = Fraction(frame_rate).limit_denominator(1001)
        self._pixel_aspect = pixel_aspect
        self._limit = limit
        self._stride = 1
        self._detector = AdaptiveDetector(min_scene_len=MIN_SCENE_SECONDS, window_width=_WINDOW)
        self._pending: deque[_Picture] = deque()
        self._best: _Picture | None = None
        self._start = 0.0
        self._small_size: tuple[int, int] | None = None

    def add(self, frame: Any, at: float) -> None:  # noqa: ANN401 - an av.VideoFrame
        """Process one frame, shown at `at` seconds."""
        if self._small_size is None:
            # Set once: the detector needs copies of one size, and a stream may change its size midway.
            scale = min(1.0, SMALL_EDGE / max(frame.width, frame.height))
            self._small_size = max(2, round(frame.width * scale)), max(2, round(frame.height * scale))
        width, height = self._small_size
        small = frame.reformat(width=width, height=height, format="bgr24", interpolation="AREA").to_ndarray()
        self.thumbnails.add(small, at)
        self._pending.append(_Picture(at, _detail(small), frame))
        time = FrameTimecode(Timecode(round(at / _MICROSECOND), _MICROSECOND), self._frame_rate)
        if self._detector.process_frame(time, small):
            self._close(self._pending[0].at)
        if len(self._pending) > _WINDOW:
            self._consider(self._pending.popleft())

    def finish(self, end: float) -> list[Scene]:
        """Close the last scene at `end` seconds, and return all scenes."""
        while self._pending:
            self._consider(self._pending.popleft())
        if self.scenes and end - self._start < MIN_SCENE_SECONDS:  # the detector doesn't know when the video ends
            self.scenes[-1] = replace(self.scenes[-1], end=round(end, 3))
        else:
            self._close(end)
        return self.scenes

    def _consider(self, picture: _Picture) -> None:
        if self._best is None or picture.detail > self._best.detail * _CLEARLY_BETTER:
            self._best = picture

    def _close(self, end: float) -> None:
        number = len(self.scenes)
        scene = Scene(round(self._start, 3), round(end, 3))
        if self._best is not None and number % self._stride == 0:
            name = f"scene-{number + 1:05d}.jpg"
            self._picture(self._best.frame).save(self._folder / name, quality=85, optimize=True)
            scene = replace(scene, key_frame=name, key_frame_at=round(self._best.at, 3))
        self.scenes.append(scene)
        self._start, self._best = end, None
        self._thin_out()

    def _thin_out(self) -> None:
        if math.ceil(len(self.scenes) / self._stride) <= self._limit:
            return
        self._stride *= 2
        for number, scene in enumerate(self.scenes):
            if scene.key_frame and number % self._stride:
                (self._folder / scene.key_frame).unlink()
                self.scenes[number] = replace(scene, key_frame=None, key_frame_at=None)

    def _picture(self, frame: Any) -> Any:  # noqa: ANN401 - from PyAV to Pillow
        """The frame as a viewer shows it: square pixels, upright."""
        shown = frame.width * self._pixel_aspect
        scale = min(1.0, PICTURE_EDGE / max(shown, frame.height))
        image = frame.to_image(width=max(1, round(shown * scale)), height=max(1, round(frame.height * scale)))
        degrees, mirrored = orientation(frame)
        if mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        return image.rotate(degrees, expand=True) if degrees else image


def _detail(small: Any) -> float:  # noqa: ANN401 - a numpy array
    """The amount of detail: near 0 for black, blurred and fading pictures."""
    green = small[:, :, 1].astype("int16")
    return float((green[1:] - green[:-1]).std() + (green[:, 1:] - green[:, :-1]).std())
