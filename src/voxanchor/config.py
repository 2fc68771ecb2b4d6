"""From YAML to frozen dataclasses and back: typed, strict, and with errors that name the nearest key.

One dataclass definition gives the file format, the ``--set`` overrides and the types. YAML reads ``1e-3`` as a string;
values are therefore converted to the annotated type here, and anything that does not fit is an error with its place.
"""

import dataclasses
import difflib
import hashlib
import inspect
import json
import os
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import yaml

from voxanchor.errors import RecipeError
from voxanchor.files import ENCODING_ERRORS

T = TypeVar("T")

LATER: Mapping[str, bool] = {"later": True}
"""Metadata of a field that was added after runs had been made: left out of the plain form while it has its default, so
that what was made before keeps its identity and its fingerprint."""


def formerly(name: str) -> dict[str, str]:
    """Return the metadata of a field that files once called `name`.

    Files may use either word, and `dump` writes the present one. Identities and fingerprints (`to_plain`) keep the
    first: a run folder, a cache or a model made under the old name is still known as the same.
    """
    return {"formerly": name}


def build(cls: type[T], values: Mapping[str, Any], where: str = "recipe") -> T:
    """Return an instance of the dataclass `cls` from plain values.

    Raises:
        RecipeError: unknown key (names the nearest), missing key, a key under both its names, or a value of the wrong
            type.
    """
    if not isinstance(values, Mapping):
        raise RecipeError(f"{where}: expected keys and values, found {_show(values)}")
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
    values = _renamed(cls, values, where)
    for key in values:
        if key not in fields:
            raise RecipeError(f"{where}: unknown key '{key}'. {nearest(str(key), fields)}")
    arguments = {key: convert(hints[key], value, f"{where}.{key}") for key, value in values.items()}
    missing = [
        name
        for name, field in fields.items()
        if name not in arguments
        and field.default is dataclasses.MISSING
        and field.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise RecipeError(f"{where}: missing key{'s' if len(missing) > 1 else ''} {', '.join(missing)}")
    try:
        return cls(**arguments)
    except RecipeError as error:
        raise RecipeError(f"{where}: {error}") from None


def current(hint: Any, values: Any, where: str = "recipe") -> Any:
    """Return plain values with every key by its present name, all the way down.

    Two sets of values can then be merged key by key, whichever names they were written with.

    Args:
        hint: dataclass, or other type, that the values are of.
        values: as a file has them; what does not fit the type stays as it is, for `build` to refuse.
        where: the place, for messages.

    Raises:
        RecipeError: a key under both its names.
    """
    if isinstance(values, Mapping):
        if (cls := _dataclass_of(hint)) is not None:
            values = _renamed(cls, values, where)
        return {key: current(_item(hint, key), value, f"{where}.{key}") for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [current(_item(hint, i), value, f"{where}.{i}") for i, value in enumerate(values)]
    return values


def _renamed(cls: Any, values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    """Return the values of a dataclass by the present names of its fields."""
    names = {old: field.name for field in dataclasses.fields(cls) if (old := field.metadata.get("formerly"))}
    for old, new in names.items():
        if old in values and new in values:
            raise RecipeError(f"{where}: '{old}' is the former name of '{new}'. Give one of them")
    return {names.get(key, key): value for key, value in values.items()}


def _dataclass_of(hint: Any) -> type | None:
    """Return the dataclass that a type is, or that is among its choices."""
    choices = (hint, *get_args(hint)) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    return next((one for one in choices if isinstance(one, type) and dataclasses.is_dataclass(one)), None)


def _item(hint: Any, key: Any) -> Any:
    """Return the type of what stands at a key, or a position, of a value of type `hint`; None where it is unknown."""
    if (cls := _dataclass_of(hint)) is not None:
        return typing.get_type_hints(cls).get(str(key))
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is dict:
        return arguments[1]
    return arguments[0] if origin is tuple and arguments else None


def nearest(name: str, known: Iterable[str]) -> str:
    """Return the sentence that helps a misspelt `name`: the nearest known one, or the list of them."""
    names = [str(item) for item in known]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"Did you mean '{close[0]}'?"
    return f"Known: {', '.join(names) or 'none'}."


def read_yaml(path: str | Path) -> dict[str, Any]:
    """Return the mapping in a YAML file, read as data only.

    Raises:
        RecipeError: missing file, invalid YAML, or a document that is not a mapping.
    """
    path = Path(path)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read ({error.strerror}). Give the path of a YAML file.") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: not valid YAML: {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: expected keys and values at the top, found {_show(values)}")
    return values


def override(values: Mapping[str, Any], settings: Sequence[str], cls: type | None = None) -> dict[str, Any]:
    """Return `values` with dotted ``key=value`` settings applied; a value is read as YAML.

    ``stages.base.steps=100`` and ``data.speech.0.path=/data`` both work.

    Args:
        values: plain ones.
        settings: in the order in which they apply.
        cls: dataclass that the values are of; with it keys may have their former names, there and here.

    Raises:
        RecipeError: a setting without ``=`` or one that walks through something that has no keys.
    """
    result: dict[str, Any] = to_plain(values)
    if cls is not None:
        result = current(cls, result)
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals or not key:
            raise RecipeError(f"--set {setting}: expected key=value, for example stages.base.steps=100")
        try:
            value = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError(f"--set {setting}: the value is not valid YAML: {error}") from None
        target: Any = result
        *parents, last = key.split(".") if cls is None else _current_path(cls, key.split("."))
        for name in parents:
            target = _step(target, name, setting)
        if isinstance(target, list):
            target[_position(target, last, setting)] = value
        elif isinstance(target, dict):
            target[last] = value
        else:
            raise RecipeError(f"--set {setting}: '{'.'.join(parents)}' has no keys")
    return result


def _current_path(cls: Any, names: Sequence[str]) -> list[str]:
    """Return a dotted key, in its parts, by the present names of the fields that it leads through."""
    path, hint = [], cls
    for name in names:
        fields = dataclasses.fields(owner) if (owner := _dataclass_of(hint)) is not None else ()
        path.append(next((field.name for field in fields if field.metadata.get("formerly") == name), name))
        hint = _item(hint, path[-1])
    return path


def to_plain(config: Any) -> Any:
    """Return dataclasses, tuples and paths as the plain values that YAML and JSON hold.

    This is the form that identities are made of: fields stand under the names that they had first (`formerly`).
    """
    return _plain(config, first_names=True)


def dump(config: Any) -> str:
    """Return `config` as YAML text, by the present names of fields, that `build` reads back to an equal value."""
    return yaml.safe_dump(_plain(config, first_names=False), sort_keys=False, allow_unicode=True, width=120)


def fingerprint(*parts: Any) -> str:
    """Return 16 hexadecimal digits that change when any of `parts` (plain values or dataclasses) does."""
    text = json.dumps([to_plain(part) for part in parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8", ENCODING_ERRORS)).hexdigest()[:16]


def descriptions(cls: type) -> dict[str, str]:
    """Return what the ``Attributes`` section of a class's docstring says of each field, those of its bases included."""
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        section = inspect.cleandoc(base.__doc__ or "").partition("\nAttributes:\n")[2].partition("\n\n")[0]
        found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
        texts |= {name: " ".join(text.replace("`", "").split()) for name, text in found}
    return texts


def convert(hint: Any, value: Any, where: str) -> Any:
    """Return a plain value as the type `hint` has it: ``"1e-3"`` as a float, a list as a tuple, and so on.

    Raises:
        RecipeError: a value that is none of that type.
    """
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Union or origin is types.UnionType:
        return _convert_union(arguments, value, where)
    if origin is Literal:
        if value in arguments:
            return value
        raise RecipeError(f"{where}: {_show(value)} is not a choice. {nearest(str(value), map(str, arguments))}")
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return value if isinstance(value, hint) else build(hint, value, where)
    if origin is tuple:
        return _convert_tuple(arguments, value, where)
    if origin is dict:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where}: expected keys and values, found {_show(value)}")
        return {str(key): convert(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    return _convert_scalar(hint, value, where)


def _convert_union(choices: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and type(None) in choices:
        return None
    failures = []
    for choice in choices:
        if choice is not type(None):
            try:
                return convert(choice, value, where)
            except RecipeError as error:
                failures.append(error)
    raise failures[0]


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RecipeError(f"{where}: expected a list, found {_show(value)}")
    if len(arguments) == 2 and arguments[1] is Ellipsis:
        return tuple(convert(arguments[0], item, f"{where}.{i}") for i, item in enumerate(value))
    if len(value) != len(arguments):
        raise RecipeError(f"{where}: expected {len(arguments)} values, found {len(value)}")
    return tuple(
        convert(hint, item, f"{where}.{i}") for i, (hint, item) in enumerate(zip(arguments, value, strict=True))
    )


def _convert_scalar(hint: Any, value: Any, where: str) -> Any:
    if hint is bool and isinstance(value, bool):
        return value
    if hint is str and isinstance(value, str | os.PathLike):
        return os.fspath(value)
    if hint in (int, float) and not isinstance(value, bool):
        try:
            number = float(value)
            if hint is float:
                return number
            if number.is_integer():
                return int(number)
        except (TypeError, ValueError, OverflowError):
            pass
    name = getattr(hint, "__name__", str(hint))
    raise RecipeError(f"{where}: expected {name}, found {_show(value)}")


def _step(target: Any, name: str, setting: str) -> Any:
    if isinstance(target, list):
        return target[_position(target, name, setting)]
    if isinstance(target, dict):
        if target.get(name) is None:
            target[name] = {}
        return target[name]
    raise RecipeError(f"--set {setting}: '{name}' is inside a value that has no keys")


def _position(target: list[Any], name: str, setting: str) -> int:
    if name.isdigit() and int(name) < len(target):
        return int(name)
    raise RecipeError(f"--set {setting}: '{name}' is not a position in a list of {len(target)}")


def _plain(value: Any, *, first_names: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            (field.metadata.get("formerly", field.name) if first_names else field.name): _plain(
                getattr(value, field.name), first_names=first_names
            )
            for field in dataclasses.fields(value)
            if not _left_out(value, field)
        }
    if isinstance(value, Mapping):
        return {str(key): _plain(item, first_names=first_names) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, first_names=first_names) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def _left_out(value: Any, field: dataclasses.Field[Any]) -> bool:
    if not field.metadata.get("later"):
        return False
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return bool(getattr(value, field.name) == default)


def _show(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {str(value)[:60]!r}"
