"""Named suites of conditions, and suites over classes of noise."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from importlib import resources
from pathlib import Path

import yaml

from voxanchor.audio.snr import SnrLevels
from voxanchor.conditions.spec import KINDS as CHANNELS
from voxanchor.conditions.spec import Channel, Condition
from voxanchor.corpus.noise_folders import classes_in
from voxanchor.errors import CorpusError, RecipeError

_KEYS = ("name", "conditions", "each_class", "snr")
_SPOKEN_KEYS = "name and conditions, and each_class where it goes through classes of noise, and snr"

_WHOLE = "-whole-snr"
"""Behind the name of a suite in tables, where its ratios lie between whole-signal levels: figures are never mixed."""

FIELD_SUITES = ("noise", f"noise{_WHOLE}")
"""Suites whose averages the field calls avg15 and avg16, as tables name them."""


@dataclass(frozen=True)
class Suite:
    """Conditions a model is evaluated under.

    Attributes:
        name: stands in the column ``suite`` of every table.
        conditions: clean first, as the reference for all others; none twice.
        each_class: signal-to-noise ratios in dB that `expanded` adds for every class of noise.
        snr: what the ratios of all its conditions lie between.

    Raises:
        RecipeError: no name, a condition or ratio twice, or clean not in the first place.
    """

    name: str
    conditions: tuple[Condition, ...]
    each_class: tuple[float, ...] = ()
    snr: SnrLevels = "active"

    def __post_init__(self) -> None:
        object.__setattr__(self, "conditions", tuple(self._measured(condition) for condition in self.conditions))
        if not self.name:
            raise RecipeError("a suite needs a name")
        names = [condition.name for condition in (*self.conditions, *_class_conditions(("class",), self.each_class))]
        if not names or names[0] != "clean":
            raise RecipeError(f"suite '{self.name}': the first condition must be clean, the reference for all others")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise RecipeError(f"suite '{self.name}': listed twice: {', '.join(twice)}")

    def _measured(self, condition: Condition) -> Condition:
        return condition if condition.noise is None else replace(condition, snr=self.snr)

    @property
    def label(self) -> str:
        """What tables and reports call it: the name, and what its ratios lie between where that is not usual."""
        return self.name if self.snr == "active" else self.name + _WHOLE

    @property
    def noisy(self) -> tuple[Condition, ...]:
        """All conditions but clean."""
        return tuple(condition for condition in self.conditions if not condition.is_clean)

    def expanded(self, classes: Sequence[str]) -> "Suite":
        """Return the suite with a condition for every class of noise at each of the ratios `each_class`.

        Args:
            classes: kinds of noise; those that it has anyway are not added again.

        Raises:
            RecipeError: a class that cannot name a kind of noise.
        """
        added = tuple(map(self._measured, _class_conditions(classes, self.each_class)))
        new = tuple(condition for condition in added if condition not in self.conditions)
        return replace(self, conditions=self.conditions + new, each_class=())

    @property
    def where(self) -> str:
        """Where its conditions but clean are, for a sentence: ``"in noise"``, ``"in rooms"``, ``"over channels"``."""
        return where(self.noisy) if self.noisy else "in noise"


def snr_note(label: str) -> str:
    """Return what is to be said of the ratios of a suite by its `Suite.label`; nothing where they are the usual."""
    return "SNR between whole-signal levels" if label.endswith(_WHOLE) else ""


def where(conditions: Sequence[Condition]) -> str:
    """Return where conditions are, for a sentence: ``"in noise"``, ``"in rooms and over channels"``."""
    places = []
    if any(condition.noise is not None for condition in conditions):
        places.append("in noise")
    elif any(condition.room is not None for condition in conditions):
        places.append("in rooms")
    if any(condition.channel is not None for condition in conditions):
        places.append("over channels")
    return " and ".join(places)


def _class_conditions(classes: Sequence[str], ratios_db: Sequence[float]) -> tuple[Condition, ...]:
    return tuple(Condition(name, ratio_db) for name in classes for ratio_db in ratios_db)


def suite_names() -> tuple[str, ...]:
    """Return the names of the suites that come with the program."""
    folder = resources.files("voxanchor.conditions")
    return tuple(sorted(Path(entry.name).stem for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def suite(reference: str | Path) -> Suite:
    """Return a suite by its name, or from a YAML file that holds ``name`` and ``conditions``.

    Args:
        reference: one of `suite_names` (docs/conditions.md), such as ``"noise"`` (clean, and noise, music and babble
            at 0, 5, 10, 15 and 20 dB: 16 conditions), or the path of a file such as::

                name: street
                conditions: [clean, traffic_-5db, reverb_0.4s, reverb_0.4s+traffic_5db+gsm]
                each_class: [0, 10]   # may be left out: ratios for every class of noise there is
                snr: whole            # may be left out: ratios of active levels

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


