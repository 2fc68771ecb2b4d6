"""The lists in which other toolkits name recordings and who speaks in them, brought to one form.

Read are Kaldi data directories (Povey et al. 2011), tables of SpeechBrain, manifests of NeMo, cuts and recordings of
lhotse, the evaluation lists of CN-Celeb, and plain tables. The kind of a list is recognised by its content. Nothing is
decoded here, and no command that a list holds is run.
"""

import contextlib
import csv
import gzip
import io
import json
import math
import os
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Any

from voxanchor.corpus.owners import EVALUATION, OWNER
from voxanchor.errors import CorpusError
from voxanchor.runtime import counted

OURS = "voxanchor-manifest"
"""What the first line of a manifest of voxanchor says it is."""

KINDS = {
    "kaldi": "a Kaldi data directory",
    "nemo": "a NeMo manifest",
    "lhotse": "a manifest of lhotse",
    "speechbrain": "a table of SpeechBrain",
    "cnceleb": "the corpus CN-Celeb",
    "csv": "a table of recordings",
}
"""The lists that are read, by the layout's name."""

_LONGEST_LINE = 1 << 20
_KALDI_FILES = ("wav.scp", "utt2spk", "spk2utt", "segments")
_RECORDINGS, _SUPERVISIONS = "recordings", "supervisions"  # in the names of files that belong together
_ARCHIVE = re.compile(r"\.ark(\.gz)?:\d+$")
_PLACEHOLDER = re.compile(r"\$\{?\w+\}?|\{\w+\}")
_NEMO_SPEAKERS = ("speaker", "speaker_id", "label")

_COLUMNS = {
    "id": "id utt utt_id utterance utterance_id",
    "path": "path wav file filename file_name filepath audio audio_path audio_file audio_filepath recording",
    "speaker": "speaker speaker_id spk spk_id label",
    "session": "session session_id",
    "start": "start start_s offset",
    "end": "end end_s stop",
    "duration": "duration duration_s length dur",
}
"""What a column is called in the tables of the field, in small letters."""

_IN_SECONDS = {"start_s", "end", "end_s", "offset"}
"""Columns of seconds wherever they stand."""

_ROLE_OF = {name: role for role, names in _COLUMNS.items() for name in names.split()}


@dataclass(frozen=True)
class Listed:
    """An utterance as a list names it.

    Attributes:
        id: as the list has it; the path where it has none, without the folders that all absolute paths share.
        speaker: empty where the list does not say.
        start_s: where in the recording it begins.
        duration_s: how long it is; to the end of the recording when None.
        samples: (first, behind the last) in samples of the recording, in the place of seconds.
        channel: number of the channel that is used, from 1 on; 0 where the list leaves that open.
        reason: why it cannot be used; empty when nothing in the list speaks against it.
    """

    id: str
    path: Path
    speaker: str = ""
    session: str = ""
    start_s: float = 0.0
    duration_s: float | None = None
    samples: tuple[int, int | None] | None = None
    channel: int = 0
    reason: str = ""


@dataclass
class Listing:
    """What a list says.

    Attributes:
        items: its utterances, in its order.
        notes: for the log: what was ignored, and where relative paths were found.
    """

    items: list[Listed] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def kind_of_list(path: Path) -> str:
    """Return which list lies at a path: one of `KINDS`, ``voxanchor``, or nothing where it is none of them.

    Raises:
        CorpusError: the file cannot be read.
    """
    try:
        if path.is_dir():
            return _kind_of_folder(path)
        if not path.is_file():
            return ""
        if path.name in _KALDI_FILES:
            return "kaldi"
        if path.name in ("enroll.lst", "enroll.map"):
            return "cnceleb"
        line = _first_line(path)
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
    try:
        record = json.loads("{}" if line.lstrip().startswith("[") else line)
    except (ValueError, RecursionError):
        return _kind_of_table(line)
    if line.lstrip().startswith("["):  # lhotse writes .json as one array
        return "lhotse" if path.name.endswith((".json", ".json.gz")) else ""
    keys = set(record) if isinstance(record, dict) else set()
    if "audio_filepath" in keys:
        return "nemo"
    tracks = "tracks" in keys or record.get("type") in ("MonoCut", "MultiCut", "MixedCut", "PaddingCut") if keys else 0
    if tracks or "supervisions" in keys or {"sources", "sampling_rate"} <= keys or {"recording_id", "start"} <= keys:
        return "lhotse"
    return "voxanchor" if record and keys and record.get("format") == OURS else ""


