"""A stage under a guard: attempts at it, the best state among them, and what is to be said of it."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from voxanchor import processes
from voxanchor.errors import DivergedError
from voxanchor.files import write_text
from voxanchor.progress import say
from voxanchor.training.checkpoint import load_state, save_state
from voxanchor.training.guard import Guard, gain
from voxanchor.training.stage import Train

KEPT_FILE = "kept.pt"
ENDED_FILE = "ended.json"

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Attempt:
    """One training of a stage.

    Attributes:
        learning_rate: its peak.
        why: why training stopped before its last step; empty when it did not.
    """

    learning_rate: float
    why: str = ""


@dataclass(frozen=True)
class Guarded:
    """How a guarded stage came out.

    Attributes:
        attempts: in order.
        attempt: which of them the state that is kept is from, from 1.
        step: and after which step.
        before: what validation found at the start.
        after: and in the state that is kept.
        spent: its loss of clean quality, as a share of what is allowed.
        gain: how much better it is in noise, in points.
    """

    attempts: tuple[Attempt, ...]
    attempt: int
    step: int
    before: Mapping[str, float]
    after: Mapping[str, float]
    spent: float
    gain: float

    @property
    def faults(self) -> tuple[str, ...]:
        """Why the state should not replace the model that it started from; empty when it may."""
        found = []
        if self.spent > 1:
            found.append("it lost more on clean speech than is allowed")
        if self.gain < 0:
            found.append("it is worse in noise")
        return tuple(found)

    def plain(self) -> dict[str, Any]:
        """Return all of it as plain values, ``accepted`` among them."""
        return {**asdict(self), "accepted": not self.faults, "faults": list(self.faults)}


class Keeper:
    """Judges states as they come and keeps the best on disk.

    Args:
        guard: the rules.
        before: what validation found at the start.
        path: file of the best state.
    """

    def __init__(self, guard: Guard, before: Mapping[str, float], path: Path) -> None:
        self.guard, self.before, self.path = guard, before, path

    def judge(self, attempt: int, step: int, values: Mapping[str, float], state: Callable[[], State]) -> bool:
        """Look at a state, keep it if it is the best so far, and return whether training may go on."""
        spent, cost = self.guard.spent(values, self.before), self.guard.cost(values)
        kept = load_state(self.path)
        least = cost if kept is None or not _comparable(kept, spent) else min(cost, kept["least"])
        if kept is None or self._better(spent, cost, kept):
            entry = {"attempt": attempt, "step": step, "values": dict(values), "spent": spent, "least": least}
            save_state(self.path, {**entry, "model": dict(state())})
        return spent < self.guard.stop_at

    def _better(self, spent: float, cost: float, kept: Mapping[str, Any]) -> bool:
        if (spent > 1) != (kept["spent"] > 1):
            return spent <= 1
        if spent > 1:
            return bool(spent <= kept["spent"])
        return bool(cost <= kept["least"] + self.guard.patience)


def _comparable(kept: Mapping[str, Any], spent: float) -> bool:
    """Return whether what is kept and a state that spent so much are both within the allowed loss, or both not."""
    return bool((kept["spent"] > 1) == (spent > 1))


def run_guarded(
    stage: Train,
    folder: Path,
    keeper: Keeper,
    attempt: Callable[[int, Train, Path], bool],
) -> None:
    """Train a stage, again with a lower learning rate where it fell past the guard's limits; resume where it stood.

    Args:
        stage: with its guard.
        folder: of the training; further attempts get a folder inside it.
        keeper: has the best state afterwards.
        attempt: trains as a stage says in a folder, and returns whether it came to its end.
    """
    for number in range(1, 2 + stage.guard.retries):
        place = folder if number == 1 else folder / f"attempt-{number}"
        peak = stage.learning_rate.peak * stage.guard.retry_rate ** (number - 1)
        if not processes.agreed((place / ENDED_FILE).exists()):
            if number > 1:
                say(f"guard: once more from the start, with a learning rate of {peak:.3g}")
            slower = replace(stage, learning_rate=replace(stage.learning_rate, peak=peak))
            try:
                why = "" if attempt(number, slower, place) else "clean quality fell too far"
            except DivergedError:
                why = "training diverged"
            if processes.first():
                write_text(place / ENDED_FILE, json.dumps(asdict(Attempt(peak, why))) + "\n")
                say(f"guard: stopped: {why}" if why else "guard: trained to the end")
        if processes.agreed(_good(place, keeper, number)):
            return


def _good(place: Path, keeper: Keeper, number: int) -> bool:
    if not processes.first():
        return False
    kept = load_state(keeper.path)
    ended = json.loads((place / ENDED_FILE).read_text(encoding="utf-8"))
    return kept is not None and not ended["why"] and kept["attempt"] == number and kept["spent"] <= 1


def outcome(folder: Path, keeper: Keeper) -> tuple[Guarded, State] | None:
    """Return how it came out and the state that is kept, or None where no state could be looked at."""
    kept = load_state(keeper.path)
    if kept is None:
        return None
    attempts, number = [], 1
    while (path := (folder if number == 1 else folder / f"attempt-{number}") / ENDED_FILE).exists():
        attempts.append(Attempt(**json.loads(path.read_text(encoding="utf-8"))))
        number += 1
    found = Guarded(
        tuple(attempts),
        kept["attempt"],
        kept["step"],
        keeper.before,
        kept["values"],
        kept["spent"],
        gain(kept["values"], keeper.before),
    )
    return found, kept["model"]
