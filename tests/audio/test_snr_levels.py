"""Levels against direct arithmetic, and the properties that make them usable for mixing."""

import numpy as np
import pytest
import scipy.signal
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.snr import active_frames, active_level_db, active_s, high_pass, level_db
from voxanchor.errors import AudioError
from voxanchor.types import Waveform


def noise(seed: int, length: int, rms: float = 0.1) -> Waveform:
    return (rms * np.random.default_rng(seed).standard_normal(length)).astype(np.float32)


def bursts(seed: int, length: int) -> Waveform:
    """Speech-like: noise that comes and goes, with digital silence between."""
    rng = np.random.default_rng(seed)
    gains = np.repeat(
        10.0 ** (rng.uniform(-60, 0, length // 1600 + 1) / 20) * (rng.random(length // 1600 + 1) < 0.7), 1600
    )
    gains[:1600] = 1.0
    return (noise(seed, length) * gains[:length]).astype(np.float32)


def reference_high_pass(waveform: Waveform) -> np.ndarray:
    """The two moving averages by convolution, divided by the samples that each of them saw."""

    def average(x: np.ndarray) -> np.ndarray:
        sums, counts = (np.convolve(values, np.ones(801))[400 : 400 + len(x)] for values in (x, np.ones(len(x))))
        means: np.ndarray = sums / counts
        return means

    x = waveform.astype(np.float64)
    heard: np.ndarray = x - average(average(x))
    return heard


def reference_active_level_db(waveform: Waveform) -> float:
    """The definition, one frame at a time."""
    heard, places = reference_high_pass(waveform), range(0, len(waveform), 320)
    chosen = [heard[i : i + 320] for i in places if len(set(waveform[i : i + 320].tolist())) > 1]
    if not chosen:
        return -np.inf
    while True:
        power = sum(float(np.sum(f**2)) for f in chosen) / sum(len(f) for f in chosen)
        kept = [f for f in chosen if np.mean(f**2) > power / 10**1.59]
        if len(kept) == len(chosen):
            return float(10 * np.log10(power))
        chosen = kept


def test_full_scale_sine_is_minus_3_01_dbfs() -> None:
    sine = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    assert level_db(sine) == pytest.approx(-3.0103, abs=1e-4)
    assert active_level_db(sine) == pytest.approx(-3.0103, abs=1e-4)


def test_stationary_noise_has_exactly_its_rms_level() -> None:
    for length in (24000, 24001, 319, 320, 321, 1):
        x = noise(length, length)
        if length > 1000:
            assert active_frames(x)[:-1].all()
            assert active_level_db(x) == pytest.approx(level_db(x), abs=1e-3)
        assert active_level_db(x) >= level_db(x) - 1e-12


@given(seed=st.integers(0, 10_000), length=st.integers(1, 40_000))
@settings(max_examples=40, deadline=None)
def test_active_level_is_the_fixed_point_of_its_definition(seed: int, length: int) -> None:
    x = bursts(seed, length)
    assert active_level_db(x) == pytest.approx(reference_active_level_db(x), abs=1e-9)


@given(seed=st.integers(0, 10_000), gain_db=st.floats(-80, 40))
@settings(max_examples=40, deadline=None)
def test_scaling_moves_the_level_by_the_gain(seed: int, gain_db: float) -> None:
    x = bursts(seed, 24_000).astype(np.float64)
    scaled = x * 10 ** (gain_db / 20)
    assert active_level_db(scaled) - active_level_db(x) == pytest.approx(gain_db, abs=1e-9)
    assert (active_frames(scaled) == active_frames(x)).all()


def test_pauses_and_padding_do_not_count() -> None:
    talk = noise(0, 16000)
    alone = active_level_db(talk)
    padded = np.concatenate([np.zeros(16000, np.float32), talk, np.zeros(32000, np.float32)])
    assert active_level_db(padded) == pytest.approx(alone, abs=1e-3)
    assert level_db(padded) < alone - 5
    hissing = np.concatenate([talk, noise(1, 48000, rms=0.1 * 10 ** (-30 / 20))])
    assert active_level_db(hissing) == pytest.approx(alone, abs=1e-3)
    assert active_s(hissing) == pytest.approx(1.0)


def test_active_seconds_count_a_partial_frame_by_its_length() -> None:
    assert active_s(noise(0, 350)) == 350 / 16000
    silent_end = noise(0, 350)
    silent_end[320:] = 0
    assert active_s(silent_end) == 320 / 16000
    assert active_s(np.zeros(5000, np.float32)) == 0.0


def test_silence_and_samples_that_are_not_finite() -> None:
    silence = np.zeros(1000, np.float32)
    assert level_db(silence) == active_level_db(silence) == -np.inf
    assert not active_frames(silence).any()
    broken = noise(0, 1000)
    broken[500] = np.nan
    assert np.isnan(active_level_db(broken))
    broken[500] = np.inf
    assert np.isnan(active_level_db(broken))
    assert not active_frames(broken).any()


@given(seed=st.integers(0, 10_000), offset=st.floats(-0.5, 0.5), drift=st.floats(-0.05, 0.05))
@settings(max_examples=40, deadline=None)
def test_dc_and_drift_are_no_sound(seed: int, offset: float, drift: float) -> None:
    x = bursts(seed, 24_000)
    slow = offset + drift * np.sin(2 * np.pi * 0.5 * np.arange(24_000) / 16_000)
    heard = (x + slow).astype(np.float64)
    # towards either end the averages see one side alone, and silence in which something drifts is none
    assert active_level_db(heard) == pytest.approx(active_level_db(x), abs=0.4)
    assert abs(active_s(heard) - active_s(x)) <= 0.1
    assert active_level_db(np.full(24_000, offset)) == -np.inf


@pytest.mark.parametrize(("hz", "loss_db"), [(45, 0.3), (70, 0.2), (100, 0.2), (1_000, 0.01)])
def test_voices_pass_unharmed(hz: float, loss_db: float) -> None:
    tone = np.sin(2 * np.pi * hz * np.arange(48_000) / 16_000)
    middle = slice(8_000, -8_000)
    np.testing.assert_allclose(high_pass(tone)[middle], tone[middle], atol=10 ** (loss_db / 20) - 1)
    assert level_db(tone) == pytest.approx(-3.0103, abs=loss_db)


def test_what_is_slower_than_a_voice_goes() -> None:
    _, response = scipy.signal.freqz(np.convolve(np.ones(801), np.ones(801)) / 801**2, worN=[5.0, 1.0], fs=16_000)
    for hz, average in zip((5.0, 1.0), response, strict=True):
        tone = np.sin(2 * np.pi * hz * np.arange(160_000) / 16_000)
        left = np.std(high_pass(tone)[16_000:-16_000]) / np.std(tone)
        assert left == pytest.approx(1 - abs(average), rel=0.02)
        assert left < 0.21


@pytest.mark.parametrize("shape", [(0,), (2, 100)])
def test_what_is_not_a_waveform_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(AudioError, match="one-dimensional"):
        active_level_db(np.zeros(shape, np.float32))
