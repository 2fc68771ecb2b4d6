"""`voxanchor embed` of a whole corpus: from the command line to shards, resumed after every kind of end."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from safetensors import safe_open
from safetensors.numpy import load_file

import voxanchor
from voxanchor.cli.main import run
from voxanchor.corpus.layouts import scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import ModelError, RecipeError, VoxanchorError
from voxanchor.evaluation.bulk import Job, cut, do_windows
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder
from voxanchor.workflows.embed import FAILURES_FILE, INDEX_FILE, embed_corpus


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16}), seed=1).save(folder)
    return folder


@pytest.fixture(scope="module")
def manifest(voices_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("manifest") / "m.jsonl"
    scan(voices_folder).save(path)
    return path


@pytest.fixture(scope="module")
def whole(model: Path, manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The result of a job that nothing interrupted: 48 recordings in five shards."""
    out = tmp_path_factory.mktemp("whole") / "out"
    embed_corpus(str(model), out, manifest=manifest, shard_size=10)
    return out


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def rows(folder: Path) -> dict[str, np.ndarray]:
    """Embeddings by id, read as docs/formats.md tells a reader without voxanchor to do."""
    found: dict[str, np.ndarray] = {}
    for entry in json.loads((folder / "index.json").read_text())["shards"]:
        with safe_open(folder / entry["file"], "numpy") as shard:
            described = json.loads(shard.metadata()["voxanchor"])
            found.update(zip(described["ids"], shard.get_tensor("embeddings"), strict=True))
    return found


