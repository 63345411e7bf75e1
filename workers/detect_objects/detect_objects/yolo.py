"""A detector from an ONNX file, in the layouts of Ultralytics' YOLOv8, v11 and v5 exports.

https://docs.ultralytics.com/modes/export: one input (1, 3, height, width), red, green, blue from 0 to 1, letterboxed in
grey; one output of N candidates, each with a box (centre x, centre y, width, height, in the input's pixels) and

- v8 and later, (1, 4 + classes, N): a score per class;
- v5, (1, N, 5 + classes): a score for any object, then a score per class, to be multiplied.
"""

import ast
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime

from detect_objects.boxes import MAX_DETECTIONS, Detection, Letterbox, suppressed
from switchyard_worker import PermanentFailure

_PADDING = 114  # the grey that these models were trained to ignore
_DEFAULT_SIDE = 640
_MAX_SIDE = 4096
_MAX_CANDIDATES = 1000  # candidates above the minimum confidence that are compared with each other; the best ones
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16"}


class Yolo:
    """An ONNX model on the CPU.

    Args:
        path: the model file.
        labels: a file with one label per line; None: `names` in the model's metadata, or numbers.
        confidence: minimum confidence of a detection.
        iou: boxes of a label that overlap more than this are one object.

    Raises:
        PermanentFailure: BAD_MODEL, the model has another layout.
    """

    def __init__(self, path: Path, labels: Path | None, confidence: float, iou: float) -> None:
        self.name = path.stem
        self._confidence = confidence
        self._iou = iou
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # its log isn't JSON; fatal errors are also raised
        try:
            self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            # onnxruntime's errors have no base class of their own.
            raise _bad(f"onnxruntime can't load it ({type(error).__name__})") from error
        metadata = self._session.get_modelmeta().custom_metadata_map
        self._labels = labels.read_text().strip().splitlines() if labels else _names(metadata.get("names", ""))
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or len(inputs[0].shape) != 4 or inputs[0].type not in _TYPES:
            raise _bad("it must have one input of 4 dimensions, of float or float16")
        self._input = inputs[0].name
        self._type = _TYPES[inputs[0].type]
        height, width = _frame(inputs[0].shape, metadata.get("imgsz", ""))
        self._frame = width, height
        self.side = max(self._frame)

    def detect(self, image: Any) -> list[Detection]:  # noqa: ANN401
        """See `Detector.detect`."""
        box = Letterbox.fitted((image.shape[1], image.shape[0]), self._frame)
        try:
            output = self._session.run(None, {self._input: self._framed(image, box)})[0]
        except Exception as error:
            raise _bad(f"it can't be run ({type(error).__name__})") from error
        boxes, scores = self._candidates(output)
        classes = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), classes]
        sure = np.flatnonzero((best >= self._confidence) & np.isfinite(boxes).all(axis=1))
        sure = sure[np.argsort(-best[sure], kind="stable")][:_MAX_CANDIDATES]
        found = []
        for index in sure:
            x, y, width, height = (float(value) for value in boxes[index])
            corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
            label = self._label(int(classes[index]))
            found.append(Detection(label, min(float(best[index]), 1.0), box.unframed(corners)))
        return suppressed(found, self._iou, MAX_DETECTIONS)

    def _framed(self, image: Any, box: Letterbox) -> Any:  # noqa: ANN401
        """The model's input: the picture in its frame, one plane per colour, values from 0 to 1."""
        width, height = self._frame
        frame = np.full((height, width, 3), _PADDING, dtype=np.uint8)
        smaller = box.size[0] < image.shape[1]
        resized = cv2.resize(image, box.size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
        frame[box.top : box.top + box.size[1], box.left : box.left + box.size[0]] = resized
        return (frame.transpose(2, 0, 1)[None] / np.float32(255)).astype(self._type)

    def _candidates(self, output: Any) -> tuple[Any, Any]:  # noqa: ANN401
        """Boxes (N × 4) and scores (N × classes), from either layout."""
        if getattr(output, "ndim", 0) != 3 or output.shape[0] != 1:
            raise _bad("its first output must have 3 dimensions, the first of them 1")
        table = output[0].astype(np.float32)
        rows, columns = table.shape
        if self._labels:
            v8, v5 = rows == 4 + len(self._labels), columns == 5 + len(self._labels)
        else:  # there are thousands of candidates, and fewer classes
            v8, v5 = 4 < rows < columns, 5 < columns < rows
        if v8:
            return table[:4].T, table[4:].T
        if v5:
            return table[:, :4], table[:, 4:5] * table[:, 5:]
        raise _bad(f"an output of {rows} × {columns} isn't of YOLOv8 or YOLOv5 for {len(self._labels) or 'any'} labels")

    def _label(self, number: int) -> str:
        return self._labels[number] if self._labels else str(number)


def _bad(reason: str) -> PermanentFailure:
    return PermanentFailure("BAD_MODEL", f"can't use the model of MODEL_PATH: {reason}")


def _names(text: str) -> list[str]:
    """The labels in a model's metadata, written as a Python dict: `{0: 'person', 1: 'bicycle'}`."""
    try:
        names = ast.literal_eval(text or "{}")
    except (ValueError, SyntaxError) as error:
        raise _bad("can't read its metadata `names`; set LABELS_PATH") from error
    named = dict(enumerate(names)) if isinstance(names, list) else names
    if not isinstance(named, dict) or sorted(named) != list(range(len(named))):
        raise _bad("its metadata `names` doesn't number the labels from 0; set LABELS_PATH")
    return [str(named[number]) for number in range(len(named))]


def _frame(shape: list[Any], said: str) -> tuple[int, int]:
    """Height and width of the input. If the model takes any size: the training size in its metadata."""
    trained = [int(number) for number in re.findall(r"\d+", said)][:2] or [_DEFAULT_SIDE]
    height, width = (
        given if isinstance(given, int) else default
        for given, default in zip(shape[2:], (trained[0], trained[-1]), strict=True)
    )
    if not (0 < height <= _MAX_SIDE and 0 < width <= _MAX_SIDE):
        raise _bad(f"its input has {width} × {height} pixels; the limit is {_MAX_SIDE} per side")
    return height, width
