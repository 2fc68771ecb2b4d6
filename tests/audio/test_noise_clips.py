"""Clips: cached, cut where something is heard, looped without a seam."""

import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.babble import Babble
from voxanchor.audio.noise import (
    CLIP_DRAWS,
    Clip,
    ClipCache,
    PooledClips,
    ReadClips,
    RecordedNoise,
    clips_digest,
    crop_starts,
    piece_of,
    pieces_of,
    place,
    stable_order,
    stretch,
)
from voxanchor.audio.pcm import Pool, PoolBuilder, encode
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


def drawn(x: Waveform, length: int, draw: float) -> Waveform:
    """The stretch of a sound that a number from 0 to 1 chooses."""
    starts = crop_starts(active_frames(x), len(x), length)
    return stretch(encode(x), int(starts[int(draw * len(starts))]), length)


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
    crop = drawn(x, length, float(np.random.default_rng(seed).random()))
    assert crop.shape == (length,)
    assert crop.dtype == np.float32
    assert np.abs(crop).max() > 0.02


@given(length=st.integers(1, 700), draw=st.floats(0, 0.999), total=st.integers(320, 5_000), at=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_crops_of_a_frame_or_more_hold_sound(length: int, draw: float, total: int, at: float) -> None:
    x = np.zeros(total, np.float32)
    first = int(at * (total - 320))
    x[first : first + 320] = noise(0, 320)
    crop = drawn(x, length, draw)
    assert crop.shape == (length,)
    if length >= 320:  # a shorter one may miss the sound of an active frame
        assert crop.any()


def test_silence_has_no_stretch() -> None:
    for length in (100, 10_000):
        assert len(crop_starts(np.zeros(20, np.bool_), 6_400, length)) == 0


def test_crops_are_uniform_over_a_clip_that_is_heard_everywhere() -> None:
    starts = np.asarray(crop_starts(np.ones(500, np.bool_), 160_000, 16_000))
    assert (starts[0], starts[-1]) == (0, 144_000)
    assert np.std(np.histogram(starts, bins=5)[0]) < 2
    x = noise(0, 16_000)
    assert (drawn(x, 16_000, 0.7) == x).all()


@given(seed=st.integers(0, 10_000), size=st.integers(400, 5_000), times=st.floats(1.01, 8.0), draw=st.floats(0, 0.999))
@settings(max_examples=60, deadline=None)
def test_looping_gives_the_length_asked_for(seed: int, size: int, times: float, draw: float) -> None:
    x = noise(seed, size)
    length = int(size * times) + 1
    out = drawn(x, length, draw)
    assert out.shape == (length,)
    assert np.abs(out).max() <= np.sqrt(2) * np.abs(x).max() + 1e-6


def test_loops_have_no_click() -> None:
    """A slow sine cut at its crest jumps by 1 where it is repeated bluntly."""
    x = np.sin(2 * np.pi * 20.25 * np.arange(16_000) / 16_000).astype(np.float32)
    steepest = np.abs(np.diff(x)).max()
    for draw in (0.0, 0.3, 0.9):
        out = drawn(x, 80_000, draw)
        assert np.abs(np.diff(out)).max() < 2.5 * steepest


def test_loops_have_no_dip_in_level() -> None:
    draws = np.random.default_rng(0).random(60)
    out = np.stack([drawn(noise(seed, 16_000), 160_000, float(draw)) for seed, draw in enumerate(draws)])
    power_db = 10 * np.log10((out.astype(np.float64) ** 2).reshape(60, -1, 160).mean(axis=(0, 2)) / 0.01)
    assert np.abs(power_db).max() < 0.6  # a linear cross-fade dips by 3 dB
    assert len(np.unique(out[:, 0])) > 50


class Listed:
    """Sounds by their starts, as many clips of as many pieces as wanted."""

    def __init__(self, starts: dict[tuple[int, int], list[int]]) -> None:
        self.found = starts

    def starts(self, clip: int, piece: int, length: int) -> list[int]:
        return self.found.get((clip, piece), [])

    def gather(self, *_: object) -> torch.Tensor:
        raise NotImplementedError


def test_for_silence_and_for_what_is_barred_the_next_piece_stands_in() -> None:
    sounds, pieces = Listed({(0, 1): [7, 8], (2, 0): [5], (3, 0): [9]}), np.array([3, 1, 1, 1])
    assert place(sounds, pieces, range(4), (0.0, 0.4, 0.9), 10) == (0, 1, 8, False)
    assert place(sounds, pieces, range(4), (0.0, 0.9, 0.0), 10) == (0, 1, 7, False)  # 2, then 0, then 1
    assert place(sounds, pieces, range(4), (0.3, 0.0, 0.0), 10) == (2, 0, 5, False)  # clip 1 is silent
    assert place(sounds, pieces, range(4), (0.3, 0.0, 0.0), 10, {2}) == (3, 0, 9, False)
    assert place(sounds, pieces, range(1, 3), (0.9, 0.0, 0.0), 10, {2}) == (1, 0, 0, True)


def test_clips_in_a_pool_are_drawn_as_clips_that_are_read(tmp_path: Path) -> None:
    """The same numbers choose the same stretches, from long recordings in pieces, from crops and from loops."""
    clips = []
    for number, seconds in enumerate((70.0, 3.0, 0.3)):
        x = noise(number, round(16_000 * seconds))
        x[len(x) // 3 : len(x) // 2] = 0.0
        soundfile.write(tmp_path / f"{number}.wav", x, 16_000, subtype="PCM_16")
        clips.append(Clip(str(tmp_path / f"{number}.wav"), duration_s=seconds))
    source, builder = RecordedNoise(clips, ClipCache()), PoolBuilder()
    pooled = PooledClips(np.array([builder.add(clip.path, clip.pcm) for clip in source.drawn]), source.pieces)
    pool = Pool(builder, 8_000, "test")
    draws = np.random.default_rng(0).random((60, CLIP_DRAWS))
    barred = [frozenset({0}) if row % 3 == 0 else frozenset() for row in range(60)]
    read, one = source.compose(ReadClips(source.clips, ClipCache()), 8_000, barred, draws)
    held, other = source.compose(pooled.of(pool, None), 8_000, barred, draws)
    np.testing.assert_array_equal(read, held.numpy())
    assert (one.clips == other.clips).all()
    assert set(one.clips.tolist()) == {0, 1, 2}
    assert set(one.clips[::3].tolist()) == {1, 2}
    assert not one.silent.any()
    talk = Babble([replace(clip, speaker=clip.name) for clip in clips], ClipCache(), (2, 3), (0.8, 1.0, 1.25))
    items = np.array([builder.add(clip.path, clip.pcm) for clip in talk.drawn])
    pool = Pool(builder, 10_100, "test")
    draws = np.random.default_rng(1).random((20, talk.draws))
    none = [frozenset[int]()] * 20
    read, _ = talk.compose(ReadClips(talk.drawn, ClipCache()), 8_000, none, draws)
    held, _ = talk.compose(PooledClips(items, talk.pieces).of(pool, None), 8_000, none, draws)
    np.testing.assert_allclose(read, held.numpy(), atol=1e-6)


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
    long = Clip("a.wav", "anna", start_s=10.0, duration_s=200.0)
    pieces = [piece_of(long, piece) for piece in range(pieces_of(long))]
    assert [p.start_s for p in pieces] == [10.0 + 30 * i for i in range(6)]
    assert {(p.path, p.speaker, p.duration_s) for p in pieces} == {("a.wav", "anna", 30.0)}
    for short in (Clip("a.wav", duration_s=59.0), Clip("a.wav")):
        assert (pieces_of(short), piece_of(short, 0)) == (1, short)


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
