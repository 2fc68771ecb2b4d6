"""Files as programs and people leave them: wrong suffixes, open headers, unknown lengths, pipes, strange names."""

import contextlib
import os
import struct
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from tests.audio.mutations import FFMPEG, by_ffmpeg, by_sndfile

from voxanchor.audio import io, pcm
from voxanchor.audio.io import OPEN_HEADER, probe, read
from voxanchor.corpus.checks import check_files
from voxanchor.corpus.layouts import scan
from voxanchor.errors import AudioError
from voxanchor.types import Waveform

RATE = 16_000
NOISE = np.random.default_rng(0).bytes(3_000)
UNCOMPRESSED = ("wav", "float.wav", "aiff", "au", "w64", "rf64")


def sound(seconds: float = 2.0) -> Waveform:
    time_s = np.arange(round(RATE * seconds)) / RATE
    wave: Waveform = (0.3 * np.sin(2 * np.pi * 300 * time_s)).astype(np.float32)
    return wave


def size_field(content: bytes) -> tuple[int, str, int]:
    """Return where a header states how many bytes of samples there are, in what form, and what it counts besides."""
    if content[:4] == b"RF64":
        return content.index(b"ds64") + 16, "<Q", 0
    if content[:4] == b"riff":
        return content.index(b"data\xf3") + 16, "<Q", 24
    if content[:4] == b"FORM":
        return content.index(b"SSND") + 4, ">I", 8
    if content[:4] == b".snd":
        return 8, ">I", 0
    return content.index(b"data") + 4, "<I", 0


def stating(content: bytes, size: int) -> bytes:
    place, form, besides = size_field(content)
    made = bytearray(content)
    struct.pack_into(form, made, place, size + besides)
    return bytes(made)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.ogg", "a.flac", "a", "blob", "a.txt"])
@pytest.mark.parametrize("kind", FFMPEG)
def test_ffmpegs_files_are_told_by_their_content(tmp_path: Path, kind: str, name: str) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    path = written(tmp_path / name, by_ffmpeg(kind, sound(), RATE))
    heard = read(path)
    assert len(heard) == pytest.approx(2 * RATE, abs=0.2 * RATE)
    assert np.sqrt(np.mean(heard**2)) == pytest.approx(0.3 / np.sqrt(2), rel=0.15)
    assert probe(path).duration_s == pytest.approx(len(heard) / RATE, abs=0.15)


@pytest.mark.parametrize("suffix", [".m4a", ".mp3", ".wav", ".raw", ""])
@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "caf"])
def test_libsndfiles_files_are_told_by_their_content(tmp_path: Path, kind: str, suffix: str) -> None:
    path = written(tmp_path / f"a{suffix}", by_sndfile(kind, sound(), RATE))
    assert len(read(path)) == 2 * RATE
    assert len(pcm.load(str(path), 0.5, 1.0)) == RATE


