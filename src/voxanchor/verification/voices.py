"""Recordings that were heard, as what is compared and as what is reported."""

from collections.abc import Sequence

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.scoring.judge import Voices
from voxanchor.types import Embeddings
from voxanchor.verification.recordings import Heard
from voxanchor.verification.result import Side


def voices_of(heard: Sequence[Heard], rows: Embeddings) -> Voices:
    """Return what is compared of N recordings: their (N, D) embeddings and qualities."""
    return Voices(
        rows,
        np.array([item.quality.speech_s for item in heard]),
        np.array([item.quality.snr_db for item in heard]),
    )


def side_of(heard: Heard) -> Side:
    """Return a recording as one side of a comparison."""
    return Side(heard.quality, 1, heard.warnings)


def together(heard: Sequence[Heard]) -> Quality:
    """Return the quality of several recordings together: lengths and speech summed, the others averaged."""
    qualities = [item.quality for item in heard]
    return Quality(
        sum(item.duration_s for item in qualities),
        sum(item.speech_s for item in qualities),
        float(np.mean([item.snr_db for item in qualities])),
        float(np.mean([item.clipped for item in qualities])),
    )
