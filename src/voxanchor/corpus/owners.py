"""What a path inside a corpus says about the speaker and the session, in each of the common layouts."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

_VOXCELEB_SPEAKER = re.compile(r"id\d{5}")
_LIBRISPEECH_FILE = re.compile(r"(\d+)-(\d+)-\d+")


@dataclass(frozen=True)
class Owner:
    """Who speaks in a file, and in which session."""

    speaker: str
    session: str


def _voxceleb(path: PurePosixPath) -> Owner | None:
    folders = path.parts[:-1]
    for at, name in enumerate(folders):
        if _VOXCELEB_SPEAKER.fullmatch(name):
            return Owner(name, "/".join(folders[at + 1 :]))
    return None


def _librispeech(path: PurePosixPath) -> Owner | None:
    match = _LIBRISPEECH_FILE.fullmatch(path.stem)
    if match is None or match[1] not in path.parts[-3:-1]:
        return None
    return Owner(match[1], match[2])


def _speakers(path: PurePosixPath) -> Owner | None:
    folders = path.parts[:-1]
    return Owner(folders[0], "/".join(folders[1:])) if folders else None


def _flat(path: PurePosixPath) -> Owner:
    return Owner("", "/".join(path.parts[:-1]))


OWNER: dict[str, Callable[[PurePosixPath], Owner | None]] = {
    "speakers": _speakers,
    "voxceleb": _voxceleb,
    "librispeech": _librispeech,
    "flat": _flat,
}
"""What each layout says about a path relative to the corpus folder; None when the path does not fit it."""

EXPECTED = {
    "speakers": "not in a speaker's folder",
    "voxceleb": "not in a folder idXXXXX",
    "librispeech": "not named <speaker>-<chapter>-<number> in its speaker's folder",
}
"""What a path that does not fit is told."""


def detect(paths: Iterable[PurePosixPath]) -> str:
    """Return the layout that fits most of the paths (relative to the corpus folder)."""
    paths = list(paths)
    for name in ("voxceleb", "librispeech", "speakers"):
        if 2 * sum(OWNER[name](path) is not None for path in paths) > len(paths):
            return name
    return "flat"
