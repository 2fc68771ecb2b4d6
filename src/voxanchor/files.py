r"""Writing files so that a reader, or a run killed at any moment, never sees half of one, and what disks refuse.

Text is UTF-8. What is no character, as the name of a file in another encoding brings it, is written as its escape,
``\udce9``: in JSON that is the very character again.
"""

import contextlib
import errno
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from voxanchor.errors import OutputError

ENCODING_ERRORS = "backslashreplace"
"""How text that UTF-8 cannot hold is written."""

_LONGEST_STEM = 40
"""Characters of a file's name that its temporary name repeats: it must not be too long where the name itself is not."""

_MEANINGS = {
    errno.ENOSPC: "the disk is full. Make room on it, and start the same command again.",
    errno.EDQUOT: "your quota on this disk is used up. Make room, and start the same command again.",
    errno.EROFS: "the file system is read-only. Choose an output path that you may write to.",
    errno.ENAMETOOLONG: "the name is too long for the file system. Choose a shorter one.",
    errno.EIO: "the disk failed to read or write (input/output error). Look at the system's log.",
    errno.EFBIG: "the file would be larger than the disk or your limits allow. Mend that, and start the command again.",
    errno.ESTALE: "the network file system has lost the file (stale handle). Start the same command again.",
}


def unwritable(place: object, error: OSError, what: str = "written") -> OutputError:
    """Return the error that says in words what the system says of a place, and what may be done about it."""
    if isinstance(error, shutil.Error):  # of a copied folder: what was wrong with each of its files
        _, place, reason = error.args[0][0]
    else:
        reason = error.strerror or str(error)
    advice = "Check that it is there, and that you may read it and write to it."
    if what in ("written", "made"):
        advice = "Choose an output path that you may write to."
    otherwise = f"cannot be {what} ({reason}). {advice}"
    return OutputError(f"{place}: {_MEANINGS.get(error.errno or 0, otherwise)}")


@contextlib.contextmanager
def writing(place: object, what: str = "written") -> Iterator[None]:
    """Turn an error of the file system inside the block into one in words.

    Args:
        place: what is written, where the error itself names no file.
        what: what cannot be done with it: "written".

    Raises:
        OutputError: the block met a full disk, a file system that is read-only, a folder it may not write to ...
    """
    try:
        yield
    except ConnectionError:  # of a pipe or a network, not of a disk
        raise
    except OSError as error:
        if error.errno is None and not isinstance(error, shutil.Error):  # of a library, such as one that waited
            raise
        raise unwritable(error.filename or place, error, what) from error


@contextlib.contextmanager
def replacing(path: str | Path, *, new: bool = False) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving, flush that file to disk and rename it into place.

    The temporary name keeps the suffix, for writers that choose a format by it. On an exception nothing is left behind
    and an older file stays as it was.

    Args:
        path: the file to write.
        new: nothing may be there, not even what another process puts there meanwhile.

    Raises:
        OutputError: the folder cannot be made, the file not be written, or something is there that must not be.
    """
    path = Path(path)
    suffix = path.suffix if len(path.suffix) <= _LONGEST_STEM else ""
    temporary = path.with_name(f".{path.stem[:_LONGEST_STEM]}.{uuid.uuid4().hex[:8]}.tmp{suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):
            path.lstat()  # a name that the file system does not take is refused before the work, not after it
            if new:
                raise _taken(path)
        yield temporary
        with temporary.open("r+b") as file:  # Windows flushes what was opened for writing alone
            os.fsync(file.fileno())
        if new:
            _place(temporary, path)
        else:
            temporary.replace(path)
    except OSError as error:
        if error.errno is None or isinstance(error, ConnectionError):
            raise
        own = error.filename is None or str(error.filename) == str(temporary)
        raise unwritable(path if own else error.filename, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _place(temporary: Path, path: Path) -> None:
    """Give a file its name, unless something has that name: a rename would replace it without a word."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise _taken(path) from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
            raise
        # a file system without links
        try:
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise _taken(path) from None
        temporary.replace(path)


def _taken(path: Path) -> OutputError:
    return OutputError(f"{path}: is there already, and is not replaced. Give another name.")


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` atomically.

    Raises:
        OutputError: it cannot be written.
    """
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_private(path: str | Path, content: bytes, *, new: bool = False) -> None:
    """Write `content` to `path` atomically, for its owner alone (mode 600).

    Args:
        path: the file to write.
        content: all that it holds.
        new: nothing may be there (`replacing`).

    Raises:
        OutputError: it cannot be written, or something is there that must not be.
    """
    with (
        replacing(path, new=new) as temporary,
        os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        file.write(content)


def write_text(path: str | Path, text: str, *, new: bool = False) -> None:
    """Write `text` to `path` atomically, as UTF-8.

    Bytes of a file name that are not UTF-8 are written as escapes, which JSON reads back as what they were.

    Args:
        path: the file to write.
        text: all that it holds.
        new: nothing may be there (`replacing`).

    Raises:
        OutputError: it cannot be written, or something is there that must not be.
    """
    with replacing(path, new=new) as temporary:
        temporary.write_bytes(text.encode("utf-8", ENCODING_ERRORS))


def printable(path: str | Path) -> str:
    r"""Return a path as text that can be written anywhere: bytes that are not UTF-8 as ``\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextlib.contextmanager
def temporary_folder(prefix: str) -> Iterator[Path]:
    """Give a folder for temporary files, which is removed at the end, below the one that TMPDIR names.

    Raises:
        OutputError: it cannot be made, or the block could not write to it.
    """
    with (
        writing("the folder for temporary files (TMPDIR)"),
        tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder,
    ):
        yield Path(folder)


def reserve(descriptor: int, size: int) -> None:
    """Give an open file all the disk space it will need, `size` bytes.

    To write to a mapped file for which the disk has no room ends the process without a word; this says so before.

    Raises:
        OSError: there is not so much room.
    """
    if not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # a file system that cannot do it
            raise
