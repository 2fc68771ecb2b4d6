"""Which pairs of utterances are compared, and which of them are of one speaker."""

from dataclasses import dataclass

import numpy as np

from voxanchor.corpus.manifest import Manifest
from voxanchor.errors import CorpusError
from voxanchor.rng import generator
from voxanchor.types import BoolArray, Embeddings, IntArray


@dataclass(frozen=True, eq=False)
class TrialList:
    """Comparisons of an enrolment utterance with a test utterance.

    Attributes:
        enrol: (K,) int64, indices into `ids`.
        test: (K,) int64, indices into `ids`.
        target: (K,) bool, whether both sides are of the same speaker.
        ids: (N,) ids of the utterances taking part, in the manifest's order.
        speakers: (N,) their speakers; empty strings where unknown.
        note: how the trials were chosen, one sentence for the report.
        models: of trials between enrolled models and recordings, the rows of `ids` that each of M models is enrolled
            with; `enrol` then holds indices into them. Empty where utterances are compared with utterances.
    """

    enrol: IntArray
    test: IntArray
    target: BoolArray
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    note: str = ""
    models: tuple[tuple[int, ...], ...] = ()

    def __len__(self) -> int:
        return len(self.target)

    def enrolled(self, embeddings: Embeddings) -> Embeddings:
        """Return what the trials' enrolment sides are compared by: (M, D) for models, else the (N, D) embeddings.

        A model is the mean of its recordings' unit vectors at unit length, as an enrolled person is.

        Args:
            embeddings: (N, D) of the utterances.
        """
        if not self.models:
            return embeddings
        vectors = np.asarray(embeddings, dtype=np.float64)
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        means = np.stack([vectors[list(rows)].mean(axis=0) for rows in self.models])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        return means.astype(np.float32)

    @property
    def enrol_rows(self) -> IntArray:
        """(K,) rows of `ids` that say who is enrolled: of a model the first of its recordings."""
        if not self.models:
            return self.enrol
        return np.array([rows[0] for rows in self.models], dtype=np.int64)[self.enrol]


def _codes(names: list[str]) -> IntArray:
    return np.unique(np.asarray(names, dtype=np.str_), return_inverse=True)[1].astype(np.int64)


def _target_pairs(speaker: IntArray, recording: IntArray) -> tuple[IntArray, IntArray, int]:
    """Return first and second of all same-speaker pairs, and how many were left out for sharing their recording."""
    order = np.argsort(speaker, kind="stable")
    left_out, firsts, seconds = 0, [], []
    for group in np.split(order, np.flatnonzero(np.diff(speaker[order])) + 1):
        i, j = np.triu_indices(len(group), k=1)
        first, second = group[i], group[j]
        apart = recording[first] != recording[second]
        if apart.any():  # a speaker with a single recording can only be compared within it
            left_out += int((~apart).sum())
            first, second = first[apart], second[apart]
        firsts.append(first)
        seconds.append(second)
    return np.concatenate(firsts), np.concatenate(seconds), left_out


def _nontarget_pairs(speaker: IntArray, count: int, seed: int) -> tuple[IntArray, IntArray]:
    """Return ``count`` different pairs of different speakers, drawn uniformly, in ascending order."""
    n = len(speaker)
    random = generator(seed, 0, 0, "trials/nontarget")
    found = np.zeros(0, dtype=np.int64)
    while len(found) < count:
        drawn = random.integers(0, n, (2, 2 * (count - len(found)) + 64))
        low, high = drawn.min(axis=0), drawn.max(axis=0)
        keys = (low * n + high)[speaker[low] != speaker[high]]
        found = np.unique(np.concatenate((found, keys)))
    found = np.sort(random.permutation(found)[:count])
    return found // n, found % n


def all_pairs(manifest: Manifest, max_trials: int = 5_000_000, seed: int = 0) -> TrialList:
    """Return every unordered pair of utterances as a trial, each once, in a fixed order.

    Target pairs cut from one recording are left out where their speaker has another recording. Of more pairs than
    ``max_trials`` all targets stay and the non-targets are drawn at random (at least half of ``max_trials``).

    Args:
        manifest: utterances with known speakers.
        max_trials: most trials wanted.
        seed: of the draw.

    Raises:
        CorpusError: if speakers are unknown, or there is no target or no non-target pair.
    """
    where = manifest.root or "the manifest"
    if any(not utterance.speaker for utterance in manifest.utterances):
        raise CorpusError(
            f"trials need to know who speaks: put each speaker's recordings of {where} in a folder, "
            "or let a list name all speakers"
        )
    if len(manifest.speakers) < 2:
        raise CorpusError(f"no non-target trials in {where}: it has {len(manifest.speakers)} speaker; add another")
    speaker = _codes([utterance.speaker for utterance in manifest.utterances])
    recording = _codes([utterance.recording or utterance.id for utterance in manifest.utterances])
    first, second, left_out = _target_pairs(speaker, recording)
    if len(first) == 0:
        raise CorpusError(
            f"no target trials in {where}: no speaker has two utterances. Add recordings, or cut them into segments"
        )
    n = len(speaker)
    counts = np.bincount(speaker)
    available = n * (n - 1) // 2 - int((counts * (counts - 1) // 2).sum())
    note = "all pairs of utterances"
    if len(first) + available <= max_trials:
        i, j = np.triu_indices(n, k=1)
        different = speaker[i] != speaker[j]
        other_first, other_second = i[different], j[different]
    else:
        wanted = min(available, max(max_trials - len(first), max_trials // 2))
        other_first, other_second = _nontarget_pairs(speaker, wanted, seed)
        note = f"all target pairs, and {wanted} of {available} non-target pairs drawn with seed {seed}"
    if left_out:
        note += f"; {left_out} target pairs cut from one recording left out"
    target = np.zeros(len(first) + len(other_first), dtype=np.bool_)
    target[: len(first)] = True
    return TrialList(
        enrol=np.concatenate((first, other_first)).astype(np.int64),
        test=np.concatenate((second, other_second)).astype(np.int64),
        target=target,
        ids=tuple(utterance.id for utterance in manifest.utterances),
        speakers=tuple(utterance.speaker for utterance in manifest.utterances),
        note=note,
    )
