"""What is told of a recording, against noise mixed at known ratios and tops counted by other means."""

from collections.abc import Callable
from itertools import groupby

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.channels import apply_channel
from voxanchor.audio.quality import (
    CLIPPED_SHARE,
    NOISY_DB,
    SHORT_SPEECH_S,
    SNR_RANGE_DB,
    Quality,
    QualityMeter,
    clipped,
    estimate_snr_db,
)
from voxanchor.audio.snr import active_level_db, mix
from voxanchor.errors import AudioError
from voxanchor.types import Waveform

Voice = Callable[..., np.ndarray]


def with_pauses(voice: Voice, speaker: int, seconds: float = 4.0) -> Waveform:
    """A voice that pauses for 0.3 s in every second."""
    wave: Waveform = voice(speaker, 0, seconds).copy()
    for start in range(0, len(wave), 16_000):
        wave[start : start + 4800] *= 1e-3
    return wave


def white(samples: int, seed: int = 0) -> Waveform:
    return np.random.default_rng(seed).standard_normal(samples).astype(np.float32)


def longest_tops(wave: Waveform, ceiling: float) -> int:
    """Samples in runs of three and more at the ceiling, counted one by one."""
    sides = [int(value >= ceiling) - int(value <= -ceiling) for value in wave.tolist()]
    runs = [(side, len(list(items))) for side, items in groupby(sides)]
    return sum(length for side, length in runs if side and length >= 3)


@pytest.mark.parametrize("snr_db", [0, 5, 10, 15, 20, 25])
def test_the_estimate_is_near_the_ratio_that_white_noise_was_mixed_at(voice: Voice, snr_db: float) -> None:
    for speaker in range(3):
        speech = with_pauses(voice, speaker)
        noisy = mix(speech, white(len(speech), speaker), snr_db).waveform
        assert estimate_snr_db(noisy) == pytest.approx(snr_db, abs=2.5)


def test_more_noise_never_gives_a_higher_estimate(voice: Voice) -> None:
    speech = with_pauses(voice, 3)
    noise = white(len(speech))
    found = [estimate_snr_db(mix(speech, noise, snr_db).waveform) for snr_db in range(-20, 45, 5)]
    assert found == sorted(found)


@settings(deadline=None, max_examples=30)
@given(gain_db=st.floats(-60, 60), seed=st.integers(0, 5))
def test_gain_changes_nothing(voice: Voice, gain_db: float, seed: int) -> None:
    speech = with_pauses(voice, seed, 2.0)
    wave = mix(speech, white(len(speech), seed), 12).waveform
    plain = Quality.of(wave)
    loud = Quality.of((wave * 10 ** (gain_db / 20)).astype(np.float32))
    assert loud.snr_db == pytest.approx(plain.snr_db, abs=0.01)
    assert (loud.duration_s, loud.speech_s) == (plain.duration_s, plain.speech_s)


@settings(deadline=None, max_examples=30)
@given(before=st.integers(0, 100), behind=st.integers(0, 40_000))
def test_padding_with_digital_silence_changes_neither_ratio_nor_speech(voice: Voice, before: int, behind: int) -> None:
    speech = with_pauses(voice, 1, 2.0)
    wave = mix(speech, white(len(speech)), 15).waveform
    padded = np.concatenate((np.zeros(320 * before), wave, np.zeros(behind))).astype(np.float32)
    assert Quality.of(padded).snr_db == pytest.approx(Quality.of(wave).snr_db, abs=0.01)
    assert Quality.of(padded).speech_s == pytest.approx(Quality.of(wave).speech_s)


def test_silence_has_no_speech_and_the_lowest_ratio() -> None:
    found = Quality.of(np.zeros(16_000, np.float32))
    assert found == Quality(1.0, 0.0, SNR_RANGE_DB[0], 0.0, dc=0.0, peak=0.0)
    assert found.warnings == ("silent",)


