"""Recorded noise, babble, choices and banks: what is drawn, from whom, and what is refused."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.audio.babble import Babble
from voxanchor.audio.io import find_audio, probe
from voxanchor.audio.noise import Choice, Clip, ClipCache, Noise, NoiseSource, RecordedNoise
from voxanchor.audio.snr import active_frames, active_level_db
from voxanchor.audio.synthetic import SyntheticNoise
from voxanchor.conditions.bank import NoiseBank
from voxanchor.errors import CorpusError
from voxanchor.types import SAMPLE_RATE

SHARED_NOISE = Path(__file__).parents[2].parent / "shared" / "data" / "noise"


def tone_clip(folder: Path, name: str, hz: float, speaker: str = "", seconds: float = 1.0, level: float = 0.1) -> Clip:
    """A clip that is recognised by its frequency, whatever crop of it is heard."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    path = folder / name
    soundfile.write(path, (level * np.sin(2 * np.pi * hz * t)).astype(np.float32), SAMPLE_RATE, subtype="FLOAT")
    return Clip(str(path), speaker)


def heard_hz(noise: Noise) -> list[int]:
    """Frequencies of the tones in a draw of one second, to 100 Hz."""
    spectrum = np.abs(np.fft.rfft(noise.waveform * np.hanning(len(noise.waveform))))
    return sorted({round(int(i) / 100) * 100 for i in np.flatnonzero(spectrum > 0.25 * spectrum.max())})


@pytest.fixture
def talkers(tmp_path: Path) -> list[Clip]:
    """Eight speakers at 500 Hz, 1000 Hz, ... and at very different levels."""
    return [
        tone_clip(tmp_path, f"{i}.wav", 500.0 * (i + 1), f"speaker{i}", 1.5, 10.0 ** (-(i % 4) / 2) / 2)
        for i in range(8)
    ]


def test_babble_is_three_to_six_different_talkers_at_one_level(talkers: list[Clip]) -> None:
    babble = Babble(talkers, ClipCache())
    counts = []
    for seed in range(60):
        noise = babble.draw(16_000, np.random.default_rng(seed))
        tones = heard_hz(noise)  # within 12 dB of each other although the files differ by 30 dB
        counts.append(len(tones))
        assert noise.description == f"babble of {len(tones)} talkers"
        assert active_level_db(noise.waveform) == pytest.approx(-26.0 + 10 * np.log10(len(tones)), abs=0.5)
    assert set(counts) == {3, 4, 5, 6}
    assert np.bincount(counts, minlength=7)[3:].min() >= 6


def test_excluded_speakers_and_files_never_talk(talkers: list[Clip]) -> None:
    babble = Babble(talkers, ClipCache())
    exclude = frozenset({"speaker0", "speaker3", talkers[5].path})
    heard = {hz for seed in range(40) for hz in heard_hz(babble.draw(16_000, np.random.default_rng(seed), exclude))}
    assert heard == {1000, 1500, 2500, 3500, 4000}
    with pytest.raises(CorpusError, match="all 8 speakers are excluded"):
        babble.draw(16_000, np.random.default_rng(0), frozenset(f"speaker{i}" for i in range(8)))


def test_babble_makes_do_with_fewer_speakers_than_talkers(tmp_path: Path) -> None:
    clips = [tone_clip(tmp_path, f"{i}.wav", 500.0 * (i + 1), "same") for i in range(2)]
    noise = Babble(clips, ClipCache(), talkers=(4, 4)).draw(16_000, np.random.default_rng(0))
    assert noise.description == "babble of 4 talkers"
    unnamed = [Clip(clip.path) for clip in clips]
    babble = Babble(unnamed, ClipCache(), talkers=(2, 2))
    assert len(babble.speakers) == 2
    assert heard_hz(babble.draw(16_000, np.random.default_rng(0))) == [500, 1000]
    alone = babble.draw(16_000, np.random.default_rng(0), frozenset({clips[0].path}))
    assert heard_hz(alone) == [1000]


def test_changed_speeds_let_nobody_talk_with_their_own_voice(talkers: list[Clip]) -> None:
    babble = Babble(talkers[:1], ClipCache(), talkers=(1, 1), speeds=(0.8, 1.2))
    heard = {hz for seed in range(20) for hz in heard_hz(babble.draw(16_000, np.random.default_rng(seed)))}
    assert heard == {400, 600}


def test_a_silent_clip_is_passed_over_and_silent_speech_is_refused(tmp_path: Path) -> None:
    silent = tone_clip(tmp_path, "silent.wav", 100.0, "a", level=0.0)
    loud = tone_clip(tmp_path, "loud.wav", 1000.0, "a")
    for source in (RecordedNoise([silent, loud], ClipCache()), Babble([silent, loud], ClipCache(), talkers=(1, 1))):
        for seed in range(20):
            assert heard_hz(source.draw(16_000, np.random.default_rng(seed))) == [1000]
    for source in (RecordedNoise([silent], ClipCache()), Babble([silent], ClipCache())):
        with pytest.raises(CorpusError, match="remove silent files"):
            source.draw(16_000, np.random.default_rng(0))


