"""The telephone: its band, the level that speech has on a line, and the logarithmic code of digital exchanges.

Whole batches at once, in torch, on whatever device they lie on. Nothing is late: the band filters have no delay, and
what comes out is as long as what went in.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from voxanchor.audio.batched import measure
from voxanchor.audio.convolution import convolve
from voxanchor.audio.level import USUAL_LEVEL_DB
from voxanchor.types import SAMPLE_RATE, FloatArray

BAND_HZ = (300.0, 3400.0)
"""What a telephone line passes (ITU-T G.712)."""


_EDGE_HZ = 200.0  # from the band's end to where 60 dB are reached
_TAPS = 321
_KAISER = 5.65  # 60 dB
_BIAS = 33.0
_LARGEST = 8158.0


def band_limited(waves: Tensor) -> Tensor:
    """Return (N, T) as a telephone line passes it: 300 to 3400 Hz.

    The band is kept to 0.1 dB; what lies below 100 or above 3600 Hz loses 60 dB.

    Args:
        waves: (N, T) float32 or float64 at 16 kHz; the result is the same.
    """
    half = _TAPS // 2
    taps = torch.from_numpy(_band()).to(waves, non_blocking=True)
    heard: Tensor = convolve(F.pad(waves, (0, half)), taps.unsqueeze(0))[:, half:]
    return heard


def mulaw(waves: Tensor) -> Tensor:
    """Return (N, T) float32 after a digital telephone line: its band, 8 kHz, 8 bits in mu-law (ITU-T G.711).

    Args:
        waves: (N, T) float32 at 16 kHz.
    """
    return on_line(waves, _quantised)


def on_line(waves: Tensor, code: Callable[[Tensor], Tensor]) -> Tensor:
    """Return (N, T) float32: waves in the telephone's band, at 8 kHz and line level, coded, and brought back.

    Both ends of the line filter.

    Args:
        waves: (N, T) float32 at 16 kHz.
        code: takes and returns (N, ceil(T / 2)) float64 at 8 kHz, full scale 1.0.
    """

    def halved(levelled: Tensor) -> Tensor:
        # the band ends below 4 kHz, so every second sample holds all of it
        coded = torch.zeros_like(levelled)
        coded[:, ::2] = 2.0 * code(levelled[:, ::2])
        return band_limited(coded)

    return at_line_level(band_limited(waves.double()), halved)


def at_line_level(waves: Tensor, code: Callable[[Tensor], Tensor]) -> Tensor:
    """Return (N, T) float32: what `code` makes of the waves when they come at line level, at their own level again.

    So the result does not depend on the level of a recording. A wave whose peak would then pass full scale comes
    quieter, with its peak there. Silence stays silence.

    Args:
        waves: (N, T) float32 or float64 at 16 kHz.
        code: takes and returns (N, T) float64, full scale 1.0.
    """
    # In float64 throughout: a codec answers a difference in the last of its 16 bits with another decision, and float32
    # would round otherwise in a batch, or on another machine.
    waves = waves.double()
    level, peak = measure(waves).power.sqrt(), waves.abs().amax(dim=1)
    heard = level > 0.0
    wanted = torch.minimum(10.0 ** (USUAL_LEVEL_DB / 20.0) / level, 1.0 / peak)
    gains = torch.where(heard, wanted, torch.ones_like(level)).unsqueeze(1)
    coded = code(waves * gains) / gains
    return torch.where(heard.unsqueeze(1), coded, torch.zeros_like(coded)).float()


def _quantised(waves: Tensor) -> Tensor:
    """Return the waves after G.711's mu-law: 14 bits by segments that double, 16 steps in each."""
    biased = (waves.abs() * 8192.0).round().clamp(max=_LARGEST) + _BIAS
    # frexp puts the biased value into [2^(e-1), 2^e); a segment is one such range of 16 steps
    step = torch.exp2(torch.frexp(biased).exponent.to(biased) - 5.0)
    return waves.sign() * (((biased / step).floor() + 0.5) * step - _BIAS) / 8192.0


@lru_cache(maxsize=1)
def _band() -> FloatArray:
    """The band filter: the difference of two low-pass filters, sinc functions under a Kaiser window."""
    time = np.arange(_TAPS) - _TAPS // 2
    low, high = (
        2.0 * edge / SAMPLE_RATE * np.sinc(2.0 * edge / SAMPLE_RATE * time)
        for edge in (BAND_HZ[0] - _EDGE_HZ / 2.0, BAND_HZ[1] + _EDGE_HZ / 2.0)
    )
    taps: FloatArray = (high - low) * np.kaiser(_TAPS, _KAISER)
    return taps
