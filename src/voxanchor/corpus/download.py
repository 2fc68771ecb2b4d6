"""Free corpora from the network into a folder: fetched, checked, unpacked, and never again."""

import hashlib
import http.client
import json
import shutil
import stat
import tarfile
import time
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

import voxanchor
from voxanchor import config
from voxanchor.errors import DownloadError, OutputError, RecipeError
from voxanchor.files import write_text, writing
from voxanchor.outputs import locked
from voxanchor.runtime import log_line, track


@dataclass(frozen=True)
class Download:
    """One corpus.

    Attributes:
        file: path of the archive below the base of a server.
        bytes: size of the archive.
        folder: what the archive holds, and what is there afterwards.
        md5: of the archive, as its publisher gives it; empty where none is known.
        page: where it is described.
    """

    file: str
    bytes: int
    folder: str
    about: str
    licence: str
    page: str
    md5: str = ""


@dataclass(frozen=True)
class Elsewhere:
    """What to do about corpora that cannot be downloaded freely.

    Attributes:
        holds: pieces of the paths that they are found under, lower case.
    """

    holds: tuple[str, ...]
    say: str


@dataclass(frozen=True)
class Downloads:
    """The whole list.

    Attributes:
        base: address that the files lie below.
        mirrors: other such addresses.
    """

    base: str
    mirrors: tuple[str, ...]
    downloads: dict[str, Download]
    elsewhere: tuple[Elsewhere, ...]

    def find(self, name: str) -> Download:
        """Return a corpus by its name.

        Raises:
            RecipeError: there is none of that name; the nearest is named.
        """
        if name not in self.downloads:
            raise RecipeError(f"there is no download '{name}'. {config.nearest(name, self.downloads)}")
        return self.downloads[name]


@cache
def downloads() -> Downloads:
    """Return the list that comes with the program."""
    text = resources.files("voxanchor.corpus").joinpath("downloads.yaml").read_text(encoding="utf-8")
    return config.build(Downloads, yaml.safe_load(text), "downloads.yaml")


def where_to_get(path: str | Path) -> str:
    """Return a sentence on where a missing folder or file comes from, as its path lets one guess; or nothing."""
    parts = PurePosixPath(str(path)).parts
    for name, download in downloads().downloads.items():
        folder = PurePosixPath(download.folder).parts
        for at in range(len(parts) - len(folder) + 1):
            if parts[at : at + len(folder)] == folder:
                place = PurePosixPath(*parts[:at]) if at else PurePosixPath(".")
                return f"get it with: voxanchor data fetch {name} --out {place} ({size(download.bytes)})"
    lower = str(path).lower()
    return next((entry.say for entry in downloads().elsewhere if any(word in lower for word in entry.holds)), "")


