"""The figures of a comparison: averages over conditions and training seeds, and dB gained, with their replicates."""

from collections.abc import Mapping, Sequence

import numpy as np

from voxanchor.evaluation.paired import ends, gains, over_seeds, seed_weights
from voxanchor.evaluation.seeded import Samples, SeededEstimate
from voxanchor.evaluation.summary import CLEAN, NOISY, OVERALL
from voxanchor.scoring.gain import ErrorCurve, Gain, mean_db_gained
from voxanchor.types import FloatArray

GAIN = "db_gained"
"""The figure "dB gained over the base"; higher is better, where the others are errors."""


def seeded_figures(
    samples: Mapping[str, Samples], runs: Mapping[str, Sequence[int]], base: str
) -> tuple[dict[str, dict[str, SeededEstimate]], dict[str, dict[str, FloatArray]]]:
    """Return the figures of each system, and their replicates over speakers and training seeds.

    The figures' intervals are over speakers, for the training seeds as they are. The base has 0 dB gained, in every
    replicate, so that a difference of gains to it is the gain itself.

    Args:
        samples: by suite, the main one first.
        runs: training seeds of each system.
        base: system that dB gained is over.

    Returns:
        System -> figure -> value, and system -> figure -> (R,) replicates.
    """
    figures: dict[str, dict[str, SeededEstimate]] = {system: {} for system in runs}
    resampled: dict[str, dict[str, FloatArray]] = {system: {} for system in runs}
    for number, (suite, found) in enumerate(samples.items()):
        noisy = [place for place, name in enumerate(found.conditions) if name != CLEAN]
        clean = [place for place, name in enumerate(found.conditions) if name == CLEAN]
        parts = {CLEAN: clean, NOISY: noisy, OVERALL: clean + noisy} if number == 0 else {suite: noisy}
        for system, seeds in runs.items():
            eers, replicates = found.eers[system], found.replicates[system]
            by_speaker, by_both = (
                over_seeds(replicates),
                over_seeds(replicates, seed_weights(seeds, replicates.shape[2])),
            )
            for figure, places in parts.items():
                if places:
                    values = eers[:, places].mean(axis=1)
                    figures[system][figure] = SeededEstimate(
                        float(values.mean()), *ends(by_speaker[places].mean(axis=0)), tuple(values.tolist())
                    )
                    resampled[system][figure] = by_both[places].mean(axis=0)
        if number == 0 and found.kinds:
            _add_gains(found, runs, base, figures, resampled)
    return figures, resampled


def _add_gains(
    found: Samples,
    runs: Mapping[str, Sequence[int]],
    base: str,
    figures: dict[str, dict[str, SeededEstimate]],
    resampled: dict[str, dict[str, FloatArray]],
) -> None:
    by_speaker = {system: over_seeds(found.replicates[system]) for system in runs}
    by_both = {
        system: over_seeds(found.replicates[system], seed_weights(seeds, by_speaker[system].shape[1]))
        for system, seeds in runs.items()
    }
    own = dict(zip(runs[base], found.eers[base], strict=True))
    for system, seeds in runs.items():
        if system == base:  # nothing over itself, also in a replicate
            resampled[base][GAIN] = np.zeros(by_both[base].shape[1])
            figures[base][GAIN] = SeededEstimate(0.0)
            continue
        mean = _gain(found, found.eers[base].mean(axis=0), found.eers[system].mean(axis=0))
        if mean is None:
            continue
        each = [
            _gain(found, own.get(seed, found.eers[base].mean(axis=0)), eers)
            for seed, eers in zip(seeds, found.eers[system], strict=True)
        ]
        figures[system][GAIN] = SeededEstimate(
            mean.db,
            *ends(gains(by_speaker[base], by_speaker[system], found.kinds)),
            tuple(gain.db for gain in each if gain is not None),
        )
        resampled[system][GAIN] = gains(by_both[base], by_both[system], found.kinds)


def _gain(found: Samples, base: FloatArray, robust: FloatArray) -> Gain | None:
    curves = [
        {kind: ErrorCurve(levels, eers[list(places)]) for kind, (levels, places) in found.kinds.items()}
        for eers in (base, robust)
    ]
    return mean_db_gained(*curves)
