"""The scoring back-end: thresholds that it takes from a calibration."""

from types import SimpleNamespace
from typing import Any

import pytest

from voxanchor.errors import RecipeError
from voxanchor.scoring.backend import ScoringBackend
from voxanchor.scoring.calibration import log_odds


class Record:
    """Stands for a calibration that was asked for one rate."""

    def __init__(self, alone: float | None, searched: float) -> None:
        self.alone, self.searched = alone, searched

    def threshold(self, false_acceptance: float) -> SimpleNamespace:
        if self.alone is None:
            raise RecipeError("was not looked at")
        return SimpleNamespace(llr=self.alone, remark="")

    def search_threshold(self, false_acceptance: float, people: int) -> float:
        return self.searched


@pytest.mark.parametrize(("alone", "searched", "expected"), [(3.0, 2.0, 3.0), (3.0, 4.0, 4.0), (None, 2.0, 2.0)])
def test_a_search_never_asks_for_less_than_a_single_comparison(
    alone: float | None, searched: float, expected: float
) -> None:
    record: Any = Record(alone, searched)
    assert ScoringBackend(record).search_threshold(0.01, 1.0, 5) == expected


def test_a_search_at_a_prior_has_the_threshold_of_the_prior() -> None:
    record: Any = Record(3.0, 4.0)
    assert ScoringBackend(record).search_threshold(0.01, None, 5) == log_odds(0.01)
