"""Recordings whose embedding is stated."""

from collections.abc import Callable

import numpy as np
import pytest
from tests.verification.by_hand import SCALE, Said

from voxanchor.types import Waveform


@pytest.fixture(scope="session")
def said(voice: Callable[..., np.ndarray]) -> Said:
    """(angle, seconds=2, speaker=0) -> a recording with that embedding by `Angles`."""

    def make(angle: float, seconds: float = 2.0, speaker: int = 0) -> Waveform:
        wave: Waveform = voice(speaker, 0, seconds).copy()
        for start in range(8000, len(wave), 16_000):  # pauses, so that there is a floor to estimate
            wave[start : start + 3200] *= 1e-2
        wave[0] = angle / SCALE
        return wave

    return make
