"""The names by which trial lists speak of utterances."""

import unicodedata
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property

from voxanchor.audio.io import AUDIO_SUFFIXES
from voxanchor.corpus.manifest import Manifest

MISSING = -1
"""In the place of an index: no utterance is called so."""

SEVERAL = -2
"""In the place of an index: more than one utterance could be meant."""


class NameIndex:
    """Finds utterances by the names that trial lists use.

    With or without the suffix of an audio file, with more or fewer folders, in whatever Unicode normalisation, and as
    Kaldi calls them: ``id-video-number`` for ``id/video/number.wav``. Where several fit, none is chosen.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._ids = [_composed(utterance.id) for utterance in manifest.utterances]
        self._exact: dict[str, int] = {}
        for index, name in enumerate(self._ids):
            _put(self._exact, name, index)
        self._folders_dropped: dict[int, str] = {}

    def find(self, name: str) -> int:
        """Return the index of the utterance of that name, `MISSING` or `SEVERAL`."""
        name = _composed(name)
        if name in self._exact:
            return self._exact[name]
        for folders, key in _endings_of(name):
            at = self._whole.get(key, MISSING)
            if at == MISSING and not folders:
                at = self._endings.get(key, MISSING)
            if at >= 0 and self._folders_dropped.setdefault(at, folders) != folders:
                # x/1.wav and y/1.wav are two recordings: they cannot both be the one utterance 1.wav
                return MISSING
            if at != MISSING:
                return at
        return self._joined.get(_without_suffix(name), MISSING)

    def fitting(self, name: str) -> list[int]:
        """Return the indices of the utterances that a name could mean, for a message: this looks at every one."""
        wanted = {key for _, key in _endings_of(_composed(name))}
        return [
            index
            for index, own in enumerate(self._ids)
            if any(key in wanted for _, key in _endings_of(own)) or not wanted.isdisjoint(_joined_of(own))
        ]

    # Most lists name every utterance by its id, and need none of these.

    @cached_property
    def _whole(self) -> dict[str, int]:
        return self._table(lambda name: (key for folders, key in _endings_of(name) if not folders))

    @cached_property
    def _endings(self) -> dict[str, int]:
        return self._table(lambda name: (key for _, key in _endings_of(name)))

    @cached_property
    def _joined(self) -> dict[str, int]:
        return self._table(_joined_of)

    def _table(self, keys: Callable[[str], Iterable[str]]) -> dict[str, int]:
        table: dict[str, int] = {}
        for index, name in enumerate(self._ids):
            for key in keys(name):
                _put(table, key, index)
        return table


def _put(table: dict[str, int], key: str, index: int) -> None:
    table[key] = index if table.get(key, index) == index else SEVERAL


def _composed(name: str) -> str:
    """Return a name as it is compared: macOS takes letters and their accents apart, and other systems do not."""
    return unicodedata.normalize("NFC", name)


def _without_suffix(name: str) -> str:
    """Return a name without the suffix of an audio file: the ``.2`` of ``rec.2`` is none."""
    stem, dot, suffix = name.rpartition(".")
    return stem if f"{dot}{suffix}".lower() in AUDIO_SUFFIXES and stem[-1:] not in ("", "/") else name


def _endings_of(name: str) -> Iterator[tuple[str, str]]:
    """Yield (leading folders dropped, what is left) with and without the suffix, the longest first."""
    parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".")]
    last = parts[-1] if parts else ""
    for dropped in range(len(parts)):
        for file in dict.fromkeys((last, _without_suffix(last))):
            yield "/".join(parts[:dropped]), "/".join((*parts[dropped:-1], file))


def _joined_of(name: str) -> Iterator[str]:
    """Yield folders and name with hyphens between, with all leading folders and with fewer."""
    parts = _without_suffix(name).split("/")
    return ("-".join(parts[dropped:]) for dropped in range(len(parts) - 1))
