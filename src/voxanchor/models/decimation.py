"""Waveforms at half their rate, differentiably: for networks that hear telephone speech at 8 kHz."""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

_REACH = 128
"""Samples that the filter sees on either side."""

_CUTOFF = 0.475
"""Middle of the slope in parts of half the input's rate: 3.8 kHz of 16 kHz, with all kept to 3.6 and nothing from 4."""

_BETA = 9.0
"""Kaiser's window with 90 dB of attenuation."""


class Halved(nn.Module):
    """Every second sample behind a windowed-sinc low-pass filter without delay."""

    def __init__(self) -> None:
        super().__init__()
        places = np.arange(-_REACH, _REACH + 1)
        taps = np.sinc(_CUTOFF * places) * np.kaiser(len(places), _BETA)
        # follows the module to its device, and is no weight that anybody saves
        self.register_buffer("taps", torch.from_numpy(taps / taps.sum()).float()[None, None], persistent=False)

    def forward(self, waves: Tensor) -> Tensor:
        """Return (B, ceil(T / 2)) float32 of `waves` (B, T); zeros lie before the first sample and behind the last."""
        taps: Tensor = self.taps  # type: ignore[assignment]
        with torch.autocast(waves.device.type, enabled=False):
            return F.conv1d(waves.float().unsqueeze(1), taps, stride=2, padding=_REACH).squeeze(1)


def halved_length(samples: Tensor) -> Tensor:
    """Return how many samples `Halved` makes of so many."""
    return torch.div(samples + 1, 2, rounding_mode="floor")
