"""A recipe from recordings to its table, and the quickstart on synthetic voices."""

from collections.abc import Sequence
from pathlib import Path

from voxanchor import config, runtime
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.voices import generate
from voxanchor.outputs import lock_run_dir
from voxanchor.runtime import log_line, track
from voxanchor.training.corpora import Corpora
from voxanchor.training.recipe import Recipe, fill_recipe, packaged_recipe
from voxanchor.training.run import Run, prepare, run_stages
from voxanchor.workflows.evaluate import CACHE_FOLDER, Assessment, assess, evaluations

_NOBODY = Corpora(Manifest(()), Manifest(()), Manifest(()), ())


def train(recipe: Recipe, out: Path, workers: int | None = None) -> Path:
    """Run or resume a recipe in `out`, and return that folder.

    Each training stage leaves a model directory ``out/<stage>/``; with an ``evaluation`` in the recipe the tables and
    the report lie in `out` itself, those of further suites in ``out/suite-<name>/``.

    Raises:
        OutputError: `out` holds another run.
    """
    with lock_run_dir(out, "train", {"recipe": recipe}):
        run_recipe(recipe, out, workers)
    return out


def run_recipe(recipe: Recipe, folder: Path, workers: int | None) -> Run:
    """Run or resume the stages and the evaluation of a recipe in a folder that the caller has claimed.

    Whatever the evaluation needs is looked for before the stages begin: days of training must not end at a list that
    is not there. A test corpus is looked at before anything is written, so that the folder takes the mended recipe.
    """
    evaluation = recipe.evaluation
    planned: list[Assessment] = []
    if evaluation is not None and evaluation.speech:
        planned = evaluations(evaluation, {name: name for name in evaluation.systems}, _NOBODY, recipe.data)
    run = prepare(recipe, folder, workers)
    if evaluation is not None:
        models = {name: run.model(name) for name in evaluation.systems}
        planned = [one.of(models) for one in planned] or evaluations(evaluation, models, run.corpora, recipe.data)
        _warn_of_known_speakers(planned[0], run)
    run_stages(run)
    if planned and runtime.first():
        _evaluate(run, planned)
    runtime.wait()
    return run


def _evaluate(run: Run, planned: list[Assessment]) -> None:
    log_line(f"evaluation on {len(planned[0].manifest.speakers)} speakers that no stage has heard")
    ours = run.recipe.comparison.ours if run.recipe.comparison is not None else ""
    for assessment in planned:
        if assessment.name:
            log_line(f"further suite {assessment.name}")
        title = f"{run.recipe.name}: {assessment.name}" if assessment.name else run.recipe.name
        # one cache for all: the clean embeddings are the same
        cache = run.folder / CACHE_FOLDER
        place = assessment.place(run.folder)
        assess(assessment.comparison, assessment.manifest, place, title=title, cache=cache, ours=ours)


def _warn_of_known_speakers(assessment: Assessment, run: Run) -> None:
    known = {*run.corpora.train.speakers, *run.corpora.validation.speakers}
    if met := sorted(known.intersection(assessment.manifest.speakers)):
        log_line(
            f"warning: {len(met)} speakers of the test are called as speakers of the training are ({met[0]}, ...). If "
            "they are the same people, the figures will be too good."
        )


# The whole path on a fresh machine: synthetic voices, three stages, joint training beside them, table and report.

VOICES = 200
HELD_OUT = 40
UTTERANCES = 6


def quickstart(
    out: Path,
    *,
    voices: int = VOICES,
    held_out: int = HELD_OUT,
    utterances: int = UTTERANCES,
    settings: Sequence[str] = (),
    workers: int | None = None,
) -> Path:
    """Make voices, train base, anchored and joint, evaluate them on voices never heard; return the folder.

    Args:
        out: gets ``voices/``, a model directory per system, ``results.csv``, ``summary.json`` and ``report.html``.
        voices: synthetic speakers in all.
        held_out: how many of them are kept for the evaluation.
        utterances: recordings of each.
        settings: ``key=value`` changes to the recipe.
        workers: threads that prepare batches.

    Raises:
        MissingExtraError: the speech synthesiser is not installed.
        OutputError: `out` holds something else.
    """
    values = config.read_yaml(packaged_recipe("quickstart"))
    values["data"]["speech"] = [{"path": "voices", "layout": "speakers", "hold_out_speakers": held_out}]
    recipe = fill_recipe(values, settings)
    with lock_run_dir(out, "quickstart", {"recipe": recipe, "voices": voices, "utterances": utterances}):
        folder = out / "voices"
        if runtime.first():
            with track("synthetic voices", voices * utterances) as advance:
                generate(folder, voices, utterances, seed=recipe.seed, progress=advance)
        runtime.wait()
        values = config.to_plain(recipe)
        values["data"]["speech"][0]["path"] = str(folder)
        run_recipe(config.build(Recipe, values, "recipe"), out, workers)
    return out
