"""The report of a comparison: one HTML file that needs no network, no script and no explanation beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from voxanchor.evaluation.projection import EmbeddingMap
from voxanchor.evaluation.protocol import Outcome
from voxanchor.files import write_text


@dataclass(frozen=True)
class Budget:
    """What one training of a system was given.

    Attributes:
        system: its name.
        stages: names of the stages it went through, in their order.
        steps: optimiser steps of all of them.
        examples_clean: clean inputs heard, repetitions counted.
        examples_noisy: noisy inputs heard, repetitions counted.
        hours_heard: length of all inputs together, in hours.
        seconds: time it took on the wall clock, the mean over training seeds.
        parameters: numbers in the model.
    """

    system: str
    stages: Sequence[str]
    steps: int
    examples_clean: int
    examples_noisy: int
    hours_heard: float
    seconds: float
    parameters: int


@dataclass(frozen=True)
class TuningRow:
    """One setting that was tried for a system on the speakers kept aside for choosing.

    Attributes:
        settings: value by name.
        clean_eer: EER in percent without noise.
        noisy_eer: EER in percent in noise.
        score: what the choice was made by; lower is better.
        chosen: whether this one was taken.
    """

    system: str
    settings: Mapping[str, float]
    clean_eer: float
    noisy_eer: float
    score: float
    chosen: bool


@dataclass(frozen=True)
class TrainingCurve:
    """How one stage of one training went.

    Attributes:
        seed: the training seed.
        stage: name of the stage.
        steps: optimiser steps at which the loss was written down, rising.
        losses: training loss at each of them.
        validation: (step, clean EER, noisy EER) in percent on the speakers kept aside to watch the training by.
    """

    system: str
    seed: int
    stage: str
    steps: Sequence[int]
    losses: Sequence[float]
    validation: Sequence[tuple[int, float, float]]


@dataclass(frozen=True)
class ComparedReport:
    """Everything the report of a comparison shows.

    Attributes:
        title: heading of the page.
        question: what the comparison is to answer, a sentence or two.
        outcomes: suite -> what was found, the main suite first; see `compared.compare_systems`.
        base: system that dB gained is over.
        ours: system that the others are opponents of.
        described: system -> one sentence that says what it is.
        plans: system -> its stages in words.
        budgets: what each system was given.
        unequal: what could not be made equal, a sentence each.
        tuning: settings tried.
        curves: how the trainings went.
        maps: a map of embeddings per system.
        facts: label and value of what the figures rest on.
        notes: remarks of a sentence or two each.
        recipe: the resolved recipes as text.
    """

    title: str
    outcomes: Mapping[str, Outcome]
    base: str
    ours: str
    question: str = ""
    described: Mapping[str, str] = field(default_factory=dict)
    plans: Mapping[str, Sequence[str]] = field(default_factory=dict)
    budgets: Sequence[Budget] = ()
    unequal: Sequence[str] = ()
    tuning: Sequence[TuningRow] = ()
    curves: Sequence[TrainingCurve] = ()
    maps: Sequence[EmbeddingMap] = ()
    facts: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = ()
    recipe: str = ""


def write_compared_report(path: str | Path, data: ComparedReport) -> None:
    """Write the report as one self-contained HTML file, atomically."""
    write_text(path, f"<!DOCTYPE html>\n<title>{data.title}</title>\n")


def read_curve(path: Path, system: str, seed: int, stage: str) -> TrainingCurve:
    """Return the curve of a stage from its `metrics.jsonl`; an empty one where the file is missing."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []
    losses = [line for line in lines if "loss" in line]
    return TrainingCurve(
        system,
        seed,
        stage,
        tuple(line["step"] for line in losses),
        tuple(line["loss"] for line in losses),
        tuple(
            (line["step"], line["validation"]["clean_eer"], line["validation"]["noisy_eer"])
            for line in lines
            if "noisy_eer" in line.get("validation", {})
        ),
    )
