"""Folders of speech and noise, in the layouts in which corpora come.

Even numbers train and odd ones test (ExU-Net, Diff-SV and those who follow them), so that figures can be compared.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import compress
from pathlib import Path, PurePosixPath

from voxanchor.audio import io
from voxanchor.audio.downmix import Channel
from voxanchor.audio.noise import Clip
from voxanchor.config import nearest
from voxanchor.corpus.checks import Checked, CheckedStretch, Stretch, check_files
from voxanchor.corpus.lists import KINDS, Listed, kind_of_list, read_list
from voxanchor.corpus.manifest import Manifest, Part, Unusable, Utterance, examples
from voxanchor.corpus.owners import EXPECTED, LAYOUTS, OWNER, detect
from voxanchor.corpus.pack import Kind, Pack, is_pack, read_manifest, read_pack
from voxanchor.errors import CorpusError, RecipeError
from voxanchor.files import printable
from voxanchor.runtime import counted, log_line

PARTS = ("all", "even", "odd")
"""What may be taken of a noise folder."""

MARK = "::"
"""Stands between a folder and its part, as in ``musan::odd``."""

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def with_part(folder: str, part: str) -> str:
    """Return how a part of a folder is written in one word: ``musan::odd``; the whole folder is just its path.

    Raises:
        RecipeError: there is no such part.
    """
    if part not in PARTS:
        raise RecipeError(f"there is no part '{part}' of a noise folder. {nearest(part, PARTS)}")
    return folder if part == "all" else f"{folder}{MARK}{part}"


def split_part(reference: str | Path) -> tuple[Path, str]:
    """Return the folder and the part that ``musan::odd`` names; a plain path is all of its folder.

    Raises:
        RecipeError: there is no such part, and no folder of that whole name either.
    """
    folder, mark, part = str(reference).rpartition(MARK)
    if not mark or "/" in part or (part not in PARTS and Path(reference).exists()):
        return Path(reference), "all"
    with_part(folder, part)
    return Path(folder), part


def number_of(name: str) -> int | None:
    """Return the last number in a file's name, 42 for ``music/fma/music-fma-0042.wav``; None when it has none."""
    found = _LAST_NUMBER.search(Path(name).stem)
    return int(found[1]) if found else None


def in_part(names: Sequence[str], part: str, where: str) -> list[bool]:
    """Return for each file whether it belongs to a part.

    Args:
        names: of the files, as paths or without their folders.
        part: one of `PARTS`.
        where: the folder, for the message.

    Raises:
        CorpusError: names without a number, which belong to neither half.
    """
    if part == "all":
        return [True] * len(names)
    numbers = [number_of(name) for name in names]
    if without := [name for name, number in zip(names, numbers, strict=True) if number is None]:
        listed = "".join(f"\n  {name}" for name in without[:5])
        more = f"\n  and {len(without) - 5} more" if len(without) > 5 else ""
        raise CorpusError(
            f"{where}: {len(without)} of {len(names)} files have no number in their name, so they are neither even nor "
            f"odd:{listed}{more}\nGive each a number, as in noise-0001.wav, move them elsewhere, or take the whole "
            "folder (part: all)"
        )
    return [number is not None and (number % 2 == 0) == (part == "even") for number in numbers]


def files_in(folder: Path, part: str) -> list[Path]:
    """Return the recordings in a part of a folder, at any depth.

    Raises:
        CorpusError: no such folder, or names without a number, which belong to neither half.
    """
    paths = io.find_audio(folder)
    return list(compress(paths, in_part([path.relative_to(folder).as_posix() for path in paths], part, str(folder))))


# Reading the folders in which corpora come: speech whose speakers the folders name, noise by kind, and packs of both.
#
# Noise folders follow MUSAN (Snyder, Chen, Povey 2015, arXiv 1510.08484).

MIN_DURATION_S = 0.3
"""Shortest usable recording."""

MIN_ACTIVE_S = 0.1
"""Least active speech of a usable recording: a spoken word can have less than 0.2 s, and words are joined later."""

NOISE_KINDS = ("noise", "music", "speech")
"""Folder names that say what the recordings below them are."""

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
    the chapter's folder), ``cnceleb`` (``idXXXXX/<genre>-<n>-<n>.flac`` or ``idXXXXX-<genre>-<n>-<n>.flac``), ``flat``
    (speakers unknown), ``auto`` (whichever fits most files). Utterances are called by their path inside the folder and
    sorted by it. Files that are not audio are ignored.

    A list names recordings and speakers itself, and utterances are called as it calls them, in its order (see
    `voxanchor.corpus.lists`): ``kaldi``, ``nemo``, ``lhotse``, ``speechbrain``, ``csv``, and ``cnceleb`` where the
    lists of its evaluation lie in the folder. ``auto`` tells it by its content; ``flat`` forgets its speakers.

    A pack is opened without decoding anything; its recordings are those it was packed from, in their order.

    Args:
        folder: where the recordings lie, at any depth; or a list of them.
        layout: one of `LAYOUTS`.
        max_unusable_share: largest share of unusable recordings, 0 to 1, with which the rest is still used.
        channel: which channel of the recordings is used; of a pack that was chosen when it was made.

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
    if kind := _list_kind(folder, layout):
        return _scan_list(folder, kind, layout, max_unusable_share, channel)
    if folder.is_file():
        raise CorpusError(
            f"{folder}: is a file, and no list of recordings that is known; give the folder that holds the recordings, "
            f"or a list with --layout, {', '.join(KINDS)}"
        )
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
            part = Part(str(path), channel=checked.channel)
            utterances.append(
                Utterance(str(name), owner.speaker, checked.duration_s, (part,), owner.session, str(name))
            )
    manifest = Manifest(tuple(utterances), tuple(unusable), str(folder), layout)
    _refuse_too_many(manifest, max_unusable_share)
    return manifest


