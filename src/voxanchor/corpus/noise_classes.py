"""Classes of noise, such as rain and traffic, as the names of folders and files tell them."""

import re
from itertools import compress
from pathlib import Path, PurePosixPath

from voxanchor.audio import io
from voxanchor.corpus.layouts import kinds_of, noise_manifest
from voxanchor.corpus.pack import is_pack
from voxanchor.corpus.parts import in_part, split_part

UNNAMED = "unnamed"
"""Class of clips whose names say none."""


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
    folder, paths = place, io.find_audio(place)
    chosen = in_part([path.relative_to(folder).as_posix() for path in paths], part, str(folder))
    paths = list(compress(paths, chosen))
    kinds = kinds_of(paths, folder)
    return frozenset(
        noise_class(path.relative_to(folder).as_posix())
        for path, kind in zip(paths, kinds, strict=True)
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
