"""The field's protocol on a miniature of its corpora, in exactly their layouts: planned, run, and what goes wrong."""

import csv
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from voxanchor.cli.main import run
from voxanchor.corpus.noise_folders import room_clips
from voxanchor.training.corpora import Corpora
from voxanchor.training.recipe import Data, Evaluation, Speech
from voxanchor.workflows.evaluate import evaluations
from voxanchor.workflows.plan import SAMPLE, look_at_speech, sample

RATE = 16_000
RECIPE = "voxceleb1"
TINY = (
    "encoder.options={channels: 16, embedding_dim: 16}",
    "data.validation_speakers=2",
    "evaluation.noise_seeds=1",
    *(
        f"stages.{stage}.train.{key}={value}"
        for stage in ("base", "anchored", "joint")
        for key, value in {"steps": 3, "batch_size": 4, "crop_s": 0.5, "validate_every": 0}.items()
    ),
)


def sound(path: Path, wave: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, RATE, subtype="PCM_16")


def noise(seed: int, seconds: float = 1.0) -> np.ndarray:
    wave: np.ndarray = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * RATE))
    return wave


def make_tree(root: Path, voice: Callable[..., np.ndarray]) -> Path:
    """Write eight training speakers, three test speakers with their trials, and every kind of noise and room."""
    for speaker in range(8):
        for video in ("1zcIwhmdeo4", "7gWzIy6yIIk"):
            for take in (1, 2):
                path = root / f"voxceleb1/dev/wav/id1{speaker:04d}/{video}/{take:05d}.wav"
                sound(path, voice(speaker, 10 * len(video) + take + 5 * (video[0] == "7")))
    names = []
    for speaker in (270, 271, 272):
        for video in ("5r0dWxy17C8", "8jEAjG6SegY"):
            names.append(f"id10{speaker}/{video}/00001.wav")
            sound(root / "voxceleb1/test/wav" / names[-1], voice(speaker, len(names)))
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    lines = [f"{int(a[:7] == b[:7])} {a} {b}" for a, b in pairs]
    (root / "veri_test2.txt").write_text("\n".join(lines) + "\n")
    for number in range(2):
        sound(root / f"musan/noise/free-sound/noise-free-sound-{number:04d}.wav", noise(number))
        sound(root / f"musan/music/fma/music-fma-{number:04d}.wav", noise(10 + number))
        for more in range(4):
            name = f"musan/speech/librivox/speech-librivox-{number + 2 * more:04d}.wav"
            sound(root / name, voice(100 + number + 2 * more, 0))
        sound(root / f"nonspeech100/n{number + 1}.wav", noise(20 + number))
    rooms = root / "RIRS_NOISES/real_rirs_isotropic_noises"
    response = noise(30, 0.4) * 10.0 ** (-3.0 * np.arange(round(0.4 * RATE)) / RATE / 0.3)
    response[0] = 0.9
    sound(rooms / "RVB2014_type1_rir_largeroom1_near_angla.wav", response)
    sound(rooms / "RVB2014_type1_noise_largeroom1_1.wav", noise(31))
    (rooms / "rir_list").write_text(
        "--rir-id 00001 --room-id 001 "
        "RIRS_NOISES/real_rirs_isotropic_noises/RVB2014_type1_rir_largeroom1_near_angla.wav\n"
    )
    return root


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory, voice: Callable[..., np.ndarray]) -> Path:
    return make_tree(tmp_path_factory.mktemp("corpora"), voice)


def settings(root: Path, *more: str) -> list[str]:
    return ["--set", f"root={root}", *TINY, *more]


