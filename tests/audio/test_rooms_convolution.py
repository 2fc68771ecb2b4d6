"""Many waveforms through many responses at once, beside scipy row by row."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import fftconvolve

from voxanchor.audio.rooms import convolve, reverberate


@given(st.integers(1, 2000), st.lists(st.integers(1, 3000), min_size=1, max_size=6), st.integers(0, 10_000))
@settings(max_examples=50, deadline=None)
def test_every_row_is_its_own_convolution(length: int, taps: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    waves = (draw.standard_normal((len(taps), length)) * 10.0 ** draw.uniform(-3, 0, (len(taps), 1))).astype(np.float32)
    responses = np.zeros((len(taps), max(taps)), np.float32)
    for row, count in enumerate(taps):
        responses[row, :count] = draw.standard_normal(count)
    found = convolve(torch.from_numpy(waves), torch.from_numpy(responses)).numpy()
    assert found.shape == waves.shape
    assert found.dtype == np.float32
    for row, count in enumerate(taps):
        response = responses[row, :count]
        expected = fftconvolve(waves[row].astype(np.float64), response.astype(np.float64))[:length]
        # rounding of a transform is relative to the norms of what is multiplied
        scale = float(np.linalg.norm(waves[row]) * np.linalg.norm(response))
        np.testing.assert_allclose(found[row], expected, rtol=0, atol=1e-6 * scale)
        np.testing.assert_allclose(found[row], reverberate(waves[row], response), rtol=0, atol=1e-6 * scale)


def test_the_inputs_are_left_as_they_were() -> None:
    waves, responses = torch.randn(3, 500), torch.randn(3, 700)
    kept = waves.clone(), responses.clone()
    convolve(waves, responses)
    assert torch.equal(waves, kept[0])
    assert torch.equal(responses, kept[1])


def test_a_row_does_not_depend_on_its_company() -> None:
    waves, responses = torch.randn(4, 3000), torch.randn(4, 900)
    together = convolve(waves, responses)
    for row in range(4):
        # one row alone goes through numpy's transform, whose rounding is another
        scale = float(waves[row].norm() * responses[row].norm())
        alone = convolve(waves[row : row + 1], responses[row : row + 1])[0]
        torch.testing.assert_close(alone, together[row], atol=1e-6 * scale, rtol=0.0)
