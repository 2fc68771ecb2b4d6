"""Damaged files of every container: a waveform comes out or an AudioError, in bounded time and memory."""

import importlib.util
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.audio.mutations import mutants, whole_files

from voxanchor.audio import io, pcm
from voxanchor.errors import AudioError

ROOT = Path(__file__).parents[2]
MOST_S = 30.0
MOST_BYTES = 512 * 2**20


def files() -> dict[str, bytes]:
    time_s = np.arange(8_000) / 8_000
    wave = (0.3 * np.sin(2 * np.pi * 300 * time_s) * np.sin(2 * np.pi * 3 * time_s)).astype(np.float32)
    return whole_files(wave, 8_000, importlib.util.find_spec("av") is not None)


def peak_bytes() -> int:
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


WAYS: tuple[Callable[[str], object], ...] = (
    io.probe,
    io.read,
    lambda path: list(io.AudioFile(path).blocks()),
    pcm.load,
    lambda path: pcm.load(path, 0.1, 0.2),
    lambda path: io.read(path, channel="loudest"),
)


def outcomes(folder: Path, count: int, seed: int) -> Counter[str]:
    """Read damaged files in every way there is; return how often each came to what."""
    found: Counter[str] = Counter()
    for name, content in mutants(files(), count, seed):
        path = str(folder / name)
        Path(path).write_bytes(content)
        begun = time.monotonic()
        for way in WAYS:
            try:
                way(path)
            except AudioError as error:
                found["refused" if path in str(error) else f"{name}: {error}"] += 1
            else:
                found["read"] += 1
        pcm.mapped(path)
        assert time.monotonic() - begun < MOST_S, name
        Path(path).unlink()
    return found


def check(folder: Path, count: int, seed: int, capfd: pytest.CaptureFixture[str]) -> None:
    before = peak_bytes()
    found = outcomes(folder, count, seed)
    assert capfd.readouterr().out == ""  # the MP3 decoder writes warnings of its own, but to standard error
    assert set(found) == {"read", "refused"}, found
    assert found["read"] > count / 4
    assert found["refused"] > count / 4
    assert peak_bytes() - before < MOST_BYTES


def test_whole_files_are_read(tmp_path: Path) -> None:
    for kind, content in files().items():
        path = tmp_path / f"a.{kind}"
        path.write_bytes(content)
        expected = 16_000 if kind != "xi" else 2_902  # that container has no room for a rate: 44.1 kHz is taken
        assert len(io.read(path)) == pytest.approx(expected, abs=2_500), kind


def test_nothing_but_answers_is_printed(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """libsndfile prints lines about every damaged block of a MIDI sample dump where a command's JSON belongs."""
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(2_000), 8_000, format="SDS", subtype="PCM_16")
    content = bytearray(path.read_bytes())
    content[200:1_000] = bytes(800)
    path.write_bytes(content)
    for way in WAYS:
        with pytest.raises(AudioError, match=r"a\.wav: is a MIDI sample dump, which is not read"):
            way(str(path))
    assert capfd.readouterr().out == ""


def test_damaged_files_are_read_or_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, 150, 0, capfd)


@pytest.mark.slow
def test_many_damaged_files_are_read_or_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    check(tmp_path, 800, 1, capfd)


@pytest.mark.slow
def test_damaged_files_through_verify_embed_evaluate_and_the_service(tmp_path: Path) -> None:
    """What docs/formats.md states of ten thousand of them, with some hundred."""
    counts = ("--files", "200", "--corpus", "80", "--requests", "80", "--seed", "1")
    command = (sys.executable, "-m", "docs.figures.mutated_files", *counts, "--keep", str(tmp_path / "found"))
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr
