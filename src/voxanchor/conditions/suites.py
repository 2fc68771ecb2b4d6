"""Named lists of conditions to evaluate under."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import yaml

from voxanchor.conditions.spec import Condition
from voxanchor.errors import RecipeError

_KEYS = ("name", "conditions")


@dataclass(frozen=True)
class Suite:
    """Conditions a model is evaluated under.

    Attributes:
        name: stands in the column ``suite`` of every table.
        conditions: clean first, as the reference for all others; none twice.

    Raises:
        RecipeError: no name, a condition twice, or clean not in the first place.
    """

    name: str
    conditions: tuple[Condition, ...]

    def __post_init__(self) -> None:
        if not self.name:
            raise RecipeError("a suite needs a name")
        names = [condition.name for condition in self.conditions]
        if not names or names[0] != "clean":
            raise RecipeError(f"suite '{self.name}': the first condition must be clean, the reference for all others")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RecipeError(f"suite '{self.name}': listed twice: {', '.join(twice)}")

    @property
    def noisy(self) -> tuple[Condition, ...]:
        """All conditions but clean."""
        return tuple(condition for condition in self.conditions if not condition.is_clean)


def suite_names() -> tuple[str, ...]:
    """Return the names of the suites that come with the program."""
    folder = resources.files("voxanchor.conditions")
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def suite(reference: str | Path) -> Suite:
    """Return a suite by its name, or from a YAML file that holds ``name`` and ``conditions``.

    Args:
        reference: ``"noise"`` (clean, and noise, music and babble at 0, 5, 10, 15 and 20 dB: 16 conditions),
            ``"reverb"`` (clean, synthetic rooms of 0.3, 0.6 and 1 s, and measured rooms), or the path of a file such
            as::

                name: street
                conditions: [clean, traffic_-5db, reverb_0.4s, reverb_0.4s+traffic_5db]

    Raises:
        RecipeError: no suite of that name and no such file, or a file that does not describe a suite.
    """
    text = str(reference)
    if text in suite_names():
        packaged = resources.files("voxanchor.conditions").joinpath(f"{text}.yaml")
        return _parse(packaged.read_text(encoding="utf-8"), f"suite {text}")
    path = Path(reference)
    if path.suffix not in (".yaml", ".yml"):
        near = get_close_matches(text, suite_names(), n=1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise RecipeError(f"no suite '{text}': there is {', '.join(suite_names())}, or give a .yaml file{hint}")
    try:
        return _parse(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: the suite cannot be read ({error})") from error


def _parse(text: str, where: str) -> Suite:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{where}: a suite is a mapping with the keys {' and '.join(_KEYS)}")
    for key in data:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise RecipeError(f"{where}: unknown key '{key}', a suite has {' and '.join(_KEYS)}{hint}")
    name, conditions = data.get("name"), data.get("conditions")
    if not isinstance(name, str) or not isinstance(conditions, list):
        raise RecipeError(f"{where}: 'name' must be text and 'conditions' a list such as [clean, babble_0db]")
    try:
        return Suite(name, tuple(Condition.parse(str(item)) for item in conditions))
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from error
