"""Longer paths: the quickstart at a small size, and a training process killed outright and resumed."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from voxanchor.cli.arguments import report
from voxanchor.workflows.train import quickstart

pytestmark = pytest.mark.slow


def test_quickstart_at_a_small_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = {"steps": 12, "validate_every": 6, "batch_size": 16}
    settings = [
        f"stages.{stage}.train.{key}={value}" for stage in ("base", "anchored", "joint") for key, value in small.items()
    ]
    settings += ["encoder.options.channels=32", "encoder.options.mfa_channels=64"]
    out = quickstart(tmp_path / "out", voices=24, held_out=8, utterances=3, settings=settings)
    summary = json.loads((out / "summary.json").read_text())
    assert list(summary) == ["base", "anchored", "joint"]
    assert all(len(entry["conditions"]) == 16 for entry in summary.values())
    page = " ".join((out / "report.html").read_text().split())
    lead = page.index('class="lead"> <b>anchored</b>')
    assert page.index("which method is better") < lead < page.index('id="results"')
    report(out, as_json=False)
    said = " ".join(capsys.readouterr().out.split())
    assert "What synthetic voices cannot show: which method is better" in said
    assert "voxanchor robustify --model ge2e" in said  # what to do next
    assert (out / "anchored" / "config.json").exists()


def command(recipe: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "voxanchor", "train", str(recipe), "--out", str(out)]


def test_a_killed_process_resumes_bit_for_bit(tmp_path: Path, voices_folder: Path) -> None:
    train = {
        "start": "scratch", "steps": 60, "batch_size": 8, "crop_s": 0.8, "clean_share": 0.5,
        "checkpoint_every": 7, "validate_every": 20,
    }  # fmt: skip
    recipe = tmp_path / "kill.yaml"
    values = {
        "name": "kill",
        "data": {"speech": [{"path": str(voices_folder)}], "validation_speakers": 2},
        "encoder": {"architecture": "ecapa", "options": {"channels": 16, "embedding_dim": 16}},
        "stages": {"base": {"train": train}},
    }
    recipe.write_text(yaml.safe_dump(values))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command(recipe, tmp_path / "whole"), env=environment, check=True, capture_output=True)
    metrics = tmp_path / "cut" / "base" / "training" / "metrics.jsonl"
    for lines in (2, 5):  # killed twice, at other places
        with subprocess.Popen(command(recipe, tmp_path / "cut"), env=environment, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and (not metrics.exists() or len(metrics.read_text().splitlines()) < lines):
                time.sleep(0.02)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    subprocess.run(command(recipe, tmp_path / "cut"), env=environment, check=True, capture_output=True)
    one, two = (load_file(tmp_path / name / "base" / "model.safetensors") for name in ("whole", "cut"))
    assert all(torch.equal(one[name], two[name]) for name in one)
