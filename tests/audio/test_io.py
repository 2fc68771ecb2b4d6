"""Files in, files out: every format, rate and channel count, and everything that can be wrong with a file."""

import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from scipy.signal import resample_poly

from voxanchor.audio.io import AudioInfo, find_audio, probe, read, write
from voxanchor.errors import AudioError, CorpusError
from voxanchor.types import Waveform

FORMATS = {
    ".wav": {},
    ".flac": {},
    ".ogg": {},
    ".opus": {"format": "OGG", "subtype": "OPUS"},
    ".mp3": {},
    ".aiff": {},
}
LOSSY = {".ogg", ".opus", ".mp3"}


def sound(rate: int, seconds: float = 2.0, seed: int = 0) -> Waveform:
    """Band-limited below 3 kHz, so that every rate and codec carries it."""
    rng = np.random.default_rng(seed)
    t = np.arange(round(rate * seconds)) / rate
    tones = [np.sin(2 * np.pi * f * t + rng.uniform(0, 6)) for f in rng.uniform(100, 3000, 12)]
    waveform: Waveform = (0.05 * np.sum(tones, axis=0)).astype(np.float32)
    return waveform


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_is_read_as_16_khz_mono(tmp_path: Path, suffix: str, channels: int) -> None:
    rate = 48_000 if suffix == ".opus" else 44_100
    x = sound(rate)
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, np.stack([x] * channels, axis=1), rate, **FORMATS[suffix])
    y = read(path)
    assert y.dtype == np.float32
    assert len(y) == 32_000
    assert probe(path) == AudioInfo(rate, channels, len(x))
    expected = resample_poly(x.astype(np.float64), 16_000 // 100, rate // 100)[:32_000]
    error = y[800:-800] - expected[800:-800]
    assert np.sqrt(np.mean(error**2)) < (0.02 if suffix in LOSSY else 1e-3) * np.sqrt(np.mean(expected**2)) * 5


def test_channels_are_averaged(tmp_path: Path) -> None:
    left, right = sound(16_000, seed=1), sound(16_000, seed=2)
    soundfile.write(tmp_path / "a.wav", np.stack([left, right], axis=1), 16_000, subtype="FLOAT")
    np.testing.assert_allclose(read(tmp_path / "a.wav"), (left + right) / 2, atol=1e-7)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 44_099])
@pytest.mark.parametrize(("start_s", "duration_s"), [(0.0, 0.5), (0.30001, 1.2345), (1.5, None), (1.777, 0.223)])
def test_a_crop_equals_the_crop_of_the_whole(
    tmp_path: Path, rate: int, start_s: float, duration_s: float | None
) -> None:
    rng = np.random.default_rng(0)
    x = (0.3 * rng.standard_normal(2 * rate)).astype(np.float32)  # all frequencies: the resampler's worst case
    path = tmp_path / "a.wav"
    soundfile.write(path, x, rate, subtype="FLOAT")
    whole = read(path)
    crop = read(path, start_s=start_s, duration_s=duration_s)
    first = round(start_s * 16_000)
    if duration_s is not None:
        assert len(crop) == round(duration_s * 16_000)
    np.testing.assert_allclose(crop, whole[first : first + len(crop)], atol=1e-4)
    assert first + len(crop) <= len(whole)


@pytest.mark.parametrize("suffix", FORMATS)
def test_seeking_in_a_compressed_file_gives_the_same_samples(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, sound(16_000, 6.0), 16_000, **FORMATS[suffix])
    whole = read(path)
    for start_s in (0.1, 1.2345, 4.0):
        crop = read(path, start_s=start_s, duration_s=1.5)
        first = round(start_s * 16_000)
        np.testing.assert_allclose(crop, whole[first : first + 24_000], atol=1e-4)


def test_start_and_duration_of_a_file_cover_it_exactly(tmp_path: Path) -> None:
    for rate, frames in ((44_100, 100_001), (8_000, 12_345), (16_000, 20_001), (48_000, 50_002)):
        path = tmp_path / f"{rate}.wav"
        soundfile.write(path, sound(rate, frames / rate), rate)
        duration_s = probe(path).duration_s
        assert len(read(path, duration_s=duration_s)) == len(read(path)) == round(frames * 16_000 / rate)
        rest = read(path, start_s=0.50003, duration_s=duration_s - 0.50003)
        assert abs(len(rest) - (duration_s - 0.50003) * 16_000) <= 1


def test_crops_outside_the_file_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(16_000, 1.0), 16_000)
    for start_s, duration_s in ((0.5, 0.6), (1.0, None), (2.0, 1.0), (0.0, 1.1)):
        with pytest.raises(AudioError, match=r"lasts 1\.000 s"):
            read(path, start_s=start_s, duration_s=duration_s)
    for start_s, duration_s in ((-0.1, 0.5), (0.0, 0.0), (0.0, -1.0), (float("nan"), None)):
        with pytest.raises(AudioError, match="no crop"):
            read(path, start_s=start_s, duration_s=duration_s)


