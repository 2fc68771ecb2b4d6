"""Enrolling people and recognising them, with a model whose embeddings are stated."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verification.by_hand import Angles, Said, line

from voxanchor.enrolments.records import EnrolmentEmbedding
from voxanchor.enrolments.store import open_store
from voxanchor.errors import AudioError, EnrolmentError, ModelError, RecipeError, UnknownPersonError
from voxanchor.scoring.backend import ScoringBackend
from voxanchor.scoring.calibration import (
    Calibration,
    CalibrationRecord,
    Kind,
    MeasureName,
    SearchFigures,
    SearchRate,
    Threshold,
)
from voxanchor.scoring.cohort import Cohort
from voxanchor.verification.people import REPLAYED, OlderModel, older_model
from voxanchor.verification.verifier import Verifier, reembed

TURN = np.array([[0, 1, 0, 0], [-1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float32)
"""A map that turns an angle by a quarter."""


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(Angles(), ScoringBackend(line()))


@pytest.fixture
def two(verifier: Verifier, said: Said) -> Verifier:
    verifier.enroll("Ada", [said(0), said(0.1)], by="desk")
    verifier.enroll("Bob", said(1.5))
    return verifier


def test_enrolling_says_what_it_came_to(verifier: Verifier, said: Said, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "call.wav", said(0), 16_000, subtype="FLOAT")
    made = verifier.enroll("Ada", [tmp_path / "call.wav", (said(0.1, 3.0), 16_000)], by="desk")
    assert (made.person, made.recordings, made.side.recordings) == ("Ada", 2, 2)
    assert made.side.quality.duration_s == pytest.approx(5)
    assert made.side.warnings == ()
    first, second = verifier.store.enrolments("Ada")
    assert (first.source, second.source) == ("call.wav", "")
    assert (first.by, first.model, first.keeps_audio) == ("desk", "angles", False)
    assert made.side.quality.speech_s == pytest.approx(first.speech_s + second.speech_s)
    assert made.side.quality.snr_db == pytest.approx((first.snr_db + second.snr_db) / 2)


def test_one_recording_that_cannot_serve_leaves_nobody_enrolled(verifier: Verifier, said: Said, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("words")
    for bad, reason in (
        (said(0, 0.2), "recording 2 holds"),
        (np.zeros(32_000, np.float32), "recording 2 is silent"),
        (tmp_path / "text.wav", "text.wav"),
        (tmp_path / "missing.wav", "missing.wav"),
    ):
        with pytest.raises(AudioError, match=reason):
            verifier.enroll("Ada", [said(0), bad, said(0.1)])
        assert verifier.store.people() == []
    with pytest.raises(AudioError, match="no recordings"):
        verifier.enroll("Ada", [])
    with pytest.raises(EnrolmentError):
        verifier.enroll("", said(0))
    assert verifier.store.people() == []


def test_a_recording_unlike_the_others_is_named(verifier: Verifier, said: Said) -> None:
    made = verifier.enroll("Ada", [said(0), said(0.05), said(1.5)])
    assert [text for text in made.side.warnings if "unlike" in text] == [
        "recording 3: unlike the others; is it the same person?"
    ]
    assert not verifier.enroll("Bob", said(1.5)).side.warnings
    assert not Verifier(Angles()).enroll("Ada", [said(0), said(1.5)]).side.warnings  # nothing to judge them by


def test_a_claim_is_accepted_or_rejected_and_logged(two: Verifier, said: Said) -> None:
    found = two.verify_as("Ada", said(0.05), by="door")
    assert found.accepted
    assert found.sides[0].recordings == 2
    assert found.score == pytest.approx(1, abs=1e-5)  # of the mean of both
    assert two.verify_as("Bob", said(0.05), by="door").decision == "rejected"
    assert two.verify_as("Ada", said(0, 0.2)).decision == "abstained"
    last, middle, first = two.store.decisions()
    assert (first.person, first.kind, first.decision, first.by) == ("Ada", "verify", "accepted", "door")
    assert (first.llr, first.score, first.threshold) == (found.llr, found.score, found.threshold)
    assert (middle.person, middle.decision, middle.model) == ("Bob", "rejected", "angles")
    assert (last.decision, last.llr, last.score) == ("abstained", None, None)
    assert "speech" in last.reason
    assert [item.decision for item in two.store.decisions("Bob")] == ["rejected"]


def test_nobody_of_a_name_is_an_error_and_no_decision_but_a_line_of_the_log(two: Verifier, said: Said) -> None:
    with pytest.raises(UnknownPersonError, match="Eve"):
        two.verify_as("Eve", said(0), by="door")
    (line,) = two.store.decisions()
    assert (line.person, line.decision, line.llr, line.by) == (None, "unknown", None, "door")
    assert "Eve" not in line.reason
    with pytest.raises(RecipeError, match="prior"):
        two.verify_as("Ada", said(0), prior=2)


def test_a_name_is_the_same_in_composed_and_decomposed_form(verifier: Verifier, said: Said) -> None:
    verifier.enroll("Zo\u0065\u0308", said(0))
    assert verifier.verify_as("Zo\u00eb", said(0)).accepted


def test_a_recording_is_somebody_s_or_nobody_s(two: Verifier, said: Said) -> None:
    ada, nobody = two.identify(said(0.05), by="door"), two.identify(said(-1.5))
    assert (ada.decision, ada.person) == ("accepted", "Ada")
    assert [item.person for item in ada.candidates] == ["Ada", "Bob"]
    assert ada.candidates[0].probability is not None
    assert ada.candidates[0].probability > 0.5
    assert (nobody.decision, nobody.person) == ("rejected", None)
    assert nobody.nobody is not None
    assert nobody.nobody > 0.5
    assert two.identify(said(0.05), top=1).candidates == ada.candidates[:1]
    second, third, first = (two.store.decisions()[place] for place in (1, 0, 2))
    assert (first.kind, first.person, first.decision, first.by) == ("identify", "Ada", "accepted", "door")
    assert first.llr == ada.candidates[0].llr
    assert first.threshold == ada.threshold == pytest.approx(np.log(99))
    assert (ada.prior, ada.people) == (0.01, 2)
    assert (second.person, second.decision) == (None, "nobody")
    assert third.decision == "accepted"


@settings(deadline=None, max_examples=30)
@given(
    angles=st.lists(st.floats(-1.5, 1.5), min_size=1, max_size=8),
    heard=st.floats(-1.5, 1.5),
    prior=st.floats(0.001, 0.999),
    certainty=st.floats(0, 0.99),
)
def test_the_probabilities_of_an_answer_sum_to_one(
    said: Said, angles: list[float], heard: float, prior: float, certainty: float
) -> None:
    with Verifier(Angles(), ScoringBackend(line())) as verifier:
        for place, angle in enumerate(angles):
            row = np.array([np.cos(angle), np.sin(angle), 0, 0], np.float32)
            verifier.store.enroll(f"p{place}", [EnrolmentEmbedding(row, 3.0, 20.0)], "angles")
        found = verifier.identify(said(heard), top=len(angles), prior=prior, certainty=certainty)
    probabilities = [item.probability for item in found.candidates if item.probability is not None]
    assert found.nobody is not None
    assert len(probabilities) == len(angles)
    assert sum(probabilities) + found.nobody == pytest.approx(1)
    assert probabilities == sorted(probabilities, reverse=True)
    assert found.threshold == pytest.approx(np.log((1 - prior) / prior))
    assert (found.person is not None) == (found.decision == "accepted")
    assert (found.person is not None) == (
        found.candidates[0].llr >= found.threshold and probabilities[0] > certainty  # type: ignore[operator]
    )
    assert found.person in (None, found.candidates[0].person)


@st.composite
def backends(draw: st.DrawFn) -> ScoringBackend:
    """A calibration that minds length and noise, and may normalise by a cohort; with rates, or without."""
    kind: Kind = draw(st.sampled_from(["cosine", "as-norm"]))
    weight = st.tuples(st.floats(-1, 1), st.floats(-1, 1))
    names: tuple[MeasureName, ...] = ("speech", "snr")
    calibration = Calibration(
        kind,
        draw(st.floats(-8, 2)),
        draw(st.floats(8, 20)),
        names,
        {name: draw(weight) for name in names},
        {name: draw(weight) for name in names},
        {"speech": (0.0, 2.0), "snr": (0.0, 3.0)},
    )
    thresholds = (Threshold(1.0, draw(st.floats(-2, 8)), 5000, 50, 20), Threshold(0.1, None, 5000, remark="too few"))
    rates = st.tuples(st.sampled_from([1, 3, 10]), st.floats(-2, 12), st.floats(0, 5))
    searches = tuple(
        SearchFigures(people, "comparison", 1.0, llr, 900, 99, 20, rate, rate, rate)
        for people, llr, rate in draw(st.lists(rates, max_size=4))
    )
    axes = np.eye(4, dtype=np.float32)
    record = CalibrationRecord("angles", calibration, thresholds, (), {}, 3, "", searches)
    return ScoringBackend(record, Cohort(axes, 3) if kind == "as-norm" else None)


@settings(deadline=None, max_examples=50)
@given(
    backend=backends(),
    people=st.lists(st.tuples(st.floats(-1.5, 1.5), st.floats(0.5, 30), st.floats(0, 40)), min_size=1, max_size=6),
    heard=st.floats(-1.5, 1.5),
    prior=st.just(0.01) | st.floats(0.001, 0.999),
    rate=st.none() | st.sampled_from([1.0, 0.1]) | st.floats(0.01, 20),
    certainty=st.just(0.5) | st.floats(0, 0.99),
)
def test_nobody_is_found_whom_a_claim_would_not_let_in(
    said: Said,
    backend: ScoringBackend,
    people: list[tuple[float, float, float]],
    heard: float,
    prior: float,
    rate: float | None,
    certainty: float,
) -> None:
    with Verifier(Angles(), backend) as verifier:
        for place, (angle, speech_s, snr_db) in enumerate(people):
            row = np.array([np.cos(angle), np.sin(angle), 0, 0], np.float32)
            verifier.store.enroll(f"p{place}", [EnrolmentEmbedding(row, speech_s, snr_db)], "angles")
        try:
            found = verifier.identify(said(heard), prior=prior, false_acceptance=rate, certainty=certainty)
        except RecipeError:
            assert rate is not None  # one that this calibration does not support
            return
        if rate in (None, 1.0):
            best = found.candidates[0].person
            claim = verifier.verify_as(best, said(heard), prior, rate)
            assert found.threshold is not None
            assert claim.threshold is not None
            assert found.threshold >= claim.threshold if rate else found.threshold == claim.threshold
            assert found.person in (None, best)
            assert claim.accepted or found.person is None
            # where it differs, it says so
            assert bool(found.remark) == (claim.accepted and found.person is None)
    if rate is not None and found.false_acceptance.rate is not None:
        assert found.false_acceptance.rate <= rate + 1e-9


@settings(deadline=None, max_examples=20)
@given(angle=st.floats(0, 1.5), prior=st.floats(0.001, 0.999))
def test_among_one_person_a_search_is_a_claim(said: Said, angle: float, prior: float) -> None:
    with Verifier(Angles(), ScoringBackend(line())) as verifier:
        verifier.enroll("Ada", said(0))
        found, claim = verifier.identify(said(angle), prior=prior), verifier.verify_as("Ada", said(angle), prior)
    assert (found.person == "Ada") == claim.accepted
    assert found.threshold == claim.threshold
    assert found.candidates[0].score == pytest.approx(claim.score)


def test_two_people_who_sound_alike_are_nobody_and_it_is_said_why(verifier: Verifier, said: Said) -> None:
    verifier.enroll("Ada", said(0.1))
    verifier.enroll("Bob", said(-0.1))
    found = verifier.identify(said(0))
    assert (found.decision, found.person) == ("rejected", None)
    assert verifier.verify_as("Ada", said(0)).accepted
    assert found.remark.startswith("verified as Ada it would be accepted (log-likelihood ratio ")
    assert found.remark.endswith("but among 2 people the probability is 0.50, and more than 0.5 is asked for")
    assert verifier.identify(said(0), certainty=0.4).person == "Ada"
    assert all("Ada" not in line.reason for line in verifier.store.decisions())  # it forgets who is deleted


def test_a_rate_for_the_whole_list_takes_a_higher_threshold_and_says_so(said: Said) -> None:
    rates = [(1, 2.5, 1.0), (2, 2.5, 1.9), (1, 20.0, 0.1), (2, 20.0, 0.2)]
    searches = tuple(SearchFigures(n, "comparison", 1.0, llr, 900, 99, 20, rate) for n, llr, rate in rates)
    with Verifier(Angles(), ScoringBackend(replace(line(), searches=searches))) as verifier:
        verifier.enroll("Ada", said(0))
        alone = verifier.identify(said(0.3), false_acceptance=1)
        assert (alone.person, alone.threshold, alone.prior) == ("Ada", 2.5, None)
        assert (alone.false_acceptance.rate, alone.false_acceptance.kind) == (1.0, "measured")
        verifier.enroll("Bob", said(1.5))
        two = verifier.identify(said(0.3), false_acceptance=1)
        assert (two.person, two.threshold, two.false_acceptance.rate) == (None, 20.0, 0.2)
        assert two.remark.endswith("of strangers to be taken for one of 2 people the threshold is 20.00")
        assert verifier.verify_as("Ada", said(0.3), false_acceptance=1).accepted
        verifier.enroll("Eve", said(-1.5))
        three = verifier.identify(said(0.3), false_acceptance=3)
        assert (three.person, three.threshold, three.people) == ("Ada", 2.5, 3)
        assert three.false_acceptance.rate == pytest.approx(3.0)
        assert three.false_acceptance.kind == "extrapolated"
        assert two.candidates[0].llr == pytest.approx(three.candidates[0].llr)
        for rate, words in ((0.01, "the lowest rate that it supports is 0.3 %"), (100, "between 0 and 100")):
            with pytest.raises(RecipeError, match=words):
                verifier.identify(said(0.3), false_acceptance=rate)


def test_an_answer_states_how_many_were_searched_and_the_rate_among_so_many(two: Verifier, said: Said) -> None:
    found = two.identify(said(0.05))
    assert found.people == 2
    # of one comparison the calibration knows 1 % at 2.5, and its threshold is higher
    assert found.false_acceptance == SearchRate(
        2.0, "extrapolated", remark="extrapolated, not measured: 2 times the 1 % of one person"
    )
    loose = two.identify(said(0.05), prior=0.5)
    assert (loose.false_acceptance.rate, loose.false_acceptance.kind) == (None, "not stated")
    assert "more speakers" in loose.false_acceptance.remark
    plain = Verifier(Angles(), store=two.store).identify(said(0.05))
    assert (plain.threshold, plain.people, plain.false_acceptance.kind) == (None, 2, "not stated")


def test_a_search_warns_as_a_claim_does(two: Verifier, said: Said) -> None:
    two.enroll("Eve", said(0.7))
    again, short = two.identify(said(0.7)), two.identify(said(0.3, 0.8))
    assert again.person == "Eve"
    assert [item.warning for item in again.candidates if item.person == "Eve"] == [REPLAYED]
    assert not any(item.warning for item in again.candidates if item.person != "Eve")
    assert "less speech than the calibration has heard" in short.side.warnings
    assert set(short.side.warnings) == set(two.verify_as("Ada", said(0.3, 0.8)).sides[1].warnings)


def test_an_empty_store_knows_nobody(verifier: Verifier, said: Said) -> None:
    found = verifier.identify(said(0))
    assert (found.decision, found.person, found.candidates, found.nobody) == ("rejected", None, (), 1.0)
    assert found.reason == "nobody is enrolled"


def test_without_a_calibration_candidates_are_ranked_and_none_is_the_answer(said: Said) -> None:
    verifier = Verifier(Angles())
    verifier.enroll("Ada", said(0))
    verifier.enroll("Bob", said(1.5))
    found = verifier.identify(said(1.4))
    assert (found.decision, found.person, found.nobody) == ("uncalibrated", None, None)
    assert [item.person for item in found.candidates] == ["Bob", "Ada"]
    assert {item.probability for item in found.candidates} == {None}
    assert verifier.verify_as("Bob", said(1.5)).decision == "uncalibrated"
    assert [item.decision for item in verifier.store.decisions()] == ["uncalibrated"] * 2


def test_too_little_speech_is_nobody_s_and_an_abstention(two: Verifier, said: Said) -> None:
    found = two.identify(said(0, 0.2))
    assert (found.decision, found.person, found.candidates, found.nobody) == ("abstained", None, (), None)
    assert two.store.decisions()[0].decision == "abstained"


@pytest.mark.parametrize("values", [{"top": 0}, {"certainty": 1.0}, {"certainty": -0.1}, {"prior": 0.0}])
def test_numbers_that_cannot_be_are_errors(two: Verifier, said: Said, values: dict[str, float]) -> None:
    with pytest.raises(RecipeError, match="identify: "):
        two.identify(said(0), **values)  # type: ignore[arg-type]
    assert two.store.decisions() == []


def with_older(two: Verifier, matrix: np.ndarray | None, decision: str = "upgrade") -> Verifier:
    return Verifier(Angles("newer"), ScoringBackend(line("newer")), two.store, OlderModel("angles", matrix, decision))


def test_voiceprints_of_another_model_are_never_compared(two: Verifier, said: Said) -> None:
    other = Verifier(Angles("other"), ScoringBackend(line("other")), two.store)
    with pytest.raises(EnrolmentError, match="other"):
        other.verify_as("Ada", said(0))
    with pytest.raises(EnrolmentError, match="other"):
        other.identify(said(0))
    unrelated = Verifier(Angles("other"), ScoringBackend(line("other")), two.store, OlderModel("third", None, "keep"))
    with pytest.raises(EnrolmentError, match="other"):
        unrelated.verify_as("Ada", said(0))
    with pytest.raises(EnrolmentError, match="other"):
        unrelated.identify(said(0))
    assert two.store.decisions() == []


def test_voiceprints_of_the_model_that_was_replaced_serve_with_a_warning(two: Verifier, said: Said) -> None:
    newer = with_older(two, None, "keep")
    found = newer.verify_as("Ada", said(0.05))
    assert found.accepted
    assert [text for text in found.warnings if "replaced (angles)" in text] == [f"first: {newer.older.warning}"]  # type: ignore[union-attr]
    assert newer.identify(said(0.05)).person == "Ada"
    with pytest.raises(EnrolmentError, match="Eve"):
        newer.verify_as("Eve", said(0))


def test_a_map_carries_them_into_the_new_space(two: Verifier, said: Said) -> None:
    newer = with_older(two, TURN)
    assert newer.verify_as("Ada", said(0.05 + np.pi / 2)).accepted
    assert newer.verify_as("Ada", said(0.05)).decision == "rejected"
    assert newer.identify(said(0.05 + np.pi / 2)).person == "Ada"
    assert newer.identify(said(1.5 + np.pi / 2)).person == "Bob"


def test_own_voiceprints_come_before_those_of_the_older_model(two: Verifier, said: Said) -> None:
    newer = with_older(two, TURN)
    newer.enroll("Ada", said(0))
    found = newer.verify_as("Ada", said(0.1))
    assert found.accepted
    assert found.warnings == ()
    answer = newer.identify(said(0))
    assert answer.person == "Ada"
    assert sorted(item.person for item in answer.candidates) == ["Ada", "Bob"]
    assert newer.people.count() >= 2  # at most so many: Ada counts for either model


@pytest.mark.parametrize("matrix", [None, np.eye(4, dtype=np.float32)], ids=["as they are", "mapped"])
def test_a_voiceprint_that_was_replaced_is_nobody_s_however_many_are_nearer(
    verifier: Verifier, said: Said, matrix: np.ndarray | None
) -> None:
    def enrol(name: str, angle: float, model: str) -> None:
        row = np.array([np.cos(angle), np.sin(angle), 0, 0], np.float32)
        verifier.store.enroll(name, [EnrolmentEmbedding(row, 3.0, 20.0)], model)

    newer = with_older(verifier, matrix)
    enrol("Ada", 0.0, "angles")
    enrol("Ada", 2.5, "newer")
    for place in range(100):
        enrol(f"p{place}", 1.2 + place / 1000, "newer")
    assert newer.verify_as("Ada", said(0)).decision == "rejected"
    assert newer.identify(said(0)).person is None


@pytest.mark.parametrize(
    ("decision", "used"), [("keep", True), ("new threshold", True), ("upgrade", True), ("re-enrol", False)]
)
def test_the_report_of_compatibility_decides_whether_they_serve(decision: str, used: bool) -> None:
    report = {"old": {"fingerprint": "old"}, "verdict": {"decision": decision}}
    found = older_model(json.dumps(report), None, "here")
    assert (found is not None) == used
    if found:
        assert found.fingerprint == "old"


@pytest.mark.parametrize(
    "report", ["", "[]", "null", "{}", '{"old": 5, "verdict": {}}', '{"old": {"fingerprint": "x"}}']
)
def test_what_is_no_such_report_is_an_error(report: str) -> None:
    with pytest.raises(ModelError, match="here: not a report"):
        older_model(report, None, "here")


def test_kept_audio_is_embedded_anew_and_the_rest_is_listed(two: Verifier, said: Said) -> None:
    two.enroll("Cyd", [said(0.7), 3 * said(0.1)], keep_audio=True)
    two.enroll("Dee", said(-1), keep_audio=True)
    newer = Verifier(Angles("newer"), ScoringBackend(line("newer")), two.store)
    found = reembed(newer)
    assert (found.done, found.without_audio, found.failed) == (3, ("Ada", "Bob"), ())
    assert two.store.models() == {"angles": 3, "newer": 3}
    prints = two.store.voiceprint("Dee", "newer")
    np.testing.assert_allclose(prints.embedding, [np.cos(-1), np.sin(-1), 0, 0], atol=1e-4)
    before, after = (two.store.enrolments(name)[0] for name in ("Ada", "Dee"))
    assert before.model == "angles"
    assert (after.model, after.keeps_audio) == ("newer", True)
    assert newer.verify_as("Dee", said(-1)).accepted
    assert reembed(newer).done == 0


def test_kept_audio_that_the_new_model_cannot_take_is_a_failure_of_that_person(two: Verifier, said: Said) -> None:
    two.enroll("Cyd", said(0.7), keep_audio=True)
    two.enroll("Dee", said(0.7, 4.0), keep_audio=True)
    found = reembed(Verifier(Angles("newer", min_samples=48_000), ScoringBackend(), two.store))
    assert found.done == 1
    ((name, reason),) = found.failed
    assert name == "Cyd"
    assert "the model needs 3.00 s" in reason


def test_a_store_outlives_the_verifier_that_opened_it(said: Said, tmp_path: Path) -> None:
    with Verifier(Angles(), ScoringBackend(line()), open_store(tmp_path / "people.db")) as verifier:
        verifier.enroll("Ada", said(0))
    with Verifier(Angles(), ScoringBackend(line()), open_store(tmp_path / "people.db")) as verifier:
        assert verifier.verify_as("Ada", said(0)).accepted
    with Verifier(Angles(), ScoringBackend(line())) as fresh:
        assert fresh.store.people() == []
