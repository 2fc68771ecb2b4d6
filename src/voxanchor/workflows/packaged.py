"""The recipes that ship with the package, as plain values for a command to complete."""

from importlib import resources
from typing import Any

import yaml


def packaged_recipe(name: str) -> dict[str, Any]:
    """Return the values of ``voxanchor/recipes/<name>.yaml``."""
    text = resources.files("voxanchor").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values
