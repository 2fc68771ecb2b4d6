"""dB gained: how much lower the SNR may be for one model to have the error of another."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from voxanchor.types import FloatArray


@dataclass(frozen=True)
class ErrorCurve:
    """EER of one model against SNR, for one kind of noise.

    Attributes:
        snr_db: (P,) float64, strictly rising.
        eer: (P,) float64, in any unit, the same for all curves compared.
    """

    snr_db: FloatArray
    eer: FloatArray

    @classmethod
    def of(cls, snr_db: ArrayLike, eer: ArrayLike) -> "ErrorCurve":
        """Return a curve with its points sorted by SNR.

        Raises:
            ValueError: no points, differing shapes, values that are not finite, or an SNR given twice.
        """
        levels, rates = np.asarray(snr_db, dtype=np.float64), np.asarray(eer, dtype=np.float64)
        if levels.ndim != 1 or levels.shape != rates.shape or levels.size == 0:
            raise ValueError(f"A curve needs as many SNRs as EERs, got {levels.shape} and {rates.shape}.")
        if not (np.isfinite(levels).all() and np.isfinite(rates).all()) or len(np.unique(levels)) < levels.size:
            raise ValueError("A curve needs finite values and every SNR once.")
        order = np.argsort(levels)
        return cls(levels[order], rates[order])

    def lowest_snr_db(self, eer: float) -> float:
        """Return the lowest SNR from which on the error never exceeds `eer`, linearly interpolated, in dB.

        -inf when the error is below `eer` at every SNR measured, +inf when it exceeds it at the highest one.
        """
        above = np.flatnonzero(self.eer > eer)
        if above.size == 0:
            return float(self.snr_db[0]) if self.eer.max() == eer else -np.inf
        last = int(above[-1])
        if last == self.eer.size - 1:
            return np.inf
        share = (self.eer[last] - eer) / (self.eer[last] - self.eer[last + 1])
        return float(self.snr_db[last] + share * (self.snr_db[last + 1] - self.snr_db[last]))


@dataclass(frozen=True)
class Gain:
    """dB gained, and whether it is a figure or only a bound.

    Attributes:
        db: the gain in dB, positive when the robust model bears more noise.
        bound: "exact" when both curves share error rates; "at_least" when the robust model is better at every SNR
            measured than the base model is at any, "at_most" for the reverse.
    """

    db: float
    bound: Literal["exact", "at_least", "at_most"] = "exact"

    def __str__(self) -> str:
        return {"exact": "", "at_least": "≥ ", "at_most": "≤ "}[self.bound] + f"{self.db:+.1f}".replace(
            "-", "\N{MINUS SIGN}"
        )


def db_gained(base: ErrorCurve, robust: ErrorCurve) -> Gain:
    """Return how much lower the SNR may be for the robust model to have the base model's EER, for one noise kind.

    At every error rate measured on either curve that both of them reach, the lowest SNR at which each model keeps to
    it is interpolated linearly; the differences are averaged. Rates that only one model reaches say nothing exact and
    are left out; where the curves share none, the bound that the range of SNRs allows is returned. Swapping the models
    changes the sign.
    """
    if robust.eer.max() < base.eer[-1]:
        return Gain(float(base.snr_db[-1] - robust.snr_db[0]), "at_least")
    if base.eer.max() < robust.eer[-1]:
        return Gain(float(base.snr_db[0] - robust.snr_db[-1]), "at_most")
    rates = np.union1d(base.eer, robust.eer).tolist()
    differences = np.array([base.lowest_snr_db(rate) - robust.lowest_snr_db(rate) for rate in rates])
    return Gain(float(differences[np.isfinite(differences)].mean()))


def mean_db_gained(base: Mapping[str, ErrorCurve], robust: Mapping[str, ErrorCurve]) -> Gain | None:
    """Return the gain averaged over the noise kinds both models were measured on; None where there are none.

    A kind with only a bound counts as its bound, and the mean becomes that bound; where bounds of both directions
    meet, only exact kinds count, and None is returned when there are none.
    """
    gains = [db_gained(base[kind], robust[kind]) for kind in base if kind in robust]
    bounds = {gain.bound for gain in gains} - {"exact"}
    if len(bounds) == 2:
        gains = [gain for gain in gains if gain.bound == "exact"]
        bounds = set()
    if not gains:
        return None
    mean = float(np.mean([gain.db for gain in gains]))
    if "at_least" in bounds:
        return Gain(mean, "at_least")
    return Gain(mean, "at_most") if bounds else Gain(mean)
