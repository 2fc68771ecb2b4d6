"""Files looked at side by side, long ones one after the other, and none of them the end of the others."""

import errno
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxanchor.audio import io, pcm, snr
from voxanchor.audio.downmix import Channel
from voxanchor.audio.noise import Clip
from voxanchor.audio.resampling import resampled
from voxanchor.corpus import checks
from voxanchor.corpus.layouts import noise_folder, scan
from voxanchor.corpus.manifest import Manifest, Part, Utterance, read_known
from voxanchor.corpus.noise_folders import room_manifest
from voxanchor.errors import AudioError, CorpusError
from voxanchor.workflows.plan import look_at_sounds


def folder(tmp_path: Path, lengths_s: list[float]) -> list[Path]:
    paths = [tmp_path / f"{number}.wav" for number in range(len(lengths_s))]
    for path, length_s in zip(paths, lengths_s, strict=True):
        samples = np.random.default_rng(0).normal(0, 0.1, round(16_000 * length_s))
        soundfile.write(path, samples, 16_000)
    return paths


def test_what_each_file_is_in_the_order_of_the_paths(tmp_path: Path) -> None:
    paths = folder(tmp_path, [1.0, 0.2, 2.0])
    (tmp_path / "3.wav").write_bytes(b"no sound")
    found = checks.check_files([*paths, tmp_path / "3.wav"], 0.3, 0.1, "checking")
    assert [entry.duration_s for entry in found] == [1.0, 0.0, 2.0, 0.0]
    assert "too short: 0.20 s" in found[1].reason
    assert found[3].reason


