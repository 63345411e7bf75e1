"""The default detector: the Haar cascades that come with OpenCV, trained long ago on faces and on people walking.

P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple features", 2001. They need no download
and no accelerator; README.md says what they can find and what they can't.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from detect_objects.boxes import MAX_DETECTIONS, Detection, suppressed

SIDE = 640
"""Pixels of the longer side that are looked at: half a second a picture."""
SMALLEST = 16
"""What is smaller than this part of the longer side isn't looked for: it would take most of the time."""
HALF_WEIGHT = 3.0
"""The weight that is a confidence of one half."""

_FOLDER = Path(cv2.data.haarcascades)
_CASCADES = (
    # label, file, mirrored: faces in profile were only learnt looking to the left
    ("face", "haarcascade_frontalface_default.xml", False),
    ("face", "haarcascade_profileface.xml", False),
    ("face", "haarcascade_profileface.xml", True),
    ("cat face", "haarcascade_frontalcatface_extended.xml", False),
    ("person", "haarcascade_fullbody.xml", False),
)
_STEP = 1.1  # from one size that is looked for to the next
_NEIGHBOURS = 4  # found in that many places and sizes close to each other, or it is chance


@dataclass(frozen=True)
class _Cascade:
    label: str
    mirrored: bool
    classifier: Any
    stages: int


class Cascades:
    """All of them over the same picture; what two of them find in the same place is found once.

    Args:
        confidence: what is less sure is left out.
        iou: two boxes of a label that overlap more are one thing.
    """

    name = "opencv-haar-cascades"
    side = SIDE

    def __init__(self, confidence: float, iou: float) -> None:
        self._confidence = confidence
        self._iou = iou
        self._cascades = [
            _Cascade(label, mirrored, cv2.CascadeClassifier(str(_FOLDER / file)), _stages(_FOLDER / file))
            for label, file, mirrored in _CASCADES
        ]
        # With several threads the candidates come in any order, and what they are merged into depends on that.
        cv2.setNumThreads(1)

    def detect(self, image: Any) -> list[Detection]:  # noqa: ANN401
        """As `Detector.detect`."""
        grey = cv2.equalizeHist(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY))
        mirrored = cv2.flip(grey, 1)
        found = [
            each
            for cascade in self._cascades
            for each in self._found(cascade, mirrored if cascade.mirrored else grey)
            if each.confidence >= self._confidence
        ]
        return suppressed(found, self._iou, MAX_DETECTIONS)

    def _found(self, cascade: _Cascade, grey: Any) -> list[Detection]:  # noqa: ANN401
        window = cascade.classifier.getOriginalWindowSize()
        smallest = max(window[0], max(grey.shape) // SMALLEST)
        places, levels, weights = cascade.classifier.detectMultiScale3(
            grey,
            scaleFactor=_STEP,
            minNeighbors=_NEIGHBOURS,
            minSize=(smallest, smallest * window[1] // window[0]),
            outputRejectLevels=True,
        )
        found = []
        for (x, y, width, height), level, weight in zip(places, levels, weights, strict=True):
            if level < cascade.stages:
                continue  # OpenCV also tells of what failed in one of the last stages
            left = grey.shape[1] - int(x + width) if cascade.mirrored else int(x)
            box = (left, int(y), left + int(width), int(y + height))
            found.append(Detection(cascade.label, confidence(float(weight)), box))
        return found


def confidence(weight: float) -> float:
    """The last stage's weight, which has no upper limit, as a number from 0 to 1. It ranks, and is no probability.

    A weight of 1 is about what chance gives and becomes 0.25; clear faces have 4 to 10, which is 0.57 to 0.77.
    """
    return max(0.0, weight) / (max(0.0, weight) + HALF_WEIGHT)


def _stages(path: Path) -> int:
    """How many stages a window has to pass."""
    found = re.search(r"<stageNum>(\d+)</stageNum>", path.read_text())
    if not found:
        raise ValueError(f"{path.name} is no cascade")
    return int(found[1])
