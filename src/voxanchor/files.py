"""Writing files so that a reader, or a run killed at any moment, never sees half of one."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

from voxanchor.errors import OutputError


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; on leaving, flush that file to disk and rename it into place.

    The temporary name keeps the suffix, for writers that choose a format by it. On an exception nothing is left behind
    and an older file stays as it was.

    Raises:
        OutputError: the folder cannot be made or written.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.tmp{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except (PermissionError, FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        reason = f"{path}: cannot be written ({error.strerror}). Choose an output path that you may write to."
        raise OutputError(reason) from None
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_private(path: str | Path, content: bytes) -> None:
    """Write `content` to `path` atomically, for its owner alone (mode 600)."""
    with (
        replacing(path) as temporary,
        os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file,
    ):
        file.write(content)


def write_text(path: str | Path, text: str) -> None:
    """Write `text` to `path` atomically, as UTF-8.

    Bytes of a file name that are not UTF-8 are written as escapes, which JSON reads back as what they were.
    """
    write_bytes(path, text.encode("utf-8", "backslashreplace"))


def printable(path: str | Path) -> str:
    r"""Return a path as text that can be written anywhere: bytes that are not UTF-8 as ``\xe9``."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")
