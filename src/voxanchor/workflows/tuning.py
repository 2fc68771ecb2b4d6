"""Every system of a comparison tuned with as many trials, on the validation speakers and nobody else."""

import json
import math
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

from voxanchor import processes
from voxanchor.errors import RecipeError
from voxanchor.files import write_text, writing
from voxanchor.progress import say
from voxanchor.training.contest import Tuning
from voxanchor.training.loop import STATE_FILE
from voxanchor.training.recipe import Stage
from voxanchor.training.run import DONE_FILE, Run, run_stage
from voxanchor.training.stage import Train

CHOICE_FILE = "tuning.json"
"""In a tuned stage's folder: every point of the grid and what it gave."""


@dataclass(frozen=True)
class Point:
    """A point of the grid.

    Attributes:
        settings: values by the dotted key of the stage.
        clean_eer: of the validation speakers, in percent.
        noisy_eer: of the same at 5 dB.
        score: what the choice goes by: the mean of both; of a stage that hears no noise the clean one.
    """

    settings: Mapping[str, float]
    clean_eer: float
    noisy_eer: float
    score: float


def grid(train: Train, tuning: Tuning) -> list[dict[str, float]]:
    """Return the settings to try for a stage, one with its own values where the grid is empty.

    The weight is that of the term beside classification; where the pull to the anchors is all there is, a weight
    would change nothing but the scale of the loss. A stage without such a term tries more learning rates, of the same
    range, so that the best of equally many trials is taken of every stage.
    """
    axes: dict[str, Sequence[float]] = {}
    if tuning.learning_rates:
        axes["learning_rate.peak"] = tuning.learning_rates
    if tuning.weights:
        if train.classification.weight and train.pulled:
            axes["anchor.weight"] = tuning.weights
        elif train.classification.weight and train.consistency.weight:
            axes["consistency.weight"] = tuning.weights
        else:
            rates = tuning.learning_rates or (train.learning_rate.peak,)
            axes["learning_rate.peak"] = _more(rates, len(rates) * len(tuning.weights))
    return [dict(zip(axes, values, strict=True)) for values in product(*axes.values())]


def _more(rates: Sequence[float], count: int) -> tuple[float, ...]:
    """Return `count` learning rates, rising: those given, and others put where the ratio of neighbours is largest.

    Around a single one they lie on either side in turn, half an octave further each time.
    """
    found = sorted(set(rates))
    if len(found) == 1:
        steps = ((place + 1) // 2 * (1 if place % 2 else -1) for place in range(count))
        return tuple(sorted(_rounded(found[0] * 2.0 ** (step / 2)) if step else found[0] for step in steps))
    while len(found) < count:
        ratios = [round(above / below, 6) for below, above in pairwise(found)]
        place = ratios.index(max(ratios)) + 1
        found.insert(place, math.sqrt(found[place] * found[place - 1]))
    return tuple(rate if rate in rates else _rounded(rate) for rate in found)


def _rounded(rate: float) -> float:
    return float(f"{rate:.3g}")


def with_settings(train: Train, settings: Mapping[str, float]) -> Train:
    """Return the stage with values set by the keys that `grid` gives."""
    for key, value in settings.items():
        group, name = key.split(".")
        train = replace(train, **{group: replace(getattr(train, group), **{name: value})})
    return train


def tune(run: Run, name: str, train: Train, tuning: Tuning, folder: Path) -> tuple[Train, tuple[Point, ...]]:
    """Return the stage with the values that were best on the validation speakers, and every point tried.

    The run of the point that is taken becomes the stage's own in `run`. What is finished is not done again.

    Args:
        run: of the first seed; the stages that this one needs are finished in it.
        name: of the stage.
        train: what is tuned.
        tuning: the grid.
        folder: gets a folder for each point.

    Raises:
        RecipeError: no validation speakers, or none whose recordings say who they are.
    """
    settings = grid(train, tuning)
    if len(settings) < 2:
        return with_settings(train, settings[0]), ()
    choice = run.stage_folder(name) / CHOICE_FILE
    if not choice.exists():
        found = [_try(run, name, train, point, folder / _label(point)) for point in settings]
        content = {"points": [vars(point) for point in found]}
        if processes.first():
            _take(folder / _label(settings[best(found)]), run.stage_folder(name), json.dumps(content, indent=2) + "\n")
        processes.wait()
        say(f"{name}: {_label(settings[best(found)])} is best of {len(settings)} on the validation speakers")
    content = json.loads(choice.read_text(encoding="utf-8"))
    points = tuple(Point(**point) for point in content["points"])
    return with_settings(train, points[best(points)].settings), points


def best(points: Sequence[Point]) -> int:
    """Return the place of the point with the lowest score, the first of several."""
    return min(range(len(points)), key=lambda place: points[place].score)


def _label(settings: Mapping[str, float]) -> str:
    return "_".join(f"{key}={value:g}" for key, value in settings.items())


def _try(run: Run, name: str, train: Train, settings: Mapping[str, float], folder: Path) -> Point:
    stage = Stage(train=with_settings(train, settings))
    recipe = replace(run.recipe, stages={**run.recipe.stages, name: stage})
    trial = replace(run, recipe=recipe, elsewhere={**run.elsewhere, name: folder})
    say(f"{name}, tuning: {_label(settings)}")
    run_stage(trial, name, stage)
    processes.wait()
    measured = json.loads((folder / DONE_FILE).read_text(encoding="utf-8")).get("validation", {})
    if "clean_eer" not in measured:
        raise RecipeError(
            f"stage {name}: tuning needs validation speakers, two at least, and validate_every above 0: set "
            "data.validation_speakers, or leave contest.tuning out"
        )
    clean, noisy = measured["clean_eer"], measured["noisy_eer"]
    return Point(settings, clean, noisy, clean if train.clean_share == 1 else (clean + noisy) / 2)


def _take(made: Path, place: Path, choice: str) -> None:
    """Copy the run of a point to where the stage belongs, whole or not at all."""
    place.parent.mkdir(parents=True, exist_ok=True)
    for left_behind in place.parent.glob(f".{place.name}.*.tmp"):  # by a run that was killed here
        shutil.rmtree(left_behind)
    temporary = place.with_name(f".{place.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        with writing(place):
            shutil.copytree(made, temporary, ignore=shutil.ignore_patterns(STATE_FILE))
            write_text(temporary / CHOICE_FILE, choice)
            temporary.rename(place)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
