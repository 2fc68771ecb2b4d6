"""What a finished comparison leaves: tables of all its suites, a summary, and the report."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import safe_open

from voxanchor import config
from voxanchor.evaluation.compared import compare_systems, geometry_rows, results_rows, write_compared_summary
from voxanchor.evaluation.compared_report import (
    Budget,
    ComparedReport,
    TrainingCurve,
    TuningRow,
    read_curve,
    write_compared_report,
)
from voxanchor.evaluation.projection import EmbeddingMap
from voxanchor.evaluation.results import write_csv
from voxanchor.evaluation.sections import listed
from voxanchor.evaluation.seeded import run_name, split_name
from voxanchor.files import write_text
from voxanchor.training.contest import Contest
from voxanchor.training.loop import METRICS_FILE
from voxanchor.training.run import TRAINING_FOLDER, Run
from voxanchor.workflows.evaluate import Comparison, Measured, embedding_maps, facts
from voxanchor.workflows.plans import DESCRIBED, effort, in_words, plan_of, unequal
from voxanchor.workflows.tuning import Point, best


@dataclass(frozen=True)
class Suite:
    """A suite of conditions, measured.

    Attributes:
        name: what the suite is called in the recipe.
        comparison: the models, by the names of their runs.
        measured: what was found.
    """

    name: str
    comparison: Comparison
    measured: Measured


def write_contest(
    contest: Contest, runs: Sequence[Run], suites: Sequence[Suite], points: Mapping[str, Sequence[Point]], out: Path
) -> None:
    """Write ``results.csv``, ``geometry.csv``, ``tuning.csv``, ``summary.json`` and ``report.html``.

    Args:
        contest: which system is the base, and which is ours.
        runs: one per training seed, the recipe of the first with the values that tuning chose.
        suites: the main one first.
        points: by stage, every point of the grid that was tried.
        out: where they are written.
    """
    recipe = runs[0].recipe
    assert recipe.evaluation is not None
    systems = recipe.evaluation.systems
    outcomes = {suite.name: suite.measured.outcome for suite in suites}
    write_csv(out / "results.csv", results_rows(outcomes))
    geometry = geometry_rows(outcomes)
    if geometry:
        write_csv(out / "geometry.csv", geometry)
    tuning = _tuning_rows(points)
    if tuning:
        write_text(out / "tuning.csv", _tuning_csv(tuning))
    compared = compare_systems(outcomes, base=contest.base, ours=contest.ours)
    write_compared_summary(out / "summary.json", compared)
    main = suites[0]
    described = {name: DESCRIBED.get(name, "") for name in systems}
    if recipe.stages[contest.base].take:
        taken = recipe.stages[contest.base].take
        described[contest.base] = f"A model that exists ({Path(taken).name}), as it is."
        if "joint" in described:
            described["joint"] = (
                "The same start and the same budget, trained on clean and noisy speech at once, with new class centres "
                "and without anchors."
            )
    write_compared_report(
        out / "report.html",
        ComparedReport(
            title=recipe.name,
            question=_question(contest, systems),
            outcomes=outcomes,
            base=contest.base,
            ours=contest.ours,
            described={name: text for name, text in described.items() if text},
            plans={name: in_words(recipe, name) for name in systems},
            budgets=[_budget(runs, name) for name in systems],
            unequal=unequal(recipe, systems, contest.ours),
            tuning=tuning,
            curves=_curves(runs),
            maps=_maps(main, systems),
            facts=[
                *facts(main.comparison, main.measured),
                ("training seeds", ", ".join(str(run.seed) for run in runs)),
                ("speakers to train on", f"{len(runs[0].corpora.train.speakers):,}"),
                ("speakers to tune on", f"{len(runs[0].corpora.validation.speakers):,}"),
            ],
            notes=list(dict.fromkeys(note for suite in suites for note in suite.measured.notes)),
            recipe=config.dump(recipe),
            remark=main.comparison.note,
        ),
        compared,
    )


def _question(contest: Contest, systems: Sequence[str]) -> str:
    others = listed([name for name in systems if name != contest.ours])
    return (
        f"Does {contest.ours} do better in noise than {others}, and does it keep what {contest.base} does on clean "
        "speech?"
    )


def _budget(runs: Sequence[Run], system: str) -> Budget:
    recipe = runs[0].recipe
    plan = [name for name in plan_of(recipe, system) if recipe.stages[name].train is not None]
    spent = effort(recipe, system)
    seconds = [sum(_seconds(run, name) for name in plan) for run in runs]
    return Budget(
        system=system,
        stages=plan_of(recipe, system),
        steps=spent.steps,
        examples_clean=spent.clean + spent.twins,
        examples_noisy=spent.noisy,
        hours_heard=spent.hours,
        seconds=float(np.mean(seconds)),
        parameters=_parameters(runs[0], system),
    )


def _seconds(run: Run, stage: str) -> float:
    train = run.recipe.stages[stage].train
    assert train is not None
    path = run.stage_folder(stage) / TRAINING_FOLDER / METRICS_FILE
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    timed = [line["seconds"] for line in lines if "seconds" in line]
    return float(np.median(timed)) * train.steps if timed else 0.0


def _parameters(run: Run, system: str) -> int:
    path = run.stage_folder(system) / "model.safetensors"
    if not path.exists():  # a model that was taken
        from voxanchor.models import registry

        return sum(parameter.numel() for parameter in registry.load(run.model(system)).parameters())
    with safe_open(path, "numpy") as file:
        return sum(int(np.prod(file.get_slice(name).get_shape())) for name in file.keys())  # noqa: SIM118


def _tuning_rows(points: Mapping[str, Sequence[Point]]) -> list[TuningRow]:
    return [
        TuningRow(name, point.settings, point.clean_eer, point.noisy_eer, point.score, place == best(tried))
        for name, tried in points.items()
        for place, point in enumerate(tried)
    ]


def _tuning_csv(rows: Sequence[TuningRow]) -> str:
    keys = list(dict.fromkeys(key for row in rows for key in row.settings))
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["stage", *keys, "clean_eer", "noisy_eer", "score", "chosen"])
    for row in rows:
        settings = [row.settings.get(key, "") for key in keys]
        writer.writerow([row.system, *settings, row.clean_eer, row.noisy_eer, row.score, int(row.chosen)])
    return buffer.getvalue()


def _curves(runs: Sequence[Run]) -> list[TrainingCurve]:
    stages = runs[0].recipe.stages
    return [
        read_curve(run.stage_folder(name) / TRAINING_FOLDER / METRICS_FILE, name, number, name)
        for name, stage in stages.items()
        if stage.train is not None
        for number, run in enumerate(runs)
    ]


def _maps(suite: Suite, systems: Sequence[str]) -> list[EmbeddingMap]:
    """Return a map per system, of its first training seed."""
    names = [run_name(name, 0) for name in systems]
    maps = embedding_maps(suite.measured.outcome, names, suite.measured.segments)
    return [EmbeddingMap(split_name(chart.system)[0], chart.points, chart.speakers, chart.noisy) for chart in maps]