def read_list(place: Path, kind: str) -> Listing:
    """Return the utterances of a list, none of which has been looked at.

    Args:
        place: the list, or the folder it lies in.
        kind: one of `KINDS`.

    Raises:
        CorpusError: it cannot be read, is empty, or a line of it cannot be understood (with its number); or it calls
            two utterances by one id.
    """
    listing = _READERS[kind](place)
    if not listing.items:
        raise CorpusError(f"{place}: names no recordings")
    seen: dict[str, Listed] = {}
    for item in listing.items:
        if seen.setdefault(item.id, item) is not item:
            raise CorpusError(f"{place}: two utterances are called {item.id}; give every utterance an id of its own")
    unnamed = sum(not item.speaker for item in listing.items)
    if 0 < unnamed < len(listing.items):
        listing.notes.append(f"{unnamed} of {len(listing.items)} utterances have no speaker")
    return listing


def _kind_of_folder(folder: Path) -> str:
    if (folder / "wav.scp").is_file():
        return "kaldi"
    for lists in (folder, folder / "lists"):
        if (lists / "trials.lst").is_file() and any((lists / name).is_file() for name in ("enroll.lst", "enroll.map")):
            return "cnceleb"
    return "lhotse" if len(_lhotse_pairs(folder)) == 1 else ""


def _kind_of_table(line: str) -> str:
    try:
        columns = [name.lower() for name in _cells(line, _separator(line))]
    except csv.Error:
        return ""
    if "wav" in columns and {"id", "duration"} & set(columns):
        return "speechbrain"
    return "csv" if len(columns) > 1 and "path" in (_ROLE_OF.get(name) for name in columns) else ""


class _Places:
    """Finds recordings by relative paths, and counts from where.

    Args:
        bases: folders that paths may start from, in the order in which they are tried.
        any_suffix: take ``1.flac`` where ``1.wav`` is named and not there.
    """

    def __init__(self, *bases: Path, any_suffix: bool = False) -> None:
        self.bases, self.any_suffix = bases, any_suffix
        self.used: Counter[Path] = Counter()

    def find(self, source: str) -> Path:
        """Return where a recording lies; of one that is nowhere, the path as it stands in the list."""
        with contextlib.suppress(OSError, ValueError):  # text that is no path, such as a long command
            if Path(source).is_absolute():
                return self._there(Path(source)) or Path(source)
            for base in self.bases:
                if path := self._there(base / source):
                    self.used[base] += 1
                    return path
        return Path(source)

    def _there(self, path: Path) -> Path | None:
        if path.exists():
            return path
        others = (path.with_suffix(suffix) for suffix in (".flac", ".wav", ".m4a")) if self.any_suffix else ()
        return next((other for other in others if other.exists()), None)

    def notes(self) -> list[str]:
        """Return from where relative paths were read, where there are any."""
        where = {base: "the current directory" if base == Path() else str(base) for base in self.used}
        return [f"{counted(count, 'relative path')} found from {where[base]}" for base, count in self.used.items()]


# --- text


def text_of(path: Path) -> str:
    """Return a file's text, unpacked where it is gzip; line ends are LF and there is no mark before it.

    Raises:
        CorpusError: it cannot be read, or is no UTF-8 text (with the line).
    """
    data = b""
    try:
        data = path.read_bytes()
        if data[:2] == b"\x1f\x8b":
            data = gzip.decompress(data)
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise CorpusError(f"{path}, line {line}: is not UTF-8 text; save the file so") from None
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "damaged gzip"
        raise CorpusError(f"{path}: cannot be read ({reason})") from None


