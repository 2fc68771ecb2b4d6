"""Recordings held for cropping: what is gathered is what was put in, wherever it is kept."""

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor import runtime
from voxanchor.audio.pcm import Pcm, Pool, PoolBuilder, encode, mapped

CROP = 1000


def recordings() -> list[Pcm]:
    draw = np.random.default_rng(0)
    lengths = (5000, 300, 1000, 999, 20_000, 1)
    made = [Pcm(draw.integers(-3000, 3000, length).astype(np.int16)) for length in lengths]
    return [*made, encode(draw.standard_normal(4000).astype(np.float32))]


def identity(pcm: Pcm) -> Pcm:
    return pcm


def pool(made: list[Pcm], memory_bytes: int = 2**30) -> Pool:
    builder = PoolBuilder()
    for name, pcm in enumerate(made):
        assert builder.add(name, partial(identity, pcm)) == name
    return Pool(builder, CROP, "test", memory_bytes)


@pytest.mark.parametrize("memory_bytes", [2**30, 0])
def test_crops_are_the_recordings_own_samples_repeated_where_short(memory_bytes: int) -> None:
    made = recordings()
    kept = pool(made, memory_bytes)
    assert kept.lengths.tolist() == [len(pcm) for pcm in made]
    draw = np.random.default_rng(1)
    for _ in range(20):
        items = draw.integers(0, len(made), 16)
        starts = kept.start(items, CROP, draw.random(16))
        for item, start, crop in zip(items, starts, kept.gather(items, starts, CROP).numpy(), strict=True):
            whole = made[item].waveform()
            np.testing.assert_array_equal(crop, np.resize(np.roll(whole, -start), CROP))
            if len(whole) >= CROP:
                assert start + CROP <= len(whole)


@pytest.mark.parametrize(("world", "memory_bytes", "told"), [(2, 0, True), (2, 2**30, False), (1, 0, False)])
def test_processes_that_each_keep_a_copy_on_disk_say_so(
    world: int,
    memory_bytes: int,
    told: bool,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(runtime, "world", lambda: world)
    pool(recordings(), memory_bytes)
    assert capsys.readouterr().err.count("voxanchor data pack") == told


def test_every_place_is_reached_and_none_beyond() -> None:
    kept = pool(recordings())
    items = np.array([0, 1, 2, 5])
    assert kept.start(items, CROP, np.zeros(4)).tolist() == [0, 0, 0, 0]
    assert kept.start(items, CROP, np.full(4, 1 - 1e-12)).tolist() == [4000, 299, 0, 0]


def test_the_same_recording_is_kept_once() -> None:
    builder = PoolBuilder()
    calls = []

    def load() -> Pcm:
        calls.append(1)
        return Pcm(np.ones(2000, np.int16))

    assert [builder.add("a", load), builder.add("b", load), builder.add("a", load)] == [0, 1, 0]
    assert len(Pool(builder, CROP, "test")) == 2
    assert len(calls) == 2


def test_mapped_recordings_stay_where_they_are(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-3000, 3000, 50_000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype="PCM_16")
    file = mapped(tmp_path / "a.wav")
    assert file is not None
    made = [Pcm(file[100:5000]), Pcm(file[5000:30_000], 0.5), Pcm(file[30_000:30_100])]
    kept = pool(made)
    assert kept._buffers[0] is file  # not a copy
    items, starts = np.array([0, 1, 2]), np.array([7, 20_000, 99])
    for pcm, start, crop in zip(made, starts, kept.gather(items, starts, CROP).numpy(), strict=True):
        np.testing.assert_array_equal(crop, np.resize(np.roll(pcm.waveform(), -start), CROP))
