"""How alike the embeddings of the same recordings are, and how scores are spread."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.scoring.scores import trial_scores
from voxanchor.types import FloatArray

QUANTILES = (0.1, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 99.9)
"""In percent, of a `Spread`."""


@dataclass(frozen=True)
class Similarity:
    """Cosines between two embeddings of the same recording.

    Attributes:
        mean: over the recordings; 1 where nothing moved.
        p05: 5th percentile: only one recording in twenty moved further.
    """

    mean: float
    p05: float

    @classmethod
    def of(cls, one: NDArray[np.floating], other: NDArray[np.floating]) -> "Similarity":
        """Return the similarity of (N, D) embeddings to (N, D) others, row by row.

        Raises:
            ValueError: shapes that differ, or an embedding that is zero or not finite.
        """
        if len(one) != len(other):
            raise ValueError(f"Embeddings of the same recordings are needed, got {len(one)} and {len(other)}.")
        rows = np.arange(len(one))
        cosines = trial_scores(one, other, rows, rows)
        return cls(float(cosines.mean()), float(np.percentile(cosines, 5)))


def mean_cosine_apart(embeddings: NDArray[np.floating], groups: ArrayLike) -> float:
    """Return the mean cosine of all pairs of (N, D) unit vectors from different groups, (N,); 0 where there is none.

    From sums over the groups, so that time and memory grow with N and not with its square.
    """
    rows = embeddings.astype(np.float64)
    _, places, sizes = np.unique(np.asarray(groups), return_inverse=True, return_counts=True)
    if len(sizes) < 2:
        return 0.0
    sums = np.zeros((len(sizes), rows.shape[1]))
    np.add.at(sums, places, rows)
    whole = sums.sum(axis=0)
    pairs = float(len(rows)) ** 2 - float(np.square(sizes.astype(np.float64)).sum())
    return float(whole @ whole - np.square(sums).sum()) / pairs


@dataclass(frozen=True)
class Spread:
    """How scores are distributed.

    Attributes:
        count: number of scores.
        mean: their mean.
        deviation: their standard deviation.
        quantiles: percentage, as text, to the score that so many are not above.
    """

    count: int
    mean: float
    deviation: float
    quantiles: Mapping[str, float]

    @classmethod
    def of(cls, scores: ArrayLike) -> "Spread":
        """Return the spread of (K,) scores, K at least 1."""
        values: FloatArray = np.asarray(scores, dtype=np.float64)
        found = np.percentile(values, QUANTILES).tolist()
        named = {f"{share:g}": value for share, value in zip(QUANTILES, found, strict=True)}
        return cls(values.size, float(values.mean()), float(values.std()), named)
