"""What a stage is watched by: error rates, agreement with the start, and models that fell apart."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from voxanchor import runtime
from voxanchor.conditions.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest, Utterance
from voxanchor.errors import CorpusError, DivergedError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.run import Job, Validation
from voxanchor.training.stage import Train


def encoder(seed: int) -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=seed).eval()


@pytest.fixture(scope="module")
def few(manifest: Manifest) -> Manifest:
    return Manifest(manifest.utterances[:12])


def test_the_start_agrees_with_itself(few: Manifest, bank: NoiseBank) -> None:
    start = encoder(1)
    watch = Validation(few, bank, start, seed=0)
    found = watch.measure(start)
    assert found["clean_agreement"] == pytest.approx(1.0, abs=1e-5)
    assert found["clean_identity"] == pytest.approx(1.0, abs=1e-4)
    assert found["noisy_agreement"] < 1.0
    assert found == watch.measure(start)
    other = watch.measure(encoder(2))
    assert other["clean_identity"] < 0.6


def test_a_model_from_scratch_has_nothing_to_agree_with(few: Manifest, bank: NoiseBank) -> None:
    assert set(Validation(few, bank, None, seed=0).measure(encoder(1))) == {"clean_eer", "noisy_eer"}


def test_one_speaker_leaves_agreement_alone(few: Manifest, bank: NoiseBank) -> None:
    alone = Manifest(tuple(u for u in few.utterances if u.speaker == few.utterances[0].speaker))
    found = Validation(alone, bank, encoder(1), seed=0).measure(encoder(2))
    assert set(found) == {"clean_agreement", "noisy_agreement", "clean_identity"}


def test_recordings_that_are_too_short_are_refused(few: Manifest, bank: NoiseBank) -> None:
    short = tuple(replace(u, parts=u.crop(0.0, 0.2), duration_s=0.2) for u in few.utterances[:2])
    with pytest.raises(CorpusError, match="validation_speakers"):
        Validation(Manifest(short), bank, None, seed=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38])
def test_a_model_that_fell_apart_has_diverged(few: Manifest, bank: NoiseBank, value: float) -> None:
    torn = encoder(1)
    with torch.no_grad():
        for parameter in torn.parameters():
            parameter.fill_(value)
    with pytest.raises(DivergedError, match="no embedding of finite length"):
        Validation(few, bank, encoder(1), seed=0).measure(torn)


def test_models_are_measured_where_training_runs(
    few: Manifest, bank: NoiseBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def embedded(model: SpeakerEncoder, utterances: Sequence[Utterance], **_: object) -> np.ndarray:
        seen.append(next(model.parameters()).device.type)
        return np.eye(len(utterances), model.embedding_dim, dtype=np.float32) + 0.1

    monkeypatch.setattr("voxanchor.training.run.embed", embedded)
    monkeypatch.setattr("voxanchor.training.run.best_device", lambda: torch.device("meta"))
    start = encoder(1)
    Validation(few, bank, start, seed=0).measure(start)
    assert set(seen) == {"meta"}
    # a copy was: the model itself is where the stage takes it from
    assert next(start.parameters()).device.type == "cpu"


def test_the_first_process_alone_measures_the_start(
    few: Manifest, bank: NoiseBank, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object, **__: object) -> np.ndarray:
        raise AssertionError("measured in a process that does not judge")

    monkeypatch.setattr("voxanchor.training.run.embed", refused)
    monkeypatch.setattr(runtime, "first", lambda: False)
    monkeypatch.setattr("voxanchor.training.run.run_guarded", lambda *_: None)
    start = encoder(1)
    watch = Validation(few, bank, start, seed=0)
    stage = Train(start="base", steps=1)
    job = Job("guarded", stage, Path("nowhere"), few, bank, 0, None, None, start, None, watch)
    assert job.guarded() is None
