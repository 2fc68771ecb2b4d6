"""Which pairs of utterances are compared, and which of them are of one speaker."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.names import NameIndex
from voxanchor.errors import CorpusError
from voxanchor.rng import generator
from voxanchor.types import BoolArray, IntArray

_LABELS = {"1": True, "0": False, "target": True, "nontarget": False, "true": True, "false": False}
_HEADINGS = {"label", "target", "enrol", "enroll", "enrollment", "enrolment", "test", "key"}


@dataclass(frozen=True, eq=False)
class Trials:
    """Comparisons of an enrolment utterance with a test utterance.

    Attributes:
        enrol: (K,) int64, indices into `ids`.
        test: (K,) int64, indices into `ids`.
        target: (K,) bool, whether both sides are of the same speaker.
        ids: (N,) ids of the utterances taking part, in the manifest's order.
        speakers: (N,) their speakers; empty strings where unknown.
        note: how the trials were chosen, one sentence for the report.
    """

    enrol: IntArray
    test: IntArray
    target: BoolArray
    ids: tuple[str, ...]
    speakers: tuple[str, ...]
    note: str = ""

    def __len__(self) -> int:
        return len(self.target)


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


def all_pairs(manifest: Manifest, max_trials: int = 5_000_000, seed: int = 0) -> Trials:
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
        raise CorpusError(f"trials need to know who speaks: put each speaker's recordings of {where} in a folder")
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
    return Trials(
        enrol=np.concatenate((first, other_first)).astype(np.int64),
        test=np.concatenate((second, other_second)).astype(np.int64),
        target=target,
        ids=tuple(utterance.id for utterance in manifest.utterances),
        speakers=tuple(utterance.speaker for utterance in manifest.utterances),
        note=note,
    )


def _fields(line: str) -> list[str]:
    for separator in ("\t", ",", ";"):
        if separator in line:
            return [field.strip() for field in line.split(separator)]
    return line.split()


def _trial(fields: list[str]) -> tuple[str, str, bool] | None:
    """Return (enrolment, test, target), the label being first (VoxCeleb) or last (Kaldi); None if it is neither."""
    if len(fields) != 3:
        return None
    for label, enrol, test in (fields, (fields[2], fields[0], fields[1])):
        if label.lower() in _LABELS and enrol and test:
            return enrol, test, _LABELS[label.lower()]
    return None


def read_trials(path: Path | str, manifest: Manifest) -> Trials:
    """Return the trials of a list, between utterances of a manifest.

    A line holds a label and two utterances, apart by blanks, tabs or commas: ``1 a.wav b.wav`` (VoxCeleb),
    ``a b target`` (Kaldi); labels are 1 and 0, or target and nontarget. A heading is allowed. Utterances are named by
    their id, with or without suffix, with more or fewer leading folders as long as only one utterance fits.

    Args:
        path: the list, UTF-8 text.
        manifest: of the recordings it speaks of.

    Raises:
        CorpusError: if the file cannot be read, a line is not a trial (with its number), utterances are missing from
            the manifest (counted), or there are no targets or no non-targets.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"trial list {path} cannot be read: {error}") from None
    index = NameIndex(manifest)
    found: dict[str, int | None] = {}
    pairs: list[tuple[int, int]] = []
    targets: list[bool] = []
    for number, line in enumerate(lines, start=1):
        fields = _fields(line)
        if not any(fields) or (number == 1 and len(_HEADINGS.intersection(map(str.lower, fields))) > 1):
            continue
        trial = _trial(fields)
        if trial is None:
            raise CorpusError(
                f"{path}, line {number}: {line.strip()!r} is not a trial; it should look like '1 enrol.wav test.wav'"
            )
        enrol, test, target = trial
        for name in (enrol, test):
            if name not in found:
                found[name] = index.find(name)
        first, second = found[enrol], found[test]
        if first is not None and second is not None:
            pairs.append((first, second))
            targets.append(target)
    if missing := sorted(name for name, at in found.items() if at is None):
        raise CorpusError(
            f"{path}: {len(missing)} of its {len(found)} utterances are not among the {len(manifest)} usable ones of "
            f"{manifest.root or 'the manifest'}: {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. "
            "Check that --speech names the folder the list's paths start from"
        )
    target_array = np.asarray(targets, dtype=np.bool_)
    if target_array.all() or not target_array.any():  # an empty list is both
        kind = "trials" if not targets else "non-target trials" if targets[0] else "target trials"
        raise CorpusError(f"{path} holds no {kind}; error rates need both targets and non-targets")
    used, compact = np.unique(np.asarray(pairs, dtype=np.int64), return_inverse=True)
    columns = compact.reshape(-1, 2).astype(np.int64)
    taking_part = [manifest.utterances[int(at)] for at in used]
    return Trials(
        enrol=columns[:, 0].copy(),
        test=columns[:, 1].copy(),
        target=target_array,
        ids=tuple(utterance.id for utterance in taking_part),
        speakers=tuple(utterance.speaker for utterance in taking_part),
        note=f"trial list {path.name}",
    )
