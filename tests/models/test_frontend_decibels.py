import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.config import build, to_plain
from voxanchor.errors import ModelError, RecipeError
from voxanchor.models.ecapa import EcapaConfig
from voxanchor.models.frontend import DecibelFbank, DecibelFbankConfig, Fbank, FbankConfig, make_front_end
from voxanchor.types import FloatArray, Waveform

RAW = DecibelFbankConfig(mean_normalise=False)


def voice_like(samples: int, seed: int) -> Waveform:
    """Noise with a level that moves over 60 dB, and a DC offset."""
    generator = np.random.default_rng(seed)
    level = 10 ** (-1.5 + 1.5 * np.sin(np.arange(samples) / 1_500 + seed))
    return (0.05 * level * generator.standard_normal(samples) + 1e-3).astype(np.float32)


def written_out(wave: Waveform, n_mels: int, top_db: float) -> FloatArray:
    """The definition in float64, a frame and a filter at a time."""
    padded = np.pad(wave.astype(np.float64), 200)
    window = 0.54 - 0.46 * np.cos(2 * np.pi * np.arange(400) / 400)
    mels = np.linspace(0, 2595 * np.log10(1 + 8_000 / 700), n_mels + 2)
    edges_hz = 700 * (10 ** (mels / 2595) - 1)
    bins_hz = np.arange(201) * 40.0
    frames = []
    for start in range(0, len(wave) + 1, 160):
        power = np.abs(np.fft.rfft(padded[start : start + 400] * window)) ** 2
        frame = []
        for below, centre in itertools.pairwise(edges_hz[:-1]):
            slope = (bins_hz - centre) / (centre - below)
            weights = np.maximum(0, np.minimum(1 + slope, 1 - slope))
            frame.append(10 * np.log10(max(1e-10, power @ weights)))
        frames.append(frame)
    decibels = np.array(frames)
    clipped: FloatArray = np.maximum(decibels, decibels.max() - top_db)
    return clipped


def features_of(wave: Waveform, config: DecibelFbankConfig) -> FloatArray:
    features, frames = DecibelFbank(config)(torch.from_numpy(wave)[None])
    assert features.shape == (1, int(frames), config.n_mels)
    result: FloatArray = features[0].numpy().astype(np.float64)
    return result


@pytest.mark.parametrize("n_mels", [23, 60, 80])
@pytest.mark.parametrize("top_db", [20.0, 80.0])
def test_agrees_with_the_definition(n_mels: int, top_db: float) -> None:
    wave = voice_like(9_000, seed=n_mels)
    config = dataclasses.replace(RAW, n_mels=n_mels, top_db=top_db)
    expected = written_out(wave, n_mels, top_db)
    np.testing.assert_allclose(features_of(wave, config), expected, atol=1e-4, rtol=0)
    normalised = features_of(wave, dataclasses.replace(config, mean_normalise=True))
    np.testing.assert_allclose(normalised, expected - expected.mean(axis=0), atol=1e-4, rtol=0)


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(200, 3_000), seed=st.integers(0, 99))
def test_agrees_with_the_definition_over_lengths(samples: int, seed: int) -> None:
    wave = voice_like(samples, seed)
    np.testing.assert_allclose(features_of(wave, RAW), written_out(wave, 80, 80.0), atol=1e-4, rtol=0)


def test_the_folded_convolution_gives_the_same() -> None:
    fbank = DecibelFbank(RAW)
    waves = torch.from_numpy(np.stack([voice_like(9_000, seed) for seed in range(3)]))
    spectra = (fbank.spectrum(waves), fbank.spectrum.folded(waves))
    one, other = (10 * spectrum.clamp(min=1e-10).log10() for spectrum in spectra)
    heard = one > one.amax() - 80
    torch.testing.assert_close(one[heard], other[heard], atol=1e-2, rtol=0)


def test_digital_silence_is_finite() -> None:
    silent = np.zeros(1_000, dtype=np.float32)
    np.testing.assert_allclose(features_of(silent, RAW), -100.0)
    assert (features_of(silent, DecibelFbankConfig()) == 0).all()


@pytest.mark.parametrize("mean_normalise", [False, True])
def test_padding_changes_nothing(mean_normalise: bool) -> None:
    fbank = DecibelFbank(DecibelFbankConfig(mean_normalise=mean_normalise))
    lengths = torch.tensor([400, 559, 560, 4_000, 1_599])
    waves = torch.full((5, 4_000), torch.nan)
    for row, length in enumerate(lengths.tolist()):
        waves[row, :length] = torch.from_numpy(voice_like(length, seed=row))
    # A click that its own frames hear at the edge of the window, and the first frame past the end in the middle.
    waves[4, 1_598] = 0.9
    features, frames = fbank(waves, lengths)
    assert frames.tolist() == [3, 4, 4, 26, 10]
    for row, length in enumerate(lengths.tolist()):
        alone, _ = fbank(waves[row : row + 1, :length])
        torch.testing.assert_close(features[row, : frames[row]], alone[0], atol=1e-4, rtol=0)
        assert (features[row, frames[row] :] == 0).all()


def test_a_click_past_the_last_frame_is_the_loudest_of_all() -> None:
    # what the test above relies on: the maximum must be that of a recording's own frames
    wave = 1e-6 * torch.from_numpy(voice_like(1_760, seed=4))[None]
    wave[0, 1_598:] = 0.0
    wave[0, 1_598] = 0.9
    features, _ = DecibelFbank(RAW)(wave)
    assert int(features[0].amax(dim=1).argmax()) == 10
    own, _ = DecibelFbank(RAW)(wave, torch.tensor([1_599]))
    assert own[0, :10].amax() < features.amax() - 10
    assert own[0, :10].amin() < features.amin() - 10


def test_matrices_are_not_weights() -> None:
    assert DecibelFbank(RAW).state_dict() == {}
    assert list(DecibelFbank(RAW).parameters()) == []


def test_autocast_leaves_the_features_alone() -> None:
    wave = torch.from_numpy(voice_like(8_000, seed=6))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = DecibelFbank(RAW)(wave)[0]
    assert torch.equal(inside, DecibelFbank(RAW)(wave)[0])


def test_gradient_reaches_the_waveform() -> None:
    wave = torch.from_numpy(voice_like(2_000, seed=7))[None].requires_grad_()
    DecibelFbank(RAW)(wave)[0].sum().backward()
    assert wave.grad is not None
    assert torch.isfinite(wave.grad).all()
    assert wave.grad.abs().sum() > 0


@pytest.mark.parametrize("change", [{"n_mels": 0}, {"n_mels": 300}, {"top_db": 0.0}])
def test_impossible_settings_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="filter bank"):
        DecibelFbank(dataclasses.replace(RAW, **change))


@pytest.mark.parametrize("config", [DecibelFbankConfig(), RAW, FbankConfig(), FbankConfig(n_mels=40, low_hz=50.0)])
def test_settings_tell_the_front_end(config: DecibelFbankConfig | FbankConfig) -> None:
    read = build(EcapaConfig, {"fbank": to_plain(config)}).fbank
    assert read == config
    assert type(make_front_end(read)) is (DecibelFbank if isinstance(config, DecibelFbankConfig) else Fbank)


def test_settings_of_two_front_ends_at_once_are_refused() -> None:
    with pytest.raises(RecipeError, match="unknown key 'top_db'"):
        build(EcapaConfig, {"fbank": {"top_db": 80.0, "low_hz": 20.0}})