@pytest.mark.parametrize(
    ("kind", "words"),
    [("m4a", "M4A"), ("webm", "WebM"), ("aac", "AAC"), ("amr", "AMR"), ("ac3", "AC-3"), ("g722.wav", "G.722")],
)
def test_without_the_extra_the_message_names_the_container_and_the_extra(
    tmp_path: Path, kind: str, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    path = written(tmp_path / "call.wav", by_ffmpeg(kind, sound(), RATE))
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(AudioError, match=rf"is .*{words}.* pip install 'voxanchor\[m4a\]'.*ffmpeg -i call\.wav"):
        read(path)


def test_a_playlist_opens_nothing(tmp_path: Path) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    written(tmp_path / "secret.wav", by_sndfile("wav", sound(), RATE))
    (tmp_path / "list.wav").write_text(f"#EXTM3U\n#EXTINF:2,\n{tmp_path}/secret.wav\n")
    (tmp_path / "concat.wav").write_text(f"ffconcat version 1.0\nfile '{tmp_path}/secret.wav'\n")
    for name in ("list.wav", "concat.wav"):
        with pytest.raises(AudioError, match="not a readable recording"):
            read(tmp_path / name)


@pytest.mark.parametrize("channels", [1, 2])
def test_flac_of_unknown_length_is_read_whole(tmp_path: Path, channels: int) -> None:
    content = bytearray(by_sndfile("flac", np.stack([sound(70.0)] * channels, axis=1), RATE))
    content[21:26] = bytes([content[21] & 0xF0, 0, 0, 0, 0])  # as FLAC is when written to a pipe
    path = written(tmp_path / "a.flac", bytes(content))
    assert probe(path).frames == 70 * RATE
    assert len(read(path)) == 70 * RATE
    np.testing.assert_array_equal(read(path, start_s=1.5, duration_s=0.5), read(path)[24_000:32_000])
    assert len(pcm.load(str(path), 60.0, 5.0)) == 5 * RATE
    (found,) = check_files([path], 0.3, 0.1, "reading")
    assert found.duration_s == 70.0


@pytest.mark.parametrize("kind", ["aac", "amr"])
def test_a_guessed_length_is_no_promise(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    # loud, then silent: the bit rate of the beginning says nothing of the length
    noise = 0.3 * np.random.default_rng(0).standard_normal(8 * RATE).astype(np.float32)
    wave = np.concatenate([noise[: 2 * RATE], 1e-4 * noise])
    path = written(tmp_path / "a", by_ffmpeg(kind, wave, RATE))
    assert len(read(path)) == pytest.approx(len(wave), abs=0.2 * RATE)


@pytest.mark.parametrize("whole", [True, False], ids=["speech alone", "with pauses"])
def test_amr_of_a_telephone_that_sends_nothing_in_pauses(tmp_path: Path, whole: bool) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    head, body = b"#!AMR\n", by_ffmpeg("amr", sound(4.0), RATE)[6:]
    size = 32 if body[0] >> 3 == 7 else 13  # of a frame of 20 ms at 12.2 and at 4.75 kbit/s, with its first byte
    frames = [body[start : start + size] for start in range(0, len(body), size)]
    if not whole:
        for number in range(50, 100):  # comfort noise, and between updates of it nothing at all
            frames[number] = b"\x44" + bytes(5) if number % 8 == 0 else b"\x7c"
    path = written(tmp_path / "a.amr", head + b"".join(frames))
    wave = read(path)
    assert len(wave) == pytest.approx(len(frames) * 320, abs=640)
    loud = np.square(wave[: len(wave) // 320 * 320].reshape(-1, 320)).mean(axis=1) > 1e-4
    assert loud[110:].all()
    assert whole == loud[60:95].any()


@pytest.mark.parametrize("kind", ["m4a", "mov", "g722.wav"])
def test_what_is_really_cut_is_truncated(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("av", reason="the extra m4a is not installed")
    options = {} if kind == "g722.wav" else {"movflags": "faststart"}
    content = by_ffmpeg(kind, sound(4.0), RATE, **options)
    path = written(tmp_path / "a", content[: len(content) * 2 // 3])
    with pytest.raises(AudioError, match=r"truncated"):
        read(path)


@pytest.mark.parametrize("kind", ["w64", "rf64", "aiff", "au", "caf"])
def test_uncompressed_files_that_are_cut_are_truncated(tmp_path: Path, kind: str) -> None:
    content = by_sndfile(kind, sound(4.0), RATE)
    path = written(tmp_path / "a", content[: len(content) * 2 // 3])
    with pytest.raises(AudioError, match=r"truncated: its header promises (4\.00 s|128,000 bytes)"):
        read(path)


@pytest.mark.parametrize("stated", [0, 3_200])
@pytest.mark.parametrize("kind", UNCOMPRESSED)
def test_a_header_left_open_is_read_to_the_end_with_a_warning(tmp_path: Path, kind: str, stated: int) -> None:
    whole = by_sndfile(kind, sound(), RATE)
    path = written(tmp_path / "a.wav", stating(whole, stated))
    info = probe(path)
    assert info.warnings == (OPEN_HEADER,)
    assert info.frames == 2 * RATE
    np.testing.assert_array_equal(read(path), read(written(tmp_path / "b.wav", whole)))
    assert probe(tmp_path / "b.wav").warnings == ()
    assert len(pcm.load(str(path), 1.0, 0.5)) == RATE // 2
    (found,) = check_files([path], 0.3, 0.1, "reading")
    assert found.remarks == (OPEN_HEADER,)


@pytest.mark.parametrize(
    "behind",
    [
        b"LIST" + struct.pack("<I", 2_000) + b"INFOICMT" + bytes(1_992),
        b"TAG" + b"a title" * 200,
        b"APETAGEX" + bytes(range(256)) * 8,
        bytes(4_096),
        b"\x01\x02\x03" * 100,
        b"LIST" + struct.pack("<I", 9_000) + b"INFOICMT" + NOISE,
        b"id3 " + struct.pack("<I", 9_000) + NOISE,
        b"cue " + struct.pack("<I", 2**32 - 1) + NOISE,
        b"\n<xml>recorder metadata</xml>\n" * 60,
        b"\0" + "Aufgenommen in Zürich, 日本語\r\n".encode() * 400 + bytes(512),
    ],
    ids=["chunk", "ID3v1", "APE", "zeros", "few", "cut LIST", "cut id3", "cue of no size", "XML", "text in UTF-8"],
)
def test_what_lies_behind_the_samples_is_not_always_sound(tmp_path: Path, behind: bytes) -> None:
    path = written(tmp_path / "a.wav", by_sndfile("wav", sound(), RATE) + behind)
    assert probe(path).warnings == ()
    assert len(read(path)) == 2 * RATE
    assert pcm.mapped(path) is not None


@pytest.mark.parametrize("name", ["wav", "flac", "mp3", "ogg", "aiff"])
def test_a_system_whose_descriptors_mean_nothing_to_the_library(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    soundfile.write(tmp_path / f"a.{name}", sound(), RATE)
    expected = [read(tmp_path / f"a.{name}"), read(tmp_path / f"a.{name}", start_s=0.7, duration_s=0.5)]
    descriptors: list[object] = []
    begin = soundfile.SoundFile.__init__

    def seen(file: soundfile.SoundFile, given: object, *arguments: Any, **named: Any) -> None:
        descriptors.append(given)
        begin(file, given, *arguments, **named)

    monkeypatch.setattr(soundfile.SoundFile, "__init__", seen)
    monkeypatch.setattr(io, "_BY_DESCRIPTOR", False)  # as on Windows
    found = [read(tmp_path / f"a.{name}"), read(tmp_path / f"a.{name}", start_s=0.7, duration_s=0.5)]
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert descriptors
    assert not any(isinstance(given, int) for given in descriptors)


def test_pipes_are_read_and_left_out_of_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = by_sndfile("wav", sound(), RATE)
    fifo = tmp_path / "s1" / "a.wav"
    fifo.parent.mkdir()
    os.mkfifo(fifo)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for most, outcome in ((2**20, "read"), (1_000, "refused")):
        monkeypatch.setattr(io, "COPIED_BYTES", most)
        writer = threading.Thread(target=_write, args=(fifo, content))
        writer.start()
        if outcome == "read":
            assert len(read(fifo)) == 2 * RATE
        else:
            with pytest.raises(AudioError, match=r"more than .* came out of this pipe"):
                read(fifo)
        writer.join()
    assert [path.name for path in tmp_path.iterdir()] == ["s1"]
    written(tmp_path / "s1" / "b.wav", content)
    manifest = scan(tmp_path, max_unusable_share=0.5)
    assert [item.reason for item in manifest.unusable] == ["a pipe or a device, and no file"]
    assert [item.id for item in manifest.utterances] == ["s1/b.wav"]


def _write(fifo: Path, content: bytes) -> None:
    with contextlib.suppress(BrokenPipeError):
        fifo.write_bytes(content)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse such names")
@pytest.mark.parametrize("kind", ["wav", "flac", "m4a"])
def test_names_that_are_not_utf_8(tmp_path: Path, kind: str) -> None:
    if kind == "m4a":
        pytest.importorskip("av", reason="the extra m4a is not installed")
    speaker = tmp_path / os.fsdecode(b"Ren\xe9")
    speaker.mkdir()
    content = by_ffmpeg(kind, sound(), RATE) if kind == "m4a" else by_sndfile(kind, sound(), RATE)
    path = written(speaker / os.fsdecode(b"\xc4\xe3." + kind.encode()), content)
    assert probe(path).sample_rate == RATE
    assert len(read(path)) == pytest.approx(2 * RATE, abs=2_500)
    assert len(pcm.load(str(path), 0.5, 1.0)) == RATE


def test_an_error_of_the_disk_is_an_error_of_the_recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "a.wav", by_sndfile("wav", sound(), RATE))
    plain = Path.open

    def stale(self: Path, *args: object, **options: object) -> object:
        if self == path:
            raise OSError(116, "Stale file handle")
        return plain(self, *args, **options)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", stale)
    for way in (probe, read, lambda p: pcm.load(str(p))):
        with pytest.raises(AudioError, match=r"a\.wav: cannot be opened \(Stale file handle\)"):
            way(path)
    assert pcm.mapped(path) is None
    with pytest.raises(AudioError, match="File name too long"):
        read(tmp_path / ("a" * 300))
    with pytest.raises(AudioError):
        read("a\0.wav")


@pytest.mark.parametrize("rate", [0, 1, 999, 2**31 - 1, 2**31, 2**32 - 1])
def test_absurd_rates_are_refused(tmp_path: Path, rate: int) -> None:
    content = bytearray(by_sndfile("wav", sound(), RATE))
    struct.pack_into("<I", content, content.index(b"fmt ") + 12, rate)
    path = written(tmp_path / "a.wav", bytes(content))
    for way in (probe, read, lambda p: pcm.load(str(p))):
        with pytest.raises(AudioError, match=r"a\.wav"):
            way(path)


@pytest.mark.parametrize("channels", [0, 1_024, 65_535])
def test_absurd_channel_counts_take_no_memory(tmp_path: Path, channels: int) -> None:
    content = bytearray(by_sndfile("wav", sound(), RATE))
    at = content.index(b"fmt ") + 8
    struct.pack_into("<H", content, at + 2, channels)
    struct.pack_into("<H", content, at + 12, 2 * channels % 65_536)
    path = written(tmp_path / "a.wav", bytes(content))
    tracemalloc.start()
    try:
        read(path)
    except AudioError as error:
        assert str(path) in str(error)  # noqa: PT017 - either is fine
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 64 * 2**20


def test_an_absurd_length_takes_no_memory(tmp_path: Path) -> None:
    content = bytearray(by_sndfile("flac", sound(), RATE))
    content[21:26] = bytes([content[21] | 0x0F, 0xFF, 0xFF, 0xFF, 0xFE])  # 2^36 samples: fifty days
    path = written(tmp_path / "a.flac", bytes(content))
    tracemalloc.start()
    with pytest.raises(AudioError, match="truncated"):
        read(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 64 * 2**20
