"""The distances that pull an embedding towards a target: its fixed anchor, or the same crop without noise.

Gu et al., "A Stage-Wise Learning Strategy with Fixed Anchors for Robust Speaker Verification" (arXiv 2510.18530):
the anchor is the base model's embedding of the same utterance's clean recording, and does not move.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Distance = Literal["cosine", "info_nce"]


def cosine_distance(embeddings: Tensor, others: Tensor) -> Tensor:
    """Return the mean of 1 - cos(x, a) (scalar, in [0, 2]) of embeddings to others, row by row; gradients reach both.

    Args:
        embeddings: (B, D).
        others: (B, D).

    Raises:
        ValueError: shapes that differ.
    """
    if embeddings.shape != others.shape:
        raise ValueError(f"embeddings {tuple(embeddings.shape)} and targets {tuple(others.shape)} must match")
    return (1.0 - F.cosine_similarity(embeddings, others, dim=1)).mean()


def anchor_loss(
    embeddings: Tensor,
    anchors: Tensor,
    kind: Distance = "cosine",
    labels: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    """Return the mean distance (scalar) of embeddings to their anchors; gradients reach the embeddings only.

    For fine-tuning a copy of a model on noisy speech so that it keeps what it knows, with labels (beside `AAMSoftmax`)
    or without. The anchors are the original model's embeddings of the whole clean recordings, computed once.

    Example::

        anchors = base(clean_waves)                                    # (B, D), before training, kept
        loss = voxanchor.anchor_loss(student(noisy_waves), anchors)    # of the same recordings, row by row

    ``info_nce`` also pushes: the cross-entropy of picking the own anchor among those of the batch by cosine over
    temperature (van den Oord et al., arXiv 1807.03748, eq. 4), anchors of the same speaker left out, for they are no
    mistake.

    Args:
        embeddings: (B, D).
        anchors: (B, D) fixed targets, row by row.
        kind: which distance; see also `cosine_distance`.
        labels: (B,) speakers, for ``info_nce``; without them only the own anchor is known to be no negative.
        temperature: of ``info_nce``.

    Raises:
        ValueError: shapes that differ.
    """
    if kind != "info_nce":
        return cosine_distance(embeddings, anchors.detach())
    if embeddings.shape != anchors.shape:
        raise ValueError(f"embeddings {tuple(embeddings.shape)} and anchors {tuple(anchors.shape)} must match")
    with torch.autocast(embeddings.device.type, enabled=False):
        cosines = F.normalize(embeddings.float(), dim=1) @ F.normalize(anchors.detach().float(), dim=1).T
        own = torch.arange(len(anchors), device=anchors.device)
        if labels is not None:
            same = (labels[:, None] == labels[None, :]).fill_diagonal_(False)
            cosines = cosines.masked_fill(same, -torch.inf)
        return F.cross_entropy(cosines / temperature, own)


def frame_loss(frames: Tensor, anchors: Tensor) -> Tensor:
    """Return the mean square (scalar) of the differences between frame-level outputs, as a share of the anchors' own.

    Beside `anchor_loss`, for fine-tuning on few speakers (below a hundred), where holding embeddings alone costs clean
    accuracy. Both networks must have one architecture, and hear the same crop, the base model without noise: unlike the
    anchors of embeddings these are computed anew at every step, which makes it a quarter longer.

    Example::

        embeddings, frames = student.with_frames(noisy_waves)
        with torch.no_grad():
            anchors = base.with_frames(clean_waves)[1]         # (N, F, C)
        loss = voxanchor.frame_loss(frames, anchors)

    0 where they are the same, 1 where the frames are zero. Gradients reach the frames only. Matching a network inside,
    not only where it ends, is that of Romero et al., "FitNets" (arXiv 1412.6550), eq. 3, without its regressor: both
    networks are one architecture.

    Args:
        frames: (N, F, C).
        anchors: (N, F, C) outputs of the base model for the same speech without noise.

    Raises:
        ValueError: shapes that differ.
    """
    if frames.shape != anchors.shape:
        raise ValueError(f"frames {tuple(frames.shape)} and their anchors {tuple(anchors.shape)} must match")
    with torch.autocast(frames.device.type, enabled=False):
        targets = anchors.detach().float()
        return (frames.float() - targets).square().mean() / targets.square().mean().clamp_min(1e-12)
