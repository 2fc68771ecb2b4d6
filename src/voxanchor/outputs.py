"""Output folders that belong to one job: a second job refuses or resumes, and never mixes."""

import contextlib
import errno
import json
import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from voxanchor import runtime
from voxanchor.config import to_plain
from voxanchor.errors import OutputError, VoxanchorError
from voxanchor.files import unwritable, write_text, writing
from voxanchor.runtime import log_line

IDENTITY_FILE = "run.json"
"""What the job in a folder is: its kind, everything that decides its result, and the folder it was started in."""

LOCK_FILE = ".lock"

OWNER_ENDING = ".owner"
"""Added to a lock's name where the file system has no locks: a file that says which process holds it."""

_PLACES = frozenset(
    "cohort enrol_model heard_noise models new noise of old out path rooms sources speech start take trials".split()  # noqa: SIM905
)
"""Settings whose values are paths, or begin or end with one."""

_HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)
"""What the system says of a lock that somebody else holds. Anything else means that it has no locks there."""


@contextlib.contextmanager
def lock_run_dir(folder: str | Path, kind: str, identity: Mapping[str, Any]) -> Iterator[None]:
    """Hold `folder` for one job, be it new or one that was here before and is resumed.

    Where a job has several processes the first holds the folder, and the others follow it in. Two spellings of a path
    that lead to the same place are the same.

    Args:
        folder: made when missing.
        kind: the command, for example ``"train"``.
        identity: everything that decides the result, as plain values or dataclasses.

    Raises:
        OutputError: the folder holds another job or foreign files, a job is running in it at this moment, or the file
            system failed: a full disk, say.
    """
    runtime.connect()
    folder = Path(folder)
    with writing(folder, "used"):
        if not runtime.first():
            runtime.wait()
            yield
            return
        with _locked_run_dir(folder, {"kind": kind, "identity": to_plain(identity)}):
            runtime.wait()
            yield


@contextlib.contextmanager
def _locked_run_dir(folder: Path, wanted: Mapping[str, Any]) -> Iterator[None]:
    if folder.exists() and not folder.is_dir():
        raise OutputError(f"{folder}: is a file. Give a folder for the output.")
    path = folder / IDENTITY_FILE
    resumed = path.exists()
    if resumed:
        _check_same(path, wanted)
    elif folder.exists() and any(not entry.name.startswith(".") for entry in folder.iterdir()):
        raise OutputError(f"{folder}: holds files of something else. Give a new or empty folder, or remove it first.")
    new = not folder.exists()
    with writing(folder, "made"):
        folder.mkdir(parents=True, exist_ok=True)
    try:
        with locked(folder / LOCK_FILE, folder):
            if not resumed:
                # the folder last: a reader of older versions knows the two before it
                content = {**wanted, "started_in": str(Path.cwd())}
                write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
            try:
                yield
            except VoxanchorError:
                # a job refused before it made anything, for a mistyped folder say, must not bar the corrected command
                if all(entry.name == IDENTITY_FILE or entry.name.startswith(LOCK_FILE) for entry in folder.iterdir()):
                    path.unlink()
                raise
    except VoxanchorError:
        if new:
            with contextlib.suppress(OSError):  # it holds something after all
                folder.rmdir()
        raise


def _check_same(path: Path, wanted: Mapping[str, Any]) -> None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        # one of before this was written is taken to have been started where this command is
        started_in = str(found.pop("started_in", Path.cwd()))
    except (OSError, ValueError, AttributeError):
        raise OutputError(f"{path}: cannot be read. Give a new folder, or remove this one.") from None
    differences = _differences(found, json.loads(json.dumps(wanted)), "", started_in)
    if not differences:
        return
    listed = "\n".join(f"  {line}" for line in differences[:8])
    raise OutputError(
        f"{path.parent}: holds another run. Give a new folder, remove this one, or use the same settings to resume it. "
        f"What differs (there -> asked):\n{listed}"
    )


def _differences(found: Any, wanted: Any, where: str, started_in: str) -> list[str]:
    if isinstance(found, dict) and isinstance(wanted, dict):
        # a model that was given as a file is called by its path
        spelt = {_place(key, started_in) or key: key for key in found}
        pairs = {spelt.get(_place(key, os.curdir) or key, key): key for key in wanted}
        keys = list(found) + [key for key in pairs if key not in found]
        return [
            line
            for key in keys
            for line in _differences(found.get(key), wanted.get(pairs.get(key, key)), f"{where}.{key}", started_in)
        ]
    if isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        pair = zip(found, wanted, strict=True)
        return [line for i, (a, b) in enumerate(pair) for line in _differences(a, b, f"{where}.{i}", started_in)]
    if isinstance(found, str) and isinstance(wanted, str):
        before, now = _place(found, started_in), _place(wanted, os.curdir)
        # a word that both spell alike is a path only where one is asked for: a suite may be called as a folder is
        if before and now and (found != wanted or os.sep in found or not _PLACES.isdisjoint(where.split("."))):
            found, wanted = before, now
    return [] if found == wanted else [f"{where.lstrip('.')}: {json.dumps(found)[:80]} -> {json.dumps(wanted)[:80]}"]


