"""The whole path on a fresh machine: synthetic voices, three stages, joint training beside them, table and report."""

from collections.abc import Sequence
from pathlib import Path

from voxanchor import config, processes
from voxanchor.corpus.synthetic import generate
from voxanchor.outputs import claim
from voxanchor.progress import track
from voxanchor.training.packaged import packaged_recipe
from voxanchor.training.recipe import Recipe
from voxanchor.workflows.train import run_recipe

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
    recipe = config.build(Recipe, config.override(values, settings), "recipe")
    with claim(out, "quickstart", {"recipe": recipe, "voices": voices, "utterances": utterances}):
        folder = out / "voices"
        if processes.first():
            with track("synthetic voices", voices * utterances) as advance:
                generate(folder, voices, utterances, seed=recipe.seed, progress=advance)
        processes.wait()
        values = config.to_plain(recipe)
        values["data"]["speech"][0]["path"] = str(folder)
        run_recipe(config.build(Recipe, values, "recipe"), out, workers)
    return out
