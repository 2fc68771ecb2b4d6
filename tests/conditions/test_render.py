"""A rendered recording is its condition, and a pure function of its arguments."""

import pickle
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.audio.babble import Babble
from voxanchor.audio.noise import Clip, ClipCache
from voxanchor.audio.rooms import Rooms, reverberate, room
from voxanchor.audio.snr import active_level_db, high_pass
from voxanchor.audio.synthetic import SyntheticMusic, SyntheticNoise
from voxanchor.conditions.bank import NoiseBank
from voxanchor.conditions.render import Rendered, render
from voxanchor.conditions.spec import Channel, Condition, Reverb
from voxanchor.conditions.suites import suite
from voxanchor.errors import AudioError, CorpusError
from voxanchor.rng import generator
from voxanchor.types import Waveform


@pytest.fixture
def bank(tmp_path: Path) -> NoiseBank:
    clips = []
    for index in range(5):
        path = tmp_path / f"{index}.wav"
        talk = 0.1 * np.random.default_rng(index).standard_normal(20_000) * (np.arange(20_000) % 6_000 < 4_000)
        soundfile.write(path, talk.astype(np.float32), 16_000, subtype="FLOAT")
        clips.append(Clip(str(path), f"speaker{index}"))
    return NoiseBank(
        {
            "noise": SyntheticNoise(),
            "music": SyntheticMusic(pieces=2, piece_s=3.0),
            "babble": Babble(clips, ClipCache()),
        },
        Rooms([Clip(response(tmp_path / "hall.wav"), "", 0.0, 0.6)]),
    )


def response(path: Path) -> str:
    time_s = np.arange(9_600) / 16_000
    wave = 0.1 * np.random.default_rng(9).standard_normal(9_600) * 10.0 ** (-3.0 * time_s / 0.6)
    wave[0] = 0.5
    soundfile.write(path, wave, 16_000)
    return str(path)


def speech(seed: int = 0, length: int = 24_000) -> Waveform:
    rng = np.random.default_rng(seed)
    return (0.05 * rng.standard_normal(length) * (np.arange(length) % 8_000 < 6_000)).astype(np.float32)


def render_one(bank: NoiseBank, index: int, condition: Condition) -> Rendered:
    return render(speech(index), condition, bank, generator(7, 0, f"utterance{index}", condition.name))


@pytest.mark.parametrize("condition", suite("noise").conditions, ids=lambda condition: condition.name)
def test_every_condition_of_the_suite_is_what_it_says(bank: NoiseBank, condition: Condition) -> None:
    x = speech()
    rendered = render(x, condition, bank, np.random.default_rng(0))
    assert rendered.condition == condition
    assert rendered.waveform.dtype == np.float32
    assert rendered.peak == np.abs(rendered.waveform).max()
    if condition.is_clean:
        assert (rendered.waveform == x).all()
        assert rendered.snr_db is None
        assert rendered.description == "clean"
    else:
        added = rendered.waveform.astype(np.float64) - x
        assert condition.snr_db is not None
        assert active_level_db(x) - active_level_db(added, filtered=True) == pytest.approx(condition.snr_db, abs=0.01)
        assert rendered.snr_db == pytest.approx(condition.snr_db, abs=1e-6)
        assert rendered.description not in ("", "clean")


def test_a_measured_room_is_heard_as_a_convolution(bank: NoiseBank, tmp_path: Path) -> None:
    x = speech()
    rendered = render(x, Condition(room=Reverb()), bank, np.random.default_rng(0))
    taps = room(soundfile.read(tmp_path / "hall.wav", dtype="float32")[0], "").taps
    np.testing.assert_allclose(rendered.waveform, reverberate(x, taps), atol=1e-5)
    assert rendered.waveform.shape == x.shape
    assert rendered.snr_db is None
    assert rendered.peak == np.abs(rendered.waveform).max()
    assert rendered.description.startswith("hall.wav (RT60 0.")


def test_a_synthetic_room_is_drawn_anew_for_every_generator(bank: NoiseBank) -> None:
    x, condition = speech(), Condition(room=Reverb(0.6))
    one, same, other = (render(x, condition, bank, np.random.default_rng(seed)) for seed in (0, 0, 1))
    assert (one.waveform == same.waveform).all()
    assert (one.waveform != other.waveform).any()
    assert one.description.startswith("synthetic room (RT60 0.")


@pytest.mark.parametrize("channel", ["telephone", "gsm", "clipped_3db"])
def test_the_channel_comes_after_the_noise_whose_ratio_it_leaves(bank: NoiseBank, channel: str) -> None:
    x = speech()
    before = render(x, Condition.parse("reverb_0.4s+noise_5db"), bank, np.random.default_rng(0))
    after = render(x, Condition.parse(f"reverb_0.4s+noise_5db+{channel}"), bank, np.random.default_rng(0))
    line = Channel.parse(channel)
    assert line is not None
    assert (after.waveform == line.apply(before.waveform)).all()
    assert after.snr_db == before.snr_db
    assert after.peak == np.abs(after.waveform).max()
    assert after.description == f"{before.description}; {line.description}"


