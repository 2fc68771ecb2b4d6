"""Layers on spectrograms as images, (B, C, M, F): M frequencies high, F frames wide.

A pixel's channels lie side by side in memory: so a ResNet34 trains on a processor in three quarters of the time that it
takes with channel after channel, as long as nothing on the way changes the order, of gradients neither. A mask of an
image is (B, 1, 1, F) bool, true on a recording's own frames.
"""

import torch
from torch import Tensor, nn

from voxanchor.errors import ModelError


def as_image(features: Tensor) -> Tensor:
    """Return (B, 1, M, F) from features (B, F, M), in the order that makes all that follows lie channels last."""
    return features.transpose(1, 2).unsqueeze(1).contiguous(memory_format=torch.channels_last)


def as_frames(image: Tensor) -> Tensor:
    """Return (B, F, C M) from an image (B, C, M, F): the frequencies of a channel are neighbours."""
    return image.permute(0, 3, 1, 2).flatten(2)


def frequencies_left(n_mels: int, network: str) -> int:
    """Return how many of `n_mels` frequencies are left when `network` has halved them three times.

    Raises:
        ModelError: halves that are no whole numbers.
    """
    if n_mels % 8:
        raise ModelError(f"{network}: {n_mels} mel filters: their number must be a multiple of 8")
    return n_mels // 8


def image_mask(mask: Tensor | None) -> Tensor | None:
    """Return the mask (B, 1, 1, F) of an image whose frames have the mask (B, F, 1)."""
    return None if mask is None else mask.transpose(1, 2).unsqueeze(1)


def frames_mask(mask: Tensor | None) -> Tensor | None:
    """Return the mask (B, F, 1) of the frames of an image with `mask`."""
    return None if mask is None else mask.squeeze(1).transpose(1, 2)


def strided(mask: Tensor | None, step: int) -> Tensor | None:
    """Return the mask of what a convolution that goes `step` frames at a time makes of an image with `mask`.

    A recording of n frames has (n - 1) // step + 1 then: those whose middle is its own.
    """
    return mask if mask is None or step == 1 else mask[..., ::step]


class ImageConv(nn.Conv2d):
    """A convolution whose output has the size of its input, divided by the stride and rounded up.

    One of single pixels takes those it needs first: the library under torch 2.13 writes past its memory in the backward
    pass of a strided one with fewer than 16 channels that lie last.

    Args:
        inputs: channels of the input.
        outputs: channels of the output.
        kernel_size: odd; zeros lie around the image.
        stride: in frequency and in time.
        bias: whether a constant is added to every channel.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel_size: int = 1,
        stride: tuple[int, int] = (1, 1),
        bias: bool = False,
    ) -> None:
        taken = stride if kernel_size == 1 else (1, 1)
        made = (1, 1) if kernel_size == 1 else stride
        super().__init__(inputs, outputs, kernel_size, made, kernel_size // 2, bias=bias)
        self.taken, self.time_stride = taken, stride[1]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return (B, outputs, M', F') from `x` (B, inputs, M, F); own frames see nothing of those outside `mask`."""
        if mask is not None and self.weight.shape[3] > 1:
            x = x.masked_fill(~mask, 0.0)
        if self.taken != (1, 1):
            # as they lie in memory, so that their gradients lie so too
            x = x.permute(0, 2, 3, 1)[:, :: self.taken[0], :: self.taken[1]].permute(0, 3, 1, 2)
        return super().forward(x)
