"""Clips: cached, cut where something is heard, looped without a seam."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.noise import (
    Clip,
    ClipCache,
    at_speed,
    clips_digest,
    crop_or_loop,
    random_chunk,
    source_length,
    stable_order,
)
from voxanchor.audio.pcm import encode
from voxanchor.audio.snr import active_frames
from voxanchor.errors import AudioError
from voxanchor.types import Waveform


def noise(seed: int, length: int) -> Waveform:
    """Noise that is exact in 16 bits."""
    samples = np.rint(3277 * np.random.default_rng(seed).standard_normal(length)) / 32768
    return samples.astype(np.float32)


def write_clip(path: Path, waveform: Waveform) -> Clip:
    soundfile.write(path, waveform, 16_000, subtype="FLOAT")
    return Clip(str(path))


@given(
    seed=st.integers(0, 10_000),
    total=st.integers(2_000, 60_000),
    length=st.integers(700, 20_000),
    sound=st.floats(0, 1),
)
@settings(max_examples=60, deadline=None)
def test_a_crop_is_never_silent_while_the_clip_is_not(seed: int, total: int, length: int, sound: float) -> None:
    """One 60 ms burst in a long, nearly silent clip."""
    x = noise(seed, total) * np.float32(1e-4)
    at = int(sound * (total - 960))
    x[at : at + 960] = noise(seed + 1, 960)
    crop = crop_or_loop(x, length, np.random.default_rng(seed))
    assert crop.shape == (length,)
    assert crop.dtype == np.float32
    assert np.abs(crop).max() > 0.02


@given(seed=st.integers(0, 10_000), length=st.integers(1, 700))
@settings(max_examples=30, deadline=None)
def test_crops_shorter_than_a_frame_are_not_silent_either(seed: int, length: int) -> None:
    x = np.zeros(5_000, np.float32)
    x[2_345] = 1.0
    assert crop_or_loop(x, length, np.random.default_rng(seed)).any()


def test_crops_are_uniform_over_a_clip_that_is_heard_everywhere() -> None:
    ramp = np.linspace(0.5, 1.0, 160_000, dtype=np.float32) * np.tile([1, -1], 80_000).astype(np.float32)
    rng = np.random.default_rng(0)
    starts = np.array([np.flatnonzero(ramp == crop_or_loop(ramp, 16_000, rng)[0])[0] for _ in range(400)])
    assert starts.min() < 5_000
    assert starts.max() > 139_000
    assert np.std(np.histogram(starts, bins=5)[0]) < 25
    assert (crop_or_loop(ramp, 160_000, rng) == ramp).all()


@given(seed=st.integers(0, 10_000), size=st.integers(1, 5_000), times=st.floats(1.01, 8.0))
@settings(max_examples=60, deadline=None)
def test_looping_gives_the_length_asked_for(seed: int, size: int, times: float) -> None:
    x = noise(seed, size)
    length = int(size * times) + 1
    out = crop_or_loop(x, length, np.random.default_rng(seed))
    assert out.shape == (length,)
    assert np.abs(out).max() <= np.sqrt(2) * np.abs(x).max() + 1e-6


@pytest.mark.parametrize("total", [500, 8_000, 8_001, 50_000])
def test_16_bit_sound_is_fitted_as_the_waveform_it_stands_for(total: int) -> None:
    for x in (noise(1, total), np.zeros(total, np.float32)):
        whole, kept = (crop_or_loop(sound, 8_000, np.random.default_rng(2)) for sound in (x, encode(x)))
        assert kept.dtype == np.float32
        assert (whole == kept).all()


def test_loops_have_no_click() -> None:
    """A slow sine cut at its crest jumps by 1 where it is repeated bluntly."""
    x = np.sin(2 * np.pi * 20.25 * np.arange(16_000) / 16_000).astype(np.float32)
    steepest = np.abs(np.diff(x)).max()
    for seed in range(5):
        out = crop_or_loop(x, 80_000, np.random.default_rng(seed))
        assert np.abs(np.diff(out)).max() < 2.5 * steepest


def test_loops_have_no_dip_in_level() -> None:
    out = np.stack([crop_or_loop(noise(seed, 16_000), 160_000, np.random.default_rng(seed)) for seed in range(60)])
    power_db = 10 * np.log10((out.astype(np.float64) ** 2).reshape(60, -1, 160).mean(axis=(0, 2)) / 0.01)
    assert np.abs(power_db).max() < 0.6  # a linear cross-fade dips by 3 dB
    starts = out[:, 0]
    assert len(np.unique(starts)) == 60


def test_fit_is_decided_by_the_generator() -> None:
    x = noise(0, 50_000)
    a, b = (crop_or_loop(x, 8_000, np.random.default_rng(3)) for _ in range(2))
    assert (a == b).all()
    assert (a == crop_or_loop(x, 8_000, np.random.default_rng(3), active=active_frames(x))).all()
    assert not (a == crop_or_loop(x, 8_000, np.random.default_rng(4))).all()
    with pytest.raises(AudioError, match="cannot be fitted"):
        crop_or_loop(x[:0], 10, np.random.default_rng(0))
    with pytest.raises(AudioError, match="cannot be fitted"):
        crop_or_loop(x, 0, np.random.default_rng(0))


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.0, 1.1, 1.25])
def test_speed_moves_the_pitch(speed: float) -> None:
    length = 16_000
    t = np.arange(source_length(length, speed)) / 16_000
    out = at_speed(np.sin(2 * np.pi * 500 * t).astype(np.float32), speed, length)
    assert out.shape == (length,)
    assert out.dtype == np.float32
    assert np.abs(np.fft.rfft(out * np.hanning(length))).argmax() == pytest.approx(500 * speed, abs=1)


def test_the_cache_reads_a_clip_once_and_keeps_to_its_limit(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{i}.wav", noise(i, 10_000)) for i in range(4)]
    cache = ClipCache(max_bytes=3 * 20_100)
    first = cache.pcm(clips[0])
    assert cache.pcm(clips[0]) is first
    assert first.samples.nbytes == 20_000
    assert (cache.read(clips[0]) == noise(0, 10_000)).all()
    assert (cache.active(clips[0]) == active_frames(noise(0, 10_000))).all()
    for clip in (clips[1], clips[2], clips[0], clips[3]):  # 1 is now the oldest, and goes
        cache.read(clip)
    for clip in clips:
        Path(clip.path).unlink()
    assert cache.pcm(clips[0]) is first
    cache.read(clips[2]), cache.read(clips[3])
    with pytest.raises(AudioError, match="no such file"):
        cache.read(clips[1])


def test_a_clip_larger_than_the_cache_is_still_read(tmp_path: Path) -> None:
    x = noise(0, 10_000)
    clip = write_clip(tmp_path / "a.wav", x)
    assert (ClipCache(max_bytes=10).read(clip) == x).all()


def test_stretches_of_a_file_are_clips_of_their_own(tmp_path: Path) -> None:
    x = noise(0, 32_000)
    clip = write_clip(tmp_path / "a.wav", x)
    cache = ClipCache()
    stretch = Clip(clip.path, start_s=0.5, duration_s=1.0)
    assert (cache.read(stretch) == x[8_000:24_000]).all()
    assert (cache.read(clip) == x).all()


def test_a_cache_is_shared_by_threads_and_travels_to_workers(tmp_path: Path) -> None:
    clips = [write_clip(tmp_path / f"{i}.wav", noise(i, 4_000)) for i in range(8)]
    cache = ClipCache(max_bytes=4 * 8_100)
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(cache.read, clips * 20))
    for index, waveform in enumerate(read):
        assert (waveform == noise(index % 8, 4_000)).all()
    copy = pickle.loads(pickle.dumps(cache))
    assert (copy.read(clips[0]) == cache.read(clips[0])).all()
    assert len(pickle.dumps(cache)) < 1_000


def test_long_clips_are_drawn_from_in_pieces() -> None:
    rng = np.random.default_rng(0)
    long = Clip("a.wav", "anna", start_s=10.0, duration_s=200.0)
    pieces = {random_chunk(long, rng) for _ in range(200)}
    assert {p.start_s for p in pieces} == {10.0 + 30 * i for i in range(6)}
    assert {(p.path, p.speaker, p.duration_s) for p in pieces} == {("a.wav", "anna", 30.0)}
    for short in (Clip("a.wav", duration_s=59.0), Clip("a.wav")):
        assert random_chunk(short, rng) == short


def test_digest_and_order_do_not_depend_on_where_the_folder_lies(tmp_path: Path) -> None:
    here, there = tmp_path / "z", tmp_path / "a"
    for folder in (here, there):
        folder.mkdir()
        for name in ("1.wav", "2.wav"):
            write_clip(folder / name, noise(0, 1_000))
    one, two = ([Clip(str(folder / name), "x") for name in ("1.wav", "2.wav")] for folder in (here, there))
    assert clips_digest(one) == clips_digest(two[::-1])
    assert [c.name for c in stable_order(one)] == [c.name for c in stable_order(two[::-1])]
    write_clip(there / "2.wav", noise(0, 1_001))
    assert clips_digest(one) != clips_digest(two)
    assert clips_digest(one) != clips_digest([Clip(one[0].path, "y"), one[1]])
    with pytest.raises(AudioError, match="No such file"):
        clips_digest([Clip(str(tmp_path / "absent.wav"))])
