"""The API people call: load a model, embed recordings, compare two of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from voxanchor.audio.io import read
from voxanchor.audio.level import active_s
from voxanchor.errors import AudioError
from voxanchor.evaluation.embed import by_length, forward, pad
from voxanchor.models import registry
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.registry import Embedder
from voxanchor.types import SAMPLE_RATE, Embeddings, Waveform

MIN_SPEECH_S = 0.5
"""Less active speech than this carries no reliable voice: the verifier abstains."""


@dataclass(frozen=True)
class Verification:
    """The comparison of two recordings.

    Attributes:
        score: cosine of the two embeddings, -1 to 1; None when the verifier abstains. It is not a probability, and
            where to put the threshold depends on model and conditions: measure it (``voxanchor evaluate``).
        speech_s: seconds of active speech in each.
        reason: why the verifier abstains; empty when it does not.
    """

    score: float | None
    speech_s: tuple[float, float]
    reason: str = ""


class Verifier:
    """A loaded model with what is needed to compare recordings."""

    def __init__(self, encoder: Embedder) -> None:
        self.encoder = encoder.eval() if isinstance(encoder, SpeakerEncoder) else encoder

    @property
    def fingerprint(self) -> str:
        """Names the model: embeddings of different fingerprints must not be compared unless they are compatible."""
        return self.encoder.fingerprint

    def embed(self, recordings: Sequence[str | Path | Waveform]) -> Embeddings:
        """Return (N, D) float32 unit vectors of N recordings.

        Args:
            recordings: paths of files, or (T,) float32 waveforms at 16 kHz with full scale 1.

        Raises:
            AudioError: a recording that cannot be read, is silent, or is shorter than the model accepts.
        """
        waves = [self._wave(recording, place) for place, recording in enumerate(recordings)]
        embeddings = np.empty((len(waves), self.encoder.embedding_dim), dtype=np.float32)
        with torch.no_grad():
            for batch in by_length([len(wave) / SAMPLE_RATE for wave in waves]):
                embeddings[batch] = forward(self.encoder, *pad([waves[place] for place in batch]))
        return embeddings

    def verify(self, first: str | Path | Waveform, second: str | Path | Waveform) -> Verification:
        """Return the score of two recordings, or an abstention when one of them holds too little speech.

        Raises:
            AudioError: a recording that cannot be read at all.
        """
        pair = [_read(recording) for recording in (first, second)]
        speech_s = (active_s(pair[0]), active_s(pair[1]))
        for recording, seconds, name in zip((first, second), speech_s, ("first", "second"), strict=True):
            if seconds < MIN_SPEECH_S:
                what = f"'{recording}'" if isinstance(recording, str | Path) else f"the {name} recording"
                found = "is silent" if seconds == 0 else f"holds {seconds:.2f} s of speech"
                return Verification(None, speech_s, f"{what} {found}; at least {MIN_SPEECH_S} s are needed")
        embeddings = self.embed(pair)
        return Verification(float(np.clip(embeddings[0] @ embeddings[1], -1.0, 1.0)), speech_s)

    def _wave(self, recording: str | Path | Waveform, place: int) -> Waveform:
        wave = _read(recording)
        name = str(recording) if isinstance(recording, str | Path) else f"recording {place}"
        if len(wave) < self.encoder.min_samples:
            needed = f"{self.encoder.min_samples / SAMPLE_RATE:.2f} s"
            raise AudioError(f"{name}: {len(wave) / SAMPLE_RATE:.2f} s is too short to embed; the model needs {needed}")
        if active_s(wave) == 0:
            raise AudioError(f"{name}: silent, so there is no voice to embed. Check the recording.")
        return wave


def load(reference: str | Path) -> Verifier:
    """Return the verifier of a model.

    Args:
        reference: a model directory, an exported ``.onnx`` file, ``ge2e``, or another form that ``voxanchor models``
            lists; ``python:module:function`` runs that code.

    Raises:
        ModelError: nothing of that name, or a directory or file that cannot be loaded.
        MissingExtraError: the package that it needs is not installed.
    """
    return Verifier(registry.load_embedder(reference))


def _read(recording: str | Path | Waveform) -> Waveform:
    if isinstance(recording, str | Path):
        return read(recording)
    wave = np.asarray(recording, dtype=np.float32)
    if wave.ndim != 1 or not wave.size or not np.isfinite(wave).all():
        raise AudioError(f"a waveform must be a non-empty row of finite samples, got shape {wave.shape}")
    return wave
