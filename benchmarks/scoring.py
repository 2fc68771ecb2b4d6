"""What scoring costs against the number of trials: metrics, bootstrap, trial lists, cosines, AS-norm.

    python benchmarks/scoring.py --largest 1e7

Prints a table of processor seconds on one core (medians, with the spread), the peak of memory, the ratio to
scikit-learn's roc_curve in the same run where that is installed, and the exponent of cost against trials.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
from machine import describe

from voxanchor.corpus.manifest import Manifest, Part, Utterance
from voxanchor.corpus.trial_lists import read_trials
from voxanchor.scoring.bootstrap import TrialBootstrap
from voxanchor.scoring.cohort import Cohort, as_norm
from voxanchor.scoring.metrics import rank_trials, ranked_eer, ranked_min_dcf
from voxanchor.scoring.scores import trial_scores

SPEAKERS, DIMENSION, COHORT = 1251, 192, 6000
TARGET_SHARE = 0.05
REPLICATES = 1000
MOST_UTTERANCES = 150_000


class Cost(NamedTuple):
    seconds: float
    spread: float
    peak_mb: float


def measure(work: Callable[[], Any], repeats: int) -> Cost:
    """Median and range of the processor time, then once more for the peak of memory."""
    taken = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        taken.append(time.process_time() - began)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return Cost(statistics.median(taken), max(taken) - min(taken), peak / 1e6)


class Trials(NamedTuple):
    scores: np.ndarray
    targets: np.ndarray
    enrol: np.ndarray
    test: np.ndarray


def draw(count: int) -> Trials:
    generator = np.random.default_rng(0)
    targets = generator.random(count) < TARGET_SHARE
    scores = generator.standard_normal(count) + 2.5 * targets
    enrol = generator.integers(0, SPEAKERS, count)
    return Trials(scores, targets, enrol, np.where(targets, enrol, generator.integers(0, SPEAKERS, count)))


def metrics(trials: Trials) -> None:
    ranked = rank_trials(trials.scores, trials.targets)
    ranked_eer(ranked)
    ranked_min_dcf(ranked, 0.01)
    ranked_min_dcf(ranked, 0.05)


def bootstrap(trials: Trials, replicates: int = REPLICATES) -> None:
    generator = np.random.default_rng(0)
    TrialBootstrap.draw(trials.targets, trials.enrol, trials.test, generator, replicates).eer(trials.scores)


def peer_roc(trials: Trials) -> Callable[[], Any] | None:
    try:
        from sklearn.metrics import roc_curve
    except ImportError:
        return None
    return lambda: roc_curve(trials.targets, trials.scores)


def peer_replicate(trials: Trials) -> Callable[[], Any] | None:
    """One replicate by scikit-learn: weights of the trials, then a weighted ROC."""
    try:
        from sklearn.metrics import roc_curve
    except ImportError:
        return None
    drawn = np.random.default_rng(0).multinomial(SPEAKERS, np.full(SPEAKERS, 1 / SPEAKERS))

    def work() -> None:
        weights = drawn[trials.enrol] * np.where(trials.enrol == trials.test, 1, drawn[trials.test])
        roc_curve(trials.targets, trials.scores, sample_weight=weights)

    return work


def write_list(path: Path, count: int) -> Manifest:
    generator = np.random.default_rng(0)
    total = min(MOST_UTTERANCES, max(100, count // 10))
    names = [f"id1{place % SPEAKERS:04d}/{place * 7919 % 10**11:011d}/{place % 97:05d}.wav" for place in range(total)]
    with path.open("w", encoding="ascii") as file:
        for start in range(0, count, 100_000):
            rows = min(100_000, count - start)
            left, right = generator.integers(0, total, (2, rows)).tolist()
            labels = generator.integers(0, 2, rows).tolist()
            file.writelines(f"{k} {names[i]} {names[j]}\n" for k, i, j in zip(labels, left, right, strict=True))
    return Manifest(tuple(Utterance(name, name[:7], 1.0, (Part(name),)) for name in names))


def embeddings(rows: int) -> np.ndarray:
    return np.random.default_rng(rows).standard_normal((rows, DIMENSION), dtype=np.float32)


def exponent(costs: dict[int, Cost]) -> str:
    if len(costs) < 3:
        return "-"
    return f"{np.polyfit(np.log(list(costs)), np.log([cost.seconds for cost in costs.values()]), 1)[0]:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=float, default=1e6, help="most trials; steps of ten from 10,000")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    sizes = [10**power for power in range(4, 9) if 10**power <= arguments.largest]
    facts = describe(threads=1)
    print(
        f"{facts['processor']}, {facts['cores']} cores, one used; Python {facts['python']}, numpy {np.__version__}; "
        f"load {os.getloadavg()[0]:.1f}; medians of {arguments.repeats}"
    )
    print("\n| what | trials | CPU s | spread s | peak MB | peer, times slower |\n|---|---|---|---|---|---|")
    found: dict[str, dict[int, Cost]] = {}

    def report(what: str, count: int, cost: Cost, peer: float | None = None) -> None:
        found.setdefault(what, {})[count] = cost
        ratio = "-" if peer is None else f"{peer / cost.seconds:.1f}"
        print(
            f"| {what} | {count:,} | {cost.seconds:.4f} | {cost.spread:.4f} | {cost.peak_mb:.1f} | {ratio} |",
            flush=True,
        )

    rows, cohort = embeddings(20_000), Cohort.of_speakers(embeddings(COHORT), np.arange(COHORT))
    for count in sizes:
        trials = draw(count)
        roc = peer_roc(trials)
        peer = measure(roc, arguments.repeats).seconds if roc else None
        report("EER and minDCF at 0.01 and 0.05", count, measure(lambda t=trials: metrics(t), arguments.repeats), peer)
        if count <= 1_000_000:
            replicate = peer_replicate(trials)
            peer = REPLICATES * measure(replicate, 3).seconds if replicate else None
            cost = measure(lambda t=trials: bootstrap(t), arguments.repeats)
            report(f"bootstrap, {REPLICATES} resamples of speakers", count, cost, peer)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "trials.txt"
            manifest = write_list(path, count)
            report("trial list read", count, measure(lambda p=path, m=manifest: read_trials(p, m), arguments.repeats))
        left, right = np.random.default_rng(1).integers(0, len(rows), (2, count))
        work = lambda a=left, b=right: trial_scores(rows, rows, a, b)  # noqa: E731
        report(f"cosines of trials, dimension {DIMENSION}", count, measure(work, arguments.repeats))
        statistics_ = cohort.statistics(rows[:2000])
        left, right, raw = left % 2000, right % 2000, trials.scores
        work = lambda a=left, b=right, s=raw, c=statistics_: as_norm(s, c, c, a, b)  # noqa: E731
        report("AS-norm applied", count, measure(work, arguments.repeats))
    for count in (200, 2000, 20_000):
        work = lambda n=count: cohort.statistics(rows[:n])  # noqa: E731
        report(
            f"AS-norm statistics, cohort {COHORT}, top {cohort.top}; recordings, not trials",
            count,
            measure(work, arguments.repeats),
        )
    print("\n| what | exponent of CPU time in trials |\n|---|---|")
    for what, costs in found.items():
        print(f"| {what} | {exponent(costs)} |")


if __name__ == "__main__":
    sys.exit(main())
