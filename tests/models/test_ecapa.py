import dataclasses
from typing import Any

import pytest
import torch

from voxanchor.config import build, to_plain
from voxanchor.errors import ModelError
from voxanchor.models.ecapa import ConvBlock, Ecapa, EcapaConfig, Res2Conv, SqueezeExcitation
from voxanchor.models.frontend import DecibelFbankConfig, FbankConfig
from voxanchor.models.layers import frame_mask

SMALL = EcapaConfig(channels=32, embedding_dim=24, se_bottleneck=8, attention_bottleneck=8)

OTHERS: dict[str, dict[str, Any]] = {
    "speechbrain": {
        "fbank": DecibelFbankConfig(),
        "summed_inputs": False,
        "padding": "reflect",
        "mfa_norm": True,
        "attention_norm": True,
        "variance_floor": 1e-12,
        "embedding_norm": False,
    },
    "wespeaker": {
        "summed_inputs": False,
        "global_context": False,
        "variance_floor": 1e-7,
        "embedding_norm": False,
    },
    "wespeaker, global context": {"summed_inputs": False, "unbiased_context": True, "variance_floor": 1e-7},
}
"""What other toolkits do otherwise."""

others = pytest.mark.parametrize("change", OTHERS.values(), ids=OTHERS.keys())


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def settle(network: Ecapa) -> Ecapa:
    """Give batch normalisation statistics of its own, so that eval mode is not an identity there."""
    for _ in range(3):
        network(noise(8, 8_000) * 0.1)
    return network.eval()


