"""A whole comparison at the size of a test: equal audio for all, tuned alike, and resumed to the same end."""

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from voxanchor import config
from voxanchor.errors import OutputError, RecipeError
from voxanchor.evaluation.protocol import evaluate
from voxanchor.training.recipe import Recipe
from voxanchor.training.run import run_stage
from voxanchor.workflows import compare as module
from voxanchor.workflows import evaluate as evaluating
from voxanchor.workflows.compare import compare

STEPS = {"steps": 3, "batch_size": 4, "crop_s": 0.6, "validate_every": 3, "checkpoint_every": 1}
AAM = {"classification": {"margin": {"warmup_steps": 2}}}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory, voices_folder: Path, noise_path: Path) -> Recipe:
    folder = tmp_path_factory.mktemp("recipe")
    (folder / "small.yaml").write_text("name: small\nconditions: [clean, noise_0db, noise_10db, music_5db]\n")
    (folder / "rooms.yaml").write_text("name: rooms\nconditions: [clean, reverb_0.3s]\n")
    values: dict[str, Any] = {
        "name": "tiny comparison",
        "data": {
            "speech": [{"path": str(voices_folder), "hold_out_speakers": 4}],
            "noise": [str(noise_path)],
            "validation_speakers": 2,
        },
        "encoder": {"architecture": "ecapa", "options": {"channels": 16, "embedding_dim": 16}},
        "stages": {
            "base": {"train": {"start": "scratch", "clean_share": 1, **STEPS, **AAM}},
            "anchors": {"anchors": {"of": "base"}},
            "joint": {"train": {"start": "scratch", **STEPS, "steps": 6, **AAM}},
            "anchored": {"train": {"start": "base", "anchors": "anchors", **STEPS}},
        },
        "comparison": {"seeds": 2, "tuning": {"learning_rates": [1e-3, 3e-3]}},
        "evaluation": {
            "systems": ["base", "joint", "anchored"],
            "noise": [str(noise_path)],
            "suite": str(folder / "small.yaml"),
            "segment_s": 1,
            "suites": {"rooms": {"suite": str(folder / "rooms.yaml")}},
        },
    }
    return config.build(Recipe, values)


