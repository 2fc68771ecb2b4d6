"""A definition gives the same in numpy as in torch: what one recording is put into, and what a batch is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.arrays import along, beside, cast, namespace, on_host, windows
from voxanchor.audio.rooms import convolve
from voxanchor.audio.snr import SnrLevels, add_noise, frame_energy, high_pass_batch, measure
from voxanchor.audio.speed import play, source_samples


def bursts(seed: int, count: int, length: int) -> np.ndarray:
    """Waveforms with pauses, digital silence and an offset."""
    draw = np.random.default_rng(seed)
    frames = -(-length // 160)
    envelope = 10.0 ** draw.uniform(-3, 0, (count, frames)) * (draw.random((count, frames)) < 0.7)
    return 0.1 + draw.standard_normal((count, length)) * np.repeat(envelope, 160, axis=1)[:, :length]


def assert_alike(define: Callable[..., Any], *arrays: np.ndarray) -> None:
    """The results of `define`, one or several, are numpy's of arrays, torch's of tensors, and equal to rounding."""
    found, other = define(*arrays), define(*(torch.from_numpy(array.copy()) for array in arrays))
    for one, two in zip(found, other, strict=True):
        assert isinstance(one, np.ndarray)
        assert isinstance(two, torch.Tensor)
        assert one.dtype == two.numpy().dtype
        np.testing.assert_allclose(one, two.numpy(), rtol=1e-9, atol=1e-11)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 5_000), st.sampled_from(["active", "whole"]))
def test_levels_and_mixtures(seed: int, count: int, length: int, snr: SnrLevels) -> None:
    speech, noise = bursts(seed, count, length), bursts(seed + 1, count, length)
    speech[0, : length // 2] = 0.25  # digital silence
    ratios = np.linspace(-5.0, 20.0, count)
    lengths = np.random.default_rng(seed).integers(1, length + 1, count)

    def level(waves: Any, heard: Any = None) -> tuple[Any, ...]:
        found = measure(waves, heard=heard, snr=snr)
        return found.power, found.samples, found.frames

    def mixed(waves: Any, added: Any, snr_db: Any) -> tuple[Any, ...]:
        own = cast(waves, namespace(waves).float64) + 0.0
        what = add_noise(own, added, snr_db, snr)
        return own, what.gains, what.speech, what.noise

    assert_alike(lambda waves, ends: (high_pass_batch(waves), high_pass_batch(waves, ends)), speech, lengths)
    assert_alike(lambda waves, ends: (*frame_energy(waves), *frame_energy(waves, ends)), speech, lengths)
    assert_alike(level, speech)
    assert_alike(level, speech, high_pass_batch(noise))
    assert_alike(mixed, speech, noise, ratios)


@pytest.mark.parametrize("taps", [1, 700, 9_000])
def test_rooms(taps: int) -> None:
    waves, responses = bursts(1, 3, 4_321), bursts(2, 3, taps)
    assert_alike(lambda *both: (convolve(*both),), waves, responses)


@pytest.mark.parametrize("speed", [0.8, 1.0, 1.16, 1.237])
def test_speeds(speed: float) -> None:
    waves = bursts(3, 2, source_samples(5_000, speed)).astype(np.float32)
    found = play(waves, speed, 5_000)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, play(torch.from_numpy(waves), speed, 5_000).numpy(), atol=1e-6)


def test_what_is_spelt_differently() -> None:
    x, places = np.arange(12.0).reshape(2, 6), np.array([[5, 0], [1, 1]])
    assert_alike(lambda values, at: (along(values, at), windows(values, 3, 2), cast(values > 4, at.dtype)), x, places)
    assert along(x, places).tolist() == [[5.0, 0.0], [7.0, 7.0]]
    assert windows(x, 3, 2).tolist() == [[[0, 1, 2], [2, 3, 4]], [[6, 7, 8], [8, 9, 10]]]
    assert cast(x, np.float64) is x
    assert beside(places, x) is places
    tensor = beside(places, torch.zeros(1))
    assert isinstance(tensor, torch.Tensor)
    assert tensor.tolist() == places.tolist()
    assert on_host(x) is x
    assert on_host(tensor).tolist() == places.tolist()
