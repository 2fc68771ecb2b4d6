"""Reading the folders in which corpora come: speech whose speakers the folders name, noise by kind, and packs of both.

Noise folders follow MUSAN (Snyder, Chen, Povey 2015, arXiv 1510.08484).
"""

import contextlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path, PurePosixPath

from voxanchor.audio import io
from voxanchor.audio.clips import Clip
from voxanchor.audio.downmix import Channel
from voxanchor.corpus.checks import check_files
from voxanchor.corpus.manifest import OTHER_LISTS, REWRITE, Manifest, Unusable, examples, kind_of_list
from voxanchor.corpus.owners import EXPECTED, OWNER, detect
from voxanchor.corpus.pack import Kind, Pack, is_pack, read_manifest, read_pack
from voxanchor.corpus.parts import in_part, split_part
from voxanchor.corpus.utterance import Part, Utterance
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.files import printable
from voxanchor.progress import counted

LAYOUTS = ("auto", "speakers", "voxceleb", "librispeech", "flat")
"""Names `scan` knows."""

MIN_DURATION_S = 0.3
"""Shortest usable recording."""

MIN_ACTIVE_S = 0.1
"""Least active speech of a usable recording: a spoken word can have less than 0.2 s, and words are joined later."""

NOISE_KINDS = ("noise", "music", "speech")
"""Folder names that say what the recordings below them are."""

_ROUNDED_S = 0.05  # a list may round times, or state the length before a conversion
_NEMO_SPEAKERS = ("speaker", "speaker_id", "label")
_MIN_NOISE_S = 0.02  # a click is noise too: only silence is not


def scan(
    folder: Path | str,
    layout: str = "auto",
    max_unusable_share: float = 0.2,
    channel: Channel = "mix",
) -> Manifest:
    """Return the recordings of a folder of speech, each decoded once; the unusable ones are listed with their reason.

    Layouts: ``speakers`` (the first folder names the speaker, folders below it the session), ``voxceleb``
    (``idXXXXX/<video>/<n>.wav``), ``librispeech`` (``<speaker>/<chapter>/<speaker>-<chapter>-<n>.flac``, also without
    the chapter's folder), ``flat`` (speakers unknown), ``auto`` (whichever fits most files). Utterances are called by
    their path inside the folder and sorted by it. Files that are not audio are ignored.

    A pack is opened without decoding anything; its recordings are those it was packed from, in their order. A Kaldi
    data directory (``wav.scp``, with ``utt2spk`` and ``segments`` where they are) and a NeMo manifest (lines of JSON)
    name recordings and speakers themselves; commands in them are not run.

    Args:
        folder: where the recordings lie, at any depth; or a list of them.
        layout: one of `LAYOUTS`.
        max_unusable_share: largest share of unusable recordings, 0 to 1, with which the rest is still used.
        channel: which channel of the recordings is heard; of a pack that was chosen when it was made.

    Raises:
        RecipeError: if the layout is unknown.
        CorpusError: if the folder holds no audio, none that is usable, or too large a share that is not; or if it is
            a pack that is damaged, unfinished or of noise.
    """
    if layout not in LAYOUTS:
        raise RecipeError(f"there is no layout '{layout}'; choose among {', '.join(LAYOUTS)}")
    folder = Path(folder)
    if is_pack(folder):
        pack = pack_of(folder, "speech")
        if channel != "mix":
            raise RecipeError(f"{folder}: a pack holds one channel; choose the channel when it is made")
        return _owned_by(read_manifest(pack), layout, pack)
    if is_list(folder):
        return _scan_list(folder, layout, max_unusable_share, channel)
    paths = io.find_audio(folder)
    if not paths:
        raise CorpusError(f"no audio in {folder}: it needs files of kind {', '.join(io.AUDIO_SUFFIXES)}")
    names = [PurePosixPath(path.relative_to(folder).as_posix()) for path in paths]
    if layout == "auto":
        layout = detect(names)
    utterances: list[Utterance] = []
    unusable: list[Unusable] = []
    for path, name, checked in zip(
        paths, names, check_files(paths, MIN_DURATION_S, MIN_ACTIVE_S, f"reading {folder}", channel), strict=True
    ):
        owner = OWNER[layout](name)
        if reason := checked.reason or ("" if owner else EXPECTED[layout]):
            unusable.append(Unusable.file(path, reason))
        elif owner:
            utterances.append(
                Utterance(
                    id=str(name),
                    speaker=owner.speaker,
                    duration_s=checked.duration_s,
                    parts=(Part(str(path), channel=checked.channel),),
                    session=owner.session,
                    recording=str(name),
                )
            )
    manifest = Manifest(tuple(utterances), tuple(unusable), str(folder))
    _refuse_too_many(manifest, max_unusable_share)
    return manifest


