"""Fitting a calibration, and finding out how good it is on speakers that the fit did not hear.

Speakers are dealt into folds. The log-likelihood ratio of a trial comes from a calibration fitted without the folds of
both its speakers, so that every trial is judged by a calibration that knows neither voice, and thresholds, costs and
intervals are those of strangers. What is kept in the end is fitted on all.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from voxanchor.errors import CorpusError
from voxanchor.evaluation.calibration_trials import Group, selected
from voxanchor.progress import track
from voxanchor.rng import generator
from voxanchor.scoring.calibration import Calibration, Kind, Measure, fit_calibration
from voxanchor.scoring.calibration_record import ConditionFigures, Threshold
from voxanchor.scoring.det import rank_trials
from voxanchor.scoring.metrics import cllr, ranked_eer, ranked_min_cllr
from voxanchor.scoring.thresholds import error_rates, threshold_at
from voxanchor.types import BoolArray, FloatArray, IntArray

FOLDS = 4

RATES = (1.0, 0.1, 0.01)
"""Rates of false acceptance in percent that thresholds are looked for."""

LEAST_PASSING, LEAST_PAIRS = 30, 10
"""A rate is stated where at least so many trials of different speakers pass (the rule of 30 of Doddington et al.), and
of so many different pairs of speakers: one pair of twins in many trials says little of others."""

LEAST_SPEAKERS = 8
"""With fewer nothing can be learned without the speakers of two folds."""

REPLICATES = 1000

ALL = "all"

BOTH = ", both sides"
"""Behind a condition's name where the enrolment is in it, too."""


@dataclass(frozen=True)
class Judged:
    """Trials, and what calibrations that know neither voice say of them.

    Attributes:
        condition: where.
        group: which trials.
        llrs: (K,) log-likelihood ratios.
        by_score: (K,) the same of a calibration by the score alone.
        cosines: (K,) scores as they are.
    """

    condition: str
    group: Group
    llrs: FloatArray
    by_score: FloatArray
    cosines: FloatArray


@dataclass(frozen=True)
class Calibrated:
    """A calibration, and how it does on strangers.

    Attributes:
        calibration: fitted on all trials.
        thresholds: at `RATES`, over all conditions with clean enrolments.
        figures: all with clean enrolments together first, then by condition, clean enrolments first.
    """

    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    figures: tuple[ConditionFigures, ...]


def calibrated(
    groups: Sequence[Group], plain: Sequence[Group], kind: Kind, measures: Sequence[Measure], speakers: int
) -> Calibrated:
    """Return a calibration and its figures.

    Args:
        groups: trials whose scores are of `kind`.
        plain: the same trials scored by cosine, for the calibration by the score alone.
        kind: what the scores of `groups` are.
        measures: qualities to take into account.
        speakers: S, how many there are; groups number them from 0.

    Raises:
        CorpusError: too few speakers.
    """
    require_speakers(speakers)
    folds = _folds(speakers)
    held_out = _held_out(groups, kind, measures, folds, "calibration, four folds")
    by_score = _held_out(plain, "cosine", (), folds, "calibration by the score alone")
    every = [
        Judged(
            group.condition if group.clean_enrol else f"{group.condition}{BOTH}",
            group,
            held_out[place],
            by_score[place],
            plain[place].trials.scores,
        )
        for place, group in enumerate(groups)
    ]
    pool = pooled([judged for judged in every if judged.group.clean_enrol])
    thresholds = tuple(_threshold(pool, rate, speakers) for rate in RATES)
    stated = [found for found in thresholds if found.llr is not None]
    ranked = rank_trials(pool.by_score, pool.group.target)
    marks = {
        f"{found.false_acceptance:g}": (found.llr, threshold_at(ranked, found.false_acceptance / 100))
        for found in stated
        if found.llr is not None
    }
    every.sort(key=lambda judged: not judged.group.clean_enrol)
    figures = tuple(_figures(judged, marks) for judged in (pool, *every))
    return Calibrated(_fit(groups, kind, measures), thresholds, figures)


def require_speakers(speakers: int) -> None:
    """Do nothing where there are enough speakers.

    Raises:
        CorpusError: there are not.
    """
    if speakers < LEAST_SPEAKERS:
        raise CorpusError(
            f"calibration needs at least {LEAST_SPEAKERS} speakers, better hundreds, and {speakers} have speech enough "
            "to be compared: give more of them"
        )


def _fit(groups: Sequence[Group], kind: Kind, measures: Sequence[Measure]) -> Calibration:
    return fit_calibration([(group.trials, group.target) for group in groups], kind, measures)


def _folds(speakers: int) -> IntArray:
    """Return (S,) the fold of each speaker."""
    order = generator(0, 0, 0, "calibration/folds").permutation(speakers)
    folds = np.empty(speakers, dtype=np.int64)
    folds[order] = np.arange(speakers) % FOLDS
    return folds


