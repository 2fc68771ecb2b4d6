"""HyperPyYAML, the language of SpeechBrain's settings, read as data.

Its tags name classes and functions to be called, and a file may name any. Here none is imported: tags stay names.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from voxanchor.errors import ModelError

_REFERENCE = re.compile(r"<([^<>]+)>")
_MAKERS = ("new:", "name:")
_REFERENCES = ("ref", "copy")


@dataclass(frozen=True)
class Made:
    """What the file wants to be made by calling something.

    Attributes:
        name: dotted, of what is to be called.
        arguments: by name, those without one by position; references in them as they stand.
    """

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class _Reference:
    text: str


class Settings:
    """The settings in a HyperPyYAML file, as plain values, `Made` for what is to be called.

    Tags that neither refer to another key nor call something are left out, and their values and references to parts of
    a text stay as they are written.

    Args:
        path: of the file.

    Raises:
        ModelError: a file that cannot be read, or holds no keys and values.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            values = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except OSError as error:
            raise ModelError(f"{path}: cannot be read ({error.strerror})") from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ModelError(f"{path}: not valid YAML: {error}") from None
        if not isinstance(values, dict):
            raise ModelError(f"{path}: expected keys and values at the top, found {type(values).__name__}")
        self._values: dict[str, Any] = values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def __getitem__(self, key: str) -> Any:
        """Return a setting; a dot leads into one that has keys of its own.

        Raises:
            ModelError: no such key, or one that refers to none or to itself.
        """
        return self._at(key, ())

    def resolved(self, value: Any) -> Any:
        """Return a value of an argument: what it refers to; of a list, what its items do.

        Raises:
            ModelError: a reference to no key.
        """
        value = self._followed(value, ())
        return [self._followed(item, ()) for item in value] if isinstance(value, list) else value

    def _at(self, key: str, pending: tuple[str, ...]) -> Any:
        if key in pending:
            raise ModelError(f"{self.path}: '{key}' refers to itself")
        value: Any = self._values
        for name in re.findall(r"[^.\[\]]+", key):
            value = self._followed(value, (*pending, key))
            value = value.arguments if isinstance(value, Made) else value
            if not isinstance(value, Mapping) or name not in value:
                raise ModelError(f"{self.path}: there is no '{key}'")
            value = value[name]
        return self._followed(value, (*pending, key))

    def _followed(self, value: Any, pending: tuple[str, ...]) -> Any:
        if not isinstance(value, _Reference):
            return value
        whole = _REFERENCE.fullmatch(value.text)
        return self._at(whole[1], pending) if whole else value.text


class _Loader(yaml.SafeLoader):
    """The loader of YAML that makes plain values only, which takes unknown tags for names instead of refusing them."""


def _tagged(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    value: Any
    if isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        assert isinstance(node, yaml.ScalarNode)
        value = loader.construct_scalar(node)
    tag = str(node.tag).removeprefix("!")
    if tag in _REFERENCES and isinstance(value, str):
        return _Reference(value)
    for maker in _MAKERS:
        if tag.startswith(maker):
            return Made(tag.removeprefix(maker), _by_name(value))
    return value


def _by_name(arguments: Any) -> dict[str, Any]:
    if isinstance(arguments, list):
        return {str(position): value for position, value in enumerate(arguments)}
    return arguments if isinstance(arguments, dict) else {}


_Loader.add_multi_constructor("", _tagged)
