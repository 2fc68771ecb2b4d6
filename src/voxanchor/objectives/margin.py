"""Classification over speakers with an additive angular margin."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AAMSoftmax(nn.Module):
    """Additive angular margin softmax (Deng et al., "ArcFace", CVPR 2019, eq. 3): the loss for speech with labels.

    It separates the speakers of the training, from fresh weights as in fine-tuning. For fine-tuning place the centres
    at the speakers' mean anchors (`start_at`), so that the head starts where the boundaries already are: with centres
    at random the first gradients tear a trained network down. Add `anchor_loss` to hold embeddings where they were.

    Example::

        head = voxanchor.AAMSoftmax(embedding_dim=16, classes=10)
        head.start_at(mean_anchors)                            # (10, 16)
        loss, correct = head(embeddings, labels, margin=0.2)   # of (B, 16) and (B,)

    The loss of an embedding x of class y is the cross-entropy of ``scale * cos(theta_j)`` with the true class's angle
    enlarged: ``scale * cos(theta_y + margin)``. Past ``theta_y > pi - margin``, where that is no longer monotone, the
    logit continues as the straight line ``cos(theta_y) - margin * sin(margin)``.

    With very many speakers an embedding need not be compared with all of them: in training with `sampled` centres each
    step takes the speakers of its batch and others drawn at random (An et al., "Partial FC", ICCVW 2021,
    arXiv 2010.05222), so that products and memory follow the centres taken. Draws are torch's.

    Args:
        embedding_dim: dimension D of the embeddings.
        classes: number of training speakers C.
        scale: inverse temperature of the logits.
        sampled: centres of a training step, those of the batch among them; 0 takes all.

    Attributes:
        centres: (C, D) class centres; rows need not be unit vectors, only their direction counts.
    """

    def __init__(self, embedding_dim: int, classes: int, scale: float = 30.0, sampled: int = 0) -> None:
        super().__init__()
        self.scale, self.sampled = scale, sampled
        self.centres = nn.Parameter(F.normalize(torch.randn(classes, embedding_dim), dim=1))

    @torch.no_grad()
    def start_at(self, centres: Tensor) -> None:
        """Place the class centres, (C, D), for example at the mean anchor of each speaker.

        Raises:
            ValueError: a shape other than that of `centres`, or a value that is not finite.
        """
        if centres.shape != self.centres.shape:
            raise ValueError(f"expected class centres of shape {tuple(self.centres.shape)}, got {tuple(centres.shape)}")
        if not torch.isfinite(centres).all():
            raise ValueError("class centres must be finite")
        self.centres.copy_(F.normalize(centres, dim=1))

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        margin: float = 0.2,
        left_out: Callable[[Tensor | None], Tensor] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return the mean loss (scalar) and (B,) bool: whether no centre compared is closer than the own.

        Args:
            embeddings: (B, D) unit vectors.
            labels: (B,) int64 class of each.
            margin: in radians, 0 to pi / 2; the schedule may change it from step to step.
            left_out: given the (S,) classes that a step compares with, or None for all, returns (B, S) bool: which of
                them an embedding is not compared with. The own class always is.
        """
        # In float32 also under autocast: a cosine of 8 bits, times the scale, would be off by a tenth.
        with torch.autocast(embeddings.device.type, enabled=False):
            centres: Tensor = self.centres
            chosen: Tensor | None = None
            if self.training and 0 < self.sampled < len(centres):
                chosen, labels = self._sample(labels)
                centres = centres[chosen]
            cosine = (embeddings.to(centres.dtype) @ F.normalize(centres, dim=1).T).clamp(-1.0, 1.0)
            target = cosine.gather(1, labels[:, None])
            if left_out is not None:
                cosine = cosine.masked_fill(left_out(chosen), -torch.inf)
            # the floor keeps the gradient of the root finite at an angle of exactly zero
            sine = (1.0 - target.square()).clamp_min(1e-7).sqrt()
            shifted = torch.where(
                target > -math.cos(margin),
                target * math.cos(margin) - sine * math.sin(margin),
                target - margin * math.sin(margin),
            )
            logits = self.scale * cosine.scatter(1, labels[:, None], shifted)
            return F.cross_entropy(logits, labels), (cosine <= target).all(dim=1)

    def _sample(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return (S,) classes, rising, all of `labels` and others among them, and where each label is there, (B,)."""
        order = torch.rand(len(self.centres), device=labels.device)
        order[labels] = 2.0
        # as many as asked, also where the batch alone has more: shapes stay the same from step to step
        count = min(len(self.centres), max(self.sampled, len(labels)))
        chosen = order.topk(count, sorted=False).indices.sort().values
        return chosen, torch.searchsorted(chosen, labels.contiguous())
