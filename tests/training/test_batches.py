from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from voxanchor.audio.bank import NoiseBank
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.training.batches import Batch, Batches, prefetch
from voxanchor.training.recipe import Train

Voice = Callable[..., np.ndarray]


def same(one: Batch, two: Batch) -> bool:
    fields = ("waves", "lengths", "utterances", "labels", "noisy")
    return all(torch.equal(getattr(one, name), getattr(two, name)) for name in fields)


@pytest.mark.parametrize("workers", [1, 4])
def test_rendering_is_the_same_for_any_number_of_workers(
    manifest: Manifest, bank: NoiseBank, stage: Train, workers: int
) -> None:
    alone = list(prefetch(Batches(manifest, bank, stage, 3).render, range(12), 0))
    threaded = list(prefetch(Batches(manifest, bank, stage, 3).render, range(12), workers))
    assert len(threaded) == 12
    assert all(same(one, two) for one, two in zip(alone, threaded, strict=True))


def test_a_step_is_the_same_whatever_came_before(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    batches = Batches(manifest, bank, stage, 3)
    later = [batches.render(step) for step in range(8)][7]
    assert same(later, Batches(manifest, bank, stage, 3).render(7))
    assert not same(later, Batches(manifest, bank, stage, 4).render(7))


def test_every_utterance_once_an_epoch(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    batches = Batches(manifest, bank, stage, 0)
    steps = len(manifest) // stage.batch_size
    seen = torch.cat([batches.render(step).utterances for step in range(steps)])
    assert sorted(seen.tolist()) == list(range(len(manifest)))


@pytest.mark.parametrize("share", [0.0, 0.15, 0.5, 1.0])
def test_the_share_of_clean_inputs_is_kept(manifest: Manifest, bank: NoiseBank, stage: Train, share: float) -> None:
    batches = Batches(manifest, bank, replace(stage, clean_share=share), 0)
    clean = sum(int((~batches.render(step).noisy).sum()) for step in range(20))
    assert clean == pytest.approx(share * 20 * stage.batch_size, abs=1)


def test_clean_inputs_are_pieces_of_the_recording_and_noisy_ones_are_not(
    manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    batch = Batches(manifest, bank, stage, 0).render(0)
    for wave, place, noisy in zip(batch.waves.numpy(), batch.utterances.tolist(), batch.noisy.tolist(), strict=True):
        whole = manifest.utterances[place].read()
        starts = np.flatnonzero(np.isclose(whole[: len(whole) - len(wave) + 1], wave[0], atol=1e-7))
        found = any(np.allclose(whole[start : start + len(wave)], wave, atol=1e-7) for start in starts)
        assert found != noisy


def test_labels_follow_the_speakers(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    batch = Batches(manifest, bank, stage, 0).render(0)
    for place, label in zip(batch.utterances.tolist(), batch.labels.tolist(), strict=True):
        assert manifest.speakers[label] == manifest.utterances[place].speaker


def test_gain_changes_the_level_and_nothing_else(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    plain = Batches(manifest, bank, stage, 0).render(0).waves
    louder = Batches(manifest, bank, replace(stage, gain_db=(6.0, 6.0)), 0).render(0).waves
    torch.testing.assert_close(louder, plain * 10 ** (6 / 20))


def test_crops_longer_than_the_recording_repeat_it(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    batch = Batches(manifest, bank, replace(stage, crop_s=3.0, clean_share=1.0), 0).render(0)
    period = round(manifest.utterances[int(batch.utterances[0])].duration_s * 16_000)
    torch.testing.assert_close(batch.waves[0, period:], batch.waves[0, : 48_000 - period])


def test_a_word_in_a_long_silence_is_found(tmp_path: Path, bank: NoiseBank, stage: Train, voice: Voice) -> None:
    wave = np.zeros(30 * 16_000, np.float32)
    wave[200_000:208_000] = voice(0, 0, 0.5)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "0.flac", wave, 16_000)
    batches = Batches(scan(tmp_path), bank, stage, 0)
    for step in range(5):
        assert bool((batches.render(step).waves.abs().amax(dim=1) > 0.01).all())
