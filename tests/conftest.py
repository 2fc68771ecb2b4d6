"""What several test files share: a tiny corpus of artificial voices made without any synthesiser."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

RATE = 16_000


def make_voice(speaker: int, take: int, seconds: float = 2.0) -> np.ndarray:
    """A buzz with a pitch and three formants of its own per speaker, in syllables: enough to be told apart."""
    draw = np.random.default_rng([speaker, take])
    person = np.random.default_rng([speaker, 10_000])
    pitch_hz = person.uniform(80, 260) * draw.uniform(0.95, 1.05)
    formants_hz = person.uniform([300, 900, 2200], [900, 2200, 3600])
    time_s = np.arange(round(seconds * RATE)) / RATE
    wave = np.zeros(len(time_s))
    for k in range(1, int(7000 / pitch_hz)):
        gain = sum(np.exp(-(((k * pitch_hz - f) / 250) ** 2)) for f in formants_hz) + 0.01
        wave += gain * np.sin(2 * np.pi * k * pitch_hz * time_s + draw.uniform(0, 6.28))
    syllables = 0.55 + 0.45 * np.sin(2 * np.pi * draw.uniform(3, 5) * time_s + draw.uniform(0, 6.28))
    wave = wave * syllables + 1e-3 * draw.standard_normal(len(time_s))
    scaled: np.ndarray = (0.2 * wave / np.abs(wave).max()).astype(np.float32)
    return scaled


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """Weights and inputs that a test leaves to torch's generator are the same in every run."""
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def voice() -> Callable[..., np.ndarray]:
    """(speaker, take, seconds) -> waveform, as `make_voice`."""
    return make_voice


@pytest.fixture(scope="session")
def voices_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve speakers with four recordings each, one folder per speaker."""
    folder = tmp_path_factory.mktemp("voices")
    for speaker in range(12):
        (folder / f"s{speaker:02d}").mkdir()
        for take in range(4):
            soundfile.write(folder / f"s{speaker:02d}" / f"{take}.flac", make_voice(speaker, take), RATE)
    return folder


@pytest.fixture(scope="session")
def rooms_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three room responses with 10 ms of silence before them, and two files that are none."""
    folder = tmp_path_factory.mktemp("rooms")
    for number, rt60_s in enumerate((0.2, 0.5, 0.9)):
        time_s = np.arange(round(rt60_s * RATE)) / RATE
        wave = 0.1 * np.random.default_rng(number).standard_normal(len(time_s)) * 10.0 ** (-3.0 * time_s / rt60_s)
        wave[0] = 0.9
        soundfile.write(folder / f"{number}.wav", np.concatenate([np.zeros(160), wave]), RATE)
    soundfile.write(folder / "silent.wav", np.zeros(RATE), RATE)
    (folder / "text.wav").write_bytes(b"not audio")
    return folder


@pytest.fixture(scope="session")
def noise_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A MUSAN-like folder with noise and music but no speech."""
    folder = tmp_path_factory.mktemp("noises")
    draw = np.random.default_rng(1)
    for kind in ("noise", "music"):
        (folder / kind).mkdir()
        for clip in range(2):
            soundfile.write(folder / kind / f"{clip}.wav", 0.1 * draw.standard_normal(RATE), RATE)
    return folder
