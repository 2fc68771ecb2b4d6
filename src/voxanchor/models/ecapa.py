"""ECAPA-TDNN of any width (Desplanques, Thienpondt, Demuynck, Interspeech 2020, arXiv 2005.07143)."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.config import LATER
from voxanchor.errors import ModelError
from voxanchor.models.backbone import Backbone
from voxanchor.models.frontend import FbankConfig, FrontEndConfig
from voxanchor.models.layers import (
    VARIANCE_FLOOR,
    AttentiveStatisticsPooling,
    FrameConv,
    FrameNorm,
    Padding,
    frame_mean,
    join_channels,
    split_channels,
)


@dataclass(frozen=True)
class EcapaConfig:
    """Settings of `Ecapa`; the defaults are the paper's smaller network with the embedding of 192.

    Those after `fbank` are what other toolkits do otherwise, so that their weights have the same network here.

    Attributes:
        channels: C, the width of the frame layers, a multiple of `res2_scale`; 512 and 1024 are the paper's.
        embedding_dim: D.
        mfa_channels: width of the layer that joins the three blocks; 0 stands for three times `channels`.
        res2_scale: groups s of the Res2 convolutions.
        se_bottleneck: width inside the squeeze-excitation gates.
        attention_bottleneck: width inside the attention of the pooling.
        fbank: the front-end.
        summed_inputs: whether a block sees the sum of all earlier outputs (section 3.3 of the paper) or the last one.
        padding: what the convolutions see before a recording's first frame and behind its last.
        mfa_norm: whether batch normalisation follows the ReLU of the layer that joins the blocks.
        attention_norm: whether the attention's hidden layer has ReLU and batch normalisation before its tanh.
        global_context: whether the attention sees the recording's mean and deviation.
        unbiased_context: whether that deviation is of the unbiased variance plus the floor, not of at least the floor.
        variance_floor: smallest variance whose root is a deviation.
        embedding_norm: whether batch normalisation is the last layer.
    """

    channels: int = 512
    embedding_dim: int = 192
    mfa_channels: int = 0
    res2_scale: int = 8
    se_bottleneck: int = 128
    attention_bottleneck: int = 128
    fbank: FrontEndConfig = field(default_factory=FbankConfig)
    summed_inputs: bool = field(default=True, metadata=LATER)
    padding: Padding = field(default="zeros", metadata=LATER)
    mfa_norm: bool = field(default=False, metadata=LATER)
    attention_norm: bool = field(default=False, metadata=LATER)
    global_context: bool = field(default=True, metadata=LATER)
    unbiased_context: bool = field(default=False, metadata=LATER)
    variance_floor: float = field(default=VARIANCE_FLOOR, metadata=LATER)
    embedding_norm: bool = field(default=True, metadata=LATER)


class Ecapa(Backbone):
    """ECAPA-TDNN with its front-end.

    Every convolution that looks at neighbours sees the end of each recording where it is, whatever frames are behind
    it, and those are left out of every mean.

    Raises:
        ModelError: a width or floor that is not positive, or `channels` that `res2_scale` does not divide.
    """

    def __init__(self, config: EcapaConfig) -> None:
        super().__init__(config.fbank, config.embedding_dim)
        widths = (config.channels, config.embedding_dim, config.se_bottleneck, config.attention_bottleneck)
        if min(widths) < 1 or config.mfa_channels < 0 or config.res2_scale < 2 or config.channels % config.res2_scale:
            reason = f"channels {config.channels}, res2_scale {config.res2_scale}, widths {widths}"
            raise ModelError(f"ecapa: {reason}: widths must be positive, res2_scale 2 or more and divide channels")
        if not config.variance_floor > 0.0:
            raise ModelError(f"ecapa: variance_floor {config.variance_floor}: must be positive")
        channels = config.channels
        mfa_channels = config.mfa_channels or 3 * channels
        self.summed_inputs = config.summed_inputs
        self.stem = ConvBlock(config.fbank.n_mels, channels, kernel_size=5, padding=config.padding)
        self.blocks = nn.ModuleList(
            SERes2Block(channels, config.res2_scale, config.se_bottleneck, d, config.padding) for d in (2, 3, 4)
        )
        self.mfa = FrameConv(3 * channels, mfa_channels)
        self.mfa_norm = FrameNorm(mfa_channels) if config.mfa_norm else nn.Identity()
        self.pooling = AttentiveStatisticsPooling(
            mfa_channels,
            config.attention_bottleneck,
            config.global_context,
            config.attention_norm,
            config.variance_floor,
            config.unbiased_context,
        )
        self.pooled_norm = nn.BatchNorm1d(2 * mfa_channels)
        self.projection = nn.Linear(2 * mfa_channels, config.embedding_dim)
        self.embedding_norm = nn.BatchNorm1d(config.embedding_dim) if config.embedding_norm else nn.Identity()

    def encode(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D), and the frames that the pooling sees, of features (B, F, M)."""
        x = self.stem(features, mask)
        outputs: list[Tensor] = []
        for block in self.blocks:
            if outputs:
                x = x + outputs[-1] if self.summed_inputs else outputs[-1]
            outputs.append(block(x, mask))
        x = self.mfa_norm(F.relu(self.mfa(torch.cat(outputs, dim=2))))
        pooled = self.pooling(x, mask)
        return self.embedding_norm(self.projection(self.pooled_norm(pooled))), x


