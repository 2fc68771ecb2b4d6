"""Which pairs of utterances are compared, and which of them are of one speaker."""

import unicodedata
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxanchor.corpus.lists import text_of
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.name_codes import NameCodes
from voxanchor.corpus.names import MISSING, SEVERAL, NameIndex
from voxanchor.corpus.trial_lines import TrialLines, trial_lines
from voxanchor.errors import CorpusError
from voxanchor.rng import generator
from voxanchor.types import BoolArray, Embeddings, IntArray

_MODEL_HEADINGS = ("model", "modelid", "model_id", "id", "speaker")


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
    return Trials(
        enrol=np.concatenate((first, other_first)).astype(np.int64),
        test=np.concatenate((second, other_second)).astype(np.int64),
        target=target,
        ids=tuple(utterance.id for utterance in manifest.utterances),
        speakers=tuple(utterance.speaker for utterance in manifest.utterances),
        note=note,
    )


def read_trials(path: Path | str, manifest: Manifest, enrolments: Path | str = "") -> Trials:
    """Return the trials of a list, between utterances of a manifest, or between enrolled models and utterances.

    A line holds a label and two utterances, apart by blanks, tabs, commas or semicolons: ``1 a.wav b.wav`` (VoxCeleb),
    ``a b target`` (Kaldi). docs/formats.md lists the labels, headings and encodings. Utterances are named by their id,
    as `NameIndex` finds them: with or without suffix, with more or fewer leading folders as long as only one fits.

    The list is read in portions. Memory: 17 bytes a trial for the result, 25 at most on the way to it, and the names.

    Args:
        path: the list, UTF-8 text, or UTF-16 that begins with its mark.
        manifest: of the recordings it speaks of.
        enrolments: a list of models and the recordings that each is enrolled with, as `read_enrolments` takes it; the
            first side of every trial is then one of these models. Empty for trials between recordings.

    Raises:
        CorpusError: if a file cannot be read, a line is not a trial (with its number), utterances are missing from
            the manifest or could be several (counted), or there are no targets or no non-targets.
    """
    path = Path(path)
    index = NameIndex(manifest)
    if enrolments:
        return _model_trials(path, manifest, index, Path(enrolments))
    names = NameCodes(index.find)
    portions = list(trial_lines(path, names))
    _refuse_unknown(path, names, index, manifest)
    is_target = _targets(path, portions)
    sides = np.concatenate([portion.sides for portion in portions])
    del portions
    used = np.zeros(len(manifest), dtype=np.bool_)
    used[sides] = True
    compact = np.cumsum(used) - 1
    taking_part = [manifest.utterances[row] for row in np.flatnonzero(used)]
    return Trials(
        enrol=compact[sides[:, 0]],
        test=compact[sides[:, 1]],
        target=is_target,
        ids=tuple(utterance.id for utterance in taking_part),
        speakers=tuple(utterance.speaker for utterance in taking_part),
        note=f"trial list {path.name}",
    )


def _targets(path: Path, portions: list[TrialLines]) -> BoolArray:
    is_target: BoolArray = np.concatenate([portion.targets for portion in portions])
    if is_target.all() or not is_target.any():  # an empty list is both
        kind = "trials" if not is_target.size else "non-target trials" if is_target[0] else "target trials"
        raise CorpusError(f"{path} holds no {kind}; error rates need both targets and non-targets")
    return is_target


def read_enrolments(path: Path | str) -> dict[str, tuple[str, ...]]:
    """Return the recordings that each model is enrolled with, by its name.

    A line holds a model and one or more recordings, apart by blanks, tabs or commas; further lines of a model add to
    it. So are CN-Celeb's ``enroll.map`` and ``enroll.lst``, Kaldi's ``spk2utt``, and NIST's ``modelid segmentid``. A
    file called ``utt2spk`` has the recording first, as Kaldi has it.

    Raises:
        CorpusError: the file cannot be read, is empty, or a line names a model without recordings (with its number).
    """
    path = Path(path)
    models: dict[str, dict[str, None]] = {}
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        words = line.replace(",", " ").split()
        if not words or words[0].startswith("#") or (not models and words[0].lower() in _MODEL_HEADINGS):
            continue
        if len(words) < 2:
            raise CorpusError(f"{path}, line {number}: model {words[0]} has no recordings")
        name, *recordings = words[::-1] if path.name == "utt2spk" else words
        models.setdefault(name, {}).update(dict.fromkeys(recordings))
    if not models:
        raise CorpusError(f"{path}: names no models; a line holds a model and the recordings it is enrolled with")
    return {name: tuple(recordings) for name, recordings in models.items()}


