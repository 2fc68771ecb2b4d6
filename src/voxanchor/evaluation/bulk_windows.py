"""A manifest of any length cut into windows, each a short manifest of its own, so that nobody holds the whole one."""

import hashlib
import json
import shutil
from itertools import islice
from pathlib import Path

from voxanchor.corpus.manifest import Manifest, refuse_foreign
from voxanchor.errors import CorpusError
from voxanchor.files import write_bytes, write_text
from voxanchor.progress import track

_PLAN_FILE = "plan.json"


def window_path(folder: Path, number: int) -> Path:
    """Return where a window's manifest lies."""
    return folder / f"{number:05d}.jsonl"


def manifest_fingerprint(path: Path) -> str:
    """Return 16 hexadecimal digits over the bytes of a manifest file.

    Raises:
        CorpusError: the file cannot be read, or is another toolkit's.
    """
    refuse_foreign(path)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise CorpusError(f"manifest {path} cannot be read: {error}") from None


def cut(manifest: Path, folder: Path, size: int) -> list[int]:
    """Return the number of utterances in each window, and write the windows to `folder`; once written they are reused.

    Args:
        manifest: a file that `Manifest.save` wrote.
        folder: for the windows; belongs to this manifest and `size`.
        size: lines of a window: utterances, and recordings that were left out.

    Raises:
        CorpusError: a manifest without recordings, or with a line that cannot be understood. The folder is removed.
    """
    plan = folder / _PLAN_FILE
    if plan.exists():
        counts: list[int] = json.loads(plan.read_text(encoding="utf-8"))
        return counts
    try:
        counts = _cut(manifest, folder, size)
    except CorpusError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    write_text(plan, json.dumps(counts))
    return counts


def _cut(manifest: Path, folder: Path, size: int) -> list[int]:
    counts: list[int] = []
    try:
        with manifest.open("rb") as file, track(f"reading {manifest}, bytes", manifest.stat().st_size) as advance:
            heading = file.readline()
            while lines := list(islice(file, size)):
                path = window_path(folder, len(counts))
                write_bytes(path, heading + b"".join(lines))
                counts.append(_count(path, manifest, len(counts) * size + 1))
                advance(sum(map(len, lines)))
    except OSError as error:
        raise CorpusError(f"manifest {manifest} cannot be read: {error}") from None
    if not counts:
        raise CorpusError(f"manifest {manifest} names no recordings; scan the corpus again")
    return counts


def _count(window: Path, manifest: Path, before: int) -> int:
    try:
        return len(Manifest.load(window))
    except CorpusError as error:
        where = f"{manifest}, counting its line {before} as line 1" if before > 1 else f"{manifest}"
        raise CorpusError(str(error).replace(str(window), where)) from None
