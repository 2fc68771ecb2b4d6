"""What CAM++ is made of besides its two-dimensional head: densely joined layers with context-aware masks.

Parameters have the names of WeSpeaker's and 3D-Speaker's.
"""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.models.frames import FrameConv, FrameNorm
from voxanchor.models.masks import apply_mask

SEGMENT_FRAMES = 100
"""Frames that share one local context."""


@dataclass(frozen=True)
class Segments:
    """Which frames are a recording's own, and how they lie in segments.

    Attributes:
        mask: (B, F, 1) bool, a recording's own frames; all of them when absent.
        index: (F,) int64, the segment in which each frame lies.
        counts: (B or 1, S, 1) own frames in each segment, at least 1.
        total: (B or 1, 1, 1) own frames.
    """

    mask: Tensor | None
    index: Tensor
    counts: Tensor
    total: Tensor

    @classmethod
    def of(cls, x: Tensor, mask: Tensor | None) -> Self:
        """Return those of frames `x` (B, F, C)."""
        own = x.new_ones(1, x.shape[1], 1, dtype=torch.float32) if mask is None else mask.float()
        counts = segment_sums(own)
        index = torch.arange(x.shape[1], device=x.device) // SEGMENT_FRAMES
        return cls(mask, index, counts.clamp(min=1.0), counts.sum(dim=1, keepdim=True))


def segment_sums(x: Tensor) -> Tensor:
    """Return (B, S, C), the sums over segments of 100 frames of `x` (B, F, C); the last one may have fewer."""
    whole = F.pad(x.transpose(1, 2), (0, SEGMENT_FRAMES - 1))
    return F.avg_pool1d(whole, SEGMENT_FRAMES).transpose(1, 2) * SEGMENT_FRAMES


class StridedConv(nn.Conv1d):
    """A convolution of five frames that goes two at a time, without bias."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 5, stride=2, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, (F + 1) // 2, outputs) from `x` (B, F, inputs)."""
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


def norm_relu(channels: int) -> nn.Sequential:
    """Return batch normalisation and ReLU of frames (B, F, C)."""
    return nn.Sequential(OrderedDict(batchnorm=FrameNorm(channels), relu=nn.ReLU()))


class ConvNorm(nn.Module):
    """A layer over frames, then what follows it."""

    def __init__(self, linear: nn.Module, nonlinear: nn.Module) -> None:
        super().__init__()
        self.linear, self.nonlinear = linear, nonlinear

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, F', outputs) from `x` (B, F, inputs)."""
        made: Tensor = self.nonlinear(self.linear(x))
        return made


class NormConv(nn.Module):
    """Batch normalisation, ReLU and a layer over single frames."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.nonlinear = norm_relu(inputs)
        self.linear = FrameConv(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, F, outputs) from `x` (B, F, inputs)."""
        made: Tensor = self.linear(self.nonlinear(x))
        return made


class CamLayer(nn.Module):
    """Context-aware masking: a convolution whose channels are scaled by a gate.

    The gate follows from the mean over the recording plus that over the segment of 100 frames in which a frame lies.
    It is the same in all of a segment and computed there once.
    """

    def __init__(self, inputs: int, outputs: int, dilation: int) -> None:
        super().__init__()
        self.linear_local = FrameConv(inputs, outputs, 3, dilation, bias=False)
        self.linear1 = FrameConv(inputs, inputs // 2)
        self.linear2 = FrameConv(inputs // 2, outputs)

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        """Return (B, F, outputs) from `x` (B, F, inputs)."""
        x = apply_mask(x, segments.mask)
        sums = segment_sums(x)
        context = sums.sum(dim=1, keepdim=True) / segments.total + sums / segments.counts
        gates = torch.sigmoid(self.linear2(F.relu(self.linear1(context))))
        gated: Tensor = self.linear_local(x) * gates.index_select(1, segments.index)
        return gated


class DenseLayer(nn.Module):
    """One layer of a dense block: a bottleneck, then context-aware masking."""

    def __init__(self, inputs: int, bottleneck: int, growth: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = norm_relu(inputs)
        self.linear1 = FrameConv(inputs, bottleneck, bias=False)
        self.nonlinear2 = norm_relu(bottleneck)
        self.cam_layer = CamLayer(bottleneck, growth, dilation)

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        """Return the channels that this layer adds, (B, F, `growth`), from `x` (B, F, `inputs`)."""
        added: Tensor = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x))), segments)
        return added


class DenseBlock(nn.Module):
    """Layers each of which sees the block's input and what every layer before it made."""

    def __init__(self, layers: int, inputs: int, bottleneck: int, growth: int, dilation: int) -> None:
        super().__init__()
        for i in range(layers):
            self.add_module(f"tdnnd{i + 1}", DenseLayer(inputs + i * growth, bottleneck, growth, dilation))

    def forward(self, x: Tensor, segments: Segments) -> Tensor:
        """Return (B, F, `inputs` + `layers` `growth`) from `x` (B, F, `inputs`)."""
        for layer in self.children():
            x = torch.cat([x, layer(x, segments)], dim=2)
        return x
