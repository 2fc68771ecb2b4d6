"""What the evaluation of systems that were trained with several seeds says about each and about their differences."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from voxanchor.conditions.suites import FIELD_SUITES
from voxanchor.evaluation.compared_figures import GAIN, seeded_figures
from voxanchor.evaluation.paired import Contrast, contrast
from voxanchor.evaluation.protocol import Outcome
from voxanchor.evaluation.seeded import (
    Samples,
    SeededEstimate,
    geometry_rows,
    plain_rows,
    results_rows,
    run_name,
    runs_of,
    seeded_geometry,
    split_name,
)
from voxanchor.evaluation.summary import CLEAN, NOISY, OVERALL, Estimate, SystemSummary, summarise
from voxanchor.files import write_text
from voxanchor.scoring.gain import Gain

__all__ = [
    "ComparedSystem",
    "ComparedSystems",
    "compare_systems",
    "geometry_rows",
    "results_rows",
    "run_name",
    "split_name",
    "write_compared_summary",
]

Geometry = Mapping[str, Mapping[str, SeededEstimate]]
"""Condition, or "noisy" for the mean of all but clean -> measure -> value."""


@dataclass(frozen=True)
class ComparedSystem:
    """One system, averaged over its training seeds and the seeds of the noise.

    Attributes:
        seeds: its training seeds in rising order.
        figures: "clean", "noisy" (`avg15` of the suite "noise") and "overall" (`avg16`) of the main suite; the mean of
            all conditions but clean of every further suite under its name; EERs in percent. "db_gained" in dB. A
            figure that the suites do not have is missing.
        gain: dB gained over the base, with what bounds it; None for the base and without noisy conditions.
        minus: for every other system, its figures taken from this one's.
        suites: suite -> the summary of the mean over training seeds, as `summarise` gives it.
        geometry: suite -> the geometry of the embeddings; empty where the speakers are unknown.
    """

    seeds: tuple[int, ...]
    figures: Mapping[str, SeededEstimate]
    gain: Gain | None
    minus: Mapping[str, Mapping[str, Contrast]]
    suites: Mapping[str, SystemSummary]
    geometry: Mapping[str, Geometry]


@dataclass(frozen=True)
class ComparedSystems:
    """All systems, the base in front.

    Attributes:
        base: the system that dB gained is over.
        ours: the system that the others are opponents of.
        suites: names, the main one first.
        systems: by name.
        draws: how often speakers and training seeds were drawn anew.
    """

    base: str
    ours: str
    suites: tuple[str, ...]
    systems: Mapping[str, ComparedSystem]
    draws: int

    @property
    def figures(self) -> tuple[str, ...]:
        """Names of the figures there are, in the order of the headline."""
        return tuple(dict.fromkeys(name for system in self.systems.values() for name in system.figures))

    def mean_of(self, figure: str) -> int:
        """Return the number of conditions that a figure is the mean of."""
        suite = figure if figure in self.suites[1:] else self.suites[0]
        names = list(self.systems[self.base].suites[suite].conditions)
        return 1 if figure == CLEAN else len(names) if figure == OVERALL else len([n for n in names if n != CLEAN])

    @property
    def against(self) -> dict[str, Mapping[str, Contrast]]:
        """Opponent -> figure -> ours minus the opponent's."""
        return {name: self.systems[self.ours].minus[name] for name in self.systems if name != self.ours}

    def summaries(self, suite: str) -> dict[str, SystemSummary]:
        """Return the summaries of one suite."""
        return {name: system.suites[suite] for name, system in self.systems.items()}