@pytest.mark.parametrize("value", [1.0, -0.1, 1e-30])
def test_one_sample_has_a_quality(value: float) -> None:
    found = Quality.of(np.full(1, value, np.float32))
    assert (found.duration_s, found.speech_s) == (1 / 16_000, 0.0)  # one value alone is an offset
    assert found.snr_db == SNR_RANGE_DB[0]
    assert found.clipped == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_not_finite_are_an_error(value: float) -> None:
    wave = np.ones(1000, np.float32)
    wave[500] = value
    with pytest.raises(AudioError, match="not finite"):
        Quality.of(wave)


@pytest.mark.parametrize("wave", [np.zeros(0, np.float32), np.zeros((2, 16_000), np.float32)])
def test_what_is_no_waveform_is_an_error(wave: Waveform) -> None:
    with pytest.raises(AudioError, match="one-dimensional"):
        Quality.of(wave)


@pytest.mark.parametrize("ceiling_db", [6.0, 3.0, 0.0])
def test_the_clipped_share_is_that_of_the_flat_tops(voice: Voice, ceiling_db: float) -> None:
    for speaker in range(3):
        wave = apply_channel(torch.from_numpy(voice(speaker, 1))[None], "clipped", ceiling_db)[0].numpy()
        expected = longest_tops(wave, float(wave.max()))
        assert expected > CLIPPED_SHARE * len(wave)
        assert int(clipped(wave).sum()) == pytest.approx(expected, abs=3)  # a sample just below a top may count, too
        assert any("clipped" in text for text in Quality.of(wave).warnings)
        attenuated = np.round(0.3 * wave * 32768) / 32768  # and stored in 16 bits
        assert int(clipped(attenuated.astype(np.float32)).sum()) >= expected


def test_clean_speech_and_noise_are_not_clipped(voice: Voice) -> None:
    for speaker in range(6):
        assert not clipped(voice(speaker, 2)).any()
    assert not clipped(white(64_000)).any()


@pytest.mark.parametrize("frequency_hz", [50, 85, 100, 140, 220, 440, 1000, 4000])
@pytest.mark.parametrize("scale", [32767 / 32768, 1.0])
def test_a_full_scale_sine_is_not_clipped(frequency_hz: float, scale: float) -> None:
    wave = scale * np.sin(2 * np.pi * frequency_hz * np.arange(32_000) / 16_000)
    assert not clipped(wave.astype(np.float32)).any()


def test_only_runs_of_three_and_more_at_the_extreme_count() -> None:
    wave = np.array([0.1, 1, 1, 0, -1, -1, -1, 0, 1, 1, 1, 1], np.float32)
    assert clipped(wave).tolist() == [False] * 4 + [True] * 3 + [False] + [True] * 4
    assert not clipped(np.zeros(5, np.float32)).any()
    assert clipped(np.zeros(0, np.float32)).shape == (0,)


@pytest.mark.parametrize("offset", [-0.5, 0.0, 0.1])
@pytest.mark.parametrize("peak", [None, 0.9, 8.0])
@pytest.mark.parametrize("level_db", [None, -20.0, -70.0])
def test_an_offset_is_told_at_any_level_unless_full_scale_is_another(
    level_db: float | None, peak: float | None, offset: float
) -> None:
    told = " ".join(Quality(10, 8, 30, 0, level_db=level_db, dc=offset, peak=peak).warnings)
    assert ("DC offset" in told) == (offset != 0.0 and peak != 8.0)
    assert ("integers" in told) == (peak == 8.0)
    assert ("very quiet" in told) == (level_db == -70.0 and peak != 8.0)