def _first_line(path: Path) -> str:
    """Return the first line that is not empty; nothing where the file is no text."""
    with path.open("rb") as file:
        packed = file.read(2) == b"\x1f\x8b"
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            for _ in range(100):
                line = file.readline(_LONGEST_LINE)
                if not line or line.strip(b" \t\r\n\xef\xbb\xbf"):
                    return line.decode("utf-8-sig", errors="replace").replace("\r", "\n").partition("\n")[0]
    except (EOFError, zlib.error, gzip.BadGzipFile):
        pass
    return ""


def _pairs(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield the number of every line that is not empty, its first word, and the rest of it."""
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        name, _, rest = line.replace("\t", " ").strip().partition(" ")
        if name:
            yield number, name, rest.strip()


def _once(path: Path, what: str) -> Iterator[tuple[int, str, str]]:
    """Yield `_pairs` of a file in which every name stands once, with something behind it."""
    lines: dict[str, int] = {}
    for number, name, rest in _pairs(path):
        if not rest:
            raise CorpusError(f"{path}, line {number}: '{name}' has no {what} behind it")
        if lines.setdefault(name, number) != number:
            raise CorpusError(f"{path}, line {number}: {name} stands in line {lines[name]} already; leave one of them")
        yield number, name, rest


def _seconds(value: object) -> float:
    """Return a time of a list in seconds; what is no number raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise ValueError(f"{value!r} is no time")
    try:
        return float(value)
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _word(value: object) -> str:
    """Return a name out of JSON; what manifests, which are UTF-8, cannot hold raises ValueError."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"{value!r} is no name")
    str(value).encode()
    return str(value)


# --- Kaldi


def _kaldi(place: Path) -> Listing:
    """Read a data directory: ``wav.scp``, with ``segments`` and ``utt2spk`` or ``spk2utt`` where they are."""
    folder = place if place.is_dir() else place.parent
    recordings = {name: (number, source) for number, name, source in _once(folder / "wav.scp", "path")}
    speakers = _kaldi_speakers(folder)
    cut = (folder / "segments").is_file()
    pieces = _kaldi_segments(folder / "segments") if cut else [Listed(name, Path(name)) for name in recordings]
    places = _Places(Path(), folder)  # Kaldi's scripts run beside the data directory, and paths start there
    listing = Listing()
    for piece in pieces:
        number, source = recordings.get(str(piece.path), (0, ""))
        reason = "" if source else f"wav.scp names no recording {piece.path}"
        if source.endswith("|"):
            reason = (
                f"a command in line {number} of wav.scp, and no command is run: run it once, and write its output to a "
                "file"
            )
        elif _ARCHIVE.search(source):
            reason = f"in an archive of Kaldi, line {number} of wav.scp: write it to a file of its own (wav-copy)"
        path = Path(source) if reason else places.find(source)
        listing.items.append(replace(piece, path=path, speaker=speakers.get(piece.id, ""), reason=reason))
    if unknown := len(speakers.keys() - {piece.id for piece in pieces}):
        where = "segments" if cut else "wav.scp"
        listing.notes.append(f"{counted(unknown, 'utterance')} with a speaker, but not in {where}: left out")
    listing.notes += places.notes()
    return listing


def _kaldi_speakers(folder: Path) -> dict[str, str]:
    if (folder / "utt2spk").is_file():
        return {name: rest for _, name, rest in _once(folder / "utt2spk", "speaker")}
    if not (folder / "spk2utt").is_file():
        return {}
    owners: dict[str, str] = {}
    for number, speaker, rest in _once(folder / "spk2utt", "utterance"):
        for name in rest.split():
            if owners.setdefault(name, speaker) != speaker:
                raise CorpusError(f"{folder / 'spk2utt'}, line {number}: {name} belongs to {owners[name]} already")
    return owners


def _kaldi_segments(path: Path) -> list[Listed]:
    """Return the utterances of ``segments``, whose path is the name of their recording."""
    pieces = []
    for number, name, rest in _once(path, "recording"):
        try:
            recording, start, end, *more = rest.split()
            length_s = None if float(end) == -1.0 else float(end) - float(start)  # -1: to the end
            channel = int(more[0]) + 1 if len(more) == 1 else 0
            if len(more) > 1:
                raise ValueError
        except ValueError:
            reason = f"'{name} {rest}' is not an id, a recording and two times"
            raise CorpusError(f"{path}, line {number}: {reason}") from None
        pieces.append(Listed(name, Path(recording), "", "", float(start), length_s, channel=channel))
    return pieces


# --- lines of JSON


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the objects of a file with a JSON object a line, or one array of them, and their number."""
    text = text_of(path)
    if text.lstrip().startswith("["):
        try:
            records = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}: is not JSON ({error})") from None
        numbered: Iterable[tuple[int, object]] = enumerate(records, start=1)
    else:
        numbered = _json_lines(path, text)
    for number, record in numbered:
        if not isinstance(record, dict):
            raise CorpusError(f"{path}, line {number}: is no object of JSON")
        yield number, record


