"""Who speaks when: voice prints in groups, by spectral clustering.

The number of speakers is where the eigenvalues of the graph of similar prints have their largest gap (von Luxburg, "A
tutorial on spectral clustering", 2007). It needs no threshold of similarity, which would depend on the recording. Two
people who speak at once can't be told apart, and in less than five seconds of speech nobody can.
"""

from typing import Any

import numpy as np

MAX_SPEAKERS = 8
_SAMPLE = 600  # prints that the groups are found from; eigenvalues cost the cube of it
_FEWEST = 12
_NEIGHBOURS = (0.15, 0.25)  # shares of the prints that count as neighbours of one; their gaps are averaged
_LEAST_NEIGHBOURS = 5
_LEAST_SHARE = 0.02  # of the prints: a smaller group is noise or laughter, no speaker
_ROUNDS = 30


def labels(prints: Any) -> Any:  # noqa: ANN401 - numpy's
    """The speaker of each print: 0 for the first one's, and so on in the order of appearance.

    Args:
        prints: voice prints of length 1, an array (prints, 256), in the order of time.
    """
    if len(prints) == 0:
        return np.zeros(0, int)
    chosen = prints[np.unique(np.linspace(0, len(prints) - 1, min(len(prints), _SAMPLE)).round().astype(int))]
    groups = _clustered(chosen)
    means = np.array([chosen[groups == number].mean(axis=0) for number in np.unique(groups)])
    similar = prints @ (means / np.maximum(np.linalg.norm(means, axis=1, keepdims=True), 1e-6)).T
    found = similar.argmax(axis=1)
    kept = np.bincount(found, minlength=len(means)) >= _LEAST_SHARE * len(prints)
    found = np.where(kept, similar, -np.inf).argmax(axis=1)
    _, first = np.unique(found, return_index=True)
    order = {int(found[index]): number for number, index in enumerate(sorted(first))}
    return np.array([order[int(each)] for each in found])


def _clustered(prints: Any) -> Any:  # noqa: ANN401
    if len(prints) < _FEWEST:
        return np.zeros(len(prints), int)
    similar = prints @ prints.T
    values, vectors = zip(*(np.linalg.eigh(_laplacian(similar, share)) for share in _NEIGHBOURS), strict=True)
    gaps = np.diff(np.mean([each[: MAX_SPEAKERS + 1] for each in values], axis=0))
    number = int(gaps.argmax()) + 1
    points = vectors[-1][:, :number]
    return _k_means(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1e-6), number)


def _laplacian(similar: Any, share: float) -> Any:  # noqa: ANN401
    """The normalised Laplacian of the graph that joins each print with its nearest."""
    count = len(similar)
    neighbours = max(_LEAST_NEIGHBOURS, round(share * count))
    nearest = np.argpartition(-similar, neighbours, axis=1)[:, :neighbours]
    graph = np.zeros_like(similar)
    np.put_along_axis(graph, nearest, 1.0, axis=1)
    graph = (graph + graph.T) / 2
    degrees = np.sqrt(graph.sum(axis=1))
    return np.eye(count) - graph / degrees[:, None] / degrees[None]


def _k_means(points: Any, number: int) -> Any:  # noqa: ANN401
    """k-means that begins with points far apart, so that it has one result."""
    centres = [points[0]]
    for _ in range(number - 1):
        distances = np.min([((points - centre) ** 2).sum(axis=1) for centre in centres], axis=0)
        centres.append(points[distances.argmax()])
    means = np.array(centres)
    found = np.zeros(len(points), int)
    for _ in range(_ROUNDS):
        found = ((points[:, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
        means = np.array([points[found == k].mean(axis=0) if (found == k).any() else means[k] for k in range(number)])
    return found
