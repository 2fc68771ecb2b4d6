import dataclasses
from typing import Any

import pytest
import torch

from voxanchor.errors import ModelError
from voxanchor.models.foreign.wespeaker import RESNETS
from voxanchor.models.frontend import FbankConfig
from voxanchor.models.layers import frame_mask
from voxanchor.models.resnet import ResNet, ResNetConfig

SMALL = ResNetConfig(m_channels=4, blocks=(1, 2, 1, 1), embedding_dim=12)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("name", "millions"), [("ResNet34", 6.63), ("ResNet221", 23.8), ("ResNet293", 28.6)])
def test_size_is_the_published_one(name: str, millions: float) -> None:
    block, blocks = RESNETS[name]
    network = ResNet(ResNetConfig(block=block, blocks=blocks))
    count = sum(weight.numel() for weight in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


@pytest.mark.parametrize("change", [{"block": "bottleneck"}, {"two_emb_layer": True}])
def test_padding_changes_nothing_whatever_it_is_made_of(change: dict[str, Any]) -> None:
    network = ResNet(dataclasses.replace(SMALL, **change))
    for seed in range(3):
        network.encode(noise(4, 60, 80, seed=seed))
    network.eval()
    features, frames = noise(3, 91, 80), torch.tensor([91, 28, 60])
    mask = frame_mask(frames, 91)
    together, _ = network.encode(torch.where(mask, features, 1e4 * noise(3, 91, 80, seed=4)), mask)
    for row, count in enumerate(frames.tolist()):
        alone, _ = network.encode(features[row : row + 1, :count])
        torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-5)


def test_the_second_layer_follows_the_first() -> None:
    one, two = ResNet(SMALL).eval(), ResNet(dataclasses.replace(SMALL, two_emb_layer=True)).eval()
    two.load_state_dict(one.state_dict(), strict=False)
    features = noise(2, 40, 80)
    expected = two.seg_2(two.seg_bn_1(one.encode(features)[0].relu()))
    torch.testing.assert_close(two.encode(features)[0], expected)


@pytest.mark.parametrize(
    "change", [{"m_channels": 0}, {"blocks": (1, 0, 1, 1)}, {"embedding_dim": 0}, {"fbank": FbankConfig(n_mels=44)}]
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="resnet"):
        ResNet(dataclasses.replace(SMALL, **change))
