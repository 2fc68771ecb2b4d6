"""Means over the folds of docs/results.md of what `voxanchor compatibility` measured in each.

python docs/figures/fold_compatibility.py runs/compatibility-0 runs/compatibility-1 runs/compatibility-2

The folds have no speaker in common, so their errors are independent: an end of the interval of the mean lies as far
from it as the root of the sum of the squares of those distances in the folds, divided by the number of folds.
"""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

PAIRS = ("old", "mixed", "upgraded", "new")
RATES = ("false_acceptance", "false_rejection")


def main(folders: Sequence[str]) -> None:
    """Print EER, drift and what comes of the old threshold for 1 % false acceptance, in percent, for each pair."""
    folds = [json.loads((Path(folder) / "compatibility.json").read_text(encoding="utf-8")) for folder in folders]
    print(f"drift: mean {np.mean([fold['drift']['mean'] for fold in folds]):.3f}")
    for pair in PAIRS:
        eers = [[_eer(fold["eer"][part], pair) for fold in folds] for part in ("clean", "noisy")]
        print(f"{pair}: EER {mean(eers[0])} clean, {mean(eers[1])} in noise", end="; ")
        at = [fold["thresholds"][0]["pairs"][pair] for fold in folds]
        print(f"threshold {np.mean([each['threshold']['value'] for each in at]):.3f}", end="")
        for part in ("clean", "noisy"):
            rates = (np.mean([each["at_old"][part][rate]["value"] for each in at]) for rate in RATES)
            print(f"; at the old one, {part}: {' / '.join(f'{rate:.2f}' for rate in rates)}", end="")
        print()


def _eer(part: dict[str, Any], pair: str) -> dict[str, float]:
    found = part[pair]
    return dict(found.get("eer", found))


def mean(figures: Sequence[dict[str, float]]) -> str:
    """Return the mean of figures with its interval."""
    value = float(np.mean([figure["value"] for figure in figures]))
    below, above = (
        float(np.sqrt(np.sum([(figure[end] - figure["value"]) ** 2 for figure in figures]))) / len(figures)
        for end in ("low", "high")
    )
    return f"{value:.2f} [{value - below:.2f}, {value + above:.2f}]"


if __name__ == "__main__":
    main(sys.argv[1:])
