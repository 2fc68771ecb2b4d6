"""The whole path through the real command line on a tiny corpus: train, robustify, evaluate, embed, verify."""

import contextlib
import csv
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml
from safetensors.numpy import load_file

from voxanchor.cli import main

ECAPA = {"channels": 16, "embedding_dim": 16}
STEPS = {"steps": 4, "batch_size": 8, "crop_s": 0.6, "validate_every": 2, "checkpoint_every": 2}
COLUMNS = (
    "system,protocol,suite,condition,noise,snr_db,noise_seed,trials,targets,"
    "eer,eer_low,eer_high,min_dcf_p01,min_dcf_p05,cllr,min_cllr"
)
SMALL_SUITE = "name: small\nconditions: [clean, noise_5db, music_5db, babble_5db]\n"


def voxanchor(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error::UserWarning"}
    command = [sys.executable, "-m", "voxanchor", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == status, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def in_process(*arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
    """The same without a process of its own, which takes seconds to start: for what another test starts in earnest."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        found = main.run([str(argument) for argument in arguments])
    assert found == status, f"{found}\n{out.getvalue()}\n{errors.getvalue()}"
    return subprocess.CompletedProcess(arguments, found, out.getvalue(), errors.getvalue())


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, voices_folder: Path, noise_path: Path) -> Path:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "small.yaml").write_text(SMALL_SUITE)
    values = {
        "name": "tiny",
        "data": {
            "speech": [{"path": str(voices_folder), "hold_out_speakers": 4}],
            "noise": [str(noise_path)],
            "validation_speakers": 2,
        },
        "encoder": {"architecture": "ecapa", "options": ECAPA},
        "stages": {
            "base": {"train": {"start": "scratch", "clean_share": 1, **STEPS}},
            "anchors": {"anchors": {"of": "base"}},
            "anchored": {"train": {"start": "base", "anchors": "anchors", **STEPS}},
        },
        "evaluation": {
            "systems": ["base", "anchored"],
            "noise": [str(noise_path)],
            "suite": str(folder / "small.yaml"),
            "segment_s": 1,
        },
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture(scope="module")
def run(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "tiny"
    voxanchor("train", recipe, "--out", out)
    return out


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_recipe_leaves_models_tables_and_a_report(run: Path) -> None:
    assert (run / "results.csv").read_text().splitlines()[0] == COLUMNS
    assert {(row["system"], row["condition"]) for row in rows(run)} == {
        (system, condition)
        for system in ("base", "anchored")
        for condition in ("clean", "noise_5db", "music_5db", "babble_5db")
    }
    for row in rows(run):
        assert 0 <= float(row["eer_low"]) <= float(row["eer"]) + 1e-9
        assert float(row["eer"]) <= 100
    summary = json.loads((run / "summary.json").read_text())
    mean = np.mean([float(row["eer"]) for row in rows(run) if row["system"] == "base" and row["noise"]])
    assert summary["base"]["avg_noisy"] == pytest.approx(mean)
    report = (run / "report.html").read_text()
    assert "http://" not in report.replace("http://www.w3.org", "")
    assert "anchored" in report
    for name in ("recipe.yaml", "environment.json", "geometry.csv", "anchors/anchors.safetensors"):
        assert (run / name).exists(), name
    anchored = load_file(run / "anchored" / "anchors.safetensors")["anchors"]
    np.testing.assert_array_equal(anchored, load_file(run / "anchors" / "anchors.safetensors")["anchors"])


def test_the_same_command_again_redoes_nothing(run: Path, recipe: Path) -> None:
    before = (run / "results.csv").read_bytes()
    stamp = (run / "base" / "model.safetensors").stat().st_mtime_ns
    again = in_process("train", recipe, "--out", run)
    assert "finished before" in again.stderr
    assert (run / "base" / "model.safetensors").stat().st_mtime_ns == stamp
    assert (run / "results.csv").read_bytes() == before


def test_another_recipe_in_the_same_folder_is_refused(run: Path, recipe: Path) -> None:
    refused = in_process("train", recipe, "--out", run, "--set", "seed=9", "--set", "name=other", status=5)
    assert "seed: 0 -> 9" in refused.stderr
    assert "other" in refused.stderr


def test_the_seed_decides_everything(run: Path, recipe: Path, tmp_path: Path) -> None:
    in_process("train", recipe, "--out", tmp_path / "again")
    one, two = (load_file(folder / "anchored" / "model.safetensors") for folder in (run, tmp_path / "again"))
    assert all(np.array_equal(one[name], two[name]) for name in one)
    assert (run / "results.csv").read_bytes() == (tmp_path / "again" / "results.csv").read_bytes()


@pytest.fixture(scope="module")
def robust(run: Path, voices_folder: Path, noise_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("robust") / "robust"
    settings = [f"stages.anchored.train.{key}={value}" for key, value in STEPS.items()]
    command: list[str | Path] = [
        "robustify", "--model", run / "base", "--speech", voices_folder, "--noise", noise_path, "--out", out,
    ]  # fmt: skip
    voxanchor(*command, "--force", "--set", *settings)  # after a handful of steps on a handful of speakers, by chance
    return out


def test_robustify_refuses_to_write_a_model_that_it_ruined(
    run: Path, voices_folder: Path, noise_path: Path, tmp_path: Path
) -> None:
    out = tmp_path / "ruined"
    settings = [f"stages.anchored.train.{key}={value}" for key, value in STEPS.items()]
    # a rate at which nothing is left of the base's embeddings, in any attempt
    settings += ["stages.anchored.train.learning_rate.peak=1", "stages.anchored.train.guard.retry_rate=0.9"]
    settings += ["stages.anchored.train.guard.retries=1"]
    command: list[str | Path] = [
        "robustify", "--model", run / "base", "--speech", voices_folder, "--noise", noise_path, "--unlabelled",
        "--out", out,
    ]  # fmt: skip
    refused = in_process(*command, "--set", *settings, status=9)
    assert "was not written" in refused.stderr
    assert not (out / "config.json").exists()
    forced = in_process(*command, "--force", "--set", *settings)
    assert "because of --force" in forced.stdout
    assert (out / "config.json").exists()


def test_robustify_makes_a_model_that_evaluates_beside_its_base(
    robust: Path, run: Path, voices_folder: Path, recipe: Path, tmp_path: Path
) -> None:
    suite = recipe.parent / "small.yaml"
    shared: list[str | Path] = ["--speech", voices_folder, "--suite", suite, "--segment-s", "1", "--max-segments", "1"]
    both: list[str | Path] = ["--model", run / "base", "--model", robust]
    voxanchor("evaluate", *both, *shared, "--out", tmp_path / "new")
    in_process("evaluate", *both, *shared, "--out", tmp_path / "old", "--enrol-model", run / "base")
    new, old = rows(tmp_path / "new"), rows(tmp_path / "old")
    assert {row["system"] for row in new} == {"base", "robust"}
    same = [row["eer"] for row in new if row["system"] == "base"]
    assert same == [row["eer"] for row in old if row["system"] == "base"]
    table = json.loads((tmp_path / "new" / "summary.json").read_text())
    assert set(table) == {"base", "robust"}
    trials = tmp_path / "trials.txt"
    trials.write_text("1 s00/0.flac s00/1.flac\n0 s00/0.flac s01/1.flac\n1 s01/0.flac s01/1.flac\n0 s01/2.flac s02/0\n")
    in_process(
        "evaluate", "--model", robust, "--speech", voices_folder, "--trials", trials, "--suite", suite,
        "--out", tmp_path / "list", "--protocol", "both-noisy", "--noise-seeds", "2",
    )  # fmt: skip
    listed = rows(tmp_path / "list")
    assert {row["trials"] for row in listed} == {"4"}
    assert {row["noise_seed"] for row in listed} == {"0", "1"}


def test_robustify_works_without_labels_and_without_noise(run: Path, voices_folder: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for i, path in enumerate(sorted(voices_folder.rglob("*.flac"))[:12]):
        (flat / f"{i}.flac").write_bytes(path.read_bytes())
    settings = [f"stages.anchored.train.{key}={value}" for key, value in STEPS.items()]
    made = in_process(
        "robustify", "--model", run / "base", "--speech", flat, "--out", tmp_path / "out", "--unlabelled", "--json",
        "--force", "--set", *settings,
    )  # fmt: skip
    assert "built-in noise" in made.stderr
    result = json.loads(made.stdout)
    assert set(result["after"]) == {"clean_agreement", "noisy_agreement", "clean_identity"}
    assert result["guard"]["before"]["clean_identity"] == 1
    refused = in_process("robustify", "--model", run / "base", "--speech", flat, "--out", tmp_path / "x", status=3)
    assert "--unlabelled" in refused.stderr


def test_noise_that_cannot_be_drawn_is_refused_before_anything_is_made(
    run: Path, voices_folder: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(voices_folder / "s00", alone / "s00")
    shared: list[str | Path] = ["robustify", "--model", run / "base", "--out", tmp_path / "out", "--speech"]
    refused = in_process(*shared, alone, status=3)
    assert "there is only one speaker, and nobody talks behind their own voice" in refused.stderr
    assert "3 to 6 talkers out of 1 speaker (4 clips)" in refused.stderr
    unknown = in_process(*shared, voices_folder, "--set", "stages.anchored.train.noise.kinds={wind: 1}", status=2)
    assert "unknown noise 'wind'" in unknown.stderr
    assert not (tmp_path / "out").exists()


def test_embed_and_verify_read_what_people_have(run: Path, voices_folder: Path, tmp_path: Path) -> None:
    def here(*arguments: str | Path, status: int) -> str:
        done = in_process(*arguments, status=status)
        return done.stdout + done.stderr

    stereo = tmp_path / "stereo8k.wav"
    wave, _ = soundfile.read(voices_folder / "s00" / "0.flac")
    soundfile.write(stereo, np.stack([wave[::2], wave[::2]], axis=1), 8000)
    other = voices_folder / "s01" / "0.flac"
    done = voxanchor("embed", stereo, other, "--model", run / "anchored", "--json", "--out", tmp_path / "e.safetensors")
    listed = json.loads(done.stdout)
    assert [item["id"] for item in listed] == [str(stereo), str(other)]
    vectors = np.array([item["embedding"] for item in listed])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    stored = load_file(tmp_path / "e.safetensors")
    np.testing.assert_allclose(stored[str(other)], vectors[1], atol=1e-6)
    compared = voxanchor("verify", stereo, other, "--model", run / "anchored", "--json", status=8)  # no calibration
    score = json.loads(compared.stdout)["score"]
    assert score == pytest.approx(float(vectors[0] @ vectors[1]), abs=1e-5)
    silent, short = tmp_path / "silent.wav", tmp_path / "short.wav"
    soundfile.write(silent, np.zeros(32000), 16000)
    soundfile.write(short, wave[:3200], 16000)
    assert "silent" in here("verify", silent, other, "--model", run / "anchored", status=8)
    assert "s of speech" in here("verify", other, short, "--model", run / "anchored", status=8)
    assert "short.wav" in here("embed", short, "--model", run / "anchored", "--json", status=3)


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["train", "missing.yaml", "--out", "x"], 2, "missing.yaml"),
        (["evaluate", "--model", "ge3e", "--speech", "{voices}", "--out", "x"], 4, "ge2e"),
        (["evaluate", "--model", "{base}", "--speech", "{empty}", "--out", "x"], 3, "no audio"),
        (["evaluate", "--model", "{base}", "--speech", "{voices}", "--noise", "{empty}", "--out", "x"], 3, "empty"),
        (["evaluate", "--model", "{base}", "--speech", "{voices}", "--suite", "noize", "--out", "x"], 2, "noise"),
        (["evaluate", "--speech", "{voices}", "--out", "x"], 2, "model"),
        (["embed", "nowhere.wav", "--model", "{base}", "--json"], 3, "nowhere.wav"),
        (["embed", "--model", "{base}"], 2, "embed"),
        (["verify", "a.wav"], 2, ""),
    ],
)
def test_bad_input_ends_with_a_message_and_a_status(
    run: Path, voices_folder: Path, tmp_path: Path, arguments: list[str], status: int, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    places = {"voices": voices_folder, "base": run / "base", "empty": tmp_path / "empty"}
    filled = [argument.format(**places) for argument in arguments]
    filled = [str(tmp_path / "x") if argument == "x" else argument for argument in filled]
    assert message in in_process(*filled, status=status).stderr


def test_one_bad_recording_among_many_is_listed_and_the_job_goes_on(
    run: Path, voices_folder: Path, recipe: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "voices"
    shutil.copytree(voices_folder, folder)
    (folder / "s00" / "0.flac").write_bytes(b"not audio")
    soundfile.write(folder / "s01" / "silent.flac", np.zeros(16000), 16000)
    shared: list[str | Path] = [
        "--model",
        run / "base",
        "--speech",
        folder,
        "--suite",
        recipe.parent / "small.yaml",
        "--segment-s",
        "1",
    ]
    done = in_process("evaluate", *shared, "--out", tmp_path / "out")
    assert "2 recordings left out" in done.stderr
    listed = (tmp_path / "out" / "left_out.txt").read_text()
    assert "0.flac" in listed
    assert "silent" in listed
    for take in range(4):
        (folder / "s02" / f"{take}.flac").write_bytes(b"not audio")
    refused = in_process("evaluate", *shared, "--out", tmp_path / "no", "--max-unusable", "0.05", status=3)
    assert "s00" in refused.stderr


def test_models_are_listed_and_the_version_is_said() -> None:
    assert "ge2e" in in_process("models").stdout
    assert json.loads(in_process("models", "--json").stdout)[0]["ref"] == "ge2e"
    assert voxanchor("--version").stdout.startswith("voxanchor ")
