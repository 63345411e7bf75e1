"""The stage `text`: what is written on screen, read from the key frames that `scenes` has saved."""

import logging
import os
from pathlib import Path
from typing import Any

from analyze_video import on_screen
from analyze_video.scenes import Scene
from analyze_video.stage import Found, OnScreen, Progress, Skipped, Video

_FEW = 10  # key frames that are read of any video
_SECONDS_PER_PICTURE = 6.0  # of longer ones: reading a picture takes half a second and more
_MOST = 200
_EDGE = 736  # pixels of the longer edge in which lines are looked for; they are read at the full size


def run(video: Video, progress: Progress) -> Found:
    """Read the key frames.

    Raises:
        Skipped: there is no key frame, or no text.
    """
    pictures = _chosen(video)
    if not pictures:
        raise Skipped("there is no key frame")
    reader = Reader()
    shown: list[str] = []
    for number, (time, name) in enumerate(pictures):
        progress(number / len(pictures), f"read {number} of {len(pictures)} pictures")
        found = reader.lines(video.folder / name)
        if fresh := on_screen.unseen(found, shown):
            video.on_screen.append(OnScreen(time, "\n".join(fresh)))
        shown = found
    if not video.on_screen:
        raise Skipped("there is no text")
    texts = [{"time": each.time, "text": each.text} for each in video.on_screen]
    return Found({"text": texts}, {"texts": len(texts)}, on_screen.section(video.on_screen))


def _chosen(video: Video) -> list[tuple[float, str]]:
    """Time and file name of the key frames to read, in order: of too many, those that stand longest."""
    limit = min(max(_FEW, round(video.duration / _SECONDS_PER_PICTURE)), _MOST)
    scenes: list[Scene] = video.analysis.scenes if video.analysis else []
    longest = sorted(scenes, key=lambda scene: scene.start - scene.end)
    pictures = [(each.key_frame_at, each.key_frame) for each in longest if each.key_frame is not None]
    return sorted((time or 0.0, name) for time, name in pictures[:limit])


class Reader:
    """RapidOCR with PP-OCRv6, whose weights lie in RapidOCR's wheel. It downloads what it isn't given a path of."""

    def __init__(self) -> None:
        logging.getLogger("RapidOCR").setLevel(logging.CRITICAL)
        import rapidocr  # noqa: PLC0415 - it takes a second and 100 MB

        weights = Path(rapidocr.__file__).parent / "models"
        settings = {
            "Global.log_level": "critical",
            "Global.use_cls": False,  # text upside down
            "Det.model_path": str(weights / "PP-OCRv6_det_small.onnx"),
            "Det.limit_type": "max",
            "Det.limit_side_len": _EDGE,
            "Rec.model_path": str(weights / "PP-OCRv6_rec_small.onnx"),
            "EngineConfig.onnxruntime.intra_op_num_threads": len(os.sched_getaffinity(0)),
            "EngineConfig.onnxruntime.inter_op_num_threads": 1,
        }
        self._engine: Any = rapidocr.RapidOCR(params=settings)

    def lines(self, picture: Path) -> list[str]:
        """The lines of text in a picture, from top to bottom."""
        import cv2  # noqa: PLC0415 - as above

        read = self._engine(cv2.imread(str(picture)))  # pixels: it would take a name for an address, too
        return on_screen.lines(zip(read.txts or (), read.scores or (), strict=True))
