"""A room response made ready to be heard through: where it begins, how loud it is, where it ends, what is measured."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.fft import next_fast_len
from scipy.signal import fftconvolve

from voxanchor.audio.noise import Clip
from voxanchor.audio.rooms import c50_db, decay_db, direct_sample, fast_length, load_room, reverberate, room, rt60_s
from voxanchor.errors import AudioError

RATE = 16_000
EARLY = 800


def decaying(rt60: float, seconds: float, seed: int = 0, direct: float = 0.0) -> np.ndarray:
    """Noise that falls by 60 dB in `rt60` seconds behind a direct sound."""
    time_s = np.arange(round(seconds * RATE)) / RATE
    wave = np.random.default_rng(seed).standard_normal(len(time_s)) * 10.0 ** (-3.0 * time_s / rt60)
    wave[0] = direct or 4.0
    return wave.astype(np.float32)


@given(st.integers(0, 3000), st.floats(1e-4, 30.0), st.integers(0, 50))
@settings(max_examples=30, deadline=None)
def test_neither_delay_nor_level_of_a_recording_matters(delay: int, gain: float, seed: int) -> None:
    response = decaying(0.3, 0.4, seed, 8.0)
    moved = np.concatenate([np.zeros(delay, np.float32), np.float32(gain) * response])
    plain, other = room(response, "a"), room(moved, "a")
    assert direct_sample(moved) == delay
    np.testing.assert_allclose(other.taps, plain.taps, atol=1e-6)
    assert other.rt60_s == pytest.approx(plain.rt60_s, rel=1e-4)


def test_the_direct_sound_is_the_first_pulse_though_a_reflection_is_louder() -> None:
    response = np.zeros(8000, np.float32)
    response[500:503] = (0.4, 0.8, 0.3)
    response[700], response[480] = 1.0, 0.05
    assert direct_sample(response) == 500
    late = np.zeros(8000, np.float32)
    late[100], late[700] = 0.2, 1.0  # 14 dB below: noise before the response, not its beginning
    assert direct_sample(late) == 700


def test_the_early_part_has_unit_energy_and_so_speech_its_level() -> None:
    found = room(decaying(0.8, 1.0), "a")
    assert np.square(found.taps[:EARLY].astype(np.float64)).sum() == pytest.approx(1.0, rel=1e-6)
    white = np.random.default_rng(1).standard_normal(8 * RATE).astype(np.float32)
    power = np.square(reverberate(white, found.taps)).mean() / np.square(white).mean()
    # what is late comes on top: the early part alone would give 1
    assert 10 * np.log10(power) == pytest.approx(10 * np.log10(1 + 10 ** (-found.c50_db / 10)), abs=0.15)


def test_a_dry_room_changes_nothing() -> None:
    response = np.zeros(2000, np.float32)
    response[100] = 0.3
    found = room(response, "dry")
    speech = np.random.default_rng(0).standard_normal(5000).astype(np.float32)
    np.testing.assert_allclose(reverberate(speech, found.taps), speech, atol=1e-5)
    assert found.c50_db == 100.0
    assert np.isnan(found.rt60_s)
    assert found.description == "dry"
    assert len(found.taps) == EARLY


def test_the_inaudible_end_is_left_out_and_no_response_is_longer_than_three_seconds() -> None:
    assert len(room(decaying(0.5, 2.0), "a").taps) == pytest.approx(0.5 * RATE, rel=0.05)
    assert len(room(decaying(9.0, 5.0), "a").taps) == 3 * RATE
    curve = decay_db(decaying(0.5, 2.0).astype(np.float64))
    assert curve[0] == 0.0
    assert (np.diff(curve) <= 0).all()


@pytest.mark.parametrize("rt60", [0.2, 0.6, 1.5])
@pytest.mark.parametrize("fall_db", [20.0, 30.0])
def test_the_reverberation_time_of_a_known_decay_is_found(rt60: float, fall_db: float) -> None:
    times = [rt60_s(decaying(rt60, 1.3 * rt60, seed).astype(np.float64), fall_db) for seed in range(10)]
    assert np.mean(times) == pytest.approx(rt60, rel=0.02)
    assert np.std(times) < 0.05 * rt60


def test_clarity_is_the_ratio_of_energies() -> None:
    response = np.zeros(4000)
    response[[0, 799]], response[800] = 1.0, 0.1
    assert c50_db(response) == pytest.approx(10 * np.log10(2 / 0.01))


@pytest.mark.parametrize(
    ("response", "message"),
    [
        (np.zeros(4000), "silent"),
        (np.zeros(0), "needs samples"),
        (np.full(4000, np.nan), "finite"),
        (np.ones(700), "too short for a room response: 44 ms"),
        (np.concatenate([np.zeros(5000), np.ones(700)]), "too short"),
    ],
)
def test_what_is_no_response_is_refused(response: np.ndarray, message: str) -> None:
    with pytest.raises(AudioError, match=message):
        room(response.astype(np.float32), "bad.wav")


def test_responses_of_any_rate_and_channel_count_are_read(tmp_path: Path) -> None:
    time_s = np.arange(48_000) / 48_000
    wave = 0.05 * np.random.default_rng(0).standard_normal(48_000) * 10.0 ** (-3.0 * time_s / 0.5)
    wave[0] = 0.9
    silence = np.zeros(4800)
    stereo = np.stack([np.concatenate([silence, wave])] * 2, axis=1)
    soundfile.write(tmp_path / "hall.wav", stereo, 48_000, subtype="PCM_24")
    found = load_room(Clip(str(tmp_path / "hall.wav")))
    assert found.rt60_s == pytest.approx(0.5, rel=0.1)
    assert int(np.abs(found.taps).argmax()) <= 8  # at most half a millisecond
    assert found.description == f"hall.wav (RT60 {found.rt60_s:.2f} s)"


@given(st.integers(1, 400), st.integers(1, 600), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_reverberant_speech_is_a_causal_convolution_of_the_same_length(length: int, taps: int, seed: int) -> None:
    draw = np.random.default_rng(seed)
    wave, response = (draw.standard_normal(n).astype(np.float32) for n in (length, taps))
    expected = fftconvolve(wave.astype(np.float64), response.astype(np.float64))[:length]
    heard = reverberate(wave, response)
    assert heard.dtype == np.float32
    np.testing.assert_allclose(heard, expected, atol=2e-6 * max(1.0, float(np.abs(expected).max())))


@given(st.integers(1, 300_000))
@settings(max_examples=60, deadline=None)
def test_lengths_are_the_next_fast_ones(length: int) -> None:
    assert fast_length(length) == next_fast_len(length, real=True)
