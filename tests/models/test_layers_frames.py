"""Layers on frames beside torch's own, whichever kernel takes them."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from voxanchor.models.layers import FrameConv, FrameNorm, Padding, frame_mask, join_channels, split_channels


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(1, 1, 8), (4, 1, 8), (1, 50, 8), (1, 4_000, 8), (2, 50, 8), (20, 300, 8)])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 4), (5, 1)])
@pytest.mark.parametrize("bias", [True, False])
def test_agrees_with_a_convolution_over_time(
    shape: tuple[int, int, int], kernel_size: int, dilation: int, bias: bool
) -> None:
    torch.manual_seed(0)
    layer = FrameConv(8, 5, kernel_size, dilation, bias=bias)
    x = noise(*shape).requires_grad_()
    ours = layer(x)
    padding = dilation * (kernel_size // 2)
    theirs = F.conv1d(x.transpose(1, 2), layer.weight, layer.bias, padding=padding, dilation=dilation).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.unfolded(x), theirs, rtol=1e-4, atol=1e-5)
    weights = noise(*ours.shape, seed=1)
    gradients = [
        torch.autograd.grad((y * weights).sum(), [*layer.parameters(), x], retain_graph=True) for y in (ours, theirs)
    ]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 9, 8), (1, 4_000, 8), (3, 50, 8)])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(1, 1), (3, 1), (3, 4), (5, 1)])
def test_mirrored_frames_are_those_of_torch(shape: tuple[int, int, int], kernel_size: int, dilation: int) -> None:
    layer = FrameConv(8, 5, kernel_size, dilation, padding="reflect")
    padding = dilation * (kernel_size // 2)
    plain = nn.Conv1d(8, 5, kernel_size, dilation=dilation, padding=padding, padding_mode="reflect")
    plain.load_state_dict(layer.state_dict())
    x = noise(*shape).requires_grad_()
    ours, theirs = layer(x), plain(x.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weights = noise(*ours.shape, seed=1)
    for one, other in zip(*(torch.autograd.grad((y * weights).sum(), x) for y in (ours, theirs)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("padding", ["zeros", "reflect"])
@pytest.mark.parametrize(("kernel_size", "dilation"), [(3, 1), (3, 4), (5, 1)])
@pytest.mark.parametrize("total", [9, 40, 4_000])
def test_no_frame_sees_past_the_end_of_its_recording(
    padding: Padding, kernel_size: int, dilation: int, total: int
) -> None:
    layer = FrameConv(8, 5, kernel_size, dilation, padding=padding)
    frames = [total, 5, 7]
    x = noise(3, total, 8)
    alone = [x[row : row + 1, :count].clone() for row, count in enumerate(frames)]
    for row, count in enumerate(frames):
        x[row, count:] = 1e6 * noise(total - count, 8, seed=2)
    made = layer(x, frame_mask(torch.tensor(frames), total))
    for row, count in enumerate(frames):
        torch.testing.assert_close(made[row, :count], layer(alone[row])[0], rtol=1e-5, atol=1e-5)
        shorter = layer(x[row : row + 1], frame_mask(torch.tensor([count]), total))  # by whichever kernel takes one
        torch.testing.assert_close(shorter[0, :count], made[row, :count], rtol=1e-5, atol=1e-5)


def test_its_state_is_that_of_a_convolution() -> None:
    plain = nn.Conv1d(8, 5, 3, dilation=2, padding=2)
    layer = FrameConv(8, 5, 3, 2)
    layer.load_state_dict(plain.state_dict())
    x = noise(3, 40, 8)
    torch.testing.assert_close(layer(x), plain(x.transpose(1, 2)).transpose(1, 2), rtol=1e-4, atol=1e-5)


def test_batch_normalisation_agrees_with_torch() -> None:
    ours, plain = FrameNorm(6), nn.BatchNorm1d(6)
    x = noise(4, 30, 6) * 3 + 1
    for _ in range(2):
        torch.testing.assert_close(ours(x), plain(x.transpose(1, 2)).transpose(1, 2))
    for (name, one), other in zip(ours.state_dict().items(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(one, other, msg=name)
    torch.testing.assert_close(ours.eval()(x), plain.eval()(x.transpose(1, 2)).transpose(1, 2))


def test_channels_are_split_and_joined() -> None:
    x = noise(2, 5, 12).requires_grad_()
    split = split_channels(x, 4)
    assert split.shape == (4, 2, 5, 3)
    for group, expected in zip(split, x.chunk(4, dim=2), strict=True):
        assert torch.equal(group, expected)
        assert group.is_contiguous()
    joined = join_channels(split)
    assert torch.equal(joined, x)
    weights = noise(2, 5, 12, seed=1)
    (gradient,) = torch.autograd.grad((joined * joined * weights).sum(), x)
    torch.testing.assert_close(gradient, 2 * x.detach() * weights)
