from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from voxanchor import config
from voxanchor.errors import RecipeError
from voxanchor.training.recipe import Recipe, read_recipe
from voxanchor.training.stage import LearningRate, Margin

ROOT = Path(__file__).parents[2]


def plain() -> dict[str, object]:
    return {
        "name": "r",
        "data": {"speech": [{"path": "speech"}], "noise": ["noise"]},
        "stages": {
            "base": {"train": {"start": "scratch", "steps": 3}},
            "anchors": {"anchors": {"of": "base"}},
            "anchored": {"train": {"start": "base", "steps": 3, "anchors": "anchors"}},
        },
    }


def test_folders_of_a_recipe_are_taken_from_its_own_folder(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(plain(), sort_keys=False))
    recipe = read_recipe(path, ["seed=4"])
    assert recipe.data.speech[0].path == str(tmp_path / "speech")
    assert recipe.data.noise == (str(tmp_path / "noise"),)
    assert recipe.seed == 4


def test_rooms_are_taken_from_the_recipes_folder_and_leave_others_as_they_were(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(plain(), sort_keys=False))
    assert "rooms:" not in config.dump(read_recipe(path))
    values = plain()
    values["data"]["rooms"] = ["rooms"]  # type: ignore[index]
    path.write_text(yaml.safe_dump(values, sort_keys=False))
    recipe = read_recipe(path, ["stages.base.train.rooms.share=0.3"])
    assert recipe.data.rooms == (str(tmp_path / "rooms"),)
    assert recipe.stages["base"].train is not None
    assert recipe.stages["base"].train.rooms.share == 0.3
    (tmp_path / "resolved.yaml").write_text(config.dump(recipe))
    assert config.build(Recipe, config.read_yaml(tmp_path / "resolved.yaml")) == recipe


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("stages.base.train.stepz=1", "Did you mean 'steps'"),
        ("stages.anchored.train.anchors=anchor", "Did you mean 'anchors'"),
        ("stages.base.train.classification.weight=0", "nothing to learn"),
        ("stages.base.train.classification.centres=anchors", "needs a stage"),
        ("stages.base.train.clean_share=2", "clean_share"),
        ("stages.base.train.rooms.share=0.9", "at most 1 together"),
        ("stages.base.train.rooms.share=-1", "share from 0 to 1"),
        ("stages.base.train.rooms.rt60_s=[1, 0.2]", "lowest first"),
        ("stages.base.train.rooms.rt60_s=[0, 0.2]", "from 0.1 to 3 s"),
        ("stages.base.train.learning_rate.peak=-1", "peak"),
        ("stages.base.anchors.of=x", "one of 'train', 'anchors' and 'pretrained'"),
        ("evaluation.systems=[anchoredd]", "Did you mean 'anchored'"),
        ("data.speech=[]", "at least one folder"),
        ("stages.anchored.train.anchor.distance=cosin", "Did you mean 'cosine'"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(tmp_path: Path, setting: str, message: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(yaml.safe_dump(plain(), sort_keys=False))
    with pytest.raises(RecipeError, match=message):
        read_recipe(path, [setting])


def test_the_resolved_recipe_reads_back_equal(tmp_path: Path) -> None:
    recipe = config.build(Recipe, plain())
    (tmp_path / "r.yaml").write_text(config.dump(recipe))
    assert config.build(Recipe, config.read_yaml(tmp_path / "r.yaml")) == recipe


@given(st.integers(1, 500), st.integers(0, 100), st.floats(0, 1))
@settings(max_examples=30, deadline=None)
def test_learning_rate_rises_to_its_peak_and_falls_to_its_end(steps: int, warmup: int, final: float) -> None:
    rate = LearningRate(peak=2.0, warmup_steps=warmup, final_share=final)
    values = [rate.at(step, steps) for step in range(steps)]
    assert all(0 <= value <= 2.0 + 1e-12 for value in values)
    assert values[: min(warmup, steps)] == sorted(values[: min(warmup, steps)])
    assert values[warmup:] == sorted(values[warmup:], reverse=True)
    if steps > warmup + 1:
        assert values[-1] == pytest.approx(2.0 * final)


def test_margin_grows_and_stays() -> None:
    margin = Margin(0.2, 10)
    assert [margin.at(0), margin.at(5), margin.at(10), margin.at(99)] == pytest.approx([0, 0.1, 0.2, 0.2])
    assert Margin(0.3).at(0) == 0.3
