"""From frames to one vector per recording: attentive statistics pooling over a recording's own frames."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.models.layers import FrameConv, FrameNorm, apply_mask, attended_moments, frame_mean, plain_moments

VARIANCE_FLOOR = 1e-5
"""Smallest variance whose root is taken: below it the gradient of the root would explode, and in float32 the difference
of two squares is no longer a variance."""

SMALLEST_VARIANCE = 1e-12
"""Of an unbiased deviation: without any, the gradient of a root of 0 would be no number."""


class AttentiveStatisticsPooling(nn.Module):
    """Channel- and context-dependent attentive statistics pooling (Desplanques et al. 2020, eqs. 1 to 5).

    Every channel has its own attention over time, computed from the frame and from the recording's global mean and
    standard deviation. The global part is the same for all frames, so its product with the weights is taken once.

    Args:
        channels: C of the input.
        bottleneck: width of the attention's hidden layer.
        global_context: whether the attention sees the global part.
        norm: whether the hidden layer has ReLU and batch normalisation before its tanh.
        variance_floor: smallest variance whose root is taken. Below `VARIANCE_FLOOR`, moments are taken about the
            recording's mean, which makes them exact enough and costs a copy of the input.
        unbiased_context: whether the deviation in the global part is the root of the unbiased variance plus the floor.
    """

    def __init__(
        self,
        channels: int,
        bottleneck: int = 128,
        global_context: bool = True,
        norm: bool = False,
        variance_floor: float = VARIANCE_FLOOR,
        unbiased_context: bool = False,
    ) -> None:
        super().__init__()
        self.variance_floor, self.unbiased_context = variance_floor, unbiased_context
        self.frame = FrameConv(channels, bottleneck)
        self.context = FrameConv(2 * channels, bottleneck, bias=False) if global_context else None
        self.norm = FrameNorm(bottleneck) if norm else None
        self.attention = FrameConv(bottleneck, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the weighted mean and standard deviation, (B, 2 C), of `x` (B, F, C) inside `mask` (B, F, 1)."""
        around, centre, context = x, None, None
        # Second moments lose the variance in half precision.
        with torch.autocast(x.device.type, enabled=False):
            if self.variance_floor < VARIANCE_FLOOR:
                centre = frame_mean(x.detach().float(), mask)
                around = x.float() - centre
            if self.context is not None:
                context = self._global_part(around, centre, mask)
        hidden = self.frame(x)
        if self.context is not None:
            hidden = hidden + self.context(context)
        if self.norm is not None:
            hidden = self.norm(F.relu(hidden))
        scores = self.attention(torch.tanh(hidden))
        with torch.autocast(x.device.type, enabled=False):
            mean, mean_square = attended_moments(around, scores, mask)
            variance = (mean_square - mean.square()).clamp(min=self.variance_floor)
            return _mean_and_deviation(mean, variance, centre).squeeze(1)

    def _global_part(self, around: Tensor, centre: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return the mean and standard deviation of each channel, (B, 1, 2 C)."""
        mean, mean_square = plain_moments(around, mask)
        variance = mean_square - mean.square()
        if self.unbiased_context:
            frames = around.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
            variance = variance.clamp(min=0.0) * (frames / (frames - 1)) + self.variance_floor
        else:
            variance = variance.clamp(min=self.variance_floor)
        return _mean_and_deviation(mean, variance, centre)


def _mean_and_deviation(mean: Tensor, variance: Tensor, centre: Tensor | None) -> Tensor:
    """Return both, (B, 1, 2 C), from the first moment about a centre and the variance, (B, 1, C)."""
    return torch.cat([mean if centre is None else mean + centre, variance.sqrt()], dim=2)


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
