"""Many recordings to embeddings: batched by length, prepared by threads while the model works."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from voxanchor.corpus.utterance import Utterance
from voxanchor.errors import AudioError
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.progress import track
from voxanchor.types import SAMPLE_RATE, Embeddings, Waveform

BATCH_S = 120.0
"""Seconds of padded audio in one batch: what bounds the memory, whatever the recordings' lengths."""

Read = Callable[[Utterance], Waveform]


def embed(
    encoder: SpeakerEncoder, utterances: Sequence[Utterance], *, label: str, read: Read = Utterance.read
) -> Embeddings:
    """Return (N, D) float32 unit vectors, row i for utterance i.

    Args:
        encoder: put into evaluation mode while it works, and left as it was found.
        utterances: N of them.
        label: what the progress display calls the job.
        read: gives an utterance's waveform; a condition is rendered here.

    Raises:
        AudioError: a recording shorter than the encoder can embed.
    """
    return embed_with([encoder], utterances, label=label, read=read)[0]


def embed_with(
    encoders: Sequence[SpeakerEncoder], utterances: Sequence[Utterance], *, label: str, read: Read = Utterance.read
) -> list[Embeddings]:
    """Return one (N, D) array per encoder; every recording is read, and its noise rendered, once for all of them."""
    results = [np.empty((len(utterances), encoder.config.embedding_dim), np.float32) for encoder in encoders]
    modes = [encoder.training for encoder in encoders]
    shortest = max((encoder.min_samples for encoder in encoders), default=0)
    try:
        for encoder in encoders:
            encoder.eval()
        with track(label, len(utterances)) as advance, torch.no_grad():
            for places, waves in _batches(utterances, read):
                for place, wave in zip(places, waves, strict=True):
                    if len(wave) < shortest:
                        raise AudioError(
                            f"{utterances[place].id}: {len(wave) / SAMPLE_RATE:.2f} s is too short to embed; "
                            f"this model needs at least {shortest / SAMPLE_RATE:.2f} s. Remove it or join recordings."
                        )
                padded, lengths = pad(waves)
                for encoder, result in zip(encoders, results, strict=True):
                    device = next(encoder.parameters()).device
                    result[places] = encoder(padded.to(device), lengths.to(device)).float().cpu().numpy()
                advance(len(places))
    finally:
        for encoder, mode in zip(encoders, modes, strict=True):
            encoder.train(mode)
    return results


def pad(waves: Sequence[Waveform]) -> tuple[torch.Tensor, torch.Tensor]:
    """Return (B, T) float32, zeros behind each end, and (B,) int64 lengths in samples."""
    lengths = torch.tensor([len(wave) for wave in waves], dtype=torch.int64)
    padded = torch.zeros(len(waves), int(lengths.max()))
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = torch.from_numpy(wave)
    return padded, lengths


def _batches(utterances: Sequence[Utterance], read: Read) -> Iterator[tuple[list[int], list[Waveform]]]:
    groups = by_length([utterance.duration_s for utterance in utterances])
    with ThreadPoolExecutor(1, thread_name_prefix="read") as pool:

        def load(group: list[int]) -> list[Waveform]:
            return [read(utterances[place]) for place in group]

        upcoming = [pool.submit(load, group) for group in groups[:2]]
        for i, group in enumerate(groups):
            waves = upcoming.pop(0).result()
            if i + 2 < len(groups):
                upcoming.append(pool.submit(load, groups[i + 2]))
            yield group, waves


def by_length(durations_s: Sequence[float]) -> list[list[int]]:
    """Return the places of recordings in batches of at most `BATCH_S` padded seconds, the longest first."""
    groups: list[list[int]] = []
    for place in sorted(range(len(durations_s)), key=lambda i: (-durations_s[i], i)):
        longest = durations_s[groups[-1][0]] if groups else 0.0
        if groups and longest * (len(groups[-1]) + 1) <= BATCH_S:
            groups[-1].append(place)
        else:
            groups.append([place])
    return groups
