"""Plans of systems: what leads to a model, what it costs, and what is unequal."""

import os
import re

import pytest

from voxanchor.cli.training import show
from voxanchor.errors import RecipeError
from voxanchor.training.recipe import Recipe, Tuning, read_recipe
from voxanchor.workflows.compare import grid, reuse, select, with_settings
from voxanchor.workflows.plan import effort, in_words, make_plan, plan_of, unequal


@pytest.fixture(scope="module")
def small() -> Recipe:
    return read_recipe("compare-small")


@pytest.fixture(scope="module")
def on_ge2e() -> Recipe:
    return read_recipe("compare-ge2e")


def test_a_plan_is_what_leads_to_a_model(small: Recipe) -> None:
    assert plan_of(small, "base") == ("base",)
    assert plan_of(small, "joint") == ("joint",)
    assert plan_of(small, "anchored") == ("base", "anchors", "anchored")


@pytest.mark.parametrize("name", ["compare-small", "compare-ge2e", "librispeech-musan", "voxceleb1-compare"])
def test_every_system_of_our_comparisons_has_the_same_budget(name: str) -> None:
    recipe = read_recipe(name)
    assert recipe.evaluation is not None
    systems = [system for system in recipe.evaluation.systems if system != "base"]
    assert set(systems) - {"anchored_frames"} == {
        "joint",
        "joint_consistency",
        "finetune",
        "anchored",
        "anchored_unlabelled",
    }
    efforts = {system: effort(recipe, system) for system in systems}
    assert len({each.steps for each in efforts.values()}) == 1
    assert len({each.clean + each.noisy for each in efforts.values()}) == 1
    trained = {system: recipe.stages[system].train for system in systems}
    for key in ("batch_size", "crop_s", "noise", "rooms", "channels", "gain_db", "clean_share"):
        assert len({str(getattr(train, key)) for train in trained.values()}) == 1, key


def test_what_is_unequal_is_said(small: Recipe, on_ge2e: Recipe) -> None:
    assert small.evaluation is not None
    said = " ".join(unequal(small, small.evaluation.systems, "anchored"))
    assert "base takes" in said
    assert "joint_consistency" in said
    assert "beside its inputs" in said
    assert "finetune" not in said
    assert on_ge2e.evaluation is not None
    said = " ".join(unequal(on_ge2e, on_ge2e.evaluation.systems, "anchored"))
    assert "base was trained elsewhere" in said
    assert "joint takes" not in said


def test_plans_read_as_sentences(small: Recipe) -> None:
    words = in_words(small, "anchored")
    assert words[0].startswith("base: from scratch, ")
    assert "by base, frozen" in words[1]
    assert "pull to the utterance anchor" in words[2]
    assert "consistency with the clean crop" in in_words(small, "joint_consistency")[-1]
    assert "pull of frames" not in words[2]


def test_a_plan_says_that_frames_are_pulled(on_ge2e: Recipe) -> None:
    assert "pull of frames to the base model's (20)" in in_words(on_ge2e, "anchored_frames")[-1]


def test_a_model_that_exists_leaves_every_system_the_budget_that_is_left(small: Recipe) -> None:
    given = reuse(small, "base", "ge2e")
    assert given.stages["base"].pretrained == "ge2e"
    joint, anchored = given.stages["joint"].train, given.stages["anchored"].train
    assert joint is not None
    assert anchored is not None
    assert joint.start == "base"
    assert joint.steps == anchored.steps
    assert joint.learning_rate == anchored.learning_rate
    assert anchored == small.stages["anchored"].train
    with pytest.raises(RecipeError, match="no stage 'bas'"):
        reuse(small, "bas", "ge2e")
    with pytest.raises(RecipeError, match="no stage 'anchors'"):
        reuse(small, "anchors", "ge2e")


def test_systems_are_chosen_with_base_and_ours(small: Recipe) -> None:
    chosen = select(small, ["finetune"])
    assert chosen.evaluation is not None
    assert chosen.evaluation.systems == ("base", "finetune", "anchored")
    assert "joint" not in chosen.stages
    with pytest.raises(RecipeError, match="no system 'joined'"):
        select(small, ["joined"])


def test_all_are_tuned_with_as_many_trials(on_ge2e: Recipe) -> None:
    assert on_ge2e.comparison is not None
    tuning = on_ge2e.comparison.tuning
    budget = len(tuning.learning_rates) * len(tuning.weights)
    tried: dict[str, list[float]] = {}
    for name, stage in on_ge2e.stages.items():
        if stage.train is not None:
            points = grid(stage.train, tuning)
            assert len({tuple(point.items()) for point in points}) == len(points) == budget, name
            tried[name] = sorted({point["learning_rate.peak"] for point in points})
            assert set(tried[name]) >= set(tuning.learning_rates)
            assert (tried[name][0], tried[name][-1]) == (min(tuning.learning_rates), max(tuning.learning_rates))
    for name in ("anchored", "anchored_frames", "joint_consistency"):
        assert tried[name] == sorted(tuning.learning_rates)
    for name in ("finetune", "joint", "anchored_unlabelled"):
        assert tried[name] == pytest.approx([2.5e-4, 2.97e-4, 3.54e-4, 5e-4, 7.07e-4, 1e-3, 1.41e-3, 2e-3])


@pytest.mark.parametrize(
    ("tuning", "trials"),
    [
        (Tuning(), 1),
        (Tuning(learning_rates=(1e-3, 5e-4)), 2),
        (Tuning(weights=(5.0, 10.0, 20.0)), 3),
        (Tuning(learning_rates=(1e-3,), weights=(5.0, 10.0)), 2),
        (Tuning(learning_rates=(1e-3, 2e-3), weights=(5.0,)), 2),
    ],
)
def test_any_grid_is_as_many_trials_for_all(on_ge2e: Recipe, tuning: Tuning, trials: int) -> None:
    for name, stage in on_ge2e.stages.items():
        if stage.train is not None:
            points = grid(stage.train, tuning)
            assert len({tuple(point.items()) for point in points}) == len(points) == trials, name


def test_settings_change_a_stage_and_nothing_else(on_ge2e: Recipe) -> None:
    train = on_ge2e.stages["anchored"].train
    assert train is not None
    changed = with_settings(train, {"learning_rate.peak": 1e-5, "anchor.weight": 7.0})
    assert changed.learning_rate.peak == 1e-5
    assert changed.learning_rate.warmup_steps == train.learning_rate.warmup_steps
    assert changed.anchor.weight == 7.0
    assert changed.classification == train.classification


def test_a_plan_needs_nothing_that_a_system_may_lack(
    small: Recipe, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Windows says neither how busy a machine is nor how much memory it has; without speech no more is asked."""
    for name in ("getloadavg", "sysconf"):
        monkeypatch.delattr(os, name)
    plan = make_plan(small)
    assert plan.machine_bytes == 0
    show(plan)
    assert re.search(r"at most about \d+\.\d GB of memory$", capsys.readouterr().out, re.MULTILINE)
