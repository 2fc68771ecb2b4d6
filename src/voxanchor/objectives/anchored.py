"""The distance that pulls an embedding towards its fixed anchor.

Gu et al., "A Stage-Wise Learning Strategy with Fixed Anchors for Robust Speaker Verification" (arXiv 2510.18530):
the anchor is the base model's embedding of the same utterance's clean recording, and does not move.
"""

from typing import Literal

from torch import Tensor
from torch.nn import functional as F

Distance = Literal["cosine", "squared_euclidean"]


def anchor_loss(embeddings: Tensor, anchors: Tensor, distance: Distance = "cosine") -> Tensor:
    """Return the mean distance (scalar) of embeddings to their anchors; gradients reach the embeddings only.

    ``cosine`` is 1 - cos(x, a), in [0, 2]. ``squared_euclidean`` is ||x - a||^2; between unit vectors it is exactly
    twice the cosine distance, so the two differ by the weight given to them, not by where they lead.

    Args:
        embeddings: (B, D).
        anchors: (B, D) fixed targets, row by row.
        distance: which of the two.

    Raises:
        ValueError: shapes that differ.
    """
    if embeddings.shape != anchors.shape:
        raise ValueError(f"embeddings {tuple(embeddings.shape)} and anchors {tuple(anchors.shape)} must match")
    fixed = anchors.detach()
    if distance == "cosine":
        return (1.0 - F.cosine_similarity(embeddings, fixed, dim=1)).mean()
    return (embeddings - fixed).square().sum(dim=1).mean()
