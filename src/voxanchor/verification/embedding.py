"""Recordings to embeddings, by whatever model: batched by length."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from voxanchor.errors import AudioError
from voxanchor.models.batches import by_length, pad
from voxanchor.types import SAMPLE_RATE, Embeddings, IntArray
from voxanchor.verification.recordings import Heard


class Embedder(Protocol):
    """What gives embeddings: a model in torch, or an exported file. Several threads may use one at once."""

    @property
    def fingerprint(self) -> str:
        """Names the model: embeddings of different fingerprints must not be compared unless they are compatible."""
        ...

    @property
    def embedding_dim(self) -> int:
        """D."""
        ...

    @property
    def min_samples(self) -> int:
        """Length of the shortest recording that can be embedded, at 16 kHz."""
        ...

    def embed(self, waves: NDArray[np.float32], lengths: IntArray) -> Embeddings:
        """Return (B, D) unit vectors of (B, T) waveforms with (B,) lengths in samples."""
        ...


def embed(embedder: Embedder, heard: Sequence[Heard]) -> Embeddings:
    """Return (N, D) float32 unit vectors of N recordings.

    Raises:
        AudioError: a recording that is silent, shorter than the model accepts, or louder than it can compute with.
    """
    for recording in heard:
        samples = len(recording.waveform)
        if samples < embedder.min_samples:
            seconds, needed = samples / SAMPLE_RATE, embedder.min_samples / SAMPLE_RATE
            raise AudioError(f"{recording.name}: {seconds:.2f} s is too short to embed; the model needs {needed:.2f} s")
        if recording.quality.speech_s == 0:
            raise AudioError(f"{recording.name}: silent, so there is no voice to embed. Check the recording.")
    embeddings = np.empty((len(heard), embedder.embedding_dim), dtype=np.float32)
    for batch in by_length([recording.quality.duration_s for recording in heard]):
        embeddings[batch] = embedder.embed(*pad([heard[place].waveform for place in batch]))
    for recording, row in zip(heard, embeddings, strict=True):
        if not np.isfinite(row).all():
            raise AudioError(f"{recording.name}: the model has no finite embedding of it. Scale it to 1 at full scale.")
    return embeddings
