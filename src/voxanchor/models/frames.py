"""Layers on frames, (B, F, C): a frame's channels lie side by side, as a matrix product wants them.

With the frames side by side instead, as torch's own layers over time have them, the library under torch puts every
convolution's input and output into another order first, which takes longer than a product in bfloat16.
"""

from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.models.masks import apply_mask, mirrored
from voxanchor.models.tracing import is_exporting

Padding: TypeAlias = Literal["zeros", "reflect"]
"""What a convolution sees before a recording's first frame and behind its last: zeros, or its own frames mirrored."""

_ONEDNN_ELEMENTS = 20_480
"""A single recording with fewer, in float32, torch keeps from oneDNN and gives to a slow kernel for dilated ones."""


class FrameConv(nn.Conv1d):
    """A convolution over time that keeps the number of frames.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel_size: K, odd: the frames that one output frame sees.
        dilation: distance between those frames.
        bias: whether a constant is added to every channel.
        padding: what lies before the first frame and behind the last.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int = 1,
        dilation: int = 1,
        bias: bool = True,
        padding: Padding = "zeros",
    ) -> None:
        margin = dilation * (kernel_size // 2)
        super().__init__(inputs, outputs, kernel_size, dilation=dilation, padding=margin, bias=bias)
        self.margin, self.step, self.mirrors = margin, dilation, padding == "reflect"

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, F, outputs) from `x` (B, F, inputs); those inside `mask` (B, F, 1) see no frame outside it."""
        if self.weight.shape[2] == 1:
            return F.linear(x, self.weight.squeeze(2), self.bias)
        if not is_exporting() and x.device.type == "cpu" and x.shape[0] == 1 and x.numel() <= _ONEDNN_ELEMENTS:
            return self.unfolded(x, mask)
        margin = 0 if self.mirrors else self.margin
        x = mirrored(x, mask, self.margin) if self.mirrors else apply_mask(x, mask)
        # an image one pixel high whose channels lie last: the order that convolutions of images are fastest in
        image, kernel = x.transpose(1, 2).unsqueeze(2), self.weight.unsqueeze(2)
        made = F.conv2d(image, kernel, self.bias, padding=(0, margin), dilation=(1, self.step))
        return made.squeeze(2).transpose(1, 2)

    def unfolded(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the same by one product, of a copy of `x` that holds every frame K times."""
        beside = (0, 0, self.margin, self.margin)
        padded = mirrored(x, mask, self.margin) if self.mirrors else F.pad(apply_mask(x, mask), beside)
        starts = range(0, 2 * self.margin + 1, self.step)
        seen = torch.cat([padded[:, start : start + x.shape[1]] for start in starts], dim=2)
        return F.linear(seen, self.weight.transpose(1, 2).flatten(1), self.bias)


class FrameNorm(nn.BatchNorm1d):
    """Batch normalisation of each channel over all frames of all recordings."""

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, F, C) from `x` (B, F, C)."""
        return super().forward(x.flatten(0, 1)).view_as(x)


def split_channels(x: Tensor, groups: int) -> Tensor:
    """Return (G, B, F, C / G), groups of neighbouring channels of `x` (B, F, C), each of them in one piece of memory.

    Slices of `x` would lie scattered over all of its memory, and so would their gradients.
    """
    split: Tensor = _Split.apply(x, groups)  # type: ignore[no-untyped-call]
    return split


def join_channels(groups: Tensor) -> Tensor:
    """Return (B, F, C) from `groups` (G, B, F, C / G): the inverse of `split_channels`."""
    joined: Tensor = _Join.apply(groups)  # type: ignore[no-untyped-call]
    return joined


def _split(x: Tensor, groups: int) -> Tensor:
    batch, frames, channels = x.shape
    return x.reshape(batch, frames, groups, channels // groups).permute(2, 0, 1, 3).contiguous()


def _join(groups: Tensor) -> Tensor:
    return groups.permute(1, 2, 0, 3).flatten(2)


class _Split(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, x: Tensor, groups: int) -> Tensor:
        return _split(x, groups)

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _join(gradients[0]), None


class _Join(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, groups: Tensor) -> Tensor:
        ctx.groups = len(groups)
        return _join(groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return _split(gradients[0], ctx.groups)
