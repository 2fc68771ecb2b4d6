"""From frames to one vector per recording: attentive statistics pooling over a recording's own frames."""

import torch
from torch import Tensor, nn

from voxanchor.models.frames import FrameConv
from voxanchor.models.moments import attended_moments, plain_moments

VARIANCE_FLOOR = 1e-5
"""Smallest variance whose root is taken: below it the gradient of the root would explode."""


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
        self.frame = FrameConv(channels, bottleneck)
        self.context = FrameConv(2 * channels, bottleneck, bias=False)
        self.attention = FrameConv(bottleneck, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the weighted mean and standard deviation, (B, 2 C), of `x` (B, F, C) inside `mask` (B, F, 1)."""
        # Second moments lose the variance in half precision.
        with torch.autocast(x.device.type, enabled=False):
            context = _mean_and_deviation(*plain_moments(x, mask))
        scores = self.attention(torch.tanh(self.frame(x) + self.context(context)))
        with torch.autocast(x.device.type, enabled=False):
            return _mean_and_deviation(*attended_moments(x, scores, mask)).squeeze(1)


def _mean_and_deviation(mean: Tensor, mean_square: Tensor) -> Tensor:
    """Return both, (B, 1, 2 C), from two moments (B, 1, C)."""
    deviation = (mean_square - mean.square()).clamp(min=VARIANCE_FLOOR).sqrt()
    return torch.cat([mean, deviation], dim=2)
