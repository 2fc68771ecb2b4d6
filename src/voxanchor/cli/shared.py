"""What commands share: flags, and how results are printed."""

import contextlib
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

from voxanchor.corpus import owners
from voxanchor.errors import EnrolmentError
from voxanchor.progress import console, say

Model = Annotated[str, arg(metavar="MODEL")]
Models = UseAppendAction[Annotated[tuple[str, ...], arg(metavar="MODEL")]]
Recipe = Annotated[str, arg(metavar="RECIPE")]
Recording = Annotated[str, arg(metavar="RECORDING")]
Recordings = Annotated[tuple[str, ...], arg(metavar="RECORDING")]
Name = Annotated[str, arg(metavar="NAME")]
Folder = Annotated[str, arg(metavar="DIR")]
Folders = UseAppendAction[Annotated[tuple[str, ...], arg(metavar="DIR")]]
OutFolders = UseAppendAction[Annotated[tuple[Path, ...], arg(metavar="DIR")]]
OutFolder = Annotated[Path, arg(metavar="DIR")]
SomeFolder = Annotated[Path | None, arg(metavar="DIR")]
File = Annotated[Path, arg(metavar="FILE")]
SomeFile = Annotated[Path | None, arg(metavar="FILE")]
Trials = Annotated[str, arg(metavar="FILE")]
Suite = Annotated[str, arg(metavar="SUITE")]
Layout = Annotated[owners.Layout, arg(metavar="LAYOUT")]
Store = Annotated[str, arg(metavar="STORE")]
Device = Annotated[str, arg(metavar="DEVICE")]
Seconds = Annotated[float, arg(metavar="SECONDS")]
SomeSeconds = Annotated[float | None, arg(metavar="SECONDS")]
Share = Annotated[float, arg(metavar="SHARE")]
Probability = Annotated[float, arg(metavar="PROBABILITY")]
Percent = Annotated[float | None, arg(metavar="PERCENT")]

Settings = UseAppendAction[Annotated[tuple[tuple[str, ...], ...], arg(name="set", metavar="KEY=VALUE ...")]]
"""Several after one flag, or several flags: all of them count."""
Json = Annotated[bool, arg(help="print the result as JSON on standard output")]


KEY_VARIABLE = "VOXANCHOR_STORE_KEY"
"""Environment variable that holds a store's key as text, where no file with one is given."""


def report(folder: Path, as_json: bool) -> int:
    """Print the error rates of a finished job, or its summary as JSON; return the exit status."""
    summary_path = folder / "summary.json"
    if not summary_path.exists():
        print(f"done: {folder}")
        return 0
    summary: dict[str, dict[str, Any]] = json.loads(summary_path.read_text(encoding="utf-8"))
    if as_json:
        print_json(summary)
        return 0
    from rich.table import Table

    averages = ("avg15", "avg16") if any("avg15" in entry for entry in summary.values()) else ("avg_noisy", "avg_all")
    columns = [name for name in ("clean", *averages) if any(name in entry for entry in summary.values())]
    table = Table(title="EER in %", title_justify="left")
    table.add_column("system")
    for column in columns:
        table.add_column(column, justify="right")
    for name, entry in summary.items():
        table.add_row(name, *(f"{entry[column]:.2f}" if column in entry else "" for column in columns))
    screen = console()
    screen.print(table)
    for line in _note(folder).splitlines():
        screen.print(line, markup=False, highlight=False)
    screen.print(f"report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return 0


def loading(*what: str, job: bool = True) -> None:
    """Say that models or a recipe are being loaded: torch and weights take seconds, on a busy machine many.

    Args:
        what: as it was given.
        job: whether it is a job that writes lines on its way; what only answers says it to a terminal alone.
    """
    if job or sys.stderr.isatty():
        say(f"loading {' and '.join(what)} ...")


def _note(folder: Path) -> str:
    """Return what the recipe of a run says that a reader has to know of its figures; nothing where it says nothing."""
    path = folder / "recipe.yaml"
    if not path.exists():
        return ""
    import yaml

    recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    return str((recipe.get("evaluation") or {}).get("note") or "")


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output."""
    print(json.dumps(value, indent=2))


def flat(settings: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    """Return the settings of all ``--set`` flags in one row."""
    return tuple(setting for group in settings for setting in group)


def existing_store(place: str) -> str:
    """Return the place of a store where there is one: a mistyped name must not make an empty one.

    Raises:
        EnrolmentError: there is no such file.
    """
    if "://" not in place and not Path(place).exists():
        raise EnrolmentError(f"{place}: no such store. voxanchor enroll makes one.")
    return place


@contextlib.contextmanager
def no_empty_store(place: str) -> Iterator[None]:
    """Remove a store that was made meanwhile, where the command fails: a mistyped first try must leave none behind.

    A store is made with a key or without, and stays so. One that somebody else has open, or put people into, stays.
    """
    from voxanchor.enrolments.connection import remove_empty

    path = Path(place)
    new = "://" not in place and place != ":memory:" and not path.exists()
    try:
        yield
    except BaseException:  # Ctrl-C, too
        if new and path.exists():
            remove_empty(path)
        raise


def store_key(path: Path | None) -> str | None:
    """Return the key of a store: the path of its file, or what the environment variable holds, or nothing.

    Raises:
        EnrolmentError: there is no such file.
    """
    return key_file(path) or os.environ.get(KEY_VARIABLE) or None


def key_file(path: Path | None) -> str | None:
    """Return the path of a file with a key as text, and nothing as nothing.

    Raises:
        EnrolmentError: there is no such file. A key itself is not taken: every user of the machine sees commands.
    """
    if path is not None and not path.is_file():
        raise EnrolmentError(
            "the file given for a key does not exist. Give the path of one; voxanchor people key --out FILE makes one."
        )
    return None if path is None else str(path)
