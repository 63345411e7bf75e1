"""The model itself: a BERT encoder of six layers in numpy.

numpy alone embeds a question in some 25 ms of CPU. An inference runtime would be faster, but it would double the
layer's size, which costs more at every cold start than it saves.
"""

import json
from collections.abc import Mapping, Sequence
from itertools import batched
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

MODEL_FOLDER = Path(__file__).with_name("model")
"""Where the layer's build puts the model."""

type Floats = NDArray[np.float32]

_LAYERS = 6
_HEADS = 12
_TOKENS = 256  # what the model was trained for; the rest of a longer text doesn't count
_BATCH = 16
_MASKED = np.float32(-1e9)
_DTYPES = {"F16": "<f2", "F32": "<f4"}


class Embedder:
    """A loaded model. May be used by one thread at a time.

    Args:
        folder: Has `model.safetensors`, in 16 or 32 bits, and `tokenizer.json`.

    Raises:
        OSError: A file is missing.
        ValueError: A file isn't what it should be.
    """

    def __init__(self, folder: Path = MODEL_FOLDER) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        # The file asks for 128 tokens of padding, which would count as text.
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(_TOKENS)
        tensors = _read(folder / "model.safetensors")
        # A text needs few rows of the largest table: it stays on disk, and rows are converted as they are needed.
        self._words = tensors.pop("embeddings.word_embeddings.weight")
        self._weights: dict[str, Floats] = {name: value.astype(np.float32) for name, value in tensors.items()}

    def embed(self, texts: Sequence[str]) -> Floats:
        """The vectors of texts: one row of 384 numbers each, of length 1. Texts beyond 256 tokens are cut off."""
        found = np.empty((len(texts), self._words.shape[1]), np.float32)
        tokens = [each.ids for each in self._tokenizer.encode_batch(list(texts))]
        # Texts of similar length together, so that little is computed for padding.
        for batch in batched(sorted(range(len(texts)), key=lambda index: len(tokens[index])), _BATCH, strict=False):
            found[list(batch)] = self._encode([tokens[index] for index in batch])
        return found

    def _encode(self, tokens: Sequence[Sequence[int]]) -> Floats:
        width = max(map(len, tokens))
        ids = np.zeros((len(tokens), width), np.intp)
        present = np.zeros((len(tokens), width), np.float32)
        for row, each in enumerate(tokens):
            ids[row, : len(each)] = each
            present[row, : len(each)] = 1
        weights = self._weights
        state = self._words[ids].astype(np.float32) + weights["embeddings.position_embeddings.weight"][:width]
        state = self._normalized(state + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        hidden = (_MASKED * (1 - present))[:, None, None, :]
        for layer in range(_LAYERS):
            state = self._layer(state, hidden, f"encoder.layer.{layer}")
        mean = (state * present[..., None]).sum(1) / present.sum(1, keepdims=True)
        unit: Floats = mean / np.linalg.norm(mean, axis=1, keepdims=True)
        return unit

    def _layer(self, state: Floats, hidden: Floats, name: str) -> Floats:
        texts, width, size = state.shape

        def heads(part: str) -> Floats:
            whole = self._linear(state, f"{name}.attention.self.{part}")
            return whole.reshape(texts, width, _HEADS, size // _HEADS).transpose(0, 2, 1, 3)

        scores = heads("query") @ heads("key").swapaxes(2, 3) / np.float32((size // _HEADS) ** 0.5) + hidden
        shares = np.exp(scores - scores.max(-1, keepdims=True))
        shares /= shares.sum(-1, keepdims=True)
        seen = (shares @ heads("value")).transpose(0, 2, 1, 3).reshape(texts, width, size)
        attention = f"{name}.attention.output"
        state = self._normalized(state + self._linear(seen, f"{attention}.dense"), f"{attention}.LayerNorm")
        inner = _gelu(self._linear(state, f"{name}.intermediate.dense"))
        return self._normalized(state + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")

    def _linear(self, state: Floats, name: str) -> Floats:
        product: Floats = state @ self._weights[f"{name}.weight"].T + self._weights[f"{name}.bias"]
        return product

    def _normalized(self, state: Floats, name: str) -> Floats:
        centred = state - state.mean(-1, keepdims=True)
        scale = np.sqrt(np.square(centred).mean(-1, keepdims=True) + np.float32(1e-12))
        normal = (centred / scale).astype(np.float32, copy=False)
        return normal * self._weights[f"{name}.weight"] + self._weights[f"{name}.bias"]


def _gelu(x: Floats) -> Floats:
    """X · Φ(x). numpy has no error function: Abramowitz and Stegun, 7.1.26, which is off by at most 1.5e-7."""
    z = np.abs(x) * np.float32(0.5**0.5)
    t = 1 / (1 + np.float32(0.3275911) * z)
    tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = np.copysign(1 - tail * np.exp(-z * z), x)
    result: Floats = (0.5 * x * (1 + erf)).astype(np.float32)
    return result


def _read(path: Path) -> dict[str, NDArray[np.floating]]:
    """The tensors of a safetensors file, not read before they are used."""
    raw = np.memmap(path, np.uint8, mode="r")
    length = int.from_bytes(raw[:8].tobytes(), "little")
    header: Mapping[str, Mapping[str, Any]] = json.loads(raw[8 : 8 + length].tobytes())
    data, tensors = raw[8 + length :], {}
    for name, about in header.items():
        if dtype := _DTYPES.get(str(about.get("dtype"))):
            begin, end = about["data_offsets"]
            tensors[name] = data[begin:end].view(dtype).reshape(about["shape"])
    return tensors
