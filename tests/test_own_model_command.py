"""A model of the user's own through the real command line: robustified, evaluated beside its base, embedded."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[1] / "docs" / "models" / "python.md"
OWN_MODEL = PAGE.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]

STEPS = {"steps": 3, "batch_size": 8, "crop_s": 0.6, "validate_every": 3}

# as a command of its own, whose first place to look for modules is not the working directory
COMMAND = "import sys; sys.path[0] = sys.prefix; from voxanchor.cli.main import main; main()"


def voxanchor(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working directory: a file with the model's code."""
    folder = tmp_path_factory.mktemp("work")
    (folder / "my_model.py").write_text(OWN_MODEL)
    (folder / "small.yaml").write_text("name: small\nconditions: [clean, noise_5db]\n")
    return folder


@pytest.fixture(scope="module")
def robust(work: Path, voices_folder: Path, noise_path: Path) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(work)
        settings = [f"stages.anchored.train.{key}={value}" for key, value in STEPS.items()]
        voxanchor(
            "robustify", "--model", "python:my_model:build", "--speech", voices_folder, "--noise", noise_path,
            "--out", "robust", "--force", "--set", *settings,
        )  # fmt: skip
    return work / "robust"


def test_robustify_makes_a_model_directory_that_names_the_code(robust: Path) -> None:
    described = json.loads((robust / "config.json").read_text())
    assert described["architecture"] == "python"
    assert described["options"] == {"target": "my_model:build", "sample_rate": 16_000}
    assert (robust / "anchors.safetensors").exists()


def test_both_are_evaluated(robust: Path, voices_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(robust.parent)
    voxanchor(
        "evaluate", "--model", "python:my_model:build", "--model", "robust", "--speech", voices_folder,
        "--suite", "small.yaml", "--segment-s", "1", "--max-segments", "1", "--out", "eval",
    )  # fmt: skip
    with (robust.parent / "eval" / "results.csv").open() as file:
        assert {row["system"] for row in csv.DictReader(file)} == {"python:my_model:build", "robust"}
    assert (robust.parent / "eval" / "report.html").exists()


def test_it_embeds_where_its_code_is_named_and_only_there(
    robust: Path, voices_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(robust.parent)
    wave = voices_folder / "s00" / "0.flac"
    named = json.loads(voxanchor("embed", wave, "--model", "python:my_model:build:robust", "--json").stdout)
    assert len(named[0]["embedding"]) == 24
    refused = voxanchor("embed", wave, "--model", "robust", "--json", status=4)
    assert "made by the code my_model:build. If you trust that code, name it: python:my_model:build:robust" in (
        refused.stderr
    )
    exported = voxanchor("export", "python:my_model:build", "--out", "own.onnx", status=4)
    assert "a module of your own cannot be exported" in exported.stderr


def test_the_list_of_references() -> None:
    listed = voxanchor("models").stdout
    for form in ("ge2e", "DIR", "speechbrain:DIR", "wespeaker:DIR", "3dspeaker:FILE", "transformers:DIR"):
        assert f"\n  {form} " in listed
    assert "\n  python:module:function " in listed
    assert "\n  FILE.onnx " in listed
    assert {reference["ref"] for reference in json.loads(voxanchor("models", "--json").stdout)} >= {"ge2e", "DIR"}
