"""Old embeddings carried into the space of a newer model by a linear map."""

import numpy as np

from voxanchor.types import Embeddings, FloatArray

RIDGE = 2e-4
"""Strength of the pull of the map towards leaving embeddings as they are, for each embedding it is fitted on."""


def fit_map(old: Embeddings, new: Embeddings) -> FloatArray:
    """Return the (D, E) map that carries old embeddings to where the new model puts the same recordings.

    Least squares with a ridge: towards the identity where both have one dimension, otherwise towards nothing.

    Args:
        old: (N, D) unit vectors.
        new: (N, E) unit vectors of the same recordings in the same order.

    Raises:
        ValueError: arrays that do not belong together.
    """
    if old.ndim != 2 or new.ndim != 2 or len(old) != len(new) or not len(old):
        raise ValueError(f"expected rows of the same recordings, got {old.shape} and {new.shape}")
    x, y = old.astype(np.float64), new.astype(np.float64)
    rest = np.eye(x.shape[1]) if x.shape[1] == y.shape[1] else np.zeros((x.shape[1], y.shape[1]))
    normal = x.T @ x + RIDGE * len(x) * np.eye(x.shape[1])
    found: FloatArray = rest + np.linalg.solve(normal, x.T @ (y - x @ rest))
    return found


def carried(old: Embeddings, matrix: FloatArray) -> Embeddings:
    """Return (N, E) float32 unit vectors: `old` (N, D) in the space of the newer model."""
    moved = old.astype(np.float64) @ matrix
    unit: Embeddings = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
    return unit
