"""Embeddings laid out in a plane, for looking at."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxanchor.extras import missing
from voxanchor.types import BoolArray, FloatArray, IntArray


@dataclass(frozen=True)
class EmbeddingMap:
    """Positions of one system's embeddings in a plane.

    Attributes:
        system: name of the model.
        points: (N, 2) positions; axes and unit have no meaning.
        speakers: (N,) number of the speaker of each point.
        noisy: (N,) true for embeddings of noisy recordings.
    """

    system: str
    points: FloatArray
    speakers: IntArray
    noisy: BoolArray


def project(embeddings: NDArray[np.floating], seed: int = 0) -> FloatArray:
    """Return positions in a plane that keep neighbours together: (N, 2) float64.

    t-SNE (van der Maaten and Hinton 2008) by scikit-learn on unit vectors, started from the principal components.
    Distances between far groups mean little; whether groups mix means a lot.

    Args:
        embeddings: (N, D) unit vectors, N at least 4. Project clean and noisy embeddings of a system together.
        seed: seed of the optimisation.

    Raises:
        MissingExtraError: scikit-learn is not installed.
        ValueError: fewer than four embeddings.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise missing("sklearn", "The map of embeddings") from error
    if embeddings.ndim != 2 or len(embeddings) < 4:
        raise ValueError(f"A map needs at least four embeddings (N, D), got {embeddings.shape}.")
    layout = TSNE(2, perplexity=min(30.0, (len(embeddings) - 1) / 3), init="pca", random_state=seed)
    return np.asarray(layout.fit_transform(np.asarray(embeddings, dtype=np.float32)), dtype=np.float64)
