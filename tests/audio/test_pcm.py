"""Recordings in 16 bits: what is exact, how far off the rest is, and what is mapped."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from voxanchor.audio import io
from voxanchor.audio.pcm import WHOLE_S, Pcm, Stored, encode, load, mapped
from voxanchor.errors import AudioError

RATE = 16_000
INT16 = arrays.arrays(np.int16, st.integers(1, 300))


def noise(seed: int, length: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, length, dtype=np.int16)


@given(INT16)
def test_samples_of_16_bits_come_back_bit_for_bit(samples: np.ndarray) -> None:
    encoded = encode((samples / 32768).astype(np.float32))
    assert encoded.gain == 1.0
    np.testing.assert_array_equal(encoded.samples, samples)


@given(arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-1, 1, width=32)), st.floats(-45, 15))
@settings(max_examples=300)
def test_the_error_is_a_share_of_the_peak_at_any_level(shape: np.ndarray, level: float) -> None:
    waveform = (shape.astype(np.float64) * 10**level).astype(np.float32)
    heard = encode(waveform).waveform()
    assert heard.dtype == np.float32
    peak = max(np.abs(waveform).max(), 2.0**-100)
    assert np.abs(heard.astype(np.float64) - waveform).max() <= peak / 32_767


@given(arrays.arrays(np.float32, st.integers(1, 300), elements=st.floats(-4, 4, width=32)))
@settings(max_examples=300)
def test_encoding_again_changes_nothing(waveform: np.ndarray) -> None:
    once = encode(waveform).waveform()
    np.testing.assert_array_equal(encode(once).waveform(), once)


def test_peaks_just_below_a_power_of_two_do_not_wrap_round() -> None:
    for peak in (32767.4, 32767.5, 32767.6, 32768.0):
        for scale in (1.0, 0.5, 4.0):
            waveform = np.array([peak, -peak, 0.3], np.float32) / np.float32(32768) * np.float32(scale)
            np.testing.assert_allclose(encode(waveform).waveform(), waveform, atol=scale * 1.01 / 32768)


def test_crops_of_samples_are_crops_of_the_waveform() -> None:
    pcm = Pcm(noise(0, 1000), 0.25)
    np.testing.assert_array_equal(pcm.waveform(), noise(0, 1000) / np.float32(4 * 32768))
    np.testing.assert_array_equal(pcm.waveform(10, 50), pcm.waveform()[10:60])
    np.testing.assert_array_equal(pcm.crop(10, 50).waveform(), pcm.waveform()[10:60])
    assert len(pcm.crop(10, 50)) == 50


def test_a_wav_file_is_mapped_whatever_else_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "a.WAV"
    with soundfile.SoundFile(path, "w", RATE, 1, "PCM_16", format="WAV") as file:
        file.title = "a chunk of text"
        file.write(noise(1, 777))
    found = mapped(path)
    assert isinstance(found, np.memmap)
    np.testing.assert_array_equal(found, noise(1, 777))
    assert not found.flags.writeable


@pytest.mark.parametrize(
    ("name", "rate", "channels", "subtype"),
    [
        ("a.wav", 8_000, 1, "PCM_16"),
        ("a.wav", RATE, 2, "PCM_16"),
        ("a.wav", RATE, 1, "FLOAT"),
        ("a.wav", RATE, 1, "PCM_24"),
        ("a.flac", RATE, 1, "PCM_16"),
    ],
)
def test_other_files_are_not_mapped_but_loaded(
    tmp_path: Path, name: str, rate: int, channels: int, subtype: str
) -> None:
    path = tmp_path / name
    sound = 0.3 * np.random.default_rng(2).standard_normal((rate, channels))
    soundfile.write(path, np.clip(sound, -1, 1), rate, subtype=subtype)
    assert mapped(path) is None
    np.testing.assert_array_equal(load(str(path)).waveform(), encode(io.read(path)).waveform())


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "missing"])
def test_what_cannot_be_mapped_is_refused_as_any_recording_is(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.wav"
    if damage != "missing":
        soundfile.write(path, noise(1, RATE), RATE)
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:9_000], "empty": b"", "text": b"RIFF but not quite a recording"}[damage])
    assert mapped(path) is None
    with pytest.raises(AudioError, match=r"a\.wav"):
        load(str(path))


def test_small_files_are_read_and_large_ones_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(tmp_path / "a.wav")
    soundfile.write(path, noise(3, RATE), RATE)
    small = load(path, 0.25, 0.5)
    monkeypatch.setattr("voxanchor.audio.pcm.MAPPED_BYTES", 1000)
    large = load(path, 0.25, 0.5)
    assert not isinstance(small.samples, np.memmap)
    assert isinstance(large.samples, np.memmap)
    assert small.memory_bytes == 16_000
    assert large.memory_bytes < 2_000
    for found in (small, large):
        np.testing.assert_array_equal(found.samples, noise(3, RATE)[4_000:12_000])


@pytest.mark.parametrize("seconds", [2.0, WHOLE_S + 1.0])
def test_stretches_of_other_recordings_equal_the_whole(tmp_path: Path, seconds: float) -> None:
    path = str(tmp_path / "a.wav")
    sound = 0.2 * np.random.default_rng(4).standard_normal(round(seconds * 22_050))
    soundfile.write(path, sound, 22_050, subtype="FLOAT")
    whole = load(path).waveform()
    stretch = load(path, 0.5, 1.0).waveform()
    np.testing.assert_allclose(stretch, whole[8_000:24_000], atol=1e-4)
    assert np.array_equal(stretch, whole[8_000:24_000]) == (seconds < WHOLE_S)


NO_SEEKING = {
    "gsm": ("WAV", "GSM610"), "nms": ("WAV", "NMS_ADPCM_16"), "g721": ("WAV", "G721_32"), "g723": ("AU", "G723_24"),
    "aiff gsm": ("AIFF", "GSM610"), "dwvw": ("AIFF", "DWVW_16"),
}  # fmt: skip


@pytest.mark.parametrize("rate", [8_000, 16_000])
@pytest.mark.parametrize("kind", NO_SEEKING)
def test_what_cannot_be_read_from_anywhere_is_cut_nevertheless(tmp_path: Path, kind: str, rate: int) -> None:
    container, encoding = NO_SEEKING[kind]
    path = tmp_path / "a"
    soundfile.write(
        path, 0.2 * np.sin(np.arange(61 * rate) * 2 * np.pi * 300 / rate), rate, format=container, subtype=encoding
    )
    whole = io.read(path)
    for start_s, duration_s in ((0.0, 1.0), (33.333, 1.5), (59.5, None)):
        crop = io.read(path, start_s=start_s, duration_s=duration_s)
        first = round(16_000 * start_s)
        assert len(crop) == (len(whole) - first if duration_s is None else round(16_000 * duration_s))
        np.testing.assert_array_equal(crop, whole[first : first + len(crop)])
        stretch = load(str(path), start_s, duration_s).waveform()
        np.testing.assert_allclose(stretch, crop, atol=1e-4)


def test_stretches_end_where_a_compressed_file_says_it_ends(tmp_path: Path) -> None:
    path = str(tmp_path / "a.mp3")
    soundfile.write(path, 0.2 * np.random.default_rng(5).standard_normal(2 * 44_100), 44_100)
    total = round(io.probe(path).duration_s * RATE)
    stretch = load(path, (total - RATE) / RATE, 1.0)
    assert len(stretch) == RATE == len(io.read(path, start_s=(total - RATE) / RATE, duration_s=1.0))


def test_a_stored_recording_is_a_mapped_slice_and_never_its_neighbours(tmp_path: Path) -> None:
    shard = str(tmp_path / "00000.wav")
    soundfile.write(shard, noise(6, 3 * RATE), RATE)
    stored = Stored(shard, RATE, RATE, 0.5)
    found = load("/nowhere/a.flac", stored=stored)
    assert isinstance(found.samples, np.memmap)
    np.testing.assert_array_equal(found.waveform(), noise(6, 3 * RATE)[RATE : 2 * RATE] / np.float32(65536))
    np.testing.assert_array_equal(load("a", 0.25, 0.5, stored).samples, found.samples[4_000:12_000])
    np.testing.assert_array_equal(load("a", 0.5, 0.5 + 1 / RATE, stored).samples, found.samples[-8_001:])
    for start_s, duration_s in ((0.5, 0.6), (1.0, None), (-0.1, 0.5)):
        with pytest.raises(AudioError, match="crop"):
            load("a.flac", start_s, duration_s, stored)


def test_a_shard_that_is_gone_or_too_short_says_what_to_do(tmp_path: Path) -> None:
    shard = str(tmp_path / "00000.wav")
    with pytest.raises(AudioError, match=r"no such shard.*data check"):
        Stored(shard, 0, 10).pcm()
    soundfile.write(shard, noise(6, 100), RATE)
    assert len(Stored(shard, 90, 10).pcm()) == 10  # that it was missing is not remembered
    with pytest.raises(AudioError, match=r"cut short.*data check"):
        Stored(shard, 91, 10).pcm()


def test_threads_share_maps(tmp_path: Path) -> None:
    stored = []
    for number in range(4):
        soundfile.write(tmp_path / f"{number}.wav", noise(number, 4_000), RATE)
        stored += [Stored(str(tmp_path / f"{number}.wav"), first, 1_000) for first in range(0, 4_000, 1_000)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda one: one.pcm(), stored * 20))
    for index, pcm in enumerate(found):
        number, quarter = divmod(index % 16, 4)
        np.testing.assert_array_equal(pcm.samples, noise(number, 4_000)[quarter * 1_000 :][:1_000])
    homes = {id(pcm.samples.base) for pcm in found[-16:]}
    assert len(homes) == 4