ERRORS = [
    OSError(errno.EIO, "Input/output error"),
    PermissionError(errno.EACCES, "Permission denied"),
    ValueError("array is too big"),
    MemoryError(),
    RuntimeError("decoder lost its way"),
    UnicodeEncodeError("utf-8", "\udce9", 0, 1, "surrogates not allowed"),
    TypeError("no rate"),
    IndexError("frame"),
    AudioError("x.wav: is truncated"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_no_error_of_one_file_ends_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    paths = folder(tmp_path, [1.0, 1.0, 1.0])
    plain = io.AudioFile.decoder

    def decoder(file: io.AudioFile) -> Any:
        if Path(file.name) == paths[1]:
            raise error
        return plain(file)

    monkeypatch.setattr(io.AudioFile, "decoder", decoder)
    monkeypatch.setattr(pcm, "mapped", lambda path: None)
    found = checks.check_files(paths, 0.3, 0.1, "checking")
    assert [bool(entry.reason) for entry in found] == [False, True, False]
    assert scan(tmp_path, "flat", max_unusable_share=0.5).unusable[0].reason == found[1].reason
    assert len(noise_folder(tmp_path).unusable) == 1
    (tmp_path / "rooms").mkdir()
    paths[1] = paths[1].rename(tmp_path / "rooms" / "1.wav")
    with pytest.raises(CorpusError, match=r"none of the 1 recordings .*\n  1\.wav: \S"):
        room_manifest(tmp_path / "rooms")


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_a_recording_that_went_bad_is_named_and_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    (path,) = folder(tmp_path, [1.0])
    (utterance,) = scan(tmp_path, "flat").utterances

    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(pcm, "read", refuse)
    monkeypatch.setattr(pcm, "mapped", lambda path: None)
    with pytest.raises(AudioError, match=r"\.wav: "):
        utterance.read()
    for read in (lambda: read_known(utterance), Clip(str(path)).pcm):
        with pytest.raises(AudioError, match=r"(?s)\.wav: .*Mend it and start the same command again"):
            read()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems keep names in Unicode")
@pytest.mark.parametrize("name", [b"caf\xe9", b"\xd6\xd0\xce\xc4", b"\xff"])
def test_a_name_that_is_not_utf8_is_a_reason_not_to_use_a_file(tmp_path: Path, name: bytes) -> None:
    try:
        bad = tmp_path / "corpus" / os.fsdecode(name)
        bad.mkdir(parents=True)
    except OSError:
        pytest.skip("this disk keeps names in Unicode")
    folder(tmp_path, [1.0])[0].rename(bad / "0.wav")
    (tmp_path / "corpus" / "ann").mkdir()
    folder(tmp_path / "corpus" / "ann", [1.0, 2.0])
    found = scan(tmp_path / "corpus", max_unusable_share=0.5)
    assert [utterance.id for utterance in found.utterances] == ["ann/0.wav", "ann/1.wav"]
    assert "not UTF-8" in found.unusable[0].reason
    assert f"\\x{name[-1]:x}" in found.unusable[0].path
    found.save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl") == found
    for refused in (scan, noise_folder, room_manifest):
        with pytest.raises(
            CorpusError, match=r"none of the 1 recordings .*\\x[0-9a-f]{2} .*:\n  0\.wav: .*not UTF-8"
        ) as error:
            refused(bad)
        str(error.value).encode()


def test_a_manifest_is_written_whatever_its_names_are_made_of(tmp_path: Path) -> None:
    name = "caf\udce9/1.wav"
    made = Manifest((Utterance(name, "caf\udce9", 1.0, (Part(f"/data/{name}"),), recording=name),), root="/data")
    made.save(tmp_path / "m.jsonl")
    assert Manifest.load(tmp_path / "m.jsonl") == made


@pytest.mark.parametrize("channel", ["mix", "loudest"])
def test_of_long_files_only_one_is_held_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, channel: Channel
) -> None:
    monkeypatch.setattr(checks, "_LONG_S", 1.5)
    lock, held, most = threading.Lock(), [0], [0]

    def watched(plain: Callable[..., Any], is_long: Callable[..., bool]) -> Callable[..., Any]:
        def watching(*given: Any, **options: Any) -> Any:
            with lock:
                held[0] += is_long(*given)
                most[0] = max(most[0], held[0])
            time.sleep(0.01)
            found = plain(*given, **options)
            with lock:
                held[0] -= is_long(*given)
            return found

        return watching

    by_length = lambda samples, *_: len(samples) > 24_000  # noqa: E731 - a waveform at 16 kHz
    monkeypatch.setattr(io, "read", watched(io.read, lambda path: int(Path(path).stem) % 2 == 0))
    monkeypatch.setattr(snr, "active_s", watched(snr.active_s, by_length))
    monkeypatch.setattr(checks, "resampled", watched(resampled, by_length))
    paths = folder(tmp_path, [2.0, 1.0] * 6)
    for path in paths[::4]:  # channels that cancel, of which one is read again
        wave, rate = soundfile.read(path)
        soundfile.write(path, np.stack((wave, -wave), axis=1), rate)
    found = checks.check_files(paths, 0.3, 0.1, "checking", channel)
    assert [entry.duration_s for entry in found] == [2.0, 1.0] * 6
    assert most[0] == 1


def test_no_folder_waits_for_what_may_come_out_of_a_pipe(tmp_path: Path, voice: Callable[..., np.ndarray]) -> None:
    pipe = tmp_path / "ann" / "0.wav"
    pipe.parent.mkdir()
    os.mkfifo(pipe)
    ringing = np.random.default_rng(0).normal(0.0, np.exp(-np.arange(8_000) / 1_000))
    for sound, read in ((voice(1, 1), scan), (voice(1, 1), noise_folder), (ringing, room_manifest)):
        soundfile.write(tmp_path / "ann" / "1.wav", sound, 16_000)
        options = {"max_unusable_share": 0.5} if read is scan else {}
        unusable = read(tmp_path, **options).unusable
        assert [(Path(item.path).name, item.reason) for item in unusable] == [
            ("0.wav", "a pipe or a device, and no file")
        ]
    assert pcm.mapped(pipe) is None
    looked = look_at_sounds("rooms", str(tmp_path), "rooms")
    assert (looked.files, looked.unusable_share, looked.problem) == (2, 0.5, "")
