"""What a recording may be, and what it may not."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import soxr
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor.errors import AudioError
from voxanchor.verification.recordings import flac, is_one, load_all_audio, load_audio

Voice = Callable[..., np.ndarray]


def test_every_form_of_a_recording_is_heard_alike(voice: Voice, tmp_path: Path) -> None:
    wave = voice(1, 1)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, 16_000, subtype="FLOAT")
    integers = np.round(wave * 32768).astype(np.int16)
    forms: list[Any] = [
        path,
        str(path),
        wave.astype(np.float64),
        wave.astype(">f4"),
        (wave, 16_000),
        (wave, np.int64(16_000)),
        (wave, 16_000.0),
        wave[:, None],
        np.stack((wave, wave), axis=1),
        (np.stack((wave, 0 * wave, 2 * wave), axis=1), 16_000),
        torch.from_numpy(wave),
        torch.from_numpy(wave)[:, None],
        (torch.from_numpy(wave), 16_000),
        wave.tolist(),
    ]
    for form in forms:
        assert is_one(form)
        heard = load_audio(form)
        assert heard.waveform.dtype == np.float32
        np.testing.assert_allclose(heard.waveform, wave, atol=1e-6)
    whole: list[Any] = [integers, integers.astype(">i2"), integers.astype(np.int32) * 65536, integers[:, None]]
    for rounded in whole:
        np.testing.assert_allclose(load_audio(rounded).waveform, wave, atol=2 / 32768)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100])
def test_a_file_of_any_rate_is_decoded_once(rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "a.wav", 0.1 * np.random.default_rng(0).standard_normal((2 * rate, 2)), rate)
    decoded: list[int] = []
    read = soundfile.SoundFile.read

    def counting(file: soundfile.SoundFile, *arguments: Any, **named: Any) -> Any:
        block = read(file, *arguments, **named)
        decoded.append(len(block))
        return block

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    assert load_audio(tmp_path / "a.wav").samples == 32_000
    assert sum(decoded) == 2 * rate


def test_full_scale_of_integers_is_one() -> None:
    for kind in (np.int16, np.int32):
        limits = np.iinfo(kind)
        samples: Any = np.array([limits.min, 0, limits.max], kind)
        found = load_audio(samples).waveform
        assert found[0] == -1
        assert found[2] == pytest.approx(1, abs=1e-4)


def test_what_is_given_is_never_changed(voice: Voice) -> None:
    wave = voice(1, 1)
    before = wave.copy()
    wave.setflags(write=False)
    load_audio(wave)
    flac(load_audio(wave))
    np.testing.assert_array_equal(wave, before)


@settings(deadline=None, max_examples=20)
@given(rate=st.integers(4_000, 200_000), channels=st.integers(1, 8))
def test_any_rate_and_number_of_channels_gives_the_same_tone(rate: int, channels: int) -> None:
    tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(2 * rate) / rate)
    heard = load_audio((np.tile(tone[:, None], channels), rate))
    assert len(heard.waveform) == pytest.approx(32_000, abs=2)
    assert heard.quality.duration_s == pytest.approx(2, abs=1e-3)
    middle = heard.waveform[8000:24_000]
    spectrum = np.abs(np.fft.rfft(middle))
    assert spectrum.argmax() == 300
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.float32),
        np.zeros((0, 2), np.float32),
        np.zeros((16_000, 0), np.float32),
        np.zeros((2, 16_000), np.float32),
        np.zeros((2, 9, 1), np.float32),
        np.float32(0.5),
        [[1.0, 2.0], [3.0]],
        None,
        {},
        b"RIFF",
        np.zeros(16_000, np.uint8),
        np.zeros(16_000, np.int64),
        np.zeros(16_000, np.bool_),
        np.zeros(16_000, np.complex64),
        np.array([None, 1.0]),
        np.array(["a", "b"]),
        np.full(16_000, np.nan),
        np.full(16_000, 1e300),
        (np.zeros(16_000), 16_000, 1),
        (np.zeros(16_000), "16000"),
        (np.zeros(16_000), None),
        (np.zeros(16_000), 0),
        (np.zeros(16_000), -16_000),
        (np.zeros(16_000), 16),
        (np.zeros(16_000), float("nan")),
        (np.zeros(16_000), 10**9),
        (np.zeros(1), 44_100),
    ],
    ids=repr,
)
def test_what_is_no_recording_is_an_error_that_names_it(samples: Any) -> None:
    with pytest.raises(AudioError, match=r"^the microphone: "):
        load_audio(samples, "the microphone")


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (io.BytesIO(b"RIFF"), "type BytesIO is no recording: give the path of a file"),
        (b"RIFF", "type bytes is no recording"),
        (None, "type NoneType is no recording"),
        (3, "type int is no recording"),
        ((number for number in (0.1, 0.2)), "type generator is no recording"),
        (torch.zeros(1, 16_000), r"got shape \(1, 16000\). Turn it, with .T"),
        (np.zeros((2, 16_000), np.float32), "Turn it, with .T"),
        (torch.zeros(16_000, requires_grad=True), "requires grad"),
        (torch.zeros(16_000, dtype=torch.bfloat16), "BFloat16"),
    ],
)
def test_what_python_has_beside_recordings_is_refused_as_one(samples: Any, words: str) -> None:
    assert is_one(samples)
    with pytest.raises(AudioError, match=words):
        load_audio(samples)


def test_files_that_are_none_are_errors_that_name_them(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("words")
    (tmp_path / "empty.wav").touch()
    soundfile.write(tmp_path / "nan.wav", np.array([0.1, np.nan, 0.2]), 16_000, subtype="FLOAT")
    soundfile.write(tmp_path / "nothing.wav", np.zeros(0), 16_000)
    for name in ("text.wav", "empty.wav", "nan.wav", "nothing.wav", "missing.wav", "."):
        with pytest.raises(AudioError, match=str(tmp_path / name)):
            load_audio(tmp_path / name)


def test_one_recording_is_told_from_several(voice: Voice) -> None:
    wave = voice(1, 1)
    several: list[Any] = [[wave], [wave, wave], (wave, wave), ("a.wav", "b.wav"), [(wave, 8000)], (), [], (wave,)]
    assert not any(is_one(item) for item in several)


def test_recordings_have_names_for_messages(voice: Voice, tmp_path: Path) -> None:
    wave = voice(1, 1)
    soundfile.write(tmp_path / "call 7.wav", wave, 16_000)
    assert [item.name for item in load_all_audio((wave, wave))] == ["the first recording", "the second recording"]
    assert [item.name for item in load_all_audio((wave,) * 3)] == ["recording 1", "recording 2", "recording 3"]
    heard = load_audio(tmp_path / "call 7.wav", "ignored")
    assert (heard.name, heard.source) == (str(tmp_path / "call 7.wav"), "call 7.wav")
    assert load_audio(wave).source == ""


@pytest.mark.parametrize("gain", [1e-3, 1.0, 50.0])
def test_kept_audio_is_the_recording_in_24_bits(voice: Voice, gain: float) -> None:
    import io

    heard = load_audio((gain * voice(1, 1)).astype(np.float32))
    samples, rate = soundfile.read(io.BytesIO(flac(heard)), dtype="float32")
    assert rate == 16_000
    scale = max(1.0, float(np.abs(heard.waveform).max()))  # scaled down only where it is beyond full scale
    np.testing.assert_allclose(samples * scale, heard.waveform, atol=scale * 2**-23)


def test_clipping_is_found_at_any_rate(voice: Voice, tmp_path: Path) -> None:
    wave = soxr.resample(voice(1, 1), 16_000, 44_100)
    ceiling = np.float32(0.3 * np.abs(wave).max())
    loud = np.clip(wave, -ceiling, ceiling).astype(np.float32)
    soundfile.write(tmp_path / "cut.wav", loud, 44_100, subtype="FLOAT")
    share = float((np.abs(loud) >= ceiling).mean())
    assert share > 0.02
    for heard in (load_audio(tmp_path / "cut.wav"), load_audio((loud, 44_100))):
        assert heard.quality.clipped == pytest.approx(share, rel=0.2)
        assert any("clipped" in warning for warning in heard.quality.warnings)
