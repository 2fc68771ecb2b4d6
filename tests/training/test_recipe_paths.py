"""Where the folders of a recipe lie, and what a recipe may say about noise and its evaluation."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from voxanchor import config
from voxanchor.errors import RecipeError
from voxanchor.training.recipe import Evaluation, Recipe, about, packaged_recipes, read_recipe

FILLED_IN = {"quickstart", "robustify"}
"""Recipes whose folders a command fills in."""


def write(folder: Path, **changes: Any) -> Path:
    values: dict[str, Any] = {
        "name": "r",
        "data": {"speech": [{"path": "dev"}], "noise": [{"path": "musan", "part": "even"}, "cars"]},
        "stages": {"base": {"train": {"start": "scratch", "steps": 3}}},
        "evaluation": {
            "systems": ["base"],
            "speech": "test",
            "trials": "list.txt",
            "segment_s": 0,
            "noise": [{"path": "musan", "part": "odd"}],
            "suites": {"unseen": {"suite": "unseen.yaml", "noise": ["/other"]}},
        },
    }
    values |= changes
    path = folder / "r.yaml"
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    return path


def test_everything_starts_at_the_root(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, root="../data"))
    data = tmp_path.parent / "data"
    assert recipe.data.speech[0].path == str(data / "dev")
    assert recipe.data.noise == (f"{data}/musan::even", f"{data}/cars")
    assert recipe.evaluation is not None
    assert recipe.evaluation.noise == (f"{data}/musan::odd",)
    assert (recipe.evaluation.speech, recipe.evaluation.trials) == (f"{data}/test", f"{data}/list.txt")
    further = recipe.evaluation.suites["unseen"]
    assert (further.suite, further.noise) == (str(tmp_path / "unseen.yaml"), ("/other",))
    (tmp_path / "resolved.yaml").write_text(config.dump(recipe))
    assert config.build(Recipe, config.read_yaml(tmp_path / "resolved.yaml")) == recipe


def test_the_root_is_one_setting(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, root="../data"), ["root=/mnt/corpora", "seed=2"])
    assert (recipe.data.speech[0].path, recipe.seed) == ("/mnt/corpora/dev", 2)
    assert read_recipe(write(tmp_path)).data.speech[0].path == str(tmp_path / "dev")


def test_what_is_not_said_leaves_a_recipe_what_it_was() -> None:
    evaluation = Evaluation(systems=("base",))
    assert not {"speech", "trials", "suites", "rooms"} & set(config.to_plain(evaluation))


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.noise=[{path: musan, part: evne}]", r"data\.noise\.0: there is no part 'evne'.*Did you mean 'even'"),
        ("data.noise=[{path: musan, half: even}]", r"data\.noise\.0: a noise folder is its path, or"),
        ("data.noise=[{part: even}]", "a noise folder is its path, or"),
        ("evaluation.suites.unseen.noise=[{path: 3}]", r"evaluation\.suites\.unseen\.noise\.0"),
        ("evaluation.segment_s=3", "set segment_s: 0"),
        ("evaluation.speech=", "expected str"),
        ("evaluation.speech=''", "set 'speech'"),
        ("evaluation.suites.a/b={}", "letters, digits"),
        ("evaluation.suites.unseen.protocol=noisy", "is not a choice"),
    ],
)
def test_misuse_is_named_with_its_place(tmp_path: Path, setting: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        read_recipe(write(tmp_path), [setting])


@pytest.mark.parametrize("name", sorted(packaged_recipes().keys() - FILLED_IN))
def test_every_recipe_that_ships_can_be_read_by_its_name(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = read_recipe(name)
    assert recipe.name in {Path(name).name, "ablations"}
    assert recipe.evaluation is not None
    # a shipped recipe looks for its data from where the command runs, and elsewhere if told to
    assert all(Path(source.path).is_relative_to(tmp_path.parent) for source in recipe.data.speech)
    moved = read_recipe(name, ["root=/mnt/corpora"])
    assert all(source.path.startswith("/mnt/corpora/") for source in moved.data.speech)
    assert all(folder.startswith("/mnt/corpora/") for folder in moved.data.noise)


@pytest.mark.parametrize("name", ["voxceleb1-compare", "ablations/distance"])
def test_a_copy_is_the_recipe_with_its_data_beside_it(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = tmp_path / "mine.yaml"
    copy.write_bytes(packaged_recipes()[name].read_bytes())
    beside = read_recipe(copy)
    monkeypatch.chdir(tmp_path)
    assert beside == read_recipe(name) == read_recipe("mine.yaml")


def test_a_name_that_is_none_suggests_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RecipeError, match=r"no recipe 'voxceleb'\. Did you mean 'voxceleb1'"):
        read_recipe("voxceleb")
    with pytest.raises(RecipeError, match=r"ends in \.yaml"):
        read_recipe("nothing-like-it-at-all")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe("voxceleb1.yaml")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voxceleb1").write_text("neither: recipe\n")
    with pytest.raises(RecipeError, match="unknown key 'neither'"):
        read_recipe("voxceleb1")


def test_what_a_recipe_is_for_is_said_in_one_line() -> None:
    for path in packaged_recipes().values():
        assert 10 < len(about(path)) <= 90, path
