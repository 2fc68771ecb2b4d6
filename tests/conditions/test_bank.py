"""Noise drawn in batches: the shares of its sources, the sound of sparse clips, and who talks in the babble."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.audio.babble import Babble
from voxanchor.audio.noise import Choice, Clip, ClipCache, NoiseSource, RecordedNoise
from voxanchor.audio.pcm import Pcm, Pool, PoolBuilder
from voxanchor.audio.synthetic import SyntheticNoise
from voxanchor.conditions.bank import MixtureComponents, NoiseAugmenter, NoiseBank, clip_key
from voxanchor.errors import CorpusError

RATE = 16_000
CROP = 8_000
ROWS = 200


def write(path: Path, wave: np.ndarray) -> Clip:
    soundfile.write(path, wave.astype(np.float32), RATE, subtype="PCM_16")
    return Clip(str(path), "", 0.0, len(wave) / RATE)


def white(seed: int, seconds: float, level: float = 0.1) -> np.ndarray:
    return level * np.random.default_rng(seed).standard_normal(round(seconds * RATE)).clip(-3, 3)


def draw(
    source: NoiseSource, exclude: frozenset[str] = frozenset(), rows: int = ROWS, seed: int = 0
) -> tuple[np.ndarray, MixtureComponents]:
    builder = PoolBuilder()
    library = NoiseAugmenter(NoiseBank({"noise": source}), builder, CROP, [exclude])
    pool = Pool(builder, library.source_samples, "test")
    draws = np.random.default_rng(seed).random((rows, NoiseAugmenter.DRAWS))
    noise, layers = library.draw(pool, np.zeros(rows, np.int64), np.zeros(rows, np.int64), draws)
    return noise.numpy(), layers


def test_a_sparse_clip_is_always_heard(tmp_path: Path) -> None:
    wave = np.zeros(60 * RATE)
    wave[40 * RATE : 40 * RATE + 4000] = white(0, 0.25)
    noise, _ = draw(RecordedNoise([write(tmp_path / "sparse.wav", wave)], ClipCache()))
    assert (np.abs(noise).max(axis=1) > 0.05).all()


def test_a_quiet_floor_does_not_count_as_sound(tmp_path: Path) -> None:
    wave = white(1, 30.0, level=1e-4)
    wave[: 10 * RATE] += white(2, 10.0)
    noise, _ = draw(RecordedNoise([write(tmp_path / "floor.wav", wave)], ClipCache()))
    assert (noise.std(axis=1) > 0.01).all()


def test_short_clips_repeat_without_a_seam(tmp_path: Path) -> None:
    t = np.arange(3200) / RATE
    noise, _ = draw(RecordedNoise([write(tmp_path / "short.wav", 0.5 * np.sin(2 * np.pi * 500 * t))], ClipCache()))
    assert np.abs(np.diff(noise, axis=1)).max() < 0.2  # a click would jump by up to 1


def test_a_silent_clip_gives_zeros_and_no_error(tmp_path: Path) -> None:
    noise, _ = draw(RecordedNoise([write(tmp_path / "silent.wav", np.zeros(3 * RATE))], ClipCache()), rows=8)
    assert not noise.any()


def test_sources_are_drawn_by_their_shares(tmp_path: Path) -> None:
    loud = RecordedNoise([write(tmp_path / "a.wav", white(0, 3.0, 0.3))], ClipCache())
    quiet = RecordedNoise([write(tmp_path / "b.wav", white(1, 3.0, 0.01))], ClipCache())
    choice = Choice((loud, Choice((quiet, loud), (3, 1))), (0.2, 0.8))
    noise, _ = draw(choice, rows=2000)
    assert (noise.std(axis=1) < 0.05).mean() == pytest.approx(0.6, abs=0.04)


def test_composed_noise_is_the_same_for_the_next_library_and_composed_once() -> None:
    bank = NoiseBank({"noise": SyntheticNoise()})
    drawn, kept = [], []
    for _ in range(2):
        builder = PoolBuilder()
        library = NoiseAugmenter(bank, builder, CROP)
        pool = Pool(builder, CROP, "test")
        kept.append(dict(bank.composed))
        draws = np.random.default_rng(0).random((20, NoiseAugmenter.DRAWS))
        drawn.append(library.draw(pool, np.zeros(20, np.int64), np.full(20, -1), draws)[0].numpy())
    assert len(kept[0]) == 128
    assert all(kept[1][name] is pcm for name, pcm in kept[0].items())
    np.testing.assert_array_equal(drawn[0], drawn[1])


def silence() -> Pcm:
    return Pcm(np.zeros(1, np.int16))


def sampler(folder: Path, people: int, talkers: tuple[int, int], speeds: tuple[float, ...] = (1.0,)) -> Babble:
    clips = []
    for person in range(people):
        for take in range(2):
            clip = write(folder / f"{person}-{take}.wav", white(person, 2.0, 10.0 ** -(1 + person % 3)))
            clips.append(Clip(clip.path, f"p{person}", 0.0, clip.duration_s))
    return Babble(clips, ClipCache(), talkers, speeds)


def test_talkers_are_as_many_as_asked_at_equal_level_and_all_different(tmp_path: Path) -> None:
    noise, layers = draw(sampler(tmp_path, 8, (3, 6)))
    counts = np.bincount(layers.rows)
    assert set(counts) == {3, 4, 5, 6}
    # uncorrelated talkers of -26 dBFS each: their powers add
    powers = (noise**2).mean(axis=1)
    np.testing.assert_allclose(powers, counts * 10**-2.6, rtol=0.15)


@pytest.mark.parametrize("people", [2, 4, 8])
def test_the_voice_of_the_row_is_never_in_its_babble(tmp_path: Path, people: int) -> None:
    source = sampler(tmp_path, people, (3, 6))
    builder = PoolBuilder()
    heard = [
        frozenset({name}) for person in range(people) for name in (f"p{person}", str(tmp_path / f"{person}-1.wav"))
    ]
    library = NoiseAugmenter(NoiseBank({"babble": source}), builder, CROP, heard)
    pool = Pool(builder, CROP, "test")
    owner = {builder.add(clip_key(clip), silence): clip.speaker for clip in source.clips}
    for utterance in range(2 * people):
        person = utterance // 2
        draws = np.random.default_rng(person).random((50, NoiseAugmenter.DRAWS))
        _, layers = library.draw(pool, np.zeros(50, np.int64), np.full(50, utterance), draws)
        for row in range(50):
            talking = [owner[item] for item in layers.items[layers.rows == row].tolist()]
            assert f"p{person}" not in talking
            if people == 8:
                assert len(set(talking)) == len(talking)
            else:  # too few people: everybody talks before anybody talks twice
                assert len(set(talking)) == min(len(talking), people - 1)


def test_a_crowd_of_the_speaker_alone_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CorpusError, match="nobody is left"):
        draw(sampler(tmp_path, 1, (3, 6)), exclude=frozenset({"p0"}))


def test_talkers_can_be_played_faster(tmp_path: Path) -> None:
    t = np.arange(2 * RATE) / RATE
    clip = write(tmp_path / "tone.wav", 0.3 * np.sin(2 * np.pi * 1000 * t))
    noise, _ = draw(Babble([Clip(clip.path, "p", 0.0, 2.0)], ClipCache(), (1, 1), (1.25,)), rows=4)
    peaks = np.abs(np.fft.rfft(noise * np.hanning(CROP), axis=1)).argmax(axis=1) * RATE / CROP
    assert np.abs(peaks - 1250).max() < 5
