"""A corpus from the network into a folder: fetched, checked, unpacked, and then never again."""

import json
import os
import shutil
from pathlib import Path

from voxanchor.corpus.downloads import Download, downloads, size
from voxanchor.corpus.transfer import md5_of, transfer
from voxanchor.corpus.unpack import unpack, unpacked_bytes
from voxanchor.errors import DownloadError, OutputError
from voxanchor.files import write_text, writing
from voxanchor.outputs import locked
from voxanchor.progress import say

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
        say(f"{name}: is there: {folder}")
        return folder
    if folder.exists():
        raise OutputError(
            f"{folder}: is there, and was not fetched by this command. Use it as it is, or remove it to fetch it anew."
        )
    say(f"{name}: {corpus.about}; {size(corpus.bytes)}; licence {corpus.licence}; {corpus.page}")
    url = f"{(mirror or downloads().base).rstrip('/')}/{corpus.file}"
    archive = out / Path(corpus.file).name
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        with locked(out / f".{archive.name}.lock", out):
            if not (folder / MARKER).exists():  # of a process that has just finished
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
        say(f"{archive.name}: its publisher gives no sum; what came is taken as it is")
        return
    found = md5_of(archive)
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
        for parent, _, files in os.walk(temporary):
            for file in files:
                source = Path(parent, file)
                target = out / source.relative_to(temporary)
                # what lies beside the corpus: a README or a licence, which other parts may have left there before
                if not source.is_relative_to(made) and not target.exists():
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
