"""The telephone's band, the level on a line, and mu-law against libsndfile's."""

import io
import math

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.channels import _quantised, at_telephone_level, band_limited, mulaw, over_telephone
from voxanchor.audio.snr import active_level_db

SECOND = np.arange(16_000) / 16_000


def tone_loss_db(hz: float) -> float:
    wave = torch.from_numpy(np.sin(2 * np.pi * hz * SECOND)).unsqueeze(0)
    middle = band_limited(wave)[0, 2_000:14_000]
    return -10 * math.log10(2 * float(middle.square().mean()))


@pytest.mark.parametrize("hz", [300, 350, 1_000, 2_500, 3_390])
def test_the_band_is_kept(hz: float) -> None:
    assert abs(tone_loss_db(hz)) < 0.1


@pytest.mark.parametrize("hz", [10, 50, 100, 3_600, 4_000, 5_000, 7_900])
def test_what_lies_outside_is_gone(hz: float) -> None:
    assert tone_loss_db(hz) > 55


def test_the_band_filter_is_not_late_and_treats_rows_alike() -> None:
    click = torch.zeros(2, 1_001)
    click[0, 400] = 1.0
    click[1, 1_000] = -0.5
    heard = band_limited(click)
    assert heard.shape == click.shape
    assert heard[0].argmax() == 400
    assert heard[1].abs().argmax() == 1_000
    torch.testing.assert_close(heard[0, 100:400], heard[0, 401:701].flip(0), atol=1e-7, rtol=0)


def test_mulaw_is_that_of_g711() -> None:
    samples = np.linspace(-1, 1, 20_001)
    file = io.BytesIO()
    soundfile.write(file, samples, 8_000, format="WAV", subtype="ULAW")
    file.seek(0)
    expected = soundfile.read(file)[0]
    ours = _quantised(torch.from_numpy(samples).unsqueeze(0))[0].numpy()
    # libsndfile cuts 14 bits off where we round: now and then the next step
    steps = np.maximum(np.abs(expected) / 16, 2 / 8192)
    assert (np.abs(ours - expected) <= steps).all()
    assert np.mean(np.abs(ours - expected) < 1e-4) > 0.95
    assert set(np.unique(np.abs(ours) * 8192)) <= set(np.unique(np.abs(expected) * 8192))


def test_the_line_has_one_level_and_full_scale_is_not_passed() -> None:
    rng = np.random.default_rng(0)
    quiet = 0.001 * rng.standard_normal(16_000)
    clicks = np.zeros(16_000)
    clicks[::4_000] = 0.9
    seen: list[torch.Tensor] = []

    def code(waves: torch.Tensor) -> torch.Tensor:
        seen.append(waves)
        return waves

    waves = torch.from_numpy(np.stack([quiet, clicks, np.zeros(16_000)]))
    heard = at_telephone_level(waves, code)
    assert active_level_db(seen[0][0].numpy()) == pytest.approx(-26, abs=1e-6)
    assert float(seen[0].abs().max()) <= 1.0 + 1e-12
    torch.testing.assert_close(heard, waves.float())
    assert (heard[2] == 0).all()


@given(gain_db=st.floats(-60, 20), seed=st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_gain_changes_nothing_but_the_level(gain_db: float, seed: int) -> None:
    wave = 0.05 * np.random.default_rng(seed).standard_normal(6_000).astype(np.float32)
    gain = 10 ** (gain_db / 20)
    one, two = (mulaw(torch.from_numpy(w).unsqueeze(0)) for w in (wave, np.float32(gain) * wave))
    torch.testing.assert_close(two / gain, one, atol=2e-3, rtol=0)
    assert float((two / gain - one).abs().mean()) < 1e-6


@pytest.mark.parametrize("length", [1, 2, 3, 319, 321, 1_000])
def test_any_length_comes_back_as_long(length: int) -> None:
    wave = torch.full((2, length), 0.1)
    coded: list[int] = []

    def code(waves: torch.Tensor) -> torch.Tensor:
        coded.append(waves.shape[1])
        return waves

    heard = over_telephone(wave, code)
    assert heard.shape == wave.shape
    assert heard.dtype == torch.float32
    assert coded == [-(-length // 2)]
    assert bool(torch.isfinite(heard).all())


def test_a_line_without_a_code_is_the_band_twice() -> None:
    wave = torch.from_numpy(0.1 * np.random.default_rng(3).standard_normal((2, 8_001)).astype(np.float32))
    through = over_telephone(wave, lambda waves: waves)
    twice = band_limited(band_limited(wave))
    # at the ends the recording starts and stops at once, which no band holds
    torch.testing.assert_close(through[:, 400:-400], twice[:, 400:-400], atol=3e-4, rtol=0)
