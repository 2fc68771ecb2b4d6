import dataclasses
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from voxanchor.errors import ModelError
from voxanchor.models.campplus import CamLayer, CamPlusPlus, CamPlusPlusConfig, Segments, segment_sums
from voxanchor.models.frontend import FbankConfig
from voxanchor.models.layers import frame_mask

SMALL = CamPlusPlusConfig(growth_rate=4, bn_size=2, init_channels=8, m_channels=4, embedding_dim=12)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_size_is_the_published_one() -> None:
    count = sum(weight.numel() for weight in CamPlusPlus(CamPlusPlusConfig()).parameters())
    assert count / 1e6 == pytest.approx(7.18, abs=0.02)


@pytest.mark.parametrize("frames", [1, 99, 100, 101, 250])
def test_segments_are_those_of_a_pooling_that_rounds_up(frames: int) -> None:
    x = noise(2, frames, 3)
    expected = F.avg_pool1d(x.transpose(1, 2), 100, 100, ceil_mode=True).transpose(1, 2)
    segments = Segments.of(x, None)
    torch.testing.assert_close(segment_sums(x) / segments.counts, expected, rtol=1e-5, atol=1e-6)
    assert segments.total.item() == pytest.approx(frames)


def test_the_gates_follow_from_the_recording_and_the_segment() -> None:
    layer, x = CamLayer(6, 4, dilation=2), noise(2, 230, 6)
    frames = torch.tensor([230, 130])
    mask = frame_mask(frames, 230)
    made = layer(torch.where(mask, x, 1e3), Segments.of(x, mask))
    for row, count in enumerate(frames.tolist()):
        own = x[row, :count]
        parts = torch.split(own, 100)
        means = torch.cat([part.mean(dim=0).expand(len(part), -1) for part in parts])
        context = own.mean(dim=0) + means
        gates = torch.sigmoid(layer.linear2(F.relu(layer.linear1(context))))
        torch.testing.assert_close(made[row, :count], layer.linear_local(own[None])[0] * gates, rtol=1e-4, atol=1e-5)


def test_what_is_added_to_the_variance_counts_where_a_channel_never_moves() -> None:
    features, embeddings = noise(1, 120, 80), []
    state = CamPlusPlus(SMALL).state_dict()
    state["xvector.out_nonlinear.batchnorm.bias"] -= 1e6  # ReLU leaves nothing of any channel
    for added in (0.0, 1e-7):
        network = CamPlusPlus(dataclasses.replace(SMALL, added_variance=added)).eval()
        network.load_state_dict(state)
        embedding, frames = network.encode(features)
        assert not frames.any()
        dense: Any = network.xvector["dense"]
        deviations = torch.cat([torch.zeros(63), torch.full((63,), max(added, 1e-12) ** 0.5)])
        torch.testing.assert_close(embedding, dense(deviations[None]), rtol=1e-4, atol=1e-8)
        embeddings.append(embedding)
    assert (embeddings[0] - embeddings[1]).abs().max() > 1e-5


def test_the_gradient_is_finite_where_a_channel_never_moves() -> None:
    network = CamPlusPlus(dataclasses.replace(SMALL, added_variance=0.0)).eval()
    with torch.no_grad():
        network.state_dict()["xvector.out_nonlinear.batchnorm.bias"][:3] = -1e6
    weights = dict(network.named_parameters())
    gradients = torch.autograd.grad(network.encode(noise(2, 120, 80))[0].sum(), list(weights.values()))
    for name, gradient in zip(weights, gradients, strict=True):
        assert gradient.isfinite().all(), name


@pytest.mark.parametrize(
    "change",
    [
        {"growth_rate": 0},
        {"embedding_dim": 0},
        {"growth_rate": 3, "bn_size": 1},
        {"added_variance": -1e-7},
        {"fbank": FbankConfig(n_mels=44)},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="campplus"):
        CamPlusPlus(dataclasses.replace(SMALL, **change))