def _json_lines(path: Path, text: str) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError) as error:
                raise CorpusError(f"{path}, line {number}: is not JSON ({error})") from None


def _nemo(place: Path) -> Listing:
    """Read a manifest: lines with ``audio_filepath``, ``offset``, ``duration``, and who speaks."""
    places, listing = _Places(place.parent, Path()), Listing()
    for number, record in _records(place):
        try:
            source = record["audio_filepath"]
            if not isinstance(source, str):
                raise ValueError("audio_filepath is not one path")
            start_s = _seconds(record.get("offset") or 0.0)
            duration_s = None if record.get("duration") is None else _seconds(record["duration"])
            speaker = next((name for key in _NEMO_SPEAKERS if (name := _word(record.get(key)))), "")
            listing.items.append(Listed(_word(source), places.find(source), speaker, "", start_s, duration_s))
        except (ValueError, KeyError) as error:
            raise CorpusError(f"{place}, line {number}: not a line of a NeMo manifest ({error!r})") from None
    listing.items = _unique_ids(listing.items, place.parent)
    listing.notes += places.notes()
    return listing


def _unique_ids(items: Iterable[Listed], folder: Path) -> list[Listed]:
    """Return utterances that are called by their paths, several of one recording also by where they begin.

    Absolute paths are cut to what lies below the deepest folder that they share; beside relative ones, below the list's
    `folder`. An id must not say where a corpus lies: noise is drawn by it, so the same list would be heard in other
    noise on another machine.
    """
    found = list(dict.fromkeys(items))  # a line that is there twice names one recording
    if absolute := [os.path.dirname(item.id) for item in found if os.path.isabs(item.id)]:  # noqa: PTH117, PTH120
        shared = os.path.commonpath(absolute)
        if len(absolute) < len(found) and Path(shared).is_relative_to(folder.absolute()):
            shared = str(folder.absolute())
        # an id that is not absolute stays: relpath would count it from the working directory
        found = [
            replace(item, id=os.path.relpath(item.id, shared)) if os.path.isabs(item.id) else item  # noqa: PTH117
            for item in found
        ]
    times = Counter(item.id for item in found)
    start = {item: item.samples[0] if item.samples else item.start_s for item in found}
    return [replace(item, id=f"{item.id}:{start[item]:g}") if times[item.id] > 1 else item for item in found]


# --- lhotse