def test_a_channel_alone_draws_nothing(bank: NoiseBank) -> None:
    drawn, untouched = np.random.default_rng(0), np.random.default_rng(0)
    rendered = render(speech(), Condition.parse("mulaw"), bank, drawn)
    assert drawn.random() == untouched.random()
    assert (rendered.snr_db, rendered.description) == (None, "telephone band, mu-law")
    with pytest.raises(AudioError, match="finite"):
        render(np.full(400, np.nan, np.float32), Condition.parse("mulaw"), bank, drawn)


@pytest.mark.parametrize("kind", ["noise", "babble"])
@pytest.mark.parametrize("rt60_s", [None, 0.4])
def test_noise_is_added_to_the_speech_as_heard_in_the_room(bank: NoiseBank, kind: str, rt60_s: float | None) -> None:
    x = speech()
    drawn = np.random.default_rng(0)
    heard = reverberate(x, bank.rooms.draw(rt60_s, drawn).taps)
    noise = bank.draw(kind, len(x), drawn)
    rendered = render(x, Condition(kind, 5.0, Reverb(rt60_s)), bank, np.random.default_rng(0))
    added = rendered.waveform.astype(np.float64) - heard
    assert active_level_db(heard) - active_level_db(added, filtered=True) == pytest.approx(5.0, abs=0.01)
    assert np.corrcoef(added, high_pass(noise.waveform))[0, 1] > 0.9999
    assert rendered.snr_db == pytest.approx(5.0, abs=1e-6)
    assert rendered.description.endswith(f"; {noise.description}")


def test_measured_rooms_that_are_not_there_are_asked_for(bank: NoiseBank) -> None:
    bare = NoiseBank({"noise": SyntheticNoise()})
    with pytest.raises(CorpusError, match="--rooms"):
        render(speech(), Condition(room=Reverb()), bare, np.random.default_rng(0))
    render(speech(), Condition(room=Reverb(0.3)), bare, np.random.default_rng(0))


def test_clean_draws_nothing(bank: NoiseBank) -> None:
    used, fresh = np.random.default_rng(0), np.random.default_rng(0)
    render(speech(), Condition(), bank, used)
    assert used.random() == fresh.random()


@pytest.mark.parametrize("workers", [1, 4])
def test_rendering_is_the_same_in_any_number_of_processes(bank: NoiseBank, workers: int) -> None:
    jobs = [
        (i, condition)
        for i in range(3)
        for condition in (*suite("noise").conditions[1::5], *suite("reverb").conditions[2::2])
    ]
    here = [render_one(bank, *job) for job in jobs]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        there = list(pool.map(partial(render_one, bank), *zip(*jobs, strict=True)))
    for a, b in zip(here, there, strict=True):
        assert (a.waveform == b.waveform).all()
        assert (a.snr_db, a.peak, a.description) == (b.snr_db, b.peak, b.description)


def test_utterances_and_conditions_meet_different_noise(bank: NoiseBank) -> None:
    def added(seed: int, index: int, condition: str) -> Waveform:
        drawn = generator(seed, 0, index, condition)
        return render(speech(), Condition("noise", 0.0), bank, drawn).waveform - speech()

    reference = added(1, 1, "a")
    for other in (added(2, 1, "a"), added(1, 2, "a"), added(1, 1, "b")):
        assert abs(np.corrcoef(reference, other)[0, 1]) < 0.5
    assert (reference == added(1, 1, "a")).all()


def test_excluded_speakers_are_passed_on_to_the_babble(bank: NoiseBank) -> None:
    everybody = frozenset(f"speaker{i}" for i in range(5))
    with pytest.raises(CorpusError, match="excluded"):
        render(speech(), Condition("babble", 5.0), bank, np.random.default_rng(0), everybody)
    render(speech(), Condition("noise", 5.0), bank, np.random.default_rng(0), everybody)


def test_what_cannot_be_rendered_is_refused(bank: NoiseBank) -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(AudioError, match="speech is digital silence"):
        render(np.zeros(16_000, np.float32), Condition("noise", 0.0), bank, rng)
    for condition in (Condition(), Condition("noise", 0.0)):
        with pytest.raises(AudioError, match="empty recording"):
            render(np.zeros(0, np.float32), condition, bank, rng)
    with pytest.raises(CorpusError, match="no noise of kind 'traffic'"):
        render(speech(), Condition("traffic", 0.0), bank, rng)


def test_what_was_rendered_can_be_sent_between_processes(bank: NoiseBank) -> None:
    rendered = render(speech(), Condition("music", 3.0), bank, np.random.default_rng(0))
    assert pickle.loads(pickle.dumps(rendered)).snr_db == rendered.snr_db
