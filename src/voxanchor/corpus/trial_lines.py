"""The lines of a trial list, a few megabytes at a time.

Almost every list has as many fields on every line and one separator between them. Where a portion of the file is seen
to be so, it is taken apart as a whole; any other portion is read line by line, which says what is wrong and where.
"""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxanchor.corpus.name_codes import LONGEST, NameCodes
from voxanchor.errors import CorpusError
from voxanchor.progress import track
from voxanchor.types import BoolArray

_PORTION = 1 << 21

_TARGETS = ("1", "1.0", "target", "tgt", "true", "same", "genuine")
_NONTARGETS = (
    *("0", "0.0", "nontarget", "non-target", "non_target", "nontgt", "non", "imp", "impostor", "imposter"),
    *("false", "different", "diff"),
)
_LABELS = dict.fromkeys(_TARGETS, True) | dict.fromkeys(_NONTARGETS, False)
_LONGEST_LABEL = max(map(len, _LABELS))
_NO_LABEL = -1

_ROLES = {
    "label": "label labels key target targettype istarget trialtype class truth groundtruth",
    "enrol": "enrol enroll enrolment enrollment enrolid enrollid enrolmentid enrollmentid model modelid reference "
    "wav1 file1 path1 audio1 utt1 utterance1 segment1",
    "test": "test testid segment segmentid probe wav2 file2 path2 audio2 utt2 utterance2 segment2",
}
"""What the heading of a column is called in the lists of the field, in small letters and digits alone."""

_ROLE_OF = {word: role for role, words in _ROLES.items() for word in words.split()}

_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", " ": "blanks"}
"""Tried in this order; a name may hold those that come after the list's own."""

_WORD = re.compile(r"[^ \t]+")
"""A field of a list with blanks: a name may hold blanks of other kinds, which are no separators."""

_COMMENTS = ("#", ";")

_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
"""What a text begins with that is not UTF-8; the mark of UTF-32 begins like that of UTF-16."""

