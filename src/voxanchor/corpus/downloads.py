"""Which corpora may be downloaded freely, from where and under which licence; read from ``downloads.yaml``."""

from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path, PurePosixPath

import yaml

from voxanchor import config
from voxanchor.errors import RecipeError


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
