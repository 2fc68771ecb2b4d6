"""Reading trial lists and enrolment lists of any size."""

import codecs
import csv
import io
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxanchor.audio.io import AUDIO_SUFFIXES
from voxanchor.corpus.lists import text_of
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.trials import TrialList
from voxanchor.errors import CorpusError
from voxanchor.runtime import track
from voxanchor.types import BoolArray, IntArray

LONGEST = 256
"""Bytes of the longest name that can be looked up in a buffer."""

_SLOTS_PER_NAME = 8
_MASKS = np.where(np.arange(LONGEST) < np.arange(LONGEST + 1)[:, None], 255, 0).astype(np.uint8).view("<u8")
_MULTIPLIERS = np.array([pow(0x9E3779B97F4A7C15, power, 1 << 64) for power in range(1, LONGEST // 8 + 1)], np.uint64)


class NameCodes:
    """The numbers of names, asked for once per name however often it is met.

    A hash table in arrays, whose keys are the names themselves, eight bytes a word, so that all names of a buffer are
    found at once. A name whose slot is another's is found in a dictionary.
    """

    def __init__(self, find: Callable[[str], int]) -> None:
        """`find` gives the number of a name, which must fit int32; negative ones are of names that nothing has."""
        self.of: dict[str, int] = {}
        self.find = find
        self._words = np.zeros((1, 1), np.uint64)  # the first entry is of no name: empty slots point to it
        self._hashes = np.zeros(1, np.uint64)
        self._codes = np.zeros(1, np.int32)
        self._slots = np.zeros(1 << 10, np.int32)

    def __getitem__(self, name: str) -> int:
        """Return the number of a name."""
        if name not in self.of:
            self.of[name] = self.find(name)
        return self.of[name]

    def look_up(self, characters: NDArray[np.uint8], starts: IntArray, ends: IntArray) -> NDArray[np.int32]:
        """Return the number of each name: (K,) int32.

        Args:
            characters: (C,) ASCII characters, followed by at least `LONGEST` bytes of no matter.
            starts: (K,) where each name starts.
            ends: (K,) where it ends; no name is empty or longer than `LONGEST`.
        """
        lengths = ends - starts
        width = max(-(-int(lengths.max(initial=0)) // 8), self._words.shape[1])
        if width > self._words.shape[1]:
            self._words = np.pad(self._words, ((0, 0), (0, width - self._words.shape[1])))
        rows = np.ndarray((len(characters) - 8 * width + 1,), f"V{8 * width}", characters, strides=(1,))
        words = rows[starts].view("<u8").reshape(-1, width) & _MASKS[lengths, :width]
        hashes = words @ _MULTIPLIERS[:width]
        entries = self._slots[self._slot(hashes)]
        codes = self._codes[entries]
        elsewhere = np.flatnonzero((self._words[entries] != words).any(axis=1))
        fresh = []
        for place in elsewhere.tolist():
            name = characters[starts[place] : ends[place]].tobytes().decode("ascii")
            if name not in self.of:
                fresh.append(place)
            codes[place] = self[name]
        if fresh:
            self._add(words[fresh], hashes[fresh], codes[fresh])
        return codes

    def _slot(self, hashes: NDArray[np.uint64]) -> NDArray[np.uint64]:
        return hashes >> np.uint64(65 - len(self._slots).bit_length())  # the highest bits are mixed best

    def _add(self, words: NDArray[np.uint64], hashes: NDArray[np.uint64], codes: NDArray[np.int32]) -> None:
        first = len(self._codes)
        self._words = np.concatenate((self._words, words))
        self._hashes = np.concatenate((self._hashes, hashes))
        self._codes = np.concatenate((self._codes, codes))
        if len(self._codes) * _SLOTS_PER_NAME > len(self._slots):
            self._slots = np.zeros(1 << (len(self._codes) * _SLOTS_PER_NAME).bit_length(), np.int32)
            first = 1
        self._slots[self._slot(self._hashes[first:])] = np.arange(first, len(self._codes), dtype=np.int32)


# The lines of a trial list, a few megabytes at a time.
#
# Almost every list has as many fields on every line and one separator between them. Where a portion of the file is seen
# to be so, it is taken apart as a whole; any other portion is read line by line, which says what is wrong and where.

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
        shown = f"{shown[:120]}..." if len(shown) > 120 else shown
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
            more = " Leave the others out, or name the columns in a heading." if len(fields) > width else ""
            return f"it has {found}; {where}. {_EXAMPLE}{more}"
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
            return f"{said}: by -1 some lists mean different speakers, others not known. Write 0 for different"
        return f"{said}. Labels are {', '.join(_TARGETS)} for one speaker, {', '.join(_NONTARGETS)} for two. {_EXAMPLE}"


def _is_void(line: str) -> bool:
    """Return whether a line holds nothing, or a remark."""
    return not line.strip(" \t,;") or line.lstrip().startswith(_COMMENTS)


def _heading(line: str) -> _Heading | None:
    """Return what a line says of the columns below it; None where it may be a trial."""
    fields = _fields(line, _separator(line)) or []
    words = ["".join(filter(str.isalnum, field.lower())) for field in fields]
    roles = tuple(_ROLE_OF.get(word, "") for word in words)
    if any(field.lower() in _LABELS for field, role in zip(fields, roles, strict=True) if not role):
        return None
    names_label = any(
        role == "label" and field.lower() not in _LABELS for field, role in zip(fields, roles, strict=True)
    )
    return _Heading(roles, line.strip()) if names_label or len(set(filter(None, roles))) > 1 else None


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


# The names by which trial lists speak of utterances.

MISSING = -1
"""In the place of an index: no utterance is called so."""

SEVERAL = -2
"""In the place of an index: more than one utterance could be meant."""


class NameIndex:
    """Finds utterances by the names that trial lists use.

    With or without the suffix of an audio file, with more or fewer folders, in whatever Unicode normalisation, and as
    Kaldi calls them: ``id-video-number`` for ``id/video/number.wav``. An utterance whose id says nothing of its path,
    as in tables of SpeechBrain, is found by the path of its recording. Where several fit, none is chosen.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._ids = [_composed(utterance.id) for utterance in manifest.utterances]
        # folders call an utterance by its recording's path: those need no second table
        self._recordings = {
            index: _composed(utterance.recording)
            for index, utterance in enumerate(manifest.utterances)
            if utterance.recording not in ("", utterance.id)
        }
        self._exact = self._table(lambda name: (name,))
        self._folders_dropped: dict[int, str] = {}

    def find(self, name: str) -> int:
        """Return the index of the utterance of that name, `MISSING` or `SEVERAL`."""
        name = _composed(name)
        if name in self._exact:
            return self._exact[name]
        for folders, key in _endings_of(name):
            at = self._whole.get(key, MISSING)
            if at == MISSING and not folders:
                at = self._endings.get(key, MISSING)
            if at >= 0 and self._folders_dropped.setdefault(at, folders) != folders:
                # x/1.wav and y/1.wav are two recordings: they cannot both be the one utterance 1.wav
                return MISSING
            if at != MISSING:
                return at
        at = self._joined.get(_without_suffix(name), MISSING)
        if at == MISSING and self._recordings:
            whole = (key for folders, key in _endings_of(name) if not folders)
            at = next((self._paths[key] for key in whole if key in self._paths), MISSING)
        return at

    def fitting(self, name: str) -> list[int]:
        """Return the indices of the utterances that a name could mean, for a message: this looks at every one."""
        wanted = set(_keys_of(_composed(name)))
        return [
            index
            for index, own in enumerate(self._ids)
            if not wanted.isdisjoint((*_keys_of(own), *_joined_of(own), *_keys_of(self._recordings.get(index, ""))))
        ]

    # Most lists name every utterance by its id, and need none of these.

    @cached_property
    def _whole(self) -> dict[str, int]:
        return self._table(lambda name: (key for folders, key in _endings_of(name) if not folders))

    @cached_property
    def _endings(self) -> dict[str, int]:
        return self._table(_keys_of)

    @cached_property
    def _joined(self) -> dict[str, int]:
        return self._table(_joined_of)

    @cached_property
    def _paths(self) -> dict[str, int]:
        return _table(self._recordings.items(), _keys_of)

    def _table(self, keys: Callable[[str], Iterable[str]]) -> dict[str, int]:
        return _table(enumerate(self._ids), keys)


def _table(names: Iterable[tuple[int, str]], keys: Callable[[str], Iterable[str]]) -> dict[str, int]:
    """Return the index of the name that has each key, `SEVERAL` where several names have it."""
    table: dict[str, int] = {}
    for index, name in names:
        for key in keys(name):
            table[key] = index if table.get(key, index) == index else SEVERAL
    return table


def _composed(name: str) -> str:
    """Return a name as it is compared: macOS takes letters and their accents apart, and other systems do not."""
    return unicodedata.normalize("NFC", name)


def _without_suffix(name: str) -> str:
    """Return a name without the suffix of an audio file: the ``.2`` of ``rec.2`` is none."""
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in AUDIO_SUFFIXES and stem[-1:] not in ("", "/") else name


def _endings_of(name: str) -> Iterator[tuple[str, str]]:
    """Yield (leading folders dropped, what is left) with and without the suffix, the longest first."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    last = parts[-1] if parts else ""
    for dropped in range(len(parts)):
        for file in dict.fromkeys((last, _without_suffix(last))):
            yield "/".join(parts[:dropped]), "/".join((*parts[dropped:-1], file))


def _keys_of(name: str) -> Iterator[str]:
    return (key for _, key in _endings_of(name))


def _joined_of(name: str) -> Iterator[str]:
    """Yield folders and name with hyphens between, with all leading folders and with fewer."""
    parts = _without_suffix(name).split("/")
    return ("-".join(parts[dropped:]) for dropped in range(len(parts) - 1))


# Reading trial lists and enrolment lists.

_MODEL_HEADINGS = ("model", "modelid", "model_id", "id", "speaker")


def read_trials(path: Path | str, manifest: Manifest, enrolments: Path | str = "") -> TrialList:
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
    compact, ids, speakers = _taking_part(manifest, sides)
    return TrialList(compact[sides[:, 0]], compact[sides[:, 1]], is_target, ids, speakers, f"trial list {path.name}")


def _taking_part(manifest: Manifest, *rows: IntArray) -> tuple[IntArray, tuple[str, ...], tuple[str, ...]]:
    """Return the numbers of a manifest's utterances among those in `rows` alone, and the ids and speakers of these."""
    used = np.zeros(len(manifest), dtype=np.bool_)
    for part in rows:
        used[part] = True
    kept = [manifest.utterances[row] for row in np.flatnonzero(used)]
    return np.cumsum(used) - 1, tuple(item.id for item in kept), tuple(item.speaker for item in kept)


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


def _model_trials(path: Path, manifest: Manifest, index: NameIndex, enrolments: Path) -> TrialList:
    """Return the trials of a list whose first side is a model."""
    enrolled = read_enrolments(enrolments)
    met: dict[str, int] = {}

    def find(name: str) -> int:
        # a number of its own for every name, which may be a model's on one side and a recording's on the other; below
        # zero where it is neither, by which a heading is recognised
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
    compact, ids, owners = _taking_part(manifest, right, np.array([row for found in rows for row in found]))
    counts = sorted(len(found) for found in rows)
    note = (
        f"trial list {path.name}; {len(rows)} models of {enrolments.name}, each the mean of {counts[0]} to "
        f"{counts[-1]} recordings (median {counts[len(counts) // 2]})"
    )
    models = tuple(tuple(int(compact[row]) for row in found) for found in rows)
    return TrialList(left.astype(np.int64), compact[right], is_target, ids, owners, note, models)


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
