"""Convolution of many waveforms at once, each with a response of its own, by Fourier transforms, on any device."""

import torch
from torch import Tensor

from voxanchor.audio.room import fast_length


def convolve(waves: Tensor, responses: Tensor) -> Tensor:
    """Return (N, T) float32: the first T samples of each waveform through its response; nothing is late or wraps round.

    What `voxanchor.audio.room.reverberate` gives for each row, to float rounding.

    Args:
        waves: (N, T) float32, before which there was silence.
        responses: (N, K) float32, one a row; shorter ones end in zeros. Taps beyond T are not heard.
    """
    length = waves.shape[1]
    taps = responses[:, :length]
    size = fast_length(length + taps.shape[1] - 1)
    spectrum = torch.fft.rfft(waves, size)
    spectrum *= torch.fft.rfft(taps, size)
    heard: Tensor = torch.fft.irfft(spectrum, size)[:, :length]
    return heard
