"""What voiceprints of several recordings do to a calibration that heard single ones.

python docs/figures/several_recordings.py CALIBRATED_MODEL SPEECH [SPEECH ...]
"""

import sys
from pathlib import Path

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.segments import segment
from voxanchor.evaluation.embed import embed_with
from voxanchor.models import registry
from voxanchor.scoring.backend import EmbeddingSet, ScoringBackend
from voxanchor.scoring.bootstrap import error_rates
from voxanchor.scoring.metrics import cllr, min_cllr, rank_trials
from voxanchor.types import IntArray
from voxanchor.verification.loading import scoring_backend

PIECE_S, MOST_PIECES = 2.0, 12
RATE = 1.0


def main(model: str, folders: list[str]) -> None:
    """Print a table: errors at the threshold for 1 % by the number of recordings enrolled, pieces of 2 s in clean."""
    encoder = registry.load(model)
    backend = scoring_backend(model, encoder)
    print("| speech | enrolled | FA | FR | Cllr | min |")
    print("|---|---|---|---|---|---|")
    for folder in folders:
        pieces = segment(scan(folder), PIECE_S, MOST_PIECES).utterances
        (embeddings,) = embed_with([encoder], pieces, label=folder)
        qualities = [Quality.of(piece.read()) for piece in pieces]
        voices = EmbeddingSet(
            embeddings, np.array([item.speech_s for item in qualities]), np.array([item.snr_db for item in qualities])
        )
        speakers = np.unique([piece.speaker for piece in pieces], return_inverse=True)[1].astype(np.int64)
        for count in (1, 3, 5):
            print(f"| {Path(folder).name} | {count} | {_row(backend, voices, speakers, count)} |")


def _row(backend: ScoringBackend, voices: EmbeddingSet, speakers: IntArray, count: int) -> str:
    """Return the cells of a table: every speaker's first piece against voiceprints of the others."""
    rows = [np.flatnonzero(speakers == speaker) for speaker in range(int(speakers.max()) + 1)]
    groups = [own[start : start + count] for own in rows for start in range(1, len(own) - count + 1, count)]
    means = np.stack([voices.embeddings[group].mean(axis=0) for group in groups])
    enrolled = EmbeddingSet(
        (means / np.linalg.norm(means, axis=1, keepdims=True)).astype(np.float32),
        np.array([voices.speech_s[group].sum() for group in groups]),
        np.array([voices.snr_db[group].mean() for group in groups]),
    )
    first = np.array([own[0] for own in rows])
    tests = EmbeddingSet(voices.embeddings[first], voices.speech_s[first], voices.snr_db[first])
    left, right = (index.ravel() for index in np.indices((len(groups), len(first))))
    same = speakers[[group[0] for group in groups]][left] == right
    llrs = backend.ratios(enrolled, tests, left, right)
    found = error_rates(rank_trials(llrs, same), backend.threshold(0.5, RATE) or 0.0)
    return (
        f"{100 * found.false_acceptance:.2f} | {100 * found.false_rejection:.1f} | {cllr(llrs, same):.3f} | "
        f"{min_cllr(llrs, same):.3f}"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
