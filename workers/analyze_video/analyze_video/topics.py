"""Finds where a talk changes its topic, and which of its sentences say most. numpy only, and deterministic.

Topics are the stretches in which sentences' vectors differ least from their mean: kernel change-point detection with a
penalty for each change (Harchaoui and Cappé 2007; Arlot, Celisse and Harchaoui 2019), solved exactly by dynamic
programming.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

MOST = 2000
"""Sentences that are compared with each other: 16 MB. Longer talks are joined to as many."""
_WORD = re.compile(r"\w+")


def bag_of_words(texts: Sequence[str]) -> Any:  # noqa: ANN401 - numpy's
    """Vectors of length 1 by the words of each text, without a model: TF-IDF. Words in one text only don't count."""
    counts = [Counter(word.casefold() for word in _WORD.findall(text)) for text in texts]
    in_texts = Counter(word for each in counts for word in each)
    columns = {word: number for number, word in enumerate(sorted(w for w, n in in_texts.items() if n > 1))}
    vectors = np.zeros((len(texts), len(columns) + 1), np.float32)
    vectors[:, -1] = 1e-3  # so that none is of length 0
    for row, each in enumerate(counts):
        for word, count in each.items():
            if word in columns:
                vectors[row, columns[word]] = count * math.log(len(texts) / in_texts[word])
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def changes(vectors: Any, lengths: Sequence[float], shortest: float, penalties: Sequence[float]) -> list[int]:  # noqa: ANN401
    """The numbers of the sentences with which a new topic begins, ascending; never 0.

    Args:
        vectors: a row of length 1 for each sentence.
        lengths: how long each sentence is, in seconds.
        shortest: a topic's shortest length, in seconds.
        penalties: for each sentence, how much a topic that begins with it must gain.
    """
    count = len(vectors)
    smooth = _smoothed(vectors)
    # Sums of similarities over every square on the diagonal are differences of these.
    sums = np.zeros((count + 1, count + 1))
    sums[1:, 1:] = (smooth @ smooth.T).astype(np.float64).cumsum(0).cumsum(1)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    best, begins = np.full(count + 1, np.inf), np.zeros(count + 1, np.intp)
    best[0] = 0
    given = np.asarray(penalties, np.float64)
    for end in range(1, count + 1):
        starts = np.arange(end)
        inside = sums[end, end] - sums[starts, end] - sums[end, starts] + sums[starts, starts]
        costs = best[starts] + (end - starts) - inside / (end - starts) + given[starts]
        costs[ends[end] - ends[starts] < shortest] = np.inf
        begins[end] = int(costs.argmin())
        best[end] = costs[begins[end]]
    found, at = [], count
    while at > 0 and math.isfinite(best[at]):
        at = int(begins[at])
        found.append(at)
    return sorted(each for each in found if each > 0)


def _smoothed(vectors: Any) -> Any:  # noqa: ANN401 - numpy's
    """Each sentence with some of its neighbours: alone, one says too little about the topic."""
    count = len(vectors)
    smooth = np.array(vectors, np.float32)
    for distance, share in ((1, 0.7), (2, 0.3)):
        if count > distance:
            smooth[distance:] += share * vectors[:-distance]
            smooth[:-distance] += share * vectors[distance:]
    return smooth / np.linalg.norm(smooth, axis=1, keepdims=True)


def central(vectors: Any, most: int, alike: float = 0.7) -> list[int]:  # noqa: ANN401 - numpy's
    """The rows closest to the mean of all, the closest first; none that nearly repeats one before."""
    mean = vectors.mean(0)
    chosen: list[int] = []
    for row in np.argsort(-(vectors @ mean), kind="stable").tolist():
        if len(chosen) == most:
            break
        if all(float(vectors[row] @ vectors[other]) < alike for other in chosen):
            chosen.append(row)
    return chosen
