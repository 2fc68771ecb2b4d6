"""What a plan is: places that were looked at, stages with what they cost, and how often they are run."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from voxanchor.workflows.plan_data import Looked


@dataclass(frozen=True)
class StagePlan:
    """One stage, or the evaluation.

    Attributes:
        kind: ``train``, ``anchors`` or ``evaluation``.
        steps: optimiser steps.
        epochs: how often each recording is heard; None while the speech is not there.
        hours: of audio that goes through the network; None while the speech is not there.
        seconds: that it will take here; None while `hours` is.
        memory_bytes: of training, most at one time; 0 for the others, which take less.
        times: how often the stage is run, with other seeds and settings; hours and seconds are those of once.
    """

    name: str
    kind: str
    steps: int = 0
    batch_size: int = 0
    crop_s: float = 0.0
    epochs: float | None = None
    hours: float | None = None
    seconds: float | None = None
    memory_bytes: int = 0
    times: int = 1


@dataclass(frozen=True)
class Plan:
    """What was found and what will happen.

    Attributes:
        looked: a place that the recipe names each.
        stages: in their order, the evaluation last.
        device: what was measured on.
        machine_bytes: memory of the machine; of its processor, where there is an accelerator too; 0 where the
            system does not say.
        notes: what else should be known.
    """

    name: str
    looked: tuple[Looked, ...]
    stages: tuple[StagePlan, ...]
    device: str
    machine_bytes: int
    notes: tuple[str, ...]

    @property
    def missing(self) -> tuple[Looked, ...]:
        """Places that cannot serve."""
        return tuple(place for place in self.looked if place.problem)

    @property
    def seconds(self) -> float:
        """All stages of which the time is known, together."""
        return sum(stage.times * (stage.seconds or 0.0) for stage in self.stages)

    @property
    def memory_bytes(self) -> int:
        """Most that is used at one time."""
        return max(stage.memory_bytes for stage in self.stages)


@dataclass(frozen=True)
class Repeats:
    """How often stages are run.

    Attributes:
        seeds: how many training seeds a stage is run with; one where nothing is said.
        trials: how many runs come on top, to try settings.
    """

    seeds: Mapping[str, int] = field(default_factory=dict)
    trials: Mapping[str, int] = field(default_factory=dict)

    def of(self, stage: str) -> int:
        """Return how often a stage is run."""
        return self.seeds.get(stage, 1) + self.trials.get(stage, 0)


ONCE = Repeats()
"""Every stage is run once."""
