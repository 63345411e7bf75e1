"""Writes small ONNX models, byte by byte, so that what a detector should find in them is known exactly.

ONNX is Protocol Buffers; the numbers of the fields are those of onnx.proto, whose messages the functions are named for.
"""

import struct
from collections.abc import Sequence

type Table = Sequence[Sequence[float]]
type _Value = int | str | bytes

_FLOAT, _INT64, _FLOAT16 = 1, 7, 10
_HALF, _ONE = 0.5, 1.0


def constant(
    output: Sequence[Table], *, size: tuple[int, int] = (64, 64), names: str = "", half: bool = False
) -> bytes:
    """A model that gives the same (1, rows, columns) output for every picture of `size` (width, height)."""
    nodes = [_node("Identity", ["known"], ["output0"])]
    rows = output[0]
    known = _tensor("known", (len(output), len(rows), len(rows[0])), [value for row in rows for value in row])
    return _model(nodes, [known], size, names, half=half)


def red_rectangle(layout: str, *, size: tuple[int | str, int | str], names: str = "{0: 'rectangle'}") -> bytes:
    """A real detector: it finds the rectangle around what is red, in the layout of YOLO `v8` or `v5`.

    Its score is how red the reddest pixel is, 1 at most. In `v5` that is the class's, and the candidate's own is 0.5.
    """
    nodes = [_node("Conv", ["images", "redness"], ["red"])]
    for axis, other, centre, length in ((3, 2, "x", "width"), (2, 3, "y", "height")):
        nodes += [
            _node("ReduceMax", ["red"], [f"{axis}max"], axes=[1, other], keepdims=0),
            _node("Greater", [f"{axis}max", "half"], [f"{axis}over"]),
            _node("Cast", [f"{axis}over"], [f"{axis}mask"], to=_FLOAT),
            _node("ArgMax", [f"{axis}mask"], [f"{axis}first"], axis=1),
            _node("ArgMax", [f"{axis}mask"], [f"{axis}last"], axis=1, select_last_index=1),
            _node("Cast", [f"{axis}first"], [f"{axis}low"], to=_FLOAT),
            _node("Cast", [f"{axis}last"], [f"{axis}end"], to=_FLOAT),
            _node("Add", [f"{axis}end", "one"], [f"{axis}high"]),
            _node("Add", [f"{axis}low", f"{axis}high"], [f"{axis}sum"]),
            _node("Mul", [f"{axis}sum", "half"], [centre]),
            _node("Sub", [f"{axis}high", f"{axis}low"], [length]),
        ]
    nodes += [
        _node("ReduceMax", ["red"], ["reddest"], axes=[1, 2, 3], keepdims=0),
        _node("Reshape", ["reddest", "single"], ["score"]),
        _node("Concat", ["x", "y", "width", "height", *(["half"] if layout == "v5" else []), "score"], ["row"], axis=1),
        _node("Reshape", ["row", "shape"], ["output0"]),
    ]
    weights = [
        _tensor("redness", (1, 3, 1, 1), [1.0, -0.5, -0.5]),
        _tensor("half", (1, 1), [_HALF]),
        _tensor("one", (1, 1), [_ONE]),
        _integers("single", [1, 1]),
        _integers("shape", [1, 1, 6] if layout == "v5" else [1, 5, 1]),
    ]
    return _model(nodes, weights, size, names, half=False)


def _model(
    nodes: list[bytes], weights: list[bytes], size: tuple[int | str, int | str], names: str, *, half: bool
) -> bytes:
    width, height = size
    graph = b"".join(
        [
            *(_field(1, node) for node in nodes),
            _field(2, "test"),
            *(_field(5, weight) for weight in weights),
            _field(11, _value_info("images", (1, 3, height, width), _FLOAT16 if half else _FLOAT)),
            _field(12, _field(1, "output0") + _field(2, _field(1, _field(1, _FLOAT)))),
        ]
    )
    metadata = [_field(14, _field(1, "names") + _field(2, names))] if names else []
    return b"".join([_field(1, 8), _field(7, graph), _field(8, _field(2, 13)), *metadata])


def _node(operator: str, inputs: list[str], outputs: list[str], **attributes: int | list[int]) -> bytes:
    return b"".join(
        [
            *(_field(1, name) for name in inputs),
            *(_field(2, name) for name in outputs),
            _field(4, operator),
            *(_field(5, _attribute(name, value)) for name, value in attributes.items()),
        ]
    )


def _attribute(name: str, value: int | list[int]) -> bytes:
    if isinstance(value, int):
        return _field(1, name) + _field(3, value) + _field(20, 2)
    return _field(1, name) + b"".join(_field(8, each) for each in value) + _field(20, 7)


def _tensor(name: str, shape: Sequence[int], values: Sequence[float]) -> bytes:
    dimensions = b"".join(_field(1, length) for length in shape)
    return dimensions + _field(2, _FLOAT) + _field(8, name) + _field(9, struct.pack(f"<{len(values)}f", *values))


def _integers(name: str, values: Sequence[int]) -> bytes:
    raw = struct.pack(f"<{len(values)}q", *values)
    return _field(1, len(values)) + _field(2, _INT64) + _field(8, name) + _field(9, raw)


def _value_info(name: str, shape: Sequence[int | str], element: int) -> bytes:
    dimensions = b"".join(_field(1, _field(2 if isinstance(each, str) else 1, each)) for each in shape)
    return _field(1, name) + _field(2, _field(1, _field(1, element) + _field(2, dimensions)))


def _field(number: int, value: _Value) -> bytes:
    """One field: whole numbers as varints, all else as bytes with their length before them."""
    if isinstance(value, int):
        return _varint(number << 3) + _varint(value)
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _varint(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    return bytes([*data, value])
