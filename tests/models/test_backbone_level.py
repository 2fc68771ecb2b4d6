"""A recording's gain and offset say nothing about who speaks: no network hears them, but for models of before."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from voxanchor.audio.snr import active_level_db
from voxanchor.errors import ModelError
from voxanchor.models import artefact
from voxanchor.models.backbone import AS_IT_COMES, InputConfig, normalise, wanted_by
from voxanchor.models.encoder import ARCHITECTURES, EncoderConfig, SpeakerEncoder

NETWORKS: dict[str, tuple[str, dict[str, Any]]] = {
    "ecapa": ("ecapa", {"channels": 16, "embedding_dim": 12}),
    "ecapa, SpeechBrain's features": (
        "ecapa",
        {"channels": 16, "embedding_dim": 12, "fbank": {"top_db": 80.0, "n_mels": 40}},
    ),
    "resnet": ("resnet", {"m_channels": 4, "blocks": [1, 1, 1, 1], "embedding_dim": 12}),
    "campplus, full scale at 1": (
        "campplus",
        {"growth_rate": 4, "bn_size": 2, "init_channels": 16, "embedding_dim": 12, "fbank": {"scale": 1.0}},
    ),
    "eres2net": ("eres2net", {"m_channels": 4, "embedding_dim": 12}),
    "ge2e": ("ge2e", {}),
}
every_network = pytest.mark.parametrize("name", NETWORKS)


def encoder_of(name: str) -> SpeakerEncoder:
    architecture, options = NETWORKS[name]
    return SpeakerEncoder(EncoderConfig(architecture, options), seed=1).eval()


def talk(seed: int = 0, samples: int = 32_000) -> Tensor:
    """Bursts of noise with pauses, of which one is digital silence, as a noise gate leaves it."""
    draw = torch.Generator().manual_seed(seed)
    syllables = torch.rand(1, samples // 1_600 + 1, generator=draw).repeat_interleave(1_600, dim=1)[:, :samples]
    wave = 0.05 * syllables * torch.randn(1, samples, generator=draw)
    wave[:, 16_000:20_000] = 0.0
    return wave


def test_every_network_that_can_be_built_here_is_in_the_sweep() -> None:
    assert {architecture for architecture, _ in NETWORKS.values()} == set(ARCHITECTURES) - {"python", "transformers"}


@every_network
@settings(max_examples=8, deadline=None)
@given(gain_db=st.floats(-60, 26), seed=st.integers(0, 2))
def test_gain_changes_no_embedding(name: str, gain_db: float, seed: int) -> None:
    encoder, wave = encoder_of(name), talk(seed)
    with torch.no_grad():
        plain, louder = encoder(wave), encoder(wave * 10.0 ** (gain_db / 20.0))
    torch.testing.assert_close(plain, louder, atol=2e-4, rtol=0)


@every_network
@settings(max_examples=6, deadline=None)
@given(offset=st.floats(-0.1, 0.1), seed=st.integers(0, 2))
def test_an_offset_changes_no_embedding(name: str, offset: float, seed: int) -> None:
    encoder, wave = encoder_of(name), talk(seed)
    with torch.no_grad():
        plain, shifted = encoder(wave), encoder(wave + offset)
    assert float((plain * shifted).sum()) > 0.995


@settings(max_examples=20, deadline=None)
@given(lengths=st.lists(st.integers(1, 40_000), min_size=1, max_size=4), gain_db=st.floats(-60, 20))
def test_padding_has_no_part_in_the_level(lengths: list[int], gain_db: float) -> None:
    config, gain = InputConfig(-30.0, high_pass=True), 10.0 ** (gain_db / 20.0)
    waves = torch.cat([gain * talk(row, max(lengths) + 500) for row in range(len(lengths))])
    together = normalise(waves, torch.tensor(lengths), config)
    for row, length in enumerate(lengths):
        alone = normalise(waves[row : row + 1, :length], None, config)[0]
        torch.testing.assert_close(together[row, :length], alone, atol=1e-5, rtol=1e-3)
        if alone.abs().max() > 0:
            assert active_level_db(alone.numpy()) == pytest.approx(-30.0, abs=0.1)


def test_silence_stays_silence() -> None:
    assert not normalise(torch.full((2, 8_000), 0.25), None, InputConfig(-30.0, high_pass=True)).any()
    assert torch.equal(normalise(talk(), None, AS_IT_COMES), talk())


@pytest.mark.parametrize("level_db", [-101.0, 0.5, float("nan")])
def test_a_level_that_no_speech_has_is_refused(level_db: float) -> None:
    with pytest.raises(ModelError, match="level_db"):
        InputConfig(level_db)


def test_models_of_before_are_what_they_were(tmp_path: Path) -> None:
    before = SpeakerEncoder(EncoderConfig("ge2e", input=AS_IT_COMES))
    with torch.no_grad():
        for weight in before.state_dict().values():
            weight.fill_(0.5)
    assert before.fingerprint == "33b36d222ac00456"  # by the code that knew no level
    before.save(tmp_path)
    assert "input" not in json.loads((tmp_path / artefact.CONFIG_NAME).read_text())
    loaded = SpeakerEncoder.load(tmp_path)
    assert (loaded.fingerprint, loaded.hears_level) == (before.fingerprint, True)
    assert torch.equal(loaded.normalised(talk()), talk())


@every_network
def test_of_models_of_before_one_network_hears_level(name: str) -> None:
    architecture, options = NETWORKS[name]
    before = SpeakerEncoder(EncoderConfig(architecture, options, input=AS_IT_COMES))
    assert before.hears_level == (architecture == "ge2e")
    assert not encoder_of(name).hears_level


def test_a_model_keeps_what_it_does_to_its_input(tmp_path: Path) -> None:
    encoder = encoder_of("ge2e")
    encoder.save(tmp_path)
    loaded = SpeakerEncoder.load(tmp_path)
    assert loaded.config.input == InputConfig(-30.0, high_pass=True)
    assert (loaded.fingerprint, loaded.hears_level) == (encoder.fingerprint, False)
    assert "-30 dB" in str(loaded.config.input)


class Powers(nn.Module):
    """Hears powers of eight stretches of a recording: level and offset."""

    def forward(self, waves: Tensor) -> Tensor:
        stretches = waves[:, : waves.shape[1] // 8 * 8].reshape(len(waves), 8, -1)
        return torch.cat([stretches.square().mean(dim=2), torch.full((len(waves), 1), 1e-4)], dim=1)


@pytest.mark.parametrize(
    ("centred", "scaled", "wanted"),
    [
        (False, False, InputConfig(-26.0, high_pass=True)),
        (True, False, InputConfig(-26.0)),
        (True, True, AS_IT_COMES),
    ],
)
def test_what_an_unknown_network_hears_is_found_out(centred: bool, scaled: bool, wanted: InputConfig) -> None:
    def embed(waves: Tensor) -> Tensor:
        heard = waves - waves.mean(dim=1, keepdim=True) if centred else waves
        heard = heard / heard.std(dim=1, keepdim=True) if scaled else heard
        found: Tensor = Powers()(heard)
        return found

    assert wanted_by(embed, 16_000) == wanted


def test_little_is_much_to_a_network_that_holds_all_sounds_alike() -> None:
    torch.manual_seed(3)
    weights = torch.randn(40, 64)

    def embed(waves: Tensor) -> Tensor:
        power = torch.stft(waves, 400, 160, window=torch.hann_window(400), return_complex=True).abs().square()
        bands = power[:, 1:].reshape(len(waves), 40, 5, -1).mean(dim=2)
        features = torch.log(bands + 1e-6)  # a floor that quiet speech reaches
        features = features - features.mean(dim=2, keepdim=True)
        return torch.cat(
            [torch.tanh(features.transpose(1, 2) @ weights).mean(dim=1), torch.full((len(waves), 1), 5.0)], 1
        )

    assert wanted_by(embed, 32_000).level_db == -26.0
