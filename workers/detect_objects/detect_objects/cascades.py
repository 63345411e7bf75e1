"""The default detector: the Haar cascades that come with OpenCV, trained on faces and on people walking.

P. Viola and M. Jones, "Rapid object detection using a boosted cascade of simple features", 2001. They need no download
and no accelerator. README.md says what they can and can't find.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from detect_objects.boxes import MAX_DETECTIONS, Detection, suppressed

SIDE = 640
"""Pixels of the longer side of the picture that is searched: takes half a second."""
SMALLEST = 16
"""Objects smaller than the longer side divided by this are ignored: finding them would take most of the time."""
HALF_WEIGHT = 3.0
"""The weight that gives a confidence of 0.5."""

_FOLDER = Path(cv2.data.haarcascades)
_CASCADES = (
    # label, file, mirrored: the profile cascade was trained only on faces that look to the left
    ("face", "haarcascade_frontalface_default.xml", False),
    ("face", "haarcascade_profileface.xml", False),
    ("face", "haarcascade_profileface.xml", True),
    ("cat face", "haarcascade_frontalcatface_extended.xml", False),
    ("person", "haarcascade_fullbody.xml", False),
)
_STEP = 1.1  # ratio of one search size to the next
_NEIGHBOURS = 4  # minimum number of hits at nearby places and sizes; fewer are chance


@dataclass(frozen=True)
class _Cascade:
    label: str
    mirrored: bool
    classifier: Any
    stages: int


class Cascades:
    """Runs all cascades over a picture, and merges what several of them find in the same place.

    Args:
        confidence: minimum confidence of a detection.
        iou: boxes of a label that overlap more than this are one object.
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
        # With several threads, candidates come in any order, and the result of merging them depends on it.
        cv2.setNumThreads(1)

    def detect(self, image: Any) -> list[Detection]:  # noqa: ANN401
        """See `Detector.detect`."""
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
                continue  # OpenCV also returns candidates that failed one of the last stages
            left = grey.shape[1] - int(x + width) if cascade.mirrored else int(x)
            box = (left, int(y), left + int(width), int(y + height))
            found.append(Detection(cascade.label, confidence(float(weight)), box))
        return found


def confidence(weight: float) -> float:
    """Map the last stage's weight, which has no upper limit, to 0 to 1. It ranks detections and is no probability.

    Chance gives a weight of about 1, which becomes 0.25; clear faces have 4 to 10, which become 0.57 to 0.77.
    """
    return max(0.0, weight) / (max(0.0, weight) + HALF_WEIGHT)


def _stages(path: Path) -> int:
    """The number of stages in the cascade file."""
    found = re.search(r"<stageNum>(\d+)</stageNum>", path.read_text())
    if not found:
        raise ValueError(f"{path.name} is not a cascade")
    return int(found[1])
