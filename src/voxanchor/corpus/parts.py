"""Halves of a noise folder by the parity of the number in a file's name: the field's split of MUSAN.

Even numbers train and odd ones test (ExU-Net, Diff-SV and those who follow them), so that figures can be compared.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from voxanchor.config import nearest
from voxanchor.errors import CorpusError, RecipeError

PARTS = ("all", "even", "odd")
"""What may be taken of a noise folder."""

MARK = "::"
"""Stands between a folder and its part, as in ``musan::odd``."""

_LAST_NUMBER = re.compile(r"(\d+)\D*$")


def with_part(folder: str, part: str) -> str:
    """Return how a part of a folder is written in one word: ``musan::odd``; the whole folder is just its path.

    Raises:
        RecipeError: there is no such part.
    """
    if part not in PARTS:
        raise RecipeError(f"there is no part '{part}' of a noise folder. {nearest(part, PARTS)}")
    return folder if part == "all" else f"{folder}{MARK}{part}"


def split_part(reference: str | Path) -> tuple[Path, str]:
    """Return the folder and the part that ``musan::odd`` names; a plain path is all of its folder.

    Raises:
        RecipeError: there is no such part, and no folder of that whole name either.
    """
    folder, mark, part = str(reference).rpartition(MARK)
    if not mark or "/" in part or (part not in PARTS and Path(reference).exists()):
        return Path(reference), "all"
    with_part(folder, part)
    return Path(folder), part


def number_of(name: str) -> int | None:
    """Return the last number in a file's name, 42 for ``music/fma/music-fma-0042.wav``; None when it has none."""
    found = _LAST_NUMBER.search(Path(name).stem)
    return int(found[1]) if found else None


def in_part(names: Sequence[str], part: str, where: str) -> list[bool]:
    """Return for each file whether it belongs to a part.

    Args:
        names: of the files, as paths or without their folders.
        part: one of `PARTS`.
        where: the folder, for the message.

    Raises:
        CorpusError: names without a number, which belong to neither half.
    """
    if part == "all":
        return [True] * len(names)
    numbers = [number_of(name) for name in names]
    if without := [name for name, number in zip(names, numbers, strict=True) if number is None]:
        listed = "".join(f"\n  {name}" for name in without[:5])
        more = f"\n  and {len(without) - 5} more" if len(without) > 5 else ""
        raise CorpusError(
            f"{where}: {len(without)} of {len(names)} files have no number in their name, so they are neither even nor "
            f"odd:{listed}{more}\nGive each a number, as in noise-0001.wav, move them elsewhere, or take the whole "
            "folder (part: all)"
        )
    return [number is not None and (number % 2 == 0) == (part == "even") for number in numbers]
