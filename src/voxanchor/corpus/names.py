"""The names by which trial lists speak of utterances."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from voxanchor.corpus.manifest import Manifest


class NameIndex:
    """Finds utterances by the names that trial lists use: with or without suffix, with more or fewer folders."""

    def __init__(self, manifest: Manifest) -> None:
        self._whole: dict[str, int] = {}
        self._endings: dict[str, int | None] = {}
        self._folders_dropped: dict[int, str] = {}
        for index, utterance in enumerate(manifest.utterances):
            for position, key in self._endings_of(utterance.id):
                self._endings[key] = None if key in self._endings else index  # None: several end so
                if position == 0:
                    self._whole.setdefault(key, index)
        for index, utterance in enumerate(manifest.utterances):
            self._whole[utterance.id] = index  # as written goes before anything else

    @staticmethod
    def _endings_of(name: str) -> Iterator[tuple[int, str]]:
        """Yield (leading folders dropped, what is left) with and without suffix."""
        path = PurePosixPath(name.replace("\\", "/"))
        for dropped in range(len(path.parts)):
            for last in dict.fromkeys((path.name, path.stem)):
                yield dropped, "/".join((*path.parts[dropped:-1], last))

    def find(self, name: str) -> int | None:
        """Return the index of the utterance of that name, or None when there is none or it could be several."""
        if name in self._whole:
            return self._whole[name]
        for dropped, key in self._endings_of(name):
            at = self._endings.get(key) if dropped == 0 else self._whole.get(key)
            if at is not None:
                folders = "/".join(PurePosixPath(name).parts[:dropped])
                # x/1.wav and y/1.wav are two recordings: they cannot both be the one utterance 1.wav
                return at if self._folders_dropped.setdefault(at, folders) == folders else None
        return None
