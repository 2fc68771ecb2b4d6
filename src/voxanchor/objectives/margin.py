"""Classification over speakers with an additive angular margin."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class AAMSoftmax(nn.Module):
    """Additive angular margin softmax (Deng et al., "ArcFace", CVPR 2019, eq. 3).

    The loss of an embedding x of class y is the cross-entropy of ``scale * cos(theta_j)`` with the true class's angle
    enlarged: ``scale * cos(theta_y + margin)``. Past ``theta_y > pi - margin``, where that is no longer monotone, the
    logit continues as the straight line ``cos(theta_y) - margin * sin(margin)``.

    Args:
        embedding_dim: dimension D of the embeddings.
        classes: number of training speakers C.
        scale: inverse temperature of the logits.

    Attributes:
        centres: (C, D) class centres; rows need not be unit vectors, only their direction counts.
    """

    def __init__(self, embedding_dim: int, classes: int, scale: float = 30.0) -> None:
        super().__init__()
        self.scale = scale
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

    def forward(self, embeddings: Tensor, labels: Tensor, margin: float = 0.2) -> tuple[Tensor, Tensor]:
        """Return the mean loss (scalar) and the cosines to the centres (B, C).

        Args:
            embeddings: (B, D) unit vectors.
            labels: (B,) int64 class of each.
            margin: in radians, 0 to pi / 2; the schedule may change it from step to step.
        """
        # In float32 also under autocast: a cosine of 8 bits, times the scale, would be off by a tenth.
        with torch.autocast(embeddings.device.type, enabled=False):
            cosine = (embeddings.to(self.centres.dtype) @ F.normalize(self.centres, dim=1).T).clamp(-1.0, 1.0)
            target = cosine.gather(1, labels[:, None])
            # the floor keeps the gradient of the root finite at an angle of exactly zero
            sine = (1.0 - target.square()).clamp_min(1e-7).sqrt()
            shifted = torch.where(
                target > -math.cos(margin),
                target * math.cos(margin) - sine * math.sin(margin),
                target - margin * math.sin(margin),
            )
            logits = self.scale * cosine.scatter(1, labels[:, None], shifted)
            return F.cross_entropy(logits, labels), cosine
