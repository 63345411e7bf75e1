"""One index in memory: its vectors as a matrix, its metadata by key and value, its texts by word."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from local.vectors.filters import Mask, Scalar, select
from local.vectors.fulltext import FullText

type Metadata = Mapping[str, object]

FUSION_CONSTANT: Final = 60
"""Of reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009)."""
FUSED: Final = 100
"""How many results of each ranking are fused."""


@dataclass(frozen=True, slots=True)
class Found:
    """A result: its distance, if the vector counted, and its scores by text key, and fused, if texts counted."""

    key: str
    distance: float | None
    scores: Mapping[str, float]
    fused: float | None


class Table:
    """The vectors of one index. A changed vector gets a new row; the old one is dead."""

    def __init__(self, dimension: int, metric: str, hidden: Iterable[str], texts: Iterable[str]) -> None:
        self._metric = metric
        self._hidden = frozenset(hidden)
        self._texts = {key: FullText() for key in texts}
        self._vectors = np.zeros((64, dimension), np.float32)
        self._alive = np.zeros(64, np.bool_)
        self._numbers: dict[str, NDArray[np.float64]] = {}
        self._values: defaultdict[str, defaultdict[tuple[type, Scalar], set[int]]] = defaultdict(
            lambda: defaultdict(set)
        )
        self._present: defaultdict[str, set[int]] = defaultdict(set)
        self._keys: list[str] = []
        self._rows: dict[str, int] = {}
        self._metadata: list[Metadata] = []

    def put(self, key: str, vector: NDArray[np.float32], metadata: Metadata) -> None:
        """Add a vector, or replace the one of this key."""
        self.remove(key)
        row = len(self._keys)
        if row == len(self._alive):
            self._grow()
        self._keys.append(key)
        self._metadata.append(metadata)
        self._rows[key] = row
        self._vectors[row] = vector / np.linalg.norm(vector) if self._metric == "cosine" else vector
        self._alive[row] = True
        for name, value in metadata.items():
            if name in self._texts:
                self._texts[name].add(row, value)
            if name not in self._hidden:
                self._present[name].add(row)
                for each in _scalars(value):
                    self._values[name][_kind(each), each].add(row)
                if isinstance(value, int | float) and not isinstance(value, bool):
                    self._column(name)[row] = value

    def remove(self, key: str) -> None:
        """Remove a vector, if there is one of this key."""
        row = self._rows.pop(key, None)
        if row is None:
            return
        self._alive[row] = False
        for name, value in self._metadata[row].items():
            if name in self._texts:
                self._texts[name].remove(row, value)
            self._present[name].discard(row)
            for each in _scalars(value) if name not in self._hidden else ():
                self._values[name][_kind(each), each].discard(row)
        self._metadata[row] = {}

    def query(
        self, count: int, vector: NDArray[np.float32] | None, texts: Mapping[str, str], given: object | None
    ) -> list[Found]:
        """The best matches, best first.

        Raises:
            FilterError: the filter isn't valid.
        """
        size = len(self._keys)
        allowed = self._alive[:size].copy()
        if given is not None:
            allowed &= select(self, given)
        scores = {key: self._texts[key].scores(text, size) for key, text in texts.items()}
        ranking: list[int]
        fused: dict[int, float] = {}
        distances: NDArray[np.float32] | None = None
        if vector is not None:
            distances = self._distances(vector)
        if distances is not None and not texts:
            ranking = _best(-distances, allowed, count)
        else:
            matched = {key: _best(each, allowed & (each > 0), max(FUSED, count)) for key, each in scores.items()}
            if distances is None:
                total = np.sum(list(scores.values()), axis=0)
                ranking = _best(total, allowed & (total > 0), count)
            else:
                for ranked in (_best(-distances, allowed, max(FUSED, count)), *matched.values()):
                    for place, row in enumerate(ranked, 1):
                        fused[row] = fused.get(row, 0) + 1 / (FUSION_CONSTANT + place)
                ranking = sorted(fused, key=lambda row: -fused[row])[:count]
        return [
            Found(
                self._keys[row],
                None if distances is None else float(distances[row]),
                {key: float(each[row]) for key, each in scores.items() if each[row] > 0},
                fused.get(row),
            )
            for row in ranking
        ]

    # ---- what filters ask --------------------------------------------------------------------------------------

    def everything(self) -> Mask:
        """All rows, dead ones too."""
        return np.ones(len(self._keys), np.bool_)

    def equal(self, key: str, value: Scalar) -> Mask:
        """The rows whose value is this, or has it in its list. A string never equals a number."""
        values = self._values.get(key)
        return self._mask(values.get((_kind(value), value), ()) if values else ())

    def present(self, key: str) -> Mask:
        """The rows that have the key."""
        return self._mask(self._present.get(key, ()))

    def numbers(self, key: str) -> NDArray[np.float64]:
        """The numbers of a key; NaN where there is none."""
        if key not in self._numbers:
            return np.full(len(self._keys), np.nan)
        return self._numbers[key][: len(self._keys)]

    def is_filterable(self, key: str) -> bool:
        """Whether filters may name the key."""
        return key not in self._hidden

    def _mask(self, rows: Iterable[int]) -> Mask:
        mask = np.zeros(len(self._keys), np.bool_)
        mask[np.fromiter(rows, np.intp)] = True
        return mask

    def _column(self, name: str) -> NDArray[np.float64]:
        return self._numbers.setdefault(name, np.full(len(self._alive), np.nan))

    def _distances(self, vector: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = self._vectors[: len(self._keys)]
        if self._metric == "cosine":
            cosine: NDArray[np.float32] = 1 - rows @ (vector / np.linalg.norm(vector))
            return cosine
        squares: NDArray[np.float32] = np.maximum(np.square(rows).sum(1) - 2 * rows @ vector + vector @ vector, 0)
        return squares

    def _grow(self) -> None:
        more = len(self._alive)
        self._vectors = np.concatenate([self._vectors, np.zeros_like(self._vectors)])
        self._alive = np.concatenate([self._alive, np.zeros_like(self._alive)])
        self._numbers = {name: np.concatenate([old, np.full(more, np.nan)]) for name, old in self._numbers.items()}


def _best(scores: NDArray[np.float32], allowed: Mask, count: int) -> list[int]:
    """The rows with the highest scores, highest first."""
    rows = np.flatnonzero(allowed)
    found = scores[rows]
    if len(rows) > count:
        chosen = np.argpartition(-found, count)[:count]
        rows, found = rows[chosen], found[chosen]
    return [int(row) for row in rows[np.argsort(-found, kind="stable")]]


def _scalars(value: object) -> Iterator[Scalar]:
    for each in value if isinstance(value, list) else (value,):
        if isinstance(each, str | bool | int | float):
            yield each


def _kind(value: Scalar) -> type:
    # In Python, True equals 1.
    return bool if isinstance(value, bool) else str if isinstance(value, str) else float
