"""Systems that were trained several times: the names of their runs, and their numbers as arrays by training seed."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import stdev

import numpy as np

from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.results import GeometryRow, ResultRow, SeededGeometryRow, SeededResultRow
from voxanchor.evaluation.summary import CLEAN, NOISY, Estimate
from voxanchor.types import FloatArray

_MARK = "#"

MEASURES = ("compactness", "separation_mean", "separation_p95", "ratio", "drift")
"""Columns of `geometry.csv` that are measures."""


def run_name(system: str, seed: int) -> str:
    """Return the name under which one training of a system is evaluated: ``joint#1``."""
    return f"{system}{_MARK}{seed}"


def split_name(name: str) -> tuple[str, int]:
    """Return system and training seed of a run; a name without a seed is the only run of its system, seed 0."""
    system, mark, seed = name.rpartition(_MARK)
    return (system, int(seed)) if mark and seed.isdecimal() else (name, 0)


@dataclass(frozen=True)
class SeededEstimate(Estimate):
    """The mean over training seeds, its 95 % interval over speakers, and the value of every seed.

    Attributes:
        seeds: one value per training seed, in rising order of the seeds.
    """

    seeds: tuple[float, ...] = ()

    @property
    def spread(self) -> tuple[float, float] | None:
        """Least and largest value; None for a single training."""
        return (min(self.seeds), max(self.seeds)) if len(self.seeds) > 1 else None

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds, of three or more."""
        return stdev(self.seeds) if len(self.seeds) > 2 else None


def runs_of(outcome: Outcome, first: str) -> dict[str, tuple[int, ...]]:
    """Return the training seeds of each system in rising order; `first` in front, the others as they appear.

    Raises:
        ValueError: no run of `first`.
    """
    found: dict[str, set[int]] = {first: set()}
    for row in outcome.rows:
        system, seed = split_name(row.system)
        found.setdefault(system, set()).add(seed)
    if not found[first]:
        raise ValueError(f"There is no result of '{first}', only of {', '.join(list(found)[1:]) or 'nothing'}.")
    return {system: tuple(sorted(seeds)) for system, seeds in found.items()}


def results_rows(outcomes: Mapping[str, Outcome]) -> list[SeededResultRow]:
    """Return the rows of all suites for `results.csv`: `system` without the training seed, which has its own column.

    `suite` is what the outcome goes by: two of them may be under the same conditions, in other noise.
    """
    return [
        SeededResultRow(**{**asdict(row), "system": system, "suite": suite}, training_seed=seed)
        for suite, outcome in outcomes.items()
        for row in outcome.rows
        for system, seed in [split_name(row.system)]
    ]


def geometry_rows(outcomes: Mapping[str, Outcome]) -> list[SeededGeometryRow]:
    """Return the rows of all suites for `geometry.csv`, as `results_rows` does."""
    return [
        SeededGeometryRow(**{**asdict(row), "system": system, "suite": suite}, training_seed=seed)
        for suite, outcome in outcomes.items()
        for row in outcome.geometry
        for system, seed in [split_name(row.system)]
    ]


@dataclass(frozen=True)
class Samples:
    """The EERs of one suite in percent, averaged over noise seeds.

    Attributes:
        conditions: names of the C conditions.
        eers: system -> (K, C) float64, one row per training seed in rising order.
        replicates: system -> (K, C, R) float64, of the same R draws of speakers for all systems; NaN where a draw held
            no target or no non-target trial.
        kinds: kind of noise -> SNRs in dB, rising, and the places of their conditions.
    """

    conditions: tuple[str, ...]
    eers: Mapping[str, FloatArray]
    replicates: Mapping[str, FloatArray]
    kinds: Mapping[str, tuple[FloatArray, tuple[int, ...]]]

    @classmethod
    def of(cls, outcome: Outcome, runs: Mapping[str, Sequence[int]]) -> "Samples":
        """Return the arrays of an outcome.

        Raises:
            ValueError: a run that was not measured in a condition.
        """
        rows: dict[tuple[str, str], list[ResultRow]] = {}
        for row in outcome.rows:
            rows.setdefault((row.system, row.condition), []).append(row)
        conditions = tuple(dict.fromkeys(condition for _, condition in rows))
        kinds: dict[str, dict[float, int]] = {}
        for row in outcome.rows:
            if row.snr_db is not None:
                kinds.setdefault(row.noise, {})[row.snr_db] = conditions.index(row.condition)
        names = {system: [_known(outcome, system, seed) for seed in seeds] for system, seeds in runs.items()}
        missing = [
            f"{name} in {c}" for own in names.values() for name in own for c in conditions if (name, c) not in rows
        ]
        if missing:
            raise ValueError(f"Systems can be compared in conditions that all were measured in; not {missing[0]}.")

        def eer(name: str, condition: str) -> float:
            return float(np.mean([row.eer for row in rows[name, condition]]))

        def samples(name: str, condition: str) -> FloatArray:
            own = rows[name, condition]
            mean: FloatArray = np.mean([outcome.replicates[name, condition, row.noise_seed] for row in own], axis=0)
            return mean

        return cls(
            conditions,
            {system: np.array([[eer(name, c) for c in conditions] for name in own]) for system, own in names.items()},
            {
                system: np.array([[samples(name, c) for c in conditions] for name in own])
                for system, own in names.items()
            },
            {
                kind: (np.array(sorted(levels)), tuple(levels[level] for level in sorted(levels)))
                for kind, levels in kinds.items()
            },
        )


def _known(outcome: Outcome, system: str, seed: int) -> str:
    """The name a run has in the table: with its seed, or the system's own."""
    name = run_name(system, seed)
    return name if any(row.system == name for row in outcome.rows) else system


def plain_rows(
    outcome: Outcome, runs: Mapping[str, Sequence[int]]
) -> tuple[list[ResultRow], dict[tuple[str, str, int], FloatArray]]:
    """Return rows and replicates under the systems' own names, as `summarise` takes them.

    Each pair of training seed and noise seed becomes a noise seed of its own, so that averages are over both.

    Args:
        outcome: of one suite.
        runs: training seeds of each system; decides their order.
    """
    trainings = max(len(seeds) for seeds in runs.values())
    rows, replicates = [], {}
    for system, seeds in runs.items():
        for row in outcome.rows:
            name, seed = split_name(row.system)
            if name == system:
                number = row.noise_seed * trainings + seeds.index(seed)
                rows.append(replace(row, system=system, noise_seed=number))
                replicates[system, row.condition, number] = outcome.replicates[
                    row.system, row.condition, row.noise_seed
                ]
    return rows, replicates


def seeded_geometry(rows: Sequence[GeometryRow]) -> dict[str, dict[str, SeededEstimate]]:
    """Return the measures of one system in one suite, averaged over noise seeds and then over training seeds.

    Args:
        rows: of that system, under its `run_name`s, and that suite.
    """
    conditions = list(dict.fromkeys(row.condition for row in rows))
    parts = {name: [name] for name in conditions}
    if noisy := [name for name in conditions if name != CLEAN]:
        parts[NOISY] = noisy
    seeds = sorted({split_name(row.system)[1] for row in rows})

    def measured(measure: str, names: Sequence[str]) -> SeededEstimate:
        each = [
            float(
                np.mean(
                    [
                        getattr(row, measure)
                        for row in rows
                        if row.condition in names and split_name(row.system)[1] == seed
                    ]
                )
            )
            for seed in seeds
        ]
        return SeededEstimate(float(np.mean(each)), None, None, tuple(each))

    return {part: {measure: measured(measure, names) for measure in MEASURES} for part, names in parts.items()}
