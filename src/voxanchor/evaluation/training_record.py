"""What a report tells about trainings: what each system was given, which settings were tried, how the loss fell."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxanchor.errors import CorpusError


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


def read_curve(path: Path, system: str, seed: int, stage: str) -> TrainingCurve:
    """Return the curve of a stage from its `metrics.jsonl`; an empty one where there is no such file.

    Validation without error rates, as there is without speaker labels, is left out.

    Raises:
        CorpusError: a file that cannot be read or is not what a training writes.
    """
    try:
        lines: list[dict[str, Any]] = []
        if path.exists():
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        steps = [int(line["step"]) for line in lines]
        losses = [(step, float(line["loss"])) for step, line in zip(steps, lines, strict=True) if "loss" in line]
        checks = [(step, line["validation"]) for step, line in zip(steps, lines, strict=True) if "validation" in line]
        validation = [
            (step, float(found["clean_eer"]), float(found["noisy_eer"]))
            for step, found in checks
            if "clean_eer" in found and "noisy_eer" in found
        ]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorpusError(f"{path}: not the metrics of a training ({error!r}).") from None
    return TrainingCurve(
        system, seed, stage, tuple(step for step, _ in losses), tuple(loss for _, loss in losses), tuple(validation)
    )
