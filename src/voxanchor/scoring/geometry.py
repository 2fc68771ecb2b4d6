"""How tightly a speaker's embeddings lie together, and how far apart speakers lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.types import FloatArray


@dataclass(frozen=True)
class Geometry:
    """Geometry of the embeddings of one condition.

    Attributes:
        speakers: number of speakers S.
        utterances: number of utterances N.
        compactness: mean cosine of an embedding to the clean centroid of its speaker; higher is tighter.
        separation_mean: mean cosine between the centroids of two speakers in this condition; lower is further apart.
        separation_p95: 95th percentile of the same: the most confusable pairs.
        ratio: (1 - separation_mean) / (1 - compactness): distance between speakers over distance within; higher is
            better, infinite when every embedding lies on its centroid.
        drift: mean of 1 - cosine between an utterance's embedding and its own clean embedding; 0 for clean.
    """

    speakers: int
    utterances: int
    compactness: float
    separation_mean: float
    separation_p95: float
    ratio: float
    drift: float


def geometry(embeddings: NDArray[np.floating], clean: NDArray[np.floating], speakers: ArrayLike) -> Geometry:
    """Return the geometry of one condition against the clean embeddings of the same utterances.

    A centroid is the mean of a speaker's unit embeddings, scaled to length one.

    Args:
        embeddings: (N, D) unit vectors, one per utterance, in the condition.
        clean: (N, D) unit vectors of the same utterances without noise.
        speakers: (N,) speaker of each utterance, as numbers or names.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or fewer than two speakers.
    """
    noisy, reference = np.asarray(embeddings, dtype=np.float64), np.asarray(clean, dtype=np.float64)
    labels = np.asarray(speakers)
    if noisy.ndim != 2 or noisy.shape != reference.shape or labels.shape != noisy.shape[:1]:
        raise ValueError(
            f"Geometry needs (N, D), (N, D) and (N,) arrays, got {noisy.shape}, {reference.shape} and {labels.shape}."
        )
    if not (np.isfinite(noisy).all() and np.isfinite(reference).all()):
        raise ValueError("Embeddings must be finite.")
    names, numbers = np.unique(labels, return_inverse=True)
    count = len(names)
    if count < 2:
        raise ValueError(f"The separation of speakers needs at least two of them, got {count}.")
    clean_centroids, centroids = _centroids(reference, numbers, count), _centroids(noisy, numbers, count)
    compactness = float(np.einsum("nd,nd->n", noisy, clean_centroids[numbers]).mean())
    between = (centroids @ centroids.T)[np.triu_indices(count, 1)]
    within_distance = 1.0 - compactness
    return Geometry(
        speakers=count,
        utterances=len(noisy),
        compactness=compactness,
        separation_mean=float(between.mean()),
        separation_p95=float(np.percentile(between, 95)),
        ratio=float((1.0 - between.mean()) / within_distance) if within_distance > 1e-12 else float("inf"),
        drift=max(0.0, float(1.0 - np.einsum("nd,nd->n", noisy, reference).mean())),
    )


def _centroids(embeddings: FloatArray, numbers: NDArray[np.integer], count: int) -> FloatArray:
    sums = np.zeros((count, embeddings.shape[1]))
    np.add.at(sums, numbers, embeddings)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    centroids: FloatArray = sums / np.maximum(norms, np.finfo(np.float64).tiny)
    return centroids