def is_list(place: Path, layout: str = "auto") -> bool:
    """Return whether a corpus is given as a list of recordings, and not as a folder of them.

    Raises:
        CorpusError: it is a manifest of voxanchor, which only `embed` takes.
        RecipeError: the layout is none that it can be read by.
    """
    return bool(_list_kind(place, layout))


def _list_kind(place: Path, layout: str) -> str:
    """Return which list is to be read, or nothing where the folders name the speakers."""
    found = kind_of_list(place)
    if found == "voxanchor":
        raise CorpusError(f"{place}: is a manifest of voxanchor; 'embed' takes it with --manifest, others its folder")
    if layout == "auto" or found == layout:
        return found
    if layout in KINDS:
        if place.is_dir() and layout in OWNER:
            return ""
        if place.is_dir() and layout not in ("kaldi", "lhotse"):
            raise RecipeError(f"{place}: layout {layout} is a file: give that file in the place of its folder")
        return layout
    if found and layout != "flat":
        if place.is_dir() and io.find_audio(place):
            return ""
        raise RecipeError(f"{place}: names the speakers itself: leave the layout at auto, not {layout}")
    return found


def _scan_list(place: Path, kind: str, layout: str, max_unusable_share: float, channel: Channel) -> Manifest:
    listing = read_list(place, kind)
    for note in listing.notes:
        log_line(f"{printable(place)}: {note}")
    wanted: dict[Channel, dict[Path, list[Listed]]] = {}
    for item in listing.items:
        if not item.reason:
            used: Channel = item.channel if item.channel and channel == "mix" else channel
            wanted.setdefault(used, {}).setdefault(item.path, []).append(item)
    found: dict[Listed, tuple[Checked, CheckedStretch]] = {}
    for used, by_path in wanted.items():
        stretches = [[_stretch(item) for item in items] for items in by_path.values()]
        label = f"reading {printable(place)}"
        checks = check_files(list(by_path), MIN_DURATION_S, MIN_ACTIVE_S, label, used, stretches)
        for items, checked in zip(by_path.values(), checks, strict=True):
            parts = checked.stretches or (CheckedStretch(reason=checked.reason),) * len(items)
            found |= {item: (checked, part) for item, part in zip(items, parts, strict=True)}
    utterances: list[Utterance] = []
    unusable: list[Unusable] = []
    for item in listing.items:
        if item.reason:
            unusable.append(Unusable.file(item.id, item.reason))
            continue
        checked, part = found[item]
        if part.reason:
            unusable.append(Unusable.file(item.path, part.reason))
            continue
        speaker = "" if layout == "flat" else item.speaker
        length_s = checked.duration_s if part.duration_s is None else part.duration_s
        piece = Part(str(item.path), part.start_s, part.duration_s, channel=checked.channel)
        utterances.append(Utterance(item.id, speaker, length_s, (piece,), item.session, str(item.path)))
    manifest = Manifest(tuple(utterances), tuple(unusable), str(place), kind)
    _refuse_too_many(manifest, max_unusable_share)
    return manifest


def _stretch(item: Listed) -> Stretch:
    if item.samples is None:
        return Stretch(item.start_s, item.duration_s)
    first, end = item.samples
    return Stretch(first, None if end is None else end - first, in_samples=True)


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
    if layout not in OWNER:
        raise RecipeError(f"{pack.folder}: is a pack, which knows its speakers: leave the layout at auto, not {layout}")
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
    noise, music, speech = (
        tuple(clip_of(utterance) for utterance in manifest.utterances if utterance.session == kind)
        for kind in NOISE_KINDS
    )
    names = tuple(utterance.id for utterance in manifest.utterances if utterance.session == "noise")
    return NoiseFolder(noise, music, speech, manifest.unusable, names)


def clip_of(utterance: Utterance) -> Clip:
    """Return an utterance of one part as a clip to mix with others."""
    (part,) = utterance.parts
    return Clip(part.path, utterance.speaker, 0.0, utterance.duration_s, part.stored, part.channel)


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
    paths = files_in(folder, part)
    if not paths and part != "all" and io.find_audio(folder):
        raise CorpusError(f"{folder}: none of its files has an {part} number; take the whole folder (part: all)")
    if not paths:
        raise CorpusError(f"no audio in {folder}: a noise folder needs files of kind {', '.join(io.AUDIO_SUFFIXES)}")
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
            piece = Part(str(path), channel=checked.channel)
            utterances.append(Utterance(name, speaker, checked.duration_s, (piece,), kind, name))
    if not utterances:
        listed = examples(unusable, folder)
        raise CorpusError(f"none of the {len(paths)} recordings in {printable(folder)} is usable as noise:{listed}")
    return Manifest(tuple(utterances), tuple(unusable), str(folder))
