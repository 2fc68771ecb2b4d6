"""Levels of many waveforms at once, beside the functions for one."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio import snr
from voxanchor.audio.snr import (
    ACTIVITY_MARGIN_DB,
    active_level_db,
    active_s,
    activity,
    frame_energy,
    high_pass,
    level_db,
    measure,
    noise_gains,
)
from voxanchor.types import SAMPLE_RATE


def bursts(seed: int, count: int, length: int) -> np.ndarray:
    """Waveforms whose loudness jumps about, some with stretches of digital silence."""
    draw = np.random.default_rng(seed)
    frames = -(-length // 200)
    envelope = 10.0 ** draw.uniform(-4, 0, (count, frames)) * (draw.random((count, frames)) < 0.8)
    return (draw.standard_normal((count, length)) * np.repeat(envelope, 200, axis=1)[:, :length]).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 5), st.integers(1, 6000))
def test_levels_are_those_of_each_waveform_alone(seed: int, count: int, length: int) -> None:
    waves = bursts(seed, count, length)
    found = measure(torch.from_numpy(waves))
    for wave, power, samples in zip(waves, found.power.tolist(), found.samples.tolist(), strict=True):
        level = active_level_db(wave)
        assert (10 * np.log10(power) if power else -np.inf) == np.float64(level) or abs(
            10 * np.log10(power) - level
        ) < 1e-5
        assert samples == round(active_s(wave) * SAMPLE_RATE)


def test_the_fixed_point_may_be_many_passes_away() -> None:
    """Frames of which every pass of the definition leaves out one, the quietest."""
    ratio = 10.0 ** (-ACTIVITY_MARGIN_DB / 10.0)
    power = [1.0]
    for count in range(2, 41):
        power.append(0.99 * ratio * sum(power) / (count - 0.99 * ratio))  # just too far below the mean, itself included
    active, passes = power, 0
    while len(kept := [one for one in active if one > ratio * sum(active) / len(active)]) < len(active):
        active, passes = kept, passes + 1
    assert passes > 30
    found = activity(torch.tensor([power[::-1]], dtype=torch.float64), torch.ones(40, dtype=torch.float64))
    assert found.power.item() == sum(active) / len(active)
    assert found.samples.item() == len(active)


def test_energy_counts_every_sample_once() -> None:
    waves = np.random.default_rng(1).standard_normal((3, 1000)).astype(np.float32)
    energy, samples = frame_energy(torch.from_numpy(waves))
    assert samples.tolist() == [320.0, 320.0, 320.0, 40.0]
    expected = [float((high_pass(wave) ** 2).sum()) for wave in waves]
    np.testing.assert_allclose(energy.sum(dim=1).numpy(), expected, rtol=1e-6)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(1, 6000), min_size=1, max_size=4), st.floats(-0.5, 0.5))
def test_padding_and_dc_change_no_level(seed: int, lengths: list[int], offset: float) -> None:
    waves = bursts(seed, len(lengths), max(lengths) + 700) + np.float32(offset)
    padded, ends = torch.from_numpy(waves), torch.tensor(lengths)
    filtered = snr.high_pass_batch(padded, ends)
    energy, samples = frame_energy(padded, ends)
    for row, length in enumerate(lengths):
        alone = padded[row : row + 1, :length]
        np.testing.assert_allclose(filtered[row, :length], snr.high_pass_batch(alone)[0], atol=1e-6)
        np.testing.assert_allclose(filtered[row, :length], high_pass(waves[row, :length]), atol=1e-6)
        assert not filtered[row, length:].any()
        own, counts = frame_energy(alone)
        np.testing.assert_allclose(energy[row, : own.shape[1]], own[0], rtol=1e-3, atol=1e-9)
        assert samples[row, : own.shape[1]].tolist() == counts.tolist()
        assert not samples[row, own.shape[1] :].any()


def test_gains_set_the_ratio_of_whole_levels_where_that_is_asked_for() -> None:
    speech, noise = (torch.from_numpy(bursts(seed, 4, 16_100)) for seed in (2, 3))
    speech[2], noise[3] = 0.0, 0.0
    gains = noise_gains(measure(speech, snr="whole"), measure(noise, snr="whole"), torch.tensor([-5.0, 12.5, 0.0, 0.0]))
    assert gains[2:].tolist() == [0.0, 0.0]
    for row, ratio in enumerate((-5.0, 12.5)):
        added = noise[row].numpy().astype(np.float64) * float(gains[row])
        assert abs(level_db(speech[row].numpy()) - level_db(added) - ratio) < 1e-5
        assert abs(active_level_db(speech[row].numpy()) - active_level_db(added) - ratio) > 0.05


def test_gains_set_the_ratio_of_the_active_levels_and_leave_silence_alone() -> None:
    speech, noise = (torch.from_numpy(bursts(seed, 4, 16_000)) for seed in (2, 3))
    speech[2], noise[3] = 0.0, 0.0
    ratios = torch.tensor([-5.0, 12.5, 0.0, 0.0])
    gains = noise_gains(measure(speech), measure(noise), ratios)
    assert gains[2:].tolist() == [0.0, 0.0]
    for row in (0, 1):
        added = noise[row].numpy().astype(np.float64) * float(gains[row])
        assert abs(active_level_db(speech[row].numpy()) - active_level_db(added) - float(ratios[row])) < 1e-5
