"""What ERes2Net is made of: blocks of Res2 convolutions, and fusion by attention.

Parameters have the names of 3D-Speaker's.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.models.images import ImageConv, strided
from voxanchor.models.residual import Stride, shortcut

CEILING = 20.0
"""Largest value that an activation lets through."""


class Fusion(nn.Module):
    """Attentional fusion of two images: a weighted sum, its weights computed pixel by pixel from both."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        narrow = channels // 4
        self.local_att = nn.Sequential(
            ImageConv(2 * channels, narrow, bias=True),
            nn.BatchNorm2d(narrow),
            nn.SiLU(),
            ImageConv(narrow, channels, bias=True),
            nn.BatchNorm2d(channels),
        )

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return (1 + a) x + (1 - a) y, of the shape (B, C, M, F) of both, with a in (-1, 1)."""
        attention = torch.tanh(self.local_att(torch.cat([x, y], dim=1)))
        return torch.addcmul(x + y, x - y, attention)


class Res2Block(nn.Module):
    """Convolutions on groups of channels, each after the group before is joined to it, between two 1x1 convolutions.

    Args:
        inputs: channels of the input.
        width: planes P; the output has `expansion` times as many channels.
        stride: of the first 1x1 convolution.
        base_width: channels of a group, for every 64 planes.
        scale: number of groups.
        expansion: how many times wider than P the output is.
        fused: whether groups are joined by attention, not by a sum.
    """

    def __init__(
        self,
        inputs: int,
        width: int,
        stride: Stride,
        base_width: int,
        scale: int,
        expansion: int,
        fused: bool,
    ) -> None:
        super().__init__()
        group = width * base_width // 64
        self.conv1 = ImageConv(inputs, group * scale, 1, stride)
        self.bn1 = nn.BatchNorm2d(group * scale)
        self.convs = nn.ModuleList(ImageConv(group, group, 3) for _ in range(scale))
        self.bns = nn.ModuleList(nn.BatchNorm2d(group) for _ in range(scale))
        self.fuse_models = nn.ModuleList(Fusion(group) for _ in range(scale - 1) if fused)
        self.conv3 = ImageConv(group * scale, expansion * width)
        self.bn3 = nn.BatchNorm2d(expansion * width)
        self.shortcut = shortcut(inputs, expansion * width, stride)
        self.fused = fused

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (B, `expansion` P, M', F') from `x` (B, `inputs`, M, F), and its mask."""
        after = strided(mask, self.conv1.time_stride)
        groups = bounded(self.bn1(self.conv1(x))).chunk(len(self.convs), dim=1)
        outputs: list[Tensor] = []
        for i, (conv, norm, group) in enumerate(zip(self.convs, self.bns, groups, strict=True)):
            if i:
                group = self.fuse_models[i - 1](outputs[-1], group) if self.fused else outputs[-1] + group
            outputs.append(bounded(norm(conv(group, after))))
        y = self.bn3(self.conv3(torch.cat(outputs, dim=1)))
        return bounded(y + self.shortcut(x)), after


def bounded(x: Tensor) -> Tensor:
    """Return `x` clipped to 0 and `CEILING`."""
    return F.hardtanh(x, 0.0, CEILING)