def test_warnings_name_what_is_wrong_and_nothing_else() -> None:
    assert Quality(10, 8, 30, 0).warnings == ()
    assert Quality(10, SHORT_SPEECH_S, NOISY_DB, CLIPPED_SHARE / 2).warnings == ()
    assert Quality(10, 1.2, 30, 0).warnings == ("only 1.2 s of speech",)
    assert Quality(10, 8, 4.4, 0).warnings == ("noisy: speech about 4 dB above the noise",)
    assert Quality(10, 8, 30, 0.025).warnings == ("clipped: 2.5 % of the samples are cut off",)
    assert len(Quality(1, 0.2, -3, 0.2).warnings) == 3


@settings(deadline=None, max_examples=30)
@given(offset=st.floats(-0.3, 0.3), seed=st.integers(0, 5))
def test_an_offset_is_told_and_changes_nothing_else(voice: Voice, offset: float, seed: int) -> None:
    speech = with_pauses(voice, seed, 2.0)
    wave = mix(speech, white(len(speech), seed), 15).waveform
    plain, shifted = Quality.of(wave), Quality.of(wave + np.float32(offset))
    assert shifted.dc == pytest.approx(offset + float(wave.mean(dtype=np.float64)), abs=1e-6)
    assert shifted.snr_db == pytest.approx(plain.snr_db, abs=0.1)
    assert shifted.speech_s == pytest.approx(plain.speech_s, abs=0.02)
    assert shifted.level_db == pytest.approx(plain.level_db, abs=0.01)
    assert any("DC offset" in text for text in shifted.warnings) == (abs(shifted.dc or 0.0) >= 0.01)


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 90_000), max_size=6), seed=st.integers(0, 3), offset=st.sampled_from([0.0, 0.05]))
def test_blocks_measure_what_the_whole_does(voice: Voice, cuts: list[int], seed: int, offset: float) -> None:
    speech = np.concatenate([with_pauses(voice, seed, 3.0), np.zeros(9_000), with_pauses(voice, seed, 2.0)])
    wave = (mix(speech.astype(np.float32), white(len(speech), seed), 15).waveform + offset).astype(np.float32)
    meter = QualityMeter()
    for block in np.split(wave, sorted(cut for cut in cuts if cut < len(wave))):
        meter.add(block)
    blocks, whole = meter.result(), Quality.of(wave)
    assert (blocks.duration_s, blocks.speech_s, blocks.peak) == (whole.duration_s, whole.speech_s, whole.peak)
    assert blocks.level_db == pytest.approx(whole.level_db, abs=1e-6)
    assert blocks.snr_db == pytest.approx(whole.snr_db, abs=1e-6)
    assert (blocks.bandwidth_hz, blocks.clipped) == (whole.bandwidth_hz, whole.clipped)
    assert whole.level_db == pytest.approx(active_level_db(wave), abs=1e-9)


def test_a_narrow_band_is_told_apart_from_quiet_high_frequencies() -> None:
    wide = white(64_000) * 0.1
    assert Quality.of(wide).bandwidth_hz == 8_000
    narrow = soxr.resample(soxr.resample(wide, 16_000, 8_000), 8_000, 16_000).astype(np.float32)
    found = Quality.of(narrow)
    assert found.bandwidth_hz is not None
    assert 3_500 <= found.bandwidth_hz <= 4_250
    assert found.is_narrow
    assert not Quality.of(wide).is_narrow
    # falls by 12 dB an octave from 500 Hz on, as speech does
    spectrum = np.fft.rfft(wide)
    dull = np.fft.irfft(spectrum / (1 + (np.linspace(0, 8_000, len(spectrum)) / 500) ** 2))
    assert Quality.of(dull.astype(np.float32)).bandwidth_hz == 8_000


@pytest.mark.parametrize(("scale", "word"), [(1e-3, "very quiet"), (32_768.0, "integers kept as floating point")])
def test_a_level_that_no_recorder_means_is_told(voice: Voice, scale: float, word: str) -> None:
    assert any(word in text for text in Quality.of((with_pauses(voice, 0) * scale).astype(np.float32)).warnings)
    assert not any(word in text for text in Quality.of(with_pauses(voice, 0)).warnings)
