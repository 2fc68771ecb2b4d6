"""Code of the user's that makes a model: run only where the user named it, and its mistakes told plainly."""

import contextlib
import importlib
import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import nn

import voxanchor
from voxanchor.config import nearest
from voxanchor.errors import ModelError

EXPECTED = "Expected is a function without arguments that returns a torch module: waveforms (B, T) to embeddings (B, D)"

_trusted: set[str] = set()


class UntrustedCodeError(ModelError):
    """A model that is made by code which nobody named in this process.

    Args:
        target: the code, ``module:function``.
        folder: of the model; empty where it is not from a directory.
    """

    def __init__(self, target: str, folder: str = "") -> None:
        super().__init__(target, folder)
        self.target, self.folder = target, folder

    def __str__(self) -> str:
        advice = f"made by the code {self.target}. If you trust that code, name it: python:{self.target}"
        return f"{self.folder}: this model is {advice}:{self.folder}" if self.folder else f"a model that is {advice}"


def trust(target: str) -> None:
    """Let `make` run the code ``module:function`` in this process, because the user named it."""
    _trusted.add(target)


def is_trusted(target: str) -> bool:
    """Return whether the user named this code in this process."""
    return target in _trusted


@contextlib.contextmanager
def from_here() -> Iterator[None]:
    """Search the working directory first for what is imported inside; the path of modules is then what it was."""
    here = str(Path.cwd())
    if here in sys.path or "" in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):  # the user's code took it out itself
            sys.path.remove(here)


def make(target: str) -> nn.Module:
    """Return the module that the code ``module:function`` makes. The working directory is searched first.

    It is so while the module is made and first tried, and no longer: what the code imports later it must find itself.
    What the code prints goes to standard error.

    Raises:
        UntrustedCodeError: nobody named this code in this process; nothing of it was imported.
        ModelError: code that cannot be imported, takes arguments, raises, or returns something else.
    """
    if not is_trusted(target):
        raise UntrustedCodeError(target)
    with contextlib.redirect_stdout(sys.stderr), from_here():
        function = _find(target)
        _refuse_arguments(function, target)
        try:
            made = function()
        except (Exception, SystemExit) as error:
            raise ModelError(f"{target}: {told(error)}. {EXPECTED}.") from error
    if not isinstance(made, nn.Module):
        raise ModelError(f"{target}: returned {named(made)}. {EXPECTED}.")
    return made


def told(error: BaseException) -> str:
    """Return what an error of the user's code says, and where it was raised."""
    # neither this package nor what lies below the user's code is where to look
    others = (str(Path(voxanchor.__file__).parent), str(Path(nn.__file__).parents[1]), "<")
    frames = [one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(others)]
    where = f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
    return f"raised {type(error).__name__}: {error}{where}" if str(error) else f"raised {type(error).__name__}{where}"


def named(value: Any) -> str:
    """Return the type of a value as a person says it."""
    return "nothing" if value is None else f"a {type(value).__name__}"


def _find(target: str) -> Callable[[], Any]:
    name, _, attributes = target.partition(":")
    here = str(Path.cwd())
    importlib.invalidate_caches()  # a file written a moment ago
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ModelError(f"{target}: importing {name} {told(error)}") from error
        files = [path.stem for path in sorted(Path(here).glob("*.py"))]
        known = f" {nearest(name, files)}" if files else ""
        raise ModelError(f"{target}: no module '{name}' in {here}, nor among what is installed.{known}") from error
    except (Exception, SystemExit) as error:
        raise ModelError(f"{target}: importing {name} {told(error)}") from error
    for attribute in attributes.split("."):
        names = [known for known, value in vars(found).items() if callable(value)]
        found = getattr(found, attribute, None)
        if found is None:
            raise ModelError(f"{target}: {name} has no '{attribute}'. {nearest(attribute, names)}")
    if not callable(found) or isinstance(found, nn.Module):
        raise ModelError(f"{target}: is {named(found)}. {EXPECTED}.")
    function: Callable[[], Any] = found
    return function


def _refuse_arguments(function: Callable[[], Any], target: str) -> None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # written in C: the call will tell
        return
    try:
        signature.bind()
    except TypeError as error:
        raise ModelError(f"{target}: takes arguments, {signature}. {EXPECTED}.") from error