_EXAMPLE = "A trial is a label and two recordings, such as '1 enrol.wav test.wav' or 'enrol test target'."
_LONGEST_SHOWN = 120


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
        path: the list: UTF-8 text, or UTF-16 or UTF-32 that begins with the mark of it.
        names: gives each utterance its number.

    Raises:
        CorpusError: if the file cannot be read, or a line is not a trial (with its number, and what it is instead).
    """
    parser = _Parser(path, names)
    rest = ""
    try:
        with path.open("rb") as file, track(f"reading {path.name} (MB)", path.stat().st_size >> 20) as advance:
            data = file.read(_PORTION)
            encoding = next((name for mark, name in _MARKS.items() if data.startswith(mark)), "utf-8-sig")
            decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder(encoding)(), translate=True)
            while data:
                text = rest + decoder.decode(data)
                end = text.rfind("\n") + 1
                yield parser.parse(text[:end])
                rest = text[end:]
                advance(len(data) >> 20)
                data = file.read(_PORTION)
            yield parser.parse(rest + decoder.decode(b"", final=True))
    except OSError as error:
        raise CorpusError(f"trial list {path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError as error:
        raise CorpusError(
            f"trial list {path} cannot be read: it is no {error.encoding.upper()} text ({error.reason}). Save it as "
            "UTF-8, or say 'iconv -f latin1 -t utf-8' where it is in Latin-1"
        ) from None


class _Heading(NamedTuple):
    """The first line of a list that names its columns: what each holds (nothing where it is not known)."""

    roles: tuple[str, ...]
    text: str

    def columns(self, width: int) -> tuple[int, int, int] | None:
        """Return the columns of label, enrolment and test in lines of `width` fields; None if it does not say."""
        roles = list(self.roles)
        absent = [role for role in _ROLES if role not in roles]
        if width == 3 and (len(absent) == 1 or self.roles.count("label") == 1):  # the others can be only this
            for column in (column for column, role in enumerate(self.roles) if not role):
                roles[column] = absent.pop(0)
        if len(roles) != width or any(roles.count(role) != 1 for role in _ROLES):
            return None
        return roles.index("label"), roles.index("enrol"), roles.index("test")


class _Form(NamedTuple):
    """How the lines of a list are made: what stands between the fields, how many there are, and where is what."""

    separator: str
    width: int
    label: int
    enrol: int
    test: int
    line: int
    """The first line of this form."""


class _Parser:
    def __init__(self, path: Path, names: NameCodes) -> None:
        self.path, self.names = path, names
        self.labels = NameCodes(lambda label: int(_LABELS.get(label.lower(), _NO_LABEL)))
        self.line = 1
        self.heading: _Heading | None = None
        self.form: _Form | None = None

    def parse(self, text: str) -> TrialLines:
        if self.form is None:
            text = self._settled(text)
        trials = self._regular(text)
        if trials is None:
            trials = self._one_by_one(text)
        self.line += text.count("\n")
        return trials

    def _settled(self, text: str) -> str:
        """Return the text from its first trial on, whose form becomes that of the list; nothing where there is none."""
        at = 0
        while at < len(text):
            end = text.find("\n", at)
            line = text[at : len(text) if end < 0 else end]
            if not _is_void(line):
                if self.heading is None and (heading := _heading(line)) and not self._names_both(line):
                    self.heading = heading
                else:
                    self.form = self._form(line)
                    return text[at:]
            self.line += 1
            at = len(text) if end < 0 else end + 1
        return ""

    def _names_both(self, line: str) -> bool:
        """Return whether a line whose words could be a heading is a trial: its names are of utterances."""
        fields = _fields(line, _separator(line)) or []
        columns = _columns(fields)
        return columns is not None and all(self.names.find(fields[column]) >= 0 for column in columns[1:])

    def _form(self, line: str) -> _Form:
        """Return the form of the list's first trial.

        Raises:
            CorpusError: it has none of the forms.
        """
        for separator in _SEPARATORS:
            fields = _fields(line, separator)
            if fields is None:
                continue
            if self.heading:
                fields += [""] * (len(self.heading.roles) - len(fields))
                columns = self.heading.columns(len(fields))
            else:
                columns = _columns(fields)
            if columns and fields[columns[0]].lower() in _LABELS:
                return _Form(separator, len(fields), *columns, line=self.line)
        raise self._refusal(line, self.line)

    def _regular(self, text: str) -> TrialLines | None:
        """Return the trials of lines that are all alike, or None where they may not be."""
        form = self.form
        if form is None or not (text.isascii() and text.endswith("\n")):
            return None
        separator, width = form.separator, form.width
        if '"' in text:
            text = _unquoted(text, separator)
            if '"' in text:
                return None
        text = text.replace(f"{separator}\n", "\n")
        characters = np.frombuffer(text.encode("ascii") + bytes(LONGEST), dtype=np.uint8)
        head = characters[: len(text)]
        ends = np.flatnonzero((head <= ord(" ")) | (head == ord(separator)))
        starts = np.append(0, ends + 1)[:-1]
        lengths = ends - starts
        if len(ends) % width or lengths.min() == 0 or lengths.max() > LONGEST:
            return None
        first, behind = starts.reshape(-1, width), ends.reshape(-1, width)  # a row a line, a column a field
        if (head[behind] != [*[ord(separator)] * (width - 1), ord("\n")]).any():
            return None
        if np.isin(head[first[:, 0]], [ord(mark) for mark in _COMMENTS]).any():
            return None
        if lengths[form.label :: width].max() > _LONGEST_LABEL:
            return None
        targets = self.labels.look_up(characters, first[:, form.label], behind[:, form.label])
        if (targets == _NO_LABEL).any():
            return None
        sides = [form.enrol, form.test]
        found = self.names.look_up(characters, first[:, sides].ravel(), behind[:, sides].ravel())
        return TrialLines(found.reshape(-1, 2), targets.astype(np.bool_))

    def _one_by_one(self, text: str) -> TrialLines:
        sides: list[tuple[int, int]] = []
        targets: list[bool] = []
        for number, line in enumerate(text.split("\n"), start=self.line):
            if _is_void(line):
                continue
            trial = self._trial(line)
            if trial is None:
                raise self._refusal(line, number)
            enrol, test, target = trial
            sides.append((self.names[enrol], self.names[test]))
            targets.append(target)
        return TrialLines(np.array(sides, np.int32).reshape(-1, 2), np.array(targets, np.bool_))

    def _trial(self, line: str) -> tuple[str, str, bool] | None:
        """Return (enrolment, test, target), or None for a line that is not of the list's form."""
        form = self.form
        fields = None if form is None else _fields(line, form.separator)
        if form is None or fields is None:
            return None
        if self.heading:  # columns that do not matter may be empty
            fields += [""] * (form.width - len(fields))
        if len(fields) != form.width:
            return None
        label, enrol, test = fields[form.label].lower(), fields[form.enrol], fields[form.test]
        return (enrol, test, _LABELS[label]) if label in _LABELS and enrol and test else None

    def _refusal(self, line: str, number: int) -> CorpusError:
        shown = repr(line.strip())
        if len(shown) > _LONGEST_SHOWN:
            shown = f"{shown[:_LONGEST_SHOWN]}..."
        return CorpusError(f"{self.path}, line {number}: {shown} is not a trial: {self._reason(line)}")

    def _reason(self, line: str) -> str:
        """Return what a line is instead of a trial, and what to do."""
        if "\0" in line:
            return "it holds bytes of zero. If the list is UTF-16 without a mark at its beginning, save it as UTF-8"
        separator = self.form.separator if self.form else _separator(line)
        fields = _fields(line, separator)
        if fields is None:
            return "a quotation mark is opened in it and not closed, or stands inside a field"
        width = self.form.width if self.form else len(self.heading.roles) if self.heading else 3
        columns = self.heading.columns(width) if self.heading else None
        if self.heading and not columns:
            return (
                f"the heading {self.heading.text!r} does not say which columns hold the label and the two recordings. "
                "Call them label, enrol and test, each once"
            )
        if self.heading:
            fields += [""] * (width - len(fields))
        if len(fields) != width:
            found = f"{len(fields)} {'field' if len(fields) == 1 else 'fields'}, apart by {_SEPARATORS[separator]}"
            where = f"the lines from line {self.form.line} on have {width}" if self.form else f"{width} are expected"
            drop = " Leave the others out, or name the columns in a heading." if len(fields) > width else ""
            return f"it has {found}; {where}. {_EXAMPLE}{drop}"
        label = self.form.label if self.form else columns[0] if columns else None
        possible = (fields[0], fields[-1]) if label is None else (fields[label],)
        if any(field.lower() in _LABELS for field in possible):
            return f"a name is empty. {_EXAMPLE}"
        if label is None:
            said = f"neither {fields[0]!r} nor {fields[-1]!r} is a label"
        else:
            since = f" from line {self.form.line} on" if self.form else ""
            said = f"column {label + 1} holds the label{since}, and {fields[label]!r} is none"
        if "-1" in possible:
            return (
                f"{said}: by -1 some lists mean different speakers, others that it is not known. Write 0 for different"
            )
        return f"{said}. Labels are {', '.join(_TARGETS)} for one speaker, {', '.join(_NONTARGETS)} for two. {_EXAMPLE}"


