"""Full-text search of one metadata key: BM25 with Lucene's constants, over words in lower case."""

import math
import re
from collections import Counter, defaultdict

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")
_K1, _B = 1.2, 0.75


class FullText:
    """The words of one metadata key, by row."""

    def __init__(self) -> None:
        self._rows: defaultdict[str, dict[int, int]] = defaultdict(dict)
        self._arrays: dict[str, tuple[NDArray[np.intp], NDArray[np.float32]]] = {}  # of words asked for
        self._lengths = np.zeros(64, np.float32)
        self._texts = 0
        self._total = 0

    def add(self, row: int, text: object) -> None:
        """Add a row's text. Values that aren't strings can't be searched."""
        if not isinstance(text, str):
            return
        words = Counter(_WORD.findall(text.casefold()))
        for word, count in words.items():
            self._rows[word][row] = count
            self._arrays.pop(word, None)
        while row >= len(self._lengths):
            self._lengths = np.concatenate([self._lengths, np.zeros_like(self._lengths)])
        self._lengths[row] = words.total()
        self._texts += 1
        self._total += words.total()

    def remove(self, row: int, text: object) -> None:
        """Remove a row, whose text was this."""
        if not isinstance(text, str):
            return
        for word in set(_WORD.findall(text.casefold())):
            self._arrays.pop(word, None)
            del self._rows[word][row]
            if not self._rows[word]:
                del self._rows[word]
        self._texts -= 1
        self._total -= int(self._lengths[row])

    def scores(self, query: str, size: int) -> NDArray[np.float32]:
        """The score of each of `size` rows; 0 for rows without any of the words."""
        scores = np.zeros(size, np.float32)
        count = self._texts
        mean = max(self._total, 1) / max(count, 1)
        for word in dict.fromkeys(_WORD.findall(query.casefold())):
            if word not in self._rows:
                continue
            rows, counts = self._array(word)
            rarity = math.log(1 + (count - len(rows) + 0.5) / (len(rows) + 0.5))
            scores[rows] += rarity * counts * (_K1 + 1) / (counts + _K1 * (1 - _B + _B * self._lengths[rows] / mean))
        return scores

    def _array(self, word: str) -> tuple[NDArray[np.intp], NDArray[np.float32]]:
        """The rows of a word, and how often each has it."""
        if word not in self._arrays:
            found = self._rows[word]
            rows = np.fromiter(found.keys(), np.intp, len(found))
            self._arrays[word] = rows, np.fromiter(found.values(), np.float32, len(found))
        return self._arrays[word]