@pytest.mark.parametrize(("channels", "millions"), [(512, 6.2), (1024, 14.7)])
def test_size_is_that_of_the_paper(channels: int, millions: float) -> None:
    network = Ecapa(EcapaConfig(channels=channels, mfa_channels=1536))
    count = sum(parameter.numel() for parameter in network.parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


def test_default_aggregation_width_is_three_times_the_channels() -> None:
    assert Ecapa(SMALL).mfa.out_channels == 96


def test_res2_groups_see_the_groups_before_them() -> None:
    res2 = Res2Conv(8, scale=4, dilation=2).eval()
    x = noise(1, 30, 8)
    changed = x.clone()
    changed[:, 15, 2:4] += 1.0  # the second of four groups
    difference = (res2(changed) - res2(x)).abs().view(30, 4, 2).amax(dim=(0, 2))
    assert difference[0] == 0
    assert (difference[1:] > 0).all()
    assert torch.equal(res2(x)[..., :2], x[..., :2])


def test_squeeze_excitation_gives_one_gate_for_each_channel_of_a_recording() -> None:
    x = noise(2, 20, 6)
    layer = SqueezeExcitation(6, 3)
    gates = layer(x)
    assert gates.shape == (2, 1, 6)
    assert ((gates > 0) & (gates < 1)).all()
    torch.testing.assert_close(layer(x.mean(dim=1, keepdim=True)), gates)  # of the mean alone


def test_convolution_does_not_look_past_the_end() -> None:
    block = ConvBlock(3, 4, kernel_size=5).eval()
    x = noise(1, 20, 3)
    padded = torch.cat([x, torch.full((1, 7, 3), 9.0)], dim=1)
    masked = block(padded, frame_mask(torch.tensor([20]), 27))
    torch.testing.assert_close(masked[:, :20], block(x))


def test_padding_changes_nothing_once_normalisation_has_statistics() -> None:
    network = settle(Ecapa(SMALL))
    lengths = torch.tensor([16_000, 4_800, 9_999])
    waves = noise(3, 16_000, seed=1) * 0.1
    with torch.no_grad():
        together = network(waves, lengths)
        for row, length in enumerate(lengths.tolist()):
            alone = network(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)


@others
def test_padding_changes_nothing_whatever_is_done_otherwise(change: dict[str, Any]) -> None:
    network = settle(Ecapa(dataclasses.replace(SMALL, **change)))
    lengths = torch.tensor([16_000, 4_800, 9_999])
    waves = noise(3, 16_000, seed=1) * 0.1
    padded = waves.clone()
    padded[1, 4_800:], padded[2, 9_999:] = torch.nan, 1e3 * noise(6_001, seed=2)
    frames = torch.tensor([90, 31, 60])
    features = noise(3, 90, 80, seed=3)
    wild = features.masked_fill(~frame_mask(frames, 90), 1.0)
    wild = torch.where(frame_mask(frames, 90), wild, 1e4 * noise(3, 90, 80, seed=4))
    with torch.no_grad():
        together = network(padded, lengths)
        encoded, _ = network.encode(wild, frame_mask(frames, 90))
        for row, (length, count) in enumerate(zip(lengths.tolist(), frames.tolist(), strict=True)):
            alone = network(waves[row : row + 1, :length])[0]
            torch.testing.assert_close(together[row], alone, atol=1e-5, rtol=1e-5)
            alone = network.encode(features[row : row + 1, :count])[0][0]
            torch.testing.assert_close(encoded[row], alone, atol=1e-5, rtol=1e-5)
    assert (together[0] - together[1:]).abs().amax(dim=1).min() > 0.01


def test_the_level_of_a_recording_does_not_matter() -> None:
    network = settle(Ecapa(SMALL))
    waves = noise(2, 8_000, seed=2) * 0.3
    torch.testing.assert_close(network(waves), network(waves * 0.1), atol=1e-3, rtol=1e-3)


def test_padding_in_training_is_refused() -> None:
    with pytest.raises(ModelError, match="same length"):
        Ecapa(SMALL)(noise(2, 8_000), torch.tensor([8_000, 6_000]))


@pytest.mark.parametrize("change", [{}, *OTHERS.values()], ids=["default", *OTHERS])
def test_every_weight_gets_a_gradient(change: dict[str, Any]) -> None:
    network = Ecapa(dataclasses.replace(SMALL, **change))
    (network(noise(4, 8_000)) * noise(4, 24, seed=3)).sum().backward()
    missing = [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()]
    # A bias just before a normalisation that removes the mean has a gradient of 0 up to rounding.
    assert [name for name in missing if not name.endswith("bias")] == []


def test_what_was_made_before_the_later_options_is_what_it_was() -> None:
    # fingerprints are taken over this form
    assert to_plain(SMALL) == {
        "channels": 32,
        "embedding_dim": 24,
        "mfa_channels": 0,
        "res2_scale": 8,
        "se_bottleneck": 8,
        "attention_bottleneck": 8,
        "fbank": to_plain(FbankConfig()),
    }
    names = {name.rpartition(".")[0] for name, _ in Ecapa(SMALL).named_parameters() if "blocks" not in name}
    pooling = {"pooling.frame", "pooling.context", "pooling.attention"}
    assert names == pooling | {"stem.conv", "stem.norm", "mfa", "pooled_norm", "projection", "embedding_norm"}


@others
def test_what_is_done_otherwise_is_written_down(change: dict[str, Any]) -> None:
    config = dataclasses.replace(SMALL, **change)
    plain = to_plain(config)
    assert plain.keys() >= change.keys()
    assert build(EcapaConfig, plain) == config


@pytest.mark.parametrize("name", ["summed_inputs", "mfa_norm", "attention_norm", "global_context", "embedding_norm"])
def test_every_later_option_makes_another_network(name: str) -> None:
    usual = settle(Ecapa(SMALL))
    change: dict[str, Any] = {name: not getattr(SMALL, name)}
    other = settle(Ecapa(dataclasses.replace(SMALL, **change)))
    other.load_state_dict(usual.state_dict(), strict=False)
    features = noise(1, 50, 80)
    assert (usual.encode(features)[0] - other.encode(features)[0]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "change", [{"channels": 30}, {"res2_scale": 1}, {"embedding_dim": 0}, {"mfa_channels": -1}, {"variance_floor": 0.0}]
)
def test_impossible_widths_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="ecapa"):
        Ecapa(EcapaConfig(**{"channels": 32, **change}))
