"""From frames to one vector per recording: attentive statistics pooling over a recording's own frames."""

import torch
from torch import Tensor, nn

from voxanchor.models.masks import apply_mask, masked_mean
from voxanchor.models.pointwise import Pointwise

VARIANCE_FLOOR = 1e-5
"""Smallest variance whose root is taken: below it the gradient of the root would explode."""


def attended_statistics(x: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Return the weighted mean and standard deviation over frames, each (B, C, 1) float32.

    Args:
        x: (B, C, F) features.
        weights: (B, C, F), non-negative, summing to 1 over the frames.
    """
    weighted = x * weights
    mean = weighted.sum(dim=2, keepdim=True)
    return mean, _deviation((weighted * x).sum(dim=2, keepdim=True), mean)


def plain_statistics(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the mean and standard deviation, each (B, C, 1), over the frames of `x` inside `mask` (B, 1, F)."""
    mean = masked_mean(x, mask)
    return mean, _deviation(masked_mean(x.square(), mask), mean)


def _deviation(mean_square: Tensor, mean: Tensor) -> Tensor:
    return (mean_square - mean.square()).clamp(min=VARIANCE_FLOOR).sqrt()


class AttentiveStatisticsPooling(nn.Module):
    """Channel- and context-dependent attentive statistics pooling (Desplanques et al. 2020, eqs. 1 to 5).

    Every channel has its own attention over time, computed from the frame and from the recording's global mean and
    standard deviation. The global part is the same for all frames, so its product with the weights is taken once.

    Args:
        channels: C of the input.
        bottleneck: width of the attention's hidden layer.
    """

    def __init__(self, channels: int, bottleneck: int = 128) -> None:
        super().__init__()
        self.frame = Pointwise(channels, bottleneck)
        self.context = Pointwise(2 * channels, bottleneck, bias=False)
        self.attention = Pointwise(bottleneck, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the weighted mean and standard deviation, (B, 2 C), of `x` (B, C, F) inside `mask` (B, 1, F)."""
        with torch.autocast(x.device.type, enabled=False):
            # Second moments lose the variance in half precision.
            x32 = apply_mask(x.float(), mask)
            context = torch.cat(plain_statistics(x32, mask), dim=1)
        scores = self.attention(torch.tanh(self.frame(x) + self.context(context)))
        with torch.autocast(x.device.type, enabled=False):
            scores = scores.float()
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf)
            return torch.cat(attended_statistics(x32, scores.softmax(dim=2)), dim=1).squeeze(2)
