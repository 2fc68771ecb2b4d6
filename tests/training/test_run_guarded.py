"""Attempts at a guarded stage: again at a lower rate, resumed where it stood, the best state over all of them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from voxanchor.errors import DivergedError
from voxanchor.training.guard import ForgettingGuard
from voxanchor.training.run import KEPT_FILE, BestCheckpoint, outcome, run_guarded
from voxanchor.training.stage import Train

BEFORE = {"clean_eer": 2.0, "noisy_eer": 10.0}
GOOD, POOR, BAD = (2.0, 4.0), (3.9, 4.0), (30.0, 30.0)


class Killed(BaseException):
    """Stands for the process ending."""


class Script:
    """Attempts that go as written: the readings of each, or an exception in the place of one."""

    def __init__(self, best: BestCheckpoint, attempts: list[list[tuple[float, float] | BaseException]]) -> None:
        self.best, self.attempts = best, attempts
        self.rates: list[float] = []

    def __call__(self, number: int, stage: Train, folder: Path) -> bool:
        self.rates.append(stage.learning_rate.peak)
        folder.mkdir(parents=True, exist_ok=True)
        for step, reading in enumerate(self.attempts[number - 1], start=1):
            if isinstance(reading, BaseException):
                raise reading
            values = {"clean_eer": reading[0], "noisy_eer": reading[1]}
            if not self.best.update(number, step, values, lambda: {"w": torch.ones(1)}):
                return False
        return True


@pytest.fixture
def guarded(stage: Train) -> Train:
    return replace(stage, start="ge2e", guard=ForgettingGuard(watch=True, retries=1))


@pytest.fixture
def play(tmp_path: Path, guarded: Train) -> Callable[..., Script]:
    def run(*attempts: list[tuple[float, float] | BaseException]) -> Script:
        best = BestCheckpoint(guarded.guard, BEFORE, tmp_path / KEPT_FILE)
        script = Script(best, list(attempts))
        run_guarded(guarded, tmp_path, best, script)
        return script

    return run


def test_training_that_goes_well_is_done_once(play: Callable[..., Script], tmp_path: Path) -> None:
    script = play([POOR, GOOD])
    found = outcome(tmp_path, script.best)
    assert found is not None
    assert len(script.rates) == 1
    assert (found[0].attempt, found[0].step, found[0].gain, found[0].faults) == (1, 2, 6.0, ())


def test_training_that_falls_begins_again_at_a_tenth_of_the_rate(play: Callable[..., Script], tmp_path: Path) -> None:
    script = play([BAD, GOOD], [GOOD])
    assert script.rates == pytest.approx([2e-3, 2e-4])
    found = outcome(tmp_path, script.best)
    assert found is not None
    assert (found[0].attempt, found[0].step) == (2, 1)
    assert [attempt.why for attempt in found[0].attempts] == ["clean quality fell too far", ""]
    assert found[0].to_dict()["accepted"]


def test_a_loss_that_is_not_finite_counts_as_a_fall(play: Callable[..., Script], tmp_path: Path) -> None:
    script = play([GOOD, DivergedError("step 7")], [BAD])
    found = outcome(tmp_path, script.best)
    assert found is not None
    # what the first attempt had before it broke is better than anything after it
    assert (found[0].attempt, found[0].step, found[0].faults) == (1, 1, ())


def test_one_that_only_ends_past_the_allowance_is_tried_again_too(play: Callable[..., Script]) -> None:
    assert len(play([POOR], [GOOD]).rates) == 2


def test_where_nothing_helps_the_faults_say_so(play: Callable[..., Script], tmp_path: Path) -> None:
    script = play([BAD], [BAD])
    found = outcome(tmp_path, script.best)
    assert found is not None
    assert len(script.rates) == 2
    assert found[0].faults == ("it lost more on clean speech than is allowed", "it is worse in noise")
    assert not found[0].to_dict()["accepted"]


def test_a_model_that_is_worse_in_noise_is_no_success(play: Callable[..., Script], tmp_path: Path) -> None:
    found = outcome(tmp_path, play([(2.0, 10.1)]).best)
    assert found is not None
    assert found[0].faults == ("it is worse in noise",)


def test_nothing_looked_at_is_no_outcome(play: Callable[..., Script], tmp_path: Path) -> None:
    assert outcome(tmp_path, play([DivergedError("x")], [DivergedError("x")]).best) is None


def test_a_killed_run_repeats_no_attempt_that_ended(play: Callable[..., Script], tmp_path: Path) -> None:
    with pytest.raises(Killed):
        play([BAD], [GOOD, Killed()])
    resumed = play([Killed()], [GOOD, GOOD])
    assert resumed.rates == pytest.approx([2e-4])
    again = play([Killed()], [Killed()])
    assert again.rates == []
    found = outcome(tmp_path, again.best)
    assert found is not None
    assert (found[0].attempt, found[0].step) == (2, 2)
