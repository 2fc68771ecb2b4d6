"""Recordings that need the extra m4a: explained without it, read with it."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.audio.mutations import by_ffmpeg

from voxanchor.audio import io
from voxanchor.audio.io import probe, read
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.utterance import Part, Utterance
from voxanchor.errors import AudioError, CorpusError

RATE = 16_000


def sweep(seconds: float, rate: int = RATE) -> np.ndarray:
    time_s = np.arange(round(seconds * rate)) / rate
    wave: np.ndarray = (0.3 * np.sin(2 * np.pi * (200 + 300 * time_s) * time_s)).astype(np.float32)
    return wave


def write_m4a(path: Path, wave: np.ndarray, rate: int = RATE) -> None:
    """One row of `wave` a channel."""
    av = pytest.importorskip("av", reason="the extra m4a is not installed")
    rows = np.atleast_2d(wave)
    layout = "mono" if len(rows) == 1 else "stereo"
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate)
        stream.layout, stream.bit_rate = layout, 128_000
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(rows), format="fltp", layout=layout)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def test_a_folder_without_the_extra_says_how_many_and_what_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for speaker in ("id00012", "id00015"):
        for take in range(3):
            folder = tmp_path / speaker / "21Uxsk56VDQ"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{take:05d}.m4a").write_bytes(b"\0\0\0 ftypM4A " * 10)
    with pytest.raises(CorpusError, match=r"6 of the files are \.m4a: pip install 'voxanchor\[m4a\]' reads them"):
        scan(tmp_path)
    soundfile.write(tmp_path / "id00012" / "a.wav", sweep(1.0), RATE)
    with pytest.raises(CorpusError, match=r"6 of the 7 .*(\n.*)*6 of the files are \.m4a: .*ffmpeg"):
        scan(tmp_path)
    with pytest.raises(AudioError, match=r"voxanchor\[m4a\].*ffmpeg -i 00000.m4a"):
        read(tmp_path / "id00012" / "21Uxsk56VDQ" / "00000.m4a")
    assert io.advice([tmp_path / "a.wav"]) == ""


def test_with_the_extra_they_are_recordings_like_others(tmp_path: Path) -> None:
    wave = sweep(3.0)
    path = tmp_path / "id00012" / "v" / "00001.m4a"
    write_m4a(path, wave)
    info = probe(path)
    assert (info.sample_rate, info.channels) == (RATE, 1)
    assert info.duration_s == pytest.approx(3.0, abs=0.1)
    heard = read(path)
    assert heard.dtype == np.float32
    # an encoder begins with a frame of silence, which a header may or may not cut off
    lag = int(np.correlate(heard[4000:20_000], wave[4000:20_000], "full").argmax()) - 15_999
    assert 0 <= lag <= 2112
    assert np.abs(heard[8000 + lag : 16_000 + lag] - wave[8000:16_000]).max() < 0.02
    assert io.advice([path]) == ""
    manifest = scan(tmp_path)
    assert manifest.speakers == ("id00012",)
    assert manifest.utterances[0].duration_s == pytest.approx(len(heard) / RATE)
    part = Utterance("u", "s", 1.0, (Part(str(path), 0.5, 1.0),))
    assert np.abs(part.read() - heard[8000:24_000]).max() < 1e-4


def test_channels_are_averaged_and_rates_converted(tmp_path: Path) -> None:
    wave = sweep(2.0, 44_100)
    write_m4a(tmp_path / "two.m4a", np.stack([wave, 0.5 * wave]), 44_100)
    assert probe(tmp_path / "two.m4a").channels == 2
    heard = read(tmp_path / "two.m4a", start_s=0.5, duration_s=1.0)
    assert len(heard) == RATE
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.3 * 0.75 / np.sqrt(2), rel=0.02)


@pytest.mark.parametrize("channels", [1, 2, 6, 8, 16])
def test_every_channel_of_any_number_of_them_is_heard(tmp_path: Path, channels: int) -> None:
    """PyAV reads past the end of a frame of eight channels or more when asked for its planes."""
    pytest.importorskip("av", reason="the extra m4a is not installed")
    wave = np.outer(sweep(1.0), np.linspace(1.0, 0.1, channels)).astype(np.float32)
    (tmp_path / "a.mka").write_bytes(by_ffmpeg("pcm.mka", wave, RATE))
    assert probe(tmp_path / "a.mka").channels == channels
    for number in range(1, channels + 1):
        np.testing.assert_allclose(read(tmp_path / "a.mka", channel=number), wave[:, number - 1], atol=1e-4)


def test_a_film_without_sound_is_let_go_of_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What FFmpeg holds of a file is memory that the collector of cycles does not know of."""
    av = pytest.importorskip("av", reason="the extra m4a is not installed")
    opened: list[Any] = []
    opening = av.open

    def noted(*arguments: Any, **options: Any) -> Any:
        opened.append(opening(*arguments, **options))
        return opened[-1]

    content = by_ffmpeg("avi", sweep(1.0), RATE)
    (tmp_path / "a.avi").write_bytes(content.replace(b"auds", b"none"))
    monkeypatch.setattr(av, "open", noted)
    with pytest.raises(AudioError, match="holds no sound"):
        read(tmp_path / "a.avi")
    with pytest.raises(AssertionError, match="not open"):
        opened[0].seek(0)


def test_damaged_ones_are_errors(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    (tmp_path / "text.m4a").write_text("This is no audio at all. " * 100)
    for action in (read, probe):
        with pytest.raises(AudioError, match="no such file"):
            action(tmp_path / "absent.m4a")
        with pytest.raises(AudioError, match=r"text\.m4a"):
            action(tmp_path / "text.m4a")
