"""Recipes and stages that extend others, under the present and the former names of keys."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from voxanchor import config
from voxanchor.errors import RecipeError
from voxanchor.training.recipe import Recipe, merged, packaged_recipes, read_recipe
from voxanchor.training.stage import REMOVED, Removed


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
            "other": {"pretrained": "ge2e"},
        },
    )


def test_what_is_said_replaces_key_by_key_and_folders_stay_those_of_each_file(tmp_path: Path, model: Path) -> None:
    child = write(
        tmp_path / "deep" / "child.yaml",
        extends="../model.yaml",
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


def test_a_stage_extends_an_earlier_one(model: Path) -> None:
    child = write(
        model.parent / "child.yaml",
        extends="model.yaml",
        stages={
            "longer": {"extends": "base", "train": {"steps": 9}},
            "longest": {"extends": "longer", "train": {"steps": 10}},
        },
    )
    stages = read_recipe(child).stages
    assert [stage.train.steps for stage in stages.values() if stage.train] == [3, 9, 10]
    assert all(stage.train.learning_rate.peak == 0.1 for stage in stages.values() if stage.train)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"extends": "child.yaml"}, "another recipe"),
        ({"extends": 3}, "another recipe"),
        ({"extends": "absent.yaml"}, "absent.yaml: cannot be read"),
        (
            {"extends": "model.yaml", "stages": {"new": {"extends": "bass", "train": {"steps": 2}}}},
            "Did you mean 'base'",
        ),
        ({"extends": "model.yaml", "stages": {"new": {"extends": "new"}}}, "not an earlier stage"),
    ],
)
def test_what_extends_nothing_is_refused(model: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(write(model.parent / "child.yaml", **values))


FORMER = {"extends": "like", "pretrained": "take", "interpolation": "blend", "comparison": "contest"}
FORMER["same_speaker_threshold"] = "alike"


def renamed(value: Any, words: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {words.get(key, key): renamed(item, words) for key, item in value.items()}
    return [renamed(item, words) for item in value] if isinstance(value, list) else value


PARENT = {
    "name": "parent",
    "data": {"speech": [{"path": "speech"}]},
    "stages": {
        "base": {"pretrained": "ge2e"},
        "anchors": {"anchors": {"of": "base"}},
        "anchored": {
            "train": {
                "start": "base",
                "anchors": "anchors",
                "steps": 3,
                "interpolation": 0.9,
                "classification": {"classes": "recordings", "same_speaker_threshold": 0.3},
            }
        },
    },
    "evaluation": {"systems": ["base", "anchored"]},
    "comparison": {"seeds": 2},
}
CHILD = {
    "extends": "parent.yaml",
    "stages": {
        "further": {"extends": "anchored", "train": {"interpolation": 0.5}},
        "anchored": {"train": {"classification": {"same_speaker_threshold": 0.6}}},
    },
    "comparison": {"tuning": {"weights": [1, 2]}},
}


@pytest.mark.parametrize("old_parent", [False, True])
@pytest.mark.parametrize("old_child", [False, True])
@pytest.mark.parametrize("key", ["interpolation", "blend"])
def test_former_names_give_the_same_recipe_and_the_same_identity(
    tmp_path: Path, old_parent: bool, old_child: bool, key: str
) -> None:
    write(tmp_path / "parent.yaml", **renamed(PARENT, FORMER if old_parent else {}))
    child = write(tmp_path / "child.yaml", **renamed(CHILD, FORMER if old_child else {}))
    recipe = read_recipe(child, [f"stages.anchored.train.{key}=0.7"])
    trained = [stage.train for stage in recipe.stages.values() if stage.train]
    assert [train.interpolation for train in trained] == [0.7, 0.5]
    assert [train.classification.same_speaker_threshold for train in trained] == [0.6, 0.6]
    assert recipe.stages["base"].pretrained == "ge2e"
    assert recipe.comparison is not None
    assert (recipe.comparison.seeds, recipe.comparison.tuning.weights) == (2, (1.0, 2.0))
    plain = config.to_plain(recipe)
    assert plain["contest"]["seeds"] == 2
    assert plain["stages"]["anchored"]["train"]["blend"] == 0.7
    assert not any(f"{word}:" in config.dump(recipe) for word in FORMER.values())


@pytest.mark.parametrize("place", ["recipe", "stage"])
def test_extending_under_both_names_is_refused(model: Path, place: str) -> None:
    values: dict[str, Any] = {"extends": "model.yaml"}
    both = values if place == "recipe" else values.setdefault("stages", {}).setdefault("new", {"extends": "base"})
    both["like"] = both["extends"]
    with pytest.raises(RecipeError, match="'like' is the former name of 'extends'"):
        read_recipe(write(model.parent / "child.yaml", **values))


@pytest.mark.parametrize("option", REMOVED, ids=lambda option: f"{option.key}-{option.choice}")
@pytest.mark.parametrize("by", ["file", "setting"])
def test_a_removed_option_says_why_it_went_and_what_to_use(model: Path, option: Removed, by: str) -> None:
    setting = f"stages.base.train.{option.key}={option.choice or (True if option.neutral is False else 0.5)}"
    values = config.override({"extends": "model.yaml"}, [setting] if by == "file" else [])
    child = write(model.parent / "child.yaml", **values)
    with pytest.raises(RecipeError, match=r"was removed: .*Use .* \(docs/archive.md\)") as refused:
        read_recipe(child, [setting] if by == "setting" else [])
    assert f"stages.base.train.{option.key}" in str(refused.value)


def test_a_removed_option_that_asks_for_nothing_is_passed_over(model: Path) -> None:
    settings = [f"stages.base.train.{option.key}={option.neutral}" for option in REMOVED if option.choice is None]
    assert len(settings) == 3
    assert read_recipe(model, settings) == read_recipe(model)


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
    assert recipe.comparison is not None
    assert recipe.evaluation is not None
    assert recipe.evaluation.speakers == "validation"
    # speakers are held out by name and seed: pieces of the same recordings leave the same ones out
    held_out = [(source.name, source.hold_out_speakers) for source in recipe.data.speech]
    assert held_out == [(source.name, source.hold_out_speakers) for source in reported.data.speech]
    assert recipe.seed == reported.seed
    ours = recipe.stages[recipe.comparison.ours]
    variants = [
        name for name in recipe.evaluation.systems if name not in (recipe.comparison.base, recipe.comparison.ours)
    ]
    assert all(recipe.stages[name] != ours for name in variants)
    assert bool(variants) == (name != "ablations/shared")


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
    child = write(
        tmp_path / "deep" / "recipes" / "child.yaml", extends="../../recipes/model.yaml", data={"noise": ["n"]}
    )
    child.write_text(child.read_text() + yaml.safe_dump(child_root) if child_root else child.read_text())
    recipe = read_recipe(child)
    expected = tmp_path / place
    assert recipe.data.speech[0].path == str(expected / "speech")
    assert recipe.data.noise == (str(expected / "n"),)
    assert read_recipe(child, ["root=/elsewhere"]).data.noise == ("/elsewhere/n",)
