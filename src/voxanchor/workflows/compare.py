"""Systems against each other under equal conditions: tuned, trained with several seeds, heard on the same audio."""

import csv
import io
import json
import math
import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
from safetensors import safe_open

from voxanchor import config, runtime
from voxanchor.errors import RecipeError
from voxanchor.evaluation.compare import (
    compare_systems,
    geometry_rows,
    results_rows,
    run_name,
    split_name,
    write_compared_summary,
)
from voxanchor.evaluation.compare_report import Budget, ComparedReport, TuningRow, read_curve, write_compared_report
from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.evaluation.plots import EmbeddingMap, TrainingCurve
from voxanchor.evaluation.results import write_csv
from voxanchor.files import write_text, writing
from voxanchor.models import registry
from voxanchor.outputs import lock_run_dir
from voxanchor.runtime import counted, log_line
from voxanchor.training.loop import METRICS_FILE, STATE_FILE
from voxanchor.training.recipe import ComparisonConfig, Recipe, Stage, Tuning
from voxanchor.training.run import DONE_FILE, TRAINING_FOLDER, Run, prepare, run_stage
from voxanchor.training.stage import SCRATCH, Train
from voxanchor.workflows.evaluate import (
    CACHE_FOLDER,
    Assessment,
    Comparison,
    Measured,
    embedding_maps,
    evaluations,
    facts,
    measure,
)
from voxanchor.workflows.plan import Plan, effort, in_words, make_plan, plan_of, unequal

DESCRIBED = {
    "base": "Stage 1 alone: trained on clean speech.",
    "joint": "Trained on clean and noisy speech at once, with classification alone.",
    "joint_consistency": "As joint, and a crop with and without noise are pulled together; both move.",
    "finetune": "A copy of the base fine-tuned on noisy speech with classification, without the pull to anchors.",
    "anchored": "The method: a copy of the base fine-tuned on noisy speech, held by the fixed anchors of its own clean "
    "recordings.",
    "anchored_frames": "The same, with its frame-level outputs held, too, by the base's for the same crop, clean.",
    "anchored_unlabelled": "The method with the pull to the anchors alone: nobody has to say who speaks.",
}
"""What the systems of the field's comparison are, by the names they have in our recipes."""


def select(recipe: Recipe, systems: Sequence[str]) -> Recipe:
    """Return the recipe with the evaluation of `systems` alone, and the stages that lead to them.

    Raises:
        RecipeError: a system that the recipe does not evaluate, or without base or ours.
    """
    assert recipe.evaluation is not None
    assert recipe.comparison is not None
    known = recipe.evaluation.systems
    for system in systems:
        if system not in known:
            raise RecipeError(f"--systems: the recipe has no system '{system}', there is {', '.join(known)}")
    kept = tuple(name for name in known if name in systems or name in (recipe.comparison.base, recipe.comparison.ours))
    needed = {name for system in kept for name in plan_of(recipe, system)}
    stages = {name: stage for name, stage in recipe.stages.items() if name in needed}
    return replace(recipe, stages=stages, evaluation=replace(recipe.evaluation, systems=kept))


