"""CAM++: a densely joined time-delay network behind a two-dimensional head (Wang et al. 2023, arXiv 2303.00332)."""

from collections import OrderedDict
from dataclasses import dataclass, field

from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.backbone import Backbone
from voxanchor.models.campplus_blocks import ConvNorm, DenseBlock, NormConv, Segments, StridedConv, norm_relu
from voxanchor.models.fbank import FbankConfig
from voxanchor.models.frames import FrameConv
from voxanchor.models.front_end import FrontEndConfig
from voxanchor.models.images import ImageConv, as_frames, as_image, frequencies_left, image_mask
from voxanchor.models.masks import apply_mask
from voxanchor.models.pooling import mean_and_deviation
from voxanchor.models.residual import BasicBlock, Stage

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