@dataclass(frozen=True)
class _Listed:
    """An utterance as a list of another toolkit names it; with a reason where it cannot be used."""

    id: str
    path: Path
    speaker: str = ""
    start_s: float = 0.0
    duration_s: float | None = None
    reason: str = ""

    def problem(self, whole_s: float) -> str:
        """Return what is wrong with the stretch of a recording of `whole_s` that it names."""
        end_s = whole_s if self.duration_s is None else self.start_s + self.duration_s
        if not 0.0 <= self.start_s < end_s <= whole_s + _ROUNDED_S:
            return f"from {self.start_s:g} s to {end_s:g} s of a recording of {whole_s:.2f} s"
        if end_s - self.start_s < MIN_DURATION_S:
            return f"too short: {end_s - self.start_s:.2f} s, {MIN_DURATION_S:g} s needed"
        return ""


def is_list(place: Path) -> bool:
    """Return whether a corpus is given as another toolkit's list of recordings, and not as a folder.

    Raises:
        CorpusError: it is a list that is not read; says what to do.
    """
    kind = kind_of_list(place)
    if kind == "voxanchor":
        raise CorpusError(f"{place}: is a manifest of voxanchor; 'embed' takes it with --manifest, others its folder")
    if kind in OTHER_LISTS and kind not in _LISTS:
        raise CorpusError(f"{place}: is {OTHER_LISTS[kind]}. {REWRITE}")
    return kind in _LISTS


def _scan_list(place: Path, layout: str, max_unusable_share: float, channel: Channel) -> Manifest:
    if layout != "auto":
        raise RecipeError(f"{place}: names the speakers itself: leave the layout at auto, not {layout}")
    listed = _LISTS[kind_of_list(place)](place)
    if not listed:
        raise CorpusError(f"{place}: names no recordings")
    paths = list(dict.fromkeys(item.path for item in listed if not item.reason))
    checks = check_files(paths, MIN_DURATION_S, MIN_ACTIVE_S, f"reading {place}", channel)
    found = dict(zip(paths, checks, strict=True))
    utterances: list[Utterance] = []
    unusable: list[Unusable] = []
    for item in listed:
        whole_s = 0.0 if item.reason else found[item.path].duration_s
        if reason := item.reason or found[item.path].reason or item.problem(whole_s):
            unusable.append(Unusable.file(item.id if item.reason else item.path, reason))
            continue
        length_s = whole_s - item.start_s
        part = Part(str(item.path), channel=found[item.path].channel)
        if item.start_s > 0.0 or (item.duration_s is not None and item.duration_s < whole_s - _ROUNDED_S):
            length_s = length_s if item.duration_s is None else min(item.duration_s, length_s)
            part = replace(part, start_s=item.start_s, duration_s=length_s)
        utterances.append(Utterance(item.id, item.speaker, length_s, (part,), recording=str(item.path)))
    manifest = Manifest(tuple(utterances), tuple(unusable), str(place))
    _refuse_too_many(manifest, max_unusable_share)
    return manifest


def _kaldi(place: Path) -> list[_Listed]:
    folder = place if place.is_dir() else place.parent
    recordings = dict(_pairs(folder / "wav.scp"))
    speakers = dict(_pairs(folder / "utt2spk")) if (folder / "utt2spk").is_file() else {}
    pieces: dict[str, tuple[str, float, float | None]] = {name: (name, 0.0, None) for name in recordings}
    if (folder / "segments").is_file():
        pieces = {}
        for name, rest in _pairs(folder / "segments"):
            try:
                recording, start, end = rest.split()
                length_s = float(end) - float(start)
                pieces[name] = recording, float(start), None if float(end) < 0.0 else length_s  # -1: to the end
            except ValueError:
                reason = f"'{name} {rest}' is not an id, a recording and two times"
                raise CorpusError(f"{folder / 'segments'}: {reason}") from None
    listed = []
    for name, (recording, start_s, duration_s) in pieces.items():
        source = recordings.get(recording, "")
        reason = "" if source else f"wav.scp names no recording {recording}"
        if source.endswith("|"):
            reason = "a command in wav.scp, and no command is run: write its output to a file"
        elif re.search(r"\.ark:\d+$", source):
            reason = "in an archive of Kaldi: write it to a file of its own (wav-copy)"
        listed.append(_Listed(name, _beside(folder, source), speakers.get(name, ""), start_s, duration_s, reason))
    return listed