def reuse(recipe: Recipe, name: str, reference: str) -> Recipe:
    """Return the recipe with a model that exists in the place of a training stage.

    What trained from scratch beside it then starts from that model, too, and takes as many steps fewer as the stage
    would have had: every system keeps the budget that it has after that stage. Its learning rate becomes that of the
    stage which is compared with the others: one for fresh weights would tear a trained model apart.

    Raises:
        RecipeError: no training stage of that name, or a stage from scratch that is left without steps.
    """
    stage = recipe.stages.get(name)
    if stage is None or not stage.gives_model:
        raise RecipeError(f"--from: the recipe has no stage '{name}' that trains a model")
    given = stage.train.steps if stage.train else 0
    ours = recipe.stages[recipe.comparison.ours].train if recipe.comparison else None
    stages = dict(recipe.stages)
    stages[name] = Stage(pretrained=reference)
    for other, plan in recipe.stages.items():
        train = plan.train
        if other == name or train is None or train.start != SCRATCH:
            continue
        if train.steps <= given:
            raise RecipeError(f"--from: stage {other} has {train.steps} steps, no more than the {given} of {name}")
        steps = train.steps - given
        margin = train.classification.margin
        margin = replace(margin, warmup_steps=min(margin.warmup_steps, steps // 2))
        rate = ours.learning_rate if ours is not None else train.learning_rate
        classes = replace(train.classification, margin=margin)
        stages[other] = Stage(replace(train, start=name, steps=steps, learning_rate=rate, classification=classes))
    return replace(recipe, stages=stages)


# Every system of a comparison tuned with as many trials, on the validation speakers and nobody else.

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
        if train.classification.weight and train.has_anchor_loss:
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
        if runtime.first():
            _take(folder / _label(settings[best(found)]), run.stage_folder(name), json.dumps(content, indent=2) + "\n")
        runtime.wait()
        log_line(f"{name}: {_label(settings[best(found)])} is best of {len(settings)} on the validation speakers")
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
    log_line(f"{name}, tuning: {_label(settings)}")
    run_stage(trial, name, stage)
    runtime.wait()
    measured = json.loads((folder / DONE_FILE).read_text(encoding="utf-8")).get("validation", {})
    if "clean_eer" not in measured:
        raise RecipeError(
            f"stage {name}: tuning needs validation speakers, two at least, and validate_every above 0: set "
            "data.validation_speakers, or leave comparison.tuning out"
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


# What a finished comparison leaves: tables of all its suites, a summary, and the report.


@dataclass(frozen=True)
class Suite:
    """A suite of conditions, measured.

    Attributes:
        name: what the suite is called in the recipe.
        comparison: the models, by the names of their runs.
        measured: what was found.
    """

    name: str
    comparison: Comparison
    measured: Measured


def write_comparison(
    comparison: ComparisonConfig,
    runs: Sequence[Run],
    suites: Sequence[Suite],
    points: Mapping[str, Sequence[Point]],
    out: Path,
) -> None:
    """Write ``results.csv``, ``geometry.csv``, ``tuning.csv``, ``summary.json`` and ``report.html``.

    Args:
        comparison: which system is the base, and which is ours.
        runs: one per training seed, the recipe of the first with the values that tuning chose.
        suites: the main one first.
        points: by stage, every point of the grid that was tried.
        out: where they are written.
    """
    recipe = runs[0].recipe
    assert recipe.evaluation is not None
    systems = recipe.evaluation.systems
    outcomes = {suite.name: suite.measured.outcome for suite in suites}
    write_csv(out / "results.csv", results_rows(outcomes))
    geometry = geometry_rows(outcomes)
    if geometry:
        write_csv(out / "geometry.csv", geometry)
    tuning = _tuning_rows(points)
    if tuning:
        write_text(out / "tuning.csv", _tuning_csv(tuning))
    compared = compare_systems(outcomes, base=comparison.base, ours=comparison.ours)
    write_compared_summary(out / "summary.json", compared)
    main = suites[0]
    described = {name: DESCRIBED.get(name, "") for name in systems}
    if taken := recipe.stages[comparison.base].pretrained:
        described[comparison.base] = f"A model that exists ({Path(taken).name}), as it is."
        if "joint" in described:
            described["joint"] = (
                "The same start and the same budget, trained on clean and noisy speech at once, with new class centres "
                "and without anchors."
            )
    write_compared_report(
        out / "report.html",
        ComparedReport(
            title=recipe.name,
            question=_question(comparison, systems),
            outcomes=outcomes,
            base=comparison.base,
            ours=comparison.ours,
            described={name: text for name, text in described.items() if text},
            plans={name: in_words(recipe, name) for name in systems},
            budgets=[_budget(runs, name) for name in systems],
            unequal=unequal(recipe, systems, comparison.ours),
            tuning=tuning,
            curves=_curves(runs),
            maps=_maps(main, systems),
            facts=[
                *facts(main.comparison, main.measured),
                ("training seeds", ", ".join(str(run.seed) for run in runs)),
                ("speakers to train on", f"{len(runs[0].corpora.train.speakers):,}"),
                ("speakers to tune on", f"{len(runs[0].corpora.validation.speakers):,}"),
            ],
            notes=list(dict.fromkeys(note for suite in suites for note in suite.measured.notes)),
            recipe=config.dump(recipe),
            remark=main.comparison.note,
        ),
        compared,
    )


def _question(comparison: ComparisonConfig, systems: Sequence[str]) -> str:
    *most, last = [name for name in systems if name != comparison.ours]
    others = f"{', '.join(most)} and {last}" if most else last
    return (
        f"Does {comparison.ours} do better in noise than {others}, and does it keep what {comparison.base} does on "
        "clean speech?"
    )


def _budget(runs: Sequence[Run], system: str) -> Budget:
    recipe = runs[0].recipe
    plan = [name for name in plan_of(recipe, system) if recipe.stages[name].train is not None]
    spent = effort(recipe, system)
    seconds = [sum(_seconds(run, name) for name in plan) for run in runs]
    return Budget(
        system=system,
        stages=plan_of(recipe, system),
        steps=spent.steps,
        examples_clean=spent.clean + spent.twins,
        examples_noisy=spent.noisy,
        hours_heard=spent.hours,
        seconds=float(np.mean(seconds)),
        parameters=_parameters(runs[0], system),
    )


def _seconds(run: Run, stage: str) -> float:
    train = run.recipe.stages[stage].train
    assert train is not None
    path = run.stage_folder(stage) / TRAINING_FOLDER / METRICS_FILE
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    timed = [line["seconds"] for line in lines if "seconds" in line]
    return float(np.median(timed)) * train.steps if timed else 0.0


def _parameters(run: Run, system: str) -> int:
    path = run.stage_folder(system) / "model.safetensors"
    if not path.exists():  # a model that was taken
        from voxanchor.models import registry

        return sum(parameter.numel() for parameter in registry.load(run.model(system)).parameters())
    with safe_open(path, "numpy") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def _tuning_rows(points: Mapping[str, Sequence[Point]]) -> list[TuningRow]:
    return [
        TuningRow(name, point.settings, point.clean_eer, point.noisy_eer, point.score, place == best(tried))
        for name, tried in points.items()
        for place, point in enumerate(tried)
    ]


def _tuning_csv(rows: Sequence[TuningRow]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["stage", *keys, "clean_eer", "noisy_eer", "score", "chosen"])
    for row in rows:
        settings = [row.settings.get(key, "") for key in keys]
        writer.writerow([row.system, *settings, row.clean_eer, row.noisy_eer, row.score, int(row.chosen)])
    return buffer.getvalue()


def _curves(runs: Sequence[Run]) -> list[TrainingCurve]:
    stages = runs[0].recipe.stages
    return [
        read_curve(run.stage_folder(name) / TRAINING_FOLDER / METRICS_FILE, name, number, name)
        for name, stage in stages.items()
        if stage.train is not None
        for number, run in enumerate(runs)
    ]


def _maps(suite: Suite, systems: Sequence[str]) -> list[EmbeddingMap]:
    """Return a map per system, of its first training seed."""
    names = [run_name(name, 0) for name in systems]
    maps = embedding_maps(suite.measured.outcome, names, suite.measured.segments)
    return [EmbeddingMap(split_name(chart.system)[0], chart.points, chart.speakers, chart.noisy) for chart in maps]


SHARED_FOLDER = "shared"
TUNING_FOLDER = "tuning"
REPLICATES = 1000


def compare(
    recipe: Recipe,
    out: Path,
    *,
    systems: Sequence[str] = (),
    seeds: int | None = None,
    taken: Sequence[str] = (),
    workers: int | None = None,
) -> Path:
    """Run or resume a comparison in `out`, and return that folder.

    Each system is a stage of the recipe; what leads to it is its plan. The grid of ``comparison.tuning`` is tried with
    the first seed, every seed trains with what it chose, and all models hear the same audio. Seeds, systems and suites
    may be added to a folder later: what is finished is kept.

    Args:
        recipe: with ``comparison`` and ``evaluation``.
        out: gets ``seed-0/<stage>/`` and so on, ``results.csv``, ``geometry.csv``, ``summary.json``, ``report.html``.
        systems: those to compare, base and ours besides; all of the recipe's when empty.
        seeds: training seeds; by default the recipe's.
        taken: ``stage=REF``: a model that exists, in the place of a training stage.
        workers: threads that prepare batches.

    Raises:
        RecipeError: a recipe without `comparison`, or a system or stage that it does not have.
        CorpusError: nothing to evaluate on.
        OutputError: `out` holds another run.
    """
    recipe = _checked(recipe, taken)
    assert recipe.comparison is not None
    wanted, count = _wanted(recipe, systems, seeds)
    models = {
        stage.pretrained: registry.load(stage.pretrained).fingerprint
        for stage in recipe.stages.values()
        if stage.pretrained
    }
    # seeds, systems and the evaluation may change from one call to the next: what was trained stays what it is
    trained = replace(recipe, evaluation=None, comparison=None)
    with lock_run_dir(out, "compare", {"recipe": trained, "tuning": recipe.comparison.tuning, "models": models}):
        first = prepare(recipe, out, workers)
        first = replace(first, recipe=wanted)
        # what the evaluation needs is looked for before days of training
        planned = _planned(first)
        run, points = _first_seed(first, recipe.comparison)
        runs = [run, *(_seed(run, number) for number in range(1, count))]
        for other in runs[1:]:
            for name, stage in other.recipe.stages.items():
                log_line(f"training seed {other.seed}: {name}")
                run_stage(other, name, stage)
        if runtime.first():
            _assess(runs, recipe.comparison, planned, points, out)
        runtime.wait()
    return out


def plan_comparison(
    recipe: Recipe, *, systems: Sequence[str] = (), seeds: int | None = None, taken: Sequence[str] = ()
) -> Plan:
    """Return what `compare` would do with the same arguments: data, stages, time and memory; nothing is written.

    Raises:
        RecipeError: as `compare`.
        ModelError: a model that cannot be loaded.
    """
    recipe = _checked(recipe, taken)
    assert recipe.comparison is not None
    wanted, count = _wanted(recipe, systems, seeds)
    repeats = {name: count if _seeded(wanted, name) else 1 for name in wanted.stages}
    trials = {
        name: len(grid(stage.train, recipe.comparison.tuning)) - 1
        for name, stage in wanted.stages.items()
        if stage.train
    }
    return make_plan(wanted, repeats, trials)


def _wanted(recipe: Recipe, systems: Sequence[str], seeds: int | None) -> tuple[Recipe, int]:
    """Return the recipe of the systems asked for, and the number of training seeds."""
    assert recipe.comparison is not None
    count = recipe.comparison.seeds if seeds is None else seeds
    if count < 1:
        raise RecipeError("--seeds must be at least 1")
    return select(recipe, systems or recipe.evaluation.systems if recipe.evaluation else ()), count


def _checked(recipe: Recipe, taken: Sequence[str]) -> Recipe:
    if recipe.evaluation is None or recipe.comparison is None:
        raise RecipeError(f"{recipe.name}: a comparison needs 'evaluation' and 'comparison' in its recipe")
    for setting in taken:
        name, equals, reference = setting.partition("=")
        if not (name and equals and reference):
            raise RecipeError(f"--from {setting}: expected stage=MODEL, for example base=ge2e")
        if Path(reference).is_dir():
            reference = str(Path(reference).resolve())
        recipe = reuse(recipe, name, reference)
    return recipe


def _first_seed(run: Run, comparison: ComparisonConfig) -> tuple[Run, dict[str, tuple[Point, ...]]]:
    """Run the stages of the first seed, tuned, and return the run with what was chosen in its recipe."""
    run = _in_seed_folder(run, run.folder)
    points: dict[str, tuple[Point, ...]] = {}
    for name, stage in run.recipe.stages.items():
        log_line(f"training seed {run.seed}: {name}")
        if stage.train is not None:
            train, tried = tune(run, name, stage.train, comparison.tuning, run.folder.parent / TUNING_FOLDER / name)
            stage = Stage(train=train)
            run = replace(run, recipe=replace(run.recipe, stages={**run.recipe.stages, name: stage}))
            if tried:
                points[name] = tried
        run_stage(run, name, stage)
    return run, points


def _seed(first: Run, number: int) -> Run:
    return _in_seed_folder(replace(first, seed=first.seed + number), first.folder.parent)


def _in_seed_folder(run: Run, out: Path) -> Run:
    """Give the run of a seed its folder; what does not depend on a seed lies in one for all of them."""
    shared = [name for name in run.recipe.stages if not _seeded(run.recipe, name)]
    elsewhere = {name: out / SHARED_FOLDER / name for name in shared}
    return replace(run, folder=out / f"seed-{run.seed}", elsewhere=elsewhere)


def _seeded(recipe: Recipe, name: str) -> bool:
    stage = recipe.stages.get(name)
    return stage is not None and (stage.train is not None or any(_seeded(recipe, other) for other in stage.needs))


def _assess(
    runs: Sequence[Run],
    comparison: ComparisonConfig,
    planned: Sequence[Assessment],
    points: Mapping[str, tuple[Point, ...]],
    out: Path,
) -> None:
    recipe = runs[0].recipe
    assert recipe.evaluation is not None
    models = {}
    for name in recipe.evaluation.systems:
        for number, run in enumerate(runs if _seeded(recipe, name) else runs[:1]):
            models[run_name(name, number)] = run.model(name)
    log_line(
        f"evaluation of {counted(len(models), 'model')} on "
        f"{counted(len(planned[0].manifest.speakers), 'speaker')} that no stage has heard"
    )
    cache = EmbeddingCache(out / CACHE_FOLDER)
    measured = []
    for assessment in (each.of(models) for each in planned):
        asked = assessment.comparison.asked
        name = replace(asked, name=assessment.name or asked.name).label
        log_line(f"suite {name}")
        found = measure(assessment.comparison, assessment.manifest, cache, REPLICATES)
        measured.append(Suite(name, assessment.comparison, found))
    write_comparison(comparison, runs, measured, points, out)


def _planned(run: Run) -> list[Assessment]:
    """Return what is evaluated; the models, which are not trained yet, are those of the recipe by name."""
    evaluation = run.recipe.evaluation
    assert evaluation is not None
    return evaluations(evaluation, {name: name for name in evaluation.systems}, run.corpora, run.recipe.data)
