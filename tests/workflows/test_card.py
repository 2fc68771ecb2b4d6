"""The model card: it says what is known, and what is not."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.corpus.layouts import scan
from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder
from voxanchor.training.stage import AnchorTerm, Train
from voxanchor.workflows.card import CARD_FILE, Making, licence_of, read_card, write_card

GUARD: dict[str, Any] = {
    "attempts": [{"learning_rate": 0.08, "why": "clean quality fell too far"}, {"learning_rate": 0.008, "why": ""}],
    "attempt": 2,
    "step": 600,
    "before": {"clean_eer": 2.0, "noisy_eer": 10.0},
    "after": {"clean_eer": 1.5, "noisy_eer": 4.25},
    "faults": [],
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "robust"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 12})).save(folder)
    return folder


@pytest.fixture
def making(voices_folder: Path, tmp_path: Path) -> Making:
    base = tmp_path / "published"
    base.mkdir()
    (base / "README.md").write_text("---\nlicense: cc-by-4.0\n---\n# A model\n")
    manifest = scan(voices_folder)
    bank: NoiseBank = noise_bank([], manifest, built_in_share=1.0, for_evaluation=False)
    return Making(
        base=str(base),
        base_fingerprint="0123456789abcdef",
        train=manifest.with_voices((0.9,)),
        speakers=12,
        validation=manifest,
        sources={"speech": ["voices"], "noise": [], "rooms": []},
        noise=bank.describe(),
        stage=Train(start="x", steps=600, anchors="a", anchor=AnchorTerm(weight=5), interpolation=0.9),
        guard=GUARD,
    )


def test_the_card_holds_what_the_model_was_made_of(model: Path, making: Making) -> None:
    encoder = SpeakerEncoder.load(model)
    write_card(model, encoder, making)
    text = read_card(model)
    for fact in (
        encoder.fingerprint,
        "0123456789abcdef",
        "cc-by-4.0, as README.md says",
        making.train.fingerprint,
        "12 are others played faster or slower",
        "learning rate 0.008",
        "ends 90% of the way",
        "| noisy EER | 10 % | 4.25 % |",
        "attempt 2 is kept",
        "Trained on 12 speakers",
        "built-in noise alone",
    ):
        assert fact in text, fact
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "cc-by-4.0"
    assert str(model.parent) not in text


def test_what_is_not_known_is_said(model: Path, making: Making) -> None:
    unknown = dataclasses.replace(making, base="python:my_model:build", guard=None)
    write_card(model, SpeakerEncoder.load(model), unknown)
    text = (model / CARD_FILE).read_text()
    assert "not stated where it lies" in text
    assert "no speech was kept aside" in text
    forced = dataclasses.replace(making, guard={**GUARD, "faults": ["it is worse in noise"]})
    write_card(model, SpeakerEncoder.load(model), forced)
    text = (model / CARD_FILE).read_text()
    assert "Written by force, although it is worse in noise" in text
    assert "hardly tells" not in text
    guessing = {**GUARD, "before": {"clean_eer": 32.0, "noisy_eer": 56.0}}
    write_card(model, SpeakerEncoder.load(model), dataclasses.replace(making, guard=guessing))
    assert "**Warning: the base hardly tells speakers apart: its EER on clean speech is 32.0 %" in (
        (model / CARD_FILE).read_text()
    )


def test_a_model_without_a_card_is_described_by_its_configuration(model: Path, tmp_path: Path) -> None:
    text = read_card(model)
    assert SpeakerEncoder.load(model).fingerprint in text
    assert "no card" in text
    with pytest.raises(ModelError, match="no such directory"):
        read_card(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"README.md": "---\nlicense: mit\n---\n"}, ("mit", "README.md")),
        ({"README.md": "# no head", "LICENSE": "\nApache License\n"}, ("Apache License", "LICENSE")),
        ({"README.md": "---\n: [broken\n---\n"}, ("", "")),
        ({}, ("", "")),
    ],
)
def test_licences_are_read_where_they_lie(tmp_path: Path, files: dict[str, str], expected: tuple[str, str]) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert licence_of(str(tmp_path)) == expected
    assert licence_of(f"wespeaker:{tmp_path}") == expected
    (tmp_path / "model.bin").write_bytes(b"")
    assert licence_of(f"3dspeaker:{tmp_path / 'model.bin'}") == expected


def test_the_card_of_an_exported_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loss = {"trials": 1200, "speakers": 9, "model_eer": {"clean": 2.5}, "file_eer": {"clean": 2.75}}
    described = {
        "name": "ge2e", "fingerprint": "f-int8", "precision": "int8", "embedding_dim": "256", "min_samples": "4800",
        "architecture": "ge2e", "sha256": "0" * 64, "loss": json.dumps(loss),
    }  # fmt: skip
    monkeypatch.setattr(ExportedEncoder, "load", lambda _path: ExportedEncoder(None, described))
    told = read_card(tmp_path / "m.onnx")
    assert told.startswith("# m.onnx\n\nA speaker encoder in one file, exported from `ge2e`")
    assert "Fingerprint `f-int8`" in told
    assert "| clean | 2.5 | 2.75 |" in told
    assert "It has no calibration" in told
