"""Recordings that need the extra m4a: explained without it, read with it."""

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.audio.mutations import FFMPEG, by_ffmpeg

from voxanchor.audio import io
from voxanchor.audio.io import probe, read
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Part, Utterance
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


def write_film(
    path: Path,
    kind: str,
    sound_s: float,
    film_s: float = 0.0,
    begin_s: float = 0.0,
    pause: tuple[float, float] = (0, 0),
) -> None:
    """Write sound from a time on, with a pause in which nothing is sent, and a film beside it if that has a length.

    Both are noise, so that a part of the file's bytes is about as much of its time.
    """
    av = pytest.importorskip("av", reason="the extra m4a is not installed")
    container_name, codec, rate = FFMPEG[kind]
    draw = np.random.default_rng(0)
    options = {"movflags": "faststart"} if container_name in ("mp4", "mov") else {}
    with av.open(str(path), "w", format=container_name, options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.layout, stream.bit_rate = "mono", 48_000
        film = container.add_stream("mpeg4", rate=10) if film_s else None
        stream.codec_context.open()
        size = stream.codec_context.frame_size or 1024
        packets = []
        for start in range(0, round(sound_s * rate) - size + 1, size):
            if pause[0] <= start / rate < pause[1]:
                continue
            samples = draw.normal(0.0, 0.1, (1, size)).astype(np.float32)
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = rate, start + round(begin_s * rate), Fraction(1, rate)
            resampler = av.AudioResampler(stream.codec_context.format, "mono", rate)
            packets += [packet for made in resampler.resample(frame) for packet in stream.encode(made)]
        packets += stream.encode(None)
        if film is not None:
            film.width = film.height = 64
            film.pix_fmt = "yuv420p"
            for number in range(round(film_s * 10)):
                frame = av.VideoFrame.from_ndarray(draw.integers(0, 255, (64, 64, 3), np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 10)
                packets += film.encode(frame)
            packets += film.encode(None)
        for packet in sorted((p for p in packets if p.dts is not None), key=lambda p: p.dts * p.time_base):
            container.mux(packet)


FILMS: dict[str, tuple[float, dict[str, Any]]] = {
    "sound": (4.0, {}),
    "film as long": (4.0, {"film_s": 4.0}),
    "longer film": (4.0, {"film_s": 6.0}),
    "shorter film": (4.0, {"film_s": 1.0}),
    "late": (4.0, {"begin_s": 1.5}),
    "late in a film": (4.0, {"begin_s": 1.5, "film_s": 7.0}),
    "pause": (5.0, {"pause": (1.0, 3.0)}),
    "pause in a film": (5.0, {"pause": (1.0, 3.0), "film_s": 6.0}),
}


@pytest.mark.parametrize(
    ("kind", "name", "tagged"),
    [
        (kind, name, tagged)
        for kind in ("mka", "webm", "pcm.mka", "m4a", "mov", "wma")
        for name, (_, options) in FILMS.items()
        for tagged in (True, False)
        if not (kind == "webm" and "film_s" in options)  # it takes no film of this kind
        if tagged or kind in ("mka", "webm", "pcm.mka")  # the others have no such tags
    ],
)
def test_the_time_of_a_file_goes_on_without_sound(tmp_path: Path, kind: str, name: str, tagged: bool) -> None:
    sound_s, options = FILMS[name]
    path = tmp_path / "a"
    write_film(path, kind, sound_s, **options)
    content = path.read_bytes()
    if not tagged:
        assert b"DURATION" in content
        path.write_bytes(content := content.replace(b"DURATION", b"xURATION"))
    first, last = options.get("pause", (0.0, 0.0))
    heard = read(path)
    assert len(heard) / RATE == pytest.approx(sound_s - (last - first), abs=0.2)
    assert probe(path).duration_s == pytest.approx(sound_s, abs=0.2) or (last and "film" in name)
    np.testing.assert_array_equal(read(path, start_s=0.5, duration_s=0.5), heard[RATE // 2 : RATE])
    path.write_bytes(content[: len(content) * 45 // 100])
    with pytest.raises(AudioError, match="truncated"):
        read(path)
