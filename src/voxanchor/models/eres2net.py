"""ERes2Net: residual blocks with local and global fusion of features.

Parameters have the names of 3D-Speaker's.
"""

from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.backbone import Backbone
from voxanchor.models.frontend import FbankConfig, FrontEndConfig
from voxanchor.models.layers import (
    ImageConv,
    Stage,
    Stride,
    as_frames,
    as_image,
    frames_mask,
    frequencies_left,
    image_mask,
    mean_and_deviation,
    shortcut,
    strided,
)

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


# ERes2Net: Res2 blocks on spectrograms, fused within and across stages (Chen et al. 2023, arXiv 2305.12838).

ADDED_VARIANCE = 1e-8
"""What is added to a variance before its root is taken."""


@dataclass(frozen=True)
class ERes2NetConfig:
    """Settings of `ERes2Net`; the defaults are those of 3D-Speaker's class, the base model.

    Attributes:
        m_channels: planes of the first stage; each of the three others has twice those of the one before.
        blocks: how many blocks each stage has.
        base_width: channels of a group of a block, for every 64 planes.
        scale: groups of a block.
        expansion: how many times wider than its planes a block's output is.
        embedding_dim: D.
        fbank: the front-end, whose filters must be a multiple of 8.
    """

    m_channels: int = 32
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    base_width: int = 32
    scale: int = 2
    expansion: int = 2
    embedding_dim: int = 192
    fbank: FrontEndConfig = field(default_factory=FbankConfig)


class ERes2Net(Backbone):
    """ERes2Net with its front-end, and mean and deviation over time of each channel at each of the last frequencies.

    Four stages, of which the last three halve frequency and time; each is fused with all before it. The base model's
    blocks (base width 32, scale and expansion 2) were compared with embeddings that 3D-Speaker computed. Others, such
    as the 24, 3 and 4 of its model of 200,000 speakers, were not: what holds them to 3D-Speaker's are the names and
    shapes of the weights, and the order of the layers in its source.

    Raises:
        ModelError: a width or count that is not positive or leaves no channels to a group, or filters that 8 does not
            divide.
    """

    def __init__(self, config: ERes2NetConfig) -> None:
        super().__init__(config.fbank, config.embedding_dim)
        m, e = config.m_channels, config.expansion
        group = m * config.base_width // 64
        if min(m, *config.blocks, group, 4 * group // 4, config.scale, e, config.embedding_dim) < 1:
            raise ModelError(f"eres2net: {config}: all must be positive, and m_channels * base_width 64 or more")
        frequencies = frequencies_left(config.fbank.n_mels, "eres2net")
        block = partial(Res2Block, base_width=config.base_width, scale=config.scale, expansion=e)
        plain, fused = partial(block, fused=False), partial(block, fused=True)
        first, second, third, fourth = config.blocks
        self.conv1 = ImageConv(1, m, 3)
        self.bn1 = nn.BatchNorm2d(m)
        self.layer1 = Stage(plain, first, m, m, e, stride=(1, 1))
        self.layer2 = Stage(plain, second, e * m, 2 * m, e)
        self.layer3 = Stage(fused, third, e * 2 * m, 4 * m, e)
        self.layer4 = Stage(fused, fourth, e * 4 * m, 8 * m, e)
        self.layer1_downsample = ImageConv(e * m, e * 2 * m, 3, (2, 2))
        self.layer2_downsample = ImageConv(e * 2 * m, e * 4 * m, 3, (2, 2))
        self.layer3_downsample = ImageConv(e * 4 * m, e * 8 * m, 3, (2, 2))
        self.fuse_mode12 = Fusion(e * 2 * m)
        self.fuse_mode123 = Fusion(e * 4 * m)
        self.fuse_mode1234 = Fusion(e * 8 * m)
        self.seg_1 = nn.Linear(2 * e * 8 * m * frequencies, config.embedding_dim)

    def encode(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D), and the frames that the pooling sees, of features (B, F, M)."""
        inside = image_mask(mask)
        x = F.relu(self.bn1(self.conv1(as_image(features), inside)))
        x, inside1 = self.layer1(x, inside)
        fused = self.layer1_downsample(x, inside1)
        x, inside2 = self.layer2(x, inside1)
        fused = self.layer2_downsample(self.fuse_mode12(x, fused), inside2)
        x, inside3 = self.layer3(x, inside2)
        fused = self.layer3_downsample(self.fuse_mode123(x, fused), inside3)
        x, inside4 = self.layer4(x, inside3)
        frames = as_frames(self.fuse_mode1234(x, fused))
        embeddings: Tensor = self.seg_1(mean_and_deviation(frames, frames_mask(inside4), ADDED_VARIANCE))
        return embeddings, frames
