"""Voice prints: 256 numbers that are close for the same voice, by the encoder of Resemblyzer (GE2E, arXiv:1710.10467).

The network is a mel spectrogram and three small LSTM layers, which numpy computes fast enough, so no PyTorch is needed.
Its weights are a PyTorch checkpoint of the old format: pickles, which could run code. They are read by an unpickler
that knows tensors of numbers and nothing else.
"""

import math
import os
import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from faster_whisper.feature_extractor import FeatureExtractor

from analyze_video.sound import RATE, Block
from analyze_video.stage import Spoken

WINDOW_FRAMES = 160
"""Frames of the spectrogram, 10 ms each, that the encoder hears at a time: 1.6 s."""
FRAME_SAMPLES = RATE // 100
_FFT = RATE // 40  # 25 ms
_MELS = 40
_LOUDNESS = 10 ** (-30 / 20)  # as in training: quieter sound is raised to -30 dBFS
_LAYERS = 3
_BATCH = 64  # windows at a time: 64 MB
_HOP_SECONDS = 0.4
_WINDOW_SECONDS = WINDOW_FRAMES / 100
_MAGIC = 0x1950A86A20F9469CFC6C


class CheckpointError(Exception):
    """The file isn't a checkpoint of tensors."""


class Encoder:
    """Computes voice prints.

    Args:
        checkpoint: Resemblyzer's `pretrained.pt`.

    Raises:
        CheckpointError: the file is something else.
    """

    def __init__(self, checkpoint: Path) -> None:
        state = read_checkpoint(checkpoint)["model_state"]
        self._layers = []
        for layer in range(_LAYERS):
            gates = [state[f"lstm.{kind}_l{layer}"] for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
            inputs, hidden, *biases = gates
            self._layers.append((inputs.T.copy(), hidden.T.copy(), biases[0] + biases[1]))
        self._projection = state["linear.weight"].T.copy(), state["linear.bias"]

    def heard(self, block: Block, spoken: Sequence[Spoken]) -> Iterator[tuple[list[float], Any]]:
        """For each stretch of speech in a block, the middles of its windows in seconds, and their voice prints."""
        passages = [*_passages(block, spoken)]
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:
            found = threads.map(lambda middles: self.prints(_windows(block, middles)), passages)
            for middles, prints in zip(passages, found, strict=True):
                yield middles[: len(prints)], prints

    def prints(self, windows: Any) -> Any:  # noqa: ANN401 - numpy's
        """Voice prints of length 1, one a row.

        Args:
            windows: spectrograms by `spectrogram`: an array (windows, `WINDOW_FRAMES`, 40).
        """
        found = [self._batch(windows[first : first + _BATCH]) for first in range(0, len(windows), _BATCH)]
        return np.concatenate(found) if found else np.zeros((0, 256), np.float32)

    def _batch(self, windows: Any) -> Any:  # noqa: ANN401
        sequence = windows
        hidden = np.zeros((len(windows), 256), np.float32)
        for inputs, recurrent, bias in self._layers:
            gates = sequence @ inputs + bias  # of all times at once
            hidden, cell = np.zeros_like(hidden), np.zeros_like(hidden)
            sequence = np.empty((*windows.shape[:2], 256), np.float32)
            for time in range(windows.shape[1]):
                at = gates[:, time] + hidden @ recurrent
                i, f, o = (_sigmoid(at[:, part : part + 256]) for part in (0, 256, 768))
                cell = f * cell + i * np.tanh(at[:, 512:768])
                hidden = sequence[:, time] = o * np.tanh(cell)
        weight, bias = self._projection
        raw = np.maximum(hidden @ weight + bias, 0)
        return raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-6)


def _windows(block: Block, middles: Sequence[float]) -> Any:  # noqa: ANN401
    """The spectrograms of the windows with these middles."""
    begin = round((middles[0] - block.start - _WINDOW_SECONDS / 2) * RATE)
    end = round((middles[-1] - block.start + _WINDOW_SECONDS / 2) * RATE)
    samples = block.samples[max(begin, 0) : end]
    frames = spectrogram(np.pad(samples, (max(-begin, 0), max(end - len(block.samples), 0))))
    firsts = range(0, len(frames) - WINDOW_FRAMES + 1, round(_HOP_SECONDS * RATE / FRAME_SAMPLES))
    return np.stack([frames[first : first + WINDOW_FRAMES] for first in firsts][: len(middles)])


