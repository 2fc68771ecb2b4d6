"""CAM++: context-aware masking on a densely connected TDNN.

Parameters have the names of WeSpeaker's and 3D-Speaker's.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.backbone import Backbone
from voxanchor.models.frontend import FbankConfig, FrontEndConfig
from voxanchor.models.layers import (
    BasicBlock,
    FrameConv,
    FrameNorm,
    ImageConv,
    Stage,
    apply_mask,
    as_frames,
    as_image,
    frequencies_left,
    image_mask,
    mean_and_deviation,
)

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


# CAM++: a densely joined time-delay network behind a two-dimensional head (Wang et al. 2023, arXiv 2303.00332).

LAYERS = (12, 24, 16)
"""Of the three dense blocks."""

DILATIONS = (1, 2, 2)


@dataclass(frozen=True)
class CamPlusPlusConfig:
    """Settings of `CamPlusPlus`; the defaults are the paper's network with an embedding of 512.

    Attributes:
        growth_rate: channels that each layer of a dense block adds.
        bn_size: how many times wider than that a layer's bottleneck is.
        init_channels: channels of the first dense block's input.
        m_channels: width of the two-dimensional head.
        embedding_dim: D.
        added_variance: what is added to a channel's unbiased variance over time before the root is taken: 1e-7 in
            WeSpeaker, nothing in 3D-Speaker.
        fbank: the front-end, whose filters must be a multiple of 8.
    """

    growth_rate: int = 32
    bn_size: int = 4
    init_channels: int = 128
    m_channels: int = 32
    embedding_dim: int = 512
    added_variance: float = 1e-7
    fbank: FrontEndConfig = field(default_factory=FbankConfig)


class CamPlusPlus(Backbone):
    """CAM++ with its front-end, and mean and deviation over time.

    The head divides the frequencies by 8; the first layer behind it halves the frames.

    Raises:
        ModelError: a width that is not positive, an odd bottleneck, or filters that 8 does not divide.
    """

    def __init__(self, config: CamPlusPlusConfig) -> None:
        super().__init__(config.fbank, config.embedding_dim)
        bottleneck = config.bn_size * config.growth_rate
        widths = (config.growth_rate, config.bn_size, config.init_channels, config.m_channels, config.embedding_dim)
        if min(widths) < 1 or bottleneck % 2 or config.added_variance < 0.0:
            reason = f"widths {widths}, bottleneck {bottleneck}, added_variance {config.added_variance}"
            raise ModelError(f"campplus: {reason}: widths must be positive, the bottleneck even, no variance negative")
        frequencies = frequencies_left(config.fbank.n_mels, "campplus")
        self.added_variance = config.added_variance
        self.head = Head(config.m_channels)
        channels = config.init_channels
        tdnn = ConvNorm(StridedConv(config.m_channels * frequencies, channels), norm_relu(channels))
        layers: OrderedDict[str, nn.Module] = OrderedDict(tdnn=tdnn)
        for i, (count, dilation) in enumerate(zip(LAYERS, DILATIONS, strict=True), start=1):
            layers[f"block{i}"] = DenseBlock(count, channels, bottleneck, config.growth_rate, dilation)
            channels += count * config.growth_rate
            layers[f"transit{i}"] = NormConv(channels, channels // 2)
            channels //= 2
        layers["out_nonlinear"] = norm_relu(channels)
        embedding_norm = nn.BatchNorm1d(config.embedding_dim, affine=False)
        layers["dense"] = ConvNorm(
            FrameConv(2 * channels, config.embedding_dim, bias=False),
            nn.Sequential(OrderedDict(batchnorm=embedding_norm)),
        )
        self.xvector = nn.ModuleDict(layers)
        for module in self.xvector.modules():
            if isinstance(module, nn.Conv1d):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def encode(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D), and the frames that the pooling sees, of features (B, F, M)."""
        layers = self.xvector
        x = layers["tdnn"](apply_mask(self.head(features, mask), mask))
        mask = None if mask is None else mask[:, ::2]
        segments = Segments.of(x, mask)
        for i in range(1, len(LAYERS) + 1):
            x = layers[f"transit{i}"](layers[f"block{i}"](x, segments))
        x = layers["out_nonlinear"](x)
        embeddings: Tensor = layers["dense"](mean_and_deviation(x, mask, self.added_variance))
        return embeddings, x


class Head(nn.Module):
    """Convolutions on the spectrogram that halve its frequencies three times and keep its frames."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = ImageConv(1, width, 3)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = Stage(BasicBlock, 2, width, width, 1, stride=(2, 1))
        self.layer2 = Stage(BasicBlock, 2, width, width, 1, stride=(2, 1))
        self.conv2 = ImageConv(width, width, 3, (2, 1))
        self.bn2 = nn.BatchNorm2d(width)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, F, `width` M / 8) from features (B, F, M)."""
        inside = image_mask(mask)
        x = F.relu(self.bn1(self.conv1(as_image(features), inside)))
        x, _ = self.layer1(x, inside)
        x, _ = self.layer2(x, inside)
        return as_frames(F.relu(self.bn2(self.conv2(x, inside))))
