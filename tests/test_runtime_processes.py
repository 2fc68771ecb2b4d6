"""Several processes on one job, as torchrun starts them: the same training as one, and a clear end when one is lost."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from voxanchor.corpus.manifest import Manifest
from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.training.anchors import AnchorTable, extract

ECAPA = {"channels": 16, "embedding_dim": 16}
STEPS = {
    "batch_size": 16,
    "crop_s": 0.6,
    "checkpoint_every": 2,
    "precision": "float32",
    "learning_rate": {"peak": 1e-4, "warmup_steps": 0},  # a small one: rounding grows with every step
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="looks for processes in /proc"),
]


def command(recipe: Path, out: Path, processes: int, *settings: str) -> list[str]:
    start = [sys.executable, "-m"]
    if processes > 1:
        start += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
    flags = [item for setting in settings for item in ("--set", setting)]
    return [*start, "voxanchor", "train", str(recipe), "--out", str(out), *flags]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def run(recipe: Path, out: Path, processes: int, *settings: str, cwd: Path | None = None) -> str:
    line = command(recipe, out, processes, *settings)
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False, timeout=300, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, voices_folder: Path, noise_path: Path) -> Path:
    values = {
        "name": "shared",
        "data": {"speech": [{"path": str(voices_folder)}], "noise": [str(noise_path)], "validation_speakers": 2},
        "encoder": {"architecture": "ecapa", "options": ECAPA},
        "stages": {
            "base": {"train": {"start": "scratch", "clean_share": 0.5, "steps": 20, "validate_every": 10, **STEPS}},
            "anchors": {"anchors": {"of": "base"}},
            "anchored": {"train": {"start": "base", "anchors": "anchors", "steps": 6, "validate_every": 0, **STEPS}},
        },
    }
    path = tmp_path_factory.mktemp("recipe") / "shared.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def losses(folder: Path) -> list[tuple[int, float, float]]:
    lines = [json.loads(line) for line in (folder / "training" / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], line["loss"], line["gradient_norm"]) for line in lines if "loss" in line]


def test_two_processes_train_as_one_that_works_through_its_batch_in_two_parts(recipe: Path, tmp_path: Path) -> None:
    # batch normalisation sees the rows of a process, or of a part: the same rows
    parts = ("stages.base.train.accumulate=2", "stages.anchored.train.accumulate=2")
    run(recipe, tmp_path / "one", 1, *parts)
    run(recipe, tmp_path / "two", 2)
    for one, two in zip(losses(tmp_path / "one" / "base"), losses(tmp_path / "two" / "base"), strict=True):
        assert two == pytest.approx(one, rel=1e-2)
    # anchors embedded in shares are those that one process embeds with the same model
    table = AnchorTable.load(tmp_path / "two" / "anchors" / "anchors.safetensors")
    alone = extract(SpeakerEncoder.load(tmp_path / "two" / "base"), Manifest.load(tmp_path / "two/data/train.jsonl"))
    assert table.ids == alone.ids
    np.testing.assert_allclose(table.embeddings, alone.embeddings, atol=1e-5)
    assert (tmp_path / "two" / "anchored" / "model.safetensors").exists()


def test_another_number_of_processes_goes_on(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cut = subprocess.Popen(command(recipe, out, 1), env=environment(), stderr=subprocess.DEVNULL)
    state = out / "base" / "training" / "state.pt"
    while not state.exists() and cut.poll() is None:
        time.sleep(0.02)
    cut.send_signal(signal.SIGKILL)
    cut.wait()
    run(recipe, out, 2)
    run(recipe, out, 1)  # finished: nothing is done again
    assert (out / "anchored" / "model.safetensors").exists()


def test_a_lost_process_ends_the_job_with_a_clear_error_and_it_resumes(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    many = ("stages.base.train.steps=2000",)
    job = subprocess.Popen(
        command(recipe, out, 2, *many), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    state = out / "base" / "training" / "state.pt"
    while not state.exists() and job.poll() is None:
        time.sleep(0.02)
    second = [pid for pid in children(job.pid) if environment_of(pid).get("RANK") == "1"]
    assert len(second) == 1
    os.kill(second[0], signal.SIGKILL)
    output, _ = job.communicate(timeout=120)
    assert job.returncode != 0
    assert "lost another one" in output or "Signal 9" in output or "SIGKILL" in output
    # the same command goes on from the state that was saved
    again = subprocess.Popen(command(recipe, out, 2, *many), env=environment(), stderr=subprocess.PIPE, text=True)
    before = state.stat().st_mtime
    while state.stat().st_mtime == before and again.poll() is None:
        time.sleep(0.02)
    assert again.poll() is None, again.communicate()[1]
    again.terminate()
    again.communicate(timeout=60)


def children(pid: int) -> list[int]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it may end while we look
            if f"PPid:\t{pid}\n" in status.read_text():
                found.append(int(status.parent.name))
    return found


def environment_of(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def test_a_model_that_diverges_ends_in_every_process(recipe: Path, tmp_path: Path) -> None:
    """The first process alone looks at the validation: the others must not wait for it for ever."""
    stage = "stages.anchored.train"
    line = command(
        recipe, tmp_path / "out", 2, f"{stage}.guard.watch=true", f"{stage}.guard.retries=1",
        f"{stage}.guard.retry_rate=0.5", f"{stage}.learning_rate.peak=1e30", f"{stage}.validate_every=1",
    )  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, env=environment(), check=False, timeout=180)
    assert "guard: stopped: training diverged" in done.stderr
    assert "guard: once more from the start" in done.stderr


OWN = """
import torch
from torch import nn


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.front = nn.Conv1d(1, 16, 400, stride=160)
        self.drawn = nn.Conv1d(16, 16, 1)
        self.out = nn.Linear(16, 16)
        self.classifier = nn.Linear(16, 5)

    def forward(self, waves):
        heard = self.front(waves.unsqueeze(1)).relu()
        if not self.training or torch.rand(()) < 0.5:
            heard = heard + self.drawn(heard)
        return self.out(heard.mean(dim=2))


