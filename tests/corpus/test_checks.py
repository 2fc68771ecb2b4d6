"""Files looked at side by side, but long ones one after the other."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.audio import io
from voxanchor.corpus import checks


def folder(tmp_path: Path, lengths_s: list[float]) -> list[Path]:
    paths = [tmp_path / f"{number}.wav" for number in range(len(lengths_s))]
    for path, length_s in zip(paths, lengths_s, strict=True):
        samples = np.random.default_rng(0).normal(0, 0.1, round(16_000 * length_s))
        soundfile.write(path, samples, 16_000)
    return paths


def test_what_each_file_is_in_the_order_of_the_paths(tmp_path: Path) -> None:
    paths = folder(tmp_path, [1.0, 0.2, 2.0])
    (tmp_path / "3.wav").write_bytes(b"no sound")
    found = checks.check_files([*paths, tmp_path / "3.wav"], 0.3, 0.1, "checking")
    assert [entry.duration_s for entry in found] == [1.0, 0.0, 2.0, 0.0]
    assert "too short: 0.20 s" in found[1].reason
    assert found[3].reason


def test_of_long_files_only_one_is_held_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_LONG_S", 1.5)
    lock, held, most = threading.Lock(), [0], [0]
    plain = io.AudioFile.decoded

    def decoded(file: io.AudioFile, decoder: io.Decoder) -> Iterator[io.Block]:
        is_long = (decoder.frames or 0) / decoder.rate > 1.5
        with lock:
            held[0] += is_long
            most[0] = max(most[0], held[0])
        time.sleep(0.01)
        yield from plain(file, decoder)
        with lock:
            held[0] -= is_long

    monkeypatch.setattr(io.AudioFile, "decoded", decoded)
    found = checks.check_files(folder(tmp_path, [2.0, 1.0] * 6), 0.3, 0.1, "checking")
    assert [entry.duration_s for entry in found] == [2.0, 1.0] * 6
    assert most[0] == 1
