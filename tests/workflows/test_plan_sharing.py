"""Which stages of a plan are measured once for several: those alone whose steps cost the same."""

from dataclasses import replace
from typing import Any

import pytest

from voxanchor.models.encoder import SpeakerEncoder
from voxanchor.training.guard import ForgettingGuard
from voxanchor.training.recipe import Recipe, read_recipe
from voxanchor.training.stage import AnchorTerm, Classification, Consistency, Noise, Rooms, Train
from voxanchor.workflows import plan
from voxanchor.workflows.plan import Step


@pytest.fixture(scope="module")
def small() -> Recipe:
    return read_recipe("compare-small")


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Train]:
    """The stages that were measured; nothing is run."""
    stages: list[Train] = []

    def measure(make: Any, stage: Train, classes: int) -> Step:
        assert isinstance(make(), SpeakerEncoder)
        stages.append(stage)
        return Step(float(len(stages)), len(stages))

    monkeypatch.setattr(plan, "measure_step", measure)
    return stages


def seconds(recipe: Recipe, measured: list[Train], one: Train, other: Train) -> tuple[float | None, float | None]:
    """What a plan of two stages says of their time, and nothing of those measured before."""
    measured.clear()
    base = recipe.stages["anchored"]
    stages = {**recipe.stages, "anchored": replace(base, train=one), "another": replace(base, train=other)}
    found = {
        stage.name: stage.seconds
        for stage in plan.plan_stages(replace(recipe, stages=stages), None)
        if stage.kind == "train"
    }
    return found["anchored"], found["another"]


@pytest.mark.parametrize(
    "change",
    [
        {"anchor": AnchorTerm(frame_weight=20.0)},  # the teacher hears every crop, too
        {"anchor": AnchorTerm(weight=0.0)},
        {"anchor": AnchorTerm(distance="info_nce")},
        {"anchor": AnchorTerm(kind="crop")},
        {"classification": Classification(sampled=2)},
        {"classification": Classification(weight=0.0)},
        {"consistency": Consistency(weight=1.0)},
        {"rooms": Rooms(share=0.4)},
        {"noise": Noise(kinds={"babble": 1.0})},
        {"clean_share": 0.5},
        {"gain_db": (-6.0, 6.0)},
        {"batch_norm": "update"},
        {"clip_norm": 1.0},
        {"guard": ForgettingGuard(watch=True)},
        {"precision": "bfloat16"},
        {"crop_s": 2.5},
        {"frozen": ("blocks.0.",)},
    ],
    ids=str,
)
def test_a_variant_is_not_planned_with_the_time_of_another(
    small: Recipe, measured: list[Train], change: dict[str, Any]
) -> None:
    train = small.stages["anchored"].train
    assert train is not None
    one, other = seconds(small, measured, replace(train, anchor=AnchorTerm()), replace(train, **change))
    assert one != other


def test_what_has_no_part_in_a_step_is_measured_once(small: Recipe, measured: list[Train]) -> None:
    train = small.stages["anchored"].train
    assert train is not None
    longer = replace(
        train,
        steps=train.steps * 2,
        learning_rate=replace(train.learning_rate, peak=1e-5),
        validate_every=7,
        checkpoint_every=9,
    )
    one, other = seconds(small, measured, train, longer)
    assert one is not None
    assert other == 2 * one


def test_a_stage_without_anchors_is_not_planned_with_the_time_of_one_that_has_them(
    small: Recipe, measured: list[Train]
) -> None:
    train = small.stages["anchored"].train
    assert train is not None
    with_anchors = replace(train, classification=Classification())
    one, other = seconds(small, measured, with_anchors, replace(with_anchors, anchors=""))
    assert one != other
