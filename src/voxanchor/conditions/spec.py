"""What can happen to a recording, said as data."""

import math
import re
from dataclasses import dataclass

import numpy as np

from voxanchor.errors import RecipeError

_KIND = re.compile(r"[a-z][a-z0-9]*(?:[_-][a-z0-9]+)*")
_LARGEST_SNR_DB = 100.0


@dataclass(frozen=True)
class Condition:
    """One acoustic condition: clean, or a kind of noise at a signal-to-noise ratio.

    Attributes:
        noise: kind of noise, such as ``"babble"``; None when clean.
        snr_db: ratio of the active levels of speech and noise; None when clean.

    Raises:
        RecipeError: one of the two without the other, a kind that is not a name in lower case, or a ratio beyond
            -100 to 100 dB.
    """

    noise: str | None = None
    snr_db: float | None = None

    def __post_init__(self) -> None:
        if (self.noise is None) != (self.snr_db is None):
            raise RecipeError(f"a condition has a noise and an SNR, or neither: got {self.noise!r} and {self.snr_db!r}")
        if self.noise is None or self.snr_db is None:
            return
        if not _KIND.fullmatch(self.noise) or self.noise == "clean":
            raise RecipeError(f"'{self.noise}' cannot name a kind of noise: use lower-case letters, digits and _ or -")
        if not (math.isfinite(self.snr_db) and abs(self.snr_db) <= _LARGEST_SNR_DB):
            raise RecipeError(f"an SNR lies between -100 and 100 dB, not at {self.snr_db}")
        object.__setattr__(self, "snr_db", float(self.snr_db) + 0.0)  # + 0.0 turns -0.0 into 0.0

    @property
    def is_clean(self) -> bool:
        """Whether nothing is added."""
        return self.noise is None

    @property
    def name(self) -> str:
        """``"clean"``, ``"babble_0db"``, ``"noise_-2.5db"``: what `parse` reads."""
        if self.noise is None or self.snr_db is None:
            return "clean"
        snr = f"{int(self.snr_db)}" if self.snr_db.is_integer() else repr(self.snr_db)
        return f"{self.noise}_{snr}db"

    @staticmethod
    def parse(name: str) -> "Condition":
        """Return the condition of a name such as ``"clean"`` or ``"babble_0db"``.

        Raises:
            RecipeError: the name is not that of a condition.
        """
        if name == "clean":
            return Condition()
        kind, _, snr = name.rpartition("_")
        try:
            if not snr.endswith("db"):
                raise ValueError
            return Condition(kind, float(snr.removesuffix("db")))
        except (ValueError, RecipeError) as error:
            raise RecipeError(
                f"'{name}' is not a condition: write 'clean', or a kind of noise and an SNR such as 'babble_0db'"
            ) from error


@dataclass(frozen=True)
class NoiseMix:
    """The conditions noisy training inputs are drawn from.

    Attributes:
        kinds: kinds of noise with their weights.
        snr_db: lowest and highest signal-to-noise ratio, drawn uniformly in dB.

    Raises:
        RecipeError: no kind, a kind twice, weights that cannot be shares, or a range that ends before it begins.
    """

    kinds: tuple[tuple[str, float], ...] = (("noise", 1.0), ("music", 1.0), ("babble", 1.0))
    snr_db: tuple[float, float] = (0.0, 20.0)

    def __post_init__(self) -> None:
        low, high = self.snr_db
        if not low <= high:
            raise RecipeError(f"an SNR range starts with its lower end, got {low} to {high} dB")
        names, weights = [kind for kind, _ in self.kinds], [weight for _, weight in self.kinds]
        for name in names:
            Condition(name, low), Condition(name, high)
        if len(set(names)) < len(names):
            raise RecipeError(f"a kind of noise is named twice in {', '.join(names)}: give it one weight")
        if not weights or not all(math.isfinite(w) and w >= 0.0 for w in weights) or sum(weights) <= 0.0:
            raise RecipeError(f"weights of noise kinds must be finite, not negative and not all zero, got {weights}")

    def draw(self, generator: np.random.Generator) -> Condition:
        """Return a noisy condition: a kind by the weights, and a ratio uniform over the range."""
        weights = np.array([weight for _, weight in self.kinds], dtype=np.float64)
        kind = self.kinds[int(generator.choice(len(weights), p=weights / weights.sum()))][0]
        return Condition(kind, float(generator.uniform(*self.snr_db)))
