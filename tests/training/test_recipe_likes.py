"""Recipes that are like others but for what they say."""

from pathlib import Path

import pytest
import yaml

from voxanchor import config
from voxanchor.errors import RecipeError
from voxanchor.training.recipe import Recipe, merged, packaged_recipes, read_recipe


def write(path: Path, **values: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write(
        tmp_path / "model.yaml",
        name="model",
        data={"speech": [{"path": "speech"}], "noise": ["noise"]},
        stages={
            "base": {"train": {"start": "scratch", "steps": 3, "learning_rate": {"peak": 0.1}}},
            "other": {"take": "ge2e"},
        },
    )


def test_what_is_said_replaces_key_by_key_and_folders_stay_those_of_each_file(tmp_path: Path, model: Path) -> None:
    child = write(
        tmp_path / "deep" / "child.yaml",
        like="../model.yaml",
        name="child",
        data={"noise": ["own"]},
        stages={"other": None, "base": {"train": {"learning_rate": {"warmup_steps": 1}}}},
    )
    recipe = read_recipe(child, ["stages.base.train.steps=7"])
    assert recipe.name == "child"
    assert [Path(source.path).resolve() for source in recipe.data.speech] == [tmp_path / "speech"]
    assert recipe.data.noise == (str(tmp_path / "deep" / "own"),)
    assert list(recipe.stages) == ["base"]
    base = recipe.stages["base"].train
    assert base is not None
    assert (base.steps, base.learning_rate.peak, base.learning_rate.warmup_steps) == (7, 0.1, 1)
    assert config.build(Recipe, config.to_plain(recipe)) == recipe


def test_a_stage_is_like_an_earlier_one(model: Path) -> None:
    child = write(
        model.parent / "child.yaml",
        like="model.yaml",
        stages={
            "longer": {"like": "base", "train": {"steps": 9}},
            "longest": {"like": "longer", "train": {"steps": 10}},
        },
    )
    stages = read_recipe(child).stages
    assert [stage.train.steps for stage in stages.values() if stage.train] == [3, 9, 10]
    assert all(stage.train.learning_rate.peak == 0.1 for stage in stages.values() if stage.train)


@pytest.mark.parametrize(
    ("model_root", "child_root", "place"),
    [
        ("../corpora", {}, "corpora"),  # what the child does not say stays as it is
        ("../corpora", {"root": "../mine"}, "deep/mine"),  # what it says replaces it, for the model's folders too
        (None, {"root": "/mnt"}, "/mnt"),
    ],
)
def test_a_root_is_inherited_and_replaced_as_any_other_key(
    tmp_path: Path, model_root: str | None, child_root: dict[str, str], place: str
) -> None:
    root = {} if model_root is None else {"root": model_root}
    stages = {"base": {"train": {"start": "scratch", "steps": 3}}}
    write(tmp_path / "recipes" / "model.yaml", name="m", **root, data={"speech": [{"path": "speech"}]}, stages=stages)
    child = write(tmp_path / "deep" / "recipes" / "child.yaml", like="../../recipes/model.yaml", data={"noise": ["n"]})
    child.write_text(child.read_text() + yaml.safe_dump(child_root) if child_root else child.read_text())
    recipe = read_recipe(child)
    expected = tmp_path / place
    assert recipe.data.speech[0].path == str(expected / "speech")
    assert recipe.data.noise == (str(expected / "n"),)
    assert read_recipe(child, ["root=/elsewhere"]).data.noise == ("/elsewhere/n",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"like": "child.yaml"}, "another recipe"),
        ({"like": 3}, "another recipe"),
        ({"like": "absent.yaml"}, "absent.yaml: cannot be read"),
        ({"like": "model.yaml", "stages": {"new": {"like": "bass", "train": {"steps": 2}}}}, "Did you mean 'base'"),
        ({"like": "model.yaml", "stages": {"new": {"like": "new"}}}, "not an earlier stage"),
    ],
)
def test_what_is_like_nothing_is_refused(model: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(write(model.parent / "child.yaml", **values))


def test_merging_leaves_both_sides_as_they_were() -> None:
    model, changes = {"a": {"b": [1], "c": 2}}, {"a": {"b": [3], "d": None}}
    result = merged(model, changes)
    assert result == {"a": {"b": [3], "c": 2}}
    result["a"]["b"].append(4)
    assert model == {"a": {"b": [1], "c": 2}}
    assert changes == {"a": {"b": [3], "d": None}}


@pytest.mark.parametrize("name", [name for name in packaged_recipes() if name.startswith("ablations/")])
def test_every_ablation_differs_from_ours_in_what_it_says_and_hears_none_of_those_reported_on(name: str) -> None:
    recipe = read_recipe(name)
    reported = read_recipe("compare-ge2e")
    assert recipe.contest is not None
    assert recipe.evaluation is not None
    assert recipe.evaluation.speakers == "validation"
    # speakers are held out by name and seed: pieces of the same recordings leave the same ones out
    held_out = [(source.name, source.hold_out_speakers) for source in recipe.data.speech]
    assert held_out == [(source.name, source.hold_out_speakers) for source in reported.data.speech]
    assert recipe.seed == reported.seed
    ours = recipe.stages[recipe.contest.ours]
    variants = [name for name in recipe.evaluation.systems if name not in (recipe.contest.base, recipe.contest.ours)]
    assert all(recipe.stages[name] != ours for name in variants)
    assert bool(variants) == (name != "ablations/shared")
