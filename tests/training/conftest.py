"""A small run's parts: recordings, noise and a stage."""

from dataclasses import replace
from pathlib import Path

import pytest

from voxanchor.conditions.bank import NoiseBank, noise_bank
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.training.stage import Classification, LearningRate, Train


@pytest.fixture(scope="session")
def manifest(voices_folder: Path) -> Manifest:
    return scan(voices_folder)


@pytest.fixture(scope="session")
def bank(manifest: Manifest, noise_path: Path) -> NoiseBank:
    return noise_bank([str(noise_path)], manifest, built_in_share=0.5, for_evaluation=False)


@pytest.fixture
def stage() -> Train:
    return replace(
        Train(start="scratch", steps=6, batch_size=4, crop_s=0.5, clean_share=0.25),
        learning_rate=LearningRate(peak=2e-3, warmup_steps=2),
        classification=Classification(),
        checkpoint_every=1,
        validate_every=3,
    )