def _passages(block: Block, spoken: Sequence[Spoken]) -> Iterator[list[float]]:
    """The middles of the windows, `_HOP_SECONDS` apart, of each stretch of speech in the block; at least one each."""
    for begin, end in spoken:
        start, stop = max(begin, block.start), min(end, block.end)
        if start >= stop:
            continue
        inner = stop - start - _WINDOW_SECONDS
        count = max(1, int(inner / _HOP_SECONDS) + 1)
        first = (start + stop - (count - 1) * _HOP_SECONDS) / 2
        yield [first + number * _HOP_SECONDS for number in range(count)]


def _sigmoid(values: Any) -> Any:  # noqa: ANN401
    return 0.5 + 0.5 * np.tanh(0.5 * values)  # overflows nowhere


def spectrogram(samples: Any) -> Any:  # noqa: ANN401
    """The mel spectrogram that the encoder was trained on: an array (frames, 40), a frame each 10 ms.

    Args:
        samples: 16 kHz, mono, -1 to 1.
    """
    loudness = float(np.sqrt(np.mean(samples**2))) or 1.0
    raised = samples * max(1.0, _LOUDNESS / loudness)
    padded = np.pad(raised, _FFT // 2)
    framed = np.lib.stride_tricks.sliding_window_view(padded, _FFT)[::FRAME_SAMPLES]
    power = np.abs(np.fft.rfft(framed * np.hanning(_FFT + 1)[:-1].astype(np.float32))) ** 2
    filters = FeatureExtractor.get_mel_filters(RATE, _FFT, n_mels=_MELS)
    return (power @ filters.T).astype(np.float32)


class _Storage(NamedTuple):
    key: str
    kind: Any  # numpy's dtype


class _Tensor(NamedTuple):
    storage: _Storage
    offset: int
    shape: tuple[int, ...]


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], *_rest: object) -> _Tensor:
    return _Tensor(storage, offset, shape)  # all of this file are contiguous


_ALLOWED: Mapping[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch", "FloatStorage"): np.dtype("<f4"),
    ("torch", "LongStorage"): np.dtype("<i8"),
}


class _Unpickler(pickle.Unpickler):
    """Knows no names but those in `_ALLOWED`. `kinds` has the types of the storages that were referred to."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__(stream)
        self.kinds: dict[str, Any] = {}

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - as in the base class
        if (module, name) not in _ALLOWED:
            raise CheckpointError(f"the checkpoint refers to {module}.{name}, which is no tensor")
        return _ALLOWED[module, name]

    def persistent_load(self, pid: Any) -> _Storage:  # noqa: ANN401 - as in the base class
        _, kind, key, *_rest = pid
        self.kinds[key] = kind
        return _Storage(key, kind)


def read_checkpoint(path: Path) -> Any:  # noqa: ANN401 - nested dictionaries
    """The tensors of a PyTorch checkpoint of the format before 1.6, as numpy arrays in nested dictionaries.

    Raises:
        CheckpointError: the file isn't one, or it holds anything but tensors and plain values.
    """
    with path.open("rb") as stream:
        try:
            magic, _protocol, _sizes = (_Unpickler(stream).load() for _ in range(3))
            reader = _Unpickler(stream)
            content = reader.load()
            storages = {}
            for key in _Unpickler(stream).load():
                (count,) = struct.unpack("<q", stream.read(8))
                kind = reader.kinds[key]
                storages[key] = np.frombuffer(stream.read(count * kind.itemsize), kind)
        except CheckpointError:
            raise
        except Exception as error:  # a pickle can raise anything
            raise CheckpointError(f"the checkpoint can't be read ({type(error).__name__})") from error
    if magic != _MAGIC:
        raise CheckpointError("not a checkpoint of the known format")
    return _resolved(content, storages)


def _resolved(content: Any, storages: Mapping[str, Any]) -> Any:  # noqa: ANN401 - see above
    if isinstance(content, _Tensor):
        count = math.prod(content.shape)
        values = storages[content.storage.key][content.offset : content.offset + count]
        return values.reshape(content.shape)
    if isinstance(content, dict):
        return {name: _resolved(value, storages) for name, value in content.items()}
    return content
