"""What a model's own calibration decides in an evaluation: costs, and both errors at the thresholds it would use."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from voxanchor.conditions.spec import Condition
from voxanchor.corpus.trials import Trials
from voxanchor.evaluation.results import DecisionRow
from voxanchor.scoring.calibration import log_odds
from voxanchor.scoring.det import rank_trials
from voxanchor.scoring.judge import Judge, Voices
from voxanchor.scoring.metrics import cllr, ranked_min_cllr
from voxanchor.scoring.thresholds import error_rates
from voxanchor.types import Embeddings

Qualities: TypeAlias = NDArray[np.float64]
"""(N, 5): seconds of speech, estimated signal-to-noise ratio in dB, active level in dB of full scale, highest frequency
with sound in Hz, share of clipped samples; NaN where there is no such figure, as of silence."""

PRIORS = (0.01, 0.5)
"""Priors of one voice whose thresholds are looked at, beside those for rates of false acceptance."""


@dataclass(frozen=True)
class Decider:
    """Decides the trials of an evaluation as the systems' calibrations would.

    Attributes:
        judges: by system; those without a calibration are left out.
        trials: which segments are compared.
        protocol: for the rows.
        suite: for the rows.
    """

    judges: Mapping[str, Judge]
    trials: Trials
    protocol: str
    suite: str

    def decide(
        self,
        system: str,
        condition: Condition,
        seed: int,
        embeddings: tuple[Embeddings, Embeddings],
        qualities: Sequence[Qualities],
    ) -> list[DecisionRow]:
        """Return a row for every threshold.

        Args:
            system: whose calibration.
            condition: of the test.
            seed: of the noise.
            embeddings: of the enrolments, as `Trials.enrolled` gives them, and (N, D) of the tests.
            qualities: (N, 5) of the utterances as they are heard on either side.
        """
        judge = self.judges[system]
        worth = together(qualities[0], self.trials.models), qualities[1]
        sides = [_voices(*side) for side in zip(embeddings, worth, strict=True)]
        llrs = judge.ratios(sides[0], sides[1], self.trials.enrol, self.trials.test)
        ranked = rank_trials(llrs, self.trials.target)
        cost, least = cllr(llrs, self.trials.target), ranked_min_cllr(ranked)
        rows = []
        for name, threshold in _thresholds(judge):
            found = error_rates(ranked, threshold)
            errors = 100 * found.false_acceptance, 100 * found.false_rejection
            place = (system, self.protocol, self.suite, condition.name, seed)
            rows.append(DecisionRow(*place, cost, least, name, threshold, *errors))
        return rows


def _thresholds(judge: Judge) -> Iterator[tuple[str, float]]:
    for prior in PRIORS:
        yield f"prior {prior:g}", log_odds(prior)
    for item in judge.record.thresholds if judge.record else ():
        if item.llr is not None:
            yield f"{item.false_acceptance:g} %", item.llr


def together(qualities: Qualities, models: Sequence[tuple[int, ...]]) -> Qualities:
    """Return what each model's recordings are worth together, as of enrolled people: speech summed, others averaged."""
    if not models:
        return qualities
    found = np.stack([qualities[list(rows)].mean(axis=0) for rows in models])
    found[:, 0] = [qualities[list(rows), 0].sum() for rows in models]
    return found


def _voices(embeddings: Embeddings, qualities: Qualities) -> Voices:
    return Voices(embeddings, qualities[:, 0], qualities[:, 1])
