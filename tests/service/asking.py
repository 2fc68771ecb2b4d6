"""What tests of the service share: files as bytes, form fields, a judge, a model that can be held up."""

import io
import threading

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxanchor.scoring.backend import ScoringBackend
from voxanchor.scoring.calibration import Calibration, CalibrationRecord, Threshold
from voxanchor.types import Embeddings, IntArray
from voxanchor.verification.embedding import Embedder


class Held:
    """An embedder that waits until it is let go, and notes the size of every batch."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self.fingerprint, self.embedding_dim = embedder.fingerprint, embedder.embedding_dim
        self.min_samples, self.hears_level = embedder.min_samples, embedder.hears_level
        self.go, self.began = threading.Event(), threading.Event()
        self.batches: list[int] = []

    def embed(self, waves: NDArray[np.float32], lengths: IntArray) -> Embeddings:
        self.began.set()
        assert self.go.wait(20)
        self.batches.append(len(waves))
        return self._embedder.embed(waves, lengths)


def backend_of(fingerprint: str) -> ScoringBackend:
    thresholds = (Threshold(1.0, 2.0, 1000, 10, 100, 5.0), Threshold(0.01, None, 1000, remark="too few trials"))
    calibration = Calibration("cosine", -2.0, 8.0)
    return ScoringBackend(CalibrationRecord(fingerprint, calibration, thresholds, figures=(), material={}))


def encoded(wave: np.ndarray, kind: str = "WAV", rate: int = 16_000) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, wave, rate, format=kind)
    return buffer.getvalue()


def one(content: bytes, name: str = "a.wav") -> dict[str, tuple[str, bytes]]:
    """The form field of a request with one recording."""
    return {"recording": (name, content)}


def several(*contents: bytes) -> list[tuple[str, tuple[str, bytes]]]:
    return [("recordings", (f"{place}.wav", content)) for place, content in enumerate(contents)]
