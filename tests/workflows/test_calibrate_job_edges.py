"""Calibrating: stops at bad moments, other rooms, and models that cannot tell voices apart."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.evaluation.calibration_text import remarks
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.scoring.calibration import FILE, ConditionFigures
from voxanchor.workflows.calibrate import WORK_FOLDER, Material, calibrate


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "model"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), 1).save(folder)
    return folder


def material(place: Path, speech: Path, noise: Path, conditions: str) -> Material:
    suite = place / "suite.yaml"
    suite.write_text(f"name: small\nconditions: [{conditions}]\n")
    return Material(str(speech), (str(noise),), suite=str(suite))


def test_a_run_that_was_stopped_while_the_model_was_copied_goes_on(
    model: Path, voices_folder: Path, noise_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / WORK_FOLDER).mkdir(parents=True)
    shutil.copy(model / "model.safetensors", out)
    calibrate(str(model), material(tmp_path, voices_folder, noise_path, "clean, noise_5db"), out)
    assert (out / "config.json").exists()
    assert (out / FILE).exists()


def test_other_rooms_are_not_taken_from_the_cache(
    model: Path, voices_folder: Path, noise_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rooms = []
    for place, name in enumerate("ab"):
        response = np.zeros(3200)
        response[[0, 400 + 800 * place, 2400]] = 1, 0.7, 0.4
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / f"{name}.wav", response, 16_000)
        rooms.append(str(tmp_path / name))
    asked = material(tmp_path, voices_folder, noise_path, "clean, reverb")
    monkeypatch.setattr("voxanchor.workflows.calibrate.shutil.rmtree", lambda *_, **__: None)  # the cache stays
    one, other = (calibrate(str(model), replace(asked, rooms=(room,)), tmp_path / "out").figures[-1] for room in rooms)
    afresh = calibrate(str(model), replace(asked, rooms=(rooms[1],)), tmp_path / "afresh").figures[-1]
    assert other == afresh
    assert other != one


def test_a_calibration_that_says_nothing_is_remarked_upon() -> None:
    good = ConditionFigures("all", 1000, 100, 5.0, 1.0, 0.3, 0.25, 0.2)
    assert remarks(good) == []
    assert "do not decide by it" in remarks(replace(good, cllr=0.95, cllr_score=0.96))[0]
    assert "quality makes the calibration worse" in remarks(replace(good, cllr=0.35))[0]
