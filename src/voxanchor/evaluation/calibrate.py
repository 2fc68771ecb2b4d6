"""Fitting a calibration on pieces of recordings, and testing it on speakers that the fit did not see."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, cycle
from typing import TypeVar

import numpy as np

from voxanchor.audio.quality import Quality
from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.manifest import Manifest, Utterance
from voxanchor.corpus.trials import TrialList as Pairs
from voxanchor.corpus.trials import all_pairs
from voxanchor.errors import CorpusError, VoxanchorError
from voxanchor.evaluation.embed import ConditionEmbedder, EmbeddingCache
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.rng import generator
from voxanchor.runtime import log_line, track
from voxanchor.scoring.backend import PRIOR
from voxanchor.scoring.bootstrap import error_rates, threshold_at
from voxanchor.scoring.calibration import (
    Calibration,
    ConditionFigures,
    Kind,
    MeasureName,
    QualityMeasures,
    ScoredTrials,
    SearchFigures,
    Threshold,
    fit_calibration,
    log_odds,
)
from voxanchor.scoring.cohort import Cohort, CohortStatistics, as_norm
from voxanchor.scoring.metrics import cllr, rank_trials, ranked_eer, ranked_min_cllr
from voxanchor.scoring.scores import trial_scores
from voxanchor.scoring.searches import Searches, jackknife_interval, left_out
from voxanchor.types import BoolArray, Embeddings, FloatArray, IntArray

Item = TypeVar("Item")

PIECES_S = ((2.0, 4.0, 1.0, 3.0), (8.0, 3.0, 1.0), (6.0, 2.0, 4.0))
"""Lengths that recordings are cut into: a calibration must have heard short and long. The first recording begins with
the first row, the second with the second, and so on round; a longer recording goes on with the rows behind it."""

SHORTEST_S = 0.75
"""No piece is shorter; what is left of a recording is a piece from this length on."""

DIVIDED_S, FIRST_SHARE = 3.0, 0.6
"""From this length on a recording gives two pieces at least, of which the first has this share."""

MOST_PIECES = 8
"""Of one recording."""

MOST_OF_SPEAKER, LEAST_OF_SPEAKER, MOST_ALL = 12, 4, 4000
"""Pieces of one speaker, at most and at least, and of all: more would take hours and settle nothing that a calibration
of a dozen numbers needs. Of so many speakers that this leaves fewer, some are left out."""

MOST_TRIALS = 60_000
"""Of a condition; more pairs are drawn from."""

MOST_SEARCHED = 400_000
"""Trials of a condition's searches; with more, fewer pieces are looked for."""

LEAST_SPEECH_S = 0.5
"""A piece with less active speech, in clean, is left out: a verifier abstains there."""