def _nemo(place: Path) -> list[_Listed]:
    listed: list[_Listed] = []
    for number, line in enumerate(_lines(place), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
            source, start_s = str(record["audio_filepath"]), float(record.get("offset") or 0.0)
            duration_s = float(record.get("duration") or 0.0)
            speaker = next((str(record[key]) for key in _NEMO_SPEAKERS if record.get(key) not in (None, "")), "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{place}, line {number}: not a line of a NeMo manifest ({error!r})") from None
        listed.append(
            _Listed(source, _beside(place.parent, source), speaker, start_s, duration_s if duration_s > 0.0 else None)
        )
    listed = list(dict.fromkeys(listed))  # a line that is there twice names one recording
    times = Counter(item.id for item in listed)
    return [replace(item, id=f"{item.id}:{item.start_s:g}") if times[item.id] > 1 else item for item in listed]


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the first word of every line, and the rest of the line."""
    for line in _lines(path):
        name, _, rest = line.strip().partition(" ")
        if name:
            yield name, rest.strip()


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").replace("\t", " ").split("\n")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CorpusError(f"{path}: is not UTF-8 text; save it so") from None


def _beside(folder: Path, source: str) -> Path:
    """Return where a recording is that a list in a folder names: below that folder, or else as it says."""
    with contextlib.suppress(OSError, ValueError):  # text that is no path, such as a long command
        if (folder / source).exists():
            return folder / source
    return Path(source)


_LISTS: dict[str, Callable[[Path], list[_Listed]]] = {"kaldi": _kaldi, "nemo": _nemo}


def pack_of(folder: Path, kind: Kind) -> Pack:
    """Return what a pack says it holds.

    Raises:
        CorpusError: it is damaged, or a pack of something else.
    """
    pack = read_pack(folder)
    if pack.kind != kind:
        raise CorpusError(f"{folder}: is a pack of {pack.kind}, and {kind} is wanted here; give it as {pack.kind}")
    return pack


def _owned_by(manifest: Manifest, layout: str, pack: Pack) -> Manifest:
    """Return a pack's manifest with the speakers that `layout` reads from the names its recordings had as files."""
    if layout == "auto":
        return manifest
    if pack.corpora > 1 and layout != "flat":
        raise RecipeError(f"{pack.folder}: was packed of several folders: leave the layout at auto, not {layout}")
    utterances: list[Utterance] = []
    unusable = list(manifest.unusable)
    for utterance in manifest.utterances:
        owner = OWNER[layout](PurePosixPath(utterance.id))
        if owner is None:
            unusable.append(Unusable(utterance.id, EXPECTED[layout]))
        else:
            utterances.append(replace(utterance, speaker=owner.speaker, session=owner.session))
    return replace(manifest, utterances=tuple(utterances), unusable=tuple(unusable))


def _refuse_too_many(manifest: Manifest, max_unusable_share: float) -> None:
    if not 0 <= max_unusable_share <= 1:
        raise RecipeError(f"max_unusable {max_unusable_share:g}: expected a share from 0 to 1, where 0.2 is 20 %")
    bad, total = len(manifest.unusable), len(manifest.unusable) + len(manifest.utterances)
    listed, root = examples(manifest.unusable, manifest.root), printable(manifest.root)
    more = f"\n  and {bad - 5} more" if bad > 5 else ""
    if hint := io.advice(Path(item.path) for item in manifest.unusable):
        more += f"\n{hint}."
    if bad == total:
        raise CorpusError(f"none of the {total} recordings in {root} is usable:{listed}{more}")
    if bad > max_unusable_share * total:
        raise CorpusError(
            f"{bad} of the {total} recordings in {root} ({100 * bad / total:.0f} %) are unusable:{listed}"
            f"{more}\nMend or remove them, or allow a larger share than max_unusable_share={max_unusable_share:g}"
        )


@dataclass(frozen=True)
class NoiseFolder:
    """The clips of a noise folder by kind, and the recordings left out.

    Attributes:
        noise: environmental and other noise.
        music: pieces of music.
        speech: speech for babble; the speaker of a clip is the name of its file.
        unusable: files that cannot be read, hold no sound, or lie under none of the three folders.
        names: of the clips of `noise`, in their order: their paths below the folder.
    """

    noise: tuple[Clip, ...] = ()
    music: tuple[Clip, ...] = ()
    speech: tuple[Clip, ...] = ()
    unusable: tuple[Unusable, ...] = ()
    names: tuple[str, ...] = ()

    def describe(self) -> str:
        """Return one line: clips and minutes of each kind, and how many recordings were left out."""
        parts = []
        for kind, clips in zip(NOISE_KINDS, (self.noise, self.music, self.speech), strict=True):
            if clips:
                minutes = sum(clip.duration_s or 0.0 for clip in clips) / 60.0
                parts.append(f"{kind}: {counted(len(clips), 'clip')}, {minutes:.1f} min")
        if self.unusable:
            parts.append(f"{counted(len(self.unusable), 'recording')} left out")
        return "; ".join(parts)


def _kind(path: Path, folder: Path) -> str:
    """Return the kind that a folder above the file names, the outermost below ``folder`` first; or nothing."""
    return next((name for name in path.relative_to(folder).parts[:-1] if name in NOISE_KINDS), "")


def kinds_of(paths: Sequence[Path], folder: Path) -> list[str]:
    """Return one of `NOISE_KINDS` for each file below a noise folder; nothing for one that lies under none of them."""
    kinds = [_kind(path, folder) for path in paths]
    if any(kinds):
        return kinds
    return [folder.absolute().name if folder.absolute().name in NOISE_KINDS else "noise"] * len(paths)


def noise_folder(folder: Path | str) -> NoiseFolder:
    """Return the clips of a folder with sub-folders ``noise``, ``music`` and ``speech``, at any depth.

    A folder with none of these is all noise (or music, or speech, when that is its own name). Every file is decoded
    once; a silent or unreadable one is listed with its reason. A pack is opened without decoding anything.

    Args:
        folder: where the recordings lie; ``musan::even`` and ``musan::odd`` are halves of ``musan``, by the parity of
            the number in each file's name.

    Raises:
        CorpusError: if the folder holds no audio, or none that is usable; if it is a pack that is damaged, unfinished
            or of speech; or if a file without a number would have to be even or odd.
    """
    return noise_clips(noise_manifest(folder))


def noise_clips(manifest: Manifest) -> NoiseFolder:
    """Return the clips of what `noise_manifest` found."""
    clips: dict[str, list[Clip]] = {kind: [] for kind in NOISE_KINDS}
    for utterance in manifest.utterances:
        (part,) = utterance.parts
        clips[utterance.session].append(
            Clip(part.path, utterance.speaker, 0.0, utterance.duration_s, part.stored, part.channel)
        )
    noise, music, speech = (tuple(clips[kind]) for kind in NOISE_KINDS)
    names = tuple(utterance.id for utterance in manifest.utterances if utterance.session == "noise")
    return NoiseFolder(noise, music, speech, manifest.unusable, names)


def noise_manifest(folder: Path | str) -> Manifest:
    """Return the recordings of a noise folder as `noise_folder` reads it: the kind of each in the place of the session.

    Raises:
        CorpusError: as `noise_folder`.
    """
    folder, part = split_part(folder)
    if is_pack(folder):
        manifest = read_manifest(pack_of(folder, "noise"))
        chosen = in_part([utterance.id for utterance in manifest.utterances], part, str(folder))
        return replace(manifest, utterances=tuple(compress(manifest.utterances, chosen)))
    paths = io.find_audio(folder)
    if not paths:
        raise CorpusError(f"no audio in {folder}: a noise folder needs files of kind {', '.join(io.AUDIO_SUFFIXES)}")
    paths = list(compress(paths, in_part([path.relative_to(folder).as_posix() for path in paths], part, str(folder))))
    if not paths:
        raise CorpusError(f"{folder}: none of its files has an {part} number; take the whole folder (part: all)")
    kinds = kinds_of(paths, folder)
    utterances: list[Utterance] = []
    unusable: list[Unusable] = []
    for path, kind, checked in zip(
        paths, kinds, check_files(paths, _MIN_NOISE_S, _MIN_NOISE_S, f"reading {folder}"), strict=True
    ):
        if reason := checked.reason or ("" if kind else f"in none of the folders {', '.join(NOISE_KINDS)}"):
            unusable.append(Unusable.file(path, reason))
        else:
            name, speaker = path.relative_to(folder).as_posix(), path.stem if kind == "speech" else ""
            utterances.append(
                Utterance(name, speaker, checked.duration_s, (Part(str(path), channel=checked.channel),), kind, name)
            )
    if not utterances:
        listed = examples(unusable, folder)
        raise CorpusError(f"none of the {len(paths)} recordings in {printable(folder)} is usable as noise:{listed}")
    return Manifest(tuple(utterances), tuple(unusable), str(folder))
