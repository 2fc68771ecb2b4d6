"""EER and minDCF of scored trials."""

import numpy as np
import torch
from measure import Answer, Measure, Row, Settings, attempt, in_turn, seconds

from voxanchor.rng import generator
from voxanchor.scoring.metrics import eer, min_dcf
from voxanchor.types import BoolArray, FloatArray

P_TARGET = 0.01


def measure(settings: Settings) -> Answer:
    torch.set_num_threads(settings.threads)
    few, many = settings.pick(40_000, 4_000), settings.pick(1_000_000, 100_000)
    rows = []
    for count in (few, many):
        scores, targets = trials(count)
        contenders = {
            "SpeechBrain": lambda s=scores, t=targets: _speechbrain(s, t),
            "scikit-learn roc_curve": lambda s=scores, t=targets: _sklearn(s, t),
        }
        sides = in_turn(
            {"voxanchor": _ours(scores, targets)} | {name: attempt(make) for name, make in contenders.items()},
            settings.repeats,
            warm=0 if count == few else 1,  # SpeechBrain takes a minute, and its first call is like the others
        )
        goal = "under 0.5 s" if count == many else ""
        rows += [
            Row(f"EER and minDCF of {count:,} trials", "s", sides["voxanchor"], sides[name], goal, better="lower")
            for name in contenders
        ]
    return Answer(rows)


def trials(count: int) -> tuple[FloatArray, BoolArray]:
    """Return normal scores of `count` trials, half of them same-speaker, and which; the EER is about 16 %."""
    draw = generator(0, 0, count, "benchmark trials")
    targets = draw.random(count) < 0.5
    return draw.normal(np.where(targets, 2.0, 0.0), 1.0), targets


def _ours(scores: FloatArray, targets: BoolArray) -> Measure:
    return lambda: seconds(lambda: (eer(scores, targets), min_dcf(scores, targets, P_TARGET)), least_s=0.2)


def _sklearn(scores: FloatArray, targets: BoolArray) -> Measure:
    from sklearn.metrics import roc_curve

    def both() -> tuple[float, float]:
        p_fa, hits, _ = roc_curve(targets, scores)
        p_miss = 1 - hits
        place = np.argmin(np.abs(p_miss - p_fa))
        costs = P_TARGET * p_miss + (1 - P_TARGET) * p_fa
        return (p_miss[place] + p_fa[place]) / 2, costs.min() / P_TARGET

    _agree(both(), scores, targets, P_TARGET)
    return lambda: seconds(both, least_s=0.2)


def _speechbrain(scores: FloatArray, targets: BoolArray) -> Measure:
    from peers import brain

    positive, negative = torch.from_numpy(scores[targets]).float(), torch.from_numpy(scores[~targets]).float()
    thresholds = 2 * len(scores)
    needed = 5 * thresholds * max(len(positive), len(negative)) * 1.2
    if needed > _available_bytes():
        raise MemoryError(f"its minDCF needs {needed / 2**30:.0f} GB for {len(scores):,} trials")

    def both() -> tuple[float, float]:
        rate, _ = brain.EER(positive, negative)
        cost, _ = brain.minDCF(positive, negative, p_target=P_TARGET)
        return rate, cost / P_TARGET

    if len(scores) < 10_000:
        _agree(both(), scores, targets, P_TARGET)
    return lambda: seconds(both)


def _agree(found: tuple[float, float], scores: FloatArray, targets: BoolArray, p_target: float) -> None:
    ours = eer(scores, targets).eer, min_dcf(scores, targets, p_target)
    if not np.allclose(found, ours, atol=1e-3):
        raise ArithmeticError(f"EER and minDCF are {found}, ours {ours}")


def _available_bytes() -> float:
    with open("/proc/meminfo", encoding="ascii") as file:  # noqa: PTH123
        for line in file:
            if line.startswith("MemAvailable"):
                return float(line.split()[1]) * 1024
    return 0.0
