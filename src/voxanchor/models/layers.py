"""Layers of the networks, and fast kernels for them: frames, masks, moments, images, residual blocks, pooling."""

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from voxanchor.errors import ModelError

# older versions of torch know only that something is tracing
is_exporting: Callable[[], bool] = getattr(torch.compiler, "is_exporting", torch.compiler.is_compiling)
"""Return whether `torch.export` is at work: shapes are then symbols, and no choice may depend on them."""


# Which frames of a padded batch are a recording's own, and means over those alone. Frames lie before channels.


def frame_mask(frames: Tensor, total: int) -> Tensor:
    """Return (B, total, 1) bool, true on the first `frames` (B,) frames of each recording."""
    positions = torch.arange(total, device=frames.device)
    return (positions < frames.unsqueeze(1)).unsqueeze(2)


def apply_mask(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return `x` (B, F, C) with the frames outside `mask` (B, F, 1) set to 0; `x` itself without a mask."""
    return x if mask is None else x.masked_fill(~mask, 0.0)


def mirrored(x: Tensor, mask: Tensor | None, margin: int) -> Tensor:
    """Return (B, margin + F + margin, C): `x` (B, F, C) with each recording mirrored at its first and its last frame.

    Args:
        x: of more frames than `margin` in each recording.
        mask: (B, F, 1) bool, the first frames of each recording, which are its own; all of them when absent.
        margin: frames before the first, and behind the last. What lies further behind it is of no meaning.
    """
    if mask is None:
        return torch.cat([x[:, 1 : margin + 1].flip(1), x, x[:, -margin - 1 : -1].flip(1)], dim=1)
    batch, total, _ = x.shape
    last = mask.sum(dim=1) - 1
    positions = torch.arange(-margin, total + margin, device=x.device).abs()
    rows = (last - (positions - last).abs()).clamp(min=0)
    rows = rows + total * torch.arange(batch, device=x.device).unsqueeze(1)
    # whole rows of memory: element by element, as torch.gather goes, takes several times as long
    return x.flatten(0, 1).index_select(0, rows.flatten()).view(batch, total + 2 * margin, -1)


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, 1, C), the mean over the frames of `x` (B, F, C) inside `mask` (B, F, 1); over all without a mask."""
    if mask is None:
        return x.mean(dim=1, keepdim=True)
    return apply_mask(x, mask).sum(dim=1, keepdim=True) / mask.sum(dim=1, keepdim=True)


# Layers on frames, (B, F, C): a frame's channels lie side by side, as a matrix product wants them.
#
# With the frames side by side instead, as torch's own layers over time have them, the library under torch puts every
# convolution's input and output into another order first, which takes longer than a product in bfloat16.

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


# Means over a recording's frames, plain or weighted by a softmax, in ways that a processor is fast at.
#
# Written with torch's own operations, every product of the pooling goes through memory as a tensor of the size of the
# widest layer in float32, forward and backward, which takes as long as all matrix products of the network in bfloat16.
# Here frames are worked through in pieces that fit a core's cache, their gradients are those of the equations, and of
# the tensors only the two inputs are kept for them.
#
# Everywhere frames outside the mask count nothing, whatever finite numbers they hold.

_PIECE_ELEMENTS = 2**17
"""Elements worked on at once on a processor: half a megabyte in float32, of which a few must fit a core's cache."""


def frame_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """Return (B, 1, C), the mean over the frames of `x` (B, F, C) inside `mask` (B, F, 1), in the precision of `x`.

    Summed by a product with ones, which adds rows of memory as they come; torch's own sum takes up to five times as
    long in bfloat16, onnxruntime's in float32.
    """
    if mask is None:
        return _ones(x) @ x / x.shape[1]
    return mask.transpose(1, 2).to(x.dtype) @ x / mask.sum(dim=1, keepdim=True)


def plain_moments(x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the means of `x` and of its square over the frames, each (B, 1, C) float32.

    Args:
        x: (B, F, C), in any precision; sums are taken in float32.
        mask: (B, F, 1) bool, the frames that count; all of them when absent.
    """
    if _written_out():
        x32 = x.float()
        return frame_mean(x32, mask), frame_mean(x32 * x32, mask)
    first, second = _Plain.apply(x, mask)  # type: ignore[no-untyped-call]
    return first, second


def attended_moments(x: Tensor, scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the means of `x` and of its square, weighted by the softmax of `scores` over the frames.

    Args:
        x: (B, F, C), in any precision; sums are taken in float32.
        scores: (B, F, C).
        mask: (B, F, 1) bool, the frames that count; all of them when absent.

    Returns:
        two of (B, 1, C) float32.
    """
    if _written_out():
        weighted = x.float() * _inside(scores, mask).softmax(dim=1)
        return _ones(weighted) @ weighted, _ones(weighted) @ (weighted * x.float())
    first, second = _Attended.apply(x, scores, mask)  # type: ignore[no-untyped-call]
    return first, second


def _written_out() -> bool:
    """Return whether what is asked for is a program, in whose operations nothing of the below could stand."""
    return is_exporting() or torch.compiler.is_compiling()


class _Plain(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(x, mask)
        first = x.new_empty(len(x), 1, x.shape[2], dtype=torch.float32)
        second = torch.empty_like(first)
        for rows in _pieces(x):
            # the second moment of 8-bit mantissas would lose the variance, a small difference of large sums: float32,
            # of a piece at a time, so that it never leaves the cache
            x32 = x[rows].float()
            part = None if mask is None else mask[rows]
            first[rows], second[rows] = frame_mean(x32, part), frame_mean(x32 * x32, part)
        return first, second

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, mask = ctx.saved_tensors
        frames = x.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
        of_first, of_second = gradients[0] / frames, 2.0 * gradients[1] / frames
        of_x = torch.empty_like(x)
        for rows in _pieces(x):
            # d mean(x) = 1 / F and d mean(x^2) = 2 x / F, in one pass; frames outside have no part in either
            made = torch.addcmul(of_first[rows], x[rows].float(), of_second[rows])
            of_x[rows] = made if mask is None else made.masked_fill_(~mask[rows], 0.0)
        return of_x, None


class _Attended(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, scores: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
        first = x.new_empty(len(x), 1, x.shape[2], dtype=torch.float32)
        second, logarithm = torch.empty_like(first), torch.empty_like(first)
        for rows in _pieces(x):
            x32, inside = x[rows].float(), _inside(scores[rows], None if mask is None else mask[rows])
            ones, peak = _ones(x32), inside.amax(dim=1, keepdim=True)
            # the peak is taken off before exp, or large scores would overflow
            weights = (inside - peak).exp_()
            # a sum over frames as a product with ones: a processor is faster at that than along a middle axis
            total = ones @ weights
            # in place: w, then w x, then w x^2 are the same memory, so the moments are taken in this order
            weighted = weights.mul_(x32)
            first[rows] = ones @ weighted / total
            second[rows] = ones @ weighted.mul_(x32) / total
            # log of the softmax's denominator: (B, 1, C) instead of the weights themselves, which backward makes anew
            logarithm[rows] = total.log_().add_(peak)
        ctx.save_for_backward(x, scores, mask, first, second, logarithm)
        return first, second

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        # With weights w, first = sum(w x), second = sum(w x^2) and gradients a and b of them:
        #   of x: w (a + 2 b x);  of the scores: w (a x + b x^2 - (a first + b second)).
        x, scores, mask, first, second, logarithm = ctx.saved_tensors
        a, b = gradients
        middle = a * first + b * second
        of_x, of_scores = torch.empty_like(x), torch.empty_like(scores)
        for rows in _pieces(x):
            inside = _inside(scores[rows], None if mask is None else mask[rows])
            weights = (inside - logarithm[rows]).exp_()
            x32 = x[rows].float()
            slope = torch.addcmul(a[rows], x32, b[rows])
            of_scores[rows] = (slope * x32).sub_(middle[rows]).mul_(weights)
            of_x[rows] = slope.addcmul_(x32, b[rows]).mul_(weights)
        return of_x, of_scores, None


def _ones(x: Tensor) -> Tensor:
    """Return (B, 1, F), whose product with `x` (B, F, C) is the sum over the frames."""
    return x.new_ones(1, 1, 1).expand(x.shape[0], 1, x.shape[1])


def _inside(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Return scores in float32, with minus infinity where frames do not count."""
    return scores.float() if mask is None else scores.float().masked_fill(~mask, -torch.inf)


def _pieces(x: Tensor) -> Iterator[slice]:
    size = len(x) if x.device.type != "cpu" else max(1, _PIECE_ELEMENTS // (x.shape[1] * x.shape[2]))
    for start in range(0, len(x), size):
        yield slice(start, start + size)


# Layers on spectrograms as images, (B, C, M, F): M frequencies high, F frames wide.
#
# A pixel's channels lie side by side in memory: so a ResNet34 trains on a processor in three quarters of the time that
# it takes with channel after channel, as long as nothing on the way changes the order, of gradients neither. A mask of
# an image is (B, 1, 1, F) bool, true on a recording's own frames.


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


# Residual blocks on spectrograms (He, Zhang, Ren, Sun, CVPR 2016, arXiv 1512.03385, figure 5).
#
# Parameters have the names of WeSpeaker's and 3D-Speaker's.

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


# From frames to one vector per recording: attentive statistics pooling over a recording's own frames.

VARIANCE_FLOOR = 1e-5
"""Smallest variance whose root is taken: below it the gradient of the root would explode, and in float32 the difference
of two squares is no longer a variance."""

SMALLEST_VARIANCE = 1e-12
"""Of an unbiased deviation: without any, the gradient of a root of 0 would be no number."""


class AttentiveStatisticsPooling(nn.Module):
    """Channel- and context-dependent attentive statistics pooling (Desplanques et al. 2020, eqs. 1 to 5).

    Every channel has its own attention over time, computed from the frame and from the recording's global mean and
    standard deviation. The global part is the same for all frames, so its product with the weights is taken once.

    Args:
        channels: C of the input.
        bottleneck: width of the attention's hidden layer.
        global_context: whether the attention sees the global part.
        norm: whether the hidden layer has ReLU and batch normalisation before its tanh.
        variance_floor: smallest variance whose root is taken. Below `VARIANCE_FLOOR`, moments are taken about the
            recording's mean, which makes them exact enough and costs a copy of the input.
        unbiased_context: whether the deviation in the global part is the root of the unbiased variance plus the floor.
    """

    def __init__(
        self,
        channels: int,
        bottleneck: int = 128,
        global_context: bool = True,
        norm: bool = False,
        variance_floor: float = VARIANCE_FLOOR,
        unbiased_context: bool = False,
    ) -> None:
        super().__init__()
        self.variance_floor, self.unbiased_context = variance_floor, unbiased_context
        self.frame = FrameConv(channels, bottleneck)
        self.context = FrameConv(2 * channels, bottleneck, bias=False) if global_context else None
        self.norm = FrameNorm(bottleneck) if norm else None
        self.attention = FrameConv(bottleneck, channels)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return the weighted mean and standard deviation, (B, 2 C), of `x` (B, F, C) inside `mask` (B, F, 1)."""
        around, centre, context = x, None, None
        # Second moments lose the variance in half precision.
        with torch.autocast(x.device.type, enabled=False):
            if self.variance_floor < VARIANCE_FLOOR:
                centre = frame_mean(x.detach().float(), mask)
                around = x.float() - centre
            if self.context is not None:
                context = self._global_part(around, centre, mask)
        hidden = self.frame(x)
        if self.context is not None:
            hidden = hidden + self.context(context)
        if self.norm is not None:
            hidden = self.norm(F.relu(hidden))
        scores = self.attention(torch.tanh(hidden))
        with torch.autocast(x.device.type, enabled=False):
            mean, mean_square = attended_moments(around, scores, mask)
            variance = (mean_square - mean.square()).clamp(min=self.variance_floor)
            return _mean_and_deviation(mean, variance, centre).squeeze(1)

    def _global_part(self, around: Tensor, centre: Tensor | None, mask: Tensor | None) -> Tensor:
        """Return the mean and standard deviation of each channel, (B, 1, 2 C)."""
        mean, mean_square = plain_moments(around, mask)
        variance = mean_square - mean.square()
        if self.unbiased_context:
            frames = around.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
            variance = variance.clamp(min=0.0) * (frames / (frames - 1)) + self.variance_floor
        else:
            variance = variance.clamp(min=self.variance_floor)
        return _mean_and_deviation(mean, variance, centre)


def _mean_and_deviation(mean: Tensor, variance: Tensor, centre: Tensor | None) -> Tensor:
    """Return both, (B, 1, 2 C), from the first moment about a centre and the variance, (B, 1, C)."""
    return torch.cat([mean if centre is None else mean + centre, variance.sqrt()], dim=2)


def mean_and_deviation(x: Tensor, mask: Tensor | None, added_variance: float = 0.0) -> Tensor:
    """Return the mean and the unbiased standard deviation of `x` (B, F, C) over its frames, (B, 2 C) float32.

    The gradient is finite also where a channel never moves.

    Args:
        x: in any precision; at least two frames of each recording count.
        mask: (B, F, 1) bool, the frames that count; all of them when absent.
        added_variance: what is added to the variance before its root is taken.
    """
    with torch.autocast(x.device.type, enabled=False):
        x = x.float()
        frames = x.shape[1] if mask is None else mask.sum(dim=1, keepdim=True)
        mean = frame_mean(x, mask)
        # about the mean: the difference of two moments loses the small deviations that ReLU leaves
        variance = frame_mean(apply_mask(x - mean, mask).square(), mask) * (frames / (frames - 1))
        deviation = (variance + added_variance).clamp(min=SMALLEST_VARIANCE).sqrt()
        return torch.cat([mean, deviation], dim=2).squeeze(1)