def plan(root: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    status = run(["train", RECIPE, "--plan", "--json", *settings(root, *more)])
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return status, found


def test_the_plan_of_a_whole_tree(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    status, made = plan(tree, capsys)
    assert status == 0
    assert made["missing"] == 0
    places = {(place["use"], Path(place["path"]).name): place for place in made["looked"]}
    speech = places["training speech", "wav"]
    assert (speech["speakers"], speech["files"], speech["layout"]) == (8, 32, "voxceleb")
    assert speech["hours"] == pytest.approx(32 * 2 / 3600)
    assert places["training noise", "musan::even"]["files"] == places["test noise", "musan::odd"]["files"] == 6
    assert places["training rooms", "real_rirs_isotropic_noises"]["files"] == 1
    assert places["trials", "veri_test2.txt"]["files"] == 15
    stages = {stage["name"]: stage for stage in made["stages"]}
    assert list(stages) == ["base", "anchors", "anchored", "joint", "evaluation"]
    assert stages["base"]["hours"] == pytest.approx(3 * 4 * 0.5 / 3600)
    assert stages["base"]["epochs"] == pytest.approx(12 / (6 / 8 * 64 / 3), rel=1e-6)  # joined to 3 s
    # three systems hear clean once, 15 conditions, and 5 more of the further suite
    assert stages["evaluation"]["hours"] == pytest.approx(3 * (1 + 15 + 5) * 12 / 3600)
    assert all(stage["seconds"] > 0 for stage in stages.values())
    assert made["memory_bytes"] > 0
    assert list(tmp_path.iterdir()) == []


def test_recordings_told_apart_are_more_classes_than_speakers(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    more = ["stages.anchored.train.classification.classes=recordings", "stages.anchored.train.classification.sampled=0"]
    (_, speakers), (status, recordings) = plan(tree, capsys), plan(tree, capsys, *more)
    memory = [
        next(stage["memory_bytes"] for stage in made["stages"] if stage["name"] == "anchored")
        for made in (speakers, recordings)
    ]
    assert status == 0
    assert memory[1] > memory[0]


def test_the_plan_of_a_comparison_counts_seeds_and_trials(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    more = [
        f"stages.{stage}.train.{key}={value}"
        for stage in ("joint_consistency", "finetune", "anchored_unlabelled")
        for key, value in {"steps": 3, "batch_size": 4, "crop_s": 0.5, "validate_every": 0}.items()
    ]
    grid = "comparison.tuning={learning_rates: [1.0e-3, 5.0e-4], weights: [1, 10]}"
    recipe = "voxceleb1-compare"
    command = ["compare", recipe, "--plan", "--json", "--seeds", "2", "--systems", "joint_consistency"]
    assert run([*command, *settings(tree, *more, grid)]) == 0
    made = json.loads(capsys.readouterr().out)
    times = {stage["name"]: stage["times"] for stage in made["stages"]}
    assert times == {"base": 5, "anchors": 2, "anchored": 5, "joint_consistency": 5, "evaluation": 1}
    stages = {stage["name"]: stage for stage in made["stages"]}
    assert stages["evaluation"]["hours"] == pytest.approx(2 * 3 * (1 + 15 + 5) * 12 / 3600)
    assert made["seconds"] == pytest.approx(sum(stage["times"] * stage["seconds"] for stage in made["stages"]))
    assert list(tmp_path.iterdir()) == []


def test_the_plan_says_everything_that_is_missing_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", RECIPE, "--plan", *settings(tmp_path)]) == 3
    said = capsys.readouterr().out
    assert said.count("MISSING") == 7
    assert f"voxanchor data fetch musan --out {tmp_path} (11.1 GB)" in said
    assert f"voxanchor data fetch rirs-noises --out {tmp_path} (1.3 GB)" in said
    assert "VoxCeleb has no free download" in said
    assert "how long is not known while the data are missing" in said


def test_the_plan_of_a_tree_with_faults(
    tmp_path: Path, voice: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_tree(tmp_path, voice)
    (root / "voxceleb1/test/wav/id10270/5r0dWxy17C8/00001.wav").unlink()
    for path in sorted((root / "voxceleb1/dev/wav").rglob("*.wav"))[:16]:
        path.write_bytes(b"not audio")
    sound(root / "musan/noise/free-sound/street.wav", noise(1))
    status, made = plan(root, capsys)
    assert status == 3
    problems = {place["use"]: place["problem"] + place["remedy"] for place in made["looked"] if place["problem"]}
    assert "50 % cannot be used" in problems["training speech"]
    assert "id10270/5r0dWxy17C8/00001.wav" in problems["trials"]
    assert "1 of 13 files have no number" in problems["training noise"]
    assert "1 of 13 files have no number" in problems["test noise"]


def test_vox2_as_it_comes_names_the_extra(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    for number in range(3):
        path = tmp_path / f"dev/aac/id0001{number}/21Uxsk56VDQ/00001.m4a"
        path.parent.mkdir(parents=True)
        path.write_bytes(b"\0\0\0 ftypM4A " * 10)
    speech = f"data.speech=[{{path: {tmp_path / 'dev/aac'}, layout: voxceleb}}]"
    assert run(["train", RECIPE, "--out", str(tmp_path / "out"), *settings(tree, speech)]) == 3
    assert "3 of the files are .m4a: pip install 'voxanchor[m4a]' reads them" in capsys.readouterr().err


def test_training_needs_a_place(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["train", RECIPE]) == 2
    assert "--out" in capsys.readouterr().err


def test_a_missing_list_is_seen_before_the_training(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    absent = f"evaluation.trials={tmp_path / 'absent.txt'}"
    assert run(["train", RECIPE, "--out", str(tmp_path / "out"), *settings(tree, absent)]) == 3
    assert "absent.txt" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_noise_of_the_rooms_is_no_response(tree: Path) -> None:
    clips, unusable = room_clips(tree / "RIRS_NOISES/real_rirs_isotropic_noises")
    assert [Path(clip.path).name for clip in clips] == ["RVB2014_type1_rir_largeroom1_near_angla.wav"]
    assert [item.reason for item in unusable] == ["not named in the rir_list beside it"]


def test_suites_share_recordings_and_take_over_what_they_do_not_say(tree: Path) -> None:
    from voxanchor.corpus.layouts import scan
    from voxanchor.training.recipe import FurtherSuite

    held_out = scan(tree / "voxceleb1/test/wav")
    further = {"a": FurtherSuite("reverb"), "b": FurtherSuite(noise=("x",), protocol="both-noisy")}
    found = evaluations(
        Evaluation(systems=("s",), noise=("n",), suites=further),
        {"s": "m"},
        Corpora(held_out, held_out, held_out, ()),
        Data((Speech("x"),)),
    )
    assert [(one.name, one.comparison.suite, one.comparison.noise, one.comparison.protocol) for one in found] == [
        ("", "noise", ("n",), "clean-enrol"),
        ("a", "reverb", ("n",), "clean-enrol"),
        ("b", "noise", ("x",), "both-noisy"),
    ]
    assert all(one.manifest is held_out for one in found)
    assert found[1].place(Path("out")) == Path("out/suite-a")


def test_a_sample_of_a_large_folder(tmp_path: Path) -> None:
    paths = [Path(f"{i}.wav") for i in range(5 * SAMPLE + 3)]
    assert len(sample(paths)) == SAMPLE
    assert sample(paths)[:2] == [Path("0.wav"), Path("5.wav")]
    assert sample(paths[:3]) == paths[:3]
    found, manifest = look_at_speech("x", str(tmp_path / "none"), "auto", 0.2)
    assert (found.problem, len(manifest)) == ("no such folder", 0)


def test_the_free_recipe_on_its_layouts(
    tree: Path, tmp_path: Path, voice: Callable[..., np.ndarray], capsys: pytest.CaptureFixture[str]
) -> None:
    for part, speakers in (("train-clean-100", range(6)), ("test-clean", range(50, 53))):
        for speaker in speakers:
            for take in range(3):
                name = f"LibriSpeech/{part}/{speaker}/1{take}/{speaker}-1{take}-0000.flac"
                sound(tmp_path / name, voice(speaker, take))
    for name in ("musan", "RIRS_NOISES"):
        (tmp_path / name).symlink_to(tree / name)
    recipe = "librispeech-musan"
    assert run(["train", recipe, "--plan", *settings(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "MISSING" not in said
    assert "18 recordings, 6 speakers, 0.6 min, librispeech" in said


def test_the_whole_protocol_in_miniature(tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert run(["train", RECIPE, "--out", str(out), "--json", *settings(tree)]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert set(summary) == {"base", "joint", "anchored"}
    assert all("avg16" in entry for entry in summary.values())
    with (out / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 3 * 16
    assert {(row["protocol"], row["suite"], row["trials"], row["targets"]) for row in rows} == {
        ("both-noisy", "noise", "15", "3")
    }
    with (out / "suite-nonspeech100" / "results.csv").open() as file:
        unseen = list(csv.DictReader(file))
    assert {row["suite"] for row in unseen} == {"unseen-recordings"}
    assert {row["condition"] for row in unseen} == {"clean", *(f"noise_{snr}db" for snr in (0, 5, 10, 15, 20))}
    clean = {row["system"]: row["eer"] for row in rows if row["condition"] == "clean"}
    assert clean == {row["system"]: row["eer"] for row in unseen if row["condition"] == "clean"}
    assert (out / "suite-nonspeech100" / "report.html").exists()
