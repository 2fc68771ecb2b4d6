import dataclasses
from typing import Any

import pytest
import torch

from voxanchor.errors import ModelError
from voxanchor.models.eres2net import ERes2Net, ERes2NetConfig, Fusion, Res2Block, bounded
from voxanchor.models.frontend import FbankConfig
from voxanchor.models.layers import frame_mask

SMALL = ERes2NetConfig(m_channels=8, blocks=(1, 1, 1, 1), embedding_dim=12)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("m_channels", "millions"), [(32, 6.61), (64, 22.46)])
def test_size_is_the_published_one(m_channels: int, millions: float) -> None:
    network = ERes2Net(ERes2NetConfig(m_channels=m_channels))
    count = sum(weight.numel() for weight in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_padding_changes_nothing_with_more_groups() -> None:
    network = ERes2Net(dataclasses.replace(SMALL, base_width=40, scale=3, expansion=4))
    for seed in range(3):
        network.encode(noise(4, 60, 80, seed=seed))
    network.eval()
    features, frames = noise(3, 91, 80), torch.tensor([91, 28, 60])
    mask = frame_mask(frames, 91)
    together, _ = network.encode(torch.where(mask, features, 1e4 * noise(3, 91, 80, seed=4)), mask)
    for row, count in enumerate(frames.tolist()):
        alone, _ = network.encode(features[row : row + 1, :count])
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("fused", [False, True])
def test_groups_see_the_groups_before_them(fused: bool) -> None:
    block = Res2Block(16, 16, (1, 1), base_width=16, scale=4, expansion=1, fused=fused).eval()
    for conv in (block.conv1, block.conv3):
        torch.nn.init.dirac_(conv.weight)  # what goes in comes out
    x = noise(1, 16, 8, 9).abs()
    changed = x.clone()
    changed[:, 4:8] += 1.0  # the second of four groups
    before, after = (block(image)[0] - image for image in (x, changed))
    difference = (after - before).abs().view(4, -1).amax(dim=1)
    assert difference[0] < 1e-6
    assert (difference[1:] > 1e-3).all()


def test_fusion_weights_add_up_to_two() -> None:
    fusion = Fusion(8).eval()
    x = noise(2, 8, 4, 5)
    torch.testing.assert_close(fusion(x, x), 2 * x)
    y = noise(2, 8, 4, 5, seed=1)
    attention = torch.tanh(fusion.local_att(torch.cat([x, y], dim=1)))
    torch.testing.assert_close(fusion(x, y), (1 + attention) * x + (1 - attention) * y)


def test_activations_have_a_ceiling() -> None:
    assert bounded(torch.tensor([-1.0, 3.0, 25.0])).tolist() == [0.0, 3.0, 20.0]


@pytest.mark.parametrize(
    "change",
    [{"m_channels": 0}, {"scale": 0}, {"base_width": 4}, {"blocks": (0, 1, 1, 1)}, {"fbank": FbankConfig(n_mels=44)}],
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="eres2net"):
        ERes2Net(dataclasses.replace(SMALL, **change))
