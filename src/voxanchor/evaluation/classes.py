"""Suites that go through the classes of noise there are, without those that a training has heard."""

from collections.abc import Iterable, Sequence

from voxanchor.conditions.channel import KINDS as CHANNELS
from voxanchor.conditions.channel import Channel
from voxanchor.conditions.suites import Suite
from voxanchor.corpus.noise_classes import classes_in
from voxanchor.errors import CorpusError, RecipeError

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
