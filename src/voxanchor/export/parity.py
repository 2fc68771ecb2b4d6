"""Whether an exported file embeds as the model does that it was made from."""

from collections.abc import Sequence

import numpy as np
import torch

from voxanchor import rng
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder
from voxanchor.types import SAMPLE_RATE, Embeddings, Waveform

DURATIONS_S = (0.5, 3.0, 20.0)


def embeddings_of_both(
    encoder: SpeakerEncoder, exported: ExportedEncoder, recordings: Sequence[Waveform] = ()
) -> tuple[Embeddings, Embeddings]:
    """Return (2 N, D) by torch and (2 N, D) by the file: N recordings alone, then the same in one batch.

    Args:
        encoder: in evaluation mode, on the processor. By it each recording is embedded alone, both times.
        exported: the batch is padded with loud noise, which must not be heard.
        recordings: what stands in for the three generated ones, of 0.5, 3 and 20 s.
    """
    waves = list(recordings) or [
        generated(max(round(seconds * SAMPLE_RATE), encoder.min_samples)) for seconds in DURATIONS_S
    ]
    with torch.no_grad():
        expected = np.concatenate([encoder(torch.from_numpy(wave)[None]).numpy() for wave in waves])
    lengths = np.array([len(wave) for wave in waves])
    alone = [exported.embed(wave[None], lengths[i : i + 1]) for i, wave in enumerate(waves)]
    padded = rng.generator(0, 0, 0, "export/padding").standard_normal((len(waves), lengths.max()), dtype=np.float32)
    for row, wave in zip(padded, waves, strict=True):
        row[: len(wave)] = wave
    return np.tile(expected, (2, 1)), np.concatenate([*alone, exported.embed(padded, lengths)])


def generated(samples: int) -> Waveform:
    """Return (samples,) float32: a buzz with syllables over faint noise, as loud as speech is."""
    time_s = np.arange(samples) / SAMPLE_RATE
    harmonics = sum(np.sin(2 * np.pi * 140 * k * time_s) / k for k in range(1, 40))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * 4 * time_s)
    noise = rng.generator(0, 0, samples, "export/noise").standard_normal(samples)
    return np.asarray(0.1 * syllables * harmonics + 0.002 * noise, dtype=np.float32)
