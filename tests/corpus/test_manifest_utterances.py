"""Utterances made of parts: what reading, cropping and joining give."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.audio.pcm import encode
from voxanchor.corpus.manifest import Part, Utterance
from voxanchor.errors import AudioError, CorpusError

RATE = 16_000


def ramp(path: Path, start: float, seconds: float) -> Path:
    """Write a file in which every sample tells its own position; it is finer than 16 bits."""
    samples = start + np.arange(round(seconds * RATE), dtype=np.float32) / (1 << 20)
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Utterance:
    folder = tmp_path_factory.mktemp("parts")
    paths = [ramp(folder / f"{k}.wav", 0.1 + 0.2 * k, 1.0) for k in range(3)]
    parts = (Part(str(paths[0]), 0.25, 0.5), Part(str(paths[1]), 0.0, 0.3), Part(str(paths[2]), 0.1, 0.9))
    return Utterance("u", "s", 1.7, parts)


def test_a_whole_file_is_read_unchanged(tmp_path: Path) -> None:
    path = ramp(tmp_path / "a.wav", 0.0, 0.5)
    whole = Utterance("a", "s", 0.5, (Part(str(path)),))
    np.testing.assert_allclose(whole.read(), soundfile.read(path, dtype="float32")[0], atol=2e-7)  # half a 16-bit step
    np.testing.assert_array_equal(whole.read(0.1, 0.2), whole.read()[1600:4800])
    np.testing.assert_array_equal(whole.read(0.3), whole.read()[4800:])


def test_parts_follow_one_another_and_fade_only_where_they_meet(three: Utterance) -> None:
    waveform = three.read()
    assert waveform.dtype == np.float32
    assert len(waveform) == round(1.7 * RATE)
    joins = [round(0.5 * RATE), round(0.8 * RATE)]
    expected = np.concatenate(
        [
            0.1 + np.arange(4000, 12000) / (1 << 20),
            0.3 + np.arange(0, 4800) / (1 << 20),
            0.5 + np.arange(1600, 16000) / (1 << 20),
        ]
    )
    faded = np.zeros(len(waveform), dtype=bool)
    for join in joins:
        faded[join - 80 : join + 80] = True
        assert abs(waveform[join - 1]) < 0.01  # no step at the join
        assert abs(waveform[join]) < 0.01
    np.testing.assert_allclose(waveform[~faded], expected[~faded], atol=0.6 / 32768)  # heard in 16 bits
    assert np.all(np.abs(waveform[faded]) < expected[faded])


@given(st.integers(0, 27_199), st.integers(1, 27_200))
@settings(max_examples=40, deadline=None)
def test_a_crop_is_the_same_stretch_of_the_whole(three: Utterance, first: int, count: int) -> None:
    count = min(count, 27_200 - first)
    crop = three.read(first / RATE, count / RATE)
    np.testing.assert_array_equal(crop, three.read()[first : first + count])


def test_a_crop_reads_only_the_parts_it_touches(three: Utterance) -> None:
    broken = Utterance("u", "s", 1.4, (*three.parts[:2], Part("/nowhere/x.wav", 0.0, 0.6)))
    assert len(broken.read(0.2, 0.5)) == 8000
    with pytest.raises(AudioError, match=r"x\.wav"):
        broken.read()


def test_an_utterance_cut_out_of_another_holds_its_samples(three: Utterance) -> None:
    parts = three.crop(0.55, 0.2)  # inside the second part
    assert [(p.path, round(p.start_s, 6), round(p.duration_s or 0, 6)) for p in parts] == [
        (three.parts[1].path, 0.05, 0.2)
    ]
    inner = Utterance("v", "s", 0.2, parts)
    np.testing.assert_array_equal(inner.read(), three.read(0.55, 0.2))


@pytest.mark.parametrize(("start_s", "duration_s"), [(1.7, None), (1.0, 1.0), (-0.1, 0.5), (0.0, 0.0)])
def test_a_crop_outside_is_refused(three: Utterance, start_s: float, duration_s: float | None) -> None:
    with pytest.raises(CorpusError, match="outside"):
        three.read(start_s, duration_s)


def test_a_crop_stays_inside_its_part_though_the_file_goes_on(tmp_path: Path) -> None:
    path = ramp(tmp_path / "a.wav", 0.0, 2.0)
    part = Utterance("a", "s", 0.5, (Part(str(path), 1.0, 0.5),))
    assert len(part.read(0.2)) == round(0.3 * RATE)
    with pytest.raises(CorpusError, match="outside"):
        part.read(0.2, 0.5)


def test_parts_must_state_their_lengths() -> None:
    with pytest.raises(CorpusError, match="no parts"):
        Utterance("u", "s", 1.0, ())
    with pytest.raises(CorpusError, match="duration_s"):
        Utterance("u", "s", 1.0, (Part("a"), Part("b", 0.0, 1.0)))


@pytest.mark.parametrize("speed", [0.8, 0.9, 1.1, 1.25])
def test_another_speed_moves_pitch_and_tempo_and_makes_another_speaker(tmp_path: Path, speed: float) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, 0.5 * np.sin(2 * np.pi * 1000.0 * np.arange(2 * RATE) / RATE), RATE, subtype="FLOAT")
    utterance = Utterance("a/tone.wav", "a", 2.0, (Part(str(path)),), recording="a/tone.wav")
    played = utterance.played_at(speed)
    assert (played.id, played.speaker) == (f"a/tone.wav@{speed:g}", f"a@{speed:g}")
    assert played.recording != utterance.recording
    waveform = played.read()
    assert waveform.dtype == np.float32
    assert abs(len(waveform) - played.duration_s * RATE) <= 1
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    assert np.argmax(spectrum) * RATE / len(waveform) == pytest.approx(1000.0 * speed, abs=2.0)
    crop = played.read(0.5, 0.5)
    assert len(crop) == round(0.5 * RATE)
    np.testing.assert_allclose(crop[200:-200], waveform[8000:16000][200:-200], atol=2e-2)


def test_a_speed_that_is_no_voice_is_refused(three: Utterance) -> None:
    with pytest.raises(CorpusError, match="speed"):
        three.played_at(3.0)


def pcm_file(path: Path, seconds: float, **options: str) -> Path:
    samples = np.random.default_rng(7).integers(-32768, 32768, round(seconds * RATE), dtype=np.int16)
    soundfile.write(path, samples, RATE, **options)
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.flac"])
def test_16_bit_samples_come_bit_for_bit_whole_or_cut(tmp_path: Path, name: str) -> None:
    path = pcm_file(tmp_path / name, 1.0)
    samples = soundfile.read(path, dtype="int16")[0]
    whole = Utterance("a", "s", 1.0, (Part(str(path)),))
    cut = Utterance("b", "s", 0.5, (Part(str(path), 0.25, 0.5),))
    assert whole.pcm().gain == cut.pcm().gain == 1.0
    np.testing.assert_array_equal(whole.pcm().samples, samples)
    np.testing.assert_array_equal(cut.pcm().samples, samples[4000:12000])
    for utterance in (whole, cut):
        np.testing.assert_array_equal(utterance.pcm().waveform(), utterance.read())


def test_joined_and_played_utterances_are_encoded_as_they_are_heard(three: Utterance) -> None:
    for utterance in (three, replace(three, parts=three.parts[:1], duration_s=0.5).played_at(1.1)):
        np.testing.assert_array_equal(utterance.pcm().waveform(), encode(utterance.read()).waveform())


@pytest.mark.parametrize(("name", "rate"), [("a.wav", 44_100), ("a.mp3", RATE), ("a.ogg", 48_000)])
def test_a_stretch_of_a_recording_is_the_same_samples_whoever_cut_it(tmp_path: Path, name: str, rate: int) -> None:
    path = tmp_path / name
    soundfile.write(path, 0.3 * np.random.default_rng(1).standard_normal(3 * rate), rate)
    whole = Utterance("a", "s", 3.0, (Part(str(path)),))
    cut = Utterance("b", "s", 1.0, whole.crop(0.7, 1.0))
    np.testing.assert_array_equal(cut.read(), whole.read()[11_200:27_200])
    np.testing.assert_array_equal(cut.read(), whole.read(0.7, 1.0))
    np.testing.assert_array_equal(cut.pcm().waveform(), cut.read())
