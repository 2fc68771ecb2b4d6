"""Who may use the service: named keys, of which only digests stay in memory."""

import hashlib
import hmac
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from voxanchor.errors import RecipeError

VARIABLE = "VOXANCHOR_API_KEYS"
"""Environment variable with keys, in lines as in a file, or several in one line with a comma between them."""

SHORTEST = 16
"""Characters of a key, at least: shorter ones can be guessed."""


@dataclass(frozen=True)
class Keys:
    """API keys.

    Attributes:
        digests: the name of each, for logs, and the SHA-256 of the key.
    """

    digests: tuple[tuple[str, bytes], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.digests)

    @classmethod
    def parse(cls, text: str, where: str) -> Self:
        """Return the keys of a text: a name, a blank and the key in each line; ``#`` begins a remark.

        Raises:
            RecipeError: a line of another form, a key that is too short, a name or key that stands there twice.
        """
        found: dict[str, bytes] = {}
        for number, line in enumerate(text.replace(",", "\n").splitlines(), start=1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            if len(words) != 2:  # the line itself is a secret, so the message does not repeat it
                raise RecipeError(f"{where}, line {number}: write a name, a blank and the key")
            name, key = words
            if len(key) < SHORTEST:
                raise RecipeError(
                    f"{where}, line {number}: the key of '{name}' has less than {SHORTEST} characters. "
                    "Make one: python -c 'import secrets; print(secrets.token_urlsafe(24))'"
                )
            digest = _digest(key)
            if name in found or digest in found.values():
                raise RecipeError(f"{where}, line {number}: a name or key that stands there already")
            found[name] = digest
        return cls(tuple(found.items()))

    @classmethod
    def read(cls, path: Path | None, environment: Mapping[str, str] = os.environ) -> Self:
        """Return the keys of a file, or where none is named those of the environment variable.

        Raises:
            RecipeError: the file cannot be read or holds no key, or as `parse`.
        """
        if path is None:
            return cls.parse(environment.get(VARIABLE, ""), VARIABLE)
        try:
            found = cls.parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not text"
            raise RecipeError(f"{path}: cannot be read ({reason}). Give a file of keys, 'name key' a line") from None
        if not found:
            raise RecipeError(f"{path}: holds no key. Write a name, a blank and the key into each line")
        return found

    def name_of(self, presented: str) -> str | None:
        """Return the name of a key; None for one that is not known. A wrong key takes as long as a right one."""
        digest, found = _digest(presented), None
        for name, known in self.digests:
            if hmac.compare_digest(digest, known):
                found = name
        return found


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
