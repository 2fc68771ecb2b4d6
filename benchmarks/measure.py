"""Two or more sides measured in turn, and the rows of the table they make."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from statistics import median
from typing import Literal

import allocator

OURS = "voxanchor"
"""A side whose name begins like this must run; any other may fail, and the table then says why."""

KEPT = ", freed memory kept"
"""A peer whose name ends like this runs with the allocator as our commands set it; without it, as Python leaves it."""


@dataclass(frozen=True)
class Settings:
    """What a row is measured with.

    Attributes:
        recordings: folder that `recordings.prepare` filled.
        repeats: times that each side is measured, after one time that does not count.
        threads: of torch, where a row does not say otherwise.
        quick: smaller sizes, for development; not for publication.
        model: model directory for the change in EER; empty for none.
        before: commit that whole commands are compared with; empty for none.
    """

    recordings: str
    repeats: int = 5
    threads: int = 1
    quick: bool = False
    model: str = ""
    before: str = ""

    def pick(self, full: int, quick: int) -> int:
        """Return the size for this run."""
        return quick if self.quick else full


@dataclass(frozen=True)
class Side:
    """One side's values, one per repeat, or why there are none."""

    name: str
    values: tuple[float, ...] = ()
    reason: str = ""

    @property
    def median(self) -> float:
        return median(self.values)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured, sizes included.
        unit: of the values; seconds and errors are better lower, everything else higher.
        ours, peer: the two sides; a row without a peer states a figure.
        goal: what was aimed at, as text.
        note: anything a reader must know to read the figure right.
    """

    what: str
    unit: str
    ours: Side
    peer: Side | None = None
    goal: str = ""
    note: str = ""
    better: Literal["higher", "lower"] = "higher"

    def ratios(self) -> list[float]:
        """Return how many times better ours was in each repeat; empty where a side has no values."""
        if self.peer is None or not self.peer.values or not self.ours.values:
            return []
        pairs = zip(self.ours.values, self.peer.values, strict=True)
        return [ours / peer if self.better == "higher" else peer / ours for ours, peer in pairs]

    def ratio(self) -> float | None:
        """Return how many times better our median is than the peer's; None where there is nothing to compare."""
        if not self.ratios() or self.peer is None:
            return None
        ours, peer = self.ours.median, self.peer.median
        return ours / peer if self.better == "higher" else peer / ours


Measure = Callable[[], float]


def in_turn(sides: Mapping[str, Measure | str], repeats: int, warm: int = 1) -> dict[str, Side]:
    """Return the values of every side, measured A B A B ... so that a change of the machine's pace meets them all.

    Args:
        sides: by name, a call that gives one value, or the reason why there is none.
        repeats: values per side.
        warm: calls before that which do not count.
    """
    reasons = {name: measure for name, measure in sides.items() if isinstance(measure, str)}
    running = {name: measure for name, measure in sides.items() if not isinstance(measure, str)}
    values: dict[str, list[float]] = {name: [] for name in running}
    for turn in range(-warm, repeats):
        for name, measure in running.items():
            if name in reasons:
                continue
            if name.startswith(OURS) or name.endswith(KEPT):
                allocator.as_commands()
            else:
                allocator.as_python()
            try:
                value = measure()
            except Exception as error:
                if name.startswith(OURS):
                    raise
                reasons[name] = because(error)
                continue
            if turn >= 0:
                values[name].append(value)
    return {
        name: Side(name, reason=reasons[name]) if name in reasons else Side(name, tuple(values[name])) for name in sides
    }


def because(error: Exception) -> str:
    """Return why a peer cannot run here, in one line."""
    lines = str(error).strip().splitlines()
    return f"cannot run here: {type(error).__name__}: {lines[-1] if lines else ''}".strip(": ")


def attempt(make: Callable[[], Measure]) -> Measure | str:
    """Return what `make` sets up for a peer, or why it cannot."""
    try:
        return make()
    except Exception as error:
        return because(error)


def seconds(work: Callable[[], object], least_s: float = 0.0) -> float:
    """Return the mean seconds of one call, called until `least_s` have passed."""
    calls, began = 0, time.perf_counter()
    while True:
        work()
        calls += 1
        passed = time.perf_counter() - began
        if passed >= least_s:
            return passed / calls


def rate(work: Callable[[], object], items: float, least_s: float = 0.0) -> Measure:
    """Return a measure of how many items a second `work`, which does `items` of them, gets through."""
    return lambda: items / seconds(work, least_s)


@dataclass
class Answer:
    """What one module of rows gives back."""

    rows: list[Row] = field(default_factory=list)
    facts: dict[str, object] = field(default_factory=dict)
