import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from voxanchor import runtime
from voxanchor.conditions.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import TrainingError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.rng import torch_seed
from voxanchor.training.anchors import extract
from voxanchor.training.batches import Batch, Batches
from voxanchor.training.loop import METRICS_FILE, STATE_FILE, Task, ValidationResult, train
from voxanchor.training.stage import Train
from voxanchor.training.task import SpeakerTask


class Killed(BaseException):
    """Stands for the process ending: nothing below it catches it."""


class KilledAt:
    """A source that dies when a step is asked for."""

    def __init__(self, source: Batches, step: int) -> None:
        self.source, self.step = source, step
        self.device = source.device

    def render(self, step: int) -> Batch:
        if step == self.step:
            raise Killed
        return self.source.render(step)


def make_task(manifest: Manifest, stage: Train) -> SpeakerTask:
    student = SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1)
    torch.manual_seed(5)
    return SpeakerTask(student, stage, manifest.speakers, extract(student.copy(), manifest))


def weights(task: SpeakerTask) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in task.state_dict().items()}


def metrics(folder: Path) -> list[dict[str, object]]:
    lines = [json.loads(line) for line in (folder / METRICS_FILE).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def fixed(_step: int) -> ValidationResult:
    return ValidationResult({"clean_eer": 1.0})


@pytest.mark.parametrize("killed_at", [0, 1, 3, 5])
@pytest.mark.parametrize("checkpoint_every", [1, 2])
def test_a_killed_run_resumes_bit_for_bit(
    tmp_path: Path,
    manifest: Manifest,
    bank: NoiseBank,
    stage: Train,
    killed_at: int,
    checkpoint_every: int,
) -> None:
    stage = Train(**{**vars(stage), "anchors": "anchors", "checkpoint_every": checkpoint_every})
    source = Batches(manifest, bank, stage, 0)
    whole = make_task(manifest, stage)
    train(whole, source, stage, tmp_path / "whole", seed=0, label="t", validate=fixed)
    first = make_task(manifest, stage)
    with pytest.raises(Killed):
        train(first, KilledAt(source, killed_at), stage, tmp_path / "cut", seed=0, label="t", validate=fixed, workers=0)
    second = make_task(manifest, stage)
    train(second, source, stage, tmp_path / "cut", seed=0, label="t", validate=fixed)
    for name, value in weights(whole).items():
        assert torch.equal(value, weights(second)[name]), name
    assert metrics(tmp_path / "whole") == metrics(tmp_path / "cut")


def test_training_learns_the_speakers(tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    stage = Train(**{**vars(stage), "steps": 30, "batch_size": 12})
    train(make_task(manifest, stage), Batches(manifest, bank, stage, 0), stage, tmp_path, seed=0, label="t")
    lines = [line for line in metrics(tmp_path) if "aam" in line]
    assert lines[-1]["aam"] < lines[0]["aam"]  # type: ignore[operator]


def test_a_finished_stage_takes_no_more_steps(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    source = Batches(manifest, bank, stage, 0)
    train(make_task(manifest, stage), source, stage, tmp_path, seed=0, label="t")
    again = make_task(manifest, stage)
    train(again, KilledAt(source, 0), stage, tmp_path, seed=0, label="t", workers=0)
    state = torch.load(tmp_path / STATE_FILE, weights_only=True)
    assert state["step"] == stage.steps
    assert all(torch.equal(value, state["task"][name]) for name, value in weights(again).items())


def test_a_loss_that_is_not_finite_ends_the_stage_and_keeps_the_last_state(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    class Broken(Batches):
        def render(self, step: int) -> Batch:
            batch = super().render(step)
            if step == 2:
                batch.waves.fill_(float("nan"))
            return batch

    with pytest.raises(TrainingError, match="step 3: the loss is not finite"):
        train(make_task(manifest, stage), Broken(manifest, bank, stage, 0), stage, tmp_path, seed=0, label="t")
    assert torch.load(tmp_path / STATE_FILE, weights_only=True)["step"] == 2


def test_a_half_written_line_of_metrics_is_dropped_on_resuming(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    source = Batches(manifest, bank, stage, 0)
    with pytest.raises(Killed):
        train(
            make_task(manifest, stage),
            KilledAt(source, 4),
            stage,
            tmp_path,
            seed=0,
            label="t",
            validate=fixed,
            workers=0,
        )
    with (tmp_path / METRICS_FILE).open("a") as file:
        file.write('{"step": 4, "lo')
    train(make_task(manifest, stage), source, stage, tmp_path, seed=0, label="t", validate=fixed)
    assert [line["step"] for line in metrics(tmp_path)] == [0, 3, 6, 6]


def test_a_damaged_state_is_an_error_that_says_what_to_do(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    (tmp_path / STATE_FILE).write_bytes(b"not a state")
    with pytest.raises(TrainingError, match="Remove it"):
        train(make_task(manifest, stage), Batches(manifest, bank, stage, 0), stage, tmp_path, seed=0, label="t")


def test_a_batch_in_parts_gives_the_gradients_of_the_whole(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    # a network without batch normalisation, which would see the parts one at a time
    stage = replace(stage, steps=1, batch_size=8, precision="float32", clip_norm=1e9, checkpoint_every=1)
    trained = []
    for accumulate in (1, 2, 4):
        torch.manual_seed(5)
        student = SpeakerEncoder(EncoderConfig("ge2e"), seed=1)
        task = SpeakerTask(student, stage, manifest.speakers, None)
        parts = replace(stage, accumulate=accumulate)
        train(task, Batches(manifest, bank, parts, 0), parts, tmp_path / str(accumulate), seed=0, label="t")
        line = metrics(tmp_path / str(accumulate))[0]
        trained.append((line["loss"], line["gradient_norm"]))
    for other in trained[1:]:
        assert other == pytest.approx(trained[0], rel=1e-4)


class Seeded(Task):
    """Notes what each step draws from."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seeds: list[int] = []

    def forward(self, batch: Batch, step: int) -> dict[str, torch.Tensor]:
        self.seeds.append(torch.initial_seed())
        return {"loss": self.weight.square()}


def test_every_process_draws_masks_of_its_own(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = Batches(manifest, bank, stage, 0)
    seeds = []
    for rank in range(3):
        monkeypatch.setattr(runtime, "rank", lambda rank=rank: rank)
        task = Seeded()
        train(task, source, stage, tmp_path / str(rank), seed=7, label="t")
        seeds.append(task.seeds)
    # the first draws what a process alone does
    assert seeds[0] == [torch_seed(7, step, "train") for step in range(stage.steps)]
    assert len({seed for own in seeds for seed in own}) == 3 * stage.steps