def _lhotse_pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Return the manifests of recordings that lie in a folder with those of their supervisions."""
    pairs = []
    for path in sorted(folder.glob("*recordings*.json*")):
        other = path.with_name(path.name.replace(_RECORDINGS, _SUPERVISIONS))
        if other.is_file():
            pairs.append((path, other))
    return pairs


def _lhotse(place: Path) -> Listing:
    """Read cuts; or recordings and, from the file of that name beside them, their supervisions."""
    if place.is_dir():
        pairs = _lhotse_pairs(place)
        if len(pairs) != 1:
            raise CorpusError(f"{place}: holds {len(pairs)} pairs of recordings and supervisions; give one file")
        place = pairs[0][0]
    first = next((record for _, record in _records(place)), {})
    places, listing = _Places(place.parent, Path()), Listing()
    if "recording_id" in first and "recording" not in first and "supervisions" not in first:
        recordings = place.with_name(place.name.replace(_SUPERVISIONS, _RECORDINGS))
        if recordings == place or not recordings.is_file():
            raise CorpusError(
                f"{place}: names speakers and no recordings; put {recordings.name} beside it, or give cuts"
            )
        _lhotse_supervised(recordings, place, places, listing)
    elif "sources" in first:
        supervisions = place.with_name(place.name.replace(_RECORDINGS, _SUPERVISIONS))
        beside = supervisions if supervisions != place and supervisions.is_file() else None
        _lhotse_supervised(place, beside, places, listing)
    else:
        for number, record in _records(place):
            with _understood(place, number, "cut"):
                listing.items += _cut(record, places)
    listing.notes += places.notes()
    return listing


@contextlib.contextmanager
def _understood(path: Path, number: int, what: str) -> Iterator[None]:
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorpusError(f"{path}, line {number}: not a {what} of lhotse ({error!r})") from None


def _lhotse_supervised(recordings: Path, supervisions: Path | None, places: _Places, listing: Listing) -> None:
    known: dict[str, dict[str, Any]] = {}
    for number, record in _records(recordings):
        with _understood(recordings, number, "recording"):
            if known.setdefault(_word(record["id"]), record) is not record:
                raise CorpusError(f"{recordings}, line {number}: there are two recordings {record['id']}")
    if supervisions is None:
        for number, (name, record) in enumerate(known.items(), start=1):
            with _understood(recordings, number, "recording"):
                path, _, reason = _at(record, None, places)
                listing.items.append(Listed(name, path, reason=reason))
        return
    for number, record in _records(supervisions):
        with _understood(supervisions, number, "supervision"):
            name = _word(record["id"])
            recording = known.get(_word(record["recording_id"]))
            start_s, duration_s = _seconds(record["start"]), _seconds(record["duration"])
            item = Listed(name, Path(name), _word(record.get("speaker")), "", start_s, duration_s)
            if recording is None:
                item = replace(item, reason=f"{recordings.name} names no recording {record['recording_id']}")
            else:
                path, channel, reason = _at(recording, record.get("channel"), places)
                item = replace(item, path=path, channel=channel, reason=reason)
            listing.items.append(item)


def _at(recording: Mapping[str, Any], channel: object, places: _Places) -> tuple[Path, int, str]:
    """Return where the sound of a recording lies, the number of its channel, and why it cannot be used."""
    wanted = channel[0] if isinstance(channel, list) and len(channel) == 1 else channel
    for source in recording["sources"]:
        channels = source.get("channels", [0])
        if isinstance(wanted, int) and wanted not in channels:
            continue
        path, kind = source["source"], source.get("type", "file")
        if kind != "file" or not isinstance(path, str):
            return Path(str(recording.get("id"))), 0, f"its sound comes from a {kind}: write it to a file (save_audios)"
        number = channels.index(wanted) + 1 if isinstance(wanted, int) and len(channels) > 1 else 0
        made = [str(one.get("name", "?")) for one in recording.get("transforms") or () if isinstance(one, dict)]
        if made and set(made) != {"Resample"}:
            return Path(path), 0, f"changed on the fly ({', '.join(made)}): write it to a file (save_audios)"
        return places.find(path), number, ""
    return Path(str(recording.get("id"))), 0, f"its recording has no channel {wanted}"


def _cut(cut: Mapping[str, Any], places: _Places) -> Iterator[Listed]:
    """Yield the utterances of a cut: itself, or where it has several supervisions, those."""
    name, kind = _word(cut["id"]), str(cut.get("type", "MonoCut"))
    if "tracks" in cut or kind in ("MixedCut", "PaddingCut"):
        reason = f"a {'MixedCut' if 'tracks' in cut else kind}, mixed on the fly: write it to a file (save_audios)"
        yield Listed(name, Path(name), reason=reason)
        return
    supervisions = cut.get("supervisions") or []
    start_s, duration_s = _seconds(cut.get("start", 0.0)), _seconds(cut["duration"])
    if cut.get("recording") is None:
        yield Listed(name, Path(name), reason="a cut of features, without a recording")
        return
    if len(supervisions) < 2:
        speaker = _word(supervisions[0].get("speaker")) if supervisions else ""
        path, channel, reason = _at(cut["recording"], cut.get("channel"), places)
        yield Listed(name, path, speaker, "", start_s, duration_s, channel=channel, reason=reason)
        return
    for one in supervisions:
        path, channel, reason = _at(cut["recording"], one.get("channel", cut.get("channel")), places)
        low = max(_seconds(one["start"]), 0.0)  # a supervision may begin before the cut and end behind it
        high = min(_seconds(one["start"]) + _seconds(one["duration"]), duration_s)
        times = start_s + low, high - low
        yield Listed(_word(one["id"]), path, _word(one.get("speaker")), "", *times, channel=channel, reason=reason)


# --- tables


def _separator(line: str) -> str:
    return max(("\t", ",", ";"), key=line.count)


def _cells(line: str, separator: str) -> list[str]:
    return [cell.strip() for row in csv.reader([line], delimiter=separator) for cell in row]


def _speechbrain(place: Path) -> Listing:
    """Read a table whose columns ``start`` and ``stop`` count samples, as SpeechBrain's recipes write it."""
    return _table(place, in_samples=True)


