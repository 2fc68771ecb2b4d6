"""Where the folders of a recipe lie: beside the recipe, or below the one place that it, or ``--set root=``, names."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from voxanchor.corpus.parts import with_part
from voxanchor.errors import RecipeError

ROOT = "root"
"""Key of a recipe: the folder that its other folders start from, itself beside the recipe."""


def take_root(values: dict[str, Any], folder: Path, settings: Sequence[str]) -> tuple[Path, list[str]]:
    """Return where the folders of a recipe start from, and the settings without those of it.

    The key is taken out of `values`: what a run is, is said by the folders it comes to.

    Args:
        values: of the recipe, as its file has them.
        folder: of the recipe's file.
        settings: ``key=value``; ``root=DIR`` counts from the working directory.

    Raises:
        RecipeError: a root that is not text.
    """
    root = values.pop(ROOT, "")
    if not isinstance(root, str):
        raise RecipeError(f"recipe.{ROOT}: expected the path of a folder, found {root!r}")
    given = [setting.removeprefix(f"{ROOT}=") for setting in settings if setting.startswith(f"{ROOT}=")]
    place = Path(given[-1]).absolute() if given else Path(os.path.normpath(folder / root)) if root else folder
    return place, [setting for setting in settings if not setting.startswith(f"{ROOT}=")]


def anchor_paths(values: Mapping[str, Any], root: Path, beside: Path) -> None:
    """Make the paths in a recipe's values absolute, in place.

    Args:
        values: of a recipe.
        root: where folders start from.
        beside: where suites in files start from.
    """
    data, evaluation = _mapping(values.get("data")), _mapping(values.get("evaluation"))
    further = [_mapping(entry) for entry in _mapping(evaluation.get("suites")).values()]
    for owner in (data, evaluation, *further):
        for key in ("noise", "rooms"):
            if isinstance(owner.get(key), list):
                owner[key] = [_anchored(item, root) for item in owner[key]]
    for key in ("speech", "trials", "enrolments"):
        if isinstance(evaluation.get(key), str) and evaluation[key]:
            evaluation[key] = str(root / evaluation[key])
    for entry in (evaluation, *further):
        name = entry.get("suite")
        # one in the working directory was found there before suites were looked for beside the recipe
        if isinstance(name, str) and Path(name).suffix in (".yaml", ".yml") and not Path(name).exists():
            entry["suite"] = str(beside / name)
    speech = data.get("speech")
    for source in speech if isinstance(speech, list) else ():
        if isinstance(source, dict) and isinstance(source.get("path"), str):
            source["path"] = str(root / source["path"])


def spell_parts(values: Mapping[str, Any]) -> None:
    """Write noise folders given as ``{path: musan, part: odd}`` as the one word ``musan::odd``, in place.

    Raises:
        RecipeError: another key, or a part that there is not.
    """
    data, evaluation = _mapping(values.get("data")), _mapping(values.get("evaluation"))
    named = {f"evaluation.suites.{name}": entry for name, entry in _mapping(evaluation.get("suites")).items()}
    for where, owner in {"data": data, "evaluation": evaluation, **named}.items():
        if isinstance(owner, dict) and isinstance(owner.get("noise"), list):
            owner["noise"] = [_spelt(item, f"recipe.{where}.noise.{i}") for i, item in enumerate(owner["noise"])]


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _anchored(item: Any, root: Path) -> Any:
    if isinstance(item, dict) and isinstance(item.get("path"), str):
        return {**item, "path": str(root / item["path"])}
    return str(root / item) if isinstance(item, str) else item


def _spelt(item: Any, where: str) -> Any:
    if not isinstance(item, dict):
        return item
    path, part = item.get("path"), item.get("part", "all")
    if set(item) - {"path", "part"} or not isinstance(path, str) or not isinstance(part, str):
        raise RecipeError(f"{where}: a noise folder is its path, or {{path: DIR, part: even}}; found {item}")
    try:
        return with_part(path, part)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None
