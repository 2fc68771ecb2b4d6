"""Old enrolments against the models of a comparison: enrolled with its base, tested with each system.

python docs/figures/old_enrolments.py compare-ge2e runs/compare-ge2e comparison.seeds=2 joint finetune anchored

What holds an equals sign is a setting of the recipe that the comparison was run with. Hears the same trials and noise
as the comparison, whose kept embeddings are used.
Prints clean / noisy EER in percent, the mean of the seeds.
"""

import sys
from pathlib import Path

import numpy as np

from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.evaluation.results import CLEAN, NOISY, summarise
from voxanchor.training.corpora import gather
from voxanchor.training.recipe import read_recipe
from voxanchor.workflows.evaluate import CACHE_FOLDER, Comparison, measure


def main(recipe_path: str, out: str, *words: str) -> None:
    """Print clean and noisy EER in percent of each system."""
    systems = [word for word in words if "=" not in word]
    recipe, folder = read_recipe(recipe_path, [word for word in words if "=" in word]), Path(out)
    assert recipe.evaluation is not None
    assert recipe.comparison is not None
    seeds = range(recipe.comparison.seeds)
    models = {f"{name}#{seed}": str(folder / f"seed-{recipe.seed + seed}" / name) for name in systems for seed in seeds}
    base = recipe.stages[recipe.comparison.base].pretrained
    asked = Comparison(models=models, **{**recipe.evaluation.shared, "enrol_model": base})
    held_out = gather(recipe.data, recipe.seed).held_out
    outcome = measure(asked, held_out, EmbeddingCache(folder / CACHE_FOLDER)).outcome
    summaries = summarise(outcome.rows, outcome.replicates)
    for name in systems:
        own = [summaries[f"{name}#{seed}"].figures for seed in seeds]
        clean, noisy = (np.mean([figures[which].value for figures in own]) for which in (CLEAN, NOISY))
        print(f"{name}: {clean:.2f} / {noisy:.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
