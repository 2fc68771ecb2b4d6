"""Settings of the service and its API keys."""

import hashlib
import hmac
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from voxanchor.errors import RecipeError
from voxanchor.models.batches import BATCH_S
from voxanchor.scoring.backend import PRIOR

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


# What an operator of the service decides.


@dataclass(frozen=True)
class Settings:
    """Limits, keys, and the prior or rate that decisions are made for.

    Attributes:
        keys: who may ask; without any, everybody who reaches the port.
        local_only: answer only requests that name this machine as ``localhost`` or a loopback address, so that a page
            of another site, open in a browser here, cannot reach the service under a name of its own.
        max_upload_bytes: largest body of a request.
        max_duration_s: longest recording.
        max_decoded_bytes: largest recording after decoding, all channels, as 32-bit samples: a small compressed file
            may hold more than fits into memory.
        max_recordings: most recordings of one enrolment.
        timeout_s: how long a request may take, its upload included.
        max_requests: so many with a recording are in hand at once, waiting ones included; more are refused.
        workers: threads that decode recordings and wait for the model.
        model_threads: threads that run the model; it may use several cores in each of them.
        batch_s: padded seconds of audio that are embedded at once; 0 embeds each recording alone.
        prior: probability of one voice before anything was heard, where a request gives none.
        false_acceptance: in percent, in place of the prior.
        labels: what the served model and the one beside it are called on the page.
        keep_audio: keep enrolled recordings, so that another model can embed them anew.

    Raises:
        RecipeError: a limit that is not above 0, or a prior that is none.
    """

    keys: Keys = field(default_factory=Keys)
    local_only: bool = False
    max_upload_bytes: int = 25 * 2**20
    max_duration_s: float = 120.0
    max_decoded_bytes: int = 256 * 2**20
    max_recordings: int = 10
    timeout_s: float = 30.0
    max_requests: int = 64
    workers: int = 16
    model_threads: int = 1
    batch_s: float = BATCH_S
    prior: float = PRIOR
    false_acceptance: float | None = None
    labels: tuple[str, str] = ("served model", "model beside it")
    keep_audio: bool = False

    def __post_init__(self) -> None:
        for name in ("max_upload_bytes", "max_duration_s", "max_decoded_bytes", "max_recordings", "timeout_s"):
            self._refuse_unless(name, getattr(self, name) > 0)
        for name in ("max_requests", "workers", "model_threads"):
            self._refuse_unless(name, getattr(self, name) >= 1)
        self._refuse_unless("batch_s", self.batch_s >= 0)
        self._refuse_unless("prior", 0 < self.prior < 1)

    def _refuse_unless(self, name: str, possible: bool) -> None:
        if not possible or not math.isfinite(getattr(self, name)):
            raise RecipeError(f"serve: {name.replace('_', '-')} cannot be {getattr(self, name)}")
