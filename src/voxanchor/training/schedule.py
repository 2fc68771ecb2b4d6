"""How the learning rate and the margin move over the steps of a stage."""

import math
from dataclasses import dataclass

from voxanchor.errors import RecipeError


@dataclass(frozen=True)
class LearningRate:
    """Linear warm-up to `peak`, then half a cosine down to `final_share` of it at the last step."""

    peak: float = 1e-3
    warmup_steps: int = 50
    final_share: float = 0.05

    def __post_init__(self) -> None:
        if not (self.peak > 0 and self.warmup_steps >= 0 and 0 <= self.final_share <= 1):
            raise RecipeError("learning_rate needs peak > 0, warmup_steps >= 0 and final_share from 0 to 1")

    def at(self, step: int, steps: int) -> float:
        """Return the rate of step `step` (0 to steps - 1)."""
        if step < self.warmup_steps:
            return self.peak * (step + 1) / self.warmup_steps
        past = (step - self.warmup_steps) / max(1, steps - 1 - self.warmup_steps)
        return self.peak * (self.final_share + (1 - self.final_share) * (1 + math.cos(math.pi * min(past, 1.0))) / 2)


@dataclass(frozen=True)
class Margin:
    """An angular margin in radians that grows linearly from 0 over `warmup_steps` and then stays."""

    value: float = 0.2
    warmup_steps: int = 0

    def __post_init__(self) -> None:
        if not (0 <= self.value < math.pi / 2 and self.warmup_steps >= 0):
            raise RecipeError("margin needs value from 0 to pi/2 and warmup_steps >= 0")

    def at(self, step: int) -> float:
        """Return the margin of step `step`."""
        return self.value * min(1.0, step / self.warmup_steps) if self.warmup_steps else self.value
