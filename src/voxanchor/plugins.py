"""What others add under a name without touching the package: registered by code that ran, or by installed packages."""

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from voxanchor.config import nearest
from voxanchor.errors import VoxanchorError

Entry = TypeVar("Entry")


class Registry(Mapping[str, Entry]):
    """Entries by name: those that are built in, and those registered since.

    Nothing is imported because a recipe or a model's file asks for it: a name is looked up among what was registered,
    and among the entry points that an installed package declared for this very purpose. A file can choose among those;
    it cannot name a module.

    Args:
        what: what an entry is called in messages.
        group: of the entry points of installed packages, such as ``voxanchor.losses``.
        decorator: name of the function that registers.
        error: raised for a name that is not known.
        built_in: entries that are always there, and whose names nobody else may take.
        reserved: further names that nobody may take.
    """

    def __init__(
        self,
        what: str,
        group: str,
        decorator: str,
        error: type[VoxanchorError],
        built_in: Mapping[str, Entry] | None = None,
        reserved: frozenset[str] = frozenset(),
    ) -> None:
        self.what, self.group, self.decorator, self.error = what, group, decorator, error
        self._entries = dict(built_in or {})
        self._reserved = reserved | self._entries.keys()
        self._sources: dict[str, tuple[str, str]] = {}

    def add(self, name: str, entry: Entry, source: Any) -> None:
        """Register an entry.

        Args:
            name: lower-case letters, digits and ``_``, a letter first.
            entry: what is found under it.
            source: the function or class; the same one defined anew, in a notebook, replaces itself.

        Raises:
            ValueError: a name of another form, or one that is taken.
        """
        if not (name.isidentifier() and name.isascii() and name == name.lower() and name[0].isalpha()):
            raise ValueError(f"{self.what} '{name}': a name has lower-case letters, digits and '_', a letter first")
        if name in self._reserved:
            raise ValueError(f"{self.what} '{name}': the name is voxanchor's own. Choose another")
        place = (source.__module__, source.__qualname__)
        if self._sources.get(name, place) != place:
            raise ValueError(f"{self.what} '{name}': {'.'.join(self._sources[name])} registered it already")
        self._entries[name], self._sources[name] = entry, place

    def require(self, name: str) -> Entry:
        """Return what is registered under a name; an installed package that offers it is imported for that.

        Raises:
            VoxanchorError: of the registry's kind: nothing of that name, or a package that fails to give it.
        """
        if name not in self._entries:
            for offer in self._offers():
                if offer.name == name:
                    self._load(offer)
        if name not in self._entries:
            known = [*self._entries, *(offer.name for offer in self._offers())]
            raise self.error(
                f"{self.what} '{name}' is not known here. {nearest(name, dict.fromkeys(known))} One of your own is "
                f"known once the code that registers it has run (voxanchor.{self.decorator}; docs/extending.md)"
            )
        return self._entries[name]

    def _offers(self) -> tuple[EntryPoint, ...]:
        return tuple(entry_points(group=self.group))

    def _load(self, offer: EntryPoint) -> None:
        """Import what an installed package offers; its decorator registers it."""
        package = offer.dist.name if offer.dist is not None else offer.value
        try:
            offer.load()
        except Exception as error:  # whatever somebody else's code raises
            raise self.error(
                f"{self.what} '{offer.name}' of the package {package} cannot be loaded "
                f"({type(error).__name__}: {error})"
            ) from error
        if offer.name not in self._entries:
            raise self.error(
                f"the package {package} offers the {self.what} '{offer.name}', but {offer.value} registers none of "
                f"that name. It needs @voxanchor.{self.decorator}({offer.name!r}, ...)"
            )

    def __getitem__(self, name: str) -> Entry:
        return self._entries[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
