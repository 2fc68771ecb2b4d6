"""Shapes of the data that travel between rooms, and the one sample rate they share."""

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16_000
"""Rate in Hz of every waveform inside the program. Files of any other rate are resampled on reading."""

Waveform: TypeAlias = NDArray[np.float32]
"""(T,) float32, mono, 16 kHz, full scale at 1.0. Values beyond full scale are legal: nothing clips in secret."""

FloatArray: TypeAlias = NDArray[np.float64]
IntArray: TypeAlias = NDArray[np.int64]
BoolArray: TypeAlias = NDArray[np.bool_]

Embeddings: TypeAlias = NDArray[np.float32]
"""(N, D) float32, one unit vector a row."""
