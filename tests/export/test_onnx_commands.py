"""Exported models from the command line: made, then used to embed and verify."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

import voxanchor
from voxanchor.cli.main import run
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.verification.embedding import TorchEmbedder


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.glob("embeddings-*")}


def rows(folder: Path) -> np.ndarray:
    return np.concatenate([load_file(path)["embeddings"] for path in sorted(folder.glob("embeddings-*"))])


@pytest.mark.usefixtures("at_once")
def test_export_prints_how_near_it_is(
    encoder: SpeakerEncoder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder.save(tmp_path / "model")
    command = ["export", str(tmp_path / "model"), "--out", str(tmp_path / "m.onnx")]
    assert run(command) == 0
    assert "largest difference" in capsys.readouterr().out
    assert run([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    assert made["size_bytes"] == (tmp_path / "m.onnx").stat().st_size
    assert made["max_difference"] < 1e-5 < 0.9999 < made["min_cosine"]
    assert run(["export", str(tmp_path / "m.onnx"), "--out", str(tmp_path / "n.onnx")]) == 4
    assert "Give the model directory it was made from" in capsys.readouterr().err


def test_files_are_embedded_and_verified_as_by_the_model(
    encoder: SpeakerEncoder,
    exported_path: Path,
    voices_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [str(voices_folder / "s00" / "0.flac"), str(voices_folder / "s01" / "1.flac")]
    model = ["--model", str(exported_path)]
    assert run(["embed", *files, *model, "--out", str(tmp_path / "e.safetensors")]) == 0
    found = load_file(tmp_path / "e.safetensors")
    expected = voxanchor.Verifier(TorchEmbedder(encoder)).embed(files)
    np.testing.assert_allclose(np.stack([found[name] for name in files]), expected, atol=1e-4)
    capsys.readouterr()
    assert run(["verify", *files, *model]) == 8  # a score and no decision: the model has no calibration
    assert float(capsys.readouterr().out) == pytest.approx(float(expected[0] @ expected[1]), abs=1e-3)
    loaded = voxanchor.load(exported_path)
    assert loaded.fingerprint == encoder.fingerprint
    assert loaded.verify(files[0], files[1]).score == pytest.approx(float(expected[0] @ expected[1]), abs=1e-4)


def test_a_corpus_is_embedded_by_processes_and_resumed(
    encoder: SpeakerEncoder,
    exported_path: Path,
    voices_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    encoder.save(tmp_path / "model")
    shared = ["embed", "--speech", str(voices_folder), "--shard-size", "10"]
    exported = [*shared, "--model", str(exported_path)]
    assert run([*shared, "--model", str(tmp_path / "model"), "--out", str(tmp_path / "torch")]) == 0
    assert run([*exported, "--out", str(tmp_path / "one")]) == 0
    assert run([*exported, "--out", str(tmp_path / "two"), "--processes", "2"]) == 0
    np.testing.assert_allclose(rows(tmp_path / "one"), rows(tmp_path / "torch"), atol=1e-4)
    np.testing.assert_allclose(rows(tmp_path / "two"), rows(tmp_path / "one"), atol=1e-6)
    index = json.loads((tmp_path / "one" / "index.json").read_text())
    assert (index["model"], index["precision"]) == (encoder.fingerprint, "float32")

    before = shards(tmp_path / "one")
    (tmp_path / "one" / "embeddings-00002.safetensors").unlink()
    assert run([*exported, "--out", str(tmp_path / "one")]) == 0
    assert shards(tmp_path / "one") == before

    capsys.readouterr()
    assert run([*shared, "--model", str(tmp_path / "model"), "--out", str(tmp_path / "one")]) == 5
    assert "runtime" in capsys.readouterr().err
    assert run([*exported, "--out", str(tmp_path / "three"), "--precision", "bfloat16"]) == 2


def test_what_an_exported_model_cannot_do_names_what_can(
    exported_path: Path, voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["robustify", "--model", str(exported_path), "--speech", str(voices_folder), "--out", str(tmp_path / "o")]
    assert run(command) == 4
    assert "exported file can embed, verify and be evaluated" in capsys.readouterr().err
