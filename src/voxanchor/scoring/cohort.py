"""Score normalisation: a score measured against how either side scores with strangers.

Some recordings score high with everybody, noisy ones above all, so that one threshold does not serve all. Adaptive
symmetric normalisation (AS-norm) asks how each side of a trial scores against a cohort of other speakers, and takes
mean mu and standard deviation sigma of the highest of these scores, those of the speakers most like it:

    s' = ((s - mu_enrol) / sigma_enrol + (s - mu_test) / sigma_test) / 2

This is "adaptive S-norm 1" of Matějka et al., "Analysis of Score Normalization in Multilingual Speaker Recognition",
Interspeech 2017. Choosing the cohort per trial side goes back to Cumani et al., "Comparison of Speaker Recognition
Approaches for Real Applications", Interspeech 2011, where each side's cohort is chosen by the other side; that form
cannot be computed once per recording. Sigma is that of the chosen scores themselves (divided by their number).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from voxanchor.scoring.scores import check_index, lengths_of, scaled
from voxanchor.types import Embeddings, FloatArray, IntArray

_BLOCK_VALUES = 1 << 23  # cohort scores held at once: 32 MB
_BLOCK_TRIALS = 1 << 18


@dataclass(frozen=True)
class CohortStatistics:
    """How each of N recordings scores with the cohort speakers most like it: all that normalising needs of it.

    Attributes:
        mean: (N,) float64, mean of the highest cohort scores.
        std: (N,) float64, their standard deviation, above 0.
    """

    mean: FloatArray
    std: FloatArray


@dataclass(frozen=True)
class Cohort:
    """Speakers to measure scores against. None of them may take part in the trials.

    Attributes:
        embeddings: (C, D) float32 unit vectors, usually one per speaker of the training data.
        top: how many of the cohort, those with the highest scores, count for a recording.
    """

    embeddings: Embeddings
    top: int = 300

    def __post_init__(self) -> None:
        if not 2 <= self.top <= len(self.embeddings):
            raise ValueError(
                f"The {self.top} highest scores of a cohort of {len(self.embeddings)}: "
                "take at least 2, and no more than there are."
            )

    @classmethod
    def of_speakers(cls, embeddings: NDArray[np.floating], speakers: ArrayLike, top: int = 300) -> "Cohort":
        """Return a cohort with the mean of each speaker's unit embeddings.

        Args:
            embeddings: (N, D) embeddings of the cohort's recordings.
            speakers: (N,) speaker of each, as numbers or names.
            top: see `Cohort`.

        Raises:
            ValueError: shapes that do not fit, an embedding or mean that is zero, or a cohort smaller than `top`.
        """
        names, numbers = np.unique(np.asarray(speakers), return_inverse=True)
        if numbers.shape != embeddings.shape[:1]:
            raise ValueError(f"A cohort needs (N, D) and (N,) arrays, got {embeddings.shape} and {numbers.shape}.")
        sums = np.zeros((len(names), embeddings.shape[1]))
        np.add.at(sums, numbers, scaled(embeddings, lengths_of(embeddings, "cohort"), np.float64))
        return cls(scaled(sums, lengths_of(sums, "cohort"), np.float32), top)

    def statistics(self, embeddings: NDArray[np.floating]) -> CohortStatistics:
        """Return mean and standard deviation of each recording's highest cohort scores.

        In blocks of recordings: 70 MB whatever their number, plus 24 bytes each, 16 of them kept. The products are in
        float32, which moves a cosine by up to about 1e-6.

        Args:
            embeddings: (N, D) embeddings, of any length, by the cohort's model or one that may be compared with it.

        Raises:
            ValueError: another dimension, an embedding that is zero or not finite, or one whose highest scores are
                all the same.
        """
        count, dimension = self.embeddings.shape
        if embeddings.ndim != 2 or embeddings.shape[1] != dimension:
            raise ValueError(f"A cohort of dimension {dimension} needs (N, {dimension}), got {embeddings.shape}.")
        lengths = lengths_of(embeddings, "recording's")
        mean, std = np.empty(len(embeddings)), np.empty(len(embeddings))
        step = max(1, _BLOCK_VALUES // count)
        for start in range(0, len(embeddings), step):
            part = slice(start, start + step)
            scores = scaled(embeddings[part], lengths[part], np.float32) @ self.embeddings.T
            scores.partition(count - self.top, axis=1)
            highest = scores[:, count - self.top :]
            mean[part] = highest.mean(axis=1, dtype=np.float64)
            std[part] = highest.std(axis=1, dtype=np.float64)
        flat = np.flatnonzero(std < np.finfo(np.float32).eps)
        if flat.size:
            raise ValueError(
                f"{flat.size} recordings score the same with their {self.top} nearest of the cohort, the first in row "
                f"{flat[0]}: the cohort needs different speakers."
            )
        return CohortStatistics(mean, std)


def as_norm(
    scores: ArrayLike,
    enrol: CohortStatistics,
    test: CohortStatistics,
    enrol_index: IntArray,
    test_index: IntArray,
) -> FloatArray:
    """Return the normalised score of each trial: (K,) float64, in standard deviations, of no fixed range.

    Args:
        scores: (K,) scores of the trials.
        enrol: statistics of the enrolment embeddings, against the cohort as the test's model embeds it.
        test: statistics of the test embeddings, against the cohort as the enrolment's model embeds it.
        enrol_index: (K,) row of each trial's enrolment in `enrol`.
        test_index: (K,) row of each trial's test in `test`.

    Raises:
        ValueError: arrays that do not fit, or an index out of range.
    """
    raw = np.asarray(scores)
    left, right = check_index(enrol_index, test_index, len(enrol.mean), len(test.mean))
    if raw.shape != left.shape:
        raise ValueError(f"Scores must be (K,) = {left.shape}, got {raw.shape}.")
    normalised = np.zeros(raw.size)
    for start in range(0, raw.size, _BLOCK_TRIALS):
        part = slice(start, start + _BLOCK_TRIALS)
        for side, index in ((enrol, left[part]), (test, right[part])):
            normalised[part] += (raw[part] - side.mean[index]) / (2 * side.std[index])
    return normalised
