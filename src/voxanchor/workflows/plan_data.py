"""What a recipe's folders hold, from their names and a sample of their files: enough to plan by, in seconds."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal

from voxanchor.audio import io
from voxanchor.corpus.checks import Checked, check_files, checked
from voxanchor.corpus.downloads import where_to_get
from voxanchor.corpus.layouts import MIN_ACTIVE_S, MIN_DURATION_S, is_list, noise_manifest, scan
from voxanchor.corpus.manifest import Manifest
from voxanchor.corpus.owners import OWNER, detect
from voxanchor.corpus.pack import is_pack
from voxanchor.corpus.parts import in_part, split_part
from voxanchor.corpus.room_folders import room_manifest, unlisted
from voxanchor.corpus.trials import read_trials
from voxanchor.corpus.utterance import Part, Utterance
from voxanchor.errors import CorpusError, VoxanchorError
from voxanchor.files import printable

SAMPLE = 100
"""Files of a folder that are opened; with more, hours and unusable shares are estimates."""


@dataclass(frozen=True)
class Looked:
    """What was found at one place that a recipe names.

    Attributes:
        use: what the recipe wants it for.
        problem: why it cannot serve; empty when it can.
        remedy: where to get it.
        files: recordings, by their names; of a trial list its trials.
        hours: of all of them, from the mean of those that were opened.
        opened: files that were opened.
        unusable_share: of those, 0 to 1.
        packed: it is a pack or a list, and everything said is exact.
    """

    use: str
    path: str
    problem: str = ""
    remedy: str = ""
    layout: str = ""
    speakers: int = 0
    files: int = 0
    hours: float = 0.0
    opened: int = 0
    unusable_share: float = 0.0
    packed: bool = False

    @property
    def usable(self) -> float:
        """Files that can be used, as far as the sample says."""
        return self.files * (1.0 - self.unusable_share)


def look_at_speech(use: str, path: str, layout: str, max_unusable_share: float) -> tuple[Looked, Manifest]:
    """Return what a folder of speech holds, and its recordings by name, all as long as their mean."""
    try:
        if is_pack(Path(path)) or is_list(Path(path), layout):
            manifest = scan(path, layout)
            return _packed(use, path, manifest, "pack" if is_pack(Path(path)) else manifest.layout), manifest
        return _speech(use, Path(path), layout, max_unusable_share)
    except VoxanchorError as error:
        return _failed(use, path, error), Manifest(())


def look_at_sounds(use: str, path: str, kind: Literal["noise", "rooms"]) -> Looked:
    """Return what a folder of noise or of room responses holds."""
    try:
        folder, part = split_part(path)
        if is_pack(folder):
            return _packed(use, path, noise_manifest(path) if kind == "noise" else room_manifest(path))
        paths = io.find_audio(folder)
        left_out = set(unlisted(paths)) if kind == "rooms" else set()
        names = [file.relative_to(folder).as_posix() for file in paths]
        chosen = in_part(names, part, str(folder))
        paths = [file for file, taken in zip(paths, chosen, strict=True) if taken and file not in left_out]
        if not paths:
            raise CorpusError(f"no recordings in {path}")
        return _described(Looked(use, path, layout=part if part != "all" else "", files=len(paths)), paths)
    except VoxanchorError as error:
        return _failed(use, path, error)


def look_at_trials(use: str, path: str, manifest: Manifest, enrolments: str = "") -> Looked:
    """Return how many trials a list holds, when all its recordings are there by name."""
    if not Path(path).exists():
        return Looked(use, path, problem="no such file", remedy=where_to_get(path))
    if not manifest.utterances:
        return Looked(use, path, problem="cannot be compared with recordings that are not there")
    try:
        return Looked(use, path, files=len(read_trials(path, manifest, enrolments)))
    except VoxanchorError as error:
        return _failed(use, path, error)


def sample(paths: Sequence[Path]) -> list[Path]:
    """Return at most `SAMPLE` of the paths, evenly spread over them."""
    count = min(SAMPLE, len(paths))
    return [paths[i * len(paths) // count] for i in range(count)]


def _speech(use: str, folder: Path, layout: str, max_unusable_share: float) -> tuple[Looked, Manifest]:
    paths = io.find_audio(folder)
    if not paths:
        raise CorpusError(f"no audio in {folder}")
    names = [PurePosixPath(path.relative_to(folder).as_posix()) for path in paths]
    layout = detect(names) if layout == "auto" else layout
    opened = sample(paths)
    looked = check_files(opened, MIN_DURATION_S, MIN_ACTIVE_S, f"opening {len(opened)} of {len(paths)} in {folder}")
    lengths = [one.duration_s for one in looked if not one.reason]
    bad = [f"{printable(path.name)}: {one.reason}" for path, one in zip(opened, looked, strict=True) if one.reason]
    mean_s = sum(lengths) / len(lengths) if lengths else 0.0
    owners = [OWNER[layout](name) for name in names]
    utterances = tuple(
        Utterance(str(name), owner.speaker, mean_s, (Part(str(path)),), owner.session, str(name))
        for path, name, owner in zip(paths, names, owners, strict=True)
        if owner is not None
    )
    share = 1.0 - (len(lengths) / len(opened)) * (len(utterances) / len(paths))
    found = Looked(use, str(folder), layout=layout, files=len(paths), opened=len(opened), unusable_share=share)
    manifest = Manifest(utterances, root=str(folder))
    found = replace(found, speakers=len(manifest.speakers), hours=mean_s * found.usable / 3600.0)
    if share > max_unusable_share:
        reason = f"{100 * share:.0f} % cannot be used" + (f", for example {bad[0]}" if bad else "")
        found = replace(found, problem=reason, remedy=io.advice(paths))
    return found, manifest


def _described(found: Looked, paths: Sequence[Path]) -> Looked:
    """Add hours from the headers of a sample."""
    opened = sample(paths)
    looked = [checked(path, partial(_header, path)) for path in opened]
    lengths = [one.duration_s for one in looked if not one.reason]
    share = 1.0 - len(lengths) / len(opened)
    hours = sum(lengths) / len(opened) * len(paths) / 3600.0
    problem = "" if lengths else f"none of {len(opened)} files can be read"
    remedy = io.advice(paths) if problem else ""
    return replace(found, opened=len(opened), unusable_share=share, hours=hours, problem=problem, remedy=remedy)


def _header(path: Path) -> Checked:
    return Checked(io.probe(path).duration_s)


def _packed(use: str, path: str, manifest: Manifest, layout: str = "pack") -> Looked:
    count, speakers = len(manifest), len(manifest.speakers)
    return Looked(use, path, "", "", layout, speakers, count, manifest.hours, count, packed=True)


def _failed(use: str, path: str, error: VoxanchorError) -> Looked:
    folder = split_part(path)[0]
    return Looked(use, path, problem=str(error) if folder.exists() else "no such folder", remedy=where_to_get(folder))
