"""Folders of noise by class, and folders of room impulse responses."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from voxanchor.audio import io
from voxanchor.audio.noise import Clip
from voxanchor.audio.rooms import room
from voxanchor.corpus.checks import Checked, check_each
from voxanchor.corpus.layouts import clip_of, files_in, kinds_of, noise_manifest, pack_of, split_part
from voxanchor.corpus.manifest import Manifest, Part, Unusable, Utterance, examples
from voxanchor.corpus.pack import is_pack, read_manifest
from voxanchor.errors import CorpusError
from voxanchor.files import printable
from voxanchor.runtime import counted
from voxanchor.types import SAMPLE_RATE

UNNAMED = "unnamed"
"""Class of clips whose names have none."""


def noise_class(name: str) -> str:
    """Return the class of a clip of noise: lower-case letters, digits, ``-`` and ``_``, a letter first.

    It is the name of the folder below ``noise/`` that the clip lies in. Where there is none, it is the beginning of
    the file's name: up to the first part that is a number, or without the number it ends in.
    ``noise/rain/a.wav`` and ``noise/rain-1-17367-A.flac`` are ``rain``, ``noise/n12.wav`` is ``n``.

    Args:
        name: the clip's path below its noise folder.
    """
    path = PurePosixPath(name)
    folders = path.parts[:-1]
    if "noise" in folders:
        folders = folders[folders.index("noise") + 1 :]
    return _word(folders[0] if folders else _beginning(path.stem))


def classes_in(folder: Path | str) -> frozenset[str]:
    """Return the classes of the clips of noise (not music, not speech) in a noise folder, or in a pack of one.

    Files are listed, not read: one that cannot be used counts, too.

    Raises:
        CorpusError: no such folder, or a pack that is damaged or of something else.
    """
    place, part = split_part(folder)
    if is_pack(place):
        return frozenset(noise_class(clip.id) for clip in noise_manifest(folder).utterances if clip.session == "noise")
    paths = files_in(place, part)
    return frozenset(
        noise_class(path.relative_to(place).as_posix())
        for path, kind in zip(paths, kinds_of(paths, place), strict=True)
        if kind == "noise"
    )


def _beginning(stem: str) -> str:
    parts = re.split(r"([-_. ]+)", stem)
    number = next((place for place, part in enumerate(parts) if part[:1].isdigit()), None)
    return "".join(parts[:number]) if number is not None else stem.rstrip("0123456789")


def _word(text: str) -> str:
    """Return a text as a kind of noise is written."""
    text = re.sub(r"[^a-z0-9_-]+", "-", text.lower())
    text = re.sub(r"([_-])[_-]+", r"\1", text).strip("-_")
    return text if text[:1].isalpha() else f"{UNNAMED}-{text}".rstrip("-")


# Reading folders of room impulse responses, and packs of them.

RIR_LIST = "rir_list"
"""Kaldi's list of the responses among the recordings of a folder."""


def room_clips(folder: Path | str) -> tuple[tuple[Clip, ...], tuple[Unusable, ...]]:
    """Return the room responses of a folder, at any depth, and the files that are none.

    Every file is decoded once; one that cannot be read, is silent or ends within 50 ms of its direct sound is listed
    with its reason. Where a file ``rir_list`` lies among them (RIRS_NOISES), those that it does not name are left out:
    they are noise recorded in the rooms, which by itself looks like a very long response. A pack is opened without
    decoding anything.

    Raises:
        CorpusError: the folder holds no audio, or none that is usable; or it is a pack that is damaged, unfinished or
            of something else.
    """
    return clips_of(manifest := room_manifest(folder)), manifest.unusable


def clips_of(manifest: Manifest) -> tuple[Clip, ...]:
    """Return the responses of what `room_manifest` found."""
    return tuple(map(clip_of, manifest.utterances))


def room_manifest(folder: Path | str) -> Manifest:
    """Return the room responses of a folder as `room_clips` reads it, as a pack of them is made from.

    Raises:
        CorpusError: as `room_clips`.
    """
    folder = Path(folder)
    if is_pack(folder):
        return read_manifest(pack_of(folder, "rooms"))
    paths = io.find_audio(folder)
    if not paths:
        raise CorpusError(f"no audio in {folder}: a folder of rooms needs files of kind {', '.join(io.AUDIO_SUFFIXES)}")
    left_out = unlisted(paths)
    unusable = [Unusable.file(path, "not named in the rir_list beside it") for path in left_out]
    paths = sorted(set(paths) - set(left_out))
    utterances: list[Utterance] = []
    for path, outcome in zip(paths, check_each(paths, _check, f"reading {folder}"), strict=True):
        if outcome.reason:
            unusable.append(Unusable.file(path, outcome.reason))
        else:
            name = path.relative_to(folder).as_posix()
            utterances.append(Utterance(name, "", outcome.duration_s, (Part(str(path)),), recording=name))
    if not utterances:
        raise CorpusError(
            f"none of the {len(unusable)} recordings in {printable(folder)} is usable as a room response:"
            f"{examples(unusable, folder)}"
        )
    return Manifest(tuple(utterances), tuple(unusable), str(folder))


def unlisted(paths: Sequence[Path]) -> list[Path]:
    """Return the files that the Kaldi list of responses in their folder does not name, whatever options it gives.

    Raises:
        CorpusError: such a list cannot be read.
    """
    named: dict[Path, set[str]] = {}
    for folder in {path.parent for path in paths}:
        if (folder / RIR_LIST).is_file():
            lines = _text(folder / RIR_LIST).splitlines()
            named[folder] = {Path(field).name for line in lines for field in line.split()}
    return [path for path in paths if path.parent in named and path.name not in named[path.parent]]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read ({error.strerror}); check its permissions") from error


def describe_rooms(manifest: Manifest) -> str:
    """Return one line: how many responses there are, and how many recordings were left out."""
    left_out = f"; {counted(len(manifest.unusable), 'recording')} left out" if manifest.unusable else ""
    return f"{counted(len(manifest), 'room response')}{left_out}"


def _check(path: Path) -> Checked:
    response = Part(str(path)).pcm().waveform()
    room(response, str(path))
    return Checked(len(response) / SAMPLE_RATE)
