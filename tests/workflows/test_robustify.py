"""What robustify says about the data it was given."""

import pytest

from voxanchor.errors import RecipeError
from voxanchor.training.recipe import Recipe
from voxanchor.workflows.robustify import FRAMES, advise, make_recipe


def recipe(*settings: str, unlabelled: bool = False) -> Recipe:
    return make_recipe("ge2e", ["speech"], ["noise"], unlabelled=unlabelled, settings=settings)


def test_few_speakers_get_the_advice_that_helps_them(capsys: pytest.CaptureFixture[str]) -> None:
    advise(recipe(), 37)
    said = capsys.readouterr().err
    assert "trained on 37 speakers" in said
    assert f"--set {FRAMES}" in said


@pytest.mark.parametrize(("settings", "speakers"), [((), 100), ((FRAMES,), 37), ((), 0)])
def test_others_do_not(settings: tuple[str, ...], speakers: int, capsys: pytest.CaptureFixture[str]) -> None:
    advise(recipe(*settings), speakers)
    assert capsys.readouterr().err == ""


def test_the_setting_in_the_advice_does_what_it_says() -> None:
    train = recipe(FRAMES).stages["anchored"].train
    assert train is not None
    assert train.has_frame_loss


def test_without_labels_frames_are_pulled_where_there_are_any() -> None:
    train = make_recipe("ge2e", ["speech"], [], unlabelled=True, frames=True).stages["anchored"].train
    assert train is not None
    assert train.has_frame_loss
    assert not train.labelled
    assert train.classification.weight
    assert train.classification.classes == "recordings"
    other = make_recipe("x", ["speech"], [], unlabelled=True).stages["anchored"].train
    assert other is not None
    assert not other.has_frame_loss


def test_strength_is_how_far_the_model_goes() -> None:
    def blend(strength: float | None) -> float:
        train = make_recipe("ge2e", ["speech"], [], unlabelled=False, strength=strength).stages["anchored"].train
        assert train is not None
        return train.interpolation

    assert blend(None) == 0.9
    assert blend(1.0) == 1.0
    assert blend(0.4) == 0.4


@pytest.mark.parametrize("strength", [0.0, -1.0, 1.5, float("nan")])
def test_an_impossible_strength_is_refused(strength: float) -> None:
    with pytest.raises(RecipeError, match="--strength"):
        make_recipe("ge2e", ["speech"], [], unlabelled=False, strength=strength)
