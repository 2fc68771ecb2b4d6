"""Recordings of different lengths as batches, and batches side by side on several cores."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError
from voxanchor.extras import lazily
from voxanchor.types import SAMPLE_RATE, IntArray, Waveform

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazily("torch", globals(), "torch")


def in_equal_lengths(network: Callable[[Tensor], Tensor], waves: Tensor, lengths: Tensor) -> Tensor:
    """Return (B, D), what `network` makes of each recording without its padding.

    Args:
        network: waveforms (b, T) of one length to embeddings (b, D).
        waves: (B, T).
        lengths: (B,) int64 samples of each recording.
    """
    rows, made = [], []
    for length in sorted(set(lengths.tolist())):
        places = torch.nonzero(lengths == length).flatten()
        rows.append(places)
        made.append(network(waves[places, :length]))
    return torch.cat(made)[torch.argsort(torch.cat(rows))]


# Work on the processor divided by batch rather than inside every operation.

T = TypeVar("T")

MOST = 8
"""Items under way at once: each takes memory."""


def side_by_side(work: Callable[[T], Any], items: Iterable[T], device: torch.device) -> None:
    """Do `work` on every item: on a processor as many at once as torch has threads (up to `MOST`), sharing them out.

    Threads that divide an operation wait for each other at its end; where another program keeps a core busy they wait
    most of the time. Threads with an item each do not meet. What an item gives does not depend on the others.

    Args:
        work: without gradients; called from several threads.
        items: taken as they are needed, a few ahead.
        device: where the work is done; an accelerator gets one item after the other.
    """
    threads = torch.get_num_threads()
    at_once = min(threads, MOST) if device.type == "cpu" else 1
    if at_once == 1:
        for item in items:
            with torch.no_grad():
                work(item)
        return

    def alone(item: T) -> None:
        with torch.no_grad():
            work(item)

    try:
        with ThreadPoolExecutor(
            at_once, "model", initializer=lambda: torch.set_num_threads(threads // at_once)
        ) as pool:
            waiting: deque[Future[None]] = deque()
            try:
                for item in items:
                    waiting.append(pool.submit(alone, item))
                    if len(waiting) > at_once:
                        waiting.popleft().result()
                while waiting:
                    waiting.popleft().result()
            finally:
                for future in waiting:
                    future.cancel()
    finally:
        torch.set_num_threads(threads)


# Batches of recordings: padded to one length, grouped so that little is padded. Without torch.

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
    """Check that a waveform is long enough for a model to embed.

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
