"""A recipe from recordings to its table: data, stages, evaluation of the speakers held out."""

from pathlib import Path

from voxanchor import processes
from voxanchor.conditions.suites import suite
from voxanchor.errors import CorpusError
from voxanchor.evaluation.classes import refuse_unclassed
from voxanchor.outputs import claim
from voxanchor.progress import say
from voxanchor.training.recipe import Evaluation, Recipe
from voxanchor.training.run import Run, prepare, run_stages
from voxanchor.workflows.evaluate import Comparison, assess


def train(recipe: Recipe, out: Path, workers: int | None = None) -> Path:
    """Run or resume a recipe in `out`, and return that folder.

    Each training stage leaves a model directory ``out/<stage>/``; with an ``evaluation`` in the recipe the tables and
    the report lie in `out` itself.

    Raises:
        OutputError: `out` holds another run.
    """
    with claim(out, "train", {"recipe": recipe}):
        run_recipe(recipe, out, workers)
    return out


def run_recipe(recipe: Recipe, folder: Path, workers: int | None) -> Run:
    """Run or resume the stages and the evaluation of a recipe in a folder that the caller has claimed."""
    if recipe.evaluation is not None:  # before the training, not after it
        refuse_unclassed(suite(recipe.evaluation.suite), recipe.evaluation.noise)
    run = prepare(recipe, folder, workers)
    if recipe.evaluation is not None and not run.corpora.held_out.utterances:
        raise CorpusError("the recipe evaluates but holds out no speakers: set hold_out_speakers in data.speech")
    run_stages(run)
    if recipe.evaluation is not None and processes.first():
        _evaluate(run, recipe.evaluation)
    processes.wait()
    return run


def _evaluate(run: Run, evaluation: Evaluation) -> None:
    comparison = Comparison(
        models={name: str(run.stage_folder(name)) for name in evaluation.systems},
        noise=evaluation.noise,
        rooms=evaluation.rooms,
        suite=evaluation.suite,
        protocol=evaluation.protocol,
        segment_s=evaluation.segment_s,
        max_segments=evaluation.max_segments,
        noise_seeds=evaluation.noise_seeds,
        note=evaluation.note,
        heard_noise=run.recipe.data.noise,
    )
    say(f"evaluation on {len(run.corpora.held_out.speakers)} speakers that no stage has heard")
    assess(comparison, run.corpora.held_out, run.folder, title=run.recipe.name)
