"""Recordings that were heard, as what is compared and as what is reported."""

from collections.abc import Sequence

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.scoring.judge import Voices
from voxanchor.types import Embeddings
from voxanchor.verification.recordings import Heard

SAME_RECORDING = 0.9999
"""Nobody says something twice so alike: from this cosine on it is the same recording."""

REPLAYED = "the same recording as the other side's: was it played again?"


def voices_of(heard: Sequence[Heard], rows: Embeddings) -> Voices:
    """Return what is compared of N recordings: their (N, D) embeddings and qualities."""
    return Voices(
        rows,
        np.array([item.quality.speech_s for item in heard]),
        np.array([item.quality.snr_db for item in heard]),
    )


def replayed(one: Embeddings, other: Embeddings) -> tuple[str, ...]:
    """Return the warning that two recordings, (1, D) unit vectors, are the same one; nothing where they are not."""
    return (REPLAYED,) if float(one[0] @ other[0]) > SAME_RECORDING else ()


def together(heard: Sequence[Heard]) -> Quality:
    """Return the quality of several recordings together: lengths and speech summed, the others averaged.

    Of the band the narrowest counts, and of peaks the highest.
    """
    qualities = [item.quality for item in heard]

    def known(name: str) -> list[float]:
        return [value for item in qualities if (value := getattr(item, name)) is not None]

    return Quality(
        sum(item.duration_s for item in qualities),
        sum(item.speech_s for item in qualities),
        float(np.mean([item.snr_db for item in qualities])),
        float(np.mean([item.clipped for item in qualities])),
        float(np.mean(known("level_db"))) if known("level_db") else None,
        float(np.mean(known("dc"))) if known("dc") else None,
        min(known("bandwidth_hz"), default=None),
        max(known("peak"), default=None),
    )