def test_a_folder_with_some_bad_recordings(
    model: Path, voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    speech, out = tmp_path / "speech", tmp_path / "out"
    shutil.copytree(voices_folder, speech)
    (speech / "s00" / "0.flac").write_bytes(b"not audio")
    soundfile.write(speech / "s01" / "silent.flac", np.zeros(16_000), 16_000)
    command = ["embed", "--speech", str(speech), "--model", str(model), "--out", str(out), "--shard-size", "20"]
    assert run([*command, "--max-unusable", "0.01"]) == 3
    said = capsys.readouterr().err
    assert "2 of 49 recordings have no embedding" in said
    assert "Written: 47 embeddings" in said
    written = contents(out)
    assert run([*command, "--json"]) == 0  # a share of 0.2 may fail by default
    index = json.loads(capsys.readouterr().out)
    assert contents(out) == written
    assert (index["embeddings"], index["failures"], index["dimension"]) == (47, 2, 16)
    assert [shard["embeddings"] + shard["failures"] for shard in index["shards"]] == [20, 20, 9]
    failures = [json.loads(line) for line in (out / FAILURES_FILE).read_text().splitlines()]
    assert [Path(failure["id"]).name for failure in failures] == ["0.flac", "silent.flac"]
    assert ["not a readable recording" in failures[0]["reason"], "silent" in failures[1]["reason"]] == [True, True]
    found = rows(out)
    expected = voxanchor.load(model).embed([speech / name for name in found])
    np.testing.assert_allclose(list(found.values()), expected, atol=1e-5)


def test_the_index_names_what_the_rows_depend_on(whole: Path, model: Path, manifest: Path) -> None:
    index = json.loads((whole / INDEX_FILE).read_text())
    assert index["model"] == voxanchor.load(model).fingerprint
    assert index["precision"] == "float32"
    assert [shard["embeddings"] for shard in index["shards"]] == [10, 10, 10, 10, 8]
    assert list(rows(whole)) == [utterance.id for utterance in Manifest.load(manifest).utterances]
    assert (whole / FAILURES_FILE).read_text() == ""
    assert not (whole / "windows").exists()


def test_a_job_interrupted_anywhere_ends_as_one_that_was_not(
    whole: Path, model: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, done = tmp_path / "out", Job.do
    started: list[int] = []

    def interrupted(self: Job, encoder: SpeakerEncoder, window: int, advance: Any) -> None:
        started.append(window)
        if len(started) in (1, 3, 6):
            (out / f".embeddings-{window:05d}.0f0f0f0f.tmp.safetensors").write_bytes(b"half a shard")
            raise KeyboardInterrupt
        done(self, encoder, window, advance)

    monkeypatch.setattr(Job, "do", interrupted)
    command = ["embed", "--manifest", str(manifest), "--model", str(model), "--out", str(out), "--shard-size", "10"]
    assert [run(command) for _ in range(5)] == [130, 130, 130, 0, 0]
    assert started == [0, 0, 1, 1, 2, 3, 3, 4]
    assert contents(out) == contents(whole)


def test_a_shard_that_is_removed_is_made_anew(whole: Path, model: Path, manifest: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    (out / "embeddings-00003.safetensors").unlink()
    stamp = (out / "embeddings-00002.safetensors").stat().st_mtime_ns
    embed_corpus(str(model), out, manifest=manifest, shard_size=10)
    assert contents(out) == contents(whole)
    assert (out / "embeddings-00002.safetensors").stat().st_mtime_ns == stamp


def test_two_processes_make_what_one_makes(whole: Path, model: Path, manifest: Path, tmp_path: Path) -> None:
    index = embed_corpus(str(model), tmp_path / "out", manifest=manifest, shard_size=10, processes=2)
    assert index == json.loads((whole / INDEX_FILE).read_text())
    one, two = rows(whole), rows(tmp_path / "out")
    assert list(one) == list(two)
    np.testing.assert_allclose(list(one.values()), list(two.values()), atol=1e-6)
    assert not multiprocessing.active_children()


def test_a_worker_that_dies_ends_the_job_which_then_resumes(
    whole: Path, model: Path, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"

    def murderous(job: Job, windows: list[int], processes: int, advance: Any) -> None:
        do_windows(job, windows, processes, lambda count: multiprocessing.active_children()[0].kill())

    monkeypatch.setattr("voxanchor.workflows.embed.do_windows", murderous)
    with pytest.raises(VoxanchorError, match=r"killed by SIGKILL.*same command again"):
        embed_corpus(str(model), out, manifest=manifest, shard_size=10, processes=2)
    assert not multiprocessing.active_children()
    assert not (out / INDEX_FILE).exists()
    assert (out / FAILURES_FILE).exists()
    monkeypatch.undo()
    embed_corpus(str(model), out, manifest=manifest, shard_size=10)
    assert contents(out).keys() == contents(whole).keys()
    np.testing.assert_allclose(list(rows(out).values()), list(rows(whole).values()), atol=1e-6)


def test_an_interruption_ends_the_workers_in_the_middle_of_a_window(
    model: Path, manifest: Path, tmp_path: Path
) -> None:
    many = Manifest(tuple(replace(u, id=f"{u.id}-{i}") for i in range(100) for u in Manifest.load(manifest).utterances))
    many.save(tmp_path / "m.jsonl")
    counts = cut(tmp_path / "m.jsonl", tmp_path / "windows", 2400)  # each takes much longer than a worker to start
    fingerprint = voxanchor.load(model).fingerprint
    job = Job(str(model), fingerprint, tmp_path / "windows", tmp_path / "out", "float32", 600.0)

    def interrupt(count: int) -> None:
        if count:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        do_windows(job, range(len(counts)), 2, interrupt)
    assert not multiprocessing.active_children()
    assert not list((tmp_path / "out").glob("embeddings-*"))


def test_what_a_worker_meets_reaches_the_caller(manifest: Path, model: Path, tmp_path: Path) -> None:
    job = Job(str(tmp_path / "nothing"), "", tmp_path, tmp_path, "float32", 600.0)
    with pytest.raises(ModelError, match="nothing"):
        do_windows(job, [0, 1], 2, lambda count: None)


@pytest.mark.slow
def test_a_killed_job_leaves_no_process_and_resumes_byte_for_byte(model: Path, manifest: Path, tmp_path: Path) -> None:
    recordings = Manifest.load(manifest).utterances
    long, out = tmp_path / "long.jsonl", tmp_path / "out"
    Manifest(tuple(replace(u, id=f"{u.id}-{i}") for i in range(12) for u in recordings)).save(long)
    command = [sys.executable, "-m", "voxanchor", "embed", "--manifest", str(long), "--model", str(model)]
    command += ["--shard-size", "16", "--out", str(out), "--processes"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for processes in ("2", "1"):
        before = len(list(out.glob("embeddings-*")))
        with subprocess.Popen([*command, processes], env=environment, stderr=subprocess.PIPE) as process:
            while process.poll() is None and len(list(out.glob("embeddings-*"))) == before:
                time.sleep(0.002)
            process.send_signal(signal.SIGKILL)
            process.communicate(timeout=60)  # returns when the last process that could write to the pipe is gone
            assert process.returncode == -signal.SIGKILL
    assert 2 <= len(list(out.glob("embeddings-*"))) < 36
    subprocess.run([*command, "2"], env=environment, check=True, capture_output=True)
    command[command.index(str(out))] = str(tmp_path / "whole")
    subprocess.run([*command, "1"], env=environment, check=True, capture_output=True)
    assert contents(out) == contents(tmp_path / "whole")


def test_another_job_in_the_same_folder_is_refused(
    whole: Path, model: Path, manifest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shared = ["embed", "--model", str(model), "--out", str(whole), "--shard-size", "10"]
    assert run([*shared, "--manifest", str(manifest), "--precision", "bfloat16"]) == 5
    assert "precision" in capsys.readouterr().err
    changed = tmp_path / "m.jsonl"
    Manifest(Manifest.load(manifest).utterances[1:]).save(changed)
    assert run([*shared, "--manifest", str(changed)]) == 5
    assert "identity.manifest" in capsys.readouterr().err


def test_arguments_that_make_no_sense(
    model: Path,
    manifest: Path,
    voices_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, shared = str(tmp_path / "out"), ["embed", "--model", str(model)]
    for arguments in (
        ["a.wav", "--manifest", str(manifest), "--out", out],
        ["--manifest", str(manifest)],
        ["--manifest", str(manifest), "--speech", str(voices_folder), "--out", out],
        ["--manifest", str(manifest), "--out", out, "--processes", "0"],
    ):
        assert run([*shared, *arguments]) == 2
        assert "embed: " in capsys.readouterr().err
    with pytest.raises(RecipeError, match="manifest or a folder"):
        embed_corpus(str(model), tmp_path / "out")
    told = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(RecipeError, match="without torchrun"):
        embed_corpus(str(model), tmp_path / "out", manifest=manifest)
    monkeypatch.undo()
    missing = tmp_path / "no.jsonl"
    assert run([*shared, "--manifest", str(missing), "--out", out]) == 3
    assert str(missing) in capsys.readouterr().err
    # what was refused before it made anything leaves the folder free for the corrected command
    assert run([*shared, "--speech", str(tmp_path / "nowhere"), "--out", out]) == 3
    missing.write_text("no manifest\nat all\n")
    assert run([*shared, "--manifest", str(missing), "--out", out]) == 3
    assert run([*shared, "--manifest", str(manifest), "--out", out]) == 0
    assert len(load_file(Path(out) / "embeddings-00000.safetensors")["embeddings"]) == 48
