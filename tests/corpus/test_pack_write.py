"""Packing: killed anywhere and started again it ends with the same bytes; what cannot be packed is refused."""

import hashlib
import json
import resource
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxanchor.audio.pcm import Pcm
from voxanchor.corpus import pack as pack_module
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.corpus.pack import AHEAD_S, MB, Loaded, plan, read_pack, write_pack
from voxanchor.errors import CorpusError, OutputError, RecipeError
from voxanchor.files import write_text
from voxanchor.workflows.pack import pack

RATE = 16_000


class KilledError(BaseException):
    """Ends a job wherever it is, as a kill does: nothing that cleans up after errors may be relied on."""


def contents(*folders: Path) -> dict[str, str]:
    files = [path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six speakers with five recordings of 4 to 8 s: 6 MB."""
    folder = tmp_path_factory.mktemp("speech")
    draw = np.random.default_rng(0)
    for speaker in range(6):
        (folder / f"s{speaker}").mkdir()
        for take in range(5):
            sound = 0.1 * draw.standard_normal(round(draw.uniform(4.0, 8.0) * RATE))
            soundfile.write(folder / f"s{speaker}" / f"{take}.wav", sound, RATE, subtype="FLOAT" if take else "PCM_16")
    return folder


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize("moment", [0, 1, 7, 8, 20, 29])
def test_a_killed_job_goes_on_and_ends_with_the_same_bytes(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: int, outputs: int
) -> None:
    out = [tmp_path / f"out{number}" for number in range(outputs)]
    pack(out, speech=[str(speech)], shard_mb=1)
    expected = contents(*out)
    assert sum(name.endswith(".wav") for name in expected) == 7
    for folder in out:
        shutil.rmtree(folder)
    read, calls = Utterance.pcm, 0

    def pcm(utterance: Utterance) -> Pcm:
        nonlocal calls
        calls += 1
        if calls > moment:
            raise KilledError
        return read(utterance)

    with monkeypatch.context() as patched:
        patched.setattr(Utterance, "pcm", pcm)
        with pytest.raises(KilledError):
            pack(out, speech=[str(speech)], shard_mb=1, workers=1)
    finished = {name: digest for name, digest in contents(*out).items() if name.endswith(".wav")}
    (out[-1] / "shards").mkdir(exist_ok=True)
    (out[-1] / "shards" / ".00001.0123abcd.tmp.wav").write_bytes(b"half a shard")  # a kill leaves this behind
    calls, moment = 0, 1_000
    monkeypatch.setattr(Utterance, "pcm", pcm)
    monkeypatch.setattr("voxanchor.workflows.pack.scan", None)  # what was found is not looked for again
    pack(out, speech=[str(speech)], shard_mb=1)
    assert contents(*out) == expected
    packed = sum(len(json.loads(Path(name).with_suffix(".json").read_text())["gains"]) for name in finished)
    assert calls == 30 - packed


@pytest.mark.parametrize("step", ["the record of a shard", "the manifest", "the heading"])
def test_a_kill_between_two_files_is_no_harm(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    out = tmp_path / "out"
    pack([out], speech=[str(speech)], shard_mb=1)
    expected = contents(out)
    shutil.rmtree(out)
    saves = 0

    def save(manifest: Manifest, path: Path) -> None:
        nonlocal saves
        saves += 1
        if saves == 2:  # the first is the source
            raise KilledError
        original(manifest, path)

    def killed(path: Path, text: str) -> None:
        if Path(path).name == ("00003.json" if step == "the record of a shard" else "pack.json"):
            raise KilledError
        write_text(path, text)

    with monkeypatch.context() as patched:
        original = Manifest.save
        if step == "the manifest":
            patched.setattr(Manifest, "save", save)
        else:
            patched.setattr("voxanchor.corpus.pack.write_text", killed)
            patched.setattr("voxanchor.corpus.pack.write_text", killed)
        with pytest.raises(KilledError):
            pack([out], speech=[str(speech)], shard_mb=1)
    with pytest.raises(CorpusError, match="not finished"):
        scan(out)
    if step == "the record of a shard":
        assert (out / "shards" / "00003.wav").exists()
        assert not (out / "shards" / "00003.json").exists()
    pack([out], speech=[str(speech)], shard_mb=1)
    assert contents(out) == expected


@pytest.mark.parametrize("lost", ["00000.wav", "00003.wav", "00003.json", "00006.wav"])
@pytest.mark.parametrize("harm", ["removed", "cut", "nonsense"])
def test_the_same_command_mends_a_pack(speech: Path, tmp_path: Path, lost: str, harm: str) -> None:
    out = tmp_path / "out"
    pack([out], speech=[str(speech)], shard_mb=1)
    expected = contents(out)
    path = out / "shards" / lost
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-7] if harm == "cut" else b"[1, 2]")
    pack([out], speech=[str(speech)], shard_mb=1)
    assert contents(out) == expected


def test_a_finished_pack_is_left_alone_even_when_its_source_is_gone(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "speech"
    shutil.copytree(speech, source)
    pack([tmp_path / "out"], speech=[str(source)])
    expected = contents(tmp_path / "out")
    shutil.rmtree(source)
    pack([tmp_path / "out"], speech=[str(source)])
    assert contents(tmp_path / "out") == expected
    (tmp_path / "out" / "shards" / "00000.wav").unlink()
    with pytest.raises(CorpusError, match=r"(?s)s0/0\.wav.*Mend it and run the same command again"):
        pack([tmp_path / "out"], speech=[str(source)])


def test_shards_are_spread_over_folders_in_turn(speech: Path, tmp_path: Path) -> None:
    out = [tmp_path / name for name in ("first", "second", "third")]
    made, _ = pack(out, speech=[str(speech)], shard_mb=1)
    found = [sorted(path.stem for path in (folder / "shards").glob("*.wav")) for folder in out]
    assert found == [["00000", "00003", "00006"], ["00001", "00004"], ["00002", "00005"]]
    assert [shard.file for shard in made.shards[:3]] == [
        "shards/00000.wav",
        str(out[1] / "shards" / "00001.wav"),
        str(out[2] / "shards" / "00002.wav"),
    ]
    assert not (out[1] / "manifest.jsonl").exists()
    files, packed = scan(speech), scan(out[0])
    for one, two in zip(files.utterances, packed.utterances, strict=True):
        np.testing.assert_array_equal(one.read(), two.read())
    with pytest.raises(CorpusError, match="first folder"):
        scan(out[1])
    shutil.rmtree(out[1])
    with pytest.raises(CorpusError, match=r"(?s)2 of the pack's 7 shards.*second/shards/00001\.wav"):
        scan(out[0])


def test_another_corpus_or_another_size_is_refused(speech: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(speech, other)
    out = [tmp_path / "a", tmp_path / "b"]
    pack(out, speech=[str(speech)])
    expected = contents(*out)
    others: list[tuple[list[Path], dict[str, Any]]] = [
        (out, {"speech": [str(other)]}),
        (out, {"speech": [str(speech)], "shard_mb": 2}),
        (out, {"speech": [str(speech)], "layout": "speakers"}),
        (out, {"noise": str(speech)}),
        (out[:1], {"speech": [str(speech)]}),
        ([tmp_path / "c", out[1]], {"speech": [str(other)]}),
    ]
    for folders, job in others:
        with pytest.raises(OutputError, match="another run"):
            pack(folders, **job)
    assert contents(*out) == expected
    assert not (tmp_path / "c" / "run.json").exists()  # refused before anything was made: free for the right command


def test_misuse_is_refused_before_anything_is_made(speech: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "x" / speech.name).mkdir(parents=True)
    soundfile.write(tmp_path / "x" / speech.name / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    wrong: list[tuple[dict[str, Any], type[Exception], str]] = [
        ({}, RecipeError, "either speech or noise"),
        ({"speech": [str(speech)], "noise": str(speech)}, RecipeError, "either speech or noise"),
        ({"speech": [str(speech)], "shard_mb": 0}, RecipeError, "1 to 4095 MB"),
        ({"speech": [str(speech)], "shard_mb": 4096}, RecipeError, "1 to 4095 MB"),
        ({"speech": [str(tmp_path / "none")]}, CorpusError, "no such folder"),
        ({"speech": [str(speech), str(tmp_path / "x" / speech.name)]}, CorpusError, "different names"),
    ]
    for job, error, message in wrong:
        with pytest.raises(error, match=message):
            pack([out], **job)
        assert not (out / "shards").exists()
        shutil.rmtree(out, ignore_errors=True)
    for folders, message in (([], "at least once"), ([out, out], "every folder once"), ([speech / "p"], "lies inside")):
        with pytest.raises(RecipeError, match=message):
            pack(folders, speech=[str(speech)])


def test_recordings_fill_shards_in_order_and_none_is_split() -> None:
    most = (MB - 44) // 2
    lengths = [most, 1, most - 1, 1, 5, most - 6, most - 5, 5]
    folders = [Path("/a"), Path("/b")]
    shards = plan([f"{i}" for i in range(8)], lengths, folders, 1)
    assert [(shard.first, shard.lengths) for shard in shards] == [
        (0, (most,)), (1, (1, most - 1)), (3, (1, 5, most - 6)), (6, (most - 5, 5)),
    ]  # fmt: skip
    assert [str(shard.path) for shard in shards] == [f"/{'abab'[i]}/shards/0000{i}.wav" for i in range(4)]
    assert all(shard.bytes <= MB for shard in shards)
    with pytest.raises(RecipeError, match=r"long: 33 s do not fit.*--shard-mb 2$"):
        plan(["long"], [most + 1], folders, 1)
    assert len(plan(["long"], [most + 1], folders, 2)) == 1
    with pytest.raises(RecipeError, match="cut it"):
        plan(["endless"], [2**31], folders, 4095)


def test_recordings_that_changed_are_refused(speech: Path, tmp_path: Path) -> None:
    source = tmp_path / "speech"
    shutil.copytree(speech, source)
    found = scan(source)
    soundfile.write(source / "s3" / "1.wav", 0.1 * np.random.default_rng(0).standard_normal(RATE), RATE)
    (tmp_path / "out").mkdir()
    with pytest.raises(CorpusError, match=r"s3/1\.wav: has 16000 samples now.*new folder"):
        write_pack(found, [tmp_path / "out"], kind="speech", corpora=1, shard_mb=1, workers=2)
    voices = found.with_voices([1.1])
    with pytest.raises(CorpusError, match="own speed"):
        write_pack(voices, [tmp_path / "out"], kind="speech", corpora=1, shard_mb=1, workers=2)


def test_a_disk_too_small_is_refused_before_the_work(
    speech: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 4 * MB

    monkeypatch.setattr("shutil.disk_usage", lambda _: Usage)
    with pytest.raises(OutputError, match="4 MB free, and 6 MB"):
        pack([tmp_path / "a", tmp_path / "b"], speech=[str(speech)], shard_mb=1)  # both on one disk
    assert not (tmp_path / "a" / "shards").exists()
    Usage.free = 7 * MB
    pack([tmp_path / "a", tmp_path / "b"], speech=[str(speech)], shard_mb=1)


def test_a_disk_that_takes_no_more_is_named_and_the_job_goes_on_later(speech: Path, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MB, hard))
    try:
        with pytest.raises(OutputError, match=r"00000\.wav: the file would be larger than .*start the command again"):
            pack([tmp_path / "out"], speech=[str(speech)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list((tmp_path / "out" / "shards").iterdir())
    pack([tmp_path / "out"], speech=[str(speech)])
    assert read_pack(tmp_path / "out").bytes > 5 * MB


@pytest.mark.parametrize("seconds", [1.0, 100.0, 2_000.0])
def test_no_more_than_so_much_sound_is_decoded_ahead(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Decoding is never waited for by writing here, so threads run as far ahead as they may."""
    utterances = [Utterance(str(i), "s", seconds, (Part("nowhere"),)) for i in range(100)]
    lock, started, most = threading.Lock(), 0, 0

    def load(_: Utterance) -> Loaded:
        nonlocal started
        with lock:
            started += 1
        return Loaded(Pcm(np.zeros(1, np.int16)), 0)

    monkeypatch.setattr(pack_module, "_load", load)
    submitted = 0

    def given() -> Iterator[Utterance]:
        nonlocal submitted
        for utterance in utterances:
            submitted += 1
            yield utterance

    for taken, _ in enumerate(pack_module._load_ahead(given(), 2)):
        most = max(most, submitted - taken)
    assert started == 100
    assert most <= 2 + max(1, min(16, AHEAD_S / seconds))
    assert most >= (8 if seconds < 200 else 1)
