"""What a calibrated model decides in an evaluation is what its verifier decides."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.conditions.spec import Condition
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.segments import segment
from voxanchor.corpus.trials import TrialList, all_pairs
from voxanchor.evaluation.embed import ConditionEmbedder, EmbeddingCache
from voxanchor.evaluation.protocol import Decider, Outcome, Setup, evaluate, together
from voxanchor.evaluation.report import ReportData, render
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.backend import EmbeddingSet, ScoringBackend
from voxanchor.scoring.calibration import Calibration, CalibrationRecord, Threshold
from voxanchor.scoring.metrics import cllr
from voxanchor.verification.embedding import TorchEmbedder
from voxanchor.verification.verifier import Verifier

SUITE = Suite("small", (Condition(), Condition("noise", 0.0)))


@pytest.fixture(scope="module")
def manifest(voices_folder: Path) -> Manifest:
    whole = segment(scan(voices_folder), 1.0, 1)
    few = [utterance for utterance in whole.utterances if utterance.speaker in whole.speakers[:3]]
    return replace(whole, utterances=tuple(few[:9]))


@pytest.fixture(scope="module")
def bank(manifest: Manifest, noise_path: Path) -> NoiseBank:
    return noise_bank([str(noise_path)], manifest, built_in_share=0.0, for_evaluation=True)


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).eval()


@pytest.fixture(scope="module")
def backend(encoder: SpeakerEncoder) -> ScoringBackend:
    calibration = Calibration(
        "cosine",
        -3.0,
        2.0,
        ("speech", "snr"),
        {"speech": (0.5, 0.1), "snr": (0.3, -0.2)},
        {"speech": (0.0, 0.2), "snr": (0.1, 0.0)},
        {"speech": (-1.0, 2.0), "snr": (-1.0, 4.0)},
    )
    thresholds = (Threshold(1.0, 1.5, 1000), Threshold(0.1, None, 1000, remark="too few"))
    return ScoringBackend(CalibrationRecord(encoder.fingerprint, calibration, thresholds, (), {}))


def decided(
    encoder: SpeakerEncoder, backend: ScoringBackend, manifest: Manifest, bank: NoiseBank, folder: Path, protocol: str
) -> Outcome:
    systems, backends = {"m": encoder, "bare": encoder}, {"m": backend}
    setup = Setup(SUITE, protocol, replicates=2)  # type: ignore[arg-type]
    return evaluate(systems, manifest, all_pairs(manifest), bank, setup, EmbeddingCache(folder), backends=backends)


@pytest.mark.parametrize("protocol", ["clean-enrol", "both-noisy"])
def test_costs_and_errors_are_those_of_the_verifiers_own_decisions(
    encoder: SpeakerEncoder, backend: ScoringBackend, manifest: Manifest, bank: NoiseBank, tmp_path: Path, protocol: str
) -> None:
    outcome = decided(encoder, backend, manifest, bank, tmp_path, protocol)
    trials = all_pairs(manifest)
    embedder = ConditionEmbedder({}, None, manifest, bank, EmbeddingCache(tmp_path), "float32")
    verifier = Verifier(TorchEmbedder(encoder), backend)
    noisy = [embedder.render(utterance, SUITE.conditions[1], 0) for utterance in manifest.utterances]
    clean = [utterance.read() for utterance in manifest.utterances]
    first = clean if protocol == "clean-enrol" else noisy
    found = [
        verifier.verify(first[one], noisy[other], false_acceptance=1.0)
        for one, other in zip(trials.enrol, trials.test, strict=True)
    ]
    llrs = np.array([result.llr for result in found], dtype=np.float64)
    rows = {row.threshold: row for row in outcome.decisions if row.condition == "noise_0db"}
    assert set(rows) == {"prior 0.01", "prior 0.5", "1 %"}
    accepted = np.array([result.accepted for result in found])
    row = rows["1 %"]
    assert row.cllr == pytest.approx(cllr(llrs, trials.target), abs=1e-4)
    assert row.false_acceptance == pytest.approx(100 * accepted[~trials.target].mean(), abs=1e-6)
    assert row.false_rejection == pytest.approx(100 * (~accepted[trials.target]).mean(), abs=1e-6)


def test_only_calibrated_systems_have_a_cost_and_old_enrolments_have_none(
    encoder: SpeakerEncoder, backend: ScoringBackend, manifest: Manifest, bank: NoiseBank, tmp_path: Path
) -> None:
    outcome = decided(encoder, backend, manifest, bank, tmp_path, "clean-enrol")
    costs = {(row.system, row.condition): row.cllr for row in outcome.rows}
    assert costs["m", "clean"] is not None
    assert costs["bare", "clean"] is None
    assert {row.system for row in outcome.decisions} == {"m"}
    page = render(ReportData("Decided", outcome.rows, decisions=outcome.decisions))
    assert '<section id="decisions">' in page
    assert 'class="part">prior 0.01</th>' in page
    assert 'class="part">1 %</th>' in page
    assert '<section id="decisions">' not in render(ReportData("Undecided", outcome.rows))
    trials, cache = all_pairs(manifest), EmbeddingCache(tmp_path)
    setup = Setup(SUITE, replicates=2)
    old = evaluate({"m": encoder}, manifest, trials, bank, setup, cache, enrol=encoder, backends={"m": backend})
    assert not old.decisions
    assert all(row.cllr is None for row in old.rows)


def test_a_model_is_worth_what_its_recordings_are_together() -> None:
    qualities = np.array([[2.0, 10.0, -20.0, 8e3, 0.0], [4.0, 20.0, -30.0, 8e3, 0.5], [1.0, 0.0, -40.0, 4e3, 0.0]])
    found = together(qualities, [(0, 1), (2,)])
    assert found[0].tolist() == [6.0, 15.0, -25.0, 8e3, 0.25]
    assert found[1].tolist() == qualities[2].tolist()
    assert together(qualities, ()) is qualities


def test_a_model_of_several_recordings_has_their_speech_together() -> None:
    seen: list[EmbeddingSet] = []

    class Backend:
        record = None

        def ratios(self, enrol: EmbeddingSet, test: EmbeddingSet, *_: object) -> np.ndarray:
            seen.extend((enrol, test))
            return np.array([1.0, -1.0])

    index = np.array([0, 1])
    target, models = np.array([True, False]), ((0, 1), (2,))
    trials = TrialList(index, np.array([2, 2]), target, ("a", "b", "c"), ("x", "x", "y"), models=models)
    quality = np.array([[2.0, 10.0, 0, 0, 0], [3.0, 20.0, 0, 0, 0], [4.0, 30.0, 0, 0, 0]])
    backend: Any = Backend()
    decider = Decider({"s": backend}, trials, "clean-enrol", "noise")
    embeddings = np.eye(2, dtype=np.float32), np.eye(3, dtype=np.float32)
    decider.decide("s", Condition(), 0, embeddings, (quality, quality))
    assert seen[0].speech_s.tolist() == [5.0, 4.0]
    assert seen[0].snr_db.tolist() == [15.0, 30.0]
    assert seen[1].speech_s.tolist() == [2.0, 3.0, 4.0]
