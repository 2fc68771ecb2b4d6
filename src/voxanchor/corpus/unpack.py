"""Unpacking archives that came from elsewhere: nothing in them is written outside the folder that they are given."""

import stat
import tarfile
import zipfile
from pathlib import Path, PurePosixPath

from voxanchor.errors import DownloadError
from voxanchor.progress import track

_MB = 1 << 20


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar archive, compressed or not, or a zip into a folder.

    Refused as a whole are archives with absolute paths, paths through ``..``, links and devices that lead out of the
    folder; of a zip all links. What was written until then stays in `folder`, which the caller throws away.

    Args:
        archive: the file; what kind it is, its content says.
        folder: an existing, empty folder.

    Raises:
        DownloadError: it is damaged, no archive, or not safe.
    """
    try:
        if zipfile.is_zipfile(archive):
            _unzip(archive, folder)
        else:
            _untar(archive, folder)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        # gzip and lzma report damage as EOFError or as OSError without a number; a full disk has one
        raise DownloadError(f"{archive}: cannot be unpacked ({error}). Remove it and fetch it again.") from None
    except OSError as error:
        if error.errno is not None:
            raise
        raise DownloadError(f"{archive}: is damaged ({error}). Remove it and fetch it again.") from None


def unpacked_bytes(archive: Path) -> int:
    """Return how much room an archive takes when unpacked: exact for a zip; of a tar archive 1.1 times its size.

    What is fetched as tar is compressed sound in FLAC, or WAV that hardly gets smaller.
    """
    if not zipfile.is_zipfile(archive):
        return round(1.1 * archive.stat().st_size)
    with zipfile.ZipFile(archive) as file:
        return sum(entry.file_size for entry in file.infolist())


def _untar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise DownloadError("unpacking safely needs a newer Python: 3.11.4, or 3.12 and later")
    with (
        archive.open("rb") as raw,
        tarfile.open(fileobj=raw, mode="r:*") as file,
        track(f"unpacking {archive.name} (MB)", archive.stat().st_size // _MB) as advance,
    ):
        shown = 0
        for entry in file:
            _refuse_outside(entry.name, archive)
            file.extract(entry, folder, filter="data")
            now = raw.tell() // _MB
            if now > shown:
                advance(now - shown)
                shown = now


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        entries = file.infolist()
        for entry in entries:
            _refuse_outside(entry.filename, archive)
            kind = stat.S_IFMT(entry.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise DownloadError(f"{archive}: '{entry.filename}' is a link or a device; it is not unpacked")
        with track(f"unpacking {archive.name} (files)", len(entries)) as advance:
            for entry in entries:
                file.extract(entry, folder)
                advance(1)


def _refuse_outside(name: str, archive: Path) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise DownloadError(f"{archive}: '{name}' would be written outside the folder; it is not unpacked")
