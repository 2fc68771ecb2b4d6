"""What a stage optimises: anchors of every kind, consistency, and frozen parameters."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from voxanchor.conditions.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import RecipeError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.objectives.margin import AAMSoftmax
from voxanchor.training.anchors import AnchorTable, extract, same_speaker_cosine, static_targets
from voxanchor.training.batches import Batch, Batches
from voxanchor.training.loop import train
from voxanchor.training.stage import AnchorTerm, Classification, Consistency, Train
from voxanchor.training.task import SpeakerTask


@pytest.fixture(scope="module")
def base() -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1)


@pytest.fixture(scope="module")
def table(base: SpeakerEncoder, manifest: Manifest) -> AnchorTable:
    return extract(base.copy(), manifest)


def has_anchor_loss(stage: Train, **term: object) -> Train:
    return replace(stage, anchors="anchors", anchor=AnchorTerm(weight=3.0, **term))  # type: ignore[arg-type]


def losses(task: SpeakerTask, batch: Batch) -> dict[str, torch.Tensor]:
    task.eval()
    with torch.no_grad():
        found: dict[str, torch.Tensor] = task(batch, 10)
    return found


@pytest.mark.parametrize("kind", ["utterance", "crop", "agreement"])
def test_the_pull_is_towards_what_the_kind_says(
    manifest: Manifest, bank: NoiseBank, stage: Train, base: SpeakerEncoder, table: AnchorTable, kind: str
) -> None:
    stage = replace(has_anchor_loss(stage, kind=kind), classification=Classification(centres="anchors"))
    batch = Batches(manifest, bank, stage, 0).render(0)
    teacher = base.copy() if kind == "crop" else None
    student = SpeakerEncoder(base.config, seed=2)
    task = SpeakerTask(student, stage, manifest.speakers, table, teacher)
    found = losses(task, batch)
    embeddings = student.eval()(batch.waves, batch.lengths).detach()
    own = torch.from_numpy(table.embeddings)[batch.utterances]
    targets = {
        "utterance": own,
        "agreement": torch.from_numpy(static_targets(table, "agreement"))[batch.utterances],
    }
    if kind == "crop":
        assert batch.clean is not None
        targets["crop"] = base.eval()(batch.clean, batch.lengths).detach()
    expected = (1 - F.cosine_similarity(embeddings, targets[kind])).mean()
    torch.testing.assert_close(found["anchor"], expected, rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["loss"], found["aam"] + 3 * found["anchor"])


@pytest.mark.parametrize("consistency", [0.0, 1.0])
def test_the_pull_on_frames_is_towards_those_of_the_base_model_for_the_clean_crop(
    manifest: Manifest, bank: NoiseBank, stage: Train, base: SpeakerEncoder, table: AnchorTable, consistency: float
) -> None:
    stage = replace(has_anchor_loss(stage, frame_weight=2.0), consistency=Consistency(consistency))
    batch = Batches(manifest, bank, stage, 0).render(0)
    student = SpeakerEncoder(base.config, seed=2)
    task = SpeakerTask(student, stage, manifest.speakers, table, base.copy())
    found = losses(task, batch)
    assert batch.clean is not None
    with torch.no_grad():
        frames = student.eval().with_frames(batch.waves)[1]
        targets = base.eval().with_frames(batch.clean)[1]
    torch.testing.assert_close(found["frames"], (frames - targets).square().sum() / targets.square().sum())
    total = found["aam"] + 3 * found["anchor"] + 2 * found["frames"]
    torch.testing.assert_close(found["loss"], total + consistency * found.get("consistency", torch.zeros(())))
    assert not any(name.startswith("_teacher") for name in task.state_dict())


def test_frames_alone_are_enough_to_train_by(
    manifest: Manifest, bank: NoiseBank, stage: Train, base: SpeakerEncoder, table: AnchorTable
) -> None:
    alone = replace(
        stage,
        anchors="anchors",
        anchor=AnchorTerm(weight=0.0, frame_weight=1.0),
        classification=Classification(weight=0.0),
    )
    assert not alone.labelled
    batch = Batches(manifest, bank, alone, 0).render(0)
    found = losses(SpeakerTask(base.copy(), alone, manifest.speakers, table, base.copy()), batch)
    assert set(found) == {"loss", "frames"}
    assert found["frames"] > 0
    with pytest.raises(RecipeError, match="need the model that made the anchors"):
        SpeakerTask(base.copy(), alone, manifest.speakers, table)
    wider = SpeakerEncoder(EncoderConfig("ecapa", {"channels": 24, "embedding_dim": 16}))
    with pytest.raises(RecipeError, match="must be alike"):
        SpeakerTask(wider, alone, manifest.speakers, table, base.copy())


def test_the_clean_crop_beside_an_input_is_that_input_without_noise(
    manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    plain = replace(stage, gain_db=(-6.0, 6.0))
    needs_clean_pair = replace(plain, consistency=Consistency(weight=1.0))
    silent = replace(plain, clean_share=1.0)
    for step in range(3):
        without, batch = (Batches(manifest, bank, each, 0).render(step) for each in (plain, needs_clean_pair))
        assert without.clean is None
        assert batch.clean is not None
        assert torch.equal(without.waves, batch.waves)
        assert torch.equal(batch.clean, Batches(manifest, bank, silent, 0).render(step).waves)
        assert torch.equal(batch.clean[~batch.noisy], batch.waves[~batch.noisy])
        assert not torch.equal(batch.clean[batch.noisy], batch.waves[batch.noisy])
        halves = batch.parts(2)
        assert torch.equal(torch.cat([part.clean for part in halves if part.clean is not None])[0], batch.clean[0])


def test_consistency_is_the_distance_to_the_clean_crop_and_both_move(
    manifest: Manifest, bank: NoiseBank, stage: Train, base: SpeakerEncoder
) -> None:
    stage = replace(stage, consistency=Consistency(weight=2.0))
    batch = Batches(manifest, bank, stage, 0).render(0)
    student = base.copy()
    found = losses(SpeakerTask(student, stage, manifest.speakers, None), batch)
    assert batch.clean is not None
    ends = [student(waves, batch.lengths).detach() for waves in (batch.waves, batch.clean)]
    torch.testing.assert_close(found["consistency"], (1 - F.cosine_similarity(*ends)).mean(), rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(found["loss"], found["aam"] + 2 * found["consistency"])


def test_a_stage_without_the_pull_keeps_the_centres_at_the_anchors(
    manifest: Manifest, bank: NoiseBank, stage: Train, base: SpeakerEncoder, table: AnchorTable
) -> None:
    stage = replace(
        stage, anchors="anchors", anchor=AnchorTerm(weight=0.0), classification=Classification(centres="anchors")
    )
    task = SpeakerTask(base.copy(), stage, manifest.speakers, table)
    assert task.head is not None
    np.testing.assert_allclose(task.head.centres.detach(), table.speaker_means(manifest.speakers), atol=1e-6)
    assert "anchor" not in losses(task, Batches(manifest, bank, stage, 0).render(0))


def test_recordings_as_classes_are_told_apart_but_for_those_alike(
    manifest: Manifest, bank: NoiseBank, stage: Train, base: SpeakerEncoder, table: AnchorTable
) -> None:
    terms = Classification(classes="recordings", centres="anchors", same_speaker_threshold=0.5)
    stage = replace(has_anchor_loss(stage), classification=terms)
    assert not stage.labelled
    batch = Batches(manifest, bank, stage, 0).render(0)
    task = SpeakerTask(base.copy(), stage, manifest.speakers, table)
    assert task.head is not None
    np.testing.assert_allclose(task.head.centres.detach(), table.embeddings, atol=1e-6)
    found = losses(task, batch)["aam"]
    embeddings = base.copy().eval()(batch.waves, batch.lengths)
    cosines = table.embeddings @ table.embeddings.T
    threshold = same_speaker_cosine(table.embeddings, 0.5)
    expected = []
    for embedding, own in zip(embeddings, batch.utterances.tolist(), strict=True):
        kept = [k for k in range(len(cosines)) if k == own or cosines[own, k] <= threshold]
        assert 1 < len(kept) < len(cosines), "a test of nothing"
        head = AAMSoftmax(16, len(kept), terms.scale)
        head.start_at(torch.from_numpy(table.embeddings[kept]))
        expected.append(head(embedding[None], torch.tensor([kept.index(own)]), terms.margin.at(10))[0])
    torch.testing.assert_close(found, torch.stack(expected).mean().detach(), rtol=1e-4, atol=1e-4)


def test_what_is_frozen_stays_and_the_rest_moves(
    tmp_path: Path, manifest: Manifest, bank: NoiseBank, stage: Train, base: SpeakerEncoder, table: AnchorTable
) -> None:
    first = "stem"
    stage = replace(stage, frozen=(f"{first}.",), classification=Classification(centres="anchors"), anchors="anchors")
    task = SpeakerTask(base.copy(), stage, manifest.speakers, table)
    train(task, Batches(manifest, bank, stage, 0), stage, tmp_path, seed=0, label="t")
    after = task.student.network.state_dict()
    moved = {name for name, value in base.network.state_dict().items() if not torch.equal(value, after[name])}
    assert moved
    assert not any(name.startswith(f"{first}.") for name in moved), sorted(moved)


def test_freezing_nothing_or_everything_is_refused(manifest: Manifest, stage: Train, base: SpeakerEncoder) -> None:
    with pytest.raises(RecipeError, match="no parameter of the network begins with 'lstm'"):
        SpeakerTask(base.copy(), replace(stage, frozen=("lstm",)), manifest.speakers, None)
    everything = tuple(dict(base.network.named_parameters()))
    with pytest.raises(RecipeError, match="nothing of the network is left"):
        SpeakerTask(base.copy(), replace(stage, frozen=everything), manifest.speakers, None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"anchors": "a", "anchor": AnchorTerm(weight=0), "classification": Classification(weight=0)}, "nothing to"),
        ({"classification": Classification(classes="recordings")}, "recordings needs"),
    ],
)
def test_stages_that_cannot_work_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Train(**{"start": "ge2e", "steps": 3, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize("architecture", ["ecapa", "campplus", "resnet"])
@pytest.mark.parametrize(
    ("start", "batch_norm", "kept"),
    [("base", "auto", True), ("base", "update", False), ("scratch", "auto", False), ("scratch", "keep", True)],
)
def test_noisy_batches_leave_the_statistics_of_a_model_as_they_are(
    manifest: Manifest,
    bank: NoiseBank,
    stage: Train,
    tmp_path: Path,
    architecture: str,
    start: str,
    batch_norm: Literal["auto", "keep", "update"],
    kept: bool,
) -> None:
    stage = replace(stage, start=start, batch_norm=batch_norm, steps=2, anchors="")
    options: dict[str, dict[str, Any]] = {
        "ecapa": {"channels": 16, "embedding_dim": 16},
        "campplus": {"embedding_dim": 16},
        "resnet": {"m_channels": 4, "blocks": [1, 1, 1, 1], "embedding_dim": 16},
    }
    student = SpeakerEncoder(EncoderConfig(architecture, options[architecture]), seed=1)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    task = SpeakerTask(student, stage, manifest.speakers, None)
    train(task, Batches(manifest, bank, stage, 0), stage, tmp_path, seed=0, label="trial")
    after = student.state_dict()
    statistics = [name for name in before if "running_" in name]
    assert statistics
    assert all(torch.equal(before[name], after[name]) for name in statistics) is kept
    weights = [name for name in before if name.endswith("weight")]
    assert not all(torch.equal(before[name], after[name]) for name in weights)
