"""ResNet on spectrograms as WeSpeaker builds it (Zeinali et al. 2019, arXiv 1910.12592), of any depth and width."""

from dataclasses import dataclass, field
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.backbone import Backbone
from voxanchor.models.frontend import FbankConfig, FrontEndConfig
from voxanchor.models.layers import (
    BasicBlock,
    Bottleneck,
    ImageConv,
    Stage,
    as_frames,
    as_image,
    frames_mask,
    frequencies_left,
    image_mask,
    mean_and_deviation,
)

Block = Literal["basic", "bottleneck"]

BLOCKS: dict[Block, type[BasicBlock] | type[Bottleneck]] = {"basic": BasicBlock, "bottleneck": Bottleneck}

ADDED_VARIANCE = 1e-7
"""What is added to a variance before its root is taken."""


@dataclass(frozen=True)
class ResNetConfig:
    """Settings of `ResNet`; the defaults are WeSpeaker's ResNet34.

    Attributes:
        m_channels: width of the first stage; each of the three others is twice as wide as the one before.
        blocks: how many blocks each stage has.
        block: ``basic`` has two 3x3 convolutions; ``bottleneck`` a 3x3 between two 1x1 convolutions.
        embedding_dim: D.
        two_emb_layer: whether ReLU, batch normalisation and a second linear layer follow the first.
        fbank: the front-end, whose filters must be a multiple of 8.
    """

    m_channels: int = 32
    blocks: tuple[int, int, int, int] = (3, 4, 6, 3)
    block: Block = "basic"
    embedding_dim: int = 256
    two_emb_layer: bool = False
    fbank: FrontEndConfig = field(default_factory=FbankConfig)


class ResNet(Backbone):
    """ResNet with its front-end, and mean and deviation over time of each channel at each of the last frequencies.

    Four stages, of which the last three halve frequency and time. Basic blocks were compared with embeddings that
    WeSpeaker computed. Bottleneck blocks were not: what holds them to WeSpeaker's are the names and shapes of the
    weights, and the order of the layers in its source.

    Raises:
        ModelError: a width or count that is not positive, or filters that 8 does not divide.
    """

    def __init__(self, config: ResNetConfig) -> None:
        super().__init__(config.fbank, config.embedding_dim)
        m = config.m_channels
        if min(m, *config.blocks, config.embedding_dim) < 1:
            reason = f"m_channels {m}, blocks {config.blocks}, embedding_dim {config.embedding_dim}"
            raise ModelError(f"resnet: {reason}: all must be positive")
        frequencies = frequencies_left(config.fbank.n_mels, "resnet")
        block, (first, second, third, fourth) = BLOCKS[config.block], config.blocks
        e = block.EXPANSION
        self.conv1 = ImageConv(1, m, 3)
        self.bn1 = nn.BatchNorm2d(m)
        self.layer1 = Stage(block, first, m, m, e, stride=(1, 1))
        self.layer2 = Stage(block, second, e * m, 2 * m, e)
        self.layer3 = Stage(block, third, e * 2 * m, 4 * m, e)
        self.layer4 = Stage(block, fourth, e * 4 * m, 8 * m, e)
        self.seg_1 = nn.Linear(2 * e * 8 * m * frequencies, config.embedding_dim)
        self.two_emb_layer = config.two_emb_layer
        if config.two_emb_layer:
            self.seg_bn_1 = nn.BatchNorm1d(config.embedding_dim, affine=False)
            self.seg_2 = nn.Linear(config.embedding_dim, config.embedding_dim)

    def encode(self, features: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return embeddings (B, D), and the frames that the pooling sees, of features (B, F, M)."""
        inside = image_mask(mask)
        x = F.relu(self.bn1(self.conv1(as_image(features), inside)))
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x, inside = stage(x, inside)
        frames = as_frames(x)
        embeddings: Tensor = self.seg_1(mean_and_deviation(frames, frames_mask(inside), ADDED_VARIANCE))
        if self.two_emb_layer:
            embeddings = self.seg_2(self.seg_bn_1(F.relu(embeddings)))
        return embeddings, frames
