"""Systems against each other under equal conditions: every plan trained with several seeds, all heard on one audio."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from voxanchor import processes
from voxanchor.errors import RecipeError
from voxanchor.evaluation.cache import EmbeddingCache
from voxanchor.evaluation.compared import run_name
from voxanchor.models import registry
from voxanchor.outputs import claim
from voxanchor.progress import counted, say
from voxanchor.training.contest import Contest
from voxanchor.training.recipe import Recipe, Stage
from voxanchor.training.run import Run, prepare, run_stage
from voxanchor.workflows.contest_report import Suite, write_contest
from voxanchor.workflows.evaluate import CACHE_FOLDER, measure
from voxanchor.workflows.plan import make_plan
from voxanchor.workflows.planned import Plan, Repeats
from voxanchor.workflows.plans import reuse, select
from voxanchor.workflows.suites import Assessment, evaluations
from voxanchor.workflows.tuning import Point, grid, tune

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

    Each system is a stage of the recipe; what leads to it is its plan. The grid of ``contest.tuning`` is tried with the
    first seed, every seed trains with what it chose, and all models hear the same audio. Seeds,
    systems and suites may be added to a folder later: what is finished is kept.

    Args:
        recipe: with ``contest`` and ``evaluation``.
        out: gets ``seed-0/<stage>/`` and so on, ``results.csv``, ``geometry.csv``, ``summary.json``, ``report.html``.
        systems: those to compare, base and ours besides; all of the recipe's when empty.
        seeds: training seeds; by default the recipe's.
        taken: ``stage=REF``: a model that exists, in the place of a training stage.
        workers: threads that prepare batches.

    Raises:
        RecipeError: a recipe without contest, or a system or stage that it does not have.
        CorpusError: nothing to evaluate on.
        OutputError: `out` holds another run.
    """
    recipe = _checked(recipe, taken)
    assert recipe.contest is not None
    wanted, count = _wanted(recipe, systems, seeds)
    models = {stage.take: registry.load(stage.take).fingerprint for stage in recipe.stages.values() if stage.take}
    # seeds, systems and the evaluation may change from one call to the next: what was trained stays what it is
    trained = replace(recipe, evaluation=None, contest=None)
    with claim(out, "compare", {"recipe": trained, "tuning": recipe.contest.tuning, "models": models}):
        first = prepare(recipe, out, workers)
        first = replace(first, recipe=wanted)
        # what the evaluation needs is looked for before days of training
        planned = _planned(first)
        run, points = _first_seed(first, recipe.contest)
        runs = [run, *(_seed(run, number) for number in range(1, count))]
        for other in runs[1:]:
            for name, stage in other.recipe.stages.items():
                say(f"training seed {other.seed}: {name}")
                run_stage(other, name, stage)
        if processes.first():
            _assess(runs, recipe.contest, planned, points, out)
        processes.wait()
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
    assert recipe.contest is not None
    wanted, count = _wanted(recipe, systems, seeds)
    repeats = {name: count if _seeded(wanted, name) else 1 for name in wanted.stages}
    trials = {
        name: len(grid(stage.train, recipe.contest.tuning)) - 1 for name, stage in wanted.stages.items() if stage.train
    }
    return make_plan(wanted, Repeats(repeats, trials))


def _wanted(recipe: Recipe, systems: Sequence[str], seeds: int | None) -> tuple[Recipe, int]:
    """Return the recipe of the systems asked for, and the number of training seeds."""
    assert recipe.contest is not None
    count = recipe.contest.seeds if seeds is None else seeds
    if count < 1:
        raise RecipeError("--seeds must be at least 1")
    return select(recipe, systems or recipe.evaluation.systems if recipe.evaluation else ()), count


def _checked(recipe: Recipe, taken: Sequence[str]) -> Recipe:
    if recipe.evaluation is None or recipe.contest is None:
        raise RecipeError(f"{recipe.name}: a comparison needs 'evaluation' and 'contest' in its recipe")
    for setting in taken:
        name, equals, reference = setting.partition("=")
        if not (name and equals and reference):
            raise RecipeError(f"--from {setting}: expected stage=MODEL, for example base=ge2e")
        if Path(reference).is_dir():
            reference = str(Path(reference).resolve())
        recipe = reuse(recipe, name, reference)
    return recipe


def _first_seed(run: Run, contest: Contest) -> tuple[Run, dict[str, tuple[Point, ...]]]:
    """Run the stages of the first seed, tuned, and return the run with what was chosen in its recipe."""
    run = _in_seed_folder(run, run.folder)
    points: dict[str, tuple[Point, ...]] = {}
    for name, stage in run.recipe.stages.items():
        say(f"training seed {run.seed}: {name}")
        if stage.train is not None:
            train, tried = tune(run, name, stage.train, contest.tuning, run.folder.parent / TUNING_FOLDER / name)
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
    contest: Contest,
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
    say(
        f"evaluation of {counted(len(models), 'model')} on "
        f"{counted(len(planned[0].manifest.speakers), 'speaker')} that no stage has heard"
    )
    cache = EmbeddingCache(out / CACHE_FOLDER)
    measured = []
    for assessment in (each.of(models) for each in planned):
        asked = assessment.comparison.asked
        name = replace(asked, name=assessment.name or asked.name).label
        say(f"suite {name}")
        found = measure(assessment.comparison, assessment.manifest, cache, REPLICATES)
        measured.append(Suite(name, assessment.comparison, found))
    write_contest(contest, runs, measured, points, out)


def _planned(run: Run) -> list[Assessment]:
    """Return what is evaluated; the models, which are not trained yet, are those of the recipe by name."""
    evaluation = run.recipe.evaluation
    assert evaluation is not None
    return evaluations(evaluation, {name: name for name in evaluation.systems}, run.corpora, run.recipe.data)
