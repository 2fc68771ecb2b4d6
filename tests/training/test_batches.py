from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from voxanchor.audio.snr import SnrLevels, mix
from voxanchor.audio.speed import play, source_samples
from voxanchor.conditions.bank import NoiseBank
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.training.batches import Batch, Batches, prefetch
from voxanchor.training.stage import Noise, Train

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


def alone(batches: Batches, step: int) -> list[np.ndarray]:
    """Make each row of a batch by itself, from what the batch says it was made of, with the one-waveform functions."""
    batch, made = batches.compose(step)
    assert made.layers is not None
    rows, noisy = [], 0
    for row, (utterance, start) in enumerate(zip(batch.utterances.tolist(), made.starts.tolist(), strict=True)):
        item, speed = batches.crops.recording(utterance)
        length = batches.crop_samples if speed == 1.0 else source_samples(batches.crop_samples, speed)
        wave = np.resize(np.roll(batches.pool.recording(item).waveform(), -start), length)
        if speed != 1.0:
            wave = play(torch.from_numpy(wave)[None], speed, batches.crop_samples)[0].numpy()
        if made.kinds[row] >= 0:
            noise = np.zeros(batches.crop_samples)
            for layer in np.flatnonzero(made.layers.rows == noisy):
                whole = batches.pool.recording(int(made.layers.items[layer])).waveform()
                crop = np.resize(np.roll(whole, -int(made.layers.starts[layer])), batches.crop_samples)
                noise += float(made.layers.gains[layer]) * crop
            mixture = mix(wave, noise.astype(np.float32), float(made.snr_db[row]), batches.stage.noise.snr)
            assert mixture.snr_db == pytest.approx(made.snr_db[row], abs=1e-6)
            wave = mixture.waveform
        noisy += int(made.kinds[row] >= 0)
        rows.append(wave * np.float32(made.gains[row]))
    return rows


@pytest.mark.parametrize(("gain_db", "snr"), [((0.0, 0.0), "active"), ((-10.0, 6.0), "active"), ((0.0, 0.0), "whole")])
def test_a_batch_is_what_its_rows_are_alone(
    manifest: Manifest, bank: NoiseBank, stage: Train, gain_db: tuple[float, float], snr: SnrLevels
) -> None:
    stage = replace(stage, batch_size=12, gain_db=gain_db, noise=replace(stage.noise, snr=snr))
    batches = Batches(manifest.with_voices((0.9, 1.1)), bank, stage, 0)
    kinds: set[int] = set()
    for step in range(6):
        batch, made = batches.compose(step)
        kinds |= set(made.kinds.tolist())
        for wave, expected in zip(batch.waves.numpy(), alone(batches, step), strict=True):
            np.testing.assert_allclose(wave, expected, atol=2e-6 * max(1.0, float(np.abs(expected).max())))
    assert kinds == {-1, 0, 1, 2}


def test_nobody_is_heard_behind_themselves(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    stage = replace(stage, batch_size=24, noise=Noise({"babble": 1.0}))
    batches = Batches(manifest, bank, stage, 0)
    for step in range(6):
        batch, made = batches.compose(step)
        assert made.layers is not None
        noisy = [place for place, kind in zip(batch.utterances.tolist(), made.kinds, strict=True) if kind >= 0]
        items = {batches.crops.recording(place)[0]: u.speaker for place, u in enumerate(manifest.utterances)}
        for row, place in enumerate(noisy):
            talking = [items[item] for item in made.layers.items[made.layers.rows == row].tolist()]
            assert manifest.utterances[place].speaker not in talking
            assert len(set(talking)) == len(talking)


def test_speech_without_noise_decodes_no_noise(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    assert len(Batches(manifest, bank, replace(stage, clean_share=1.0), 0).pool) == len(manifest)
