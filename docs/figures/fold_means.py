"""Means over the three folds of docs/results.md with intervals over speakers, those of the folds resampled together.

python docs/figures/fold_means.py runs/folds runs/ge2e-robust runs/eval ../shared/data/noise/test

Takes folds, the robust models (runs/ge2e-robust-0 and so on), their evaluations (runs/eval-0, whose kept embeddings
are used) and the noise.
"""

import sys
from pathlib import Path

import numpy as np

from voxanchor.corpus.layouts import scan
from voxanchor.evaluation.embed import EmbeddingCache
from voxanchor.types import FloatArray
from voxanchor.workflows.evaluate import CACHE_FOLDER, Comparison, measure

REPLICATES = 1000


def main(folds: str, robust: str, evaluations: str, noise: str) -> None:
    """Print clean and noisy EER in percent of both models, their difference and their ratio."""
    means: dict[tuple[str, str], list[float]] = {}
    draws: dict[tuple[str, str], list[FloatArray]] = {}
    for fold in range(3):
        comparison = Comparison({"base": "ge2e", "robust": f"{robust}-{fold}"}, noise=(noise,))
        cache = EmbeddingCache(Path(f"{evaluations}-{fold}") / CACHE_FOLDER)
        outcome = measure(comparison, scan(f"{folds}/test{fold}"), cache, REPLICATES).outcome
        assert outcome.replicates is not None
        for system in ("base", "robust"):
            for name, clean in (("clean", True), ("avg15", False)):
                rows = [row for row in outcome.rows if row.system == system and (row.condition == "clean") == clean]
                means.setdefault((system, name), []).append(float(np.mean([row.eer for row in rows])))
                drawn = [outcome.replicates[row.system, row.condition, row.noise_seed] for row in rows]
                draws.setdefault((system, name), []).append(np.mean(drawn, axis=0))
    for name in ("clean", "avg15"):
        value = {system: float(np.mean(means[system, name])) for system in ("base", "robust")}
        drawn = {system: np.mean(draws[system, name], axis=0) for system in value}
        for system in value:
            by_fold = ", ".join(f"{each:.2f}" for each in means[system, name])
            show(f"{name} {system} ({by_fold})", value[system], drawn[system])
        show(f"{name} robust minus base", value["robust"] - value["base"], drawn["robust"] - drawn["base"])
        show(f"{name} robust / base", value["robust"] / value["base"], drawn["robust"] / drawn["base"])


def show(what: str, value: float, drawn: FloatArray) -> None:
    """Print a figure with its interval of 95 %."""
    low, high = np.percentile(drawn, [2.5, 97.5])
    print(f"{what}: {value:.2f} [{low:.2f}, {high:.2f}]")


if __name__ == "__main__":
    main(*sys.argv[1:])
