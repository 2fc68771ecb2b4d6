"""Does one threshold hold over conditions? Calibrations fitted on some speakers and noise, tried on others.

python docs/figures/thresholds.py MODEL CAL_SPEECH CAL_NOISE COHORT TEST_SPEECH TEST_NOISE CACHE

For every kind of calibration: the threshold that lets 1 % of the different-speaker trials pass on the speakers it was
fitted on, all conditions together; then what it lets pass in each condition on the others.
"""

import sys
from pathlib import Path

import numpy as np

from voxanchor.conditions.bank import noise_bank
from voxanchor.conditions.suites import suite
from voxanchor.corpus.layouts import scan
from voxanchor.evaluation.calibrate import CalibrationTrials, Group
from voxanchor.evaluation.embed import EmbeddingCache, embed_with
from voxanchor.models import registry
from voxanchor.scoring.bootstrap import threshold_at
from voxanchor.scoring.calibration import Kind, MeasureName, fit_calibration
from voxanchor.scoring.cohort import Cohort
from voxanchor.scoring.metrics import cllr, min_cllr, rank_trials

RATE = 0.01

VARIANTS: dict[str, tuple[Kind, tuple[MeasureName, ...]]] = {
    "score": ("cosine", ()),
    "AS-norm": ("as-norm", ()),
    "score, speech": ("cosine", ("speech",)),
    "score, SNR": ("cosine", ("snr",)),
    "score, speech and SNR": ("cosine", ("speech", "snr")),
    "AS-norm, speech and SNR": ("as-norm", ("speech", "snr")),
    "score, speech, SNR and cohort mean": ("cosine", ("speech", "snr", "cohort_mean")),
}


def main(model: str, speech: str, noise: str, cohort: str, test: str, test_noise: str, cache: str) -> None:
    """Print a table, a row for every kind of calibration."""
    encoder = registry.load(model)
    strangers = scan(cohort).utterances
    (embeddings,) = embed_with([encoder], strangers, label="cohort")
    speakers = [utterance.speaker for utterance in strangers]
    known = Cohort.of_speakers(embeddings, speakers, min(300, len(set(speakers))))
    trials = {}
    for name, folder, noises in (("fit", speech, noise), ("test", test, test_noise)):
        recordings = scan(folder)
        bank = noise_bank((noises,), recordings, built_in_share=0.0, for_evaluation=True)
        trials[name] = CalibrationTrials(encoder, recordings, suite("noise"), bank, EmbeddingCache(Path(cache)))
    print("| calibration | Cllr | min | FA, mean | least | most | spread | FR, mean | FR, clean |")
    print("|---|---|---|---|---|---|---|---|---|")
    for label, (kind, measures) in VARIANTS.items():
        print(_row(label, trials, known, kind, measures))


def _row(
    label: str, trials: dict[str, CalibrationTrials], cohort: Cohort, kind: Kind, measures: tuple[MeasureName, ...]
) -> str:
    fit, test = (trials[name].groups(cohort, kind) for name in ("fit", "test"))
    calibration = fit_calibration([(group.trials, group.target) for group in fit], kind, measures)

    def llrs(group: Group) -> np.ndarray:
        return calibration.llr(group.trials)

    pool = [group for group in fit if group.clean_enrol]
    ranked = rank_trials(np.concatenate([llrs(group) for group in pool]), np.concatenate([g.target for g in pool]))
    mark = threshold_at(ranked, RATE)
    found = [(llrs(group), group.target) for group in test]
    accepted = np.array([100 * (values[~target] >= mark).mean() for values, target in found])
    rejected = np.array([100 * (values[target] < mark).mean() for values, target in found])
    costs = [cllr(values, target) for values, target in found]
    least = [min_cllr(values, target) for values, target in found]
    spread = np.exp(np.std(np.log(np.maximum(accepted, 0.01))))
    return (
        f"| {label} | {np.mean(costs):.3f} | {np.mean(least):.3f} | {accepted.mean():.2f} | {accepted.min():.2f} | "
        f"{accepted.max():.2f} | x {spread:.2f} | {rejected.mean():.1f} | {rejected[0]:.1f} |"
    )


if __name__ == "__main__":
    main(*sys.argv[1:8])
