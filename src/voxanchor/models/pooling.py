"""From frames to one vector per recording: attentive statistics pooling over a recording's own frames."""

import torch
from torch import Tensor, nn

from voxanchor.models.frames import FrameConv
from voxanchor.models.masks import apply_mask
from voxanchor.models.moments import attended_moments, frame_mean, plain_moments

VARIANCE_FLOOR = 1e-5
"""Smallest variance whose root is taken: below it the gradient of the root would explode."""

SMALLEST_VARIANCE = 1e-12
"""Of an unbiased deviation: without any, the gradient of a root of 0 would be no number."""


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


def mean_and_deviation(x: Tensor, mask: Tensor | None, added_variance: float = 0.0) -> Tensor:
    """Return the mean and the unbiased standard deviation of `x` (B, F, C) over its frames, (B, 2 C) float32.

    The gradient is finite also where a channel never moves.

    Args:
        x: in any precision; at least two frames of each recording count.
        mask: (B, F, 1) bool, the frames that count; all of them when absent.
        added_variance: what is added to the variance before its root is taken.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        frames = x.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
        mean = frame_mean(x, mask)
        # about the mean: the difference of two moments loses the small deviations that ReLU leaves
        variance = frame_mean(apply_mask(x - mean, mask).square(), mask) * (frames / (frames - 1))
        deviation = (variance + added_variance).clamp(min=SMALLEST_VARIANCE).sqrt()
        return torch.cat([mean, deviation], dim=2).squeeze(1)
