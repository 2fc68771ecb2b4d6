import dataclasses

import kaldi_native_fbank
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.errors import ModelError
from voxanchor.models.frontend import Fbank, FbankConfig, Window, kaldi_mel, symmetric_window
from voxanchor.types import FloatArray, Waveform

RAW = FbankConfig(mean_normalise=False)


def voice_like(samples: int, seed: int, offset: float = 1e-5) -> Waveform:
    """Noise with a level that moves over 60 dB, and a DC offset."""
    generator = np.random.default_rng(seed)
    level = 10 ** (-1.5 + 1.5 * np.sin(np.arange(samples) / 1_500 + seed))
    return (0.05 * level * generator.standard_normal(samples) + offset).astype(np.float32)


def kaldi(wave: Waveform, config: FbankConfig) -> FloatArray:
    options = kaldi_native_fbank.FbankOptions()
    options.frame_opts.samp_freq = 16_000
    options.frame_opts.dither = 0.0
    options.frame_opts.window_type = "hanning" if config.window == "hann" else config.window
    options.frame_opts.preemph_coeff = config.preemphasis
    options.mel_opts.num_bins = config.n_mels
    options.mel_opts.low_freq = config.low_hz
    options.mel_opts.high_freq = config.high_hz
    options.energy_floor = 0.0
    computer = kaldi_native_fbank.OnlineFbank(options)
    computer.accept_waveform(16_000, (wave * config.scale).tolist())
    computer.input_finished()
    frames: FloatArray = np.array([computer.get_frame(i) for i in range(computer.num_frames_ready)], dtype=np.float64)
    return frames


EPS = float(torch.finfo(torch.float32).eps)


def features_of(wave: Waveform, config: FbankConfig) -> FloatArray:
    features, frames = Fbank(config)(torch.from_numpy(wave)[None])
    assert features.shape == (1, int(frames), config.n_mels)
    result: FloatArray = features[0].numpy().astype(np.float64)
    return result


@pytest.mark.parametrize("n_mels", [23, 40, 80])
@pytest.mark.parametrize("window", ["povey", "hamming", "hann", "blackman", "rectangular"])
def test_agrees_with_kaldi_over_windows_and_bins(window: Window, n_mels: int) -> None:
    config = dataclasses.replace(RAW, window=window, n_mels=n_mels)
    wave = voice_like(9_000, seed=n_mels)
    np.testing.assert_allclose(features_of(wave, config), kaldi(wave, config), atol=1e-3, rtol=0)


@settings(max_examples=15, deadline=None)
@given(samples=st.integers(400, 6_000), seed=st.integers(0, 99))
def test_agrees_with_kaldi_over_lengths(samples: int, seed: int) -> None:
    wave = voice_like(samples, seed)
    np.testing.assert_allclose(features_of(wave, RAW), kaldi(wave, RAW), atol=1e-3, rtol=0)


def test_agrees_with_kaldi_on_a_telephone_band_without_preemphasis() -> None:
    config = dataclasses.replace(RAW, n_mels=30, low_hz=300.0, high_hz=3_400.0, preemphasis=0.0)
    wave = voice_like(5_000, seed=3)
    np.testing.assert_allclose(features_of(wave, config), kaldi(wave, config), atol=1e-3, rtol=0)


@pytest.mark.parametrize("window", ["povey", "hamming"])
def test_an_offset_far_above_the_signal_costs_no_precision(window: Window) -> None:
    # Kaldi itself, in float32, is off by 4e-3 here; the definition in float64 is the reference.
    wave = voice_like(9_000, seed=8, offset=0.02)
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64) * 32_768, 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    power = np.abs(np.fft.rfft(frames * symmetric_window(window, 400), 512)) ** 2
    expected = np.log(power @ kaldi_mel(80, 512, 16_000, 20.0, 8_000.0).T)
    config = dataclasses.replace(RAW, window=window)
    np.testing.assert_allclose(features_of(wave, config), expected, atol=1e-3, rtol=0)


def test_an_offset_lets_no_silence_be_heard_in_a_folded_front_end() -> None:
    wave = voice_like(16_000, 3) + np.float32(0.02)
    wave[6_000:9_000] = 0.0  # digital zeros in a recording with an offset
    fbank = Fbank(RAW)
    waves = torch.from_numpy(wave)[None]
    mel = fbank.spectrum(waves)
    folded = fbank.spectrum.folded(waves).clamp(min=EPS).log()
    torch.testing.assert_close(folded, mel.clamp(min=EPS).log(), atol=5e-3, rtol=0)
    assert (mel.clamp(min=EPS) == EPS).any()


