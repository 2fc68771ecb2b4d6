import numpy as np
import pytest
from scipy.signal import get_window

from voxanchor.models.frontend import Window, dft, kaldi_mel, preemphasis, slaney_mel, symmetric_mel, symmetric_window


@pytest.mark.parametrize("name", ["hamming", "hann", "blackman"])
def test_symmetric_windows_agree_with_scipy(name: Window) -> None:
    np.testing.assert_allclose(symmetric_window(name, 400), get_window(name, 400, fftbins=False), atol=1e-12)


def test_povey_is_a_power_of_hann() -> None:
    hann = np.clip(get_window("hann", 400, fftbins=False), 0, None)
    np.testing.assert_allclose(symmetric_window("povey", 400), hann**0.85, atol=1e-12)
    assert (symmetric_window("rectangular", 7) == 1).all()


@pytest.mark.parametrize("n_fft", [400, 512])
def test_dft_agrees_with_numpy(n_fft: int) -> None:
    generator = np.random.default_rng(0)
    frame, window = generator.standard_normal(400), generator.uniform(size=400)
    spectrum = np.fft.rfft(frame * window, n_fft)
    real, imaginary = np.split(dft(window, n_fft) @ frame, 2)
    np.testing.assert_allclose(real + 1j * imaginary, spectrum, atol=1e-10)


def test_preemphasis() -> None:
    frame = np.random.default_rng(1).standard_normal(50) + 3
    expected = frame - 0.97 * np.concatenate([frame[:1], frame[:-1]])
    np.testing.assert_allclose(preemphasis(50, 0.97) @ frame, expected, atol=1e-12)


def test_kaldi_filters_overlap_to_one_and_leave_nyquist_out() -> None:
    weights = kaldi_mel(40, 512, 16_000, 20.0, 8_000.0)
    assert weights.shape == (40, 257)
    assert (weights >= 0).all()
    assert weights.max() <= 1
    assert (weights[:, -1] == 0).all()
    peaks_hz = np.argmax(weights, axis=1) * 16_000 / 512
    assert (np.diff(peaks_hz) > 0).all()
    # Between the first and the last centre neighbouring triangles add up to 1.
    between = slice(int(peaks_hz[0] / 31.25) + 1, int(peaks_hz[-1] / 31.25))
    np.testing.assert_allclose(weights.sum(axis=0)[between], 1.0, atol=1e-9)


def test_slaney_filters_have_unit_area() -> None:
    # On a fine grid the sum times the bin's width is the area of a triangle.
    weights = slaney_mel(40, 2**16, 16_000)
    np.testing.assert_allclose(weights.sum(axis=1) * 16_000 / 2**16, 1.0, rtol=1e-3)
    centres_hz = np.argmax(weights, axis=1) * 16_000 / 2**16
    assert np.ptp(np.diff(centres_hz[centres_hz < 1_000])) < 1
    ratios = centres_hz[1:] / centres_hz[:-1]
    assert np.ptp(ratios[centres_hz[:-1] > 1_000]) < 1e-3


def test_symmetric_filters_begin_at_the_centre_before_and_end_as_far_above() -> None:
    # a bin every 0.1 Hz: what is above 0 is as wide as the triangle
    weights = symmetric_mel(40, 160_000, 16_000)
    assert weights.max() <= 1
    centres_hz = np.argmax(weights, axis=1) / 10
    mels = 2595 * np.log10(1 + centres_hz / 700)
    np.testing.assert_allclose(np.diff(mels), 2595 * np.log10(1 + 8_000 / 700) / 41, atol=0.2)
    for row, centre_hz, before_hz in zip(weights, centres_hz, [0.0, *centres_hz[:-1]], strict=True):
        above = np.flatnonzero(row)
        assert above[0] / 10 == pytest.approx(before_hz, abs=0.3)
        assert above[-1] / 10 == pytest.approx(2 * centre_hz - before_hz, abs=0.3)
