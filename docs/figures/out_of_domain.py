"""Do a calibration's log-likelihood ratios hold on other speech? Other languages, microphones and days, all in clean.

python docs/figures/out_of_domain.py CALIBRATED_MODEL SPEECH [SPEECH ...]

Recordings are joined, or cut, to 3 s. Of each folder: the cost of the ratios as they are and after the best rising map
of them, and both errors at the calibration's own thresholds. Rejections of pairs within one session and of pairs of two
are counted apart where folders know sessions.
"""

import sys
from pathlib import Path

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trials import all_pairs
from voxanchor.evaluation.embed import embed_with
from voxanchor.models import registry
from voxanchor.scoring.backend import EmbeddingSet
from voxanchor.scoring.calibration import log_odds
from voxanchor.scoring.metrics import cllr, eer, min_cllr
from voxanchor.verification.loading import scoring_backend

SEGMENT_S, MOST_SEGMENTS = 3.0, 4


def main(model: str, folders: list[str]) -> None:
    """Print a table, a row for every folder and threshold."""
    encoder = registry.load(model)
    backend = scoring_backend(model, encoder)
    assert backend.record is not None, "calibrate the model first"
    marks = {"prior 0.01": log_odds(0.01), "prior 0.5": log_odds(0.5)}
    marks |= {f"{item.false_acceptance:g} %": item.llr for item in backend.record.thresholds if item.llr is not None}
    print("| speech | speakers | pairs, same | different | EER | Cllr | min | threshold | FA | FR |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for folder in folders:
        parts = segment(scan(folder), SEGMENT_S, MOST_SEGMENTS)
        pairs = all_pairs(parts)
        (embeddings,) = embed_with([encoder], parts.utterances, label=Path(folder).name)
        found = [Quality.of(utterance.read()) for utterance in parts.utterances]
        worth = np.array([(quality.speech_s, quality.snr_db) for quality in found])
        voices = EmbeddingSet(embeddings, worth[:, 0], worth[:, 1])
        llrs = backend.ratios(voices, voices, pairs.enrol, pairs.test)
        same = pairs.target
        sessions = np.array([utterance.session for utterance in parts.utterances])
        apart = same & (sessions[pairs.enrol] != sessions[pairs.test])
        facts = f"{Path(folder).name} | {len(parts.speakers)} | {same.sum():,} | {(~same).sum():,}"
        costs = f"{100 * eer(llrs, same).eer:.2f} % | {cllr(llrs, same):.3f} | {min_cllr(llrs, same):.3f}"
        for name, mark in marks.items():
            rejected = f"{100 * (llrs[same] < mark).mean():.1f} %"
            if apart.any() and (same & ~apart).any():
                within, across = (100 * (llrs[part] < mark).mean() for part in (same & ~apart, apart))
                rejected += f" ({within:.1f} within a session, {across:.1f} across)"
            accepted = 100 * (llrs[~same] >= mark).mean()
            print(f"| {facts} | {costs} | {name}: {mark:.2f} | {accepted:.3f} % | {rejected} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
