"""The interface of detectors, and the choice of one by the environment."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from detect_objects.boxes import Detection
from switchyard_worker import BadEnvironment


class Detector(Protocol):
    """Finds objects in a picture.

    Attributes:
        name: name of the detector or model, for readers of the results.
        side: the most pixels of a picture's longer side that it can use.
    """

    name: str
    side: int

    def detect(self, image: Any) -> list[Detection]:  # noqa: ANN401 - a numpy array; numpy isn't installed where types are checked
        """Find the objects in `image` (height × width × red, green, blue; bytes), highest confidence first."""


def from_environment(variables: Mapping[str, str] | None = None) -> Detector:
    """The model that MODEL_PATH names; without one, the cascades.

    Raises:
        BadEnvironment: settings are invalid; it names all of them.
        PermanentFailure: the model can't be used.
    """
    given = {name: value for name, value in (os.environ if variables is None else variables).items() if value}
    problems: list[str] = []

    def share(name: str, default: float) -> float:
        try:
            value = float(given.get(name, default))
        except ValueError:
            value = -1.0
        if not 0 <= value <= 1:
            problems.append(f"{name} is {given[name][:40]!r}: it must be a number from 0 to 1")
        return value

    def file(name: str) -> Path | None:
        path = Path(given[name]) if name in given else None
        if path and not path.is_file():
            problems.append(f"{name} is {given[name][:200]!r}: there is no such file")
        return path

    confidence, iou = share("CONFIDENCE", 0.25), share("IOU", 0.45)
    model, labels = file("MODEL_PATH"), file("LABELS_PATH")
    if labels and not model:
        problems.append("LABELS_PATH is set without MODEL_PATH")
    if problems:
        raise BadEnvironment(problems)
    # Imported here: a run needs only one of them, and both are slow to load.
    if model:
        from detect_objects.yolo import Yolo  # noqa: PLC0415

        return Yolo(model, labels, confidence, iou)
    from detect_objects.cascades import Cascades  # noqa: PLC0415

    return Cascades(confidence, iou)