@pytest.mark.parametrize("window", ["povey", "hamming", "rectangular"])
@pytest.mark.parametrize("preemphasis", [0.0, 0.97])
def test_the_folded_product_gives_the_same(window: Window, preemphasis: float) -> None:
    fbank = Fbank(dataclasses.replace(RAW, window=window, preemphasis=preemphasis))
    waves = torch.from_numpy(np.stack([voice_like(9_000, seed) for seed in range(3)]))
    folded = fbank.spectrum.folded(waves)
    torch.testing.assert_close(fbank.spectrum(waves).log(), folded.log(), atol=1e-3, rtol=0)
    compiled = torch.compile(fbank.spectrum, backend="eager", fullgraph=True)
    assert torch.equal(compiled(waves), folded)


@pytest.mark.parametrize("frames", [1, 7, 60])
def test_frames_transformed_a_few_at_once_give_the_same(frames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    spectrum = Fbank(FbankConfig()).spectrum
    waves = torch.from_numpy(np.stack([voice_like(9_000, seed) for seed in range(5)]))
    together = spectrum(waves)
    monkeypatch.setattr("voxanchor.models.frontend._PIECE_FRAMES", frames)
    torch.testing.assert_close(spectrum(waves), together, rtol=1e-6, atol=0)


def test_digital_silence_is_finite_and_equal_to_kaldi() -> None:
    wave = np.zeros(1_000, dtype=np.float32)
    np.testing.assert_allclose(features_of(wave, RAW), kaldi(wave, RAW), atol=1e-5)


@pytest.mark.parametrize("mean_normalise", [False, True])
def test_padding_changes_nothing(mean_normalise: bool) -> None:
    fbank = Fbank(FbankConfig(mean_normalise=mean_normalise))
    lengths = torch.tensor([400, 559, 560, 4_000])
    waves = torch.full((4, 4_000), torch.nan)
    for row, length in enumerate(lengths.tolist()):
        waves[row, :length] = torch.from_numpy(voice_like(length, seed=row))
    features, frames = fbank(waves, lengths)
    assert frames.tolist() == [1, 1, 2, 23]
    for row, length in enumerate(lengths.tolist()):
        alone, _ = fbank(waves[row : row + 1, :length])
        torch.testing.assert_close(features[row, : frames[row]], alone[0], atol=1e-4, rtol=0)
        assert (features[row, frames[row] :] == 0).all()


def test_frames_of_a_recording_shorter_than_one() -> None:
    assert Fbank(RAW).frames(torch.tensor([0, 399, 400])).tolist() == [0, 0, 1]


def test_mean_normalisation_removes_the_level() -> None:
    wave = torch.from_numpy(voice_like(8_000, seed=5))[None]
    fbank = Fbank(FbankConfig())
    loud, quiet = fbank(wave)[0], fbank(wave * 0.1)[0]
    torch.testing.assert_close(loud, quiet, atol=2e-3, rtol=0)
    torch.testing.assert_close(loud.mean(dim=1), torch.zeros(1, 80), atol=1e-5, rtol=0)


def test_matrices_are_not_weights() -> None:
    assert Fbank(RAW).state_dict() == {}
    assert list(Fbank(RAW).parameters()) == []


def test_autocast_leaves_the_features_alone() -> None:
    wave = torch.from_numpy(voice_like(8_000, seed=6))[None]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = Fbank(RAW)(wave)[0]
    assert torch.equal(inside, Fbank(RAW)(wave)[0])


def test_gradient_reaches_the_waveform() -> None:
    wave = torch.from_numpy(voice_like(2_000, seed=7))[None].requires_grad_()
    Fbank(RAW)(wave)[0].sum().backward()
    assert wave.grad is not None
    assert wave.grad.abs().sum() > 0


@pytest.mark.parametrize("change", [{"low_hz": 9_000.0}, {"n_mels": 0}, {"high_hz": 8_001.0}, {"n_mels": 400}])
def test_impossible_bands_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(ModelError, match="filter bank"):
        Fbank(dataclasses.replace(RAW, **change))  # type: ignore[arg-type]
