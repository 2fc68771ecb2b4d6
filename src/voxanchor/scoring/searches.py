"""Searches among many: how often a stranger is taken for somebody, and how often somebody is not found.

Open-set identification compares a recording with everybody on a list of N people and finds the likeliest of them where
that log-likelihood ratio reaches the threshold. Its errors are the false positive identification rate (FPIR), the
share of strangers for whom somebody is found, and the false negative identification rate (FNIR), the share of people
on the list who are not found or taken for somebody else (ISO/IEC 19795-1). Both depend on N.

Lists are not drawn here. A list of N out of M others holds none of the k who reach the threshold with probability
C(M - k, N) / C(M, N), so that the mean over all lists is a sum over the recordings.

Intervals are by jackknife over speakers. A bootstrap would put the same speaker on a list twice, who is found no
oftener than once, and so make large lists look safer than they are.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxanchor.scoring.bootstrap import heaviest_threshold
from voxanchor.types import BoolArray, FloatArray, IntArray

MOST_GROUPS = 200
"""Parts of the speakers, at most, of which each is left out once."""

_NORMAL_95 = 1.959964  # standard deviations on either side of the mean that 95 % lie within

_BATCH = 64  # weightings worked on at once


@dataclass(frozen=True)
class Searches:
    """Q recordings, each compared with a recording of every one of S speakers.

    Attributes:
        llrs: (Q, S) log-likelihood ratios.
        speaker: (Q,) number of the speaker of each recording.
        mated: (Q,) whether there is another recording of that speaker, which the ratio in its column is of; elsewhere
            that ratio means nothing.
    """

    llrs: FloatArray
    speaker: IntArray
    mated: BoolArray

    def selected(self, rows: BoolArray) -> "Searches":
        """Return the searches that are marked, (Q,) bool."""
        return Searches(self.llrs[rows], self.speaker[rows], self.mated[rows])

    def reaching(self, threshold: float) -> BoolArray:
        """Return (Q, S) who else than the speaker would be found by a threshold."""
        found = self.llrs >= threshold
        found[np.arange(len(found)), self.speaker] = False
        return found

    def false_positive(self, people: int, threshold: float, weights: IntArray | None = None) -> FloatArray:
        """Return the FPIR of every weighting, (R,) fractions: the mean over all lists without the speaker.

        Args:
            people: N on the list, at least 1; everybody where there are not so many.
            threshold: on the log-likelihood ratio.
            weights: (R, S) how often each speaker is there; without them all are, once.
        """
        found = self.reaching(threshold)
        return _means(
            (own, 1 - _none_of(passing, others, people)) for own, others, passing in self._weighed(found, weights)
        )

    def false_negative(self, people: int, threshold: float, weights: IntArray | None = None) -> FloatArray:
        """Return the FNIR of every weighting, (R,) fractions: the mean over all lists with the speaker.

        Args:
            people: N on the list, the speaker among them.
            threshold: on the log-likelihood ratio.
            weights: (R, S) how often each speaker is there; without them all are, once.
        """
        searches = self.selected(self.mated)
        rows = np.arange(len(searches.llrs))
        ratio = searches.llrs[rows, searches.speaker]
        likelier = searches.llrs >= ratio[:, None]
        likelier[rows, searches.speaker] = False
        reached = (ratio >= threshold)[:, None]
        return _means(
            (own, 1 - reached * _none_of(rivals, others, people - 1))
            for own, others, rivals in searches._weighed(likelier, weights)
        )

    def threshold_at(self, people: int, false_positive: float) -> float:
        """Return the lowest threshold at which the FPIR is at most so high.

        Args:
            people: N on the list, fewer than there are speakers.
            false_positive: a fraction, at least 0 and below 1.

        Raises:
            ValueError: a fraction outside that.
        """
        others = np.ones(self.llrs.shape, dtype=np.bool_)
        others[np.arange(len(others)), self.speaker] = False
        ranked = np.sort(self.llrs[others].reshape(len(others), -1), axis=1)[:, ::-1]
        count = ranked.shape[1]
        # how likely each of them, the likeliest first, is the likeliest of a list
        without = _none_of(np.arange(count + 1), np.full(count + 1, count), people)
        shares = np.broadcast_to(-np.diff(without) / len(ranked), ranked.shape)
        return heaviest_threshold(ranked.ravel(), shares.ravel(), false_positive)

    def _weighed(self, marked: BoolArray, weights: IntArray | None) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
        """Yield (Q, B) of B weightings at a time: each search's weight, its other speakers, and the marked of them."""
        table = np.ones((1, self.llrs.shape[1]), dtype=np.int64) if weights is None else weights
        flags = marked.astype(np.float32)  # a product of float32 is exact for counts, and fast
        for start in range(0, len(table), _BATCH):
            part = table[start : start + _BATCH]
            own = part[:, self.speaker].T
            yield own, part.sum(axis=1) - own, np.rint(flags @ part.T.astype(np.float32)).astype(np.int64)


def left_out(speakers: int) -> IntArray:
    """Return the weightings of a jackknife, (G, S) of ones and zeros: in each, one speaker is left out, or one part."""
    parts = np.arange(speakers) % MOST_GROUPS
    weights: IntArray = (np.arange(parts.max() + 1)[:, None] != parts).astype(np.int64)
    return weights


def jackknife_interval(rate: float, replicates: FloatArray) -> tuple[float, float]:
    """Return the 95 % interval of a rate, fractions, from what it is by each of the weightings of `left_out`.

    Normal on the scale of log odds, so that it stays between 0 and 1; NaN among the replicates are left out. A rate of
    0 or 1, from which no replicate differs, gets the exact bound of as many independent trials as there are speakers
    (Clopper and Pearson): none of S speakers was missed where the rate is below 1 - 0.025^(1/S), 19 times of 20.
    """
    values = replicates[~np.isnan(replicates)]
    if not 0 < rate < 1:
        bound = 1 - 0.025 ** (1 / max(len(values), 1))
        return (0.0, bound) if rate == 0 else (1 - bound, 1.0)
    error = np.sqrt((len(values) - 1) * values.var())
    odds = np.log(rate / (1 - rate)) + np.array([-1, 1]) * _NORMAL_95 * error / (rate * (1 - rate))
    low, high = (1 / (1 + np.exp(-odds))).tolist()
    return low, high


def _means(parts: Iterable[tuple[IntArray, FloatArray]]) -> FloatArray:
    """Return (R,) the means of (Q, B) values by (Q, B) weights, part by part; NaN where nothing has weight."""
    with np.errstate(invalid="ignore"):
        return np.concatenate([(own * values).sum(axis=0) / own.sum(axis=0) for own, values in parts])


def _none_of(marked: IntArray, pool: IntArray, drawn: int) -> FloatArray:
    """Return the probability that of `pool` things, `marked` of them marked, so many are drawn without a marked one."""
    logs = _log_factorials(int(pool.max(initial=0)))
    taken = np.minimum(drawn, pool)
    left = pool - marked - taken
    ratio = (logs[pool - marked] - logs[pool]) + (logs[pool - taken] - logs[np.maximum(left, 0)])
    probability: FloatArray = np.where(left < 0, 0.0, np.exp(ratio))
    return probability


def _log_factorials(highest: int) -> NDArray[np.float64]:
    return np.concatenate(([0.0], np.cumsum(np.log(np.arange(1, highest + 1)))))