def test_files_that_are_no_recordings(tmp_path: Path) -> None:
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.flac").write_text("This is no audio at all. " * 100)
    (tmp_path / "phone.m4a").write_bytes(b"\0\0\0 ftypM4A " * 10)
    soundfile.write(tmp_path / "none.wav", np.zeros(0, np.float32), 16_000)
    for name, words in {
        "absent.wav": "no such file",
        "empty.wav": "0 bytes",
        "text.flac": "not a readable recording",
        "none.wav": "no samples",
        "phone.m4a": "phone.m4a",
        ".": "is a folder",
    }.items():
        for action in (read, probe):
            with pytest.raises(AudioError, match=words) as caught:
                action(tmp_path / name)
            assert str(tmp_path) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_samples_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    x = sound(16_000)
    x[1_000] = value
    soundfile.write(tmp_path / "a.wav", x, 16_000, subtype="FLOAT")
    with pytest.raises(AudioError, match="not finite"):
        read(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".mp3", ".aiff"])
def test_a_truncated_file_says_so(tmp_path: Path, suffix: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / f"a{suffix}"
    soundfile.write(path, sound(16_000, 4.0), 16_000)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(AudioError, match="truncated"):
        read(path)
    with pytest.raises(AudioError, match="truncated"):
        read(path, start_s=2.5, duration_s=1.0)
    path.write_bytes(content[:30])
    with pytest.raises(AudioError):
        read(path)
    capfd.readouterr()  # the MP3 decoder writes warnings of its own


def test_a_wav_file_from_a_pipe_states_no_length_and_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(16_000), 16_000, subtype="PCM_16")
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(content)
    assert len(read(path)) == 32_000


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_missing_permissions_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    soundfile.write(path, sound(16_000), 16_000)
    path.chmod(0)
    with pytest.raises(AudioError, match="Permission denied"):
        read(path)
    locked = tmp_path / "locked"
    locked.mkdir(mode=0)
    with pytest.raises(CorpusError, match="cannot be listed"):
        find_audio(tmp_path)
    locked.chmod(0o700)


def test_wav_keeps_every_sample_and_flac_refuses_to_clip(tmp_path: Path) -> None:
    x = 30 * sound(16_000)
    write(tmp_path / "a.wav", x)
    assert (read(tmp_path / "a.wav") == x).all()
    with pytest.raises(AudioError, match="would clip"):
        write(tmp_path / "a.flac", x)
    y = x / (1.001 * np.abs(x).max())
    write(tmp_path / "a.flac", y)
    np.testing.assert_allclose(read(tmp_path / "a.flac"), y, atol=2**-15)
    write(tmp_path / "a.flac", y[:8_000], sample_rate=8_000)
    assert probe(tmp_path / "a.flac") == AudioInfo(8_000, 1, 8_000)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.flac", "a.wav"]


def test_what_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    x = sound(16_000)
    for path, waveform in (
        (tmp_path / "a.mp3", x),
        (tmp_path / "a.wav", x[:0]),
        (tmp_path / "a.wav", np.full(10, np.nan, np.float32)),
    ):
        with pytest.raises(AudioError, match=r"a\.(mp3|wav)"):
            write(path, waveform)
    assert list(tmp_path.iterdir()) == []


def test_folders_that_are_links_are_listed_unless_they_lead_up(tmp_path: Path) -> None:
    for name in ("pool/x/1.wav", "pool/x/2.wav", "pool/y/3.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, target in (("alice", "../pool/x"), ("bob", "../pool/x"), ("all", "../pool"), ("same", "bob")):
        (corpus / name).symlink_to(target)
    (corpus / "up").symlink_to(tmp_path)  # above the folder that was asked for
    (tmp_path / "pool" / "y" / "back").symlink_to(tmp_path / "pool")  # above, on the way
    (tmp_path / "pool" / "y" / "round").symlink_to(corpus)
    found = [path.relative_to(corpus).as_posix() for path in find_audio(corpus)]
    assert found == [
        *("alice/1.wav", "alice/2.wav", "all/x/1.wav", "all/x/2.wav", "all/y/3.wav"),
        *("bob/1.wav", "bob/2.wav", "same/1.wav", "same/2.wav"),
    ]


def test_recordings_of_a_folder_are_found_in_order(tmp_path: Path) -> None:
    names = ["b/x/1.FLAC", "a/2.wav", "a/10.wav", "c.mp3", "d.m4a"]
    for name in [*names, "a/.hidden.wav", ".git/3.wav", "LICENSE", "a/notes.txt"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    assert [p.relative_to(tmp_path).as_posix() for p in find_audio(tmp_path)] == sorted(names)
    with pytest.raises(CorpusError, match="no such folder"):
        find_audio(tmp_path / "absent")
    with pytest.raises(CorpusError, match="is a file"):
        find_audio(tmp_path / "c.mp3")
