"""Playing many waveforms at another speed, beside soxr and beside tones whose result is known."""

import numpy as np
import pytest
import soxr
import torch

from voxanchor.audio.speed import play, source_samples

RATE = 16_000
LENGTH = 8_000


def tone(hz: float, length: int) -> np.ndarray:
    return np.sin(2 * np.pi * hz * np.arange(length) / RATE).astype(np.float32)


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.16, 1.25])
@pytest.mark.parametrize("hz", [100.0, 1000.0, 5000.0])
def test_a_tone_moves_by_the_speed_and_keeps_its_level(speed: float, hz: float) -> None:
    played = play(torch.from_numpy(tone(hz, source_samples(LENGTH, speed)))[None], speed, LENGTH)[0].numpy()
    assert played.shape == (LENGTH,)
    t = np.arange(LENGTH) / RATE
    basis = np.stack([np.sin(2 * np.pi * hz * speed * t), np.cos(2 * np.pi * hz * speed * t)], axis=1)
    weights, *_ = np.linalg.lstsq(basis, played.astype(np.float64), rcond=None)
    assert np.hypot(*weights) == pytest.approx(1.0, abs=1e-3)
    np.testing.assert_allclose(played, basis @ weights, atol=1e-3)


def test_what_would_fold_back_is_removed() -> None:
    played = play(torch.from_numpy(tone(7500.0, source_samples(LENGTH, 1.25)))[None], 1.25, LENGTH)
    assert played.abs().max() < 1e-3


@pytest.mark.parametrize("speed", [0.9, 1.1])
def test_speech_band_sound_comes_out_as_from_soxr(speed: float) -> None:
    draw = np.random.default_rng(0)
    spectrum = np.fft.rfft(draw.standard_normal(RATE))
    spectrum[6000:] = 0  # below 6 kHz both pass everything
    source = np.fft.irfft(spectrum).astype(np.float32)
    context = (source_samples(1, speed) - int(9 * speed)) // 2 - 1  # half a filter comes before the first sample
    skip = -context % round(10 * speed)  # to where samples of soxr lie
    ours = play(torch.from_numpy(source[None, skip:][:, : source_samples(LENGTH, speed)]), speed, LENGTH)[0].numpy()
    first = round((skip + context) / speed)
    theirs = soxr.resample(source, speed, 1.0)[first : first + LENGTH]
    np.testing.assert_allclose(ours[200:], theirs[200:], atol=2e-3 * float(np.abs(theirs).max()))


def test_rows_do_not_touch_each_other() -> None:
    waves = torch.randn(4, source_samples(500, 0.9))
    together = play(waves, 0.9, 500)
    for row in range(4):
        torch.testing.assert_close(together[row : row + 1], play(waves[row : row + 1], 0.9, 500))
