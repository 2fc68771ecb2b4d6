"""The recipes that come with voxanchor, known by name: ``voxceleb1``, ``ablations/distance``."""

import difflib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path

from voxanchor.errors import RecipeError

FOLDER = Path(str(resources.files("voxanchor") / "recipes"))


def packaged_recipes() -> Mapping[str, Path]:
    """Return the recipes that come with voxanchor: their files by name, those at the top first."""
    files = sorted(FOLDER.rglob("*.yaml"), key=lambda path: (len(path.parts), path.with_suffix("")))
    return {path.relative_to(FOLDER).with_suffix("").as_posix(): path for path in files}


def packaged_recipe(name: str) -> Path:
    """Return the file of a recipe that comes with voxanchor.

    Raises:
        RecipeError: there is none of that name; the message suggests the nearest.
    """
    known = packaged_recipes()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else "'voxanchor recipes' lists those that come with voxanchor."
    raise RecipeError(f"there is no recipe '{name}'. {hint} The file of one of your own ends in .yaml.")


def recipe_file(reference: str | Path, beside: Path) -> tuple[Path, Path]:
    """Return the file of a recipe, and the folder that its relative paths start from.

    Those of a recipe that comes with voxanchor start from `beside`, as if it had been copied there.

    Args:
        reference: the path of a file, or the name of a recipe that comes with voxanchor; a file goes first.
        beside: folder that a relative path starts from.

    Raises:
        RecipeError: there is neither.
    """
    path = beside / reference
    if path.is_file() or path.suffix in (".yaml", ".yml"):
        return path, path.resolve().parent
    return packaged_recipe(str(reference)), beside.resolve()


def about(path: Path) -> str:
    """Return what a recipe is for: the first sentence of the comment at its top."""
    comment = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        comment.append(line.removeprefix("#").strip())
    return " ".join(comment).partition(". ")[0].rstrip(".").replace("`", "'")