class ConvBlock(nn.Module):
    """Convolution over time that keeps the number of frames, then ReLU, then batch normalisation."""

    def __init__(
        self, inputs: int, outputs: int, kernel_size: int = 1, dilation: int = 1, padding: Padding = "zeros"
    ) -> None:
        super().__init__()
        self.conv = FrameConv(inputs, outputs, kernel_size, dilation, padding=padding)
        self.norm = FrameNorm(outputs)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, F, outputs) from `x` (B, F, inputs); those inside `mask` (B, F, 1) see no frame outside it."""
        normalised: Tensor = self.norm(F.relu(self.conv(x, mask)))
        return normalised


class Res2Conv(nn.Module):
    """Res2 dilated convolution: s groups of channels, each convolved after adding the group before it.

    The first group passes unchanged (Gao et al. 2019, arXiv 1904.01169, eq. 1).
    """

    def __init__(self, channels: int, scale: int, dilation: int, padding: Padding = "zeros") -> None:
        super().__init__()
        width = channels // scale
        self.groups = nn.ModuleList(ConvBlock(width, width, 3, dilation, padding) for _ in range(scale - 1))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, F, C) from `x` (B, F, C)."""
        first, *rest = split_channels(x, len(self.groups) + 1).unbind()
        outputs = [first]
        for index, (group, part) in enumerate(zip(self.groups, rest, strict=True)):
            outputs.append(group(part if index == 0 else part + outputs[-1], mask))
        return join_channels(torch.stack(outputs))


class SqueezeExcitation(nn.Module):
    """Gates on the channels from the recording's mean (eqs. 6 and 7 of the ECAPA paper)."""

    def __init__(self, channels: int, bottleneck: int) -> None:
        super().__init__()
        self.squeeze = FrameConv(channels, bottleneck)
        self.excite = FrameConv(bottleneck, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the gate in (0, 1) of each channel of each recording, (B, 1, C), from `x` (B, F, C)."""
        return torch.sigmoid(self.excite(F.relu(self.squeeze(frame_mean(x, mask)))))


class SERes2Block(nn.Module):
    """One SE-Res2Block: 1x1 convolution, Res2 convolution, 1x1 convolution, gates, and the skip connection."""

    def __init__(
        self, channels: int, scale: int, se_bottleneck: int, dilation: int, padding: Padding = "zeros"
    ) -> None:
        super().__init__()
        self.enter = ConvBlock(channels, channels)
        self.res2 = Res2Conv(channels, scale, dilation, padding)
        self.leave = ConvBlock(channels, channels)
        self.gates = SqueezeExcitation(channels, se_bottleneck)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, F, C) from `x` (B, F, C)."""
        y = self.leave(self.res2(self.enter(x), mask))
        return torch.addcmul(x, y, self.gates(y, mask))
