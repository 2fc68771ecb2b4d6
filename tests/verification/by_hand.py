"""A model that is a formula, and a calibration that is a line."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxanchor.scoring.calibration import Calibration, CalibrationRecord, Threshold
from voxanchor.types import Embeddings, IntArray, Waveform

Said = Callable[..., Waveform]
"""(angle, seconds=2, speaker=0) -> a recording with that embedding by `Angles`."""

SCALE = 10.0


@dataclass(frozen=True)
class Angles:
    """A model that gives (cos a, sin a, 0, 0) for a recording whose first sample is a tenth of the angle a."""

    fingerprint: str = "angles"
    embedding_dim: int = 4
    min_samples: int = 4000
    hears_level: bool = False

    def embed(self, waves: NDArray[np.float32], lengths: IntArray) -> Embeddings:
        angles = SCALE * waves[:, 0]
        zeros = np.zeros_like(angles)
        return np.stack((np.cos(angles), np.sin(angles), zeros, zeros), axis=1).astype(np.float32)


def line(model: str = "angles", offset: float = -5.0, slope: float = 10.0) -> CalibrationRecord:
    """A calibration that is artanh of the cosine times a slope, and was fitted on 1 to 10 s at 5 to 30 dB."""
    zero = {"speech": (0.0, 0.0), "snr": (0.0, 0.0)}
    ranges = {"speech": (0.0, float(np.log(10))), "snr": (0.5, 3.0)}
    calibration = Calibration("cosine", offset, slope, ("speech", "snr"), zero, zero, ranges)
    thresholds = (Threshold(1.0, 2.5, 5000, 50, 20, 3.0, 0.5, 2.0), Threshold(0.1, None, 5000, 5, 3, remark="too few"))
    return CalibrationRecord(model, calibration, thresholds, (), {})