def _parse(text: str, source: str) -> Suite:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"{source}: not valid YAML: {error}") from error
    if not isinstance(data, dict):
        raise RecipeError(f"{source}: a suite is a mapping with the keys {_SPOKEN_KEYS}")
    for key in data:
        if key not in _KEYS:
            near = get_close_matches(str(key), _KEYS, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise RecipeError(f"{source}: unknown key '{key}', a suite has {_SPOKEN_KEYS}{hint}")
    name, conditions = data.get("name"), data.get("conditions")
    if not isinstance(name, str) or not isinstance(conditions, list):
        raise RecipeError(f"{source}: 'name' must be text and 'conditions' a list such as [clean, babble_0db]")
    ratios = data.get("each_class", [])
    if not isinstance(ratios, list) or not all(type(ratio) in (int, float) for ratio in ratios):
        raise RecipeError(f"{source}: 'each_class' is a list of signal-to-noise ratios in dB, such as [0, 10]")
    levels = data.get("snr", "active")
    if levels not in ("active", "whole"):
        raise RecipeError(f"{source}: 'snr' is active or whole, the levels that ratios lie between, not {levels!r}")
    try:
        return Suite(name, tuple(Condition.parse(str(item)) for item in conditions), tuple(map(float, ratios)), levels)
    except RecipeError as error:
        raise RecipeError(f"{source}: {error}") from error


# Suites that go through the classes of noise there are, without those that a training has heard.

_TAKEN = {"clean", "noise", "music", "babble", *CHANNELS}


def class_kind(name: str) -> str:
    """Return the kind of noise that a class is offered as: its name, or ``<name>-noise`` where that means something."""
    return f"{name}-noise" if name in _TAKEN or Channel.parse(name) is not None else name


def noise_classes(folders: Iterable[str]) -> tuple[str, ...]:
    """Return the classes of noise that folders hold, sorted, without reading their files.

    Raises:
        CorpusError: a folder that is missing, or a pack that is damaged or of something else.
    """
    return tuple(sorted(frozenset[str]().union(*map(classes_in, folders))))


def refuse_unclassed(suite: Suite, folders: Sequence[str]) -> None:
    """Do nothing for a suite that its noise folders can serve.

    Raises:
        RecipeError: it goes through classes of noise, and there are no folders.
    """
    if suite.each_class and not folders:
        raise RecipeError(
            f"suite '{suite.name}' goes through the classes of recorded noise, and there is none: give a folder with "
            "--noise (noise: [...] in a recipe)"
        )


def with_classes(suite: Suite, classes: Sequence[str], heard: Iterable[str]) -> tuple[Suite, tuple[str, ...]]:
    """Return a suite with conditions for every class that training has not heard, and the classes left out of it.

    A suite that asks for no classes comes back as it is. Classes are compared by name.

    Args:
        suite: what to expand.
        classes: those of the noise folders of the evaluation.
        heard: noise folders of the training.

    Raises:
        CorpusError: no class is left.
    """
    if not suite.each_class:
        return suite, ()
    known = noise_classes(heard)
    left_out = tuple(name for name in classes if name in known)
    unseen = [class_kind(name) for name in classes if name not in known]
    if not unseen:
        told = f": the training heard {', '.join(left_out)}" if left_out else ""
        raise CorpusError(f"suite '{suite.name}': no class of noise is left{told}; give other noise folders")
    return suite.expanded(unseen), left_out