def _csv(place: Path) -> Listing:
    """Read a table with a path and a speaker on every line, and times in seconds."""
    return _table(place, in_samples=False)


def _table(place: Path, in_samples: bool) -> Listing:
    text = text_of(place)
    heading = next((line for line in text.split("\n") if line.strip()), "")
    rows = csv.reader(io.StringIO(text), delimiter=_separator(heading), skipinitialspace=True)
    roles: list[str] = []
    places, listing = _Places(place.parent, Path()), Listing()
    unfilled: list[int] = []
    try:
        for row in rows:
            if not any(cell.strip() for cell in row):
                continue
            if not roles:
                names = [cell.strip() for cell in row]
                roles = _roles(place, names, listing)
                in_samples = in_samples and not _IN_SECONDS & {name.lower() for name in names}
            elif len(row) != len(roles):
                raise CorpusError(f"{place}, line {rows.line_num}: has {len(row)} fields, and the heading {len(roles)}")
            else:
                cells = {role: cell.strip() for role, cell in zip(roles, row, strict=True) if role}
                item = _row(cells, f"{place}, line {rows.line_num}", places, in_samples)
                if item.reason:
                    unfilled.append(rows.line_num)
                listing.items.append(item)
    except csv.Error as error:
        raise CorpusError(f"{place}, line {rows.line_num}: {error}") from None
    if unfilled and len(unfilled) == len(listing.items):
        raise CorpusError(
            f"{place}, line {unfilled[0]}: {listing.items[0].reason}. Put the table into that folder, or write the "
            "paths out"
        )
    if "id" not in roles:
        listing.items = _unique_ids(listing.items, place.parent)
    listing.notes += places.notes()
    return listing