def _held_out(
    groups: Sequence[Group], kind: Kind, measures: Sequence[Measure], folds: IntArray, label: str
) -> list[FloatArray]:
    """Return the (K,) log-likelihood ratios of every group by calibrations that know neither speaker of a trial."""
    found = [np.empty(len(group.target)) for group in groups]
    couples = [(one, other) for one in range(FOLDS) for other in range(one, FOLDS)]
    with track(label, len(couples)) as advance:
        for one, other in couples:
            kept = (folds != one) & (folds != other)
            try:
                known = [selected(group, kept[group.enrol] & kept[group.test]) for group in groups]
                fitted = _fit(known, kind, measures)
            except ValueError as error:
                raise CorpusError(
                    f"there are too few speakers to calibrate, or the model cannot tell them apart: {error} Every "
                    "quarter of the speakers is left out once; give more speakers, or longer recordings"
                ) from None
            for values, group in zip(found, groups, strict=True):
                left, right = folds[group.enrol], folds[group.test]
                rows = ((left == one) & (right == other)) | ((left == other) & (right == one))
                values[rows] = fitted.llr(selected(group, rows).trials)
            advance(1)
    return found


def pooled(every: Sequence[Judged]) -> Judged:
    """Return the trials of all conditions together; only labels, speakers and scores of its group are of use."""

    def joined(name: str) -> FloatArray:
        return np.concatenate([getattr(judged, name) for judged in every])

    groups = [judged.group for judged in every]
    group = replace(
        groups[0],
        target=np.concatenate([item.target for item in groups]),
        enrol=np.concatenate([item.enrol for item in groups]),
        test=np.concatenate([item.test for item in groups]),
    )
    return Judged(ALL, group, joined("llrs"), joined("by_score"), joined("cosines"))


def _threshold(pool: Judged, rate: float, speakers: int) -> Threshold:
    """Return the threshold at a rate in percent, or why the trials do not support one."""
    target = pool.group.target
    ranked = rank_trials(pool.llrs, target)
    trials = len(ranked.nontargets)
    llr = threshold_at(ranked, rate / 100)
    passing = (pool.llrs >= llr) & ~target
    couples = np.minimum(pool.group.enrol, pool.group.test) * speakers + np.maximum(pool.group.enrol, pool.group.test)
    count, pairs = int(passing.sum()), len(np.unique(couples[passing]))
    if count < LEAST_PASSING or pairs < LEAST_PAIRS:
        remark = (
            f"{rate:g} % of {trials:,} trials of different speakers are {count}, of {pairs} pairs of speakers; at "
            f"least {LEAST_PASSING}, of {LEAST_PAIRS} pairs, are needed. Calibrate with more speakers"
        )
        return Threshold(rate, None, trials, count, pairs, remark=remark)
    low, high = _interval(couples[~target], passing[~target], speakers)
    rejected = 100 * error_rates(ranked, llr).false_rejection
    return Threshold(rate, llr, trials, count, pairs, rejected, low, high)


def _interval(couples: IntArray, passing: BoolArray, speakers: int) -> tuple[float, float]:
    """Return the 95 % interval of a false acceptance in percent, with the speakers drawn anew."""
    size = speakers * speakers
    accepted = np.bincount(couples, passing, size).reshape(speakers, speakers)
    total = np.bincount(couples, minlength=size).reshape(speakers, speakers).astype(np.float64)
    draws = generator(0, 0, 0, "calibration/bootstrap").multinomial(
        speakers, np.full(speakers, 1 / speakers), REPLICATES
    )
    weights = draws.astype(np.float64)
    # a speaker drawn twice makes twice the trials with every other one, and none with itself
    numerator, denominator = (np.einsum("rs,rs->r", weights @ table, weights) for table in (accepted, total))
    low, high = np.percentile(100 * numerator / np.maximum(denominator, 1.0), (2.5, 97.5)).tolist()
    return low, high


def _figures(judged: Judged, marks: Mapping[str, tuple[float, float]]) -> ConditionFigures:
    target = judged.group.target
    ranked = rank_trials(judged.llrs, target)
    others = ~target
    return ConditionFigures(
        condition=judged.condition,
        trials=len(target),
        targets=int(target.sum()),
        eer=100 * ranked_eer(ranked).eer,
        cllr_cosine=cllr(judged.cosines, target),
        cllr_score=cllr(judged.by_score, target),
        cllr=cllr(judged.llrs, target),
        min_cllr=ranked_min_cllr(ranked),
        false_acceptance={rate: 100 * float((judged.llrs[others] >= mark).mean()) for rate, (mark, _) in marks.items()},
        false_acceptance_score={
            rate: 100 * float((judged.by_score[others] >= mark).mean()) for rate, (_, mark) in marks.items()
        },
        false_rejection={rate: 100 * float((judged.llrs[target] < mark).mean()) for rate, (mark, _) in marks.items()},
        false_rejection_score={
            rate: 100 * float((judged.by_score[target] < mark).mean()) for rate, (_, mark) in marks.items()
        },
    )
