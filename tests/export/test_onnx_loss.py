"""What a file loses beside its model: measured, printed, kept in the file; and exported files in an evaluation."""

import base64
import csv
import json
from pathlib import Path

import pytest

from voxanchor.cli.main import run
from voxanchor.errors import CorpusError, ModelError
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.models.exported import ExportedEncoder
from voxanchor.workflows.export import SUITE, export_model

pytestmark = pytest.mark.usefixtures("at_once")


@pytest.fixture
def model_folder(encoder: SpeakerEncoder, tmp_path: Path) -> Path:
    encoder.save(tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture(scope="module")
def few_voices(voices_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for number in range(5):
        (folder / f"s{number}").symlink_to(voices_folder / f"s{number:02d}")
    return folder


def test_the_loss_is_printed_and_kept(
    model_folder: Path, few_voices: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "m.onnx"
    command = ["export", str(model_folder), "--out", str(out), "--precision", "int8", "--speech", str(few_voices)]
    assert run([*command, "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    loss = made["loss"]
    assert (made["precision"], made["size_bytes"], made["compared_on"]) == ("int8", out.stat().st_size, 2)
    assert (loss["speakers"], loss["trials"], loss["targets"]) == (4, 28, 4)
    assert list(loss["model_eer"]) == list(loss["file_eer"]) == [condition.name for condition in SUITE.conditions]
    assert 0.99 < loss["min_cosine"] <= loss["mean_cosine"] < 1
    assert json.loads(ExportedEncoder.load(out).described["loss"]) == loss


def test_what_lies_beside_a_model_goes_along(model_folder: Path, tmp_path: Path) -> None:
    (model_folder / "calibration.json").write_text('{"scale": 2.0}')
    (model_folder / "cohort.safetensors").write_bytes(b"\x00cohort")
    (model_folder / "compatibility.json").write_text("{}")
    (model_folder / "enrolment_map.safetensors").write_bytes(b"map")
    made = export_model(str(model_folder), tmp_path / "m.onnx")
    described = ExportedEncoder.load(made.export.path).described
    assert made.loss is None
    assert described["calibration"] == '{"scale": 2.0}'
    assert base64.b64decode(described["cohort"]) == b"\x00cohort"
    assert (described["compatible"], base64.b64decode(described["enrolment_map"])) == ("{}", b"map")
    assert "loss" not in described
    (model_folder / "calibration.json").write_text("{")
    with pytest.raises(ModelError, match=r"calibration\.json"):
        export_model(str(model_folder), tmp_path / "n.onnx")
    assert not (tmp_path / "n.onnx").exists()


def test_too_few_speakers_say_how_many_it_takes(model_folder: Path, few_voices: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        (tmp_path / "two" / f"s{number}").parent.mkdir(exist_ok=True)
        (tmp_path / "two" / f"s{number}").symlink_to((few_voices / f"s{number}").resolve())
    with pytest.raises(CorpusError, match="has 2 speakers; int8 needs at least 3"):
        export_model(str(model_folder), tmp_path / "m.onnx", "int8", speech=str(tmp_path / "two"))
    assert not (tmp_path / "m.onnx").exists()


def test_an_exported_file_is_evaluated_beside_its_model(
    model_folder: Path, exported_path: Path, few_voices: Path, tmp_path: Path
) -> None:
    suite = tmp_path / "short.yaml"
    suite.write_text("name: short\nconditions: [clean, noise_5db]\n")
    models = ["--model", str(model_folder), "--model", str(exported_path), "--enrol-model", str(exported_path)]
    command = ["evaluate", *models, "--speech", str(few_voices), "--suite", str(suite), "--segment-s", "1"]
    assert run([*command, "--out", str(tmp_path / "eval")]) == 0
    with (tmp_path / "eval" / "results.csv").open() as file:
        rates = {(row["system"], row["condition"]): float(row["eer"]) for row in csv.DictReader(file)}
    assert len(rates) == 4
    for condition in ("clean", "noise_5db"):
        assert rates["model", condition] == pytest.approx(rates[str(exported_path), condition], abs=0.5)
