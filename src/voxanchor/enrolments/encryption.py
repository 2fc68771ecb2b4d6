"""Encryption at rest: every embedding, every sum of embeddings and all audio, each bound to its place.

AES-256 in Galois/counter mode with a fresh nonce for each value. What a value belongs to (kind, person, model, number)
is its associated data: a value that was moved to another row, or changed, is refused. An older value of the very same
row put back in its place goes undetected. People's names, counts, times and the audit log are in clear.
"""

import base64
import binascii
import json
import os
import stat
from pathlib import Path
from typing import Protocol

from voxanchor.errors import EnrolmentError
from voxanchor.extras import missing

KEY_BYTES = 32
NONCE_BYTES = 12


class Seal(Protocol):
    """Turns bytes into what is stored, and back. `place` says what they belong to."""

    @property
    def encrypts(self) -> bool:
        """Whether what is stored is unreadable without a key."""
        ...

    def close(self, content: bytes, *place: str | int) -> bytes:
        """Return what is stored."""
        ...

    def open(self, stored: bytes, *place: str | int) -> bytes:
        """Return what was given to `close` with the same place.

        Raises:
            EnrolmentError: another key, another place, or a changed value.
        """
        ...


class Clear:
    """No encryption: what is stored is what was given."""

    encrypts = False

    def close(self, content: bytes, *_place: str | int) -> bytes:
        """Return `content`."""
        return content

    def open(self, stored: bytes, *_place: str | int) -> bytes:
        """Return `stored`."""
        return stored


class Sealed:
    """Encryption with one key.

    Args:
        key: 32 bytes.

    Raises:
        MissingExtraError: the package that encrypts is not installed.
    """

    encrypts = True

    def __init__(self, key: bytes) -> None:
        try:
            from cryptography.exceptions import InvalidTag
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        except ImportError:
            raise missing("cryptography", "an encrypted store") from None
        self._cipher = AESGCM(key)
        self._invalid = InvalidTag

    def close(self, content: bytes, *place: str | int) -> bytes:
        """Return nonce, ciphertext and tag: 28 bytes more than `content`."""
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, content, _label(place))

    def open(self, stored: bytes, *place: str | int) -> bytes:
        """Return the content.

        Raises:
            EnrolmentError: another key, another place, or a changed value.
        """
        try:
            return self._cipher.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], _label(place))
        except (self._invalid, ValueError):
            what = " ".join(str(part) for part in place)
            reason = "was changed, moved from another row, or sealed with another key. Restore the store from a copy."
            raise EnrolmentError(f"the sealed value of '{what}' {reason}") from None


def seal_of(key: bytes | None) -> Seal:
    """Return the encryption for a key, none without one."""
    return Clear() if key is None else Sealed(key)


def new_key() -> str:
    """Return a fresh random key as text, fit for a file or a secret of the deployment."""
    return base64.urlsafe_b64encode(os.urandom(KEY_BYTES)).decode("ascii")


def read_key(source: bytes | str | Path) -> bytes:
    """Return the 32 bytes of a key: given as its text, in bytes or str, or as the path of a file with that text.

    Raises:
        EnrolmentError: not a key; no such file; or a file that others than its owner may read.
    """
    if isinstance(source, Path) or (isinstance(source, str) and _is_file(source)):
        return _decoded(_read(Path(source)), f"the file {source}")
    if isinstance(source, bytes) and len(source) == KEY_BYTES:
        return source
    return _decoded(source, "the text given as key (or in VOXANCHOR_STORE_KEY)")


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _read(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if os.name == "posix" and mode & (stat.S_IRWXG | stat.S_IRWXO):
            raise EnrolmentError(
                f"{path}: others may read this key (mode {mode & 0o777:o}). Do: chmod 600 {path}; "
                "where it is mounted read-only, have it mounted with mode 400, or give VOXANCHOR_STORE_KEY instead"
            )
        return path.read_bytes()
    except OSError as error:
        raise EnrolmentError(f"{path}: the key cannot be read ({error.strerror})") from None


def _decoded(text: bytes | str, where: str) -> bytes:
    try:
        raw = text.encode("ascii") if isinstance(text, str) else text
        key = base64.b64decode(raw.strip(), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error):
        key = b""
    if len(key) != KEY_BYTES:  # never shows what was given: it may be nearly a key
        make = "voxanchor people key --out FILE"
        raise EnrolmentError(f"{where} is not a key: 32 bytes in urlsafe base64. Make one with: {make}")
    return key


def _label(place: tuple[str | int, ...]) -> bytes:
    """Return the place as bytes that no other place has: joined by a mark, two places could look alike."""
    return json.dumps(place).encode("ascii")
