"""The product of every frame with one matrix, whichever kernel takes it."""

import pytest
import torch
from torch.nn import functional as F

from voxanchor.models.pointwise import Pointwise


@pytest.mark.parametrize("shape", [(1, 8, 1), (4, 8, 1), (1, 8, 50), (1, 8, 4_000), (2, 8, 50), (20, 8, 300)])
@pytest.mark.parametrize("bias", [True, False])
def test_each_frame_is_multiplied(shape: tuple[int, int, int], bias: bool) -> None:
    torch.manual_seed(0)
    layer, x = Pointwise(8, 5, bias=bias), torch.randn(shape, requires_grad=True)
    ours = layer(x)
    frames = F.linear(x.transpose(1, 2), layer.weight[:, :, 0], layer.bias).transpose(1, 2)
    torch.testing.assert_close(ours, frames)
    weights = torch.randn_like(ours)
    gradients = [torch.autograd.grad((y * weights).sum(), [x, layer.weight], retain_graph=True) for y in (ours, frames)]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_its_state_is_that_of_a_convolution() -> None:
    plain = torch.nn.Conv1d(8, 5, 1)
    layer = Pointwise(8, 5)
    layer.load_state_dict(plain.state_dict())
    x = torch.randn(3, 8, 40)
    torch.testing.assert_close(layer(x), plain(x))
