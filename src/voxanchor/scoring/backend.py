"""The scoring back-end of a model: its calibration and cohort, from embeddings to log-likelihood ratios."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from voxanchor.errors import RecipeError
from voxanchor.scoring.calibration import (
    CalibrationRecord,
    Outside,
    QualityMeasures,
    ScoredTrials,
    SearchRate,
    log_odds,
)
from voxanchor.scoring.cohort import Cohort, CohortStatistics, as_norm
from voxanchor.scoring.scores import trial_scores
from voxanchor.types import Embeddings, FloatArray, IntArray

UNCALIBRATED = (
    "the model has no calibration, so its scores have no threshold: fit one with voxanchor calibrate, or compare the "
    "score with a threshold of your own"
)


PRIOR = 0.01
"""Probability of one voice before anything was heard, where none is given: the customary one of evaluations."""


@dataclass(frozen=True)
class EmbeddingSet:
    """What is compared: recordings or people.

    Attributes:
        embeddings: (N, D) unit vectors.
        speech_s: (N,) seconds of speech.
        snr_db: (N,) estimates of the signal-to-noise ratio.
    """

    embeddings: Embeddings
    speech_s: FloatArray
    snr_db: FloatArray


@dataclass(frozen=True)
class ScoringBackend:
    """What decides.

    Attributes:
        record: the calibration; None for a model that has none.
        cohort: the stored cohort that it takes, if it takes one.
    """

    record: CalibrationRecord | None = None
    cohort: Cohort | None = None

    def compare(self, one: EmbeddingSet, others: EmbeddingSet) -> tuple[FloatArray, FloatArray | None]:
        """Return (N,) scores of one voice with others, and (N,) log-likelihood ratios where there is a calibration.

        Args:
            one: a single voice.
            others: N of them.
        """
        rows = np.arange(len(others.embeddings))
        return self._compared(one, others, np.zeros_like(rows), rows)

    def ratios(
        self, enrol: EmbeddingSet, test: EmbeddingSet, enrol_index: IntArray, test_index: IntArray
    ) -> FloatArray:
        """Return the (K,) log-likelihood ratios of trials between N voices and M others.

        Args:
            enrol: N voices.
            test: M voices.
            enrol_index: (K,) rows of `enrol`.
            test_index: (K,) rows of `test`.

        Raises:
            ValueError: there is no calibration.
        """
        found = self._compared(enrol, test, enrol_index, test_index)[1]
        if found is None:
            raise ValueError("A model without a calibration has no log-likelihood ratios.")
        return found

    def _compared(
        self, enrol: EmbeddingSet, test: EmbeddingSet, enrol_index: IntArray, test_index: IntArray
    ) -> tuple[FloatArray, FloatArray | None]:
        scores = trial_scores(enrol.embeddings, test.embeddings, enrol_index, test_index)
        if self.record is None:
            return scores, None
        left, right = self._statistics(enrol), self._statistics(test)
        if self.record.calibration.kind == "as-norm" and left and right:
            scores = as_norm(scores, left, right, enrol_index, test_index)
        sides = _sides(enrol, left), _sides(test, right)
        return scores, self.record.calibration.llr(ScoredTrials(scores, *sides, enrol_index, test_index))

    def threshold(self, prior: float, false_acceptance: float | None) -> float | None:
        """Return the threshold on log-likelihood ratios; None without a calibration.

        Args:
            prior: probability of one voice before anything was heard; counts where no rate is given.
            false_acceptance: in percent; one of the rates that the calibration was asked for.

        Raises:
            RecipeError: a rate that was not looked at, or that the calibration's trials do not support; or a prior that
                is none.
        """
        if not 0 < prior < 1:
            raise RecipeError(f"the prior of one voice lies between 0 and 1, got {prior:g}")
        if self.record is None:
            return None
        if false_acceptance is None:
            return log_odds(prior)
        found = self.record.threshold(false_acceptance)
        if found.llr is None:
            raise RecipeError(f"there is no threshold for {false_acceptance:g} % false acceptance: {found.remark}")
        return found.llr

    def search_threshold(self, prior: float, false_acceptance: float | None, people: int) -> float | None:
        """Return the threshold that the likeliest of so many people has to reach; None without a calibration.

        For a prior it is that of `threshold`, whatever their number. A rate of false acceptance is that of the whole
        list here, so that the threshold rises with their number; it is never below that of `threshold`.

        Args:
            prior: probability of one voice before anything was heard; counts where no rate is given.
            false_acceptance: strangers who are taken for one of the people, in percent, at most.
            people: how many are searched.

        Raises:
            RecipeError: a prior or a rate that cannot be, or a rate that the calibration does not support.
        """
        for_prior = self.threshold(prior, None)
        if false_acceptance is None or self.record is None:
            return for_prior
        if not 0 < false_acceptance < 100:
            raise RecipeError(f"a rate of false acceptance lies between 0 and 100 %, got {false_acceptance:g}")
        found = self.record.search_threshold(false_acceptance, max(people, 1))
        alone = self.threshold_if_known(prior, false_acceptance)
        return found if alone is None else max(found, alone)

    def threshold_if_known(self, prior: float, false_acceptance: float | None) -> float | None:
        """Return the threshold of `threshold`; None where that is an error, too."""
        try:
            return self.threshold(prior, false_acceptance)
        except RecipeError:
            return None

    def search_rate(self, threshold: float | None, people: int) -> SearchRate:
        """Return how often a stranger is taken for one of so many people, as far as the calibration can say."""
        if self.record is None or threshold is None:
            return SearchRate(None, "not stated", remark="the model has no calibration")
        if people < 1:
            return SearchRate(None, "not stated", remark="nobody is enrolled")
        return self.record.search_rate(threshold, people)

    def beyond(self, voices: EmbeddingSet) -> tuple[str, ...]:
        """Return warnings where a voice's quality is below all that the calibration was fitted on."""
        if self.record is None:
            return ()
        words = {"speech": "less speech", "snr": "more noise"}
        found = self.record.calibration.outside(_sides(voices, None))
        return tuple(f"{words[name]} than the calibration has heard" for name in found)

    def has_heard(self, name: str) -> bool:
        """Return whether the calibration notes what it has heard of a quality."""
        return self.record is not None and name in self.record.heard

    def outside(self, quality: Mapping[str, float | None]) -> Outside:
        """Return where a recording's quality, figures by name, lies outside of what the calibration has heard."""
        return Outside() if self.record is None else self.record.outside(quality)

    def _statistics(self, voices: EmbeddingSet) -> CohortStatistics | None:
        return self.cohort.statistics(voices.embeddings) if self.cohort else None


def _sides(voices: EmbeddingSet, statistics: CohortStatistics | None) -> QualityMeasures:
    return QualityMeasures(voices.speech_s, voices.snr_db, statistics.mean if statistics else None)


def posteriors(llrs: Sequence[float], people: int, threshold: float) -> tuple[list[float], float]:
    """Return the probability of each candidate, and of nobody, after the recording was heard.

    Before it, each of the people is as likely as the other, and so much less likely than nobody that a single one has
    to reach the threshold to be the likelier: of prior p, for which it is log((1 - p) / p), the odds are p : 1 - p.
    Those who are no candidates count as the last candidate does, and at most as strangers do on average: a likelihood
    ratio of 1.

    Args:
        llrs: natural-log likelihood ratios of the candidates, the highest first.
        people: how many are searched, at least as many as there are candidates.
        threshold: on the log-likelihood ratio.
    """
    logs = [llr - threshold for llr in llrs]
    rest = [np.log(people - len(llrs)) + min(llrs[-1], 0.0) - threshold] if people > len(llrs) else []
    total = np.logaddexp.reduce([*logs, 0.0, *rest])
    return [float(np.exp(value - total)) for value in logs], float(np.exp(-total))
