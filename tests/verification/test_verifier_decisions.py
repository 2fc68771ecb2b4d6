"""Decisions by a calibration made by hand: accepted, rejected, abstained, uncalibrated, and what goes with them."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.verification.by_hand import Angles, Said, line

from voxanchor.audio.quality import Quality
from voxanchor.errors import AudioError, RecipeError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.backend import UNCALIBRATED, EmbeddingSet, ScoringBackend, posteriors
from voxanchor.scoring.calibration import Calibration
from voxanchor.scoring.cohort import Cohort
from voxanchor.types import Waveform
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.result import Side
from voxanchor.verification.verifier import MIN_SPEECH_S, Verifier


@pytest.fixture
def verifier() -> Verifier:
    return Verifier(Angles(), ScoringBackend(line()))


def test_voices_that_are_alike_are_accepted_and_others_rejected(verifier: Verifier, said: Said) -> None:
    alike, unlike = verifier.verify(said(0), said(0.1)), verifier.verify(said(0), said(1.2))
    assert (alike.decision, alike.accepted) == ("accepted", True)
    assert (unlike.decision, unlike.accepted) == ("rejected", False)
    for found, angle in ((alike, 0.1), (unlike, 1.2)):
        assert found.score == pytest.approx(np.cos(angle), abs=1e-5)
        assert found.llr == pytest.approx(-5 + 10 * np.arctanh(np.cos(angle)), rel=1e-3)
        assert found.threshold == pytest.approx(np.log(99))
        assert (found.prior, found.reason, found.warnings) == (0.01, "", ())


def test_the_prior_moves_the_threshold_and_nothing_else(verifier: Verifier, said: Said) -> None:
    found = [verifier.verify(said(0), said(0.8), prior) for prior in (1e-6, 0.01, 0.5, 0.999)]
    assert [item.decision for item in found] == ["rejected", "rejected", "accepted", "accepted"]
    assert len({item.llr for item in found}) == 1
    assert [item.prior for item in found] == [1e-6, 0.01, 0.5, 0.999]
    assert found[2].threshold == 0


def test_a_rate_of_false_acceptance_takes_the_place_of_the_prior(verifier: Verifier, said: Said) -> None:
    found = verifier.verify(said(0), said(0.1), false_acceptance=1)
    assert (found.threshold, found.prior) == (2.5, None)
    with pytest.raises(RecipeError, match="too few"):
        verifier.verify(said(0), said(0.1), false_acceptance=0.1)
    with pytest.raises(RecipeError, match=r"there is one for 1, 0\.1 %"):
        verifier.verify(said(0), said(0.1), false_acceptance=5)


@pytest.mark.parametrize("prior", [0.0, 1.0, -1.0, float("nan"), 2.0])
def test_a_prior_that_cannot_be_is_an_error(verifier: Verifier, said: Said, prior: float) -> None:
    for model in (verifier, Verifier(Angles())):
        with pytest.raises(RecipeError, match="between 0 and 1"):
            model.verify(said(0), said(0), prior)
    with pytest.raises(RecipeError, match="between 0 and 1"):
        verifier.identify(said(0), prior=prior)


def test_without_a_calibration_there_is_a_score_and_nobody_is_let_in(said: Said) -> None:
    found = Verifier(Angles()).verify(said(0), said(0), false_acceptance=1)
    assert (found.decision, found.accepted) == ("uncalibrated", False)
    assert found.score == pytest.approx(1, abs=1e-5)
    assert found.llr is found.threshold is None
    assert found.reason == UNCALIBRATED
    assert not Verifier(Angles()).calibrated


def test_too_little_speech_is_an_abstention_on_either_side(verifier: Verifier, said: Said) -> None:
    nearly = MIN_SPEECH_S - 0.1
    for short in (said(0, nearly), np.zeros(32_000, np.float32), np.ones(1, np.float32)):
        for pair, name in (((short, said(0)), "first"), ((said(0), short), "second")):
            found = verifier.verify(*pair)
            assert (found.decision, found.accepted) == ("abstained", False)
            assert found.score is found.llr is None
            assert f"{name} recording" in found.reason
            assert found.threshold is not None


def test_what_the_model_cannot_take_is_an_abstention_too(said: Said) -> None:
    found = Verifier(Angles(min_samples=48_000), ScoringBackend(line())).verify(said(0, 4.0), said(0, 2.0))
    assert found.decision == "abstained"
    assert found.reason == "the second recording lasts 2.00 s; the model needs 3.00 s"


def noisy(wave: Waveform) -> Waveform:
    mixed = wave + np.random.default_rng(0).normal(0, 0.1, len(wave))
    mixed[0] = wave[0]
    return mixed.astype(np.float32)


def test_what_is_worse_than_the_calibration_has_heard_is_a_warning(verifier: Verifier, said: Said) -> None:
    assert verifier.verify(said(0), said(0.1)).warnings == ()
    short = verifier.verify(said(0, 0.8), said(0.1))
    assert "first: less speech than the calibration has heard" in short.warnings
    assert not any(text.startswith("second") for text in short.warnings)
    loud = verifier.verify(said(0), noisy(said(0)))
    assert "second: more noise than the calibration has heard" in loud.warnings
    assert any(text.startswith("second: noisy") for text in loud.warnings)


def test_swapped_recordings_get_the_same_ratio(verifier: Verifier, said: Said) -> None:
    one, other = said(0.1, 1.2), noisy(said(0.4, 3.0))
    found, swapped = verifier.verify(one, other), verifier.verify(other, one)
    assert (found.llr, found.score, found.decision) == (swapped.llr, swapped.score, swapped.decision)
    assert found.sides == swapped.sides[::-1]


def test_an_answer_is_plain_json(verifier: Verifier, said: Said) -> None:
    verifier.enroll("Ada", [said(0), said(0.1)])
    for pair in ((said(0), said(0)), (said(0), said(0, 0.2))):
        plain = verifier.verify(*pair).to_dict()
        assert json.loads(json.dumps(plain, allow_nan=False)) == plain
        assert set(plain) == {"decision", "score", "llr", "threshold", "prior", "sides", "reason"}
        measured = {"duration_s", "speech_s", "snr_db", "clipped", "level_db", "dc", "bandwidth_hz", "peak"}
        assert set(plain["sides"][0]) == measured | {"recordings", "warnings"}
    for wave in (said(0), said(0, 0.2)):
        plain = verifier.identify(wave).to_dict()
        assert json.loads(json.dumps(plain, allow_nan=False)) == {**plain, "candidates": list(plain["candidates"])}
        assert set(plain) == {
            *("decision", "person", "candidates", "nobody", "side", "reason", "remark"),
            *("threshold", "prior", "people", "false_acceptance"),
        }
        assert set(plain["false_acceptance"]) == {"rate", "kind", "low", "high", "highest", "condition", "remark"}
    assert json.dumps(Verifier(Angles()).verify(said(0), said(0)).to_dict(), allow_nan=False)


def test_a_side_is_its_quality_with_recordings_and_warnings(verifier: Verifier, said: Said) -> None:
    side = verifier.verify(said(0, 0.8), said(0)).sides[0]
    assert side.quality == Quality.of(said(0, 0.8))
    assert Side.with_quality(side.quality, 1, side.warnings) == side
    assert (side.speech_s, side.recordings) == (side.quality.speech_s, 1)
    assert any("less speech" in text for text in side.warnings)


def test_the_store_is_changed_only_where_writing_is_allowed(said: Said) -> None:
    class StoppedError(Exception):
        pass

    @contextmanager
    def writing() -> Iterator[None]:
        if not allowed:
            raise StoppedError
        yield

    allowed = True
    verifier = Verifier(Angles(), ScoringBackend(line()), writing=writing)
    verifier.enroll("Ada", said(0))
    assert verifier.verify_as("Ada", said(0)).accepted
    allowed = False
    for change in (
        lambda: verifier.enroll("Ada", said(0.1)),
        lambda: verifier.verify_as("Ada", said(0)),
        lambda: verifier.identify(said(0)),
    ):
        with pytest.raises(StoppedError):
            change()
    assert verifier.verify(said(0), said(0)).accepted  # it writes nothing
    assert [person.recordings for person in verifier.store.people()] == [1]
    assert len(verifier.store.decisions()) == 1


def test_a_recording_too_loud_to_compute_with_is_an_error_and_no_decision(said: Said) -> None:
    class Deaf(Angles):
        def embed(self, waves: np.ndarray, lengths: np.ndarray) -> np.ndarray:
            return np.full((len(waves), 4), np.nan, np.float32)

    with pytest.raises(AudioError, match=r"the first recording: .*no finite embedding"):
        Verifier(Deaf(), ScoringBackend(line())).verify(said(0), said(0))


def test_scores_are_normalised_where_the_calibration_says_so(said: Said) -> None:
    draw = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    cohort = Cohort(draw / np.linalg.norm(draw, axis=1, keepdims=True), 10)
    record = replace(line(), calibration=Calibration("as-norm", -1.0, 2.0), cohort_top=10)
    found = Verifier(Angles(), ScoringBackend(record, cohort)).verify(said(0), said(0))
    left = cohort.statistics(np.array([[1, 0, 0, 0]], np.float32))
    expected = (1 - left.mean[0]) / left.std[0]
    assert found.score == pytest.approx(expected, rel=1e-3)
    assert found.llr == pytest.approx(-1 + 2 * expected, rel=1e-3)


def test_the_likeness_to_strangers_moves_the_ratio() -> None:
    cohort = Cohort(np.eye(4, dtype=np.float32)[2:], 2)
    pairs = {"cohort_mean": (0.0, 3.0)}
    calibration = Calibration(
        "cosine", 0.0, 1.0, ("cohort_mean",), pairs, {"cohort_mean": (0.0, 0.0)}, {"cohort_mean": (-1, 1)}
    )
    backend = ScoringBackend(replace(line(), calibration=calibration, cohort_top=2), cohort)
    one = EmbeddingSet(np.array([[0.8, 0, 0.6, 0]], np.float32), np.ones(1), np.ones(1))
    scores, llrs = backend.compare(one, one)
    assert llrs is not None
    assert scores[0] == pytest.approx(1)
    assert llrs[0] == pytest.approx(np.arctanh(0.9999) + 3 * 0.3)


@settings(max_examples=200)
@given(
    llrs=st.lists(st.floats(-700, 700), min_size=1, max_size=30),
    others=st.integers(0, 10**6),
    threshold=st.floats(-20, 20),
)
def test_probabilities_of_everybody_and_nobody_sum_to_one(llrs: list[float], others: int, threshold: float) -> None:
    ranked = sorted(llrs, reverse=True)
    found, nobody = posteriors(ranked, len(ranked) + others, threshold)
    assert found == sorted(found, reverse=True)
    assert all(0 <= value <= 1 for value in (*found, nobody))
    rest = 1 - sum(found) - nobody
    if others:
        assert rest >= -1e-9
        assert rest <= others * min(found) + 1e-9
    else:
        assert rest == pytest.approx(0, abs=1e-9)


def test_without_evidence_everybody_has_the_odds_of_the_prior() -> None:
    found, nobody = posteriors([0.0, 0.0], 8, float(np.log(0.9 / 0.1)))
    assert found == pytest.approx([0.1 / (0.9 + 8 * 0.1)] * 2)
    assert nobody == pytest.approx(0.9 / (0.9 + 8 * 0.1))


def test_the_same_recording_again_is_accepted_with_a_warning(verifier: Verifier, said: Said) -> None:
    again, anew = verifier.verify(said(0), said(0)), verifier.verify(said(0), said(0.1))
    assert again.accepted
    assert again.warnings == ("second: the same recording as the other side's: was it played again?",)
    assert anew.accepted
    assert anew.warnings == ()


def test_outside_of_the_levels_heard_there_is_a_warning_and_far_outside_no_decision(said: Said) -> None:
    record = replace(line(), heard={"level_db": (-30.0, -10.0), "clipped": (0.0, 0.0)})
    verifier = Verifier(Angles(), ScoringBackend(record))
    usual = said(0)
    assert verifier.verify(usual, said(0.1)).warnings == ()
    level_db = verifier.load_audio(usual)[0].quality.level_db
    assert level_db is not None

    def at(level: float) -> Waveform:
        wave = (usual * 10 ** ((level - level_db) / 20)).astype(np.float32)
        wave[0] = usual[0]
        return wave

    for level, word in ((-37.0, "quieter"), (-3.0, "louder")):
        found = verifier.verify(usual, at(level))
        assert found.decision == "accepted"
        assert any(text == f"second: {word} than the calibration has heard" for text in found.warnings)
        warnings = verifier.enroll(word, at(level)).side.warnings
        assert f"the recording: {word} than the calibration has heard" in warnings
    for level in (-62.0, 21.0):
        found = verifier.verify(at(level), usual)
        assert found.decision == "abstained"
        assert "than anything that the calibration has heard" in found.reason
        with pytest.raises(AudioError, match="than anything that the calibration has heard"):
            verifier.enroll("nobody", at(level))


@settings(max_examples=10, deadline=None)
@given(
    gains_db=st.tuples(st.floats(-30, 10), st.floats(-30, 10)),
    offset=st.floats(-0.2, 0.2),
    scale=st.sampled_from([1.0, 32_768.0]),
    other=st.sampled_from([0, 1]),
)
def test_nobody_gets_in_by_being_quiet(
    voice: Callable[..., Waveform], gains_db: tuple[float, float], offset: float, scale: float, other: int
) -> None:
    torch.manual_seed(0)
    verifier = Verifier(TorchEmbedder(SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}))))
    usual = voice(0, 0), voice(other, 1)
    first, second = (wave * 10 ** (gain_db / 20) for wave, gain_db in zip(usual, gains_db, strict=True))
    score = verifier.verify(*usual).score
    assert verifier.verify(first, (second + offset) * scale).score == pytest.approx(score, abs=0.01)


@settings(max_examples=20, deadline=None)
@given(gain_db=st.floats(-50, 20))
def test_a_model_that_hears_level_decides_near_the_usual_one_alone(said: Said, gain_db: float) -> None:
    usual, verifier = said(0), Verifier(Angles(hears_level=True), ScoringBackend(line()))
    wave = (usual * 10 ** (gain_db / 20)).astype(np.float32)
    wave[0] = usual[0]
    level_db = verifier.load_audio(wave)[0].quality.level_db
    assert level_db is not None
    found = verifier.verify(usual, wave)
    assert (found.decision == "abstained") == (abs(level_db + 26.0) > 12.0)
    if found.decision == "abstained":
        assert "takes loudness for a part of the voice" in found.reason
    else:
        assert any("takes loudness" in text for text in found.warnings) == (abs(level_db + 26.0) > 6.0)
    verifier.enroll("ann", usual)
    assert (verifier.verify_as("ann", wave).decision == "abstained") == (found.decision == "abstained")
    assert (verifier.identify(wave).decision == "abstained") == (found.decision == "abstained")


def test_a_telephone_s_band_is_a_warning_unless_the_calibration_has_heard_it(said: Said) -> None:
    usual = said(0)
    narrow = soxr.resample(soxr.resample(usual, 16_000, 8_000), 8_000, 16_000).astype(np.float32)
    narrow[0] = usual[0]
    for heard, word in (
        ({}, "second: nothing above"),
        ({"bandwidth_hz": (8_000.0, 8_000.0)}, "second: of a narrower band than the calibration has heard"),
        ({"bandwidth_hz": (4_000.0, 8_000.0)}, ""),
    ):
        found = Verifier(Angles(), ScoringBackend(replace(line(), heard=heard))).verify(usual, narrow)
        assert found.decision == "accepted"
        bands = [text for text in found.warnings if "band" in text or "nothing above" in text]
        assert [text.startswith(word) for text in bands] == [True] * bool(word)


def test_what_is_lost_in_16_bits_is_no_voice(said: Said) -> None:
    quiet = (said(0) * 1e-4).astype(np.float32)
    found = Verifier(Angles(), ScoringBackend(line())).verify(said(0), quiet)
    assert found.decision == "abstained"
    assert "too quiet" in found.reason
