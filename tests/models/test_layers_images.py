import pytest
import torch
from torch import nn

from voxanchor.errors import ModelError
from voxanchor.models.layers import (
    ImageConv,
    as_frames,
    as_image,
    frame_mask,
    frames_mask,
    frequencies_left,
    image_mask,
    strided,
)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_frames_become_an_image_and_an_image_frames() -> None:
    features = noise(2, 7, 8)
    image = as_image(features)
    assert image.shape == (2, 1, 8, 7)
    assert torch.equal(as_frames(image), features)
    channels = noise(2, 3, 4, 5)
    assert torch.equal(as_frames(channels)[1, 2], channels[1, :, :, 2].flatten())


# few channels too: the backward pass of a strided 1x1 convolution of them, channels last, takes the process with it
@pytest.mark.parametrize(("inputs", "outputs"), [(1, 4), (4, 8), (8, 16), (16, 8), (32, 64)])
@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1), (2, 2)])
def test_agrees_with_a_strided_convolution(
    inputs: int, outputs: int, kernel_size: int, stride: tuple[int, int]
) -> None:
    layer = ImageConv(inputs, outputs, kernel_size, stride)
    plain = nn.Conv2d(inputs, outputs, kernel_size, stride, kernel_size // 2, bias=False)
    plain.load_state_dict(layer.state_dict())
    x = noise(3, inputs, 24, 31)
    last = x.contiguous(memory_format=torch.channels_last).requires_grad_()
    first = x.clone().requires_grad_()
    ours, theirs = layer(last), plain(first)
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    weights = noise(*ours.shape, seed=1)
    ours_gradients = torch.autograd.grad((ours * weights).sum(), (last, layer.weight))
    theirs_gradients = torch.autograd.grad((theirs * weights).sum(), (first, plain.weight))
    for one, other in zip(ours_gradients, theirs_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
    # gradients in another order than what they are of take batch normalisation ten times as long
    assert ours_gradients[0].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("kernel_size", [1, 3])
@pytest.mark.parametrize("step", [1, 2])
def test_no_pixel_sees_past_the_end_of_its_recording(kernel_size: int, step: int) -> None:
    layer = ImageConv(2, 5, kernel_size, (1, step))
    frames = torch.tensor([12, 1, 6, 7])
    x = noise(4, 2, 8, 12)
    mask = image_mask(frame_mask(frames, 12))
    assert mask is not None
    wild = torch.where(mask, x, 1e6 * noise(4, 2, 8, 12, seed=2))
    made = layer(wild, mask)
    after = frames_mask(strided(mask, step))
    assert after is not None
    assert after.sum(dim=1).flatten().tolist() == [(n - 1) // step + 1 for n in frames.tolist()]
    for row, count in enumerate(frames.tolist()):
        alone = layer(x[row : row + 1, :, :, :count])[0]
        torch.testing.assert_close(made[row, :, :, : alone.shape[2]], alone, rtol=1e-5, atol=1e-5)
        assert alone.shape[2] == after[row].sum()


def test_without_padding_there_is_no_mask() -> None:
    assert image_mask(None) is frames_mask(None) is strided(None, 2) is None


def test_frequencies_that_cannot_be_halved_are_refused() -> None:
    assert frequencies_left(80, "resnet") == 10
    with pytest.raises(ModelError, match="resnet: 60 mel filters"):
        frequencies_left(60, "resnet")
