"""Batches of recordings: padded to one length, grouped so that little is padded. Without torch."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError
from voxanchor.types import SAMPLE_RATE, IntArray, Waveform

BATCH_S = 120.0
"""Seconds of padded audio in one batch, but for a single recording that is longer: what bounds the memory."""


def pad(waves: Sequence[Waveform], *, on_grid: bool = False) -> tuple[NDArray[np.float32], IntArray]:
    """Return (B, T) float32, zeros behind each end, and (B,) int64 lengths in samples.

    Args:
        waves: B of them.
        on_grid: let T be one of a few values, as `grid_samples` says; for many batches.
    """
    lengths = np.array([len(wave) for wave in waves], np.int64)
    longest = int(lengths.max())
    padded = np.zeros((len(waves), grid_samples(longest) if on_grid else longest), np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    return padded, lengths


def grid_samples(samples: int) -> int:
    """Return the length that recordings up to `samples` are padded to: at least 0.25 s, and 16 steps from s to 2 s.

    The library under torch prepares, and keeps, a kernel per shape that it meets: batches of any length would fill
    gigabytes with kernels that are used once. Whole and half seconds up to 16 s are on the grid.
    """
    samples = max(samples, SAMPLE_RATE // 4)
    step = SAMPLE_RATE // 64 << (samples * 4 // SAMPLE_RATE).bit_length() - 1
    return -(-samples // step) * step


def refuse_short(name: str, wave: Waveform, min_samples: int) -> None:
    """Do nothing for a waveform that a model can embed.

    Raises:
        AudioError: it has less than `min_samples`.
    """
    if len(wave) < min_samples:
        raise AudioError(
            f"{name}: {len(wave) / SAMPLE_RATE:.2f} s is too short to embed; "
            f"this model needs at least {min_samples / SAMPLE_RATE:.2f} s. Remove it or join recordings."
        )


def by_length(durations_s: Sequence[float]) -> list[list[int]]:
    """Return the places of recordings in batches of at most `BATCH_S` padded seconds, the longest first."""
    groups: list[list[int]] = []
    most = 0
    for place in sorted(range(len(durations_s)), key=lambda i: (-durations_s[i], i)):
        if groups and len(groups[-1]) < most:
            groups[-1].append(place)
        else:
            groups.append([place])
            most = int(BATCH_S * SAMPLE_RATE / grid_samples(round(durations_s[place] * SAMPLE_RATE)))
    return groups
