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
