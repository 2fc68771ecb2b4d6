"""Residual blocks on spectrograms (He, Zhang, Ren, Sun, CVPR 2016, arXiv 1512.03385, figure 5).

Parameters have the names of WeSpeaker's and 3D-Speaker's.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.models.images import ImageConv, strided

Stride = tuple[int, int]
"""In frequency and in time."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    EXPANSION = 1

    def __init__(self, inputs: int, width: int, stride: Stride = (1, 1)) -> None:
        super().__init__()
        self.conv1 = ImageConv(inputs, width, 3, stride)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = ImageConv(width, width, 3)
        self.bn2 = nn.BatchNorm2d(width)
        self.shortcut = shortcut(inputs, width, stride)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (B, `width`, M', F') from `x` (B, `inputs`, M, F), and its mask."""
        after = strided(mask, self.conv1.time_stride)
        y = F.relu(self.bn1(self.conv1(x, mask)))
        y = self.bn2(self.conv2(y, after))
        return F.relu(y + self.shortcut(x)), after


class Bottleneck(nn.Module):
    """A 3x3 convolution between two 1x1 convolutions, the last of which is four times as wide, beside a shortcut."""

    EXPANSION = 4

    def __init__(self, inputs: int, width: int, stride: Stride = (1, 1)) -> None:
        super().__init__()
        outputs = self.EXPANSION * width
        self.conv1 = ImageConv(inputs, width)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = ImageConv(width, width, 3, stride)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = ImageConv(width, outputs)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.shortcut = shortcut(inputs, outputs, stride)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (B, 4 `width`, M', F') from `x` (B, `inputs`, M, F), and its mask."""
        y = F.relu(self.bn1(self.conv1(x)))
        y = F.relu(self.bn2(self.conv2(y, mask)))
        y = self.bn3(self.conv3(y))
        return F.relu(y + self.shortcut(x)), strided(mask, self.conv2.time_stride)


def shortcut(inputs: int, outputs: int, stride: Stride) -> nn.Sequential:
    """Return what carries a block's input past it: nothing where it fits, else a 1x1 convolution."""
    if stride == (1, 1) and inputs == outputs:
        return nn.Sequential()
    return nn.Sequential(ImageConv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))


class Stage(nn.ModuleList):
    """Blocks of one width one after the other, the first of them with a stride.

    Args:
        block: makes one from the channels of its input, its width and its stride.
        count: of the blocks.
        inputs: channels of the first one's input.
        width: of each.
        expansion: how many times wider than that its output is.
        stride: of the first.
    """

    def __init__(
        self,
        block: Callable[[int, int, Stride], nn.Module],
        count: int,
        inputs: int,
        width: int,
        expansion: int,
        stride: Stride = (2, 2),
    ) -> None:
        more = (block(expansion * width, width, (1, 1)) for _ in range(count - 1))
        super().__init__([block(inputs, width, stride), *more])

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Return (B, `expansion` `width`, M', F') from `x` (B, `inputs`, M, F), and its mask."""
        for block in self:
            x, mask = block(x, mask)
        return x, mask
