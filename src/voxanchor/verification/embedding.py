"""Recordings to embeddings, by whatever model: batched by length, long ones block by block."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.snr import FRAME_SAMPLES
from voxanchor.errors import AudioError
from voxanchor.models.batches import by_length, pad
from voxanchor.types import SAMPLE_RATE, Embeddings, IntArray
from voxanchor.verification.recordings import LoadedAudio, Long

if TYPE_CHECKING:
    import torch

    from voxanchor.models.encoder import SpeakerEncoder


class TorchEmbedder:
    """An encoder in evaluation mode. Several threads may use one at once.

    Args:
        encoder: what embeds; it is moved to the device.
        device: where it computes; where it lies by default.

    Attributes:
        encoder: what embeds; must not be trained meanwhile.
        fingerprint: its fingerprint when this was made; computing one reads every weight.
        embedding_dim: D.
        min_samples: length of the shortest recording that can be embedded.
        hears_level: whether gain changes an embedding.
        device: where it computes, in torch's words.
    """

    def __init__(self, encoder: "SpeakerEncoder", device: "torch.device | None" = None) -> None:
        self.fingerprint = encoder.fingerprint  # before the weights move: it reads each of them on the host
        self.encoder = (encoder if device is None else encoder.to(device)).eval()
        self.device = str(next(self.encoder.parameters()).device)
        self.embedding_dim = encoder.embedding_dim
        self.min_samples = encoder.min_samples
        self.hears_level = encoder.hears_level

    def embed(self, waves: NDArray[np.float32], lengths: IntArray) -> Embeddings:
        """Return (B, D) float32 unit vectors in the host's memory, computed where the encoder lies.

        Args:
            waves: (B, T) float32 at 16 kHz; what lies behind a recording's length is not heard.
            lengths: (B,) int64 samples of each recording.

        Raises:
            AudioError: a recording shorter than `min_samples`.
            ModelError: shapes that do not fit.
        """
        import torch  # here, so that exported files are embedded where torch is not installed

        device = next(self.encoder.parameters()).device
        with torch.no_grad():
            found = self.encoder(torch.from_numpy(waves).to(device), torch.from_numpy(lengths))
        embeddings: Embeddings = found.float().cpu().numpy()
        return embeddings


# Recordings to embeddings, by whatever model: batched by length, long ones block by block.

# A recording of more than 120 s (`voxanchor.verification.recordings.WHOLE_S`) is cut into equal blocks of at most 30 s;
# its embedding is the mean of theirs, each weighted by the active speech in it, at unit length again. Blocks without
# speech are left out. So the memory does not grow with the length.

BLOCK_S = 30.0
"""Longest block of a long recording."""


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

    @property
    def hears_level(self) -> bool:
        """Whether the gain of a recording changes its embedding."""
        ...

    def embed(self, waves: NDArray[np.float32], lengths: IntArray) -> Embeddings:
        """Return (B, D) unit vectors of (B, T) waveforms with (B,) lengths in samples."""
        ...


def embed(embedder: Embedder, audio: Sequence[LoadedAudio]) -> Embeddings:
    """Return (N, D) float32 unit vectors of N recordings.

    Raises:
        AudioError: a recording that is silent, shorter than the model accepts, or louder than it can compute with.
    """
    for recording in audio:
        samples = recording.samples
        if samples < embedder.min_samples:
            seconds, needed = samples / SAMPLE_RATE, embedder.min_samples / SAMPLE_RATE
            raise AudioError(f"{recording.name}: {seconds:.2f} s is too short to embed; the model needs {needed:.2f} s")
        if recording.quality.speech_s == 0:
            raise AudioError(f"{recording.name}: silent, so there is no voice to embed. Check the recording.")
    embeddings = np.empty((len(audio), embedder.embedding_dim), dtype=np.float32)
    whole = [place for place, recording in enumerate(audio) if not isinstance(recording.sound, Long)]
    for batch in by_length([audio[place].quality.duration_s for place in whole]):
        places = [whole[index] for index in batch]
        embeddings[places] = embedder.embed(*pad([audio[place].waveform for place in places]))
    for place, recording in enumerate(audio):
        if isinstance(recording.sound, Long):
            embeddings[place] = _in_blocks(embedder, recording.sound)
    for recording, row in zip(audio, embeddings, strict=True):
        if not np.isfinite(row).all():
            raise AudioError(f"{recording.name}: the model has no finite embedding of it. Scale it to 1 at full scale.")
    return embeddings


def _in_blocks(embedder: Embedder, sound: Long) -> NDArray[np.float32]:
    """Return the (D,) unit vector of a long recording that holds speech."""
    count = -(-sound.samples // round(BLOCK_S * SAMPLE_RATE))
    # blocks begin where frames do
    length = -(-sound.samples // (count * FRAME_SAMPLES)) * FRAME_SAMPLES
    total = np.zeros(embedder.embedding_dim)
    for number, block in enumerate(sound.blocks(length)):
        first = number * length // FRAME_SAMPLES
        speech = int(sound.active[first : first + length // FRAME_SAMPLES].sum())
        if speech and len(block) >= embedder.min_samples:
            total += speech * embedder.embed(*pad([block]))[0]
    unit: NDArray[np.float32] = (total / np.linalg.norm(total)).astype(np.float32)
    return unit
