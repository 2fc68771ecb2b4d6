"""Which channel is heard, and channels that cancel, take turns or are dead."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

from voxanchor.audio import io, pcm
from voxanchor.audio.downmix import Channel, ChannelMeter, Channels, channel_of, channels_of
from voxanchor.corpus.checks import check_files
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import AudioError, RecipeError
from voxanchor.verification.recordings import load_all_audio, load_audio

RATE = 16_000

Voice = Callable[..., np.ndarray]


def found(*columns: np.ndarray, rate: int = RATE) -> Channels:
    wave = np.stack(columns, axis=1).astype(np.float32)
    meter = ChannelMeter(wave.shape[1], rate)
    for start in range(0, len(wave), 7_001):
        meter.add(wave[start : start + 7_001])
    return meter.result()


def test_names_of_channels() -> None:
    assert [channel_of(name) for name in ("mix", "loudest", "left", "right", "3", 3)] == [
        "mix", "loudest", "left", "right", 3, 3,
    ]  # fmt: skip
    assert channels_of("left", 2) == ("left", "left")
    assert channels_of("mix, 2", 2) == ("mix", 2)
    wrong: list[Any] = ["", "0", "-1", "middle", "1.5", 0, True, None, 1.0, [1], np.array(["mix", "left"])]
    for name in wrong:
        with pytest.raises(RecipeError, match="choose mix, loudest, left, right"):
            channel_of(name)
    with pytest.raises(RecipeError, match="one for each of the 2"):
        channels_of("1,2,3", 2)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
@pytest.mark.parametrize(
    ("channel", "place"), [("left", 0), ("right", 1), (1, 0), (2, 1), (3, 2), ("loudest", 1), ("mix", None)]
)
def test_the_channel_asked_for_is_heard(tmp_path: Path, rate: int, channel: Channel, place: int | None) -> None:
    draw = np.random.default_rng(0)
    wave = (0.05 * draw.standard_normal((2 * rate, 3)) * [1, 3, 2]).astype(np.float32)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, rate, subtype="FLOAT")
    one = wave.mean(axis=1) if place is None else wave[:, place]
    soundfile.write(tmp_path / "b.wav", one, rate, subtype="FLOAT")
    np.testing.assert_allclose(io.read(path, channel=channel), io.read(tmp_path / "b.wav"), atol=1e-6)
    crop = io.read(path, start_s=0.5, duration_s=0.7, channel=channel)
    np.testing.assert_allclose(crop, io.read(tmp_path / "b.wav", start_s=0.5, duration_s=0.7), atol=1e-6)
    stretch = pcm.load(str(path), 0.5, 0.7, channel=channel).waveform()
    np.testing.assert_allclose(stretch, crop, atol=1e-3)


@pytest.mark.parametrize("channel", [0, -1, -5, True, False, np.True_, "centre", "0", None, 2.0])
def test_what_names_no_channel_is_refused_everywhere(tmp_path: Path, channel: Any) -> None:
    wave = np.random.default_rng(0).normal(0.0, 0.1, (RATE, 2)).astype(np.float32)
    (tmp_path / "ann").mkdir()
    one, two = tmp_path / "ann" / "1.wav", tmp_path / "ann" / "2.wav"
    soundfile.write(one, wave[:, 0], RATE, subtype="PCM_16")  # one that is mapped
    soundfile.write(two, wave, RATE, subtype="FLOAT")
    ways: list[Callable[[], object]] = [
        lambda: scan(tmp_path, channel=channel),
        lambda: load_audio(wave, channel=channel),
    ]
    for path in (one, two):
        ways += [partial(io.read, path, channel=channel), partial(pcm.load, str(path), channel=channel)]
        ways += [partial(load_audio, path, channel=channel)]
        ways += [
            partial(load_all_audio, [path, path], [channel, channel]),
            partial(check_files, [path], 0.3, 0.1, "", channel),
        ]
    for way in ways:
        with pytest.raises(
            RecipeError, match="choose mix, loudest, left, right, or the number of one, 1 being the first"
        ):
            way()


@pytest.mark.parametrize("channel", [np.int64(2), np.uint8(2), "2", " 2"])
def test_numbers_of_channels_come_in_many_forms(tmp_path: Path, channel: Any) -> None:
    wave = np.random.default_rng(0).normal(0.0, 0.1, (RATE, 2)).astype(np.float32)
    (tmp_path / "ann").mkdir()
    soundfile.write(tmp_path / "ann" / "a.wav", wave, RATE, subtype="FLOAT")
    np.testing.assert_array_equal(io.read(tmp_path / "ann" / "a.wav", channel=channel), wave[:, 1])
    for heard in load_all_audio([wave, wave], channel):
        np.testing.assert_array_equal(heard.waveform, wave[:, 1])
    manifest = scan(tmp_path, channel=channel)
    manifest.save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl").utterances[0].parts[0].channel == 2


def test_a_channel_that_is_not_there_says_how_many_are(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    for channels, words in ((1, "has 1 channel, and so no channel right"), (2, "has 2 channels, and so no channel 3")):
        soundfile.write(path, np.zeros((RATE, channels)), RATE)
        with pytest.raises(AudioError, match=words):
            io.read(path, channel="right" if channels == 1 else 3)
    assert len(pcm.load(str(path), channel="right")) == RATE


@given(st.floats(-1.05, -0.6), st.floats(-0.3, 0.3), st.floats(0.01, 1))
def test_channels_that_cancel(gain: float, offset: float, level: float) -> None:
    wave = level * np.random.default_rng(0).standard_normal(RATE)
    heard = found(wave, gain * wave + offset)
    assert heard.cancel
    assert heard.loudest == (1 if gain < -1.0001 else 0)
    assert not heard.different


@given(st.integers(2, 32), st.integers(0, 31), st.booleans())
def test_dead_channels_neither_cancel_nor_speak(channels: int, alive: int, silent: bool) -> None:
    draw = np.random.default_rng(1)
    wave = np.zeros((RATE, channels)) if silent else 1e-3 * draw.standard_normal((RATE, channels))
    wave[:, alive % channels] += 0.1 * draw.standard_normal(RATE) * (np.arange(RATE) // 2_000 % 2)
    assert found(*wave.T) == Channels(alive % channels, cancel=False, different=False)


def test_one_voice_in_two_channels_is_one(voice: Voice) -> None:
    wave, noise = voice(1, 1, 4.0), 1e-3 * np.random.default_rng(2).standard_normal((2, 4 * RATE))
    for left, right in ((1.0, 1.0), (1.0, 0.1), (0.3, 1.0)):
        assert not found(left * wave + noise[0], right * np.roll(wave, 8) + noise[1]).different
    assert not found(wave + noise[0], noise[1]).different


@pytest.mark.parametrize("gain", [1.0, 0.1])
def test_voices_that_take_turns_are_different(voice: Voice, gain: float) -> None:
    left, right = voice(1, 1, 8.0), gain * voice(2, 1, 8.0)
    turn = np.arange(len(left)) // (2 * RATE) % 2 == 0
    noise = 1e-4 * np.random.default_rng(2).standard_normal((2, len(left)))
    heard = found(left * turn + 0.02 * right * ~turn + noise[0], right * ~turn + 0.02 * left * turn + noise[1])
    assert heard.different
    assert not heard.cancel


def test_a_corpus_hears_the_channel_that_was_asked_for(
    tmp_path: Path, voice: Voice, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "speech" / "ann").mkdir(parents=True)
    one, other = voice(1, 1), voice(2, 1)
    soundfile.write(tmp_path / "speech" / "ann" / "call.wav", np.stack((one, other), 1), RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "speech" / "ann" / "turned.wav", np.stack((0.5 * one, -one), 1), RATE, subtype="FLOAT")
    wanted: list[tuple[Channel, np.ndarray, np.ndarray]] = [
        ("left", one, 0.5 * one), (2, other, -one), ("mix", (one + other) / 2, -one),
    ]  # fmt: skip
    for channel, call, turned in wanted:
        manifest = scan(tmp_path / "speech", channel=channel)
        manifest.save(tmp_path / "manifest.jsonl")
        again = Manifest.load(tmp_path / "manifest.jsonl")
        assert again == manifest
        for utterance, expected in zip(again.utterances, (call, turned), strict=True):
            np.testing.assert_allclose(utterance.read(), expected, atol=1e-3)
    assert "1 of 2 files: the channels cancel each other" in capsys.readouterr().err
    assert len({scan(tmp_path / "speech", channel=channel).fingerprint for channel, _, _ in wanted}) == 3
    (absent,) = check_files([tmp_path / "speech" / "ann" / "call.wav"], 0.3, 0.1, "reading", 3)
    assert absent.reason == "has 2 channels, and so no channel 3"


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
@pytest.mark.parametrize("at", [0, 1])
def test_a_channel_that_is_not_finite_is_not_heard_and_keeps_no_other_from_being(
    tmp_path: Path, value: float, at: int
) -> None:
    wave = np.random.default_rng(0).normal(0.0, [0.1, 0.01], (RATE, 2)).astype(np.float32)
    wave[1_000, at] = value
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    assert found(*wave.T) == Channels(1 - at)
    heard: list[Channel] = ["loudest", 2 - at]
    for channel in heard:
        for listen in (io.read, lambda path, channel: load_audio(path, channel=channel).waveform):
            np.testing.assert_array_equal(listen(path, channel=channel), wave[:, 1 - at])
        assert check_files([path], 0.3, 0.1, "reading", channel)[0].reason == ""
    refused: list[Channel] = ["mix", at + 1]
    for channel in refused:
        for refuse in (io.read, load_audio):
            with pytest.raises(AudioError, match="not finite"):
                refuse(path, channel=channel)
        assert "not finite" in check_files([path], 0.3, 0.1, "reading", channel)[0].reason
    wave[:, 1 - at] = np.nan
    with pytest.raises(AudioError, match="not finite"):
        load_audio(wave, channel="loudest")
