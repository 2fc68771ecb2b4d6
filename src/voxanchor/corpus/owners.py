"""What a path inside a corpus says about the speaker and the session, in each of the common layouts."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, get_args

Layout = Literal[
    "auto", "speakers", "voxceleb", "librispeech", "cnceleb", "flat", "kaldi", "nemo", "lhotse", "speechbrain", "csv"
]
"""How a corpus says who speaks: by its folders, or in a list of another toolkit."""

LAYOUTS: tuple[str, ...] = get_args(Layout)
"""Names of the layouts."""

EVALUATION = "cnceleb"
"""The layout whose evaluation comes with lists of enrolments and trials."""

_VOXCELEB_SPEAKER = re.compile(r"id\d{5}")
_CNCELEB_FILE = re.compile(
    r"(?:(id\d{5})-)?(enroll|(?:advertisement|drama|entertainment|interview|live_broadcast|movie|play|recitation|singing"
    r"|speech|vlog)-\d+)(?:-\d+)?"
)
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


def _cnceleb(path: PurePosixPath) -> Owner | None:
    match = _CNCELEB_FILE.fullmatch(path.stem)
    speaker = "" if match is None else match[1] or path.parent.name
    return Owner(speaker, match[2]) if match and _VOXCELEB_SPEAKER.fullmatch(speaker) else None


def _speakers(path: PurePosixPath) -> Owner | None:
    folders = path.parts[:-1]
    return Owner(folders[0], "/".join(folders[1:])) if folders else None


def _flat(path: PurePosixPath) -> Owner:
    return Owner("", "/".join(path.parts[:-1]))


OWNER: dict[str, Callable[[PurePosixPath], Owner | None]] = {
    "speakers": _speakers,
    "voxceleb": _voxceleb,
    "librispeech": _librispeech,
    "cnceleb": _cnceleb,
    "flat": _flat,
}
"""What each layout says about a path relative to the corpus folder; None when the path does not fit it."""

EXPECTED = {
    "speakers": "not in a speaker's folder",
    "voxceleb": "not in a folder idXXXXX",
    "librispeech": "not named <speaker>-<chapter>-<number> in its speaker's folder",
    "cnceleb": "not named <genre>-<number>-<number> or enroll, in its speaker's folder idXXXXX or after idXXXXX-",
}
"""What a path that does not fit is told."""


def detect(paths: Iterable[PurePosixPath]) -> str:
    """Return the layout that fits most of the paths (relative to the corpus folder)."""
    paths = list(paths)
    for name in ("cnceleb", "voxceleb", "librispeech", "speakers"):
        if 2 * sum(OWNER[name](path) is not None for path in paths) > len(paths):
            return name
    return "flat"