def _model_trials(path: Path, manifest: Manifest, index: NameIndex, enrolments: Path) -> Trials:
    """Return the trials of a list whose first side is a model."""
    enrolled = read_enrolments(enrolments)
    met: dict[str, int] = {}

    def find(name: str) -> int:
        # a number of its own for every name, which may be a model's on one side and a recording's on the other; below
        # zero where it is neither, by which a heading is told
        number = met.setdefault(name, len(met))
        return number if name in enrolled or index.find(name) != MISSING else -1 - number

    portions = list(trial_lines(path, NameCodes(find)))
    is_target = _targets(path, portions)
    sides = np.concatenate([portion.sides for portion in portions])
    sides = np.where(sides < 0, -1 - sides, sides)
    names, rows_of = list(met), NameCodes(index.find)
    heads, left = np.unique(sides[:, 0], return_inverse=True)
    tails, right = np.unique(sides[:, 1], return_inverse=True)
    if strangers := [names[code] for code in heads if names[code] not in enrolled]:
        raise CorpusError(
            f"{path}: {len(strangers)} of its {len(heads)} first sides are no models of {enrolments}: "
            f"{', '.join(strangers[:5])}{', ...' if len(strangers) > 5 else ''}. Where recordings are compared with "
            "recordings, leave the enrolments out"
        )
    right = np.array([rows_of[names[code]] for code in tails])[right]
    _refuse_unknown(path, rows_of, index, manifest)
    members = NameCodes(index.find)
    rows = [tuple(dict.fromkeys(members[name] for name in enrolled[names[code]])) for code in heads]
    _refuse_unknown(enrolments, members, index, manifest)
    for code, found in zip(heads, rows, strict=True):
        if len(speakers := {manifest.utterances[row].speaker for row in found}) > 1:
            who = ", ".join(sorted(speakers)[:3])
            raise CorpusError(f"{enrolments}: model {names[code]} has recordings of several speakers ({who})")
    used = np.zeros(len(manifest), dtype=np.bool_)
    used[right] = True
    used[[row for found in rows for row in found]] = True
    compact = np.cumsum(used) - 1
    taking_part = [manifest.utterances[row] for row in np.flatnonzero(used)]
    counts = sorted(len(found) for found in rows)
    return Trials(
        enrol=left.astype(np.int64),
        test=compact[right],
        target=is_target,
        ids=tuple(utterance.id for utterance in taking_part),
        speakers=tuple(utterance.speaker for utterance in taking_part),
        note=f"trial list {path.name}; {len(rows)} models of {enrolments.name}, each the mean of {counts[0]} to "
        f"{counts[-1]} recordings (median {counts[len(counts) // 2]})",
        models=tuple(tuple(int(compact[row]) for row in found) for found in rows),
    )


def _refuse_unknown(path: Path, names: NameCodes, index: NameIndex, manifest: Manifest) -> None:
    where = manifest.root or "the manifest"
    if missing := sorted(name for name, row in names.of.items() if row == MISSING):
        raise CorpusError(
            f"{path}: {len(missing)} of its {len(names.of)} utterances are not among the {len(manifest)} usable ones "
            f"of {where}: {', '.join(missing[:5])}{', ...' if len(missing) > 5 else ''}. "
            "Check that --speech names the folder the list's paths start from"
        )
    if several := sorted(name for name, row in names.of.items() if row == SEVERAL):
        fitting = [manifest.utterances[row].id for row in index.fitting(several[0])]
        if len({unicodedata.normalize("NFC", name) for name in fitting}) < len(fitting):
            advice = "Some of these differ in Unicode normalisation alone: rename them, or remove what is there twice"
        else:
            advice = "Write more of their path or their suffix into the list"
        raise CorpusError(
            f"{path}: {len(several)} of its {len(names.of)} utterances could be several of {where}: {several[0]} could "
            f"be {', '.join(fitting[:3])}{', ...' if len(fitting) > 3 else ''}. {advice}"
        )
