import numpy as np
import pytest
import soxr
import torch

from voxanchor.models.foreign.user import Halved, halved_length

RATE = 16_000


def tones(frequencies_hz: list[float], samples: int = RATE) -> np.ndarray:
    time_s = np.arange(samples) / RATE
    draw = np.random.default_rng(0)
    waves = [0.1 * np.sin(2 * np.pi * f * time_s + draw.uniform(0, 6)) for f in frequencies_hz]
    summed: np.ndarray = np.sum(waves, axis=0)
    return summed


def halve(wave: np.ndarray) -> np.ndarray:
    halved: np.ndarray = Halved()(torch.from_numpy(wave.astype(np.float32))[None])[0].numpy()
    return halved


def test_what_the_telephone_band_holds_is_kept_as_soxr_keeps_it() -> None:
    wave = tones([60, 310, 1000, 2222, 3100, 3400, 3550])
    expected = soxr.resample(wave, RATE, RATE // 2)
    inside = slice(200, -200)  # both filters look past the ends
    np.testing.assert_allclose(halve(wave)[inside], expected[inside], atol=2e-4 * np.abs(wave).max())


@pytest.mark.parametrize("frequency_hz", [4050, 4500, 6000, 7900])
def test_what_would_fold_back_is_gone(frequency_hz: float) -> None:
    wave = tones([frequency_hz])
    assert np.abs(halve(wave)[200:-200]).max() < 1e-4 * np.abs(wave).max()


@pytest.mark.parametrize("samples", [15_999, 16_000, 16_001])
def test_lengths(samples: int) -> None:
    assert len(halve(tones([500], samples))) == int(halved_length(torch.tensor(samples))) == -(-samples // 2)


def test_gradients_flow_and_nothing_is_saved_or_rounded() -> None:
    halved, waves = Halved(), torch.randn(1, 4000).requires_grad_()
    halved(waves).square().sum().backward()
    assert waves.grad is not None
    assert waves.grad.abs().sum() > 0
    assert not halved.state_dict()
    exact = halved(waves)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(halved(waves), exact)
