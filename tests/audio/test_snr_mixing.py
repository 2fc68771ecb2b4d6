"""The mixture holds what was asked for, measured from outside."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.snr import active_level_db, high_pass, level_db, mix
from voxanchor.errors import AudioError
from voxanchor.types import Waveform

LEVELS_DB = st.floats(-60, -3)


def speech_like(seed: int, length: int, level_db: float) -> Waveform:
    rng = np.random.default_rng(seed)
    gate = np.repeat(rng.random(length // 800 + 1) < 0.6, 800)[:length]
    gate[: length // 4] = True
    x = rng.standard_normal(length) * gate
    return (x * 10 ** ((level_db - active_level_db(x)) / 20)).astype(np.float32)


@given(seed=st.integers(0, 10_000), speech_db=LEVELS_DB, noise_db=LEVELS_DB, snr_db=st.floats(-20, 40))
@settings(max_examples=150, deadline=None)
def test_snr_is_exact_at_any_level_of_either_signal(
    seed: int, speech_db: float, noise_db: float, snr_db: float
) -> None:
    speech, noise = speech_like(seed, 16_000, speech_db), speech_like(seed + 1, 16_000, noise_db)
    mixture = mix(speech, noise, snr_db)
    # What was added, recovered from the float32 result alone.
    added = mixture.waveform.astype(np.float64) - speech
    heard = high_pass(noise)
    scale = float(added @ heard) / float(heard @ heard)
    np.testing.assert_allclose(added, scale * heard, atol=1e-6 * max(1.0, mixture.peak))
    delivered_db = active_level_db(speech) - active_level_db(noise) - 20 * np.log10(scale)
    assert delivered_db == pytest.approx(snr_db, abs=0.01)
    assert mixture.snr_db == pytest.approx(snr_db, abs=1e-6)
    assert mixture.noise_gain_db == pytest.approx(20 * np.log10(scale), abs=0.01)
    assert mixture.speech_level_db - mixture.noise_level_db == pytest.approx(mixture.snr_db, abs=1e-9)


@given(seed=st.integers(0, 10_000), speech_db=LEVELS_DB, noise_db=LEVELS_DB, snr_db=st.floats(-20, 40))
@settings(max_examples=100, deadline=None)
def test_between_whole_signals_the_ratio_counts_pauses(
    seed: int, speech_db: float, noise_db: float, snr_db: float
) -> None:
    speech, noise = speech_like(seed, 16_000, speech_db), speech_like(seed + 1, 16_000, noise_db)
    mixture = mix(speech, noise, snr_db, "whole")
    added = mixture.waveform.astype(np.float64) - speech
    heard = high_pass(noise)
    scale = float(added @ heard) / float(heard @ heard)
    ratio_db = 10 * np.log10(np.mean(high_pass(speech) ** 2) / np.mean((scale * heard) ** 2))
    assert ratio_db == pytest.approx(snr_db, abs=0.01)
    assert level_db(speech) - level_db(noise) - 20 * np.log10(scale) == pytest.approx(snr_db, abs=0.01)
    assert mixture.snr_db == pytest.approx(snr_db, abs=1e-6)
    assert mixture.speech_level_db == pytest.approx(level_db(speech), abs=1e-9)


def test_sparse_noise_is_quieter_by_its_whole_level_than_by_its_active_one() -> None:
    rng = np.random.default_rng(0)
    speech, noise = (0.1 * rng.standard_normal((2, 32_000))).astype(np.float32)
    noise[3_200:] = 0.0  # sounds for a tenth of the time: 10 dB between its levels
    active, whole = (mix(speech, noise, 0.0, snr).noise_gain_db for snr in ("active", "whole"))
    assert whole - active == pytest.approx(10.0, abs=0.01)


def test_stationary_signals_have_the_textbook_power_ratio() -> None:
    rng = np.random.default_rng(0)
    speech = (1e-3 * rng.standard_normal(24_000)).astype(np.float32)
    noise = (0.3 * rng.standard_normal(24_000)).astype(np.float32)
    added = mix(speech, noise, 10.0).waveform.astype(np.float64) - speech
    assert 10 * np.log10(np.sum(speech.astype(np.float64) ** 2) / np.sum(added**2)) == pytest.approx(10.0, abs=0.02)


@given(offset=st.floats(0.01, 0.5), sign=st.sampled_from([-1.0, 1.0]), snr_db=st.floats(-5, 20))
@settings(max_examples=25, deadline=None)
def test_dc_is_neither_speech_nor_noise(offset: float, sign: float, snr_db: float) -> None:
    """The ratio of what is heard, by a filter of scipy's, is the one that was asked for."""
    rng = np.random.default_rng(0)
    speech, noise = (scale * rng.standard_normal(32_000) for scale in (0.08, 0.02))
    audible = scipy.signal.butter(4, 30, "highpass", fs=16_000, output="sos")
    for shift in ((0.0, sign * offset), (sign * offset, 0.0)):
        loud, added = ((x + dc).astype(np.float32) for x, dc in zip((speech, noise), shift, strict=True))
        mixture = mix(loud, added, snr_db)
        middle = slice(4_000, -4_000)
        heard = [scipy.signal.sosfilt(audible, x)[middle] for x in (speech, mixture.waveform.astype(np.float64) - loud)]
        assert 20 * np.log10(np.std(heard[0]) / np.std(heard[1])) == pytest.approx(snr_db, abs=0.1)
        assert mixture.snr_db == pytest.approx(snr_db, abs=1e-6)
        assert abs((mixture.waveform - loud).mean()) < 1e-3


def test_silent_stretches_of_the_noise_do_not_make_the_rest_louder() -> None:
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(16_000).astype(np.float32)
    noise = rng.standard_normal(16_000).astype(np.float32)
    noise[4_000:] = 0
    added = mix(speech, noise, 0.0).waveform - speech
    assert np.sqrt(np.mean(added[:4_000] ** 2)) == pytest.approx(np.sqrt(np.mean(speech**2)), rel=0.05)


def test_nothing_is_clipped_or_normalised() -> None:
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(16_000).astype(np.float32)
    noise = rng.standard_normal(16_000).astype(np.float32)
    mixture = mix(speech, noise, -20.0)
    assert mixture.peak > 5.0
    assert mixture.peak == np.abs(mixture.waveform).max()
    assert mixture.waveform.dtype == np.float32
    gain = np.float64(10 ** (mixture.noise_gain_db / 20))
    np.testing.assert_allclose(mixture.waveform, speech + gain * high_pass(noise), atol=1e-5)


def test_inputs_stay_untouched() -> None:
    rng = np.random.default_rng(0)
    speech = rng.standard_normal(1_000).astype(np.float32)
    noise = rng.standard_normal(1_000).astype(np.float32)
    kept = speech.copy(), noise.copy()
    mix(speech, noise, 3.0)
    assert (speech == kept[0]).all()
    assert (noise == kept[1]).all()


def test_what_has_no_ratio_is_refused() -> None:
    sound, silence = np.tile([1, -1], 500).astype(np.float32), np.zeros(1_000, np.float32)
    with pytest.raises(AudioError, match="speech is digital silence"):
        mix(silence, sound, 0.0)
    with pytest.raises(AudioError, match="noise is digital silence"):
        mix(sound, silence, 0.0)
    with pytest.raises(AudioError, match="crop or loop the noise"):
        mix(sound, sound[:-1], 0.0)
    with pytest.raises(AudioError, match="finite number of dB"):
        mix(sound, sound, float("nan"))
    broken = sound.copy()
    broken[3] = np.inf
    with pytest.raises(AudioError, match="not finite"):
        mix(sound, broken, 0.0)