def _place(text: str, folder: str) -> str:
    """Return a setting that names something that exists, seen from a folder, in the one spelling that its place has.

    So ``speechbrain:models/a`` and ``noise::odd`` are known, too. Nothing for text that names no such thing.
    """
    ends = [len(text)] + ([text.rindex("::")] if "::" in text else [])
    starts = [0, *(i + 1 for i, letter in enumerate(text) if letter == ":")]
    for end in ends:
        for start in starts:
            path = os.path.join(folder, text[start:end])  # noqa: PTH118  # any text, such as one with a null in it
            if text[start:end] and os.path.exists(path):  # noqa: PTH110  # Path raises where a name is too long
                return text[:start] + os.path.realpath(path) + text[end:]
    return ""


@contextlib.contextmanager
def locked(path: Path, folder: Path) -> Iterator[None]:
    """Hold the lock in the file `path`, which the system frees however the process ends.

    On a file system without locks, such as Lustre or NFS may be, a file names the holder instead. One that a process
    of this machine left behind when it was killed is recognised; of another machine it cannot be known.

    Args:
        path: made when missing, removed at the end.
        folder: what the lock is for, in the message.

    Raises:
        OutputError: another process holds it, or it cannot be made.
    """
    try:
        import fcntl
    except ImportError:  # no advisory locks on this system: two runs at once stay the user's care
        yield
        return
    with contextlib.ExitStack() as stack:
        with writing(path):
            file = stack.enter_context(path.open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # one that a process before this one removed is no longer where the next one looks
            held = path.exists() and os.path.samestat(path.stat(), os.fstat(file.fileno()))
        except OSError as error:
            held = error.errno not in _HELD
            if held:
                stack.enter_context(_owned(path.with_name(path.name + OWNER_ENDING), folder))
        if not held:
            raise _at_work(folder)
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _at_work(folder: Path, who: str = "") -> OutputError:
    return OutputError(f"{folder}: another run is at work in this folder{who}. Wait for it, or stop it.")


@contextlib.contextmanager
def _owned(path: Path, folder: Path) -> Iterator[None]:
    """Hold a file that only one process can make, and that says which."""
    log_line(f"{folder}: its file system has no locks; {path.name} keeps other runs out instead")
    if not _made(path):
        _refuse_held(path, folder)
        # whoever may remove the file of a dead process is found in the same way: two at once could each remove the
        # other's new one
        breaking = path.with_name(path.name + "-breaking")
        if not _made(breaking):
            raise _at_work(folder, f" (or one was killed at its start; then remove {breaking})")
        try:
            # where it is gone by now another process may make its own at any moment, which is not to be removed
            if _refuse_held(path, folder):
                path.unlink(missing_ok=True)
            if not _made(path):
                raise _at_work(folder)
        finally:
            breaking.unlink(missing_ok=True)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def _made(path: Path) -> bool:
    """Return whether this process made the file, with what tells it from all others in it."""
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return False
    except OSError as error:
        raise unwritable(path, error) from None
    content = {**_here(), "pid": os.getpid(), "process_started": _started(os.getpid()), "at": time.strftime("%F %T")}
    try:
        with writing(path), os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(content) + "\n")
    except OutputError:
        path.unlink(missing_ok=True)
        raise
    return True


def _refuse_held(path: Path, folder: Path) -> bool:
    """Return whether the file is there, of a process that is gone; False where there is no file.

    Raises:
        OutputError: its process lives, or may live.
    """
    try:
        owner = json.loads(path.read_text(encoding="utf-8"))
        pid, host, at = int(owner["pid"]), str(owner["host"]), str(owner["at"])
    except FileNotFoundError:
        return False
    except (OSError, ValueError, KeyError, TypeError):  # being written at this moment, perhaps
        raise _at_work(folder, f" (if there is none, remove {path})") from None
    here = _here()
    same_machine = bool(here["machine"]) and (owner.get("machine"), host) == (here["machine"], here["host"])
    if same_machine and owner.get("boot") != here["boot"]:
        return True  # the machine was started anew since
    # in a container of its own a process has a number that says nothing here
    if all(owner.get(key) == here[key] for key in ("host", "boot", "numbering")) and not _lives(pid, owner):
        return True
    raise _at_work(folder, f": process {pid} on {host} since {at} (if that is gone, remove {path})")


def _here() -> dict[str, str]:
    """Return what tells this machine, its present run, and the numbering of its processes from others."""

    def content(path: str) -> str:
        try:
            return Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError):
            return ""

    try:
        numbering = os.readlink("/proc/self/ns/pid")  # noqa: PTH115  # no file, but text
    except OSError:
        numbering = ""
    return {
        "host": platform.node(),
        "machine": content("/etc/machine-id"),
        "boot": content("/proc/sys/kernel/random/boot_id"),
        "numbering": numbering,
    }


def _lives(pid: int, owner: Mapping[str, Any]) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # somebody else's
        return True
    return bool(owner.get("process_started") == _started(pid))  # else the number was given to another process


def _started(pid: int) -> str:
    """Return when a process began, in the system's own count; nothing where that is not told."""
    try:
        # the second field, the program's name, may hold anything, but for the last bracket
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""