def compare_systems(outcomes: Mapping[str, Outcome], *, base: str, ours: str) -> ComparedSystems:
    """Return figures, intervals and paired differences of all systems.

    Args:
        outcomes: suite -> what was found, for systems under their `run_name`s, all on the same trials. The first suite
            is the main one.
        base: system without which there is no dB gained. With one run only it stands against every training seed of
            the others.
        ours: system whose differences to the others are of interest.

    Raises:
        ValueError: a system missing or not measured everywhere, suites with other systems than the first, or a suite
            whose name is that of a figure.
    """
    if not outcomes:
        raise ValueError("A comparison needs at least one suite.")
    main, *further = outcomes
    if taken := {CLEAN, NOISY, OVERALL, GAIN} & set(further):
        raise ValueError(f"No further suite may be called '{taken.pop()}': a figure has that name.")
    runs = runs_of(outcomes[main], base)
    if ours not in runs or ours == base:
        raise ValueError(f"'{ours}' must be one of the systems compared with the base: {', '.join(list(runs)[1:])}.")
    for suite in further:
        if runs_of(outcomes[suite], base) != runs:
            raise ValueError(f"The suite '{suite}' was not measured on the same systems and seeds as '{main}'.")
    samples = {suite: Samples.of(outcome, runs) for suite, outcome in outcomes.items()}
    summaries = {suite: summarise(*plain_rows(outcome, runs)) for suite, outcome in outcomes.items()}
    figures, resampled = seeded_figures(samples, runs, base)
    return ComparedSystems(
        base,
        ours,
        tuple(outcomes),
        {
            system: ComparedSystem(
                seeds,
                {name: value for name, value in figures[system].items() if system != base or name != GAIN},
                summaries[main][system].gain,
                {
                    other: {
                        figure: contrast(
                            figures[system][figure].value - figures[other][figure].value,
                            resampled[system][figure] - resampled[other][figure],
                        )
                        for figure in figures[system]
                        if figure in figures[other]
                    }
                    for other in runs
                    if other != system
                },
                {suite: summaries[suite][system] for suite in outcomes},
                {
                    suite: geometry
                    for suite, outcome in outcomes.items()
                    if (
                        geometry := seeded_geometry(
                            [row for row in outcome.geometry if split_name(row.system)[0] == system]
                        )
                    )
                },
            )
            for system, seeds in runs.items()
        },
        samples[main].replicates[base].shape[2],
    )


def write_compared_summary(path: str | Path, compared: ComparedSystems) -> None:
    """Write `summary.json`: the keys of `summary.write_summary`, and what several seeds and suites add.

    Per system: every figure with `_low` and `_high` (95 % over speakers), `_seeds` (a list, one value per training
    seed) and, of three seeds or more, `_deviation`; `unseen` for the suite "unseen-noise", other further suites under
    their names; `db_gained` with `db_gained_bound`; `training_seeds`; `conditions` and, of every suite, `suites`;
    `minus`, the differences to the other systems, with `_low`, `_high` and `_p` over speakers and training seeds;
    `geometry` by suite, condition and measure. EERs in percent. A ratio without bound is null.
    """
    aliases = _aliases(compared)
    content = {name: _json(system, compared, aliases) for name, system in compared.systems.items()}
    write_text(path, json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def _aliases(compared: ComparedSystems) -> dict[str, tuple[str, ...]]:
    """The keys of each figure; the suite "noise" has the field's names for its averages."""
    field = compared.suites[0] in FIELD_SUITES
    return {
        CLEAN: ("clean",),
        NOISY: ("avg15", "avg_noisy") if field else ("avg_noisy",),
        OVERALL: ("avg16", "avg_all") if field else ("avg_all",),
        GAIN: (GAIN,),
        **{suite: ("unseen" if suite == "unseen-noise" else suite,) for suite in compared.suites[1:]},
    }


def _json(system: ComparedSystem, compared: ComparedSystems, aliases: Mapping[str, Sequence[str]]) -> dict[str, object]:
    content: dict[str, object] = {"training_seeds": list(system.seeds)}
    for figure, estimate in system.figures.items():
        for key in aliases[figure]:
            content |= _ends(key, estimate)
            content[f"{key}_seeds"] = list(estimate.seeds)
            if estimate.deviation is not None:
                content[f"{key}_deviation"] = estimate.deviation
    if system.gain is not None:
        content["db_gained_bound"] = system.gain.bound
    content["conditions"] = {
        name: estimate.value for name, estimate in system.suites[compared.suites[0]].conditions.items()
    }
    content["suites"] = {
        suite: {name: estimate.value for name, estimate in summary.conditions.items()}
        for suite, summary in system.suites.items()
    }
    content["minus"] = {
        other: {
            key: value
            for figure, difference in figures.items()
            for alias in aliases[figure]
            for key, value in {**_ends(alias, difference), f"{alias}_p": difference.p}.items()
        }
        for other, figures in system.minus.items()
    }
    content["geometry"] = {
        suite: {
            part: {
                measure: estimate.value if math.isfinite(estimate.value) else None for measure, estimate in by.items()
            }
            for part, by in geometry.items()
        }
        for suite, geometry in system.geometry.items()
    }
    return content


def _ends(key: str, estimate: Estimate) -> dict[str, float]:
    content = {key: estimate.value}
    if estimate.low is not None and estimate.high is not None:
        content |= {f"{key}_low": estimate.low, f"{key}_high": estimate.high}
    return content