def _is_void(line: str) -> bool:
    """Return whether a line holds nothing, or a remark."""
    text = line.strip(" \t,;")
    return not text or line.lstrip().startswith(_COMMENTS)


def _heading(line: str) -> _Heading | None:
    """Return what a line says of the columns below it; None where it may be a trial."""
    fields = _fields(line, _separator(line)) or []
    words = ["".join(filter(str.isalnum, field.lower())) for field in fields]
    roles = tuple(_ROLE_OF.get(word, "") for word in words)
    known = set(filter(None, roles))
    if any(field.lower() in _LABELS for field, role in zip(fields, roles, strict=True) if not role):
        return None
    names_label = any(
        role == "label" and field.lower() not in _LABELS for field, role in zip(fields, roles, strict=True)
    )
    return _Heading(roles, line.strip()) if names_label or len(known) > 1 else None


def _separator(line: str) -> str:
    return next((mark for mark in _SEPARATORS if mark in line), " ")


def _unquoted(text: str, separator: str) -> str:
    """Return ASCII lines without quotation marks where these need not be there, and as they are otherwise."""
    characters = np.frombuffer(f"\n{text}".encode("ascii"), dtype=np.uint8)
    edges = (characters == ord(separator)) | (characters == ord("\n"))
    fields = np.cumsum(edges, dtype=np.int32)
    marks = np.flatnonzero(characters == ord('"'))
    if len(marks) % 2:
        return text
    opened, closed = marks[::2], marks[1::2]
    around_fields = edges[opened - 1] & edges[closed + 1] & (fields[opened] == fields[closed])
    return text.replace('"', "") if around_fields.all() else text


def _fields(line: str, separator: str) -> list[str] | None:
    """Return the fields of a line without the empty ones at its end; None where a quotation mark is not closed."""
    if '"' in line:
        try:
            row = line.replace("\t", " ") if separator == " " else line
            (found,) = csv.reader([row], delimiter=separator, skipinitialspace=True, strict=True)
        except (csv.Error, ValueError):
            return None
        fields = [field.strip() for field in found if separator != " " or field]
    elif separator == " ":
        fields = _WORD.findall(line)
    else:
        fields = [field.strip() for field in line.split(separator)]
    while fields and not fields[-1]:
        fields.pop()
    return fields


def _columns(fields: Sequence[str]) -> tuple[int, int, int] | None:
    """Return the columns of (label, enrolment, test) of a first line without a heading; None if it is no trial.

    The label comes first (VoxCeleb) or last (Kaldi). Where both could be one, names such as 1 and 0 are more likely
    than names such as target.
    """
    if len(fields) != 3 or not all(fields):
        return None
    first, last = fields[0].lower() in _LABELS, fields[2].lower() in _LABELS
    if first and not (last and fields[0].isdigit() and not fields[2].isdigit()):
        return 0, 1, 2
    return (2, 0, 1) if last else None
