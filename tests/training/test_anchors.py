from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from voxanchor.conditions.bank import NoiseBank
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import ModelError
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.training.anchors import AnchorTable, extract
from voxanchor.training.batches import Batches
from voxanchor.training.stage import AnchorTerm, Classification, Train
from voxanchor.training.task import SpeakerTask


@pytest.fixture(scope="module")
def encoder() -> SpeakerEncoder:
    return SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).eval()


def test_an_anchor_is_the_embedding_of_the_whole_clean_utterance(manifest: Manifest, encoder: SpeakerEncoder) -> None:
    table = extract(encoder, manifest)
    assert table.ids == tuple(utterance.id for utterance in manifest.utterances)
    with torch.no_grad():
        alone = encoder(torch.from_numpy(manifest.utterances[5].read())[None])
    np.testing.assert_allclose(table.embeddings[5], alone[0].numpy(), atol=1e-5)


def test_the_table_survives_the_disk_and_notices_change(
    tmp_path: Path, manifest: Manifest, encoder: SpeakerEncoder
) -> None:
    table = extract(encoder, manifest)
    path = tmp_path / "anchors.safetensors"
    table.save(path)
    read = AnchorTable.load(path)
    assert read.fingerprint == table.fingerprint
    assert (read.model, read.corpus, read.ids) == (encoder.fingerprint, manifest.fingerprint, table.ids)
    np.testing.assert_array_equal(read.embeddings, table.embeddings)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ModelError, match="changed after they were frozen"):
        AnchorTable.load(path)
    path.write_bytes(b"nonsense")
    with pytest.raises(ModelError, match="not an anchor table"):
        AnchorTable.load(path)


def test_speaker_means_are_unit_vectors_in_the_asked_order(manifest: Manifest, encoder: SpeakerEncoder) -> None:
    table = extract(encoder, manifest)
    means = table.speaker_means(manifest.speakers)
    np.testing.assert_allclose(np.linalg.norm(means, axis=1), 1, atol=1e-6)
    own = table.embeddings[[speaker == manifest.speakers[3] for speaker in table.speakers]].mean(axis=0)
    np.testing.assert_allclose(means[3], own / np.linalg.norm(own), atol=1e-6)


def test_the_task_starts_at_the_anchors_and_adds_its_terms(
    manifest: Manifest, bank: NoiseBank, stage: Train, encoder: SpeakerEncoder
) -> None:
    stage = replace(
        stage, anchors="a", classification=Classification(weight=2, centres="anchors"), anchor=AnchorTerm(weight=3)
    )
    table = extract(encoder, manifest)
    task = SpeakerTask(encoder.copy(), stage, manifest.speakers, table)
    assert task.head is not None
    np.testing.assert_allclose(task.head.centres.detach().numpy(), table.speaker_means(manifest.speakers), atol=1e-6)
    batch = Batches(manifest, bank, stage, 0).render(0)
    losses = task.eval()(batch, 0)
    expected = 2 * losses["aam"] + 3 * losses["anchor"]
    torch.testing.assert_close(losses["loss"], expected)
    embeddings = task.student(batch.waves, batch.lengths)
    targets = torch.from_numpy(table.embeddings)[batch.utterances]
    torch.testing.assert_close(losses["anchor"], (1 - F.cosine_similarity(embeddings, targets)).mean())


def test_the_anchor_term_alone_needs_no_labels(
    manifest: Manifest, bank: NoiseBank, stage: Train, encoder: SpeakerEncoder
) -> None:
    stage = replace(stage, anchors="a", classification=Classification(weight=0))
    nameless = replace(manifest, utterances=tuple(replace(u, speaker="") for u in manifest.utterances))
    task = SpeakerTask(encoder.copy(), stage, nameless.speakers, extract(encoder, nameless))
    losses = task(Batches(nameless, bank, stage, 0).render(0), 0)
    assert set(losses) == {"loss", "anchor"}


def test_the_frozen_table_is_neither_trained_nor_saved(
    manifest: Manifest, stage: Train, encoder: SpeakerEncoder
) -> None:
    task = SpeakerTask(encoder.copy(), replace(stage, anchors="a"), manifest.speakers, extract(encoder, manifest))
    assert "anchors" not in dict(task.named_parameters())
    assert "anchors" not in task.state_dict()
