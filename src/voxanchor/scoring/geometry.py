"""Geometry of embeddings: compactness, separation, and dB gained over another model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.types import FloatArray


@dataclass(frozen=True)
class Geometry:
    """Geometry of the embeddings of one condition.

    Attributes:
        speakers: number of speakers S.
        utterances: number of utterances N.
        compactness: mean cosine of an embedding to the clean centroid of its speaker; higher is tighter.
        separation_mean: mean cosine between the centroids of two speakers in this condition; lower is further apart.
        separation_p95: 95th percentile of the same: the most confusable pairs.
        ratio: (1 - separation_mean) / (1 - compactness): distance between speakers over distance within; higher is
            better, infinite when every embedding lies on its centroid.
        drift: mean of 1 - cosine between an utterance's embedding and its own clean embedding; 0 for clean.
    """

    speakers: int
    utterances: int
    compactness: float
    separation_mean: float
    separation_p95: float
    ratio: float
    drift: float


def geometry(embeddings: NDArray[np.floating], clean: NDArray[np.floating], speakers: ArrayLike) -> Geometry:
    """Return the geometry of one condition against the clean embeddings of the same utterances.

    A centroid is the mean of a speaker's unit embeddings, scaled to length one.

    Args:
        embeddings: (N, D) unit vectors, one per utterance, in the condition.
        clean: (N, D) unit vectors of the same utterances without noise.
        speakers: (N,) speaker of each utterance, as numbers or names.

    Raises:
        ValueError: shapes that do not fit, values that are not finite, or fewer than two speakers.
    """
    noisy, reference = np.asarray(embeddings, dtype=np.float64), np.asarray(clean, dtype=np.float64)
    labels = np.asarray(speakers)
    if noisy.ndim != 2 or noisy.shape != reference.shape or labels.shape != noisy.shape[:1]:
        raise ValueError(
            f"Geometry needs (N, D), (N, D) and (N,) arrays, got {noisy.shape}, {reference.shape} and {labels.shape}."
        )
    if not (np.isfinite(noisy).all() and np.isfinite(reference).all()):
        raise ValueError("Embeddings must be finite.")
    names, numbers = np.unique(labels, return_inverse=True)
    count = len(names)
    if count < 2:
        raise ValueError(f"The separation of speakers needs at least two of them, got {count}.")
    clean_centroids, centroids = _centroids(reference, numbers, count), _centroids(noisy, numbers, count)
    compactness = float(np.einsum("nd,nd->n", noisy, clean_centroids[numbers]).mean())
    between = (centroids @ centroids.T)[np.triu_indices(count, 1)]
    within_distance = 1.0 - compactness
    return Geometry(
        speakers=count,
        utterances=len(noisy),
        compactness=compactness,
        separation_mean=float(between.mean()),
        separation_p95=float(np.percentile(between, 95)),
        ratio=float((1.0 - between.mean()) / within_distance) if within_distance > 1e-12 else float("inf"),
        drift=max(0.0, float(1.0 - np.einsum("nd,nd->n", noisy, reference).mean())),
    )


def _centroids(embeddings: FloatArray, numbers: NDArray[np.integer], count: int) -> FloatArray:
    sums = np.zeros((count, embeddings.shape[1]))
    np.add.at(sums, numbers, embeddings)
    norms = np.linalg.norm(sums, axis=1, keepdims=True)
    centroids: FloatArray = sums / np.maximum(norms, np.finfo(np.float64).tiny)
    return centroids


# dB gained: how much lower the SNR may be for one model to have the error of another.


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
