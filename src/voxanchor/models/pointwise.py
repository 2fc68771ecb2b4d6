"""Convolutions of one frame: the product of every frame with the same matrix."""

from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.models.tracing import is_exporting

_ONEDNN_ELEMENTS = 20_480
"""A single recording with fewer is never given to oneDNN by torch (and a dilated kernel to something slower yet)."""


class Pointwise(nn.Conv1d):
    """A convolution over time with a kernel of one frame.

    Of fewer than 16 recordings on one thread, torch leaves such a convolution to a kernel of its own that takes up to
    twice as long as oneDNN's, but not if it is dilated, which changes nothing about a kernel of one frame.
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__(inputs, outputs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, outputs, F) from `x` (B, inputs, F)."""
        if x.shape[2] == 1:
            return F.linear(x.squeeze(2), self.weight.squeeze(2), self.bias).unsqueeze(2)
        if is_exporting():
            return F.conv1d(x, self.weight, self.bias)
        dilate = x.device.type == "cpu" and (len(x) > 1 or x.numel() > _ONEDNN_ELEMENTS)
        return F.conv1d(x, self.weight, self.bias, dilation=2 if dilate else 1)