def test_recorded_noise_draws_every_clip(tmp_path: Path) -> None:
    clips = [tone_clip(tmp_path, f"{i}.wav", 500.0 * (i + 1), seconds=0.3 * (i + 1)) for i in range(6)]
    source = RecordedNoise(clips, ClipCache())
    draws = [source.draw(16_000, np.random.default_rng(seed)) for seed in range(60)]
    assert {d.description for d in draws} == {f"{i}.wav" for i in range(6)}
    for draw in draws:
        assert heard_hz(draw) == [500 * (int(draw.description[0]) + 1)]
    kept = source.draw(16_000, np.random.default_rng(0), frozenset(c.path for c in clips[1:]))
    assert kept.description == "0.wav"
    with pytest.raises(CorpusError, match="excluded"):
        source.draw(16_000, np.random.default_rng(0), frozenset(c.path for c in clips))


def test_choice_follows_its_weights(tmp_path: Path) -> None:
    cache = ClipCache()
    low, high = (RecordedNoise([tone_clip(tmp_path, f"{hz}.wav", hz)], cache) for hz in (500.0, 2000.0))
    rng = np.random.default_rng(0)
    choice = Choice([low, high], [3.0, 1.0])
    share = np.mean([choice.draw(1_600, rng).description == "500.0.wav" for _ in range(800)])
    assert share == pytest.approx(0.75, abs=0.05)
    assert choice.fingerprint != Choice([low, high]).fingerprint
    assert choice.summary == "75 % recorded, 1 file; 25 % recorded, 1 file"
    for weights in ([1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]):
        with pytest.raises(CorpusError, match="one weight each"):
            Choice([low, high], weights)
    with pytest.raises(CorpusError, match="0 sources"):
        Choice([])


def test_sources_travel_to_workers_and_draw_the_same_there(talkers: list[Clip]) -> None:
    cache = ClipCache()
    bank = NoiseBank(
        {
            "noise": Choice([RecordedNoise(talkers, cache), SyntheticNoise()]),
            "babble": Babble(talkers[::-1], cache, speeds=(0.9, 1.1)),
        }
    )
    copy = pickle.loads(pickle.dumps(bank))
    assert copy.fingerprint == bank.fingerprint
    for kind in bank.kinds:
        for seed in range(5):
            here, there = (b.draw(kind, 9_000, np.random.default_rng(seed)) for b in (bank, copy))
            assert (here.waveform == there.waveform).all()


def test_fingerprints_name_what_is_drawn_from(talkers: list[Clip], tmp_path: Path) -> None:
    cache = ClipCache()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    moved = []
    for clip in talkers:
        target = elsewhere / clip.name
        target.write_bytes(Path(clip.path).read_bytes())
        moved.append(Clip(str(target), clip.speaker))
    base = Babble(talkers, cache)
    same: list[NoiseSource] = [Babble(moved, ClipCache()), Babble(talkers[::-1], cache)]
    other: list[NoiseSource] = [
        Babble(talkers[1:], cache),
        Babble(talkers, cache, talkers=(1, 6)),
        Babble(talkers, cache, speeds=(0.9,)),
        RecordedNoise(talkers, cache),
    ]
    assert {source.fingerprint for source in same} == {base.fingerprint}
    assert len({source.fingerprint for source in (base, *other)}) == 5
    here, there = base.draw(8_000, np.random.default_rng(0)), same[0].draw(8_000, np.random.default_rng(0))
    assert (here.waveform == there.waveform).all()


def test_a_bank_knows_its_kinds(talkers: list[Clip]) -> None:
    bank = NoiseBank({"white": SyntheticNoise(("white",)), "babble": Babble(talkers, ClipCache())})
    assert bank.kinds == ("babble", "white")
    assert bank.describe() == ["babble: 3 to 6 talkers out of 8 speakers (8 clips)", "white: synthetic, white"]
    with pytest.raises(CorpusError, match=r"'bable': there is babble, white; did you mean 'babble'\?"):
        bank.draw("bable", 100, np.random.default_rng(0))
    assert NoiseBank({"white": SyntheticNoise(("white",))}).fingerprint != bank.fingerprint


def test_sources_of_nothing_are_refused(talkers: list[Clip]) -> None:
    cache = ClipCache()
    with pytest.raises(CorpusError, match="at least one clip"):
        RecordedNoise([], cache)
    with pytest.raises(CorpusError, match="at least one clip"):
        Babble([], cache)
    with pytest.raises(CorpusError, match="at least one kind"):
        NoiseBank({})
    for numbers in ((0, 3), (4, 3)):
        with pytest.raises(CorpusError, match="smallest first"):
            Babble(talkers, cache, talkers=numbers)
    for speeds in ((), (0.1,), (1.0, 3.0)):
        with pytest.raises(CorpusError, match=r"between 0\.5 and 2"):
            Babble(talkers, cache, speeds=speeds)


@pytest.mark.skipif(not SHARED_NOISE.is_dir(), reason="the development recordings are not here")
@pytest.mark.parametrize("part", ["train", "test"])
def test_real_clips_are_always_heard(part: str) -> None:
    clips = [Clip(str(p), duration_s=probe(p).duration_s) for p in find_audio(SHARED_NOISE / part)]
    cache = ClipCache()
    rng = np.random.default_rng(0)
    for clip in clips[::4]:
        source = RecordedNoise([clip], cache)
        whole_db = active_level_db(cache.read(clip)) if clip.duration_s and clip.duration_s < 60 else None
        for length in (4_800, 24_000, 96_000):
            waveform = source.draw(length, rng).waveform
            assert active_frames(waveform).any()
            if whole_db is not None:  # what is heard is the clip's sound, not the hiss between
                loudest = (waveform[: length // 320 * 320].reshape(-1, 320).astype(np.float64) ** 2).mean(axis=1).max()
                assert 10 * np.log10(loudest) > whole_db - 16.0
