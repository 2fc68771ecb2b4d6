"""The lines of a trial list, a few megabytes at a time.

Almost every list has three fields on every line and one separator between them. Where a portion of the file is seen to
be so, it is taken apart as a whole; any other portion is read line by line, which says what is wrong and where.
"""

import codecs
import io
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxanchor.corpus.name_codes import LONGEST, NameCodes
from voxanchor.errors import CorpusError
from voxanchor.progress import track
from voxanchor.types import BoolArray

_PORTION = 1 << 21
_LABELS = {"1": True, "0": False, "target": True, "nontarget": False, "true": True, "false": False}
_LONGEST_LABEL = max(map(len, _LABELS))
_NO_LABEL = -1
_HEADINGS = {"label", "target", "enrol", "enroll", "enrollment", "enrolment", "test", "key"}
_SEPARATORS = ("\t", ",", ";")  # whichever comes first in this order; blanks where there is none


class TrialLines(NamedTuple):
    """Some trials in the order of the list.

    Attributes:
        sides: (K, 2) int32, the numbers of the names of enrolment and test.
        targets: (K,) true for same-speaker trials.
    """

    sides: NDArray[np.int32]
    targets: BoolArray


def trial_lines(path: Path, names: NameCodes) -> Iterator[TrialLines]:
    """Yield the trials of a list in portions of a few ten thousand.

    Args:
        path: the list, UTF-8 text.
        names: gives each utterance its number.

    Raises:
        CorpusError: if the file cannot be read, or a line is not a trial (with its number).
    """
    parser = _Parser(path, names)
    decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8-sig")(), translate=True)
    rest = ""
    try:
        with path.open("rb") as file, track(f"reading {path.name} (MB)", path.stat().st_size >> 20) as advance:
            while data := file.read(_PORTION):
                text = rest + decoder.decode(data)
                end = text.rfind("\n") + 1
                yield parser.parse(text[:end])
                rest = text[end:]
                advance(len(data) >> 20)
            yield parser.parse(rest + decoder.decode(b"", final=True))
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"trial list {path} cannot be read: {error}") from None


class _Parser:
    def __init__(self, path: Path, names: NameCodes) -> None:
        self.path, self.names = path, names
        self.labels = NameCodes(lambda label: int(_LABELS.get(label.lower(), _NO_LABEL)))
        self.line = 1

    def parse(self, text: str) -> TrialLines:
        trials = self._regular(text)
        if trials is None:
            trials = self._one_by_one(text)
        self.line += text.count("\n")
        return trials

    def _regular(self, text: str) -> TrialLines | None:
        """Return the trials of lines that are all alike, or None where they may not be."""
        if not (text.isascii() and text.endswith("\n")):
            return None
        separator = next((mark for mark in _SEPARATORS if mark in text), " ")
        characters = np.frombuffer(text.encode("ascii") + bytes(LONGEST), dtype=np.uint8)
        head = characters[: len(text)]
        ends = np.flatnonzero((head <= ord(" ")) | (head == ord(separator)))
        starts = np.append(0, ends + 1)[:-1]
        lengths = ends - starts
        if len(ends) % 3 or lengths.min() == 0 or lengths.max() > LONGEST:
            return None
        first, behind = starts.reshape(-1, 3), ends.reshape(-1, 3)  # a row a line, a column a field
        if (head[behind] != [ord(separator), ord(separator), ord("\n")]).any():
            return None
        for label, sides in ((0, slice(1, 3)), (2, slice(0, 2))):
            if lengths[label::3].max() <= _LONGEST_LABEL:
                targets = self.labels.look_up(characters, first[:, label], behind[:, label])
                if (targets != _NO_LABEL).all():
                    found = self.names.look_up(characters, first[:, sides].ravel(), behind[:, sides].ravel())
                    return TrialLines(found.reshape(-1, 2), targets.astype(np.bool_))
                if (targets != _NO_LABEL).any():
                    return None
        return None

    def _one_by_one(self, text: str) -> TrialLines:
        sides: list[tuple[int, int]] = []
        targets: list[bool] = []
        for number, line in enumerate(text.split("\n"), start=self.line):
            fields = _fields(line)
            if not any(fields) or (number == 1 and len(_HEADINGS.intersection(map(str.lower, fields))) > 1):
                continue
            trial = _trial(fields)
            if trial is None:
                raise CorpusError(
                    f"{self.path}, line {number}: {line.strip()!r} is not a trial; "
                    "it should look like '1 enrol.wav test.wav'"
                )
            enrol, test, target = trial
            sides.append((self.names[enrol], self.names[test]))
            targets.append(target)
        return TrialLines(np.array(sides, np.int32).reshape(-1, 2), np.array(targets, np.bool_))


def _fields(line: str) -> list[str]:
    for separator in _SEPARATORS:
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
