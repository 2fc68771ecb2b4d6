"""Stored voiceprints carried into the space of the model that replaces theirs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file

import voxanchor
from voxanchor.cli.main import run
from voxanchor.corpus.layouts import scan
from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.models.mapping import FILE, CarriedEncoder, EnrolmentMap
from voxanchor.workflows.compatibility import fit_enrolment_map


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory, voices_folder: Path) -> tuple[Path, Path]:
    """An old model, and one whose embeddings are the old ones with their components in another order."""
    folder = tmp_path_factory.mktemp("models")
    old = SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 8}), seed=1).eval()
    new = old.copy()
    with torch.no_grad():
        for module in (new.network.projection, new.network.embedding_norm):
            for tensor in (*module.parameters(), *module.buffers()):  # type: ignore[union-attr]
                if tensor.ndim:
                    tensor.copy_(tensor.flip(0))
    old.save(folder / "old")
    new.save(folder / "new")
    fit_enrolment_map(old, new, scan(voices_folder), "float32").save(folder / "new")
    return folder / "old", folder / "new"


def embed(model: Path, voices_folder: Path, out: Path) -> Path:
    recordings = [str(path) for path in sorted(voices_folder.rglob("*.flac"))[:5]]
    assert run(["embed", *recordings, "--model", str(model), "--out", str(out)]) == 0
    return out


def test_voiceprints_are_carried_to_where_the_new_model_puts_the_voices(
    models: tuple[Path, Path], voices_folder: Path, tmp_path: Path
) -> None:
    old, new = models
    stored = embed(old, voices_folder, tmp_path / "old.safetensors")
    fresh = load_file(embed(new, voices_folder, tmp_path / "new.safetensors"))
    assert run(["upgrade", str(stored), "--model", str(new), "--out", str(tmp_path / "up.safetensors")]) == 0
    upgraded = load_file(tmp_path / "up.safetensors")
    assert set(upgraded) == set(fresh)
    before = min(float(load_file(stored)[name] @ fresh[name]) for name in fresh)
    after = min(float(upgraded[name] @ fresh[name]) for name in fresh)
    assert before < 0.9
    assert after > 0.99
    with safe_open(tmp_path / "up.safetensors", "numpy") as file:
        assert file.metadata()["model"] == voxanchor.load(new).fingerprint


def test_arrays_are_carried_as_well(models: tuple[Path, Path], voices_folder: Path, tmp_path: Path) -> None:
    rows = np.stack(list(load_file(embed(models[0], voices_folder, tmp_path / "e.safetensors")).values()))
    np.save(tmp_path / "e.npy", 3.0 * rows)  # their length does not matter
    assert run(["upgrade", str(tmp_path / "e.npy"), "--model", str(models[1]), "--out", str(tmp_path / "u.npy")]) == 0
    np.testing.assert_allclose(np.load(tmp_path / "u.npy"), EnrolmentMap.load(models[1]).apply(rows), atol=1e-6)


def test_voiceprints_of_another_model_are_refused(
    models: tuple[Path, Path], voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = models
    mine = embed(new, voices_folder, tmp_path / "new.safetensors")
    other = SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 8}), seed=7)
    other.save(tmp_path / "other")
    theirs = embed(tmp_path / "other", voices_folder, tmp_path / "theirs.safetensors")
    out = tmp_path / "up.safetensors"
    for path, model, message in (
        (mine, new, "are of"),
        (theirs, new, "replaces"),
        (mine, old, "no enrolment_map"),
    ):
        assert run(["upgrade", str(path), "--model", str(model), "--out", str(out)]) == 4
        assert message in capsys.readouterr().err
    assert run(["upgrade", str(mine), "--model", str(new), "--out", str(tmp_path / "up.npy")]) == 2
    (tmp_path / "text.npy").write_text("no array")
    assert run(["upgrade", str(tmp_path / "text.npy"), "--model", str(new), "--out", str(tmp_path / "u.npy")]) == 4
    assert not out.exists()


def test_a_carried_encoder_gives_upgraded_enrolments(models: tuple[Path, Path], voices_folder: Path) -> None:
    old, new = (SpeakerEncoder.load(folder) for folder in models)
    carrier = EnrolmentMap.load(models[1])
    waves = 0.1 * torch.randn(3, 16_000)
    carried = CarriedEncoder(old, carrier).eval()
    with torch.no_grad():
        np.testing.assert_allclose(carried(waves).numpy(), carrier.apply(old(waves).numpy()), atol=1e-5)
    assert carried.fingerprint not in (old.fingerprint, new.fingerprint)
    assert carried.embedding_dim == new.embedding_dim
    with pytest.raises(ModelError, match="not from"):
        CarriedEncoder(new, carrier)


def test_what_cannot_be_an_embedding_is_refused(models: tuple[Path, Path], tmp_path: Path) -> None:
    carrier = EnrolmentMap.load(models[1])
    for wrong in (np.ones((2, 9)), np.zeros((1, 8)), np.full((1, 8), np.nan)):
        with pytest.raises(ModelError):
            carrier.apply(wrong.astype(np.float32))
    (tmp_path / FILE).write_bytes(b"cut off")
    with pytest.raises(ModelError, match="damaged"):
        EnrolmentMap.load(tmp_path)
