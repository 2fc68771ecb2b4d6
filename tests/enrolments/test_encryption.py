"""Keys, and what happens without the package that encrypts."""

import base64
import sys
from pathlib import Path

import pytest

from voxanchor.enrolments.encryption import Sealed, new_key, read_key
from voxanchor.enrolments.store import open_store
from voxanchor.errors import EnrolmentError, MissingExtraError


def test_a_key_in_each_form(tmp_path: Path) -> None:
    text = new_key()
    raw = base64.urlsafe_b64decode(text)
    path = tmp_path / "key"
    path.write_text(f" {text}\n", encoding="ascii")
    path.chmod(0o600)
    assert len(raw) == 32
    assert {read_key(form) for form in (text, text.encode(), raw, path, str(path))} == {raw}
    assert new_key() != text


@pytest.mark.parametrize("key", ["", "short", "x" * 44, "k\u00e9y", b"\xff" * 31, "/no/such/file", "a" * 5000, "a\0b"])
def test_what_is_no_key(key: str | bytes) -> None:
    with pytest.raises(EnrolmentError, match="is not a key: 32 bytes") as caught:
        read_key(key)
    assert "short" not in str(caught.value)


def test_a_key_that_others_may_read(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(new_key(), encoding="ascii")
    path.chmod(0o640)
    with pytest.raises(EnrolmentError, match=r"mode 640.*chmod 600"):
        read_key(path)
    with pytest.raises(EnrolmentError, match="cannot be read"):
        read_key(tmp_path / "none")


def test_a_seal_is_bound_to_its_place() -> None:
    seal = Sealed(read_key(new_key()))
    stored = seal.close(b"content", "voice", "Ann", "m1")
    assert seal.open(stored, "voice", "Ann", "m1") == b"content"
    assert stored != seal.close(b"content", "voice", "Ann", "m1")
    for place in [("voice", "Bob", "m1"), ("voice", "Ann"), ("embedding", "Ann", "m1"), ("voice", 'Ann", "m1')]:
        with pytest.raises(EnrolmentError, match="moved from another row"):
            seal.open(stored, *place)
    for damaged in (b"", stored[:20], stored[:-1] + bytes([stored[-1] ^ 1])):
        with pytest.raises(EnrolmentError, match="changed"):
            seal.open(damaged, "voice", "Ann", "m1")


def test_encryption_without_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.exceptions", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'voxanchor\[encryption\]'"):
        open_store(tmp_path / "voices.db", new_key())
    assert not (tmp_path / "voices.db").exists()
