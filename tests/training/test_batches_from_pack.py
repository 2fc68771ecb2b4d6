"""Training batches are the same from packs as from the files they were made of: speech, recorded noise and babble."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from voxanchor.conditions.bank import noise_bank
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.segments import join_short
from voxanchor.training.batches import Batches
from voxanchor.training.stage import Train
from voxanchor.workflows.pack import pack


@pytest.fixture(scope="module")
def packs(voices_folder: Path, noise_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The voices, in three shards, and the noise."""
    folder = tmp_path_factory.mktemp("packs")
    pack([folder / "voices"], speech=[str(voices_folder)], shard_mb=1)
    pack([folder / "noises"], noise=str(noise_path))
    return folder / "voices", folder / "noises"


@pytest.mark.parametrize("layout", ["auto", "flat"])
@pytest.mark.parametrize("join_s", [0.0, 3.0])
@pytest.mark.parametrize("clean_share", [0.25, 1.0])
def test_batches_are_the_same_from_files_and_from_packs(
    voices_folder: Path,
    noise_path: Path,
    packs: tuple[Path, Path],
    stage: Train,
    clean_share: float,
    join_s: float,
    layout: str,
) -> None:
    made = []
    for speech, noise in ((voices_folder, noise_path), packs):
        manifest = scan(speech, layout=layout)
        if join_s:
            manifest = join_short(manifest, join_s)
        manifest = manifest.with_voices([0.9])
        bank = noise_bank([str(noise)], manifest, built_in_share=0.0, for_evaluation=False)
        made.append(Batches(manifest, bank, replace(stage, clean_share=clean_share, batch_size=8), seed=1))
    noisy = 0
    for step in range(8):
        files, packed = (batches.render(step) for batches in made)
        for name in ("waves", "lengths", "utterances", "labels", "noisy"):
            assert torch.equal(getattr(files, name), getattr(packed, name)), name
        noisy += int(files.noisy.sum())
    assert (noisy == 0) == (clean_share == 1.0)
