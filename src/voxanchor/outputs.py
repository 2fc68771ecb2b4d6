"""Output folders that belong to one job: a second job refuses or resumes, and never mixes."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from voxanchor import processes
from voxanchor.config import to_plain
from voxanchor.errors import OutputError, VoxanchorError
from voxanchor.files import write_text

IDENTITY_FILE = "run.json"
"""What the job in a folder is: its kind and everything that decides its result."""

LOCK_FILE = ".lock"


@contextlib.contextmanager
def claim(folder: str | Path, kind: str, identity: Mapping[str, Any]) -> Iterator[bool]:
    """Hold `folder` for one job; give True when the same job has been here before and is to be resumed.

    Where a job has several processes the first holds the folder, and the others follow it in.

    Args:
        folder: made when missing.
        kind: the command, for example ``"train"``.
        identity: everything that decides the result, as plain values or dataclasses.

    Raises:
        OutputError: the folder holds another job or foreign files, or a job is running in it at this moment.
    """
    processes.connect()
    folder = Path(folder)
    if not processes.first():
        processes.wait()
        yield (folder / IDENTITY_FILE).exists()
        return
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file. Give a folder for the output.")
    wanted = {"kind": kind, "identity": to_plain(identity)}
    path = folder / IDENTITY_FILE
    resumed = path.exists()
    if resumed:
        _check_same(path, wanted)
    elif folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise OutputError(f"{folder}: holds files of something else. Give a new or empty folder, or remove it first.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made ({error.strerror}). Choose another output folder.") from None
    with locked(folder / LOCK_FILE, folder):
        if not resumed:
            write_text(path, json.dumps(wanted, indent=2, ensure_ascii=False) + "\n")
        processes.wait()
        try:
            yield resumed
        except VoxanchorError:
            # a job refused before it made anything, for a mistyped folder say, must not bar the corrected command
            if {entry.name for entry in folder.iterdir()} == {IDENTITY_FILE, LOCK_FILE}:
                path.unlink()
            raise


def _check_same(path: Path, wanted: Mapping[str, Any]) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise OutputError(f"{path}: cannot be read. Give a new folder, or remove this one.") from None
    wanted = json.loads(json.dumps(wanted))
    if found == wanted:
        return
    differences = "\n".join(f"  {line}" for line in _differences(found, wanted, "")[:8])
    raise OutputError(
        f"{path.parent}: holds another run. Give a new folder, remove this one, or use the same settings to resume it. "
        f"What differs (there -> asked):\n{differences}"
    )


def _differences(found: Any, wanted: Any, where: str) -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        keys = list(found) + [key for key in wanted if key not in found]
        return [line for key in keys for line in _differences(found.get(key), wanted.get(key), f"{where}.{key}")]
    return [] if found == wanted else [f"{where.lstrip('.')}: {json.dumps(found)[:80]} -> {json.dumps(wanted)[:80]}"]


@contextlib.contextmanager
def locked(path: Path, folder: Path) -> Iterator[None]:
    """Hold the lock in the file `path`, which the system frees however the process ends.

    Args:
        path: made when missing, removed at the end.
        folder: what the lock is for, in the message.

    Raises:
        OutputError: another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: two runs at once stay the user's care
        yield
        return
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # one that a process before this one removed is no longer where the next one looks
            held = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except OSError:
            held = False
        if not held:
            raise OutputError(f"{folder}: another run is at work in this folder. Wait for it, or stop it.")
        try:
            yield
        finally:
            path.unlink(missing_ok=True)