def size(count: int) -> str:
    """Return a number of bytes as people say it: ``338 MB``, ``11.1 GB``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(1, round(count / 1e6))} MB"


# One file over HTTP to disk, going on where an earlier attempt stopped.

TIMEOUT_S = 60.0
ATTEMPTS = 5
"""How often a connection may break in one command before it gives up."""

PAUSE_S = 2.0
"""Before the second attempt; each further one waits twice as long."""

_BLOCK = 1 << 20
_GONE = (http.client.HTTPException, ConnectionError, TimeoutError)


def transfer(url: str, path: Path) -> None:
    """Download a file; until it is whole it is called ``<name>.part`` and the next call goes on with that.

    A server that cannot go on in the middle sends the file from its beginning, and so does one whose file is another
    by now.

    Raises:
        DownloadError: no network, no such file, or a connection that breaks again and again.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DownloadError(f"{url}: only http and https addresses are fetched")
    part = path.with_name(path.name + ".part")
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            _attempt(url, part)
            break
        except urllib.error.HTTPError as error:
            with error:
                raise DownloadError(f"{url}: the server says {error.code} {error.reason}. Try --mirror.") from None
        except urllib.error.URLError as error:
            if attempt == 0:
                raise DownloadError(f"{url}: cannot be reached ({error.reason}). Is there a network?") from None
        except _GONE as error:
            if attempt + 1 < ATTEMPTS:
                reason = str(error) or type(error).__name__
                log_line(f"{url}: the connection broke at {_size(part):,} bytes ({reason}); going on")
    else:
        raise DownloadError(
            f"{url}: the connection broke {ATTEMPTS} times. Start the same command again: it goes on at "
            f"{_size(part):,} bytes."
        )
    part.replace(path)
    _note(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path) -> None:
    """Bring `part` to its whole length."""
    had, known = _size(part), _read_note(part)
    if not known.get("mark"):
        had = 0  # nothing says that the server still has the same file
    with _open(url, had, known) as answer:
        if answer.status == http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            return
        goes_on = answer.status == http.client.PARTIAL_CONTENT
        first, total = _range(answer) if goes_on else (0, answer.headers.get("Content-Length"))
        if goes_on and first != had:
            raise DownloadError(
                f"{url}: the server sends another part than was asked for. Remove {part}; try --mirror."
            )
        total, done = None if total is None else int(total), first
        label = f"fetching {part.name.removesuffix('.part')} (MB)"
        with part.open("ab" if goes_on else "wb") as file, track(label, (total or 0) // _BLOCK) as advance:
            # written when the old content is gone, and before the new comes: it always speaks of what is there
            write_text(_note(part), json.dumps({"mark": _mark(answer), "bytes": total}) + "\n")
            advance(done // _BLOCK)
            while block := answer.read(_BLOCK):
                file.write(block)
                advance((done + len(block)) // _BLOCK - done // _BLOCK)
                done += len(block)
    if total is not None and done < total:
        raise ConnectionError(f"{done} of {total} bytes came")


def _open(url: str, had: int, known: dict[str, Any]) -> Any:
    headers = {"User-Agent": f"voxanchor/{voxanchor.__version__}"}
    if had:
        headers |= {"Range": f"bytes={had}-", "If-Range": str(known["mark"])}
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # nothing is left to send: all of it is here, unless the file is another
        if error.code == http.client.REQUESTED_RANGE_NOT_SATISFIABLE and had:
            if had == known.get("bytes"):
                return error
            error.close()
            return _open(url, 0, {})
        raise


def _range(answer: Any) -> tuple[int, str | None]:
    """Return the byte that an answer begins with, and how many the whole file has, if that is said."""
    span, _, total = answer.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
    first = span.partition("-")[0]
    return int(first) if first.isdigit() else -1, total if total.isdigit() else None


def _mark(answer: Any) -> str:
    """Return what tells this content of the file from another; nothing where the server has no such thing."""
    mark = str(answer.headers.get("ETag") or answer.headers.get("Last-Modified") or "")
    return "" if mark.startswith("W/") else mark  # a weak one: two files mean the same, their bytes may differ


def _note(part: Path) -> Path:
    return part.with_name(part.name + ".json")


def _read_note(part: Path) -> dict[str, Any]:
    try:
        found = json.loads(_note(part).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


# Unpacking archives that came from elsewhere: nothing in them is written outside the folder that they are given.


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
        track(f"unpacking {archive.name} (MB)", archive.stat().st_size // _BLOCK) as advance,
    ):
        shown = 0
        for entry in file:
            # the filter would only cut the slash off an absolute path; it refuses links and devices
            _refuse_outside(entry.name, archive)
            file.extract(entry, folder, filter="data")
            now = raw.tell() // _BLOCK
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


# A corpus from the network into a folder: fetched, checked, unpacked, and then never again.

MARKER = ".fetched.json"
"""In the folder of a corpus: it is all there, and from where it came."""


def fetch(name: str, out: Path, *, mirror: str = "", keep_archive: bool = False) -> Path:
    """Download and unpack a corpus below `out`, or finish doing so; return its folder.

    The folder appears when everything in it is there. The same call then does nothing.

    Args:
        name: of the corpus, from ``downloads.yaml``.
        out: the folder that several corpora may share.
        mirror: address to fetch from, in the place of the usual one; the paths below it are the same.
        keep_archive: do not remove the archive when it is unpacked.

    Raises:
        RecipeError: there is no such corpus.
        DownloadError: no network, no such file, a sum that is not the publisher's, a damaged or unsafe archive.
        OutputError: the folder is there but not from here, cannot be written, is being fetched by another process, or
            there is too little room.
    """
    corpus = downloads().find(name)
    folder = out / corpus.folder
    if (folder / MARKER).exists():
        log_line(f"{name}: is there: {folder}")
        return folder
    if folder.exists():
        raise OutputError(
            f"{folder}: is there, and was not fetched by this command. Use it as it is, or remove it to fetch it anew."
        )
    log_line(f"{name}: {corpus.about}; {size(corpus.bytes)}; licence {corpus.licence}; {corpus.page}")
    url = f"{(mirror or downloads().base).rstrip('/')}/{corpus.file}"
    archive = out / Path(corpus.file).name
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / f".{archive.name}.lock", out):
            if not (folder / MARKER).exists():  # made by a process that has just finished
                _get(name, corpus, url, archive, out)
            if not keep_archive:
                archive.unlink(missing_ok=True)
    return folder


def _get(name: str, corpus: Download, url: str, archive: Path, out: Path) -> None:
    if not archive.exists():
        part = archive.with_name(archive.name + ".part")
        rest = corpus.bytes - (part.stat().st_size if part.exists() else 0)
        _refuse_without_room(out, rest + round(1.1 * corpus.bytes), name)
        transfer(url, archive)
    _check(archive, corpus, url)
    _refuse_without_room(out, unpacked_bytes(archive), name)
    _put(archive, corpus, out, {"name": name, "url": url, "md5": corpus.md5, "licence": corpus.licence})


def _check(archive: Path, corpus: Download, url: str) -> None:
    if not corpus.md5:
        log_line(f"{archive.name}: its publisher gives no sum; what came is taken as it is")
        return
    digest = hashlib.md5(usedforsecurity=False)
    with archive.open("rb") as file, track(f"checking {archive.name} (MB)", corpus.bytes // _BLOCK) as advance:
        while block := file.read(_BLOCK):
            digest.update(block)
            advance(len(block) // _BLOCK)
    found = digest.hexdigest()
    if found != corpus.md5:
        archive.unlink()
        raise DownloadError(
            f"{url}: what came is not what its publisher lists (MD5 {found}, should be {corpus.md5}); it was removed. "
            "Start again, or try --mirror."
        )


def _put(archive: Path, corpus: Download, out: Path, facts: dict[str, str]) -> None:
    """Unpack beside the place where the corpus belongs, and move it there last."""
    temporary = out / f".{archive.name}.unpacking"
    shutil.rmtree(temporary, ignore_errors=True)  # of a process that was killed
    try:
        temporary.mkdir()
        unpack(archive, temporary)
        made = temporary / corpus.folder
        if not made.is_dir():
            raise DownloadError(f"{archive}: holds no folder {corpus.folder}. Remove it and fetch it again.")
        write_text(made / MARKER, json.dumps(facts, indent=2) + "\n")
        for source in sorted(temporary.rglob("*")):
            target = out / source.relative_to(temporary)
            # what lies beside the corpus: a README or a licence, which other parts may have left there before
            if not source.is_dir() and not source.is_relative_to(made) and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
        target = out / corpus.folder
        target.parent.mkdir(parents=True, exist_ok=True)
        made.replace(target)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _refuse_without_room(out: Path, needed: int, name: str) -> None:
    free = shutil.disk_usage(out).free
    if needed > free:
        raise OutputError(
            f"{out}: {name} needs about {size(needed)} more, and {size(free)} are free. Choose another --out."
        )
