"""What commands share: flags, and how results are printed."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import UseAppendAction, arg

from voxanchor.errors import EnrolmentError, VoxanchorError

Settings = UseAppendAction[Annotated[tuple[tuple[str, ...], ...], arg(name="set", metavar="KEY=VALUE ...")]]
"""Several after one flag, or several flags: all of them count."""

Json = Annotated[bool, arg(help="print the result as JSON on standard output")]


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
    from rich.console import Console
    from rich.table import Table

    averages = ("avg15", "avg16") if any("avg15" in entry for entry in summary.values()) else ("avg_noisy", "avg_all")
    columns = [name for name in ("clean", *averages) if any(name in entry for entry in summary.values())]
    table = Table(title="EER in %", title_justify="left")
    table.add_column("system")
    for column in columns:
        table.add_column(column, justify="right")
    for name, entry in summary.items():
        table.add_row(name, *(f"{entry[column]:.2f}" if column in entry else "" for column in columns))
    console = Console()
    console.print(table)
    for line in _note(folder).splitlines():
        console.print(line, markup=False, highlight=False)
    console.print(f"report: {folder / 'report.html'}", soft_wrap=True, highlight=False)
    return 0


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
    except VoxanchorError:
        if new and path.exists():
            remove_empty(path)
        raise


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