def pieces(manifest: Manifest) -> Manifest:
    """Return the recordings cut into pieces of `PIECES_S`, at most `MOST_PIECES` of each.

    Of a large corpus they are a part: `MOST_OF_SPEAKER` pieces of each speaker, fewer of very many speakers, evenly.
    """
    found: dict[str, list[Utterance]] = {}
    for place, utterance in enumerate(manifest.utterances):
        found.setdefault(utterance.speaker, []).extend(_cut(utterance, place))
    speakers = _evenly(sorted(found), MOST_ALL // LEAST_OF_SPEAKER)
    each = min(max(MOST_ALL // max(len(speakers), 1), LEAST_OF_SPEAKER), MOST_OF_SPEAKER)
    chosen = [piece for speaker in speakers for piece in _evenly(found[speaker], each)]
    return replace(manifest, utterances=tuple(sorted(chosen, key=lambda piece: piece.id)))


def part_of(manifest: Manifest, most_speakers: int, most_of_each: int) -> tuple[Utterance, ...]:
    """Return the utterances of at most so many speakers, and so many of each, evenly chosen, in their order."""
    found: dict[str, list[Utterance]] = {}
    for utterance in manifest.utterances:
        found.setdefault(utterance.speaker, []).append(utterance)
    chosen = [
        item for speaker in _evenly(sorted(found), most_speakers) for item in _evenly(found[speaker], most_of_each)
    ]
    return tuple(sorted(chosen, key=lambda utterance: utterance.id))


def _evenly(items: Sequence[Item], most: int) -> list[Item]:
    """Return all items, or so many of them at even distances."""
    if len(items) <= most:
        return list(items)
    return [items[int(place)] for place in np.linspace(0, len(items) - 1, most).round()]


def _cut(utterance: Utterance, place: int) -> Iterator[Utterance]:
    start_s = 0.0
    rows = cycle(PIECES_S[(place + step) % len(PIECES_S)] for step in range(len(PIECES_S)))
    for number, length_s in zip(range(MOST_PIECES), chain.from_iterable(rows), strict=False):
        left_s = utterance.duration_s - start_s
        if left_s < SHORTEST_S:
            return
        if number == 0 and DIVIDED_S <= left_s < length_s + SHORTEST_S:
            length_s = FIRST_SHARE * left_s  # one that fills the recording leaves nothing to compare it with
        length_s = min(length_s, left_s)
        yield replace(
            utterance,
            id=f"{utterance.id}#{number}",
            duration_s=length_s,
            parts=utterance.crop(start_s, length_s),
            recording=utterance.recording or utterance.id,
        )
        start_s += length_s


@dataclass(frozen=True)
class Group:
    """The trials of a condition.

    Attributes:
        condition: its name.
        clean_enrol: whether the enrolment is clean; otherwise both sides are in the condition.
        trials: scored.
        target: (K,) which are of one speaker.
        enrol: (K,) number of each trial's enrolled speaker.
        test: (K,) number of its other speaker.
    """

    condition: str
    clean_enrol: bool
    trials: ScoredTrials
    target: BoolArray
    enrol: IntArray
    test: IntArray


@dataclass(frozen=True)
class _Heard:
    embeddings: Embeddings
    speech_s: FloatArray
    snr_db: FloatArray


class CalibrationTrials:
    """Pieces of recordings in all conditions of a suite, and the trials between them.

    Args:
        encoder: the model, where it lies.
        recordings: of speakers that the model was not trained on.
        suite: clean, and others.
        bank: noise and rooms.
        cache: where embeddings and qualities are kept.
        seed: of the noise.
        precision: of the model's matrix products.

    Raises:
        CorpusError: recordings without speakers, or without trials of both kinds.
    """

    def __init__(
        self,
        encoder: SpeakerEncoder,
        recordings: Manifest,
        suite: Suite,
        bank: NoiseBank,
        cache: EmbeddingCache,
        seed: int = 0,
        precision: str = "float32",
    ) -> None:
        self.suite, self.seed, self.encoder = suite, seed, encoder
        self.pieces = self._with_speech(pieces(recordings))
        self._embedder = ConditionEmbedder(
            {"model": encoder}, None, self.pieces, bank, cache, precision, with_quality=True
        )
        self.pairs: Pairs = all_pairs(self.pieces, MOST_TRIALS)
        names = sorted(set(self.pairs.speakers))
        self.speakers = len(names)
        self._numbers = np.array([names.index(name) for name in self.pairs.speakers], dtype=np.int64)

    def groups(self, cohort: Cohort | None = None, kind: Kind = "cosine") -> list[Group]:
        """Return the trials of every condition: with clean enrolments, and with both sides in the condition.

        Args:
            cohort: impostors, for the cohort mean or for normalised scores.
            kind: what the scores are.
        """
        clean = self._hear(self.suite.conditions[0])
        left = self._statistics(clean, cohort)
        first, second = self.pairs.enrol, self.pairs.test
        found = [self._group("clean", True, (clean, left), (clean, left), (first, second), kind)]
        for condition in self.suite.noisy:
            heard = self._hear(condition)
            right = self._statistics(heard, cohort)
            # either piece may be the clean one
            both = np.concatenate((first, second)), np.concatenate((second, first))
            found.append(self._group(condition.name, True, (clean, left), (heard, right), both, kind))
            found.append(self._group(condition.name, False, (heard, right), (heard, right), (first, second), kind))
        return found

    def searches(self, cohort: Cohort | None = None, kind: Kind = "cosine") -> Iterator[Group]:
        """Yield the searches of every condition: pieces, each with a clean piece of every speaker, in their order.

        Which piece of a speaker is drawn anew for each. Of its own speaker it is another one, of another recording
        where there is one; where there is none it is the piece itself.

        Args:
            cohort: impostors, for the cohort mean or for normalised scores.
            kind: what the scores are.
        """
        heard = np.arange(len(self._numbers))
        heard = np.array(_evenly(heard.tolist(), max(MOST_SEARCHED // self.speakers, 1)), dtype=np.int64)
        index = self._enrolled_for(heard).ravel(), np.repeat(heard, self.speakers)
        clean = self._hear(self.suite.conditions[0])
        left = self._statistics(clean, cohort)
        for condition in self.suite.conditions:
            found = self._hear(condition)
            yield self._group(
                condition.name, True, (clean, left), (found, self._statistics(found, cohort)), index, kind
            )

    def _enrolled_for(self, heard: IntArray) -> IntArray:
        """Return (P, S) the piece of every speaker that each of P pieces is compared with."""
        draw = generator(self.seed, 0, 0, "calibration/searches")
        of_speaker = [np.flatnonzero(self._numbers == number) for number in range(self.speakers)]
        chosen = np.stack([draw.choice(rows, len(heard)) for rows in of_speaker], axis=1)
        recordings = np.array([piece.recording for piece in self.pieces.utterances])
        for place, row in enumerate(heard):
            own = of_speaker[self._numbers[row]]
            apart = own[recordings[own] != recordings[row]]
            others = apart if len(apart) else own[own != row]
            chosen[place, self._numbers[row]] = draw.choice(others) if len(others) else row
        return chosen

    def _group(
        self,
        name: str,
        clean_enrol: bool,
        enrol: tuple[_Heard, CohortStatistics | None],
        test: tuple[_Heard, CohortStatistics | None],
        index: tuple[IntArray, IntArray],
        kind: Kind,
    ) -> Group:
        (one, left), (other, right) = enrol, test
        scores = trial_scores(one.embeddings, other.embeddings, *index)
        if kind == "as-norm" and left and right:
            scores = as_norm(scores, left, right, *index)
        trials = ScoredTrials(scores, _sides(one, left), _sides(other, right), *index)
        numbers = self._numbers[index[0]], self._numbers[index[1]]
        return Group(name, clean_enrol, trials, numbers[0] == numbers[1], *numbers)

    def _statistics(self, heard: _Heard, cohort: Cohort | None) -> CohortStatistics | None:
        return cohort.statistics(heard.embeddings) if cohort else None

    def _with_speech(self, found: Manifest) -> Manifest:
        kept, gone = [], []
        for utterance in found.utterances:
            try:
                wave = utterance.read()
            except VoxanchorError as error:  # it could be read while the folder was looked through
                gone.append(str(error))
                continue
            enough = len(wave) >= self.encoder.min_samples and Quality.of(wave).speech_s >= LEAST_SPEECH_S
            kept += [utterance] if enough else []
        if gone:
            log_line(
                f"{len(gone)} pieces of recordings cannot be read any more and are left out, for example: {gone[0]}"
            )
        return replace(found, utterances=tuple(kept))

    def heard(self) -> dict[str, tuple[float, float]]:
        """Return the lowest and the highest value of qualities over all pieces, in all conditions, by name."""
        found = np.concatenate([self._embedder.quality(condition, self.seed) for condition in self.suite.conditions])
        ranges = {}
        for name, column in {"snr_db": 1, "level_db": 2, "bandwidth_hz": 3, "clipped": 4}.items():
            values = found[:, column][np.isfinite(found[:, column])]
            if len(values):
                ranges[name] = float(values.min()), float(values.max())
        return ranges

    def _hear(self, condition: Condition) -> _Heard:
        """Return the embedding and the quality measures of every piece in a condition."""
        embeddings = self._embedder.load_audio(condition, self.seed)["model"]
        quality = self._embedder.quality(condition, self.seed)
        return _Heard(embeddings, quality[:, 0], quality[:, 1])


def _sides(heard: _Heard, statistics: CohortStatistics | None) -> QualityMeasures:
    return QualityMeasures(heard.speech_s, heard.snr_db, statistics.mean if statistics else None)


def selected(group: Group, rows: BoolArray) -> Group:
    """Return the trials of a group that are marked, (K,) bool."""
    index = {name: getattr(group.trials, name)[rows] for name in ("scores", "enrol_index", "test_index")}
    return replace(
        group,
        trials=replace(group.trials, **index),
        target=group.target[rows],
        enrol=group.enrol[rows],
        test=group.test[rows],
    )


# Fitting a calibration, and finding out how good it is on speakers that the fit did not hear.
#
# Speakers are dealt into folds. The log-likelihood ratio of a trial comes from a calibration fitted without the folds
# of
# both its speakers, so that every trial is judged by a calibration that knows neither voice, and thresholds, costs and
# intervals are those of strangers. What is kept in the end is fitted on all.
#
# Searches among many are judged in the same way, comparison by comparison. Their intervals are over speakers, too: each
# is left out once, from those who are looked for and from the lists.

FOLDS = 4

RATES = (1.0, 0.1, 0.01)
"""Rates of false acceptance in percent that thresholds are looked for."""

LEAST_PASSING, LEAST_PAIRS = 30, 10
"""A rate is stated where at least so many trials of different speakers pass (the rule of 30 of Doddington et al.), and
of so many different pairs of speakers: one pair of twins in many trials says little of others."""

LEAST_SPEAKERS = 8
"""With fewer nothing can be learned without the speakers of two folds."""

REPLICATES = 1000

PEOPLE = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
"""Numbers of people that searches are looked at for, as far as there are speakers."""

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
        searches: by number of people, at the threshold of the usual prior, those at `RATES`, and those at which `RATES`
            are the rates of the whole list.
    """

    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    figures: tuple[ConditionFigures, ...]
    searches: tuple[SearchFigures, ...]


Folded = Mapping[tuple[int, int], Calibration]
"""Calibrations by the two folds, the lower number first, whose speakers they were fitted without."""


def calibrated(
    groups: Sequence[Group],
    plain: Sequence[Group],
    kind: Kind,
    measures: Sequence[MeasureName],
    speakers: int,
    searches: Iterable[Group] = (),
) -> Calibrated:
    """Return a calibration and its figures.

    Args:
        groups: trials whose scores are of `kind`.
        plain: the same trials scored by cosine, for the calibration by the score alone.
        kind: what the scores of `groups` are.
        measures: qualities to take into account.
        speakers: S, how many there are; groups number them from 0.
        searches: by condition, trials of recordings with every speaker in order, as `CalibrationTrials.searches` gives
            them, with scores of `kind`.

    Raises:
        CorpusError: too few speakers.
    """
    require_speakers(speakers)
    folds = _folds(speakers)
    folded = _folded(groups, kind, measures, folds, "calibration, four folds")
    by_score = _folded(plain, "cosine", (), folds, "calibration by the score alone")
    every = [
        Judged(
            group.condition if group.clean_enrol else f"{group.condition}{BOTH}",
            group,
            _held_out(folded, group, folds),
            _held_out(by_score, beside, folds),
            beside.trials.scores,
        )
        for group, beside in zip(groups, plain, strict=True)
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
    found = _searches(searches, folded, folds, thresholds)
    return Calibrated(_fit(groups, kind, measures), thresholds, figures, found)


def require_speakers(speakers: int) -> None:
    """Check that there are enough speakers.

    Raises:
        CorpusError: there are not.
    """
    if speakers < LEAST_SPEAKERS:
        raise CorpusError(
            f"calibration needs at least {LEAST_SPEAKERS} speakers, better hundreds, and {speakers} have speech enough "
            "to be compared: give more of them"
        )


def _fit(groups: Sequence[Group], kind: Kind, measures: Sequence[MeasureName]) -> Calibration:
    return fit_calibration([(group.trials, group.target) for group in groups], kind, measures)


def _folds(speakers: int) -> IntArray:
    """Return (S,) the fold of each speaker."""
    order = generator(0, 0, 0, "calibration/folds").permutation(speakers)
    folds = np.empty(speakers, dtype=np.int64)
    folds[order] = np.arange(speakers) % FOLDS
    return folds


def _folded(
    groups: Sequence[Group], kind: Kind, measures: Sequence[MeasureName], folds: IntArray, label: str
) -> Folded:
    """Return the calibrations fitted without the speakers of two folds, or of one, for all pairs of folds."""
    found = {}
    couples = [(one, other) for one in range(FOLDS) for other in range(one, FOLDS)]
    with track(label, len(couples)) as advance:
        for one, other in couples:
            kept = (folds != one) & (folds != other)
            try:
                known = [selected(group, kept[group.enrol] & kept[group.test]) for group in groups]
                found[one, other] = _fit(known, kind, measures)
            except ValueError as error:
                raise CorpusError(
                    f"there are too few speakers to calibrate, or the model cannot tell them apart: {error} Every "
                    "quarter of the speakers is left out once; give more speakers, or longer recordings"
                ) from None
            advance(1)
    return found


def _held_out(folded: Folded, group: Group, folds: IntArray) -> FloatArray:
    """Return the (K,) log-likelihood ratios of a group by calibrations that know neither speaker of a trial."""
    values = np.empty(len(group.target))
    left, right = folds[group.enrol], folds[group.test]
    for (one, other), calibration in folded.items():
        rows = ((left == one) & (right == other)) | ((left == other) & (right == one))
        values[rows] = calibration.llr(selected(group, rows).trials)
    return values


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


def _searches(
    groups: Iterable[Group], folded: Folded, folds: IntArray, thresholds: Sequence[Threshold]
) -> tuple[SearchFigures, ...]:
    """Return what becomes of searches among as many people as there are speakers for."""
    speakers = len(folds)
    parts: dict[str, Searches] = {}
    for group in groups:
        own, rows = group.test[::speakers], np.arange(len(group.target)).reshape(-1, speakers)
        mate = rows[np.arange(len(own)), own]
        mated = group.trials.enrol_index[mate] != group.trials.test_index[mate]
        parts[group.condition] = Searches(_held_out(folded, group, folds).reshape(-1, speakers), own, mated)
    if not parts:
        return ()
    every = list(parts.values())
    pool = Searches(
        np.concatenate([part.llrs for part in every]),
        np.concatenate([part.speaker for part in every]),
        np.concatenate([part.mated for part in every]),
    )
    weights = left_out(speakers)
    sizes = [people for people in PEOPLE if people <= int(weights.sum(axis=1).min()) - 1]
    found = []
    with track("searches among many", len(sizes)) as advance:
        for people in sizes:
            asked = [SearchFigures(people, "prior", PRIOR, log_odds(PRIOR), len(pool.llrs))]
            asked += [
                SearchFigures(people, "comparison", item.false_acceptance, item.llr, len(pool.llrs))
                for item in thresholds
                if item.llr is not None
            ]
            asked += [
                SearchFigures(people, "list", rate, pool.threshold_at(people, rate / 100), len(pool.llrs))
                for rate in RATES
            ]
            found += [_search(figures, pool, parts, weights) for figures in asked]
            advance(1)
    return tuple(found)


def _search(asked: SearchFigures, pool: Searches, parts: Mapping[str, Searches], weights: IntArray) -> SearchFigures:
    """Return the figures at a threshold, as far as the searches support them."""
    people, llr = asked.people, asked.llr
    assert llr is not None
    rows, others = np.nonzero(pool.reaching(llr))
    pairs = len(np.unique(np.sort(np.stack((pool.speaker[rows], others), axis=1), axis=1), axis=0))
    found = replace(asked, passing=len(rows), pairs=pairs)
    if len(rows) < LEAST_PASSING or pairs < LEAST_PAIRS:
        remark = (
            f"{len(rows)} comparisons with others reach it, of {pairs} pairs of speakers; at least {LEAST_PASSING}, of "
            f"{LEAST_PAIRS} pairs, are needed. Calibrate with more speakers"
        )
        found = replace(found, remark=remark, llr=None if asked.purpose == "list" else llr)
    else:
        by_condition = {name: 100 * float(part.false_positive(people, llr)[0]) for name, part in parts.items()}
        condition = max(by_condition, key=by_condition.__getitem__)
        rate = float(pool.false_positive(people, llr)[0])
        low, high = jackknife_interval(rate, pool.false_positive(people, llr, weights))
        found = replace(
            found,
            false_positive=100 * rate,
            low=100 * low,
            high=100 * high,
            highest=by_condition[condition],
            condition=condition,
        )
    if found.llr is None or not pool.mated.any():
        return found
    missed = float(pool.false_negative(people, llr)[0])
    low, high = jackknife_interval(missed, pool.false_negative(people, llr, weights))
    return replace(found, false_negative=100 * missed, missed_low=100 * low, missed_high=100 * high)


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
