"""Embeddings of a corpus of any size: window by window, each into a shard of its own."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.utterance import Utterance
from voxanchor.errors import AudioError, TooLongError, VoxanchorError
from voxanchor.evaluation.bulk_shards import Failure, Shard
from voxanchor.evaluation.bulk_windows import window_path
from voxanchor.evaluation.embed import forward, read_batches
from voxanchor.models.batches import by_length, pad, refuse_short
from voxanchor.models.exported import ExportedEncoder
from voxanchor.models.registry import Embedder
from voxanchor.progress import Advance
from voxanchor.types import SAMPLE_RATE, Waveform

READERS = 2
"""Threads that read ahead of the model, at least: one decodes while the other waits for the disk."""

_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Job:
    """What is done to every window of a corpus.

    Attributes:
        model: reference of the model.
        fingerprint: of the model.
        windows: folder with the windows of the manifest.
        shards: folder for the shards.
        precision: ``float32`` or ``bfloat16``: the arithmetic of the model's matrix products; an exported
            model has its own.
        longest_s: a longer recording is a failure: the memory a model takes grows with the length.
        device: where the model runs, as a user names it.
    """

    model: str
    fingerprint: str
    windows: Path
    shards: Path
    precision: str
    longest_s: float
    device: str = "auto"

    def shard(self, window: int) -> Path:
        """Return where the shard of a window lies, or will lie."""
        return self.shards / f"embeddings-{window:05d}.safetensors"

    def do(self, encoder: Embedder, window: int, advance: Advance) -> None:
        """Embed a window and write its shard."""
        manifest = Manifest.load(window_path(self.windows, window))
        shard = embed_window(encoder, manifest, advance, precision=self.precision, longest_s=self.longest_s)
        shard.save(self.shard(window), {"model": self.fingerprint, "precision": self.precision})


def embed_window(
    encoder: Embedder,
    manifest: Manifest,
    advance: Advance,
    *,
    precision: str = "float32",
    longest_s: float = float("inf"),
) -> Shard:
    """Return the embeddings of a manifest's utterances in their order, and the recordings that have none.

    Batched by length, read by threads ahead of the model. A recording that cannot be read, is silent, too short or too
    long, or has no finite embedding is among the failures, after those the manifest itself left out.

    Args:
        encoder: in evaluation mode, wherever it is to compute.
        manifest: as many utterances as one shard is to hold.
        advance: called with the number of recordings done since the last call.
        precision: ``float32`` or ``bfloat16``; an exported model has its own.
        longest_s: length of the longest recording that is embedded.
    """
    utterances = manifest.utterances
    embeddings = np.zeros((len(utterances), encoder.embedding_dim), np.float32)
    reasons: dict[int, str] = {}

    def read(utterance: Utterance) -> Waveform:
        return _read(utterance, encoder.min_samples, longest_s)

    readers = max(READERS, torch.get_num_threads())
    for places, loaded in read_batches(utterances, read, readers):
        waves: list[Waveform] = []
        rows: list[int] = []
        for place, wave in zip(places, loaded, strict=True):
            if isinstance(wave, VoxanchorError):
                reasons[place] = _reason(utterances[place], wave)
            else:
                rows.append(place)
                waves.append(wave)
        # by what was read, not by what the manifest states: a file that grew meanwhile must not burst the memory
        for batch in by_length([len(wave) / SAMPLE_RATE for wave in waves]):
            # the grid spares memory in the library under torch alone
            on_grid = not isinstance(encoder, ExportedEncoder)
            made = forward(encoder, *pad([waves[i] for i in batch], on_grid=on_grid), precision)
            embeddings[[rows[i] for i in batch]] = made
        advance(len(places))
    lengths = np.linalg.norm(embeddings, axis=1)
    for place in np.flatnonzero(~(np.abs(lengths - 1.0) < _UNIT_TOLERANCE)).tolist():
        reasons.setdefault(place, "the model gives no embedding of finite length for it")
    kept = [place for place in range(len(utterances)) if place not in reasons]
    left_out = [Failure(item.path, item.reason) for item in manifest.unusable]
    return Shard(
        ids=tuple(utterances[place].id for place in kept),
        speakers=tuple(utterances[place].speaker for place in kept),
        embeddings=embeddings[kept],
        failures=(*left_out, *(Failure(utterances[place].id, reasons[place]) for place in sorted(reasons))),
    )


def _read(utterance: Utterance, min_samples: int, longest_s: float) -> Waveform:
    if utterance.duration_s > longest_s:
        raise TooLongError.beyond(utterance.id, utterance.duration_s, longest_s)
    wave = utterance.read()
    refuse_short(utterance.id, wave, min_samples)
    if len(wave) > longest_s * SAMPLE_RATE:
        raise TooLongError.beyond(utterance.id, len(wave) / SAMPLE_RATE, longest_s)
    if not wave.any():
        raise AudioError(f"{utterance.id}: silent, so there is no voice to embed. Check the recording.")
    return wave


def _reason(utterance: Utterance, error: VoxanchorError) -> str:
    """Return what an error says, without the name of the recording in front."""
    text = str(error).removeprefix(f"{utterance.id}: ")
    return text.removeprefix(f"{utterance.parts[0].path}: ") if len(utterance.parts) == 1 else text
