"""Other rates: what a sound rests on passes through, and whole, blocks and crops are one and the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given
from hypothesis import strategies as st

from voxanchor.audio.io import read
from voxanchor.audio.resampling import at_16_khz, rerated, resampled
from voxanchor.corpus.manifest import Part, Utterance
from voxanchor.types import Waveform

RATES = [8_000, 11_025, 22_050, 44_100, 48_000]

Voice = Callable[..., np.ndarray]


def sound(rate: int, seconds: float = 2.0) -> Waveform:
    """White, so that it is cut at its loudest at both ends."""
    return np.random.default_rng(0).normal(0.0, 0.1, round(seconds * rate)).astype(np.float32)


def blocked(wave: Waveform, rate: float, cuts: list[int]) -> Waveform:
    blocks = np.split(wave, sorted(cut % (len(wave) + 1) for cut in cuts))
    return np.concatenate(list(at_16_khz(blocks, rate, 5_000)))


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("offset", [-0.5, 0.03, 0.5])
def test_an_offset_is_added_to_what_is_heard_and_nothing_else(rate: int, offset: float) -> None:
    wave = (1e-3 * sound(rate)).astype(np.float32)
    expected = soxr.resample(wave, rate, 16_000)
    shifted = (wave + np.float32(offset)).astype(np.float32)
    least = 3e-7 * abs(offset) + 0.03 * 1e-4  # rounding, and at the ends what the sound's own little mean does there
    for found in (resampled(shifted, rate), blocked(shifted, rate, [4_000, 9_000, 9_001])):
        np.testing.assert_allclose(found - np.float32(offset), expected, atol=least)


@pytest.mark.parametrize("rate", RATES)
def test_a_sound_without_an_offset_is_what_soxr_makes_of_it(rate: int) -> None:
    wave = sound(rate)
    np.testing.assert_array_equal(resampled(wave, rate), soxr.resample(wave, rate, 16_000))


@given(
    st.sampled_from([*RATES, 44_099.5]),
    st.lists(st.integers(0, 10**6), max_size=5),
    st.floats(-0.5, 0.5),
    st.floats(-0.5, 0.5),
    st.floats(0.001, 2.0),
)
def test_blocks_are_the_whole_though_the_offset_moves(
    rate: float, cuts: list[int], begin: float, end: float, seconds: float
) -> None:
    drift = np.linspace(begin, end, round(round(rate) * seconds), dtype=np.float32)
    wave: Waveform = sound(round(rate), seconds) + drift
    np.testing.assert_allclose(blocked(wave, rate, cuts), resampled(wave, rate), atol=1e-5)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize(("start_s", "duration_s"), [(0.0, 0.01), (0.3, 1.2), (1.5, None), (1.95, 0.05)])
def test_crops_are_the_whole_though_the_offset_moves(
    tmp_path: Path, rate: int, start_s: float, duration_s: float | None
) -> None:
    wave = sound(rate) + np.linspace(0.4, -0.3, 2 * rate)
    soundfile.write(tmp_path / "a.wav", wave, rate, subtype="FLOAT")
    whole = read(tmp_path / "a.wav")
    crop = read(tmp_path / "a.wav", start_s=start_s, duration_s=duration_s)
    first = round(16_000 * start_s)
    np.testing.assert_allclose(crop, whole[first : first + len(crop)], atol=1e-5)


@pytest.mark.parametrize("speed", [0.5, 0.9, 1.1, 1.37])
def test_an_offset_stays_at_another_speed(tmp_path: Path, voice: Voice, speed: float) -> None:
    wave = (0.05 * voice(1, 1)).astype(np.float32)
    plain = rerated(wave, speed, 1.0)
    np.testing.assert_allclose(rerated(wave + np.float32(0.3), speed, 1.0) - np.float32(0.3), plain, atol=1e-4)
    said = []
    for offset in (0.0, 0.3):
        soundfile.write(tmp_path / "a.wav", wave + np.float32(offset), 16_000, subtype="FLOAT")
        part = Part(str(tmp_path / "a.wav"))
        said.append(Utterance("a", "ann", len(wave) / 16_000, (part,)).played_at(speed).read() - np.float32(offset))
    np.testing.assert_allclose(said[1], said[0], atol=2e-4)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_stays_so_without_a_word(value: float) -> None:
    wave = sound(8_000)
    wave[5] = value
    assert not np.isfinite(resampled(wave, 8_000)).all()
    assert not np.isfinite(blocked(wave, 8_000, [100])).all()


def test_nothing_is_nothing() -> None:
    assert len(rerated(np.zeros(0, np.float32), 8_000, 16_000)) == 0
    assert len(list(at_16_khz([], 8_000, 100))) == 0