def build():
    return Own()
"""
"""Keeps a classifier that no embedding needs, and runs a layer in half of the steps of training."""


def test_a_module_of_ones_own_may_leave_parameters_out(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "own_model.py").write_text(OWN)
    values = yaml.safe_load(recipe.read_text())
    train = {"start": "python:own_model:build", "clean_share": 0.5, "steps": 8, "validate_every": 0, "accumulate": 2}
    values["stages"] = {"base": {"train": {**train, **STEPS}}}
    own = tmp_path / "own.yaml"
    own.write_text(yaml.safe_dump(values, sort_keys=False))
    said = run(own, tmp_path / "out", 2, cwd=tmp_path)
    assert "find_unused" not in said
    weights = load_file(tmp_path / "out" / "base" / "model.safetensors")
    state = torch.load(tmp_path / "out" / "base" / "training" / "state.pt", weights_only=True)
    moved = {len(moments) for moments in state["optimizer"]["state"].values()}
    assert moved == {3}
    # the classifier is kept as it was made, as in one process: it is neither trained nor decayed
    run(own, tmp_path / "alone", 1, "stages.base.train.steps=1", cwd=tmp_path)
    alone = load_file(tmp_path / "alone" / "base" / "model.safetensors")
    for name in ("classifier.weight", "classifier.bias"):
        assert torch.equal(weights[f"network.module.{name}"], alone[f"network.module.{name}"])
    assert not torch.equal(weights["network.module.drawn.weight"], alone["network.module.drawn.weight"])
    # one process takes up what two have saved
    (tmp_path / "out" / "base" / "done.json").unlink()
    (tmp_path / "out" / "base" / "model.safetensors").unlink()
    run(own, tmp_path / "out", 1, cwd=tmp_path)
    again = load_file(tmp_path / "out" / "base" / "model.safetensors")
    assert all(torch.equal(again[name], value) for name, value in weights.items())
