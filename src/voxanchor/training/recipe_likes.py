"""Recipes and stages that are like others but for what they say: ``like`` and the differences."""

import copy
from collections.abc import Mapping
from typing import Any

from voxanchor import config
from voxanchor.errors import RecipeError

LIKE = "like"
"""Key of a recipe: another recipe, by file or name; and of a stage: an earlier stage. What stands beside it replaces
what is there, key by key; a key with nothing behind it is taken out."""


def merged(model: Any, changes: Any) -> Any:
    """Return `model` with `changes`: mappings key by key, anything else as a whole, and without what became None."""
    if not (isinstance(model, Mapping) and isinstance(changes, Mapping)):
        return copy.deepcopy(changes)
    result = {key: copy.deepcopy(value) for key, value in model.items() if changes.get(key, "") is not None}
    for key, value in changes.items():
        if value is not None:
            result[key] = merged(model.get(key), value)
    return result


def spell_stages(values: dict[str, Any]) -> None:
    """Write out, in place, the stages that are like earlier ones.

    Raises:
        RecipeError: a stage that is like none of those before it.
    """
    stages = values.get("stages")
    if not isinstance(stages, dict):
        return
    for name, stage in stages.items():
        if not (isinstance(stage, dict) and LIKE in stage):
            continue
        earlier = list(stages)[: list(stages).index(name)]
        if stage[LIKE] not in earlier:
            hint = config.nearest(str(stage[LIKE]), earlier)
            raise RecipeError(f"stages.{name}.like: '{stage[LIKE]}' is not an earlier stage. {hint}")
        stages[name] = merged(stages[stage[LIKE]], {key: value for key, value in stage.items() if key != LIKE})
