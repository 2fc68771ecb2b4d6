"""`voxanchor data pack` and `data check`, and what is done with packs afterwards, through the command line."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from voxanchor.cli.main import run
from voxanchor.models.encoder import EncoderConfig, SpeakerEncoder

SMALL_SUITE = "name: small\nconditions: [clean, noise_5db, music_5db, babble_5db]\n"


@pytest.fixture(scope="module")
def packs(voices_folder: Path, noise_path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The voices and the noise."""
    folder = tmp_path_factory.mktemp("packs")
    for kind, source, mb in (("speech", voices_folder, "1"), ("noise", noise_path, "1024")):
        assert run(["data", "pack", f"--{kind}", str(source), "--out", str(folder / kind), "--shard-mb", mb]) == 0
    return folder / "speech", folder / "noise"


def test_packing_says_what_was_packed(voices_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [str(tmp_path / name) for name in ("a", "b")]
    command = ["data", "pack", "--speech", str(voices_folder), "--out", out[0], "--out", out[1], "--shard-mb", "1"]
    assert run(command) == 0
    assert "48 recordings, 0.03 h, 3 MB in 3 shards" in capsys.readouterr().out
    assert run([*command, "--workers", "1", "--json"]) == 0
    shown = capsys.readouterr()
    facts = json.loads(shown.out)
    size = sum(path.stat().st_size for folder in out for path in Path(folder).glob("shards/*.wav"))
    assert (facts["pack"], facts["kind"], facts["utterances"], facts["speakers"]) == (out[0], "speech", 48, 12)
    assert (facts["shards"], facts["bytes"], facts["unusable"]) == (3, size, 0)
    assert facts["fingerprint"] == json.loads((tmp_path / "a" / "pack.json").read_text())["fingerprint"]
    assert "3 of 3 shards are there already" in shown.err


def test_checking_finds_damage(packs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["data", "check", str(packs[0])]) == 0
    assert "3 shards, 3 MB: as they were written" in capsys.readouterr().out
    assert run(["data", "check", str(packs[1]), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"pack": str(packs[1]), "shards": 1, "damaged": []}
    shard = packs[0] / "shards" / "00002.wav"
    whole = shard.read_bytes()
    try:
        shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 255]))
        assert run(["data", "check", str(packs[0])]) == 1
        shown = capsys.readouterr().out
        assert f"damaged: {shard}: is not what was written" in shown
        assert "voxanchor data pack" in shown
        assert run(["data", "check", str(packs[0]), "--json"]) == 1
        assert [entry["file"] for entry in json.loads(capsys.readouterr().out)["damaged"]] == [str(shard)]
    finally:
        shard.write_bytes(whole)


def test_what_goes_wrong_ends_with_its_status(
    voices_folder: Path, packs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    (other / "ann").mkdir(parents=True)
    soundfile.write(other / "ann" / "a.wav", 0.1 * np.random.default_rng(0).standard_normal(16_000), 16_000)
    cases = [
        (["pack", "--speech", str(other), "--out", str(packs[0])], 5, "holds another run"),
        (["pack", "--out", str(tmp_path / "out")], 2, "either speech or noise"),
        (["pack", "--speech", str(tmp_path / "none"), "--out", str(tmp_path / "out")], 3, "no such folder"),
        (["check", str(voices_folder)], 3, "folder of a pack"),
    ]
    for arguments, status, message in cases:
        assert run(["data", *arguments]) == status
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "status"), [(["data"], 2), (["data", "--help"], 0)])
def test_help_names_the_commands(arguments: list[str], status: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == status
    shown = capsys.readouterr()
    for part in ("fetch", "check", "pack"):
        assert part in (shown.err if status else shown.out)


def test_an_evaluation_on_packs_is_that_on_files(
    voices_folder: Path, noise_path: Path, packs: tuple[Path, Path], tmp_path: Path
) -> None:
    model, suite = tmp_path / "model", tmp_path / "small.yaml"
    SpeakerEncoder(EncoderConfig("ecapa", {"channels": 16, "embedding_dim": 16})).save(model)
    suite.write_text(SMALL_SUITE)
    results = []
    for name, speech, noise in (("files", voices_folder, noise_path), ("packs", *packs)):
        sources = ["--speech", str(speech), "--noise", str(noise), "--suite", str(suite), "--max-segments", "1"]
        assert run(["evaluate", "--model", str(model), *sources, "--out", str(tmp_path / name)]) == 0
        results.append((tmp_path / name / "results.csv").read_text())
    assert results[0] == results[1]
    assert len(results[0].splitlines()) == 5


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.slow
def test_a_killed_process_ends_with_the_same_bytes(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    for speaker in range(4):
        (tmp_path / "speech" / f"s{speaker}").mkdir(parents=True)
        for take in range(25):
            sound = 0.1 * draw.standard_normal(20 * 44_100)
            soundfile.write(tmp_path / "speech" / f"s{speaker}" / f"{take}.flac", sound, 44_100)
    out = tmp_path / "out"
    command = [sys.executable, "-m", "voxanchor", "data", "pack", "--speech", str(tmp_path / "speech")]
    command += ["--out", str(out), "--shard-mb", "4", "--workers", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for shards in (1, 5, 9):
        with subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL) as process:
            while process.poll() is None and len(list(out.glob("shards/0*.wav"))) < shards:
                time.sleep(0.005)
            process.send_signal(signal.SIGKILL)
            assert process.wait() == -signal.SIGKILL
    subprocess.run(command, env=environment, check=True, capture_output=True)
    killed = digests(out)
    shutil.rmtree(out)
    subprocess.run(command, env=environment, check=True, capture_output=True)
    assert digests(out) == killed
    assert sum(path.endswith(".wav") for path in killed) == 17
