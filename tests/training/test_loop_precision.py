"""Arithmetic of training: what `auto` stands for, how near bfloat16 comes, and that a resumed run keeps its own."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from voxanchor.conditions.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.objectives.margin import AAMSoftmax
from voxanchor.runtime import resolve
from voxanchor.training.batches import Batches
from voxanchor.training.loop import STATE_FILE, train
from voxanchor.training.stage import Train
from voxanchor.training.task import SpeakerTask

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("able", "expected"), [({"avx512_bf16": True}, "bfloat16"), ({"avx512_bf16": False, "avx2": True}, "float32")]
)
def test_auto_is_bfloat16_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able)
    assert resolve("auto", CPU) == expected
    assert resolve("float32", CPU) == "float32"
    assert resolve("bfloat16", CPU) == "bfloat16"


def test_a_torch_that_cannot_say_computes_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert resolve("auto", CPU) == "float32"


def test_the_classification_stays_in_float32_under_autocast() -> None:
    torch.manual_seed(0)
    head = AAMSoftmax(16, 10)
    embeddings = torch.nn.functional.normalize(torch.randn(6, 16), dim=1)
    labels = torch.arange(6)
    expected, _ = head(embeddings, labels)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = head(embeddings, labels)
    assert torch.equal(loss, expected)


def make_task(manifest: Manifest, stage: Train) -> SpeakerTask:
    torch.manual_seed(5)
    return SpeakerTask(SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16}), seed=1), stage, manifest.speakers, None)


def test_gradients_in_bfloat16_point_where_those_in_float32_do(
    manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    batch = Batches(manifest, bank, replace(stage, batch_size=8), 0).render(0)
    gradients = []
    for enabled in (False, True):
        task = make_task(manifest, stage)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            loss = task(batch, 0)["loss"]
        loss.backward()
        assert loss.dtype == torch.float32
        gradients.append(torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None]))
    exact, rounded = gradients
    assert torch.nn.functional.cosine_similarity(exact, rounded, dim=0) > 0.98
    assert not torch.equal(exact, rounded)


def test_a_resumed_run_keeps_the_arithmetic_it_began_with(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    source = Batches(manifest, bank, stage, 0)
    half = replace(stage, steps=3, precision="bfloat16")
    train(make_task(manifest, half), source, half, tmp_path, seed=0, label="t")
    assert torch.load(tmp_path / STATE_FILE, weights_only=True)["precision"] == "bfloat16"
    rest = replace(stage, precision="auto")
    train(make_task(manifest, rest), source, rest, tmp_path, seed=0, label="t")
    assert torch.load(tmp_path / STATE_FILE, weights_only=True)["precision"] == "bfloat16"
