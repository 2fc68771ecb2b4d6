"""Calibration and its figures on scores made by hand, without any model."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.errors import CorpusError
from voxanchor.evaluation import calibrate
from voxanchor.evaluation.calibrate import (
    ALL,
    BOTH,
    DIVIDED_S,
    FOLDS,
    LEAST_SPEAKERS,
    MOST_PIECES,
    PIECES_S,
    RATES,
    SHORTEST_S,
    Calibrated,
    CalibrationTrials,
    Group,
    calibrated,
    pieces,
    selected,
)
from voxanchor.scoring.calibration import Calibration, Kind, MeasureName, QualityMeasures, ScoredTrials
from voxanchor.scoring.metrics import cllr
from voxanchor.types import BoolArray, FloatArray

MEASURES: tuple[MeasureName, ...] = ("speech", "snr")


def group(
    condition: str, speakers: int, each: int = 3, *, snr_db: float = 25.0, clean_enrol: bool = True, seed: int = 0
) -> Group:
    """All pairs of recordings, scored by a draw that noise moves down."""
    draw = np.random.default_rng([seed, round(10 * snr_db)])
    owners = np.repeat(np.arange(speakers), each)
    first, second = np.triu_indices(len(owners), k=1)
    target = owners[first] == owners[second]
    scores = draw.normal(np.where(target, 0.55, 0.05), 0.15) - 0.01 * (25 - snr_db)
    enrol, test = (
        QualityMeasures(draw.uniform(1, 4, len(owners)), ratio + draw.uniform(-1, 1, len(owners)))
        for ratio in (25.0 if clean_enrol else snr_db, snr_db)
    )
    trials = ScoredTrials(np.clip(scores, -0.99, 0.99), enrol, test, first, second)
    return Group(condition, clean_enrol, trials, target, owners[first], owners[second])


def groups(speakers: int, each: int = 3, seed: int = 0) -> list[Group]:
    return [
        group("clean", speakers, each, seed=seed),
        group("noise_5db", speakers, each, snr_db=5, seed=seed),
        group("noise_5db", speakers, each, snr_db=5, clean_enrol=False, seed=seed + 1),
    ]


def with_scores(of: Group, scores: FloatArray) -> Group:
    return replace(of, trials=replace(of.trials, scores=scores))


def searches(condition: str, speakers: int, each: int = 3, snr_db: float = 25.0) -> Group:
    """Every recording with one of each speaker, drawn as in `group`; of its own speaker the next one."""
    draw = np.random.default_rng(round(10 * snr_db))
    owners = np.repeat(np.arange(speakers), each)
    heard = np.repeat(np.arange(len(owners)), speakers)
    enrolled = each * np.tile(np.arange(speakers), len(owners)) + (heard + 1) % each
    target = owners[heard] == owners[enrolled]
    scores = draw.normal(np.where(target, 0.55, 0.05), 0.15) - 0.01 * (25 - snr_db)
    enrol, test = (
        QualityMeasures(draw.uniform(1, 4, len(owners)), np.full(len(owners), ratio)) for ratio in (25.0, snr_db)
    )
    trials = ScoredTrials(np.clip(scores, -0.99, 0.99), enrol, test, enrolled, heard)
    return Group(condition, True, trials, target, owners[enrolled], owners[heard])


@pytest.fixture(scope="module")
def many() -> tuple[list[Group], Calibrated]:
    made = groups(60)
    looked_for = [searches("clean", 60), searches("noise_5db", 60, snr_db=5)]
    return made, calibrated(made, made, "cosine", MEASURES, 60, looked_for)


def held_out(of: Sequence[Group], speakers: int) -> list[FloatArray]:
    folds = calibrate._folds(speakers)
    folded = calibrate._folded(of, "cosine", (), folds, "test")
    return [calibrate._held_out(folded, item, folds) for item in of]


def test_a_trial_is_judged_by_a_calibration_that_heard_neither_speaker(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted: list[set[int]] = []
    judged: list[tuple[set[int], set[int]]] = []

    def fit(
        known: Sequence[tuple[ScoredTrials, BoolArray]], kind: Kind, measures: Sequence[MeasureName]
    ) -> Calibration:
        heard = {int(row) // 3 for trials, _ in known for row in (*trials.enrol_index, *trials.test_index)}
        fitted.append(heard)

        class Spy(Calibration):
            def llr(self, trials: ScoredTrials) -> FloatArray:
                owners = set((trials.enrol_index // 3).tolist()) | set((trials.test_index // 3).tolist())
                if len(trials.scores):
                    judged.append((heard, owners))
                return super().llr(trials)

        return Spy(kind, 0.0, 1.0)

    monkeypatch.setattr(calibrate, "fit_calibration", fit)
    found = held_out(groups(12), 12)
    assert len(fitted) == FOLDS * (FOLDS + 1) / 2
    assert judged
    assert not any(heard & owners for heard, owners in judged)
    assert set().union(*(owners for _, owners in judged)) == set(range(12))
    for values, made in zip(found, groups(12), strict=True):
        np.testing.assert_allclose(values, np.arctanh(made.trials.scores))  # every trial has a value, its own


def test_absurd_scores_of_one_speaker_do_not_reach_the_ratios_of_its_own_fold_s_pairs() -> None:
    made = groups(16)
    folds = calibrate._folds(16)
    absurd = [
        with_scores(item, np.where((item.enrol == 3) | (item.test == 3), -item.trials.scores, item.trials.scores))
        for item in made
    ]
    for before, after, item in zip(held_out(made, 16), held_out(absurd, 16), made, strict=True):
        beside = (
            ((folds[item.enrol] == folds[3]) | (folds[item.test] == folds[3])) & (item.enrol != 3) & (item.test != 3)
        )
        elsewhere = (folds[item.enrol] != folds[3]) & (folds[item.test] != folds[3])
        np.testing.assert_array_equal(before[beside], after[beside])
        assert (before[elsewhere] != after[elsewhere]).all()


def test_folds_hold_everybody_once_and_as_many_each() -> None:
    for speakers in (8, 9, 50):
        folds = calibrate._folds(speakers)
        counts = np.bincount(folds, minlength=FOLDS)
        assert counts.sum() == speakers
        assert counts.max() - counts.min() <= 1


def test_thresholds_pass_the_share_of_strangers_that_they_state(many: tuple[list[Group], Calibrated]) -> None:
    made, found = many
    shown = [item for item in made if item.clean_enrol]
    strangers = np.concatenate([~item.target for item in shown])
    folds = calibrate._folds(60)
    folded = calibrate._folded(made, "cosine", MEASURES, folds, "again")
    llrs = np.concatenate([calibrate._held_out(folded, item, folds) for item in shown])
    assert tuple(item.false_acceptance for item in found.thresholds) == RATES
    for item in found.thresholds[:2]:
        assert item.llr is not None
        assert item.trials == strangers.sum()
        passing = (llrs >= item.llr) & strangers
        assert item.passing == passing.sum()
        assert item.passing <= item.false_acceptance / 100 * item.trials < item.passing + 1
        assert item.false_rejection == pytest.approx(100 * (llrs[~strangers] < item.llr).mean())
        owners = np.concatenate([np.stack((item.enrol, item.test), 1) for item in shown])
        assert item.pairs == len({tuple(sorted(pair)) for pair in owners[passing].tolist()})
    assert found.thresholds[0].llr < found.thresholds[1].llr  # type: ignore[operator]


def test_the_interval_covers_the_rate_of_the_threshold(many: tuple[list[Group], Calibrated]) -> None:
    for item in many[1].thresholds[:2]:
        assert item.low is not None
        assert item.high is not None
        assert 0 <= item.low < item.false_acceptance < item.high < 100


def test_a_rate_that_too_few_trials_reach_is_not_stated(many: tuple[list[Group], Calibrated]) -> None:
    rare = many[1].thresholds[-1]
    assert rare.llr is None
    assert rare.low is rare.high is rare.false_rejection is None
    assert rare.passing < calibrate.LEAST_PASSING
    assert "Calibrate with more speakers" in rare.remark
    assert "0.01" not in many[1].figures[0].false_acceptance


def test_a_rate_that_too_few_pairs_of_speakers_reach_is_not_stated() -> None:
    made = groups(13, 12)
    # one of 78 pairs of speakers are twins, alike in all their recordings
    twins = [
        with_scores(
            item,
            np.where((item.enrol == 0) & (item.test == 1), 0.97, np.where(item.target, 0.6, 0.0))
            + np.random.default_rng(0).uniform(0, 0.01, len(item.target)),
        )
        for item in made
    ]
    found = calibrated(twins, twins, "cosine", (), 13)
    first = found.thresholds[0]
    assert first.passing >= calibrate.LEAST_PASSING
    assert first.pairs < calibrate.LEAST_PAIRS
    assert first.llr is None
    assert "pairs of speakers" in first.remark
    assert found.figures[0].false_acceptance == {}


def test_searches_are_looked_at_by_number_of_people_at_every_threshold(many: tuple[list[Group], Calibrated]) -> None:
    found = many[1]
    assert sorted({item.people for item in found.searches}) == [1, 2, 5, 10, 20, 50]
    columns: list[tuple[str, float]] = [("prior", 0.01), ("comparison", 1.0), ("comparison", 0.1)]
    columns += [("list", rate) for rate in RATES]
    for people in (1, 50):
        assert [(item.purpose, item.value) for item in found.searches if item.people == people] == columns
    assert {item.searches for item in found.searches} == {2 * 180}
    by_place = {(item.people, item.purpose, item.value): item for item in found.searches}
    llrs = {item.false_acceptance: item.llr for item in found.thresholds}
    assert by_place[5, "prior", 0.01].llr == pytest.approx(np.log(99))
    assert by_place[5, "comparison", 0.1].llr == llrs[0.1]
    for item in found.searches:
        if item.purpose == "list" and item.llr is not None:
            assert item.false_positive == pytest.approx(item.value, abs=100 / item.searches)
        if item.false_positive is not None:
            assert item.low is not None
            assert item.high is not None
            assert item.highest is not None
            assert item.low <= item.false_positive <= item.high
            assert item.false_positive <= item.highest <= 100
            assert item.condition in ("clean", "noise_5db")
            alone = by_place[1, item.purpose, item.value].false_positive
            if item.purpose != "list" and alone is not None:
                assert alone <= item.false_positive <= item.people * alone + 1e-9
        if item.llr is not None:
            assert item.missed_low is not None
            assert item.false_negative is not None
            assert item.missed_high is not None
            assert item.missed_low <= item.false_negative <= item.missed_high
    # what single comparisons let pass, and what a search among fifty does with the same threshold
    assert by_place[1, "comparison", 1.0].false_positive == pytest.approx(1, abs=0.3)
    assert by_place[50, "comparison", 1.0].false_positive > 25  # type: ignore[operator]
    assert by_place[5, "list", 1.0].llr > by_place[2, "list", 1.0].llr  # type: ignore[operator]


def test_a_rate_of_searches_that_too_few_reach_is_not_stated(many: tuple[list[Group], Calibrated]) -> None:
    rare = [item for item in many[1].searches if item.passing < calibrate.LEAST_PASSING]
    assert {item.purpose for item in rare} >= {"list"}
    for item in rare:
        assert item.false_positive is item.low is item.high is item.highest is None
        assert "Calibrate with more speakers" in item.remark
        assert (item.llr is None) == (item.purpose == "list")


def test_a_search_is_judged_by_calibrations_that_heard_neither_speaker() -> None:
    made = groups(16)
    folds = calibrate._folds(16)
    looked_for = searches("clean", 16)
    before = calibrate._held_out(calibrate._folded(made, "cosine", (), folds, "test"), looked_for, folds)
    absurd = [
        with_scores(item, np.where((item.enrol == 3) | (item.test == 3), -item.trials.scores, item.trials.scores))
        for item in made
    ]
    after = calibrate._held_out(calibrate._folded(absurd, "cosine", (), folds, "test"), looked_for, folds)
    touched = (folds[looked_for.enrol] == folds[3]) | (folds[looked_for.test] == folds[3])
    np.testing.assert_array_equal(before[touched], after[touched])
    assert (before[~touched] != after[~touched]).all()


def test_figures_are_by_condition_and_all_together_first(many: tuple[list[Group], Calibrated]) -> None:
    made, found = many
    by_name = {item.condition: item for item in found.figures}
    assert [item.condition for item in found.figures] == [ALL, "clean", "noise_5db", f"noise_5db{BOTH}"]
    everything = by_name[ALL]
    assert everything.trials == by_name["clean"].trials + by_name["noise_5db"].trials
    assert everything.targets == by_name["clean"].targets + by_name["noise_5db"].targets
    assert by_name["clean"].trials == len(made[0].target)
    assert by_name["clean"].cllr_cosine == pytest.approx(cllr(made[0].trials.scores, made[0].target))
    for item in found.figures:
        assert 0 <= item.min_cllr <= item.cllr + 1e-9
        assert 0 <= item.eer <= 100
        assert set(item.false_acceptance) == set(item.false_rejection) == {"1", "0.1"}
        assert set(item.false_acceptance_score) == set(item.false_rejection_score) == {"1", "0.1"}
    assert everything.cllr < everything.cllr_score < everything.cllr_cosine
    assert everything.false_acceptance["1"] == pytest.approx(1, abs=0.05)
    # one threshold by the score alone is too low for clean and too high for noisy trials
    rates = [by_name[name].false_acceptance_score["1"] for name in ("clean", "noise_5db")]
    balanced = [by_name[name].false_acceptance["1"] for name in ("clean", "noise_5db")]
    assert abs(balanced[0] - balanced[1]) < abs(rates[0] - rates[1])


def test_what_is_kept_is_fitted_on_all(many: tuple[list[Group], Calibrated]) -> None:
    made, found = many
    assert found.calibration == calibrate._fit(made, "cosine", MEASURES)
    assert found.calibration.measures == MEASURES
    assert found.calibration.least_slope() > 0


def test_the_same_groups_give_the_same_again() -> None:
    made = groups(12)
    assert calibrated(made, made, "cosine", (), 12) == calibrated(made, made, "cosine", (), 12)


def test_fewer_than_eight_speakers_are_an_error() -> None:
    made = groups(LEAST_SPEAKERS - 1)
    with pytest.raises(CorpusError, match="at least 8 speakers"):
        calibrated(made, made, "cosine", (), LEAST_SPEAKERS - 1)
    enough = groups(LEAST_SPEAKERS)
    assert calibrated(enough, enough, "cosine", (), LEAST_SPEAKERS).figures


def test_speakers_of_single_recordings_are_an_error_that_says_what_to_give() -> None:
    made = [selected(item, ~item.target | (item.enrol == 0)) for item in groups(12)]
    with pytest.raises(CorpusError, match="too few speakers to calibrate"):
        calibrated(made, made, "cosine", (), 12)


def recording(name: str, seconds: float, session: str = "", tape: str = "") -> Utterance:
    return Utterance(name, "ada", seconds, (Part(f"/{name}.wav"),), session, tape)


def lengths(seconds: float, place: int = 0) -> list[float]:
    others = tuple(recording(str(number), 0.1) for number in range(place))
    found = pieces(Manifest((*others, recording("a", seconds)))).utterances
    return [piece.duration_s for piece in found]


@pytest.mark.parametrize(
    ("place", "seconds", "expected"),
    [
        (0, 0.74, []),
        (0, 0.75, [0.75]),
        (0, 1.3, [1.3]),
        (0, 2.7, [2.0]),
        (0, 2.8, [2.0, 0.8]),
        (0, 7.0, [2.0, 4.0, 1.0]),
        (0, 10.5, [2.0, 4.0, 1.0, 3.0]),
        (0, 1000.0, [2.0, 4.0, 1.0, 3.0, 8.0, 3.0, 1.0, 6.0]),
        (1, 2.9, [2.9]),
        (1, 4.0, [2.4, 1.6]),
        (1, 8.75, [8.0, 0.75]),
        (1, 1000.0, [8.0, 3.0, 1.0, 6.0, 2.0, 4.0, 2.0, 4.0]),
        (2, 1000.0, [6.0, 2.0, 4.0, 2.0, 4.0, 1.0, 3.0, 8.0]),
        (3, 7.0, [2.0, 4.0, 1.0]),
    ],
)
def test_recordings_are_cut_into_the_stated_lengths(place: int, seconds: float, expected: list[float]) -> None:
    assert lengths(seconds, place) == pytest.approx(expected)


@settings(max_examples=100)
@given(seconds=st.floats(0.01, 60), place=st.integers(0, 5))
def test_pieces_follow_one_another_inside_the_recording(seconds: float, place: int) -> None:
    others = tuple(recording(str(number), 0.1) for number in range(place))
    found = pieces(Manifest((*others, recording("a", seconds)))).utterances
    assert len(found) <= MOST_PIECES
    assert bool(found) == (seconds >= SHORTEST_S)
    assert len(found) >= 2 or seconds < DIVIDED_S
    end = 0.0
    for number, piece in enumerate(found):
        (part,) = piece.parts
        assert part.duration_s == pytest.approx(piece.duration_s)
        assert part.start_s == pytest.approx(end)
        end += piece.duration_s
        assert piece.id == f"a#{number}"
        assert SHORTEST_S <= piece.duration_s <= max(map(max, PIECES_S))
    assert end <= seconds + 1e-9
    assert seconds - end < SHORTEST_S or not found or len(found) == MOST_PIECES


def test_pieces_know_their_recording_and_speaker() -> None:
    found = pieces(Manifest((recording("b", 6.5), recording("a", 2.9, "monday", "tape")))).utterances
    assert [piece.id for piece in found] == ["a#0", "b#0", "b#1"]
    assert [piece.recording for piece in found] == ["tape", "b", "b"]
    assert {piece.speaker for piece in found} == {"ada"}
    assert found[0].session == "monday"


def test_a_selection_keeps_what_belongs_together() -> None:
    made = group("clean", 8)
    rows = np.arange(len(made.target)) % 5 == 0
    found = selected(made, rows)
    assert (found.condition, found.clean_enrol) == ("clean", True)
    for name in ("target", "enrol", "test"):
        np.testing.assert_array_equal(getattr(found, name), getattr(made, name)[rows])
    for name in ("scores", "enrol_index", "test_index"):
        np.testing.assert_array_equal(getattr(found.trials, name), getattr(made.trials, name)[rows])


def test_recordings_that_went_away_are_left_out_and_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * np.random.default_rng(number).standard_normal(48_000), 16_000)
    found = scan(tmp_path, "flat")
    (tmp_path / "1.wav").unlink()
    listener = cast("CalibrationTrials", SimpleNamespace(encoder=SimpleNamespace(min_samples=1_600)))
    kept = CalibrationTrials._with_speech(listener, found)
    assert {utterance.id for utterance in kept.utterances} <= {"0.wav", "2.wav"}
    said = capsys.readouterr().err
    assert "1 pieces of recordings cannot be read any more and are left out, for example: " in said
    assert "1.wav: no such file" in said