@pytest.fixture(scope="module")
def whole(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compare(recipe, tmp_path_factory.mktemp("runs") / "whole")


def table(folder: Path, name: str) -> list[dict[str, str]]:
    with (folder / name).open() as file:
        return list(csv.DictReader(file))


def test_every_system_and_seed_is_in_the_tables(whole: Path) -> None:
    rows = table(whole, "results.csv")
    found = {(row["suite"], row["system"], row["training_seed"], row["condition"]) for row in rows}
    assert len(found) == len(rows) == 3 * 2 * (4 + 2)
    assert {row["training_seed"] for row in table(whole, "geometry.csv")} == {"0", "1"}
    summary = json.loads((whole / "summary.json").read_text())
    assert list(summary) == ["base", "joint", "anchored"]
    assert {"clean", "avg_noisy"} <= set(summary["anchored"])
    report = (whole / "report.html").read_text()
    assert "http" not in report.replace("http://www.w3.org", "")
    assert "learning_rate" in report
    question = "Does anchored do better in noise than base and joint, and does it keep what base does on clean speech?"
    assert question in report


def test_the_grid_is_tried_with_the_first_seed_and_the_best_is_taken_by_all(whole: Path) -> None:
    rows = table(whole, "tuning.csv")
    assert [row["stage"] for row in rows] == ["base"] * 2 + ["joint"] * 2 + ["anchored"] * 2
    for stage in ("base", "joint", "anchored"):
        tried = [row for row in rows if row["stage"] == stage]
        (taken,) = [row for row in tried if row["chosen"] == "1"]
        assert float(taken["score"]) == min(float(row["score"]) for row in tried)
        for seed in (0, 1):
            lines = (whole / f"seed-{seed}" / stage / "training" / "metrics.jsonl").read_text().splitlines()
            rates = [json.loads(line)["learning_rate"] for line in lines if "learning_rate" in line]
            # three steps of a schedule that has 50 to warm up
            steps = 6 if stage == "joint" else 3
            assert rates[-1] == pytest.approx(float(taken["learning_rate.peak"]) * steps / 50, rel=1e-6)


def test_weights_start_alike_within_a_seed_and_differ_between_seeds(whole: Path) -> None:
    weights = {seed: (whole / f"seed-{seed}" / "base" / "model.safetensors").read_bytes() for seed in (0, 1)}
    assert weights[0] != weights[1]


def test_all_models_hear_the_same_audio(
    recipe: Recipe, whole: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    seen: list[int] = []

    def listening(systems: Mapping[str, Any], *rest: Any, **options: Any) -> Any:
        heard: dict[str, list[torch.Tensor]] = {}
        for name, system in systems.items():
            kept = heard.setdefault(name, [])
            system.register_forward_pre_hook(lambda _, given, kept=kept: kept.append(given[0].double().sum()))
        outcome = evaluate(systems, *rest, **options)
        sums = [torch.stack(values).sort().values for values in heard.values()]  # batches are side by side
        assert len(sums) == 6
        assert all(torch.equal(sums[0], other) for other in sums[1:])
        seen.append(len(sums[0]))
        return outcome

    monkeypatch.setattr(evaluating, "evaluate", listening)
    for entry in whole.iterdir():
        if entry.name not in ("embeddings", ".lock"):
            (tmp_path / entry.name).symlink_to(entry)
    compare(recipe, tmp_path)
    assert len(seen) == 2
    assert seen[0] > seen[1] > 0


def test_what_is_finished_is_not_done_again(recipe: Recipe, whole: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (whole / "results.csv").read_text()
    marks = {path: path.stat().st_mtime_ns for path in whole.rglob("model.safetensors")}
    monkeypatch.setattr("voxanchor.training.run.train", None)
    compare(recipe, whole)
    assert (whole / "results.csv").read_text() == before
    assert {path: path.stat().st_mtime_ns for path in whole.rglob("model.safetensors")} == marks


@pytest.mark.parametrize("killed_at", [2, pytest.param(9, marks=pytest.mark.slow)])
def test_a_comparison_that_is_killed_and_started_again_ends_alike(
    recipe: Recipe, whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    class Killed(BaseException):
        pass

    count = 0

    def dying(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count == killed_at:
            raise Killed
        run_stage(*arguments)

    with monkeypatch.context() as patch:
        for place in ("voxanchor.workflows.compare.run_stage", "voxanchor.workflows.compare.run_stage"):
            patch.setattr(place, dying)
        with pytest.raises(Killed):
            compare(recipe, tmp_path / "cut")
    compare(recipe, tmp_path / "cut")
    for name in ("results.csv", "geometry.csv", "tuning.csv", "summary.json"):
        assert (tmp_path / "cut" / name).read_text() == (whole / name).read_text(), name


def test_a_model_that_exists_can_be_the_base_and_is_evaluated_once(recipe: Recipe, whole: Path, tmp_path: Path) -> None:
    out = compare(recipe, tmp_path / "from", systems=["joint"], seeds=1, taken=[f"base={whole / 'seed-0' / 'base'}"])
    rows = table(out, "results.csv")
    assert {row["training_seed"] for row in rows} == {"0"}
    clean = {row["system"]: row["eer"] for row in rows if row["condition"] == "clean" and row["suite"] == "small"}
    whole_clean = [
        row["eer"]
        for row in table(whole, "results.csv")
        if (row["system"], row["condition"], row["training_seed"], row["suite"]) == ("base", "clean", "0", "small")
    ]
    assert clean["base"] == whole_clean[0]
    assert "the same budget" in (out / "report.html").read_text()


def test_another_recipe_in_the_same_folder_is_refused(recipe: Recipe, whole: Path) -> None:
    other = config.build(Recipe, config.override(config.to_plain(recipe), ["stages.joint.train.steps=7"]))
    with pytest.raises(OutputError, match=r"stages\.joint\.train\.steps: 6 -> 7"):
        compare(other, whole)


def test_recipes_without_what_a_comparison_needs_are_refused(recipe: Recipe, tmp_path: Path) -> None:
    plain = config.to_plain(recipe)
    plain.pop("contest")
    with pytest.raises(RecipeError, match="needs 'evaluation' and 'comparison'"):
        compare(config.build(Recipe, plain), tmp_path / "a")
    with pytest.raises(RecipeError, match="stage=MODEL"):
        compare(recipe, tmp_path / "b", taken=["base"])
    with pytest.raises(RecipeError, match="at least 1"):
        compare(recipe, tmp_path / "c", seeds=0)
    assert not list(tmp_path.iterdir())
    assert module.REPLICATES >= 1000