def _roles(place: Path, heading: list[str], listing: Listing) -> list[str]:
    """Return what each column holds; nothing for one that is not known."""
    roles = [_ROLE_OF.get(name.lower(), "") for name in heading]
    if "path" not in roles:
        raise CorpusError(
            f"{place}: no column of it names recordings; call that one 'path', and that of speakers 'speaker'"
        )
    for role in set(filter(None, roles)):
        if roles.count(role) > 1:
            same = ", ".join(name for name, own in zip(heading, roles, strict=True) if own == role)
            raise CorpusError(f"{place}: several columns could be the {role}: {same}; rename those that are not")
    if unknown := [name for name, role in zip(heading, roles, strict=True) if not role]:
        listing.notes.append(f"columns that are not used: {', '.join(unknown)}")
    return roles


def _row(cells: Mapping[str, str], where: str, places: _Places, in_samples: bool) -> Listed:
    source = cells["path"]
    if not source:
        raise CorpusError(f"{where}: names no recording")
    path, reason = places.find(source), ""
    if mark := _PLACEHOLDER.match(source):
        path = places.find(source[mark.end() :].lstrip("/\\"))
        if not path.exists():
            reason = f"{mark[0]} was taken for the table's folder, and {source} is not there"
    item = Listed(cells.get("id") or source, path, cells.get("speaker", ""), cells.get("session", ""), reason=reason)
    try:
        if in_samples:
            if cells.get("start") or cells.get("end"):
                end = cells.get("end")
                item = replace(item, samples=(_whole(cells.get("start") or "0"), _whole(end) if end else None))
            return item
        start_s = float(cells.get("start") or 0.0)
        duration_s = float(cells["duration"]) if cells.get("duration") else None
        if cells.get("end"):
            duration_s = float(cells["end"]) - start_s
    except ValueError as error:
        raise CorpusError(f"{where}: {error}") from None
    return replace(item, start_s=start_s, duration_s=duration_s)


def _whole(text: str) -> int:
    if not float(text).is_integer():
        raise ValueError(
            f"start and stop are numbers of samples in a table of SpeechBrain, and {text} is none; if they are "
            "seconds, call the columns start_s and end_s"
        )
    return int(float(text))


# --- CN-Celeb


def _cnceleb(place: Path) -> Listing:
    """Read the lists of an evaluation: what ``enroll.lst``, ``enroll.map`` and ``trials.lst`` name.

    Recordings lie below the folder of the lists, the one above it, or its ``data`` (that of the development part).
    """
    folder = place if place.is_dir() else place.parent
    lists = folder / "lists" if (folder / "lists" / "trials.lst").is_file() else folder
    top = lists.parent
    places = _Places(lists, top, top.parent / "data", top / "data", any_suffix=True)
    listing, names = Listing(), dict[str, None]()
    if (lists / "enroll.lst").is_file():
        names |= {name: None for _, _, rest in _pairs(lists / "enroll.lst") for name in rest.split()}
    if (lists / "trials.lst").is_file():
        names |= {rest.split()[0]: None for _, _, rest in _pairs(lists / "trials.lst") if rest}
    if (lists / "enroll.map").is_file():
        several = {name: None for _, _, rest in _pairs(lists / "enroll.map") for name in rest.split()}
        if any(places.find(name).exists() for name in several):
            names |= several
        else:
            listing.notes.append("enroll.map names recordings of 'data', which is not there; they are left out")
    for name in names:
        owner = OWNER[EVALUATION](PurePosixPath(name))
        speaker, session = (owner.speaker, owner.session) if owner else ("", "")
        listing.items.append(Listed(name, places.find(name), speaker, session))
    listing.notes += places.notes()
    return listing


_READERS: dict[str, Callable[[Path], Listing]] = {
    "kaldi": _kaldi,
    "nemo": _nemo,
    "lhotse": _lhotse,
    "speechbrain": _speechbrain,
    "cnceleb": _cnceleb,
    "csv": _csv,
}
