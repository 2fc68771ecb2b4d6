"""Training batches heard in rooms: how many, which, and that each row is what it would be alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from voxanchor.audio.rooms import reverberate
from voxanchor.audio.snr import active_level_db
from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.corpus.manifest import Manifest
from voxanchor.training.batches import Batches
from voxanchor.training.stage import Rooms, Train
from voxanchor.workflows.pack import pack

HALF = Rooms(share=0.5)


@pytest.fixture(scope="module")
def bank(manifest: Manifest, noise_path: Path, rooms_path: Path) -> NoiseBank:
    return noise_bank([str(noise_path)], manifest, built_in_share=0.5, for_evaluation=False, rooms=[str(rooms_path)])


@pytest.mark.parametrize(("share", "clean"), [(0.1, 0.25), (0.5, 0.15), (0.75, 0.25), (1.0, 0.0)])
def test_the_share_of_reverberant_inputs_is_kept_and_clean_ones_stay_clean(
    manifest: Manifest, bank: NoiseBank, stage: Train, share: float, clean: float
) -> None:
    batches = Batches(manifest, bank, replace(stage, clean_share=clean, rooms=Rooms(share)), 0)
    made = [batches.compose(step)[1] for step in range(20)]
    rooms = np.array([composition.rooms for composition in made])
    assert (rooms >= 0).sum() == pytest.approx(share * rooms.size, abs=1)
    assert not (rooms[np.array([composition.kinds for composition in made]) < 0] >= 0).any()


def test_what_is_drawn_beside_the_rooms_stays_the_same(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    plain, heard = (Batches(manifest, bank, replace(stage, rooms=rooms), 0) for rooms in (Rooms(), HALF))
    for step in range(4):
        (one, was), (two, made) = plain.compose(step), heard.compose(step)
        assert (was.rooms == -1).all()
        for name in ("starts", "kinds", "snr_db"):
            np.testing.assert_array_equal(getattr(was, name), getattr(made, name))
        assert was.layers is not None
        assert made.layers is not None
        np.testing.assert_array_equal(was.layers.starts, made.layers.starts)
        dry = made.rooms < 0
        assert torch.equal(one.waves[dry], two.waves[dry])
        assert not torch.equal(one.waves[~dry], two.waves[~dry])


def test_a_reverberant_row_is_what_it_is_alone_and_its_noise_is_set_against_it(
    manifest: Manifest, bank: NoiseBank, stage: Train
) -> None:
    batches = Batches(manifest, bank, replace(stage, batch_size=16, rooms=Rooms(0.75, (0.2, 0.4))), 0)
    places: set[int] = set()
    for step in range(4):
        batch, made = batches.compose(step)
        places |= set(made.rooms.tolist())
        for row in np.flatnonzero(made.rooms >= 0).tolist():
            item, _ = batches.crops.recording(int(batch.utterances[row]))
            whole = batches.pool.recording(item).waveform()
            dry = whole[made.starts[row] : made.starts[row] + batches.crop_samples]
            heard = reverberate(dry, batches.pool.recording(int(made.rooms[row])).waveform())
            added = batch.waves[row].numpy().astype(np.float64) - heard
            # noise has gone through the high-pass already
            ratio_db = active_level_db(heard) - active_level_db(added, filtered=True)
            assert ratio_db == pytest.approx(made.snr_db[row], abs=0.02)
    assert len(places) > 6  # three recorded ones, and some of those that are made


def test_a_batch_in_rooms_is_the_same_whatever_came_before(manifest: Manifest, bank: NoiseBank, stage: Train) -> None:
    stage = replace(stage, rooms=HALF)
    batches = Batches(manifest.with_voices([0.9]), bank, stage, 3)
    later = [batches.render(step) for step in range(5)][4]
    again = Batches(manifest.with_voices([0.9]), bank, stage, 3).render(4)
    assert torch.equal(later.waves, again.waves)
    assert bool(torch.isfinite(later.waves).all())


def test_without_a_folder_there_are_synthetic_rooms(manifest: Manifest, noise_path: Path, stage: Train) -> None:
    bare = noise_bank([str(noise_path)], manifest, built_in_share=0.0, for_evaluation=False)
    made = Batches(manifest, bare, replace(stage, rooms=HALF), 0).compose(0)[1]
    assert (made.rooms >= 0).sum() == 2


def test_packed_rooms_give_the_same_batches(
    manifest: Manifest, noise_path: Path, rooms_path: Path, stage: Train, tmp_path: Path
) -> None:
    pack([tmp_path / "rooms"], rooms=str(rooms_path))
    made = []
    for folder in (rooms_path, tmp_path / "rooms"):
        bank = noise_bank([str(noise_path)], manifest, built_in_share=0.0, for_evaluation=False, rooms=[str(folder)])
        made.append(Batches(manifest, bank, replace(stage, batch_size=8, rooms=HALF), 1))
    for step in range(4):
        assert torch.equal(made[0].render(step).waves, made[1].render(step).waves)


def test_processes_together_hear_the_rooms_that_one_would_hear(
    manifest: Manifest, bank: NoiseBank, stage: Train, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = replace(stage, batch_size=12, rooms=HALF)
    alone, made = Batches(manifest, bank, stage, 0).compose(2)
    for rank in range(3):
        monkeypatch.setattr("voxanchor.runtime.rank", lambda rank=rank: rank)
        monkeypatch.setattr("voxanchor.runtime.world", lambda: 3)
        batch, part = Batches(manifest, bank, stage, 0).compose(2)
        np.testing.assert_array_equal(part.rooms, made.rooms[rank::3])
        torch.testing.assert_close(batch.waves, alone.waves[rank::3], atol=1e-6, rtol=1e-5)
